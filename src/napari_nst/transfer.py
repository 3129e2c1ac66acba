"""Style transfer on arrays: the one way into the engine."""

from __future__ import annotations

import contextlib
import datetime
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from napari_nst.engine.optimization import Cancel, Progress, as_cancel
from napari_nst.engine.parameters import StyleTransferParameters
from napari_nst.engine.running import Outcome, optimize
from napari_nst.errors import DivergenceError, ImageError, StyleTransferWarning
from napari_nst.images.masks import check_mask, pack_mask
from napari_nst.images.planes import Planes
from napari_nst.preparation import Prepared, Preparer, resampling
from napari_nst.record import KEY, versions

__all__ = ["Losses", "StyleTransfer", "TransferProgress", "transfer_steps", "transfer_style"]

Array: TypeAlias = np.ndarray[Any, Any]


class Losses(NamedTuple):
    """Losses of every step, 1-D float64 arrays of equal length; of a stack, plane after plane."""

    style: Array
    original: Array
    total: Array


@dataclass(frozen=True)
class StyleTransfer:
    """The result of a style transfer.

    Attributes
    ----------
    image : ndarray
        Shape, dtype and value range of the target.
    losses : Losses
        Style, content ("original") and total loss of every step.
    metadata : dict
        JSON-able record; :func:`napari_nst.arguments_from` turns it into the arguments that repeat the run.
    stopped : {"finished", "converged", "cancelled"}
        Why it ended ("diverged" in the partial result that a DivergenceError carries).
    """

    image: Array
    losses: Losses
    metadata: dict[str, Any] = field(repr=False)
    stopped: str


@dataclass(frozen=True)
class TransferProgress:
    """One finished step of a transfer.

    Attributes
    ----------
    step, epoch : int
        Steps done and steps at most, over all planes.
    plane, planes : int
        The plane at work, from 0, and how many there are.
    index : tuple of int
        Its index along the leading axes of the target; empty for a single picture.
    """

    step: int
    epoch: int
    plane: int
    planes: int
    index: tuple[int, ...]
    _progress: Progress
    _render: Callable[[], Array]

    @property
    def losses(self) -> tuple[float, float, float]:
        """Style, content and total loss of this step; on a GPU, asking waits for it."""
        return self._progress.losses

    def image(self) -> Array:
        """The plane as it is now, in the shape, dtype and value range of the target's plane."""
        return self._render()


def transfer_style(
    target: Any,
    style: Any,
    *,
    callback: Callable[[TransferProgress], object] | None = None,
    cancel: Cancel | None = None,
    mask: Any = None,
    style_mask: Any = None,
    pixel_size: float | tuple[float, float] | None = None,
    style_pixel_size: float | tuple[float, float] | None = None,
    style_value_range: str | tuple[float, float] | None = None,
    rgb: bool | None = None,
    style_rgb: bool | None = None,
    initial: str | None = None,
    **parameters: Any,
) -> Any:
    """Give a target picture the texture of a style picture.

    Parameters
    ----------
    target : array or sequence of arrays
        (y, x), (y, x, 3), (y, x, 4), or a stack of these with leading axes, processed plane by plane; NumPy or Dask;
        any integer or float type.  A list or tuple of targets gives a list of results.
    style : array or sequence of arrays
        The same kinds; may differ from the target in size, type, range and colour.  One plane serves all planes of
        a stack; a stack of the same leading shape is taken plane by plane.
    callback : callable, optional
        Called with a :class:`TransferProgress` after every step.
    cancel : threading.Event or callable, optional
        Asked before every evaluation; when set (or when it returns True) the partial result is returned.
    mask, style_mask : array or "border", optional
        (y, x): pixels that are True or not 0 are used; the others are kept out of all statistics, and of the target
        they keep their values.  "border" leaves out the black border of a registered montage.
    pixel_size, style_pixel_size : float or (float, float), optional
        Size of a pixel along y and x, both in the same unit.  Where both are given and differ, the style is resampled
        to the target's (see the parameter ``match_pixel_size``).
    style_value_range : str or (low, high), optional
        As the parameter ``value_range``, for the style alone.
    rgb, style_rgb : bool, optional
        Whether the last axis is colour; by default it is when it has 3 or 4 entries.
    initial : "spectrum", optional
        Start from the target filtered to the style's radial power spectrum, mean and standard deviation
        (:func:`napari_nst.images.spectrum.match_spectrum`, channel by channel) instead of from where the parameter
        ``init`` says. The content is still that of the target itself.
    **parameters
        The fields of :class:`napari_nst.StyleTransferParameters`: ``preset="texture"``, ``alpha=2.0``...

    Returns
    -------
    StyleTransfer or list of StyleTransfer
        The picture, its losses and its record.

    Raises
    ------
    ParameterError, ImageError, WeightsError
        When something that was passed cannot be used.
    DivergenceError, OutOfMemoryError, EngineError
        When the computation fails; a DivergenceError carries the last good result as ``partial``.

    Examples
    --------
    >>> from napari_nst import mosaic_pair, transfer_style
    >>> pair = mosaic_pair((64, 64))
    >>> result = transfer_style(pair.target, pair.style, preset="texture", epoch=2, threads=1)
    >>> result.image.shape, result.image.dtype, result.stopped
    ((64, 64), dtype('uint8'), 'finished')
    """
    options = {
        "mask": mask,
        "style_mask": style_mask,
        "pixel_size": pixel_size,
        "style_pixel_size": style_pixel_size,
        "style_value_range": style_value_range,
        "rgb": rgb,
        "style_rgb": style_rgb,
        "initial": initial,
    }
    if isinstance(target, (list, tuple)):
        styles = style if isinstance(style, (list, tuple)) else [style] * len(target)
        if len(styles) != len(target):
            raise ImageError(f"{len(target)} targets and {len(styles)} styles: give one style, or one for each target.")
        return [_drive(t, s, callback, cancel, options, parameters) for t, s in zip(target, styles, strict=True)]
    return _drive(target, style, callback, cancel, options, parameters)


def _drive(
    target: Any,
    style: Any,
    callback: Callable[[TransferProgress], object] | None,
    cancel: Cancel | None,
    options: dict[str, Any],
    parameters: dict[str, Any],
) -> StyleTransfer:
    # Closed also when the callback raises: the thread count is given back then and not whenever it is collected.
    with contextlib.closing(transfer_steps(target, style, cancel=cancel, **options, **parameters)) as steps:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                result: StyleTransfer = end.value
                return result
            if callback is not None:
                callback(progress)


def transfer_steps(
    target: Any,
    style: Any,
    *,
    cancel: Cancel | None = None,
    mask: Any = None,
    style_mask: Any = None,
    pixel_size: float | tuple[float, float] | None = None,
    style_pixel_size: float | tuple[float, float] | None = None,
    style_value_range: str | tuple[float, float] | None = None,
    rgb: bool | None = None,
    style_rgb: bool | None = None,
    initial: str | None = None,
    **parameters: Any,
) -> Generator[TransferProgress, None, StyleTransfer]:
    """The same as a generator: yields a :class:`TransferProgress` per step and returns the StyleTransfer."""
    run = _Transfer(
        target,
        style,
        cancel,
        mask,
        style_mask,
        pixel_size,
        style_pixel_size,
        style_value_range,
        rgb,
        style_rgb,
        initial,
        parameters,
    )
    return (yield from run.steps())


class _Transfer:
    """One call of transfer_style: what was asked, what is done so far, and the record of both."""

    def __init__(
        self,
        target: Any,
        style: Any,
        cancel: Cancel | None,
        mask: Any,
        style_mask: Any,
        pixel_size: Any,
        style_pixel_size: Any,
        style_value_range: Any,
        rgb: bool | None,
        style_rgb: bool | None,
        initial: str | None,
        parameters: dict[str, Any],
    ) -> None:
        self.began, self.started = time.perf_counter(), datetime.datetime.now(datetime.UTC)
        self.parameters = p = StyleTransferParameters(**parameters)
        self.cancelled = as_cancel(cancel)
        self.targets, self.styles = Planes.of(target, "target", rgb), Planes.of(style, "style", style_rgb)
        if self.styles.stack_shape not in ((), self.targets.stack_shape):
            raise ImageError(
                f"The style is a stack of shape {self.styles.stack_shape}, the target is "
                f"{self.targets.stack_shape or 'a single picture'}: choose one plane of the style, or give a stack of the same "
                "shape."
            )
        self.messages: list[str] = []
        self.preparer = Preparer(
            p,
            self.targets,
            self.styles,
            mask,
            style_mask,
            style_value_range,
            resampling(pixel_size, style_pixel_size, p.match_pixel_size),
            self.warn,
            initial,
        )
        self.arguments = {
            "mask": _recorded_mask(mask, self.targets),
            "style_mask": _recorded_mask(style_mask, self.styles),
            "pixel_size": _listed(pixel_size),
            "style_pixel_size": _listed(style_pixel_size),
            "style_value_range": _listed(style_value_range),
            "rgb": rgb,
            "style_rgb": style_rgb,
            "initial": initial,
        }
        self.planes = list(self.targets.indices())
        self.image = np.empty(self.targets.array.shape, dtype=self.targets.array.dtype)
        self.losses: list[Array] = []
        self.notes: list[dict[str, Any]] = []
        self.used: dict[str, Any] = {}

    def warn(self, message: str) -> None:
        if message not in self.messages:
            self.messages.append(message)
            warnings.warn(message, StyleTransferWarning, stacklevel=2)

    def steps(self) -> Generator[TransferProgress, None, StyleTransfer]:
        for number, index in enumerate(self.planes):
            plane = self.targets.plane(index)
            try:
                prepared = self.preparer.prepare(plane, self.styles.plane(index if self.styles.stack_shape else ()))
            except ImageError as error:
                if len(self.planes) == 1:
                    raise
                # One unusable plane, a black one say, must not cost the others.
                self.warn(f"Plane {index} is left as it is. {error}")
                self._add(index, plane, None, "skipped")
                continue
            try:
                outcome = yield from self._plane(number, index, prepared)
            except DivergenceError as error:
                error.partial = self._partial(number, index, prepared, error.partial)
                raise
            self._add(index, prepared.render(outcome), outcome, outcome.stopped)
            if outcome.stopped == "cancelled":
                self._leave(number + 1)
                return self._finish("cancelled")
        stops = {note["stopped"] for note in self.notes}
        if stops == {"skipped"}:
            raise ImageError(f"None of the {len(self.planes)} planes could be used. {self.messages[-1]}")
        return self._finish("finished" if "finished" in stops else "converged")

    def _plane(
        self, number: int, index: tuple[int, ...], prepared: Prepared
    ) -> Generator[TransferProgress, None, Outcome]:
        epoch, count = self.parameters.epoch, len(self.planes)
        steps = optimize(prepared.picture, self.parameters, self.cancelled)
        while True:
            try:
                now = next(steps)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            yield TransferProgress(
                number * epoch + now.step,
                count * epoch,
                number,
                count,
                index,
                now,
                partial(prepared.render_now, now),
            )

    def _add(self, index: tuple[int, ...], plane: Array, outcome: Outcome | None, stopped: str) -> None:
        self.image[index] = plane
        steps = 0
        if outcome is not None:
            steps = len(outcome.losses)
            self.losses.append(outcome.losses.numpy())
            self.used.update(outcome.used)
            if "fallback" in outcome.used:
                self.messages.append(f"{outcome.used['fallback']} Went on on the CPU.")
        self.notes.append({"index": list(index), "steps": steps, "stopped": stopped})

    def _leave(self, first: int) -> None:
        for index in self.planes[first:]:
            self._add(index, self.targets.plane(index), None, "not begun")

    def _partial(self, number: int, index: tuple[int, ...], prepared: Prepared, outcome: Outcome) -> StyleTransfer:
        self._add(index, prepared.render(outcome), outcome, "diverged")
        self._leave(number + 1)
        return self._finish("diverged")

    def _finish(self, stopped: str) -> StyleTransfer:
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
