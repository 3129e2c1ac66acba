"""Spacing of cones: Yellott's ring in the spectrum of an image, and the ratio of the spacings of two images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.imaging.checks import Floats, fill_smoothly, image_and_mask, is_flat, to_unit_range
from napari_nst.imaging.spectrum import log_radial_power, noise_power

__all__ = ["Ring", "relative_spacing", "ring_prominence"]

#: The least side, of the image or of a square as large as its used part, that holds a spectrum worth reading.
_MINIMUM_SIDE = 32
#: Fewest rows of cones across the image: beyond that the lower end of the line lies in the window's own blur.
_ROWS = 5
#: Ends of the line that the prominence is measured from, and of the shorter one that finds the ring, in ring frequencies.
_LINE = (0.5, 1.8)
_NEAR = (0.7, 1.4)
#: Least height over the shorter line, dB. Of white noise, 185 × 185, the highest of 40 images reached 2.0.
_LEAST_HEIGHT = 2.3
#: Smoothing of the spectrum in ln(frequency): about a third of a ring's own width. Step of its grid.
_SMOOTHING, _STEP = 0.08, 0.01
#: Where the mask's fill is averaged from, in pixels.
_FILL = 8.0


@dataclass(frozen=True)
class Ring:
    """Yellott's ring in the spectrum of an image.

    Attributes
    ----------
    prominence : float
        Height of the ring over the spectrum on both sides of it, in dB. About 12 to 17 for good confocal images, 1 for
        noise. NaN where there is no spectrum to read: a flat image, or too few pixels.
    spacing : float
        Modal distance of the rows of cones, in pixels: 1 / ring frequency. In disordered mosaics, as those of retinas,
        it is the median distance of nearest neighbors. NaN where no ring stands out.
    """

    prominence: float
    spacing: float

    @property
    def lattice_spacing(self) -> float:
        """Distance of neighbors in the ideal hexagonal lattice with this ring, 2 / sqrt(3) times `spacing`."""
        return 2 / math.sqrt(3) * self.spacing


def ring_prominence(image: ArrayLike, *, mask: ArrayLike | None = None) -> Ring:
    """Measure Yellott's ring.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats of any scale and offset. Pixels that are not finite are left out.
    mask : array, (H, W), optional
        0 or False for pixels to leave out.

    Returns
    -------
    Ring
        In dB and pixels. NaN with less than 32 pixels on a side, or less than 32² used ones.

    Raises
    ------
    ImageError
        `image` is no gray image, or the mask does not fit it.

    Notes
    -----
    P(f) is the power of the image under a Tukey window, averaged over all directions, in dB, smoothed by a Gaussian of
    0.08 in ln f. The ring's frequency f0 is where P stands highest over a line, in log f, through P(0.7 f0) and
    P(1.4 f0); so near a line follows the bend that blur gives to a spectrum. Below 2.3 dB there is no ring. The
    prominence is P(f0) less the value at f0 of the line through P(0.5 f0) and P(1.8 f0), or P(0.5 cycles/pixel) if that
    comes first. Spacings from 2.8 pixels to a fifth of the shorter side are looked for.

    A perfect hexagonal lattice of pitch s has its ring at f0 = 2 / (sqrt(3) s), and rows 1 / f0 apart. Cones are
    disordered: the nearest of six neighbors is nearer than the pitch, and 1 / f0 equals the median distance of nearest
    neighbors (1.01 ± 0.02 of that of annotated cones in 200 images of 5 eyes).

    The prominence falls with noise, haze and defocus, and needs no reference. It rises under low-pass filters, which
    lower one end of the line, so it compares images of one instrument, not an image with its own filtered version;
    optics that reverse contrast can restore a ring without restoring the cones.

    References
    ----------
    Yellott, Spectral analysis of spatial sampling by photoreceptors, Vision Res. 22, 1205 (1982).
    Cooper et al., Automatic detection of modal spacing (Yellott's ring) in adaptive optics scanning light
    ophthalmoscope images, Ophthalmic Physiol. Opt. 33, 540 (2013).
    """
    values, used = image_and_mask(image, mask)
    nothing = Ring(math.nan, math.nan)
    if is_flat(values[used]):
        return nothing
    rows, columns = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    values, used = to_unit_range(values, used)[part], used[part]
    side = min(*values.shape, math.sqrt(np.count_nonzero(used)))
    if side < _MINIMUM_SIDE:
        return nothing
    logs, power = _smoothed_spectrum(fill_smoothly(values, used, _FILL), side)

    lowest, highest = math.log(_ROWS / side), math.log(0.5 / _NEAR[1])
    candidates = np.arange(lowest, highest, _STEP)
    heights = _height(logs, power, candidates, _NEAR)
    best = int(np.argmax(heights))
    prominence = float(_height(logs, power, candidates[best : best + 1], _LINE)[0])
    found = heights[best] >= _LEAST_HEIGHT and 0 < best < len(candidates) - 1
    return Ring(prominence, math.exp(-candidates[best]) if found else math.nan)


def _height(logs: Floats, power: Floats, at: Floats, ends: tuple[float, float]) -> Floats:
    """How far the spectrum at some log frequencies lies above the line between two relative frequencies, dB."""
    below = math.log(ends[0])
    above = np.minimum(math.log(ends[1]), math.log(0.5) - at)  # there is nothing beyond 0.5 cycles/pixel
    share = -below / (above - below)
    left, right = np.interp(at + below, logs, power), np.interp(at + above, logs, power)
    height: Floats = np.interp(at, logs, power) - ((1 - share) * left + share * right)
    return height


def _smoothed_spectrum(values: Floats, side: float) -> tuple[Floats, Floats]:
    """Radial power in dB, smoothed, over equal steps of ln(frequency in cycles/pixel).

    A window with a flat middle: it uses more of the cones than a Hann window does, so the result scatters less.
    """
    from scipy import ndimage
    from scipy.signal import windows

    window = np.outer(windows.tukey(values.shape[0], 0.5), windows.tukey(values.shape[1], 0.5))
    level = np.average(values, weights=window)
    power = np.abs(np.fft.fft2((values - level) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(values.shape[0])[:, np.newaxis], np.fft.fftfreq(values.shape[1]))
    ring = np.rint(frequency * side).astype(np.intp).ravel()
    members = np.bincount(ring)
    filled = np.flatnonzero(members[1:]) + 1  # without the mean
    frequencies = np.bincount(ring, frequency.ravel())[filled] / members[filled]
    means = np.bincount(ring, power.ravel())[filled] / members[filled]
    # An image of one pure frequency has nothing but rounding elsewhere.
    level_db = 10 * np.log10(np.maximum(means, 1e-15 * means.max()))

    # Beyond both ends by what the smoothing reaches, so that the ends do not weigh more.
    reach = 4 * _SMOOTHING
    logs = np.arange(math.log(frequencies[0]) - reach, math.log(0.5) + reach, _STEP)
    even = np.interp(logs, np.log(frequencies), level_db)
    return logs, ndimage.gaussian_filter1d(even, _SMOOTHING / _STEP, mode="nearest")


#: Most rings of the spectra that are compared.
_RINGS = 72
#: Optics and haze change a spectrum smoothly: by a polynomial of this degree in ln(frequency).
_DEGREE = 4
#: Standard deviation of ln(ratio) between places of one retina, and degrees of freedom of its t distribution: annotated
#: images of one eye have 0.06, but another magnification is possible.
_SPREAD, _FREEDOM = 0.06, 3.0
#: Beyond the first of these in ln(ratio) a second search is centered on what the rings say; beyond the second they are not believed.
_FAR, _ABSURD = 0.15, 0.6
#: The second counts if the target's ring is so prominent (dB), or if its rest, per weight, is at most this multiple of the first's.
_CLEAR, _NOT_WORSE = 10.0, 1.5
_REACH = 0.2
#: Part of the spectrum that must stand out of it: below that, noise.
_LEAST_SIGNAL = 0.05


def relative_spacing(
    target: ArrayLike, style: ArrayLike, *, mask: ArrayLike | None = None, style_mask: ArrayLike | None = None
) -> float:
    """Spacing of the target's cones divided by that of the style's.

    The two rings alone do not say it: blur and noise move the ring of a poor image to lower frequencies, by 3 to 7 % in
    spacing. Here the style's spectrum, moved along the frequency axis, is fitted to the target's, up to a smooth curve that
    stands for the optics.

    Parameters
    ----------
    target : array, (H, W)
        May be blurred and noisy.
    style : array, (H', W')
        A good image of the same tissue.
    mask, style_mask : array, (H, W) and (H', W'), optional
        0 or False for pixels to leave out.

    Returns
    -------
    float
        Above 1 where the target's cones are farther apart. NaN where the style has no ring, or an image is flat or less
        than 32 pixels wide. The less a target shows of its cones, the nearer to 1: of pure noise it is 1 within some
        percent.

    Raises
    ------
    ImageError
        An image is not gray, or a mask does not fit.

    Notes
    -----
    With P and S the radial power of target and style, less their noise (`noise_power`), and x = ln(ratio), the estimate
    minimises ::

        1/2 sum_f w(f) [ln P(f) - ln S(f e^x) - p(f)]² + 2 ln(1 + x² / (3 · 0.06²))

    over f from 0.5 to 1.8 ring frequencies of the style, p being the best polynomial of degree 4 in ln f, and w the number of
    independent values of a ring times the squared share of signal in its power. The second term is the logarithm of a t
    distribution. Where the rings of the two (`ring_prominence`) differ by 15 to 80 %, the same is done around their ratio,
    with a normal distribution, and believed if the spectra agree there about as well, or the target's ring is a clear one.

    On 20 annotated places of 5 eyes under five simulated degradations ln(ratio) is wrong by 0.02 to 0.04 (standard
    deviation), with a bias of at most 0.03; the ratio of the rings has biases of up to 0.07. Styles of 0.71 and 1.41 times the
    spacing are measured as exactly on clear images; beside blurred or noisy ones some are taken for equal
    (benchmarks/relative_spacing.py).
    """
    planes = []
    for what, image, given in (("target", target, mask), ("style", style, style_mask)):
        values, used = image_and_mask(image, given, what)
        if is_flat(values[used]) or min(values.shape) < _MINIMUM_SIDE:
            return math.nan
        planes.append((to_unit_range(values, used), used))
    ring, style_ring = (ring_prominence(values, mask=used) for values, used in planes)
    if math.isnan(style_ring.spacing):
        return math.nan
    rings = min(_RINGS, *(min(values.shape) // 2 for values, _ in planes))
    (frequencies, power, share), (_, model, _) = (_signal(values, used, rings) for values, used in planes)
    weight = _independent(planes[0][0].shape, rings) * share**2

    def search(center: float) -> tuple[float, float]:
        """The best ln(ratio) around `center`, and the rest of the fit there, per weight."""
        spacing = math.exp(center) * style_ring.spacing
        seen = (frequencies > _LINE[0] / spacing) & (frequencies < _LINE[1] / spacing)
        if np.count_nonzero(seen) < _DEGREE + 3 or not weight[seen].any():
            return math.nan, math.inf
        candidates = center + np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
        moved = np.clip(np.outer(np.exp(candidates), frequencies[seen]), frequencies[0], frequencies[-1])
        differences = power[seen] - np.interp(moved, frequencies, model)
        root = np.sqrt(weight[seen])
        terms = np.vander(np.log(frequencies[seen] * spacing), _DEGREE + 1) * root[:, np.newaxis]
        weighted = differences.T * root[:, np.newaxis]
        rest = ((weighted - terms @ np.linalg.lstsq(terms, weighted, rcond=None)[0]) ** 2).sum(axis=0)
        if center == 0:
            doubt = (_FREEDOM + 1) / 2 * np.log1p(candidates**2 / (_FREEDOM * _SPREAD**2))
        else:
            doubt = (candidates - center) ** 2 / (2 * _SPREAD**2)
        best = int(np.argmin(rest / 2 + doubt))
        return float(candidates[best]), float(rest[best] / weight[seen].sum())

    found, rest = search(0.0)
    by_rings = math.log(ring.spacing / style_ring.spacing)
    if _FAR < abs(by_rings) < _ABSURD:
        far, rest_there = search(by_rings)
        if ring.prominence >= _CLEAR or rest_there <= _NOT_WORSE * rest or math.isnan(found):
            found = far
    return math.exp(found)


def _signal(
    values: Floats, used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], rings: int
) -> tuple[Floats, Floats, Floats]:
    """Middles of the rings, the logarithm of the power less its noise, and the signal's share of the power."""
    frequencies, logarithms = log_radial_power(values, used, rings)
    power = np.exp(logarithms)
    share = np.maximum(1 - noise_power(power) / power, 0.0)
    return frequencies, logarithms + np.log(np.maximum(share, _LEAST_SIGNAL)), share


def _independent(shape: tuple[int, ...], rings: int) -> Floats:
    """Independent values in each ring: half of the frequencies are conjugates, and a Hann window leaves half of the rest."""
    edges = np.linspace(0, 0.5, rings + 1)
    counts: Floats = np.pi * (edges[1:] ** 2 - edges[:-1] ** 2) * math.prod(shape) / 4
    return counts
