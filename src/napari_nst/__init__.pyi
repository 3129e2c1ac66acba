from .documented.mdrnn import MDRNNPreProcessor
from .documented.nst import NST, NSTPipelineManager
from .engine.backbone import VGG
from .errors import StyleTransferError, StyleTransferWarning
from .imaging.mosaic import cone_mosaic, mosaic_pair
from .imaging.padding import pad_to_square, unpad_from_square
from .io.filenames import AosloName, NameTemplate
from .io.images import ImageFile
from .metrics.assessment import Assessment, assess
from .session.cropping import PatchCropper, stitch
from .session.pairing import CorrespondingPatchFinder
from .session.plan import SessionPlan
from .session.planning import plan_session
from .session.run import SessionProgress, SessionResult, enhance_session
from .settings.parameters import StyleTransferParameters
from .settings.session import SessionSettings
from .transfer.api import StyleTransfer, transfer_steps, transfer_style
from .transfer.files import save_transfer
from .transfer.record import arguments_from

__version__: str

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
