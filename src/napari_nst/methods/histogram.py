"""Histogram matching."""

from functools import partial

from napari_nst.imaging.histogram import match_histogram
from napari_nst.methods.base import Method, match_gray

HISTOGRAM = Method(
    "histogram", "The style's histogram; every gray level keeps its rank.", partial(match_gray, match_histogram)
)
