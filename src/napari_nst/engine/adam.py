"""Adam for several pictures side by side, with what is needed to go on at another size and to come to rest."""

from __future__ import annotations

import math
from typing import NamedTuple

from napari_nst.engine._torch import torch
from napari_nst.engine.parameters import StyleTransferParameters

__all__ = ["Adam", "Moments"]


class Moments(NamedTuple):
    """What Adam remembers: running means of the gradient and of its square, (N, C, H, W), and its number of steps."""

    mean: torch.Tensor
    square: torch.Tensor
    step: int


class Adam:
    """torch.optim.Adam (Kingma and Ba 2015) on pictures that can leave, with a learning rate that can fall.

    Parameters
    ----------
    x : torch.Tensor
        (N, C, H, W), requiring a gradient; moved in place.
    parameters : StyleTransferParameters
        Learning rate, its decay over ``epoch`` steps, β₁ and β₂.
    moments : Moments, optional
        What is remembered of steps before.

    Notes
    -----
    The cosine is that of Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, without restarts: step k of n, counted from
    0, is made with lr (1 + cos(π k / n)) / 2.
    """

    def __init__(self, x: torch.Tensor, parameters: StyleTransferParameters, moments: Moments | None = None) -> None:
        self._parameters = p = parameters
        # On CUDA nothing may ask the device for a number, and no number may be frozen into a recorded step: the table of
        # learning rates lies there, and so does the step's own number.
        self._on_device = x.device.type == "cuda"
        self._table: torch.Tensor | None = None
        if p.lr_decay == "cosine":
            steps = torch.arange(p.epoch, dtype=torch.float64) / p.epoch
            table = p.lr * (1 + torch.cos(math.pi * steps)) / 2
            self._table = table.to(x.device, torch.float32) if self._on_device else table
        self._row = torch.zeros(1, dtype=torch.long, device=x.device if self._on_device else "cpu")
        self._begin(x, moments)

    def _begin(self, x: torch.Tensor, moments: Moments | None) -> None:
        p = self._parameters
        lr: float | torch.Tensor = p.lr
        if self._table is not None and self._on_device:
            lr = self._table[0].clone()
        self._optimizer = torch.optim.Adam([x], lr=lr, betas=(p.adam_beta1, p.adam_beta2), capturable=self._on_device)
        self._x = x
        if moments is not None:
            on = x.device if self._on_device else "cpu"
            self._optimizer.state[x] = {
                "step": torch.tensor(float(moments.step), dtype=torch.float32, device=on),
                "exp_avg": moments.mean.detach().to(x).clone(),
                "exp_avg_sq": moments.square.detach().to(x).clone(),
            }

    @property
    def moments(self) -> Moments | None:
        """What is remembered; None before the first step."""
        state = self._optimizer.state.get(self._x)
        return Moments(state["exp_avg"], state["exp_avg_sq"], int(state["step"])) if state else None

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        """Move every picture by one step, given the gradient (N, C, H, W) where it is now."""
        if self._table is not None:
            group, rate = self._optimizer.param_groups[0], self._table.index_select(0, self._row)[0]
            if self._on_device:
                group["lr"].copy_(rate)
            else:
                group["lr"] = float(rate)
            self._row += 1
        self._x.grad = gradient
        self._optimizer.step()

    def keep(self, x: torch.Tensor, indices: torch.Tensor) -> None:
        """Go on with these pictures alone; `x` (n, C, H, W) are they."""
        now = self.moments
        self._begin(x, None if now is None else Moments(now.mean[indices], now.square[indices], now.step))
