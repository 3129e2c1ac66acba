"""The learning curves while a run goes on: matplotlib inside Qt, without pyplot and without global settings.

Imported at the first run only: matplotlib takes a while, and opening the dock must not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from qtpy.QtWidgets import QSizePolicy

from napari_nst.palette import LOSSES

#: Column of the losses, and name, in drawing order.
CURVES = ((2, "total"), (1, "content"), (0, "style"))


class LossPlot(FigureCanvasQTAgg):
    """Three losses over the steps, on a logarithmic scale, in the colors of napari's theme."""

    def __init__(self, theme: Any) -> None:
        figure = Figure(figsize=(3.2, 1.5), dpi=100, layout="constrained")
        super().__init__(figure)
        self.setFixedHeight(150)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Losses of every step, on a logarithmic scale: style and content with their weights make the total."
        )
        self.axes = figure.subplots()
        # The total lies under the style, which is nearly all of it: as a wider line it is seen nevertheless.
        self.lines = {
            name: self.axes.plot([], [], lw=2.8 if name == "total" else 1.2, label=name)[0] for _, name in CURVES
        }
        self.axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        self.axes.set_xlabel("step", fontsize=8, labelpad=1)
        self.axes.set_ylabel("loss", fontsize=8, labelpad=1)
        self.axes.tick_params(labelsize=7, which="both", pad=2)
        self.use_theme(theme)

    def use_theme(self, theme: Any) -> None:
        """Take over background and text colors."""
        ground, text = rgb(theme.background), rgb(theme.text)
        dark = sum(ground) < 1.5
        self.figure.set_facecolor(ground)
        self.axes.set_facecolor(ground)
        for spine in self.axes.spines.values():
            spine.set_color(text)
            spine.set_linewidth(0.6)
        self.axes.tick_params(colors=text, which="both", width=0.6)
        for label in (self.axes.xaxis.label, self.axes.yaxis.label):
            label.set_color(text)
        for name, line in self.lines.items():
            line.set_color(LOSSES[name][dark])
        self.axes.grid(visible=True, color=text, alpha=0.15, linewidth=0.5)
        self.axes.legend(
            fontsize=7,
            ncols=3,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            frameon=False,
            labelcolor=[text],
            borderaxespad=0.1,
            handlelength=1.2,
            columnspacing=1.0,
        )
        self.draw_idle()

    def clear_losses(self) -> None:
        """Start anew."""
        self.axes.set_yscale("linear")
        self.show_losses(np.empty((0, 3)))

    def show_losses(self, losses: np.ndarray[Any, Any]) -> None:
        """Draw the losses, (steps, 3); what is not above 0 (the content of the first step) leaves a gap."""
        steps = np.arange(1, len(losses) + 1)
        positive = np.where(np.isfinite(losses) & (losses > 0), losses, np.nan)
        for column, name in CURVES:
            line = self.lines[name]
            line.set_data(steps, positive[:, column])
            line.set_marker("o" if np.isfinite(positive[:, column]).sum() == 1 else "")
            line.set_markersize(3)
        seen = positive[np.isfinite(positive)]
        if seen.size:
            self.axes.set_yscale("log")
            self.axes.set_ylim(float(seen.min()) / 1.5, float(seen.max()) * 1.5)
        self.axes.set_xlim(1, max(2, len(losses)))
        self.draw_idle()


def rgb(color: Any) -> tuple[float, float, float]:
    """A color of napari's theme, 0 to 1."""
    red, green, blue = color.as_rgb_tuple()[:3]
    return red / 255, green / 255, blue / 255
