"""Make the pictures of the README from the real plugin, on the sample data.

On a machine with a screen: ``python docs/screenshots.py``; without one::

    xvfb-run -a -s "-screen 0 1280x768x24" python docs/screenshots.py
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before napari is imported: its defaults, not the settings of whoever makes the pictures.
_CONFIG = tempfile.TemporaryDirectory()
os.environ["NAPARI_CONFIG"] = str(Path(_CONFIG.name) / "settings.yaml")

import napari  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from qtpy.QtCore import Qt  # noqa: E402
from qtpy.QtWidgets import QApplication  # noqa: E402

from napari_nst.imaging.mosaic import cone_mosaic  # noqa: E402
from napari_nst.io.images import write_image  # noqa: E402
from napari_nst.viewer import commands  # noqa: E402

WIDTH, HEIGHT = 1280, 768
LARGEST = 400_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images", help="where the PNGs go")
    parser.add_argument("--minutes", type=float, default=15, help="how long the run may take")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    viewer = napari.Viewer(show=True)
    viewer.window.resize(WIDTH, HEIGHT)
    target, style, _ = viewer.open_sample("napari-nst", "cone_mosaic_pair")
    result = run(viewer, target, style, "microscopy", 60 * options.minutes)
    for layer in (target, style):
        layer.visible = layer is style
    viewer.layers.selection.active = result
    shoot(viewer, options.out / "widget.png", [result, style])

    target.visible = True
    commands.compare_side_by_side(viewer)
    settle()
    keep(viewer, options.out / "compare.png", parts=3)
    commands.compare_side_by_side(viewer)

    style.visible = False
    commands.signed_difference(viewer)
    shoot(viewer, options.out / "difference.png", [result])
    viewer.layers[-1].visible = False
    commands.target_result_checkerboard(viewer)
    shoot(viewer, options.out / "checkerboard.png", [result])
    viewer.layers[-1].visible = False
    # A preset that draws into the vessel: what the panel is there for.
    doubtful = run(viewer, target, style, "texture", 60 * options.minutes)
    result.visible = False
    assess(viewer, doubtful)
    settle()
    keep(viewer, options.out / "assess.png", parts=1)
    viewer.close()

    # A viewer of its own: the widget of the other pictures would take its place.
    viewer = napari.Viewer(show=True)
    viewer.window.resize(WIDTH, HEIGHT)
    with tempfile.TemporaryDirectory(prefix="napari-nst-") as folder:
        enhance_session(viewer, Path(folder) / "session", 60 * options.minutes)
        settle()
        keep(viewer, options.out / "session.png", parts=3)
        viewer.close()
    return 0


def run(viewer: napari.Viewer, target: Any, style: Any, preset: str, seconds: float) -> Any:
    """A transfer through the widget, as a user starts it; gives the result layer."""
    widget = commands.open_widget(viewer)
    widget.target.value, widget.style.value = target, style
    widget.parameters.preset.value = preset
    widget.parameters.device.value = "cpu"
    widget.write_files.value = False
    ended: list[Any] = []
    widget.finished.connect(ended.append)
    widget.run()
    wait(lambda: bool(ended), seconds, "the end of the run")
    if ended[0] is None:
        raise SystemExit("The run has given no result; the message of the widget says why.")
    settle()
    return ended[0]


def assess(viewer: napari.Viewer, result: Any) -> None:
    """The assessment of a result, as the button starts it, at the first place to look at."""
    viewer.layers.selection.active = result
    commands.assess_selected(viewer)
    widget = commands.open_assessment(viewer)
    wait(lambda: not widget.is_running, 120, "the end of the assessment")
    if widget.assessment is None:
        raise SystemExit(f"The assessment has failed: {widget.panel.status.text()}")
    if widget.assessment.cones.places:
        widget.show_place(0)


def enhance_session(viewer: napari.Viewer, folder: Path, seconds: float) -> None:
    """A whole session through its widget, of three images of which the second one is hazy; shows one of its patches."""
    folder.mkdir()
    for number, poor in enumerate([{}, {"psf_fwhm": 0.62, "photons": 250.0, "halo": 0.4}, {}]):
        picture = cone_mosaic((256, 300), spacing=9.0, seed=number + 1, **poor).image
        name = f"Subject34_Session274_OS_({number},0)_1.0x1.0_{4490 + number}_Confocal_extract_reg_avg.tif"
        write_image(folder / name, picture)
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Enhance Session")
    widget.folder.value = folder
    widget.settings.method.value = "spectrum"
    widget.settings.figures.value = False
    widget.workers.value = 1
    ended: list[Any] = []
    widget.finished.connect(ended.append)
    widget.run()
    wait(lambda: bool(ended), seconds, "the end of the session")
    if ended[0] is None or not ended[0].ok:
        raise SystemExit(f"The session has failed: {widget.panel.status.text()}")
    settle()
    patch = widget.plan.treated[1].patch.name
    widget.view.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    widget.view.select(patch)
    widget.show_patch(patch)


def shoot(viewer: napari.Viewer, path: Path, layers: list[Any]) -> None:
    """The whole window, with some layers filling the canvas."""
    settle()
    viewer.fit_to_view(layers=layers)
    settle()
    keep(viewer, path, parts=1)


def keep(viewer: napari.Viewer, path: Path, parts: int) -> None:
    """Write a picture of the window, once it is sure that every part of the canvas shows something."""
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    for part in np.array_split(canvas[..., :3].astype(float), parts, axis=1):
        if part.std() < 8 or part.mean() < 8:
            raise SystemExit(f"{path.name}: a part of the canvas is black or plain; was anything drawn?")
    window = viewer.screenshot(canvas_only=False, flash=False)[..., :3]
    if len(np.unique(window.reshape(-1, 3), axis=0)) < 100:
        raise SystemExit(f"{path.name}: the window is plain; was anything drawn?")
    picture = Image.fromarray(np.ascontiguousarray(window))
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        # Noise does not compress; 256 well chosen colours are not told from all of them.
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path} {picture.width}x{picture.height}, {path.stat().st_size / 1000:.0f} kB")


def settle(seconds: float = 0.7) -> None:
    """Let Qt lay out and draw: the first picture of a canvas that has not been drawn is black."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def wait(done: Callable[[], bool], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"Waited {seconds:.0f} s in vain for {what}.")
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
