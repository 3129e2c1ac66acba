"""What an enhancement did to a patch: the columns of the session's table that say it, and what a figure shows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.cones import Cones, detect_cones
from napari_nst.imaging.masks import fill_from_nearest
from napari_nst.metrics.assessment import assess
from napari_nst.metrics.changes import ConeChanges, cone_changes
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.mosaic import cone_density, voronoi_regularity
from napari_nst.metrics.quality import aiq
from napari_nst.session.quality import PatchMeasures
from napari_nst.session.store import PatchRow

if TYPE_CHECKING:
    import pandas as pd

    from napari_nst.metrics.assessment import Assessment
    from napari_nst.metrics.verdict import Verdict

#: The columns that compare a patch with its original, and what they are where both are the same.
_UNCHANGED = dict.fromkeys(("structure", "ssim", "monotonicity"), 1.0) | dict.fromkeys(
    ("displacement", "largest_displacement", "spectrum_change", "mean_change", "largest_change"), 0.0
)
_VERDICTS = {"unchanged": "unchanged", "trusted": "trusted", "look": "to be looked at", "distrust": "not to be trusted"}


@dataclass(frozen=True, eq=False)
class Effects:
    """The cones of target and result, and which of them are the same."""

    before: Cones
    after: Cones
    matching: Matching  # the result's as found, the target's as reference
    unsupported: NDArray[np.float64]  # (n, 2): drawn in the result without support by the target, sure ones or not
    far: int = 0  # new ones farther than one spacing from every cone of the target
    shaded: int = 0  # new ones where the target is too dark to show cones
    assessment: Assessment | None = None  # None where nothing was changed, or the cones alone were wanted

    @classmethod
    def of(cls, changes: ConeChanges, assessment: Assessment | None = None) -> Effects:
        """Take from changes what the detector is sure of, and all that is unsupported."""
        sure = len(changes.matching.new)  # behind them are unsupported ones that the detector doubts
        return cls(
            before=changes.before,
            after=changes.after,
            matching=changes.matching,
            unsupported=changes.new[changes.unsupported],
            far=int(np.count_nonzero(changes.far < sure)),
            shaded=int(np.count_nonzero(changes.shaded < sure)),
            assessment=assessment,
        )


def compare_cones(target: NDArray[Any], result: NDArray[Any], mask: NDArray[np.bool_], spacing: float) -> Effects:
    """Find the cones of target and result, (H, W), and match them; `spacing` is the target's in pixels, or NaN."""
    if result is target:
        cones = detect_cones(target, mask=mask)
        return Effects(cones, cones, match_cones(cones.points, cones.points, tolerance_px=0), np.empty((0, 2)))
    return Effects.of(cone_changes(target, result, mask=mask, spacing=spacing if math.isfinite(spacing) else None))


def assess_patch(
    target: NDArray[Any],
    result: NDArray[Any],
    mask: NDArray[np.bool_],
    spacing: float,
    value_range: tuple[float, float],
    pixel_size: float | None,
) -> Effects:
    """Measure all that was done to a patch; where `result` is the very array `target`, its cones only."""
    if result is target:
        return compare_cones(target, result, mask, spacing)
    found = assess(target, result, pixel_size=pixel_size, mask=mask, value_range=value_range)
    return Effects.of(found.cones, found)


def effect_row(
    target: NDArray[Any],
    result: NDArray[Any],
    mask: NDArray[np.bool_],
    effects: Effects,
    before: PatchMeasures,
    pixel_size: float | None,
) -> dict[str, Any]:
    """Return the columns of a `PatchRow` that say what happened to a patch; `effects` are those of `assess_patch`."""
    found, matching = effects.assessment, effects.matching
    cones = {
        "kept": len(matching.pairs),
        "lost": len(matching.lost),
        "new": len(matching.new),
        "new_far": effects.far,
        "shaded": effects.shaded,
        "unsupported": len(effects.unsupported),
    }
    if found is None:
        cells = voronoi_regularity(effects.before.points, target.shape, mask=mask)
        area = int(mask.sum())
        density = cone_density(effects.before.points, area, pixel_size) if pixel_size and area else math.nan
        mosaic = {"density": density, "regularity": cells.regularity, "six_sided": cells.six_sided}
        return {
            **{f"{name}_after": value for name, value in before._asdict().items() if name != "valid_fraction"},
            **{f"{name}_{when}": value for name, value in mosaic.items() for when in ("before", "after")},
            **_UNCHANGED,
            **cones,
            "verdict": "unchanged",
            "verdict_text": "Nothing was changed.",
        }
    return {
        "ring_after": found.after.ring_db,
        "spacing_after": found.after.ring_spacing,
        "cones_after": float(len(effects.after)),
        # As it was measured before: the border filled, because the measure knows no mask.
        "aiq_after": found.after.aiq_db if mask.all() else aiq(fill_from_nearest(result, mask)),
        **{
            f"{name}_{when}": getattr(measures, name)
            for name in ("density", "regularity", "six_sided")
            for when, measures in (("before", found.before), ("after", found.after))
        },
        **{name: getattr(found.comparison, name) for name in _UNCHANGED},
        **cones,
        "verdict": found.verdict.level,
        "verdict_text": _text_of(found.verdict),
    }


def _text_of(verdict: Verdict) -> str:
    """Return every reason, then the limits of this patch; that no patch is for diagnosis is said once, elsewhere."""
    first = verdict.text.removesuffix(" ".join(("", *verdict.limits)))
    others = [f"{reason[0].upper()}{reason[1:]}." for reason in verdict.reasons[1:]]
    return " ".join((first, *others, *verdict.limits[:-1]))


def caption(row: PatchRow, before: PatchMeasures) -> str:
    """Return the measures of an enhanced patch in one line, and the verdict, unless an earlier version made none."""
    measures = (
        f"ring {before.ring:.1f} → {row.ring_after:.1f} dB, cones {before.cones:.0f} → {row.cones_after:.0f} "
        f"({row.kept} kept, {row.lost} lost, {row.new} new), structure {row.structure:.3f}"
    )
    if not row.verdict:
        return measures
    return (
        f"{measures}, SSIM {row.ssim:.3f}, displaced by {row.displacement:.2f} px, spectrum changed by "
        f"{row.spectrum_change:.1f} dB\n{row.verdict_text}"
    )


def verdict_lines(enhanced: pd.DataFrame) -> list[str]:
    """Count the verdicts of enhanced patches and name the worst one; nothing for sessions of earlier versions."""
    counts = enhanced["verdict"].value_counts()
    counted = [f"{counts[level]} {text}" for level, text in _VERDICTS.items() if counts.get(level)]
    if not counted:
        return []
    lines = [f"Verdicts: {', '.join(counted)}."]
    for level in ("distrust", "look"):
        worst = enhanced[enhanced["verdict"] == level]
        if len(worst):
            # An unsupported one weighs as much as four that are doubtful, as in the places of an assessment.
            doubt = 4 * worst["unsupported"] + worst["shaded"] + worst["new_far"]
            row = worst.loc[doubt.idxmax()]
            return [*lines, f"Worst patch: {row['patch']}. {row['verdict_text']}"]
    return lines
