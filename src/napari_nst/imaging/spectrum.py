"""The radial power spectrum of an image, and the linear filter that gives one image the spectrum of another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, check_grey
from napari_nst.imaging.masks import fill_from_nearest
from napari_nst.imaging.values import MINIMUM_SIDE

__all__ = ["log_radial_power", "match_spectrum", "noise_power", "radial_power_spectrum"]

_NYQUIST = 0.5  # cycles/pixel

#: Power below this share of a spectrum's largest is rounding, of which no ratio may be taken.
_ROUNDING = 1e-12

#: Beyond this, in cycles/pixel, the optics of a microscope leave next to nothing: what is there is noise.
_NOISE_ONLY = 0.42
#: The signal's least share of the power at a frequency.
_LEAST_SIGNAL = 1e-3
#: Exponent of the signal's share (1 is Wiener's filter behind an inverse one), and how much is taken over of frequencies at
#: which the style has less than the target (1: all of it). See `match_spectrum`.
_DENOISING, _LOWERING = 0.75, 0.5


def radial_power_spectrum(
    image: ArrayLike, *, bins: int | None = None, mask: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Return the power over spatial frequency, averaged over all directions.

    Parameters
    ----------
    image : array, (H, W)
        Any integer or float dtype; at least 16 × 16 pixels.
    bins : int, optional
        Number of rings, 1 to ``min(H, W) // 2``; by default as many as that, so that a ring is as wide as the
        frequencies of the shorter side lie apart.
    mask : array, (H, W), optional
        Not 0 where a pixel is used; the others are given the mean of these.

    Returns
    -------
    frequencies : array of float64, (bins,)
        The middles of the rings, in cycles/pixel, between 0 and 0.5 and equally far apart.
    power : array of float64, (bins,)
        Mean of |F|² / N over the ring, in squared gray levels: F is the Fourier transform of the image less its mean
        under a 2-D Hann window, N the number of pixels.

    Raises
    ------
    ImageError
        Too small, not gray, or not finite.
    ParameterError
        More rings than frequencies.

    Notes
    -----
    Frequencies are in cycles/pixel along both axes, also where the image is not square. The corners of the frequency
    plane, beyond 0.5 cycles/pixel, hold some directions only and are left out. The average over rings is that of
    Yellott, Vision Res. 22 (1982) 1205, for cone mosaics.
    """
    array, used = check_grey(image, mask, "image", minimum_side=MINIMUM_SIDE)
    most = min(array.shape) // 2
    count = most if bins is None else bins
    if not 1 <= count <= most:
        raise ParameterError(
            f"bins must be from 1 to {most} for an image of {array.shape[0]} × {array.shape[1]} pixels, got {bins}."
        )
    return _radial(array.astype(np.float64), used, count)


def match_spectrum(
    target: ArrayLike,
    style: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    style_mask: ArrayLike | None = None,
    denoise: bool = False,
    limit: float = 6.0,
    bins: int = 48,
    pad: int = 24,
) -> Floats:
    """Filter an image so that its radial power spectrum, mean and standard deviation become those of another.

    Parameters
    ----------
    target : array, (H, W)
        The image to change, any integer or float dtype; at least 16 × 16 pixels.
    style : array, (H', W')
        The image to be like, of any size from 16 × 16, with its values on the same scale.
    mask, style_mask : array, (H, W) and (H', W'), optional
        Not 0 where a pixel is used. The others are kept out of spectra, mean and standard deviation; those of the
        target come back as they were.
    denoise : bool
        Keep noise from becoming structure: it is estimated and lowered as by Wiener's filter, and what the target has
        more of than the style is lowered by half only (in decibels).
    limit : float
        The gain at a frequency may differ from the median gain of the low frequencies (the lowest quarter) by this
        factor at most, up or down (with `denoise` up); at least 1. It keeps noise from being blown up where the target
        holds nothing else.
    bins : int
        Rings in which the spectra are compared, at least 4; fewer where an image is too small for so many.
    pad : int
        Pixels by which the target is continued by reflection, so that nothing comes around from the opposite side.

    Returns
    -------
    array of float64, (H, W)
        On the scale of the inputs; neither rounded nor limited to their range.

    Raises
    ------
    ImageError
        An image is constant, too small, not gray, or not finite.
    ParameterError
        A setting is out of its range.

    Notes
    -----
    The gain at frequency f is sqrt(P_style(f) / P_target(f)), with P from `radial_power_spectrum`, smoothed over rings in
    the logarithm. It is real, positive and the same in all directions, so the filter is symmetric: every phase,
    and with it the place of every structure, is kept.

    With `denoise`, S and P being the smoothed spectra of style and target, N the least value of P beyond 0.42 cycles/pixel
    (white noise; no optics pass cells there) and Q = max(P - N, P / 1000) the target's signal, the gain is::

        g = W r          for r > 1        W = Q / P                          Wiener's filter
        g = W sqrt(r)    for r <= 1       r = sqrt(S / Q) (Q / P)^0.25 / c

    c makes the median of W r over the lowest quarter of the frequencies 1. Where noise is most of the power, the plain
    gain raises noise to the style's structure. The exponents were chosen on annotated images (docs/evaluation.md).

    References
    ----------
    Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series (1949).
    """
    for name, value, low in (("limit", limit, 1), ("bins", bins, 4), ("pad", pad, 0)):
        if not low <= value < math.inf:
            raise ParameterError(f"{name} must be at least {low} and finite, got {value}.")
    array, used = check_grey(target, mask, "target", minimum_side=MINIMUM_SIDE, varied=True)
    model, model_used = check_grey(style, style_mask, "style", minimum_side=MINIMUM_SIDE, varied=True)
    values, model_values = array.astype(np.float64), model.astype(np.float64)

    rings = min(bins, min(array.shape) // 2, min(model.shape) // 2)
    frequencies, wanted = log_radial_power(model_values, model_used, rings)
    present = log_radial_power(values, used, rings)[1]
    gain = (_denoising_gain if denoise else _gain)(present, wanted, limit)

    # Filled from the nearest used pixels: the edge of a mask must not ring into the image.
    padded = np.pad(fill_from_nearest(values, used), pad, mode="reflect")
    plane = _frequency_plane(padded.shape, half=True)
    shaped = np.fft.rfft2(padded - padded.mean()) * np.interp(plane, frequencies, gain)
    filtered = np.fft.irfft2(shaped, s=padded.shape)[pad : pad + array.shape[0], pad : pad + array.shape[1]]

    inside, style_inside = filtered[used], model_values[model_used]
    scaled = (filtered - inside.mean()) / inside.std() * style_inside.std() + style_inside.mean()
    return np.where(used, scaled, values)


def _gain(present: Floats, wanted: Floats, limit: float) -> Floats:
    ratio = np.exp(0.5 * (wanted - present))
    gain: Floats = np.clip(ratio / _low(ratio), 1 / limit, limit)
    return gain


def _denoising_gain(present: Floats, wanted: Floats, limit: float) -> Floats:
    power = np.exp(present)
    share = np.maximum(1 - noise_power(power) / power, _LEAST_SIGNAL)
    ratio = np.exp(0.5 * (wanted - present)) * share ** (_DENOISING - 1)
    ratio = ratio / _low(ratio * share)
    gain: Floats = share * np.where(ratio > 1, np.minimum(ratio, limit), ratio**_LOWERING)
    return gain


def _low(gain: Floats) -> float:
    return float(np.median(gain[: len(gain) // 4]))


def noise_power(power: Floats) -> float:
    """Power of white noise: the least of a radial spectrum, best smoothed, beyond 0.42 cycles/pixel."""
    return float(power[(np.arange(len(power)) + 0.5) / (2 * len(power)) > _NOISE_ONLY].min())


def log_radial_power(values: Floats, used: NDArray[np.bool_], count: int) -> tuple[Floats, Floats]:
    """The middles of `count` rings in cycles/pixel, and ln of the power there, smoothed (Gaussian of one ring).

    `values` are finite where `used`, both (H, W); the power is in squared gray levels.
    """
    from scipy import ndimage

    frequencies, power = _radial(values, used, count)
    # A mask may leave only what the window takes away.
    least = max(_ROUNDING * power.max(), np.finfo(np.float64).tiny)
    return frequencies, ndimage.gaussian_filter1d(np.log(np.maximum(power, least)), 1.0)


def _radial(values: Floats, used: NDArray[np.bool_], count: int) -> tuple[Floats, Floats]:
    centered = np.where(used, values - values[used].mean(), 0.0)
    window = np.outer(np.hanning(values.shape[0]), np.hanning(values.shape[1]))
    power = np.abs(np.fft.fft2(centered * window)) ** 2 / values.size
    plane = _frequency_plane(values.shape)
    inside = plane <= _NYQUIST
    # The Nyquist frequency itself belongs to the last ring.
    ring = np.minimum((plane[inside] / _NYQUIST * count).astype(np.intp), count - 1)
    members = np.bincount(ring, minlength=count)
    mean: Floats = np.bincount(ring, power[inside], minlength=count) / members
    middles: Floats = (np.arange(count, dtype=np.float64) + 0.5) * (_NYQUIST / count)
    return middles, mean


def _frequency_plane(shape: tuple[int, ...], half: bool = False) -> Floats:
    """Spatial frequency of every entry of a 2-D Fourier transform (or of its non-negative half), in cycles/pixel."""
    along_x = np.fft.rfftfreq(shape[1]) if half else np.fft.fftfreq(shape[1])
    plane: Floats = np.hypot(np.fft.fftfreq(shape[0])[:, np.newaxis], along_x)
    return plane
