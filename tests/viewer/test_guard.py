"""In processes of their own: torch after OpenGL, and what opening the dock imports."""

import os
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import sys
import numpy as np
import napari
from qtpy.QtWidgets import QApplication

def drawn():
    viewer = napari.Viewer(show=True)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 48, 48), dtype=np.uint8)
    viewer.add_image(pixels[0], name="target")
    viewer.add_image(pixels[1], name="style")
    for _ in range(20):
        QApplication.processEvents()
    assert viewer.window.screenshot(flash=False).any()
    return viewer

def open_widget(viewer):
    from napari_nst.viewer.transfer.widget import StyleTransferWidget
    from napari.utils._proxies import PublicOnlyProxy
    widget = StyleTransferWidget(PublicOnlyProxy(viewer))
    viewer.window.add_dock_widget(widget)
    return widget

def open_session(viewer):
    return viewer.window.add_plugin_dock_widget("napari-nst", "Enhance Session")[1]

viewer = drawn()
"""

AFTER_OPENGL = """
import napari_nst.engine._torch
import torch, torchvision
x = torch.ones(4, requires_grad=True)
optimizer = torch.optim.Adam([x])
x.square().sum().backward()
optimizer.step()
viewer.close()
print("survived")
"""

WHOLE_RUN = """
widget = open_widget(viewer)
widget.parameters.preset.value = "texture"
widget.parameters.epoch.value = 2
widget.write_files.value = False
ends = []
widget.finished.connect(ends.append)
widget.run()
while not ends:
    QApplication.processEvents()
assert ends[0] is not None
QApplication.processEvents()
viewer.close()
print("survived")
"""

ONLY_OPENED = """
widget = open_widget(viewer)
for _ in range(10):
    QApplication.processEvents()
heavy = [name for name in ("torch", "torchvision", "cv2", "matplotlib", "triton") if name in sys.modules]
viewer.close()
assert not heavy, heavy
print("survived")
"""


SESSION_OPENED = ONLY_OPENED.replace("open_widget(viewer)", "open_session(viewer)")

WHOLE_SESSION = """
from pathlib import Path
import tifffile
from napari_nst.imaging.mosaic import cone_mosaic
Path("images").mkdir()
for number, poor in enumerate([{}, {"psf_fwhm": 0.9, "photons": 30.0}]):
    image = cone_mosaic((100, 180), spacing=9.0, seed=number, **poor).image
    tifffile.imwrite(f"images/retina_{number}.tif", image)
widget = open_session(viewer)
widget.folder.value = "images"
chosen = {"size": 100, "threshold": 6.0, "treat": "all", "preset": "texture", "epoch": 2, "figures": False}
for name, value in chosen.items():
    widget.settings[name].value = value
widget.settings.content_layers.value = ("relu2_1",)
widget.settings.style_layers.value = ("relu1_1", "relu2_1")
widget.workers.value = 1
ends = []
widget.finished.connect(ends.append)
widget.run()
while not ends:
    QApplication.processEvents()
assert ends[0] is not None, widget.panel.status.text()
assert "enhanced" in set(ends[0].table["status"]), ends[0].table[["status", "error", "reason"]].to_string()
viewer.close()
print("survived")
"""

SCRIPTS = {
    "torch": AFTER_OPENGL,
    "run": WHOLE_RUN,
    "dock": ONLY_OPENED,
    "session": WHOLE_SESSION,
    "session dock": SESSION_OPENED,
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_process_of_its_own(script, tmp_path):
    """Mesa's OpenGL and triton in one process end in a segmentation fault, unless the guard comes first."""
    environment = {**os.environ, "NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "survived" in done.stdout
