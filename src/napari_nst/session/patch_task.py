"""One patch from its file to its results: the unit that is repeated, spread over workers, and resumed.

Everything here can run in any process that sees the output folder: what it needs comes in a `PatchTask` of plain
values, and what it leaves are files, of which the record comes last.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import socket
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, SessionError, StyleTransferError, StyleTransferWarning
from napari_nst.imaging.masks import unpack_mask
from napari_nst.imaging.range_correction import KnownStatistics, RangeCorrection, correct_range
from napari_nst.io.atomic import write_over
from napari_nst.io.coordinates import write_coordinates
from napari_nst.io.images import FileInfo, image_stem, read_image, write_image
from napari_nst.io.records import confine
from napari_nst.methods import METHODS, Enhanced, enhance_patch
from napari_nst.session.effects import Effects, assess_patch, caption, compare_cones, effect_row
from napari_nst.session.quality import PatchMeasures
from napari_nst.session.store import PatchRecord, PatchRow, PatchStatus, SessionStore
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings
from napari_nst.transfer.files import output_names, save_figure, save_losses

if TYPE_CHECKING:
    from napari_nst.session.figures import ComparisonRow
    from napari_nst.transfer.api import TransferProgress

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quota

#: The locks of the GPUs that this process took; held as long as it lives.
_TAKEN: list[Any] = []

#: PyTorch's number of threads belongs to the process: two patches at once in one process would disturb each other.
_COMPUTING = threading.Lock()


class Cancelled(Exception):
    """The patch was given up because the user stopped; nothing of it is kept."""


class PatchImage(NamedTuple):
    """A patch as it was cut: (H, W), what its file says, and True where a pixel counts."""

    pixels: NDArray[Any]
    info: FileInfo
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class PatchTask:
    """Everything that a worker must know of a patch; plain values, so that it can travel."""

    output: str
    fingerprint: str
    settings: SessionSettings
    parameters: StyleTransferParameters
    patch: str  # its file in ``raw_run``
    style: str  # likewise; "" for a patch that is not enhanced
    hashes: dict[str, str]  # SHA-256 of these two files
    masks: dict[str, Any]  # packed, of those of the two that are not all valid
    value_range: tuple[float, float]  # gray levels that count as black and white
    style_value_range: tuple[float, float]
    measures: PatchMeasures  # of the patch before
    statistics: KnownStatistics | None  # for a global range correction
    pixel_size: float | None  # µm

    @property
    def store(self) -> SessionStore:
        """The output folder."""
        return SessionStore(self.output, self.settings.folder_name)

    @property
    def transfers(self) -> bool:
        """Whether the patch needs a style transfer."""
        return bool(self.style) and METHODS[self.settings.method].transfers

    def read(self, name: str) -> PatchImage:
        """Read patch or style."""
        path = confine(self.store.raw, name)
        array, info = read_image(path)
        if info.sha256 != self.hashes[name]:
            raise FileError(f"{path} has changed during the run; start the same command again.")
        packed = self.masks.get(name)
        return PatchImage(array, info, np.ones(array.shape[:2], dtype=bool) if packed is None else unpack_mask(packed))


@dataclass
class _Result:
    """What became of a patch, before it is written; the image is the very array of the target where nothing changed."""

    image: NDArray[Any]
    status: PatchStatus
    style: PatchImage | None = None
    enhanced: Enhanced | None = None
    error: str = ""
    correction: dict[str, Any] | None = None
    messages: tuple[str, ...] = ()


def run_task(
    task: PatchTask, cancel: Cancel | None = None, callback: Callable[[TransferProgress], object] | None = None
) -> PatchRecord:
    """Enhance a patch, measure what that did, write it all, and return its record; Cancelled if `cancel` asks for it.

    SessionError is what no other patch would survive either: the output folder cannot be seen from here, is another
    session's, or the disk is full.
    """
    started = time.perf_counter()
    _check_folder(task)
    try:
        notes = _set_aside(task)
        target = task.read(task.patch)
        try:
            result = _enhance(task, target, cancel, callback)
        except Exception as error:
            if _disk_is_full(error) or isinstance(error, SessionError | Cancelled):
                raise
            result = _Result(target.pixels, PatchStatus.FAILED, error=_explain(error))
        if as_cancel(cancel)():
            raise Cancelled
        return _write(task, target, result, started, notes)
    except FileError as error:
        if _disk_is_full(error):
            raise SessionError(f"{error} Then give the same command again: it goes on where it was.") from error
        raise


def keep_original(task: PatchTask, reason: str) -> PatchRecord:
    """Give a patch up for a reason that its worker could not report: its original is written, and the record says why."""
    target = task.read(task.patch)
    return _write(task, target, _Result(target.pixels, PatchStatus.FAILED, error=reason), time.perf_counter(), [])


def _check_folder(task: PatchTask) -> None:
    state, folder = task.store.read_state(), task.store.folder
    if state is None:
        raise SessionError(
            f"{socket.gethostname()} does not see the session in {folder}. Give an output folder that every machine of the "
            "cluster sees under the same path."
        )
    if state.fingerprint != task.fingerprint:
        raise SessionError(f"{folder} holds another session by now; it was probably replaced during the run.")


def _set_aside(task: PatchTask) -> list[str]:
    """Keep files that somebody changed, and return what to report: that, or that the record was damaged."""
    try:
        record = task.store.read_record(task.patch)
    except FileError as error:
        return [str(error)]
    moved = task.store.set_aside(record.files if record is not None else {})
    return [f"{path.name} had been changed; it was kept as {path}." for path in moved]


def _enhance(
    task: PatchTask, target: PatchImage, cancel: Cancel | None, callback: Callable[[TransferProgress], object] | None
) -> _Result:
    result = _Result(target.pixels, PatchStatus.KEPT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StyleTransferWarning)
        if task.settings.correction:
            correction = RangeCorrection.parse(task.settings.correction)
            made = correct_range(target.pixels, correction, statistics=task.statistics, mask=target.mask)
            result.image, _, result.correction = made
            result.status = PatchStatus.CORRECTED
        if task.style:
            result.style = task.read(task.style)
            with _COMPUTING:
                result.enhanced = enhance_patch(
                    task.settings.method,
                    result.image,
                    result.style.pixels,
                    target_mask=target.mask,
                    style_mask=result.style.mask,
                    value_range=task.value_range,
                    style_value_range=task.style_value_range,
                    parameters=_with_device(task.parameters.asdict()) if task.transfers else {},
                    cancel=cancel,
                    callback=callback,
                )
            if result.enhanced.stopped == "cancelled":
                raise Cancelled
            result.image, result.status = result.enhanced.image, PatchStatus.ENHANCED
    own = []
    for warning in caught:
        if issubclass(warning.category, StyleTransferWarning):
            own.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    result.messages = tuple(dict.fromkeys(own))
    return result


def _explain(error: BaseException) -> str:
    if isinstance(error, StyleTransferError):
        return str(error)
    where = "" if isinstance(error, MemoryError) else f" (at {traceback.extract_tb(error.__traceback__)[-1].name})"
    return f"{type(error).__name__}: {error}{where}"


def _write(task: PatchTask, target: PatchImage, result: _Result, started: float, notes: list[str]) -> PatchRecord:
    """Measure what became of a patch and write its files, the record last."""
    store, enhanced, before = task.store, result.enhanced, target.pixels
    base, pixel_size = task.settings.coordinates_base, task.pixel_size
    files = [write_image(confine(store.results, task.patch), result.image, target.info, publish=write_over)]
    effects = assess_patch(before, result.image, target.mask, task.measures.spacing, task.value_range, pixel_size)
    coordinates = store.results / f"{image_stem(task.patch)}_coords.csv"
    files.append(write_coordinates(coordinates, effects.after.points, base=base, publish=write_over))
    row = PatchRow(
        status=result.status,
        method=task.settings.folder_name if result.status.changed else "",
        steps=0,
        error=result.error,
        **effect_row(before, result.image, target.mask, effects, task.measures, pixel_size),
    )
    if enhanced is not None:
        used = enhanced.metadata.get("used", {})
        row.stopped, row.device = enhanced.stopped, str(used.get("device_name", used.get("device", "")))
        if enhanced.losses is not None and len(enhanced.losses.total):
            row.style_loss, row.content_loss, row.total_loss = (float(values[-1]) for values in enhanced.losses)
            row.steps = len(enhanced.losses.total)
        files += _write_losses_and_figures(task, target, result, effects, row)
    row.seconds = round(time.perf_counter() - started, 3)
    record = PatchRecord(
        patch=task.patch,
        fingerprint=task.fingerprint,
        row=row,
        transfer=enhanced.metadata if enhanced is not None else None,
        correction=result.correction,
        warnings=list(result.messages),
        notes=notes,
        worker={"host": socket.gethostname()},
        files={},
    )
    return store.write_record(record, files)


def _write_losses_and_figures(
    task: PatchTask, target: PatchImage, result: _Result, effects: Effects, row: PatchRow
) -> list[Path]:
    store, parameters, files = task.store, task.parameters, list[Path]()
    stem, plot_stem = output_names(image_stem(task.patch), image_stem(task.style), parameters.alpha, parameters.beta)
    losses = result.enhanced.losses if result.enhanced is not None else None
    if losses is not None:
        files.append(save_losses(store.results / f"{stem}.csv", losses, publish=write_over))
    if not task.settings.figures or result.style is None:
        return files
    if losses is not None:
        from napari_nst.transfer.curves import learning_curves

        curves = learning_curves(losses._asdict())
        files.append(save_figure(store.plots / f"{plot_stem}.png", curves, publish=write_over))
    from napari_nst.session.figures import comparison_figure

    figure = comparison_figure([_comparison(task, target, result.style, result.image, effects, row)])
    files.append(save_figure(store.plots / f"{stem}_preprocessing_comparison.png", figure, publish=write_over))
    return files


def read_comparison(task: PatchTask, row: PatchRow) -> ComparisonRow:
    """Return what the figure shows of a finished patch, from its files."""
    target, result = task.read(task.patch), read_image(confine(task.store.results, task.patch))[0]
    effects = compare_cones(target.pixels, result, target.mask, task.measures.spacing)
    return _comparison(task, target, task.read(task.style), result, effects, row)


def _comparison(
    task: PatchTask, target: PatchImage, style: PatchImage, result: NDArray[Any], effects: Effects, row: PatchRow
) -> ComparisonRow:
    from napari_nst.session.figures import ComparisonRow

    return ComparisonRow(
        name=task.patch,
        style_name=task.style,
        target=target.pixels,
        style=style.pixels,
        result=result,
        value_range=task.value_range,
        style_value_range=task.style_value_range,
        target_points=effects.before.points,
        result_points=effects.after.points,
        matching=effects.matching,
        unsupported=effects.unsupported,
        caption=caption(row, task.measures),
        valid=target.mask,
        style_valid=style.mask,
        ring=1 / task.measures.spacing,
    )


def _with_device(parameters: dict[str, Any]) -> dict[str, Any]:
    """Spread workers over the GPUs of their machine: each takes its own, by its number."""
    if parameters["device"] not in ("auto", "cuda"):
        return parameters
    from distributed.worker import get_worker

    try:
        worker = str(get_worker().name)
    except ValueError:  # not on a worker
        return parameters
    from napari_nst.engine._torch import torch

    if torch.cuda.is_available():
        parameters["device"] = f"cuda:{own_gpu(worker, torch.cuda.device_count())}"
    return parameters


@functools.cache
def own_gpu(worker: str, count: int) -> int:
    """Return the number of the GPU, of `count`, that this process computes on.

    A number at the end of the worker's name (``3``, ``gpu-3``) decides. A worker that is named after its address takes the
    first GPU that no other process of this machine has taken, until it ends, however that is.
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


def _disk_is_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False
