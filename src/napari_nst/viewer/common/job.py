"""A long computation as the GUI thread sees it: the one class behind Run, Pause and Stop of every widget."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from napari.qt.threading import create_worker
from psygnal import Signal

from napari_nst.errors import StyleTransferWarning
from napari_nst.viewer.common.worker import Control, Outcome, Worker


class State(Enum):
    """What a widget's buttons depend on; IDLE is also that of a widget without job."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


class Job:
    """A computation in a worker thread, from its start to its end.

    It outlives the widget that started it if need be, ends with napari's window, and lets go of everything at its end.
    Events and the end are handled one after the other in the GUI thread.  A widget connects to the signals and calls
    ``start``; a subclass that has more to do than show it overrides ``take``, ``warn``, ``conclude`` and ``release``.

    Parameters
    ----------
    work : callable
        ``work(request, control)``, see :mod:`napari_nst.viewer.common.worker`.
    request : object
        What is to be done.
    description : str
        For napari's progress bar in the activity dock; "" for none.
    """

    reported = Signal(object, description="An event that the work has reported")
    warned = Signal(str, description="Something was done in another way than asked")
    ended = Signal(object, description="Outcome, or what the subclass makes of it; not emitted after abandon")

    def __init__(self, work: Callable[[Any, Control], Any], request: Any, description: str = "") -> None:
        self.request = request
        self._control = Control()
        self._abandoned = False
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False
        self._worker: Any = create_worker(
            work,
            request,
            self._control,
            _worker_class=Worker,
            _ignore_errors=True,  # an outcome holds them
            _progress={"desc": description, "total": 0} if description else None,
        )

    def start(self) -> None:
        """Start."""
        # Signals hold bound methods weakly: the worker keeps this object until it has ended.
        self._worker.job = self
        self._worker.reported.connect(self._on_reported)
        self._worker.returned.connect(self._on_returned)
        self._worker.start()

    @property
    def state(self) -> State:
        """What was asked for last."""
        if self._worker is None:
            return State.IDLE
        if self._control.cancelled.is_set():
            return State.STOPPING
        return State.PAUSED if self._control.paused else State.RUNNING

    def stop(self) -> None:
        """End soon, and keep what was reached."""
        self._control.stop()

    def pause(self) -> None:
        """Pause after the step at work."""
        self._control.pause()

    def resume(self) -> None:
        """Go on."""
        self._control.resume()

    def abandon(self) -> None:
        """End, and emit nothing any more: the widget or the viewer is being closed."""
        self._abandoned = True
        self._control.abandon()
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

    def conclude(self, outcome: Outcome) -> Any:
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

    def _on_returned(self, outcome: Outcome) -> None:
        self._in_turn(lambda: self._end(outcome))

    def _report(self, event: Any) -> None:
        if self._control.abandoned:
            self.release()
        elif isinstance(event, StyleTransferWarning):
            self.warn(str(event))
        else:
            self.take(event)
            self.reported.emit(event)
        self._control.handled()

    def _end(self, outcome: Outcome) -> None:
        # napari quits workers when it closes: there may be no layers any more.
        end = self.conclude(Outcome() if self._control.abandoned else outcome)
        worker, self._worker = self._worker, None
        worker.job = None
        self.release()
        if not self._abandoned:
            self.ended.emit(end)
