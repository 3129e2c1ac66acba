"""How far the cones of a picture stand out from its noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.imaging.checks import (
    check_length,
    fill_smoothly,
    image_and_mask,
    is_flat,
    noise_deviation,
    to_unit_range,
)
from napari_nst.metrics._bands import cone_band, noise_in_band, spacing_or_default

__all__ = ["signal_to_noise"]

#: Fewest rows of cones across the used part of the picture.
_ROWS = 4
#: Least signal, relative to the noise: less cannot be told from none.
_LEAST = 0.01
#: Standard deviation of rounding to whole numbers, in their units.
_ROUNDING = 1 / math.sqrt(12)


def signal_to_noise(image: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None) -> float:
    """Power of the structure in the spatial band of the cones over that of the noise in the same band.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats of any scale and offset. Pixels that are not finite are left out.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None takes that of the picture's ring, or 8.25 where it has none.
        To compare two pictures of one place give both the same.
    mask : array, (H, W), optional
        0 or False for pixels to leave out.

    Returns
    -------
    float
        In dB, not below -20; white noise alone gives -10 or less (185 × 185 pixels). NaN for a flat picture, one whose used part is smaller than 4 × 4
        spacings, and one without any noise, as may be calculated.

    Raises
    ------
    ImageError
        `image` is no grey picture, or the mask does not fit it.
    ParameterError
        `spacing` is no length.

    Notes
    -----
    ::

        SNR = 10 log10( max(V - g² N², 0.01 g² N²) / (g² N²) )

        V   mean square of the picture in the band of the cones: the difference of two Gaussians with standard
            deviations of 0.1 and 0.6 spacings
        N   standard deviation of white noise in the picture: 1.4826 / 6 times the median magnitude under the filter
            [1 -2 1] along both axes (Immerkær 1996, by medians); of integers at least that of their rounding, 1 / sqrt(12)
        g   standard deviation that white noise of 1 has in the band

    On synthetic mosaics with white noise it is right within 0.7 dB, from -4 to 36 dB at a spacing of 8 pixels; finer
    cones reach into the filter themselves and set a limit, 25 dB at 5 pixels. It does not know what the structure is, so lattices drawn into noise raise it; and it takes noise for structure that is not white, as after
    resampling or smoothing: **any smoothing raises it**. So it compares pictures as they were taken, and shows how much an
    enhancement smoothed, not whether it helped.

    References
    ----------
    Immerkær, Fast noise variance estimation, Comput. Vis. Image Underst. 64, 300 (1996).
    """
    check_length(spacing, "spacing")
    picture, used = image_and_mask(image, mask)
    if is_flat(picture[used]):
        return math.nan
    spacing = spacing_or_default(picture, used, spacing)
    if min(*picture.shape, math.sqrt(np.count_nonzero(used))) < _ROWS * spacing:
        return math.nan
    values = fill_smoothly(to_unit_range(picture, used), used, spacing)
    noise = noise_deviation(values, used)
    if np.asarray(image).dtype.kind in "ui":
        noise = max(noise, _ROUNDING / float(np.ptp(picture[used])))
    noise_power = (noise * noise_in_band(spacing)) ** 2
    if noise <= 1e-9:  # of values in 0..1: rounding of the arithmetic
        return math.nan
    power = float(np.mean(cone_band(values, spacing)[used] ** 2))
    return 10 * math.log10(max(power - noise_power, _LEAST * noise_power) / noise_power)
