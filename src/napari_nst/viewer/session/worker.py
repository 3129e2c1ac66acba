"""The part of a session that happens off the GUI thread: judging its patches, and enhancing them."""

from __future__ import annotations

import logging
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import OutOfMemoryError, SessionError, StyleTransferError
from napari_nst.session.plan import SessionPlan
from napari_nst.session.store import SessionStore
from napari_nst.viewer.transfer.worker import without_frames

if TYPE_CHECKING:
    from napari_nst.session.run import SessionProgress, SessionResult
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.settings.session import SessionSettings

__all__ = [
    "THUMBNAIL",
    "Control",
    "Ended",
    "Job",
    "Judged",
    "Progress",
    "automatic_output",
    "enhance_session_work",
]

logger = logging.getLogger(__name__)

#: Largest side of a thumbnail, pixels.
THUMBNAIL = 38


@dataclass(frozen=True)
class Job:
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
    enhance : bool
        Whether to go on after judging.
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
class Judged:
    """A plan, and what is shown of it.

    Attributes
    ----------
    plan : SessionPlan
    thumbnails : dict
        Patch to a small grey picture, uint8.
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
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """How far it is: `part` of the whole, 0 to 1, and in words.

    Attributes
    ----------
    patch : str
        The patch at work in this process, or the last one finished; "" for none.
    """

    part: float
    text: str
    seconds_left: float | None = None
    patch: str = ""


@dataclass(frozen=True)
class Ended:
    """The end: a result where there is one, the error that prevented it, or neither when it was stopped."""

    result: SessionResult | None = None
    error: StyleTransferError | None = None
    stopped: bool = False


class Control:
    """Stop, from any thread; and messages on their way to the GUI thread.

    Attributes
    ----------
    cancelled : Event
    abandoned : bool
        Whether the viewer closes: nobody listens any more.
    messages : deque
        Judged, rows of finished patches (dict), and warnings (str), in their order.
    progress : Progress or None
        The newest one.
    """

    def __init__(self) -> None:
        self.cancelled = Event()
        self.abandoned = False
        self.messages: deque[Judged | dict[str, Any] | str] = deque()
        self.progress: Progress | None = None

    def stop(self) -> None:
        """Ask for an end; what is finished is kept."""
        self.cancelled.set()

    def abandon(self) -> None:
        """Ask for an end that nobody hears of."""
        self.abandoned = True
        self.stop()


def enhance_session_work(job: Job, control: Control) -> Ended:
    """Judge, and enhance if that is asked for; every end is a value, nothing is raised."""
    try:
        return _work(job, control)
    except KeyboardInterrupt:  # this is how making a plan ends when it is cancelled
        return Ended(stopped=True)
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
    return Ended(error=failure)


def _work(job: Job, control: Control) -> Ended:
    # First of all: without this guard, torch after OpenGL kills the process on Mesa.
    from napari_nst.engine import _torch  # noqa: F401  # imported for what it does

    judged = _judge(job, control)
    control.messages.append(judged)
    if not job.enhance:
        return Ended(stopped=control.cancelled.is_set())
    from napari_nst.session.run import enhance_session

    def tell(now: SessionProgress) -> None:
        if now.row is not None:
            control.messages.append(now.row)
        control.progress = _progress_of(now)

    workers = job.workers
    if workers == "auto" and not job.scheduler and _started_by_a_bare_script():
        workers = 1
        control.messages.append(
            "One process is used: the script that opened this viewer has no line `if __name__ == '__main__':`, so every "
            "worker would open a viewer too. Add it for more."
        )
    result = enhance_session(
        job.folder,
        judged.output,
        plan=judged.plan,
        workers=workers,
        scheduler=job.scheduler,
        spare_cores=1,
        callback=tell,
        cancel=control.cancelled,
    )
    return Ended(result, stopped=result.state == "cancelled")


def _judge(job: Job, control: Control) -> Judged:
    from napari_nst.session.planning import needs_reading, plan_session, replan, with_pairs

    def tell(text: str, done: int, total: int) -> None:
        control.progress = Progress(done / (total + 1), f"{text} ({min(done + 1, total)} of {total})")

    plan, thumbnails = job.plan, job.thumbnails
    if job.fresh or plan is None or plan.folder != job.folder or needs_reading(plan, job.settings, job.parameters):
        plan = plan_session(job.folder, job.settings, job.parameters, progress=tell, cancel=control.cancelled)
        control.progress = Progress(1.0, "making thumbnails")
        thumbnails = {}
    elif plan.settings != job.settings or plan.parameters != job.parameters or (plan.pairs_given and not job.edits):
        plan = replan(plan, job.settings, job.parameters, cancel=control.cancelled)
    names = {planned.patch.name for planned in plan.patches}
    edits = {patch: style for patch, style in job.edits.items() if patch in names and (not style or style in names)}
    if edits:
        plan = with_pairs(plan, edits)
    thumbnails = thumbnails or _thumbnails(plan, control.cancelled)
    output = job.output or automatic_output(plan)
    return Judged(plan, thumbnails, output, finished_rows(plan, output), sorted(set(job.edits) - set(edits)))


def automatic_output(plan: SessionPlan) -> Path:
    """A folder beside the input: one that is free, or that holds this very session."""
    base, number = plan.folder.absolute(), 1
    while True:
        folder = base.with_name(f"{base.name}-enhanced" + (f"-{number}" if number > 1 else ""))
        try:
            if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
                return folder
            state = SessionStore(folder, plan.settings.folder_name).read_state()
        except (StyleTransferError, OSError):
            state = None
        if state is not None and state.get("fingerprint") == plan.fingerprint:
            return folder
        number += 1


def finished_rows(plan: SessionPlan, output: Path) -> dict[str, dict[str, Any]]:
    """What the records in an output folder say of the patches of this very session."""
    store, fingerprint = SessionStore(output, plan.settings.folder_name), plan.fingerprint
    try:
        state = store.read_state()
    except StyleTransferError:
        return {}  # the run will say so
    if state is None or state.get("fingerprint") != fingerprint:
        return {}
    records = {planned.patch.name: store.read_record(planned.patch.name) for planned in plan.patches}
    return {
        name: record["row"]
        for name, record in records.items()
        if record is not None and record.get("fingerprint") == fingerprint
    }


def _thumbnails(plan: SessionPlan, cancelled: Event) -> dict[str, NDArray[np.uint8]]:
    """Small pictures of all patches, image after image."""
    made: dict[str, NDArray[np.uint8]] = {}
    for planned in sorted(plan.patches, key=lambda planned: planned.patch.image):
        if cancelled.is_set():
            raise KeyboardInterrupt
        low, high = plan.image_of(planned.patch).value_range
        array = plan.crop(planned.patch).array.astype(np.float64)
        step = -(-max(array.shape) // THUMBNAIL)
        rows, columns = (max(1, side // step) for side in array.shape)
        blocks = array[: rows * step, : columns * step]
        small = np.nan_to_num(blocks.reshape(rows, blocks.shape[0] // rows, columns, blocks.shape[1] // columns))
        grey = np.clip((small.mean(axis=(1, 3)) - low) / (high - low), 0, 1)
        made[planned.patch.name] = np.ascontiguousarray((255 * grey).astype(np.uint8))
    return made


#: Share of the whole that each stage is, from and to; what is done before every patch takes little.
_STAGES = {"judging": (0.0, 0.0), "cutting": (0.0, 0.03), "enhancing": (0.03, 0.95), "stitching": (0.95, 1.0)}
_WORDS = {"judging": "Judging", "cutting": "Cutting", "enhancing": "Enhancing", "stitching": "Stitching"}


def _progress_of(now: SessionProgress) -> Progress:
    begin, end = _STAGES[now.stage]
    done = now.done + (now.step / now.steps if now.steps else 0.0)
    part = begin + (end - begin) * (min(1.0, done / now.total) if now.total else 1.0)
    text = f"{_WORDS[now.stage]} {min(now.done + 1, now.total)} of {now.total}"
    if now.stage == "enhancing":
        text = f"{now.done} of {now.total} patches done"
        if now.steps:
            text += f", step {now.step} of {now.steps}"
    at_work = now.text if now.stage == "enhancing" and now.row is None else ""
    return Progress(part, text, now.seconds_left, at_work)


def _started_by_a_bare_script() -> bool:
    """Whether new processes would run the script that opened the viewer, and so open it again.

    Processes are spawned: they import the main module under another name, and only its guard keeps it from running.
    """
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if getattr(sys.modules.get("__main__"), "__spec__", None) is not None or path is None:
        return False  # started as a module, or from an interactive session
    try:
        return "__main__" not in Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
