"""Import every module of the package that needs no screen, and say with which versions."""

from __future__ import annotations

import importlib
import pkgutil

import napari_nst
from napari_nst.transfer.record import versions


def main() -> None:
    for module in pkgutil.walk_packages(napari_nst.__path__, "napari_nst."):
        if ".viewer" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in napari_nst.__all__:
        getattr(napari_nst, name)
    print("Imported with", ", ".join(f"{name} {version}" for name, version in versions().items()))


if __name__ == "__main__":
    main()
