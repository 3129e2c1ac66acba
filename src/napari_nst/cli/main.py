"""The command ``napari-nst``: demo, transfer, enhance, evaluate, benchmark, info.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what was reached is kept).  torch is imported only when
something is computed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from napari_nst import __version__
from napari_nst.cli.benchmark import add_benchmark
from napari_nst.cli.demo import add_demo
from napari_nst.cli.enhance import add_enhance
from napari_nst.cli.evaluate import add_evaluate
from napari_nst.cli.info import add_info
from napari_nst.cli.options import FAILED, INTERRUPTED, NOTE, USAGE, flag_of
from napari_nst.cli.transfer import add_transfer
from napari_nst.errors import ParameterError, StyleTransferError, StyleTransferWarning
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings
from napari_nst.settings.specs import call_by


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        with _plain_warnings():
            status: int = options.run(options)
            return status
    except StyleTransferError as error:
        names = StyleTransferParameters.names() | SessionSettings.names() | set(vars(options))
        text = call_by(str(error), {name: flag_of(name) for name in names})
        print(f"napari-nst {options.command}: {text}", file=sys.stderr)
        return USAGE if isinstance(error, ParameterError) else FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands and options."""
    parser = argparse.ArgumentParser(
        prog="napari-nst",
        description=f"Neural style transfer for microscopy: give a poor patch the texture of a good patch of the same tissue. {NOTE}",
    )
    parser.add_argument("--version", action="version", version=f"napari-nst {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="report more about what is done")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (add_demo, add_transfer, add_enhance, add_evaluate, add_benchmark, add_info):
        add(commands)
    return parser


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our own warnings as one plain line, without the source line that Python adds."""
    before = warnings.showwarning

    def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, StyleTransferWarning):
            from tqdm import tqdm

            tqdm.write(f"Warning: {message}", file=sys.stderr)  # on a line of its own, whatever bar is drawn
        else:
            before(message, category, *rest, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


if __name__ == "__main__":
    sys.exit(main())
