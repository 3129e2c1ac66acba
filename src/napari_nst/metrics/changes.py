"""What became of the cones: kept, lost, new, and new ones that nothing in the target speaks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.imaging.checks import Floats, check_length, images_and_mask, is_flat
from napari_nst.imaging.cones import DEFAULT_CONFIDENCE, DEFAULT_SPACING, Cones, detect_cones
from napari_nst.imaging.spacing import ring_prominence
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.support import SHADOW, Support, find_support

__all__ = ["ConeChanges", "Place", "cone_changes", "shared_spacing"]

#: Largest distance of a kept cone from the target's, and least one of a far detection, in spacings.
_SAME, _FAR = 0.5, 1.0
#: A detection is unsupported where the target gives reason to expect less than this part of it.
_EXPECTED = 0.5
#: What is weaker than this part of a typical cone of the result is not held against it.
_LEAST = 0.2
#: The result is the target under another gain where their responses correlate locally as much. Of new detections in
#: the shadow of a real picture all lie above it after gamma 0.5, CLAHE, unsharp masking and deconvolution, none
#: after the preset "documented", 4 of 27 after spectrum matching.
_REMAPPED = 0.95
#: Places: radius in spacings in which detections belong together, how many places are named, and how much
#: a detection weighs that is new in a shadow or far away, against an unsupported one.
_AROUND, _MOST_PLACES, _LESS = 3.0, 5, 0.25
#: How far a suspicion is spread, in spacings: what is unexpected is the tip of a dot, too small to be seen in a map.
_SPREAD = 0.25


@dataclass(frozen=True)
class Place:
    """A place to look at.

    Attributes
    ----------
    row, column, radius : float
        Of a circle around the detections, in pixels.
    count : int
        New detections in it that are unsupported, shaded, or far from any cone of the target and not remapped.
    """

    row: float
    column: float
    radius: float
    count: int


@dataclass(frozen=True, eq=False)
class ConeChanges:
    """Detections of target and result, compared.

    Attributes
    ----------
    before, after : Cones
        Detections of the target and of the result, with the same spacing.
    matching : Matching
        Of `after` to `before`, within half a spacing.
    spacing : float
        Distance of neighbouring cones in pixels that both were looked at with.
    kept : array of float64, (k, 2)
        Row and column of the kept cones, in the result.
    lost : array of float64, (m, 2)
        Row and column in the target of cones that the result does not show.
    new : array of float64, (n, 2)
        Row and column of detections of the result that are no cones of the target. The last `faint` of them
        are below the detector's confidence: they are listed because they are unsupported.
    far : array of int
        Indices into `new`: farther than one spacing from every cone of the target.
    unsupported : array of int
        Indices into `new`: drawn, with nothing in the target that speaks for them.
    shaded : array of int
        Indices into `new`: where the target is so dark and poor in contrast that no cone of it can be told, and
        the result is more than the target under another gain.
    remapped : array of int
        Indices into `new`: where the result is the target under another gain, as after a change of gamma. None of
        them is shaded.
    faint : int
        How many of `new` are below the detector's confidence.
    places : tuple of Place
        Where most of what is unsupported, shaded, or far and not remapped lies: five at most, the most serious first.
    change : array of float64, (H, W)
        Result less target, in grey levels; NaN where a pixel is not used.
    suspicion : array of float64, (H, W)
        0 to 1: how much higher cone-sized structure stands than the target gives reason to expect, 1 being a typical cone
        of the result; 0 where at least half of it was to be expected. Spread over a quarter of a spacing, to be seen.
    """

    before: Cones
    after: Cones
    matching: Matching
    spacing: float
    kept: Floats
    lost: Floats
    new: Floats
    far: NDArray[np.intp]
    unsupported: NDArray[np.intp]
    shaded: NDArray[np.intp]
    remapped: NDArray[np.intp]
    faint: int
    places: tuple[Place, ...]
    change: Floats
    suspicion: Floats


def cone_changes(
    target: ArrayLike, result: ArrayLike, *, mask: ArrayLike | None = None, spacing: float | None = None
) -> ConeChanges:
    """Tell which cones a result kept, lost and added, and which of the added ones it invented.

    Parameters
    ----------
    target, result : array, (H, W)
        Pictures of one place, of any dtype and scale; `change` takes their values as they are.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either picture are left out too.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None takes that of the target's ring, else that of the result's, else
        8.25.

    Returns
    -------
    ConeChanges
        Without cones where there are none.

    Raises
    ------
    ImageError
        A picture is not grey, the shapes differ, or the mask does not fit.
    ParameterError
        `spacing` is no length.

    Notes
    -----
    A local maximum of the result's blob response (see `detect_cones`) is **unsupported** if it is no kept cone, stands at
    least 0.2 as high as a typical cone of the result, and the target gives reason to expect less than half of it:
    not by the gain that the target's cones got, nor by the linear filter that best makes the result of the target,
    nor by a change of grey levels (`napari_nst.metrics.support.find_support`). It counts even where the detector, whose
    confidence is relative to the regions of a picture, is not sure of it.

    Measured with a spacing of 9.3 pixels on a real target with the shadow of a vessel, of 288 cones: of 86 new detections
    of the preset "documented" 43 lie in the shadow and 24 of these are unsupported; none is after changes of
    brightness, contrast and gamma (0.3 to 2), unsharp masking, smoothing, deconvolution, CLAHE or histogram
    matching. Of dots drawn into discs of marked pictures from which the cones were erased 47 % are found at a quarter of
    the height of bright cones, 93 % at half of it, and nothing else is (10 pictures, 60 dots); the others lie within half
    a spacing of a cone at the rim, or are too low. Of new detections on hand-marked cones, spectrum
    matching, 2 % are called unsupported in defocused pictures, none in noisy ones (10 pictures each).

    **What it does not see.** A linear filter can only show what the target holds, and noise is held as well: in noisy
    pictures, and in shadows, it makes dots of noise that are `new` and `shaded` but not unsupported. And a dot drawn within
    0.3 spacings of a blob of the target, or of up to twice its expected height, counts as supported.
    """
    check_length(spacing, "spacing")
    first, second, used = images_and_mask(target, result, mask)
    spacing = shared_spacing(first, second, used) if spacing is None else float(spacing)
    before, every = (
        detect_cones(first, mask=used, spacing=spacing),
        detect_cones(second, mask=used, spacing=spacing, confidence=0),
    )
    sure = every.confidence >= DEFAULT_CONFIDENCE
    after = Cones(every.points[sure], every.confidence[sure])
    matching = match_cones(after.points, before.points, tolerance_px=_SAME * spacing)

    support = find_support(first, second, used, before.points, every.points, spacing)
    drawn = _unsupported(every.points, before.points, support, spacing)
    faint = drawn & ~sure
    new = np.concatenate([after.points[matching.new], every.points[faint]])
    unsupported = np.concatenate([drawn[sure][matching.new], np.ones(np.count_nonzero(faint), dtype=bool)])
    remapped = _at(support.alike, new) >= _REMAPPED
    shaded = (_at(support.region, new) < SHADOW) & ~remapped
    far = _distances(new, before.points) > _FAR * spacing
    weights = np.where(unsupported, 1.0, _LESS * (shaded | (far & ~remapped)))
    return ConeChanges(
        before=before,
        after=after,
        matching=matching,
        spacing=spacing,
        kept=after.points[matching.kept],
        lost=before.points[matching.lost],
        new=new,
        far=np.flatnonzero(far),
        unsupported=np.flatnonzero(unsupported),
        shaded=np.flatnonzero(shaded),
        remapped=np.flatnonzero(remapped),
        faint=int(np.count_nonzero(faint)),
        places=_places(new, weights, spacing),
        change=np.where(used, second - first, math.nan),
        suspicion=_suspicion(support, used, spacing),
    )


def shared_spacing(target: Floats, result: Floats, used: NDArray[np.bool_]) -> float:
    """The spacing to look at both pictures with: that of the target's ring, else of the result's, else 8.25 pixels."""
    for picture in (target, result):
        measured = math.nan if is_flat(picture[used]) else ring_prominence(picture, mask=used).spacing
        if not math.isnan(measured):
            return measured
    return DEFAULT_SPACING


def _unsupported(points: Floats, cones: Floats, support: Support, spacing: float) -> NDArray[np.bool_]:
    drawn = _at(support.drawn, points)
    unexpected = (drawn >= _LEAST) & (_at(support.expected, points) < _EXPECTED * drawn)
    unexpected[match_cones(points, cones, tolerance_px=_SAME * spacing).kept] = False
    return unexpected


def _suspicion(support: Support, used: NDArray[np.bool_], spacing: float) -> Floats:
    from scipy import ndimage

    unexpected = used & (support.drawn >= _LEAST) & (support.expected < _EXPECTED * support.drawn)
    height = np.where(unexpected, np.clip(support.drawn - support.expected, 0, 1), 0.0)
    reach = _SPREAD * spacing
    steps = np.arange(-int(reach), int(reach) + 1)
    spread: Floats = ndimage.maximum_filter(height, footprint=np.hypot(steps[:, np.newaxis], steps) <= reach)
    return np.where(used, spread, 0.0)


def _at(values: Floats, points: Floats) -> Floats:
    rows, columns = np.rint(points).astype(np.intp).T
    picked: Floats = values[rows, columns]
    return picked


def _distances(points: Floats, others: Floats) -> Floats:
    """To the nearest of the others; infinite where there are none."""
    if not len(points) or not len(others):
        return np.full(len(points), math.inf)
    from scipy.spatial import cKDTree

    distances: Floats = cKDTree(others).query(points)[0]
    return distances


def _places(points: Floats, weights: Floats, spacing: float) -> tuple[Place, ...]:
    """Circles of three spacings that hold the most weight, one after the other, drawn close around what they hold."""
    points, weights = points[weights > 0], weights[weights > 0]
    found: list[Place] = []
    if not len(points):
        return ()
    from scipy.spatial import cKDTree

    left = weights.copy()
    near = cKDTree(points).query_ball_point(points, _AROUND * spacing)
    while len(found) < _MOST_PLACES and left.any():
        held = np.array([left[members].sum() for members in near])
        members = np.array(near[int(np.argmax(held))])
        members = members[left[members] > 0]
        centre = points[members].mean(axis=0)
        radius = float(np.hypot(*(points[members] - centre).T).max()) + spacing / 2
        found.append(Place(float(centre[0]), float(centre[1]), radius, len(members)))
        left[members] = 0
    return tuple(found)
