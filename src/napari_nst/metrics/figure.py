"""The figure of an assessment. Explicit figures, never pyplot."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.checks import Floats, image_and_mask
from napari_nst.imaging.values import MINIMUM_SIDE
from napari_nst.metrics.spectra import radial_power_spectrum
from napari_nst.palette import KEPT, LEVELS, LOST, NEW, RESULT, STYLE, TARGET, UNSUPPORTED, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_nst.metrics.assessment import Assessment

__all__ = ["assessment_figure"]

#: Per cent of the pixels that may lie beyond the ends of a grey scale, so that one bright cone leaves the others visible.
_OUTLIERS = 0.5
_WIDTH, _HEIGHT, _CHARACTERS = 14.0, 10.6, 165
#: Area of a sign, in square points, where a cone takes one inch of the figure.
_LARGEST, _SMALLEST = 60.0, 4.0


def assessment_figure(assessment: Assessment) -> Figure:
    """Draw an assessment.

    Parameters
    ----------
    assessment : Assessment

    Returns
    -------
    matplotlib Figure
        Target, result and result with its cones; change with symmetric limits, suspicion, and radial spectra;
        above them the verdict with its reasons.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.5, 9.1])  # an array, whatever its stub says
    words, pictures = parts
    _write(words, assessment)
    axes = pictures.subplots(2, 3)
    target, result = (image_and_mask(picture, assessment.used)[0] for picture in (assessment.target, assessment.result))
    _picture(axes[0, 0], target, assessment.used, f"Target: {len(assessment.before.cones)} cones found")
    _picture(axes[0, 1], result, assessment.used, f"Result: {len(assessment.after.cones)} cones found")
    _picture(axes[0, 2], result, assessment.used, "Result: kept, lost and new")
    _cones(axes[0, 2], assessment)
    for axis in (axes[0, 0], axes[0, 1]):
        _places(axis, assessment)
    _change(pictures, axes[1, 0], assessment)
    _suspicion(pictures, axes[1, 1], assessment)
    _spectra(axes[1, 2], assessment)
    for axis in (*axes[0], *axes[1, :2]):
        axis.set(xticks=[], yticks=[])
        axis.set_xlim(-0.5, target.shape[1] - 0.5)
        axis.set_ylim(target.shape[0] - 0.5, -0.5)
    return figure


def _write(figure: Any, assessment: Assessment) -> None:
    verdict = assessment.verdict
    lines = textwrap.wrap(verdict.text, _CHARACTERS)
    # The text has the first reason already.
    for reason in verdict.reasons[1:]:
        lines += textwrap.wrap(reason, _CHARACTERS, initial_indent="– ", subsequent_indent="   ")
    if len(lines) > 6:
        lines = [*lines[:5], f"… {lines[5]}"[:_CHARACTERS] + " …"]
        figure.text(
            0.012,
            0.93,
            verdict.level.capitalize(),
            color=LEVELS[verdict.level][0],
            fontsize=17,
            fontweight="bold",
            va="top",
        )
    figure.text(0.012, 0.70, "\n".join(lines), fontsize=10.5, va="top", linespacing=1.35, parse_math=False)


def _picture(axes: Axes, picture: Floats, used: NDArray[np.bool_], title: str) -> None:
    values = picture[used]
    low, high = np.percentile(values, [_OUTLIERS, 100 - _OUTLIERS]) if len(values) else (0.0, 1.0)
    shown = np.where(used, picture, np.nan)
    axes.set_facecolor("#DDDDDD")
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high if high > low else low + 1, interpolation="nearest")
    axes.set_title(title, fontsize=11)


def _cones(axes: Axes, assessment: Assessment) -> None:
    cones = assessment.cones
    # So that signs of neighbours do not touch: half a spacing wide, on axes of about 4 inches.
    side = 0.5 * cones.spacing * 4 * 72 / max(assessment.target.shape)
    area = float(np.clip(side**2, _SMALLEST, _LARGEST))
    unsupported = np.zeros(len(cones.new), dtype=bool)
    unsupported[cones.unsupported] = True
    drawn: tuple[tuple[Floats, Mark, str, float], ...] = (
        (cones.kept, KEPT, "kept", 0.7),
        (cones.lost, LOST, "lost", 1.1),
        (cones.new[~unsupported], NEW, "new", 1.1),
        (cones.new[unsupported], UNSUPPORTED, "new, unsupported by the target", 2.2),
    )
    for points, mark, label, width in drawn:
        bold = 1.7 if mark == UNSUPPORTED else 1.0
        axes.scatter(
            points[:, 1], points[:, 0], s=area * bold, marker=mark.marker, facecolors="none", edgecolors=mark.color,
            linewidths=width, label=f"{len(points)} {label}",
        )  # fmt: skip
    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, fontsize=8.5, handletextpad=0.3, columnspacing=1.1,
        facecolor="#444444", labelcolor="white", framealpha=1,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40.0])


def _places(axes: Axes, assessment: Assessment) -> None:
    from matplotlib.patches import Circle

    for number, place in enumerate(assessment.cones.places, start=1):
        at = (place.column, place.row)
        axes.add_patch(Circle(at, place.radius, fill=False, edgecolor=UNSUPPORTED.color, linewidth=1.3, linestyle="--"))
        height, width = assessment.target.shape
        row, column = (float(np.clip(v, 0.03 * n, 0.97 * n)) for v, n in ((place.row, height), (place.column, width)))
        axes.text(
            column, row, str(number), color="white", fontsize=9, fontweight="bold", ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": UNSUPPORTED.color, "edgecolor": "none"},
        )  # fmt: skip


def _change(figure: Any, axes: Axes, assessment: Assessment) -> None:
    change = assessment.cones.change
    values = np.abs(change[np.isfinite(change)])
    limit = float(np.percentile(values, 100 - _OUTLIERS)) if len(values) else 0.0
    limit = limit or (float(values.max()) if len(values) else 0.0) or 1.0
    shown = axes.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title("Change: result less target", fontsize=11)
    figure.colorbar(shown, ax=axes, label="grey levels", shrink=0.85, extend="both")


def _suspicion(figure: Any, axes: Axes, assessment: Assessment) -> None:
    _picture(
        axes,
        image_and_mask(assessment.target, assessment.used)[0],
        assessment.used,
        "Suspicion: drawn, and not expected from the target",
    )
    suspicion = assessment.cones.suspicion
    shown = axes.imshow(
        np.ma.masked_equal(suspicion, 0), cmap="autumn_r", vmin=0, vmax=1, interpolation="nearest", alpha=0.9
    )
    figure.colorbar(shown, ax=axes, label="height, 1: a typical cone of the result", shrink=0.85)


def _spectra(axes: Axes, assessment: Assessment) -> None:
    sets = [
        ("target", assessment.target, assessment.used, TARGET, "-"),
        ("result", assessment.result, assessment.used, RESULT, "-"),
    ]
    if assessment.style_image is not None and assessment.style_used is not None:
        sets.append(("style", assessment.style_image, assessment.style_used, STYLE, "--"))
    for label, image, used, colour, line in sets:
        if min(image.shape) < MINIMUM_SIDE or not used.any():
            continue
        frequencies, power = radial_power_spectrum(image_and_mask(image, used)[0], mask=used)
        positive = power > 0
        decibels = 10 * np.log10(power[positive])
        axes.plot(frequencies[positive], decibels, color=colour, linestyle=line, linewidth=1.6, label=label)
    if axes.lines:
        spacing = assessment.cones.spacing
        axes.axvline(1 / spacing, color="black", linewidth=0.8, linestyle=":", label=f"1 / {spacing:.3g} px")
        axes.legend(fontsize=9)
        axes.set_xlim(0, 0.5)
    else:
        axes.text(0.5, 0.5, "too small for a spectrum", ha="center", va="center", transform=axes.transAxes)
    axes.set_title("Radial power spectra", fontsize=11)
    axes.set_xlabel("spatial frequency, cycles/pixel")
    axes.set_ylabel("power, dB")
    axes.grid(visible=True, alpha=0.3)
