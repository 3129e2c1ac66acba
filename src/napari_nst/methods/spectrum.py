"""Spectrum matching."""

from functools import partial

from napari_nst.imaging.spectrum import match_spectrum
from napari_nst.methods.base import Method, match_gray

SPECTRUM = Method(
    "spectrum",
    "The style's radial power spectrum, mean and contrast, by a linear filter that keeps every phase.",
    partial(match_gray, match_spectrum),
)
