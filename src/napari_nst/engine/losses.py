"""Content, style and total-variation losses: their values and their gradients in closed form.

All functions take features of one layer as (N, C, H, W) and treat the N pictures apart: values have shape (N,).
They compute in the features' precision, float32 at least.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_nst.engine._torch import torch

__all__ = ["GramStatistics", "content_loss", "gram_scale", "style_loss", "total_variation"]


def _weighted(features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return features if mask is None else features * mask


@dataclass
class GramStatistics:
    """Sums over positions from which Gram matrices are made.

    Sums add, so the same code serves a picture in one piece, tiles, masks, and several styles.

    Attributes
    ----------
    total : torch.Tensor or None
        Σₚ mₚ fₚ fₚᵀ, shape (N, C, C).
    positions : torch.Tensor or None
        Σₚ mₚ, shape (N,): the number of positions, or the sum of their mask weights.
    """

    total: torch.Tensor | None = None
    positions: torch.Tensor | None = None

    def update(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> GramStatistics:
        """Add the positions of `features` (N, C, H, W), weighted by `mask` (1 or N, 1, H, W) in [0, 1]."""
        flat = features.flatten(2)
        if mask is None:
            total = torch.bmm(flat, flat.transpose(1, 2))
            positions = flat.new_full((flat.shape[0],), float(flat.shape[2]))
        else:
            total = torch.bmm(_weighted(features, mask).flatten(2), flat.transpose(1, 2))
            positions = mask.flatten(1).sum(1).expand(flat.shape[0]).to(flat.dtype)
        self.total = total if self.total is None else self.total + total
        self.positions = positions if self.positions is None else self.positions + positions
        return self

    def compute(self, scale: torch.Tensor) -> torch.Tensor:
        """The Gram matrices (N, C, C), multiplied by `scale` (N,)."""
        if self.total is None:
            raise ValueError("compute() before update(): there are no positions")
        return self.total * scale.view(-1, 1, 1)


def gram_scale(gram: str, positions: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
    """What Gram sums are multiplied by.

    Parameters
    ----------
    gram : {"sum", "matched", "mean"}
        sum: 1, as documented (``compute_gram_matrix``).  mean: 1 / positions (Gatys et al., PyTorch release).
        matched: reference / positions, so that a style of another area is comparable.
    positions : torch.Tensor
        (N,), of the picture in question.
    reference : torch.Tensor, optional
        (N,), of the target; needed by "matched".
    """
    if gram == "mean":
        return 1.0 / positions
    if gram == "matched" and reference is not None:
        return reference / positions
    return torch.ones_like(positions)


def style_loss(
    features: torch.Tensor, target: torch.Tensor, gram: str, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared difference of Gram matrices, L = mean((s Σ m f fᵀ - S)²), and its gradient.

    Parameters
    ----------
    features : torch.Tensor
        (N, C, H, W).
    target : torch.Tensor
        Gram matrices S of the style, (1 or N, C, C), scaled already.
    gram : {"sum", "matched", "mean"}
        How the Gram matrices of `features` are scaled (s above): 1 or, for "mean", one over the positions.
    mask : torch.Tensor, optional
        (1 or N, 1, H, W) weights of the positions.

    Returns
    -------
    value : torch.Tensor
        (N,).
    gradient : torch.Tensor
        dL/dF = 4 s / C² (G - S) F m, shape of `features`.  (G is symmetric; Gatys et al. 2016, equation 6.)
    """
    statistics = GramStatistics().update(features, mask)
    assert statistics.positions is not None  # update() has just set it
    scale = gram_scale("mean" if gram == "mean" else "sum", statistics.positions)
    difference = statistics.compute(scale) - target
    entries = difference.shape[-1] ** 2
    # Scaled before the product: C × C values instead of C × H × W.
    slope = difference * (4.0 / entries * scale).view(-1, 1, 1)
    gradient = torch.bmm(slope, features.flatten(2)).view_as(features)
    return difference.square().sum((1, 2)) / entries, _weighted(gradient, mask)


def content_loss(
    features: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared difference of features and its gradient, over the positions that `mask` leaves.

    Parameters
    ----------
    features, target : torch.Tensor
        (N, C, H, W).
    mask : torch.Tensor, optional
        (1 or N, 1, H, W) weights of the positions.

    Returns
    -------
    value : torch.Tensor
        (N,).
    gradient : torch.Tensor
        2 (F - P) m / (C Σ m), shape of `features`.
    """
    difference = features - target
    if mask is None:
        entries = float(difference[0].numel())
        return difference.square().sum((1, 2, 3)) / entries, difference * (2.0 / entries)
    weighted = difference * mask
    count = mask.flatten(1).sum(1).view(-1, 1, 1, 1) * features.shape[1]
    return (weighted * difference).sum((1, 2, 3)) / count.flatten(), weighted * (2.0 / count)


def total_variation(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared difference of vertical and of horizontal neighbours, added, and its gradient.

    The quadratic form (β = 2) of Mahendran and Vedaldi, CVPR 2015, section 3, with means in place of sums.

    Parameters
    ----------
    x : torch.Tensor
        (N, C, H, W).

    Returns
    -------
    value : torch.Tensor
        (N,).
    gradient : torch.Tensor
        Shape of `x`.
    """
    down, right = x[:, :, 1:] - x[:, :, :-1], x[..., 1:] - x[..., :-1]
    n_down, n_right = float(max(down[0].numel(), 1)), float(max(right[0].numel(), 1))
    gradient = torch.zeros_like(x)
    gradient[:, :, 1:] += down * (2.0 / n_down)
    gradient[:, :, :-1] -= down * (2.0 / n_down)
    gradient[..., 1:] += right * (2.0 / n_right)
    gradient[..., :-1] -= right * (2.0 / n_right)
    return down.square().sum((1, 2, 3)) / n_down + right.square().sum((1, 2, 3)) / n_right, gradient
