"""The verdict on an enhancement: whether its cones may be trusted, where to look, and what cannot be said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_nst.metrics.changes import ConeChanges
from napari_nst.metrics.comparison import Comparison

Level = Literal["unchanged", "trusted", "look", "distrust"]
#: From good to bad.
LEVELS: tuple[Level, ...] = ("unchanged", "trusted", "look", "distrust")
#: What stands before a level, so that it can be read without its color.
SIGNS: dict[Level, str] = {"unchanged": "=", "trusted": "✓", "look": "?", "distrust": "✗"}

# Limits were set between what was measured on changes that cannot invent and on those that do; the numbers below are
# of the vessel of a real image (185 × 185 pixels, about 240 cones with the spacing of its ring), unless they say otherwise.
#: Unsupported detections, one is enough to look. None after brightness, gamma, smoothing, unsharp masking, deconvolution,
#: CLAHE, histogram matching; 2 after spectrum matching, 22 after the preset "texture", 36 after "documented".
UNSUPPORTED_LOOK = 1
#: So many of them together in one place, or this share of all detections: do not trust. Shares were 0.07 after "texture",
#: 0.11 after "documented".
UNSUPPORTED_TOGETHER, UNSUPPORTED_SHARE = 5, 0.05
#: Detections in shadows, or far from any cone of the target, that are not the target under another gain: at least so
#: many, and this share of all. In shadows 17 (0.05) after spectrum matching, 1 after gamma 0.3, none after the others.
DOUBTED_LOOK, DOUBTED_SHARE = 4, 0.02
#: Share of the result's detections that are new and not the target under another gain. After spectrum matching of annotated
#: images 0.15 of defocused ones (96 % of the new lie on annotations), 0.20 of noisy ones (88 %), and 0.97 of nearly pure
#: noise (60 %).
NEW_LOOK, NEW_DISTRUST = 0.25, 0.5
#: Share of the target's cones that are lost: 0.08 after smoothing by a pixel, 0.23 after gamma 2.
LOST_LOOK, LOST_DISTRUST = 0.15, 0.5
#: Correlation in the band of the cones. Conventions, not measurements: half, and a quarter, of the variance.
STRUCTURE_LOOK, STRUCTURE_DISTRUST = 0.7, 0.5
#: Displacement in spacings: the largest of any tile, and the median. A match of cones is lost at half a spacing.
#: Between a poor image and its perfect version the measure itself reaches 0.03.
MOVED_LOOK, MOVED_DISTRUST = 0.15, 0.25

_NO_DIAGNOSIS = "This is advice on where to look: it proves no cone, and it is not for diagnosis."


@dataclass(frozen=True)
class Verdict:
    """Whether a result may be trusted to show the cones of its target.

    Attributes
    ----------
    level : {"unchanged", "trusted", "look", "distrust"}
        "unchanged": every pixel that counts is as it was. "trusted": nothing was found against it. "look": see the reasons
        before you rely on it. "distrust": it shows cones that the target does not, or lacks those that it has.
    text : str
        The verdict in words, with its first reason, and what it cannot say.
    reasons : tuple of str
        What led to the level, the most serious first; empty if nothing was found against the result.
    limits : tuple of str
        What cannot be said, and why; all of them are in `text`.
    """

    level: Level
    text: str
    reasons: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @classmethod
    def from_measures(
        cls, cones: ConeChanges, comparison: Comparison, limits: tuple[str, ...] = (), holes: tuple[int, int] = (0, 0)
    ) -> Verdict:
        """Decide by the measures; the level is that of the most serious reason.

        `limits` are sentences about what cannot be said, `holes` the numbers of pixels that hold a number in the target
        only, and in the result only.
        """
        limits = (*limits, _NO_DIAGNOSIS)
        found = [*_additions(cones), *_losses(cones, comparison)]
        for count, one, other in ((holes[0], "result", "target"), (holes[1], "target", "result")):
            if count:
                lack = f"{count} pixels of the {one} hold no number where the {other} does"
                found.append(("look", f"{lack}: what became of cones there is unknown"))
        found.sort(key=lambda item: -LEVELS.index(item[0]))  # stable: of one level the order above
        level, reasons = found[0][0] if found else "trusted", tuple(reason for _, reason in found)
        if comparison.largest_change == 0 and not any(holes):
            level, reasons = "unchanged", ()
            text = "The result equals the target in every pixel that counts."
        elif not len(cones.before) and not len(cones.new) and not any(holes):
            level, reasons = "look", ("No cones are found in the target, nor in the result",)
            text = f"{reasons[0]}: there is nothing to compare, and nothing to trust."
        elif found:
            text = f"{'Do not trust it' if level == 'distrust' else 'Look before you rely on it'}: {reasons[0]}."
        else:
            kept, before, new = len(cones.kept), len(cones.before), len(cones.new)
            added = f"all {new} new ones are supported by the target" if new else "none is new"
            text = f"Nothing was found against it: {kept} of {before} cones are kept, and {added}."
        return cls(level, " ".join([text, *limits]), reasons, limits)


def _additions(cones: ConeChanges) -> list[tuple[Level, str]]:
    """What was added, the most serious first."""
    found: list[tuple[Level, str]] = []
    total, new, unsupported = len(cones.after) + cones.faint, len(cones.new), len(cones.unsupported)
    if unsupported >= UNSUPPORTED_LOOK:
        together = max(_members(cones, cones.unsupported), default=0)
        many = unsupported >= max(UNSUPPORTED_TOGETHER, UNSUPPORTED_SHARE * total)
        what = "new detection is" if unsupported == 1 else "new detections are"
        text = f"{unsupported} {what} unsupported by the target{_where(cones, cones.unsupported)}"
        found.append(("distrust" if many or together >= UNSUPPORTED_TOGETHER else "look", text))
    doubtful = len(np.setdiff1d(np.arange(new), cones.remapped))
    if total and doubtful >= max(DOUBTED_LOOK, NEW_LOOK * total):
        text = f"{doubtful} of {total} detections of the result are no detections of the target"
        found.append(("distrust" if doubtful >= NEW_DISTRUST * total else "look", text))
    far = np.setdiff1d(cones.far, cones.remapped)
    if len(cones.before) and len(far) >= max(DOUBTED_LOOK, DOUBTED_SHARE * total):
        text = f"{len(far)} new detections lie farther than a spacing from any original one{_where(cones, far)}"
        found.append(("look", text))
    if len(cones.shaded) >= max(DOUBTED_LOOK, DOUBTED_SHARE * total):
        dark = "new detections lie where the target is too dark and poor in contrast to show cones"
        found.append(("look", f"{len(cones.shaded)} {dark}{_where(cones, cones.shaded)}"))
    return found


def _losses(cones: ConeChanges, comparison: Comparison) -> list[tuple[Level, str]]:
    found: list[tuple[Level, str]] = []
    before, lost, spacing = len(cones.before), len(cones.lost), cones.spacing
    if before and lost >= LOST_LOOK * before:
        text = f"{lost} of {before} cones of the target are lost"
        found.append(("distrust" if lost >= LOST_DISTRUST * before else "look", text))
    structure = comparison.structure
    if math.isfinite(structure) and structure < STRUCTURE_LOOK:
        text = f"the structure correlates by {structure:.2f} only with the target's in the band of the cones"
        found.append(("distrust" if structure < STRUCTURE_DISTRUST else "look", text))
    median, largest = comparison.displacement, comparison.largest_displacement
    if math.isfinite(largest) and largest >= MOVED_LOOK * spacing:
        text = f"cones are displaced by up to {largest:.1f} pixels ({median:.1f} in the median)"
        found.append(("distrust" if median >= MOVED_DISTRUST * spacing else "look", text))
    return found


def _members(cones: ConeChanges, which: NDArray[np.intp]) -> list[int]:
    """How many of some new detections lie in each place."""
    points = cones.new[which]
    return [int((np.hypot(*(points - (at.row, at.column)).T) <= at.radius).sum()) for at in cones.places]


def _where(cones: ConeChanges, which: NDArray[np.intp]) -> str:
    """Where most of some new detections lie, if they lie in one of the places."""
    counts = _members(cones, which)
    if not any(counts):
        return ""
    most = max(counts)
    place = cones.places[counts.index(most)]
    at = f"around row {place.row:.0f}, column {place.column:.0f}: look there"
    return f", {at}" if most == len(which) else f", {most} of them {at}"
