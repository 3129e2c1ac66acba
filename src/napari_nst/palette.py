"""One meaning, one color, in every figure and layer.

The hues are those of Okabe and Ito (2008, "Color Universal Design"), which stay apart for all kinds of color vision.
"""

from __future__ import annotations

__all__ = [
    "BAD",
    "BLUE",
    "GOOD",
    "GRAY",
    "KEPT",
    "LEVELS",
    "LOST",
    "NEW",
    "ORANGE",
    "RESULT",
    "SKY",
    "STYLE",
    "TARGET",
    "UNSUPPORTED",
    "VERMILION",
    "YELLOW",
]

BLUE, SKY, GREEN, YELLOW, ORANGE, VERMILION, GRAY = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#E69F00",
    "#D55E00",
    "#7F7F7F",
)

#: Detections of an assessment: in target and result, in the target only, in the result only, and those of the last
#: that the target does not support.
KEPT, LOST, NEW, UNSUPPORTED = SKY, ORANGE, YELLOW, VERMILION

#: The images of a transfer, in plots of their spectra.
TARGET, RESULT, STYLE = BLUE, VERMILION, "#999999"

#: Patches whose quality is poor, and good.
BAD, GOOD = VERMILION, BLUE

#: The levels of a verdict.
LEVELS = {"unchanged": "#999999", "trusted": GREEN, "look": ORANGE, "distrust": VERMILION}
