"""L-BFGS for several pictures side by side: fixed steps, no line search, and no question to the device."""

from __future__ import annotations

from napari_nst.engine._torch import torch

__all__ = ["LBFGS"]

#: Least curvature y·s of a pair that is remembered; the number of torch.optim.LBFGS.
_LEAST_CURVATURE = 1e-10


class LBFGS:
    """Limited-memory BFGS on N pictures at once, each with a history of its own.

    A step is one gradient, as under ``torch.optim.LBFGS(max_iter=1, tolerance_grad=-1, tolerance_change=-1)``, whose
    steps these are, but for two things: a step that goes too far is shortened, and nothing is read back from the device,
    so that a GPU does not wait for each of twenty dot products.

    Parameters
    ----------
    x : torch.Tensor
        (N, C, H, W), moved in place.
    lr : float
        Length of a step, in units of the quasi-Newton step; 1 is the step itself.  The first step, of which no
        curvature is known yet, goes against the gradient g and is min(1, 1 / Σ|g|) times this long.
    history : int
        Pairs that are remembered (m): 2 m copies of the picture are kept.
    longest_step : float
        Longest step in any pixel of a picture, in the picture's values.  Where the loss is concave at the start, as
        under a style of more contrast, no curvature is there to scale by and the plain step is the gradient itself,
        which may be 1e9; healthy steps are shorter than a quarter of the value range.  A shortened step keeps its
        direction, and the history holds the step that was really made.

    Attributes
    ----------
    x : torch.Tensor
        The pictures; may be replaced by another tensor, of the pictures that are left after :meth:`keep`.

    Notes
    -----
    The two-loop recursion of Nocedal and Wright, Numerical Optimization, algorithm 7.4, with γ = y·s / y·y of the newest
    pair (equation 7.20).  A pair of too little curvature is left out, for the picture in question alone: each picture
    has its own place in the ring, and a place never written counts nothing, because its 1 / y·s is 0.
    """

    def __init__(self, x: torch.Tensor, lr: float, history: int = 10, longest_step: float = 0.25) -> None:
        self.x = x
        self._lr, self._history, self._longest_step = lr, history, longest_step
        count, length = x.shape[0], x[0].numel()
        self._steps = x.new_zeros((history, count, length), requires_grad=False)
        self._changes = torch.zeros_like(self._steps)
        # 1 / y·s of every pair, the next place to write, and γ, for each picture.
        self._inverse = x.new_zeros((history, count), requires_grad=False)
        self._next = torch.zeros(count, dtype=torch.long, device=x.device)
        self._scale = x.new_ones(count, requires_grad=False)
        # The gradient and the step before.
        self._before: tuple[torch.Tensor, torch.Tensor] | None = None
        self._done = 0

    @torch.no_grad()
    def step(self, gradient: torch.Tensor) -> None:
        """Move every picture by one step, given the gradient (N, C, H, W) where it is now."""
        g = gradient.flatten(1)
        if self._before is None:
            length = (1.0 / g.abs().sum(1)).clamp(max=1.0) * self._lr
            move = g.neg() * length.view(-1, 1)
        else:
            self._remember(g - self._before[0], self._before[1])
            move = self._direction(g) * self._lr
        share = (self._longest_step / move.abs().amax(1)).clamp(max=1.0)
        move *= share.view(-1, 1)
        self.x.add_(move.view(self.x.shape))
        # The caller may use the gradient's memory again.
        self._before = (g.clone(), move)
        self._done += 1

    @torch.no_grad()
    def keep(self, indices: torch.Tensor) -> None:
        """Forget all pictures but those at `indices`, (n,) on the device; the caller replaces ``x`` by the same ones."""
        self._steps, self._changes = self._steps[:, indices], self._changes[:, indices]
        self._inverse = self._inverse[:, indices]
        self._next, self._scale = self._next[indices], self._scale[indices]
        if self._before is not None:
            self._before = (self._before[0][indices], self._before[1][indices])

    def _remember(self, change: torch.Tensor, step: torch.Tensor) -> None:
        """Write the pair (y, s) into the ring, of the pictures for which it shows curvature."""
        curvature = _dots(change, step)
        shown = curvature > _LEAST_CURVATURE
        place = (self._next, torch.arange(len(self._next), device=self._next.device))
        for ring, new in ((self._steps, step), (self._changes, change)):
            ring[place] = torch.where(shown.view(-1, 1), new, ring[place])
        self._inverse[place] = torch.where(shown, 1.0 / curvature, self._inverse[place])
        self._scale = torch.where(shown, curvature / _dots(change, change), self._scale)
        self._next = (self._next + shown) % self._history

    def _direction(self, g: torch.Tensor) -> torch.Tensor:
        """Less the inverse Hessian times the gradient, (N, pixels)."""
        pictures = torch.arange(len(g), device=g.device)
        d, weights = g.neg(), []
        # From the newest pair to the oldest; places that cannot have been written yet are not looked at.
        newest_first = [((self._next - 1 - k) % self._history, pictures) for k in range(min(self._done, self._history))]
        for place in newest_first:
            weight = _dots(self._steps[place], d) * self._inverse[place]
            d.addcmul_(self._changes[place], weight.view(-1, 1), value=-1.0)
            weights.append(weight)
        d *= self._scale.view(-1, 1)
        for place, weight in zip(reversed(newest_first), reversed(weights), strict=True):
            less = _dots(self._changes[place], d) * self._inverse[place]
            d.addcmul_(self._steps[place], (weight - less).view(-1, 1))
        return d


def _dots(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Dot products of the rows of (N, n) each: (N,)."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).flatten()
