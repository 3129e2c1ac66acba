"""Cost of one iteration of "documented" against the literal transcription of the document, in one process.

    python benchmarks/iteration.py [--size 185] [--rounds 12] [--threads N] [--json FILE]

Contenders take turns, so that a noisy machine disturbs all of them alike; medians, spreads and ratios are printed.
The transcription (tests/oracle.py) passes three pictures through the network in every step and does not freeze it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import oracle
from napari_nst import StyleTransferParameters, mosaic_pair
from napari_nst.engine._torch import torch
from napari_nst.engine.objective import Objective, network_for
from napari_nst.engine.optimization import Optimization
from napari_nst.images.values import ValueRange, to_unit


def pictures(size: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    pair = mosaic_pair((size, size))
    target, style = (
        torch.from_numpy(to_unit(image, ValueRange(0, 255))).float()[None, None].repeat(1, channels, 1, 1)
        for image in (pair.target, pair.style)
    )
    return target, style


def literal(size: int) -> Callable[[], None]:
    target, style = pictures(size, 3)
    nst = oracle.NST(oracle.VGG(oracle.caffe_state(), "caffe").eval(), style, target)

    def step() -> None:
        nst.optimize(*nst.calculate_losses())

    return step


def frozen_autograd(size: int) -> Callable[[], None]:
    """What a good rival does: frozen weights, targets computed once, losses by autograd."""
    target, style = pictures(size, 3)
    model = oracle.VGG(oracle.caffe_state(), "caffe").eval().requires_grad_(False)
    generated = target.clone().requires_grad_()
    optimizer = torch.optim.Adam([generated], lr=0.001)
    with torch.no_grad():
        content = [f.clone() for f in model(target)]
        grams = [oracle.compute_gram_matrix(f, *f.shape[1:]) for f in model(style)]

    def step() -> None:
        features = model(generated)
        loss = sum(((f - c) ** 2).mean() for f, c in zip(features, content, strict=True))
        loss = loss + 0.1 * sum(
            ((oracle.compute_gram_matrix(f, *f.shape[1:]) - g) ** 2).mean()
            for f, g in zip(features, grams, strict=True)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ours(size: int, channels: int) -> Callable[[], None]:
    target, style = pictures(size, channels)
    parameters = StyleTransferParameters(epoch=1_000_000, device="cpu")
    network = network_for(parameters, channels, torch.device("cpu"), torch.float32)
    steps = Optimization(Objective(network, target, style, parameters), target, parameters).run()
    return lambda: next(steps) and None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    contenders = {
        "literal transcription": literal(options.size),
        "frozen, cached, autograd": frozen_autograd(options.size),
        "ours, three channels": ours(options.size, 3),
        "ours, grey": ours(options.size, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for step in contenders.values():
        step()  # warm up
    for _ in range(options.rounds):
        for name, step in contenders.items():
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
    reference = statistics.median(times["literal transcription"])
    print(
        f"{options.size} × {options.size}, float32, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, "
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {options.rounds} rounds, interleaved"
    )
    print(f"{'one iteration':28} {'median s':>9} {'min':>8} {'max':>8} {'literal / this':>15}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:28} {median:9.4f} {min(values):8.4f} {max(values):8.4f} {reference / median:15.2f}")
    if options.json:
        options.json.write_text(
            json.dumps({"size": options.size, "threads": torch.get_num_threads(), "seconds": times})
        )


if __name__ == "__main__":
    main()
