"""The command ``napari-nst transfer``: two images from files, or as a record names them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    mask_help,
    progress_bar,
    read_mask,
    typed,
)
from napari_nst.errors import DivergenceError, FileError, ImageError, ParameterError
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.presets import RECOMMENDED

if TYPE_CHECKING:
    from napari_nst.io.images import ImageFile
    from napari_nst.transfer.api import StyleTransfer, TransferProgress
    from napari_nst.transfer.files import SavedFiles

#: Options that are arguments of transfer_style, beside its parameters.
_ARGUMENTS = ("mask", "style_mask", "pixel_size", "style_pixel_size", "style_value_range")


def add_transfer(commands: Any) -> None:
    """Add the command to the parser's commands."""
    transfer = commands.add_parser(
        "transfer",
        help="transfer the texture of STYLE to TARGET",
        description="Transfer the texture of the image STYLE to the image TARGET (TIFF, PNG or JPEG; 8 or 16 bit, float; "
        "gray, color or stack). Written are the result as TIFF in the target's type, the losses (.csv), their curves (.png) and "
        f"a record (.json) that repeats the run. {NOTE}",
        epilog=PRESETS_HELP,
    )
    transfer.add_argument("target", metavar="TARGET", nargs="?", type=Path, help="the image to improve")
    transfer.add_argument("style", metavar="STYLE", nargs="?", type=Path, help="the image whose texture is wanted")
    text = "folder for the files; default: the current one"
    transfer.add_argument("-o", "--output", metavar="OUT", type=Path, default=Path(), help=text)
    text = "repeat a recorded run; TARGET and STYLE may be left out, options given beside it replace recorded ones"
    transfer.add_argument("--from", dest="record", metavar="RECORD.json", type=Path, help=text)
    images = transfer.add_argument_group("images", argument_default=argparse.SUPPRESS)
    for name, what in (("", "TARGET"), ("style-", "STYLE")):
        images.add_argument(f"--{name}mask", metavar="FILE", help=mask_help(what))
        text = f"size of a pixel of {what}, both in the same unit; default: what OME or ImageJ metadata say"
        images.add_argument(f"--{name}pixel-size", metavar="SIZE", type=float, help=text)
    value_range = typed(StyleTransferParameters.spec("value_range"))
    text = "the value range of STYLE alone, as --value-range"
    images.add_argument("--style-value-range", metavar="RANGE", type=value_range, help=text)
    add_parameters(transfer, "parameters", StyleTransferParameters.recommended_specs())
    transfer.set_defaults(run=_transfer)


def _transfer(options: argparse.Namespace) -> int:
    parameters = given_of(options, StyleTransferParameters.names())
    if options.output.suffix.lower() in (".tif", ".tiff", ".png", ".json"):
        raise ParameterError(
            f"--output must be a folder, got {options.output}. The names of the files are made from the inputs: give a folder."
        )
    if options.record is None:
        parameters.setdefault("preset", RECOMMENDED)
    checked = StyleTransferParameters(**parameters)  # before torch is loaded: a wrong value is reported at once
    target, style, arguments = _inputs(options, given_of(options, _ARGUMENTS))
    if options.record is not None:
        checked = StyleTransferParameters(**{name: arguments.pop(name) for name in checked.asdict()} | parameters)
    from napari_nst.transfer.api import transfer_style
    from napari_nst.transfer.files import save_transfer

    with interruptible() as cancel, transfer_bar(f"{target.file} ← {style.file}") as show:
        try:
            result = transfer_style(
                target.array, style.array, callback=show, cancel=cancel, parameters=checked, **arguments
            )
            status = INTERRUPTED if result.stopped == "cancelled" else DONE
        except DivergenceError as error:
            if error.partial is None:
                raise
            result, status = error.partial, FAILED
            print(f"napari-nst transfer: {error}", file=sys.stderr)
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
    ends = {"finished": "Done", "converged": "Converged", "cancelled": "Interrupted", "diverged": "Diverged"}
    seconds, device = result.metadata["seconds"], used.get("device_name", "no device")
    print(f"{ends[result.stopped]} after {len(losses.total)} steps, {seconds:.1f} s on {device}.")
    if len(losses.total):
        print(f"Total loss {losses.total[0]:.4g} -> {losses.total[-1]:.4g}.")
    paths = {"Result": saved.image, "Losses": saved.losses, "Curves": saved.plot, "Record": saved.record}
    for label, path in paths.items():
        print(f"{label + ':':8} {path}")


@contextlib.contextmanager
def transfer_bar(title: str) -> Iterator[Callable[[TransferProgress], None]]:
    """Give a callback of a transfer that draws a progress bar with the losses."""
    with progress_bar(title, unit="step") as draw:

        def show(progress: TransferProgress) -> None:
            def text() -> str:
                if progress.tiles:
                    return f"tile {progress.tiles_done} of {progress.tiles}"
                style, content, total = progress.losses
                return f"total {total:.3g}, content {content:.3g}, style {style:.3g}"

            draw(progress.step, progress.epoch, text)

        yield show


@dataclass(frozen=True)
class _Input:
    """An image of a run: its file, and what of it takes part."""

    file: ImageFile
    index: Any = None
    region: Any = None

    @property
    def array(self) -> Any:
        """The pixels that take part."""
        array = self.file.data
        if self.index is not None:
            array = array[tuple(self.index) if isinstance(self.index, list) else self.index]
        if self.region is not None:
            (top, bottom), (left, right) = self.region
            color = array.ndim >= 3 and array.shape[-1] in (3, 4)
            rows = (..., slice(top, bottom), slice(left, right))
            array = array[(*rows, slice(None)) if color else rows]
        return array

    def described(self) -> dict[str, Any]:
        """Return what the record says of it."""
        return {
            "name": str(self.file),
            "path": str(self.file.path.resolve()),
            "file_sha256": self.file.info.sha256 if self.file.info else None,
            "index": self.index,
            "region": self.region,
        }


def _inputs(options: argparse.Namespace, given: dict[str, Any]) -> tuple[_Input, _Input, dict[str, Any]]:
    """Return the two images and the arguments of the transfer, a record's parameters too; those given replace recorded ones."""
    from napari_nst.io.images import ImageFile

    for name in ("mask", "style_mask"):
        if given.get(name, "border") != "border":
            given[name] = read_mask(given[name])
    paths = {"target": options.target, "style": options.style}
    if options.record is None:
        if None in paths.values():
            raise ParameterError(
                "Two images are needed: napari-nst transfer TARGET STYLE -o OUT (or --from RECORD.json)."
            )
        target, style = (_Input(ImageFile.read(path)) for path in paths.values())
        return target, style, _pixel_sizes(target.file, style.file) | given
    from napari_nst.transfer.files import read_record
    from napari_nst.transfer.record import arguments_from

    record = read_record(options.record)
    arguments = arguments_from(record)
    target, style = (
        _recorded_input(record, role, options.record) if path is None else _Input(ImageFile.read(path))
        for role, path in paths.items()
    )
    return target, style, _on_this_machine(arguments) | given


def _recorded_input(record: dict[str, Any], role: str, record_path: Path) -> _Input:
    """Return an image that a record names, checked to be the recorded one."""
    from napari_nst.imaging.planes import Planes
    from napari_nst.io.images import ImageFile

    about = record.get("inputs", {}).get(role, {})
    if not about.get("path"):
        raise FileError(
            f"{record_path} does not say where the {role} is (it was not a file). Name both images: napari-nst transfer "
            "TARGET STYLE --from …"
        )
    path = Path(about["path"])
    beside = record_path.parent / path.name  # the folder may have been moved as a whole
    path = beside if not path.exists() and beside.exists() else path
    found = _Input(ImageFile.read(path), about.get("index"), about.get("region"))
    expected, rgb = record.get(role, {}).get("sha256"), record.get(role, {}).get("rgb")
    try:
        digest = Planes.of(found.array, role, rgb).digest()
    except (ImageError, IndexError):
        digest = "that of another shape"
    if expected and digest != expected:
        raise FileError(
            f"{found.file.path} is not the recorded {role} any more: the SHA-256 of its pixels is {digest[:12]}…, recorded "
            f"was {expected[:12]}…. To use it all the same, name both images: napari-nst transfer TARGET STYLE --from …"
        )
    return found


def _on_this_machine(arguments: dict[str, Any]) -> dict[str, Any]:
    """A record from another machine may name a device that is not here."""
    from napari_nst.engine.devices import resolve_device

    try:
        resolve_device(arguments["device"])
    except ParameterError as error:
        print(f"{error} Going on with the device auto; the result may differ in the last digits.", file=sys.stderr)
        arguments["device"] = "auto"
    return arguments


def _pixel_sizes(target: ImageFile, style: ImageFile) -> dict[str, Any]:
    """Return the pixel sizes (µm) of the files' metadata, where both have one."""
    sizes = [file.info and file.info.pixel_size_um for file in (target, style)]
    return {} if None in sizes else dict(zip(("pixel_size", "style_pixel_size"), sizes, strict=True))
