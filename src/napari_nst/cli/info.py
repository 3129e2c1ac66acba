"""The command ``napari-nst info``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from napari_nst.cli.options import DONE


def add_info(commands: Any) -> None:
    """Add the command to the parser's commands."""
    info = commands.add_parser(
        "info",
        help="show versions, devices, weights and paths: what a bug report needs",
        description="Show versions, devices, weights with their hashes, and cache paths: what a bug report needs.",
    )
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    from napari_nst.info import collect, format_text

    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else format_text(facts))
    return DONE
