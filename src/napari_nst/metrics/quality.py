"""Quality of one image, without another to compare with: shown beside other measures, never to decide by alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.imaging.checks import Floats, check_length, image_and_mask, is_flat, noise_deviation, to_unit_range
from napari_nst.metrics._bands import cone_band, noise_in_band, normalized, spacing_or_default

#: Frequencies of photoreceptors, cycles/pixel: spacings from 34.8 to 2.86 pixels. Above lies noise.
_BAND = (0.02875, 0.35)
#: Directions left out around the vertical and the horizontal frequency axis, degrees: lines of scanners lie there.
_LEFT_OUT = (9.0, 3.0)
#: Fewest rows of cones across the used part of the image, for the signal-to-noise ratio.
_ROWS = 4
#: Least signal, relative to the noise: less is none.
_LEAST = 0.01
#: Standard deviation of rounding to whole numbers, in their units.
_ROUNDING = 1 / math.sqrt(12)


def aiq(image: ArrayLike, *, demean: bool = True) -> float:
    """Return the automated image quality (AIQ) of an image of photoreceptors.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats, all finite.
    demean : bool
        Take the mean out of each window. Without it, as published, the value depends on the brightness: in small images
        the window spreads the mean's power into the band of the photoreceptors.

    Returns
    -------
    float
        In dB. NaN for a flat image, one with less than 64 pixels on a side, or one with pixels that are not finite.

    Raises
    ------
    ImageError
        `image` is not a gray image.

    Notes
    -----
    The image is cut into square windows of side n = floor(0.25 min(H, W)), half overlapping, each weighted by a 2-D
    Hann window w::

        P(u, v) = mean over windows of |FFT(w I)|² / n²
        r(f)    = mean of P over the directions of a half plane, every degree, by bilinear interpolation
                  at radii half a frequency sample apart; left out are 9° around the vertical frequency
                  axis and 3° around the horizontal one
        AIQ     = 10 log10( sum |dr| over 0.02875 <= f <= 0.35  /  sum |dr| over f > 0.35 )

    with dr the difference of neighboring radii, at the frequency between them in cycles/pixel.

    **Weaknesses.** It measures the slope of a spectrum, not cones. Blur by a Gaussian *raises* it (from 45 to 78 dB at
    a standard deviation of 1.5 pixels), and so does defocus; it says next to nothing about how well cones are found. So it
    serves to compare repeats of one place by one instrument, and must neither rate an enhancement nor choose styles alone;
    `ring_prominence` falls when cones are lost.

    References
    ----------
    Brennan et al., Quantifying image quality in AOSLO images of photoreceptors, Biomed. Opt. Express 15, 2849 (2024).
    """
    pixels, used = image_and_mask(image, None)
    side = min(pixels.shape) // 4
    if side < 16 or not used.all() or is_flat(pixels):
        return math.nan
    # Of the published value only the ratio to the mean matters, which a scale keeps and an offset does not.
    values = to_unit_range(pixels, used) if demean else pixels / np.abs(pixels).max()
    radii, power = _radial(_mean_power(values, side, demean))

    change = np.abs(np.diff(power))
    frequency = (radii[:-1] + radii[1:]) / 2 / side
    signal = change[(frequency >= _BAND[0]) & (frequency <= _BAND[1])].sum()
    noise = change[frequency > _BAND[1]].sum()
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else math.nan


def _mean_power(values: Floats, side: int, demean: bool) -> Floats:
    """Return P(u, v), its zero frequency at (side // 2, side // 2)."""
    tiles = np.lib.stride_tricks.sliding_window_view(values, (side, side))[:: side // 2, :: side // 2]
    hann = np.outer(np.hanning(side), np.hanning(side))
    total = np.zeros((side, side))
    for row in tiles:  # row by row: all windows at once are several times the image
        level = row.mean(axis=(1, 2), keepdims=True) if demean else 0.0
        total += (np.abs(np.fft.fft2((row - level) * hann)) ** 2).sum(axis=0)
    return np.asarray(np.fft.fftshift(total) / (tiles.shape[0] * tiles.shape[1] * side**2))


def _radial(power: Floats) -> tuple[Floats, Floats]:
    """Return radii, half a sample apart, and the mean over directions."""
    from scipy import ndimage

    side = len(power)
    angle = np.arange(180.0)
    vertical, horizontal = np.abs(angle - 90), np.minimum(angle, 180 - angle)
    angle = np.deg2rad(angle[(vertical > _LEFT_OUT[0]) & (horizontal > _LEFT_OUT[1])])
    radii = np.arange(0, (side - 1) // 2 + 0.25, 0.5)
    at = [side // 2 + np.outer(radii, np.sin(angle)), side // 2 + np.outer(radii, np.cos(angle))]
    return radii, ndimage.map_coordinates(power, at, order=1, mode="nearest").mean(axis=1)


def signal_to_noise(image: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None) -> float:
    """Return the power of the structure in the spatial band of the cones over that of the noise there.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats of any scale and offset. Pixels that are not finite are left out.
    spacing, mask
        As for `structure_correlation`. To compare two images of one place give both the same spacing.

    Returns
    -------
    float
        In dB, not below -20; white noise alone gives -10 or less (185 × 185 pixels). NaN for a flat image, one whose
        used part is smaller than 4 × 4 spacings, and one without any noise, as may be calculated.

    Raises
    ------
    ImageError, ParameterError
        As `structure_correlation`.

    Notes
    -----
    ::

        SNR = 10 log10( max(V - g² N², 0.01 g² N²) / (g² N²) )

        V   mean square of the image in the band of the cones: the difference of two Gaussians with standard
            deviations of 0.1 and 0.6 spacings
        N   standard deviation of white noise in the image: 1.4826 / 6 times the median magnitude under the filter
            [1 -2 1] along both axes (Immerkær 1996, by medians); of integers at least that of their rounding, 1 / sqrt(12)
        g   standard deviation that white noise of 1 has in the band

    On synthetic mosaics with white noise it is right within 0.7 dB, from -4 to 36 dB at a spacing of 8 pixels; finer
    cones reach into the filter themselves and set a limit, 25 dB at 5 pixels. Lattices drawn into noise raise it, and
    **any smoothing raises it**: noise that is not white is taken for structure. So it compares images as they were taken,
    and shows how much an enhancement smoothed, not whether it helped.

    References
    ----------
    Immerkær, Fast noise variance estimation, Comput. Vis. Image Underst. 64, 300 (1996).
    """
    check_length(spacing, "spacing")
    pixels, used = image_and_mask(image, mask)
    if is_flat(pixels[used]):
        return math.nan
    spacing = spacing_or_default(pixels, used, spacing)
    if min(*pixels.shape, math.sqrt(np.count_nonzero(used))) < _ROWS * spacing:
        return math.nan
    values = normalized(pixels, used, spacing)
    noise = noise_deviation(values, used)
    if np.asarray(image).dtype.kind in "ui":
        noise = max(noise, _ROUNDING / float(np.ptp(pixels[used])))
    noise_power = (noise * noise_in_band(spacing)) ** 2
    if noise <= 1e-9:  # of values in 0..1: rounding of the arithmetic
        return math.nan
    power = float(np.mean(cone_band(values, spacing)[used] ** 2))
    return 10 * math.log10(max(power - noise_power, _LEAST * noise_power) / noise_power)
