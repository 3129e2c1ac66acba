"""Neural style transfer for microscopy, in napari.

Everything here is loaded when it is first used: importing this package imports neither torch, torchvision, OpenCV nor
matplotlib.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_nst.engine.backbone import VGG
    from napari_nst.engine.parameters import StyleTransferParameters
    from napari_nst.errors import StyleTransferError, StyleTransferWarning
    from napari_nst.images.files import ImageFile
    from napari_nst.images.mosaic import cone_mosaic, mosaic_pair
    from napari_nst.images.padding import pad_to_square, unpad_from_square
    from napari_nst.outputs import save_transfer
    from napari_nst.pipeline import NST, NSTPipelineManager
    from napari_nst.record import arguments_from
    from napari_nst.transfer import StyleTransfer, transfer_steps, transfer_style

try:
    __version__ = version("napari-nst")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"

_WHERE = {
    "NST": "pipeline",
    "NSTPipelineManager": "pipeline",
    "VGG": "engine.backbone",
    "ImageFile": "images.files",
    "StyleTransfer": "transfer",
    "StyleTransferError": "errors",
    "StyleTransferParameters": "engine.parameters",
    "StyleTransferWarning": "errors",
    "arguments_from": "record",
    "cone_mosaic": "images.mosaic",
    "mosaic_pair": "images.mosaic",
    "pad_to_square": "images.padding",
    "save_transfer": "outputs",
    "transfer_steps": "transfer",
    "transfer_style": "transfer",
    "unpad_from_square": "images.padding",
}

__all__ = [
    "NST",
    "VGG",
    "ImageFile",
    "NSTPipelineManager",
    "StyleTransfer",
    "StyleTransferError",
    "StyleTransferParameters",
    "StyleTransferWarning",
    "__version__",
    "arguments_from",
    "cone_mosaic",
    "mosaic_pair",
    "pad_to_square",
    "save_transfer",
    "transfer_steps",
    "transfer_style",
    "unpad_from_square",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
