"""What an enhancement did to a patch: cones kept, lost and new, and the measures before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.metrics.cones import Cones, detect_cones
from napari_nst.metrics.matching import Matching, match_cones
from napari_nst.metrics.mosaic import cone_density
from napari_nst.metrics.similarity import structure_correlation
from napari_nst.session.quality import PatchMeasures, measure_patch

__all__ = ["Effects", "caption", "compare_cones", "effect_row"]

#: Detections of target and result that lie at most this far apart, in cone spacings, are one cone: the strict
#: tolerance, because at the published 0.75 a lattice that never looked at the picture scores .88.
STRICT = 0.35
#: Pixels; where the target shows no ring.
FALLBACK_SPACING = 8.0


@dataclass(frozen=True, eq=False)
class Effects:
    """The cones of target and result, and which of them are the same."""

    before: Cones
    after: Cones
    matching: Matching


def compare_cones(target: NDArray[Any], result: NDArray[Any], mask: NDArray[np.bool_], spacing: float) -> Effects:
    """Find the cones of target and result, and match them.

    Parameters
    ----------
    target, result : array, (H, W)
    mask : array of bool, (H, W)
        True where they are picture.
    spacing : float
        Cone spacing of the target in pixels; NaN if unknown.
    """
    before = detect_cones(target, mask=mask)
    after = before if result is target else detect_cones(result, mask=mask)
    matching = match_cones(after.points, before.points, tolerance_px=STRICT * known_spacing(spacing))
    return Effects(before, after, matching)


def known_spacing(spacing: float) -> float:
    """The spacing, or what is assumed where none is known; pixels."""
    return spacing if math.isfinite(spacing) else FALLBACK_SPACING


def effect_row(
    target: NDArray[Any],
    result: NDArray[Any],
    mask: NDArray[np.bool_],
    effects: Effects,
    before: PatchMeasures,
    um_per_px: float | None,
) -> dict[str, Any]:
    """The columns of the session's table that say what happened to a patch.

    Returns
    -------
    dict
        Measures after (ring in dB, spacing in pixels, cones, AIQ in dB), densities before and after (cones/mm², NaN
        without a scale), ``structure`` (correlation in the band of the cones), ``kept``, ``lost`` and ``new`` cones, and
        the mean and the largest absolute change in grey levels.
    """
    unchanged = result is target
    after = before if unchanged else measure_patch(result, mask)
    area = int(mask.sum())
    change = np.abs(result[mask].astype(np.float64) - target[mask].astype(np.float64))
    densities = [
        cone_density(cones.points, area, um_per_px) if um_per_px else math.nan
        for cones in (effects.before, effects.after)
    ]
    structure = 1.0
    if not unchanged:
        structure = structure_correlation(target, result, spacing=known_spacing(before.spacing), mask=mask)
    return {
        "ring_after": after.ring,
        "spacing_after": after.spacing,
        "cones_after": after.cones,
        "aiq_after": after.aiq,
        "density_before": densities[0],
        "density_after": densities[1],
        "structure": structure,
        "kept": len(effects.matching.pairs),
        "lost": len(effects.matching.lost),
        "new": len(effects.matching.new),
        "mean_change": float(change.mean()) if area else 0.0,
        "largest_change": float(change.max()) if area else 0.0,
    }


def caption(row: Mapping[str, Any], measures: Mapping[str, float]) -> str:
    """What the measures say of an enhanced patch, in one line."""
    return (
        f"ring {measures['ring']:.1f} → {row['ring_after']:.1f} dB, cones {measures['cones']:.0f} → {row['cones_after']:.0f} "
        f"({row['kept']} kept, {row['lost']} lost, {row['new']} new), structure {row['structure']:.3f}"
    )
