"""The optimisation loop: a generator of Progress."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from napari_nst.engine._torch import torch
from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.engine.objective import Objective
from napari_nst.engine.parameters import StyleTransferParameters
from napari_nst.errors import DivergenceError

__all__ = ["Cancel", "Optimization", "Progress", "as_cancel"]

#: On a GPU the losses are looked at every so many steps: each look waits for the device.
_LOOK_EVERY = 10

#: Longest step of L-BFGS in any pixel, of the value range.
_LONGEST_STEP = 0.25


class _CancelledError(Exception):
    """Leaves the optimiser's step from inside an evaluation."""


@dataclass(frozen=True)
class Progress:
    """One finished step.

    Attributes
    ----------
    step : int
        Steps done, from 1.
    epoch : int
        Steps to do at most.
    optimization : Optimization
        Where image and losses can be had; asking it waits for the device.
    """

    step: int
    epoch: int
    optimization: Optimization

    @property
    def losses(self) -> tuple[float, float, float]:
        """Style, content and total loss of this step."""
        style, content, total = self.optimization.losses[self.step - 1].tolist()
        return style, content, total

    @property
    def image(self) -> torch.Tensor:
        """The picture after this step, (1, channels, H, W), detached, not copied."""
        return self.optimization.image


class Optimization:
    """One picture under way from its start to the minimum.

    Parameters
    ----------
    objective : Objective
        What is minimised.
    start : torch.Tensor
        (1, channels, H, W); copied.
    parameters : StyleTransferParameters
        Optimiser, learning rate, steps, projection, tolerance.
    bounds : tuple of float
        The value range that projection keeps; [0, 1] unless the picture itself goes beyond.
    active : torch.Tensor, optional
        (1, 1, H, W) of 0 and 1: pixels at 0 stay as they are.
    cancel : Cancel, optional
        Asked before every evaluation.

    Attributes
    ----------
    stopped : {"", "finished", "converged", "cancelled"}
        Why it ended; empty while it runs.
    step : int
        Steps done.
    """

    def __init__(
        self,
        objective: Objective,
        start: torch.Tensor,
        parameters: StyleTransferParameters,
        bounds: tuple[float, float] = (0.0, 1.0),
        active: torch.Tensor | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.objective = objective
        self.parameters = parameters
        self.bounds = bounds
        self.active = active
        self.stopped = ""
        self.step = 0
        self._cancelled = as_cancel(cancel)
        self._x = start.detach().clone().requires_grad_()
        self._good = start.detach().clone()
        self._buffer = torch.full((parameters.epoch, 3), math.nan, dtype=start.dtype, device=start.device)
        # Adam squares the gradient: beyond this the squares are infinite, and every step is 0 without a word.
        self._largest_gradient = math.sqrt(torch.finfo(start.dtype).max) if parameters.optimizer == "adam" else math.inf
        self._too_steep = torch.zeros((), dtype=torch.bool, device=start.device)
        self._look_every = 1 if start.device.type == "cpu" else min(_LOOK_EVERY, parameters.window)
        self._optimizer: torch.optim.Optimizer
        if parameters.optimizer == "lbfgs":
            # One evaluation per step; no early end of its own (tolerances below zero never hold).
            self._optimizer = torch.optim.LBFGS(
                [self._x],
                lr=parameters.lr,
                max_iter=1,
                history_size=10,
                tolerance_grad=-1,
                tolerance_change=-1,
            )
        else:
            self._optimizer = torch.optim.Adam([self._x], lr=parameters.lr)

    @property
    def image(self) -> torch.Tensor:
        """The picture so far, (1, channels, H, W), detached, not copied."""
        return self._x.detach()

    @property
    def last_good(self) -> torch.Tensor:
        """The last picture whose losses were finite."""
        return self._good

    @property
    def losses(self) -> torch.Tensor:
        """Style, content and total loss of the steps done, (steps, 3); on the device."""
        return self._buffer[: self.step]

    def run(self) -> Iterator[Progress]:
        """Yield after every step until done, converged or cancelled.

        Raises
        ------
        DivergenceError
            When a loss or the picture is no longer finite; :attr:`last_good` holds the last good picture.
        """
        while self.step < self.parameters.epoch:
            before = self._x.detach().clone() if self.parameters.optimizer == "lbfgs" else None
            try:
                self._optimizer.step(self._closure)  # type: ignore[arg-type]  # LBFGS reads the tensor as a float
            except _CancelledError:
                self.stopped = "cancelled"
                return
            self.step += 1
            if before is not None:
                self._shorten(before)
            if self.parameters.clip and self.parameters.optimizer == "adam":
                with torch.no_grad():
                    self._x.clamp_(*self.bounds)
            last = self.step == self.parameters.epoch
            if last or self.step % self._look_every == 0:
                self._check_finite(last)
                if self._converged():
                    self.stopped = "converged"
            yield Progress(self.step, self.parameters.epoch, self)
            if self.stopped:
                return
        self.stopped = "finished"

    @torch.no_grad()
    def _shorten(self, before: torch.Tensor) -> None:
        """Shorten a step of L-BFGS that goes too far; its direction stays, and so does the truth of its curvature.

        Where the loss is concave at the start, as under a style of more contrast, PyTorch finds no curvature to scale
        by and steps by the gradient itself, which may be 1e9.  Healthy steps are shorter than the limit.
        """
        largest = float((self._x - before).abs().max())
        if largest > _LONGEST_STEP:
            share = _LONGEST_STEP / largest
            self._x.copy_(before + share * (self._x - before))
            state = self._optimizer.state[self._x]
            state["t"] = state["t"] * share

    def _closure(self) -> torch.Tensor:
        if self._cancelled():
            raise _CancelledError
        with torch.no_grad():
            evaluation = self.objective.evaluate(self._x)
            losses = evaluation.losses[0]
            self._buffer[self.step] = losses
            # Kept on the device: no step waits for the question whether it went well.
            finite = losses.isfinite().all() & self._x.isfinite().all()
            self._good = torch.where(finite, self._x, self._good)
            gradient = evaluation.gradient if self.active is None else evaluation.gradient * self.active
            self._too_steep = self._too_steep | (gradient.abs().max() > self._largest_gradient)
            self._x.grad = gradient
        return losses[2]

    def _check_finite(self, last: bool) -> None:
        values = self.losses.cpu()
        bad = (~values.isfinite()).any(1).nonzero()
        if len(bad) == 0 and bool(self._too_steep):
            raise DivergenceError(
                f"The gradient is too large for {str(values.dtype).removeprefix('torch.')}, whose squares Adam needs, at step {self.step} of "
                f"{self.parameters.epoch}. Lower alpha ({self.parameters.alpha:g}) and beta ({self.parameters.beta:g}) by the "
                "same factor, which changes nothing else under Adam, or choose precision='float64'.",
                self.step - 1,
            )
        if len(bad) == 0 and (not last or bool(self._x.isfinite().all())):
            return
        step = int(bad[0]) if len(bad) else self.step
        style, content, total = (values[step] if len(bad) else values[-1]).tolist()
        p = self.parameters
        cause = f"the learning rate ({p.lr:g}) or the loss weights (alpha {p.alpha:g}, beta {p.beta:g}) are too large"
        if p.optimizer == "lbfgs":
            cause += ", or L-BFGS took a step too far: lower lr, or take the optimiser adam"
        raise DivergenceError(
            f"The losses stopped being finite at step {step} of {p.epoch} (style {style:g}, content {content:g}, total "
            f"{total:g}): probably {cause}. The picture before that step is kept.",
            step,
        )

    def _converged(self) -> bool:
        """The documented rule, 100 (L[k-w] - L[k]) / L[0] < tolerance, over a window of w steps instead of one."""
        p = self.parameters
        if not p.tolerance or self.step <= p.window:
            return False
        first, before, now = (float(self._buffer[k, 2]) for k in (0, self.step - 1 - p.window, self.step - 1))
        return 100 * (before - now) < p.tolerance * first
