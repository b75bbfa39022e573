"""The configuration: the paper's defaults, strictness, and what a wrong value says."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError

from abc_hf.configuration_abc_fusenet import DESIRABILITY, MAPS, VARIANTS, ABCFuseNetConfig

FIELDS = set(ABCFuseNetConfig.__dataclass_fields__)


def test_the_default_is_the_paper():
    config = ABCFuseNetConfig()
    assert VARIANTS["paper"] == {}
    assert (config.blur_trunk, config.attention_trunk, config.content_trunk) == ("inception_v2",) * 2 + ("resnet",)
    assert tuple(config.resnet_depths) == (3, 4, 6, 3) and tuple(config.resnet_hidden_sizes) == (256, 512, 1024, 2048)
    assert config.resnet_layer_type == "bottleneck" and config.width_multiplier == 1
    assert tuple(config.pyramid_bins) == (1, 2, 3, 6) and tuple(config.skip_strides) == (2,)
    assert tuple(config.fusion_inputs) == ("blur_attended", "blur_unattended", "content")
    assert (config.fusion_dropout, config.desirability_loss_weight) == (0.5, 0.1)
    assert config.blur_loss_reduction == "sum" and config.temperature == 1


def test_classes_are_those_of_the_paper_in_its_order():
    config = ABCFuseNetConfig()
    assert DESIRABILITY == ("no-blur", "good-blur", "ok-blur", "bad-blur")
    assert config.id2label == dict(enumerate(DESIRABILITY))
    assert config.label2id == {label: index for index, label in config.id2label.items()}
    assert config.num_labels == 4
    assert ABCFuseNetConfig(num_labels=5).num_labels == 5
    assert ABCFuseNetConfig(id2label={0: "sharp", 1: "blurred"}).num_labels == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_valid_and_only_name_fields(variant):
    overrides = VARIANTS[variant]
    assert overrides.keys() <= FIELDS  # an unknown keyword would be stored without a word
    config = ABCFuseNetConfig(**overrides)
    assert all(getattr(config, name) == value for name, value in overrides.items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_json_round_trip(variant, tmp_path):
    config = ABCFuseNetConfig(**VARIANTS[variant], temperature=1.7)
    assert ABCFuseNetConfig.from_dict(json.loads(config.to_json_string(use_diff=False))).to_dict() == config.to_dict()
    config.save_pretrained(tmp_path)
    loaded = ABCFuseNetConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.id2label == dict(enumerate(DESIRABILITY)) and loaded.temperature == 1.7


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width_multiplier", "wide"),
        ("blur_trunk", "vgg"),
        ("blur_trunk", "resnet"),
        ("blur_trunk", None),
        ("content_trunk", "inception_v2"),
        ("blur_output_stride", 32),
        ("attention_output_stride", 4),
        ("resnet_depths", (3, 4, "6", 3)),
        ("pyramid_bins", 6),
        ("refinement_layers", 2.5),
        ("fusion_inputs", "content"),
        ("blur_loss_reduction", "max"),
    ],
)
def test_wrong_types_and_unknown_choices_are_refused(field, value):
    with pytest.raises(StrictDataclassError, match=field):
        ABCFuseNetConfig(**{field: value})
    config = ABCFuseNetConfig()
    before = getattr(config, field)
    with pytest.raises(StrictDataclassError, match=field):
        setattr(config, field, value)
    assert getattr(config, field) == before


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"fusion_inputs": ("blur", "depth")}, f"fusion_inputs must name some of {', '.join(MAPS)}; got "),
        ({"fusion_inputs": ()}, "fusion_inputs must name some of "),
        ({"content_output_stride": 16}, 'content_trunk="resnet" has content_output_stride=32; choose '),
        ({"attention_trunk": None}, "attention_trunk=None shares the content trunk, which must then be "),
        ({"resnet_depths": (3, 4, 6)}, "resnet_depths and resnet_hidden_sizes need four entries"),
        ({"resnet_hidden_sizes": (8, 16)}, "resnet_depths and resnet_hidden_sizes need four entries"),
        ({"pyramid_bins": (1, 0)}, "pyramid_bins must be positive grid sizes"),
        ({"skip_strides": (2, 16)}, "skip_strides must be some of 2, 4 and 8"),
        ({"width_multiplier": 0.0}, "width_multiplier must be between 1/16 and 16; got 0.0"),
        ({"width_multiplier": 0.001}, "width_multiplier must be between 1/16 and 16; got 0.001"),
        ({"fusion_inputs": ("blur", "blur")}, "fusion_inputs must name each map once; got "),
        ({"resnet_depths": (3, 0, 6, 3)}, "resnet_depths must be 1 or more; got 0"),
        ({"decoder_channels": 0}, "decoder_channels must be 1 or more; got 0"),
        ({"fusion_channels": -4}, "fusion_channels must be 1 or more; got -4"),
        ({"refinement_layers": -1}, "refinement_layers must be 0 or more; got -1"),
        ({"desirability_loss_weight": -1.0}, "desirability_loss_weight must be 0 or more; got -1.0"),
        ({"temperature": float("nan")}, "temperature must be above 0; got nan"),
        ({"temperature": -1.0}, "temperature must be above 0; got -1.0"),
        ({"fusion_dropout": 1.0}, "fusion_dropout must be in [0, 1); got 1.0"),
    ],
)
def test_fields_that_do_not_fit_get_one_clear_sentence(overrides, sentence, tmp_path):
    with pytest.raises(StrictDataclassError) as caught:
        ABCFuseNetConfig(**overrides)
    message = str(caught.value.__cause__)
    assert message.startswith(sentence) and message.endswith(".") and "\n" not in message

    config = ABCFuseNetConfig()
    for field, value in overrides.items():
        setattr(config, field, value)
    with pytest.raises(StrictDataclassError):  # what was assigned later is refused before it is saved
        config.save_pretrained(tmp_path)


def test_every_field_is_documented():
    own = [name for name in ABCFuseNetConfig.__annotations__ if name not in ("model_type", "num_channels")]
    undocumented = [name for name in own if name not in ABCFuseNetConfig.__doc__]
    assert undocumented == ["initializer_range"]  # transformers' own


@pytest.mark.parametrize(("typo", "meant"), [("blur_trnk", "blur_trunk"), ("width_multiplyer", "width_multiplier")])
def test_a_typo_is_not_kept_as_an_attribute(typo, meant):
    with pytest.raises(TypeError, match=f"has no {typo}; did you mean {meant}?"):
        ABCFuseNetConfig(**{typo: 1})
