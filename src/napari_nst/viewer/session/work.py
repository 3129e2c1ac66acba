"""One piece of work on a session, as the GUI thread sees it."""

from __future__ import annotations

from typing import Any

from napari.qt.threading import create_worker
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nst.viewer.common import listening
from napari_nst.viewer.common.worker import ListeningWorker
from napari_nst.viewer.session.worker import Control, Ended, Job, Judged, Progress, enhance_session_work

__all__ = ["SessionWork"]

#: Milliseconds between two looks at what the worker says: it may say more than a screen can show.
_POLL = 100


class SessionWork:
    """Judging or enhancing, from its start to its end; it outlives the widget that started it if need be.

    Attributes
    ----------
    job : Job
    stopping : bool
        Whether a stop was asked for.
    """

    judged = Signal(object, description="Judged: there is a plan to show")
    row = Signal(object, description="dict: a patch is finished")
    advanced = Signal(object, description="Progress: a few times a second")
    warned = Signal(str, description="Something was done in another way than asked")
    ended = Signal(object, description="Ended")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stopping = False
        self._control = Control()
        self._seen: Progress | None = None
        what = f"Enhance Session: {job.folder.name}"
        self._worker: Any = create_worker(
            enhance_session_work,
            job,
            self._control,
            _worker_class=ListeningWorker,
            _ignore_errors=True,  # they are values here
            _progress={"desc": what, "total": 0} if job.enhance else None,
        )
        self._timer = QTimer()
        self._timer.setInterval(_POLL)
        self._timer.timeout.connect(self._look)

    def start(self) -> None:
        """Begin."""
        # Signals hold bound methods weakly: the worker keeps this object until it has ended.
        self._worker.session_work = self
        self._worker.returned.connect(self._on_returned)
        self._worker.finished.connect(self._on_finished)
        listening.install()
        self._timer.start()
        self._worker.start()

    def stop(self) -> None:
        """End soon; what is finished is kept."""
        self.stopping = True
        self._control.stop()

    def abandon(self) -> None:
        """End, and tell nobody: the viewer is being closed."""
        self._control.abandon()
        self._timer.stop()

    def _look(self) -> None:
        if self._control.abandoned:
            self._timer.stop()
            return
        while self._control.messages:
            message = self._control.messages.popleft()
            if isinstance(message, Judged):
                self.judged.emit(message)
            elif isinstance(message, str):
                self.warned.emit(message)
            else:
                self.row.emit(message)
        now = self._control.progress
        if now is not None and now is not self._seen:
            self._seen = now
            self.advanced.emit(now)

    def _on_returned(self, ended: Ended) -> None:
        self._look()
        self._end(ended)

    def _on_finished(self) -> None:
        """Comes last in any case."""
        self._end(Ended(stopped=True))

    def _end(self, ended: Ended) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._timer.stop()
        listening.uninstall()
        worker.session_work = None
        if not self._control.abandoned:
            self.ended.emit(ended)
