"""What the numbers of an assessment are called, how they are written, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_nst.metrics.assessment import Assessment

__all__ = ["HEADINGS", "LEVELS", "UNKNOWN", "Row", "comparison_rows", "measure_rows", "place_texts", "written"]

#: Level of a verdict: its sign, its word, and a colour after Okabe and Ito.
LEVELS = {
    "unchanged": ("=", "Unchanged", "#999999"),
    "trusted": ("✓", "Trusted", "#009E73"),
    "look": ("?", "Look", "#E69F00"),
    "distrust": ("✗", "Distrust", "#D55E00"),
}
HEADINGS = ("Measure", "Target", "Result", "Style")
#: What is written where nothing can be said.
UNKNOWN = "–"


@dataclass(frozen=True)
class Row:
    """A row of a table: what it is called, its values as text, and what it means."""

    label: str
    values: tuple[str, ...]
    meaning: str


def written(value: Any, digits: int = 3) -> str:
    """A number for people: whole ones as they are, others with so many digits, "–" where there is none."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    number = float(value)
    if number == int(number) and abs(number) < 1e6 and not isinstance(value, float):
        return str(int(number))
    if abs(number) >= 10 ** (digits - 1):
        return f"{number:.0f}"
    return f"{number:.{digits}g}"


@dataclass(frozen=True)
class _Measure:
    label: str
    read: Callable[[Any], Any]
    meaning: str
    show: Callable[[Any], str] = written


def _decibels(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else UNKNOWN


def _signed(value: float) -> str:
    return f"{value:+.1f}" if math.isfinite(value) else UNKNOWN


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else UNKNOWN


def _thousands(value: float) -> str:
    # Three digits are all that a count of a few hundred cones supports.
    if not math.isfinite(value):
        return UNKNOWN
    digits = max(0, math.floor(math.log10(abs(value))) - 2) if value else 0
    return f"{round(value, -digits):,.0f}".replace(",", "\u2009")


_MEASURES = (
    _Measure(
        "Cones found",
        lambda m: len(m.cones),
        "Detections of napari-nst's detector, which was checked against hand marks.",
    ),
    _Measure(
        "Cones/mm²",
        lambda m: m.density,
        "Cones found over the area that was looked at. Unknown without a scale.",
        _thousands,
    ),
    _Measure("Spacing, px", lambda m: m.spacing, "Distance of neighbouring cones: the median over the cones found."),
    _Measure("Spacing, µm", lambda m: m.spacing_um, "The same in micrometres. Unknown without a scale."),
    _Measure(
        "Regularity",
        lambda m: m.regularity,
        "Mean area of the cones' Voronoi cells over its standard deviation: the higher, the more even the mosaic.",
    ),
    _Measure(
        "Six-sided",
        lambda m: m.six_sided,
        "Share of the Voronoi cells with six neighbours: about half in a natural mosaic, all of them in a honeycomb.",
        _percent,
    ),
    _Measure(
        "Cone ring, dB",
        lambda m: m.ring_db,
        "How far the ring of the cones (Yellott's ring) stands out of the spectrum of the picture. Unknown where there is none.",
        _decibels,
    ),
    _Measure(
        "its spacing, px",
        lambda m: m.ring_spacing,
        "The spacing of the cones that the ring shows, without detections.",
    ),
    _Measure(
        "AIQ, dB",
        lambda m: m.aiq_db,
        "Automated image quality index: signal against noise, from the spectrum.",
        _decibels,
    ),
    _Measure(
        "SNR, dB",
        lambda m: m.snr_db,
        "Signal-to-noise ratio: power in the band of the cones over that of the noise there.",
        _decibels,
    ),
)


def measure_rows(assessment: Assessment) -> list[Row]:
    """The measures of target, result and style (if there is one)."""
    pictures = [assessment.before, assessment.after, *([assessment.style] if assessment.style is not None else [])]
    return [
        Row(measure.label, tuple(measure.show(measure.read(picture)) for picture in pictures), measure.meaning)
        for measure in _MEASURES
    ]


def comparison_rows(assessment: Assessment) -> list[Row]:
    """What became of the target's cones, and how much the picture was changed."""
    cones, c = assessment.cones, assessment.comparison
    rows = [
        Row("Cones kept", (str(len(cones.kept)),), "Detections of the result that are cones of the target."),
        Row("Cones lost", (str(len(cones.lost)),), "Cones of the target that are not found in the result."),
        Row("New detections", (str(len(cones.new)),), "Detections of the result that are no cones of the target."),
        Row(
            "… without support",
            (str(len(cones.unsupported)),),
            "New detections that nothing in the target speaks for: no gain and no filter of it explains them.",
        ),
        Row(
            "… in shadows",
            (str(len(cones.shaded)),),
            "New detections where the target is so dark and poor in contrast that no cone of it can be told.",
        ),
        Row(
            "… far from any cone",
            (str(len(cones.far)),),
            "New detections that lie farther than one spacing from every cone of the target.",
        ),
    ]
    for agreed in assessment.agreement:
        rows.append(
            Row(
                f"Agreement within {agreed.tolerance:g} spacings",
                (f"{written(agreed.dice)} (chance {written(agreed.chance_dice)})",),
                "Dice coefficient of the detections of target and result. In brackets, what a lattice of as many points "
                "scores that never saw the picture: only what is above it counts.",
            )
        )
    ssim = f" (range {written(c.ssim_range)})"
    return [
        *rows,
        Row("Structure kept", (written(c.structure),), "Correlation of target and result in the band of the cones: 1 is all."),
        Row("SSIM" + ssim, (written(c.ssim),), "Structural similarity (Wang 2004) of target and result, with this range of values."),
        Row(
            "Moved, px",
            (f"{written(c.displacement)} (most {written(c.largest_displacement)})",),
            "How far the structure was moved: the median and the largest over tiles of the picture that have structure enough.",
        ),
        Row("Order of grey levels", (written(c.monotonicity),), "Spearman's rank correlation of the pixels: 1 if no order was changed."),
        Row("Change of the spectrum, dB", (_decibels(c.spectrum_change),), "Root mean square of the change of the radial power spectrum."),
        Row("… in the band of the cones", (_signed(c.band_change),), "Mean change of the spectrum in the band of the cones."),
        Row(
            "Change, grey levels",
            (f"{written(c.mean_change)} (most {written(c.largest_change)})",),
            "Mean and largest absolute change of a pixel.",
        ),
    ]  # fmt: skip


def place_texts(assessment: Assessment) -> list[str]:
    """The places to look at, the worst first."""
    return [
        f"{place.count} new detection{'s' if place.count != 1 else ''} around row {place.row:.0f}, column {place.column:.0f}"
        for place in assessment.cones.places
    ]
