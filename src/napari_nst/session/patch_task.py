"""One patch from its file to its results: the unit that is repeated, spread over workers, and resumed.

Everything here can run in any process that sees the output folder: what it needs comes in a `PatchTask` of plain
values, and what it leaves are files, of which the record comes last.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import re
import socket
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, SessionError, StyleTransferError, StyleTransferWarning
from napari_nst.imaging.masks import unpack_mask
from napari_nst.imaging.range_correction import KnownStatistics, RangeCorrection, correct_range
from napari_nst.io.atomic import write_over
from napari_nst.io.coordinates import write_coordinates
from napari_nst.io.images import FileInfo, image_stem, read_image, write_image
from napari_nst.methods import Enhanced, enhance_patch
from napari_nst.session.effects import Effects, assess_patch, caption, compare_cones, effect_row
from napari_nst.session.quality import PatchMeasures
from napari_nst.session.store import SessionStore
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.files import output_names, save_figure, save_losses

if TYPE_CHECKING:
    from napari_nst.session.figures import ComparisonRow
    from napari_nst.transfer.api import TransferProgress

__all__ = ["Cancelled", "PatchTask", "changed", "keep_original", "read_comparison", "run_task"]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quota

#: The locks of the GPUs that this process took; held as long as it lives.
_TAKEN: list[Any] = []

#: PyTorch's number of threads belongs to the process: two patches at once in one process would disturb each other.
_COMPUTING = threading.Lock()


class Cancelled(Exception):
    """The patch was given up because the user stopped; nothing of it is kept."""


@dataclass(frozen=True)
class PatchTask:
    """Everything that a worker must know of a patch; plain values, so that it can travel.

    Attributes
    ----------
    output, folder_name, fingerprint : str
        The output folder, the sub-folder of results, and what tells this session from another.
    patch, style : str
        File names in ``raw_run``; `style` is "" for a patch that is not enhanced.
    hashes : dict
        SHA-256 of these two files.
    masks : dict
        The packed masks of those of the two that are not all valid.
    value_range, style_value_range : (float, float)
        Grey levels that count as black and white.
    measures : dict
        What was measured before.
    parameters : dict
        Fields of StyleTransferParameters.
    method : str
    correction : str
    statistics : dict or None
        For a global range correction.
    um_per_px : float or None
    coordinates_base : int
    figures : bool
    """

    output: str
    folder_name: str
    fingerprint: str
    patch: str
    style: str
    hashes: dict[str, str]
    masks: dict[str, Any]
    value_range: tuple[float, float]
    style_value_range: tuple[float, float]
    measures: dict[str, float]
    parameters: dict[str, Any]
    method: str
    correction: str
    statistics: dict[str, Any] | None
    um_per_px: float | None
    coordinates_base: int
    figures: bool

    @property
    def store(self) -> SessionStore:
        """The output folder."""
        return SessionStore(self.output, self.folder_name)


def run_task(
    task: PatchTask,
    cancel: Cancel | None = None,
    callback: Callable[[TransferProgress], object] | None = None,
) -> dict[str, Any]:
    """Enhance a patch, measure what that did, and write it all.

    Parameters
    ----------
    task : PatchTask
    cancel : callable or threading.Event, optional
        Gives the patch up.
    callback : callable, optional
        Called after every optimisation step.

    Returns
    -------
    dict
        The record of the patch: ``row`` for the table, ``files`` with their hashes, ``transfer`` with what repeats it.

    Raises
    ------
    SessionError
        What no other patch would survive either: the output folder cannot be seen from here, is another session's, or
        the disk is full.
    Cancelled
        `cancel` asked for it.
    """
    began = time.perf_counter()
    store = task.store
    _check_folder(store, task)
    moved = store.set_aside(store.recorded_files(task.patch))
    try:
        target, info = _read_patch(store, task, task.patch)
        base = _Work(store, task, target, info)
        try:
            result = base.enhance(cancel, callback)
        except Exception as error:
            if _disk_is_full(error) or isinstance(error, SessionError | Cancelled):
                raise
            result = base.failed(error)
        if as_cancel(cancel)():
            raise Cancelled
        return base.write(result, began, [f"{path.name} had been changed; it was kept as {path}." for path in moved])
    except FileError as error:
        if _disk_is_full(error):
            raise SessionError(f"{error} Then give the same command again: it goes on where it was.") from error
        raise


def keep_original(task: PatchTask, reason: str) -> dict[str, Any]:
    """Give a patch up for a reason that its worker could not tell: its original is written, and the record says why."""
    store = task.store
    target, info = _read_patch(store, task, task.patch)
    return _Work(store, task, target, info).write(_Result(target, "failed", error=reason), time.perf_counter())


@dataclass
class _Result:
    image: NDArray[Any]
    status: str
    enhanced: Enhanced | None = None
    error: str = ""
    report: Mapping[str, Any] | None = None
    messages: tuple[str, ...] = ()


class _Work:
    """A patch at work: its arrays, and what is made of them."""

    def __init__(self, store: SessionStore, task: PatchTask, target: NDArray[Any], info: FileInfo) -> None:
        self.store, self.task, self.target, self.info = store, task, target, info
        self.mask = _mask(task, task.patch, target.shape)
        self.style: NDArray[Any] | None = None

    def enhance(self, cancel: Cancel | None, callback: Callable[[TransferProgress], object] | None) -> _Result:
        task, image, report, said = self.task, self.target, None, []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StyleTransferWarning)
            if task.correction:
                correction = RangeCorrection.parse(task.correction)
                known = None if task.statistics is None else KnownStatistics.from_dict(task.statistics)
                image, _, report = correct_range(image, correction, statistics=known, mask=self.mask)
            enhanced = None
            if task.style:
                self.style, _ = _read_patch(self.store, task, task.style)
                with _COMPUTING:
                    enhanced = enhance_patch(
                        task.method,
                        image,
                        self.style,
                        target_mask=self.mask,
                        style_mask=_mask(task, task.style, self.style.shape),
                        value_range=task.value_range,
                        style_value_range=task.style_value_range,
                        parameters=_with_device(task.parameters) if "nst" in task.method else {},
                        cancel=cancel,
                        callback=callback,
                    )
                if enhanced.stopped == "cancelled":
                    raise Cancelled
                image = enhanced.image
        for warning in caught:
            if issubclass(warning.category, StyleTransferWarning):
                said.append(str(warning.message))
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        status = "enhanced" if enhanced is not None else "corrected" if task.correction else "kept"
        return _Result(image, status, enhanced, report=report, messages=tuple(dict.fromkeys(said)))

    def failed(self, error: BaseException) -> _Result:
        text = str(error) if isinstance(error, StyleTransferError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, StyleTransferError | MemoryError):
            text += f" (at {traceback.extract_tb(error.__traceback__)[-1].name})"
        return _Result(self.target, "failed", error=text)

    def write(self, result: _Result, began: float, notes: Sequence[str] = ()) -> dict[str, Any]:
        task, store = self.task, self.store
        stem = image_stem(task.patch)
        files = [write_image(store.results / task.patch, result.image, self.info, publish=write_over)]
        spacing = task.measures["spacing"]
        effects = assess_patch(self.target, result.image, self.mask, spacing, task.value_range, task.um_per_px)
        row = self._row(result, effects)
        coordinates = store.results / f"{stem}_coords.csv"
        files.append(
            write_coordinates(coordinates, effects.after.points, base=task.coordinates_base, publish=write_over)
        )
        if result.enhanced is not None:
            files += self._write_enhanced(result.enhanced, effects, row)
        row |= {"seconds": round(time.perf_counter() - began, 3), "error": result.error}
        enhanced = result.enhanced
        record = {
            "fingerprint": task.fingerprint,
            "row": row,
            "transfer": enhanced.metadata if enhanced is not None else None,
            "correction": result.report,
            "warnings": list(result.messages),
            "notes": list(notes),
            "worker": {"host": socket.gethostname()},
        }
        return store.write_record(task.patch, record, files)

    def _row(self, result: _Result, effects: Effects) -> dict[str, Any]:
        task, enhanced = self.task, result.enhanced
        losses = enhanced.losses if enhanced is not None else None
        last = {
            f"{name}_loss": float(getattr(losses, key)[-1]) if losses is not None and len(losses.total) else math.nan
            for name, key in (("style", "style"), ("content", "original"), ("total", "total"))
        }
        return {
            "status": result.status,
            "method": task.folder_name if result.status in ("enhanced", "corrected") else "",
            **last,
            "steps": 0 if losses is None else len(losses.total),
            "stopped": "" if enhanced is None else enhanced.stopped,
            **effect_row(self.target, result.image, self.mask, effects, PatchMeasures(**task.measures), task.um_per_px),
            "device": _device(enhanced),
        }

    def _write_enhanced(self, enhanced: Enhanced, effects: Effects, row: Mapping[str, Any]) -> list[Path]:
        task, store = self.task, self.store
        original, style = image_stem(task.patch), image_stem(task.style)
        parameters = StyleTransferParameters.from_record(task.parameters)
        stem, plot_stem = output_names(original, style, parameters.alpha, parameters.beta)
        files = []
        losses = enhanced.losses
        if losses is not None:
            rows = (losses.style, losses.original, losses.total)
            files.append(save_losses(store.results / f"{stem}.csv", rows, publish=write_over))
        if not task.figures or self.style is None:
            return files
        if losses is not None:
            from napari_nst.transfer.curves import learning_curves

            curves = learning_curves(losses._asdict())
            files.append(save_figure(store.plots / f"{plot_stem}.png", curves, publish=write_over))
        from napari_nst.session.figures import comparison_figure

        shown = _comparison(task, self.target, self.style, enhanced.image, effects, row)
        figure = comparison_figure([shown])
        files.append(save_figure(store.plots / f"{stem}_preprocessing_comparison.png", figure, publish=write_over))
        return files


def changed(row: Mapping[str, Any]) -> bool:
    """Whether a patch of this row differs from its original."""
    return row["status"] in ("enhanced", "corrected")


def read_comparison(task: PatchTask, row: Mapping[str, Any]) -> ComparisonRow:
    """What the figure shows of a finished patch, from its files."""
    store = task.store
    target, style = _read_patch(store, task, task.patch)[0], _read_patch(store, task, task.style)[0]
    result, mask = read_image(store.results / task.patch)[0], _mask(task, task.patch, target.shape)
    return _comparison(task, target, style, result, compare_cones(target, result, mask, task.measures["spacing"]), row)


def _comparison(
    task: PatchTask,
    target: NDArray[Any],
    style: NDArray[Any],
    result: NDArray[Any],
    effects: Effects,
    row: Mapping[str, Any],
) -> ComparisonRow:
    from napari_nst.session.figures import ComparisonRow

    spacing = task.measures["spacing"]
    return ComparisonRow(
        name=task.patch,
        style_name=task.style,
        target=target,
        style=style,
        result=result,
        value_range=task.value_range,
        style_value_range=task.style_value_range,
        target_points=effects.before.points,
        result_points=effects.after.points,
        matching=effects.matching,
        unsupported=effects.unsupported,
        caption=caption(row, task.measures),
        valid=_mask(task, task.patch, target.shape),
        style_valid=_mask(task, task.style, style.shape),
        ring=1 / spacing if math.isfinite(spacing) else None,
    )


def _check_folder(store: SessionStore, task: PatchTask) -> None:
    state = store.read_state()
    if state is None:
        raise SessionError(
            f"{socket.gethostname()} does not see the session in {store.folder}. Give an output folder that every machine "
            "of the cluster sees under the same path."
        )
    if state.get("fingerprint") != task.fingerprint:
        raise SessionError(f"{store.folder} holds another session by now; it was probably replaced during the run.")


def _read_patch(store: SessionStore, task: PatchTask, name: str) -> tuple[NDArray[Any], FileInfo]:
    array, info = read_image(store.raw / name)
    if info.sha256 != task.hashes[name]:
        raise FileError(f"{store.raw / name} has changed during the run; start the same command again.")
    return array, info


def _mask(task: PatchTask, name: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    packed = task.masks.get(name)
    return np.ones(shape[:2], dtype=bool) if packed is None else unpack_mask(packed)


def _with_device(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Spread workers over the GPUs of their machine: each takes its own, by its number."""
    chosen = dict(parameters)
    if chosen.get("device") not in ("auto", "cuda"):
        return chosen
    worker = _worker_name()
    if worker is None:
        return chosen
    from napari_nst.engine._torch import torch

    if torch.cuda.is_available():
        chosen["device"] = f"cuda:{own_gpu(worker, torch.cuda.device_count())}"
    return chosen


def _worker_name() -> str | None:
    from distributed.worker import get_worker

    try:
        return str(get_worker().name)
    except ValueError:  # not on a worker
        return None


@functools.cache
def own_gpu(worker: str, count: int) -> int:
    """The number of the GPU that this process computes on.

    Parameters
    ----------
    worker : str
        Name of the Dask worker; a number at its end (``3``, ``gpu-3``) decides.
    count : int
        GPUs that this process sees.

    Notes
    -----
    A worker that is named after its address takes the first GPU that no other process of this machine has taken. What it
    took is free again when the process ends, however that ends.
    """
    digits = worker.rpartition("-")[2]
    if digits.isdecimal() or count == 1:
        return int(digits) % count if digits.isdecimal() else 0
    from filelock import FileLock, Timeout

    visible = re.sub(r"\W", "-", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    for number in range(count):
        lock = FileLock(Path(tempfile.gettempdir()) / f"napari-nst-gpu-{visible}-{number}.lock", timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError):  # taken, by another user perhaps
            continue
        _TAKEN.append(lock)
        return number
    return os.getpid() % count


def _device(enhanced: Enhanced | None) -> str:
    used = (enhanced.metadata or {}).get("used", {}) if enhanced is not None else {}
    return str(used.get("device_name", used.get("device", "")))


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False
