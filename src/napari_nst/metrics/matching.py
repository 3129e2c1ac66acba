"""Which cones are the same, how well two sets of them agree, and how well a random lattice would have agreed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, check_length, to_points
from napari_nst.metrics.mosaic import counted_pixels, nearest_neighbour_spacing

#: Tolerances of a match in spacings: the one that tells cones from a random lattice, and that of Cunefare et al. 2017.
STRICT, PUBLISHED = 0.35, 0.75
#: Lattices that the chance level is the mean of. One alone scatters by 0.04 at the strict tolerance, by 0.01 at the other.
_LATTICES = 10
_Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matching:
    """Which found cone is which reference cone.

    Attributes
    ----------
    pairs : array of int, (k, 2)
        Index into the found cones and index into the reference cones, ordered by the first.
    new, lost : array of int
        Found cones that are no reference cone, and reference cones that were not found, ascending.
    distances : array of float64, (k,)
        How far the two of each pair are apart, in pixels.
    """

    pairs: NDArray[np.intp]
    new: NDArray[np.intp]
    lost: NDArray[np.intp]
    distances: Floats

    @property
    def kept(self) -> NDArray[np.intp]:
        """Found cones that are reference cones: indices, ascending."""
        return self.pairs[:, 0]

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN), 0 to 1; NaN when there are neither found nor reference cones."""
        return _ratio(2 * len(self.pairs), 2 * len(self.pairs) + len(self.new) + len(self.lost))

    @property
    def true_positive_rate(self) -> float:
        """TP / (TP + FN), 0 to 1; NaN without reference cones."""
        return _ratio(len(self.pairs), len(self.pairs) + len(self.lost))

    @property
    def false_discovery_rate(self) -> float:
        """FP / (TP + FP), 0 to 1; NaN when nothing was found."""
        return _ratio(len(self.new), len(self.pairs) + len(self.new))


@dataclass(frozen=True)
class Agreement:
    """How found cones agree with reference cones at one tolerance.

    Attributes
    ----------
    tolerance, tolerance_px : float
        Largest distance of a pair, in spacings of the reference and in pixels; NaN where no spacing is known.
    dice, true_positive_rate, false_discovery_rate : float
        As `Matching` defines them, 0 to 1; NaN also without a spacing.
    true_positives, false_positives, false_negatives : int
        Pairs, found cones without and reference cones without a partner. Where no spacing is known nothing is paired.
    chance_dice : float
        Chance level: the Dice of random lattices that are as dense as the found cones. NaN as `dice` is.
    median_distance_px : float
        Of the pairs; NaN without any.
    """

    tolerance: float
    tolerance_px: float
    dice: float
    true_positive_rate: float
    false_discovery_rate: float
    true_positives: int
    false_positives: int
    false_negatives: int
    chance_dice: float
    median_distance_px: float


def match_cones(found: ArrayLike, reference: ArrayLike, *, tolerance_px: float) -> Matching:
    """Match found cones with reference cones by the published rule.

    Each reference cone claims the found cone nearest to it, if that lies within the tolerance; a found cone that
    several claim goes to the nearest of them, and the others are lost: they get no second choice.

    Parameters
    ----------
    found, reference : array, (n, 2) and (m, 2)
        Row and column in pixels; either may be empty.
    tolerance_px : float
        Largest distance of a pair, in pixels. Published is 0.75 of the `nearest_neighbour_spacing` of the reference, at
        which a random lattice reaches a Dice of 0.88; 0.35 of it tells cones from such a lattice.

    Returns
    -------
    Matching
        Indices into `found` and `reference`: pairs, and those without a partner.

    Raises
    ------
    ParameterError
        Positions of another shape or not finite, or a tolerance that is negative or NaN.

    References
    ----------
    Cunefare et al., Open source software for automatic detection of cone photoreceptors in adaptive optics
    ophthalmoscopy using convolutional neural networks, Sci. Rep. 7:6620 (2017), section "Performance".
    """
    found_at, reference_at = to_points(found, "found cones"), to_points(reference, "reference cones")
    if not tolerance_px >= 0:
        raise ParameterError(f"tolerance_px={tolerance_px} must be a distance in pixels, 0 or more.")
    pairs, distances = np.empty((0, 2), dtype=np.intp), np.empty(0)
    if len(found_at) and len(reference_at):
        from scipy.spatial import cKDTree

        distance, nearest = cKDTree(found_at).query(reference_at)
        claims = np.flatnonzero(distance <= tolerance_px)
        # By found cone, its nearest claimant first; of two equally near ones the first in the list.
        claims = claims[np.lexsort((claims, distance[claims], nearest[claims]))]
        taken, first = np.unique(nearest[claims], return_index=True)
        pairs = np.column_stack([taken, claims[first]]).astype(np.intp)
        distances = distance[claims[first]]
    new = np.setdiff1d(np.arange(len(found_at)), pairs[:, 0])
    lost = np.setdiff1d(np.arange(len(reference_at)), pairs[:, 1])
    return Matching(pairs, new, lost, distances)


def agreement(
    found: ArrayLike,
    reference: ArrayLike,
    shape: Sequence[int],
    *,
    border: float = 0,
    mask: ArrayLike | None = None,
    tolerances: Sequence[float] = (STRICT, PUBLISHED),
    spacing: float | None = None,
) -> tuple[Agreement, ...]:
    """Score found cones against reference cones, beside the chance level: one `Agreement` for each tolerance.

    Parameters
    ----------
    found, reference : array, (n, 2) and (m, 2)
        Row and column in pixels; either may be empty.
    shape, border, mask
        What is counted, as `points_inside` has it. The border of the published protocol is 7, for cones that the edge cuts
        are neither annotated nor found reliably.
    tolerances : sequence of float
        In spacings, each above 0. Decide by the first default, 0.35; 0.75 is published, and a random lattice reaches
        about 0.88 there.
    spacing : float, optional
        Distance of neighboring cones in pixels. None: the median distance of nearest neighbors in `reference`, which
        needs two cones.

    Returns
    -------
    tuple of Agreement
        One for each tolerance.

    Raises
    ------
    ParameterError, ImageError
        Positions, tolerances, border or spacing out of their range; the mask does not fit.

    Notes
    -----
    Pairs are made by `match_cones` among all cones, those near the edge too, so that no cone loses its partner to the
    cut. Only then are counted: as TP pairs with both cones inside, as FP and FN cones inside without a partner. A pair
    across the line counts as nothing. `chance_dice` is the mean over 10 lattices of `random_lattice` with as many
    points per area as `found`, scored in the same way.

    References
    ----------
    Cunefare et al. (2017), as `match_cones`.
    """
    found_at, reference_at = to_points(found, "found cones"), to_points(reference, "reference cones")
    check_length(spacing, "spacing")
    for tolerance in tolerances:
        if not 0 < tolerance < math.inf:
            raise ParameterError(f"A tolerance must be above 0 spacings, got {tolerance}. Try 0.35 and 0.75.")
    spacing = nearest_neighbour_spacing(reference_at) if spacing is None else spacing
    counted = points_inside(reference_at, shape, border=border, mask=mask)
    lattices = [random_lattice(len(found_at), shape, seed=seed, mask=mask) for seed in range(_LATTICES)]
    sets = [(points, points_inside(points, shape, border=border, mask=mask)) for points in (found_at, *lattices)]

    rows = []
    for tolerance in tolerances:
        limit = float(tolerance * spacing)
        here, *chance = (_score(points, reference_at, inside, counted, limit) for points, inside in sets)
        rates = here.dice, here.true_positive_rate, here.false_discovery_rate
        chance_dice = float(np.mean([one.dice for one in chance]))
        # Where one side is empty there are no pairs at any tolerance, so that the rates hold without a spacing.
        if math.isnan(limit) and len(found_at) and len(reference_at):
            rates, chance_dice = (math.nan,) * 3, math.nan
        apart = float(np.median(here.distances)) if len(here.pairs) else math.nan
        counts = len(here.pairs), len(here.new), len(here.lost)
        rows.append(Agreement(float(tolerance), limit, *rates, *counts, chance_dice, apart))
    return tuple(rows)


def invented(found: ArrayLike, reference: ArrayLike, spacing: float | None = None) -> NDArray[np.intp]:
    """Return which found cones lie where no reference cone is near.

    Parameters
    ----------
    found, reference, spacing
        As for `agreement`.

    Returns
    -------
    array of int
        Indices into `found`, ascending, of those farther than 0.75 spacings from every reference cone; all of them where
        there is no reference cone.

    Raises
    ------
    ParameterError
        Positions of another shape or not finite; no spacing is given and the only reference cone has none.
    """
    found_at, reference_at = to_points(found, "found cones"), to_points(reference, "reference cones")
    check_length(spacing, "spacing")
    if not len(found_at) or not len(reference_at):
        return np.arange(len(found_at))
    spacing = nearest_neighbour_spacing(reference_at) if spacing is None else spacing
    if math.isnan(spacing):
        alone = "One reference cone has no neighbor to measure a spacing by"
        raise ParameterError(f"{alone}; pass spacing, the distance of neighboring cones in pixels.")
    return np.flatnonzero(distances_to(reference_at, found_at) > PUBLISHED * spacing)


def random_lattice(count: int, shape: Sequence[int], *, seed: int = 0, mask: ArrayLike | None = None) -> Floats:
    """Lay a hexagonal lattice over an image at a random angle and position: the chance level of an agreement.

    Parameters
    ----------
    count : int
        How many points are expected inside: of one lattice it may be some more or fewer, for its rows are cut by the edges.
    shape, mask
        As for `points_inside`; the density is `count` over the pixels that are used.
    seed : int
        Draws the angle and the position of the lattice.

    Returns
    -------
    array of float64, (n, 2)
        Row and column in pixels, on pixels of the image.

    Raises
    ------
    ParameterError, ImageError
        `count` is negative; the mask does not fit.
    """
    if count < 0:
        raise ParameterError(f"count must be a number of points, got {count}. Pass 0 or more.")
    height, width = shape[:2]
    area = height * width if mask is None else int(np.count_nonzero(counted_pixels(mask, shape)))
    if count == 0 or area == 0:
        return np.empty((0, 2))
    rng = np.random.default_rng(seed)
    pitch = math.sqrt(2 / math.sqrt(3) * area / count)  # a lattice of this pitch has one point per sqrt(3)/2 pitch²
    angle = rng.uniform(0, math.pi)
    shift = rng.uniform(-pitch / 2, pitch / 2, 2)
    # From the middle over the corners.
    extent = math.ceil(math.hypot(height, width) / 2 / (pitch * math.sqrt(3) / 2)) + 2
    i, j = (axis.ravel() for axis in np.mgrid[-extent : extent + 1, -extent : extent + 1])
    lattice = pitch * np.column_stack([i * math.sqrt(3) / 2, j + i % 2 / 2])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points: Floats = lattice @ turn + shift + [(height - 1) / 2, (width - 1) / 2]
    return points[points_inside(points, shape, mask=mask)]


def points_inside(
    points: ArrayLike, shape: Sequence[int], *, border: float = 0, mask: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """Return which positions lie in the part of an image that is counted: an array of bool, (n,).

    Parameters
    ----------
    points : array, (n, 2)
        Row and column in pixels, (0, 0) being the center of the first pixel, whose edge is at -0.5.
    shape : (int, int)
        Height and width of the image.
    border : float
        Pixels along the edges that are left out, 0 or more.
    mask : array, (H, W), optional
        0 or False for pixels that are left out, and `border` pixels around them.

    Returns
    -------
    array of bool, (n,)
        Whether each position is counted.

    Raises
    ------
    ParameterError, ImageError
        The border is negative or not finite, or the points are no positions; the mask does not fit.
    """
    if not 0 <= border < math.inf:
        raise ParameterError(f"border={border} must be a number of pixels, 0 or more.")
    places, sides = to_points(points, "points"), np.asarray(shape[:2])
    inside: NDArray[np.bool_] = np.all((places > border - 0.5) & (places < sides - border - 0.5), axis=1)
    if mask is not None:
        used = counted_pixels(mask, shape)
        if border > 0 and not used.all():
            from scipy import ndimage

            used = ndimage.distance_transform_edt(used) > border
        rows, columns = np.rint(places[inside]).astype(np.intp).T
        inside[inside] = used[rows, columns]
    return inside


def distances_to(others: Floats, points: NDArray[Any]) -> Floats:
    """Return how far each point is from the nearest of the others; infinite where there are none."""
    if not len(points) or not len(others):
        return np.full(len(points), math.inf)
    from scipy.spatial import cKDTree

    distances: Floats = cKDTree(others).query(points)[0]
    return distances


def _score(
    found: Floats, reference: Floats, found_inside: _Mask, reference_inside: _Mask, tolerance_px: float
) -> Matching:
    """Match all cones, and keep what lies inside; an unknown tolerance pairs nothing."""
    if math.isnan(tolerance_px):
        nothing = np.empty((0, 2), dtype=np.intp)
        return Matching(nothing, np.flatnonzero(found_inside), np.flatnonzero(reference_inside), np.empty(0))
    matching = match_cones(found, reference, tolerance_px=tolerance_px)
    new, lost = matching.new[found_inside[matching.new]], matching.lost[reference_inside[matching.lost]]
    both = found_inside[matching.pairs[:, 0]] & reference_inside[matching.pairs[:, 1]]
    return Matching(matching.pairs[both], new, lost, matching.distances[both])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
