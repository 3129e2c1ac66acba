"""Patches together against patches one by one, per patch, and both against the convolutions alone.

    python benchmarks/batches.py [--count 64] [--batch 8] [--size 185] [--steps 10] [--device cpu] [--precision auto]
    python benchmarks/batches.py --count 64 --batch 64 --steps 100 --device cuda --rounds 3

COUNT patches are cut into chunks of BATCH; each chunk is run together and one by one in turn, so that both meet the same
machine.  --rounds N goes through that many chunks, beginning again where there are no more.  The rooflines, the convolutions alone for
one patch and for a chunk, take part in the turns: what is printed of them is the time of all steps, per patch.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from napari_nst import StyleTransferParameters, mosaic_pair, transfer_style
from napari_nst.benchmark.report import machine
from napari_nst.benchmark.roofline import Roofline, waiting_for
from napari_nst.benchmark.timing import OtherPrograms, Timing, ratio, take_turns
from napari_nst.engine._torch import torch
from napari_nst.engine.devices import cpu_threads, resolve_device, resolve_dtypes

TOGETHER, APART, CHUNK, SINGLE = (
    "together",
    "one by one",
    "convolutions alone, a chunk",
    "convolutions alone, one patch",
)


def chunks(count: int, batch: int, size: int) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Targets and styles of `count` different pairs, in chunks."""
    pairs = [mosaic_pair((size, size), seed=seed) for seed in range(count)]
    return [
        ([p.target for p in pairs[first : first + batch]], [p.style for p in pairs[first : first + batch]])
        for first in range(0, count, batch)
    ]


def entries(options: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], object]]:
    """What takes turns; each call of the first two goes on to the next chunk."""
    made = chunks(options.count, options.batch, options.size)
    given = {
        "preset": options.preset,
        "epoch": options.steps,
        "tolerance": 0.0,
        "device": options.device,
        "precision": options.precision,
        "fallback": False,
    }
    queues: dict[str, Iterator[tuple[list[np.ndarray], list[np.ndarray]]]] = {
        name: itertools.cycle(made) for name in (TOGETHER, APART)
    }

    def together() -> None:
        transfer_style(*next(queues[TOGETHER]), **given)

    def apart() -> None:
        for target, style in zip(*next(queues[APART]), strict=True):
            transfer_style(target, style, **given)

    parameters = StyleTransferParameters(preset=options.preset)
    dtype, _ = resolve_dtypes(options.precision, device)
    size = (options.size, options.size)
    rooflines = {
        name: Roofline(parameters, size, dtype, device, count=n, packed=device.type == "cpu", products=False)
        for name, n in ((CHUNK, options.batch), (SINGLE, 1))
    }

    def all_steps(roofline: Roofline) -> Callable[[], None]:
        # Times of a chunk: as many steps, of as many patches.
        times = options.steps * (options.batch if roofline is rooflines[SINGLE] else 1)

        def run() -> None:
            for _ in range(times):
                roofline()

        return run

    return {TOGETHER: together, APART: apart, **{name: all_steps(roofline) for name, roofline in rooflines.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="patches of a chunk")
    parser.add_argument("--rounds", type=int, help="default: as many as there are chunks")
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--preset", default="documented", choices=list(StyleTransferParameters.PRESETS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.batch < 1 or options.count % options.batch:
        parser.error(
            f"--batch {options.batch} does not divide --count {options.count}: all chunks must be of one size."
        )
    device = resolve_device(options.device)
    with cpu_threads(options.threads):
        facts = machine(device)
        rounds = options.rounds or options.count // options.batch
        with OtherPrograms() as others:
            whole = take_turns(entries(options, device), rounds, settle=waiting_for(device))
    times = {name: Timing(tuple(s / options.batch for s in timing.seconds)) for name, timing in whole.items()}
    dtype = str(resolve_dtypes(options.precision, device)[0]).removeprefix("torch.")
    print(
        f"{facts['device']}, {facts['threads']} threads, PyTorch {torch.__version__}; other programs: {others.cores:.2f} cores"
    )
    print(
        f"{options.size} × {options.size}, {options.preset}, {options.steps} steps, {dtype}, chunks of {options.batch}, "
        f"{rounds} rounds in turns\n"
    )
    print(f"{'per patch':32} {'median s':>9} {'quartiles':>17} {'patches/s':>10}")
    for name, timing in times.items():
        low, high = timing.quartiles
        print(f"{name:32} {timing.median:9.4f} {low:8.4f}–{high:8.4f} {1 / timing.median:10.2f}")
    compared = {
        f"{a} / {b}": ratio(times[a], times[b])
        for a, b in ((APART, TOGETHER), (TOGETHER, CHUNK), (APART, SINGLE), (SINGLE, CHUNK))
    }
    print(f"\n{'ratio':62} {'medians':>8} {'by round':>8} {'quartiles':>13}")
    for name, r in compared.items():
        print(f"{name:62} {r.of_medians:8.2f} {r.by_round:8.2f} {r.low:6.2f}–{r.high:6.2f}")
    if options.json:
        written = {
            "machine": facts,
            **{name: getattr(options, name) for name in ("count", "batch", "size", "steps", "preset")},
            "precision": dtype,
            "rounds": rounds,
            "other_programs_cores": others.cores,
            "per_patch": {name: timing.summary() for name, timing in times.items()},
            "ratios": {name: asdict(r) for name, r in compared.items()},
        }
        options.json.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
