"""How much memory a run takes, and what follows from it: in one piece or in tiles, and how many images at once.

Everywhere, `target` and `style` are their heights and widths in pixels, `channels` is 1 or 3, and memory is in bytes.
"""

from __future__ import annotations

import math
from bisect import bisect_left

from napari_nst.engine._torch import torch
from napari_nst.engine.devices import describe_device, free_memory, has_bfloat16, resolve_device
from napari_nst.errors import OutOfMemoryError
from napari_nst.settings.layers import layers_up_to, pools_before, reach_of
from napari_nst.settings.parameters import StyleTransferParameters

#: Of two images of this size or smaller on a CPU; larger ones fill its caches alone, and more than two overflow them.
_CPU_BATCH, _CPU_PIXELS = 2, 320 * 320

#: Beyond so many on a GPU nothing is won, and results come late.
_GPU_BATCH = 64

#: Memory for one tile that is chosen for a CPU, bytes, however much there is: other programs want some too.
_CPU_TILE = 3 << 28

#: Share of the free memory that a batch or a tile may take: what it needs is an estimate.
_SHARE = 0.7


def memory_needed(
    parameters: StyleTransferParameters, target: tuple[int, int], style: tuple[int, int], channels: int = 1
) -> int:
    """Return the estimated peak memory of one run in one piece, less the network's own 50 MB.

    Counted are, per pixel: the features kept for the reverse pass, pooling indices, the content's features, the two
    largest gradients in flight and the working copies of the convolutions, as measured on CPU.
    """
    # "auto" may turn out as bfloat16, which needs half.
    size = {"float64": 8, "bfloat16": 2}.get(parameters.precision, 4)
    kept = content = indices = 0.0
    area = 1.0
    for layer in layers_up_to(parameters.content_layers + parameters.style_layers):
        if layer.kind == "pool":
            area /= 4
            indices += 8 * layer.out_channels * area
        if layer.kind != "relu":
            kept += layer.out_channels * area
        if layer.name in parameters.content_layers:
            content += layer.out_channels * area
    widest = 64.0
    per_pixel = size * (kept + 3 * widest) + max(size, 4) * (content + widest) + indices + 40 * channels
    per_style_pixel = size * (kept + widest) + indices
    return int(max(per_pixel * target[0] * target[1], per_style_pixel * style[0] * style[1]))


def state_memory(parameters: StyleTransferParameters, target: tuple[int, int], channels: int = 1) -> int:
    """Return the memory that an image in tiles takes as a whole; what is read of target and style is not counted.

    Under Adam these are nine images in the precision of the pixels: the image, its last good state, its gradient,
    two moments, and four in passing, while a step is made; L-BFGS keeps twenty more.
    """
    images = 9 if parameters.optimizer == "adam" else 31
    return images * (8 if parameters.precision == "float64" else 4) * channels * target[0] * target[1]


def tile_memory(
    parameters: StyleTransferParameters, side: int, size: tuple[int, int], narrow: bool, channels: int = 1
) -> int:
    """Return the estimated peak memory of one tile.

    `side` is that of the tile without its halo, `size` the height and width of the image: no tile with its halo is larger.
    `narrow` tells whether the convolutions are bfloat16.
    """
    number = 8 if parameters.precision == "float64" else 2 if narrow else 4
    names = parameters.content_layers + parameters.style_layers
    reach = reach_of(names)
    near, far = (math.prod(min(side + 2 * by, n) for n in size) for by in (reach, 2 * reach))
    kept = entering = content = 0.0
    area = 1.0
    for layer in layers_up_to(names):
        if layer.kind == "pool":
            area /= 4
            kept += (number + 8) * layer.out_channels * area
        elif layer.kind == "relu" or layer.name in names:
            kept += number * layer.out_channels * area
        if layer.name in names:
            entering += number * layer.out_channels * area
        if layer.name in parameters.content_layers:
            content += number * layer.out_channels * area
    # The widest layers have 64 channels at the full resolution: one is read while the other is written.
    passing = 2 * 64 * number + 16 * channels
    forwards = far * passing + near * (kept + content)
    backwards = near * (kept + entering + max(content, 2 * 64 * number) + 16 * channels)
    return int(max(forwards, backwards))


def batch_size(
    parameters: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    device: torch.device,
) -> int:
    """Return how many images of one size to optimize together: ``parameters.batch``, or as many as fit the device."""
    if parameters.batch:
        return parameters.batch
    fitting = int(_SHARE * free_memory(device) // memory_needed(parameters, target, style, channels))
    if device.type == "cpu":
        return max(1, min(_CPU_BATCH if target[0] * target[1] <= _CPU_PIXELS else 1, fitting))
    return max(1, min(_GPU_BATCH, fitting))


def check_memory(
    parameters: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    result: int = 0,
    unread: int = 0,
) -> bool:
    """Refuse sizes that fit nowhere, before any pixel of them is read, and say which need tiles.

    Parameters
    ----------
    result : int
        Size of the result with all its planes, if it is made in the computer's memory.
    unread : int
        Size of the running planes that are not in memory yet.

    Returns
    -------
    bool
        Whether the image must be, or shall be, computed in tiles.

    Raises
    ------
    OutOfMemoryError
        With the side that would fit.
    """
    device, cpu = resolve_device(parameters.device), torch.device("cpu")
    beside, free = result + unread, free_memory(cpu)
    if beside > free:
        side = int(math.sqrt(max(target[0] * target[1], style[0] * style[1]) * free / beside)) // 16 * 16
        raise OutOfMemoryError(
            f"The result{' and what must be read for it' if unread else ' alone'} needs {beside / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are free. Take a region of at most about {side} × {side} pixels, or process a stack in "
            "parts."
        )

    def in_tiles(where: torch.device) -> bool:
        left = free_memory(where) - (beside if where.type == "cpu" else 0)
        return tile_side(parameters, target, style, channels, where, left) > 0

    try:
        return in_tiles(device)
    except OutOfMemoryError:
        if device.type == "cpu" or not parameters.fallback:
            raise
        return in_tiles(cpu)


def tile_side(
    parameters: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    device: torch.device,
    free: int,
    tiled: bool = False,
) -> int:
    """Return the side of the tiles for an image, pixels; 0 when it is best computed in one piece.

    `free` is the free memory of the device; `tiled` tells that there will be tiles in any case.

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
    state = state_memory(p, target, channels)
    # A GPU that cannot hold the whole image gets it tile by tile from the computer.
    left = free - state if device.type == "cpu" or state <= free // 2 else free
    cell: int = 2 ** pools_before(names)

    def needed(side: int) -> int:
        return _tile_memory_on(device, p, side, target, style, channels)

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
    sides = range(least, max(least, longest) + cell, cell)
    best = sides[max(0, bisect_left(sides, True, key=lambda side: needed(side) > budget) - 1)]
    if not asked:
        return best
    side = asked // cell * cell
    if needed(side) > left:
        raise OutOfMemoryError(
            f"tile: {p.tile} pixels and the halo around them need about {needed(side) / 2**30:.1f} GiB on "
            f"{describe_device(device)}, beside {state / 2**30:.1f} GiB for the whole image; {free / 2**30:.1f} GiB are free. "
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
    """Return the estimated peak memory of a run: in one piece, or in tiles as :func:`tile_side` chooses them."""
    try:
        side = tile_side(parameters, target, style, channels, device, free)
    except OutOfMemoryError:
        side = 0  # it will be refused, or go to the CPU: this much would be needed
    if not side:
        return memory_needed(parameters, target, style, channels)
    tile = _tile_memory_on(device, parameters, side, target, style, channels)
    return state_memory(parameters, target, channels) + tile


def _tile_memory_on(
    device: torch.device,
    parameters: StyleTransferParameters,
    side: int,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
) -> int:
    narrow = parameters.precision == "bfloat16" or (parameters.precision == "auto" and has_bfloat16(device))
    size = (max(target[0], style[0]), max(target[1], style[1]))
    return tile_memory(parameters, side, size, narrow, channels)
