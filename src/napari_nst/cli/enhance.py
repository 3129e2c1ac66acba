"""The command ``napari-nst enhance``: a whole session of retina images."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOTE,
    PRESETS_HELP,
    add_parameters,
    given_of,
    interruptible,
    progress_bar,
)
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import THREADS, SessionSettings

if TYPE_CHECKING:
    from napari_nst.session.run import SessionProgress, SessionResult


def add_enhance(commands: Any) -> None:
    """Add the command to the parser's commands."""
    enhance = commands.add_parser(
        "enhance",
        help="crop, assess, pair and enhance the images of a whole session",
        description="Cut the images of FOLDER into patches, assess the quality of each, pair the poor ones with good ones of the "
        "same retina, enhance them, and stitch the images again. Nothing in FOLDER is changed. The same command goes on where a "
        "stopped run was, and only reports a session that is finished. Exit status: 0 done, 1 if any patch or image failed "
        f"(its original is kept), 2 wrong usage, 130 stopped. {NOTE}",
        epilog=PRESETS_HELP,
    )
    enhance.add_argument("folder", metavar="FOLDER", type=Path, help="folder of the session's images")
    text = "folder for the results: new, empty, or of this very session"
    enhance.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help=text)
    text = "the pairing (columns patch and style), such as an edited pairs.csv of another run; default: found"
    enhance.add_argument("--pairs", metavar="PAIRS.csv", type=Path, help=text)
    text = "local processes; the images do not depend on it (default: auto, as many as help)"
    enhance.add_argument("--workers", metavar="N", type=_workers, default="auto", help=text)
    text = "address of a running Dask scheduler, such as tcp://host:8786, instead of local processes"
    enhance.add_argument("--scheduler", metavar="ADDRESS", default="", help=text)
    add_parameters(enhance, "session", SessionSettings.specs())
    specs = StyleTransferParameters.recommended_specs()
    own = (replace(spec, default=THREADS) if spec.name == "threads" else spec for spec in specs)
    add_parameters(enhance, "style transfer", own)
    enhance.set_defaults(run=_enhance)


def _workers(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be auto or a number of processes from 1, got {text!r}. Try auto.")
    return int(text)


def _enhance(options: argparse.Namespace) -> int:
    given = given_of(options, SessionSettings.names() | StyleTransferParameters.names())
    from napari_nst.session.run import enhance_session

    with interruptible() as cancel, _bar() as show:
        result = enhance_session(
            options.folder,
            options.output,
            pairs=options.pairs,
            workers=options.workers,
            scheduler=options.scheduler,
            callback=show,
            cancel=cancel,
            **given,
        )
    _report(result)
    if result.state != "finished":
        return INTERRUPTED
    return DONE if result.ok else FAILED


def _report(result: SessionResult) -> None:
    for note in result.notes:
        print(f"Note: {note}")
    print(result.summary())
    if result.state != "finished":
        print("Stopped; what is finished is kept. The same command goes on.")
    for name in ("table", "pairs", "results"):
        print(f"{name.capitalize() + ':':8} {result.paths[name]}")


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[SessionProgress], None]]:
    """Give a callback of a session that draws a progress bar over the patches."""
    from tqdm import tqdm

    with progress_bar("", unit="patch", bar_format="{desc}: {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}") as draw:

        def show(now: SessionProgress) -> None:
            left = "" if now.seconds_left is None else f"{tqdm.format_interval(now.seconds_left)} left"
            step = f"{now.text} {now.step}/{now.steps}" if now.steps else now.text
            draw(now.done, now.total, lambda: ", ".join(part for part in (left, step[:48]) if part), title=now.stage)

        yield show
