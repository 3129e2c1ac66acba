"""The images of a session's folder: which there are, what their names and files say, and what cannot be used."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field, FiniteFloat, PositiveFloat

from napari_nst.errors import FileError, ImageError
from napari_nst.imaging.masks import black_border
from napari_nst.imaging.values import find_range
from napari_nst.io.filenames import AosloName, NameTemplate
from napari_nst.io.images import EXTENSION, SUPPORTED, ImageFile, image_stem
from napari_nst.io.records import FileName, RecordPart
from napari_nst.session.cropping import Length

if TYPE_CHECKING:
    from napari_nst.io.images import FileInfo
    from napari_nst.settings.session import SessionSettings

#: Micrometers on the retina per degree of visual angle, in an eye of 24 mm (AOSLO; scaled by the axial length).
UM_PER_DEGREE, AXIAL_LENGTH = 291.0, 24.0


class SessionImage(RecordPart):
    """What is known of an image of the session, without its pixels."""

    name: FileName  # file name; unique in the session, its stem too
    sha256: str  # of the file
    shape: tuple[Length, Length]  # height and width in pixels
    dtype: str  # of the pixels
    value_range: tuple[FiniteFloat, FiniteFloat]  # black and white of the whole image: its patches agree
    valid: FiniteFloat  # share of pixels inside the black border
    # Of a pixel on the retina, µm; um_per_px in files of version 0.1.
    pixel_size: PositiveFloat | None = Field(validation_alias=AliasChoices("pixel_size", "um_per_px"))
    # Its center on the retina, x and y in pixels (along columns and rows), in its `frame`; None where unknown.
    place: tuple[FiniteFloat, FiniteFloat] | None
    retina: tuple[str, ...] | None  # what tells one retina from another (subject and eye), if the name says it
    modality: str | None  # from the name
    cropped: bool  # whether the file is a patch already (``CROP_...``) and is not cut again
    frame: str | None = None  # of a place found by overlaps; only places in one frame can be compared

    @property
    def stem(self) -> str:
        """The name without extension."""
        return image_stem(self.name)


class LoadedImage(NamedTuple):
    """An image with its pixels."""

    image: SessionImage
    array: NDArray[Any]  # of shape (H, W): gray, in the dtype of the file
    valid: NDArray[np.bool_]  # of shape (H, W): False in the black border of registration
    info: FileInfo | None  # resolution and pixel size, for files made from it


def find_images(folder: str | os.PathLike[str], settings: SessionSettings) -> tuple[list[Path], list[dict[str, str]]]:
    """Find the images of a session, in natural order on every system, and those that are not of the wanted modality.

    The latter have ``image`` and ``reason``. Sub-folders are not looked into. Raises FileError where the folder is
    missing, no folder, unreadable, or holds no image, or two of its images have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file; give the folder it lies in" if folder.exists() else "does not exist; check the path"
        raise FileError(f"{folder} {what}.")
    try:
        found = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise FileError(f"{folder} cannot be read: {error.strerror}. Ask for permission, or copy it.") from error
    paths = sorted((path for path in found if EXTENSION.search(path.name)), key=lambda path: natural_order(path.name))
    if not paths:
        seen = f"its {len(found)} files are of other kinds" if found else "it is empty"
        raise FileError(f"{folder} holds no image ({SUPPORTED}): {seen}. Sub-folders are not looked into.")
    stems: dict[str, Path] = {}
    for path in paths:
        # Case too: results could not lie side by side on Windows and macOS.
        other = stems.setdefault(image_stem(path.name).casefold(), path)
        if other is not path:
            raise FileError(
                f"{other.name} and {path.name} are two images of one name: their results could not be told apart. "
                "Rename one of them, or move it out of the folder."
            )
    names = {path: _parsed(path, settings) for path in paths}
    if not settings.modality:
        return paths, []
    wanted = [path for path, name in names.items() if (name.modality or "").casefold() == settings.modality.casefold()]
    left_out = [
        {"image": path.name, "reason": f"modality {name.modality or 'unknown'}"}
        for path, name in names.items()
        if path not in wanted
    ]
    if not wanted:
        seen = ", ".join(sorted({entry["reason"] for entry in left_out}))
        raise FileError(f"{folder} holds no image of the modality {settings.modality!r} ({seen}).")
    return wanted, left_out


def load_image(path: Path, settings: SessionSettings, value_range: str | tuple[float, float] = "auto") -> LoadedImage:
    """Read an image and what its name says.

    Raises FileError where it cannot be read; ImageError where it is no single gray image, is constant or black, or is a
    patch larger than the patch size.
    """
    file = ImageFile.read(path)
    array, info = _gray(file), file.info
    if array.dtype.kind not in "uif":
        raise ImageError(f"{path.name} is of type {array.dtype}; convert it to 8 or 16 bit or float.")
    valid = black_border(array) if settings.border else np.ones(array.shape, dtype=bool)
    if array.dtype.kind == "f":
        valid &= np.isfinite(array)
    if not valid.any():
        raise ImageError(f"{path.name} is black, or has no finite value: nothing in it can be used.")
    try:
        limits = find_range(array[valid], value_range, "image", array.dtype)
    except ImageError as error:
        raise ImageError(f"{path.name}: {error}") from error
    name = _parsed(path, settings)
    cropped = name.crop_id is not None
    if cropped and max(array.shape) > settings.size:
        raise ImageError(
            f"{path.name} is a patch already, by its name, but its {array.shape[1]} x {array.shape[0]} px are more than "
            f"size={settings.size}; give its size."
        )
    height, width = array.shape
    retina = tuple(str(part) for part in name.retina if part is not None)
    image = SessionImage(
        name=path.name,
        sha256=info.sha256 if info is not None else "",
        shape=(height, width),
        dtype=str(array.dtype),
        value_range=(limits.low, limits.high),
        valid=float(valid.mean()),
        pixel_size=_pixel_size(name, width, info, settings),
        place=None if cropped else _place(name, (height, width), settings),
        retina=retina or None,
        modality=name.modality,
        cropped=cropped,
    )
    return LoadedImage(image, array, valid, info)


def _parsed(path: Path, settings: SessionSettings) -> AosloName:
    return AosloName.parse(path.name, template=NameTemplate(settings.template) if settings.template else None)


def _gray(file: ImageFile) -> NDArray[Any]:
    array = file.data
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        # The documented pipeline saved gray patches as RGB.
        if (array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all():
            return np.ascontiguousarray(array[..., 0])
        raise ImageError(f"{file.name} is a color image; a session takes gray ones: convert it.")
    if array.ndim == 3 and array.shape[0] == 1:
        return np.ascontiguousarray(array[0])
    if array.ndim != 2:
        raise ImageError(
            f"{file.name} is a stack of shape {array.shape}; save the plane to use as an image of its own."
        )
    return array


def _pixel_size(name: AosloName, width: int, info: FileInfo | None, settings: SessionSettings) -> float | None:
    if not isinstance(settings.pixel_size, str):
        return settings.pixel_size
    if info is not None and info.pixel_size_um is not None:
        return info.pixel_size_um[1]
    # A patch's name gives the field of view of the whole image, whose width it does not tell.
    if not name.x_size or name.crop_id is not None:
        return None
    length = AXIAL_LENGTH if isinstance(settings.axial_length, str) else settings.axial_length
    return name.x_size / width * UM_PER_DEGREE * length / AXIAL_LENGTH


def _place(name: AosloName, shape: tuple[int, int], settings: SessionSettings) -> tuple[float, float] | None:
    if name.x_position is None or name.y_position is None or not name.x_size or not name.y_size:
        return None
    across, along = settings.orientation.split("-")
    x = name.x_position * shape[1] / name.x_size * (1 if across == "right" else -1)
    y = name.y_position * shape[0] / name.y_size * (1 if along == "down" else -1)
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers by value, "2" before "10"; the name itself decides between "02" and "2"."""
    parts = re.split(r"(\d+)", name.casefold())
    return (*((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts), (2, 0, name))
