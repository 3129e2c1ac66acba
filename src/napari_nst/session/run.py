"""A whole session: crop, assess, pair, enhance, record, stitch; and go on where a stopped run was."""

from __future__ import annotations

import datetime
import functools
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, ParameterError
from napari_nst.imaging.cones import detect_cones
from napari_nst.imaging.masks import pack_mask
from napari_nst.imaging.range_correction import KnownStatistics, RangeCorrection, RangeStatistics
from napari_nst.io.atomic import Publish, write_over
from napari_nst.io.coordinates import write_coordinates
from napari_nst.io.images import image_stem, read_image, write_image
from napari_nst.io.records import confine
from napari_nst.session.cluster import check_not_starting, choose_workers, connect, local_workers, run_here, run_on
from napari_nst.session.cropping import stitch
from napari_nst.session.effects import verdict_lines
from napari_nst.session.images import SessionImage
from napari_nst.session.pairing import write_pairs
from napari_nst.session.patch_task import PatchTask, read_comparison
from napari_nst.session.plan import PlannedPatch, SessionPlan, plan_row
from napari_nst.session.planning import continued_plan, plan_session
from napari_nst.session.store import (
    PAIRS,
    STATE,
    TABLE,
    PatchRecord,
    PatchRow,
    PatchStatus,
    SessionRecord,
    SessionState,
    SessionStore,
    file_digest,
)  # fmt: skip
from napari_nst.settings.session import split_settings
from napari_nst.transfer.files import save_figure
from napari_nst.transfer.record import versions

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from napari_nst.session.planning import Pairs
    from napari_nst.transfer.api import TransferProgress

#: The columns of session.csv: those of the plan, and what a finished patch adds.
COLUMNS = (
    *("patch", "image", "crop_id", "x", "y", "height", "width", "padding", "valid", "score", "quality", "treat"),
    *("style", "distance", "pair_score", "reason", "ring_before", "spacing_before", "cones_before", "aiq_before"),
    *PatchRow.model_fields,
)  # fmt: skip
_COUNTS = ("steps", "kept", "lost", "new", "new_far", "shaded", "unsupported")
_SHOWN = 6  # rows of the figure over the whole session
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
    if workers != "auto" and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise ParameterError(f"`workers` must be auto or a number of processes from 1, got {workers!r}. Try 'auto'.")
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
        session.enhance(workers, client, spare_cores)
        if session.missing():
            return session.result("cancelled")
        session.finish()
        return session.result("finished")


class _Session:
    """A session that is running: the one writer of its table, its state, and all that is beside single patches."""

    def __init__(
        self,
        store: SessionStore,
        plan: SessionPlan,
        before: SessionRecord | None,
        report: Callable[[SessionProgress], object],
        cancelled: Callable[[], bool],
        began: float,
    ) -> None:
        self.store, self.plan, self.report, self.cancelled, self.began = store, plan, report, cancelled, began
        self.before = before or SessionRecord(napari_nst_session="", plan={})
        self.files = dict(self.before.files)  # relative name to SHA-256, of what is not of single patches
        self.masks = dict(self.before.masks)  # packed, of patches that are not all valid
        self.notes: list[str] = []
        self.records: dict[str, PatchRecord] = {}
        self.fingerprint = plan.fingerprint
        self.written = 0.0  # when the table was last written

    def collect(self) -> None:
        """Take up what is finished already; a patch that failed is tried again."""
        for planned in self.plan.patches:
            record = self.store.finished(planned.patch.name, self.fingerprint)
            if record is not None and record.row.status != PatchStatus.FAILED:
                self.records[planned.patch.name] = record

    def complete(self) -> bool:
        """Return whether every patch and every file of the session is there, unchanged."""
        self.collect()
        return not self.missing() and bool(self.files) and self.store.unchanged(self.files)

    def missing(self) -> int:
        return len(self.plan.patches) - len(self.records)

    def start(self, folder: Path) -> None:
        """Write session.json, so that a run that is stopped at any time can go on."""
        self.store.clear_leftovers()
        self.record = SessionRecord(
            napari_nst_session=versions()["napari-nst"],
            fingerprint=self.fingerprint,
            folder=str(folder.resolve()),
            method=self.store.results.name,
            started=self.before.started or _now(),
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
        """Write the patches as they are into ``raw_run``, and the tables of the plan; False when stopped."""
        total = len(self.plan.images)
        for number, image in enumerate(self.plan.images):
            if self.cancelled():
                self._write_state(SessionState.INTERRUPTED)
                return False
            self.report(SessionProgress(Stage.CUTTING, image.name, number, total))
            self._write_raw(image)
        self._write_plan()
        self._write_state(SessionState.RUNNING)
        return True

    def enhance(self, workers: int | str, client: Client | None, spare: int) -> None:
        """Work on the patches wherever that is wanted; the table on the disk follows every few seconds."""
        self.collect()
        total = len(self.plan.patches)
        tasks = [self._task(planned) for planned in self.plan.patches if planned.patch.name not in self.records]
        clock = _Clock(tasks)
        self.report(SessionProgress(Stage.ENHANCING, "", len(self.records), total))
        number = 0
        if tasks and client is None:
            number = workers if isinstance(workers, int) else choose_workers(tasks, self.plan.parameters, spare)

        def step(task: PatchTask, now: TransferProgress) -> None:
            done, left = len(self.records), clock.left(now.step / now.epoch)
            self.report(SessionProgress(Stage.ENHANCING, task.patch, done, total, None, left, now.step, now.epoch))

        with local_workers(min(number, len(tasks))) if number > 1 else nullcontext(client) as client:
            cancel = self.cancelled
            for record in run_here(tasks, cancel, step) if client is None else run_on(client, tasks, cancel):
                clock.count(record)
                self.records[record.patch] = record
                self.notes += record.notes
                if time.perf_counter() - self.written > _TABLE_EVERY:
                    self._write_table()
                row, done = {"patch": record.patch, **record.row.model_dump()}, len(self.records)
                self.report(SessionProgress(Stage.ENHANCING, record.patch, done, total, row, clock.left()))

    def finish(self) -> None:
        """Write everything that is made of all patches together."""
        self.store.clear_leftovers()  # of workers that were killed
        total = len(self.plan.images)
        for number, image in enumerate(self.plan.images):
            self.report(SessionProgress(Stage.STITCHING, image.name, number, total))
            self._write_stitched(image)
        self._write_overview()
        self.report(SessionProgress(Stage.STITCHING, "", total, total))

    def result(self, state: str, repeated: bool = False) -> SessionResult:
        store = self.store
        if not repeated:
            self._write_table()
            self._write_state(SessionState.FINISHED if state == "finished" else SessionState.INTERRUPTED)
        # Warnings of patches, each once with the number of patches that it is about.
        warned = Counter(message for record in self.records.values() for message in record.warnings)
        warned_of = [f"{count} of {len(self.records)} patches: {message}" for message, count in warned.most_common(5)]
        return SessionResult(
            table=self._frame(),
            folder=store.folder,
            paths={
                "table": store.folder / TABLE,
                "record": store.folder / STATE,
                "pairs": store.folder / PAIRS,
                "raw": store.raw,
                "results": store.results,
                "stitched": sorted(store.stitched.glob("*.tif")),
            },
            state=state,
            plan=self.plan,
            seconds=time.perf_counter() - self.began,
            repeated=repeated,
            notes=[*self.plan.notes, *self.notes, *warned_of],
        )

    def _task(self, planned: PlannedPatch) -> PatchTask:
        plan = self.plan
        image = plan.image_of(planned.patch)
        style = plan[planned.style].patch if planned.treat and plan.settings.method != "none" else None
        names = [planned.patch.name] + ([style.name] if style is not None else [])
        return PatchTask(
            output=str(self.store.folder.resolve()),
            fingerprint=self.fingerprint,
            settings=plan.settings,
            parameters=plan.parameters,
            patch=planned.patch.name,
            style=style.name if style is not None else "",
            hashes={name: self.files[self._name(self.store.raw / name)] for name in names},
            masks={name: self.masks[name] for name in names if name in self.masks},
            value_range=image.value_range,
            style_value_range=image.value_range if style is None else plan.image_of(style).value_range,
            measures=planned.measures,
            statistics=self._statistics.get(image.dtype),
            pixel_size=image.pixel_size,
        )

    @functools.cached_property
    def _statistics(self) -> dict[str, KnownStatistics]:
        """Those of all patches, by dtype; empty unless the range correction is global."""
        correction = self.plan.settings.correction
        is_global = correction and RangeCorrection.parse(correction).correct == "global"
        return session_statistics(self.plan) if is_global else {}

    def _frame(self) -> pd.DataFrame:
        """Return the table of the session so far, in the order of the patches."""
        import pandas as pd

        rows = []
        for entry in self.plan.patches:
            record = self.records.get(entry.patch.name)
            row = record.row if record is not None else PatchRow(status=PatchStatus.OPEN)
            rows.append(plan_row(entry) | row.model_dump())
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(_COUNTS, "Int64"))

    def _write_raw(self, image: SessionImage) -> None:
        """Write the patches of an image as they are, with the cones found in them, unless they are there."""
        raw, patches = self.store.raw, [entry.patch for entry in self.plan.patches if entry.patch.image == image.name]
        coordinates = [f"{image_stem(patch.name)}_coords.csv" for patch in patches]
        names = {self._name(confine(raw, name)) for name in (*(patch.name for patch in patches), *coordinates)}
        if names <= self.files.keys() and self.store.unchanged({name: self.files[name] for name in names}):
            return
        info = self.plan.load(image.name).info
        for patch, name in zip(patches, coordinates, strict=True):
            cut = self.plan.crop(patch)
            if not cut.valid.all():
                self.masks[patch.name] = pack_mask(cut.valid)
            self._write(raw / patch.name, write_image, cut.array, info)
            self._write_cones(raw / name, cut.array, cut.valid)

    def _write_plan(self) -> None:
        """Write pairs.csv, lut.csv, and the histogram of the scores."""
        from napari_nst.session.figures import quality_figure

        frame, split = self.plan.table, self.plan.split
        columns = ["patch", "style", "treat", "score", "quality", "distance", "pair_score", "reason"]
        self._write(self.store.folder / PAIRS, write_pairs, frame[columns])
        scales = {image.name: image.pixel_size for image in self.plan.images}
        rows = [(entry.patch.crop_id, scales[entry.patch.image]) for entry in self.plan.patches]
        text = "".join(f"CROP_{number},{scale:.6g}\n" for number, scale in rows if scale is not None)
        if text:
            for folder in (self.store.raw, self.store.results):
                self._write(folder / "lut.csv", _save_text, text)
        figure = quality_figure(frame["score"], split.threshold, self.plan.score_kind, reason=split.reason)
        self._write(self.store.results / "quality.png", save_figure, figure)

    def _write_stitched(self, image: SessionImage) -> None:
        """Put the patches of an image together, and find the cones in the whole."""
        if image.cropped:
            return
        folder, loaded = self.store.stitched, self.plan.load(image.name)
        pieces = (
            (entry.patch, read_image(confine(self.store.results, entry.patch.name))[0])
            for entry in self.plan.patches
            if entry.patch.image == image.name and self.records[entry.patch.name].row.status.changed
        )
        whole = stitch(loaded.array, pieces)
        self._write(confine(folder, f"{image.stem}.tif"), write_image, whole, loaded.info)
        self._write_cones(confine(folder, f"{image.stem}_coords.csv"), whole, loaded.valid)

    def _write_overview(self) -> None:
        """Draw the patches that changed most, one below the other."""
        enhanced = [record for record in self.records.values() if record.row.status == PatchStatus.ENHANCED]
        if not enhanced or not self.plan.settings.figures:
            return
        from napari_nst.session.figures import comparison_figure

        enhanced.sort(key=lambda record: -record.row.mean_change)
        rows = [read_comparison(self._task(self.plan[record.patch]), record.row) for record in enhanced[:_SHOWN]]
        of = f"The {len(rows)} patches that changed most, of {len(enhanced)} enhanced ones"
        figure = comparison_figure(rows, title=of if len(enhanced) > len(rows) else "")
        self._write(self.store.plots / "preprocessing_comparison.png", save_figure, figure)

    def _write_table(self) -> None:
        frame = self._frame()
        write_over(self.store.folder / TABLE, lambda path: frame.to_csv(path, index=False, float_format="%.6g"))
        self.written = time.perf_counter()

    def _write_state(self, state: SessionState) -> None:
        changes = {
            "state": state,
            "finished": _now() if state == SessionState.FINISHED else "",
            "seconds": round(self.before.seconds + time.perf_counter() - self.began, 1),
            "counts": Counter(str(record.row.status) for record in self.records.values()),
            "files": self.files,
            "masks": self.masks,
        }
        self.store.write_state(self.record.model_copy(update=changes))

    def _write_cones(self, path: Path, array: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        points = detect_cones(array, mask=valid).points
        self._write(path, write_coordinates, points, base=self.plan.settings.coordinates_base)

    def _write(self, path: Path, write: Callable[..., object], *content: Any, **options: Any) -> None:
        """Write a file of the session; one that somebody changed is kept elsewhere."""
        name = self._name(path)
        for moved in self.store.set_aside({name: self.files[name]} if name in self.files else {}):
            self.notes.append(f"{path.name} had been changed; it was kept as {moved} and made again.")
        write(path, *content, publish=write_over, **options)
        self.files[name] = file_digest(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.store.folder).as_posix()


def session_statistics(plan: SessionPlan) -> dict[str, KnownStatistics]:
    """Return the statistics of all patches as they were, by dtype, for a range correction over the whole session."""
    made: dict[str, RangeStatistics] = {}
    for image in plan.images:  # one after the other, because few are kept in memory
        for entry in plan.patches:
            if entry.patch.image == image.name:
                cut = plan.crop(entry.patch)
                made.setdefault(image.dtype, RangeStatistics()).update(cut.array, cut.valid)
    return {dtype: statistics.compute() for dtype, statistics in made.items()}


def _save_text(path: Path, text: str, *, publish: Publish) -> None:
    publish(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


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
