"""Reading pictures: TIFF as microscopes and ImageJ write it, PNG and JPEG, with the dtype kept.

What is read is what the file holds: 12-bit data in uint16 stay what they are, and nothing is resized, clipped
or turned to colour.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import FileError

if TYPE_CHECKING:
    from PIL.Image import Image
    from tifffile import TiffFile

__all__ = ["FileInfo", "image_stem", "read_image"]

logger = logging.getLogger(__name__)

#: The extensions that are read and written, in words and as a pattern.
SUPPORTED = ".tif, .tiff, .png, .jpg and .jpeg"
EXTENSION = re.compile(r"(?<=.)((\.ome)?\.tiff?|\.png|\.jpe?g)$", re.IGNORECASE)

_UNITS = {"um": "um", "nm": "nm", "mm": "mm", "micron": "um", "microns": "um", "micrometer": "um"}
# Unicode has two micro signs, and ImageJ may escape them.
_MICRO = re.compile(r"\\u00B5|\\u03BC|\u00b5|\u03bc", re.IGNORECASE)


@dataclass(frozen=True)
class FileInfo:
    """What is known about a picture from its file, beside the pixels.

    Attributes
    ----------
    path : pathlib.Path
        Where it was read.
    sha256 : str
        SHA-256 of the bytes of the file, hexadecimal.
    resolution : (float, float, int) or None
        TIFF's XResolution, YResolution, and ResolutionUnit (1 none, 2 inch, 3 cm), as they stand there.
        Never a pixel size: many programs write 72 or 96 per inch into everything.
    pixel_size : (float, float) or None
        Height and width of a pixel in `pixel_unit`, from OME or ImageJ metadata alone.
    pixel_unit : "um", "nm", "mm" or None
    """

    path: Path
    sha256: str
    resolution: tuple[float, float, int] | None = None
    pixel_size: tuple[float, float] | None = None
    pixel_unit: str | None = None


def image_stem(name: str) -> str:
    """Take the extension of a picture off a file name: ``a.b.tif`` and ``a.b.ome.tif`` give ``a.b``.

    Other text after a dot is part of the name, as in ``Subject34_1.5x1.5_4495_Confocal``.
    """
    return EXTENSION.sub("", name)


def read_image(path: str | os.PathLike[str]) -> tuple[NDArray[Any], FileInfo]:
    """Read a TIFF, PNG or JPEG file.

    Parameters
    ----------
    path : path-like
        The kind of file is recognised by its content.

    Returns
    -------
    array, (H, W), (H, W, 3), (H, W, 4) or (planes, ...)
        In the dtype of the file and native byte order. Pages of a TIFF become planes. Palettes become RGB
        (not those of ImageJ, which only colour the display), 1 bit becomes 0 and 255, white-is-zero is
        inverted.
    FileInfo

    Raises
    ------
    FileError
        The file is missing, a folder, of another kind, or damaged.

    Notes
    -----
    Some instruments write TIFF files whose directory points beyond its first page into nowhere.
    Of such a file the first page is read, and a warning is logged.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; choose a picture in it.")
    if path.exists() and not EXTENSION.search(path.name):
        raise FileError(f"{path}: only {SUPPORTED} are read; convert the picture to .tif.")
    facts: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            magic = file.read(8)
            file.seek(0)
            if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                array, facts = _read_tiff(file, path)
            elif magic == b"\x89PNG\r\n\x1a\n" or magic[:3] == b"\xff\xd8\xff":
                array = _decode(file.read())
            else:
                raise FileError(f"{path} is not a picture, whatever its name says: it begins with {magic!r}.")
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist; check the name and the folder.") from error
    # Damaged files make the decoders raise nearly anything, MemoryError for sizes that cannot be included.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise FileError(f"{path} cannot be read ({reason}). Open it in another program and save it again.") from error
    return array, FileInfo(path=path, sha256=digest, **facts)


def _read_tiff(file: BinaryIO, path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    from tifffile import TiffFile, TiffFileError

    with TiffFile(file, name=path.name) as tiff:
        page: Any = tiff.pages[0]
        try:
            source: Any = tiff.series[0]
            if len(tiff.series) > 1:
                _tell_once(path, f"holds {len(tiff.series)} pictures of different shape; the first is used.")
        except (TiffFileError, IndexError) as error:
            _tell_once(path, f"the directory of the TIFF file is damaged ({error}); the first page was used.")
            source = page
        facts = _tiff_facts(tiff, page)
        try:
            array = np.asarray(source.asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            file.seek(0)
            return _decode_compressed(file.read(), error, page.dtype), facts
        if "S" in source.axes:
            array = np.moveaxis(array, source.axes.index("S"), -1)
        if array.dtype == bool:
            array = array.astype(np.uint8) * np.uint8(255)
        if page.photometric == 0 and array.dtype.kind == "u":  # white is zero
            top = 255 if page.bitspersample == 1 else 2**page.bitspersample - 1
            array = (top - array).astype(array.dtype)
        elif page.photometric == 3 and page.colormap is not None and not tiff.is_imagej:
            array = np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, array], 0, -1)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), facts


@functools.lru_cache(maxsize=10_000)
def _tell_once(path: Path, what: str) -> None:
    """Log what is odd about a file: a session reads it several times, a person needs to know it once."""
    logger.warning("%s: %s", path, what)


def _decode_compressed(encoded: bytes, error: ValueError, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Decode what tifffile can only with its optional codecs, LZW above all."""
    if dtype.itemsize == 1:  # OpenCV multiplies 8-bit colour by its transparency
        from PIL import ImageSequence

        pages = [_plain(page) for page in ImageSequence.Iterator(_open(encoded))]
    else:  # Pillow has no 16-bit colour
        import cv2

        pages = [swap_red_blue(page) for page in cv2.imdecodemulti(_buffer(encoded), cv2.IMREAD_UNCHANGED)[1]]
    if len({page.shape for page in pages}) != 1:
        raise ValueError(f"{error}; save it without compression, or install imagecodecs")
    return pages[0] if len(pages) == 1 else np.stack(pages)


def _tiff_facts(tiff: TiffFile, page: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    per_unit = []
    for name in ("XResolution", "YResolution"):
        value = page.tags.valueof(name)
        if isinstance(value, tuple) and len(value) == 2 and value[1]:
            per_unit.append(value[0] / value[1])
    if len(per_unit) == 2:
        # Without the tag the unit is the inch (TIFF 6.0, section 8).
        facts["resolution"] = (*per_unit, int(page.tags.valueof("ResolutionUnit", 2)))
    size, unit = None, None
    if tiff.is_ome:
        size, unit = _ome_pixel(tiff.ome_metadata or "")
    elif tiff.is_imagej and len(per_unit) == 2 and min(per_unit) > 0:
        unit = _unit(str((tiff.imagej_metadata or {}).get("unit", "")))
        size = (1 / per_unit[1], 1 / per_unit[0])
    if size is not None and unit is not None:
        facts |= {"pixel_size": size, "pixel_unit": unit}
    return facts


def _ome_pixel(xml: str) -> tuple[tuple[float, float] | None, str | None]:
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
        if pixels is None:
            return None, None
        size = (float(pixels.attrib["PhysicalSizeY"]), float(pixels.attrib["PhysicalSizeX"]))
    except (ElementTree.ParseError, KeyError, ValueError):
        return None, None
    units = {_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"}
    return (size, units.pop()) if len(units) == 1 and min(size) > 0 else (None, None)


def _unit(text: str) -> str | None:
    return _UNITS.get(_MICRO.sub("u", text.strip()).lower())


def _decode(encoded: bytes) -> NDArray[Any]:
    picture = _open(encoded)
    picture.load()
    if picture.format == "PNG" and encoded[24] == 16:  # bit depth; Pillow has no 16-bit colour
        import cv2

        deep = cv2.imdecode(_buffer(encoded), cv2.IMREAD_UNCHANGED)
        if deep is None:
            raise ValueError("OpenCV cannot decode this 16-bit PNG")
        return swap_red_blue(deep)
    return _plain(picture)


def _open(encoded: bytes) -> Image:
    import io
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        # Pillow suspects an attack in every montage above 89 megapixels.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(encoded))


def _plain(picture: Image) -> NDArray[np.uint8]:
    """Bring any mode of Pillow to grey, RGB or RGBA."""
    mode = picture.mode
    if mode == "1":
        picture = picture.convert("L")
    elif mode == "LA" or (mode in ("P", "PA") and "transparency" in picture.info):
        picture = picture.convert("RGBA")
    elif mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    return np.array(picture)


def _buffer(encoded: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(encoded, np.uint8)


def swap_red_blue(array: NDArray[Any]) -> NDArray[Any]:
    """Swap red and blue, which OpenCV keeps in the other order; its own inverse."""
    if array.ndim == 2:
        return array
    return np.ascontiguousarray(array[..., [2, 1, 0, 3][: array.shape[-1]]])
