"""One picture in tiles from its pixels to its outcome: size of the tiles, where the pixels lie, and the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from napari_nst.engine._torch import torch
from napari_nst.engine.backbone import VGG, Part
from napari_nst.engine.cancel import Cancel
from napari_nst.engine.devices import describe_device, has_bfloat16, memory_needed, state_memory, tile_memory
from napari_nst.engine.optimization import Optimization, Progress
from napari_nst.engine.tiling import LargePicture, Pixels, TiledObjective, TileProgress, read
from napari_nst.errors import OutOfMemoryError
from napari_nst.settings.layers import pools_before, reach_of
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["TiledRun", "planned_memory", "tile_side"]

#: Memory for one tile that is chosen for a CPU, bytes, however much there is: other programs want some too.
_CPU_TILE = 3 << 28

#: Share of the free memory that a tile may take: the estimate of what it needs is one.
_SHARE = 0.7

#: Rows of a picture that are read at once.
_BAND = 256


def tile_side(
    parameters: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    device: torch.device,
    free: int,
    tiled: bool = False,
) -> int:
    """Side of the tiles for a picture, pixels; 0 when it is best computed in one piece.

    Parameters
    ----------
    parameters : StyleTransferParameters
        Their ``tile``, unless it is 0; otherwise layers and precision count.
    target, style : tuple of int
        Height and width.
    channels : int
        1 or 3.
    device : torch.device
        Where tiles are computed.
    free : int
        Its free memory, bytes.
    tiled : bool
        Whether it is settled that there will be tiles.

    Raises
    ------
    OutOfMemoryError
        When no tile fits, or not the one that is asked for; with what would fit.
    """
    p, names = parameters, parameters.content_layers + parameters.style_layers
    in_one_piece = memory_needed(p, target, style, channels)
    longest = max(*target, *style)
    asked = p.tile if p.tile < longest else 0
    if not tiled and not asked and in_one_piece <= free:
        return 0
    narrow = p.precision == "bfloat16" or (p.precision == "auto" and has_bfloat16(device))
    size = (max(target[0], style[0]), max(target[1], style[1]))
    state = state_memory(p, target, channels)
    # A GPU that cannot hold the whole picture gets it tile by tile from the computer.
    left = free - state if device.type == "cpu" or state <= free // 2 else free
    cell: int = 2 ** pools_before(names)

    def needed(side: int) -> int:
        return tile_memory(p, side, size, narrow, channels)

    least = 2 * reach_of(names)
    if needed(least) > left:
        fitting = max(
            math.sqrt(target[0] * target[1] * free / in_one_piece),
            math.sqrt(max(0, free - needed(least)) * target[0] * target[1] / state),
        )
        raise OutOfMemoryError(
            f"The target of {target[0]} × {target[1]} pixels with a style of {style[0]} × {style[1]} needs about "
            f"{(needed(least) + state) / 2**30:.1f} GiB on {describe_device(device)}, even in tiles; {free / 2**30:.1f} GiB are "
            f"free. Take a region of at most about {int(fitting) // 16 * 16} × {int(fitting) // 16 * 16} pixels, or shallower "
            "layers (preset texture)."
        )
    budget = int(_SHARE * left)
    if device.type == "cpu":
        budget = min(budget, _CPU_TILE)
    best = _largest(lambda side: needed(side) <= budget, least, longest, cell)
    if not asked:
        return best
    side = asked // cell * cell
    if needed(side) > left:
        raise OutOfMemoryError(
            f"tile: {p.tile} pixels and the halo around them need about {needed(side) / 2**30:.1f} GiB on "
            f"{describe_device(device)}, beside {state / 2**30:.1f} GiB for the whole picture; {free / 2**30:.1f} GiB are free. "
            f"Choose {best} or less, or 0 to have it chosen."
        )
    return side


def planned_memory(
    parameters: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    device: torch.device,
    free: int,
) -> int:
    """Estimated peak memory of a run, bytes: in one piece, or of the picture in tiles as :func:`tile_side` chooses them."""
    try:
        side = tile_side(parameters, target, style, channels, device, free)
    except OutOfMemoryError:
        side = 0  # it will be refused, or go to the CPU: this much would be needed
    if not side:
        return memory_needed(parameters, target, style, channels)
    size = (max(target[0], style[0]), max(target[1], style[1]))
    narrow = parameters.precision == "bfloat16" or (parameters.precision == "auto" and has_bfloat16(device))
    return state_memory(parameters, target, channels) + tile_memory(parameters, side, size, narrow, channels)


def _largest(fits: Callable[[int], bool], least: int, most: int, cell: int) -> int:
    """The largest multiple of `cell` from `least` up to about `most` that fits; `least` if none does."""
    low, high = -(-least // cell), max(-(-least // cell), -(-most // cell))
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle * cell):
            low = middle
        else:
            high = middle - 1
    return low * cell


class TiledRun:
    """One picture in tiles under way.

    Parameters
    ----------
    network : VGG
        On the device that computes the tiles.
    picture : LargePicture
        Target, style, masks and start.
    parameters : StyleTransferParameters
        All settings.
    side : int
        Of a tile without its halo, pixels.
    dtype : torch.dtype
        Of pixels and losses.
    free : int
        Free memory of the network's device, bytes: where there is room, the whole picture lies there too.
    cancel : Cancel, optional
        Asked before every tile.

    Attributes
    ----------
    bounds : tuple of float
        The value range of the picture.
    optimization : Optimization
        The picture and its losses.
    objective : TiledObjective
        What is minimised.
    """

    def __init__(
        self,
        network: VGG,
        picture: LargePicture,
        parameters: StyleTransferParameters,
        side: int,
        dtype: torch.dtype,
        free: int,
        cancel: Cancel | None = None,
    ) -> None:
        p, device = parameters, network.device
        _, channels, height, width = picture.target.shape
        home = device if state_memory(p, (height, width), channels) <= free // 2 else torch.device("cpu")
        start, self.bounds = _start(picture, p, dtype)
        content = start if p.content_from == "start" else picture.target
        self.objective = TiledObjective(
            network, content, picture.style, p, side, dtype, picture.target_mask, picture.style_mask, cancel
        )
        active = None if picture.target_mask is None else picture.target_mask.to(home)
        reach = None if picture.reach is None else picture.reach.to(dtype).to(home)
        self.optimization = Optimization(self.objective, start.to(home), p, self.bounds, active, cancel, reach=reach)
        self.used: dict[str, object] = {
            "tile": side,
            "halo": 2 * self.objective.reach,
            "tiles": self.objective.tiles,
        }

    def steps(self) -> Iterator[Progress]:
        """Yield a :class:`TileProgress` after every tile, and a Progress after every step."""
        run = self.optimization
        steps = run.run()
        while True:
            if not run.stopped and run.step < run.parameters.epoch:
                for done, tiles in self.objective.steps(run.image):
                    yield TileProgress(run.step, run.parameters.epoch, run, tiles_done=done, tiles=tiles)
            now = next(steps, None)
            if now is None:
                return
            yield now


def _bands(pixels: Pixels) -> Iterator[tuple[slice, torch.Tensor]]:
    """The picture, some rows at a time."""
    height, width = int(pixels.shape[-2]), int(pixels.shape[-1])
    for top in range(0, height, _BAND):
        rows = range(top, min(top + _BAND, height))
        yield slice(rows.start, rows.stop), read(pixels, Part(rows, range(width)))


def _start(
    picture: LargePicture, p: StyleTransferParameters, dtype: torch.dtype
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Where the pixels start, (1, channels, H, W) on the CPU, and the value range: as of a picture in one piece."""
    start = torch.empty(tuple(picture.target.shape), dtype=dtype)
    low, high = 0.0, 1.0
    for rows, band in _bands(picture.target):
        start[:, :, rows] = band.to(dtype)
        low, high = min(low, float(start[:, :, rows].min())), max(high, float(start[:, :, rows].max()))
    if picture.start is not None:
        torch.clamp(picture.start.to(dtype), low, high, out=start)
    elif p.init == "noise":
        generator, flat = torch.Generator().manual_seed(p.seed), start.view(-1)
        used = None if picture.target_mask is None else picture.target_mask.expand(start.shape)
        piece = _BAND * start.shape[-1]
        for first in range(0, len(flat), piece):
            # In the order of the whole: the generator gives the same noise piece by piece.
            part = flat[first : first + piece]
            noise = torch.rand(len(part), generator=generator, dtype=torch.float64).to(dtype)
            if used is None:
                part.copy_(noise)
            else:
                at = torch.arange(first, first + len(part)) % (start.shape[-2] * start.shape[-1])
                part.copy_(torch.where(used[0, 0].reshape(-1)[at], noise, part))
    return start, (low, high)
