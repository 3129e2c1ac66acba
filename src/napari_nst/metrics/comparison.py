"""How a result differs from its target: in structure, in values, in the order of values, in spatial frequencies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, images_and_mask, is_flat
from napari_nst.imaging.spectrum import radial_power_spectrum
from napari_nst.imaging.values import MINIMUM_SIDE
from napari_nst.metrics._bands import cone_band, normalized, prepared
from napari_nst.metrics.displacement import local_displacement

#: Side of the window of the structural similarity, in pixels: 3.5 standard deviations of 1.5 pixels to each side.
_WINDOW = 11
#: The band of the cones, in ring frequencies.
_CONE_BAND = (0.7, 1.4)
#: Power below this part of a spectrum's largest is rounding, of which no ratio is taken.
_LEAST_POWER = 1e-12


@dataclass(frozen=True)
class Comparison:
    """A result against its target, pixel by pixel. NaN where that cannot be said.

    Attributes
    ----------
    structure, monotonicity : float
        `structure_correlation` and `intensity_monotonicity`, -1 to 1.
    ssim, ssim_range : float
        `structural_similarity`, and the range of values that it was measured with.
    displacement, largest_displacement, displacement_tiles : float, float, int
        Median and largest shift, pixels, over as many tiles (`local_displacement`).
    spectrum_change, band_change : float
        Root mean square change of the spectrum, and mean change in the band of the cones, dB (`spectrum_change`).
    mean_change, largest_change : float
        Mean and largest absolute change of a pixel, gray levels.
    """

    structure: float
    ssim: float
    ssim_range: float
    displacement: float
    largest_displacement: float
    displacement_tiles: int
    monotonicity: float
    spectrum_change: float
    band_change: float
    mean_change: float
    largest_change: float


@dataclass(frozen=True, eq=False)
class SpectrumChange:
    """The radial power spectrum of a result over that of its target.

    Attributes
    ----------
    frequencies, change_db : array of float64, (n,)
        In cycles/pixel, as `radial_power_spectrum` gives them; power of the result over that of the target, in dB: 6.02
        where amplitudes are twice as large, NaN where an image has no power but rounding.
    rms_db, band_db : float
        Root mean square of `change_db`, and its mean in the band of the cones, 0.7 to 1.4 over the spacing: above 0 where
        their contrast rose. NaN where there is no frequency to compare.
    """

    frequencies: Floats
    change_db: Floats
    rms_db: float
    band_db: float


def compare(
    target: Floats, result: Floats, used: NDArray[np.bool_], *, spacing: float, value_span: float
) -> Comparison:
    """Compare two images, (H, W) float64, where `used` is True; a `value_span` of NaN leaves the SSIM out."""
    moved = local_displacement(target, result, spacing=spacing, mask=used)
    spectra = spectrum_change(target, result, spacing=spacing, mask=used)
    changed = np.abs((result - target)[used])
    return Comparison(
        structure=structure_correlation(target, result, spacing=spacing, mask=used),
        ssim=structural_similarity(target, result, data_range=value_span, mask=used) if value_span > 0 else math.nan,
        ssim_range=value_span,
        displacement=moved.median,
        largest_displacement=moved.largest,
        displacement_tiles=len(moved.shifts),
        monotonicity=intensity_monotonicity(target, result, mask=used),
        spectrum_change=spectra.rms_db,
        band_change=spectra.band_db,
        mean_change=float(changed.mean()) if len(changed) else math.nan,
        largest_change=float(changed.max()) if len(changed) else math.nan,
    )


def structure_correlation(
    target: ArrayLike, result: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None
) -> float:
    """Return the correlation of two images in the spatial band of the cones.

    Parameters
    ----------
    target, result : array, (H, W)
        Images of one place: of any dtype, scale and offset, each its own.
    spacing : float, optional
        Distance of neighboring cones in pixels. None takes that of the target's ring, or 8.25 where it has none.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either image are left out too.

    Returns
    -------
    float
        Pearson's correlation, -1 to 1, of the differences of Gaussians with standard deviations of 0.1 and 0.6
        spacings. NaN where one is constant. It does not see brightness, gradients or contrast, nor noise finer than
        cones.

    Raises
    ------
    ImageError, ParameterError
        An image is not gray, the shapes differ, or the mask does not fit; `spacing` is not above 0.
    """
    first, second, used, spacing = prepared(target, result, mask, spacing)
    if is_flat(first[used]) or is_flat(second[used]):
        return math.nan
    bands = []
    for image in (first, second):
        band = cone_band(normalized(image, used, spacing), spacing)[used]
        band -= band.mean()
        norm = float(np.linalg.norm(band))
        if norm <= 1e-12 * math.sqrt(band.size):  # of values in 0..1: nothing but rounding is left in this band
            return math.nan
        bands.append(band / norm)
    return float(np.clip(bands[0] @ bands[1], -1, 1))


def structural_similarity(
    target: ArrayLike, result: ArrayLike, *, data_range: float, mask: ArrayLike | None = None
) -> float:
    """Return the mean structural similarity (SSIM) of two images.

    Parameters
    ----------
    target, result, mask
        As for `structure_correlation`, on one scale of values.
    data_range : float
        Largest less smallest value that such an image can have, as 255 for 8 bits. It decides how much a difference
        counts and cannot be read from an array: state it wherever the result is shown.

    Returns
    -------
    float
        -1 to 1, equal images having 1. NaN where no window of 11 × 11 pixels fits or is used wholly.

    Raises
    ------
    ImageError, ParameterError
        As `structure_correlation`; `data_range` is not above 0.

    Notes
    -----
    With means µ, variances σ² and covariance σxy under a Gaussian window of standard deviation 1.5 pixels, cut to
    11 × 11 pixels, the settings of the paper::

        SSIM = (2 µx µy + C1) (2 σxy + C2) / ((µx² + µy² + C1) (σx² + σy² + C2)),  C1 = (0.01 R)², C2 = (0.03 R)²

    with R the `data_range`; averaged over the pixels whose whole window is used. It compares a result with its target,
    not with the truth: a low value says that much was changed, not whether that was good.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural similarity, IEEE
    Trans. Image Process. 13, 600 (2004), section III B.
    """
    if not 0 < data_range < math.inf:
        remedy = "Pass the largest less the smallest value that the images can have, as 255 for 8 bits."
        raise ParameterError(f"data_range must be above 0, got {data_range}. {remedy}")
    first, second, used = images_and_mask(target, result, mask)
    from scipy import ndimage
    from skimage import metrics

    whole = ndimage.minimum_filter(used, _WINDOW, mode="constant", cval=0)
    if min(used.shape) < _WINDOW or not whole.any():
        return math.nan
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    # In units of the range: the similarity is the same, and no square can overflow.
    similarity = metrics.structural_similarity(  # type: ignore[no-untyped-call]  # scikit-image has no types
        first / data_range, second / data_range, data_range=1.0, full=True, **settings
    )[1]
    return float(similarity[whole].mean())


def intensity_monotonicity(target: ArrayLike, result: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Return whether what was brighter stayed brighter: Spearman's rank correlation of the pixel values.

    Parameters
    ----------
    target, result, mask
        As for `structure_correlation`.

    Returns
    -------
    float
        -1 to 1. 1 where the result is a rising function of the target, as after a change of brightness, contrast or gamma
        (less, where such a change clips or merges values). NaN where one image is constant.

    Raises
    ------
    ImageError
        As `structure_correlation`.

    References
    ----------
    Spearman, The proof and measurement of association between two things, Am. J. Psychol. 15, 72 (1904); equal
    values get the mean of their ranks.
    """
    first, second, used = images_and_mask(target, result, mask)
    if is_flat(first[used]) or is_flat(second[used]):
        return math.nan
    from scipy import stats

    return float(stats.spearmanr(first[used], second[used]).statistic)


def spectrum_change(
    target: ArrayLike, result: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None
) -> SpectrumChange:
    """Compare the radial power spectra of two images of one place.

    Parameters
    ----------
    target, result : array, (H, W)
        Their values on one scale: a factor c between them adds 20 log10 c dB at every frequency. An offset adds nothing.
    spacing, mask
        As for `structure_correlation`.

    Returns
    -------
    SpectrumChange
        Without any frequency for images of less than 16 pixels on a side, or with nothing used.

    Raises
    ------
    ImageError, ParameterError
        As `structure_correlation`.

    Notes
    -----
    ``change_db = 10 log10(P_result / P_target)`` with P from `radial_power_spectrum`, all rings with equal weight. Powers
    say nothing about where structure is: a result may have the spectrum of perfect cones without having the cones.
    """
    first, second, used, spacing = prepared(target, result, mask, spacing)
    if min(first.shape) < MINIMUM_SIDE or not used.any():
        return SpectrumChange(np.empty(0), np.empty(0), math.nan, math.nan)
    frequencies, before = radial_power_spectrum(first, mask=used)
    after = radial_power_spectrum(second, mask=used)[1]

    known = (before > _LEAST_POWER * before.max()) & (after > _LEAST_POWER * after.max())
    change = np.full(len(frequencies), math.nan)
    change[known] = 10 * (np.log10(after[known]) - np.log10(before[known]))
    band = known & (frequencies * spacing >= _CONE_BAND[0]) & (frequencies * spacing <= _CONE_BAND[1])
    rms_db = float(np.sqrt(np.mean(change[known] ** 2))) if known.any() else math.nan
    return SpectrumChange(frequencies, change, rms_db, float(np.mean(change[band])) if band.any() else math.nan)
