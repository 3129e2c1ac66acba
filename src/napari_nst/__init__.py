"""Neural style transfer for microscopy, in napari.

Everything here is loaded when it is first used: importing this package imports neither torch, torchvision nor
matplotlib.  What it offers stands in ``__init__.pyi``.
"""

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

from napari_nst import _moved

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]

try:
    __version__ = version("napari-nst")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"

_moved.install()
