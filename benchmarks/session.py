"""How the time and memory of a session grow with its patches, and what a second worker brings.

    python benchmarks/session.py [--patches 25 50 100 200 400] [--method spectrum] [--workers 1 2] [--json FILE]
    python benchmarks/session.py --patches 25 --method nst --workers 1 2

Synthetic images of 720 x 720 pixels, 25 patches each, every other image poor. Each session runs in a process of its
own; the memory is the largest sum over that process and its workers (resident, each counted in full), sampled ten
times a second. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from napari_nst import cone_mosaic
from napari_nst.io.images import write_image

PER_IMAGE = 25
POOR = {"psf_fwhm": 0.6, "halo": 0.3, "photons": 500.0, "read_noise": 0.008}


def make_images(folder: Path, count: int) -> None:
    for number in range(count):
        mosaic = cone_mosaic((720, 720), 9.0, seed=number, **(POOR if number % 2 or count == 1 else {}))
        image = mosaic.image
        if count == 1:  # one image alone needs both kinds of patches
            image = image.copy()
            image[:, :360] = cone_mosaic((720, 720), 9.0, seed=0).image[:, :360]
        write_image(
            folder / f"Subject1_Session1_OS_({number},0)_1.5x1.5_{number + 1}_Confocal_extract_reg_avg.tif", image
        )


def run(folder: Path, output: Path, options: list[str]) -> tuple[float, float, str]:
    """Seconds, largest memory in MiB, and what was said."""
    command = [sys.executable, "-m", "napari_nst", "enhance", str(folder), "-o", str(output), *options]
    began, largest = time.perf_counter(), 0.0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while process.poll() is None:
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                largest = max(largest, sum(member.memory_info().rss for member in family) / 2**20)
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        said, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{errors}")
    return seconds, largest, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[25, 50, 100, 200, 400])
    parser.add_argument("--method", default="spectrum")
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("options", nargs="*", help="further options of napari-nst enhance, after --")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'patches':>8} {'workers':>8} {'enhanced':>9} {'seconds':>9} {'s/patch':>9} {'s/enhanced':>11} {'MiB':>7}")
    for patches in args.patches:
        with tempfile.TemporaryDirectory() as place:
            images = Path(place) / "images"
            images.mkdir()
            make_images(images, max(1, patches // PER_IMAGE))
            for workers in args.workers:
                output = Path(place) / f"out{workers}"
                options = ["--method", args.method, "--workers", str(workers), *args.options]
                seconds, memory, _ = run(images, output, options)
                counts = json.loads((output / "session.json").read_text(encoding="utf-8"))["counts"]
                enhanced, done = counts.get("enhanced", 0), sum(counts.values())
                rows.append(
                    {
                        "method": args.method,
                        "patches": done,
                        "workers": workers,
                        "enhanced": enhanced,
                        "seconds": round(seconds, 2),
                        "memory_mib": round(memory),
                    }
                )
                each = seconds / enhanced if enhanced else float("nan")
                print(
                    f"{done:8d} {workers:8d} {enhanced:9d} {seconds:9.1f} {seconds / done:9.3f} {each:11.3f} {memory:7.0f}",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
