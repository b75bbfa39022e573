"""The parts of the network that a phase trains."""

from typing import Any

from torch import nn
from transformers import AutoModel

from ..modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from .recipes import Phase

PARTS = ("blur_trunk", "attention_trunk", "content_trunk", "blur_branch", "attention_branch", "classifier")


def parts_of(model: ABCFuseNetForBlurUnderstanding) -> dict[str, nn.Module]:
    """The parts a phase may train, by name. Parts that a variant does not have (a shared trunk) are left out."""
    base = model.abc_fusenet
    trunks = {f"{name}_trunk": trunk for name, trunk in base.trunks.items()}
    heads = {"blur_branch": base.blur_branch, "attention_branch": base.attention_branch, "classifier": model.classifier}
    return {**trunks, **heads}


def trained_parts(model: ABCFuseNetForBlurUnderstanding, phase: Phase) -> dict[str, nn.Module]:
    """The parts that train in a phase: those it names, if the model has them and its branches use them."""
    used = {f"{model.abc_fusenet.trunk_of[branch]}_trunk" for branch in phase.branches}
    parts = {name: part for name, part in parts_of(model).items() if name in phase.parts}
    return {name: part for name, part in parts.items() if not name.endswith("_trunk") or name in used}


def parameter_groups(model: ABCFuseNetForBlurUnderstanding, phase: Phase) -> list[dict]:
    """Freeze the parts that the phase does not train. Returns the others as optimizer groups, norms and biases without
    weight decay."""
    model.requires_grad_(False)
    groups = []
    for name, part in trained_parts(model, phase).items():
        part.requires_grad_(True)
        rate = phase.learning_rate * phase.parts[name]
        matrices, vectors = ([p for p in part.parameters() if (p.dim() > 1) == wanted] for wanted in (True, False))
        groups.append({"params": matrices, "lr": rate, "weight_decay": phase.weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return groups


def train_mode(model: ABCFuseNetForBlurUnderstanding, phase: Phase) -> None:
    """Training mode for the parts the phase trains; the frozen ones keep their BatchNorm statistics, and with
    `freeze_batch_norm` so do all (their scales and offsets train)."""
    model.eval()
    for part in trained_parts(model, phase).values():
        part.train()
        for module in part.modules():
            if phase.freeze_batch_norm and isinstance(module, nn.BatchNorm2d):
                module.eval()


def load_trunk_weights(trunk: Any, pretrained: str) -> None:
    """Fill a MobileNetV2 or ResNet trunk from a transformers checkpoint: a folder or a Hub name.

    Raises ValueError if the checkpoint does not hold every weight of the trunk.
    """
    source = AutoModel.from_pretrained(pretrained, use_safetensors=True).state_dict()
    missing = [name for name in trunk.backbone.state_dict() if name not in source]
    if missing:
        raise ValueError(f"{pretrained} does not fit the trunk: it has no {missing[0]} ({len(missing)} are missing).")
    trunk.backbone.load_state_dict({name: source[name] for name in trunk.backbone.state_dict()})
