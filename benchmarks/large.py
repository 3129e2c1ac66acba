"""Memory and time of an image that is computed in tiles.

    python benchmarks/large.py [--size 8192] [--style-size 512] [--preset texture] [--steps 2] [--precision auto] [--json FILE]

A step of 8192 × 8192 pixels takes minutes.  Memory is the process's largest resident size; told are its growth over the size
before the call, when PyTorch is imported and both images are there, and its excess over the target alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

import numpy as np
import psutil

from napari_nst import StyleTransferParameters, transfer_style
from napari_nst.benchmark.report import machine
from napari_nst.engine._torch import torch  # PyTorch's own memory is not the run's


def peak() -> float:
    """Largest resident size of this process so far, GiB."""
    # macOS tells bytes, Linux KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def blocks(size: int, seed: int) -> np.ndarray:
    """A gray image of random blocks of 8 × 8 pixels, uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-size // 8),) * 2, dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))[:size, :size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--style-size", type=int, default=512)
    parser.add_argument("--preset", choices=StyleTransferParameters.spec("preset").choices, default="texture")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--precision", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    target, style = blocks(options.size, 1), blocks(options.style_size, 2)
    before = psutil.Process().memory_info().rss / 2**30
    given = {
        "preset": options.preset,
        "epoch": options.steps,
        "precision": options.precision,
        "threads": options.threads,
    }
    # The areas differ, so sums of Gram matrices are brought to one.
    gram = StyleTransferParameters(preset=options.preset).gram
    result = transfer_style(
        target, style, **given, gram="matched" if gram == "sum" else gram, tolerance=0.0, device="cpu"
    )
    used, most = result.metadata["used"], peak()
    tiles = f"{used['tiles']} tiles of {used['tile']} pixels" if "tiles" in used else "one piece"
    print(f"{options.size} × {options.size}, {options.preset}, {used['precision']}, {options.steps} steps, {tiles}")
    print(f"before the call {before:.2f} GiB, peak {most:.2f} GiB, growth {most - before:.2f} GiB")
    print(f"peak less the target {most - target.nbytes / 2**30:.2f} GiB; {result.metadata['seconds']:.0f} s")
    if options.json:
        figures = {"before_gib": before, "peak_gib": most, "target_gib": target.nbytes / 2**30}
        text = json.dumps(
            {
                "machine": machine(torch.device("cpu")),
                **given,
                "used": used,
                **figures,
                "seconds": result.metadata["seconds"],
            }
        )
        options.json.write_text(text)


if __name__ == "__main__":
    main()
