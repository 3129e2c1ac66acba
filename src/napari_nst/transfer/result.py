"""What a style transfer gives, and what it reports on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from napari_nst.engine.optimization import Progress

__all__ = ["Losses", "Stopped", "StyleTransfer", "TransferNotice", "TransferProgress"]

Array: TypeAlias = np.ndarray[Any, Any]


class Losses(NamedTuple):
    """Losses of every iteration, 1-D float64 arrays of equal length; of a stack, plane after plane."""

    style: Array
    original: Array
    total: Array

    @property
    def content(self) -> Array:
        """The content loss; the documented name is original."""
        return self.original


class Stopped(StrEnum):
    """Why a transfer ended; of several planes, the first of these that happened to one."""

    DIVERGED = "diverged"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    CONVERGED = "converged"
    # Of a single plane alone: it could not be used, or the transfer ended before its turn.
    SKIPPED = "skipped"
    NOT_STARTED = "not begun"


@dataclass(frozen=True)
class StyleTransfer:
    """The result of a style transfer.

    Attributes
    ----------
    image : ndarray
        Shape, dtype and value range of the target.
    losses : Losses
        Style, content ("original") and total loss of every iteration.
    metadata : dict
        JSON-able record; :func:`napari_nst.arguments_from` turns it into the arguments that repeat the run.
    stopped : {"finished", "converged", "cancelled"}
        Why it ended, a :class:`Stopped` ("diverged" in the partial result that a DivergenceError carries).
    """

    image: Array
    losses: Losses
    metadata: dict[str, Any] = field(repr=False)
    stopped: str


@dataclass(frozen=True)
class TransferNotice:
    """Something that the user should know, reported once; it is also in the record.

    Attributes
    ----------
    message : str
        What it is, and what to do.
    target : int
        Which target of a list, from 0.
    """

    message: str
    target: int = 0


@dataclass(frozen=True)
class TransferProgress:
    """One finished iteration of a transfer.

    Attributes
    ----------
    step, epoch : int
        Iterations done and iterations at most, over all planes.
    plane, planes : int
        The plane that is running, from 0, and how many there are.
    index : tuple of int
        Its index along the leading axes of the target; empty for a single image.
    target : int
        Which target of a list, from 0.  Iterations, planes and losses are those of this target.
    tiles_done, tiles : int
        Of an image in tiles, while an iteration is running: tiles done and tiles to do before it is finished.  `step` and
        `losses` are then those of the last finished iteration (0 and NaN before the first).  0 and 0 after an iteration.
    """

    step: int
    epoch: int
    plane: int
    planes: int
    index: tuple[int, ...]
    _progress: Progress
    _render: Callable[[], Array]
    target: int = 0
    tiles_done: int = 0
    tiles: int = 0

    @property
    def losses(self) -> tuple[float, float, float]:
        """Style, content and total loss of this iteration; on a GPU, asking waits for it."""
        return self._progress.losses

    def image(self) -> Array:
        """The plane as it is now, in the shape, dtype and value range of the target's plane."""
        return self._render()
