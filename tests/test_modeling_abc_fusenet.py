"""The network: one contract for every variant, the structure of section 4, and what its trunks must equal."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2Model
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2InvertedResidual
from transformers.models.resnet.modeling_resnet import ResNetBasicLayer

from abc_hf.configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from abc_hf.losses import AMOUNT_UNKNOWN, NO_LABEL, UNKNOWN
from abc_hf.modeling_abc_fusenet import (
    ABCFuseNetForBlurUnderstanding,
    ABCFuseNetModel,
    BoundaryRefinement,
    PyramidPooling,
    bin_means,
)
from abc_hf.trunks import InceptionBlock, InceptionV2Trunk, MobileNetV2Trunk, ResNetTrunk

CONTRACT = [pytest.param(name, marks=[pytest.mark.slow] if name == "paper" else []) for name in VARIANTS]
BASELINES = {
    1: ("content",),
    2: ("blur",),
    3: ("blur", "content"),
    4: ("blur", "attention"),
    5: ("blur", "attention", "content"),
}
STRIDE_OF_C = {"paper": 32, "mobile": 16, "tiny": 32}


def build(variant: str = "tiny", **overrides) -> ABCFuseNetForBlurUnderstanding:
    """An untrained network to evaluate. Its BatchNorm layers have seen a batch, else features grow by the layer."""
    torch.manual_seed(0)
    model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS[variant] | overrides)).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model(photos(2, 96, 96, seed=2))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    return model.eval()


def photos(batch: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def labels_for(pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    """A batch that mixes every kind of label: the first photo has no class, the last no map."""
    batch, _, height, width = pixel_values.shape
    levels = torch.randint(0, 4, (batch, height, width), generator=torch.Generator().manual_seed(1))
    levels[0, : height // 2] = AMOUNT_UNKNOWN
    levels[-1] = UNKNOWN
    classes = torch.tensor([NO_LABEL] + [1] * (batch - 1))
    return {"labels": classes, "kind_labels": classes, "blur_labels": levels}


def calls(model: nn.Module, kinds: type | tuple[type, ...]) -> list[nn.Module]:
    """A list that grows by each module of these kinds that runs from now on."""
    ran = []
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_pre_hook(lambda module, _: ran.append(module))
    return ran


def randomise_statistics(model: nn.Module) -> None:
    """Give BatchNorm layers statistics and scales that a mistake in wiring cannot hide behind."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)


# ----------------------------------------------------------------------------------------- contract of every variant


@pytest.mark.parametrize("variant", CONTRACT)
class TestContract:
    @pytest.mark.parametrize(("height", "width"), [(64, 96), (32, 32), (32, 320), (352, 32)])
    def test_shapes_ranges_and_odd_aspect_ratios(self, variant, height, width):
        model = build(variant)
        with torch.no_grad():
            output = model(photos(2, height, width))
        stride = STRIDE_OF_C[variant]
        channels = model.abc_fusenet.content_channels
        names = {"logits", "kind_logits", "blur_map", "attention_map", "content_features", "blur_features"}
        assert output.keys() == names
        assert output.logits.shape == (2, 4) and output.kind_logits.shape == (2, 3)
        assert output.blur_features.shape == (2, model.abc_fusenet.blur_channels, height // 16, width // 16)
        assert output.blur_map.shape == output.attention_map.shape == (2, 1, height, width)
        assert output.content_features.shape == (2, channels, height // stride, width // stride)
        assert all(values.isfinite().all() for values in output.values())
        for map in (output.blur_map, output.attention_map):
            assert map.min() >= 0 and map.max() <= 1

    def test_every_parameter_gets_a_gradient(self, variant):
        model, pixel_values = build(variant).train(), photos(3)
        model(pixel_values, **labels_for(pixel_values)).loss.backward()
        without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert without == []
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        dead = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
        assert dead == []

    def test_maps_start_undecided(self, variant):
        """Where the sigmoid is flat, equation (1) has next to no gradient."""
        with torch.no_grad():
            output = build(variant)(photos(2))
        for map in (output.blur_map, output.attention_map):
            assert map.min() > 0.1 and map.max() < 0.9

    @pytest.mark.parametrize(("height", "width"), [(64, 80), (33, 64), (16, 32)])
    def test_sides_off_the_stride_get_one_clear_sentence(self, variant, height, width):
        with pytest.raises(ValueError, match=f"must be multiples of 32; got {height}x{width}"):
            build(variant)(photos(1, height, width))

    def test_saved_and_loaded_it_is_the_same(self, variant, tmp_path):
        model, pixel_values = build(variant), photos(1)
        model.save_pretrained(tmp_path)
        loaded, report = ABCFuseNetForBlurUnderstanding.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report.values())
        weights = model.state_dict()
        assert all(torch.equal(weights[name], tensor) for name, tensor in loaded.state_dict().items())
        with torch.no_grad():
            for before, after in zip(model(pixel_values).values(), loaded(pixel_values).values(), strict=True):
                torch.testing.assert_close(after, before)

    def test_batching_never_changes_a_report(self, variant):
        # in double precision: in float32 one photo and three are convolved in another order, and round otherwise
        model, pixel_values = build(variant).double(), photos(3).double()
        with torch.no_grad():
            together, alone = model(pixel_values), model(pixel_values[1:2])
        for name in alone:
            torch.testing.assert_close(together[name][1:2], alone[name], rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("baseline", BASELINES)
    def test_each_baseline_of_the_paper_is_a_config(self, variant, baseline):
        model = build(variant, fusion_inputs=BASELINES[baseline], blur_profile=False).train()
        pixel_values = photos(3)
        channels = {"content": model.abc_fusenet.content_channels}
        stacked = sum(channels.get(name, 1) for name in BASELINES[baseline])
        assert model.classifier.conv1.convolution.in_channels == stacked
        model(pixel_values, labels=torch.tensor([0, 1, 3])).loss.backward()
        for branch in ("blur", "attention"):
            parameters = getattr(model.abc_fusenet, f"{branch}_branch").parameters()
            assert {p.grad is not None for p in parameters} == {branch in BASELINES[baseline]}

    def test_branches_are_run_on_request(self, variant):
        model, pixel_values = build(variant), photos(1)
        trunks = model.abc_fusenet.trunks
        ran = calls(trunks, tuple({type(trunk) for trunk in trunks.values()}))
        with torch.no_grad():
            whole = model(pixel_values)
            assert len(ran) == len(trunks)
            results = {
                "blur": {"blur_map", "blur_features"},
                "attention": {"attention_map"},
                "content": {"content_features"},
            }
            for branch, names in results.items():
                ran.clear()
                output = model(pixel_values, branches=(branch,))
                assert output.keys() == names
                assert all(torch.equal(output[name], whole[name]) for name in names)
                assert ran == [trunks[branch if branch in trunks else "content"]]

    def test_hidden_states_on_request(self, variant):
        model = build(variant)
        with torch.no_grad():
            trunk, pyramid, refined = model(photos(1), output_hidden_states=True).hidden_states
        assert trunk.shape[-2:] == pyramid.shape[-2:] == (64 // 16, 96 // 16)
        assert pyramid.shape[1] == 2 * trunk.shape[1]
        assert refined.shape[-2:] == (32, 48)


# ------------------------------------------------------------------------------------------------ loss and fusion


@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 2), ("mean", 64 * 96 + 32 * 96)])
def test_loss_is_equation_2(reduction, divisor):
    model, pixel_values = build(blur_loss_reduction=reduction, desirability_loss_weight=0.1), photos(3)
    levels = torch.full((3, 64, 96), UNKNOWN)
    levels[0], levels[1, :32] = 2, 0  # one photo wholly labelled, one half, one not
    with torch.no_grad():
        output = model(pixel_values, labels=torch.tensor([3, NO_LABEL, 0]), blur_labels=levels)
    blur = ((output.blur_map[0] - 2 / 3) ** 2).sum() + (output.blur_map[1, :, :32] ** 2).sum()
    probabilities = output.logits.softmax(-1)
    entropy = -(probabilities[0, 3].log() + probabilities[2, 0].log()) / 2
    torch.testing.assert_close(output.blur_loss, blur / 2 / divisor)
    torch.testing.assert_close(output.desirability_loss, entropy)
    torch.testing.assert_close(output.loss, blur / 2 / divisor + 0.1 * entropy)


def test_saliency_labels_train_the_attention_branch():
    model, pixel_values = build(), photos(1)
    output = model(pixel_values, attention_labels=torch.full((1, 64, 96), 3), branches=("attention",))
    torch.testing.assert_close(output.loss, ((output.attention_map - 1) ** 2).mean() / 2)
    output.loss.backward()
    assert {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None} == {
        "trunks",
        "attention_branch",
    }


@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_attention_learns_through_desirability_alone(variant):
    model, pixel_values = build(variant), photos(2)
    truth = labels_for(pixel_values)
    attention = list(model.abc_fusenet.attention_branch.parameters())
    model(pixel_values, blur_labels=truth["blur_labels"]).loss.backward()
    assert all(parameter.grad is None for parameter in attention)
    model(pixel_values, labels=truth["labels"]).loss.backward()
    assert all(parameter.grad.any() for parameter in attention)


@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_fusion_stacks_the_maps_on_the_grid_of_c(variant):
    inputs = ("content", "blur", "attention", "blur_unattended", "blur_attended")
    model, stacked = build(variant, fusion_inputs=inputs), []
    model.classifier.register_forward_pre_hook(lambda _, args: stacked.append(args[0]))
    with torch.no_grad():
        output = model(photos(2))
    cell = STRIDE_OF_C[variant]

    def on_grid(values):
        return values.unflatten(-1, (-1, cell)).unflatten(-3, (-1, cell)).mean((-3, -1))

    blur, attention = output.blur_map, output.attention_map
    maps = [on_grid(values) for values in (blur, attention, blur * (1 - attention), blur * attention)]
    torch.testing.assert_close(stacked[0], torch.cat([output.content_features, *maps], dim=1))


def test_temperature_divides_the_logits():
    plain, calibrated = build(), build(temperature=2.5)
    with torch.no_grad():
        torch.testing.assert_close(calibrated(photos(1)).logits, plain(photos(1)).logits / 2.5)


def test_attention_may_share_the_content_trunk():
    model = build("mobile")
    assert set(model.abc_fusenet.trunks) == {"blur", "content"}
    output = model(photos(1), branches=("attention",))
    output.attention_map.sum().backward()
    trained = {name.split(".")[1] for name, p in model.abc_fusenet.trunks.named_parameters("t") if p.grad is not None}
    assert trained == {"content"}


def test_a_tuple_on_request():
    model = build()
    with torch.no_grad():
        output, values = model(photos(1)), model(photos(1), return_dict=False)
    assert isinstance(values, tuple)
    assert all(torch.equal(a, b) for a, b in zip(output.to_tuple(), values, strict=True))


def test_map_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must have the photos' shape, \(64, 96\); got \(32, 48\)"):
        build()(photos(1), blur_labels=torch.zeros(1, 32, 48).long())


# ------------------------------------------------------------------------------------------- structure: section 4


BN_INCEPTION = {  # Ioffe & Szegedy 2015, table 1: 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool, output
    "inception_3a": (64, 64, 64, 64, 96, (nn.AvgPool2d, 32), 256),
    "inception_3b": (64, 64, 96, 64, 96, (nn.AvgPool2d, 64), 320),
    "inception_3c": (0, 128, 160, 64, 96, (nn.MaxPool2d, 0), 576),
    "inception_4a": (224, 64, 96, 96, 128, (nn.AvgPool2d, 128), 576),
    "inception_4b": (192, 96, 128, 96, 128, (nn.AvgPool2d, 128), 576),
    "inception_4c": (160, 128, 160, 128, 160, (nn.AvgPool2d, 96), 576),
    "inception_4d": (96, 128, 192, 160, 192, (nn.AvgPool2d, 96), 576),
    "inception_4e": (0, 128, 192, 192, 256, (nn.MaxPool2d, 0), 1024),
    "inception_5a": (352, 192, 320, 160, 224, (nn.AvgPool2d, 128), 1024),
    "inception_5b": (352, 192, 320, 192, 224, (nn.MaxPool2d, 128), 1024),
}


@pytest.fixture(scope="module")
def paper() -> ABCFuseNetForBlurUnderstanding:
    with torch.device("meta"):
        return ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig()).eval()


def shapes_of(modules: dict[str, nn.Module], run) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape)}))
    run()
    return shapes


class TestPaper:
    @pytest.mark.parametrize("branch", ["blur", "attention"])
    @pytest.mark.parametrize("block", BN_INCEPTION)
    def test_blocks_have_the_channels_of_bn_inception(self, paper, branch, block):
        module = getattr(paper.abc_fusenet.trunks[branch], block)
        conv1, reduce3, conv3, reduce5, conv5, (pooling, project), output = BN_INCEPTION[block]

        def convolutions(path):
            return [(m.out_channels, m.kernel_size[0]) for m in path.modules() if isinstance(m, nn.Conv2d)]

        assert (module.conv_1x1 is None) == (conv1 == 0)
        assert conv1 == 0 or convolutions(module.conv_1x1) == [(conv1, 1)]
        assert convolutions(module.conv_3x3) == [(reduce3, 1), (conv3, 3)]
        assert convolutions(module.double_3x3) == [(reduce5, 1), (conv5, 3), (conv5, 3)]
        assert isinstance(module.pool[0], pooling)
        assert convolutions(module.pool[1]) == ([(project, 1)] if project else [])
        assert module.out_channels == output

    def test_the_stem_is_that_of_bn_inception(self, paper):
        trunk = paper.abc_fusenet.trunks["blur"]
        stem = [m for part in (trunk.conv1, trunk.conv2) for m in part.modules() if isinstance(m, nn.Conv2d)]
        assert [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in stem] == [(64, 7, 2), (64, 1, 1), (192, 3, 1)]
        assert not any(isinstance(module, nn.Linear) for module in trunk.modules())  # fully convolutional

    @pytest.mark.parametrize(
        ("output_stride", "strides", "dilations"),
        [
            (16, (8, 8, 8, 8, 8, 8, 8, 16, 16, 16), (1, 1, 1, 2, 2, 2, 2, 2, 2, 2)),
            (8, (8, 8, 8, 8, 8, 8, 8, 8, 8, 8), (1, 1, 1, 2, 2, 2, 2, 2, 4, 4)),
        ],
    )
    def test_dilation_replaces_the_downsampling_before_4a(self, output_stride, strides, dilations):
        with torch.device("meta"):
            trunk = InceptionV2Trunk(ABCFuseNetConfig(), output_stride).eval()
            blocks = {name: getattr(trunk, name) for name in BN_INCEPTION}
            shapes = shapes_of(blocks, lambda: trunk(torch.zeros(1, 3, 256, 384)))
        assert {name: shape[1] for name, shape in shapes.items()} == {k: v[-1] for k, v in BN_INCEPTION.items()}
        assert [shape[2:] for shape in shapes.values()] == [(256 // s, 384 // s) for s in strides]
        for block, dilation in zip(blocks.values(), dilations, strict=True):
            found = {m.dilation for m in block.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)}
            assert found == {(dilation, dilation)}

    def test_blur_branch(self, paper):
        branch, seen = paper.abc_fusenet.blur_branch, {}
        parts = {name: getattr(branch, name) for name in ("pyramid", "bottleneck", "refinement", "logit")}
        for name, part in parts.items():
            part.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: tuple(args[0].shape[1:])}))
        paper(torch.zeros(1, 3, 256, 384, device="meta"))
        assert seen["pyramid"] == (1024, 16, 24)  # inception_5b
        assert tuple(branch.pyramid.bins) == (1, 2, 3, 6)
        assert [(m.in_channels, m.out_channels, m.kernel_size) for m in branch.pyramid.reductions] == 4 * [
            (1024, 256, (1, 1))
        ]
        assert seen["bottleneck"] == (2048, 16, 24)  # 5b and a quarter of its channels from each of four levels
        assert seen["refinement"] == (256 + 64, 128, 192)  # joined by the first convolution's features
        assert seen["logit"][1:] == (128, 192) and branch.logit.out_channels == 1

    def test_boundary_refinement_is_densely_connected(self, paper):
        layers = paper.abc_fusenet.blur_branch.refinement.layers
        convolutions = [m.convolution for m in layers]
        assert [m.in_channels for m in convolutions] == [320, 352, 384, 416]
        assert {(m.out_channels, m.kernel_size) for m in convolutions} == {(32, (3, 3))}

    def test_attention_branch_is_fully_convolutional_with_one_map(self, paper):
        branch = paper.abc_fusenet.attention_branch
        assert not any(isinstance(module, nn.Linear) for module in branch.modules())
        assert branch.logit.out_channels == 1

    def test_content_is_res5c(self, paper):
        trunk = paper.abc_fusenet.trunks["content"].backbone
        stages = trunk.encoder.stages
        assert [len(stage.layers) for stage in stages] == [3, 4, 6, 3]
        bottleneck = [layer.convolution for layer in stages[1].layers[0].layer]
        assert [m.kernel_size[0] for m in bottleneck] == [1, 3, 1]
        assert [m.stride[0] for m in bottleneck] == [1, 2, 1]  # v1.5
        output = paper(torch.zeros(1, 3, 256, 384, device="meta"), branches=("content",))
        assert output.content_features.shape == (1, 2048, 8, 12)

    def test_classifier_has_two_convolutions_two_dropouts_and_one_fully_connected_layer(self, paper):
        classifier = paper.classifier
        convolutions = [m for m in classifier.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == 2 and convolutions[0].in_channels == 2048 + 2
        desirability, kind = (m.out_features for m in classifier.modules() if isinstance(m, nn.Linear))
        assert (desirability, kind) == (4, 3)  # the kind of blur is ours
        dropped = calls(classifier, nn.Dropout)
        paper(torch.zeros(1, 3, 64, 64, device="meta"))
        assert [module.p for module in dropped] == [0.5, 0.5]

    def test_variants_have_the_size_they_promise(self, paper):
        assert 50e6 < sum(p.numel() for p in paper.parameters()) < 60e6
        assert sum(p.numel() for p in build("tiny").parameters()) < 1e6
        mobile = build("mobile").state_dict().values()
        assert sum(tensor.nbytes for tensor in mobile) < 25e6  # bundled in the wheel


# ---------------------------------------------------------------------------------- parts against other computations


@pytest.mark.parametrize("bins", range(1, 9))
def test_bin_means_are_adaptive_average_pooling(bins):
    for length in range(1, 41):
        signal = torch.randn(1, 3, length, dtype=torch.float64)
        torch.testing.assert_close(
            signal @ bin_means(length, bins, signal).T, F.adaptive_avg_pool1d(signal, bins), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 6), (7, 5), (14, 14), (20, 13), (3, 40)])
def test_pyramid_pooling_is_that_of_pspnet(height, width):
    torch.manual_seed(0)
    module, features = PyramidPooling(8, (1, 2, 3, 6)), torch.randn(2, 8, height, width)
    levels = [features]
    for bins, reduction in zip((1, 2, 3, 6), module.reductions, strict=True):
        pooled = F.conv2d(F.adaptive_avg_pool2d(features, bins), reduction.weight, reduction.bias).clamp(min=0)
        levels.append(F.interpolate(pooled, (height, width), mode="bilinear"))
    torch.testing.assert_close(module(features), torch.cat(levels, 1))


@pytest.mark.parametrize("part", [{"pyramid_bins": ()}, {"skip_strides": ()}, {"refinement_layers": 0}])
def test_the_blur_branch_may_do_without_a_part(part):
    whole, less = (build(**architecture).abc_fusenet.blur_branch for architecture in ({}, part))
    removed = {name.split(".")[0] for name in whole.state_dict().keys() - less.state_dict().keys()}
    inputs = {name for name, value in less.state_dict().items() if value.shape != whole.state_dict()[name].shape}
    assert (removed, {name.split(".")[0] for name in inputs}) == {
        "pyramid_bins": ({"pyramid"}, {"bottleneck"}),
        "skip_strides": (set(), {"refinement", "logit"}),
        "refinement_layers": ({"refinement"}, {"logit"}),
    }[next(iter(part))]

    model, pixel_values = build(**part).train(), photos()
    output = model(pixel_values, blur_labels=labels_for(pixel_values)["blur_labels"], branches=("blur",))
    assert output.blur_map.shape == (2, 1, 64, 96)
    output.loss.backward()
    branch = model.abc_fusenet.blur_branch
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in branch.parameters())


def test_a_block_without_its_stride_agrees_at_every_second_cell():
    torch.manual_seed(0)
    arguments = (8, (0, 6, 10, 6, 12), "max", 0)
    coarse, fine = InceptionBlock(*arguments, stride=2).eval(), InceptionBlock(*arguments, stride=1).eval()
    randomise_statistics(coarse)
    fine.load_state_dict(coarse.state_dict())
    features = torch.randn(1, 8, 12, 20)
    torch.testing.assert_close(fine(features)[..., ::2, ::2], coarse(features))


@pytest.mark.parametrize("dilation", [2, 4])
def test_a_dilated_block_agrees_with_the_undilated_one_on_its_grid(dilation):
    torch.manual_seed(0)
    arguments, pooled = (8, (5, 6, 10, 6, 12), "avg", 7), 7
    coarse, fine = InceptionBlock(*arguments).eval(), InceptionBlock(*arguments, dilation=dilation).eval()
    randomise_statistics(coarse)
    fine.load_state_dict(coarse.state_dict())
    features = torch.randn(1, 8, 6 * dilation, 10 * dilation)
    on_grid = (..., slice(None, None, dilation), slice(None, None, dilation))
    torch.testing.assert_close(  # all paths but the last, whose pooling stays 3x3
        fine(features)[on_grid][:, :-pooled], coarse(features[on_grid])[:, :-pooled]
    )


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160), (224, 96)])
@pytest.mark.parametrize("width_multiplier", [0.35, 1.0])
def test_mobilenet_trunk_equals_tensorflow_padding(output_stride, height, width, width_multiplier):
    torch.manual_seed(0)
    trunk = MobileNetV2Trunk(ABCFuseNetConfig(width_multiplier=width_multiplier), output_stride).eval()
    oracle = MobileNetV2Model(
        MobileNetV2Config(depth_multiplier=width_multiplier, output_stride=output_stride, tf_padding=True)
    ).eval()
    randomise_statistics(trunk)
    missing = oracle.load_state_dict(trunk.backbone.state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing.missing_keys} == {"conv_1x1"} and not missing.unexpected_keys
    pixel_values = photos(1, height, width)
    with torch.no_grad():
        features = trunk(pixel_values)
        hidden = oracle(pixel_values, output_hidden_states=True).hidden_states
        first = oracle.conv_stem.first_conv(pixel_values)
    for name, expected in {"2": first, "4": hidden[1], "8": hidden[4], "last": hidden[-1]}.items():
        torch.testing.assert_close(features[name], expected)
        assert trunk.channels[name] == expected.shape[1]
        stride = output_stride if name == "last" else int(name)
        assert expected.shape[-2:] == (height // stride, width // stride)


@pytest.mark.parametrize("variant", ["tiny", "paper"])
def test_resnet_trunk_equals_transformers(variant):
    torch.manual_seed(0)
    trunk = ResNetTrunk(ABCFuseNetConfig(**VARIANTS[variant]), 32).eval()
    randomise_statistics(trunk)
    with torch.no_grad():
        features, expected = trunk(photos(1)), trunk.backbone(photos(1)).last_hidden_state
    torch.testing.assert_close(features["last"], expected)
    assert trunk.channels["last"] == expected.shape[1]


# ------------------------------------------------------------------------------- compile, export, memory, precision


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, from what compiling imports
@pytest.mark.parametrize(("variant", "backend"), [("tiny", "inductor"), ("mobile", "aot_eager")])
def test_compiles_as_one_graph(variant, backend):
    model, pixel_values = build(variant), photos(2)
    with torch.no_grad():
        expected = model(pixel_values)
        output = torch.compile(model, fullgraph=True, backend=backend)(pixel_values)
    for name in expected:
        atol = 1e-4 if name == "blur_features" else 1e-5  # trunk features are no maps in 0..1
        torch.testing.assert_close(output[name], expected[name], rtol=1e-4, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_the_training_step_compiles_as_one_graph(variant):
    model, pixel_values = build(variant, fusion_dropout=0.0), photos(3)
    truth = labels_for(pixel_values)
    model(pixel_values, **truth).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(pixel_values, **truth).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_exports_with_dynamic_height_and_width(variant):
    model = build(variant)
    height, width = torch.export.Dim("height", min=2, max=64) * 32, torch.export.Dim("width", min=2, max=64) * 32
    program = torch.export.export(
        model, (photos(2, 96, 128),), dynamic_shapes={"pixel_values": {2: height, 3: width}}, strict=False
    ).module()
    for sides in ((96, 128), (64, 64), (160, 64), (224, 352)):
        pixel_values = photos(2, *sides, seed=1)
        with torch.no_grad():
            expected, output = model(pixel_values), program(pixel_values)
        for name in ("logits", "blur_map", "attention_map"):
            torch.testing.assert_close(output[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("variant", "count"), [("tiny", 2 * 10 + 1 + 4), ("mobile", 1 + 2 * 16)])
def test_activation_checkpointing_recomputes_and_gives_equal_gradients(variant, count):
    # every Inception, ResNet and inverted residual block, and the refinement
    model, pixel_values = build(variant, fusion_dropout=0.0).train(), photos(2)
    kinds = InceptionBlock | BoundaryRefinement | ResNetBasicLayer | MobileNetV2InvertedResidual
    blocks = [module for module in model.modules() if isinstance(module, kinds)]
    truth, ran = labels_for(pixel_values), calls(nn.ModuleList(blocks), nn.Conv2d)
    model(pixel_values, **truth).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    once = len(ran)
    assert len(blocks) == count and len(set(ran)) == once

    ran.clear()
    model.zero_grad()
    model.activation_checkpointing_enable()
    model(pixel_values, **truth).loss.backward()
    assert len(ran) == 2 * once
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_channels_last_is_equal(variant):
    model, pixel_values = build(variant), photos(2)
    with torch.no_grad():
        expected = model(pixel_values)
        model.to(memory_format=torch.channels_last)
        output = model(pixel_values.contiguous(memory_format=torch.channels_last))
    for name in expected:
        torch.testing.assert_close(output[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variant", ["tiny", "mobile"])
def test_trains_under_bfloat16_autocast(variant):
    model, pixel_values = build(variant, fusion_dropout=0.0), photos(3)
    truth = labels_for(pixel_values)
    with torch.no_grad():
        expected = model(pixel_values, **truth).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(pixel_values, **truth).loss
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.05, atol=0.01)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_runs_in_other_precisions(dtype):
    model = build().to(dtype)
    with torch.no_grad():
        output = model(photos(1).to(dtype))
    assert all(values.dtype == dtype and values.isfinite().all() for values in output.values())


ONE_STEP = """
import resource, sys, torch
from abc_hf.configuration_abc_fusenet import ABCFuseNetConfig
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
torch.manual_seed(0)
batch, branches = int(sys.argv[1]), tuple(sys.argv[2].split(","))
model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig()).train()
optimizer = torch.optim.Adam(model.parameters())
labels = {"blur_labels": torch.randint(0, 4, (batch, 224, 224))}
if len(branches) == 3:
    labels["labels"] = torch.randint(0, 4, (batch,))
model(torch.rand(batch, 3, 224, 224), branches=branches, **labels).loss.backward()
optimizer.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "branches"), [(12, "blur"), (4, "blur,attention,content")])
def test_one_training_step_of_the_paper_fits_24_gib(batch, branches):
    """The paper's batches, 12 for the blur branch and 4 for joint training, on crops of 224 pixels."""
    command = [sys.executable, "-c", ONE_STEP, str(batch), branches]
    peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 1 < peak < 24


def test_the_base_model_loads_from_the_whole_one(tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    base, report = ABCFuseNetModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    weights = model.abc_fusenet.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in base.state_dict().items())


def test_branches_and_labels_must_fit():
    model, pixel_values = build("tiny"), photos(2)
    shape = (2, *pixel_values.shape[-2:])
    with pytest.raises(ValueError, match="branches must name one or more of blur, attention, content; got blurr"):
        model(pixel_values, branches=("blurr",))
    for labels in ({"labels": torch.zeros(2).long()}, {"attention_labels": torch.zeros(shape).long()}):
        with pytest.raises(ValueError, match="need branches that do not run: branches is blur"):
            model(pixel_values, branches=("blur",), **labels)
