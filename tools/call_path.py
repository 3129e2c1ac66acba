"""Print the calls that an image passes through, from the widget's worker thread to the first evaluation of the losses.

Run it where there is a display: ``xvfb-run -a python tools/call_path.py``.  Frames of other packages (Qt, superqt,
PyTorch) are left out.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

import napari_nst
from napari_nst.viewer.transfer.widget import StyleTransferWidget

ROOT = Path(napari_nst.__file__).parent


def main() -> int:
    """Run the widget on a small pair and print the way; the exit status is 0 when it was seen."""
    from napari_nst.engine.objective import Objective

    seen: list[traceback.FrameSummary] = []
    evaluate = Objective.evaluate

    def watched(self, x):  # type: ignore[no-untyped-def]
        seen[:] = seen or traceback.extract_stack()[:-1]
        return evaluate(self, x)

    Objective.evaluate = watched  # type: ignore[method-assign]
    viewer = napari.Viewer(show=False)
    pair = napari_nst.mosaic_pair((64, 64))
    for name, data in (("target", pair.target), ("style", pair.style)):
        viewer.add_image(np.asarray(data), name=name)
    widget = StyleTransferWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.parameters.preset.value = "texture"
    widget.parameters.epoch.value = 1
    widget.run()
    while widget.is_running:
        QApplication.processEvents()
    viewer.close()
    ours = [f for f in seen if Path(f.filename).is_relative_to(ROOT)]
    for frame in ours:
        print(f"{Path(frame.filename).relative_to(ROOT)}:{frame.name}")
    print(f"{len(ours)} calls in {len({f.filename for f in ours})} files, then objective.py:evaluate")
    return 0 if ours else 1


if __name__ == "__main__":
    sys.exit(main())
