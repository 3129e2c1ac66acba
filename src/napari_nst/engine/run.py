"""Style transfers from tensors to results: one function for one problem or many, whole or tiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from napari_nst.engine._torch import torch
from napari_nst.engine.backbone import VGG, Part
from napari_nst.engine.cancel import Cancel
from napari_nst.engine.devices import cpu_threads, describe_device, free_memory, release, resolve_device, resolve_dtypes
from napari_nst.engine.memory import state_memory, tile_side
from napari_nst.engine.objective import STYLES, Objective, StyleTarget, network_for
from napari_nst.engine.optimization import Optimization, Progress
from napari_nst.engine.tiling import Pixels, TiledObjective, read
from napari_nst.errors import DivergenceError, EngineError, OutOfMemoryError
from napari_nst.settings.parameters import StyleTransferParameters

#: Rows of an image that are read at once.
_BAND = 256


@dataclass(frozen=True)
class Problem:
    """Target and style of one transfer, in [0, 1] (beyond it where a given value range leaves values outside).

    Attributes
    ----------
    target, style : torch.Tensor or Source
        (1, channels, H, W) and (1, channels, H', W') on the CPU, as all below.  A Source as target is computed in tiles.
    target_mask, style_mask : torch.Tensor or None
        (1, 1, H, W) and (1, 1, H', W') of bool: pixels at False are kept out of all statistics.
    start : torch.Tensor or None
        (1, channels, H, W): where the pixels start; None: at the target, or at the noise that ``init`` asks for.
    max_change : torch.Tensor or None
        (1, 1, H, W): how far a pixel may depart from its start; None sets no limit.
    """

    target: Pixels
    style: Pixels
    target_mask: torch.Tensor | None = None
    style_mask: torch.Tensor | None = None
    start: torch.Tensor | None = None
    max_change: torch.Tensor | None = None

    @property
    def tiled(self) -> bool:
        """Whether it must be computed in tiles, whatever memory there is."""
        return not isinstance(self.target, torch.Tensor)


@dataclass(frozen=True)
class Outcome:
    """What a problem came to.

    The image, (1, channels, H, W), is on the CPU, in the precision of the pixels and within the value range; of a problem
    that diverged, it is the last one with finite losses.
    """

    place: int  #: which problem it was
    image: torch.Tensor
    losses: torch.Tensor  #: (steps, 3): style, content, total, float64
    stopped: str  #: "finished", "converged", "cancelled" or "diverged"
    used: dict[str, object]  #: device, precision, threads and weights that were really used
    error: DivergenceError | None = None


@dataclass(frozen=True)
class Notice:
    """Something that the user should know, about the problem of that number."""

    message: str
    place: int = 0


def run(
    problems: Sequence[Problem],
    parameters: StyleTransferParameters,
    cancel: Cancel | None = None,
    device: str | None = None,
) -> Iterator[Progress | Notice | Outcome]:
    """Optimize images of one size as one batch: yield a Progress after every iteration for each that runs, then Outcomes.

    Each has its own style, masks and end; all have one set of parameters.  In tiles, one runs after the other, and a
    Progress follows every tile, too.  When memory does not suffice, the halves of a batch run one after the other, from
    the start; an image alone falls back to the CPU, with a Notice, if ``parameters.fallback`` allows it.

    `place` of what is yielded is the number of the problem.  `cancel` is asked before every evaluation and every tile;
    `device` counts instead of the one of the parameters.

    Raises
    ------
    OutOfMemoryError
        When memory does not suffice and there is nothing to fall back to.
    EngineError
        For whatever else PyTorch raises.
    """
    first = resolve_device(device or parameters.device)
    everything = list(range(len(problems)))
    # Tiles fill the device: one image after the other.
    batches = [[k] for k in everything] if any(problem.tiled for problem in problems) else [everything]
    waiting = [(places, first, "") for places in batches if places]
    while waiting:
        places, where, fallback = waiting.pop(0)
        batch: _Batch | None = None
        try:
            with _engine_errors(where), cpu_threads(parameters.threads) as threads:
                batch = _Batch([problems[k] for k in places], parameters, where, threads, cancel)
                if fallback:
                    batch.used["fallback"] = fallback
                with contextlib.suppress(DivergenceError):  # each outcome has its own
                    for now in batch.optimization.run():
                        yield replace(now, place=places[now.number])
                yield from batch.outcomes(places)
            continue
        except OutOfMemoryError as error:
            if len(places) == 1 and (where.type == "cpu" or not parameters.fallback):
                raise
            reason = str(error)
        # Outside the handler: the exception's traceback holds the tensors of the failed run.
        batch = None
        release(where)
        if len(places) > 1:
            middle = len(places) // 2
            waiting[:0] = [(places[:middle], where, ""), (places[middle:], where, "")]
        else:
            yield Notice(f"{reason} Going on on the CPU, from the start: this is slower.", places[0])
            waiting.insert(0, (places, torch.device("cpu"), reason))


class _Batch:
    """Problems of one size on one device: the optimization, and what it came to."""

    def __init__(
        self,
        problems: Sequence[Problem],
        parameters: StyleTransferParameters,
        device: torch.device,
        threads: int,
        cancel: Cancel | None,
    ) -> None:
        p, first = parameters, problems[0]
        compute, self.dtype = resolve_dtypes(p.precision, device)
        (*_, channels, height, width), (*_, style_height, style_width) = first.target.shape, first.style.shape
        self.network = network_for(p, channels, device, compute)
        self.parameters, self.device, self.cancel = p, device, cancel
        self.used = _description(self.network, device, compute, threads)
        starts = [_start(problem, p, self.dtype) for problem in problems]
        self.bounds = [bounds for _, bounds in starts]
        side = 0
        if len(problems) == 1:
            sizes, free = ((height, width), (style_height, style_width)), free_memory(device)
            side = tile_side(p, *sizes, channels, device, free, tiled=first.tiled)
        if side:
            self.optimization = self._tiled(first, starts[0][0], side, free)
        else:
            self.optimization = self._whole(problems, [start for start, _ in starts])

    def _whole(self, problems: Sequence[Problem], starts: list[torch.Tensor]) -> Optimization:
        p = self.parameters
        if len(problems) > 1:
            self.used["batch"] = len(problems)
        mask = self._joined([problem.target_mask for problem in problems], 1.0, starts)
        limit = self._joined([problem.max_change for problem in problems], torch.inf, starts)
        start = self._moved(_cat(starts))
        targets = start
        if p.content_from != "start":
            targets = _cat([self._moved(problem.target) for problem in problems])
        styles = []
        for problem in problems:
            style_mask = None if problem.style_mask is None else self._moved(problem.style_mask)
            styles.append(STYLES.get(self.network, self._moved(problem.style), p.style_layers, style_mask))
        objective = Objective(self.network, targets, StyleTarget.stacked(styles), p, mask)
        return Optimization(objective, start, p, self.bounds, mask, self.cancel, limit=limit)

    def _tiled(self, problem: Problem, start: torch.Tensor, side: int, free: int) -> Optimization:
        p = self.parameters
        size = (int(start.shape[-2]), int(start.shape[-1]))
        # Where there is room, the whole image lies on the device, too.
        home = self.device if state_memory(p, size, start.shape[1]) <= free // 2 else torch.device("cpu")
        content, masks = (
            start if p.content_from == "start" else problem.target,
            (problem.target_mask, problem.style_mask),
        )
        objective = TiledObjective(self.network, content, problem.style, p, side, self.dtype, *masks, self.cancel)
        self.used |= {"tile": side, "halo": 2 * objective.reach, "tiles": objective.tiles}
        active = None if problem.target_mask is None else problem.target_mask.to(home)
        limit = None if problem.max_change is None else problem.max_change.to(self.dtype).to(home)
        return Optimization(objective, start.to(home), p, self.bounds, active, self.cancel, limit=limit)

    def outcomes(self, places: Sequence[int]) -> Iterator[Outcome]:
        """Yield what each problem came to."""
        run = self.optimization
        for k, bounds in enumerate(self.bounds):
            yield Outcome(
                places[k],
                # No copy of one on the CPU: it may be as large as memory allows.
                (run.last_good_of(k) if k in run.errors else run.image_of(k)).cpu().clamp_(*bounds),
                run.losses_of(k).double().cpu(),
                run.stopped_of(k),
                dict(self.used),
                run.errors.get(k),
            )

    def _moved(self, pixels: Pixels) -> torch.Tensor:
        tensor = pixels
        if not isinstance(tensor, torch.Tensor):
            tensor = read(tensor, Part(*(range(int(side)) for side in tensor.shape[-2:])))
        return tensor.to(self.dtype).to(self.device)

    def _joined(
        self, given: Sequence[torch.Tensor | None], otherwise: float, like: Sequence[torch.Tensor]
    ) -> torch.Tensor | None:
        """One tensor for the batch; None where no problem has one."""
        if all(tensor is None for tensor in given):
            return None
        full = [torch.full_like(x[:, :1], otherwise) if g is None else g for g, x in zip(given, like, strict=True)]
        return _cat([self._moved(tensor) for tensor in full])


def _cat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _start(
    problem: Problem, p: StyleTransferParameters, dtype: torch.dtype
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Where the pixels start, (1, channels, H, W) on the CPU, and their value range: [0, 1] or the target's own."""
    height, width = int(problem.target.shape[-2]), int(problem.target.shape[-1])
    start = torch.empty(tuple(problem.target.shape), dtype=dtype)
    low, high = 0.0, 1.0
    for top in range(0, height, _BAND):
        rows = slice(top, min(top + _BAND, height))
        band = start[:, :, rows]
        band.copy_(read(problem.target, Part(range(rows.start, rows.stop), range(width))))
        low, high = min(low, float(band.min())), max(high, float(band.max()))
    if problem.start is not None:
        torch.clamp(problem.start.to(dtype), low, high, out=start)
    elif p.init == "noise":
        _fill_with_noise(start, problem.target_mask, p.seed)
    return start, (low, high)


def _fill_with_noise(start: torch.Tensor, mask: torch.Tensor | None, seed: int) -> None:
    """Uniform noise in [0, 1], the same on every device and in any pieces; where the mask is False, nothing changes."""
    generator, flat = torch.Generator().manual_seed(seed), start.view(-1)
    used = None if mask is None else mask[0, 0].reshape(-1)
    piece = _BAND * start.shape[-1]
    for first in range(0, len(flat), piece):
        part = flat[first : first + piece]
        noise = torch.rand(len(part), generator=generator, dtype=torch.float64).to(part.dtype)
        if used is None:
            part.copy_(noise)
        else:
            at = torch.arange(first, first + len(part)) % len(used)
            part.copy_(torch.where(used[at], noise, part))


def _description(network: VGG, device: torch.device, compute: torch.dtype, threads: int) -> dict[str, object]:
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


@contextlib.contextmanager
def _engine_errors(device: torch.device) -> Iterator[None]:
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


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0].rstrip(".") + "." if text else type(error).__name__ + "."
