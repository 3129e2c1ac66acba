"""Transfers in progress: the planes of one, or several targets as one batch; what is done so far, and the records."""

from __future__ import annotations

import datetime
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.engine.devices import resolve_device
from napari_nst.engine.memory import batch_size
from napari_nst.engine.optimization import Progress
from napari_nst.engine.run import Notice, Outcome, run
from napari_nst.engine.spreading import devices_of, spread
from napari_nst.errors import DivergenceError, ImageError
from napari_nst.imaging.masks import check_mask, pack_mask
from napari_nst.imaging.planes import Planes, band_height
from napari_nst.io.records import plain
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.inputs import Prepared, Preparer, resampling
from napari_nst.transfer.options import TransferOptions
from napari_nst.transfer.record import KEY, versions
from napari_nst.transfer.result import Losses, Stopped, StyleTransfer, TransferNotice, TransferProgress

Array: TypeAlias = np.ndarray[Any, Any]

#: What a transfer reports on the way.
Event: TypeAlias = TransferProgress | TransferNotice


class Transfer:
    """One target with its style, planes and all, in progress; `number` tells which target of a list it is."""

    def __init__(
        self, target: Any, style: Any, parameters: StyleTransferParameters, options: TransferOptions, number: int = 0
    ) -> None:
        self._clock, self._started = time.perf_counter(), datetime.datetime.now(datetime.UTC)
        self.parameters, self.number = parameters, number
        self.targets = Planes.of(target, "target", options.rgb)
        self.styles = Planes.of(style, "style", options.style_rgb)
        if self.styles.stack_shape not in ((), self.targets.stack_shape):
            raise ImageError(
                f"The style is a stack of shape {self.styles.stack_shape}, the target is "
                f"{self.targets.stack_shape or 'a single image'}: choose one plane of the style, or give a stack of the same "
                "shape."
            )
        if options.out is not None:
            _check_out(options.out, self.targets)
        self._messages: list[str] = []
        self._reported = 0
        self.preparer = Preparer(
            parameters,
            self.targets,
            self.styles,
            options,
            resampling(options.pixel_size, options.style_pixel_size, parameters.match_pixel_size),
            self.warn,
        )
        self._options = options
        self.planes = list(self.targets.indices())
        array = self.targets.array
        self.image: Any = np.empty(array.shape, dtype=array.dtype) if options.out is None else options.out
        self._losses: list[Array] = []
        self._notes: list[dict[str, Any]] = []
        self._used: dict[str, Any] = {}
        self.error: DivergenceError | None = None
        self.result: StyleTransfer | None = None
        #: The first plane that has not run yet.
        self._next = 0

    @property
    def unfinished(self) -> bool:
        """Whether there are planes that have not run yet."""
        return self._next < len(self.planes)

    def matches(self, other: Transfer) -> bool:
        """Whether the other, a single image, can run in one batch with this one."""
        shapes = [(transfer.targets.plane_shape, transfer.preparer.channels) for transfer in (self, other)]
        return shapes[0] == shapes[1] and len(other.planes) == 1

    def warn(self, message: str) -> None:
        """Tell the user once, and the record."""
        if message not in self._messages:
            self._messages.append(message)

    def notices(self) -> Iterator[TransferNotice]:
        """Give the messages that nobody has heard."""
        first, self._reported = self._reported, len(self._messages)
        yield from (TransferNotice(message, self.number) for message in self._messages[first:])

    def batch_size(self) -> int:
        """How many planes like these the device takes at once."""
        if self.preparer.tiled:
            return 1
        p, factors = self.parameters, self.preparer.factors
        height, width = (max(1, round(n * f)) for n, f in zip(self.styles.plane_shape, factors, strict=True))
        device = resolve_device(p.device)
        return batch_size(p, self.targets.plane_shape, (height, width), self.preparer.channels, device)

    def next_planes(self) -> list[_Plane]:
        """Prepare the planes that run next; one that cannot be used is left out, and a message tells why."""
        # On a CPU little is won by a batch, and a viewer shows the planes of a stack one after the other.
        batched = self.parameters.batch or resolve_device(self.parameters.device).type == "cuda"
        count = self.batch_size() if batched and len(self.planes) > 1 else 1
        first, self._next = self._next, min(self._next + count, len(self.planes))
        planes = [self._prepared(number) for number in range(first, self._next)]
        return [plane for plane in planes if plane is not None]

    def _prepared(self, number: int) -> _Plane | None:
        index = self.planes[number]
        plane = self.targets.plane(index)
        try:
            prepared = self.preparer.prepare(plane, self.styles.plane(index if self.styles.stack_shape else ()))
        except ImageError as error:
            if len(self.planes) == 1:
                raise
            # One unusable plane, a black one say, must not cost the others.
            self.warn(f"Plane {index} is left as it is. {error}")
            self._keep(index, plane, Stopped.SKIPPED)
            return None
        return _Plane(self, number, index, prepared)

    def take(self, plane: _Plane, outcome: Outcome) -> None:
        """Take over what has become of a plane."""
        for rows, band in plane.prepared.bands(outcome.image, band_height(self.image, self.targets.row_axis)):
            self.image[(*plane.index, rows)] = band
        self._losses.append(outcome.losses.numpy())
        self._used.update(outcome.used)
        self._notes.append({"index": list(plane.index), "steps": len(outcome.losses), "stopped": str(outcome.stopped)})
        self.error = self.error or outcome.error
        if outcome.error or outcome.stopped == Stopped.CANCELLED:
            self.leave()

    def leave(self) -> None:
        """Leave the planes that have not run yet as they are."""
        for index in self.planes[self._next :]:
            self._keep(index, self.targets.plane(index), Stopped.NOT_STARTED)
        self._next = len(self.planes)

    def _keep(self, index: tuple[int, ...], plane: Array, why: Stopped) -> None:
        self.image[(*index, slice(None))] = plane
        self._notes.append({"index": list(index), "steps": 0, "stopped": str(why)})

    def finish(self) -> None:
        """Make the result with its record; an ImageError when no plane could be used."""
        stops = {note["stopped"] for note in self._notes}
        if stops == {Stopped.SKIPPED}:
            raise ImageError(f"None of the {len(self.planes)} planes could be used. {self._messages[-1]}")
        stopped = next(why for why in Stopped if why in stops)
        if Stopped.NOT_STARTED in stops and stopped != Stopped.DIVERGED:
            stopped = Stopped.CANCELLED
        columns = np.concatenate(self._losses) if self._losses else np.empty((0, 3))
        found, arguments = versions(), {name: value for name, value in vars(self._options).items() if name != "out"}
        for name, planes in (("mask", self.targets), ("style_mask", self.styles)):
            if arguments[name] is not None and not isinstance(arguments[name], str):
                arguments[name] = pack_mask(check_mask(arguments[name], planes.plane_shape))
        metadata: dict[str, Any] = {
            KEY: found["napari-nst"],
            "parameters": plain(self.parameters.asdict()),
            "arguments": plain(arguments),
            "used": {**self._used, **self.preparer.used},
            "target": _described(self.targets),
            "style": _described(self.styles),
            "stopped": str(stopped),
            "steps": len(columns),
            "planes": sorted(self._notes, key=lambda note: tuple(note["index"])),
            "warnings": self._messages,
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 3),
            "versions": found,
        }
        losses = Losses(*(np.ascontiguousarray(column) for column in columns.T))
        self.result = StyleTransfer(self.image, losses, metadata, stopped)


@dataclass(frozen=True)
class _Plane:
    """One plane of a transfer, ready for the engine."""

    transfer: Transfer
    number: int
    index: tuple[int, ...]
    prepared: Prepared

    def progress(self, now: Progress, mates: Sequence[_Plane]) -> TransferProgress:
        """Report an iteration of this plane; `mates` are the planes of its transfer that run in the same batch."""
        planes = len(self.transfer.planes)
        return TransferProgress(
            # An image in tiles, which is alone, says 0 before its first iteration.
            mates[0].number * now.epoch + (now.step - 1) * len(mates) + mates.index(self) + 1,
            planes * now.epoch,
            self.number,
            planes,
            self.index,
            now,
            lambda: self.prepared.render(now.image, now.bounds),
            self.transfer.number,
            now.tiles_done,
            now.tiles,
        )


def run_transfers(transfers: Sequence[Transfer], cancel: Cancel | None = None) -> Generator[Event, None, None]:
    """Run transfers: single images of one size as a batch, stacks one after the other; each has its ``result`` then.

    Where several GPUs are there, and none is named, each takes its share of several transfers.
    """
    cancelled = as_cancel(cancel)

    def run_group(group: Sequence[Transfer], device: str) -> Generator[Event, None, None]:
        for transfer in group:
            if len(transfers) > 1 and cancelled():
                transfer.leave()
        while any(transfer.unfinished for transfer in group):
            planes = [plane for transfer in group for plane in transfer.next_planes()]
            for transfer in group:
                yield from transfer.notices()
            for now in run([plane.prepared.problem for plane in planes], group[0].parameters, cancelled, device):
                plane = planes[now.place]
                if isinstance(now, Outcome):
                    plane.transfer.take(plane, now)
                elif isinstance(now, Notice):
                    plane.transfer.warn(now.message)
                    yield from plane.transfer.notices()
                else:
                    yield plane.progress(now, [p for p in planes if p.transfer is plane.transfer])
        for transfer in group:
            transfer.finish()

    devices = devices_of(transfers[0].parameters) if len(transfers) > 1 else [p.parameters.device for p in transfers]
    yield from spread(_groups(transfers), devices, run_group)


def results_of(transfers: Sequence[Transfer]) -> list[StyleTransfer]:
    """Return the results of transfers that have run; the error of the first that diverged has them as ``partial``."""
    results = [transfer.result for transfer in transfers if transfer.result is not None]
    for transfer in transfers:
        if transfer.error is not None:
            transfer.error.partial = results
            raise transfer.error
    return results


def _groups(transfers: Sequence[Transfer]) -> Iterator[Sequence[Transfer]]:
    """The transfers in batches: single images of one size together, as many as the device takes; a stack alone."""
    first = 0
    while first < len(transfers):
        head, end = transfers[first], first + 1
        most = head.batch_size() if len(head.planes) == 1 else 1
        while end < len(transfers) and end - first < most and head.matches(transfers[end]):
            end += 1
        yield transfers[first:end]
        first = end


def _check_out(out: Any, targets: Planes) -> None:
    shape, dtype = (getattr(out, name, None) for name in ("shape", "dtype"))
    wanted, of = tuple(map(int, targets.array.shape)), np.dtype(targets.array.dtype)
    if shape is None or dtype is None or not hasattr(out, "__setitem__"):
        raise ImageError(f"out: {type(out).__name__} cannot be written; give an array with shape, dtype and slices.")
    if tuple(map(int, shape)) != wanted or np.dtype(dtype) != of:
        raise ImageError(f"out is {tuple(shape)} of {dtype}; the result is {wanted} of {of}, like the target.")


def _described(planes: Planes) -> dict[str, Any]:
    shape, dtype = list(map(int, planes.array.shape)), str(planes.array.dtype)
    return {"shape": shape, "dtype": dtype, "rgb": planes.rgb, "sha256": planes.digest()}
