"""Take napari and Qt out of this environment, to show that everything but the viewer works without them."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys

VIEWER = re.compile(r"(napari(?!-nst)|npe2|magicgui|superqt|qtpy|pyqt|pyside|vispy|app-model)", re.IGNORECASE)


def main() -> int:
    names = sorted({d.name for d in importlib.metadata.distributions() if VIEWER.match(d.name)})
    if not names:
        return 0
    uv = shutil.which("uv")
    remove = (
        [uv, "pip", "uninstall", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "uninstall", "-y"]
    )
    return subprocess.run([*remove, *names], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
