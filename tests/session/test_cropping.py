"""Patches: the documented layout, the bugs it had, and stitching that is exact where nothing changed."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst.errors import FileError, ImageError, ParameterError
from napari_nst.imaging.masks import black_border
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.records import Record, check_record, plain, to_json
from napari_nst.session.cropping import Patch, PatchCropper, patch_name, stitch

NAME = "Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg.tif"
DTYPES = ["uint8", "int8", "uint16", ">u2", "int16", "uint32", "uint64", "int64", "float16", "float32", "float64"]

croppers = st.integers(32, 48).flatmap(lambda size: st.builds(PatchCropper, st.just(size), st.integers(0, size - 1)))
#: Fewer, larger steps where patches are cut and not only counted.
quick_croppers = st.integers(32, 48).flatmap(lambda size: st.builds(PatchCropper, st.just(size), st.integers(0, 24)))
shapes = st.tuples(st.integers(1, 130), st.integers(1, 130))


def random_image(shape, dtype="uint8", seed=0):
    values = np.random.default_rng(seed).normal(0, 1, shape)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (100 * values).astype(kind)
    info = np.iinfo(kind)
    return np.clip(info.min / 2 + info.max / 2 + values * (info.max / 4), info.min, info.max / 1.01).astype(kind)


def documented_positions(length, size=185, overlap=14):
    """The formula of the documented cropper, in floating point as there."""
    n = max(2, math.ceil((length - size) / (size - overlap)) + 1)
    return [int(i * (length - size) / (n - 1)) for i in range(n)]


# The layout


def test_the_documented_positions():
    cropper = PatchCropper()
    assert (cropper.size, cropper.overlap) == (185, 14)
    assert cropper.positions(720) == [0, 133, 267, 401, 535]
    assert len(cropper.positions(370)) == 3
    assert cropper.positions(356) == [0, 171]  # the overlap is exactly 14
    assert cropper.positions(357) == [0, 86, 172]


@pytest.mark.parametrize("length", [186, 199, 356, 357, 370, 614, 643, 718, 720, 721, 800, 816, 4096, 10_001])
def test_positions_are_those_of_the_formula(length):
    assert PatchCropper().positions(length) == documented_positions(length)


@given(croppers, st.integers(1, 2000))
def test_a_side_is_covered_with_at_least_the_overlap(cropper, length):
    positions = cropper.positions(length)
    if length <= cropper.size:
        assert positions == [0]
        return
    assert positions == documented_positions(length, cropper.size, cropper.overlap)
    assert positions[0] == 0
    assert positions[-1] == length - cropper.size
    for a, b in itertools.pairwise(positions):
        assert a < b <= a + cropper.size - cropper.overlap


def test_square_images_are_numbered_as_documented():
    """25 patches of a 720 x 720 image, counted with x outside and y inside, beginning at 1."""
    patches = PatchCropper().plan((720, 720), NAME)
    starts = [0, 133, 267, 401, 535]
    expected = [(n, x, y) for n, (x, y) in enumerate(itertools.product(starts, starts), start=1)]
    assert [(p.crop_id, p.x, p.y) for p in patches] == expected
    assert patches[7].name == f"CROP_8_x133y267_{NAME}"
    assert {p.image for p in patches} == {NAME}


@pytest.mark.parametrize("shape", [(600, 800), (643, 721), (718, 816), (800, 600)])
def test_x_is_the_column_on_images_that_are_not_square(shape):
    """Documented cropper: x counted rows, so patches of 600 x 800 came out as (0, 185) and (139, 185)."""
    rows, columns = np.indices(shape)
    found = PatchCropper().crop(np.stack([rows, columns, rows], axis=-1).astype(np.uint16), "a.tif")
    for patch, array, valid in found:
        assert array.shape == (185, 185, 3)
        assert array[0, 0, :2].tolist() == [patch.y, patch.x]
        assert array[-1, -1, :2].tolist() == [patch.y + 184, patch.x + 184]
        assert valid.all()
    assert max(p.patch.y for p in found) == shape[0] - 185
    assert max(p.patch.x for p in found) == shape[1] - 185


@pytest.mark.parametrize("shape", [(185, 185), (185, 400), (300, 185)])
def test_an_image_of_one_patch_is_one_patch(shape):
    """Documented cropper: ValueError."""
    image = random_image(shape)
    found = PatchCropper().crop(image, "a.tif")
    assert np.array_equal(found[0].array, image[:185, :185])
    assert found[0].patch.padding == (0, 0, 0, 0)
    assert len(found) == (1 if shape == (185, 185) else 3 if shape[1] == 400 else 2)


@pytest.mark.parametrize("shape", [(100, 100), (184, 185), (1, 1), (3, 500), (185, 20)])
def test_smaller_images_are_reflected_and_that_is_recorded(shape):
    """Documented cropper: ValueError. The margins are about equal, the odd pixel behind."""
    image = random_image(shape, "uint16")
    missing = [max(0, 185 - side) for side in shape]
    for patch, array, valid in PatchCropper().crop(image, "a.tif"):
        assert array.shape == valid.shape == (185, 185)
        top, bottom, left, right = patch.padding
        assert (top + bottom, left + right) == tuple(missing)
        assert bottom - top in (0, 1)
        assert right - left in (0, 1)
        assert np.array_equal(array[patch.inner], image[patch.window])
        assert valid[patch.inner].all()
        assert valid.sum() == valid[patch.inner].size
        # Reflection without the edge pixel, as often as needed: a triangle wave.
        for axis, before in ((0, top), (1, left)):
            if not missing[axis]:
                continue
            side = shape[axis]
            place = np.abs((np.arange(185) - before + side - 1) % max(1, 2 * (side - 1)) - (side - 1))
            expected = np.take(image[patch.window], place, axis=axis)
            inside = [slice(None), patch.inner[1]] if axis == 0 else [patch.inner[0], slice(None)]
            assert np.array_equal(array[tuple(inside)], expected)


@settings(max_examples=30)
@given(quick_croppers, shapes, st.integers(0, 10**6))
def test_names_are_unique_numbers_consecutive_and_the_order_is_always_the_same(cropper, shape, first):
    """Documented cropper: the names could not be asked for, and differed between runs."""
    patches = cropper.plan(shape, NAME, first)
    assert [p.crop_id for p in patches] == list(range(first, first + len(patches)))
    assert len({p.name for p in patches}) == len(patches)
    assert sorted(patches, key=lambda p: (p.x, p.y)) == patches
    assert cropper.plan((*shape, 3), NAME, first) == patches
    assert [p.patch for p in cropper.crop(np.zeros(shape), NAME, first_id=first)] == patches


@settings(max_examples=30)
@given(quick_croppers, shapes)
def test_every_pixel_is_covered_and_every_patch_lies_inside(cropper, shape):
    seen = np.zeros(shape, int)
    for patch in cropper.plan(shape, "a.tif"):
        assert patch.x >= 0
        assert patch.y >= 0
        assert seen[patch.window].shape == np.empty(patch.shape)[patch.inner].shape
        seen[patch.window] += 1
    assert seen.min() >= 1


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("a.tiff", "CROP_3_x5y6_a.tif"),
        ("a.png", "CROP_3_x5y6_a.tif"),
        ("Subject1_1.5x1.5_4495_Confocal", "CROP_3_x5y6_Subject1_1.5x1.5_4495_Confocal.tif"),
        ("a.ome.tif", "CROP_3_x5y6_a.tif"),
        ("a:b.tif", "CROP_3_x5y6_a_b.tif"),
    ],
)
def test_names_of_patches(image, expected):
    assert patch_name(3, 5, 6, image) == expected


def test_a_name_too_long_for_a_file_system_is_shortened_and_stays_unique():
    names = {p.name for p in PatchCropper().plan((720, 720), "ß" * 124 + ".tif")}
    assert len(names) == 25
    assert all(len(name.encode()) <= 255 and name.startswith("CROP_") for name in names)


# What is cut


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tail", [(), (3,), (4,)])
def test_patches_are_contiguous_copies_of_the_same_type(dtype, tail):
    """Documented cropper: views, so that a patch changed its image."""
    for shape in ((200, 190), (100, 190), (20, 30)):
        image = random_image((*shape, *tail), dtype)
        before = image.copy()
        for _, array, _ in PatchCropper().crop(image[:, ::-1], "a.tif"):
            assert array.dtype == image.dtype
            assert array.flags.c_contiguous
            assert array.flags.owndata
            assert array.shape == (185, 185, *tail)
            array[...] = 0
        assert np.array_equal(image, before)


def test_black_borders_are_left_out_and_dark_pixels_are():
    """Documented: every 0 became the mean of its neighbors, so a black border shrank by one pixel and stayed."""
    image = random_image((300, 400)) | 1
    image[:40] = 0
    image[:, 390:] = 0
    image[150, 100] = 0
    found = PatchCropper().crop(image, "a.tif", valid=black_border(image))
    expected = np.ones((300, 400), bool)
    expected[:40] = expected[:, 390:] = False
    for patch, array, valid in found:
        assert np.array_equal(valid, expected[patch.window])
        assert np.array_equal(array, image[patch.window])
    assert found[0].valid.mean() == pytest.approx(145 / 185)


def test_a_patch_outside_of_the_image_keeps_its_number():
    image = np.zeros((370, 370), np.uint8)
    image[:, 200:] = 9
    found = PatchCropper().crop(image, "a.tif", valid=black_border(image))
    assert [p.patch.crop_id for p in found] == list(range(1, 10))
    assert [p.valid.mean() == 0 for p in found] == [True] * 3 + [False] * 6


def test_the_padding_of_a_mask_is_left_out():
    valid = np.ones((100, 100), bool)
    valid[:10] = False
    ((patch, _, cut),) = PatchCropper().crop(random_image((100, 100)), "a.tif", valid=valid)
    assert cut.sum() == 9000
    assert np.array_equal(cut[patch.inner], valid)


# Places


@settings(max_examples=30)
@given(quick_croppers, shapes)
def test_a_patch_shows_its_window_of_the_image(cropper, shape):
    rows, columns = np.indices(shape)
    where = np.stack([rows, columns, rows], axis=-1)
    for patch, array, _ in cropper.crop(where, "a.tif"):
        assert np.array_equal(array[patch.inner], where[patch.window])
        assert array[patch.inner][0, 0, :2].tolist() == [patch.y, patch.x]


@settings(max_examples=30)
@given(quick_croppers, shapes)
def test_records_go_through_json(cropper, shape):
    for patch in cropper.plan(shape, NAME):
        back = Patch.model_validate(json.loads(to_json(patch)))
        assert back == patch
        assert hash(back) == hash(patch)


# Putting back


@settings(max_examples=10)
@given(quick_croppers, shapes, st.sampled_from([(), (3,), (4,)]), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_did_not_change_comes_back_to_the_last_bit(dtype, cropper, shape, tail, seed):
    image = random_image((*shape, *tail), dtype, seed)
    pieces = [(p.patch, p.array) for p in cropper.crop(image, "a.tif")]
    out = stitch(image, pieces)
    assert out.dtype == image.dtype
    assert out.tobytes() == image.tobytes()
    assert not np.shares_memory(out, image)


@settings(max_examples=10)
@given(quick_croppers, shapes, st.integers(0, 2**32 - 1), st.data())
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_change_everywhere_is_that_change(dtype, cropper, shape, seed, data):
    image = random_image(shape, dtype, seed)
    change = data.draw(st.integers(-3, 3))
    if np.dtype(dtype).kind == "f":
        expected = (image.astype(float) + change).astype(dtype)
    else:
        info = np.iinfo(dtype)
        step = image.dtype.type(abs(change))  # 64-bit integers fit no double: added in their own type
        expected = np.where(image > info.max - step, info.max, image + step) if change > 0 else image
        expected = np.where(image < info.min + step, info.min, image - step) if change < 0 else expected
    found = cropper.crop(expected.astype(dtype), "a.tif")
    out = stitch(image, ((p.patch, p.array) for p in reversed(found)))
    assert out.dtype == image.dtype
    if np.dtype(dtype).kind == "f":
        np.testing.assert_allclose(out, expected, rtol=2 * float(np.finfo(dtype).eps), atol=1e-12)
    else:
        assert np.array_equal(out, expected)


@settings(max_examples=10)
@given(quick_croppers, shapes, st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_where_one_patch_alone_covers_its_values_are_taken_exactly(dtype, cropper, shape, seed):
    image = random_image(shape, dtype, seed)
    covered = np.zeros(shape, int)
    for patch in cropper.plan(shape, "a.tif"):
        covered[patch.window] += 1
    # Values of any size: the sum of the original and the difference would not give them back.
    new = [(patch, random_image(patch.shape, dtype, seed + patch.crop_id)) for patch in cropper.plan(shape, "a.tif")]
    out = stitch(image, new)
    for patch, array in new:
        alone = covered[patch.window] == 1
        assert np.array_equal(out[patch.window][alone], array[patch.inner][alone])


@settings(max_examples=40)
@given(quick_croppers, shapes, st.integers(0, 2**32 - 1))
def test_the_result_lies_between_the_patches_that_cover_a_pixel(cropper, shape, seed):
    image = np.zeros(shape)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    pieces = []
    for patch in cropper.plan(shape, "a.tif"):
        value = float((seed >> (patch.crop_id % 32)) & 1) + patch.crop_id % 3
        low[patch.window] = np.minimum(low[patch.window], value)
        high[patch.window] = np.maximum(high[patch.window], value)
        pieces.append((patch, np.full(patch.shape, value)))
    out = stitch(image, pieces)
    assert (out >= low - 1e-12).all()
    assert (out <= high + 1e-12).all()


def profile(length, cropper, changed):
    """How much of a change of 1 in the `changed` patches of a row arrives, per column."""
    image = np.zeros((cropper.size, length))
    patches = cropper.plan(image.shape, "a.tif")
    return stitch(image, [(patches[i], np.ones(patches[i].shape)) for i in changed])[cropper.size // 2]


def test_neighbors_fade_by_a_raised_cosine_over_their_overlap():
    cropper = PatchCropper(64, 16)
    assert cropper.positions(112) == [0, 48]
    expected = np.ones(112)
    expected[48:64] = np.cos(np.pi / 2 * (np.arange(16) + 0.5) / 16) ** 2
    expected[64:] = 0
    np.testing.assert_allclose(profile(112, cropper, [0]), expected, atol=1e-15)
    np.testing.assert_allclose(profile(112, cropper, [1]), 1 - expected, atol=1e-15)
    np.testing.assert_array_equal(profile(112, cropper, [0, 1])[:48], 1)


@pytest.mark.parametrize("length", [720, 370, 357, 186, 198, 528])
def test_an_unchanged_neighbor_leaves_no_seam(length):
    cropper = PatchCropper()
    count = len(cropper.positions(length))
    for changed in range(count):
        steps = np.abs(np.diff(profile(length, cropper, [changed])))
        # A raised cosine over n pixels is nowhere steeper than pi / (2 n); the least overlap is 14.
        assert steps.max() <= math.pi / (2 * cropper.overlap)


@settings(max_examples=30)
@given(croppers, st.integers(1, 400))
def test_the_weights_of_all_patches_add_up_to_one(cropper, length):
    starts = cropper.positions(length)
    if len(starts) > 40:
        return
    np.testing.assert_allclose(profile(length, cropper, range(len(starts))), 1, rtol=1e-14)
    single = [profile(length, cropper, [i]) for i in range(len(starts))]
    np.testing.assert_allclose(np.sum(single, axis=0), 1, rtol=1e-14)


def test_missing_patches_count_as_unchanged():
    image = random_image((370, 370), "uint16") // 2
    found = PatchCropper().crop(image, "a.tif")
    assert np.array_equal(stitch(image, []), image)
    out = stitch(image, [(found[4].patch, found[4].array + np.uint16(1000))])
    change = out.astype(int) - image
    covers = np.zeros(image.shape, bool)
    covers[found[4].patch.window] = True
    assert not change[~covers].any()
    assert change.max() == 1000
    assert change.min() >= 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int64", "uint64"])
def test_integers_are_rounded_and_never_wrap(dtype):
    info = np.iinfo(dtype)
    cropper = PatchCropper(32, 8)
    for start, end in ((info.min, info.max), (info.max, info.min)):
        image = np.full((32, 56), start, dtype)
        pieces = [(p.patch, np.full_like(p.array, end)) for p in cropper.crop(image, "a.tif")]
        out = stitch(image, pieces)
        assert (out[:, :24] == end).all()
        # In the overlap the change is a sum of doubles, which hold 53 bits.
        far = max(abs(int(v) - end) for v in out[0])
        assert far <= (0 if info.bits <= 32 else 2 ** (info.bits - 52))
    image = np.full((32, 56), 7, dtype)
    left, right = cropper.plan(image.shape, "a.tif")
    out = stitch(image, [(left, np.full((32, 32), 8, dtype)), (right, np.full((32, 32), 10, dtype))])
    rise = np.sin(np.pi / 2 * (np.arange(8) + 0.5) / 8) ** 2
    assert out[0, 24:32].tolist() == [int(v) for v in np.rint(8 + 2 * rise)]


def test_patches_of_two_plans_are_averaged():
    image = np.zeros((64, 64))
    (a,), (b,) = (PatchCropper(64).plan((64, 64), name) for name in ("a.tif", "b.tif"))
    out = stitch(image, [(a, np.full((64, 64), 2.0)), (b, np.full((64, 64), 4.0))])
    assert (out == 3).all()


@settings(max_examples=30)
@given(arrays("float32", (40, 70), elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.5, 3e38, -3e38])))
def test_holes_of_float_images_stay(image):
    cropper = PatchCropper(32, 8)
    finite = np.isfinite(image)
    pieces = [(p.patch, np.where(np.isfinite(p.array), 1, 7).astype(np.float32)) for p in cropper.crop(image, "a.tif")]
    out = stitch(image, pieces)
    assert np.array_equal(out[~finite], image[~finite], equal_nan=True)
    assert np.isfinite(out[finite]).all()
    unchanged = stitch(image, [(p.patch, p.array) for p in cropper.crop(image, "a.tif")])
    assert unchanged.tobytes() == image.tobytes()


def test_a_piece_that_does_not_fit_is_named():
    image = random_image((300, 300))
    found = PatchCropper().crop(image, "a.tif")
    patch, array, _ = found[-1]
    for piece, message in (
        (array[:-1], r"has shape \(184, 185\) instead of \(185, 185\)"),
        (np.stack([array] * 3, axis=-1), r"has shape \(185, 185, 3\)"),
        (array.astype(float), "is of type float64, its image of type uint8"),
    ):
        with pytest.raises(ImageError, match=rf"CROP_4_x115y115_a\.tif {message}"):
            stitch(image, [(patch, piece)])
    with pytest.raises(ImageError, match=r"CROP_4_x115y115_a.tif ends at row 300, column 300, outside"):
        stitch(image[:299], [(patch, array)])
    holes = array.astype(float)
    holes[5, 5] = np.nan
    with pytest.raises(ImageError, match=r"CROP_4_x115y115_a.tif has NaN or infinite"):
        stitch(image.astype(float), [(patch, holes)])


def test_a_byte_order_is_no_other_type():
    image = random_image((200, 200), ">u2")
    pieces = [(p.patch, p.array.astype("<u2") + 1) for p in PatchCropper().crop(image, "a.tif")]
    out = stitch(image, pieces)
    assert out.dtype == np.dtype(">u2")
    assert np.array_equal(out, image.astype("<u2") + 1)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 31}, "size must be a whole number of at least 32, got 31"),
        ({"size": 185.0}, "size must be a whole number of at least 32, got 185.0"),
        ({"size": True}, "size must be"),
        ({"overlap": -1}, "overlap must be a whole number of at least 0, got -1"),
        ({"overlap": 185}, "overlap=185 must be smaller than size=185"),
        ({"size": 64, "overlap": 100}, "overlap=100 must be smaller than size=64"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ParameterError, match=message):
        PatchCropper(**arguments)


def test_numpys_integers_are_whole_numbers():
    cropper = PatchCropper(np.int64(64), np.uint8(8))
    assert cropper.plan((100, 100), "a.tif", np.int32(5))[0].model_dump_json()
    assert cropper == PatchCropper(64, 8)


@pytest.mark.parametrize("shape", [(), (5,), (0, 10), (10, 10, 2), (10, 10, 1), (3, 10, 10, 3), (10, 10, 5)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ImageError, match="must have the shape"):
        PatchCropper().crop(np.zeros(shape), "a.tif")
    with pytest.raises(ImageError, match="must have the shape"):
        stitch(np.zeros(shape), [])


@pytest.mark.parametrize("dtype", ["bool", "complex64", "U3"])
def test_types_without_grey_levels_are_refused(dtype):
    with pytest.raises(ImageError, match=r"The image a.tif is of type"):
        PatchCropper().crop(np.zeros((200, 200), dtype), "a.tif")
    with pytest.raises(ImageError, match="The image to stitch is of type"):
        stitch(np.zeros((200, 200), dtype), [])


@pytest.mark.parametrize("valid", [np.ones((5, 5), bool), np.ones((200, 200), np.uint8), np.ones((200, 200, 1), bool)])
def test_a_mask_that_does_not_fit_is_refused(valid):
    with pytest.raises(ImageError, match=r"valid must be booleans of shape \(200, 200\)"):
        PatchCropper().crop(random_image((200, 200)), "a.tif", valid=valid)


@pytest.mark.parametrize("name", ["", "folder/a.tif", "/a.tif"])
def test_image_names_are_file_names(name):
    with pytest.raises(ParameterError, match="file name without folders"):
        PatchCropper().plan((200, 200), name)


@pytest.mark.parametrize("first", [-1, 1.0, "1", None, True])
def test_numbers_of_patches_are_whole(first):
    with pytest.raises(ParameterError, match="first_id must be a whole number"):
        PatchCropper().plan((200, 200), "a.tif", first)


@pytest.mark.parametrize("length", [0, -5, 2.5])
def test_a_side_has_pixels(length):
    with pytest.raises(ParameterError, match="length must be a whole number of at least 1"):
        PatchCropper().positions(length)


SIDES = dict.fromkeys(("padding", "overlaps", "fades"), (0, 0, 0, 0))
ONE = Patch(name="p.tif", image="a.tif", crop_id=1, x=0, y=0, shape=(64, 64), **SIDES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": -1}, "'x' must be greater than or equal to 0, got -1"),
        ({"y": 1.5}, "'y' must be a valid integer, got 1.5"),
        ({"crop_id": None}, "'crop_id' must be a valid integer, got None"),
        ({"crop_id": True}, "'crop_id' must be a valid integer, got True"),
        ({"shape": [64]}, r"'shape\[1\]' is missing"),
        ({"shape": 64}, "'shape' must be a valid tuple, got 64"),
        ({"shape": "64"}, "'shape' must be a valid tuple, got '64'"),
        ({"padding": [0, 0, -1, 0]}, r"'padding\[2\]' must be greater than or equal to 0"),
        ({"padding": [32, 32, 0, 0]}, "shows nothing of its image"),
        ({"overlaps": [64, 0, 0, 0]}, "fewer than its overlaps"),
        ({"overlaps": [8, 0, 0, 0], "fades": [9, 0, 0, 0]}, "fades over"),
        ({"name": "../p.tif"}, "'name' must be a file name without folders, got '../p.tif'"),
        ({"image": "/a.tif"}, "'image' must be a file name without folders, got '/a.tif'"),
        ({"padding": ...}, "'padding' is missing"),
    ],
)
def test_a_damaged_record_is_reported(change, message):
    class Patches(Record):
        patch: Patch

    patch = {key: value for key, value in (plain(ONE) | change).items() if value is not ...}
    with pytest.raises(FileError, match=message.replace("'", "'patch.", 1) if message.startswith("'") else message):
        check_record({"patch": patch}, Patches, "p.json", FileError)


# Images of a retina


@pytest.mark.parametrize("part", ["synthetic", "confocal_OS_0069", "206-20140730131309"])
def test_images_of_a_retina_come_back(request, part):
    if part == "synthetic":
        image = cone_mosaic((500, 613), 8.0, seed=3).image
        image[:37], image[:, 590:] = 0, 0
    else:
        image = np.asarray(request.getfixturevalue("aoslo")(part).data)
    valid = black_border(image)
    found = PatchCropper().crop(image, "a.tif", valid=valid)
    assert all(p.array.shape == (185, 185) and p.array.dtype == image.dtype for p in found)
    assert stitch(image, [(p.patch, p.array) for p in found]).tobytes() == image.tobytes()
    negative = stitch(image, [(p.patch, np.invert(p.array)) for p in found])
    assert np.abs(negative.astype(int) - np.invert(image)).max() <= 1
