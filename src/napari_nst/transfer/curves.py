"""Figures for files: explicit Figure objects, never pyplot, so that no global state and no screen is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Plot the documented "Learning curves of NST" (``NSTPipelineManager.generate_plot``), on a logarithmic scale.

    Parameters
    ----------
    losses : mapping
        "total", "original" and "style" to one value per step.  Values that are not above 0 (the content loss of the
        first step is exactly 0) leave a gap.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    drawn = False
    # The documented colors.
    for name, color, label in (("total", "r", "total"), ("original", "g", "content"), ("style", "b", "style")):
        values = np.asarray(losses[name], dtype=float)
        values = np.where(values > 0, values, np.nan)
        steps = np.arange(1, len(values) + 1)
        marker = "o" if np.isfinite(values).sum() == 1 else None
        # The total is wider and lies below: more often than not one of its parts runs along it.
        axes.plot(steps, values, color=color, label=label, marker=marker, linewidth=4.0 if label == "total" else 1.5)
        drawn |= bool(np.isfinite(values).any())
    if drawn:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="Iteration", ylabel="Loss", title="Learning curves of NST")
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
    return figure


def comparison(
    target: np.ndarray[Any, Any], style: np.ndarray[Any, Any], results: Mapping[str, np.ndarray[Any, Any]]
) -> Figure:
    """Target and style above, (y, x) gray, then each result, by its title, with its signed difference to the target."""
    from matplotlib.figure import Figure

    rows = 1 + len(results)
    figure = Figure(figsize=(7.2, 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    low, high = float(target.min()), float(target.max())
    for axes, image, title in ((grid[0, 0], target, "target"), (grid[0, 1], style, "style")):
        axes.imshow(image, cmap="gray")
        axes.set_title(title)
    differences = {name: image.astype(float) - target.astype(float) for name, image in results.items()}
    # One scale for all, so that a weak edit looks weak beside a strong one.
    limit = max((float(np.abs(d).max()) for d in differences.values()), default=0.0) or 1.0
    for row, (name, image) in enumerate(results.items(), start=1):
        grid[row, 0].imshow(image, cmap="gray", vmin=min(low, float(image.min())), vmax=max(high, float(image.max())))
        grid[row, 0].set_title(name)
        shown = grid[row, 1].imshow(differences[name], cmap="RdBu_r", vmin=-limit, vmax=limit)
        grid[row, 1].set_title(f"{name} - target")
        figure.colorbar(shown, ax=grid[row, 1], label="gray levels", shrink=0.85)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
    return figure
