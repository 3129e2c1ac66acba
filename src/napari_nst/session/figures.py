"""Figures of a session: what became of its patches, and how good they were. Explicit figures, never pyplot."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError
from napari_nst.palette import GOOD, KEPT, LOST, NEW, POOR, RESULT, STYLE, TARGET, UNCLASSIFIED, UNSUPPORTED
from napari_nst.session.quality import QUALITY_SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_nst.metrics.matching import Matching

# All lengths in inches. Axes are placed by hand: matplotlib's layout engines take seconds for ten rows of them.
_MARGIN, _GAP, _IMAGE, _CURVES = 0.15, 0.12, 2.5, 2.7
_BAR, _BAR_ROOM, _AXIS_ROOM = 0.1, 0.6, 0.52
_LINE, _HEAD, _FOOT = 0.17, 0.3, 0.6
_WIDTH = 2 * _MARGIN + 5 * _IMAGE + 6 * _GAP + _BAR_ROOM + 2 * (_CURVES + _AXIS_ROOM)
_CHARACTERS = 145  # that fit one line of the whole width, were they all W; names of patches have about 110
_TITLE = 100  # likewise of the title
_LINES = 2  # lines of each part of a caption

_SMALL, _NORMAL = 8, 9  # points
_OUTLIERS = 0.2  # per cent of the pixels that may be beyond the ends of the difference's color scale

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ComparisonRow:
    """A patch before and after: gray images (H, W) of any real dtype, and what is drawn upon them."""

    name: str  # file names
    style_name: str
    target: NDArray[Any]
    style: NDArray[Any]
    result: NDArray[Any]
    value_range: tuple[float, float]  # black and white, of target and result
    style_value_range: tuple[float, float]
    target_points: Floats  # (n, 2): row and column of the cones that are detected
    result_points: Floats
    matching: Matching
    unsupported: Floats  # (n, 2): cones of the result at which the target shows nothing that could be one
    caption: str  # the measures in a line, and a line of its own for the verdict
    valid: NDArray[np.bool_]  # histograms and spectra leave out the rest
    style_valid: NDArray[np.bool_]
    ring: float  # the modal frequency of the cone mosaic, cycles/pixel; NaN where unknown


def comparison_figure(rows: Sequence[ComparisonRow], *, title: str = "") -> Figure:
    """Draw the documented ``preprocessing_comparison.png``: what an enhancement did to patches.

    Each row has target, style, result (on the target's gray scale), result - target with its scale in gray levels,
    histograms, radial power spectra, and the result with the detected cones. The documentation names the file and not
    its content. Where the ranges of values differ, histogram and spectrum of the style are those on the target's scale,
    as a transfer sees them.
    """
    from matplotlib.figure import Figure

    heads = [_heading(row) for row in rows]
    above = 0.4 if title else 0.1
    heights = [len(head) * _LINE + _HEAD + _IMAGE + _FOOT for head in heads]
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
    left = _MARGIN

    def panel(title: str, width: float = _IMAGE, before: float = 0.0) -> Axes:
        nonlocal left
        box = (left + before, bottom, width, _IMAGE)
        left += before + width + _GAP
        axes = figure.add_axes(_share(figure, box))
        axes.set_title(title, fontsize=_NORMAL, pad=4)
        axes.tick_params(labelsize=_SMALL - 1)
        return axes

    for title, image, limits in (
        ("target", row.target, row.value_range),
        ("style", row.style, row.style_value_range),
        ("result", row.result, row.value_range),
    ):
        _show(panel(title), image, limits)
    difference = panel("result − target")
    bar = figure.add_axes(_share(figure, (left - _GAP + 0.06, bottom, _BAR, _IMAGE)))
    left += _BAR_ROOM - _GAP
    _draw_difference(difference, bar, row)
    curves = _curves(row)
    _draw_histograms(panel("histograms", _CURVES, _AXIS_ROOM), curves, row)
    _draw_spectra(panel("radial power spectra", _CURVES, _AXIS_ROOM), curves, row.ring)
    left += _GAP
    _draw_detections(panel("cones on the result"), row)


def _draw_difference(axes: Axes, bar: Axes, row: ComparisonRow) -> None:
    change = row.result.astype(np.float64) - row.target.astype(np.float64)
    sizes = np.abs(change[np.isfinite(change)])
    largest = float(sizes.max(initial=0.0))
    # Not the largest: one bright pixel would make all the rest look unchanged. The bar's arrows tell of it.
    limit = float(np.percentile(sizes, 100 - _OUTLIERS)) if largest else 0.0
    limit = limit or largest or 1.0
    shown = axes.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit)
    _bare(axes)
    scale = axes.figure.colorbar(shown, cax=bar, extend="both" if largest > limit else "neither")
    scale.set_label("gray levels", fontsize=_SMALL, labelpad=1)
    bar.tick_params(labelsize=_SMALL - 1, pad=2, length=2)
    if not largest:
        _note(axes, "unchanged")


def _draw_histograms(axes: Axes, curves: Sequence[_Curve], row: ComparisonRow) -> None:
    values = [curve.values for curve in curves if curve.values.size]
    axes.set_xlabel("gray level", fontsize=_SMALL, labelpad=2)
    axes.set_ylabel("pixels, %", fontsize=_SMALL, labelpad=2)
    if not values:
        _note(axes, "no finite value")
        return
    whole = row.target.dtype.kind in "ui" and row.result.dtype.kind in "ui"
    edges = histogram_bins(min(float(v.min()) for v in values), max(float(v.max()) for v in values), 64, whole)
    for curve in curves:
        if curve.values.size:
            counts = np.histogram(curve.values, edges)[0] * (100 / curve.values.size)
            axes.stairs(counts, edges, **curve.drawn)
    axes.set_ylim(0, 1.22 * axes.get_ylim()[1])
    axes.margins(x=0.02)
    _legend(axes)


def _draw_spectra(axes: Axes, curves: Sequence[_Curve], ring: float) -> None:
    from napari_nst.imaging.spectrum import radial_power_spectrum

    largest = 0.0
    for curve in curves:
        try:
            frequencies, power = radial_power_spectrum(curve.image, mask=curve.used)
        except ImageError:  # too small, or nothing in it that counts
            continue
        seen = np.where(power > 0, power, np.nan)
        if np.isfinite(seen).any():
            largest = max(largest, float(np.nanmax(seen)))
            axes.plot(frequencies, seen, **curve.drawn)
    axes.set_xlim(0, 0.5)
    axes.set_xlabel("cycles/pixel", fontsize=_SMALL, labelpad=2)
    axes.set_ylabel("power, gray levels²", fontsize=_SMALL, labelpad=2)
    if not largest:
        _note(axes, "no spectrum")
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.15)  # room for the legend
    if math.isfinite(ring):
        axes.axvline(ring, 0, 0.86, color="black", linestyle=":", linewidth=1)
        axes.annotate(
            f"ring {ring:.3f}", (ring, 0.02), xycoords=axes.get_xaxis_transform(), xytext=(3, 0),
            textcoords="offset points", fontsize=_SMALL - 1, va="bottom",
        )  # fmt: skip
    _legend(axes)


def _draw_detections(axes: Axes, row: ComparisonRow) -> None:
    _show(axes, row.result, row.value_range)
    marker = float(np.clip(4 * 72 * _IMAGE / max(row.result.shape), 2.5, 5))  # four pixels of the image, in points
    groups = [
        (row.result_points[row.matching.kept], KEPT, "kept", 0.8, 1.0),
        (row.target_points[row.matching.lost], LOST, "lost", 1.5, 1.0),
        (row.result_points[row.matching.new], NEW, "new", 1.5, 1.0),
    ]
    if len(row.unsupported):
        groups.append((row.unsupported, UNSUPPORTED, "unsupported", 1.5, 1.9))
    for points, mark, label, width, size in groups:
        # Open, so that what was detected stays visible; heavier where an enhancement lost or invented something.
        axes.plot(
            points[:, 1], points[:, 0], linestyle="none", marker=mark.marker, markersize=size * marker,
            markerfacecolor="none", markeredgecolor=mark.color, markeredgewidth=width, label=f"{label} {len(points)}",
        )  # fmt: skip
    height, width = row.result.shape
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3 if len(axes.lines) < 4 else 2, fontsize=_SMALL,
        facecolor="0.35", framealpha=1, labelcolor="white", handletextpad=0.1, columnspacing=1.0, borderpad=0.3,
        borderaxespad=0.1,
    )  # fmt: skip


def histogram_bins(low: float, high: float, count: int, whole: bool) -> Floats:
    """Return edges of about `count` bins; whole numbers get bins of equally many values, or they would look like a comb."""
    if whole:
        step = max(1, math.ceil((high - low + 1) / count))
        return np.arange(math.floor(low) - 0.5, math.ceil(high) + step + 0.5, step)
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    return np.linspace(low, high, count + 1)


class _Curve(NamedTuple):
    """An image on the target's gray scale, as histograms and spectra take it, and how it is drawn."""

    image: Floats
    used: NDArray[np.bool_]
    drawn: dict[str, Any]

    @property
    def values(self) -> Floats:
        return self.image[self.used]


def _curves(row: ComparisonRow) -> list[_Curve]:
    style, label = row.style.astype(np.float64), "style"
    (low, high), (style_low, style_high) = row.value_range, row.style_value_range
    if (low, high) != (style_low, style_high):
        style = low + (style - style_low) * ((high - low) / (style_high - style_low))
        label = "style, rescaled"
    curves = []
    # The result is drawn thin upon the target, so that both show where nothing changed.
    for image, valid, color, line, width, name in (
        (style, row.style_valid, STYLE, "--", 1.3, label),
        (row.target.astype(np.float64), row.valid, TARGET, "-", 2.0, "target"),
        (row.result.astype(np.float64), row.valid, RESULT, "-", 1.1, "result"),
    ):
        used = np.isfinite(image) & valid
        curves.append(_Curve(image, used, {"color": color, "linestyle": line, "linewidth": width, "label": name}))
    return curves


def _show(axes: Axes, image: NDArray[Any], limits: tuple[float, float]) -> None:
    axes.imshow(image.astype(np.float64), cmap="gray", vmin=limits[0], vmax=limits[1])
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])


def _note(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=_NORMAL)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="upper center", ncols=3, fontsize=_SMALL - 1, frameon=False, handlelength=1.4, handletextpad=0.4,
        columnspacing=0.9, borderaxespad=0.2,
    )  # fmt: skip


def _share(figure: Figure, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height, given in inches, as shares of the figure."""
    width, height = figure.get_size_inches()
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def _write(figure: Figure, left: float, top: float, text: str, *, size: float, weight: str) -> None:
    width, height = figure.get_size_inches()
    # Names may hold a dollar sign, which is no formula.
    figure.text(left / width, top / height, text, va="top", fontsize=size, fontweight=weight, parse_math=False)


def _heading(row: ComparisonRow) -> list[str]:
    lines = [_shortened(row.name), f"style: {_shortened(row.style_name)}"]
    for part in row.caption.split("\n"):
        lines += [_shortened(line) for line in textwrap.wrap(part, _CHARACTERS)[:_LINES]]
    return lines


def _shortened(text: str, most: int = _CHARACTERS) -> str:
    """Leave out the middle of what is too long for a line: names differ at their ends."""
    text, half = " ".join(text.split()), (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def quality_figure(scores: ArrayLike, split_threshold: float | None, kind: str, *, reason: str = "") -> Figure:
    """Draw the documented ``_analysis/detect_otsu_distribution.png``: how the scores of patches are distributed.

    Scores that are not finite are counted as unknown; good is above the threshold, None when there is none. `kind` is a
    key of `QUALITY_SCORES`, `reason` that of `Split`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(scores, dtype=np.float64)
    finite = values[np.isfinite(values)]
    unknown = len(values) - len(finite)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots()
    lines = [
        f"Quality of {len(values)} patch{'' if len(values) == 1 else 'es'}"
        + (f", {unknown} of them unknown" if unknown else "")
    ]
    lines += textwrap.wrap(reason, 80)[:3]
    axes.set_title("\n".join(lines), fontsize=10, parse_math=False)
    axes.set_xlabel(QUALITY_SCORES.get(kind, kind), parse_math=False)
    axes.set_ylabel("patches")
    axes.spines[["top", "right"]].set_visible(False)
    if not len(finite):
        _note(axes, "no score is known")
        _bare(axes)
        return figure
    edges = _score_bins(finite, split_threshold)
    if split_threshold is None:
        groups = [(finite, UNCLASSIFIED[0], f"no threshold: {len(finite)}")]
    else:
        good = finite > split_threshold
        groups = [(finite[~good], POOR[0], f"poor: {(~good).sum()}"), (finite[good], GOOD[0], f"good: {good.sum()}")]
    below = np.zeros(len(edges) - 1)
    for group, color, label in groups:
        counts = np.histogram(group, edges)[0]
        axes.bar(
            edges[:-1], counts, np.diff(edges), below, align="edge", color=color, label=label,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        below = below + counts
    if split_threshold is not None:
        axes.axvline(split_threshold, 0, 0.86, color="black", linestyle="--", label=f"threshold: {split_threshold:.4g}")
    axes.set_ylim(0, 1.3 * float(below.max()))  # room for the legend
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if _counted(finite):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(loc="upper center", ncols=3, frameon=False)
    return figure


def _score_bins(finite: Floats, threshold: float | None) -> Floats:
    low, high = float(finite.min()), float(finite.max())
    counted = _counted(finite)
    # Enough to show two groups, and not so many that each holds one patch.
    edges = histogram_bins(low, high, int(np.clip(2 * math.sqrt(len(finite)), 8, 60)), counted)
    if threshold is None or not low <= threshold <= high:
        return edges
    # Moved, so that the threshold lies between two bars; between whole numbers, where these are counted.
    step, edge = float(edges[1] - edges[0]), math.floor(threshold) + 0.5 if counted else threshold
    places = np.arange(-math.ceil((edge - low) / step), math.ceil((high - edge) / step) + 1, dtype=np.float64)
    edges = edge + step * places
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)  # rounding
    return edges


def _counted(finite: Floats) -> bool:
    """Whether the scores are whole numbers, small enough for doubles to tell their neighbours apart."""
    return bool((finite == np.rint(finite)).all()) and float(np.abs(finite).max()) < 2**53
