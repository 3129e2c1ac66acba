"""Input checks: which arrays are images, which of their pixels count, and what stands in for the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.masks import check_mask
from napari_nst.imaging.values import check_dtype

__all__ = [
    "Floats",
    "check_grey",
    "check_length",
    "fill_smoothly",
    "image_and_mask",
    "images_and_mask",
    "is_flat",
    "noise_deviation",
    "to_points",
    "to_unit_range",
]

Floats = NDArray[np.float64]

#: Differences below this part of the largest value are rounding, not contrast.
_ROUNDING = 1e-12


def check_grey(
    image: ArrayLike, mask: ArrayLike | None, role: str, *, minimum_side: int = 1, varied: bool = False
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Check a gray image and its mask for filters, which need every used pixel.

    Both are (H, W), and the mask is not 0 where a pixel is used.  Returned are `image`, not copied, and where it is used.
    ImageError for any other input, when a used pixel is not finite, and for a constant image if it must be `varied`.
    """
    array = np.asarray(image)
    check_dtype(array.dtype, role)
    _check_plane(array, role)
    if min(array.shape) < minimum_side:
        raise ImageError(
            f"The {role} is {array.shape[0]} × {array.shape[1]} pixels; at least {minimum_side} × {minimum_side} are needed. "
            "Take a larger region."
        )
    used = np.ones(array.shape, dtype=bool) if mask is None else check_mask(mask, array.shape)
    bad = used & ~np.isfinite(array)
    if bad.any():
        row, column = (int(v) for v in np.argwhere(bad)[0])
        raise ImageError(
            f"The {role} has {int(bad.sum())} pixel(s) that are NaN or infinite, the first at row {row}, column {column}. "
            "Replace them, or keep them out with a mask."
        )
    values = array[used]
    if varied and (values == values[0]).all():
        raise ImageError(
            f"The {role} is constant: every value that counts is {values[0]}. There is no structure to work on; check that "
            "the right image and the right mask were chosen."
        )
    return array, used


def image_and_mask(image: ArrayLike, mask: ArrayLike | None, role: str = "image") -> tuple[Floats, NDArray[np.bool_]]:
    """Turn a gray image into float64 and say which of its pixels are used, for measures, which go without some.

    `image` is (H, W), integers or floats; the mask is not 0 where a pixel is used, and may leave out all.  The first
    array returned is 0 where the image is not finite, and the second False there, too.  ImageError for what is no gray
    image, or a mask that does not fit it; `role` names the image in messages.
    """
    array = np.asarray(image)
    check_dtype(array.dtype, role)
    _check_plane(array, role)
    values: Floats = array.astype(np.float64)
    used: NDArray[np.bool_] = np.isfinite(values)
    if mask is not None:
        given: NDArray[Any] = np.asarray(mask)
        # A patch that lies wholly outside of the retina is no mistake of the caller: nothing is found in it.
        used &= check_mask(given, array.shape) if given.any() or given.shape != array.shape else False
    return np.where(used, values, 0.0), used


def images_and_mask(
    target: ArrayLike, result: ArrayLike, mask: ArrayLike | None
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Turn two images of one place and one shape into float64, as `image_and_mask` does, used where both are."""
    first, first_used = image_and_mask(target, mask, "target")
    second, second_used = image_and_mask(result, None, "result")
    if first.shape != second.shape:
        raise ImageError(
            f"The target has shape {first.shape}, the result {second.shape}; they are compared pixel by pixel. "
            "Pass two images of the very same place."
        )
    used = first_used & second_used
    return np.where(used, first, 0.0), np.where(used, second, 0.0), used


def _check_plane(array: NDArray[Any], role: str) -> None:
    if array.ndim != 2 or 0 in array.shape:
        raise ImageError(
            f"The {role} has shape {array.shape}; a gray image (H, W) is needed. Pass one plane of a stack or one channel of "
            "a color image at a time."
        )


def is_flat(values: Floats) -> bool:
    """Whether values differ by no more than rounding; true also for none at all."""
    if values.size == 0:
        return True
    low, high = float(values.min()), float(values.max())
    return high - low <= _ROUNDING * max(abs(low), abs(high))


def to_unit_range(image: Floats, used: NDArray[np.bool_]) -> Floats:
    """Map the used values, which must not be flat, to 0..1, so that no measure depends on scale or offset."""
    low, high = image[used].min(), image[used].max()
    unit: Floats = np.where(used, (image / 2 - low / 2) / (high / 2 - low / 2), 0.0)  # halves cannot overflow
    return unit


def fill_smoothly(image: Floats, used: NDArray[np.bool_], sigma: float) -> Floats:
    """Give unused pixels the mean of the used ones around them, weighted by a Gaussian of `sigma` pixels.

    Unlike the value of the nearest used pixel this draws no streaks away from a spot that the edge cuts. Far from
    any used pixel the fill goes over into the mean of all.
    """
    if used.all():
        return image
    from scipy import ndimage

    mean = image[used].mean()
    weight = ndimage.gaussian_filter(used.astype(np.float64), sigma, mode="nearest")
    deviation = ndimage.gaussian_filter(np.where(used, image - mean, 0.0), sigma, mode="nearest")
    filled: Floats = np.where(used, image, mean + deviation / (weight + 1e-3))
    return filled


def noise_deviation(values: Floats, used: NDArray[np.bool_]) -> float:
    """Standard deviation of white noise, from a filter that sees neither planes nor edges along the axes.

    After Immerkær, Comput. Vis. Image Underst. 64, 300 (1996), with a median for his mean, which edges raise. 0 where no
    pixel has all its neighbors used.
    """
    from scipy import ndimage

    second = np.array([1.0, -2.0, 1.0])
    rest = ndimage.convolve1d(ndimage.convolve1d(values, second, axis=0), second, axis=1)
    inside = ndimage.binary_erosion(used, np.ones((3, 3)), border_value=1)
    if not inside.any():
        return 0.0
    # 6 is the norm of the filter, 1.4826 makes the median of magnitudes the deviation of a Gaussian.
    return float(1.4826 / 6 * np.median(np.abs(rest[inside])))


def check_length(value: float | None, name: str) -> None:
    """Refuse lengths (ParameterError) that are not above 0 and finite; None is no length."""
    if value is not None and not 0 < value < np.inf:
        raise ParameterError(
            f"{name} must be a positive length in pixels, got {value}. Pass a number above 0, or None to have it measured."
        )


def to_points(points: ArrayLike, what: str) -> Floats:
    """Check positions (ParameterError), (n, 2) finite rows and columns; an empty list counts as none."""
    array: Floats = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        return np.empty((0, 2))
    if array.ndim != 2 or array.shape[1] != 2:
        raise ParameterError(f"The {what} have shape {array.shape}; positions are (n, 2): row and column in pixels.")
    if not np.isfinite(array).all():
        raise ParameterError(f"The {what} contain NaN or infinite positions; leave those rows out.")
    return array
