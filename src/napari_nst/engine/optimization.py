"""The optimisation loop: N pictures of one shape at once, a generator of Progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from napari_nst.engine._torch import torch
from napari_nst.engine.adam import Adam, Moments
from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.engine.lbfgs import LBFGS
from napari_nst.engine.objective import Evaluation
from napari_nst.errors import DivergenceError
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["Cancel", "Moments", "Optimization", "Progress", "as_cancel"]

#: On a GPU the losses are looked at every so many steps: each look waits for the device.
_LOOK_EVERY = 10

#: Steps on a GPU before the step is recorded as a graph: by then every kernel is chosen and all memory is there.
_STEPS_BEFORE_GRAPH = 3

#: Longest step of L-BFGS in any pixel, of the value range.
_LONGEST_STEP = 0.25


class _CancelledError(Exception):
    """Leaves an evaluation that is cancelled inside."""


class HasEvaluate(Protocol):
    """What can be minimised."""

    def evaluate(self, x: torch.Tensor) -> Evaluation:
        """Losses and gradient at `x` (N, channels, H, W)."""


class HasPictures(Protocol):
    """What is under way: an Optimization, or what looks like one."""

    bounds: list[tuple[float, float]]

    def image_of(self, picture: int) -> torch.Tensor:
        """A picture so far, (1, channels, H, W)."""

    def losses_of(self, picture: int) -> torch.Tensor:
        """Its losses, (steps, 3)."""


@dataclass(frozen=True)
class Progress:
    """One finished step of one picture.

    Attributes
    ----------
    step : int
        Steps done, from 1.
    epoch : int
        Steps to do at most.
    optimization : HasPictures
        Where image and losses can be had; asking it waits for the device.
    picture : int
        Which of its pictures.
    place : int
        Which of all pictures of the call; the same, unless a batch had to be divided.
    """

    step: int
    epoch: int
    optimization: HasPictures
    picture: int = 0
    place: int = 0

    @property
    def losses(self) -> tuple[float, float, float]:
        """Style, content and total loss of this step."""
        style, content, total = self.optimization.losses_of(self.picture)[self.step - 1].tolist()
        return style, content, total

    @property
    def image(self) -> torch.Tensor:
        """The picture after this step, (1, channels, H, W), detached, not copied."""
        return self.optimization.image_of(self.picture)

    @property
    def bounds(self) -> tuple[float, float]:
        """The picture's value range."""
        return self.optimization.bounds[self.picture]


class _LBFGS:
    """L-BFGS with the face of Adam."""

    moments = None

    def __init__(self, x: torch.Tensor, lr: float) -> None:
        self._optimizer = LBFGS(x, lr, history=10, longest_step=_LONGEST_STEP)

    def step(self, gradient: torch.Tensor) -> None:
        self._optimizer.step(gradient)

    def keep(self, x: torch.Tensor, indices: torch.Tensor) -> None:
        self._optimizer.keep(indices)
        self._optimizer.x = x


@dataclass(frozen=True)
class _Left:
    """A picture that has left the batch."""

    image: torch.Tensor
    good: torch.Tensor
    losses: torch.Tensor
    stopped: str


class Optimization:
    """Pictures of one shape under way from their start to the minimum, side by side.

    Each has its own losses and its own end: a picture that has converged, or whose losses are no longer finite, leaves
    the batch and costs no more time.

    Parameters
    ----------
    objective : Objective
        What is minimised; with several pictures it must have ``keep(indices)``, which drops all others.
    start : torch.Tensor
        (N, channels, H, W); copied.
    parameters : StyleTransferParameters
        Optimiser, learning rate, steps, projection, tolerance.
    bounds : tuple of float, or list with one for each picture
        The value range that projection keeps; [0, 1] unless the picture itself goes beyond.
    active : torch.Tensor, optional
        (1 or N, 1, H, W) of 0 and 1: pixels at 0 stay as they are.
    cancel : Cancel, optional
        Asked before every evaluation.
    moments : Moments, optional
        What Adam remembers of steps before.
    reach : torch.Tensor, optional
        (1 or N, 1, H, W), at least 0: how far a pixel may depart from `origin`; Adam's steps are projected there.
    origin : torch.Tensor, optional
        (N, channels, H, W); by default `start`.

    Attributes
    ----------
    step : int
        Steps done.
    bounds : list of tuple of float
        The value range of each picture.
    errors : dict
        Of pictures that are no longer finite: number to error.
    graphed : bool
        Whether the step was recorded as a CUDA graph.
    """

    def __init__(
        self,
        objective: HasEvaluate,
        start: torch.Tensor,
        parameters: StyleTransferParameters,
        bounds: tuple[float, float] | list[tuple[float, float]] = (0.0, 1.0),
        active: torch.Tensor | None = None,
        cancel: Cancel | None = None,
        moments: Moments | None = None,
        reach: torch.Tensor | None = None,
        origin: torch.Tensor | None = None,
    ) -> None:
        self.objective, self.parameters = objective, parameters
        count = start.shape[0]
        self.bounds = list(bounds) if isinstance(bounds, list) else [bounds] * count
        self.step = 0
        self.graphed = False
        self._looked = 0
        self._cancelled = as_cancel(cancel)
        # Pictures still at work, by the numbers of their places in `start`; and those that have left.
        self._at_work = list(range(count))
        self._left: dict[int, _Left] = {}
        self.errors: dict[int, DivergenceError] = {}
        self._active = active
        limits = torch.tensor(self.bounds, dtype=start.dtype, device=start.device).view(count, 2, 1, 1, 1)
        self._low, self._high = limits[:, 0], limits[:, 1]
        self._trusted = reach is not None
        if reach is not None:
            if not parameters.clip:  # the value range is another limit, which was not asked for
                self._low, self._high = self._low.new_full((1,), -math.inf), self._high.new_full((1,), math.inf)
            middle = start if origin is None else origin
            self._low, self._high = torch.maximum(self._low, middle - reach), torch.minimum(self._high, middle + reach)
        self._x = start.detach().clone().requires_grad_()
        self._good = start.detach().clone()
        self._buffer = start.new_full((parameters.epoch, count, 3), math.nan)
        self._row = torch.zeros(1, dtype=torch.long, device=start.device)
        # Adam squares the gradient: beyond this the squares are infinite, and every step is 0 without a word.
        adam = parameters.optimizer == "adam"
        self._largest_gradient = math.sqrt(torch.finfo(start.dtype).max) if adam else math.inf
        self._too_steep = torch.zeros(count, dtype=torch.bool, device=start.device)
        self._look_every = 1 if start.device.type == "cpu" else min(_LOOK_EVERY, parameters.window)
        self._optimizer: Adam | _LBFGS = Adam(self._x, parameters, moments) if adam else _LBFGS(self._x, parameters.lr)
        self._graph: Callable[[], None] | None = None
        # L-BFGS chooses its way from step to step; an objective may wait for the device, or for a file.
        self._graphable = adam and start.device.type == "cuda" and getattr(objective, "graphable", False)

    # The first picture, which is the only one more often than not.

    @property
    def image(self) -> torch.Tensor:
        """The first picture so far, (1, channels, H, W), detached, not copied."""
        return self.image_of(0)

    @property
    def last_good(self) -> torch.Tensor:
        """The first picture when its losses were finite last."""
        return self.last_good_of(0)

    @property
    def losses(self) -> torch.Tensor:
        """Style, content and total loss of the first picture's steps, (steps, 3); on the device."""
        return self.losses_of(0)

    @property
    def stopped(self) -> str:
        """Why the first picture ended; empty while it is at work."""
        return self.stopped_of(0)

    @property
    def moments(self) -> Moments | None:
        """What Adam remembers of the pictures at work; None before the first step, and of L-BFGS."""
        return self._optimizer.moments

    def image_of(self, picture: int) -> torch.Tensor:
        """A picture so far, (1, channels, H, W), detached, not copied."""
        if picture in self._left:
            return self._left[picture].image
        place = self._at_work.index(picture)
        return self._x.detach()[place : place + 1]

    def last_good_of(self, picture: int) -> torch.Tensor:
        """A picture when its losses were finite last, (1, channels, H, W)."""
        if picture in self._left:
            return self._left[picture].good
        place = self._at_work.index(picture)
        return self._good[place : place + 1]

    def losses_of(self, picture: int) -> torch.Tensor:
        """Style, content and total loss of a picture's steps, (steps, 3); on the device."""
        if picture in self._left:
            return self._left[picture].losses
        return self._buffer[: self.step, self._at_work.index(picture)]

    def stopped_of(self, picture: int) -> str:
        """Why a picture ended: finished, converged, cancelled or diverged; empty while it is at work."""
        return self._left[picture].stopped if picture in self._left else ""

    def run(self) -> Iterator[Progress]:
        """Yield after every step, for every picture at work, until done, converged or cancelled.

        Raises
        ------
        DivergenceError
            When a loss or the picture is no longer finite; :meth:`last_good_of` has the last good one.  With several
            pictures, when all others are done.
        """
        epoch = self.parameters.epoch
        while self._at_work and self.step < epoch:
            if self._cancelled():
                self._leave(self._at_work, "cancelled")
                break
            try:
                self._advance()
            except _CancelledError:
                self._leave(self._at_work, "cancelled")
                break
            self.step += 1
            working, last = list(self._at_work), self.step == epoch
            if last or self.step % self._look_every == 0:
                self._look(last)
            for picture in working:
                if self.stopped_of(picture) != "diverged":
                    yield Progress(self.step, epoch, self, picture, picture)
        self._leave(self._at_work, "finished")
        if self.errors:
            raise next(iter(self.errors.values()))

    def _advance(self) -> None:
        if self._graph is not None:
            self._graph()
        elif self._graphable and self.step >= _STEPS_BEFORE_GRAPH:
            self._graph = _recorded(self._one_step)
            self.graphed = True
            self._graph()
        else:
            self._one_step()

    @torch.no_grad()
    def _one_step(self) -> None:
        """Evaluate and move; everything stays on the device, at its place: the step can be recorded and replayed."""
        losses, gradient = self.objective.evaluate(self._x)
        self._buffer.index_copy_(0, self._row, losses[None])
        self._row += 1
        # Kept on the device: no step waits for the question whether it went well.
        finite = (losses.isfinite().all(1) & self._x.isfinite().flatten(1).all(1)).view(-1, 1, 1, 1)
        torch.where(finite, self._x, self._good, out=self._good)
        if self._active is not None:
            gradient = gradient * self._active
        self._too_steep |= gradient.abs().flatten(1).amax(1) > self._largest_gradient
        self._optimizer.step(gradient)
        if (self.parameters.clip or self._trusted) and self.parameters.optimizer == "adam":
            self._x.clamp_(self._low, self._high)

    def _look(self, last: bool) -> None:
        """See whether the losses are finite still, and who has converged."""
        failed = self._failures(last)
        self.errors |= failed
        converged = [k for k, done in zip(self._at_work, self._converged(), strict=True) if done and k not in failed]
        self._leave(list(failed), "diverged")
        self._leave(converged, "converged")

    def _leave(self, pictures: Sequence[int], stopped: str) -> None:
        if not pictures:
            return
        for k in list(pictures):
            place = self._at_work.index(k)
            # A picture alone needs no copy: nothing goes on where it lies.
            image, good = self._x.detach()[place : place + 1], self._good[place : place + 1]
            alone = len(self._at_work) == len(pictures)
            losses = self._buffer[: self.step, place].clone()
            self._left[k] = _Left(image if alone else image.clone(), good if alone else good.clone(), losses, stopped)
        staying = [k for k in self._at_work if k not in self._left]
        if staying:
            self._keep([self._at_work.index(k) for k in staying])
        self._at_work = staying

    @torch.no_grad()
    def _keep(self, places: list[int]) -> None:
        indices = torch.tensor(places, device=self._x.device)
        self._graph = None
        self._x = self._x.detach()[indices].requires_grad_()
        self._good, self._too_steep = self._good[indices], self._too_steep[indices]
        self._low, self._high = self._low[indices], self._high[indices]
        self._buffer = self._buffer[:, indices]
        if self._active is not None and len(self._active) > 1:
            self._active = self._active[indices]
        self._optimizer.keep(self._x, indices)
        self.objective.keep(indices)  # type: ignore[attr-defined]  # only objectives of several pictures come here

    def _failures(self, last: bool) -> dict[int, DivergenceError]:
        """The error of every picture that came to infinity, or will do so without a word."""
        p, found = self.parameters, {}
        # Of all pictures at once, and of the steps that nobody has seen: each look waits for the device.
        seen, self._looked = self._looked, self.step
        unseen, steep = self._buffer[seen : self.step].cpu(), self._too_steep.tolist()
        sound = self._x.isfinite().flatten(1).all(1).tolist() if last else [True] * len(self._at_work)
        for place, k in enumerate(self._at_work):
            values = unseen[:, place]
            bad = (~values.isfinite()).any(1).nonzero()
            if len(bad) == 0 and steep[place]:
                found[k] = DivergenceError(
                    f"The gradient is too large for {str(values.dtype).removeprefix('torch.')}, whose squares Adam needs, at "
                    f"step {self.step} of {p.epoch}. Lower alpha ({p.alpha:g}) and beta ({p.beta:g}) by the same factor, which "
                    "changes nothing else under Adam, or choose precision='float64'.",
                    self.step - 1,
                )
                continue
            if len(bad) == 0 and sound[place]:
                continue
            step = seen + int(bad[0]) if len(bad) else self.step
            style, content, total = (values[int(bad[0])] if len(bad) else values[-1]).tolist()
            cause = (
                f"the learning rate ({p.lr:g}) or the loss weights (alpha {p.alpha:g}, beta {p.beta:g}) are too large"
            )
            if p.optimizer == "lbfgs":
                cause += ", or L-BFGS took a step too far: lower lr, or take the optimiser adam"
            found[k] = DivergenceError(
                f"The losses stopped being finite at step {step} of {p.epoch} (style {style:g}, content {content:g}, total "
                f"{total:g}): probably {cause}. The picture before that step is kept.",
                step,
            )
        return found

    def _converged(self) -> list[bool]:
        """The documented rule, 100 (L[k-w] - L[k]) / L[0] < tolerance, over a window of w steps instead of one."""
        p = self.parameters
        if not p.tolerance or self.step <= p.window:
            return [False] * len(self._at_work)
        first, before, now = self._buffer[[0, self.step - 1 - p.window, self.step - 1], :, 2].cpu().double()
        fallen: list[bool] = (100 * (before - now) < p.tolerance * first).tolist()
        return fallen


def _recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph: hundreds of small kernels go out as one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay
