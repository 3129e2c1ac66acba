"""What became of the cones: kept, lost, new, and new ones that are unsupported by the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.imaging.checks import Floats, check_length, images_and_mask
from napari_nst.imaging.cones import DEFAULT_CONFIDENCE, LOG_SIGMA, Cones, blobs, detect_cones, region_strength
from napari_nst.metrics._bands import Mask, normalized, shared_spacing
from napari_nst.metrics.matching import Matching, distances_to, match_cones

#: Largest distance of a kept cone from the target's, and least one of a far detection, in spacings.
_SAME, _FAR = 0.5, 1.0
#: A detection is unsupported where less than this part of it is to be expected from the target.
_EXPECTED = 0.5
#: What is weaker than this part of a typical cone of the result is never called unsupported.
_LEAST = 0.2
#: The result is the target under another gain where their responses correlate locally as much. Of new detections in
#: the shadow of a real image all lie above it after gamma 0.5, CLAHE, unsharp masking and deconvolution, none
#: after the preset "documented", 4 of 27 after spectrum matching.
_REMAPPED = 0.95
#: Places: radius in spacings in which detections belong together, how many places are named, and how much
#: a detection weighs that is new in a shadow or far away, against an unsupported one.
_AROUND, _MOST_PLACES, _LESS = 3.0, 5, 0.25
#: How far a suspicion is spread, in spacings: what is unexpected is the tip of a dot, too small to be seen in a map.
_SPREAD = 0.25
#: A region whose strength (E B of `detect_cones`) is below this is a shadow: no detection in it reaches the default
#: confidence, however high it stands.
_SHADOW = 0.36
#: Regions from here on count in full when the filtered target supports a structure.
_LIT = 0.6
#: In spacings: how far from a pixel the target may show what the result shows there, and the window of the local
#: correlation.
_NEARBY, _WINDOW = 0.3, 0.5
#: Local correlation of the blob responses from which on the expectation takes a local gain. Measured around new
#: detections on the vessel of a real image, nine of ten places: 0.92 and more after gamma 0.3 to 2, CLAHE, unsharp
#: masking and deconvolution, 0.93 and less after style transfer (median in the shadow 0.77).
_ALIKE = 0.93
#: Rings of frequencies with a gain of their own, and what is added by reflection around the image that is filtered.
_RINGS, _PAD, _MINIMUM_SIDE = 48, 24, 16
#: Responses below this are rounding, in images from 0 to 1.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Place:
    """A part of the result to look at.

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
        Distance of neighboring cones in pixels that both were looked at with.
    kept, lost, new : array of float64, (k, 2), (m, 2) and (n, 2)
        Row and column of the kept cones, in the result; of cones of the target that the result does not show; of detections
        of the result that are no cones of the target. The last `faint` of the new ones are below the detector's confidence,
        and listed because they are unsupported.
    far, unsupported, shaded, remapped : array of int
        Indices into `new`: farther than one spacing from every cone of the target; unsupported by the target; where the
        target is so dark and poor in contrast that none of its cones can be recognized; where the result is the target
        under another gain, as after a change of gamma. None is both shaded and remapped.
    faint : int
        See `new`.
    places : tuple of Place
        Where most of what is unsupported, shaded, or far and not remapped lies: five at most, the worst first.
    change : array of float64, (H, W)
        Result less target, in gray levels; NaN where a pixel is not used.
    suspicion : array of float64, (H, W)
        0 to 1: how much higher cone-sized structure stands than is to be expected from the target, 1 being a typical
        cone of the result; 0 where at least half of it was to be expected. Spread over a quarter of a spacing, to be
        seen.
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

    def flags(self, *names: str) -> dict[str, Mask]:
        """Return which of the `new` ones are unsupported, shaded, remapped, far...: an array of bool for each name."""
        return {name: np.isin(np.arange(len(self.new)), getattr(self, name)) for name in names}


class Support(NamedTuple):
    """Maps, (H, W), of how far the target supports what the result shows; see `find_support`."""

    drawn: Floats  # blob response of the result; 1 is that of a typical cone in it
    expected: Floats  # the largest response to be expected from the target near each pixel, in the same unit
    region: Floats  # strength of the target's regions
    alike: Floats  # local correlation of the responses of target and result

    @property
    def unexpected(self) -> Mask:
        """Where the result stands high enough to count, and the target gives reason to expect less than half of it."""
        return np.asarray((self.drawn >= _LEAST) & (self.expected < _EXPECTED * self.drawn))


def cone_changes(
    target: ArrayLike, result: ArrayLike, *, mask: ArrayLike | None = None, spacing: float | None = None
) -> ConeChanges:
    """Find which cones a result kept, lost and added, and which of the added ones are unsupported by the target.

    Parameters
    ----------
    target, result, mask
        As for `structure_correlation`; `change` takes their values as they are.
    spacing : float, optional
        Distance of neighboring cones in pixels. None takes that of the target's ring, else that of the result's, else
        8.25.

    Returns
    -------
    ConeChanges
        Without cones where there are none.

    Raises
    ------
    ImageError, ParameterError
        As `structure_correlation`.

    Notes
    -----
    A local maximum of the result's blob response (see `detect_cones`) is **unsupported** if it is no kept cone, stands at
    least 0.2 as high as a typical cone of the result, and less than half of it is to be expected from the target:
    not by the gain that the target's cones got, nor by the linear filter that best makes the result of the target,
    nor by a change of gray levels (`find_support`). It counts even where the detector, whose confidence is relative to
    the regions of an image, is not sure of it.

    Measured with a spacing of 9.3 pixels on a real target with the shadow of a vessel, of 288 cones: of 86 new detections
    of the preset "documented" 43 lie in the shadow and 24 of these are unsupported; none is after changes of brightness,
    contrast and gamma (0.3 to 2), unsharp masking, smoothing, deconvolution, CLAHE or histogram matching. Of dots drawn
    into discs of annotated images from which the cones were erased 47 % are found at a quarter of the height of bright
    cones, 93 % at half of it, and nothing else is (10 images, 60 dots). Of new detections on annotated cones, spectrum
    matching, 2 % are called unsupported in defocused images, none in noisy ones (10 images each).

    **What it does not see.** A linear filter can only show what the target holds, and noise is held as well: in noisy
    images, and in shadows, it makes dots of noise that are `new` and `shaded` but not unsupported. And a dot drawn within
    0.3 spacings of a blob of the target, or of up to twice its expected height, counts as supported.
    """
    from scipy import ndimage

    check_length(spacing, "spacing")
    first, second, used = images_and_mask(target, result, mask)
    spacing = shared_spacing((first, second), used) if spacing is None else float(spacing)
    before = detect_cones(first, mask=used, spacing=spacing)
    every = detect_cones(second, mask=used, spacing=spacing, confidence=0)
    sure = every.confidence >= DEFAULT_CONFIDENCE
    after = Cones(every.points[sure], every.confidence[sure])
    matching = match_cones(after.points, before.points, tolerance_px=_SAME * spacing)

    support = find_support(first, second, used, before.points, every.points, spacing)
    drawn = _at(support.unexpected, every.points)
    drawn[match_cones(every.points, before.points, tolerance_px=_SAME * spacing).kept] = False
    faint = drawn & ~sure
    new = np.concatenate([after.points[matching.new], every.points[faint]])
    unsupported = np.concatenate([drawn[sure][matching.new], drawn[faint]])
    remapped = _at(support.alike, new) >= _REMAPPED
    shaded = (_at(support.region, new) < _SHADOW) & ~remapped
    far = distances_to(before.points, new) > _FAR * spacing
    weights = np.where(unsupported, 1.0, _LESS * (shaded | (far & ~remapped)))
    height = np.where(used & support.unexpected, np.clip(support.drawn - support.expected, 0, 1), 0.0)
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
        suspicion=np.where(used, ndimage.maximum_filter(height, footprint=_disc(_SPREAD * spacing)), 0.0),
    )


def find_support(target: Floats, result: Floats, used: Mask, cones: Floats, drawn: Floats, spacing: float) -> Support:
    """Map what is to be expected of the result, given the target and its `cones`; `drawn` are all blobs of the result.

    With R(.) the blob response, x a pixel, and maxima over the pixels within 0.3 spacings of x::

        expected(x) = max of  g R(target)                    g: median gain at the target's cones
                              w R(F target)                  F: the linear filter that best makes the result of the target
                              c R(target) where alike >= 0.93  c: local gain, by least squares

    The first term is brightness and contrast. The second is every filter that is the same at all places and in all
    directions (deblurring, sharpening, spectrum matching): it resolves shoulders into cones, and cannot choose where. Its
    share w = min(1, region / 0.6) falls in shadows, where there is noise rather than shoulders. The third is every
    change of the gray levels alone (gamma, equalization), whose local gain is higher in the dark.
    """
    from scipy import ndimage

    sigma = LOG_SIGMA * spacing
    before, after = normalized(target, used, spacing), normalized(result, used, spacing)
    shown, found = blobs(before, sigma), blobs(after, sigma)
    near = _disc(_NEARBY * spacing)
    gain, strong = _typical(shown, found, ndimage.maximum_filter(found, footprint=near), cones, drawn)
    smooth = [ndimage.gaussian_filter(a, _WINDOW * spacing) for a in (shown * found, shown**2, found**2)]
    tiny = np.finfo(float).tiny
    alike = smooth[0] / np.sqrt(smooth[1] * smooth[2] + tiny)
    local = smooth[0] / (smooth[1] + tiny)
    region = np.ones_like(shown) if not shown.any() else region_strength(before, shown, used, spacing)

    filtered = np.minimum(1, region / _LIT) * np.maximum(0, blobs(best_filter(before, after), sigma))
    expected = np.maximum(gain * shown, filtered)
    expected = np.maximum(expected, np.where(alike >= _ALIKE, local * shown, 0))
    expected = ndimage.maximum_filter(expected, footprint=near)
    return Support(found / strong, expected / strong, region, np.clip(alike, -1, 1))


def best_filter(target: Floats, result: Floats) -> Floats:
    """Filter the target so that it comes nearest to the result, alike at all places and in all directions.

    The gain of a ring of frequencies is ``max(0, Re sum R T*) / sum |T|²`` (Wiener's, from the spectra T and R
    under a Tukey window), smoothed over rings: being positive it moves nothing. Zeros for images below 16 × 16.
    """
    from scipy import ndimage
    from scipy.signal import windows

    height, width = target.shape
    if min(target.shape) < _MINIMUM_SIDE:
        return np.zeros_like(target)
    rings = min(_RINGS, min(target.shape) // 2)
    window = np.outer(windows.tukey(height, 0.5), windows.tukey(width, 0.5))
    before, after = (np.fft.rfft2((a - np.average(a, weights=window)) * window) for a in (target, result))
    ring = np.minimum(_ring(target.shape, rings).astype(np.intp), rings - 1).ravel()
    together = np.bincount(ring, (after * before.conj()).real.ravel(), rings)
    alone = np.bincount(ring, (np.abs(before) ** 2).ravel(), rings)
    gain = ndimage.gaussian_filter1d(np.maximum(0, together) / (alone + np.finfo(float).tiny), 1.0)

    pad = min(_PAD, *target.shape)
    padded = np.pad(target, pad, mode="symmetric")
    gains = np.interp(_ring(padded.shape, rings), np.arange(rings) + 0.5, gain)
    filtered = np.fft.irfft2(np.fft.rfft2(padded) * gains, s=padded.shape)
    return np.asarray(filtered[pad : pad + height, pad : pad + width])


def _typical(shown: Floats, found: Floats, nearby: Floats, cones: Floats, drawn: Floats) -> tuple[float, float]:
    """Return the result's gain at the target's cones, and the response of a typical cone of the result."""
    if len(cones):
        heights, made = _at(shown, cones), _at(nearby, cones)
        clear = heights > _ROUNDING
        gain = float(np.median(made[clear] / heights[clear])) if clear.any() else 0.0
        strong = float(np.median(made))
        if strong > _ROUNDING:
            return max(0.0, gain), strong
    gain = max(0.0, float((shown * found).sum()) / float((shown**2).sum())) if shown.any() else 0.0
    return gain, max(float(np.percentile(_at(found, drawn), 75)), _ROUNDING) if len(drawn) else 1.0


def _places(points: Floats, weights: Floats, spacing: float) -> tuple[Place, ...]:
    """Circles of three spacings that hold the most weight, one after the other, drawn close around what they hold."""
    from scipy.spatial import cKDTree

    found: list[Place] = []
    points, left = points[weights > 0], weights[weights > 0]
    near = cKDTree(points).query_ball_point(points, _AROUND * spacing) if len(points) else []
    while len(found) < _MOST_PLACES and left.any():
        held = np.array([left[members].sum() for members in near])
        members = np.array(near[int(np.argmax(held))])
        members = members[left[members] > 0]
        center = points[members].mean(axis=0)
        radius = float(np.hypot(*(points[members] - center).T).max()) + spacing / 2
        found.append(Place(float(center[0]), float(center[1]), radius, len(members)))
        left[members] = 0
    return tuple(found)


def _at(values: NDArray[Any], points: Floats) -> NDArray[Any]:
    rows, columns = np.rint(points).astype(np.intp).T
    return np.asarray(values[rows, columns])


def _disc(radius: float) -> Mask:
    steps = np.arange(-int(radius), int(radius) + 1)
    return np.asarray(np.hypot(steps[:, np.newaxis], steps) <= radius)


def _ring(shape: tuple[int, ...], rings: int) -> Floats:
    """Frequency of every entry of a real 2-D Fourier transform, 0.5 cycles/pixel being `rings`."""
    return np.asarray(np.hypot(np.fft.fftfreq(shape[0])[:, np.newaxis], np.fft.rfftfreq(shape[1])) * 2 * rings)
