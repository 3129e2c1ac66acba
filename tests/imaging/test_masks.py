"""Border masks against skimage's flood fill; user masks; the JSON form."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.segmentation import flood

from napari_nst.errors import ImageError
from napari_nst.imaging.masks import black_border, check_mask, pack_mask, unpack_mask


def flooded(image):
    """Flood from outside: one more ring of black around the image, and skimage."""
    ringed = np.pad(image == 0, 1, constant_values=True)
    return ~flood(ringed, (0, 0), connectivity=1)[1:-1, 1:-1]


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 1)))
def test_the_border_is_what_a_flood_from_outside_reaches(image):
    assert np.array_equal(black_border(image), flooded(image))


def test_a_rotated_image_loses_its_corners_but_not_its_shadows():
    from scipy import ndimage

    image = ndimage.rotate(np.full((80, 60), 7.0), 20, order=0)
    image[50:55, 40:45] = 0
    used = black_border(image)
    assert not used[0, 0]
    assert used[52, 42]
    assert np.count_nonzero(used) == np.count_nonzero(image) + 25


def test_black_does_not_leak_across_corners():
    image = np.ones((4, 4))
    image[0] = image[1, 0] = image[2, 1] = 0
    assert black_border(image).tolist() == [[False] * 4, [False, True, True, True], [True] * 4, [True] * 4]


def test_color_is_black_only_in_all_channels_and_alpha_does_not_count():
    image = np.zeros((3, 3, 4), np.uint8)
    image[..., 3] = 255
    image[1, 1, 0] = image[0, 1, 2] = 1
    expected = [[False, True, False], [False, True, False], [False] * 3]
    assert black_border(image).tolist() == expected
    assert black_border(image[..., :3]).tolist() == expected
    assert black_border(image[..., :1]).tolist() == [[False] * 3, [False, True, False], [False] * 3]


def test_an_image_without_black_is_used_whole():
    assert black_border(np.ones((2, 3), np.float32)).all()


@pytest.mark.parametrize("shape", [(3,), (5, 4, 2), (2, 3, 4, 3), (0, 3)])
def test_a_border_needs_one_image(shape):
    with pytest.raises(ImageError, match="one plane of a stack"):
        black_border(np.zeros(shape))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_masks_and_labels_become_booleans(dtype):
    mask = np.array([[0, 1], [0, 0]], dtype)
    checked = check_mask(mask, [2, 2])
    assert checked.dtype == bool
    assert checked.tolist() == [[False, True], [False, False]]


def test_labels_above_and_below_one_count():
    assert check_mask([[7, -1, 0]], (1, 3)).tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\), the image \(2, 2\)"),
        (np.array([[np.nan, 1], [1, 1]]), "NaN"),
        (np.array([[np.inf, 1], [1, 1]]), "infinite"),
        (np.zeros((2, 2), bool), "selects no pixel"),
        (np.ones((2, 2), complex), "dtype complex128"),
        (np.array([["a", "b"], ["c", "d"]]), "dtype <U1"),
    ],
)
def test_unusable_masks_are_refused(mask, message):
    with pytest.raises(ImageError, match=message):
        check_mask(mask, (2, 2))


@given(arrays(bool, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20)))
def test_packing_is_exact_through_json(mask):
    back = unpack_mask(json.loads(json.dumps(pack_mask(mask))))
    assert back.dtype == bool
    assert back.shape == mask.shape
    assert np.array_equal(back, mask)


def test_the_packed_form_is_what_it_says():
    import base64
    import zlib

    packed = pack_mask(np.array([[True, False, False], [False, False, True]]))
    assert packed["shape"] == [2, 3]
    assert zlib.decompress(base64.b64decode(packed["data"])) == bytes([0b10000100])


def test_a_large_mask_packs_small():
    mask = np.zeros((1000, 1000), bool)
    mask[100:900, 50:950] = True
    assert len(pack_mask(mask)["data"]) < 1000


def test_only_booleans_are_packed():
    with pytest.raises(ImageError, match="not int64"):
        pack_mask(np.ones((2, 2), np.int64))


@pytest.mark.parametrize(
    "change",
    [
        {"data": "!"},
        {"data": "AAAA"},
        {"shape": [1000, 2]},
        {"shape": [1, 2]},
        {"shape": [-6, -7]},
        {"shape": None},
        {"encoding": "rle"},
        {"data": None},
    ],
)
def test_a_damaged_record_is_reported(change):
    packed = pack_mask(np.ones((60, 70), bool)) | change
    with pytest.raises(ImageError, match=r"damaged|encoded"):
        unpack_mask(packed)


def test_an_incomplete_record_is_reported():
    with pytest.raises(ImageError, match="damaged"):
        unpack_mask({})
