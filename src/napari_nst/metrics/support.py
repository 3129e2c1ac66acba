"""What a target gives reason to expect in a picture made of it, so that what was drawn beyond that can be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.checks import Floats, fill_smoothly, is_flat, to_unit_range
from napari_nst.imaging.cones import LOG_SIGMA, blobs, region_strength

__all__ = ["SHADOW", "Support", "best_filter", "find_support"]

#: A region whose strength (E B of `detect_cones`) is below this is a shadow: no detection in it reaches the default
#: confidence, however high it stands.
SHADOW = 0.36
#: Regions from here on count in full when the filtered target speaks for a structure.
_LIT = 0.6
#: In spacings: how far from a place the target may show what the result shows there, and the window of the local
#: correlation.
_REACH, _WINDOW = 0.3, 0.5
#: Local correlation of the blob responses from which on the result is the target under a local gain. Measured around new
#: detections on the vessel of a real picture, nine of ten places: 0.92 and more after gamma 0.3 to 2, CLAHE, unsharp
#: masking and deconvolution, 0.93 and less after style transfer (median in the shadow 0.77).
_REMAPPED = 0.93
#: Rings of frequencies with a gain of their own, and what is added by reflection around the picture that is filtered.
_RINGS, _PAD = 48, 24
_MINIMUM_SIDE = 16


@dataclass(frozen=True, eq=False)
class Support:
    """Maps that say how far the target speaks for what the result shows. Blob responses are those of `detect_cones`.

    Attributes
    ----------
    drawn : array of float64, (H, W)
        Blob response of the result, relative to that of a typical cone in it (`strong` = 1).
    expected : array of float64, (H, W)
        The largest response that the target gives reason to expect near each pixel, in the same unit.
    region : array of float64, (H, W)
        Strength of the target's regions; below `SHADOW` no cone of the target can be told.
    alike : array of float64, (H, W)
        Local correlation of the responses of target and result, -1 to 1.
    """

    drawn: Floats
    expected: Floats
    region: Floats
    alike: Floats


def find_support(
    target: Floats, result: Floats, used: NDArray[np.bool_], cones: Floats, drawn: Floats, spacing: float
) -> Support:
    """Ask the target what the result may show.

    Parameters
    ----------
    target, result : array of float64, (H, W)
    used : array of bool, (H, W)
    cones : array of float64, (n, 2)
        Detections of the target: where the common gain is measured.
    drawn : array of float64, (m, 2)
        All blobs of the result: what is typical where the target has no cones.
    spacing : float
        In pixels.

    Returns
    -------
    Support

    Notes
    -----
    With R(.) the blob response, x a place, and maxima over the places within 0.3 spacings of x::

        expected(x) = max of  g R(target)                    g: median gain at the target's cones
                              w R(F target)                  F: the linear filter that best makes the result of the target
                              c R(target) where alike >= 0.93  c: local gain, by least squares

    The first term is brightness and contrast. The second is every filter that is the same at all places and in all
    directions (deblurring, sharpening, spectrum matching): it resolves shoulders into cones, and cannot choose where. Its
    share w = min(1, region / 0.6) falls in shadows, where there is noise rather than shoulders. The third is every
    change of the grey levels alone (gamma, equalisation), whose local gain is higher in the dark.
    """
    from scipy import ndimage

    sigma, reach = LOG_SIGMA * spacing, _REACH * spacing
    before, after = (
        np.zeros_like(picture) if is_flat(picture[used]) else fill_smoothly(to_unit_range(picture, used), used, spacing)
        for picture in (target, result)
    )
    shown, found = blobs(before, sigma), blobs(after, sigma)
    steps = np.arange(-int(reach), int(reach) + 1)
    near = np.hypot(steps[:, np.newaxis], steps) <= reach
    nearby = ndimage.maximum_filter(found, footprint=near)

    gain, strong = _typical(shown, found, nearby, cones, drawn)
    smooth = [ndimage.gaussian_filter(a, _WINDOW * spacing) for a in (shown * found, shown**2, found**2)]
    tiny = np.finfo(float).tiny
    alike = smooth[0] / np.sqrt(smooth[1] * smooth[2] + tiny)
    local = smooth[0] / (smooth[1] + tiny)
    region = np.ones_like(shown) if not shown.any() else region_strength(before, shown, used, spacing)

    filtered = np.minimum(1, region / _LIT) * np.maximum(0, blobs(best_filter(before, after), sigma))
    expected = np.maximum(gain * shown, filtered)
    expected = np.maximum(expected, np.where(alike >= _REMAPPED, local * shown, 0))
    expected = ndimage.maximum_filter(expected, footprint=near)
    return Support(found / strong, expected / strong, region, np.clip(alike, -1, 1))


def _typical(shown: Floats, found: Floats, nearby: Floats, cones: Floats, drawn: Floats) -> tuple[float, float]:
    """The result's gain at the target's cones, and the response of a typical cone of the result."""
    if len(cones):
        at = tuple(np.rint(cones).astype(np.intp).T)
        heights, made = shown[at], nearby[at]
        clear = heights > 1e-6  # of pictures from 0 to 1: rounding
        gain = float(np.median(made[clear] / heights[clear])) if clear.any() else 0.0
        strong = float(np.median(made))
        if strong > 1e-6:
            return max(0.0, gain), strong
    gain = max(0.0, float((shown * found).sum()) / float((shown**2).sum())) if shown.any() else 0.0
    if len(drawn):
        return gain, max(float(np.percentile(found[tuple(np.rint(drawn).astype(np.intp).T)], 75)), 1e-6)
    return gain, 1.0


def best_filter(target: Floats, result: Floats) -> Floats:
    """The target under the linear filter, the same at all places and in all directions, that comes nearest to the result.

    Parameters
    ----------
    target, result : array of float64, (H, W)

    Returns
    -------
    array of float64, (H, W)
        Zeros for pictures of less than 16 pixels on a side.

    Notes
    -----
    The gain of a ring of frequencies is ``max(0, Re sum R T*) / sum |T|²`` (Wiener's, from the spectra T and R
    under a Tukey window), smoothed over rings. Being positive it moves nothing; what is in the result and
    not in the target, at whatever frequency, has no say in it.
    """
    from scipy import ndimage
    from scipy.signal import windows

    height, width = target.shape
    if min(target.shape) < _MINIMUM_SIDE:
        return np.zeros_like(target)
    rings = min(_RINGS, min(target.shape) // 2)
    window = np.outer(windows.tukey(height, 0.5), windows.tukey(width, 0.5))
    before, after = (
        np.fft.rfft2((picture - np.average(picture, weights=window)) * window) for picture in (target, result)
    )
    ring = _ring(target.shape, rings)
    ring = np.minimum(ring.astype(np.intp), rings - 1).ravel()
    together = np.bincount(ring, (after * before.conj()).real.ravel(), rings)
    alone = np.bincount(ring, (np.abs(before) ** 2).ravel(), rings)
    gain = ndimage.gaussian_filter1d(np.maximum(0, together) / (alone + np.finfo(float).tiny), 1.0)

    pad = min(_PAD, *target.shape)
    padded = np.pad(target, pad, mode="symmetric")
    gains = np.interp(_ring(padded.shape, rings), np.arange(rings) + 0.5, gain)
    filtered: Floats = np.fft.irfft2(np.fft.rfft2(padded) * gains, s=padded.shape)
    return filtered[pad : pad + height, pad : pad + width]


def _ring(shape: tuple[int, ...], rings: int) -> Floats:
    """Frequency of every entry of a real 2-D Fourier transform, 0.5 cycles/pixel being `rings`."""
    radius: Floats = np.hypot(np.fft.fftfreq(shape[0])[:, np.newaxis], np.fft.rfftfreq(shape[1])) * 2 * rings
    return radius
