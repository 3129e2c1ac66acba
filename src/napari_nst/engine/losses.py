"""Content, style and total-variation losses: their values and their gradients in closed form.

All functions take features of one layer as (N, C, H, W) and treat the N images apart: values have shape (N,).  A mask
is (1 or N, 1, H, W), the weights of the positions in [0, 1]; a `weight` multiplies the gradient, not the value.  Values
and Gram matrices are float32 at least; gradients have the features' shape and precision.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_nst.engine._torch import torch

#: In bfloat16, stretches of so many positions per channel are summed apart; with fewer stretches, in float32 at once.
_PART, _FEWEST_PARTS = 16, 4


def _rows(features: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) as (N, positions, C); no copy where the channels lie last in memory."""
    return features.flatten(2).transpose(1, 2)


def _wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32: sums of many squares need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _gram(weighted: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Σₚ aₚ bₚᵀ of (N, positions, C) each: (N, C, C), float32 at least."""
    n, positions, channels = rows.shape
    if rows.dtype == torch.bfloat16 and rows.device.type == "cuda":
        return torch.bmm(weighted.transpose(1, 2), rows, out_dtype=torch.float32)
    parts = positions // (_PART * channels)
    if rows.dtype != torch.bfloat16 or parts < _FEWEST_PARTS:
        return torch.bmm(_wide(weighted).transpose(1, 2), _wide(rows))
    # A CPU multiplies bfloat16 many times faster, with sums in float32, but rounds each product matrix on leaving it.
    # Over many short stretches that rounding averages out.
    cut = positions // parts * parts

    def stretches(x: torch.Tensor) -> torch.Tensor:
        return x[:, :cut].reshape(n * parts, cut // parts, channels)

    products = torch.bmm(stretches(weighted).transpose(1, 2), stretches(rows))
    total = products.view(n, parts, channels, channels).sum(1, dtype=torch.float32)
    if cut < positions:
        total += torch.bmm(_wide(weighted[:, cut:]).transpose(1, 2), _wide(rows[:, cut:]))
    return total


@dataclass
class GramStatistics:
    """Sums over positions from which Gram matrices are made.

    Sums add, so the same code serves an image in one piece, tiles, masks, and several styles.
    """

    total: torch.Tensor | None = None  #: Σₚ mₚ fₚ fₚᵀ, shape (N, C, C)
    positions: torch.Tensor | None = (
        None  #: Σₚ mₚ, shape (N,): the number of positions, or the sum of their mask weights
    )

    def update(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> GramStatistics:
        """Add the positions of `features`, weighted by `mask`."""
        rows = _rows(features)
        weighted = rows if mask is None else rows * _rows(mask).to(rows.dtype)
        total = _gram(weighted, rows)
        positions = self.positions_of(features, mask)
        self.total = total if self.total is None else self.total + total
        self.positions = positions if self.positions is None else self.positions + positions
        return self

    @staticmethod
    def positions_of(features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Σₚ mₚ of one update, (N,), float32 at least."""
        n, dtype = features.shape[0], torch.promote_types(features.dtype, torch.float32)
        if mask is None:
            return features.new_full((n,), float(features[0, 0].numel()), dtype=dtype)
        return mask.flatten(1).sum(1).expand(n).to(dtype)

    def compute(self, scale: torch.Tensor) -> torch.Tensor:
        """The Gram matrices (N, C, C), multiplied by `scale` (N,)."""
        if self.total is None:
            raise ValueError("compute() before update(): there are no positions")
        return self.total * scale.view(-1, 1, 1)


def gram_scale(gram: str, positions: torch.Tensor, reference: torch.Tensor | None = None) -> torch.Tensor:
    """Return what Gram sums are multiplied by, (N,), given the positions of the image and of the target, `reference`.

    "sum": 1, as documented (``compute_gram_matrix``).  "mean": 1 / positions (Gatys et al., PyTorch release).
    "matched": reference / positions, so that a style of another area is comparable.
    """
    if gram == "mean":
        return 1.0 / positions
    if gram == "matched" and reference is not None:
        return reference / positions
    return torch.ones_like(positions)


def style_slope(
    statistics: GramStatistics, target: torch.Tensor, gram: str, weight: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared difference of Gram matrices, L = mean((s Σ m f fᵀ - S)²), and what its gradient is made of.

    `target` are the Gram matrices S of the style, (1 or N, C, C), scaled already; s is one over the positions for the kind
    "mean", and 1 for others.

    Returns
    -------
    value : torch.Tensor
        (N,).
    slope : torch.Tensor
        4 s / C² (G - S), (N, C, C), symmetric: the gradient is slope · F m (Gatys et al. 2016, equation 6).
    """
    assert statistics.positions is not None  # there is nothing to compare before the first update()
    scale = gram_scale("mean" if gram == "mean" else "sum", statistics.positions)
    difference = statistics.compute(scale) - target
    entries = difference.shape[-1] ** 2
    slope = difference * (4.0 * weight / entries * scale).view(-1, 1, 1)
    return difference.square().sum((1, 2)) / entries, slope


def style_gradient(
    features: torch.Tensor,
    slope: torch.Tensor,
    mask: torch.Tensor | None = None,
    plus: tuple[torch.Tensor, float] | None = None,
) -> torch.Tensor:
    """Gradient of the style loss with respect to features, given the slope of :func:`style_slope`.

    `plus` is another gradient, to be added after multiplication by the number.
    """
    rows, slope = _rows(features), slope.to(features.dtype)
    if mask is not None:
        rows = rows * _rows(mask).to(rows.dtype)
    out = torch.bmm(rows, slope) if plus is None else torch.baddbmm(_rows(plus[0]), rows, slope, beta=plus[1])
    return out.transpose(1, 2).view(features.shape)


def style_loss(
    features: torch.Tensor,
    target: torch.Tensor,
    gram: str,
    mask: torch.Tensor | None = None,
    *,
    weight: float = 1.0,
    plus: tuple[torch.Tensor, float] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Style loss of images in one piece, and its gradient weight · 4 s / C² (G - S) F m, with `plus` added."""
    value, slope = style_slope(GramStatistics().update(features, mask), target, gram, weight)
    return value, style_gradient(features, slope, mask, plus)


def content_residual(
    features: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of squared differences of features, Σ m (F - P)², and half of its gradient, m (F - P)."""
    difference = features - target
    residual = difference if mask is None else difference * mask.to(difference.dtype)
    if difference.dtype == torch.bfloat16:
        # Position by position first: the rounding of so many lengths averages out, and no wide copy is made.
        rows = _rows(difference)
        lengths = torch.linalg.vector_norm(rows, dim=2, keepdim=True).float().square()
        return (lengths if mask is None else lengths * _rows(mask)).sum((1, 2)), residual
    return (residual * difference).sum((1, 2, 3)), residual


def content_loss(
    features: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None = None, *, weight: float = 1.0
) -> tuple[torch.Tensor, tuple[torch.Tensor, float]]:
    """Mean squared difference of features and its gradient, over the positions that `mask` leaves.

    The gradient, weight · 2 (F - P) m / (C Σ m), is a tensor and a number to multiply it by: whoever adds it to another
    gradient multiplies on the way.
    """
    squares, residual = content_residual(features, target, mask)
    if mask is None:
        entries = float(features[0].numel())
        return squares / entries, (residual, 2.0 * weight / entries)
    count = mask.flatten(1).sum(1) * features.shape[1]
    return squares / count, (residual * (2.0 / count).view(-1, 1, 1, 1).to(residual.dtype), weight)


def total_variation(x: torch.Tensor, rows: range | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean squared difference of vertical and of horizontal neighbors, added, and its gradient.

    The quadratic form (β = 2) of Mahendran and Vedaldi, CVPR 2015, section 3, with means in place of sums.  Of some `rows`
    alone: the values of parts that cover the image once add up to the whole's, and the gradient, (N, C, rows, W), is that
    of the whole's value.
    """
    channels, height, width = x.shape[1:]
    rows = range(height) if rows is None else rows
    n_down, n_right = float(max(channels * (height - 1) * width, 1)), float(max(channels * height * (width - 1), 1))
    first = max(rows.start - 1, 0)
    strip = x[:, :, first : rows.stop + 1]
    own = slice(rows.start - first, rows.stop - first)
    down, right = strip[:, :, 1:] - strip[:, :, :-1], strip[..., 1:] - strip[..., :-1]
    gradient = torch.zeros_like(strip)
    gradient[:, :, 1:] += down * (2.0 / n_down)
    gradient[:, :, :-1] -= down * (2.0 / n_down)
    gradient[..., 1:] += right * (2.0 / n_right)
    gradient[..., :-1] -= right * (2.0 / n_right)
    # A pair of rows belongs to the lower one.
    down, right = down[:, :, max(own.start - 1, 0) : own.stop - 1], right[:, :, own]
    value = down.square().sum((1, 2, 3)) / n_down + right.square().sum((1, 2, 3)) / n_right
    return value, gradient[:, :, own]
