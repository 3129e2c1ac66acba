"""The part of a run that happens off the GUI thread: it knows arrays, no layers, and imports torch when it starts."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import GeneratorWorker

from napari_nst.errors import EngineError, OutOfMemoryError, StyleTransferError
from napari_nst.viewer.common.listening import listen, unlisten
from napari_nst.viewer.common.region import Cut
from napari_nst.viewer.transfer.saving import save

if TYPE_CHECKING:
    from napari_nst.transfer.api import StyleTransfer, TransferProgress

__all__ = ["Begun", "Control", "Done", "Job", "Snapshot", "TransferWorker", "neural_style_transfer"]

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """All that a run needs, taken from the layers before it starts.

    Attributes
    ----------
    target, style : array
        Data of the layers' finest level, NumPy, Dask or the like; cut and computed in the worker.
    target_cut, style_cut : Cut
        What of them takes part.
    parameters, options : dict
        For :func:`napari_nst.transfer.api.transfer_steps`.
    target_name, style_name : str
        Names for the files.
    inputs : dict
        About the layers, for the record.
    folder : Path or None
        Where files are written; None writes none.
    target_path : str or None
        The target's own file: its resolution goes into the TIFF.
    pixel_size_um : (float, float) or None
        Of the target, goes into the TIFF.
    interval : float
        Seconds between two snapshots.
    """

    target: Any
    style: Any
    target_cut: Cut
    style_cut: Cut
    parameters: dict[str, Any]
    options: dict[str, Any]
    target_name: str
    style_name: str
    inputs: dict[str, Any]
    folder: Path | None = None
    target_path: str | None = None
    pixel_size_um: tuple[float, float] | None = None
    interval: float = 0.3


@dataclass(frozen=True)
class Begun:
    """The device is known, the first step is not done."""

    device: str
    memory: int
    total: int


@dataclass(frozen=True)
class Snapshot:
    """The state a few times a second.

    Attributes
    ----------
    step, total : int
        Steps done, and steps at most, over all planes.
    losses : ndarray, (new steps, 3)
        Style, content, total of the steps since the last snapshot.
    picture : ndarray
        The plane at work (or the one just finished), in the target's dtype.
    index : tuple of int
        Of the plane in a stack; empty for one plane.
    base : ndarray or None
        Of a stack, with the first snapshot: the planes before their turn.
    seconds_per_step : float
        Without pauses and without the set-up.
    """

    step: int
    total: int
    losses: np.ndarray[Any, Any]
    picture: np.ndarray[Any, Any]
    index: tuple[int, ...] = ()
    base: np.ndarray[Any, Any] | None = None
    seconds_per_step: float = 0.0


@dataclass(frozen=True)
class Done:
    """The end of a run: its result, the files written, and what went wrong with the files."""

    result: StyleTransfer
    files: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Control:
    """Stop, pause and resume, from any thread; and the warnings on their way to the GUI thread.

    Attributes
    ----------
    cancelled : Event
        Asked by the engine before every evaluation.
    keep : bool
        Whether the result is wanted: False once its layer was deleted or the viewer closes.
    abandoned : bool
        Whether the viewer closes.
    messages : deque of str
        Warnings not shown yet.
    """

    def __init__(self) -> None:
        self.cancelled = Event()
        self.keep = True
        self.abandoned = False
        self.messages: deque[str] = deque()
        self._shown_at: float | None = 0.0
        self._going = Event()
        self._going.set()

    def showing(self) -> None:
        """A snapshot is on its way to the viewer."""
        self._shown_at = None

    def shown(self) -> None:
        """The viewer is done with it."""
        self._shown_at = time.perf_counter()

    def rested(self, interval: float) -> bool:
        """Whether the viewer has had so many seconds for other things since the last snapshot.

        A fast run on a slow screen would else pile up snapshots, and the viewer would do nothing but show them.
        """
        return self._shown_at is not None and time.perf_counter() - self._shown_at >= interval

    @property
    def paused(self) -> bool:
        """Whether a pause was asked for."""
        return not self._going.is_set()

    def stop(self) -> None:
        """Ask for the partial result, also while paused."""
        self.cancelled.set()
        self._going.set()

    def abandon(self) -> None:
        """Ask for an end, and no result: the viewer is going."""
        self.abandoned, self.keep = True, False
        self.stop()

    def pause(self) -> None:
        """Hold the run after the step at work."""
        if not self.cancelled.is_set():
            self._going.clear()

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    def wait(self) -> float:
        """Wait while paused; gives the seconds that this took."""
        began = time.perf_counter()
        self._going.wait()
        return time.perf_counter() - began


class TransferWorker(GeneratorWorker):
    """napari's worker for a generator, with what a long computation on a GPU needs on top.

    - ``quit`` (napari calls it when its window closes) ends the computation inside its step, not at its next yield.
    - The generator is closed at the end of an aborted run, so that its tensors are freed then.
    - The error that is reported holds no frames, which would hold the tensors.
    - Warning filters are left alone: the base class swaps them process-wide for the time of a run, and two runs that
      overlap would leave each other's behind.
    """

    def __init__(self, func: Any, job: Job, control: Control, **kwargs: Any) -> None:
        super().__init__(func, job, control, **kwargs)
        self._control = control

    def quit(self) -> None:
        """End without a result."""
        self._control.abandon()
        super().quit()

    def run(self) -> None:
        """Run in the thread; what Qt calls."""
        try:
            self.started.emit()
            self._running = True
            failure: BaseException | None = None
            result = None
            try:
                listen(self._control.messages.append)
                result = self.work()
            except Exception as error:  # noqa: BLE001  # whatever it is, the user must hear of it
                failure = without_frames(error)
            finally:
                self._gen.close()
                unlisten()
            if isinstance(result, Exception):
                failure = without_frames(result)
            self._running = False
            if failure is not None:
                self.errored.emit(failure)
            elif not self.abort_requested:
                self.returned.emit(result)
            self.finished.emit()
            self._finished.emit(self)
        except RuntimeError:
            # The signals' C++ side is gone: the application has ended, and nobody is left to tell.
            logger.debug("A style transfer outlived the application.", exc_info=True)


def without_frames(error: BaseException) -> BaseException:
    """The error without tracebacks, causes and contexts: their frames hold whatever the failed run had in memory."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def neural_style_transfer(job: Job, control: Control) -> Generator[Begun | Snapshot, None, Done]:
    """Run a job: yields what the viewer shows, a few times a second, and returns the result.

    No RuntimeError leaves it: napari's generator workers would swallow it and never end.
    """
    failure: StyleTransferError
    try:
        return (yield from _steps(job, control))
    except StyleTransferError as error:
        failure = error
    except MemoryError as error:
        failure = OutOfMemoryError(f"There is not enough memory ({error}). Choose a smaller region, or close others.")
    except Exception as error:  # noqa: BLE001  # nothing may be lost on the way to the user
        logger.error("A style transfer failed:\n%s", "".join(traceback.format_exception(error)))
        text = str(error).strip().splitlines()
        failure = EngineError(
            f"{type(error).__name__}: {text[0] if text else 'no message'} This was not foreseen: try the device cpu, and "
            "report it with the log and the output of 'napari-nst info'."
        )
    # Outside the handlers, so that the new error has no context.
    raise without_frames(failure)


def _steps(job: Job, control: Control) -> Generator[Begun | Snapshot, None, Done]:
    # First of all: without this guard, torch after OpenGL kills the process on Mesa.
    from napari_nst.engine._torch import torch
    from napari_nst.engine.devices import describe_device, free_memory, resolve_device
    from napari_nst.engine.tiled_running import planned_memory
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.transfer.api import transfer_steps

    parameters = StyleTransferParameters(**job.parameters)
    if parameters.threads == 0:
        # One core is left to the viewer; PyTorch's own number may be smaller, for the physical cores.
        threads = max(1, min(torch.get_num_threads(), _cores() - 1))
        parameters = parameters.replace(threads=threads)
    target, style = job.target_cut.take(job.target), job.style_cut.take(job.style)
    channels = 3 if job.options["rgb"] or parameters.channels == "rgb" else 1
    device, shapes = resolve_device(parameters.device), (job.target_cut.plane_shape, job.style_cut.plane_shape)
    memory = planned_memory(parameters, *shapes, channels, device, free_memory(device))
    planes = int(np.prod([job.target_cut.stop[a] - job.target_cut.start[a] for a in job.target_cut.hidden], dtype=int))
    yield Begun(describe_device(device), memory, planes * parameters.epoch)

    steps = transfer_steps(target, style, cancel=control.cancelled, **job.options, **parameters.asdict())
    camera = _Camera(target if job.target_cut.stack else None)
    try:
        while True:
            try:
                now = next(steps)
            except StopIteration as end:
                result: StyleTransfer = end.value
                break
            if now.tiles:
                # No step is done yet; but a pause begins here, not minutes later.
                if control.paused:
                    camera.began += control.wait()
                continue
            if camera.last is not None and now.plane != camera.last.plane:
                control.showing()
                yield camera.take()  # the last of a plane, before the next one is shown
            camera.see(now)
            if control.paused or now.step == 1 or control.rested(job.interval):
                control.showing()
                yield camera.take()
            if control.paused:
                camera.began += control.wait()
    finally:
        steps.close()
    if camera.unseen:
        yield camera.take()
    if not control.keep or len(result.losses.total) == 0:
        return Done(result)
    return Done(result, *save(job, result))


class _Camera:
    """Collects steps, and makes a snapshot of them: asking a GPU for losses waits for it, so not at every step."""

    def __init__(self, stack: Any) -> None:
        self.last: TransferProgress | None = None
        self.began = 0.0
        self.unseen: list[TransferProgress] = []
        self._seen = 0
        self._stack = stack

    def see(self, now: TransferProgress) -> None:
        if self.last is None:
            self.began = time.perf_counter()
        self.last = now
        self._seen += 1
        self.unseen.append(now)

    def take(self) -> Snapshot:
        assert self.last is not None
        losses = np.array([step.losses for step in self.unseen]).reshape(-1, 3)
        timed = self._seen - 1  # the first step includes the set-up
        base = None
        if self._stack is not None:
            # What NumPy has is there already; anything else would be computed twice for the sake of a preview.
            as_it_was = isinstance(self._stack, np.ndarray)
            base = self._stack.copy() if as_it_was else np.zeros(self._stack.shape, self._stack.dtype)
            self._stack = None
        snapshot = Snapshot(
            self.last.step,
            self.last.epoch,
            losses,
            self.last.image(),
            self.last.index,
            base,
            (time.perf_counter() - self.began) / timed if timed else 0.0,
        )
        self.unseen.clear()
        return snapshot


def _cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
