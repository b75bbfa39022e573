"""The pieces of a training run."""

import dataclasses
import math

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import MobileNetV2Config, MobileNetV2Model, ResNetForImageClassification

from abc_hf.configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from abc_hf.losses import NO_LABEL, UNKNOWN, class_loss, count_labels
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


@pytest.mark.parametrize(("reduction", "counted"), [("mean", [3 * 64 * 64 - 64, 64, 2, 3]), ("sum", [3, 1, 2, 3])])
def test_losses_add_up_over_parts_of_a_batch(reduction, counted):
    """Counts by hand; the losses of parts with the counts of the whole are the loss of the whole."""
    model = build()
    model.config.blur_loss_reduction = reduction
    model.eval()
    labels = {
        "blur_labels": torch.randint(0, 4, (4, 64, 64)),
        "attention_labels": torch.full((4, 64, 64), UNKNOWN),
        "labels": torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [0.25, 0, 0, 0.75], [0, 0, 0, 0]]),
        "kind_labels": torch.tensor([0, 2, NO_LABEL, 1]),
    }
    labels["blur_labels"][3] = UNKNOWN
    labels["blur_labels"][0, 0] = UNKNOWN
    labels["attention_labels"][2, 5] = 3
    batch = {"pixel_values": torch.rand(4, 3, 64, 64), **labels}
    counts = count_labels(labels, reduction)
    assert [int(count) for count in counts.values()] == counted
    parts = [{name: values[rows] for name, values in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    with torch.no_grad():
        losses = [model(**part, label_counts=counts).loss for part in parts]
        torch.testing.assert_close(sum(losses), model(**batch).loss, rtol=1e-5, atol=0)


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
    """Weights and BatchNorm statistics; the average follows faster while it is young."""
    model = build()
    average = checkpoints.moving_average(model, decay=0.5)
    average.update_parameters(model)  # a copy

    def move(by):
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.add_(by)

    for number, share in ((1, 2 / 11), (2, 3 / 12), (100, 0.5)):
        average.n_averaged.fill_(number)
        before = {name: value.clone() for name, value in average.module.state_dict().items()}
        move(1)
        average.update_parameters(model)
        for name in ("classifier.fc.weight", "classifier.normalization.running_mean"):
            mine, theirs = average.module.state_dict()[name], model.state_dict()[name]
            torch.testing.assert_close(mine, share * before[name] + (1 - share) * theirs)


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
    channels, profile = model.classifier.conv1.convolution.in_channels, model.classifier.profile[0].in_features
    cached = []
    for index in range(40):
        label = index % 4
        features = 0.1 * torch.randn(channels, 2, 2 + index // 4 % 2)
        features[label * 4 : label * 4 + 4] += 2
        one = torch.eye(4)[label]
        cached.append(classifier.FusedPhoto(features.half(), torch.rand(profile), one, torch.tensor(label % 3)))
    phase = dataclasses.replace(recipes.OURS["classifier"], steps=60, batch_size=16, learning_rate=1e-2)
    model.classifier.train()
    classifier.fit_classifier(model.classifier, cached, phase, [1.0] * 40, seed=0, progress=False)
    model.classifier.eval()
    for photo in cached:
        scores, kinds = model.classifier(photo.stacked[None].float(), photo.profile[None])
        assert scores.argmax() == photo.labels.argmax() and kinds.argmax() == photo.kind_label


def test_temperature_minimises_the_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    temperature = classifier.fit_temperature(3 * logits, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    costs = [class_loss(3 * logits / (temperature * factor), labels) for factor in (0.95, 1, 1.05)]
    assert costs[1] == min(costs)


def test_a_step_of_the_paper_fits_in_24_gib():
    """What a step keeps in float32, counted without computing it: activations, weights, gradients, Adam and average."""
    with torch.device("meta"):
        model = build("paper")
    weights = sum(p.numel() for p in model.parameters())
    own = {StorageWeakRef(p.untyped_storage()) for p in model.parameters()}
    for name, phase in recipes.PAPER.items():
        training.parameter_groups(model, phase)
        training.train_mode(model, phase)
        kept = {}

        def keep(tensor, kept=kept):
            kept[StorageWeakRef(tensor.untyped_storage())] = tensor
            return tensor

        photos = torch.empty(phase.batch_size, 3, phase.crop, phase.crop, device="meta")
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(photos, branches=phase.branches)
        activations = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
        assert 3 < (activations + 5 * 4 * weights) / 2**30 < 12, name  # half is left for what convolutions need at work
