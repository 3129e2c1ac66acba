"""Time to the loss that 100 steps of "documented" reach, by other ways to make steps, in one process.

    python benchmarks/steps.py [--pictures FOLDER] [--size 185] [--threads N] [--precision auto] [--json FILE]

The objective is that of "documented" for all: total loss at full size. Without a folder, pairs are synthetic; with one of
TIFF pictures, each is the target once and the next one the style, both cut from the middle. For each contender are
printed: the step at which it first reaches the loss, what it reaches at its end, both in units of the reference's loss,
the time for all of its steps in units of the reference's (steps of all contenders are timed in turns), and how far its
picture is from the reference's, in grey levels of 255.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_nst import ImageFile, StyleTransferParameters, mosaic_pair
from napari_nst.engine._torch import torch
from napari_nst.engine.devices import resolve_device, resolve_dtypes
from napari_nst.engine.objective import Objective, network_for
from napari_nst.engine.optimization import Optimization
from napari_nst.engine.pyramid import carry, levels, reduced

#: What differs from "documented", for each contender; `scales` is no parameter of a run.
CONTENDERS: dict[str, dict[str, Any]] = {
    "documented": {},
    "quick": {"preset": "quick"},
    "Adam, lr 0.01": {"lr": 0.01, "epoch": 25},
    "L-BFGS": {"optimizer": "lbfgs", "epoch": 16},
    "L-BFGS, half size first": {"optimizer": "lbfgs", "epoch": 16, "scales": 2},
}


@dataclass
class Contender:
    """Runs under way: one for each size, the coarsest first."""

    changes: dict[str, Any]
    target: torch.Tensor
    style: torch.Tensor
    compute: torch.dtype
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    equivalents: float = 0.0

    def __post_init__(self) -> None:
        """Targets of every size are made before the clock starts."""
        changes = {**self.changes, "device": "cpu"}
        scales = changes.pop("scales", 1)
        parameters = StyleTransferParameters(**changes)
        size, style_size = tuple(self.target.shape[-2:]), tuple(self.style.shape[-2:])
        network = network_for(parameters, 1, self.target.device, self.compute)
        self.levels = [
            (level, Objective(network, reduced(self.target, level.size), reduced(self.style, level.style_size), level.parameters))
            for level in levels(parameters, size, style_size, scales)
        ]  # fmt: skip
        for level, objective in self.levels:
            objective.evaluate(reduced(self.target, level.size))  # convolutions are packed at the first call
        self.image = self.target
        self.steps = self._run()

    def _run(self) -> Any:
        start, before = reduced(self.target, self.levels[0][0].size), None
        for level, objective in self.levels:
            if before is not None:
                own = reduced(self.target, level.size)
                start = carry(own, before, self.image)
            before = reduced(self.target, level.size)
            run = Optimization(objective, start, level.parameters)
            for progress in run.run():
                self.image = progress.image
                self.equivalents += (level.size[0] * level.size[1]) / (self.target.shape[-2] * self.target.shape[-1])
                if level is self.levels[-1][0]:
                    self.losses.append(progress.losses[2])
                yield
        # The loss after the last step.
        self.losses.append(float(objective.evaluate(self.image).losses[0, 2]))

    def advance(self) -> bool:
        """One step; whether there was one to make."""
        began = time.perf_counter()
        made = next(self.steps, self) is not self
        if made:
            self.seconds.append(time.perf_counter() - began)
        return made


def pairs(folder: Path | None, size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    if folder is None:
        made = {f"mosaic {seed}": mosaic_pair((size, size), seed=seed) for seed in range(4)}
        return {name: (_unit(pair.target, size), _unit(pair.style, size)) for name, pair in made.items()}
    files = sorted(folder.glob("*.tif"))
    pictures = [_unit(ImageFile.read(file).data, size) for file in files]
    return {
        file.stem: (target, style)
        for file, target, style in zip(files, pictures, pictures[1:] + pictures[:1], strict=True)
    }


def _unit(picture: Any, size: int) -> torch.Tensor:
    plane = np.asarray(picture, dtype=np.float32)
    top, left = ((n - size) // 2 for n in plane.shape[:2])
    plane = plane[top : top + size, left : left + size]
    full = (0.0, 255.0) if np.asarray(picture).dtype == np.uint8 else (plane.min(), plane.max())
    return torch.from_numpy((plane - full[0]) / (full[1] - full[0]))[None, None]


def measure(target: torch.Tensor, style: torch.Tensor, compute: torch.dtype) -> list[dict[str, Any]]:
    # The first step of PyTorch's Adam imports what later ones have.
    Contender({"epoch": 1}, target, style, compute).advance()
    contenders = {name: Contender(changes, target, style, compute) for name, changes in CONTENDERS.items()}
    while any([contender.advance() for contender in contenders.values()]):  # noqa: C419  # all of them, every time
        pass
    reference = contenders["documented"]
    rows = []
    for name, c in contenders.items():
        reached = [k for k, loss in enumerate(c.losses) if loss <= reference.losses[-1]]
        rounds = len(c.seconds)
        coarse = rounds - (len(c.losses) - 1)
        rows.append(
            {
                "contender": name,
                "steps": len(c.seconds),
                "full_size_equivalents": c.equivalents,
                "reached_at": coarse + reached[0] if reached else None,
                # Against the reference's steps of the same rounds: what slows the machine later touches one alone.
                "time": sum(c.seconds) / sum(reference.seconds[:rounds]) * rounds / len(reference.seconds),
                "loss": c.losses[-1] / reference.losses[-1],
                "rms": 255 * float((c.image - reference.image).square().mean().sqrt()),
                "largest_change": 255 * float((c.image - target).abs().max()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    compute, _ = resolve_dtypes(options.precision, resolve_device("cpu"))
    print(f"{options.size} × {options.size}, {compute}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"{'':26} {'steps':>5} {'full':>6} {'reached':>7} {'time':>6} {'loss':>6} {'rms':>6} {'largest':>7}")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (target, style) in pairs(options.pictures, options.size).items():
        found[name] = measure(target, style, compute)
        print(name)
        for row in found[name]:
            _show(row["contender"], row)
    print("median (worst)")
    for name in CONTENDERS:
        rows = [row for rows in found.values() for row in rows if row["contender"] == name]
        times, losses = [r["time"] for r in rows], [r["loss"] for r in rows]
        print(f"{name:26} time {statistics.median(times):.3f} ({max(times):.3f}), loss {statistics.median(losses):.3f} ({max(losses):.3f})")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"size": options.size, "precision": str(compute), "pairs": found}, indent=1))


def _show(name: str, row: dict[str, Any]) -> None:
    print(
        f"{name:26} {row['steps']:5} {row['full_size_equivalents']:6.1f} {row['reached_at'] or '-':>7} {row['time']:6.3f} "
        f"{row['loss']:6.3f} {row['rms']:6.2f} {row['largest_change']:7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
