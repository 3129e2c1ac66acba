"""The figure of an assessment. Explicit figures, never pyplot."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.checks import Floats, image_and_mask
from napari_nst.imaging.spectrum import radial_power_spectrum
from napari_nst.imaging.values import MINIMUM_SIDE
from napari_nst.metrics._bands import Mask
from napari_nst.metrics.changes import ConeChanges
from napari_nst.metrics.verdict import Verdict
from napari_nst.palette import KEPT, LEVELS, LOST, NEW, RESULT, STYLE, TARGET, UNSUPPORTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Per cent of the pixels that may lie beyond the ends of a gray scale, so that one bright cone leaves the others visible.
_OUTLIERS = 0.5
_WIDTH, _HEIGHT, _CHARACTERS, _LINES = 14.0, 10.6, 165, 6
#: Area of a marker, in square points, where a cone takes one inch of the figure.
_LARGEST, _SMALLEST = 60.0, 4.0

#: An image as it was given.
Image = NDArray[Any]


def assessment_figure(
    target: Image,
    result: Image,
    used: Mask,
    cones: ConeChanges,
    verdict: Verdict,
    style: Image | None,
    style_used: Mask | None,
) -> Figure:
    """Draw target, result and result with its cones; change, suspicion and radial spectra; above them the verdict."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.5, 9.1])  # an array, whatever its stub says
    _write(parts[0], verdict)
    axes = parts[1].subplots(2, 3)
    before, after = (image_and_mask(image, used)[0] for image in (target, result))
    _show(axes[0, 0], before, used, f"Target: {len(cones.before)} cones found")
    _show(axes[0, 1], after, used, f"Result: {len(cones.after)} cones found")
    _show(axes[0, 2], after, used, "Result: kept, lost and new")
    _draw_cones(axes[0, 2], cones, max(used.shape))
    for axis in axes[0, :2]:
        _draw_places(axis, cones, used.shape)
    _draw_change(parts[1], axes[1, 0], cones.change)
    _show(axes[1, 1], before, used, "Suspicion: drawn, and not expected from the target")
    suspicion = np.ma.masked_equal(cones.suspicion, 0)
    shown = axes[1, 1].imshow(suspicion, cmap="autumn_r", vmin=0, vmax=1, interpolation="nearest", alpha=0.9)
    parts[1].colorbar(shown, ax=axes[1, 1], label="height, 1: a typical cone of the result", shrink=0.85)
    spectra = [("target", target, used, TARGET, "-"), ("result", result, used, RESULT, "-")]
    if style is not None and style_used is not None:
        spectra.append(("style", style, style_used, STYLE, "--"))
    _draw_spectra(axes[1, 2], spectra, cones.spacing)
    for axis in (*axes[0], *axes[1, :2]):
        axis.set(xticks=[], yticks=[], xlim=(-0.5, used.shape[1] - 0.5), ylim=(used.shape[0] - 0.5, -0.5))
    return figure


def _write(figure: Any, verdict: Verdict) -> None:
    lines = textwrap.wrap(verdict.text, _CHARACTERS)
    # The first reason is in the text already.
    for reason in verdict.reasons[1:]:
        lines += textwrap.wrap(reason, _CHARACTERS, initial_indent="– ", subsequent_indent="   ")
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"… {lines[_LINES - 1]}"[:_CHARACTERS] + " …"]
    color = LEVELS[verdict.level][0]
    figure.text(0.012, 0.93, verdict.level.capitalize(), color=color, fontsize=17, fontweight="bold", va="top")
    figure.text(0.012, 0.70, "\n".join(lines), fontsize=10.5, va="top", linespacing=1.35, parse_math=False)


def _show(axes: Axes, image: Floats, used: Mask, title: str) -> None:
    values = image[used]
    low, high = np.percentile(values, [_OUTLIERS, 100 - _OUTLIERS]) if len(values) else (0.0, 1.0)
    axes.set_facecolor("lightgray")
    shown = np.where(used, image, np.nan)
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high if high > low else low + 1, interpolation="nearest")
    axes.set_title(title, fontsize=11)


def _draw_cones(axes: Axes, cones: ConeChanges, longest: int) -> None:
    # So that markers of neighbors do not touch: half a spacing wide, on axes of about 4 inches.
    side = 0.5 * cones.spacing * 4 * 72 / longest
    area = float(np.clip(side**2, _SMALLEST, _LARGEST))
    unsupported = cones.flags("unsupported")["unsupported"]
    for points, mark, label, width in (
        (cones.kept, KEPT, "kept", 0.7),
        (cones.lost, LOST, "lost", 1.1),
        (cones.new[~unsupported], NEW, "new", 1.1),
        (cones.new[unsupported], UNSUPPORTED, "new, unsupported by the target", 2.2),
    ):
        axes.scatter(
            points[:, 1], points[:, 0], s=area * (1.7 if mark is UNSUPPORTED else 1.0), marker=mark.marker,
            facecolors="none", edgecolors=mark.color, linewidths=width, label=f"{len(points)} {label}",
        )  # fmt: skip
    legend = axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, fontsize=8.5, handletextpad=0.3, columnspacing=1.1,
        facecolor="0.27", labelcolor="white", framealpha=1,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([40.0])


def _draw_places(axes: Axes, cones: ConeChanges, shape: tuple[int, ...]) -> None:
    from matplotlib.patches import Circle

    for number, place in enumerate(cones.places, start=1):
        at = (place.column, place.row)
        axes.add_patch(Circle(at, place.radius, fill=False, edgecolor=UNSUPPORTED.color, linewidth=1.3, linestyle="--"))
        row, column = (float(np.clip(v, 0.03 * n, 0.97 * n)) for v, n in zip(at[::-1], shape, strict=True))
        axes.text(
            column, row, str(number), color="white", fontsize=9, fontweight="bold", ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": UNSUPPORTED.color, "edgecolor": "none"},
        )  # fmt: skip


def _draw_change(figure: Any, axes: Axes, change: Floats) -> None:
    values = np.abs(change[np.isfinite(change)])
    limit = float(np.percentile(values, 100 - _OUTLIERS) or values.max() or 1) if len(values) else 1.0
    shown = axes.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_title("Change: result less target", fontsize=11)
    figure.colorbar(shown, ax=axes, label="gray levels", shrink=0.85, extend="both")


def _draw_spectra(axes: Axes, images: list[tuple[str, Image, Mask, str, str]], spacing: float) -> None:
    for label, image, used, color, line in images:
        if min(image.shape) >= MINIMUM_SIDE and used.any():
            frequencies, power = radial_power_spectrum(image_and_mask(image, used)[0], mask=used)
            shown = power > 0
            decibels = 10 * np.log10(power[shown])
            axes.plot(frequencies[shown], decibels, color=color, linestyle=line, linewidth=1.6, label=label)
    if axes.lines:
        axes.axvline(1 / spacing, color="black", linewidth=0.8, linestyle=":", label=f"1 / {spacing:.3g} px")
        axes.legend(fontsize=9)
        axes.set_xlim(0, 0.5)
    else:
        axes.text(0.5, 0.5, "too small for a spectrum", ha="center", va="center", transform=axes.transAxes)
    axes.set_title("Radial power spectra", fontsize=11)
    axes.set(xlabel="spatial frequency, cycles/pixel", ylabel="power, dB")
    axes.grid(visible=True, alpha=0.3)
