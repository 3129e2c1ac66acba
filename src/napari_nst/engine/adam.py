"""Adam for several pictures side by side, with what is needed to go on at another size and to come to rest."""

from __future__ import annotations

import math
from typing import NamedTuple

from napari_nst.engine._torch import adam, torch
from napari_nst.settings.parameters import StyleTransferParameters

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

    PyTorch's function, not its class: the class's first instance imports the compiler, which takes two seconds or more.
    """

    def __init__(self, x: torch.Tensor, parameters: StyleTransferParameters, moments: Moments | None = None) -> None:
        self._parameters = p = parameters
        # On CUDA nothing may ask the device for a number, and no number may be frozen into a recorded step: the table of
        # learning rates lies there, and so does the step's own number.
        self._on_device = x.device.type == "cuda"
        self._place = x.device if self._on_device else torch.device("cpu")
        self._table: torch.Tensor | None = None
        if p.lr_decay == "cosine":
            steps = torch.arange(p.epoch, dtype=torch.float64) / p.epoch
            table = p.lr * (1 + torch.cos(math.pi * steps)) / 2
            self._table = table.to(x.device, torch.float32) if self._on_device else table
        self._row = torch.zeros(1, dtype=torch.long, device=self._place)
        self._x = x
        if moments is None:
            moments = Moments(torch.zeros_like(x.detach()), torch.zeros_like(x.detach()), 0)
        self._mean, self._square = (m.detach().to(x).clone() for m in moments[:2])
        self._step = torch.tensor(float(moments.step), dtype=torch.float32, device=self._place)

    @property
    def moments(self) -> Moments | None:
        """What is remembered; None before the first step."""
        step = int(self._step)
        return Moments(self._mean, self._square, step) if step else None

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        """Move every picture by one step, given the gradient (N, C, H, W) where it is now."""
        p = self._parameters
        lr: float | torch.Tensor = p.lr
        if self._table is not None:
            rate = self._table.index_select(0, self._row)[0]
            lr = rate if self._on_device else float(rate)
            self._row += 1
        adam(
            [self._x],
            [gradient],
            [self._mean],
            [self._square],
            [],
            [self._step],
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
        """Go on with these pictures alone; `x` (n, C, H, W) are they."""
        self._x, self._mean, self._square = x, self._mean[indices], self._square[indices]
