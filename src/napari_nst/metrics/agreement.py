"""How well two sets of cones agree, and how well a lattice that never saw the picture would have agreed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, check_length, to_points
from napari_nst.imaging.masks import check_mask
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.mosaic import nearest_neighbour_spacing

__all__ = ["PUBLISHED", "STRICT", "Agreement", "agreement", "blind_lattice", "invented", "points_inside"]

#: Tolerances of a match in spacings: the one that tells cones from a blind lattice, and that of Cunefare et al. 2017.
STRICT, PUBLISHED = 0.35, 0.75
#: Blind lattices that the chance row is the mean of. One alone scatters by 0.04 at the strict tolerance, by 0.01 at the other.
_LATTICES = 10


@dataclass(frozen=True)
class Agreement:
    """How found cones agree with reference cones at one tolerance.

    Attributes
    ----------
    tolerance : float
        Largest distance of a pair, in spacings of the reference.
    tolerance_px : float
        The same in pixels; NaN where no spacing is known.
    dice : float
        2 TP / (2 TP + FP + FN), 0 to 1. NaN where there are neither found nor reference cones, or no spacing.
    true_positive_rate : float
        TP / (TP + FN), 0 to 1. NaN without reference cones, or no spacing.
    false_discovery_rate : float
        FP / (TP + FP), 0 to 1. NaN when nothing was found, or no spacing.
    true_positives, false_positives, false_negatives : int
        Pairs, found cones without and reference cones without a partner. Where no spacing is known nothing is paired.
    chance_dice : float
        The Dice that blind lattices reach which are as dense as the found cones: what agreement is worth that says
        nothing about the picture. NaN as `dice` is.
    median_distance_px : float
        Median distance of the pairs, in pixels; NaN without any.
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
    """Score found cones against reference cones, beside what chance gives.

    Parameters
    ----------
    found, reference : array, (n, 2) and (m, 2)
        Row and column in pixels; either may be empty.
    shape : (int, int)
        Height and width of the picture.
    border : float
        Pixels along the edges of the picture, and along those of the mask, in which nothing is counted; 7 in the
        published protocol, for cones that the edge cuts are neither marked nor found reliably.
    mask : array, (H, W), optional
        0 or False for pixels on which nothing is counted.
    tolerances : sequence of float
        In spacings, each above 0. The first default, 0.35, is the one to judge by; 0.75 is published, and a lattice
        that never saw the picture scores about 0.88 there.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None: the median distance of nearest neighbours in `reference`, which
        needs two cones.

    Returns
    -------
    tuple of Agreement
        One for each tolerance.

    Raises
    ------
    ParameterError
        Positions, tolerances, border or spacing that cannot be what they should be.
    ImageError
        The mask does not fit.

    Notes
    -----
    Pairs are made by the rule of `match_cones` among all cones, those near the edge too, so that no cone loses its partner
    to the cut. Only then are counted: as TP pairs with both cones inside, as FP and FN cones inside without a partner.
    A pair across the line counts as nothing.

    `chance_dice` is the mean over 10 lattices of `blind_lattice` with as many points per area as `found`, scored in the
    same way.

    References
    ----------
    Cunefare et al., Open source software for automatic detection of cone photoreceptors in adaptive optics
    ophthalmoscopy using convolutional neural networks, Sci. Rep. 7:6620 (2017), section "Performance".
    """
    found_at, reference_at = to_points(found, "found cones"), to_points(reference, "reference cones")
    check_length(spacing, "spacing")
    for tolerance in tolerances:
        if not 0 < tolerance < math.inf:
            raise ParameterError(f"A tolerance of {tolerance} is no distance; pass spacings above 0, as 0.35 and 0.75.")
    if spacing is None:
        spacing = nearest_neighbour_spacing(reference_at)
    counted = points_inside(reference_at, shape, border=border, mask=mask)
    lattices = [blind_lattice(len(found_at), shape, seed=seed, mask=mask) for seed in range(_LATTICES)]
    sides = [points_inside(points, shape, border=border, mask=mask) for points in (found_at, *lattices)]

    rows = []
    for tolerance in tolerances:
        limit = tolerance * spacing
        # Where one side is empty there are no pairs at any tolerance, so that the counts hold without a spacing.
        known = not math.isnan(limit) or not len(found_at) or not len(reference_at)
        scores = [
            _score(points, reference_at, inside, counted, limit)
            for points, inside in zip((found_at, *lattices), sides, strict=True)
        ]
        right, wrong, missed, distances = scores[0]
        rows.append(
            Agreement(
                tolerance=float(tolerance),
                tolerance_px=float(limit),
                dice=_dice(*scores[0][:3]) if known else math.nan,
                true_positive_rate=_ratio(right, right + missed) if known else math.nan,
                false_discovery_rate=_ratio(wrong, right + wrong) if known else math.nan,
                true_positives=right,
                false_positives=wrong,
                false_negatives=missed,
                chance_dice=float(np.mean([_dice(*score[:3]) for score in scores[1:]])) if known else math.nan,
                median_distance_px=float(np.median(distances)) if len(distances) else math.nan,
            )
        )
    return tuple(rows)


def invented(found: ArrayLike, reference: ArrayLike, spacing: float | None = None) -> NDArray[np.intp]:
    """Tell which found cones lie where no reference cone is near.

    Parameters
    ----------
    found, reference : array, (n, 2) and (m, 2)
        Row and column in pixels; either may be empty.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None: the median distance of nearest neighbours in `reference`.

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
    if spacing is None:
        spacing = nearest_neighbour_spacing(reference_at)
        if math.isnan(spacing):
            raise ParameterError(
                "One reference cone has no neighbour to measure a spacing by; pass spacing, the distance of "
                "neighbouring cones in pixels."
            )
    from scipy.spatial import cKDTree

    far: NDArray[np.intp] = np.flatnonzero(cKDTree(reference_at).query(found_at)[0] > PUBLISHED * spacing)
    return far


def blind_lattice(count: int, shape: Sequence[int], *, seed: int = 0, mask: ArrayLike | None = None) -> Floats:
    """Lay a hexagonal lattice over a picture without looking at it.

    Parameters
    ----------
    count : int
        How many points are expected inside: of one lattice it may be some more or fewer, for its rows are cut by the edges.
    shape : (int, int)
        Height and width of the picture.
    seed : int
        Draws the angle and the place of the lattice.
    mask : array, (H, W), optional
        0 or False for pixels that get no point; the density is `count` over the pixels left.

    Returns
    -------
    array of float64, (n, 2)
        Row and column in pixels, on pixels of the picture.

    Raises
    ------
    ParameterError
        `count` is negative.
    ImageError
        The mask does not fit.
    """
    if count < 0:
        raise ParameterError(f"count={count} is no number of points; pass 0 or more.")
    height, width = shape[:2]
    used = None if mask is None else _used(mask, shape)
    area = height * width if used is None else int(np.count_nonzero(used))
    if count == 0 or area == 0:
        return np.empty((0, 2))
    rng = np.random.default_rng(seed)
    pitch = math.sqrt(2 / math.sqrt(3) * area / count)  # a lattice of this pitch has one point per sqrt(3)/2 pitch²
    angle = rng.uniform(0, math.pi)
    place = rng.uniform(-pitch / 2, pitch / 2, 2)

    reach = (
        math.ceil(math.hypot(height, width) / 2 / (pitch * math.sqrt(3) / 2)) + 2
    )  # from the middle over the corners
    i, j = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    lattice = pitch * np.column_stack([i * math.sqrt(3) / 2, j + i % 2 / 2])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points: Floats = lattice @ turn + place + [(height - 1) / 2, (width - 1) / 2]
    return points[points_inside(points, shape, mask=mask)]


def points_inside(
    points: ArrayLike, shape: Sequence[int], *, border: float = 0, mask: ArrayLike | None = None
) -> NDArray[np.bool_]:
    """Tell which positions lie in the part of a picture that is counted.

    Parameters
    ----------
    points : array, (n, 2)
        Row and column in pixels, (0, 0) being the centre of the first pixel, whose edge is at -0.5.
    shape : (int, int)
        Height and width of the picture.
    border : float
        Pixels along the edges that are left out, 0 or more.
    mask : array, (H, W), optional
        0 or False for pixels that are left out, and `border` pixels around them.

    Returns
    -------
    array of bool, (n,)

    Raises
    ------
    ParameterError
        The border is negative or not finite, or the points are no positions.
    ImageError
        The mask does not fit.
    """
    if not 0 <= border < math.inf:
        raise ParameterError(f"border={border} must be a number of pixels, 0 or more.")
    places, sides = to_points(points, "points"), np.asarray(shape[:2])
    inside: NDArray[np.bool_] = np.all((places > border - 0.5) & (places < sides - border - 0.5), axis=1)
    if mask is not None:
        used = _used(mask, shape)
        if border > 0 and not used.all():
            from scipy import ndimage

            used = ndimage.distance_transform_edt(used) > border
        rows, columns = np.rint(places[inside]).astype(np.intp).T
        inside[inside] = used[rows, columns]
    return inside


def _used(mask: ArrayLike, shape: Sequence[int]) -> NDArray[np.bool_]:
    given = np.asarray(mask)
    # Nothing left to count is no mistake of the caller: a patch may lie wholly outside of the retina.
    if given.shape == tuple(shape[:2]) and not given.any():
        return np.zeros(given.shape, dtype=np.bool_)
    return check_mask(given, shape[:2])


def _score(
    found: Floats,
    reference: Floats,
    found_inside: NDArray[np.bool_],
    reference_inside: NDArray[np.bool_],
    tolerance_px: float,
) -> tuple[int, int, int, Floats]:
    """TP, FP, FN among the cones inside, and the distances of the pairs counted as TP."""
    if math.isnan(tolerance_px):
        nothing = np.empty((0, 2), dtype=np.intp)
        matching = Matching(nothing, np.arange(len(found)), np.arange(len(reference)), np.empty(0))
    else:
        matching = match_cones(found, reference, tolerance_px=tolerance_px)
    both = found_inside[matching.pairs[:, 0]] & reference_inside[matching.pairs[:, 1]]
    wrong, missed = found_inside[matching.new], reference_inside[matching.lost]
    return int(both.sum()), int(wrong.sum()), int(missed.sum()), matching.distances[both]


def _dice(right: int, wrong: int, missed: int) -> float:
    return _ratio(2 * right, 2 * right + wrong + missed)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
