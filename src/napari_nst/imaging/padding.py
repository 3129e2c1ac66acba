"""Padding that can be taken back exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError

__all__ = ["MissingImageError", "pad_to_square", "reflect_to_multiple", "unpad_from_square"]


class MissingImageError(ImageError, ValueError):
    """No image was given. Also the documented ``ValueError`` of `pad_to_square`."""


def pad_to_square(image: ArrayLike | None, target_size: int = 498) -> NDArray[Any]:
    """Center an image on a black square.

    Parameters
    ----------
    image : array, (h, w) or (h, w, channels)
        Any dtype.
    target_size : int
        Side of the square in pixels.

    Returns
    -------
    array, (max(h, target_size), max(w, target_size)[, channels])
        A new array of the same dtype. The odd pixel of an uneven margin is at the bottom and on the right. A
        side longer than the square is neither padded nor cropped.

    Raises
    ------
    MissingImageError
        `image` is None (an `ImageError` and, as documented, a ``ValueError``).
    ImageError
        `image` is not an image with at least one pixel.
    ParameterError
        `target_size` is not positive.

    Notes
    -----
    NST pipeline documentation, "Utility Functions". Written with NumPy: cv2.copyMakeBorder,
    which stands there, takes neither more than 4 channels nor every dtype.
    """
    array = _checked(image, "it could not be read, or no image was chosen")
    margins = [_margins(side, target_size) for side in array.shape[:2]]
    return np.pad(array, [*margins, (0, 0)][: array.ndim])


def unpad_from_square(
    padded_image: ArrayLike | None, original_h: int, original_w: int, target_size: int = 498
) -> NDArray[Any]:
    """Undo `pad_to_square`.

    Parameters
    ----------
    padded_image : array, (h, w) or (h, w, channels)
        What `pad_to_square` returned, or an image of that size.
    original_h, original_w : int
        Height and width before padding, in pixels.
    target_size : int
        The side that `pad_to_square` got.

    Returns
    -------
    array, (original_h, original_w[, channels])
        A view of `padded_image`.

    Raises
    ------
    MissingImageError
        `padded_image` is None.
    ImageError
        `padded_image` has not the size that an image of `original_h` x `original_w` is padded to.
    ParameterError
        A size is not positive.

    Notes
    -----
    NST pipeline documentation, "Utility Functions". There, a side longer than the square gave a
    negative offset and an empty or wrong crop; here it comes back unchanged.
    """
    array = _checked(padded_image, "there is nothing to take the padding from")
    top, bottom = _margins(original_h, target_size)
    left, right = _margins(original_w, target_size)
    expected = (top + original_h + bottom, left + original_w + right)
    if array.shape[:2] != expected:
        raise ImageError(
            f"An image of {original_h} x {original_w} pixels padded to {target_size} measures "
            f"{expected[0]} x {expected[1]}, but this one measures {array.shape[0]} x {array.shape[1]}. "
            "Pass the original height and width and the target_size that were used for padding."
        )
    return array[top : top + original_h, left : left + original_w]


def reflect_to_multiple(array: NDArray[Any], multiple: int) -> tuple[NDArray[Any], tuple[slice, slice]]:
    """Extend the last two axes of (..., H, W) by reflection until both are a multiple, such as the 16 of four poolings.

    Both sides get half of what is missing, the end the odd pixel. The edge pixel is not repeated, and short sides are
    reflected as often as needed. Returned are `array` itself when nothing is missing, else a longer one, and the slices of
    rows and columns that crop it again.
    """
    _check_positive("multiple", multiple)
    if array.ndim < 2 or 0 in array.shape:
        raise ImageError(f"An array (..., H, W) with at least one pixel is needed, not one of shape {array.shape}.")
    height, width = array.shape[-2:]
    (top, bottom), (left, right) = ((-side % multiple // 2, (-side % multiple + 1) // 2) for side in (height, width))
    crop = (slice(top, top + height), slice(left, left + width))
    if not bottom and not right:
        return array, crop
    margins = [(0, 0)] * (array.ndim - 2) + [(top, bottom), (left, right)]
    return np.pad(array, margins, mode="reflect"), crop


def _margins(side: int, target_size: int) -> tuple[int, int]:
    """Pixels before and after, by the documented floor division."""
    _check_positive("target_size", target_size)
    _check_positive("height and width", side)
    gap = max(0, target_size - side)
    return gap // 2, gap - gap // 2


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ParameterError(f"{name} must be a whole number of pixels, at least 1, got {value!r}.")


def _checked(image: ArrayLike | None, missing: str) -> NDArray[Any]:
    if image is None:
        raise MissingImageError(f"Input image is None: {missing}.")
    array = np.asarray(image)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ImageError(f"An image (height, width) or (height, width, channels) is needed, got shape {array.shape}.")
    return array
