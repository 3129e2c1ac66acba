"""The demonstration: a synthetic pair of cone mosaics, two presets, and everything that a run leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_nst.imaging.mosaic import MosaicPair, mosaic_pair
from napari_nst.io.atomic import free_stem, write_new
from napari_nst.io.images import write_image
from napari_nst.transfer.curves import comparison
from napari_nst.transfer.files import save_figure, save_transfer

if TYPE_CHECKING:
    from napari_nst.transfer.api import StyleTransfer, TransferProgress

_SIZE = (160, 160)
_PRESETS = ("documented", "microscopy")

Bars = Callable[[str], AbstractContextManager[Callable[["TransferProgress"], None]]]


class DemoResults(NamedTuple):
    """What the demonstration made: the pair, the result of each preset, and the folder of the files."""

    pair: MosaicPair
    results: dict[str, StyleTransfer]
    folder: Path


def run_demo(output: Path | None, *, cancel: threading.Event, progress: Bars) -> DemoResults:
    """Run the demonstration and say where everything is; FileError if the folder cannot be written to.

    Without `output` it is a new folder ``napari-nst-demo`` in the current one.  When `cancel` is set, the current run ends and is kept,
    and no further one starts.  `progress` gives, for a title, a context manager around the callback of a transfer.
    """
    from napari_nst.metrics import assess
    from napari_nst.transfer.api import transfer_style

    folder = output or Path(free_stem(".", "napari-nst-demo", ["{}"]))
    pair = mosaic_pair(_SIZE)
    print(f"Target: a blurred, noisy mosaic of {len(pair.target_cones)} cones. Style: a clear mosaic of another place.")
    write_image(folder / "target.tif", pair.target)
    write_image(folder / "style.tif", pair.style)
    table = {"fmt": "%.3f", "delimiter": ",", "header": "row,column", "comments": ""}
    write_new(folder / "target_cones.csv", lambda temporary: np.savetxt(temporary, pair.target_cones, **table))
    demo = DemoResults(pair, {}, folder)
    for preset in _PRESETS:
        if cancel.is_set():
            break
        with progress(preset) as show:
            result = transfer_style(pair.target, pair.style, preset=preset, callback=show, cancel=cancel)
        saved = save_transfer(result, folder / preset, "target", "style")
        demo.results[preset] = result
        total, facts = result.losses.total, result.metadata
        if not len(total):
            print(f"{preset}: stopped before its first step.")
            continue
        print(
            f"{preset}: {result.stopped} after {len(total)} steps, {facts['seconds']:.1f} s on {facts['used']['device_name']}, "
            f"total loss {total[0]:.3g} -> {total[-1]:.3g}; {saved.image}"
        )
        assessment = assess(pair.target, result.image, pair.style)
        figure = save_figure(folder / preset / "assessment.png", assessment.figure())
        print(f"{preset}: {assessment.verdict.level}. {assessment.verdict.text.partition('. ')[0]}. See {figure}")
    if demo.results:
        images = {name: result.image for name, result in demo.results.items()}
        figure = save_figure(folder / "comparison.png", comparison(pair.target, pair.style, images))
        found = {
            name: np.corrcoef(pair.reference.ravel(), image.ravel())[0, 1]
            for name, image in {"target": pair.target, **images}.items()
        }
        print("Correlation with the undegraded mosaic:", ", ".join(f"{name} {r:.3f}" for name, r in found.items()))
        print(f"Comparison: {figure}")
    print(f"Everything is in {folder.resolve()}")
    return demo
