"""What an enhancement did to the spatial frequencies of a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.imaging.checks import Floats, check_length, images_and_mask
from napari_nst.imaging.spectrum import radial_power_spectrum
from napari_nst.imaging.values import MINIMUM_SIDE
from napari_nst.metrics._bands import spacing_or_default

__all__ = ["SpectrumChange", "radial_power_spectrum", "spectrum_change"]

#: The band of the cones, in ring frequencies.
_BAND = (0.7, 1.4)
#: Power below this part of a spectrum's largest is rounding, of which no ratio is taken.
_FLOOR = 1e-12


@dataclass(frozen=True, eq=False)
class SpectrumChange:
    """The radial power spectrum of a result over that of its target.

    Attributes
    ----------
    frequencies : array of float64, (n,)
        In cycles/pixel, as `radial_power_spectrum` gives them.
    change_db : array of float64, (n,)
        Power of the result over that of the target, in dB: 6.02 where amplitudes are twice as large. NaN where a
        picture has no power but rounding.
    rms_db : float
        Root mean square of `change_db`: how much was changed at all. NaN where nothing can be compared.
    band_db : float
        Mean of `change_db` in the band of the cones, 0.7 to 1.4 over the spacing: above 0 where their contrast rose.
        NaN where no frequency of the picture lies in it.
    """

    frequencies: Floats
    change_db: Floats
    rms_db: float
    band_db: float


def spectrum_change(
    target: ArrayLike, result: ArrayLike, *, spacing: float | None = None, mask: ArrayLike | None = None
) -> SpectrumChange:
    """Compare the radial power spectra of two pictures of one place.

    Parameters
    ----------
    target, result : array, (H, W)
        Their values on one scale: a factor c between them adds 20 log10 c dB at every frequency. An offset adds nothing.
    spacing : float, optional
        Distance of neighbouring cones in pixels. None takes that of the target's ring, or 8.25 where it has none.
    mask : array, (H, W), optional
        0 or False for pixels to leave out. Pixels that are not finite in either picture are left out too.

    Returns
    -------
    SpectrumChange
        Without any frequency for pictures of less than 16 pixels on a side, or with nothing used.

    Raises
    ------
    ImageError
        A picture is not grey, the shapes differ, or the mask does not fit.
    ParameterError
        `spacing` is no length.

    Notes
    -----
    ``change_db = 10 log10(P_result / P_target)`` with P from `radial_power_spectrum`, all rings with equal weight. Powers
    say nothing about where structure is: a result may have the spectrum of perfect cones without having the cones.
    """
    check_length(spacing, "spacing")
    first, second, used = images_and_mask(target, result, mask)
    if min(first.shape) < MINIMUM_SIDE or not used.any():
        return SpectrumChange(np.empty(0), np.empty(0), math.nan, math.nan)
    spacing = spacing_or_default(first, used, spacing)
    frequencies, before = radial_power_spectrum(first, mask=used)
    after = radial_power_spectrum(second, mask=used)[1]

    known = (before > _FLOOR * before.max()) & (after > _FLOOR * after.max())
    change = np.full(len(frequencies), math.nan)
    change[known] = 10 * (np.log10(after[known]) - np.log10(before[known]))
    band = known & (frequencies * spacing >= _BAND[0]) & (frequencies * spacing <= _BAND[1])
    return SpectrumChange(
        frequencies,
        change,
        float(np.sqrt(np.mean(change[known] ** 2))) if known.any() else math.nan,
        float(np.mean(change[band])) if band.any() else math.nan,
    )
