"""Every method through one function: types, masks, value ranges, and what becomes of the image."""

import inspect
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import arguments_from, transfer_style
from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.histogram import match_histogram
from napari_nst.imaging.range_correction import RangeCorrection, correct_range
from napari_nst.imaging.spectrum import match_spectrum
from napari_nst.methods import METHODS, enhance_patch
from napari_nst.settings.session import SessionSettings

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {
    "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "epoch": 2,
    "device": "cpu", "threads": 1,
}  # fmt: skip
CLOSED = {"histogram": match_histogram, "spectrum": match_spectrum}
TRANSFERS = ("nst", "spectrum+nst")
BYTE = (0.0, 255.0)


@pytest.fixture(scope="module")
def small(pair):
    return pair.target[:40, :48], pair.style[:32, :40]


@pytest.fixture(scope="module")
def masks(small):
    target, style = (np.ones(p.shape, bool) for p in small)
    target[:, :9] = style[20:] = False
    return target, style


def enhance(method, target, style, **options):
    return enhance_patch(method, target, style, **{"value_range": BYTE, "parameters": QUICK, **options})


def scaled(image, dtype):
    """A uint8 image on a scale of that type, and the scale."""
    low, high = {"uint8": (0, 255), "uint16": (300, 40000), "int16": (-2000, 9000)}.get(dtype, (-1.5, 8.0))
    values = low + image / 255 * (high - low)
    return (np.rint(values) if np.dtype(dtype).kind in "ui" else values).astype(dtype), (float(low), float(high))


def test_the_registry_names_every_method():
    assert tuple(METHODS) == ("nst", "histogram", "spectrum", "spectrum+nst", "none")
    assert all(name == method.name and method.summary.endswith(".") for name, method in METHODS.items())
    assert [name for name, method in METHODS.items() if not method.uses_style] == ["none"]
    assert tuple(name for name, method in METHODS.items() if method.transfers) == TRANSFERS
    assert set(SessionSettings.spec("method").choices) == set(METHODS)
    with pytest.raises(TypeError):
        METHODS["mine"] = METHODS["none"]
    assert inspect.signature(enhance_patch).parameters["method"].annotation == "str"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", ">u2"])
@pytest.mark.parametrize("method", METHODS)
def test_shape_type_and_range_stay_under_every_method(method, dtype, small):
    target, scale = scaled(small[0], dtype.replace(">u2", "uint16"))
    target = target.astype(dtype)
    style, style_scale = scaled(small[1], "uint16")
    before = target.copy(), style.copy()
    made = enhance(method, target, style, value_range=scale, style_value_range=style_scale)
    assert made.image.shape == target.shape
    assert made.image.dtype == np.dtype(dtype)
    assert not np.shares_memory(made.image, target)
    assert made.image.min() >= scale[0] - 1e-6
    assert made.image.max() <= scale[1] + 1e-6
    assert (made.image != target).any() == (method != "none")
    assert np.array_equal(target, before[0])
    assert np.array_equal(style, before[1])
    assert made.stopped == ("finished" if method in TRANSFERS else "done")
    assert (made.losses is not None) == (method in TRANSFERS)
    record = json.loads(json.dumps(made.metadata))
    assert record["method"] == method
    assert record["value_range"] == list(scale)
    if method != "none":
        assert record["style_value_range"] == list(style_scale)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("method", CLOSED)
def test_closed_forms_are_applied_on_the_unit_scales(method, dtype, small, masks):
    (target, scale), (style, style_scale) = scaled(small[0], dtype), scaled(small[1], "int16")
    made = enhance(
        method,
        target,
        style,
        value_range=scale,
        style_value_range=style_scale,
        target_mask=masks[0],
        style_mask=masks[1],
    )
    span, style_span = scale[1] - scale[0], style_scale[1] - style_scale[0]
    wanted = CLOSED[method](
        (target.astype(float) - scale[0]) / span,
        (style.astype(float) - style_scale[0]) / style_span,
        mask=masks[0],
        style_mask=masks[1],
    )
    expected = scale[0] + span * wanted.clip(0, 1)
    atol = 0.51 if np.dtype(dtype).kind in "ui" else 1e-5
    np.testing.assert_allclose(made.image[masks[0]], expected[masks[0]], atol=atol)
    assert np.array_equal(made.image[~masks[0]], target[~masks[0]])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_pixels_outside_the_masks_have_no_influence_and_keep_their_values(method, dtype, small, masks):
    hidden = np.nan if dtype == "float32" else 0
    spoilt = np.where(masks[0], small[0], hidden).astype(dtype)
    results = [
        enhance(
            method, spoilt, np.where(masks[1], small[1], other).astype(dtype), target_mask=masks[0], style_mask=masks[1]
        )
        for other in (hidden, 255)
    ]
    assert np.array_equal(results[0].image, results[1].image, equal_nan=True)
    assert np.array_equal(results[0].image[~masks[0]], spoilt[~masks[0]], equal_nan=True)
    assert np.isfinite(results[0].image[masks[0]]).all()


@pytest.mark.parametrize("method", METHODS)
def test_masks_that_leave_nothing_out_are_no_masks(method, small):
    plain = enhance(method, *small)
    masked = enhance(method, *small, target_mask=np.ones(small[0].shape, int), style_mask=np.ones(small[1].shape))
    assert np.array_equal(plain.image, masked.image)
    if method in TRANSFERS:
        assert masked.metadata["arguments"]["mask"] is None
        assert masked.metadata["arguments"]["style_mask"] is None


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(16, 30), st.integers(16, 30)),
    dtype=st.sampled_from(["uint8", "uint16", "int32", "int64", "float16", "float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_none_is_equal_to_the_last_bit(shape, dtype, seed):
    values = np.random.default_rng(seed).integers(0, 256, (*shape, 8), dtype=np.uint8)
    target = values.view(dtype)[..., 0].copy()  # any bits: NaN, infinities, the ends of integers
    made = enhance_patch("none", target, None, value_range=(0, 1))
    assert made.image.tobytes() == target.tobytes()
    assert not np.shares_memory(made.image, target)


@pytest.mark.parametrize("method", CLOSED)
def test_a_patch_that_is_its_own_style_stays_to_the_last_bit(method, small):
    for image in (small[0], (small[0] * np.uint16(150))):
        made = enhance(method, image, image, value_range=(0, int(image.max()) + 1))
        assert np.array_equal(made.image, image)


@pytest.mark.parametrize("method", CLOSED)
def test_values_beyond_the_range_of_the_image_saturate(method, small):
    # A style of far more contrast: what goes beyond black and white ends there, in every type.
    for dtype in ("uint8", "float64"):
        made = enhance(method, small[0].astype(dtype), small[1], style_value_range=(60, 90))
        assert made.image.min() == 0
        assert made.image.max() == pytest.approx(255, rel=1e-15)


# Style transfers


@pytest.mark.parametrize(("method", "init"), [("nst", "target"), ("spectrum+nst", "spectrum")])
def test_transfers_are_those_of_transfer_style(method, init, small, masks):
    target, style = small[0].astype(np.uint16) * 16, small[1]
    seen = []
    options = {"value_range": (0, 4095), "style_value_range": BYTE, "style_mask": masks[1]}
    made = enhance(method, target, style, target_mask=masks[0], **options, callback=seen.append)
    expected = transfer_style(target, style, **QUICK, **options, mask=masks[0], init=init)
    assert np.array_equal(made.image, expected.image)
    assert np.array_equal(made.losses.total, expected.losses.total)
    assert made.stopped == expected.stopped
    assert [progress.step for progress in seen] == [1, 2]
    again = transfer_style(target, style, **arguments_from(json.loads(json.dumps(made.metadata))))
    assert np.array_equal(again.image, made.image)


def test_the_two_transfers_differ_in_their_start(small):
    plain, started = (enhance(method, *small) for method in TRANSFERS)
    assert not np.array_equal(plain.image, started.image)
    assert plain.losses.original[0] == 0
    assert started.losses.original[0] > 0


def test_the_images_range_takes_the_place_of_the_parameter(small):
    made = enhance("nst", *small, parameters={**QUICK, "value_range": "percentiles"})
    assert np.array_equal(made.image, enhance("nst", *small).image)


@pytest.mark.parametrize("method", [*TRANSFERS, "none"])
def test_color_goes_through_the_methods_that_keep_it_together(method, small):
    target, style = (np.stack([p, p[::-1], p[:, ::-1]], axis=-1) for p in small)
    made = enhance(method, target, style)
    assert made.image.shape == target.shape
    assert made.image.dtype == np.uint8


@pytest.mark.parametrize("method", CLOSED)
def test_color_is_refused_where_channels_would_drift_apart(method, small):
    color = np.stack([small[0]] * 3, axis=-1)
    with pytest.raises(ImageError, match=r"target is RGB.*take the method 'nst'"):
        enhance(method, color, small[1])
    with pytest.raises(ImageError, match="style is RGB"):
        enhance(method, small[1], color)


# The faults of the documented system


def test_histogram_matching_works_and_no_transfer_follows(small):
    made = enhance("histogram", *small)
    assert made.losses is None
    ours, theirs = (np.percentile(p, np.arange(5, 100, 5)) for p in (made.image, small[1]))
    assert np.abs(ours - theirs).max() < 3
    assert np.abs(np.percentile(small[0], np.arange(5, 100, 5)) - theirs).max() > 10


@pytest.mark.parametrize("method", METHODS)
def test_the_range_correction_that_came_before_is_not_thrown_away(method, small):
    corrected = correct_range(small[0], RangeCorrection("std")).image
    made = enhance(method, corrected, small[1])
    if method == "none":
        assert np.array_equal(made.image, corrected)
    else:
        assert not np.array_equal(made.image, enhance(method, *small).image)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_a_missing_style_is_reported(method, small):
    with pytest.raises(ParameterError, match=f"method '{method.replace('+', '.')}' needs a style"):
        enhance(method, small[0], None)


def test_sixteen_bits_stay_sixteen_bits_and_gray(small):
    target = 30000 + small[0].astype(np.uint16) * 20
    for method in TRANSFERS:
        made = enhance(method, target, small[1], value_range=(30000, 35100), style_value_range=BYTE)
        assert made.image.dtype == np.uint16
        assert made.image.ndim == 2
        assert len(np.unique(made.image)) > 300  # an 8-bit detour would leave 256 at most


# Stopping, and bad input


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_a_stop_is_obeyed(method, small):
    event = threading.Event()
    event.set()
    for cancel in (event, lambda: True):
        made = enhance(method, *small, cancel=cancel)
        assert made.stopped == "cancelled"
        if method != "spectrum+nst":  # which has its start by then
            assert np.array_equal(made.image, small[0])
    assert enhance(method, *small, cancel=threading.Event()).stopped in ("done", "finished")


@pytest.mark.parametrize("method", ["NST", "", "match", None])
def test_other_methods_are_refused(method, small):
    with pytest.raises(
        ParameterError, match=r"`method` must be one of nst, histogram, spectrum, spectrum\+nst, none, got "
    ):
        enhance(method, *small)


@pytest.mark.parametrize("value", [(1, 1), (2, 1), (0, np.nan), (0, np.inf), (0,), (0, 1, 2), "auto", 5])
@pytest.mark.parametrize("name", ["value_range", "style_value_range"])
def test_ranges_that_cannot_be_used(name, value, small):
    with pytest.raises(ParameterError, match=f"^`{name}` must be two finite numbers.*Try "):
        enhance("spectrum", *small, **{name: value})


@pytest.mark.parametrize(("name", "value"), [("momentum", 1), ("mask", None), ("initial", "spectrum"), ("lr", -1)])
def test_parameters_that_cannot_be_used(name, value, small):
    with pytest.raises(ParameterError, match=name):
        enhance("nst", *small, parameters={**QUICK, name: value})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.zeros((3, 20, 20)), "gray"),
        (np.zeros((20, 20, 4)), "RGB"),
        (np.zeros(9), "shape"),
        (np.eye(20, dtype=bool), "bool"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_patch(method, target, message, small):
    with pytest.raises(ImageError, match=message):
        enhance(method, target, small[1])


@pytest.mark.parametrize("method", [name for name in METHODS if name != "none"])
def test_a_patch_without_structure_is_reported(method, small):
    with pytest.raises(ImageError, match="target is constant"):
        enhance(method, np.full((20, 20), 7, np.uint8), small[1])
    with pytest.raises(ImageError, match="style is constant"):
        enhance(method, small[0], np.full((20, 20), 7, np.uint8))
    with pytest.raises(ImageError, match="mask has shape"):
        enhance(method, *small, target_mask=np.ones((3, 3)))


def test_torch_is_imported_by_a_transfer_only():
    code = (
        "import sys, numpy as np\n"
        "from napari_nst.methods import enhance_patch\n"
        "rng = np.random.default_rng(0)\n"
        "pair = rng.normal(size=(2, 20, 20))\n"
        "for method in ('none', 'histogram', 'spectrum'):\n"
        "    enhance_patch(method, *pair, value_range=(-3, 3), cancel=lambda: False)\n"
        "print([name for name in ('torch', 'cv2', 'matplotlib', 'napari') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
    assert not done.stderr
