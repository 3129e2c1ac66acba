"""The optimization: N images of one shape at once, each with its own end, as a generator of Progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from napari_nst.engine._torch import adam, torch
from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.engine.objective import Evaluation
from napari_nst.errors import DivergenceError
from napari_nst.settings.parameters import StyleTransferParameters

#: On a GPU the losses are looked at every so many steps: each look waits for the device.
_LOOK_EVERY = 10

#: Steps on a GPU before the step is recorded as a graph: by then every kernel is chosen and all memory is there.
_STEPS_BEFORE_GRAPH = 3


class CancelledError(Exception):
    """Leaves an evaluation that is cancelled inside."""


class HasEvaluate(Protocol):
    """What can be minimized."""

    def evaluate(self, x: torch.Tensor) -> Evaluation:
        """Return losses and gradient at `x` (N, channels, H, W)."""


@dataclass(frozen=True)
class Progress:
    """One finished step of one image; or, in tiles, one finished tile of a step that is running.

    Each tile of the target counts twice, and before the first step each of the style once; `step` is then the number of
    finished steps, from 0.
    """

    step: int  #: steps done, from 1
    epoch: int  #: steps to do at most
    optimization: Optimization  #: where image and losses can be had; asking it waits for the device
    number: int = 0  #: which of its images
    place: int = 0  #: which of all images of the call; the same, unless a batch had to be divided
    tiles_done: int = 0
    tiles: int = 0

    @property
    def losses(self) -> tuple[float, float, float]:
        """Style, content and total loss of the last finished step; NaN before the first."""
        if not self.step:
            return (math.nan, math.nan, math.nan)
        style, content, total = self.optimization.losses_of(self.number)[self.step - 1].tolist()
        return style, content, total

    @property
    def image(self) -> torch.Tensor:
        """The image after this step, (1, channels, H, W), detached, not copied."""
        return self.optimization.image_of(self.number)

    @property
    def bounds(self) -> tuple[float, float]:
        """The image's value range."""
        return self.optimization.bounds[self.number]


class Adam:
    """torch.optim.Adam (Kingma and Ba 2015) on images that can leave, with a learning rate that can fall.

    `x` (N, C, H, W) is moved in place.  The cosine is that of Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, without
    restarts: step k of n, counted from 0, is made with lr (1 + cos(π k / n)) / 2.

    PyTorch's function, not its class: the class's first instance imports the compiler, which takes two seconds or more.
    """

    def __init__(self, x: torch.Tensor, parameters: StyleTransferParameters) -> None:
        self._x, self._parameters = x, parameters
        self._mean, self._square = torch.zeros_like(x.detach()), torch.zeros_like(x.detach())
        # On CUDA nothing may ask the device for a number, and no number may be frozen into a recorded step: the table of
        # learning rates lies there, and so does the step's own number.
        self._on_device = x.device.type == "cuda"
        place = x.device if self._on_device else torch.device("cpu")
        self._step = torch.zeros((), dtype=torch.float32, device=place)
        self._row = torch.zeros(1, dtype=torch.long, device=place)
        self._rates: torch.Tensor | None = None
        if parameters.lr_decay == "cosine":
            steps = torch.arange(parameters.epoch, dtype=torch.float64) / parameters.epoch
            rates = parameters.lr * (1 + torch.cos(math.pi * steps)) / 2
            self._rates = rates.to(x.device, torch.float32) if self._on_device else rates

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        """Move every image by one step, given the gradient (N, C, H, W) where it is now."""
        p = self._parameters
        lr: float | torch.Tensor = p.lr
        if self._rates is not None:
            rate = self._rates.index_select(0, self._row)[0]
            lr = rate if self._on_device else float(rate)
            self._row += 1
        adam(
            *([self._x], [gradient], [self._mean], [self._square], [], [self._step]),
            foreach=False,
            capturable=self._on_device,
            amsgrad=False,
            beta1=p.adam_beta1,
            beta2=p.adam_beta2,
            lr=lr,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def keep(self, x: torch.Tensor, indices: torch.Tensor) -> None:
        """Go on with these images alone; `x` (n, C, H, W) are they."""
        self._x, self._mean, self._square = x, self._mean[indices], self._square[indices]


class LBFGS:
    """torch.optim.LBFGS, one for each image: one gradient a step, and no step that goes too far.

    `x` (N, C, H, W) is moved in place; `lr` is the length of a step in units of the quasi-Newton step, and no pixel moves
    further than `longest_step`.  Where the loss is concave at the start, as under a style of more contrast, no curvature is
    there to scale by and the plain step is the gradient itself, which may be 1e9; healthy steps are shorter than a quarter
    of the value range.  A shortened step keeps its direction, and the history holds the step that was really made.
    """

    def __init__(self, x: torch.Tensor, lr: float, longest_step: float = 0.25) -> None:
        self._images, self._longest_step = _apart(x.detach()), longest_step
        self._optimizers = [
            torch.optim.LBFGS([image], lr=lr, max_iter=1, history_size=10, tolerance_grad=-1, tolerance_change=-1)
            for image in self._images
        ]

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        """Move every image by one step, given the gradient (N, C, H, W) where it is now."""
        for image, optimizer, g in zip(self._images, self._optimizers, _apart(gradient), strict=True):
            before, image.grad = image.clone(), g
            optimizer.step(lambda: 0.0)  # type: ignore[no-untyped-call]  # PyTorch ships it without annotations
            move = image - before
            longest = float(move.abs().max())
            if longest > self._longest_step:
                share = self._longest_step / longest
                torch.add(before, move, alpha=share, out=image)
                # The next step takes direction times length for the step that was made.
                optimizer.state[image]["t"] *= share

    def keep(self, x: torch.Tensor, indices: torch.Tensor) -> None:
        """Go on with these images alone; `x` (n, C, H, W) are they."""
        staying = indices.tolist()
        self._images = [self._images[k] for k in staying]
        self._optimizers = [self._optimizers[k] for k in staying]
        for image, now in zip(self._images, _apart(x.detach()), strict=True):
            image.data = now


def _apart(x: torch.Tensor) -> list[torch.Tensor]:
    """Views (1, C, H, W) of N images."""
    return [x[k : k + 1] for k in range(len(x))]


@dataclass(frozen=True)
class _Ended:
    """An image that has left the batch."""

    image: torch.Tensor
    good: torch.Tensor
    losses: torch.Tensor
    stopped: str


class Optimization:
    """Images of one shape on their way from the start to the minimum, batched.

    Each has its own losses and its own end: an image that has converged, or whose losses are no longer finite, leaves
    the batch and costs no more time.

    Parameters
    ----------
    objective : Objective
        What is minimized; with several images it must have ``keep(indices)``, which drops all others.
    start : torch.Tensor
        (N, channels, H, W); copied.
    bounds : tuple of float, or list with one for each image
        The value range that projection keeps; [0, 1] unless the image itself goes beyond.
    active : torch.Tensor, optional
        (1 or N, 1, H, W) of 0 and 1: pixels at 0 stay as they are.
    cancel : Cancel, optional
        Asked before every evaluation.
    limit : torch.Tensor, optional
        (1 or N, 1, H, W), at least 0: how far a pixel may depart from `start`; Adam's steps are projected there.
    """

    def __init__(
        self,
        objective: HasEvaluate,
        start: torch.Tensor,
        parameters: StyleTransferParameters,
        bounds: tuple[float, float] | list[tuple[float, float]] = (0.0, 1.0),
        active: torch.Tensor | None = None,
        cancel: Cancel | None = None,
        limit: torch.Tensor | None = None,
    ) -> None:
        self.objective, self.parameters = objective, parameters
        count, adams = start.shape[0], parameters.optimizer == "adam"
        self.bounds = list(bounds) if isinstance(bounds, list) else [bounds] * count
        self.step = self._looked = 0
        self.graphed = False  #: whether the step was recorded as a CUDA graph
        self._cancelled = as_cancel(cancel)
        # Images still running, by their places in `start`; and those that have ended.
        self._running = list(range(count))
        self._ended: dict[int, _Ended] = {}
        self.errors: dict[int, DivergenceError] = {}  #: of images that are no longer finite, by their numbers
        self._active = active
        # Projecting L-BFGS would spoil its curvature.
        self._projects = adams and (parameters.clip or limit is not None)
        self._low, self._high = self._limits(start, limit)
        self._x = start.detach().clone().requires_grad_()
        self._good = start.detach().clone()
        self._losses = start.new_full((parameters.epoch, count, 3), math.nan)
        self._row = torch.zeros(1, dtype=torch.long, device=start.device)
        # Adam squares the gradient: beyond this the squares are infinite, and every step is 0 without a word.
        self._largest_gradient = math.sqrt(torch.finfo(start.dtype).max) if adams else math.inf
        self._too_steep = torch.zeros(count, dtype=torch.bool, device=start.device)
        self._look_every = 1 if start.device.type == "cpu" else min(_LOOK_EVERY, parameters.window)
        self._optimizer = Adam(self._x, parameters) if adams else LBFGS(self._x, parameters.lr)
        self._graph: Callable[[], None] | None = None
        # L-BFGS chooses its way from step to step; an objective may wait for the device, or for a file.
        self._graphable = adams and start.device.type == "cuda" and getattr(objective, "graphable", False)

    def _limits(self, start: torch.Tensor, limit: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The smallest and the largest value of every pixel, or of every image."""
        low, high = torch.tensor(self.bounds, dtype=start.dtype, device=start.device).view(-1, 2, 1, 1, 1).unbind(1)
        if limit is None:
            return low, high
        if not self.parameters.clip:  # the value range is another limit, which was not asked for
            low, high = low.new_full((1,), -math.inf), high.new_full((1,), math.inf)
        return torch.maximum(low, start - limit), torch.minimum(high, start + limit)

    def image_of(self, number: int = 0) -> torch.Tensor:
        """An image so far, (1, channels, H, W), detached, not copied."""
        if number in self._ended:
            return self._ended[number].image
        place = self._running.index(number)
        return self._x.detach()[place : place + 1]

    def last_good_of(self, number: int = 0) -> torch.Tensor:
        """An image when its losses were finite last, (1, channels, H, W)."""
        if number in self._ended:
            return self._ended[number].good
        place = self._running.index(number)
        return self._good[place : place + 1]

    def losses_of(self, number: int = 0) -> torch.Tensor:
        """Style, content and total loss of an image's steps, (steps, 3); on the device."""
        if number in self._ended:
            return self._ended[number].losses
        return self._losses[: self.step, self._running.index(number)]

    def stopped_of(self, number: int = 0) -> str:
        """Why an image ended: finished, converged, cancelled or diverged; empty while it is running."""
        return self._ended[number].stopped if number in self._ended else ""

    def run(self) -> Iterator[Progress]:
        """Yield after every step, for every image that is running, and after every tile, until done or cancelled.

        A DivergenceError tells that a loss or an image is no longer finite, when all others are done;
        :meth:`last_good_of` has the last good one.
        """
        epoch, in_tiles = self.parameters.epoch, getattr(self.objective, "steps", lambda x: ())
        while self._running and self.step < epoch:
            for done, tiles in in_tiles(self._x):
                yield Progress(self.step, epoch, self, tiles_done=done, tiles=tiles)
            try:
                if self._cancelled():
                    raise CancelledError
                self._advance()
            except CancelledError:
                self._end(self._running, "cancelled")
                break
            self.step += 1
            stepped, last = list(self._running), self.step == epoch
            if last or self.step % self._look_every == 0:
                self._look(last)
            for number in stepped:
                if self.stopped_of(number) != "diverged":
                    yield Progress(self.step, epoch, self, number, number)
        self._end(self._running, "finished")
        if self.errors:
            raise next(iter(self.errors.values()))

    def _advance(self) -> None:
        if self._graph is None and self._graphable and self.step >= _STEPS_BEFORE_GRAPH:
            self._graph = _recorded(self._one_step)
            self.graphed = True
        (self._graph or self._one_step)()

    @torch.no_grad()
    def _one_step(self) -> None:
        """Evaluate and move; everything stays on the device, at its place: the step can be recorded and replayed."""
        losses, gradient = self.objective.evaluate(self._x)
        self._losses.index_copy_(0, self._row, losses[None])
        self._row += 1
        # Kept on the device: no step waits for the question whether it went well.
        finite = (losses.isfinite().all(1) & self._x.isfinite().flatten(1).all(1)).view(-1, 1, 1, 1)
        torch.where(finite, self._x, self._good, out=self._good)
        if self._active is not None:
            gradient = gradient * self._active
        self._too_steep |= gradient.abs().flatten(1).amax(1) > self._largest_gradient
        self._optimizer.step(gradient)
        if self._projects:
            self._x.clamp_(self._low, self._high)

    def _look(self, last: bool) -> None:
        """See whether the losses are finite still, and which images have converged."""
        failed = self._failures(last)
        self.errors |= failed
        converged = [k for k, done in zip(self._running, self._converged(), strict=True) if done and k not in failed]
        self._end(list(failed), "diverged")
        self._end(converged, "converged")

    def _end(self, numbers: Sequence[int], stopped: str) -> None:
        if not numbers:
            return
        # Without others the image needs no copy: nothing goes on where it lies.
        alone = len(self._running) == len(numbers)
        for k in list(numbers):
            place = self._running.index(k)
            image, good = self._x.detach()[place : place + 1], self._good[place : place + 1]
            losses = self._losses[: self.step, place].clone()
            self._ended[k] = _Ended(image if alone else image.clone(), good if alone else good.clone(), losses, stopped)
        staying = [k for k in self._running if k not in self._ended]
        if staying:
            self._keep([self._running.index(k) for k in staying])
        self._running = staying

    @torch.no_grad()
    def _keep(self, places: list[int]) -> None:
        indices = torch.tensor(places, device=self._x.device)
        self._graph = None
        self._x = self._x.detach()[indices].requires_grad_()
        self._good, self._too_steep = self._good[indices], self._too_steep[indices]
        self._low, self._high = self._low[indices], self._high[indices]
        self._losses = self._losses[:, indices]
        if self._active is not None and len(self._active) > 1:
            self._active = self._active[indices]
        self._optimizer.keep(self._x, indices)
        self.objective.keep(indices)  # type: ignore[attr-defined]  # only objectives of several images come here

    def _failures(self, last: bool) -> dict[int, DivergenceError]:
        """The error of every image that came to infinity, or will do so without a word."""
        found = {}
        # Of all images at once, and of the steps that were not looked at before: each look waits for the device.
        seen, self._looked = self._looked, self.step
        unseen, steep = self._losses[seen : self.step].cpu(), self._too_steep.tolist()
        sound = self._x.isfinite().flatten(1).all(1).tolist() if last else [True] * len(self._running)
        for place, k in enumerate(self._running):
            bad = (~unseen[:, place].isfinite()).any(1).nonzero()
            if len(bad):
                found[k] = self._diverged(seen + int(bad[0]), unseen[int(bad[0]), place])
            elif steep[place]:
                found[k] = self._steep()
            elif not sound[place]:
                found[k] = self._diverged(self.step, unseen[-1, place])
        return found

    def _steep(self) -> DivergenceError:
        p, dtype = self.parameters, str(self._x.dtype).removeprefix("torch.")
        return DivergenceError(
            f"The gradient is too large for {dtype}, whose squares Adam needs, at step {self.step} of {p.epoch}. Lower alpha "
            f"({p.alpha:g}) and beta ({p.beta:g}) by the same factor, which changes nothing else under Adam, or choose "
            "precision='float64'.",
            self.step - 1,
        )

    def _diverged(self, step: int, losses: torch.Tensor) -> DivergenceError:
        p, (style, content, total) = self.parameters, losses.tolist()
        cause = f"the learning rate ({p.lr:g}) or the loss weights (alpha {p.alpha:g}, beta {p.beta:g}) are too large"
        if p.optimizer == "lbfgs":
            cause += ", or L-BFGS took a step too far: lower lr, or take the optimizer adam"
        return DivergenceError(
            f"The losses stopped being finite at step {step} of {p.epoch} (style {style:g}, content {content:g}, total "
            f"{total:g}): probably {cause}. The image before that step is kept.",
            step,
        )

    def _converged(self) -> list[bool]:
        """The documented rule, 100 (L[k-w] - L[k]) / L[0] < tolerance, over a window of w steps instead of one."""
        p = self.parameters
        if not p.tolerance or self.step <= p.window:
            return [False] * len(self._running)
        first, before, now = self._losses[[0, self.step - 1 - p.window, self.step - 1], :, 2].cpu().double()
        fallen: list[bool] = (100 * (before - now) < p.tolerance * first).tolist()
        return fallen


def _recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph: hundreds of small kernels go out as one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay
