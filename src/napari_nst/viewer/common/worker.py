"""Long computations off the GUI thread; :mod:`napari_nst.viewer.common.job` is what the GUI thread sees of one.

The work is a plain function ``work(request, control)`` that knows arrays and files, but no layers and no widgets:

- It calls ``control.report(event)`` for everything that the GUI thread shall know; any object is an event, and comes out of
  ``Job.reported``. A warning for the user is an event, too: a StyleTransferWarning comes out of ``Job.warned`` as text.
- Of events of which only the newest counts, it reports one where ``control.rested(seconds)``: a fast computation would
  else keep a slow screen busy with nothing else.
- It hands ``control.cancelled``, an Event, as `cancel` to what it calls, and returns soon after it was set.
  A KeyboardInterrupt, with which functions end that have no partial result, is an end without value.
- Between steps it calls ``control.wait()``, if it can be paused.
- What it returns, or the error that it raises, becomes an :class:`Outcome`; errors that nobody foresaw are logged.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from napari.qt.threading import FunctionWorker
from qtpy.QtCore import QObject, Signal
from superqt.utils import WorkerBase

from napari_nst.errors import OutOfMemoryError, StyleTransferError, StyleTransferWarning
from napari_nst.viewer.common.listening import listen, unlisten

__all__ = ["Control", "ListeningWorker", "Outcome", "Worker", "without_frames"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The end of the work: its value, or the error that prevented it, or neither when it was cancelled before."""

    value: Any = None
    error: StyleTransferError | None = None


class Control:
    """What passes between the GUI thread and the work; every method may be called in any thread.

    Attributes
    ----------
    cancelled : Event
        Whether the work shall end, with what was reached.
    abandoned : bool
        Whether nobody is left to hear of its end, because the viewer closes.
    """

    def __init__(self) -> None:
        self.cancelled = Event()
        self.abandoned = False
        self.send: Callable[[Any], object] = lambda event: None
        self._going = Event()
        self._going.set()
        self._reported = self._handled = 0
        self._handled_at = 0.0

    @property
    def paused(self) -> bool:
        """Whether a pause was asked for."""
        return not self._going.is_set()

    def stop(self) -> None:
        """Ask for an end, also while paused."""
        self.cancelled.set()
        self._going.set()

    def abandon(self) -> None:
        """Ask for an end that nobody hears of."""
        self.abandoned = True
        self.stop()

    def pause(self) -> None:
        """Ask for a pause after the step at work."""
        if not self.cancelled.is_set():
            self._going.clear()

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    def wait(self) -> float:
        """Wait while paused; gives the seconds that this took."""
        started = time.perf_counter()
        self._going.wait()
        return time.perf_counter() - started

    def report(self, event: Any) -> None:
        """Send an event to the GUI thread, which handles them one after the other."""
        self._reported += 1
        self.send(event)

    def handled(self) -> None:
        """Note that the GUI thread is done with an event."""
        self._handled += 1
        self._handled_at = time.perf_counter()

    def rested(self, seconds: float) -> bool:
        """Whether the GUI thread is done with all events, and has had so many seconds for other things since then."""
        return self._handled == self._reported and time.perf_counter() - self._handled_at >= seconds


class _Signals(QObject):
    """Those of superqt's workers, and one for events."""

    started = Signal()
    reported = Signal(object)
    returned = Signal(object)
    finished = Signal()
    _finished = Signal(object)
    errored = Signal(object)
    warned = Signal(tuple)


class Worker(WorkerBase):  # type: ignore[type-arg]  # superqt's parameter is the type of what `work` returns
    """A worker for napari's ``create_worker`` with what a long computation needs on top.

    - ``quit``, which napari calls when its window closes, cancels the work.
    - ``returned`` emits an :class:`Outcome` at every end. napari's own worker never ends after a RuntimeError, which is
      what PyTorch raises; and the errors here hold no frames, which would hold the arrays of the work.
    - Warning filters are left alone. The base class swaps them process-wide, and workers that overlap would leave each
      other's behind.

    Parameters
    ----------
    work : callable
        ``work(request, control)``.
    request : object
        What is to be done.
    control : Control
    """

    def __init__(self, work: Callable[[Any, Control], Any], request: Any, control: Control) -> None:
        super().__init__(SignalsClass=_Signals)  # type: ignore[arg-type]  # any QObject with these signals
        self._work, self._request, self._control = work, request, control
        control.send = self.reported.emit

    def quit(self) -> None:
        """Cancel the work, and tell nobody."""
        self._control.abandon()
        super().quit()

    def run(self) -> None:
        """Run in the thread; what Qt calls."""
        try:
            self.started.emit()
            self._running = True
            listen(lambda message: self._control.report(StyleTransferWarning(message)))
            try:
                outcome = Outcome(self._work(self._request, self._control))
            except BaseException as error:  # noqa: BLE001  # whatever it is, the user must hear of it
                outcome = Outcome(error=_for_user(error))
            finally:
                unlisten()
            self._running = False
            self.returned.emit(outcome)
            self.finished.emit()
            self._finished.emit(self)
        except RuntimeError:
            # The signals' C++ side is gone: the application has ended, and nobody is left to tell.
            logger.debug("A computation outlived the application.", exc_info=True)


def _for_user(error: BaseException) -> StyleTransferError | None:
    """The error as the user is told it; None for a cancellation."""
    if isinstance(error, KeyboardInterrupt):
        return None
    if isinstance(error, MemoryError):
        error = OutOfMemoryError(
            f"There is not enough memory ({error}). Choose a smaller region or fewer workers, or close other programs."
        )
    elif not isinstance(error, StyleTransferError):
        logger.error("A computation failed:\n%s", "".join(traceback.format_exception(error)))
        text = str(error).strip().splitlines()
        error = StyleTransferError(
            f"{type(error).__name__}: {text[0] if text else 'no message'} This was not foreseen: try the device cpu, and "
            "report it with the log and the output of 'napari-nst info'."
        )
    return without_frames(error)


def without_frames(error: Any) -> Any:
    """The error without tracebacks, causes and contexts: their frames hold whatever the failed work had in memory."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


class _Control(Protocol):
    """What passes between the GUI thread and the work."""

    messages: deque[Any]

    def abandon(self) -> None:
        """Ask for an end that nobody hears of."""


class ListeningWorker(FunctionWorker):
    """napari's worker for a function, with what a long computation needs on top.

    - ``quit`` (napari calls it when its window closes) ends the computation.
    - Every end is reported in the same way, RuntimeErrors too.
    - Warning filters are left alone: the base class swaps them process-wide for the time of the work, and would take
      away those that another worker has set.

    Parameters
    ----------
    func : callable
        Takes `job` and `control`; every end is a value, nothing is raised.
    job : object
        What is to be done.
    control : object
        With ``messages``, which takes the warnings of the work, and ``abandon()``.
    """

    def __init__(self, func: Any, job: Any, control: _Control, **kwargs: Any) -> None:
        super().__init__(func, job, control, **kwargs)
        self._control = control

    def quit(self) -> None:
        """End without telling anybody."""
        self._control.abandon()
        super().quit()

    def run(self) -> None:
        """Run in the thread; what Qt calls."""
        try:
            self.started.emit()
            self._running = True
            try:
                listen(self._control.messages.append)
                ended = self.work()
            finally:
                unlisten()
            self._running = False
            self.returned.emit(ended)
            self.finished.emit()
            self._finished.emit(self)
        except RuntimeError:
            # The signals' C++ side is gone: the application has ended, and nobody is left to tell.
            logger.debug("A computation outlived the application.", exc_info=True)
