"""A worker for long computations beside others: it ends with the window, tells every end, and hears its own warnings only."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, Protocol

from napari.qt.threading import FunctionWorker

from napari_nst.viewer.common.listening import listen, unlisten

__all__ = ["ListeningWorker"]

logger = logging.getLogger(__name__)


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
