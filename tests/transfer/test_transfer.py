"""Images through transfer_style: every kind goes in and comes out as it was, or is refused with the reason."""

import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst import transfer_style
from napari_nst.errors import ImageError, OutOfMemoryError, ParameterError, StyleTransferWarning
from napari_nst.settings.presets import PRESETS

pytestmark = pytest.mark.usefixtures("one_thread")

#: Shallow layers and two steps: a real run in a few hundredths of a second.
QUICK = {
    "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "epoch": 2,
    "device": "cpu", "threads": 1,
}  # fmt: skip
#: Content alone, from the target: its gradient is exactly 0, so nothing may change.
STILL = {**QUICK, "alpha": 1.0, "beta": 0.0, "clip": False}
DTYPES = ["uint8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64", "float16", "int8"]


def scaled(image, dtype):
    """A uint8 image spread over a type, all of it for integers."""
    if np.dtype(dtype).kind == "f":
        return (image * 3.7 - 100).astype(dtype)
    info = np.iinfo(dtype)
    unit = image / 255.0
    return (unit * (info.max // 2) + (1 - unit) * (info.min // 2)).astype(dtype)


@pytest.fixture(scope="module")
def small(pair):
    return pair.target[:24, :32], pair.style[:24, :32]


# Nothing changes where nothing is optimised


@pytest.mark.parametrize("value_range", ["auto", "percentiles", "quartiles"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_change_the_image_is_the_same_to_the_last_bit(dtype, value_range, small):
    target, style = scaled(small[0], dtype), scaled(small[1], dtype)
    if value_range == "quartiles":
        value_range = tuple(np.percentile(target.astype(float), (25, 75)))
    result = transfer_style(target, style, **STILL, value_range=value_range)
    assert result.image.dtype == target.dtype
    assert np.array_equal(result.image, target)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_without_a_change_any_image_is_the_same_to_the_last_bit(dtype, data):
    elements = (
        {"allow_nan": False, "allow_infinity": False, "min_value": -(2.0**100), "max_value": 2.0**100}
        if "f" in dtype
        else {}
    )
    target = data.draw(arrays(dtype, (16, 16), elements=elements))
    target[0, 0] = 1 if target[0, 1] == 0 else 0
    style = np.add.outer(np.arange(16), np.arange(16)).astype(dtype)
    value_range = data.draw(st.sampled_from(["auto", "percentiles"]))
    result = transfer_style(target, style, **{**STILL, "epoch": 1}, value_range=value_range)
    assert np.array_equal(result.image, target)
    assert result.image.dtype == target.dtype


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_values_outside_a_given_range_survive(dtype, small):
    target = small[0].astype(dtype) + 1000
    target[3, 4], target[5, 6] = 0, 30000
    style = small[1].astype(dtype) + 1000
    result = transfer_style(target, style, **QUICK, value_range=(1000, 1255))
    assert abs(int(result.image[3, 4])) < 100
    assert abs(int(result.image[5, 6]) - 30000) < 100
    assert (result.image != target).any()


def test_big_endian_images_keep_their_type(small):
    target = (small[0] * np.uint16(200)).astype(">u2")
    result = transfer_style(target, small[1], **QUICK)
    assert result.image.dtype == np.dtype(">u2")
    native = transfer_style(target.astype("=u2"), small[1], **QUICK)
    assert np.array_equal(result.image, native.image)


def test_scaling_an_image_scales_the_result(small):
    byte = transfer_style(small[0].astype(float), small[1].astype(float), **QUICK)
    other = transfer_style(small[0] * 1e-3 - 7, small[1] * 40.0 + 3, **QUICK)
    np.testing.assert_allclose(other.image, byte.image * 1e-3 - 7, rtol=0, atol=1e-5 * 0.255)


# Layouts


def test_a_run_changes_the_image_and_lowers_the_loss(pair):
    result = transfer_style(pair.target, pair.style, preset="texture", epoch=5, device="cpu")
    assert result.image.shape == pair.target.shape
    assert result.image.dtype == np.uint8
    assert (result.image != pair.target).any()
    assert result.stopped == "finished"
    assert all(loss.shape == (5,) and loss.dtype == np.float64 for loss in result.losses)
    assert result.losses.total[-1] < result.losses.total[0]
    np.testing.assert_allclose(result.losses.total, result.losses.original + result.losses.style, rtol=1e-6)


def test_the_inputs_are_not_touched(small):
    target, style = small[0].astype(np.float64), small[1].astype(np.float64)
    before = target.copy(), style.copy()
    result = transfer_style(target, style, **QUICK)
    assert np.array_equal(target, before[0])
    assert np.array_equal(style, before[1])
    assert not np.shares_memory(result.image, target)


def test_rgb_is_optimised_in_colour(small):
    target = np.stack([small[0], small[0][::-1], 255 - small[0]], axis=-1)
    style = np.stack([small[1]] * 3, axis=-1)
    result = transfer_style(target, style, **QUICK)
    assert result.image.shape == target.shape
    assert result.metadata["used"]["channels"] == 3
    changed = [(result.image[..., c] != target[..., c]).any() for c in range(3)]
    assert all(changed)


def test_the_targets_alpha_is_kept_and_the_styles_not_looked_at(small, rng):
    alpha = rng.integers(0, 256, small[0].shape, dtype=np.uint8)
    target = np.stack([small[0], small[0], small[0], alpha], axis=-1)
    style = np.stack([small[1], small[1], small[1]], axis=-1)
    result = transfer_style(target, np.concatenate([style, alpha[..., None]], axis=-1), **QUICK)
    assert np.array_equal(result.image[..., 3], alpha)
    without = transfer_style(target[..., :3], style, **QUICK)
    assert np.array_equal(result.image[..., :3], without.image)


def test_a_gray_target_stays_gray_under_a_colored_style(small):
    style = np.stack([small[1], small[1] // 2, small[1] // 3], axis=-1)
    result = transfer_style(small[0], style, **QUICK)
    assert result.image.shape == small[0].shape
    assert result.metadata["used"]["channels"] == 1


def test_gray_channels_of_a_style_make_no_difference(small):
    color = np.stack([small[1]] * 3, axis=-1)
    one, other = (transfer_style(small[0], s, **QUICK).image for s in (small[1], color))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_a_stack_gives_what_its_planes_give(small):
    # Under one value range for all; planes of another range would differ, as they must.
    stack = np.stack([small[0], small[0][::-1], small[0][:, ::-1]])
    result = transfer_style(stack, small[1], **QUICK)
    assert result.image.shape == stack.shape
    for plane, expected in zip(result.image, stack, strict=True):
        assert np.array_equal(plane, transfer_style(expected, small[1], **QUICK).image)
    assert len(result.losses.total) == 6
    assert [note["index"] for note in result.metadata["planes"]] == [[0], [1], [2]]


def test_a_stack_of_another_type_has_one_value_range(small):
    stack = np.stack([small[0], small[0] // 2]).astype(np.uint16)
    result = transfer_style(stack, small[1], **QUICK)
    assert result.metadata["used"]["value_range"] == [float(stack.min()), float(stack.max())]


def test_stacks_of_colour_and_of_more_axes(small):
    color = np.stack([np.stack([small[0]] * 3, axis=-1), np.stack([small[0][::-1]] * 3, axis=-1)])
    result = transfer_style(color, small[1], **QUICK)
    assert result.image.shape == color.shape
    deep = np.stack([small[0], small[0][::-1]])[None].repeat(2, axis=0)
    result = transfer_style(deep, small[1], **{**QUICK, "epoch": 1})
    assert result.image.shape == deep.shape
    assert [note["index"] for note in result.metadata["planes"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert np.array_equal(result.image[0], result.image[1])


def test_one_style_for_each_plane(small):
    stack, styles = np.stack([small[0], small[0]]), np.stack([small[1], small[1][::-1, ::-1] // 2])
    result = transfer_style(stack, styles, **QUICK)
    for plane, target, style in zip(result.image, stack, styles, strict=True):
        assert np.array_equal(plane, transfer_style(target, style, **QUICK).image)
    assert not np.array_equal(result.image[0], result.image[1])


def test_a_stack_of_styles_must_fit_the_targets(small):
    with pytest.raises(ImageError, match="choose one plane of the style"):
        transfer_style(small[0], np.stack([small[1]] * 2), **QUICK)
    with pytest.raises(ImageError, match="stack of the same"):
        transfer_style(np.stack([small[0]] * 3), np.stack([small[1]] * 2), **QUICK)


def test_dask_gives_what_numpy_gives(small):
    da = pytest.importorskip("dask.array")
    stack = np.stack([small[0], small[0][::-1]]).astype(np.uint16)
    one = transfer_style(stack, small[1], **QUICK)
    other = transfer_style(da.from_array(stack, chunks=(1, 10, 13)), da.from_array(small[1], chunks=7), **QUICK)
    assert isinstance(other.image, np.ndarray)
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.losses.total, other.losses.total)
    for role in ("target", "style"):
        assert one.metadata[role] == other.metadata[role]


def test_a_list_of_targets_gives_a_list(small):
    targets = [small[0], small[0].astype(np.uint16)[:20]]
    results = transfer_style(targets, small[1], **QUICK)
    assert [r.image.shape for r in results] == [t.shape for t in targets]
    assert np.array_equal(results[0].image, transfer_style(small[0], small[1], **QUICK).image)
    styles = transfer_style(tuple(targets), [small[1], small[1] // 2], **QUICK)
    assert np.array_equal(styles[0].image, results[0].image)
    assert not np.array_equal(styles[1].image, results[1].image)
    assert transfer_style([], small[1]) == []
    with pytest.raises(ImageError, match="2 targets and 3 styles"):
        transfer_style(targets, [small[1]] * 3)


# Masks


@pytest.fixture(scope="module")
def mask(small):
    mask = np.zeros(small[0].shape, bool)
    mask[4:20, 6:30] = True
    mask[10:13, 10:14] = False
    return mask


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("preset", ["documented", "texture"])
def test_masked_pixels_of_the_target_keep_their_values(kind, preset, small, mask):
    settings_ = {**QUICK, "preset": preset, "lr": 0.05}
    result = transfer_style(small[0], small[1], **settings_, mask=(mask * 3).astype(kind), gram="mean")
    assert np.array_equal(result.image[~mask], small[0][~mask])
    assert (result.image[mask] != small[0][mask]).mean() > 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_masked_pixels_of_the_style_have_no_influence(dtype, small, mask, rng):
    target, style = small[0].astype(dtype), small[1].astype(dtype)
    other = style.copy()
    other[~mask] = rng.integers(0, 255, (~mask).sum())
    one, two = (transfer_style(target, s, **QUICK, style_mask=mask) for s in (style, other))
    assert np.array_equal(one.losses.total, two.losses.total)
    assert np.array_equal(one.image, two.image)
    without = transfer_style(target, style, **QUICK)
    assert not np.array_equal(one.losses.style, without.losses.style)


def test_masked_pixels_of_the_style_have_no_influence_when_it_is_resampled(small, mask, rng):
    other = small[1].copy()
    other[~mask] = rng.integers(0, 255, (~mask).sum())
    sizes = {"pixel_size": 1.0, "style_pixel_size": 1.3}
    one, two = (transfer_style(small[0], s, **QUICK, style_mask=mask, **sizes) for s in (small[1], other))
    assert np.array_equal(one.losses.total, two.losses.total)


def test_an_interior_mask_does_not_move_the_value_range(small, mask):
    target = small[0].astype(np.float64)
    target[0, 0] = 1e6
    result = transfer_style(target, small[1], **QUICK, mask=mask)
    assert result.metadata["used"]["value_range"] == [target[mask].min(), target[mask].max()]
    assert result.image[0, 0] == 1e6


def test_the_black_border_is_left_out_of_statistics_and_result(small):
    target, style = np.zeros((40, 48), np.uint8), np.zeros((40, 48), np.uint8)
    target[6:30, 10:42] = np.maximum(small[0], 1)
    style[3:27, 9:41] = np.maximum(small[1], 1)
    result = transfer_style(target, style, **QUICK, mask="border", style_mask="border")
    assert not result.image[target == 0].any()
    assert (result.image != target).any()
    explicit = transfer_style(target, style, **QUICK, mask=target != 0, style_mask=style != 0)
    assert np.array_equal(result.image, explicit.image)
    assert np.array_equal(result.losses.total, explicit.losses.total)


def test_a_border_that_is_not_there_changes_nothing(small):
    target, style = (np.maximum(p, 1) for p in small)
    one = transfer_style(target, style, **QUICK)
    other = transfer_style(target, style, **QUICK, mask="border", style_mask="border")
    assert np.array_equal(one.image, other.image)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (np.ones((24, 31), bool), r"shape \(24, 31\)"),
        (np.zeros((24, 32), bool), "no pixel"),
        (np.full((24, 32), np.nan), "NaN"),
        ("edges", "'edges' is not a mask"),
    ],
    ids=["shape", "empty", "nan", "text"],
)
@pytest.mark.parametrize("name", ["mask", "style_mask"])
def test_masks_that_cannot_be_used(name, given_, message, small):
    with pytest.raises((ImageError, ParameterError), match=message):
        transfer_style(*small, **QUICK, **{name: given_})


# NaN


def test_nan_is_told_with_count_and_place(small):
    target = small[0].astype(np.float32)
    target[7, 9], target[11, 2] = np.nan, np.inf
    with pytest.raises(ImageError, match=r"target has 2 pixel.*row 7, column 9.*mask"):
        transfer_style(target, small[1], **QUICK)
    with pytest.raises(ImageError, match=r"style has 2 pixel"):
        transfer_style(small[0], target, **QUICK)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_outside_the_mask_is_kept_and_does_not_spread(value, small, mask):
    target, style = small[0].astype(np.float32), small[1].astype(np.float32)
    target[0, :], style[-1, 3] = value, value
    result = transfer_style(target, style, **QUICK, mask=mask, style_mask=mask)
    assert np.array_equal(result.image[0], target[0], equal_nan=True)
    assert np.isfinite(result.image[1:]).all()
    assert np.isfinite(result.losses.total).all()


# Pixel sizes


def test_the_style_is_resampled_to_the_targets_pixel_size(small):
    from skimage.transform import resize

    result = transfer_style(*small, **QUICK, pixel_size=0.5, style_pixel_size=(0.75, 0.5))
    assert result.metadata["used"]["style_resampled"] == [1.5, 1.0]
    larger = resize(small[1] / 255.0, (36, 32), order=1, mode="reflect", anti_aliasing=True) * 255
    expected = transfer_style(small[0], larger, **QUICK, style_value_range=(0, 255))
    np.testing.assert_allclose(result.losses.style, expected.losses.style, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pixel_size": 0.5, "style_pixel_size": 0.5},
        {"pixel_size": 0.5, "style_pixel_size": 0.50001},
        {"pixel_size": 0.5},
        {"style_pixel_size": 2.0},
        {"pixel_size": 0.5, "style_pixel_size": 0.75, "match_pixel_size": False},
    ],
)
def test_where_sizes_are_equal_or_unknown_nothing_is_resampled(arguments, small):
    result = transfer_style(*small, **QUICK, **arguments)
    assert result.metadata["used"]["style_resampled"] == [1.0, 1.0]
    assert np.array_equal(result.image, transfer_style(*small, **QUICK).image)


@pytest.mark.parametrize("size", [0, -1.0, np.nan, (1.0, 0.0), np.inf, (1, 2, 3), "small"])
def test_a_pixel_size_must_be_positive(size, small):
    with pytest.raises(ParameterError, match=r"pixel_size: .* is not a pixel size"):
        transfer_style(*small, **QUICK, pixel_size=size)


def test_a_style_that_becomes_too_small_is_reported(small):
    with pytest.raises(ImageError, match=r"style is only 12 × 16 pixels.*match_pixel_size=False"):
        transfer_style(*small, **QUICK, pixel_size=1.0, style_pixel_size=0.5)


def test_pixel_sizes_may_be_arrays(small):
    result = transfer_style(*small, **QUICK, pixel_size=np.array([0.5, 0.5]), style_pixel_size=np.float32(0.5))
    assert result.metadata["arguments"]["pixel_size"] == [0.5, 0.5]


# Sizes


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (31, 16), (23, 29)])
@pytest.mark.parametrize("preset", PRESETS)
def test_any_size_from_sixteen_works_under_every_preset(preset, size, pair):
    rows, columns = size
    result = transfer_style(
        pair.target[:rows, :columns], pair.style[:rows, :columns], preset=preset, epoch=1, device="cpu"
    )
    assert result.image.shape == size
    assert np.isfinite(result.losses.total).all()
    multiple = {"documented": 1, "quick": 1, "microscopy": 4, "texture": 4, "gatys": 16}[preset]
    assert all(n % multiple == 0 for n in result.metadata["used"]["engine_shape"])


@pytest.mark.parametrize("preset", PRESETS)
def test_whatever_layers_are_chosen_sixteen_pixels_suffice_or_the_reason_is_reported(preset, pair):
    from napari_nst.errors import StyleTransferError

    try:
        transfer_style(
            pair.target[:16, :16], pair.style[:16, :16], preset=preset, epoch=1, content_layers=("pool5",), device="cpu"
        )
    except StyleTransferError as error:
        assert "pool5" in str(error) or "pixels" in str(error)  # noqa: PT017


SQUARE = np.arange(400).reshape(20, 20)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.float32(3), r"0 dimension\(s\)"),
        (np.zeros(100), r"1 dimension\(s\)"),
        (np.zeros((0, 20)), r"empty: its shape is \(0, 20\)"),
        (np.zeros((3, 0, 20)), "empty"),
        (np.zeros((15, 40)), r"15 × 40 pixels; at least 16 × 16.*halves"),
        (np.zeros((40, 15, 3)), r"40 × 15 pixels"),
        (np.full((20, 20), 7, np.uint8), "constant: every value that counts is 7"),
        (np.full((20, 20), 7.5), "constant: every value that counts is 7.5"),
        (np.full((20, 20, 3), 7, np.uint8), "constant"),
        (np.full((20, 20), np.nan), "no finite value|NaN"),
        (SQUARE > 200, "type bool.*mask="),
        (SQUARE * 1j, "type complex128"),
        (SQUARE.astype(str), "type <U"),
        (SQUARE.astype(object), "type object"),
        ("a path.tif", "type <U"),
        (None, "type object"),
    ],
    ids=[
        "0-d", "1-d", "empty", "empty stack", "15 rows", "15 columns", "constant uint8", "constant float",
        "constant rgb", "all nan", "bool", "complex", "text", "object", "path", "none",
    ],
)  # fmt: skip
@pytest.mark.parametrize("role", ["target", "style"])
def test_what_is_no_image_is_refused_with_the_reason(role, image, message, small):
    arguments = {"target": small[0], "style": small[1], role: image}
    with pytest.raises(ImageError, match=message) as caught:
        transfer_style(**arguments, **QUICK)
    assert role in str(caught.value)


def test_rgb_can_be_said_and_denied(small):
    with pytest.raises(ImageError, match="said to be RGB"):
        transfer_style(*small, **QUICK, rgb=True)
    with pytest.raises(ImageError, match=r"32 × 3 pixels"):
        transfer_style(np.stack([small[0]] * 3, axis=-1), small[1], **QUICK, rgb=False)


@pytest.mark.parametrize("role", ["target", "style"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_absurdly_large_image_is_refused_before_it_is_computed(role, dtype, small):
    da = pytest.importorskip("dask.array")

    def compute(block):
        if block.size:  # Dask itself tries an empty one
            raise AssertionError("a block was computed")
        return block

    huge = da.zeros((2_000_000, 2_000_000), dtype=dtype, chunks=200_000).map_blocks(compute, dtype=dtype)
    began = time.perf_counter()
    with pytest.raises(OutOfMemoryError, match=r"GiB are free\. Take a region of at most about \d+ × \d+ pixels"):
        transfer_style(**{"target": small[0], "style": small[1], role: huge}, **QUICK)
    assert time.perf_counter() - began < 5


def test_a_stack_whose_result_does_not_fit_is_refused_before_it_is_computed(small):
    da = pytest.importorskip("dask.array")
    huge = da.zeros((10**9, 64, 64), dtype="uint16", chunks=(10**7, 64, 64))
    with pytest.raises(OutOfMemoryError, match=r"result.*GiB"):
        transfer_style(huge, small[1], **QUICK)


# Stacks with bad planes; stopping


def test_a_black_plane_does_not_cost_the_others(small):
    stack = np.stack([small[0], np.zeros_like(small[0]), small[0]])
    with pytest.warns(StyleTransferWarning, match=r"Plane \(1,\) is left as it is.*constant"):
        result = transfer_style(stack, small[1], **QUICK)
    assert not result.image[1].any()
    assert np.array_equal(result.image[0], result.image[2])
    assert [note["stopped"] for note in result.metadata["planes"]] == ["finished", "skipped", "finished"]
    assert result.stopped == "finished"
    assert len(result.metadata["warnings"]) == 1


def test_a_stack_of_black_planes_is_refused(small):
    black = np.zeros((3, *small[0].shape), np.uint8)
    with pytest.raises(ImageError, match="constant"):
        transfer_style(black, small[1], **QUICK)


def test_a_stack_of_flat_planes_is_refused(small):
    flat = np.stack([np.full_like(small[0], 3), np.full_like(small[0], 9)])
    with pytest.warns(StyleTransferWarning), pytest.raises(ImageError, match="None of the 2 planes"):
        transfer_style(flat, small[1], **QUICK)


def test_a_cancelled_stack_keeps_what_is_done_and_leaves_the_rest(small):
    stack = np.stack([small[0]] * 3)
    stop = threading.Event()

    def callback(progress):
        if progress.plane == 1:
            stop.set()

    result = transfer_style(stack, small[1], **QUICK, callback=callback, cancel=stop)
    assert result.stopped == "cancelled"
    assert [n["stopped"] for n in result.metadata["planes"]] == ["finished", "cancelled", "not begun"]
    assert [n["steps"] for n in result.metadata["planes"]] == [2, 1, 0]
    assert np.array_equal(result.image[2], stack[2])
    assert not np.array_equal(result.image[0], stack[0])
    assert len(result.losses.total) == 3


def test_the_callback_sees_every_step_of_every_plane(small):
    seen = []
    transfer_style(np.stack([small[0]] * 2), small[1], **QUICK, callback=seen.append)
    assert [(p.step, p.epoch, p.plane, p.planes, p.index) for p in seen] == [
        (1, 4, 0, 2, (0,)), (2, 4, 0, 2, (0,)), (3, 4, 1, 2, (1,)), (4, 4, 1, 2, (1,)),
    ]  # fmt: skip


def test_the_callback_can_see_image_and_losses(small):
    images, losses = [], []

    def callback(progress):
        images.append(progress.image())
        losses.append(progress.losses)

    result = transfer_style(small[0].astype(np.uint16), small[1], **QUICK, callback=callback)
    assert np.array_equal(images[-1], result.image)
    assert images[0].dtype == np.uint16
    np.testing.assert_array_equal(np.array(losses), np.stack(result.losses, axis=1))


# Values of real files


def test_sixteen_bits_stay_sixteen_bits(aoslo):
    target, style = (aoslo(part).data for part in ("206-20140730131309", "206-20140730131419"))
    rows = slice(target.shape[0] // 2, target.shape[0] // 2 + 48)
    columns = slice(target.shape[1] // 2, target.shape[1] // 2 + 48)
    target, style = target[rows, columns], style[rows, columns]
    assert target.dtype == np.uint16
    result = transfer_style(target, style, preset="documented", epoch=5, device="cpu")
    assert result.image.dtype == np.uint16
    assert target.min() > 20_000
    moved = np.abs(result.image.astype(float) - target)
    assert 0 < moved.max() <= 5.5 * 0.001 * (float(target.max()) - target.min()) + 1
    assert len(np.unique(result.image)) > 300  # no 8-bit step


def test_the_texture_preset_keeps_a_real_montages_border_black(aoslo):
    image = aoslo("confocal_OS_0070").data
    assert image.dtype == np.uint8
    target = np.pad(image[200:240, 200:240], 8)
    result = transfer_style(target, image[240:280, 200:240], preset="texture", epoch=2, mask="border", device="cpu")
    assert not result.image[:8].any()
    assert not result.image[:, -8:].any()
