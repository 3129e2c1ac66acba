"""One picture from tensors in to tensors out: device, memory, optimisation, and what to do when something fails."""

from __future__ import annotations

import contextlib
import gc
import math
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from napari_nst.engine._torch import torch
from napari_nst.engine.backbone import VGG
from napari_nst.engine.devices import (
    cpu_threads,
    describe_device,
    free_memory,
    resolve_device,
    resolve_dtypes,
)
from napari_nst.engine.objective import STYLES, Objective, network_for
from napari_nst.engine.optimization import Cancel, Optimization, Progress
from napari_nst.engine.tiled_running import TiledRun, tile_side
from napari_nst.engine.tiling import LargePicture, Source
from napari_nst.errors import DivergenceError, EngineError, OutOfMemoryError, StyleTransferWarning
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = [
    "Outcome",
    "Picture",
    "bounds_of",
    "check_memory",
    "description",
    "engine_errors",
    "optimize",
    "release",
    "start_of",
]


@dataclass(frozen=True)
class Picture:
    """Target and style of one run, in [0, 1] (beyond it where a given value range leaves values outside).

    Attributes
    ----------
    target : torch.Tensor
        (1, channels, H, W), float64, on the CPU.
    style : torch.Tensor
        (1, channels, H', W'), float64, on the CPU.
    target_mask, style_mask : torch.Tensor or None
        (1, 1, H, W) and (1, 1, H', W'), float64, of 0 and 1.
    start : torch.Tensor or None
        (1, channels, H, W), float64, on the CPU: where the pixels start; None: at the target, or at the noise that
        ``parameters.init`` asks for.
    reach : torch.Tensor or None
        (1, 1, H, W), float64, on the CPU: how far a pixel may depart from its start; None sets no limit.
    """

    target: torch.Tensor
    style: torch.Tensor
    target_mask: torch.Tensor | None = None
    style_mask: torch.Tensor | None = None
    start: torch.Tensor | None = None
    reach: torch.Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes
    ----------
    image : torch.Tensor
        (1, channels, H, W), on the CPU, within the bounds; float64, or of a large picture in the precision of its pixels.
    start : torch.Tensor or Source
        The target, (1, channels, H, W), float64, on the CPU: `image` less this, as the device saw it, is the change.
    losses : torch.Tensor
        (steps, 3): style, content, total, float64.
    stopped : {"finished", "converged", "cancelled", "diverged"}
        Why it ended.
    used : dict
        Device, precision, threads and weights that were really used.
    """

    image: torch.Tensor
    start: torch.Tensor | Source
    losses: torch.Tensor
    stopped: str
    used: dict[str, object] = field(default_factory=dict)


def optimize(
    picture: Picture | LargePicture, parameters: StyleTransferParameters, cancel: Cancel | None = None
) -> Generator[Progress, None, Outcome]:
    """Run one style transfer, yielding after every step; of a large picture a TileProgress after every tile too.

    A GPU that runs out of memory hands over to the CPU, from the start, if ``parameters.fallback`` allows it.

    Raises
    ------
    OutOfMemoryError
        When memory does not suffice and there is nothing to fall back to.
    DivergenceError
        When a loss is no longer finite; its ``partial`` is the Outcome with the last good picture.
    EngineError
        For whatever else PyTorch raises.
    """
    device = resolve_device(parameters.device)
    try:
        return (yield from _on_device(picture, parameters, device, cancel))
    except OutOfMemoryError as error:
        if device.type == "cpu" or not parameters.fallback:
            raise
        reason = str(error)
    # Outside the handler: the exception's traceback holds the tensors of the failed run.
    release(device)
    warnings.warn(f"{reason} Going on on the CPU, from the start: this is slower.", StyleTransferWarning, stacklevel=2)
    outcome = yield from _on_device(picture, parameters, torch.device("cpu"), cancel)
    outcome.used["fallback"] = reason
    return outcome


def _on_device(
    picture: Picture | LargePicture, p: StyleTransferParameters, device: torch.device, cancel: Cancel | None
) -> Generator[Progress, None, Outcome]:
    with engine_errors(device), cpu_threads(p.threads) as threads:
        if isinstance(picture, LargePicture):
            return (yield from _run_tiled(picture, p, device, threads, cancel))
        return (yield from _run(picture, p, device, threads, cancel))


@contextlib.contextmanager
def engine_errors(device: torch.device) -> Iterator[None]:
    """What PyTorch raises inside, as this package's errors."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(f"{describe_device(device)} ran out of memory ({_first_line(error)}).") from None
    except RuntimeError as error:
        # RuntimeError never leaves: napari's generator workers would swallow it.
        if "allocate" in str(error):
            raise OutOfMemoryError(
                f"There is not enough memory ({_first_line(error)}). Take a smaller region, or shallower layers."
            ) from None
        raise EngineError(
            f"PyTorch {torch.__version__} failed on {describe_device(device)}: {_first_line(error)} Try the device cpu; if "
            "that works, report this with the output of 'napari-nst info'."
        ) from error


def _run(
    picture: Picture, p: StyleTransferParameters, device: torch.device, threads: int, cancel: Cancel | None
) -> Generator[Progress, None, Outcome]:
    (*_, channels, height, width), (*_, style_height, style_width) = picture.target.shape, picture.style.shape
    if _check_memory(p, (height, width), (style_height, style_width), channels, device):
        return (yield from _run_tiled(_in_tiles(picture), p, device, threads, cancel))
    compute_dtype, dtype = resolve_dtypes(p.precision, device)

    def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.to(dtype).to(device)

    target, style = picture.target.to(dtype).to(device), picture.style.to(dtype).to(device)
    target_mask, style_mask = move(picture.target_mask), move(picture.style_mask)
    network = network_for(p, target.shape[1], device, compute_dtype)
    bounds = bounds_of(target)
    start = start_of(picture, target, target_mask, p, bounds)
    content = start if p.content_from == "start" else target
    objective = Objective(network, content, STYLES.get(network, style, p.style_layers, style_mask), p, target_mask)
    run = Optimization(objective, start, p, bounds, target_mask, cancel, reach=move(picture.reach))
    used = description(network, device, compute_dtype, threads)

    def outcome(image: torch.Tensor, stopped: str) -> Outcome:
        return Outcome(
            image.double().cpu().clamp(*bounds),
            target.double().cpu(),
            run.losses.double().cpu(),
            stopped,
            used,
        )

    try:
        yield from run.run()
    except DivergenceError as error:
        error.partial = outcome(run.last_good, "diverged")
        raise
    return outcome(run.image, run.stopped)


def _in_tiles(picture: Picture) -> LargePicture:
    """A picture that was thought to fit: since then memory went, or a GPU handed over to the CPU."""
    target_mask, style_mask = (None if m is None else m > 0 for m in (picture.target_mask, picture.style_mask))
    return LargePicture(picture.target, picture.style, target_mask, style_mask, picture.start, picture.reach)


def _run_tiled(
    picture: LargePicture, p: StyleTransferParameters, device: torch.device, threads: int, cancel: Cancel | None
) -> Generator[Progress, None, Outcome]:
    (*_, channels, height, width), (*_, style_height, style_width) = picture.target.shape, picture.style.shape
    free = free_memory(device)
    side = tile_side(p, (height, width), (style_height, style_width), channels, device, free, tiled=True)
    compute_dtype, dtype = resolve_dtypes(p.precision, device)
    network = network_for(p, channels, device, compute_dtype)
    run = TiledRun(network, picture, p, side, dtype, free, cancel)
    used = description(network, device, compute_dtype, threads) | run.used

    def outcome(image: torch.Tensor, stopped: str) -> Outcome:
        # No copy: the picture is as large as memory allows.
        image = image.cpu().clamp_(*run.bounds)
        return Outcome(image, picture.target, run.optimization.losses.double().cpu(), stopped, used)

    try:
        yield from run.steps()
    except DivergenceError as error:
        error.partial = outcome(run.optimization.last_good, "diverged")
        raise
    return outcome(run.optimization.image, run.optimization.stopped)


def bounds_of(target: torch.Tensor) -> tuple[float, float]:
    """The value range of a picture: [0, 1], unless values of the target lie beyond."""
    return min(0.0, float(target.min())), max(1.0, float(target.max()))


def start_of(
    picture: Picture,
    target: torch.Tensor,
    mask: torch.Tensor | None,
    p: StyleTransferParameters,
    bounds: tuple[float, float],
) -> torch.Tensor:
    """Where the pixels start; `target` and `mask` are the picture's on the device."""
    if picture.start is not None:
        return picture.start.to(target.dtype).to(target.device).clamp(*bounds)
    return _noise_like(target, mask, p.seed) if p.init == "noise" else target


def description(network: VGG, device: torch.device, compute: torch.dtype, threads: int) -> dict[str, object]:
    """What is really used, for the record."""
    return {
        "device": str(device),
        "device_name": describe_device(device),
        "precision": str(compute).removeprefix("torch."),
        "threads": threads,
        "weights": network.weight_set.name,
        "weights_sha256": network.weight_set.sha256,
        "weights_convention": network.weight_set.convention,
    }


def _noise_like(target: torch.Tensor, mask: torch.Tensor | None, seed: int) -> torch.Tensor:
    """Uniform noise in [0, 1], the same on every device; the target where the mask keeps pixels out."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(target.shape, generator=generator, dtype=torch.float64).to(target.dtype).to(target.device)
    return noise if mask is None else torch.where(mask > 0, noise, target)


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
    parameters : StyleTransferParameters
        Their device and fallback, layers and precision count.
    target, style : tuple of int
        Height and width.
    channels : int
        1 or 3.
    result : int
        Size of the result with all its planes, bytes, if it is made in the computer's memory.
    unread : int
        Size of the planes at work that are not in memory yet, bytes.

    Returns
    -------
    bool
        Whether the picture must be, or shall be, computed in tiles.

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
    try:
        return _check_memory(parameters, target, style, channels, device, beside)
    except OutOfMemoryError:
        if device.type == "cpu" or not parameters.fallback:
            raise
        return _check_memory(parameters, target, style, channels, cpu, beside)


def _check_memory(
    p: StyleTransferParameters,
    target: tuple[int, int],
    style: tuple[int, int],
    channels: int,
    device: torch.device,
    beside: int = 0,
) -> bool:
    """Refuse what cannot fit before anything is allocated: a system that swaps is frozen, not slow."""
    free = free_memory(device) - (beside if device.type == "cpu" else 0)
    return tile_side(p, target, style, channels, device, free) > 0


def release(device: torch.device) -> None:
    """Give memory back that nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0].rstrip(".") + "." if text else type(error).__name__ + "."
