"""What an enhancement did to a patch: the columns of the session's table that say it, and what a figure shows of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.cones import DEFAULT_SPACING, Cones, detect_cones
from napari_nst.imaging.masks import fill_from_nearest
from napari_nst.metrics.assessment import assess
from napari_nst.metrics.changes import ConeChanges, cone_changes
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.mosaic import cone_density, voronoi_regularity
from napari_nst.metrics.quality import aiq
from napari_nst.session.quality import PatchMeasures

if TYPE_CHECKING:
    import pandas as pd

    from napari_nst.metrics.assessment import Assessment
    from napari_nst.metrics.verdict import Verdict

__all__ = [
    "EFFECTS",
    "Effects",
    "assess_patch",
    "caption",
    "compare_cones",
    "effect_row",
    "known_spacing",
    "verdict_lines",
]

#: The columns that `effect_row` gives, in the order of the table.
EFFECTS = (
    "ring_after",
    "spacing_after",
    "cones_after",
    "aiq_after",
    "density_before",
    "density_after",
    "regularity_before",
    "regularity_after",
    "six_sided_before",
    "six_sided_after",
    "structure",
    "ssim",
    "monotonicity",
    "displacement",
    "largest_displacement",
    "spectrum_change",
    "kept",
    "lost",
    "new",
    "new_far",
    "shaded",
    "unsupported",
    "mean_change",
    "largest_change",
    "verdict",
    "verdict_text",
)

_VERDICTS = {"unchanged": "unchanged", "trusted": "trusted", "look": "to be looked at", "distrust": "not to be trusted"}


@dataclass(frozen=True, eq=False)
class Effects:
    """The cones of target and result, and which of them are the same.

    Attributes
    ----------
    before, after : Cones
        Of target and result.
    matching : Matching
        The result's as found, the target's as reference.
    unsupported : array of float64, (n, 2)
        Row and column of what was drawn in the result where nothing in the target speaks for it, whether the detector is
        sure of it or not.
    far, shaded : int
        How many of the new ones are farther than one spacing from every cone of the target, and lie where the target is
        too dark to show cones.
    assessment : Assessment or None
        Everything that was measured; None where nothing was changed, or the cones alone were wanted.
    """

    before: Cones
    after: Cones
    matching: Matching
    unsupported: NDArray[np.float64]
    far: int = 0
    shaded: int = 0
    assessment: Assessment | None = None


def compare_cones(target: NDArray[Any], result: NDArray[Any], mask: NDArray[np.bool_], spacing: float) -> Effects:
    """Find the cones of target and result, and match them, as `assess_patch` does.

    Parameters
    ----------
    target, result : array, (H, W)
    mask : array of bool, (H, W)
        True where they are picture.
    spacing : float
        Cone spacing of the target in pixels; NaN if unknown.
    """
    if result is target:
        cones = detect_cones(target, mask=mask)
        return Effects(cones, cones, match_cones(cones.points, cones.points, tolerance_px=0), np.empty((0, 2)))
    return _effects(cone_changes(target, result, mask=mask, spacing=spacing if math.isfinite(spacing) else None))


def assess_patch(
    target: NDArray[Any],
    result: NDArray[Any],
    mask: NDArray[np.bool_],
    spacing: float,
    value_range: tuple[float, float],
    um_per_px: float | None,
) -> Effects:
    """Measure all that was done to a patch; of one that was not changed, its cones only.

    Parameters
    ----------
    target, result : array, (H, W)
        The very same array where nothing was changed.
    mask : array of bool, (H, W)
        True where they are picture.
    spacing : float
        Cone spacing of the target in pixels; NaN if unknown.
    value_range : (float, float)
        Grey levels that count as black and white.
    um_per_px : float or None
    """
    if result is target:
        return compare_cones(target, result, mask, spacing)
    found = assess(target, result, scale=um_per_px, mask=mask, value_range=value_range)
    return _effects(found.cones, found)


def _effects(changes: ConeChanges, assessment: Assessment | None = None) -> Effects:
    sure = len(changes.matching.new)  # the others, listed behind them, are unsupported ones that the detector doubts
    return Effects(
        before=changes.before,
        after=changes.after,
        matching=changes.matching,
        unsupported=changes.new[changes.unsupported],
        far=int(np.count_nonzero(changes.far < sure)),
        shaded=int(np.count_nonzero(changes.shaded < sure)),
        assessment=assessment,
    )


def known_spacing(spacing: float) -> float:
    """The spacing, or what is assumed where none is known; pixels."""
    return spacing if math.isfinite(spacing) else DEFAULT_SPACING


def effect_row(
    target: NDArray[Any],
    result: NDArray[Any],
    mask: NDArray[np.bool_],
    effects: Effects,
    before: PatchMeasures,
    um_per_px: float | None,
) -> dict[str, Any]:
    """The columns of the session's table that say what happened to a patch, `EFFECTS`.

    Parameters
    ----------
    target, result, mask
        As for `assess_patch`, which gave `effects`.
    effects : Effects
    before : PatchMeasures
        Of the target.
    um_per_px : float or None

    Returns
    -------
    dict
        docs/sessions.md has the meaning and unit of each; NaN where something cannot be measured.
    """
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
        density = cone_density(effects.before.points, area, um_per_px) if um_per_px and area else math.nan
        mosaic = {"density": density, "regularity": cells.regularity, "six_sided": cells.six_sided}
        return {
            **{f"{name}_after": value for name, value in before._asdict().items() if name != "valid_fraction"},
            **{f"{name}_{when}": value for name, value in mosaic.items() for when in ("before", "after")},
            **dict.fromkeys(("structure", "ssim", "monotonicity"), 1.0),
            **dict.fromkeys(("displacement", "largest_displacement", "spectrum_change"), 0.0),
            **cones,
            **dict.fromkeys(("mean_change", "largest_change"), 0.0),
            "verdict": "unchanged",
            "verdict_text": "Nothing was changed.",
        }
    compared = found.comparison
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
        "structure": compared.structure,
        "ssim": compared.ssim,
        "monotonicity": compared.monotonicity,
        "displacement": compared.displacement,
        "largest_displacement": compared.largest_displacement,
        "spectrum_change": compared.spectrum_change,
        **cones,
        "mean_change": compared.mean_change,
        "largest_change": compared.largest_change,
        "verdict": found.verdict.level,
        "verdict_text": _words(found.verdict),
    }


def _words(verdict: Verdict) -> str:
    """Every reason, then what cannot be said of this patch; that no patch is for diagnosis is said once, elsewhere."""
    told = verdict.text.removesuffix(" ".join(("", *verdict.limits)))
    others = [f"{reason[0].upper()}{reason[1:]}." for reason in verdict.reasons[1:]]
    return " ".join((told, *others, *verdict.limits[:-1]))


def caption(row: Mapping[str, Any], measures: Mapping[str, float]) -> str:
    """What the measures say of an enhanced patch, in one line, and the verdict in another.

    Parameters
    ----------
    row : mapping
        The columns of the table; those of this version may be missing in a session that an earlier one made.
    measures : mapping
        Of the patch before.
    """
    told = (
        f"ring {measures['ring']:.1f} → {row['ring_after']:.1f} dB, cones {measures['cones']:.0f} → {row['cones_after']:.0f} "
        f"({row['kept']} kept, {row['lost']} lost, {row['new']} new), structure {row['structure']:.3f}"
    )
    if "verdict" not in row:
        return told
    return (
        f"{told}, SSIM {row['ssim']:.3f}, displaced by {row['displacement']:.2f} px, spectrum changed by "
        f"{row['spectrum_change']:.1f} dB\n{row['verdict_text']}"
    )


def verdict_lines(enhanced: pd.DataFrame) -> list[str]:
    """How many enhanced patches have which verdict, and where to look first; nothing for sessions of earlier versions."""
    counts = enhanced["verdict"].value_counts()
    told = [f"{counts[level]} {words}" for level, words in _VERDICTS.items() if counts.get(level)]
    if not told:
        return []
    lines = [f"Verdicts: {', '.join(told)}."]
    for level in ("distrust", "look"):
        worst = enhanced[enhanced["verdict"] == level]
        if len(worst):
            # An unsupported one weighs as much as four that are doubtful, as in the places of an assessment.
            doubt = 4 * worst["unsupported"] + worst["shaded"] + worst["new_far"]
            row = worst.loc[doubt.idxmax()]
            return [*lines, f"Gravest: {row['patch']}. {row['verdict_text']}"]
    return lines
