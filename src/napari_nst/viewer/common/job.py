"""Long computations off the GUI thread: the one class behind Run, Pause and Stop of every widget.

The work is a plain function ``work(request, control)`` that knows arrays and files, but no layers and no widgets:

- It calls ``control.report(event)`` for everything that the GUI thread shall know; any object is an event, and comes out of
  ``Job.reported``. A warning for the user is an event, too: a StyleTransferWarning comes out of ``Job.warned`` as text.
- Of events of which only the newest counts, it reports one where ``control.rested(seconds)``: a fast computation would
  else keep a slow screen busy with nothing else.
- It hands ``control.cancelled``, an Event, as `cancel` to what it calls, and returns soon after it was set.
  A KeyboardInterrupt, with which functions end that have no partial result, is an end without value.
- Between steps it calls ``control.wait()``, if it can be paused.
- What it returns, or the error that it raises, becomes an :class:`JobOutcome`; errors that nobody foresaw are logged.
"""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Event
from typing import Any

import psygnal
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal
from superqt.utils import WorkerBase

from napari_nst.errors import OutOfMemoryError, StyleTransferError, StyleTransferWarning

logger = logging.getLogger(__name__)


class State(Enum):
    """What a widget's buttons depend on; IDLE is also that of a widget without job."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


@dataclass(frozen=True)
class JobOutcome:
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
        """Ask for an end, also while paused; what was reached is kept."""
        self.cancelled.set()
        self._going.set()

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


class _Worker(WorkerBase):  # type: ignore[type-arg]  # superqt's parameter is the type of what `work` returns
    """A worker for napari's ``create_worker`` with what a long computation needs on top.

    - ``quit``, which napari calls when its window closes, cancels the work, and tells nobody.
    - ``returned`` emits an :class:`JobOutcome` at every end. napari's own worker never ends after a RuntimeError, which is
      what PyTorch raises; and the errors here hold no frames, which would hold the arrays of the work.
    - Warning filters are left alone. The base class swaps them process-wide, and workers that overlap would leave each
      other's behind.
    """

    def __init__(self, work: Callable[[Any, Control], Any], request: Any, job: Job) -> None:
        super().__init__(SignalsClass=_Signals)  # type: ignore[arg-type]  # any QObject with these signals
        # Signals hold bound methods weakly: the worker keeps the job until it has ended.
        self._work, self._request, self.job = work, request, job
        job.send = self.reported.emit

    def quit(self) -> None:
        self.job.abandoned = True
        self.job.stop()
        super().quit()

    def run(self) -> None:
        """Run in the thread; what Qt calls."""
        try:
            self.started.emit()
            self._running = True
            try:
                outcome = JobOutcome(self._work(self._request, self.job))
            except BaseException as error:  # noqa: BLE001  # whatever it is, the user must hear of it
                outcome = JobOutcome(error=_for_user(error))
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
    # Their frames hold whatever the failed work had in memory.
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


class Job(Control):
    """A computation in a worker thread, from its start to its end, as the GUI thread sees it.

    It outlives the widget that started it if need be, ends with napari's window, and lets go of everything at its end.
    Events and the end are handled one after the other in the GUI thread.  A widget connects to the signals and calls
    ``start``; a subclass that has more to do than show it overrides ``take``, ``warn``, ``conclude`` and ``release``.
    The description is for napari's progress bar in the activity dock; "" for none.
    """

    reported = psygnal.Signal(object, description="An event that the work has reported")
    warned = psygnal.Signal(str, description="Something was done in another way than asked")
    ended = psygnal.Signal(
        object, description="JobOutcome, or what the subclass makes of it; not emitted after abandon"
    )

    def __init__(self, work: Callable[[Any, Control], Any], request: Any, description: str = "") -> None:
        super().__init__()
        self.request = request
        self._silent = False
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False
        self._worker: Any = create_worker(
            work,
            request,
            self,
            _worker_class=_Worker,
            _ignore_errors=True,  # an outcome holds them
            _progress={"desc": description, "total": 0} if description else None,
        )

    def start(self) -> None:
        """Start."""
        self._worker.reported.connect(self._on_reported)
        self._worker.returned.connect(self._on_returned)
        self._worker.start()

    @property
    def state(self) -> State:
        """What was asked for last."""
        if self._worker is None:
            return State.IDLE
        if self.cancelled.is_set():
            return State.STOPPING
        return State.PAUSED if self.paused else State.RUNNING

    def abandon(self) -> None:
        """End, and emit nothing any more: the widget or the viewer is being closed."""
        self._silent = self.abandoned = True
        self.stop()
        self.release()

    def show_progress(self, done: int, total: int) -> None:
        """Move the bar in napari's activity dock."""
        with contextlib.suppress(RuntimeError):  # the dock has been closed
            self._worker.pbar.total = total
            self._worker.pbar.update(done - self._worker.pbar.n)

    # For subclasses ----------------------------------------------------------------------------------------------

    def take(self, event: Any) -> None:
        """Handle an event before it is emitted."""

    def warn(self, message: str) -> None:
        """Handle a warning."""
        self.warned.emit(message)

    def conclude(self, outcome: JobOutcome) -> Any:
        """Handle the end; gives what ``ended`` emits.  An outcome with neither value nor error leaves the viewer alone."""
        return outcome

    def release(self) -> None:
        """Let go of the viewer; called at every end, perhaps more than once."""

    # Slots, in the GUI thread ------------------------------------------------------------------------------------

    def _in_turn(self, handle: Callable[[], None]) -> None:
        """Handle messages one after the other.

        napari processes events while its progress bar is updated: the next message would be handled inside this one.
        """
        self._waiting.append(handle)
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            self._busy = False

    def _on_reported(self, event: Any) -> None:
        self._in_turn(lambda: self._report(event))

    def _on_returned(self, outcome: JobOutcome) -> None:
        self._in_turn(lambda: self._end(outcome))

    def _report(self, event: Any) -> None:
        if self.abandoned:
            self.release()
        elif isinstance(event, StyleTransferWarning):
            self.warn(str(event))
        else:
            self.take(event)
            self.reported.emit(event)
        self._handled += 1
        self._handled_at = time.perf_counter()

    def _end(self, outcome: JobOutcome) -> None:
        # napari quits workers when it closes: there may be no layers any more.
        end = self.conclude(JobOutcome() if self.abandoned else outcome)
        self._worker = None
        self.release()
        if not self._silent:
            self.ended.emit(end)
