"""Whether two pictures of one place show the same: in structure, in values, in the order of their values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import check_length, fill_smoothly, images_and_mask, is_flat, to_unit_range
from napari_nst.metrics._bands import cone_band, spacing_or_default

__all__ = ["intensity_monotonicity", "structural_similarity", "structure_correlation"]

#: Pixels around a pixel that the window of the structural similarity reaches: 3.5 standard deviations of 1.5 pixels.
_REACH = 5


def structure_correlation(
    target: ArrayLike, result: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None
) -> float:
    """Correlation of two pictures in the spatial band of the cones.

    Parameters
    ----------
    target, result : array, (H, W)
        Pictures of one place: of any dtype, scale and offset, each its own.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None takes that of the target's ring, or 8.25 where it has none.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either picture are left out too.

    Returns
    -------
    float
        Pearson's correlation, -1 to 1, of the differences of Gaussians with standard deviations of 0.1 and 0.6
        spacings. NaN where one is constant. It does not see brightness, gradients or contrast, nor noise finer than
        cones.

    Raises
    ------
    ImageError
        A picture is not grey, the shapes differ, or the mask does not fit.
    ParameterError
        `spacing` is no length.
    """
    check_length(spacing, "spacing")
    first, second, used = images_and_mask(target, result, mask)
    if is_flat(first[used]) or is_flat(second[used]):
        return math.nan
    spacing = spacing_or_default(first, used, spacing)

    bands = []
    for picture in (first, second):
        filled = fill_smoothly(to_unit_range(picture, used), used, spacing)
        band = cone_band(filled, spacing)[used]
        band -= band.mean()
        norm = float(np.linalg.norm(band))
        if norm <= 1e-12 * math.sqrt(band.size):  # of values in 0..1: nothing but rounding is left in this band
            return math.nan
        bands.append(band / norm)
    return float(np.clip(bands[0] @ bands[1], -1, 1))


def structural_similarity(
    target: ArrayLike, result: ArrayLike, *, data_range: float, mask: ArrayLike | None = None
) -> float:
    """Mean structural similarity (SSIM) of two pictures.

    Parameters
    ----------
    target, result : array, (H, W)
        Pictures of one place, their values on one scale.
    data_range : float
        Difference of the largest and the smallest value that such a picture can have, as 255 for 8 bits. It decides how
        much a difference counts and cannot be read from an array: state it wherever the result is shown.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either picture are left out too.

    Returns
    -------
    float
        -1 to 1, equal pictures having 1. NaN where no window fits: less than 11 pixels on a side, or everywhere
        a pixel that is not used.

    Raises
    ------
    ImageError
        A picture is not grey, the shapes differ, or the mask does not fit.
    ParameterError
        `data_range` is not above 0 and finite.

    Notes
    -----
    With means µ, variances σ² and covariance σxy under a Gaussian window of standard deviation 1.5 pixels, cut to
    11 × 11 pixels, the settings of the paper::

        SSIM = (2 µx µy + C1) (2 σxy + C2) / ((µx² + µy² + C1) (σx² + σy² + C2)),  C1 = (0.01 R)², C2 = (0.03 R)²

    with R the `data_range`; averaged over the pixels whose whole window is used.

    It compares a result with its target, not with the truth: a low value says that much was changed, not whether that was
    good.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural similarity, IEEE
    Trans. Image Process. 13, 600 (2004), section III B.
    """
    if not 0 < data_range < math.inf:
        raise ParameterError(
            f"data_range={data_range} is no range of values; pass the largest less the smallest value that the pictures "
            "can have, as 255 for 8 bits."
        )
    first, second, used = images_and_mask(target, result, mask)
    whole = _whole_windows(used)
    if not whole.any():
        return math.nan
    from skimage import metrics

    # In units of the range: the similarity is the same, and no square can overflow.
    similarity = metrics.structural_similarity(  # type: ignore[no-untyped-call]  # scikit-image has no types
        first / data_range,
        second / data_range,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]
    return float(similarity[whole].mean())


def intensity_monotonicity(target: ArrayLike, result: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Whether what was brighter stayed brighter: Spearman's rank correlation of the pixel values.

    Parameters
    ----------
    target, result : array, (H, W)
        Pictures of one place: of any dtype, scale and offset, each its own.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either picture are left out too.

    Returns
    -------
    float
        -1 to 1. 1 where the result is a rising function of the target, as after a change of brightness, contrast or gamma
        (less, where such a change clips or merges values). NaN where one picture is constant.

    Raises
    ------
    ImageError
        A picture is not grey, the shapes differ, or the mask does not fit.

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


def _whole_windows(used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels around which a window of 11 × 11 holds used pixels only."""
    side = 2 * _REACH + 1
    if min(used.shape) < side:
        return np.zeros(used.shape, dtype=np.bool_)
    from scipy import ndimage

    whole: NDArray[np.bool_] = ndimage.minimum_filter(used, side, mode="constant", cval=0)
    return whole
