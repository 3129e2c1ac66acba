"""The part of a session that happens off the GUI thread: planning it, and enhancing its patches."""

from __future__ import annotations

import itertools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nst.errors import StyleTransferError, StyleTransferWarning
from napari_nst.session.plan import SessionPlan
from napari_nst.session.store import SessionStore
from napari_nst.viewer.common.job import Control
from napari_nst.viewer.session.table import THUMBNAIL

if TYPE_CHECKING:
    from napari_nst.session.run import SessionProgress, SessionResult
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.settings.session import SessionSettings

#: Least seconds between two reports of progress: there may be more than a screen can show.
_INTERVAL = 0.1


@dataclass(frozen=True)
class SessionRequest:
    """All that is needed, taken from the fields before the work starts."""

    folder: Path
    output: Path | None  #: None: a new folder beside the input
    settings: SessionSettings
    parameters: StyleTransferParameters
    plan: SessionPlan | None = None  #: one that is there already; changed where that is enough, else made again
    thumbnails: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)  #: those of the plan
    fresh: bool = False  #: whether the images shall be read in any case
    edits: Mapping[str, str] = field(default_factory=dict)  #: patch to style, by hand; "" for none
    enhance: bool = False  #: whether to go on after planning
    workers: int | str = "auto"
    scheduler: str = ""


@dataclass(frozen=True)
class ShownPlan:
    """A plan, and what is shown of it."""

    plan: SessionPlan
    thumbnails: Mapping[str, NDArray[np.uint8]]  #: patch to a small gray image
    output: Path  #: where the results go
    rows: dict[str, dict[str, Any]]  #: patch to its row of results, of those that are finished there already
    dropped: list[str]  #: patches whose style was chosen by hand and that are not there any more


def session_work(request: SessionRequest, control: Control) -> ShownPlan | SessionResult:
    """Plan, and enhance if that is asked for; reports a ShownPlan and then SessionProgress."""
    # First of all: without this guard, torch after OpenGL kills the process on Mesa.
    from napari_nst.engine import _torch  # noqa: F401  # imported for what it does

    shown = _plan(request, control)
    control.report(shown)
    if not request.enhance:
        return shown
    from napari_nst.session.run import enhance_session

    def report(now: SessionProgress) -> None:
        if now.row is not None or control.rested(_INTERVAL):
            control.report(now)

    workers = request.workers
    if workers == "auto" and not request.scheduler and _started_by_a_bare_script():
        workers = 1
        message = (
            "One process is used: the script that opened this viewer has no line `if __name__ == '__main__':`, so every "
            "worker would open a viewer too. Add it for more."
        )
        control.report(StyleTransferWarning(message))
    with _cluster_warnings(control.report):
        return enhance_session(
            request.folder,
            shown.output,
            plan=shown.plan,
            workers=workers,
            scheduler=request.scheduler,
            spare_cores=1,
            callback=report,
            cancel=control.cancelled,
        )


@contextmanager
def _cluster_warnings(report: Callable[[Any], object]) -> Iterator[None]:
    """Report what a cluster warns of in this thread: it has no worker yet, or processes cannot be started."""
    thread, shown = threading.get_ident(), warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        if issubclass(category, StyleTransferWarning) and threading.get_ident() == thread:
            report(message)
        else:
            shown(message, category, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("always", StyleTransferWarning)  # a second run warns again
        warnings.showwarning = show
        yield


def _plan(request: SessionRequest, control: Control) -> ShownPlan:
    from napari_nst.session.planning import needs_reading, plan_session, replan, with_pairs
    from napari_nst.session.run import SessionProgress, Stage

    def report(text: str, done: int, total: int) -> None:
        control.report(SessionProgress(Stage.ASSESSING, text, done, total))

    settings, parameters, cancel = request.settings, request.parameters, control.cancelled
    plan, thumbnails = request.plan, request.thumbnails
    if request.fresh or plan is None or plan.folder != request.folder or needs_reading(plan, settings, parameters):
        plan = plan_session(request.folder, settings, parameters, progress=report, cancel=cancel)
        report("making thumbnails", 1, 1)
        thumbnails = {}
    elif (plan.settings, plan.parameters) != (settings, parameters) or (plan.pairs_given and not request.edits):
        plan = replan(plan, settings, parameters, cancel=cancel)
    names = {planned.patch.name for planned in plan.patches}
    edits = {patch: style for patch, style in request.edits.items() if patch in names and (not style or style in names)}
    if edits:
        plan = with_pairs(plan, edits)
    output = request.output or automatic_output(plan)
    thumbnails = thumbnails or _thumbnails(plan, cancel)
    store = SessionStore(output, plan.settings.folder_name)
    records = ((name, store.finished(name, plan.fingerprint)) for name in (p.patch.name for p in plan.patches))
    rows = {name: record.row.model_dump() for name, record in records if record is not None}
    return ShownPlan(plan, thumbnails, output, rows, sorted(set(request.edits) - set(edits)))


def automatic_output(plan: SessionPlan) -> Path:
    """Return a folder beside the input: one that is free, or that holds this very session."""
    base = plan.folder.absolute()
    for number in itertools.count(1):
        folder = base.with_name(f"{base.name}-enhanced" + (f"-{number}" if number > 1 else ""))
        with suppress(StyleTransferError, OSError):
            if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
                return folder
            state = SessionStore(folder, plan.settings.folder_name).read_state()
            if state is not None and state.fingerprint == plan.fingerprint:
                return folder
    raise AssertionError("the numbers never end")


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
