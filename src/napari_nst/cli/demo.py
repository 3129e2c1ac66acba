"""The command ``napari-nst demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_nst.cli.options import DONE, INTERRUPTED, interruptible
from napari_nst.cli.transfer import transfer_bar


def add_demo(commands: Any) -> None:
    """Add the command to the parser's commands."""
    demo = commands.add_parser(
        "demo",
        help="make a synthetic pair of cone mosaics, run two presets on it, and write everything there is to see",
        description="Make a synthetic pair of cone mosaics, run the presets documented and microscopy on it, and write results, "
        "learning curves, records and a comparison figure. Takes half a minute on two cores.",
    )
    text = "folder for the files; default: a new folder napari-nst-demo"
    demo.add_argument("-o", "--output", metavar="DIR", type=Path, help=text)
    demo.add_argument("--viewer", action="store_true", help="open the pair and the results in napari afterwards")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from napari_nst.demo import run_demo

    with interruptible() as cancel:
        results = run_demo(options.output, cancel=cancel, progress=transfer_bar)
        interrupted = cancel.is_set()
    if options.viewer and not interrupted:
        from napari_nst.viewer.sample import show_demo

        show_demo(results)
    return INTERRUPTED if interrupted else DONE
