"""The part of a session that happens off the GUI thread: planning it, and enhancing its patches."""

from __future__ import annotations

import logging
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import create_worker
from numpy.typing import NDArray
from PIL import Image
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nst.errors import OutOfMemoryError, SessionError, StyleTransferError
from napari_nst.session.plan import SessionPlan
from napari_nst.session.store import SessionStore
from napari_nst.viewer.common import listening
from napari_nst.viewer.common.worker import ListeningWorker, without_frames
from napari_nst.viewer.session.table import THUMBNAIL

if TYPE_CHECKING:
    from napari_nst.session.run import SessionProgress, SessionResult
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.settings.session import SessionSettings

__all__ = ["SessionJob", "SessionWork", "ShownPlan", "WorkEnd", "automatic_output"]

logger = logging.getLogger(__name__)

#: Milliseconds between two looks at what the worker says: it may say more than a screen can show.
_POLL = 100


@dataclass(frozen=True)
class SessionJob:
    """All that is needed, taken from the fields before the work starts.

    Attributes
    ----------
    folder : Path
    output : Path or None
        None: a new folder beside the input.
    settings, parameters
        What is entered now.
    plan : SessionPlan or None
        One that is there already; changed where that is enough, else made again.
    fresh : bool
        Whether the images shall be read in any case.
    edits : dict
        Patch to style, by hand; "" for none.
    thumbnails : dict
        Those of the plan.
    enhance : bool
        Whether to go on after planning.
    workers : int or "auto"
    scheduler : str
    """

    folder: Path
    output: Path | None
    settings: SessionSettings
    parameters: StyleTransferParameters
    plan: SessionPlan | None = None
    fresh: bool = False
    edits: Mapping[str, str] = field(default_factory=dict)
    thumbnails: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    enhance: bool = False
    workers: int | str = "auto"
    scheduler: str = ""


@dataclass(frozen=True)
class ShownPlan:
    """A plan, and what is shown of it.

    Attributes
    ----------
    plan : SessionPlan
    thumbnails : dict
        Patch to a small gray image, uint8.
    output : Path
        Where the results go.
    rows : dict
        Patch to its row of results, of those that are finished there already.
    dropped : list of str
        Patches whose style was chosen by hand and that are not there any more.
    """

    plan: SessionPlan
    thumbnails: Mapping[str, NDArray[np.uint8]]
    output: Path
    rows: dict[str, dict[str, Any]]
    dropped: list[str]


@dataclass(frozen=True)
class WorkEnd:
    """The end: a result where there is one, the error that prevented it, or neither when it was stopped."""

    result: SessionResult | None = None
    error: StyleTransferError | None = None
    stopped: bool = False


class _Control:
    """Stop, from any thread; and messages on their way to the GUI thread."""

    def __init__(self) -> None:
        self.cancelled = Event()
        self.abandoned = False
        #: ShownPlan, rows of finished patches (dict), and warnings (str), in their order.
        self.messages: deque[ShownPlan | dict[str, Any] | str] = deque()
        self.progress: SessionProgress | None = None

    def abandon(self) -> None:
        """Ask for an end that nobody hears of."""
        self.abandoned = True
        self.cancelled.set()


def enhance_session_work(job: SessionJob, control: _Control) -> WorkEnd:
    """Plan, and enhance if that is asked for; every end is a value, nothing is raised."""
    try:
        return _work(job, control)
    except KeyboardInterrupt:  # this is how making a plan ends when it is cancelled
        return WorkEnd(stopped=True)
    except StyleTransferError as error:
        failure: BaseException = error
    except MemoryError as error:
        failure = OutOfMemoryError(
            f"There is not enough memory ({error}). Choose fewer workers, or close other programs."
        )
    except Exception as error:  # noqa: BLE001  # nothing may be lost on the way to the user
        logger.error("A session failed:\n%s", "".join(traceback.format_exception(error)))
        text = str(error).strip().splitlines()
        failure = SessionError(
            f"{type(error).__name__}: {text[0] if text else 'no message'} This was not foreseen: what is finished is kept. "
            "Report it with the log and the output of 'napari-nst info'."
        )
    assert isinstance(failure, StyleTransferError)
    without_frames(failure)
    return WorkEnd(error=failure)


def _work(job: SessionJob, control: _Control) -> WorkEnd:
    # First of all: without this guard, torch after OpenGL kills the process on Mesa.
    from napari_nst.engine import _torch  # noqa: F401  # imported for what it does

    shown = _plan(job, control)
    control.messages.append(shown)
    if not job.enhance:
        return WorkEnd(stopped=control.cancelled.is_set())
    from napari_nst.session.run import enhance_session

    def report(now: SessionProgress) -> None:
        if now.row is not None:
            control.messages.append(now.row)
        control.progress = now

    workers = job.workers
    if workers == "auto" and not job.scheduler and _started_by_a_bare_script():
        workers = 1
        control.messages.append(
            "One process is used: the script that opened this viewer has no line `if __name__ == '__main__':`, so every "
            "worker would open a viewer too. Add it for more."
        )
    result = enhance_session(
        job.folder,
        shown.output,
        plan=shown.plan,
        workers=workers,
        scheduler=job.scheduler,
        spare_cores=1,
        callback=report,
        cancel=control.cancelled,
    )
    return WorkEnd(result, stopped=result.state == "cancelled")


def _plan(job: SessionJob, control: _Control) -> ShownPlan:
    from napari_nst.session.planning import needs_reading, plan_session, replan, with_pairs
    from napari_nst.session.run import SessionProgress

    def report(text: str, done: int, total: int) -> None:
        control.progress = SessionProgress("judging", text, done, total)

    plan, thumbnails = job.plan, job.thumbnails
    if job.fresh or plan is None or plan.folder != job.folder or needs_reading(plan, job.settings, job.parameters):
        plan = plan_session(job.folder, job.settings, job.parameters, progress=report, cancel=control.cancelled)
        report("making thumbnails", 1, 1)
        thumbnails = {}
    elif plan.settings != job.settings or plan.parameters != job.parameters or (plan.pairs_given and not job.edits):
        plan = replan(plan, job.settings, job.parameters, cancel=control.cancelled)
    names = {planned.patch.name for planned in plan.patches}
    edits = {patch: style for patch, style in job.edits.items() if patch in names and (not style or style in names)}
    if edits:
        plan = with_pairs(plan, edits)
    output = job.output or automatic_output(plan)
    return ShownPlan(
        plan,
        thumbnails or _thumbnails(plan, control.cancelled),
        output,
        _finished_rows(plan, output),
        sorted(set(job.edits) - set(edits)),
    )


def automatic_output(plan: SessionPlan) -> Path:
    """Return a folder beside the input: one that is free, or that holds this very session."""
    base, number = plan.folder.absolute(), 1
    while True:
        folder = base.with_name(f"{base.name}-enhanced" + (f"-{number}" if number > 1 else ""))
        with suppress(OSError):
            if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())) or _holds(folder, plan):
                return folder
        number += 1


def _holds(output: Path, plan: SessionPlan) -> bool:
    """Whether an output folder is of this very session."""
    try:
        state = SessionStore(output, plan.settings.folder_name).read_state()
    except StyleTransferError:
        return False  # the run will say so
    return state is not None and state.get("fingerprint") == plan.fingerprint


def _finished_rows(plan: SessionPlan, output: Path) -> dict[str, dict[str, Any]]:
    """What the records in an output folder say of the patches of this very session."""
    if not _holds(output, plan):
        return {}
    store = SessionStore(output, plan.settings.folder_name)
    records = {planned.patch.name: store.read_record(planned.patch.name) for planned in plan.patches}
    return {
        name: record["row"]
        for name, record in records.items()
        if record is not None and record.get("fingerprint") == plan.fingerprint
    }


def _thumbnails(plan: SessionPlan, cancelled: Event) -> dict[str, NDArray[np.uint8]]:
    """Small images of all patches, image after image."""
    made: dict[str, NDArray[np.uint8]] = {}
    for planned in sorted(plan.patches, key=lambda planned: planned.patch.image):
        if cancelled.is_set():
            raise KeyboardInterrupt
        low, high = plan.image_of(planned.patch).value_range
        gray = np.nan_to_num(plan.crop(planned.patch).array.astype(np.float64))
        small = Image.fromarray((255 * np.clip((gray - low) / (high - low), 0, 1)).astype(np.uint8))
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        made[planned.patch.name] = np.asarray(small)
    return made


def _started_by_a_bare_script() -> bool:
    """Whether new processes would run the script that opened the viewer, and so open it again.

    Processes are spawned: they import the main module under another name, and only its guard keeps it from running.
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or path is None:
        return False  # started as a module, or from an interactive session
    try:
        return "__main__" not in Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


class SessionWork:
    """Planning or enhancing, from its start to its end; it outlives the widget that started it if need be.

    Attributes
    ----------
    job : SessionJob
    stopping : bool
        Whether a stop was asked for.
    """

    planned = Signal(object, description="ShownPlan")
    row = Signal(object, description="dict: a patch is finished")
    advanced = Signal(object, description="SessionProgress: a few times a second")
    warned = Signal(str, description="Something was done in another way than asked")
    ended = Signal(object, description="WorkEnd")

    def __init__(self, job: SessionJob) -> None:
        self.job = job
        self.stopping = False
        self._control = _Control()
        self._seen: SessionProgress | None = None
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
        """Start."""
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
        self._control.cancelled.set()

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
            if isinstance(message, ShownPlan):
                self.planned.emit(message)
            elif isinstance(message, str):
                self.warned.emit(message)
            else:
                self.row.emit(message)
        now = self._control.progress
        if now is not None and now is not self._seen:
            self._seen = now
            self.advanced.emit(now)

    def _on_returned(self, end: WorkEnd) -> None:
        self._look()
        self._end(end)

    def _on_finished(self) -> None:
        """Comes last in any case."""
        self._end(WorkEnd(stopped=True))

    def _end(self, end: WorkEnd) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._timer.stop()
        listening.uninstall()
        worker.session_work = None
        if not self._control.abandoned:
            self.ended.emit(end)
