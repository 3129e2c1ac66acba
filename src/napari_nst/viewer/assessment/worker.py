"""The part of an assessment that happens off the GUI thread: it knows arrays, no layers, and needs no torch."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import create_worker
from psygnal import Signal

from napari_nst.errors import OutOfMemoryError, StyleTransferError
from napari_nst.viewer.assessment.input import AssessJob
from napari_nst.viewer.common import listening
from napari_nst.viewer.common.worker import ListeningWorker, without_frames

if TYPE_CHECKING:
    from napari_nst.metrics.assessment import Assessment

__all__ = ["AssessControl", "AssessRun", "Outcome", "assess_enhancement"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The end: an assessment, or the error that prevented it."""

    assessment: Assessment | None = None
    error: StyleTransferError | None = None


class AssessControl:
    """Whether anybody still wants to know, and the warnings on their way to the GUI thread."""

    def __init__(self) -> None:
        self.abandoned = False
        self.messages: deque[str] = deque()

    def abandon(self) -> None:
        """Nobody wants to know any more."""
        self.abandoned = True


def assess_enhancement(job: AssessJob, control: AssessControl) -> Outcome:
    """Measure; every end is a value, nothing is raised."""
    try:
        return Outcome(_assess(job))
    except StyleTransferError as error:
        failure: BaseException = error
    except MemoryError as error:
        failure = OutOfMemoryError(f"There is not enough memory ({error}). Assess a smaller region, or close others.")
    except Exception as error:  # noqa: BLE001  # nothing may be lost on the way to the user
        logger.error("An assessment failed:\n%s", "".join(traceback.format_exception(error)))
        text = str(error).strip().splitlines()
        failure = StyleTransferError(
            f"{type(error).__name__}: {text[0] if text else 'no message'} This was not foreseen: report it with the log and "
            "the output of 'napari-nst info'."
        )
    assert isinstance(failure, StyleTransferError)
    without_frames(failure)
    return Outcome(error=failure)


def _assess(job: AssessJob) -> Assessment:
    from napari_nst.metrics.assessment import assess

    target, result = (np.asarray(c.take(x)) for c, x in ((job.target_cut, job.target), (job.result_cut, job.result)))
    style = None if job.style is None or job.style_cut is None else np.asarray(job.style_cut.take(job.style))
    return assess(
        target,
        result,
        style,
        job.scale,
        mask=job.mask,
        style_mask=job.style_mask if style is not None else None,
        value_range=job.value_range,
    )


class AssessRun:
    """One assessment, as the GUI thread sees it."""

    ended = Signal(object, object, description="Outcome, and the warnings as a list of str")

    def __init__(self, job: AssessJob) -> None:
        self.job = job
        self._control = AssessControl()
        self._worker: Any = create_worker(
            assess_enhancement, job, self._control, _worker_class=ListeningWorker, _ignore_errors=True
        )

    def start(self) -> None:
        """Begin."""
        # Signals hold bound methods weakly: the worker keeps this object until it has ended.
        self._worker.assess_run = self
        self._worker.returned.connect(self._on_returned)
        self._worker.finished.connect(self._on_finished)
        listening.install()
        self._worker.start()

    def abandon(self) -> None:
        """Nobody wants to know any more."""
        self._control.abandon()

    def _on_returned(self, outcome: Outcome) -> None:
        self._end(outcome)

    def _on_finished(self) -> None:
        self._end(None)

    def _end(self, outcome: Outcome | None) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        listening.uninstall()
        worker.assess_run = None
        if outcome is not None and not self._control.abandoned:
            self.ended.emit(outcome, list(self._control.messages))
