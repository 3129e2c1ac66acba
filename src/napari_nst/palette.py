"""One meaning, one color, in every figure and layer.

The hues are those of Okabe and Ito (2008, "Color Universal Design"), which stay apart for all kinds of color vision.
A pair is the color on a light ground and the one on a dark ground.
"""

from __future__ import annotations

from typing import NamedTuple

BLUE, SKY, GREEN, YELLOW = "#0072B2", "#56B4E9", "#009E73", "#F0E442"
ORANGE, VERMILION, GRAY = "#E69F00", "#D55E00", "#7F7F7F"


class Mark(NamedTuple):
    """How detections are drawn: hollow, so that what is marked can be seen."""

    color: str
    marker: str  #: of matplotlib
    symbol: str  #: of napari, the same shape


#: Detections in target and result, in the target only, and in the result only; the last kind is that of the new ones
#: that the target does not support, which are drawn larger. Shapes differ, so that a figure can be read without colors.
KEPT, LOST, NEW = Mark(SKY, "o", "disc"), Mark(ORANGE, "s", "square"), Mark(YELLOW, "D", "diamond")
UNSUPPORTED = Mark(VERMILION, "^", "triangle_up")
#: Cones of a synthetic image, which are known.
TRUE_CONES = "#FFD27D"

#: The images of a transfer, in plots of their histograms and spectra.
TARGET, RESULT, STYLE = BLUE, VERMILION, GRAY

#: Patches whose quality is poor, good, or not classified.
POOR, GOOD, UNCLASSIFIED = (VERMILION, "#E8743B"), (BLUE, SKY), (GRAY, "#9A9A9A")

#: The levels of a verdict.
LEVELS = {
    "unchanged": ("#666666", "#999999"),
    "trusted": (GREEN, GREEN),
    "look": ("#B87A00", ORANGE),
    "distrust": (VERMILION, VERMILION),
}

#: Learning curves while a run goes on, in light and dark themes: the documented red, green and blue.
LOSSES = {"total": ("#D62728", "#FF6B6B"), "content": ("#1A8F2A", "#5FD068"), "style": ("#1F4FD8", "#7AA2FF")}

#: Texts: what needs a look, captions beside images, and what cannot be read.
ATTENTION, CAPTION, INVALID = "#E8743B", "#C9922E", "#E0554F"
