"""An assessment in words and records: its table, its JSON-able record, and what it cannot say."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.checks import Floats
from napari_nst.imaging.cones import DEFAULT_CONFIDENCE

if TYPE_CHECKING:
    from napari_nst.metrics.assessment import Assessment, Comparison, MosaicMeasures
    from napari_nst.metrics.changes import ConeChanges

__all__ = ["limits_of", "record_of", "table_of"]

_UNKNOWN = "–"
_WIDTH = 100
#: Pictures whose ranges of values differ by more than this factor are hardly on one scale.
_SCALES = 20.0
#: Side of the square, in pixels, from which on a spectrum can be read (`ring_prominence`).
_SPECTRUM = 32


def limits_of(
    before: MosaicMeasures,
    after: MosaicMeasures,
    comparison: Comparison,
    cones: ConeChanges,
    used: NDArray[np.bool_],
    scale: float | None,
    target: Floats,
    result: Floats,
) -> tuple[str, ...]:
    """Sentences that say what an assessment cannot say, and why."""
    said = []
    if not used.any():
        return ("No pixel is left to look at: the mask leaves out all of them, or none is finite.",)
    if not len(before.cones):
        said.append(
            "No cones are found in the target, so it cannot be said whether those of the result are real."
            if len(after.cones)
            else "No cones are found, so nothing can be said about them."
        )
    if min(*used.shape, math.sqrt(np.count_nonzero(used))) < _SPECTRUM:
        said.append(
            f"The picture is smaller than {_SPECTRUM} × {_SPECTRUM} pixels, too small for its spectrum to be read: the "
            f"spacing of its cones was taken to be {cones.spacing:.3g} pixels."
        )
    elif math.isnan(before.ring_spacing):
        source = "that of the result" if not math.isnan(after.ring_spacing) else "taken to be"
        said.append(
            f"The spectrum of the target shows no ring of cones; the spacing to look with is {source}, "
            f"{cones.spacing:.3g} pixels."
            if source != "taken to be"
            else f"No spectrum shows a ring of cones; the spacing to look with was taken to be {cones.spacing:.3g} pixels."
        )
    if scale is None:
        said.append("Without the scale (micrometres per pixel) no density can be given.")
    if len(before.cones) and comparison.displacement_tiles == 0 and comparison.largest_change > 0:
        said.append("Whether cones were displaced cannot be said: no part of the picture has structure enough in both.")
    spans = [float(np.ptp(picture[used])) for picture in (target, result)]
    if min(spans) > 0 and max(spans) > _SCALES * min(spans):
        said.append(
            f"The values of target and result span {spans[0]:.3g} and {spans[1]:.3g}: they hardly share a scale, so that "
            "SSIM and the changes in grey levels say nothing."
        )
    return tuple(said)


def table_of(assessment: Assessment) -> str:
    """The table, before → after, and the verdict."""
    before, after, style = assessment.before, assessment.after, assessment.style
    lines = [f"{'':28}{'target':>9}   {'result':>9}" + (f"   {'style':>9}" if style else "")]
    for label, read, show in _ROWS:
        cells = [show(read(measures)) for measures in (before, after, *([style] if style else []))]
        if assessment.scale is None and label in _NEED_SCALE:
            continue
        line = f"{label:28}{cells[0]:>9} → {cells[1]:>9}"
        lines.append(line + (f"   {cells[2]:>9}" if style else ""))
    cones, c = assessment.cones, assessment.comparison
    lines += ["", f"{'cones':28}{len(cones.kept)} kept, {len(cones.lost)} lost, {len(cones.new)} new"]
    lines.append(
        f"{'  of the new ones':28}{len(cones.unsupported)} unsupported by the target, {len(cones.shaded)} in its shadows, "
        f"{len(cones.far)} far from any cone"
    )
    for row in assessment.agreement:
        lines.append(
            f"{f'agreement at {row.tolerance:g} spacings':28}Dice {_number(row.dice)} (a lattice that saw nothing: {_number(row.chance_dice)})"
        )
    lines += [
        f"{'structure kept':28}{_number(c.structure)} (correlation in the band of the cones)",
        f"{'SSIM':28}{_number(c.ssim)} (range of values {_number(c.ssim_range, 4)})",
        f"{'displaced':28}{_number(c.displacement, 2)} px, at most {_number(c.largest_displacement, 2)} px",
        f"{'order of grey levels':28}{_number(c.monotonicity)} (rank correlation)",
        f"{'spectrum changed':28}{_decibels(c.spectrum_change)} dB, in the band of the cones {_signed(c.band_change)} dB",
        f"{'pixels changed':28}{_number(c.mean_change)} grey levels on average, at most {_number(c.largest_change)}",
        "",
        *textwrap.wrap(f"{assessment.verdict.level.upper()}. {assessment.verdict.text}", _WIDTH),
    ]
    lines += [
        line
        for reason in assessment.verdict.reasons[1:]
        for line in textwrap.wrap(reason, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    ]
    for number, place in enumerate(cones.places, start=1):
        lines.append(
            f"place {number}: row {place.row:.0f}, column {place.column:.0f}, radius {place.radius:.0f} px, "
            f"{place.count} detection{'s' if place.count != 1 else ''}"
        )
    return "\n".join(lines)


def record_of(assessment: Assessment) -> dict[str, Any]:
    """Numbers only, None for what is not finite."""
    cones, verdict = assessment.cones, assessment.verdict
    flags = {name: {int(i) for i in getattr(cones, name)} for name in ("unsupported", "shaded", "remapped", "far")}
    record = {
        "verdict": {"level": verdict.level, "text": verdict.text, "reasons": verdict.reasons, "limits": verdict.limits},
        "before": _mosaic(assessment.before),
        "after": _mosaic(assessment.after),
        "style": None if assessment.style is None else _mosaic(assessment.style),
        "comparison": asdict(assessment.comparison),
        "cones": {
            "kept": len(cones.kept),
            "lost": len(cones.lost),
            "new": len(cones.new),
            "unsupported": len(cones.unsupported),
            "shaded": len(cones.shaded),
            "far": len(cones.far),
            "faint": cones.faint,
            "spacing": cones.spacing,
            "confidence": DEFAULT_CONFIDENCE,
            "places": [asdict(place) for place in cones.places],
            "lost_at": cones.lost.round(2).tolist(),
            "new_at": [
                {"position": position, **{name: i in members for name, members in flags.items()}}
                for i, position in enumerate(cones.new.round(2).tolist())
            ],
        },
        "agreement": [asdict(row) for row in assessment.agreement],
        "um_per_px": assessment.scale,
        "shape": list(assessment.target.shape),
        "dtypes": {"target": str(assessment.target.dtype), "result": str(assessment.result.dtype)},
        "pixels": assessment.pixels,
    }
    plain: dict[str, Any] = _plain(record)
    return plain


def _mosaic(measures: MosaicMeasures) -> dict[str, Any]:
    values = {name: value for name, value in vars(measures).items() if name != "cones"}
    return {"cones": len(measures.cones), **values}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _number(value: float, digits: int = 3) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value:.{digits}g}" if math.isfinite(value) else _UNKNOWN


def _decibels(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else _UNKNOWN


def _signed(value: float) -> str:
    return f"{value:+.1f}" if math.isfinite(value) else _UNKNOWN


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else _UNKNOWN


_NEED_SCALE = ("cones per mm²", "spacing, µm")
_ROWS: tuple[tuple[str, Callable[[Any], float], Callable[[float], str]], ...] = (
    ("cones found", lambda m: len(m.cones), _whole),
    ("cones per mm²", lambda m: m.density, _whole),
    ("spacing, px", lambda m: m.spacing, _number),
    ("spacing, µm", lambda m: m.spacing_um, _number),
    ("regularity", lambda m: m.regularity, _number),
    ("six-sided cells, %", lambda m: 100 * m.six_sided, _whole),
    ("ring of the cones, dB", lambda m: m.ring_db, _decibels),
    ("its spacing, px", lambda m: m.ring_spacing, _number),
    ("AIQ, dB", lambda m: m.aiq_db, _decibels),
    ("signal to noise, dB", lambda m: m.snr_db, _decibels),
)
