"""Several pictures at once: small patches keep a device busy only together.

On a GPU, one patch of 185 × 185 pixels is done before the next kernel is launched; on a CPU, every layer's weights are
read once for two pictures instead of twice.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from napari_nst.engine._torch import torch
from napari_nst.engine.devices import cpu_threads, free_memory, memory_needed, resolve_device, resolve_dtypes
from napari_nst.engine.objective import STYLES, Objective, StyleTarget, network_for
from napari_nst.engine.optimization import Cancel, Optimization, Progress
from napari_nst.engine.running import (
    Outcome,
    Picture,
    bounds_of,
    description,
    engine_errors,
    optimize,
    release,
    start_of,
)
from napari_nst.engine.tiling import LargePicture
from napari_nst.errors import DivergenceError, OutOfMemoryError
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["Ended", "batch_size", "optimize_together"]

#: Of two pictures of this size or smaller on a CPU; larger ones fill its caches alone, and more than two overflow them.
_CPU_BATCH, _CPU_PIXELS = 2, 320 * 320

#: Beyond so many on a GPU nothing is won, and results come late.
_GPU_BATCH = 64

#: Share of the free memory that a batch may take: the estimate of what it needs is one.
_SHARE = 0.7


def batch_size(
    parameters: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    device: torch.device,
) -> int:
    """How many pictures of one size to optimise together.

    Parameters
    ----------
    parameters : StyleTransferParameters
        Their ``batch``, unless it is 0; otherwise layers and precision count.
    target, style : tuple of int
        Height and width.
    channels : int
        1 or 3.
    device : torch.device
        Its free memory counts.
    """
    if parameters.batch:
        return parameters.batch
    fitting = int(_SHARE * free_memory(device) // memory_needed(parameters, target, style, channels))
    if device.type == "cpu":
        return max(1, min(_CPU_BATCH if target[0] * target[1] <= _CPU_PIXELS else 1, fitting))
    return max(1, min(_GPU_BATCH, fitting))


@dataclass(frozen=True)
class Ended:
    """How one picture of a batch ended.

    Attributes
    ----------
    outcome : Outcome
        Its picture and losses, also of one that diverged: the last good ones.
    error : DivergenceError or None
        Of one that diverged.
    """

    outcome: Outcome
    error: DivergenceError | None = None


def optimize_together(
    pictures: Sequence[Picture | LargePicture], parameters: StyleTransferParameters, cancel: Cancel | None = None
) -> Generator[Progress, None, list[Ended]]:
    """Run several style transfers side by side, yielding after every step for every picture at work.

    Each picture has its own style, mask and end; all have one size, and one set of parameters.  When memory does not
    suffice, the halves run one after the other, from the start; a picture alone falls back to the CPU, if the parameters
    allow it.  ``Progress.picture`` is the place in `pictures`.

    Raises
    ------
    OutOfMemoryError, EngineError
        As :func:`napari_nst.engine.running.optimize`; a picture that diverges says so in what is returned.
    """
    if len(pictures) == 1:
        return [(yield from _alone(pictures[0], parameters, cancel))]
    whole = [picture for picture in pictures if isinstance(picture, Picture)]
    if len(whole) < len(pictures):
        return (yield from _one_by_one(pictures, parameters, cancel))
    device = resolve_device(parameters.device)
    try:
        with engine_errors(device), cpu_threads(parameters.threads) as threads:
            return (yield from _together(whole, parameters, device, threads, cancel))
    except OutOfMemoryError:
        pass
    # Outside the handler: the exception's traceback holds the tensors of the failed run.
    release(device)
    middle, ended = len(pictures) // 2, []
    for first, part in ((0, pictures[:middle]), (middle, pictures[middle:])):
        steps = optimize_together(part, parameters, cancel)
        ended += yield from _renumbered(steps, first)
    return ended


def _renumbered(steps: Generator[Progress, None, list[Ended]], first: int) -> Generator[Progress, None, list[Ended]]:
    while True:
        try:
            now = next(steps)
        except StopIteration as end:
            ended: list[Ended] = end.value
            return ended
        yield replace(now, place=first + now.place)


def _one_by_one(
    pictures: Sequence[Picture | LargePicture], parameters: StyleTransferParameters, cancel: Cancel | None
) -> Generator[Progress, None, list[Ended]]:
    """Pictures in tiles fill the device alone."""
    ended: list[Ended] = []
    for number, picture in enumerate(pictures):
        ended += yield from _renumbered(optimize_together([picture], parameters, cancel), number)
    return ended


def _alone(
    picture: Picture | LargePicture, parameters: StyleTransferParameters, cancel: Cancel | None
) -> Generator[Progress, None, Ended]:
    try:
        return Ended((yield from optimize(picture, parameters, cancel)))
    except DivergenceError as error:
        return Ended(error.partial, error)


def _together(
    pictures: Sequence[Picture],
    p: StyleTransferParameters,
    device: torch.device,
    threads: int,
    cancel: Cancel | None,
) -> Generator[Progress, None, list[Ended]]:
    compute, dtype = resolve_dtypes(p.precision, device)

    def move(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype).to(device)

    def masks_of(picture: Picture) -> torch.Tensor:
        like = picture.target[:, :1]
        return move(torch.ones_like(like) if picture.target_mask is None else picture.target_mask)

    def reach_of(picture: Picture) -> torch.Tensor:
        like = picture.target[:, :1]
        return move(torch.full_like(like, math.inf) if picture.reach is None else picture.reach)

    targets = [move(picture.target) for picture in pictures]
    network = network_for(p, targets[0].shape[1], device, compute)
    styles = [
        STYLES.get(
            network,
            move(picture.style),
            p.style_layers,
            None if picture.style_mask is None else move(picture.style_mask),
        )
        for picture in pictures
    ]
    masked = any(picture.target_mask is not None for picture in pictures)
    mask = torch.cat([masks_of(picture) for picture in pictures]) if masked else None
    bounds = [bounds_of(target) for target in targets]
    starts = [
        start_of(picture, target, None if mask is None else mask[k : k + 1], p, bounds[k])
        for k, (picture, target) in enumerate(zip(pictures, targets, strict=True))
    ]
    start = torch.cat(starts)
    content = start if p.content_from == "start" else torch.cat(targets)
    objective = Objective(network, content, StyleTarget.stacked(styles), p, mask)
    limited = any(picture.reach is not None for picture in pictures)
    reach = torch.cat([reach_of(picture) for picture in pictures]) if limited else None
    run = Optimization(objective, start, p, bounds, mask, cancel, reach=reach)
    with contextlib.suppress(DivergenceError):  # told in what is returned
        yield from run.run()
    used = description(network, device, compute, threads) | {"batch": len(pictures)}
    return [
        Ended(
            Outcome(
                (run.last_good_of(k) if k in run.errors else run.image_of(k)).double().cpu().clamp(*bounds[k]),
                target.double().cpu(),
                run.losses_of(k).double().cpu(),
                run.stopped_of(k),
                dict(used),
            ),
            run.errors.get(k),
        )
        for k, target in enumerate(targets)
    ]
