"""The mosaic that cones form: how far apart, how dense."""

from __future__ import annotations

import math
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.errors import ParameterError
from napari_nst.metrics._arrays import to_points

__all__ = ["cone_density", "nearest_neighbour_spacing"]


def nearest_neighbour_spacing(points: ArrayLike) -> float:
    """Median distance of a cone to its nearest neighbour.

    Parameters
    ----------
    points : array, (n, 2)
        Row and column in pixels.

    Returns
    -------
    float
        In pixels; NaN for fewer than two cones. In a disordered mosaic it is smaller than the distance that a
        hexagonal lattice of the same density has (by 15 % on confocal pictures of the parafovea).

    Raises
    ------
    ParameterError
        Positions of another shape or not finite.
    """
    places = to_points(points, "cones")
    if len(places) < 2:
        return math.nan
    from scipy.spatial import cKDTree

    # The nearest to a cone is itself, or one at the very same place: either way the second has its distance.
    return float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))


def cone_density(cones: int | ArrayLike, area_px: float, um_per_px: float | None) -> float:
    """Cones per square millimetre.

    Parameters
    ----------
    cones : int, or array (n, 2)
        Their number, or their positions.
    area_px : float
        The area that they were looked for in, in square pixels: height times width, or the number of used pixels.
    um_per_px : float or None
        Micrometres on the retina per pixel.

    Returns
    -------
    float
        Cones / mm².

    Raises
    ------
    ParameterError
        The scale is unknown (None), or a number cannot be what it should be.
    """
    if um_per_px is None:
        raise ParameterError(
            "The density needs the scale of the picture: pass um_per_px, micrometres on the retina per pixel "
            "(0.3 to 0.6 in most adaptive optics systems)."
        )
    if not 0 < um_per_px < math.inf:
        raise ParameterError(f"um_per_px={um_per_px} is no scale; pass micrometres per pixel, above 0.")
    if not 0 < area_px < math.inf:
        raise ParameterError(f"area_px={area_px} is no area; pass the number of pixels that were looked at.")
    if isinstance(cones, SupportsIndex) and np.ndim(cones) == 0:
        count = int(cones.__index__())
    elif np.ndim(cones) == 0:
        raise ParameterError(f"cones={cones!r} is no number of cones; pass an integer or positions (n, 2).")
    else:
        count = len(to_points(cones, "cones"))
    if count < 0:
        raise ParameterError(f"cones={count} is no number of cones; pass 0 or more.")
    return count / (area_px * um_per_px**2 * 1e-6)
