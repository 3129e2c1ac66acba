"""The spatial band of the cones: the filter that leaves it, and what white noise has in it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.checks import Floats, check_length
from napari_nst.imaging.cones import DEFAULT_SPACING
from napari_nst.imaging.spacing import ring_prominence

__all__ = ["cone_band", "noise_in_band", "spacing_or_default"]

#: Standard deviations of the two Gaussians, in spacings: 0.8 and 4.8 pixels at 8 pixels.
_FINE, _COARSE = 0.1, 0.6


def cone_band(picture: Floats, spacing: float) -> Floats:
    """Leave what is as large as cones: the difference of Gaussians with deviations of 0.1 and 0.6 spacings."""
    from scipy import ndimage

    fine, coarse = (ndimage.gaussian_filter(picture, part * spacing) for part in (_FINE, _COARSE))
    band: Floats = fine - coarse
    return band


def noise_in_band(spacing: float) -> float:
    """Standard deviation of `cone_band` of white noise of standard deviation 1, away from the edges."""
    radius = math.ceil(4 * _COARSE * spacing) + 1  # as far as scipy's Gaussian reaches
    impulse = np.zeros((2 * radius + 1, 2 * radius + 1))
    impulse[radius, radius] = 1
    return float(np.linalg.norm(cone_band(impulse, spacing)))


def spacing_or_default(picture: Floats, used: NDArray[np.bool_], spacing: float | None) -> float:
    """The given spacing, else that of the picture's ring, else 8.25 pixels where it has none.

    Raises
    ------
    ParameterError
        A given spacing is no length.
    """
    check_length(spacing, "spacing")
    if spacing is not None:
        return float(spacing)
    measured = ring_prominence(picture, mask=used).spacing
    return DEFAULT_SPACING if math.isnan(measured) else measured
