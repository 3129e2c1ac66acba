"""The pictures of a transfer on the command line: from files, or as a record names them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.errors import FileError, ImageError, ParameterError

if TYPE_CHECKING:
    from napari_nst.io.images import ImageFile

__all__ = ["Input", "find_inputs", "read_mask"]


@dataclass(frozen=True)
class Input:
    """A picture of a run: its file, and what of it takes part."""

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
            colour = array.ndim >= 3 and array.shape[-1] in (3, 4)
            rows = (..., slice(top, bottom), slice(left, right))
            array = array[(*rows, slice(None)) if colour else rows]
        return array

    def described(self) -> dict[str, Any]:
        """For the record."""
        return {
            "name": str(self.file),
            "path": str(self.file.path.resolve()),
            "file_sha256": self.file.info.sha256 if self.file.info else None,
            "index": self.index,
            "region": self.region,
        }


def find_inputs(
    paths: tuple[Path | None, Path | None], record_path: Path | None, given: dict[str, Any]
) -> tuple[Input, Input, dict[str, Any]]:
    """The two pictures and all arguments of a transfer.

    Parameters
    ----------
    paths : (Path or None, Path or None)
        Target and style, where they are named.
    record_path : Path or None
        A record to repeat.
    given : dict
        Arguments that replace those of the record.

    Raises
    ------
    ParameterError, FileError
        When a picture is not named, cannot be read, or is not the recorded one any more.
    """
    from napari_nst.io.images import ImageFile

    if record_path is None:
        if paths[0] is None or paths[1] is None:
            raise ParameterError(
                "two pictures are needed: napari-nst transfer TARGET STYLE -o OUT (or --from RECORD.json)."
            )
        target, style = ImageFile.read(paths[0]), ImageFile.read(paths[1])
        return Input(target), Input(style), {**_pixel_sizes(target, style), **given}
    from napari_nst.transfer.files import read_record
    from napari_nst.transfer.record import arguments_from

    record = read_record(record_path)
    arguments = arguments_from(record)
    found = [
        Input(ImageFile.read(path)) if path is not None else _recorded_input(record, role, record_path)
        for role, path in zip(("target", "style"), paths, strict=True)
    ]
    return found[0], found[1], {**_on_this_machine(arguments), **given}


def _recorded_input(record: dict[str, Any], role: str, record_path: Path) -> Input:
    """A picture that a record names, checked to be the recorded one."""
    from napari_nst.imaging.planes import Planes
    from napari_nst.io.images import ImageFile

    about = record.get("inputs", {}).get(role, {})
    found = Input(ImageFile.read(_recorded_path(record, role, record_path)), about.get("index"), about.get("region"))
    expected, rgb = record.get(role, {}).get("sha256"), record.get(role, {}).get("rgb")
    try:
        digest = Planes.of(found.array, role, rgb).digest()
    except (ImageError, IndexError):
        digest = "that of another shape"
    if expected and digest != expected:
        raise FileError(
            f"{found.file.path} is not the recorded {role} any more: the SHA-256 of its pixels is {digest[:12]}…, recorded "
            f"was {expected[:12]}…. To use it all the same, name both pictures: napari-nst transfer TARGET STYLE --from …"
        )
    return found


def _recorded_path(record: dict[str, Any], role: str, record_path: Path) -> Path:
    recorded = record.get("inputs", {}).get(role, {}).get("path")
    if not recorded:
        raise FileError(
            f"{record_path} does not say where the {role} lies (it was no file); name both pictures: "
            "napari-nst transfer TARGET STYLE --from …"
        )
    path = Path(recorded)
    beside = record_path.parent / path.name  # the folder may have been moved as a whole
    return beside if not path.exists() and beside.exists() else path


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
    """Pixel sizes from the files' metadata, where both have one; both in micrometres."""
    sizes = []
    for file in (target, style):
        if file.info is None or file.info.pixel_size_um is None:
            return {}
        sizes.append(file.info.pixel_size_um)
    return {"pixel_size": sizes[0], "style_pixel_size": sizes[1]}


def read_mask(path: str) -> Any:
    """A mask from a picture's file, (y, x); of a colour picture, what is not black."""
    from napari_nst.io.images import ImageFile

    mask = ImageFile.read(path).data
    return mask if mask.ndim == 2 else mask[..., :3].any(axis=-1)
