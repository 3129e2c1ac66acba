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
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from qtpy.QtCore import QObject, Signal
from superqt.utils import WorkerBase

from napari_nst.errors import OutOfMemoryError, StyleTransferError, StyleTransferWarning

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
            with _warnings_to(self._control.report):
                try:
                    outcome = Outcome(self._work(self._request, self._control))
                except BaseException as error:  # noqa: BLE001  # whatever it is, the user must hear of it
                    outcome = Outcome(error=_for_user(error))
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


#: Thread to listener.
_listeners: dict[int, Callable[[Any], object]] = {}
_lock = threading.Lock()
_ALWAYS = ("always", None, StyleTransferWarning, None, 0)
_before: Callable[..., Any] | None = None


@contextmanager
def _warnings_to(listener: Callable[[Any], object]) -> Iterator[None]:
    """Send each StyleTransferWarning of this thread to a listener, and leave all other warnings alone.

    Python shows a warning of one place once only; a second run must warn again. ``warnings.catch_warnings`` does not
    serve: it is process-wide, and runs that overlap would restore each other's state.
    """
    global _before
    thread = threading.get_ident()
    with _lock:
        if not _listeners:
            _before = warnings.showwarning
            warnings.simplefilter("always", StyleTransferWarning)
            warnings.showwarning = _show
        _listeners[thread] = listener
    try:
        yield
    finally:
        with _lock:
            del _listeners[thread]
            if not _listeners:
                if warnings.showwarning is _show and _before is not None:
                    warnings.showwarning = _before  # what others have installed since then stays
                filters: list[Any] = warnings.filters  # type: ignore[assignment]  # a list, whatever its stub says
                if _ALWAYS in filters:
                    filters.remove(_ALWAYS)


def _show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
    listener = _listeners.get(threading.get_ident())
    if listener is not None and issubclass(category, StyleTransferWarning):
        listener(message)
    elif _before is not None:
        _before(message, category, *args, **kwargs)
