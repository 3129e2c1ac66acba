"""One call of transfer_style, or several side by side: what was asked, what is done so far, and the record of both."""

from __future__ import annotations

import datetime
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from napari_nst.engine.batching import Ended, batch_size, optimize_together
from napari_nst.engine.devices import resolve_device
from napari_nst.engine.optimization import Cancel, as_cancel
from napari_nst.engine.running import Outcome
from napari_nst.engine.spreading import devices_of, spread
from napari_nst.engine.tiling import TileProgress
from napari_nst.errors import DivergenceError, ImageError, StyleTransferWarning
from napari_nst.imaging.masks import check_mask, pack_mask
from napari_nst.imaging.planes import Planes, band_height
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.inputs import Prepared, Preparer, resampling
from napari_nst.transfer.record import KEY, versions
from napari_nst.transfer.result import Losses, StyleTransfer, TransferProgress

__all__ = ["Transfer", "steps_of_all"]

Array: TypeAlias = np.ndarray[Any, Any]


class Transfer:
    """One call of transfer_style, planes and all.

    Parameters
    ----------
    target, style : array
        As :func:`napari_nst.transfer_style` takes them.
    cancel : Cancel or None
        Asked before every evaluation.
    options : dict
        Its other arguments: mask, style_mask, pixel_size, style_pixel_size, style_value_range, rgb, style_rgb, initial.
    parameters : dict
        Fields of StyleTransferParameters.
    out : array, optional
        To be written with the result: shape and dtype of the target, takes slices.
    """

    def __init__(
        self,
        target: Any,
        style: Any,
        cancel: Cancel | None,
        options: dict[str, Any],
        parameters: dict[str, Any],
        out: Any = None,
    ) -> None:
        self.began, self.started = time.perf_counter(), datetime.datetime.now(datetime.UTC)
        self.parameters = p = StyleTransferParameters(**parameters)
        self.cancelled = as_cancel(cancel)
        self.targets = Planes.of(target, "target", options["rgb"])
        self.styles = Planes.of(style, "style", options["style_rgb"])
        if self.styles.stack_shape not in ((), self.targets.stack_shape):
            raise ImageError(
                f"The style is a stack of shape {self.styles.stack_shape}, the target is "
                f"{self.targets.stack_shape or 'a single picture'}: choose one plane of the style, or give a stack of the same "
                "shape."
            )
        if out is not None:
            _check_out(out, self.targets)
        self.messages: list[str] = []
        self.preparer = Preparer(
            p,
            self.targets,
            self.styles,
            options["mask"],
            options["style_mask"],
            options["style_value_range"],
            resampling(options["pixel_size"], options["style_pixel_size"], p.match_pixel_size),
            self.warn,
            options["initial"],
            out is not None,
        )
        self.arguments = {
            "mask": _recorded_mask(options["mask"], self.targets),
            "style_mask": _recorded_mask(options["style_mask"], self.styles),
            **{name: _listed(value) for name, value in options.items() if "mask" not in name},
        }
        self.planes = list(self.targets.indices())
        self.image: Any = np.empty(self.targets.array.shape, dtype=self.targets.array.dtype) if out is None else out
        self.losses: list[Array] = []
        self.notes: list[dict[str, Any]] = []
        self.used: dict[str, Any] = {}
        self.error: DivergenceError | None = None
        #: Where it runs: as the parameters say, or its share of several.
        self.device = p.device

    def warn(self, message: str) -> None:
        """Tell the user once, and the record."""
        if message not in self.messages:
            self.messages.append(message)
            warnings.warn(message, StyleTransferWarning, stacklevel=2)

    def steps(self) -> Generator[TransferProgress, None, StyleTransfer]:
        """Run all planes: one by one, or as many side by side as the parameters ask for."""
        done = 0
        while done < len(self.planes):
            numbers = range(done, min(done + self._planes_at_once(), len(self.planes)))
            jobs = [job for number in numbers if (job := self.job(number)) is not None]
            going_on = yield from run_jobs(jobs, self.cancelled)
            done = numbers.stop
            if not going_on or self.error is not None:
                self.leave(done)
                break
        result = self.finish()
        if self.error is not None:
            self.error.partial = result
            raise self.error
        return result

    def at_once(self) -> int:
        """How many planes like these the device takes side by side."""
        if self.preparer.tiled:
            return 1
        p, factors = self.parameters, self.preparer.factors
        height, width = (max(1, round(n * f)) for n, f in zip(self.styles.plane_shape, factors, strict=True))
        device = resolve_device(p.device)
        return batch_size(p, self.targets.plane_shape, (height, width), self.preparer.channels, device)

    def _planes_at_once(self) -> int:
        # On a CPU little is won, and a viewer shows the planes of a stack one after the other.
        together = self.parameters.batch or resolve_device(self.parameters.device).type == "cuda"
        return self.at_once() if together and len(self.planes) > 1 else 1

    def job(self, number: int) -> Job | None:
        """A plane as the engine takes it; None for one of several that cannot be used, of which a warning tells."""
        index = self.planes[number]
        plane = self.targets.plane(index)
        try:
            prepared = self.preparer.prepare(plane, self.styles.plane(index if self.styles.stack_shape else ()))
        except ImageError as error:
            if len(self.planes) == 1:
                raise
            # One unusable plane, a black one say, must not cost the others.
            self.warn(f"Plane {index} is left as it is. {error}")
            self._keep_as_it_is(index, plane, "skipped")
            return None
        return Job(self, number, prepared)

    def end(self, job: Job, ended: Ended) -> None:
        """Take over what has become of a plane."""
        outcome, index = ended.outcome, self.planes[job.number]
        for rows, band in job.prepared.bands(outcome, band_height(self.image, self.targets.row_axis)):
            self.image[(*index, rows)] = band
        self._note(index, outcome, outcome.stopped)
        self.error = self.error or ended.error

    def leave(self, first: int = 0) -> None:
        """Leave the planes from `first` on as they are."""
        for index in self.planes[first:]:
            self._keep_as_it_is(index, self.targets.plane(index), "not begun")

    def _keep_as_it_is(self, index: tuple[int, ...], plane: Array, why: str) -> None:
        self.image[(*index, slice(None))] = plane
        self._note(index, None, why)

    def _note(self, index: tuple[int, ...], outcome: Outcome | None, stopped: str) -> None:
        steps = 0
        if outcome is not None:
            steps = len(outcome.losses)
            self.losses.append(outcome.losses.numpy())
            self.used.update(outcome.used)
            if "fallback" in outcome.used:
                self.messages.append(f"{outcome.used['fallback']} Went on on the CPU.")
        self.notes.append({"index": list(index), "steps": steps, "stopped": stopped})

    def finish(self) -> StyleTransfer:
        """The result, and its record.

        Raises
        ------
        ImageError
            When no plane could be used.
        """
        stops = {note["stopped"] for note in self.notes}
        if stops == {"skipped"}:
            raise ImageError(f"None of the {len(self.planes)} planes could be used. {self.messages[-1]}")
        order = ("diverged", "cancelled", "not begun", "finished", "converged")
        stopped = next(word for word in order if word in stops).replace("not begun", "cancelled")
        self.notes.sort(key=lambda note: tuple(note["index"]))
        columns = np.concatenate(self.losses) if self.losses else np.empty((0, 3))
        found = versions()
        metadata: dict[str, Any] = {
            KEY: found["napari-nst"],
            "parameters": {k: _listed(v) for k, v in self.parameters.asdict().items()},
            "arguments": self.arguments,
            "used": {**self.used, **self.preparer.used},
            "target": _described(self.targets),
            "style": _described(self.styles),
            "stopped": stopped,
            "steps": len(columns),
            "planes": self.notes,
            "warnings": self.messages,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.began, 3),
            "versions": found,
        }
        return StyleTransfer(self.image, Losses(*(np.ascontiguousarray(c) for c in columns.T)), metadata, stopped)


@dataclass(frozen=True)
class Job:
    """One plane of one transfer, ready for the engine."""

    transfer: Transfer
    number: int
    prepared: Prepared
    target: int = 0


def run_jobs(jobs: Sequence[Job], cancel: Cancel | None) -> Generator[TransferProgress, None, bool]:
    """Run planes of one size side by side, and give each transfer its own.

    Returns
    -------
    bool
        False when it was cancelled.
    """
    if not jobs:
        return True
    head = jobs[0].transfer
    parameters = head.parameters.replace(device=head.device)
    steps = optimize_together([job.prepared.picture for job in jobs], parameters, cancel)
    # Planes of one transfer that are at work together share its count of steps.
    mates = [[other for other in jobs if other.transfer is job.transfer] for job in jobs]
    while True:
        try:
            now = next(steps)
        except StopIteration as end:
            ended: list[Ended] = end.value
            break
        job = jobs[now.place]
        together = mates[now.place]
        planes = len(job.transfer.planes)
        yield TransferProgress(
            # A picture in tiles, which is alone, says 0 before its first step.
            together[0].number * now.epoch + (now.step - 1) * len(together) + together.index(job) + 1,
            planes * now.epoch,
            job.number,
            planes,
            job.transfer.planes[job.number],
            now,
            partial(job.prepared.render_now, now),
            job.target,
            *((now.tiles_done, now.tiles) if isinstance(now, TileProgress) else ()),
        )
    for job, result in zip(jobs, ended, strict=True):
        job.transfer.end(job, result)
    return not any(end.outcome.stopped == "cancelled" for end in ended)


def steps_of_all(transfers: Sequence[Transfer]) -> Generator[TransferProgress, None, list[StyleTransfer]]:
    """Run several transfers: single pictures of one size side by side, stacks one after the other.

    Where several GPUs are there, and none is named, each takes its share.

    Raises
    ------
    DivergenceError
        When all others are done; its ``partial`` is the list of all results.
    """
    results: dict[int, StyleTransfer] = {}

    def run(numbers: range, device: str) -> Generator[TransferProgress, None, None]:
        group = [transfers[number] for number in numbers]
        for transfer in group:
            transfer.device = device
        if group[0].cancelled():
            for transfer in group:
                transfer.leave()
            results.update((number, transfers[number].finish()) for number in numbers)
        elif len(group[0].planes) > 1:
            results[numbers[0]] = yield from _numbered(_kept(group[0]), numbers[0])
        else:
            jobs = [job for transfer in group if (job := transfer.job(0)) is not None]
            jobs = [replace(job, target=number) for job, number in zip(jobs, numbers, strict=True)]
            yield from run_jobs(jobs, group[0].cancelled)
            results.update((number, transfers[number].finish()) for number in numbers)

    if transfers:
        yield from spread(_groups(transfers), devices_of(transfers[0].parameters), run)
    in_order = [results[number] for number in range(len(transfers))]
    errors = [transfer.error for transfer in transfers if transfer.error is not None]
    if errors:
        errors[0].partial = in_order
        raise errors[0]
    return in_order


def _groups(transfers: Sequence[Transfer]) -> Iterator[range]:
    """The numbers of transfers that run side by side."""
    first = 0
    while first < len(transfers):
        group = _group(transfers, first)
        yield range(first, first + len(group))
        first += len(group)


def _group(transfers: Sequence[Transfer], first: int) -> Sequence[Transfer]:
    """The transfers from `first` on that can run side by side."""
    head = transfers[first]
    if len(head.planes) > 1:
        return [head]
    last, most = first + 1, head.at_once()
    while last < len(transfers) and last - first < most and _alike(head, transfers[last]):
        last += 1
    return transfers[first:last]


def _alike(one: Transfer, other: Transfer) -> bool:
    shapes = (one.targets.plane_shape, one.preparer.channels) == (other.targets.plane_shape, other.preparer.channels)
    return shapes and len(other.planes) == 1


def _kept(transfer: Transfer) -> Generator[TransferProgress, None, StyleTransfer]:
    """A transfer whose error is raised later, when the others are done."""
    try:
        return (yield from transfer.steps())
    except DivergenceError as error:
        result: StyleTransfer = error.partial
        return result


def _numbered(
    steps: Generator[TransferProgress, None, StyleTransfer], target: int
) -> Generator[TransferProgress, None, StyleTransfer]:
    while True:
        try:
            now = next(steps)
        except StopIteration as end:
            result: StyleTransfer = end.value
            return result
        yield replace(now, target=target)


def _check_out(out: Any, targets: Planes) -> None:
    shape, dtype = (getattr(out, name, None) for name in ("shape", "dtype"))
    wanted, of = tuple(map(int, targets.array.shape)), np.dtype(targets.array.dtype)
    if shape is None or dtype is None or not hasattr(out, "__setitem__"):
        raise ImageError(f"out: {type(out).__name__} cannot be written; give an array with shape, dtype and slices.")
    if tuple(map(int, shape)) != wanted or np.dtype(dtype) != of:
        raise ImageError(f"out is {tuple(shape)} of {dtype}; the result is {wanted} of {of}, like the target.")


def _described(planes: Planes) -> dict[str, Any]:
    array = planes.array
    return {
        "shape": list(map(int, array.shape)),
        "dtype": str(array.dtype),
        "rgb": planes.rgb,
        "sha256": planes.digest(),
    }


def _listed(value: Any) -> Any:
    """JSON knows lists, no tuples, no NumPy scalars and no arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_listed(v) for v in value] if isinstance(value, (tuple, list)) else getattr(value, "item", lambda: value)()


def _recorded_mask(mask: Any, planes: Planes) -> Any:
    return mask if mask is None or isinstance(mask, str) else pack_mask(check_mask(mask, planes.plane_shape))
