"""Figures of a session: what became of its patches, and how they were judged. Explicit figures, never pyplot."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.planes import luminance
from napari_nst.palette import KEPT, LOST, NEW, RESULT, STYLE, TARGET, UNSUPPORTED
from napari_nst.session.score_figure import histogram_bins, quality_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MAXIMUM_ROWS", "ComparisonRow", "comparison_figure", "quality_figure"]

#: More rows than this make a picture that few programs open; they go into several figures.
MAXIMUM_ROWS = 50

# All lengths in inches. Axes are placed by hand: matplotlib's layout engines take seconds for ten rows of them.
_MARGIN, _GAP, _PICTURE, _CURVES = 0.15, 0.12, 2.5, 2.7
_BAR, _BAR_ROOM, _AXIS_ROOM = 0.1, 0.6, 0.52
_LINE, _HEAD, _FOOT = 0.17, 0.3, 0.6
_WIDTH = 2 * _MARGIN + 5 * _PICTURE + 6 * _GAP + _BAR_ROOM + 2 * (_CURVES + _AXIS_ROOM)
_CHARACTERS = 145  # that fit one line of the whole width, were they all W; names of patches have about 110
_TITLE = 100  # likewise of the title
_TOLD = 2  # lines of each part of a caption

_SMALL, _NORMAL = 8, 9  # points
_OUTLIERS = 0.2  # per cent of the pixels that may be beyond the ends of the difference's colour scale

Floats = NDArray[np.float64]


class Detections(Protocol):
    """Indices of cones: `napari_nst.metrics.matching.Matching` with the result as found, the target as reference."""

    @property
    def kept(self) -> NDArray[np.intp]:
        """Into the result's cones."""

    @property
    def lost(self) -> NDArray[np.intp]:
        """Into the target's cones."""

    @property
    def new(self) -> NDArray[np.intp]:
        """Into the result's cones."""


@dataclass(frozen=True, eq=False)
class ComparisonRow:
    """A patch before and after.

    Attributes
    ----------
    name, style_name : str
        File names of patch and style.
    target, style, result : array, (H, W), (H, W, 3) or (H, W, 4)
        Any real dtype; the result has the target's shape.
    value_range, style_value_range : (float, float)
        The values that are black and white, of target and result, and of the style.
    target_points, result_points : array, (n, 2), or None
        Row and column of the cones detected before and after.
    matching : Matching, or None
        Which of them are kept, lost and new.
    unsupported : array, (n, 2), or None
        Those of the result's cones at which the target shows nothing that could be a cone: row and column.
    caption : str
        The measures in a line, for example "ring 9.1 → 12.0 dB, 24 new"; a line of its own for the verdict.
    valid, style_valid : array of bool, (H, W), or None
        True where target and style are picture; histograms and spectra leave out the rest.
    ring : float or None
        The modal frequency of the cone mosaic in cycles/pixel, to be marked in the spectra.
    """

    name: str
    style_name: str
    target: NDArray[Any]
    style: NDArray[Any]
    result: NDArray[Any]
    value_range: tuple[float, float]
    style_value_range: tuple[float, float]
    target_points: NDArray[np.float64] | None = None
    result_points: NDArray[np.float64] | None = None
    matching: Detections | None = None
    unsupported: NDArray[np.float64] | None = None
    caption: str = ""
    valid: NDArray[np.bool_] | None = None
    style_valid: NDArray[np.bool_] | None = None
    ring: float | None = None


def comparison_figure(rows: Sequence[ComparisonRow], *, title: str = "") -> Figure:
    """Draw the documented ``preprocessing_comparison.png``: what an enhancement did to patches.

    Parameters
    ----------
    rows : sequence of ComparisonRow
        One row of the figure each, at most 50.
    title : str
        Above all.

    Returns
    -------
    matplotlib Figure
        Each row has target, style, result (on the target's grey scale), result - target with its scale in
        grey levels, histograms, radial power spectra, and the result with the detected cones.

    Raises
    ------
    ParameterError
        No row or too many, or a matching without the points that it refers to.
    ImageError
        Target and result have different shapes.

    Notes
    -----
    The documentation names the file and not its content. Where the ranges of values differ, histogram and
    spectrum of the style are those on the target's scale, as a transfer sees them.
    """
    from matplotlib.figure import Figure

    if not 0 < len(rows) <= MAXIMUM_ROWS:
        raise ParameterError(f"A comparison has 1 to {MAXIMUM_ROWS} rows, not {len(rows)}; make several figures.")
    heads = [_heading(row) for row in rows]
    above = 0.4 if title else 0.1
    heights = [len(head) * _LINE + _HEAD + _PICTURE + _FOOT for head in heads]
    figure = Figure(figsize=(_WIDTH, above + sum(heights)))
    if title:
        _write(figure, _MARGIN, above + sum(heights) - 0.08, _shortened(title, _TITLE), size=13, weight="bold")
    top = sum(heights)
    for row, head, height in zip(rows, heads, heights, strict=True):
        for number, line in enumerate(head):
            _write(figure, _MARGIN, top - number * _LINE, line, size=_NORMAL, weight="normal" if number else "bold")
        _draw_row(figure, row, top - height + _FOOT)
        top -= height
    return figure


def _draw_row(figure: Figure, row: ComparisonRow, bottom: float) -> None:
    if row.target.shape != row.result.shape:
        raise ImageError(
            f"{row.name}: the target has shape {row.target.shape}, the result {row.result.shape}; they must be equal."
        )
    left = _MARGIN

    def panel(title: str, width: float = _PICTURE, before: float = 0.0) -> Axes:
        nonlocal left
        box = (left + before, bottom, width, _PICTURE)
        left += before + width + _GAP
        axes = figure.add_axes(_share(figure, box))
        axes.set_title(title, fontsize=_NORMAL, pad=4)
        axes.tick_params(labelsize=_SMALL - 1)
        return axes

    for title, picture, limits in (
        ("target", row.target, row.value_range),
        ("style", row.style, row.style_value_range),
        ("result", row.result, row.value_range),
    ):
        _show(panel(title), picture, limits)
    difference = panel("result − target")
    bar = figure.add_axes(_share(figure, (left - _GAP + 0.06, bottom, _BAR, _PICTURE)))
    left += _BAR_ROOM - _GAP
    _draw_difference(difference, bar, row)
    curves = _curves(row)
    _draw_histograms(panel("histograms", _CURVES, _AXIS_ROOM), curves, row)
    _draw_spectra(panel("radial power spectra", _CURVES, _AXIS_ROOM), curves, row.ring)
    left += _GAP
    _draw_detections(panel("cones on the result"), row)


def _draw_difference(axes: Axes, bar: Axes, row: ComparisonRow) -> None:
    change = _grey(row.result) - _grey(row.target)
    sizes = np.abs(change[np.isfinite(change)])
    largest = float(sizes.max(initial=0.0))
    # Not the largest: one bright pixel would make all the rest look unchanged. The bar's arrows tell of it.
    limit = float(np.percentile(sizes, 100 - _OUTLIERS)) if largest else 0.0
    limit = limit or largest or 1.0
    shown = axes.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit)
    _bare(axes)
    colours = axes.figure.colorbar(shown, cax=bar, extend="both" if largest > limit else "neither")
    colours.set_label("grey levels", fontsize=_SMALL, labelpad=1)
    bar.tick_params(labelsize=_SMALL - 1, pad=2, length=2)
    if not largest:
        _note(axes, "unchanged")


def _draw_histograms(axes: Axes, curves: Sequence[_Curve], row: ComparisonRow) -> None:
    values = [curve.values for curve in curves if curve.values.size]
    axes.set_xlabel("grey level", fontsize=_SMALL, labelpad=2)
    axes.set_ylabel("pixels, %", fontsize=_SMALL, labelpad=2)
    if not values:
        _note(axes, "no finite value")
        return
    whole = row.target.dtype.kind in "ui" and row.result.dtype.kind in "ui"
    edges = histogram_bins(min(float(v.min()) for v in values), max(float(v.max()) for v in values), 64, whole)
    for curve in curves:
        if curve.values.size:
            counts = np.histogram(curve.values, edges)[0] * (100 / curve.values.size)
            axes.stairs(
                counts, edges, color=curve.colour, linestyle=curve.line, label=curve.label, linewidth=curve.width
            )
    axes.set_ylim(0, 1.22 * axes.get_ylim()[1])
    axes.margins(x=0.02)
    _legend(axes)


def _draw_spectra(axes: Axes, curves: Sequence[_Curve], ring: float | None) -> None:
    from napari_nst.imaging.spectrum import radial_power_spectrum

    largest = 0.0
    for curve in curves:
        try:
            frequencies, power = radial_power_spectrum(curve.picture, mask=curve.used)
        except ImageError:  # too small, or nothing in it that counts
            continue
        seen = np.where(power > 0, power, np.nan)
        if np.isfinite(seen).any():
            largest = max(largest, float(np.nanmax(seen)))
            axes.plot(
                frequencies, seen, color=curve.colour, linestyle=curve.line, label=curve.label, linewidth=curve.width
            )
    axes.set_xlim(0, 0.5)
    axes.set_xlabel("cycles/pixel", fontsize=_SMALL, labelpad=2)
    axes.set_ylabel("power, grey levels²", fontsize=_SMALL, labelpad=2)
    if not largest:
        _note(axes, "no spectrum")
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.15)  # room for the legend
    if ring is not None and math.isfinite(ring):
        axes.axvline(ring, 0, 0.86, color="black", linestyle=":", linewidth=1)
        text = f"ring {ring:.3f}"
        axes.annotate(
            text, (ring, 0.02), xycoords=axes.get_xaxis_transform(), xytext=(3, 0), textcoords="offset points",
            fontsize=_SMALL - 1, va="bottom",
        )  # fmt: skip
    _legend(axes)


def _draw_detections(axes: Axes, row: ComparisonRow) -> None:
    _show(axes, row.result, row.value_range)
    size = 72 * _PICTURE / max(row.result.shape[:2])  # points per pixel of the picture
    marker = float(np.clip(4 * size, 2.5, 5))
    for points, colour, symbol, label in _groups(row):
        # Open, so that what was detected stays visible; heavier where an enhancement lost or invented something.
        axes.plot(
            points[:, 1], points[:, 0], linestyle="none", marker=symbol, markersize=marker,
            markerfacecolor="none", markeredgecolor=colour, markeredgewidth=0.8 if symbol == "o" else 1.5,
            label=f"{label} {len(points)}",
        )  # fmt: skip
    if row.unsupported is not None and len(row.unsupported):
        axes.plot(
            row.unsupported[:, 1], row.unsupported[:, 0], linestyle="none", marker=UNSUPPORTED.marker,
            markersize=1.9 * marker, markerfacecolor="none", markeredgecolor=UNSUPPORTED.color, markeredgewidth=1.5,
            label=f"unsupported {len(row.unsupported)}",
        )  # fmt: skip
    height, width = row.result.shape[:2]
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    if axes.lines:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3 if len(axes.lines) < 4 else 2, fontsize=_SMALL,
            facecolor="0.35", framealpha=1, labelcolor="white", handletextpad=0.1, columnspacing=1.0, borderpad=0.3,
            borderaxespad=0.1,
        )  # fmt: skip
    else:
        axes.set_title("result, no cones detected", fontsize=_NORMAL, pad=4)


def _groups(row: ComparisonRow) -> list[tuple[Floats, str, str, str]]:
    """Points (n, 2), colour, marker and label of each kind of detection."""
    found = None if row.result_points is None else np.asarray(row.result_points, dtype=np.float64).reshape(-1, 2)
    if row.matching is None:
        return [] if found is None else [(found, KEPT.color, KEPT.marker, "found")]
    if found is None or row.target_points is None:
        raise ParameterError(f"{row.name}: a matching is drawn with the points of target and result; pass both.")
    before = np.asarray(row.target_points, dtype=np.float64).reshape(-1, 2)
    match = row.matching
    return [
        (found[match.kept], KEPT.color, KEPT.marker, "kept"),
        (before[match.lost], LOST.color, LOST.marker, "lost"),
        (found[match.new], NEW.color, NEW.marker, "new"),
    ]


@dataclass(frozen=True, eq=False)
class _Curve:
    """A picture on the target's grey scale, as histograms and spectra take it."""

    picture: Floats
    used: NDArray[np.bool_]
    colour: str
    line: str
    width: float
    label: str

    @property
    def values(self) -> Floats:
        return self.picture[self.used]


def _curves(row: ComparisonRow) -> list[_Curve]:
    style, label = _grey(row.style), "style"
    (low, high), (style_low, style_high) = row.value_range, row.style_value_range
    if (low, high) != (style_low, style_high):
        style = low + (style - style_low) * ((high - low) / (style_high - style_low))
        label = "style, rescaled"
    curves = []
    # The result is drawn thin upon the target, so that both show where nothing changed.
    for picture, valid, colour, line, width, name in (
        (style, row.style_valid, STYLE, "--", 1.3, label),
        (_grey(row.target), row.valid, TARGET, "-", 2.0, "target"),
        (_grey(row.result), row.valid, RESULT, "-", 1.1, "result"),
    ):
        used = np.isfinite(picture)
        curves.append(_Curve(picture, used if valid is None else used & valid, colour, line, width, name))
    return curves


def _grey(picture: NDArray[Any]) -> Floats:
    grey: Floats = (picture if picture.ndim == 2 else luminance(picture[..., :3])).astype(np.float64)
    return grey


def _show(axes: Axes, picture: NDArray[Any], limits: tuple[float, float]) -> None:
    low, high = limits
    if picture.ndim == 2:
        axes.imshow(picture.astype(np.float64), cmap="gray", vmin=low, vmax=high)
    else:
        axes.imshow(np.clip((picture[..., :3].astype(np.float64) - low) / (high - low), 0, 1))
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _note(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=_NORMAL)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="upper center", ncols=3, fontsize=_SMALL - 1, frameon=False, handlelength=1.4, handletextpad=0.4,
        columnspacing=0.9, borderaxespad=0.2,
    )  # fmt: skip


def _share(figure: Figure, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Left, bottom, width and height in inches, as shares of the figure."""
    width, height = figure.get_size_inches()
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def _write(figure: Figure, left: float, top: float, text: str, *, size: float, weight: str) -> None:
    width, height = figure.get_size_inches()
    # Names may hold a dollar sign, which is no formula.
    figure.text(left / width, top / height, text, va="top", fontsize=size, fontweight=weight, parse_math=False)


def _heading(row: ComparisonRow) -> list[str]:
    lines = [_shortened(row.name), f"style: {_shortened(row.style_name)}"]
    for told in row.caption.split("\n"):
        lines += [_shortened(line) for line in textwrap.wrap(told, _CHARACTERS)[:_TOLD]]
    return lines


def _shortened(text: str, most: int = _CHARACTERS) -> str:
    """Leave out the middle of what is too long for a line: names differ at their ends."""
    text, half = " ".join(text.split()), (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
