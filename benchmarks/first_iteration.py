"""From the call of transfer_style to its first callback, in a fresh process: what a user waits for after Run.

    python benchmarks/first_iteration.py [--size 185] [--repeats 5] [--preset documented] [--precision auto] [--json FILE]

PyTorch and napari_nst are imported before the clock starts; their import is told apart.  A first process, which is not
counted, warms the disk's cache and, as any installation does, the cache of compiled modules.  Times of the clock and of the
processor are told: the latter do not see other programs.  So is the number of modules that the call imports: parts
of PyTorch that come late cost seconds.  The goal on a CPU is 3 s.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from napari_nst.benchmark.timing import Timing

CHILD = """
import json, sys, time
size, settings = json.loads(sys.argv[1])
from napari_nst.imaging.mosaic import mosaic_pair
pair = mosaic_pair((size, size))
began = time.perf_counter()
import napari_nst.engine._torch
torch_done = time.perf_counter()
from napari_nst.transfer.api import transfer_style
imported = time.perf_counter()
seen, modules, processor = [], len(sys.modules), time.process_time()
def callback(progress):
    seen.append((time.perf_counter(), time.process_time(), len(sys.modules)))
transfer_style(pair.target, pair.style, epoch=3, callback=callback, **settings)
print(json.dumps({"torch": torch_done - began, "napari_nst": imported - torch_done, "first": seen[0][0] - imported,
                  "processor": seen[0][1] - processor, "second": seen[1][0] - seen[0][0],
                  "modules": seen[0][2] - modules}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--preset", default="documented")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in ("preset", "precision", "device", "threads")}
    runs = []
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", CHILD, json.dumps([options.size, settings])]
        for number in range(options.repeats + 1):
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            if number:
                runs.append(json.loads(done.stdout))
    modules = [run.pop("modules") for run in runs]
    timings = {name: Timing(tuple(run[name] for run in runs)) for name in runs[0]}
    told = {
        "torch": "import of PyTorch (not counted)",
        "napari_nst": "import of napari_nst (not counted)",
        "first": "call to first callback",
        "processor": "of these, time of the processor",
        "second": "first to second callback",
    }
    print(f"{options.size} × {options.size}, {settings}, {options.repeats} fresh processes, seconds")
    for name, timing in timings.items():
        low, high = timing.quartiles
        print(f"{told[name]:36} {timing.median:7.3f}  quartiles {low:.3f}–{high:.3f}, minimum {timing.minimum:.3f}")
    print(f"{'modules imported by the call':36} {max(modules):7d}")
    if options.json:
        written = {
            "size": options.size,
            **settings,
            "modules": max(modules),
            "seconds": {n: t.summary() for n, t in timings.items()},
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
