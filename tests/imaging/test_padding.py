"""Padding and its inverse, against OpenCV and the documented arithmetic."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.padding import pad_to_square, reflect_to_multiple, unpad_from_square

DTYPES = ["uint8", "uint16", "int16", "int32", "float32", "float64", "float16", "bool", "uint64"]


def noise(shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(1, 100, shape).astype(dtype)


def documented(image, target_size):
    """Pad as the documentation lists it, where it is right: sides up to the square."""
    h, w = image.shape[:2]
    top, left = (target_size - h) // 2, (target_size - w) // 2
    return cv2.copyMakeBorder(
        image, top, target_size - h - top, left, target_size - w - left, cv2.BORDER_CONSTANT, value=0
    )


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (1,), (3,), (4,)]), st.integers(0, 9))
def test_padding_equals_opencv(h, w, channels, more):
    image = noise((h, w, *channels))
    size = max(h, w) + more
    padded = pad_to_square(image, size)
    # OpenCV drops an axis of one channel.
    assert np.array_equal(padded, documented(image, size).reshape(padded.shape))
    assert padded.shape == (size, size, *channels)


def test_the_documented_size_is_the_default():
    image = noise((185, 184))
    padded = pad_to_square(image)
    assert np.array_equal(padded, documented(image, 498))
    assert np.array_equal(unpad_from_square(padded, 185, 184), image)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([(), (1,), (3,), (4,), (7,)]),
    st.integers(1, 40),
    st.sampled_from(DTYPES),
)
def test_unpadding_undoes_padding_at_any_size(h, w, channels, size, dtype):
    image = noise((h, w, *channels), dtype)
    padded = pad_to_square(image, size)
    back = unpad_from_square(padded, h, w, size)
    assert padded.dtype == back.dtype == image.dtype
    assert padded.shape == (max(h, size), max(w, size), *channels)
    assert np.array_equal(back, image)
    assert np.count_nonzero(padded) == np.count_nonzero(image)


def test_the_odd_pixel_is_at_the_end():
    padded = pad_to_square(np.ones((1, 2)), 4)
    assert padded.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_padding_never_returns_the_array_itself():
    image = noise((4, 4))
    pad_to_square(image, 4)[:] = 0
    assert image.all()


@pytest.mark.parametrize("call", [lambda: pad_to_square(None), lambda: unpad_from_square(None, 1, 1)])
@pytest.mark.parametrize("kind", [ValueError, ImageError])
def test_no_image_raises_the_documented_error(call, kind):
    with pytest.raises(kind, match="Input image is None"):
        call()


def test_unpadding_an_image_of_another_size_is_refused():
    with pytest.raises(ImageError, match="10 x 20 pixels padded to 15 measures 15 x 20, but this one measures 15 x 15"):
        unpad_from_square(np.zeros((15, 15)), 10, 20, 15)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5), (0, 4)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ImageError, match="is needed"):
        pad_to_square(np.zeros(shape))


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ParameterError, match="target_size must be"):
        pad_to_square(np.zeros((2, 2)), size)
    with pytest.raises(ParameterError, match="multiple must be"):
        reflect_to_multiple(np.zeros((2, 2)), size)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 33), st.sampled_from([(), (1,), (2, 3)]))
def test_reflection_reaches_the_next_multiple_and_back(h, w, multiple, leading):
    array = noise((*leading, h, w), "float32")
    padded, crop = reflect_to_multiple(array, multiple)
    assert padded.shape == (*leading, -(-h // multiple) * multiple, -(-w // multiple) * multiple)
    assert np.array_equal(padded[(..., *crop)], array)
    assert padded.dtype == array.dtype
    for axis, side in enumerate((h, w)):
        gap = padded.shape[axis - 2] - side
        assert crop[axis].start == gap // 2
        # Reflection without repeating the edge has period 2 (side - 1): the index by its definition.
        period = max(2 * (side - 1), 1)
        index = (np.arange(padded.shape[axis - 2]) - gap // 2) % period
        index = np.minimum(index, period - index) if side > 1 else index * 0
        rows = np.take(array, index, axis=axis - 2)
        middle = [slice(None)] * padded.ndim
        middle[1 - axis - 2] = crop[1 - axis]
        assert np.array_equal(rows, padded[tuple(middle)])


def test_reflection_equals_opencv():
    array = noise((21, 30))
    padded, crop = reflect_to_multiple(array, 16)
    assert np.array_equal(padded, cv2.copyMakeBorder(array, 5, 6, 1, 1, cv2.BORDER_REFLECT_101))
    assert crop == (slice(5, 26), slice(1, 31))


def test_a_multiple_already_is_not_copied():
    array = noise((32, 16))
    padded, crop = reflect_to_multiple(array, 16)
    assert padded is array
    assert crop == (slice(0, 32), slice(0, 16))


@pytest.mark.parametrize("shape", [(3,), (0, 4)])
def test_reflection_of_nothing_is_refused(shape):
    with pytest.raises(ImageError, match="at least one pixel"):
        reflect_to_multiple(np.zeros(shape), 4)
