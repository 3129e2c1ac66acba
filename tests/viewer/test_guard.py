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
    from napari_nst.viewer.widget import StyleTransferWidget
    from napari.utils._proxies import PublicOnlyProxy
    widget = StyleTransferWidget(PublicOnlyProxy(viewer))
    viewer.window.add_dock_widget(widget)
    return widget

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


@pytest.mark.parametrize("script", [AFTER_OPENGL, WHOLE_RUN, ONLY_OPENED], ids=["torch", "run", "dock"])
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
