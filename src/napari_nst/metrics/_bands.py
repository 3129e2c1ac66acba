"""The spatial band of the cones: its filter, the noise in it, and the spacing that sets it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.imaging.checks import Floats, check_length, fill_smoothly, images_and_mask, is_flat, to_unit_range
from napari_nst.imaging.cones import DEFAULT_SPACING, Cones, detect_cones
from napari_nst.imaging.spacing import Ring, relative_spacing, ring_prominence
from napari_nst.imaging.spectrum import radial_power_spectrum

# Some are measures for the users of napari_nst.metrics, though they lie in imaging, where transfers need them.
__all__ = ["Cones", "Ring", "detect_cones", "radial_power_spectrum", "relative_spacing", "ring_prominence"]

#: Which pixels count.
Mask = NDArray[np.bool_]
#: Standard deviations of the two Gaussians, in spacings: 0.8 and 4.8 pixels at 8 pixels.
_FINE, _COARSE = 0.1, 0.6


def cone_band(image: Floats, spacing: float) -> Floats:
    """Keep structure of the size of cones: the difference of Gaussians with deviations of 0.1 and 0.6 spacings."""
    from scipy import ndimage

    fine, coarse = (ndimage.gaussian_filter(image, part * spacing) for part in (_FINE, _COARSE))
    band: Floats = fine - coarse
    return band


def normalized(image: Floats, used: Mask, spacing: float) -> Floats:
    """Return an image from 0 to 1, continued smoothly where it is not used; zeros for a flat one."""
    if is_flat(image[used]):
        return np.zeros_like(image)
    return fill_smoothly(to_unit_range(image, used), used, spacing)


def noise_in_band(spacing: float) -> float:
    """Return the standard deviation of `cone_band` of white noise of deviation 1, away from the edges."""
    radius = math.ceil(4 * _COARSE * spacing) + 1  # as far as scipy's Gaussian reaches
    impulse = np.zeros((2 * radius + 1, 2 * radius + 1))
    impulse[radius, radius] = 1
    return float(np.linalg.norm(cone_band(impulse, spacing)))


def spacing_or_default(image: Floats, used: Mask, spacing: float | None) -> float:
    """Return the given spacing, else that of the image's ring, else 8.25 pixels; ParameterError if it is no length."""
    check_length(spacing, "spacing")
    return shared_spacing((image,), used) if spacing is None else float(spacing)


def prepared(
    target: ArrayLike, result: ArrayLike, mask: ArrayLike | None, spacing: float | None
) -> tuple[Floats, Floats, Mask, float]:
    """Return what comparisons begin with: two checked images, the pixels used in both, and the spacing of the cones."""
    check_length(spacing, "spacing")
    first, second, used = images_and_mask(target, result, mask)
    return first, second, used, spacing_or_default(first, used, spacing)


def shared_spacing(images: tuple[Floats, ...], used: Mask) -> float:
    """Return the spacing of the first image whose spectrum shows a ring, else 8.25 pixels."""
    for image in images:
        measured = math.nan if is_flat(image[used]) else ring_prominence(image, mask=used).spacing
        if not math.isnan(measured):
            return measured
    return DEFAULT_SPACING
