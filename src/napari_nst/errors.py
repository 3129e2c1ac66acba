"""The errors that napari-nst raises.

None of them derives from ``RuntimeError``: napari's generator workers swallow ``RuntimeError`` (superqt,
``GeneratorWorker.work``), and PyTorch raises it for nearly everything, an exhausted GPU included.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "DivergenceError",
    "EngineError",
    "FileError",
    "ImageError",
    "OutOfMemoryError",
    "ParameterError",
    "SessionError",
    "StyleTransferError",
    "StyleTransferWarning",
    "WeightsError",
]


class StyleTransferError(Exception):
    """Base of all errors of napari-nst; the message says what was wrong, with the value, and what to do."""


class StyleTransferWarning(UserWarning):
    """Something was done in another way than asked, or may not mean what it seems to; it is also recorded."""


class ParameterError(StyleTransferError):
    """A parameter has a value that cannot be used."""


class ImageError(StyleTransferError):
    """An image cannot be used as target, style or mask."""


class FileError(StyleTransferError):
    """A file or folder could not be read or written."""


class WeightsError(StyleTransferError):
    """The weights of the network are missing, damaged, or not those of VGG-19."""


class SessionError(StyleTransferError):
    """A session cannot go on, and no patch of it could: the disk is full, or the cluster does not answer."""


class EngineError(StyleTransferError):
    """PyTorch failed while optimizing."""


class OutOfMemoryError(EngineError):
    """The device has too little memory for this image."""


class DivergenceError(EngineError):
    """A loss became NaN or infinite.

    Attributes
    ----------
    step : int
        The step, counted from 0, whose losses were not finite.
    partial : object or None
        What was reached before: the last good result.
    """

    def __init__(self, message: str, step: int, partial: Any = None) -> None:
        super().__init__(message)
        self.step = step
        self.partial = partial
