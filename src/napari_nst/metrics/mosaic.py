"""The mosaic that cones form: how far apart, how dense, how regular."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, to_points
from napari_nst.imaging.masks import check_mask

__all__ = ["Voronoi", "cone_density", "nearest_neighbour_spacing", "voronoi_regularity"]


@dataclass(frozen=True)
class Voronoi:
    """How regular a mosaic is, by the cells around its cones.

    Attributes
    ----------
    regularity : float
        Mean over standard deviation of the areas of the cells: 1.89 for points thrown at random, 7 to 11 for hand-marked
        cones at 0.65° from the fovea, infinite for a perfect lattice. NaN for fewer than two cells.
    six_sided : float
        Share of the cells with six neighbours, 0 to 1: 0.29 for random points, 0.58 to 0.82 for those cones, 1 for
        a hexagonal lattice. NaN without cells.
    cells : int
        Cells that were measured.
    """

    regularity: float
    six_sided: float
    cells: int


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


def voronoi_regularity(points: ArrayLike, shape: Sequence[int], *, mask: ArrayLike | None = None) -> Voronoi:
    """Measure the regularity of a mosaic by its Voronoi cells.

    Parameters
    ----------
    points : array, (n, 2)
        Row and column of the cones, in pixels.
    shape : (int, int)
        Height and width of the picture that they were looked for in.
    mask : array, (H, W), optional
        0 or False for pixels in which no cones were looked for.

    Returns
    -------
    Voronoi
        Of the cells that lie wholly inside the picture and hold no unused pixel; the others depend on cones that are not
        seen. There are none with fewer than four cones, or where all cones lie on one line.

    Raises
    ------
    ParameterError
        Positions of another shape or not finite.
    ImageError
        The mask does not fit.

    Notes
    -----
    The Voronoi cell of a cone is what is nearer to it than to any other. Its area is that of the polygon; its sides are
    counted as neighbours. The standard deviation is that of a sample (n - 1). Cones at the very same place are one.

    Detections missed or invented lower both numbers, so that they compare pictures by one detector; a result can also
    be *more* regular than any retina, as a lattice drawn by an enhancement is.

    References
    ----------
    Cooper et al., Evaluating descriptive metrics of the human cone mosaic, Invest. Ophthalmol. Vis. Sci. 57, 2992
    (2016). Random points: Tanemura, Statistical distributions of Poisson Voronoi cells in two and three dimensions,
    Forma 18, 221 (2003).
    """
    places = np.unique(to_points(points, "cones"), axis=0)
    used = None
    if mask is not None:
        given = np.asarray(mask)
        used = check_mask(given, shape[:2]) if given.any() or given.shape != tuple(shape[:2]) else given != 0
    cells = _whole_cells(places, shape, used)
    if not cells:
        return Voronoi(math.nan, math.nan, 0)
    areas, sides = np.array([_area(corners) for corners in cells]), np.array([len(corners) for corners in cells])
    regularity = math.nan
    if len(areas) > 1:
        mean, scatter = float(areas.mean()), float(areas.std(ddof=1))
        regularity = mean / scatter if scatter > 1e-9 * mean else math.inf
    return Voronoi(regularity, float(np.mean(sides == 6)), len(areas))


def _whole_cells(places: Floats, shape: Sequence[int], used: NDArray[np.bool_] | None) -> list[Floats]:
    """The corners, (k, 2), of every Voronoi cell that is bounded and lies in the used part of the picture."""
    if len(places) < 4:
        return []
    from scipy import spatial

    try:
        diagram = spatial.Voronoi(places)
    except spatial.QhullError:  # all on one line
        return []
    whole = np.ones(len(places), dtype=np.bool_)
    if used is not None and not used.all():
        whole[np.unique(spatial.cKDTree(places).query(np.argwhere(~used))[1])] = False
    inside = np.all((diagram.vertices >= -0.5) & (diagram.vertices <= np.asarray(shape[:2]) - 0.5), axis=1)
    cells = []
    for place, region in zip(places[whole], diagram.point_region[whole], strict=True):
        indices = diagram.regions[region]
        if len(indices) < 3 or min(indices) < 0 or not inside[indices].all():
            continue
        corners = diagram.vertices[indices]
        around = np.arctan2(*(corners - place).T)
        cells.append(corners[np.argsort(around)])  # a cell is convex and holds its cone
    return cells


def _area(corners: Floats) -> float:
    rows, columns = (corners - corners.mean(axis=0)).T
    return 0.5 * abs(float(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1)))
