"""A whole session: crop, judge, pair, enhance, record, stitch; and go on where a stopped run was."""

from __future__ import annotations

import datetime
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, ParameterError
from napari_nst.session.cluster import check_not_starting, choose_workers, connect, local_workers, run_here, run_on
from napari_nst.session.effects import verdict_lines
from napari_nst.session.patch_task import PatchTask
from napari_nst.session.plan import SessionPlan, plan_row
from napari_nst.session.planning import continued_plan, plan_session
from napari_nst.session.report import Products
from napari_nst.session.store import KEY, SessionStore
from napari_nst.settings.session import split_settings
from napari_nst.transfer.record import versions

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from napari_nst.session.planning import Pairs
    from napari_nst.transfer.api import TransferProgress

__all__ = ["SessionProgress", "SessionResult", "enhance_session"]

_STATUS = {
    "enhanced": "enhanced",
    "corrected": "range-corrected",
    "kept": "kept as they are",
    "failed": "failed",
    "open": "still to do",
}
_TABLE_EVERY = 2.0  # seconds between two writings of the table


@dataclass(frozen=True)
class SessionProgress:
    """How far a session is.

    Attributes
    ----------
    stage : {"judging", "cutting", "enhancing", "stitching"}
    text : str
        What is being done.
    done, total : int
        Images or patches of this stage.
    row : dict or None
        The row of the table of the patch that was just finished.
    seconds_left : float or None
        Of the stage "enhancing", as far as can be told.
    step, steps : int
        Of the patch at work in this process; 0 elsewhere.
    """

    stage: str
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
        return self.table[self.table["status"] == "failed"]

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for was done."""
        return self.state == "finished" and self.failed.empty and not self.plan.unreadable

    def summary(self, gravest: bool = True) -> str:
        """A few lines for people; with `gravest` also the worst verdict in full."""
        counts = self.table["status"].value_counts()
        told = ", ".join(f"{counts[status]} {word}" for status, word in _STATUS.items() if counts.get(status))
        how = "finished before; nothing was repeated" if self.repeated else f"{self.state} in {self.seconds:.0f} s"
        lines = [f"{len(self.table)} patches of {self.table['image'].nunique()} images: {told or 'none'} ({how})."]
        enhanced = self.table[self.table["status"] == "enhanced"]
        if len(enhanced):
            before, after = enhanced["ring_before"].median(), enhanced["ring_after"].median()
            lines.append(
                f"Enhanced ones, medians: ring {before:.1f} -> {after:.1f} dB, structure {enhanced['structure'].median():.3f}, "
                f"{enhanced['new'].median():.0f} new and {enhanced['lost'].median():.0f} lost detections of "
                f"{enhanced['cones_before'].median():.0f}."
            )
            lines += verdict_lines(enhanced)[: None if gravest else 1]
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
    """Crop the images of a folder, judge the patches, pair the poor ones with good ones, and enhance them.

    The same call goes on where a stopped run was, and only reports a session that is finished.

    Parameters
    ----------
    folder : path-like
        Images of one retina (TIFF, PNG, JPEG; grey; 8 or 16 bit or float; any sizes). Nothing in it is changed.
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
        device, ...). ``threads`` is 1 by default: the pictures are then equal however many workers there are.

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
    tell = callback or (lambda progress: None)
    settings_, parameters = split_settings(settings) if plan is None else (plan.settings, plan.parameters)
    workers = _checked_workers(workers)
    if not Path(folder).is_dir():
        raise FileError(f"{folder} is not a folder; give the folder of the session's images.")
    store = SessionStore(output, settings_.folder_name)
    # A scheduler that does not answer is told at once, not after the images were judged.
    with connect(scheduler) if scheduler else nullcontext() as client, store.locked():
        state = store.read_state()
        if state is None:
            store.check_free()
        else:
            if plan is not None and plan.pairs_given:
                pairs = {planned.patch.name: planned.style for planned in plan.treated}
            plan = continued_plan(state, store.folder, Path(folder), settings_, parameters, pairs)
        if plan is None:

            def judging(text: str, done: int, total: int) -> None:
                tell(SessionProgress("judging", text, done, total))

            plan = plan_session(folder, settings_, parameters, pairs=pairs, progress=judging, cancel=cancel)
        session = _Session(store, plan, state or {}, tell, cancelled, began)
        if session.state.get("state") == "finished" and session.complete():
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
    """A session at work: the one writer of its table and state."""

    def __init__(
        self,
        store: SessionStore,
        plan: SessionPlan,
        state: Mapping[str, Any],
        tell: Callable[[SessionProgress], object],
        cancelled: Callable[[], bool],
        began: float,
    ) -> None:
        self.store, self.plan, self.tell, self.cancelled, self.began = store, plan, tell, cancelled, began
        self.state: dict[str, Any] = dict(state)
        self.fingerprint = plan.fingerprint
        self.products = Products(store, plan, self.state.get("files", {}), self.state.get("masks", {}))
        self.records: dict[str, dict[str, Any]] = {}
        self.written = 0.0
        self.before = float(self.state.get("seconds", 0.0))

    def collect(self) -> None:
        """Take up what is finished already; a patch that failed is tried again."""
        for planned in self.plan.patches:
            record = self.store.read_record(planned.patch.name)
            if (
                record is not None
                and record.get("fingerprint") == self.fingerprint
                and record["row"]["status"] != "failed"
            ):
                self.records[planned.patch.name] = record

    def complete(self) -> bool:
        """Whether every patch and every product is there, unchanged."""
        self.collect()
        return not self.missing() and self.products.unchanged()

    def start(self, folder: Path) -> None:
        self.store.clear_leftovers()
        self.state |= {
            KEY: versions()["napari-nst"],
            "state": "running",
            "fingerprint": self.fingerprint,
            "folder": str(folder.resolve()),
            "method": self.store.results.name,
            "started": self.state.get("started") or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "coordinates": {
                "order": "x,y",
                "base": self.plan.settings.coordinates_base,
                "note": "the coordinate of the centre of the first pixel",
            },
            "versions": versions(),
            "plan": self.plan.to_dict(),
        }
        self._write_state("running")

    def cut(self) -> bool:
        """Write the patches as they are into ``raw_run``; False when stopped."""
        total = len(self.plan.images)
        for number, image in enumerate(self.plan.images):
            if self.cancelled():
                self._write_state("interrupted")
                return False
            self.tell(SessionProgress("cutting", image.name, number, total))
            self.products.write_raw(image)
        self.products.write_tables()
        self._write_state("running")
        return True

    def open_tasks(self) -> list[PatchTask]:
        """What is still to be done, in the order of the patches."""
        self.collect()
        open_ = [planned for planned in self.plan.patches if planned.patch.name not in self.records]
        return [self.products.task(planned, self.fingerprint) for planned in open_]

    def missing(self) -> int:
        return len(self.plan.patches) - len(self.records)

    def take(self, record: dict[str, Any]) -> None:
        """Count a finished patch in; the table on the disk follows every few seconds."""
        self.records[record["patch"]] = record
        self.products.notes += record["notes"]
        now = time.perf_counter()
        if now - self.written > _TABLE_EVERY:
            self.products.write_session_table(self.rows())
            self.written = now

    def rows(self) -> list[dict[str, Any]]:
        """The table so far, in the order of the patches."""
        rows = []
        for planned in self.plan.patches:
            record = self.records.get(planned.patch.name)
            rows.append({**plan_row(planned), **(record["row"] if record else {"status": "open"})})
        return rows

    def finish(self) -> None:
        """Everything that is made of all patches together."""
        total = len(self.plan.images)
        for number, image in enumerate(self.plan.images):
            self.tell(SessionProgress("stitching", image.name, number, total))
            self.products.write_stitched(image, self.records)
        self.products.write_overview(self.records)
        self.tell(SessionProgress("stitching", "", total, total))

    def result(self, state: str, repeated: bool = False) -> SessionResult:
        rows = self.rows()
        if not repeated:
            self.products.write_session_table(rows)
            self._write_state("finished" if state == "finished" else "interrupted")
        return SessionResult(
            table=self.products.frame(rows),
            folder=self.store.folder,
            paths=self.products.paths(),
            state=state,
            plan=self.plan,
            seconds=time.perf_counter() - self.began,
            repeated=repeated,
            notes=[*self.plan.notes, *self.products.notes, *self._warnings()],
        )

    def _warnings(self) -> list[str]:
        """What was said about patches, each once with the number of patches it was said of."""
        said = Counter(message for record in self.records.values() for message in record["warnings"])
        return [f"{count} of {len(self.records)} patches: {message}" for message, count in said.most_common(5)]

    def _write_state(self, state: str) -> None:
        counts: dict[str, int] = {}
        for record in self.records.values():
            status = record["row"]["status"]
            counts[status] = counts.get(status, 0) + 1
        self.state |= {
            "state": state,
            "counts": counts,
            "seconds": round(self.before + time.perf_counter() - self.began, 1),
            "files": self.products.files,
            "masks": self.products.masks,
        }
        if state == "finished":
            self.state["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.store.write_state(self.state)


def _records(
    session: _Session,
    workers: int | str,
    client: Client | None,
    cancel: Cancel | None,
    spare: int,
) -> Iterator[dict[str, Any]]:
    """Work on the patches wherever that is wanted, and tell how far it is."""
    tasks, total = session.open_tasks(), len(session.plan.patches)
    clock = _Clock(tasks)
    session.tell(SessionProgress("enhancing", "", total - len(tasks), total))
    if not tasks:
        return
    if client is not None:
        number = 0
    else:
        number = workers if isinstance(workers, int) else choose_workers(tasks, session.plan.parameters, spare)

    def step(task: PatchTask, now: TransferProgress) -> None:
        done, left = len(session.records), clock.left(now.step / now.epoch)
        session.tell(SessionProgress("enhancing", task.patch, done, total, None, left, now.step, now.epoch))

    with local_workers(min(number, len(tasks))) if number > 1 else nullcontext(client) as client:
        records = run_here(tasks, cancel, step) if client is None else run_on(client, tasks, cancel)
        for record in records:
            clock.count(record)
            yield record
            row = {"patch": record["patch"], **record["row"]}
            session.tell(SessionProgress("enhancing", record["patch"], len(session.records), total, row, clock.left()))


class _Clock:
    """Tells how long the rest takes: only patches that are enhanced count, the others take next to nothing."""

    def __init__(self, tasks: list[PatchTask]) -> None:
        self.open = {task.patch for task in tasks if task.style}
        self.done = 0
        self.first: tuple[float, float] | None = None

    def count(self, record: Mapping[str, Any]) -> None:
        if record["patch"] in self.open:
            self.open.discard(record["patch"])
            self.done += 1

    def left(self, part: float = 0.0) -> float | None:
        """Seconds; `part` of the patch at work is done.  None until there is something to tell it from."""
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
        raise ParameterError(f"workers: {workers!r} is not a number of processes; give auto, or 1 and more.")
    return workers
