"""Time to the loss that 100 steps of "documented" reach, by other ways to make steps, in one process.

    python benchmarks/steps.py [--images FOLDER] [--size 185] [--threads N] [--precision auto] [--json FILE]

The objective is that of "documented" for all: total loss at full size. Without a folder, pairs are synthetic; with one of
TIFF images, each is the target once and the next one the style, both cut from the middle. For each contender are
printed: the step at which it first reaches the loss, what it reaches at its end, both in units of the reference's loss,
the time for all of its steps in units of the reference's (steps of all contenders are timed in turns), and how far its
image is from the reference's, in gray levels of 255.
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

#: What differs from "documented", for each contender.
CONTENDERS: dict[str, dict[str, Any]] = {
    "documented": {},
    "quick": {"preset": "quick"},
    "Adam, lr 0.01": {"lr": 0.01, "epoch": 25},
    "L-BFGS": {"optimizer": "lbfgs", "epoch": 16},
}


@dataclass
class Contender:
    """A run under way."""

    changes: dict[str, Any]
    target: torch.Tensor
    style: torch.Tensor
    compute: torch.dtype
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Targets are made before the clock starts."""
        self.parameters = StyleTransferParameters(**self.changes, device="cpu")
        network = network_for(self.parameters, 1, self.target.device, self.compute)
        self.objective = Objective(network, self.target, self.style, self.parameters)
        self.objective.evaluate(self.target)  # convolutions are packed at the first call
        self.image = self.target
        self.steps = self._run()

    def _run(self) -> Any:
        for progress in Optimization(self.objective, self.target, self.parameters).run():
            self.image = progress.image
            self.losses.append(progress.losses[2])
            yield
        # The loss after the last step.
        self.losses.append(float(self.objective.evaluate(self.image).losses[0, 2]))

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
    images = [_unit(ImageFile.read(file).data, size) for file in files]
    return {
        file.stem: (target, style) for file, target, style in zip(files, images, images[1:] + images[:1], strict=True)
    }


def _unit(image: Any, size: int) -> torch.Tensor:
    plane = np.asarray(image, dtype=np.float32)
    top, left = ((n - size) // 2 for n in plane.shape[:2])
    plane = plane[top : top + size, left : left + size]
    full = (0.0, 255.0) if np.asarray(image).dtype == np.uint8 else (plane.min(), plane.max())
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
        rows.append(
            {
                "contender": name,
                "steps": len(c.seconds),
                "reached_at": reached[0] if reached else None,
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
    parser.add_argument("--images", type=Path)
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    compute, _ = resolve_dtypes(options.precision, resolve_device("cpu"))
    print(f"{options.size} × {options.size}, {compute}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"{'':26} {'steps':>5} {'reached':>7} {'time':>6} {'loss':>6} {'rms':>6} {'largest':>7}")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (target, style) in pairs(options.images, options.size).items():
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
        f"{name:26} {row['steps']:5} {row['reached_at'] or '-':>7} {row['time']:6.3f} "
        f"{row['loss']:6.3f} {row['rms']:6.2f} {row['largest_change']:7.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
