"""The mosaic that cones form: how far apart, how dense, how regular."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, to_points
from napari_nst.imaging.masks import check_mask


@dataclass(frozen=True)
class Voronoi:
    """How regular a mosaic is, by the cells around its cones.

    Attributes
    ----------
    regularity : float
        Mean over standard deviation of the areas of the cells: 1.89 for points thrown at random, 7 to 11 for annotated
        cones at 0.65° from the fovea, infinite for a perfect lattice. NaN for fewer than two cells.
    six_sided : float
        Share of the cells with six neighbors, 0 to 1: 0.29 for random points, 0.58 to 0.82 for those cones, 1 for
        a hexagonal lattice. NaN without cells.
    cells : int
        Cells that were measured.
    """

    regularity: float
    six_sided: float
    cells: int


def nearest_neighbour_spacing(points: ArrayLike) -> float:
    """Return the median distance of a cone to its nearest neighbor.

    Parameters
    ----------
    points : array, (n, 2)
        Row and column in pixels.

    Returns
    -------
    float
        In pixels; NaN for fewer than two cones. In a disordered mosaic it is smaller than that of a hexagonal lattice of
        the same density (by 15 % on confocal images of the parafovea).

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


def cone_density(
    cones: int | ArrayLike, area_px: float, pixel_size: float | None = None, *, um_per_px: float | None = None
) -> float:
    """Return the cones per square millimeter.

    Parameters
    ----------
    cones : int, or array (n, 2)
        Their number, or their positions.
    area_px : float
        The area that they were looked for in, in square pixels: height times width, or the number of used pixels.
    pixel_size : float or None
        µm on the retina per pixel; `um_per_px` is its deprecated alias.

    Returns
    -------
    float
        Cones / mm².

    Raises
    ------
    ParameterError
        The pixel size is unknown (None), or a number is out of its range.
    """
    pixel_size = renamed_argument(um_per_px, "um_per_px", pixel_size)
    if pixel_size is None:
        usual = "0.3 to 0.6 in most adaptive optics systems"
        raise ParameterError(
            f"The density needs the size of a pixel: pass pixel_size, µm on the retina per pixel ({usual})."
        )
    check_pixel_size(pixel_size)
    if not 0 < area_px < math.inf:
        raise ParameterError(f"area_px must be above 0, got {area_px}. Pass the number of pixels that were looked at.")
    count = cones if isinstance(cones, SupportsIndex) and np.ndim(cones) == 0 else len(to_points(cones, "cones"))
    if int(count) < 0:
        raise ParameterError(f"cones must be a number of cones, got {count}. Pass 0 or more.")
    return int(count) / (area_px * pixel_size**2 * 1e-6)


def check_pixel_size(value: Any, name: str = "pixel_size") -> None:
    """Raise ParameterError for what is neither None nor a positive number of µm per pixel."""
    if value is not None and not (isinstance(value, Real) and 0 < float(value) < math.inf):
        raise ParameterError(f"`{name}` must be a positive pixel size (µm/px), got {value!r}. Try 0.5, or None.")


def renamed_argument(value: float | None, old: str, new: float | None) -> float | None:
    """Return what was passed as `pixel_size`, or under its old name, with a DeprecationWarning."""
    if value is None:
        return new
    text = f"`{old}` is now `pixel_size`; the old name goes with the next release."
    warnings.warn(text, DeprecationWarning, stacklevel=3)
    return value


def counted_pixels(mask: ArrayLike, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return a mask as booleans; ImageError if it does not fit."""
    given = np.asarray(mask)
    # One that leaves out all pixels is no error: a patch may lie wholly outside of the retina.
    if given.shape == tuple(shape[:2]) and not given.any():
        return np.zeros(given.shape, dtype=np.bool_)
    return check_mask(given, shape[:2])


def voronoi_regularity(points: ArrayLike, shape: Sequence[int], *, mask: ArrayLike | None = None) -> Voronoi:
    """Measure the regularity of a mosaic by its Voronoi cells.

    Parameters
    ----------
    points : array, (n, 2)
        Row and column of the cones, in pixels.
    shape, mask
        Height and width of the image, and 0 or False for its pixels in which no cones were looked for.

    Returns
    -------
    Voronoi
        Of the cells that lie wholly inside the image and hold no unused pixel; the others depend on cones that are not
        seen. There are none with fewer than four cones, or where all cones lie on one line.

    Raises
    ------
    ParameterError, ImageError
        Positions of another shape or not finite; the mask does not fit.

    Notes
    -----
    The sides of a cell are counted as neighbors. The standard deviation is that of a sample (n - 1). Cones at the very
    same place are one.

    Detections missed or invented lower both numbers, so that they compare images by one detector; a result can also
    be *more* regular than any retina, as a lattice drawn by an enhancement is.

    References
    ----------
    Cooper et al., Evaluating descriptive metrics of the human cone mosaic, Invest. Ophthalmol. Vis. Sci. 57, 2992
    (2016). Random points: Tanemura, Statistical distributions of Poisson Voronoi cells in two and three dimensions,
    Forma 18, 221 (2003).
    """
    places = np.unique(to_points(points, "cones"), axis=0)
    cells = _whole_cells(places, shape, None if mask is None else counted_pixels(mask, shape))
    if not cells:
        return Voronoi(math.nan, math.nan, 0)
    regularity, areas = math.nan, np.array([_area(corners) for corners in cells])
    if len(areas) > 1:
        mean, scatter = float(areas.mean()), float(areas.std(ddof=1))
        regularity = mean / scatter if scatter > 1e-9 * mean else math.inf
    return Voronoi(regularity, float(np.mean([len(corners) == 6 for corners in cells])), len(areas))


def _whole_cells(places: Floats, shape: Sequence[int], used: NDArray[np.bool_] | None) -> list[Floats]:
    """The corners, (k, 2), of every Voronoi cell that is bounded and lies in the used part of the image."""
    if len(places) < 4:
        return []
    from scipy import spatial

    try:
        diagram = spatial.Voronoi(places)
    except spatial.QhullError:  # all on one line
        return []
    whole = np.ones(len(places), dtype=np.bool_)
    if used is not None and not used.all():
        whole[spatial.cKDTree(places).query(np.argwhere(~used))[1]] = False
    inside = np.all((diagram.vertices >= -0.5) & (diagram.vertices <= np.asarray(shape[:2]) - 0.5), axis=1)
    cells = []
    for place, region in zip(places[whole], diagram.point_region[whole], strict=True):
        indices = diagram.regions[region]
        if len(indices) >= 3 and min(indices) >= 0 and inside[indices].all():
            corners = diagram.vertices[indices]
            cells.append(corners[np.argsort(np.arctan2(*(corners - place).T))])  # a cell is convex and holds its cone
    return cells


def _area(corners: Floats) -> float:
    rows, columns = (corners - corners.mean(axis=0)).T
    return 0.5 * abs(float(rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1)))
