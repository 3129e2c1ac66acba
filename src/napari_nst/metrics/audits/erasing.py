"""Erasing cones from a picture, so that what an enhancer draws in their place is known to be its own invention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, check_length, fill_smoothly, image_and_mask
from napari_nst.imaging.cones import DEFAULT_SPACING, detect_cones
from napari_nst.metrics._bands import spacing_or_default
from napari_nst.metrics.audits.common import check_marks
from napari_nst.metrics.mosaic import nearest_neighbour_spacing

__all__ = ["Erased", "away", "core_radius", "disc_radius", "erase_cones"]

#: In spacings; that many pixels at the spacing of the pictures for which the test was made, 8.25.
_RADIUS = 13 / DEFAULT_SPACING
_EDGE = 10 / DEFAULT_SPACING  # kept free between a disc and the edges: unreliable marks, and the soft rim
_CORE = 4 / DEFAULT_SPACING  # the rim of a disc, where halves of cones are left, counts as neither
_RAMP = 2.5 / DEFAULT_SPACING
_WINDOW, _SMOOTH = 9 / DEFAULT_SPACING, 4 / DEFAULT_SPACING
#: Centres of discs lie this many radii apart.
_APART = 2.5
#: A disc that holds fewer cones erases nothing that could be told from what was there before.
_LEAST = 3
_TRIES = 2000


@dataclass(frozen=True, eq=False)
class Erased:
    """A picture in which cones were erased.

    Attributes
    ----------
    image : array, (H, W)
        Of the original's dtype.
    centres : array of float64, (n, 2)
        Row and column of the middles of the discs, in pixels.
    radius, spacing : float
        Of the discs, and of the cones, in pixels.
    cones : array of float64, (m, 2)
        All cones of the original: row and column, in pixels.
    erased : array of int
        Indices into `cones` of those in the cores of the discs, where nothing is left of them.
    """

    image: NDArray[Any]
    centres: Floats
    radius: float
    spacing: float
    cones: Floats
    erased: NDArray[np.intp]

    @property
    def core(self) -> float:
        """Radius of the part of a disc that counts, in pixels: without the rim, where halves of cones are left."""
        return core_radius(self.radius, self.spacing)


def erase_cones(
    image: ArrayLike,
    *,
    cones: ArrayLike | None = None,
    spacing: float | None = None,
    discs: int = 2,
    radius: float | None = None,
    seed: int = 0,
    mask: ArrayLike | None = None,
) -> Erased:
    """Erase every cone within some discs, and leave background and noise there.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats, of good quality: where noise looks like cones, so does what replaces them.
    cones : array, (n, 2), optional
        Row and column of its cones, marked by hand. None: those that `detect_cones` finds.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None: the median distance of nearest neighbours in `cones`.
    discs : int
        How many, 1 or more.
    radius : float, optional
        Of a disc, in pixels. None: 1.58 spacings, which is 13 pixels at a spacing of 8.25.
    seed : int
        Draws places and noise.
    mask : array, (H, W), optional
        0 or False for pixels that no disc may touch.

    Returns
    -------
    Erased

    Raises
    ------
    ImageError
        `image` is no grey picture, or the mask does not fit it.
    ParameterError
        There are no cones to erase, marks lie outside of the picture, discs that hold cones do not fit into it, or a
        length cannot be one.

    Notes
    -----
    With lengths in pixels at a spacing of 8.25, and in proportion to it at others::

        background = G(4) * (20th percentile in a window of 9 × 9)
        noise      = 1.4826 median |F - median F|,  F = image - G(0.8 pixels at any spacing) * image
        m          = clip((radius - distance from the centre) / 2.5 + 1/2, 0, 1)
        result     = (1 - m) image + m (background + noise of a normal distribution)

    Centres lie 2.5 radii apart at least, and a radius and 10 pixels from the edges. A disc holds three cones at least.

    References
    ----------
    Cohen, Luck and Honari, Distribution matching losses can hallucinate features in medical image translation,
    MICCAI 2018, who show by removed tumours that a network trained to match distributions draws what is not there.
    """
    if discs < 1:
        raise ParameterError(f"discs={discs}: cones are erased in at least 1 disc.")
    check_length(spacing, "spacing")
    original = np.asarray(image)
    picture, used = image_and_mask(original, mask)
    points = (
        detect_cones(original, mask=mask, spacing=spacing).points
        if cones is None
        else check_marks(cones, original.shape)
    )
    if spacing is None:
        spacing = nearest_neighbour_spacing(points) if len(points) > 1 else spacing_or_default(picture, used, None)
    if len(points) < _LEAST:
        raise ParameterError(
            f"There are {len(points)} cones to erase ({'found' if cones is None else 'given'}), and a disc must hold {_LEAST}. "
            "Take a picture that shows cones, or pass the positions of its cones."
        )
    if not spacing > 0:
        raise ParameterError("Most of the cones lie at one place; give each cone once, or pass spacing in pixels.")
    wide = disc_radius(radius, spacing)

    from scipy import ndimage

    rng = np.random.default_rng(seed)
    centres = _places(rng, points, used, discs, wide, spacing)
    values = fill_smoothly(picture, used, spacing)
    window = 2 * max(1, round((_WINDOW * spacing - 1) / 2)) + 1
    background = ndimage.gaussian_filter(ndimage.percentile_filter(values, 20, size=window), _SMOOTH * spacing)
    fine = values - ndimage.gaussian_filter(values, 0.8)
    deviation = 1.4826 * float(np.median(np.abs(fine - np.median(fine))))

    rows, columns = np.indices(picture.shape)
    result = picture
    for row, column in centres:
        inside = np.clip((wide - np.hypot(rows - row, columns - column)) / (_RAMP * spacing) + 0.5, 0, 1)
        result = result * (1 - inside) + (background + rng.normal(0, deviation, picture.shape)) * inside
    changed = original.copy()
    changed[used] = _as_dtype(result[used], original.dtype)
    erased = np.flatnonzero(away(points, centres) < core_radius(wide, spacing))
    return Erased(changed, centres, wide, spacing, points, erased)


def _places(
    rng: np.random.Generator, points: Floats, used: NDArray[np.bool_], discs: int, radius: float, spacing: float
) -> Floats:
    """Draw the middles of the discs."""
    from scipy import ndimage

    margin = radius + _EDGE * spacing
    height, width = used.shape
    free = None if used.all() else ndimage.distance_transform_edt(used)
    centres = np.empty((0, 2))
    # Half a pixel of room would be one place, not a draw.
    possible = min(height, width) - 2 * margin >= 1
    for _ in range(_TRIES if possible else 0):
        x, y = rng.uniform((margin, margin), (width - margin, height - margin))
        place = np.array([[y, x]])
        far = not len(centres) or away(place, centres)[0] > _APART * radius
        whole = free is None or free[round(y), round(x)] > radius + _RAMP * spacing
        if far and whole and np.count_nonzero(away(points, place) < radius) >= _LEAST:
            centres = np.concatenate([centres, place])
            if len(centres) == discs:
                return centres
    raise ParameterError(
        f"No place for {discs} discs of {radius:.1f} pixels radius that hold cones was found in a picture of {height} × {width} "
        f"pixels: each needs {margin:.1f} pixels to the edges, and {_APART * radius:.1f} to the next. Take a larger picture, "
        "fewer discs, or a smaller radius; check the spacing, too."
    )


def disc_radius(radius: float | None, spacing: float) -> float:
    """Radius of a disc in pixels; None is one so wide that a cone can be drawn whose neighbours are gone, too.

    Raises
    ------
    ParameterError
        No length, or less than one spacing: nothing would be left within the rim.
    """
    check_length(radius, "radius")
    if radius is None:
        return _RADIUS * spacing
    if radius < spacing:
        raise ParameterError(
            f"radius={radius} is less than the spacing of {spacing:.1f} pixels: the rim of such a disc is all of it. Pass 1.2 "
            "spacings or more, or None for 1.58."
        )
    return float(radius)


def core_radius(radius: float, spacing: float) -> float:
    """Radius of the part of a disc that counts, in pixels."""
    return radius - _CORE * spacing


def away(points: Floats | NDArray[np.intp], centres: Floats) -> Floats:
    """Distance to the nearest centre, in pixels."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(centres).query(points)[0], dtype=np.float64) if len(points) else np.empty(0)


def _as_dtype(values: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
