"""A transfer from the widget: the work off the GUI thread, and the one layer that shows it and becomes its result."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.utils.notifications import show_error, show_warning

from napari_nst.errors import DivergenceError, FileError, StyleTransferError, StyleTransferWarning
from napari_nst.io.images import FileInfo, read_image
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common.compare import remember
from napari_nst.viewer.common.job import Control, Job, JobOutcome
from napari_nst.viewer.common.layers import add_above, is_in, plain
from napari_nst.viewer.common.region import Cut

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.transfer.result import StyleTransfer, TransferProgress

logger = logging.getLogger(__name__)


@dataclass
class TransferRequest:
    """All that a transfer needs, taken from the layers before it starts."""

    target: Any  #: data of the layer's finest level, NumPy, Dask or the like; cut and computed in the worker
    style: Any
    target_cut: Cut
    style_cut: Cut
    parameters: StyleTransferParameters
    options: dict[str, Any]  #: the other arguments of `transfer_style`
    target_name: str
    style_name: str
    inputs: dict[str, Any]  #: about the layers, for the record
    folder: Path | None  #: where files are written; None writes none
    target_path: str | None  #: the target's own file: its resolution goes into the TIFF
    pixel_size_um: tuple[float, float] | None  #: of the target, for the TIFF
    interval: float  #: seconds between two snapshots
    discarded: Event = field(default_factory=Event)  #: set when the preview was deleted: no files are written then


class Placement(NamedTuple):
    """How the result becomes a layer: above those of the run, by arguments of ``add_image``, with this in its record."""

    target: Image
    style: Image
    arguments: dict[str, Any]
    record: dict[str, Any]


# Off the GUI thread ---------------------------------------------------------------------------------------------------


class Started(NamedTuple):
    """The device is known, the first step is not done."""

    device: str
    memory: int
    total: int


@dataclass(frozen=True)
class Snapshot:
    """The state a few times a second."""

    step: int
    total: int  #: steps at most, over all planes
    losses: np.ndarray[Any, Any]  #: style, content, total of the steps since the last snapshot, (steps, 3)
    image: np.ndarray[Any, Any]  #: the plane at work (or the one just finished), in the target's dtype
    index: tuple[int, ...]  #: of the plane in a stack; empty for one plane
    base: np.ndarray[Any, Any] | None  #: of a stack, with the first snapshot: the planes before their turn
    seconds_per_step: float  #: without pauses and without the set-up; 0 after the first step


class Done(NamedTuple):
    """The result, the files written ("image", "losses", "plot", "record"), and why none were written."""

    result: StyleTransfer
    files: dict[str, str] = {}  # noqa: RUF012  # never changed
    problem: str = ""


def neural_style_transfer(request: TransferRequest, control: Control) -> Done:
    """Run a request: reports Started, then a Snapshot a few times a second."""
    # First of all: without this guard, torch after OpenGL kills the process on Mesa.
    from napari_nst.engine._torch import torch
    from napari_nst.engine.devices import describe_device, free_memory, resolve_device
    from napari_nst.engine.memory import planned_memory
    from napari_nst.transfer import api

    parameters = request.parameters
    if parameters.threads == 0:
        # One core is left to the viewer; PyTorch's own number may be smaller, for the physical cores.
        parameters = parameters.model_copy(update={"threads": max(1, min(torch.get_num_threads(), _cores() - 1))})
    cut, style_cut = request.target_cut, request.style_cut
    target, style = cut.take(request.target), style_cut.take(request.style)
    channels = 3 if request.options["rgb"] or parameters.channels == "rgb" else 1
    device, shapes = resolve_device(parameters.device), (cut.plane_shape, style_cut.plane_shape)
    memory = planned_memory(parameters, *shapes, channels, device, free_memory(device))
    planes = int(np.prod([cut.stop[a] - cut.start[a] for a in cut.hidden], dtype=int))
    control.report(Started(describe_device(device), memory, planes * parameters.epoch))

    camera = _Camera(control, request.interval, target if cut.stack else None)
    options = {**request.options, "parameters": parameters}
    events = api.transfer_events(target, style, cancel=control.cancelled, **options)
    with contextlib.closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: StyleTransfer = end.value
                break
            if isinstance(event, api.TransferNotice):
                control.report(StyleTransferWarning(event.message))
            else:
                camera.see(event)
    if camera.unseen:
        camera.take()
    if request.discarded.is_set() or control.abandoned or len(result.losses.total) == 0:
        return Done(result)
    return _save(request, result)


class _Camera:
    """Collects steps and reports snapshots of them: asking a GPU for losses waits for it, so not at every step."""

    def __init__(self, control: Control, interval: float, stack: Any) -> None:
        self.unseen: list[TransferProgress] = []
        self._control = control
        self._interval = interval
        self._stack = stack
        self._last: TransferProgress | None = None
        self._started = 0.0
        self._steps = 0

    def see(self, now: TransferProgress) -> None:
        """Called after every step, and of a large image after every tile: a pause starts there, not minutes later."""
        if not now.tiles:
            if self._last is None:
                self._started = time.perf_counter()
            elif now.plane != self._last.plane:
                self.take()  # the last of a plane, before the next one is shown
            self._last = now
            self._steps += 1
            self.unseen.append(now)
            if self._control.paused or now.step == 1 or self._control.rested(self._interval):
                self.take()
        self._started += self._control.wait()

    def take(self) -> None:
        last, timed = self._last, self._steps - 1  # the first step includes the set-up
        assert last is not None
        base = None
        if self._stack is not None:
            # What NumPy has is there already; anything else would be computed twice for the sake of a preview.
            in_memory = isinstance(self._stack, np.ndarray)
            base = self._stack.copy() if in_memory else np.zeros(self._stack.shape, self._stack.dtype)
            self._stack = None
        losses = np.array([step.losses for step in self.unseen]).reshape(-1, 3)
        seconds = (time.perf_counter() - self._started) / timed if timed else 0.0
        self.unseen.clear()
        self._control.report(Snapshot(last.step, last.epoch, losses, last.image(), last.index, base, seconds))


def _cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _save(request: TransferRequest, result: StyleTransfer) -> Done:
    """Write the files; a full disk must not cost the result."""
    if request.folder is None:
        return Done(result)
    from napari_nst.transfer.files import save_transfer

    names = request.target_name, request.style_name
    try:
        saved = save_transfer(result, request.folder, *names, like=_file_info(request), inputs=request.inputs)
    except (FileError, OSError) as error:
        return Done(result, problem=f"The files of this run were not written to {request.folder}: {error}")
    return Done(result, {name: str(path) for name, path in vars(saved).items()})


def _file_info(request: TransferRequest) -> FileInfo | None:
    """What the TIFF should say about pixels: the resolution of the target's file, the pixel size of its layer."""
    info = None
    if request.target_path and Path(request.target_path).is_file():
        try:
            info = read_image(request.target_path)[1]
        except StyleTransferError:
            logger.debug("No resolution was found in %s.", request.target_path, exc_info=True)
    if request.pixel_size_um is None:
        return info
    info = info or FileInfo(Path(request.target_name), "")
    return dataclasses.replace(info, pixel_size=request.pixel_size_um, pixel_unit="um")


# In the GUI thread ----------------------------------------------------------------------------------------------------


class End(NamedTuple):
    """How a transfer has ended: the layer with its result, the error, and a sentence about it."""

    layer: Any
    error: Exception | None
    summary: str


class TransferJob(Job):
    """A transfer from its start to its layer.

    At most one layer is added: with the first snapshot, as preview; it becomes the result.  If the user deletes it, the
    run stops and adds nothing more.
    """

    request: TransferRequest

    def __init__(self, viewer: Viewer, request: TransferRequest, placement: Placement) -> None:
        super().__init__(neural_style_transfer, request, placement.arguments["name"])
        self.layer: Any = None  #: the preview, later the result
        self.losses = np.empty((0, 3))  #: style, content, total so far, (steps, 3)
        self._viewer: Any = viewer
        self._placement = placement
        viewer.layers.events.removed.connect(self._on_layer_removed)

    def take(self, event: Started | Snapshot) -> None:
        """Show a snapshot."""
        if isinstance(event, Started):
            self.show_progress(0, event.total)
            return
        self.losses = np.concatenate([self.losses, event.losses])
        self.show_progress(event.step, event.total)
        if not self.request.discarded.is_set():
            self._show(event)

    def warn(self, message: str) -> None:
        """Show a warning."""
        show_warning(message)
        super().warn(message)

    def conclude(self, outcome: JobOutcome) -> End:
        """Make the preview the result, or take it away."""
        error, done = outcome.error, outcome.value
        if error is not None:
            layer = self._keep(error.partial, {}) if isinstance(error, DivergenceError) and error.partial else None
            if layer is None and self.layer is not None:
                unfinished, self.layer = self.layer, None
                self._viewer.layers.remove(unfinished)
            show_error(str(error))
            return End(layer, error, str(error))
        if done is None:
            return End(None, None, "")
        if done.problem:
            show_warning(done.problem)
        return End(self._keep(done.result, done.files), None, self._summary(done))

    def release(self) -> None:
        """Let go of the viewer."""
        if self._viewer is not None:
            self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
            self._viewer = None

    def _show(self, snapshot: Snapshot) -> None:
        cut = self.request.target_cut
        if self.layer is None:
            image = snapshot.image if snapshot.base is None else snapshot.base
            if snapshot.base is not None:
                image[snapshot.index] = snapshot.image
            self._add(image)
        elif cut.stack:
            data = self.layer.data
            data[cut.index_of(snapshot.index)] = snapshot.image
            self.layer.data = data
        else:
            self.layer.data = cut.put(snapshot.image)

    def _add(self, image: np.ndarray[Any, Any]) -> None:
        # Above the style too: wherever the two overlap, it would hide the preview.
        placement, below = self._placement, (self._placement.target, self._placement.style)
        self.layer = add_above(self._viewer, below, self.request.target_cut.put(image), placement.arguments)

    def _on_layer_removed(self, event: Any) -> None:
        if self.layer is not None and plain(event.value) is self.layer:
            self.layer = None
            self.request.discarded.set()
            self.stop()

    def _keep(self, result: StyleTransfer, files: dict[str, str]) -> Any:
        """Make the preview the result; gives the layer, None where nothing is to be kept."""
        if self.request.discarded.is_set() or len(result.losses.total) == 0:
            return None
        if self.layer is None:
            self._add(result.image)
        elif not is_in(self.layer, self._viewer):
            return None
        else:
            self.layer.data = self.request.target_cut.put(result.image)
        record = {**result.metadata, **self._placement.record, "files": files}
        self.layer.metadata = {**self.layer.metadata, KEY: record}
        remember(self.layer, self._placement.target, self._placement.style)
        return self.layer

    def _summary(self, done: Done) -> str:
        steps, metadata = len(done.result.losses.total), done.result.metadata
        if self.request.discarded.is_set():
            return "Stopped: the preview layer was deleted, so nothing is kept."
        if steps == 0:
            return "Stopped before the first step: nothing is added."
        how = {"finished": "Finished", "converged": "Converged", "cancelled": "Stopped"}[done.result.stopped]
        text = f"{how} after {steps} step{'s' if steps != 1 else ''}, {metadata['seconds']:.3g} s."
        if done.problem:
            return f"{text} {done.problem}"
        return f"{text} Files: {done.files['image']}" if done.files else text
