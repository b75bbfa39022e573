"""The pieces of a training run."""

import dataclasses
import math

import pytest
import torch
from transformers import MobileNetV2Config, MobileNetV2Model, ResNetForImageClassification

from abc_hf.configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from abc_hf.losses import NO_LABEL, UNKNOWN, desirability_loss
from abc_hf.modeling_abc_fusenet import BRANCHES, ABCFuseNetForBlurUnderstanding
from abc_hf.training import batches, checkpoints, classifier, recipes
from abc_hf.training import parts as training


def build(variant="tiny"):
    torch.manual_seed(0)
    return ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS[variant]))


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_phases_name_existing_parts_and_branches(recipe):
    parts = set(training.parts_of(build()))
    for phase in recipes.RECIPES[recipe].values():
        assert set(phase.parts) <= parts
        assert set(phase.branches) <= set(BRANCHES)


def test_the_paper_protocol():
    blur, joint = recipes.PAPER["blur"], recipes.PAPER["joint"]
    assert (blur.learning_rate, blur.weight_decay, blur.batch_size) == (1e-3, 0.05, 12)
    assert (joint.learning_rate, joint.weight_decay, joint.batch_size) == (1e-2, 0.01, 4)
    assert "attention_labels" not in joint.losses, "in joint training attention learns from desirability alone"


def test_parts_are_those_of_the_model():
    assert set(training.parts_of(build())) == set(training.PARTS)


@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_only_the_parts_of_a_phase_train(variant):
    """In `tiny` the content trunk is not run by the attention branch, which has its own, and so does not train."""
    model = build(variant)
    phase = recipes.OURS["saliency"]
    groups = training.parameter_groups(model, phase)
    training.train_mode(model, phase)
    for name, part in training.parts_of(model).items():
        wanted = name in phase.parts and not (variant == "tiny" and name == "content_trunk")
        assert all(p.requires_grad == wanted for p in part.parameters()), name
        assert part.training == wanted
    in_groups = {id(p) for group in groups for p in group["params"]}
    assert in_groups == {id(p) for p in model.parameters() if p.requires_grad}
    assert all(group["weight_decay"] == 0 for group in groups if any(p.dim() <= 1 for p in group["params"]))


@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_earlier_blocks_of_a_trunk_learn_slower(variant):
    model = build(variant)
    phase = recipes.PAPER["blur"]
    groups = training.parameter_groups(model, phase, layer_decay=0.5)
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert set(rate_of) == {id(p) for p in model.parameters() if p.requires_grad}
    blocks = model.abc_fusenet.trunks["blur"].blocks()
    for depth, block in enumerate(reversed(blocks)):
        assert {rate_of[id(p)] for p in block.parameters()} == {phase.learning_rate * 0.5**depth}
    assert {rate_of[id(p)] for p in model.abc_fusenet.blur_branch.parameters()} == {phase.learning_rate}
    assert all(group["weight_decay"] == 0 for group in groups if any(p.dim() <= 1 for p in group["params"]))


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scales():
    model = build()
    phase = dataclasses.replace(recipes.PAPER["blur"], freeze_batch_norm=True)
    training.parameter_groups(model, phase)
    training.train_mode(model, phase)
    layer = model.abc_fusenet.blur_branch.bottleneck.normalization
    before = layer.running_mean.clone()
    model(torch.rand(2, 3, 64, 64), branches=("blur",)).blur_map.mean().backward()
    assert torch.equal(layer.running_mean, before) and layer.weight.grad.abs().sum() > 0
    training.train_mode(model, recipes.PAPER["blur"])
    model(torch.rand(2, 3, 64, 64), branches=("blur",))
    assert not torch.equal(layer.running_mean, before)


def test_small_batches_of_the_paper_keep_batch_norm_frozen():
    assert recipes.PAPER["joint"].freeze_batch_norm and not recipes.PAPER["blur"].freeze_batch_norm


@pytest.mark.parametrize(("reduction", "counted"), [("mean", [3 * 64 * 64 - 64, 64, 2]), ("sum", [3, 1, 2])])
def test_losses_add_up_over_parts_of_a_batch(reduction, counted):
    """Counts by hand; sums over parts divided by the sum of counts are the model's own loss of the whole."""
    model = build()
    model.config.blur_loss_reduction = reduction
    model.eval()
    phase = recipes.OURS["joint"]
    batch = {
        "pixel_values": torch.rand(4, 3, 64, 64),
        "blur_labels": torch.randint(0, 4, (4, 64, 64)),
        "attention_labels": torch.full((4, 64, 64), UNKNOWN),
        "labels": torch.tensor([1, NO_LABEL, 3, NO_LABEL]),
    }
    batch["blur_labels"][3] = UNKNOWN
    batch["blur_labels"][0, 0] = UNKNOWN
    batch["attention_labels"][2, 5] = 3
    parts = [{name: values[rows] for name, values in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    counts = sum(batches.count_labels(part, phase, reduction) for part in parts)
    assert counts.tolist() == counted
    with torch.no_grad():
        sums = [batches.summed_losses(model(part["pixel_values"]), part, phase, 0.1) for part in parts]
        whole = model(**batch).loss
    torch.testing.assert_close((sum(sums) / counts).sum(), whole, rtol=1e-5, atol=0)


def test_dropout_depends_on_its_key_alone():
    drawn = []
    for key in ((0, 1, 0, 0), (0, 1, 0, 1), (0, 1, 0, 0)):
        batches.seed_dropout(*key)
        drawn.append(torch.rand(8))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_what_is_kept_is_judged_by_what_there_is():
    def score(scores, branches):
        return scores["blur_real"]["pooled_auc"]

    nan = float("nan")
    assert checkpoints.pick_by(score, {"blur_real": {"pooled_auc": 0.5}}, ()) == 0.5
    none_real = {"blur_real": {"photos": 0}, "blur_synthetic": {"pooled_auc": 0.25}}
    assert checkpoints.pick_by(score, none_real, ()) == 0.25
    assert math.isnan(checkpoints.pick_by(score, {"blur_real": {"pooled_auc": nan}}, ()))


def test_the_average_follows_a_step_by_the_decay():
    model = build()
    average = checkpoints.MovingAverage(model, decay=0.5)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.updates = 100  # past the warm-up, where the decay is smaller
    average.update(model)
    name = "classifier.fc.weight"
    torch.testing.assert_close(average.model.state_dict()[name], before[name] + 0.5)
    again = checkpoints.MovingAverage(build(), decay=0.5)
    again.load_state_dict(average.state_dict())
    torch.testing.assert_close(again.model.state_dict()[name], before[name] + 0.5)


def test_trunk_weights_come_from_a_transformers_checkpoint(tmp_path):
    torch.manual_seed(1)
    source = MobileNetV2Model(MobileNetV2Config())
    source.save_pretrained(tmp_path)
    trunk = build("mobile").abc_fusenet.trunks["content"]
    training.load_trunk_weights(trunk, str(tmp_path))
    torch.testing.assert_close(
        trunk.backbone.layer[3].conv_3x3.convolution.weight, source.layer[3].conv_3x3.convolution.weight
    )
    with pytest.raises(ValueError, match="does not fit the trunk"):
        training.load_trunk_weights(build("tiny").abc_fusenet.trunks["content"], str(tmp_path))


def test_a_resnet_classifier_fills_the_content_trunk(tmp_path):
    """The kind of checkpoint `microsoft/resnet-50` is."""
    trunk = build().abc_fusenet.trunks["content"]
    torch.manual_seed(1)
    source = ResNetForImageClassification(trunk.backbone.config)
    source.save_pretrained(tmp_path)
    training.load_trunk_weights(trunk, str(tmp_path))
    mine, theirs = trunk.backbone.state_dict(), source.resnet.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_classifier_learns_separable_features():
    torch.manual_seed(0)
    model = build()
    channels = model.classifier.conv1.convolution.in_channels
    cached = []
    for index in range(40):
        label = index % 4
        features = 0.1 * torch.randn(channels, 2, 2 + index // 4 % 2)
        features[label * 4 : label * 4 + 4] += 2
        cached.append((features.half(), label))
    phase = dataclasses.replace(recipes.OURS["classifier"], steps=60, batch_size=16, learning_rate=1e-2)
    model.classifier.train()
    classifier.fit_classifier(model.classifier, cached, phase, [1.0] * 40, seed=0, progress=False)
    model.classifier.eval()
    hits = [model.classifier(features[None].float()).argmax().item() == label for features, label in cached]
    assert sum(hits) == 40


def test_temperature_minimises_the_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    temperature = classifier.fit_temperature(3 * logits, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    costs = [desirability_loss(3 * logits / (temperature * factor), labels) for factor in (0.95, 1, 1.05)]
    assert costs[1] == min(costs)


def test_a_step_of_the_paper_fits_in_24_gib():
    """What a step keeps in float32, counted without computing it: activations, weights, gradients, Adam and average."""
    with torch.device("meta"):
        model = build("paper")
    weights = sum(p.numel() for p in model.parameters())
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    for name, phase in recipes.PAPER.items():
        training.parameter_groups(model, phase)
        training.train_mode(model, phase)
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        photos = torch.empty(phase.batch_size, 3, phase.crop, phase.crop, device="meta")
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(photos, branches=phase.branches)
        activations = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
        assert 3 < (activations + 5 * 4 * weights) / 2**30 < 12, name  # half is left for what convolutions need at work
