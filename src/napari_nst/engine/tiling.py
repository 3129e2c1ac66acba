"""Images larger than memory, exactly: the objective, tile by tile.

Gram matrices are sums over positions, so one pass over the tiles makes those of the whole image; with them, a second
pass finds the gradient of every tile apart.  A tile is computed with a halo of twice the reach of the deepest layer and
only its inner part is used: no pixel there can tell where the tile ends, and nothing is approximated (Galerne et al.,
arXiv 2212.13459, with a halo that is as small as it can be).  Tiles begin where windows of the poolings begin.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeAlias

from napari_nst.engine._torch import F, torch
from napari_nst.engine.backbone import VGG, Part
from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.engine.losses import (
    GramStatistics,
    content_residual,
    gram_scale,
    style_gradient,
    style_slope,
    total_variation,
)
from napari_nst.engine.objective import Evaluation, per_layer
from napari_nst.engine.optimization import CancelledError
from napari_nst.errors import ImageError, ParameterError
from napari_nst.settings.layers import LAYERS, pools_before, reach_of
from napari_nst.settings.parameters import StyleTransferParameters

#: Rows of an image that are worked on at once.
_BAND = 256


class Source(Protocol):
    """An image that is read piece by piece."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(1, channels, H, W)."""

    def read(self, part: Part) -> torch.Tensor:
        """The pixels of `part`, (1, channels, h, w), float64, on the CPU."""


#: An image (1, channels, H, W), whole or piece by piece.
Pixels: TypeAlias = torch.Tensor | Source


def read(pixels: Pixels, part: Part) -> torch.Tensor:
    """The pixels of `part`, (1, channels, h, w), on the CPU."""
    return (part.of(pixels) if isinstance(pixels, torch.Tensor) else pixels.read(part)).cpu()


class Tile(NamedTuple):
    """A tile, in pixels of the image.

    The `inner` part is the tile's own: they cover the image once.  `padded` is the inner part and the reach around it: what
    its gradient comes from, and what its own features depend on.  The features of `padded` depend on `outer`.
    """

    inner: Part
    padded: Part
    outer: Part


def tiles_of(size: tuple[int, int], side: int, reach: int) -> list[Tile]:
    """Tiles of an image, row by row; the side of the inner parts and the reach are multiples of 2 to the poolings."""

    def grown(inner: range, length: int, by: int) -> range:
        return range(max(0, inner.start - by), min(length, inner.stop + by))

    height, width = size
    tiles = []
    for top, left in itertools.product(range(0, height, side), range(0, width, side)):
        inner = Part(range(top, min(top + side, height)), range(left, min(left + side, width)))
        padded, outer = (
            Part(grown(inner.rows, height, by), grown(inner.columns, width, by)) for by in (reach, 2 * reach)
        )
        tiles.append(Tile(inner, padded, outer))
    return tiles


def _within(part: Part, around: Part) -> Part:
    """`part` in pixels of `around`, which holds it."""
    rows, columns = (
        range(side.start - other.start, side.stop - other.start) for side, other in zip(part, around, strict=True)
    )
    return Part(rows, columns)


def mask_part(mask: torch.Tensor, part: Part, pools: int) -> torch.Tensor:
    """What :func:`napari_nst.engine.objective.mask_at` gives for the whole mask, at the positions of a part alone.

    The mask is bool, (1, 1, H, W), the part in its pixels; the share of used pixels that each position stands for, behind
    so many poolings, is float64, (1, 1, h, w).
    """
    spans = []
    for length, side in zip(mask.shape[-2:], part, strict=True):
        positions = torch.arange(side.start >> pools, side.stop >> pools)
        count = length >> pools
        # The windows of adaptive pooling: where 2ᵏ does not divide the length they are wider, and overlap.
        spans.append((positions * length // count, ((positions + 1) * length + count - 1) // count))
    (top, bottom), (left, right) = spans
    if not len(top) or not len(left):
        return torch.zeros((1, 1, len(top), len(left)), dtype=torch.float64)
    y, x = int(top[0]), int(left[0])
    piece = mask[0, 0, y : int(bottom[-1]), x : int(right[-1])].double()
    sums = F.pad(piece.cumsum(0).cumsum(1), (1, 0, 1, 0))
    top, bottom, left, right = top - y, bottom - y, left - x, right - x
    total = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
    return (total / ((bottom - top)[:, None] * (right - left)))[None, None]


class TiledObjective:
    """What :class:`napari_nst.engine.objective.Objective` is, for one image of any size.

    Parameters
    ----------
    network : VGG
        With all layers that `parameters` name; tiles are brought to its device.
    target, style : torch.Tensor or Source
        (1, channels, H, W) and (1, channels, H', W') in [0, 1].
    side : int
        Of a tile without its halo, pixels; a multiple of 2 to the number of poolings, or a ParameterError.
    dtype : torch.dtype
        Of the losses.
    target_mask, style_mask : torch.Tensor, optional
        (1, 1, H, W) and (1, 1, H', W') of bool, on the CPU; pixels at False are kept out of all statistics.
    cancel : Cancel, optional
        Asked before every tile.
    """

    #: Tiles may come from the computer's memory: no step of this can be recorded as a CUDA graph.
    graphable = False

    def __init__(
        self,
        network: VGG,
        target: Pixels,
        style: Pixels,
        parameters: StyleTransferParameters,
        side: int,
        dtype: torch.dtype,
        target_mask: torch.Tensor | None = None,
        style_mask: torch.Tensor | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.network, self.parameters = network, parameters
        p, cell = parameters, 2 ** pools_before(network.layers)
        if side < cell or side % cell:
            raise ParameterError(f"tile: {side} is not a multiple of {cell} pixels, the windows of the poolings.")
        self.reach = reach_of(network.layers)  #: half the width of the halo, pixels
        self._target, self._style, self._dtype = target, style, dtype
        self._target_mask, self._style_mask = target_mask, style_mask
        self._cancelled = as_cancel(cancel)
        self._size = (int(target.shape[-2]), int(target.shape[-1]))
        self._tiles = tiles_of(self._size, side, self.reach)
        self.tiles = len(self._tiles)  #: of the target
        self._style_tiles = tiles_of((int(style.shape[-2]), int(style.shape[-1])), side, self.reach)
        self._pools = {name: pools_before([name]) for name in network.layers}
        self._content_weights = per_layer(p.content_layers, p.content_layer_weights)
        self._style_weights = per_layer(p.style_layers, p.style_layer_weights)
        self._positions = {name: self._count(pools) for name, pools in self._pools.items()}
        self._grams: dict[str, torch.Tensor] = {}
        self._gradient: torch.Tensor | None = None
        self._ready: tuple[tuple[int, int], Evaluation] | None = None
        self._was_cancelled = False

    def evaluate(self, x: torch.Tensor) -> Evaluation:
        """Losses and gradient at `x` (1, channels, H, W), which may lie on another device than the network.

        The memory of the gradient is used again by the next evaluation.
        """
        if not self._was_cancelled and (self._ready is None or self._ready[0] != _state(x)):
            for _ in self.steps(x):
                pass
        ready, self._ready = self._ready, None
        if self._was_cancelled or ready is None:
            raise CancelledError
        return ready[1]

    @torch.no_grad()
    def steps(self, x: torch.Tensor) -> Iterator[tuple[int, int]]:
        """Do the same in pieces: yield tiles done and tiles to do, and leave the result for :meth:`evaluate`."""
        state, self._ready = _state(x), None
        total = 2 * len(self._tiles) + (0 if self._grams else len(self._style_tiles))
        result: list[Evaluation] = []
        try:
            for done, _ in enumerate(self._evaluation(x.detach(), result), start=1):
                yield done, total
            self._ready = state, result[0]
        except CancelledError:
            self._was_cancelled = True

    def _evaluation(self, x: torch.Tensor, result: list[Evaluation]) -> Iterator[None]:
        p = self.parameters
        if not self._grams:
            of_style: dict[str, GramStatistics] = {}
            for tile in self._uncancelled(self._style_tiles):
                self._add(of_style, self._style, tile, self._style_mask)
                yield
            self._grams = self._scaled(of_style)
        statistics: dict[str, GramStatistics] = {}
        for tile in self._uncancelled(self._tiles):
            self._add(statistics, x, tile, self._target_mask)
            yield
        style, slopes = self._zero(), {}
        for name, weight in self._style_weights.items():
            value, slopes[name] = style_slope(statistics[name], self._grams[name], p.gram, p.beta * weight)
            style = style + weight * value
        if self._gradient is None:
            self._gradient = torch.empty_like(x)
        squares = {name: self._zero() for name in self._content_weights}
        for tile in self._uncancelled(self._tiles):
            tile.inner.of(self._gradient).copy_(self._tile_gradient(x, tile, slopes, squares))
            yield
        content = self._zero()
        for name, weight in self._content_weights.items():
            content = content + squares[name] * (weight / self._entries(name))
        total = p.alpha * content + p.beta * style
        losses = torch.stack([style, content, total], dim=1).to(x.device)
        if p.tv_weight:
            for top in range(0, x.shape[-2], _BAND):
                rows = range(top, min(top + _BAND, x.shape[-2]))
                value, slope = total_variation(x, rows)
                losses[:, 2] += p.tv_weight * value
                self._gradient[:, :, top : rows.stop].add_(slope, alpha=p.tv_weight)
        result.append(Evaluation(losses, self._gradient))

    def _tile_gradient(
        self, x: torch.Tensor, tile: Tile, slopes: dict[str, torch.Tensor], squares: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """Gradient at the inner pixels of one tile; what it adds to the content's squares is added to `squares`."""
        p, network = self.parameters, self.network
        if not _used(self._target_mask, tile.padded):
            return torch.zeros((1, x.shape[1], *map(len, tile.inner)), dtype=x.dtype)
        padded, inner = _within(tile.padded, tile.outer), _within(tile.inner, tile.padded)
        # First the target's: its features are kept, what leads to them is not.
        wanted = network.features(self._moved(self._target, tile.outer), padded)
        wanted = {name: wanted[name] for name in self._content_weights}
        trace = network.record(self._moved(x, tile.outer), padded)
        gradients: dict[str, torch.Tensor] = {}
        for name, features in trace.features.items():
            pools = self._pools[name]
            mask = None if self._target_mask is None else self._mask(self._target_mask, tile.padded, pools)
            entering: tuple[torch.Tensor, float] | None = None
            if name in self._content_weights:
                target = wanted.pop(name)
                # Every position belongs to the value of one tile, and to the gradients of all around it.
                own = None if mask is None else inner.of(mask, pools)
                squares[name] += content_residual(inner.of(features, pools), inner.of(target, pools), own)[0]
                weight = p.alpha * self._content_weights[name]
                if weight:
                    entering = (content_residual(features, target, mask)[1], 2.0 * weight / self._entries(name))
                del target
            if name in slopes and p.beta * self._style_weights[name]:
                gradients[name] = style_gradient(features, slopes[name], mask, entering)
            elif entering is not None:
                gradients[name] = entering[0].mul_(entering[1])
        if not gradients:
            return torch.zeros((1, x.shape[1], *map(len, tile.inner)), dtype=x.dtype)
        return inner.of(network.gradient(trace, gradients))

    def _add(
        self, statistics: dict[str, GramStatistics], pixels: Pixels, tile: Tile, mask: torch.Tensor | None
    ) -> None:
        """Add the features at a tile's own positions."""
        found: dict[str, torch.Tensor] = {}
        if _used(mask, tile.padded):
            found = self.network.features(self._moved(pixels, tile.padded), _within(tile.inner, tile.padded))
        for name in self._style_weights:
            of_layer = statistics.setdefault(name, GramStatistics())
            if name in found and found[name].numel():
                at = None if mask is None else self._mask(mask, tile.inner, self._pools[name])
                of_layer.update(found.pop(name), at)

    def _scaled(self, statistics: dict[str, GramStatistics]) -> dict[str, torch.Tensor]:
        grams = {}
        for name, of_layer in statistics.items():
            if of_layer.positions is None or not bool((of_layer.positions > 0).all()):
                raise ImageError(f"The mask leaves no position of the style at layer {name}; enlarge the mask.")
            positions = torch.full_like(of_layer.positions, self._positions[name])
            grams[name] = of_layer.compute(gram_scale(self.parameters.gram, of_layer.positions, positions))
        return grams

    def _uncancelled(self, tiles: list[Tile]) -> Iterator[Tile]:
        for tile in tiles:
            if self._cancelled():
                raise CancelledError
            yield tile

    def _count(self, pools: int) -> float:
        """Positions of the target that count, behind so many poolings."""
        height, width = self._size
        if self._target_mask is None:
            return float((height >> pools) * (width >> pools))
        return sum(float(mask_part(self._target_mask, tile.inner, pools).sum()) for tile in self._tiles)

    def _entries(self, name: str) -> float:
        """By how much the sum of squares of a layer is divided for its mean."""
        return self._positions[name] * LAYERS[name].out_channels

    def _mask(self, mask: torch.Tensor, part: Part, pools: int) -> torch.Tensor:
        return mask_part(mask, part, pools).to(self._dtype).to(self.network.device)

    def _moved(self, pixels: Pixels, part: Part) -> torch.Tensor:
        piece = part.of(pixels) if isinstance(pixels, torch.Tensor) else pixels.read(part)
        return piece.to(self._dtype).to(self.network.device)

    def _zero(self) -> torch.Tensor:
        return torch.zeros(1, dtype=self._dtype, device=self.network.device)


def _state(x: torch.Tensor) -> tuple[int, int]:
    """Changes whenever `x` does."""
    return x.data_ptr(), x._version


def _used(mask: torch.Tensor | None, part: Part) -> bool:
    return mask is None or bool(part.of(mask).any())
