"""Settings: presets, checks, texts, and that nothing repeats them."""

import dataclasses
import inspect
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_nst import StyleTransferParameters, transfer_style
from napari_nst.errors import ParameterError
from napari_nst.settings.layers import DOCUMENTED_LAYERS, LAYERS
from napari_nst.settings.presets import PRESETS
from napari_nst.settings.session import split_settings
from napari_nst.transfer.options import TransferOptions

SPECS = {spec.name: spec for spec in StyleTransferParameters.specs()}
FIELDS = list(SPECS)
PRESET_FIELDS = set(StyleTransferParameters.of_preset("documented"))

layer_names = st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=4, unique=True).map(tuple)
numbers = st.floats(0, 1e12)
VALUES = {
    "bool": lambda spec: st.booleans(),
    "int": lambda spec: st.integers(int(spec.minimum), int(spec.maximum)),
    "float": lambda spec: st.floats(spec.minimum, spec.maximum),
    "choice": lambda spec: st.sampled_from(spec.choices),
    "names": lambda spec: layer_names,
    "numbers": lambda spec: st.lists(numbers, max_size=4).map(tuple),
    "range": lambda spec: st.one_of(
        st.sampled_from(["auto", "percentiles"]),
        st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)).filter(lambda pair: pair[0] < pair[1]),
    ),
    "text": lambda spec: st.sampled_from(
        ["auto", "cpu", "cuda:1"] if spec.name == "device" else ["embedded", "caffe:a b/vgg.pth"]
    ),
}


def test_the_documented_defaults():
    p = StyleTransferParameters()
    assert (p.alpha, p.beta, p.lr, p.epoch) == (1.0, 0.1, 0.001, 100)
    assert (p.preset, p.device, p.precision) == ("documented", "auto", "auto")
    assert p.content_layers == p.style_layers == DOCUMENTED_LAYERS
    assert (p.optimizer, p.gram, p.clip, p.padding, p.fit_pools, p.tolerance) == (
        "adam",
        "sum",
        False,
        "zeros",
        False,
        0,
    )


def test_the_quick_preset_minimizes_what_the_documented_one_does():
    quick, documented = (StyleTransferParameters(preset=name).asdict() for name in ("quick", "documented"))
    changed = {k for k in quick if quick[k] != documented[k]}
    assert changed == {"preset", "lr", "epoch", "lr_decay", "adam_beta1", "adam_beta2"}
    assert (quick["epoch"], quick["lr"], quick["lr_decay"]) == (25, 0.01, "cosine")


def test_the_texture_preset():
    p = StyleTransferParameters(preset="texture")
    assert (p.alpha, p.beta, p.lr, p.epoch, p.optimizer) == (1.0, 1.0, 0.01, 100, "adam")
    assert p.content_layers == ("relu3_1",)
    assert p.style_layers == ("relu1_1", "relu2_1", "relu3_1")
    assert p.gram == "mean"


def test_the_preset_of_gatys():
    p = StyleTransferParameters(preset="gatys")
    assert p.content_layers == ("relu4_2",)
    assert p.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert p.gram == "mean"
    assert p.optimizer == "lbfgs"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_states_what_differs_and_its_source(name):
    preset = PRESETS[name]
    assert set(preset.values) <= PRESET_FIELDS <= set(FIELDS)
    assert all(value != SPECS[field].default for field, value in preset.values.items())
    assert set(StyleTransferParameters.of_preset(name)) == PRESET_FIELDS
    assert len(preset.source) > 40
    assert preset.summary
    for optimizer in SPECS["optimizer"].choices:
        p = StyleTransferParameters(preset=name, optimizer=optimizer)
        assert p.optimizer == optimizer
    assert StyleTransferParameters(preset=name).asdict().items() >= StyleTransferParameters.of_preset(name).items()
    assert name in SPECS["preset"].choices


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("field", sorted(PRESET_FIELDS - {"optimizer"}))
def test_a_preset_fills_only_what_was_not_passed(name, field):
    # The default passed explicitly is passed, too.
    default = SPECS[field].default
    p = StyleTransferParameters(
        preset=name, **{field: default} | ({"style_layer_weights": ()} if "style" in field else {})
    )
    assert getattr(p, field) == default
    others = PRESET_FIELDS - {field, "style_layer_weights"}
    preset = StyleTransferParameters.of_preset(name)
    assert all(getattr(p, other) == preset[other] for other in others)


def test_a_learning_rate_belongs_to_its_optimizer():
    assert StyleTransferParameters(optimizer="lbfgs").lr == 1.0
    assert StyleTransferParameters(preset="gatys", optimizer="adam").lr == 0.02
    quick = StyleTransferParameters(preset="quick", optimizer="lbfgs")
    assert (quick.lr, quick.epoch) == (1.0, 16)
    assert StyleTransferParameters(preset="gatys", optimizer="adam", lr=0.5).lr == 0.5


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_described(name):
    spec = SPECS[name]
    assert spec.help.endswith((".", ")"))
    assert spec.label
    assert getattr(StyleTransferParameters(), name) == spec.default
    assert (spec.kind == "choice") == bool(spec.choices)
    if spec.kind in ("int", "float"):
        assert spec.minimum is not None
        assert spec.maximum is not None


@given(st.data())
@pytest.mark.parametrize("name", FIELDS)
def test_every_value_survives_the_way_through_text(name, data):
    spec = SPECS[name]
    value = data.draw(VALUES[spec.kind](spec))
    assert spec.from_text(spec.to_text(value)) == value


@st.composite
def settings_given(draw):
    given_ = {}
    for name in draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=6)):
        if name not in ("content_layer_weights", "style_layer_weights"):
            given_[name] = draw(VALUES[SPECS[name].kind](SPECS[name]))
    for role in ("content", "style"):
        if f"{role}_layers" in given_:
            count = len(given_[f"{role}_layers"])
            given_[f"{role}_layer_weights"] = tuple(
                draw(st.one_of(st.just([]), st.lists(numbers, min_size=count, max_size=count)))
            )
    if "tile" in given_:
        # Below the halo of the layers a tile is refused: tested with the tiles.
        given_["tile"] = 0 if given_["tile"] < 512 else given_["tile"]
    if given_.get("alpha") == 0:
        given_["alpha"] = 1.0
    # Contradictions are refused: of noise there is nothing to trust, and L-BFGS takes no limit.
    if given_.get("init") == "noise":
        given_ |= {"max_change": 0.0, "content_from": "target"}
    elif given_.get("max_change"):
        given_["optimizer"] = "adam"
    return given_


@given(settings_given())
def test_what_changed_gives_the_same_parameters_back(given_):
    p = StyleTransferParameters(**given_)
    assert StyleTransferParameters(**p.changed()) == p
    assert StyleTransferParameters(**p.asdict()) == p


def test_what_changed_is_short():
    assert StyleTransferParameters().changed() == {}
    assert StyleTransferParameters(preset="texture", alpha=1.0).changed() == {"preset": "texture"}
    assert StyleTransferParameters(lr=0.01).changed() == {"lr": 0.01}
    assert StyleTransferParameters(optimizer="lbfgs").changed() == {"optimizer": "lbfgs"}


BAD = [
    ("preset", "nicest", "documented, quick, microscopy, texture, gatys"),
    ("preset", None, "documented, quick, microscopy, texture, gatys"),
    ("alpha", -1, "from 0 to"),
    ("alpha", math.nan, "from 0 to"),
    ("alpha", "much", "a number"),
    ("beta", math.inf, "from 0 to"),
    ("beta", True, "a number"),
    ("lr", 0, "from 1e-09 to 1000"),
    ("lr", None, "a number"),
    ("epoch", 0, "at least|from 1"),
    ("epoch", 2.5, "a whole number"),
    ("epoch", math.nan, "a whole number"),
    ("epoch", math.inf, "a whole number"),
    ("epoch", "ten", "a whole number"),
    ("device", "gpu", "Where to compute: auto"),
    ("device", 0, "Where to compute: auto"),
    ("fallback", 1, "True or False"),
    ("precision", "float16", "auto, float32, float64, bfloat16"),
    ("threads", -1, "from 0"),
    ("weights", "", "torchvision"),
    ("weights", None, "torchvision"),
    ("optimizer", "sgd", "adam, lbfgs"),
    ("lr_decay", "linear", "none, cosine"),
    ("adam_beta1", 1.0, "from 0 to 0.9999"),
    ("adam_beta2", -0.1, "from 0 to 0.999999"),
    ("optimizer", ["adam"], "adam, lbfgs"),
    ("content_layers", (), "at least one"),
    ("content_layers", ("relu9_9",), "relu9_9"),
    ("content_layers", ("relu1_1", "relu1_1"), "twice"),
    ("content_layers", (1,), "a sequence of names"),
    ("content_layers", (["relu1_1"],), "a sequence of names"),
    ("content_layers", 3, "a sequence"),
    ("content_layer_weights", (1.0,), "5 layers"),
    ("content_layer_weights", (1, 1, 1, 1, -1), "at least 0"),
    ("content_layer_weights", (1, 1, 1, 1, "a"), "a sequence of numbers"),
    ("content_layer_weights", (1, 1, 1, 1, None), "a sequence of numbers"),
    ("style_layers", "relu1_1, pool9", "pool9"),
    ("gram", "max", "sum, matched, mean"),
    ("padding", "circular", "zeros, replicate, reflect"),
    ("init", "random", "target, spectrum, wiener, noise"),
    ("tolerance", 101, "from 0 to 100 %"),
    ("window", 0, "from 1"),
    ("seed", -1, "from 0"),
    ("seed", 2**40, "from 0"),
    ("channels", "gray", "auto, rgb"),
    ("value_range", "all", "auto, percentiles"),
    ("value_range", (5, 5), "lower first"),
    ("value_range", (0, math.inf), "finite"),
    ("value_range", (0, 1, 2), "two"),
    ("value_range", 5, "range"),
    ("value_range", None, "range"),
    ("value_range", ("a", "b"), "range|number"),
    ("match_pixel_size", "yes", "True or False"),
]


@pytest.mark.parametrize(("name", "value", "remedy"), BAD, ids=[f"{n}={v!r}" for n, v, _ in BAD])
def test_a_bad_value_is_reported_with_field_value_and_remedy(name, value, remedy):
    with pytest.raises(ParameterError, match=remedy) as caught:
        StyleTransferParameters(**{name: value})
    text = str(caught.value)
    assert name in text
    if "layer" not in name and value != "":
        assert repr(value) in text or all(repr(float(v)) in text for v in value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("alpha", "much"), ("epoch", "1.5"), ("epoch", "nan"), ("epoch", "inf"), ("clip", "perhaps"),
        ("style_layer_weights", "1, x"), ("value_range", "1"), ("value_range", "a, b"),
    ],
)  # fmt: skip
def test_a_bad_text_is_reported_by_field(name, text):
    with pytest.raises(ParameterError, match=f"^`{name}` must be .*, got {text!r}"):
        SPECS[name].from_text(text)


def test_nothing_to_optimise_is_refused():
    with pytest.raises(ParameterError, match="nothing to optimize"):
        StyleTransferParameters(alpha=0, beta=0)
    assert StyleTransferParameters(alpha=0, beta=0, tv_weight=1).tv_weight == 1


def test_values_become_plain_python_types():
    p = StyleTransferParameters(
        epoch=np.int64(3), lr=np.float32(0.5), clip=np.bool_(True), content_layers=["relu1_1"], alpha=2, threads=1.0
    )
    assert [type(v) for v in (p.epoch, p.lr, p.clip, p.alpha, p.threads)] == [int, float, bool, float, int]
    assert p.content_layers == ("relu1_1",)
    assert hash(p) == hash(StyleTransferParameters(**p.asdict()))


def test_an_unknown_parameter_is_reported_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"`epochs` is not a parameter.*epoch"):
        StyleTransferParameters(epochs=3)
    with pytest.raises(ParameterError, match=r"`learning_rate` is not a parameter"):
        transfer_style(np.zeros((16, 16)), np.zeros((16, 16)), learning_rate=1)


def test_every_wrong_value_is_named_at_once():
    with pytest.raises(ParameterError) as caught:
        StyleTransferParameters(alpha=-1, epoch="many", momentum=0.9)
    text = str(caught.value)
    assert "`alpha` must be a number from 0 to 1e+12, got -1. Try 1.0." in text
    assert "`epoch` must be a whole number from 1 to 1e+06 steps, got 'many'. Try 100." in text
    assert "`momentum` is not a parameter." in text


@pytest.mark.parametrize("make", [StyleTransferParameters.model_validate, StyleTransferParameters.from_record])
def test_no_way_of_making_them_raises_errors_of_pydantic(make):
    assert make({"preset": "texture", "style_layers": ["relu1_1"]}).style_layers == ("relu1_1",)
    with pytest.raises(ParameterError, match="`lr` must be a number"):
        make({"lr": "fast"})
    with pytest.raises(ParameterError, match="preset"):
        StyleTransferParameters.model_validate_json('{"preset": "none"}')
    with pytest.raises(ParameterError):
        StyleTransferParameters.model_validate("texture")


def test_parameters_are_frozen_and_copied_with_changes_that_are_checked():
    p = StyleTransferParameters(preset="texture")
    with pytest.raises(ValidationError):
        p.lr = 1.0
    assert p.replace(lr=0.5).asdict() == p.asdict() | {"lr": 0.5}
    with pytest.raises(ParameterError, match="`lr`"):
        p.replace(lr=-1)
    assert pickle.loads(pickle.dumps(p)) == p


def test_a_former_name_is_accepted_with_a_warning_and_read_silently_from_records():
    with pytest.warns(DeprecationWarning, match="`trust` was renamed. Use `max_change`") as caught:
        p = StyleTransferParameters(trust=0.02)
    assert caught[0].filename == __file__
    assert p == StyleTransferParameters(max_change=0.02) == StyleTransferParameters.from_record({"trust": 0.02})
    with pytest.raises(ParameterError, match="`trust` is not a parameter"):
        StyleTransferParameters(trust=0.02, max_change=0.02)
    with pytest.warns(DeprecationWarning, match="Use `pixel_size`"):
        session, _ = split_settings({"scale": 0.4, "max_change": 0.01})
    assert session.pixel_size == 0.4


def test_a_removed_parameter_is_ignored_where_it_changed_nothing():
    assert StyleTransferParameters(scales=1) == StyleTransferParameters()
    with pytest.raises(ParameterError, match="`scales` was removed, got 2"):
        StyleTransferParameters(scales=2)


def test_transfer_style_takes_the_fields_and_repeats_none_of_them():
    own = inspect.signature(transfer_style).parameters
    assert not set(own) & set(FIELDS)
    assert own["parameters"].kind is inspect.Parameter.VAR_KEYWORD
    assert list(own)[:2] == ["target", "style"]
    options = {field.name for field in dataclasses.fields(TransferOptions)}
    assert set(own) == {"target", "style", "callback", "cancel", "parameters"} | options
