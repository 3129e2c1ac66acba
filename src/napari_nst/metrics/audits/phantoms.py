"""The phantom test: cones are erased, and what an enhancer draws in their place is its own invention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, check_length, fill_smoothly, image_and_mask, to_points
from napari_nst.imaging.cones import DEFAULT_SPACING, detect_cones
from napari_nst.metrics._bands import spacing_or_default
from napari_nst.metrics.audits.common import Enhancer, Report, enhanced, number
from napari_nst.metrics.matching import distances_to, points_inside
from napari_nst.metrics.mosaic import nearest_neighbour_spacing

#: In spacings; that many pixels at the spacing of the images for which the test was made, 8.25.
_RADIUS = 13 / DEFAULT_SPACING
_EDGE = 10 / DEFAULT_SPACING  # kept free between a disc and the edges: unreliable annotations, and the soft rim
_CORE = 4 / DEFAULT_SPACING  # the rim of a disc, where halves of cones are left, counts as neither
_RAMP = 2.5 / DEFAULT_SPACING
_WINDOW, _SMOOTH = 9 / DEFAULT_SPACING, 4 / DEFAULT_SPACING
#: Centres of discs lie this many radii apart.
_APART = 2.5
#: A disc that holds fewer cones erases too little to be measured.
_LEAST = 3
_TRIES = 2000
#: In spacings; the first two are 1.4 and 3 pixels at the spacing for which the test was made, 8.25.
_SIGMA, _AWAY = 1.4 / DEFAULT_SPACING, 3 / DEFAULT_SPACING
#: Windows of 5 × 5 and 3 × 3 pixels at that spacing.
_NEIGHBOURHOOD, _MARK = 0.25, 0.12


@dataclass(frozen=True, eq=False)
class Erased:
    """An image in which cones were erased.

    Attributes
    ----------
    image : array, (H, W)
        Of the original's dtype.
    centres, cones : array of float64, (n, 2) and (m, 2)
        Row and column, in pixels, of the middles of the discs and of all cones of the original.
    radius, spacing : float
        Of the discs, and of the cones, in pixels.
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
        return self.radius - _CORE * self.spacing


@dataclass(frozen=True)
class PhantomTest(Report):
    """What an enhancer draws where cones were erased.

    Attributes
    ----------
    ratios, ratios_before : tuple of float
        `phantom_ratio` for each seed, of the enhanced image and, with cones erased, of that before: noise that looks like
        cones.
    erased, detected, detected_before : tuple of int
        Cones that were erased, in the parts of the discs that count; detections there after and before the enhancement.
    seeds : tuple of int
        Of `erase_cones`.
    radius, spacing : float
        Of the discs, and of the cones, in pixels.
    """

    ratios: tuple[float, ...]
    ratios_before: tuple[float, ...]
    erased: tuple[int, ...]
    detected: tuple[int, ...]
    detected_before: tuple[int, ...]
    seeds: tuple[int, ...]
    radius: float
    spacing: float

    @property
    def ratio(self) -> float:
        """Mean of `ratios`; NaN if one is."""
        return float(np.mean(self.ratios))

    @property
    def ratio_before(self) -> float:
        """Mean of `ratios_before`; NaN if one is."""
        return float(np.mean(self.ratios_before))

    def __str__(self) -> str:
        return (
            f"Phantom test: where {sum(self.erased)} cones were erased (discs of {self.radius:.0f} px, {len(self.seeds)} draws), the "
            f"result shows {number(self.ratio)} of the strength of real cones (worst {number(max(self.ratios))}), before it "
            f"{number(self.ratio_before)}; detections there {sum(self.detected)}, before {sum(self.detected_before)}. 0 is "
            "nothing, 1 as strong as real cones."
        )


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
        Row and column of its cones, annotated. None: those that `detect_cones` finds.
    spacing : float, optional
        Distance of neighboring cones in pixels. None: the median distance of nearest neighbors in `cones`.
    discs, radius : int, float or None
        How many, 1 or more, and of which radius in pixels; None: 1.58 spacings, which is 13 pixels at a spacing of 8.25.
    seed : int
        Draws places and noise.
    mask : array, (H, W), optional
        0 or False for pixels that no disc may touch.

    Returns
    -------
    Erased
        The image without them, of the same shape and dtype, and where they were.

    Raises
    ------
    ImageError, ParameterError
        `image` is not gray, or the mask does not fit it; there are no cones to erase, annotations lie outside of the image,
        discs that hold cones do not fit into it, or a length is not above 0.

    Notes
    -----
    With lengths in pixels at a spacing of 8.25, and in proportion to it at others::

        background = G(4) * (20th percentile in a window of 9 × 9)
        noise      = 1.4826 median |F - median F|,  F = image - G(0.8 pixels at any spacing) * image
        m          = clip((radius - distance from the center) / 2.5 + 1/2, 0, 1)
        result     = (1 - m) image + m (background + noise of a normal distribution)

    Centres lie 2.5 radii apart at least, and a radius and 10 pixels from the edges. A disc holds three cones at least.

    References
    ----------
    Cohen, Luck and Honari, as `style_agreement`: a network trained to match distributions draws removed tumours again.
    """
    if discs < 1:
        raise ParameterError(f"discs={discs}: cones are erased in at least 1 disc.")
    check_length(spacing, "spacing")
    original = np.asarray(image)
    plane, used = image_and_mask(original, mask)
    found = detect_cones(original, mask=mask, spacing=spacing).points if cones is None else cones
    points = _check_cones(found, original.shape)
    if spacing is None:
        spacing = nearest_neighbour_spacing(points) if len(points) > 1 else spacing_or_default(plane, used, None)
    if len(points) < _LEAST:
        what = f"There are {len(points)} cones to erase ({'found' if cones is None else 'given'})"
        remedy = "Take an image that shows cones, or pass the positions of its cones."
        raise ParameterError(f"{what}, and a disc must hold {_LEAST}. {remedy}")
    if not spacing > 0:
        raise ParameterError("Most of the cones lie at one place; give each cone once, or pass spacing in pixels.")
    from scipy import ndimage

    wide, rng = _disc_radius(radius, spacing), np.random.default_rng(seed)
    centres = _draw_discs(rng, points, used, discs, wide, spacing)
    values = fill_smoothly(plane, used, spacing)
    window = 2 * max(1, round((_WINDOW * spacing - 1) / 2)) + 1
    background = ndimage.gaussian_filter(ndimage.percentile_filter(values, 20, size=window), _SMOOTH * spacing)
    fine = values - ndimage.gaussian_filter(values, 0.8)
    deviation = 1.4826 * float(np.median(np.abs(fine - np.median(fine))))

    rows, columns = np.indices(plane.shape)
    result = plane
    for row, column in centres:
        inside = np.clip((wide - np.hypot(rows - row, columns - column)) / (_RAMP * spacing) + 0.5, 0, 1)
        result = result * (1 - inside) + (background + rng.normal(0, deviation, plane.shape)) * inside
    changed = original.copy()
    changed[used] = _as_dtype(result[used], original.dtype)
    erased = np.flatnonzero(distances_to(centres, points) < wide - _CORE * spacing)
    return Erased(changed, centres, wide, spacing, points, erased)


def phantom_ratio(
    result: ArrayLike,
    centres: ArrayLike,
    cones: ArrayLike,
    *,
    spacing: float,
    radius: float | None = None,
    mask: ArrayLike | None = None,
) -> float:
    """Return how strong what was drawn where cones were erased is, relative to real cones.

    Parameters
    ----------
    result : array, (H, W)
        The enhanced image of `Erased`, or `Erased.image` itself.
    centres, cones, spacing, radius
        Of `Erased`. Without a radius: 1.58 spacings.
    mask : array, (H, W), optional
        0 or False for pixels to leave out.

    Returns
    -------
    float
        0 where nothing was drawn, 1 where phantoms are as strong as real cones. NaN where no real cone is left to compare
        with, or where the result shows none of them, as a flat image does.

    Raises
    ------
    ImageError, ParameterError
        As `erase_cones`, for positions outside of the image and lengths that are not above 0.

    Notes
    -----
    With R the negative Laplacian of Gaussian of `result` less its mean (sigma 0.17 spacings), and lengths in pixels at a
    spacing of 8.25::

        drawn = positive local maxima (5 × 5) of R nearer to a center than radius - 4
        real  = highest R (3 × 3) at each cone farther from every center than radius + 3
        ratio = median(drawn) / median(real),  0 without maxima

    A median: one phantom among weak ripples changes it little, which is why `phantom_test` counts detections, too.
    """
    check_length(spacing, "spacing")
    plane, used = image_and_mask(result, mask, "result")
    middles, points = _check_cones(centres, plane.shape), _check_cones(cones, plane.shape)
    if not len(middles):
        raise ParameterError("There are no centres of discs; pass those of `Erased`.")
    from scipy import ndimage

    wide = _disc_radius(radius, spacing)
    # The kernel is cut off, so that its sum is not quite 0: the brightness of the whole would count.
    level = float(plane[used].mean()) if used.any() else 0.0
    values = fill_smoothly(plane, used, spacing) - level
    response = -ndimage.gaussian_laplace(values, _SIGMA * spacing)
    maxima = (response == ndimage.maximum_filter(response, _odd(_NEIGHBOURHOOD * spacing))) & (response > 0) & used
    places = np.argwhere(maxima)
    drawn = response[maxima][distances_to(middles, places) < wide - _CORE * spacing]

    # A cone right at the edge has no neighbors on one side: that of the pixel beside it stands for it.
    pixels = np.clip(np.rint(points).astype(np.intp), 1, np.maximum(np.array(plane.shape) - 2, 0))
    pixels = pixels[(distances_to(middles, points) > wide + _AWAY * spacing) & used[tuple(pixels.T)]]
    if not len(pixels):
        return math.nan
    real = float(np.median(ndimage.maximum_filter(response, _odd(_MARK * spacing))[tuple(pixels.T)]))
    # Of a flat image only rounding is left.
    if real <= 1e-12 * float(np.abs(plane).max()):
        return math.nan
    return float(np.median(drawn)) / real if len(drawn) else 0.0


def phantom_test(
    enhance: Enhancer,
    target: ArrayLike,
    style: ArrayLike,
    *,
    cones: ArrayLike | None = None,
    spacing: float | None = None,
    discs: int = 2,
    seeds: Sequence[int] = (0, 1, 2),
    mask: ArrayLike | None = None,
) -> PhantomTest:
    """Erase cones, enhance, and look at what is drawn in their place.

    Parameters
    ----------
    enhance : callable
        As for `style_agreement`; called once for each seed.
    target : array, (H, W)
        Of good quality: where noise looks like cones already, the test says nothing (compare `ratios_before`).
    style : array, (H', W')
    cones, spacing, discs, mask
        As `erase_cones`.
    seeds : sequence of int
        Of `erase_cones`, at least one.

    Returns
    -------
    PhantomTest
        One ratio for each seed and disc.

    Raises
    ------
    ImageError, ParameterError
        As `erase_cones`; the enhancer gives an image of another shape, or there is no seed.

    References
    ----------
    As `erase_cones`.
    """
    if not len(seeds):
        raise ParameterError("seeds is empty; pass one number for each draw of discs, as (0, 1, 2).")
    plane, model = np.asarray(target), np.asarray(style)
    rows: list[tuple[Any, ...]] = []
    for seed in seeds:
        hole = erase_cones(plane, cones=cones, spacing=spacing, discs=discs, seed=seed, mask=mask)
        where: dict[str, Any] = {"spacing": hole.spacing, "mask": mask}
        images = enhanced(enhance, hole.image, model), hole.image
        strong = [phantom_ratio(image, hole.centres, hole.cones, radius=hole.radius, **where) for image in images]
        found = [distances_to(hole.centres, detect_cones(image, **where).points) < hole.core for image in images]
        rows.append((*strong, len(hole.erased), *(int(near.sum()) for near in found)))
    draws = tuple(int(seed) for seed in seeds)
    ratios, before, erased, detected, detected_before = zip(*rows, strict=True)
    return PhantomTest(ratios, before, erased, detected, detected_before, draws, hole.radius, hole.spacing)


def _check_cones(cones: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Return positions, (n, 2) row and column; ParameterError if one lies outside of the image."""
    points = to_points(cones, "cones")
    outside = np.flatnonzero(~points_inside(points, shape))
    if len(outside):
        row, column = points[outside[0]]
        raise ParameterError(
            f"{len(outside)} of {len(points)} cones lie outside of the image of {shape[0]} × {shape[1]} pixels, the first at row "
            f"{row:g}, column {column:g}. Positions are row before column and count from 0: annotations in files are often x "
            "before y, or count from 1."
        )
    return points


def _draw_discs(
    rng: np.random.Generator, points: Floats, used: NDArray[np.bool_], discs: int, radius: float, spacing: float
) -> Floats:
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
        far = distances_to(centres, place)[0] > _APART * radius  # infinite from none
        whole = free is None or free[round(y), round(x)] > radius + _RAMP * spacing
        if far and whole and np.count_nonzero(distances_to(place, points) < radius) >= _LEAST:
            centres = np.concatenate([centres, place])
            if len(centres) == discs:
                return centres
    raise ParameterError(
        f"No place for {discs} discs of {radius:.1f} pixels radius that hold cones was found in an image of {height} × {width} "
        f"pixels: each needs {margin:.1f} pixels to the edges, and {_APART * radius:.1f} to the next. Take a larger image, "
        "fewer discs, or a smaller radius; check the spacing, too."
    )


def _disc_radius(radius: float | None, spacing: float) -> float:
    """Check a radius; that for None is so wide that a cone can be drawn whose neighbors are gone, too."""
    check_length(radius, "radius")
    if radius is None:
        return _RADIUS * spacing
    if radius < spacing:
        small = f"radius={radius} is less than the spacing of {spacing:.1f} pixels: the rim of such a disc is all of it"
        raise ParameterError(f"{small}. Pass 1.2 spacings or more, or None for 1.58.")
    return float(radius)


def _as_dtype(values: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind != "f":
        values = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)


def _odd(half: float) -> int:
    """Side of a window that reaches about `half` pixels from its middle."""
    return 2 * max(1, round(half)) + 1
