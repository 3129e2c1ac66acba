"""How the scores of the patches are distributed, with a threshold that can be dragged; imported with the first plan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSizePolicy

from napari_nst.palette import GOOD, POOR, UNCLASSIFIED
from napari_nst.session.figures import histogram_bins
from napari_nst.session.plan import SessionPlan
from napari_nst.viewer.transfer.plot import rgb

#: Screen pixels within which the line is taken hold of.
_REACH = 10
_AXIS = {
    "ring": "ring prominence, dB",
    "markers": "marked cones",
    "cones": "detected cones",
    "table": "score of the table",
}


class ScorePlot(FigureCanvasQTAgg):
    """Bars of poor and of good patches, and the line between them, in the colors of a theme of napari."""

    #: The line was dragged to this score.
    threshold_chosen = Signal(float)

    def __init__(self, theme: Any) -> None:
        figure = Figure(figsize=(3.2, 1.7), dpi=100, layout="constrained")
        super().__init__(figure)
        self.setMinimumSize(230, 105)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setToolTip(
            "How many patches have which score. Drag the line to change the threshold: a score above it is good. The field "
            "Threshold does the same."
        )
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.axes = figure.subplots()
        self.locked = False
        self.threshold: float | None = None
        self.line: Any = None
        self._scores: NDArray[np.float64] = np.empty(0)
        self._kind = ""
        self._dragging = False
        self.mpl_connect("button_press_event", self._on_press)
        self.mpl_connect("motion_notify_event", self._on_move)
        self.mpl_connect("button_release_event", self._on_release)
        self.use_theme(theme)

    def show_plan(self, plan: SessionPlan) -> None:
        """Draw the scores of a plan."""
        self._scores = np.array([planned.score for planned in plan.patches], dtype=np.float64)
        self._kind, self.threshold, self._dragging = plan.score_kind, plan.split.threshold, False
        self._draw()

    def use_theme(self, theme: Any) -> None:
        """Take over background and text colors."""
        self._theme = theme
        self._draw()

    def _draw(self) -> None:
        ground, text = rgb(self._theme.background), rgb(self._theme.text)
        axes, finite = self.axes, self._scores[np.isfinite(self._scores)]
        axes.clear()
        self.line = None
        self.figure.set_facecolor(ground)
        axes.set_facecolor(ground)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set(color=text, linewidth=0.6)
        axes.tick_params(colors=text, which="both", width=0.6, labelsize=7, pad=2)
        axes.set_xlabel(_AXIS.get(self._kind, self._kind), fontsize=8, labelpad=1, color=text)
        axes.set_ylabel("patches", fontsize=8, labelpad=1, color=text)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        if len(finite):
            self._draw_scores(finite, text, ground)
        else:
            axes.text(0.5, 0.5, "no score is known", color=text, fontsize=8, transform=axes.transAxes, ha="center")
            axes.set_xticks([])
            axes.set_yticks([])
        self.draw_idle()

    def _draw_scores(self, finite: NDArray[np.float64], text: Any, ground: Any) -> None:
        axes, dark = self.axes, sum(ground) < 1.5
        if self.threshold is None:
            groups, colors, labels = [finite], [UNCLASSIFIED[dark]], [f"no threshold: {len(finite)}"]
        else:
            above = finite > self.threshold
            groups, colors = [finite[~above], finite[above]], [POOR[dark], GOOD[dark]]
            labels = [f"{name}: {len(group)}" for name, group in zip(("poor", "good"), groups, strict=True)]
        whole = bool((finite == np.rint(finite)).all())
        edges = histogram_bins(finite.min(), finite.max(), int(np.clip(2 * math.sqrt(len(finite)), 8, 40)), whole)
        counts, _, _ = axes.hist(
            groups, edges.tolist(), stacked=True, color=colors, label=labels, edgecolor=ground, linewidth=0.4
        )
        axes.set_ylim(0, 1.08 * float(np.max(counts)))
        if len(finite) < len(self._scores):
            axes.plot([], [], " ", label=f"unknown: {len(self._scores) - len(finite)}")
        if self.threshold is not None:
            for bar in axes.containers[0]:
                bar.set_hatch("////")
            label = f"threshold: {self.threshold:.4g}"
            self.line = axes.axvline(self.threshold, color=text, linestyle="--", linewidth=1.4, label=label)
        axes.legend(
            fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, labelcolor=[text],
            borderaxespad=0.1, handlelength=1.2, handletextpad=0.4, columnspacing=0.7,
        )  # fmt: skip

    def _on_press(self, event: Any) -> None:
        if self.locked or event.inaxes is not self.axes or event.button != 1 or not np.isfinite(self._scores).any():
            return
        if self.line is not None:
            place = self.axes.transData.transform((self.threshold, 0.0))[0]
            if abs(event.x - place) > _REACH:
                return
        self._dragging = True
        self._move_to(event)

    def _on_move(self, event: Any) -> None:
        if self._dragging and event.inaxes is self.axes:
            self._move_to(event)

    def _on_release(self, event: Any) -> None:
        if self._dragging:
            self._dragging = False
            self.threshold_chosen.emit(self.threshold)

    def _move_to(self, event: Any) -> None:
        low, high = limits = self.axes.get_xlim()
        # No more digits than a screen pixel has.
        digits = max(0, 3 - math.floor(math.log10(high - low)) - 1)
        self.threshold = round(float(event.xdata), digits)
        self._draw()
        self.axes.set_xlim(limits)
