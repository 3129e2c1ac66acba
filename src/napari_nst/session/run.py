"""A whole session: crop, assess, pair, enhance, record, stitch; and go on where a stopped run was."""

from __future__ import annotations

import datetime
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, ParameterError
from napari_nst.session.cluster import check_not_starting, choose_workers, connect, local_workers, run_here, run_on
from napari_nst.session.effects import verdict_lines
from napari_nst.session.patch_task import PatchTask
from napari_nst.session.plan import SessionPlan
from napari_nst.session.planning import continued_plan, plan_session
from napari_nst.session.report import SessionFiles
from napari_nst.session.store import PatchRecord, PatchStatus, SessionRecord, SessionState, SessionStore
from napari_nst.settings.session import split_settings
from napari_nst.transfer.record import versions

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from napari_nst.session.planning import Pairs
    from napari_nst.transfer.api import TransferProgress

_STATUS = {
    PatchStatus.ENHANCED: "enhanced",
    PatchStatus.CORRECTED: "range-corrected",
    PatchStatus.KEPT: "kept as they are",
    PatchStatus.FAILED: "failed",
    PatchStatus.OPEN: "still to do",
}
_TABLE_EVERY = 2.0  # seconds between two writings of the table


class Stage(StrEnum):
    """What a session is doing."""

    ASSESSING = "assessing"
    CUTTING = "cutting"
    ENHANCING = "enhancing"
    STITCHING = "stitching"


@dataclass(frozen=True)
class SessionProgress:
    """How far a session is.

    Attributes
    ----------
    stage : {"assessing", "cutting", "enhancing", "stitching"}
    text : str
        What is being done.
    done, total : int
        Images or patches of this stage.
    row : dict or None
        The row of the table of the patch that was just finished.
    seconds_left : float or None
        Of the stage "enhancing", as far as it can be estimated.
    step, steps : int
        Of the patch that runs in this process; 0 elsewhere.
    """

    stage: Stage
    text: str
    done: int
    total: int
    row: dict[str, Any] | None = None
    seconds_left: float | None = None
    step: int = 0
    steps: int = 0


@dataclass(frozen=True)
class SessionResult:
    """What became of a session.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per patch; the first column is ``patch``.
    folder : Path
        The output folder.
    paths : dict
        ``table``, ``record``, ``pairs``, ``results`` (sub-folder of the method), ``raw``, ``stitched`` (list).
    state : {"finished", "cancelled"}
    plan : SessionPlan
    seconds : float
        Of this run.
    repeated : bool
        Whether the session was finished already, and only reported.
    notes : list of str
        What a user should know.
    """

    table: pd.DataFrame
    folder: Path
    paths: dict[str, Any]
    state: str
    plan: SessionPlan = field(repr=False)
    seconds: float = 0.0
    repeated: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of patches that could not be enhanced and kept their original."""
        return self.table[self.table["status"] == PatchStatus.FAILED]

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for was done."""
        return self.state == "finished" and self.failed.empty and not self.plan.unreadable

    def summary(self, worst: bool = True, *, gravest: bool | None = None) -> str:
        """Return a few lines for people, with `worst` the verdict of the worst patch, too; `gravest` was its name."""
        if gravest is not None:
            warnings.warn("`gravest` is called `worst` now.", DeprecationWarning, stacklevel=2)
            worst = gravest
        counts = self.table["status"].value_counts()
        counted = ", ".join(f"{counts[status]} {text}" for status, text in _STATUS.items() if counts.get(status))
        how = "finished before; nothing was repeated" if self.repeated else f"{self.state} in {self.seconds:.0f} s"
        lines = [f"{len(self.table)} patches of {self.table['image'].nunique()} images: {counted or 'none'} ({how})."]
        enhanced = self.table[self.table["status"] == PatchStatus.ENHANCED]
        if len(enhanced):
            before, after = enhanced["ring_before"].median(), enhanced["ring_after"].median()
            lines.append(
                f"Enhanced ones, medians: ring {before:.1f} -> {after:.1f} dB, structure {enhanced['structure'].median():.3f}, "
                f"{enhanced['new'].median():.0f} new and {enhanced['lost'].median():.0f} lost detections of "
                f"{enhanced['cones_before'].median():.0f}."
            )
            lines += verdict_lines(enhanced)[: None if worst else 1]
        for entry in self.plan.unreadable:
            lines.append(f"Not used: {entry['reason']}")
        for row in self.failed.head(5).itertuples():
            lines.append(f"Failed, original kept: {row.patch}: {row.error}")
        return "\n".join(lines)


def enhance_session(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    pairs: Pairs | None = None,
    workers: int | str = "auto",
    scheduler: str = "",
    callback: Callable[[SessionProgress], object] | None = None,
    cancel: Cancel | None = None,
    plan: SessionPlan | None = None,
    spare_cores: int = 0,
    **settings: Any,
) -> SessionResult:
    """Crop the images of a folder, assess the patches, pair the poor ones with good ones, and enhance them.

    The same call goes on where a stopped run was, and only reports a session that is finished.

    Parameters
    ----------
    folder : path-like
        Images of one retina (TIFF, PNG, JPEG; gray; 8 or 16 bit or float; any sizes). Nothing in it is changed.
    output : path-like
        Folder for the results: new, empty, or of this very session.
    pairs : path-like, DataFrame or mapping, optional
        The pairing (columns ``patch`` and ``style``), instead of looking for one.
    workers : int or "auto"
        Local processes. "auto": as many as help; 1: this process alone.
    scheduler : str
        Address of a running Dask scheduler, instead of local processes.
    callback : callable, optional
        Called with a `SessionProgress`.
    cancel : callable or threading.Event, optional
        Stops; what is finished is kept, and the same call goes on there.
    plan : SessionPlan, optional
        Of `plan_session`, if it was made already; `pairs` and `settings` are then those of the plan.
    spare_cores : int
        Cores that "auto" leaves to others.
    **settings
        Fields of `SessionSettings` (method, quality, threshold, ...) and of `StyleTransferParameters` (preset, epoch,
        device, ...). ``threads`` is 1 by default: the images are then equal however many workers there are.

    Returns
    -------
    SessionResult

    Raises
    ------
    ParameterError
        A setting, the pairing or the scheduler's address cannot be used.
    FileError
        The folder holds nothing that can be used, or the output folder is not writable or not of this session.
    SessionError
        The disk is full, or the cluster does not answer.

    Notes
    -----
    NST pipeline documentation, "Integration and Data Flow". A script that uses several workers needs the usual guard
    ``if __name__ == "__main__":``.
    """
    began = time.perf_counter()
    check_not_starting()
    cancelled = as_cancel(cancel)
    report = callback or (lambda progress: None)
    settings_, parameters = split_settings(settings) if plan is None else (plan.settings, plan.parameters)
    workers = _checked_workers(workers)
    if not Path(folder).is_dir():
        raise FileError(f"{folder} is not a folder; give the folder of the session's images.")
    store = SessionStore(output, settings_.folder_name)
    # A scheduler that does not answer is reported at once, not after the images were assessed.
    with connect(scheduler) if scheduler else nullcontext() as client, store.locked():
        before = store.read_state()
        if before is None:
            store.check_free()
        else:
            if plan is not None and plan.pairs_given:
                pairs = {planned.patch.name: planned.style for planned in plan.treated}
            plan = continued_plan(before, store.folder, Path(folder), settings_, parameters, pairs)
        if plan is None:

            def assessing(text: str, done: int, total: int) -> None:
                report(SessionProgress(Stage.ASSESSING, text, done, total))

            plan = plan_session(folder, settings_, parameters, pairs=pairs, progress=assessing, cancel=cancel)
        session = _Session(store, plan, before, report, cancelled, began)
        if before is not None and before.state == SessionState.FINISHED and session.complete():
            return session.result("finished", repeated=True)
        session.start(Path(folder))
        if not session.cut():
            return session.result("cancelled")
        for record in _records(session, workers, client, cancel, spare_cores):
            session.take(record)
        if session.missing():
            return session.result("cancelled")
        session.finish()
        return session.result("finished")


class _Session:
    """A session that is running: the one writer of its table and state."""

    def __init__(
        self,
        store: SessionStore,
        plan: SessionPlan,
        before: SessionRecord | None,
        report: Callable[[SessionProgress], object],
        cancelled: Callable[[], bool],
        began: float,
    ) -> None:
        self.store, self.plan, self.before, self.report = store, plan, before, report
        self.cancelled, self.began, self.written = cancelled, began, 0.0  # when the table was last written
        self.files = SessionFiles(store, plan, before.files if before else {}, before.masks if before else {})
        self.records: dict[str, PatchRecord] = {}

    def collect(self) -> None:
        """Take up what is finished already; a patch that failed is tried again."""
        for planned in self.plan.patches:
            record = self.store.finished(planned.patch.name, self.files.fingerprint)
            if record is not None and record.row.status != PatchStatus.FAILED:
                self.records[planned.patch.name] = record

    def complete(self) -> bool:
        """Return whether every patch and every file of the session is there, unchanged."""
        self.collect()
        return not self.missing() and self.files.unchanged()

    def start(self, folder: Path) -> None:
        """Write session.json, so that a run that is stopped at any time can go on."""
        self.store.clear_leftovers()
        self.record = SessionRecord(
            napari_nst_session=versions()["napari-nst"],
            fingerprint=self.files.fingerprint,
            folder=str(folder.resolve()),
            method=self.store.results.name,
            started=(self.before.started if self.before else "") or _now(),
            coordinates={
                "order": "x,y",
                "base": self.plan.settings.coordinates_base,
                "note": "the coordinate of the centre of the first pixel",
            },
            versions=versions(),
            plan=self.plan.to_dict(),
        )
        self._write_state(SessionState.RUNNING)

    def cut(self) -> bool:
        """Write the patches as they are into ``raw_run``; False when stopped."""
        total = len(self.plan.images)
        for number, image in enumerate(self.plan.images):
            if self.cancelled():
                self._write_state(SessionState.INTERRUPTED)
                return False
            self.report(SessionProgress(Stage.CUTTING, image.name, number, total))
            self.files.write_raw(image)
        self.files.write_tables()
        self._write_state(SessionState.RUNNING)
        return True

    def open_tasks(self) -> list[PatchTask]:
        """Return what is still to be done, in the order of the patches."""
        self.collect()
        return [self.files.task(planned) for planned in self.plan.patches if planned.patch.name not in self.records]

    def missing(self) -> int:
        return len(self.plan.patches) - len(self.records)

    def take(self, record: PatchRecord) -> None:
        """Count a finished patch in; the table on the disk follows every few seconds."""
        self.records[record.patch] = record
        self.files.notes += record.notes
        now = time.perf_counter()
        if now - self.written > _TABLE_EVERY:
            self.files.write_session_table(self.records)
            self.written = now

    def finish(self) -> None:
        """Write everything that is made of all patches together."""
        total = len(self.plan.images)
        for number, image in enumerate(self.plan.images):
            self.report(SessionProgress(Stage.STITCHING, image.name, number, total))
            self.files.write_stitched(image, self.records)
        self.files.write_overview(self.records)
        self.report(SessionProgress(Stage.STITCHING, "", total, total))

    def result(self, state: str, repeated: bool = False) -> SessionResult:
        if not repeated:
            self.files.write_session_table(self.records)
            self._write_state(SessionState.FINISHED if state == "finished" else SessionState.INTERRUPTED)
        # Warnings of patches, each once with the number of patches that it is about.
        warned = Counter(message for record in self.records.values() for message in record.warnings)
        warned_of = [f"{count} of {len(self.records)} patches: {message}" for message, count in warned.most_common(5)]
        return SessionResult(
            table=self.files.frame(self.records),
            folder=self.store.folder,
            paths=self.files.paths(),
            state=state,
            plan=self.plan,
            seconds=time.perf_counter() - self.began,
            repeated=repeated,
            notes=[*self.plan.notes, *self.files.notes, *warned_of],
        )

    def _write_state(self, state: SessionState) -> None:
        before = self.before.seconds if self.before else 0.0
        changes = {
            "state": state,
            "finished": _now() if state == SessionState.FINISHED else "",
            "seconds": round(before + time.perf_counter() - self.began, 1),
            "counts": Counter(str(record.row.status) for record in self.records.values()),
            "files": self.files.files,
            "masks": self.files.masks,
        }
        self.store.write_state(self.record.model_copy(update=changes))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _records(
    session: _Session, workers: int | str, client: Client | None, cancel: Cancel | None, spare: int
) -> Iterator[PatchRecord]:
    """Work on the patches wherever that is wanted, and report how far it is."""
    tasks, total = session.open_tasks(), len(session.plan.patches)
    clock = _Clock(tasks)
    session.report(SessionProgress(Stage.ENHANCING, "", total - len(tasks), total))
    if not tasks:
        return
    number = 0
    if client is None:
        number = workers if isinstance(workers, int) else choose_workers(tasks, session.plan.parameters, spare)

    def step(task: PatchTask, now: TransferProgress) -> None:
        done, left = len(session.records), clock.left(now.step / now.epoch)
        session.report(SessionProgress(Stage.ENHANCING, task.patch, done, total, None, left, now.step, now.epoch))

    with local_workers(min(number, len(tasks))) if number > 1 else nullcontext(client) as client:
        for record in run_here(tasks, cancel, step) if client is None else run_on(client, tasks, cancel):
            clock.count(record)
            yield record
            row, done = {"patch": record.patch, **record.row.model_dump()}, len(session.records)
            session.report(SessionProgress(Stage.ENHANCING, record.patch, done, total, row, clock.left()))


class _Clock:
    """Estimates how long the rest takes: only patches that are enhanced count, the others take next to nothing."""

    def __init__(self, tasks: list[PatchTask]) -> None:
        self.open = {task.patch for task in tasks if task.style}
        self.done = 0
        self.first: tuple[float, float] | None = None

    def count(self, record: PatchRecord) -> None:
        if record.patch in self.open:
            self.open.discard(record.patch)
            self.done += 1

    def left(self, part: float = 0.0) -> float | None:
        """Return seconds, where `part` of the running patch is done; None until there is something to estimate from."""
        if not self.open:
            return 0.0
        now, worked = time.perf_counter(), self.done + part
        if not worked:
            return None
        if self.first is None:  # what came before was starting: processes, PyTorch, the network
            self.first = (now, worked)
        began, before = self.first
        if worked <= before:
            return None
        return (now - began) / (worked - before) * max(len(self.open) - part, 0.0)


def _checked_workers(workers: int | str) -> int | str:
    if workers == "auto":
        return "auto"
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ParameterError(f"`workers` must be auto or a number of processes from 1, got {workers!r}. Try 'auto'.")
    return workers
