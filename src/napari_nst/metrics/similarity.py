"""Whether two pictures of one place show the same structure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.errors import ImageError
from napari_nst.metrics._arrays import Floats, check_length, fill_smoothly, is_flat, picture_and_mask, to_unit_range
from napari_nst.metrics.cones import DEFAULT_SPACING
from napari_nst.metrics.ring import ring_prominence

__all__ = ["structure_correlation"]

#: Standard deviations of the two Gaussians, in spacings: 0.8 and 4.8 pixels at 8 pixels.
_FINE, _COARSE = 0.1, 0.6


def structure_correlation(
    target: ArrayLike, result: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None
) -> float:
    """Correlation of two pictures in the spatial band of the cones.

    Parameters
    ----------
    target, result : array, (H, W)
        Pictures of one place: of any dtype, scale and offset, each its own.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None takes that of the target's ring, or 8.25 where it has none.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either picture are left out too.

    Returns
    -------
    float
        Pearson's correlation, -1 to 1, of the differences of Gaussians with standard deviations of 0.1 and 0.6
        spacings. NaN where one is constant. It does not see brightness, gradients or contrast, nor noise finer than
        cones.

    Raises
    ------
    ImageError
        A picture is not grey, the shapes differ, or the mask does not fit.
    ParameterError
        `spacing` is no length.
    """
    check_length(spacing, "spacing")
    first, first_used = picture_and_mask(target, None, "target")
    second, second_used = picture_and_mask(result, None, "result")
    if first.shape != second.shape:
        raise ImageError(
            f"The target has shape {first.shape}, the result {second.shape}; structure is compared pixel by pixel. "
            "Pass two pictures of the very same place."
        )
    used = first_used & second_used & picture_and_mask(target, mask, "target")[1]
    if is_flat(first[used]) or is_flat(second[used]):
        return math.nan
    if spacing is None:
        spacing = ring_prominence(first, mask=used).spacing
        spacing = DEFAULT_SPACING if math.isnan(spacing) else spacing

    bands = []
    for picture in (first, second):
        filled = fill_smoothly(to_unit_range(picture, used), used, spacing)
        band = _band(filled, spacing)[used]
        band -= band.mean()
        norm = float(np.linalg.norm(band))
        if norm <= 1e-12 * math.sqrt(band.size):  # of values in 0..1: nothing but rounding is left in this band
            return math.nan
        bands.append(band / norm)
    return float(np.clip(bands[0] @ bands[1], -1, 1))


def _band(picture: Floats, spacing: float) -> Floats:
    from scipy import ndimage

    fine, coarse = (ndimage.gaussian_filter(picture, part * spacing) for part in (_FINE, _COARSE))
    band: Floats = fine - coarse
    return band
