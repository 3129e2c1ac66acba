"""The command ``napari-nst``: demo, transfer, enhance, evaluate, benchmark, info.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted (what was reached is kept).  Options of a transfer come
from :class:`napari_nst.settings.parameters.StyleTransferParameters`; torch is imported only when something is computed.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst import __version__
from napari_nst.cli.benchmark import add_benchmark
from napari_nst.cli.enhance import add_enhance
from napari_nst.cli.evaluate import add_evaluate
from napari_nst.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOTE,
    PRESETS_TOLD,
    USAGE,
    add_parameter,
    interruptible,
    typed,
)
from napari_nst.errors import DivergenceError, ParameterError, StyleTransferError
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.presets import RECOMMENDED

if TYPE_CHECKING:
    from napari_nst.transfer.api import StyleTransfer, TransferProgress
    from napari_nst.transfer.files import SavedFiles

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        with _plain_warnings():
            status: int = options.run(options)
            return status
    except ParameterError as error:
        print(f"napari-nst {options.command}: {error}", file=sys.stderr)
        return USAGE
    except StyleTransferError as error:
        print(f"napari-nst {options.command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser with all commands and options."""
    parser = argparse.ArgumentParser(
        prog="napari-nst",
        description="Neural style transfer for microscopy: give a poor patch the texture of a good patch of the same tissue. "
        + NOTE,
    )
    parser.add_argument("--version", action="version", version=f"napari-nst {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell more about what is done")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="make a synthetic pair of cone mosaics, run two presets on it, and write everything there is to see",
        description="Make a synthetic pair of cone mosaics, run the presets documented and microscopy on it, and write results, "
        "learning curves, records and a comparison figure. Takes half a minute on two cores.",
    )
    demo.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="folder for the files; default: a new folder napari-nst-demo"
    )
    demo.add_argument("--viewer", action="store_true", help="open the pair and the results in napari afterwards")
    demo.set_defaults(run=_demo)

    transfer = commands.add_parser(
        "transfer",
        help="transfer the texture of STYLE to TARGET",
        description="Transfer the texture of the picture STYLE to the picture TARGET (TIFF, PNG or JPEG; 8 or 16 bit, float; "
        "grey, colour or stack). Written are the result as TIFF in the target's type, the losses (.csv), their curves (.png) and "
        "a record (.json) that repeats the run. " + NOTE,
        epilog=PRESETS_TOLD,
    )
    transfer.add_argument("target", metavar="TARGET", nargs="?", type=Path, help="the picture to improve")
    transfer.add_argument("style", metavar="STYLE", nargs="?", type=Path, help="the picture whose texture is wanted")
    transfer.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        default=Path(),
        help="folder for the files; default: the current one",
    )
    transfer.add_argument(
        "--from",
        dest="record",
        metavar="RECORD.json",
        type=Path,
        help="repeat a recorded run; TARGET and STYLE may be left out, options given beside it replace recorded ones",
    )
    pictures = transfer.add_argument_group("pictures")
    for name, what in (("mask", "TARGET"), ("style-mask", "STYLE")):
        pictures.add_argument(
            f"--{name}",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help=f"picture of the size of {what} whose pixels other than 0 are used, or 'border' to leave out a black border",
        )
    for name, what in (("pixel-size", "TARGET"), ("style-pixel-size", "STYLE")):
        pictures.add_argument(
            f"--{name}",
            metavar="SIZE",
            type=float,
            default=argparse.SUPPRESS,
            help=f"size of a pixel of {what}, both in the same unit; default: what OME or ImageJ metadata say",
        )
    pictures.add_argument(
        "--style-value-range",
        metavar="RANGE",
        default=argparse.SUPPRESS,
        type=typed(StyleTransferParameters.spec("value_range")),
        help="the value range of STYLE alone, as --value-range",
    )
    basic, advanced = transfer.add_argument_group("parameters"), transfer.add_argument_group("further parameters")
    for spec in StyleTransferParameters.recommended_specs():
        add_parameter(advanced if spec.advanced else basic, spec)
    transfer.set_defaults(run=_transfer)

    add_enhance(commands)
    add_evaluate(commands)
    add_benchmark(commands)

    info = commands.add_parser(
        "info",
        help="show versions, devices, weights and paths: what a bug report needs",
        description="Show versions, devices, weights with their hashes, and cache paths: what a bug report needs.",
    )
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from napari_nst.demo import run_demo

    with interruptible() as cancel:
        results = run_demo(options.output, cancel=cancel, progress=_Bars())
        interrupted = cancel.is_set()
    if options.viewer and not interrupted:
        from napari_nst.viewer.demo import show_demo

        show_demo(results)
    return INTERRUPTED if interrupted else DONE


def _info(options: argparse.Namespace) -> int:
    from napari_nst.info import collect, format_text

    facts = collect()
    if options.json:
        import json

        print(json.dumps(facts, indent=2))
    else:
        print(format_text(facts))
    return DONE


def _transfer(options: argparse.Namespace) -> int:
    given = {
        spec.name: getattr(options, spec.name)
        for spec in StyleTransferParameters.specs()
        if hasattr(options, spec.name)
    }
    pictures = ("mask", "style_mask", "pixel_size", "style_pixel_size", "style_value_range")
    given |= {name: getattr(options, name) for name in pictures if hasattr(options, name)}
    if options.output.suffix.lower() in (".tif", ".tiff", ".png", ".json"):
        raise ParameterError(
            f"--output: {options.output} looks like a file; give a folder, the file names are made from the inputs."
        )
    if options.record is None:
        given.setdefault("preset", RECOMMENDED)
    # Checked before torch is loaded: a wrong value should be told at once.
    StyleTransferParameters(**{name: value for name, value in given.items() if name not in pictures})
    from napari_nst.cli.inputs import find_inputs, read_mask

    target, style, arguments = find_inputs((options.target, options.style), options.record, given)
    for name in ("mask", "style_mask"):
        if isinstance(arguments.get(name), str) and arguments[name] != "border":
            arguments[name] = read_mask(arguments[name])
    from napari_nst.transfer.api import transfer_style
    from napari_nst.transfer.files import save_transfer

    with interruptible() as cancel, _Bars()(f"{target.file} ← {style.file}") as show:
        try:
            result = transfer_style(target.array, style.array, callback=show, cancel=cancel, **arguments)
            status, problem = INTERRUPTED if result.stopped == "cancelled" else DONE, None
        except DivergenceError as error:
            if error.partial is None:
                raise
            result, status, problem = error.partial, FAILED, str(error)
    if problem is not None:
        print(f"napari-nst transfer: {problem}", file=sys.stderr)
    saved = save_transfer(
        result,
        options.output,
        str(target.file),
        str(style.file),
        like=target.file.info,
        inputs={"target": target.described(), "style": style.described()},
    )
    _report(result, saved)
    return status


def _report(result: StyleTransfer, saved: SavedFiles) -> None:
    used, losses = result.metadata["used"], result.losses
    fate = {"finished": "Done", "converged": "Converged", "cancelled": "Interrupted", "diverged": "Diverged"}[
        result.stopped
    ]
    print(
        f"{fate} after {len(losses.total)} steps, {result.metadata['seconds']:.1f} s on {used.get('device_name', 'no device')}."
    )
    if len(losses.total):
        print(f"Total loss {losses.total[0]:.4g} -> {losses.total[-1]:.4g}.")
    for label, path in (
        ("Result", saved.image),
        ("Losses", saved.losses),
        ("Curves", saved.plot),
        ("Record", saved.record),
    ):
        print(f"{label + ':':8} {path}")


class _Bars:
    """Makes progress bars with the losses, on standard error; without a terminal they appear every ten seconds."""

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[Callable[[TransferProgress], None]]:
        from tqdm import tqdm

        quick = sys.stderr.isatty()
        with tqdm(total=None, desc=title[:40], unit="step", mininterval=0.1 if quick else 10.0) as bar:

            def show(progress: TransferProgress) -> None:
                bar.total = progress.epoch
                bar.n = progress.step
                if progress.tiles:
                    bar.set_postfix_str(f"tile {progress.tiles_done} of {progress.tiles}", refresh=False)
                    if bar._time() - bar.last_print_t >= bar.mininterval:
                        bar.refresh()
                        bar.last_print_t = bar._time()
                    return
                # Asking for losses waits for a GPU: only as often as the bar is drawn.
                if (
                    progress.step == 1
                    or progress.step == progress.epoch
                    or bar._time() - bar.last_print_t >= bar.mininterval
                ):
                    style, content, total = progress.losses
                    bar.set_postfix_str(f"total {total:.3g}, content {content:.3g}, style {style:.3g}", refresh=False)
                    bar.refresh()
                    bar.last_print_t = bar._time()

            yield show


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our own warnings as one plain line, without the source line that Python adds."""
    from napari_nst.errors import StyleTransferWarning

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
