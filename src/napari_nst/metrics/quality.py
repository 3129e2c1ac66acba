"""Image quality after Brennan et al. (2024): shown beside other measures, never to decide by alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.imaging.checks import Floats, image_and_mask, is_flat, to_unit_range

__all__ = ["aiq"]

#: Frequencies of photoreceptors, cycles/pixel: spacings from 34.8 to 2.86 pixels. Above lies noise.
_BAND = (0.02875, 0.35)
#: Directions left out around the vertical and the horizontal frequency axis, degrees: lines of scanners lie there.
_LEFT_OUT = (9.0, 3.0)


def aiq(image: ArrayLike, *, demean: bool = True) -> float:
    """Automated image quality of photoreceptor pictures.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats, all finite.
    demean : bool
        Take the mean out of each window. Without it, as published, the value depends on the brightness: in small pictures
        the window spreads the mean's power into the band of the photoreceptors.

    Returns
    -------
    float
        In dB. NaN for a flat picture, one with less than 64 pixels on a side, or one with pixels that are not finite.

    Raises
    ------
    ImageError
        `image` is no grey picture.

    Notes
    -----
    The picture is cut into square windows of side n = floor(0.25 min(H, W)), half overlapping, each weighted by a 2-D
    Hann window w::

        P(u, v) = mean over windows of |FFT(w I)|² / n²
        r(f)    = mean of P over the directions of a half plane, every degree, by bilinear interpolation
                  at radii half a frequency sample apart; left out are 9° around the vertical frequency
                  axis and 3° around the horizontal one
        AIQ     = 10 log10( sum |dr| over 0.02875 <= f <= 0.35  /  sum |dr| over f > 0.35 )

    with dr the difference of neighbouring radii, at the frequency between them in cycles/pixel.

    **Weaknesses.** It measures the slope of a spectrum, not cones. Blur by a Gaussian *raises* it (from 45 to 78 dB at
    a standard deviation of 1.5 pixels), and so does defocus, for both take more from the noise band than from the other.
    On hand-marked pictures it says next to nothing about how well their cones are found. So it serves to
    compare repeats of one place by one instrument, and must neither judge an enhancement nor choose styles alone; see
    `napari_nst.metrics.ring_prominence` for a measure that falls when cones are lost.

    References
    ----------
    Brennan et al., Quantifying image quality in AOSLO images of photoreceptors, Biomed. Opt. Express 15, 2849 (2024).
    """
    picture, used = image_and_mask(image, None)
    side = min(picture.shape) // 4
    if side < 16 or not used.all() or is_flat(picture):
        return math.nan
    # Of the published value only the ratio to the mean matters, which a scale keeps and an offset does not.
    values = to_unit_range(picture, used) if demean else picture / np.abs(picture).max()
    radii, power = _radial(_mean_power(values, side, demean))

    change = np.abs(np.diff(power))
    frequency = (radii[:-1] + radii[1:]) / 2 / side
    signal = float(change[(frequency >= _BAND[0]) & (frequency <= _BAND[1])].sum())
    noise = float(change[frequency > _BAND[1]].sum())
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.nan


def _mean_power(values: Floats, side: int, demean: bool) -> Floats:
    """P(u, v), its zero frequency at (side // 2, side // 2)."""
    tiles = np.lib.stride_tricks.sliding_window_view(values, (side, side))[:: side // 2, :: side // 2]
    hann = np.outer(np.hanning(side), np.hanning(side))
    total = np.zeros((side, side))
    for row in tiles:  # row by row: all windows at once are several times the picture
        level = row.mean(axis=(1, 2), keepdims=True) if demean else 0.0
        total += (np.abs(np.fft.fft2((row - level) * hann)) ** 2).sum(axis=0)
    mean: Floats = np.fft.fftshift(total) / (tiles.shape[0] * tiles.shape[1] * side**2)
    return mean


def _radial(power: Floats) -> tuple[Floats, Floats]:
    """Radii, half a sample apart, and the mean over directions."""
    from scipy import ndimage

    side = len(power)
    angle = np.arange(180.0)
    vertical, horizontal = np.abs(angle - 90), np.minimum(angle, 180 - angle)
    angle = np.deg2rad(angle[(vertical > _LEFT_OUT[0]) & (horizontal > _LEFT_OUT[1])])
    radii = np.arange(0, (side - 1) // 2 + 0.25, 0.5)
    at = [side // 2 + np.outer(radii, np.sin(angle)), side // 2 + np.outer(radii, np.cos(angle))]
    return radii, ndimage.map_coordinates(power, at, order=1, mode="nearest").mean(axis=1)
