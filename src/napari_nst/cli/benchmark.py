"""The command ``napari-nst benchmark``: what this machine does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from napari_nst.cli.options import DONE, INTERRUPTED, add_parameter, given_of, interruptible, progress_bar
from napari_nst.errors import ParameterError
from napari_nst.settings.parameters import StyleTransferParameters

#: Settings of a transfer that bear on speed and not on what is computed.
_SETTINGS = ("device", "precision", "threads")


def add_benchmark(commands: Any) -> None:
    """Add the command to the parser's commands."""
    benchmark = commands.add_parser(
        "benchmark",
        help="measure what this machine does: seconds per step and patch, and the settings to take",
        description="Measure a step of the presets documented and texture, in every precision that the device has (or the "
        "one that is given), against the time that its convolutions and Gram products alone take on this machine. Takes about "
        "half a minute on two cores. Nothing is downloaded and no image is needed.",
    )
    text = "side of the image [pixels] (default: 185, as documented)"
    benchmark.add_argument("--size", metavar="N", type=int, default=185, help=text)
    text = "rounds that are measured, each of every kind (default: 8)"
    benchmark.add_argument("--steps", metavar="N", type=int, default=8, help=text)
    for name in _SETTINGS:
        add_parameter(benchmark, StyleTransferParameters.spec(name))
    benchmark.add_argument("--json", metavar="FILE", type=Path, help="write all figures there as JSON, too")
    benchmark.set_defaults(run=_benchmark)


def _benchmark(options: argparse.Namespace) -> int:
    given = given_of(options, _SETTINGS)
    StyleTransferParameters(**given)  # before torch is loaded: a wrong value is reported at once
    if options.json is not None and options.json.is_dir():
        raise ParameterError(f"--json must be a file, got the folder {options.json}. Give the name of a file in it.")
    from napari_nst.benchmark.report import run_benchmark
    from napari_nst.io.atomic import write_new

    with interruptible() as cancel, progress_bar("", unit="turn", leave=False) as draw:

        def show(name: str, done: int, total: int) -> None:
            draw(done, total, title=name)

        result = run_benchmark(options.size, options.steps, callback=show, cancel=cancel, **given)
        interrupted = cancel.is_set()
    if result is None:
        print("Interrupted before the first round was complete: there is nothing to report.", file=sys.stderr)
        return INTERRUPTED
    print(result.to_text())
    if options.json is not None:
        text = result.to_json() + "\n"
        print(f"Figures: {write_new(options.json, lambda path: path.write_text(text, encoding='utf-8'))}")
    return INTERRUPTED if interrupted else DONE
