"""Neural style transfer for microscopy, in napari.

Everything here is loaded when it is first used: importing this package imports neither torch, torchvision, OpenCV nor
matplotlib.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_nst.documented.mdrnn import MDRNNPreProcessor
    from napari_nst.documented.nst import NST, NSTPipelineManager
    from napari_nst.engine.backbone import VGG
    from napari_nst.errors import StyleTransferError, StyleTransferWarning
    from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair
    from napari_nst.imaging.padding import pad_to_square, unpad_from_square
    from napari_nst.io.aoslo import AosloName, NameTemplate
    from napari_nst.io.images import ImageFile
    from napari_nst.metrics.assessment import Assessment, assess
    from napari_nst.session.cropping import PatchCropper
    from napari_nst.session.pairing import CorrespondingPatchFinder
    from napari_nst.session.plan import SessionPlan
    from napari_nst.session.planning import plan_session
    from napari_nst.session.run import SessionProgress, SessionResult, enhance_session
    from napari_nst.session.stitching import stitch
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.settings.session import SessionSettings
    from napari_nst.transfer.api import StyleTransfer, transfer_steps, transfer_style
    from napari_nst.transfer.files import save_transfer
    from napari_nst.transfer.record import arguments_from

try:
    __version__ = version("napari-nst")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"

_WHERE = {
    "AosloName": "io.aoslo",
    "Assessment": "metrics.assessment",
    "CorrespondingPatchFinder": "session.pairing",
    "ImageFile": "io.images",
    "MDRNNPreProcessor": "documented.mdrnn",
    "NST": "documented.nst",
    "NSTPipelineManager": "documented.nst",
    "NameTemplate": "io.aoslo",
    "PatchCropper": "session.cropping",
    "SessionPlan": "session.plan",
    "SessionProgress": "session.run",
    "SessionResult": "session.run",
    "SessionSettings": "settings.session",
    "StyleTransfer": "transfer.api",
    "StyleTransferError": "errors",
    "StyleTransferParameters": "settings.parameters",
    "StyleTransferWarning": "errors",
    "VGG": "engine.backbone",
    "arguments_from": "transfer.record",
    "assess": "metrics.assessment",
    "cone_mosaic": "imaging.mosaic",
    "enhance_session": "session.run",
    "mosaic_pair": "imaging.mosaic",
    "pad_to_square": "imaging.padding",
    "plan_session": "session.planning",
    "save_transfer": "transfer.files",
    "stitch": "session.stitching",
    "transfer_steps": "transfer.api",
    "transfer_style": "transfer.api",
    "unpad_from_square": "imaging.padding",
}

__all__ = [
    "NST",
    "VGG",
    "AosloName",
    "Assessment",
    "CorrespondingPatchFinder",
    "ImageFile",
    "MDRNNPreProcessor",
    "NSTPipelineManager",
    "NameTemplate",
    "PatchCropper",
    "SessionPlan",
    "SessionProgress",
    "SessionResult",
    "SessionSettings",
    "StyleTransfer",
    "StyleTransferError",
    "StyleTransferParameters",
    "StyleTransferWarning",
    "__version__",
    "arguments_from",
    "assess",
    "cone_mosaic",
    "enhance_session",
    "mosaic_pair",
    "pad_to_square",
    "plan_session",
    "save_transfer",
    "stitch",
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
