"""The demonstration: a synthetic pair of cone mosaics, two presets, and everything that a run leaves."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.imaging.mosaic import MosaicPair, mosaic_pair
from napari_nst.io.atomic import write_new
from napari_nst.io.images import write_image
from napari_nst.transfer.curves import comparison
from napari_nst.transfer.files import save_figure, save_transfer

if TYPE_CHECKING:
    from napari_nst.transfer.api import StyleTransfer, TransferProgress

__all__ = ["DemoResults", "run_demo"]

_SIZE = (160, 160)
_PRESETS = ("documented", "microscopy")

Bars = Callable[[str], AbstractContextManager[Callable[["TransferProgress"], None]]]


@dataclass(frozen=True)
class DemoResults:
    """What the demonstration made.

    Attributes
    ----------
    pair : MosaicPair
        Target, style, and the truth behind them.
    results : dict
        Preset to StyleTransfer.
    folder : Path
        Where the files lie.
    """

    pair: MosaicPair
    results: dict[str, StyleTransfer] = field(default_factory=dict)
    folder: Path = Path()


def run_demo(output: Path | None, *, cancel: threading.Event, progress: Bars) -> DemoResults:
    """Run the demonstration and say where everything is.

    Parameters
    ----------
    output : Path or None
        Folder for the files; None makes a new folder ``napari-nst-demo`` in the current one.
    cancel : threading.Event
        When set, the run under way ends and is kept, and no further one begins.
    progress : callable
        Gives, for a title, a context manager around the callback of a transfer.

    Raises
    ------
    FileError
        When the folder cannot be written to.
    """
    folder = _new_folder() if output is None else output
    pair = mosaic_pair(_SIZE)
    print(f"Target: a blurred, noisy mosaic of {len(pair.target_cones)} cones. Style: a clear mosaic of another place.")
    write_image(folder / "target.tif", pair.target)
    write_image(folder / "style.tif", pair.style)
    write_new(folder / "target_cones.csv", lambda temporary: _write_points(temporary, pair.target_cones))
    demo = DemoResults(pair, {}, folder)
    from napari_nst.metrics import assess
    from napari_nst.transfer.api import transfer_style

    for preset in _PRESETS:
        if cancel.is_set():
            break
        with progress(preset) as show:
            result = transfer_style(pair.target, pair.style, preset=preset, callback=show, cancel=cancel)
        saved = save_transfer(result, folder / preset, "target", "style")
        demo.results[preset] = result
        print(
            f"{preset}: {result.stopped} after {len(result.losses.total)} steps, {result.metadata['seconds']:.1f} s on "
            f"{result.metadata['used']['device_name']}, "
            f"total loss {result.losses.total[0]:.3g} -> {result.losses.total[-1]:.3g}; {saved.image}"
            if len(result.losses.total)
            else f"{preset}: stopped before its first step."
        )
        if len(result.losses.total):
            assessment = assess(pair.target, result.image, pair.style)
            figure = save_figure(folder / preset / "assessment.png", assessment.figure())
            print(f"{preset}: {assessment.verdict.level}. {assessment.verdict.text.partition('. ')[0]}. See {figure}")
    if demo.results:
        images = {name: result.image for name, result in demo.results.items()}
        figure = save_figure(folder / "comparison.png", comparison(pair.target, pair.style, images))
        print(f"Correlation with the undegraded mosaic: {_correlations(pair, images)}")
        print(f"Comparison: {figure}")
    print(f"Everything is in {folder.resolve()}")
    return demo


def _correlations(pair: MosaicPair, images: dict[str, Any]) -> str:
    truth = pair.reference.ravel().astype(float)
    rows = {"target": pair.target, **images}
    return ", ".join(
        f"{name} {np.corrcoef(truth, image.ravel().astype(float))[0, 1]:.3f}" for name, image in rows.items()
    )


def _write_points(path: Path, points: np.ndarray[Any, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "column"])
        writer.writerows([f"{row:.3f}", f"{column:.3f}"] for row, column in points)


def _new_folder() -> Path:
    number, folder = 0, Path("napari-nst-demo")
    while folder.exists():
        number += 1
        folder = Path(f"napari-nst-demo_{number}")
    return folder
