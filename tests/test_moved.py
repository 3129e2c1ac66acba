"""Old module paths: served for one release, with a warning, by one table."""

import importlib
import subprocess
import sys

import pytest

from napari_nst._moved import MOVED


@pytest.mark.parametrize("old", sorted(name for name in MOVED if not MOVED[name].startswith("viewer")))
def test_old_paths_warn_and_give_the_new_module(old):
    sys.modules.pop(f"napari_nst.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"is now napari_nst.{MOVED[old]}"):
        served = importlib.import_module(f"napari_nst.{old}")
    new = importlib.import_module(f"napari_nst.{MOVED[old]}")
    assert all(getattr(served, name) is getattr(new, name) for name in vars(new) if not name.startswith("_"))


def test_from_an_old_path():
    code = "from napari_nst.images.files import ImageFile; import napari_nst; print(ImageFile is napari_nst.ImageFile)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_what_was_never_there_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("napari_nst.nothing")
