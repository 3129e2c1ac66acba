"""How the scores of a session's patches are distributed, as a figure."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.palette import GOOD, POOR, UNCLASSIFIED
from napari_nst.session.quality import QUALITY_SCORES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["histogram_bins", "quality_figure"]

# Okabe and Ito (2008), Color Universal Design: told apart with every kind of colour vision, and by their
# brightness too.

Floats = NDArray[np.float64]


def quality_figure(scores: ArrayLike, split_threshold: float | None, kind: str, *, reason: str = "") -> Figure:
    """Draw the documented ``_analysis/detect_otsu_distribution.png``: how the scores of patches are distributed.

    Parameters
    ----------
    scores : array, (n,)
        Scores of the patches; those that are not finite are counted as unknown.
    split_threshold : float or None
        Good is above it; None when there is none.
    kind : str
        What the score is: a key of `QUALITY_SCORES`, or any text for the axis.
    reason : str
        Why this threshold, or why none, as `split_scores` says it.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ParameterError
        `scores` is not one row of numbers.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ParameterError(f"Scores are one row of numbers, not an array of shape {values.shape}.")
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
        axes.text(0.5, 0.5, "no score is known", transform=axes.transAxes, ha="center", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
        return figure
    edges = _score_bins(finite, split_threshold)
    if split_threshold is None:
        groups = [(finite, UNCLASSIFIED[0], f"no threshold: {len(finite)}")]
    else:
        good = finite > split_threshold
        groups = [
            (finite[~good], POOR[0], f"poor: {(~good).sum()}"),
            (finite[good], GOOD[0], f"good: {good.sum()}"),
        ]
    below = np.zeros(len(edges) - 1)
    for group, colour, label in groups:
        counts = np.histogram(group, edges)[0]
        axes.bar(
            edges[:-1], counts, np.diff(edges), below, align="edge", color=colour, label=label,
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


def histogram_bins(low: float, high: float, count: int, whole: bool) -> Floats:
    """Edges of about `count` bins; whole numbers get bins of equally many values, or they would look like a comb."""
    if whole:
        step = max(1, math.ceil((high - low + 1) / count))
        return np.arange(math.floor(low) - 0.5, math.ceil(high) + step + 0.5, step)
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    return np.linspace(low, high, count + 1)


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
