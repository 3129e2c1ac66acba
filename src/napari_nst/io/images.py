"""Image files: TIFF as microscopes and ImageJ write it, PNG and JPEG, with the dtype kept; and `ImageFile`, an image with its name.

What is read is what the file holds: 12-bit data in uint16 stay what they are, and nothing is resized, clipped or turned
to color. An existing file is never replaced.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import os
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import FileError, ImageError
from napari_nst.io.atomic import Publish, write_new
from napari_nst.io.filenames import AosloName

if TYPE_CHECKING:
    from PIL.Image import Image
    from tifffile import TiffFile

__all__ = ["EXTENSION", "SUPPORTED", "FileInfo", "ImageFile", "image_stem", "read_image", "write_image"]

logger = logging.getLogger(__name__)

#: The extensions that are read and written, in words and as a pattern.
SUPPORTED = ".tif, .tiff, .png, .jpg and .jpeg"
EXTENSION = re.compile(r"(?<=.)((\.ome)?\.tiff?|\.png|\.jpe?g)$", re.IGNORECASE)
# Not written; any other text after a dot belongs to the name (AOSLO names contain dots) and gets ".tif".
_OTHER = re.compile(r"\.(bmp|gif|webp|jp2|svg|pdf|npy|npz|zarr|h5|czi|nd2|csv|json|avi|mp4)$", re.IGNORECASE)

_MICROMETERS = {"nm": 1e-3, "um": 1.0, "mm": 1e3}
_UNITS = {"um": "um", "nm": "nm", "mm": "mm", "micron": "um", "microns": "um", "micrometer": "um"}
# Unicode has two micro signs, and ImageJ may escape them.
_MICRO = re.compile(r"\\u00B5|\\u03BC|\u00b5|\u03bc", re.IGNORECASE)


@dataclass(frozen=True)
class FileInfo:
    """What is known about an image from its file, beside the pixels.

    Attributes
    ----------
    sha256 : str
        Of the bytes of the file, hexadecimal.
    resolution : (float, float, int) or None
        TIFF's XResolution, YResolution, and ResolutionUnit (1 none, 2 inch, 3 cm), as they stand there.
        Never a pixel size: many programs write 72 or 96 per inch into everything.
    pixel_size : (float, float) or None
        Height and width of a pixel in `pixel_unit` ("um", "nm" or "mm"), from OME or ImageJ metadata alone.
    """

    path: Path
    sha256: str
    resolution: tuple[float, float, int] | None = None
    pixel_size: tuple[float, float] | None = None
    pixel_unit: str | None = None

    @property
    def pixel_size_um(self) -> tuple[float, float] | None:
        """Height and width of a pixel in micrometers; None where the file does not say them."""
        if self.pixel_size is None or self.pixel_unit not in _MICROMETERS:
            return None
        height, width = (side * _MICROMETERS[self.pixel_unit] for side in self.pixel_size)
        return height, width


def image_stem(name: str) -> str:
    """Take the extension of an image off a file name: ``a.b.tif`` and ``a.b.ome.tif`` give ``a.b``.

    Other text after a dot is part of the name, as in ``Subject34_1.5x1.5_4495_Confocal``.
    """
    return EXTENSION.sub("", name)


def read_image(path: str | os.PathLike[str]) -> tuple[NDArray[Any], FileInfo]:
    """Read a TIFF, PNG or JPEG file; the kind is recognized by its content.

    Returns
    -------
    array, (H, W), (H, W, 3), (H, W, 4) or (planes, ...)
        In the dtype of the file and native byte order. Pages of a TIFF become planes. Palettes become RGB
        (not those of ImageJ, which only color the display), 1 bit becomes 0 and 255, white-is-zero is
        inverted.
    FileInfo

    Raises
    ------
    FileError
        The file is missing, a folder, of another kind, or damaged. Of a TIFF file whose directory points beyond its first
        page into nowhere, as some instruments write it, the first page is read, and a warning is logged.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; choose an image in it.")
    if path.exists() and not EXTENSION.search(path.name):
        raise FileError(f"{path}: only {SUPPORTED} are read; convert the image to .tif.")
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
                raise FileError(f"{path} is not an image, whatever its name says: it begins with {magic!r}.")
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist; check the name and the folder.") from error
    # Damaged files make the decoders raise nearly anything, MemoryError for absurd sizes included.
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
                _warn_once(path, f"holds {len(tiff.series)} images of different shape; the first is used.")
        except (TiffFileError, IndexError) as error:
            _warn_once(path, f"the directory of the TIFF file is damaged ({error}); the first page was used.")
            source = page
        array = np.asarray(source.asarray())
        if "S" in source.axes:
            array = np.moveaxis(array, source.axes.index("S"), -1)
        if array.dtype == bool:
            array = array.astype(np.uint8) * np.uint8(255)
        if page.photometric == 0 and array.dtype.kind == "u":  # white is zero
            top = 255 if page.bitspersample == 1 else 2**page.bitspersample - 1
            array = (top - array).astype(array.dtype)
        elif page.photometric == 3 and page.colormap is not None and not tiff.is_imagej:
            array = np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, array], 0, -1)
        facts = _tiff_facts(tiff, page)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), facts


@functools.lru_cache(maxsize=10_000)
def _warn_once(path: Path, what: str) -> None:
    """Log what is odd about a file: a session reads it several times, a person needs to know it once."""
    logger.warning("%s: %s", path, what)


def _tiff_facts(tiff: TiffFile, page: Any) -> dict[str, Any]:
    """Return resolution, pixel size and unit, as far as the tags and the metadata say them."""
    facts: dict[str, Any] = {}
    tags = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    per_unit = [tag[0] / tag[1] for tag in tags if isinstance(tag, tuple) and len(tag) == 2 and tag[1]]
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
    """Decode a PNG or JPEG to gray, RGB or RGBA."""
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow suspects an attack in every montage above 89 megapixels.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(encoded))
    image.load()
    if image.format == "PNG" and encoded[24] == 16:  # bit depth; Pillow has no 16-bit color
        import imagecodecs

        deep: NDArray[Any] = imagecodecs.png_decode(encoded)
        return deep[..., [0, 0, 0, 1]] if deep.shape[2:] == (2,) else deep
    if image.mode == "1":
        return np.array(image.convert("L"))
    if image.mode == "LA" or (image.mode in ("P", "PA") and "transparency" in image.info):
        return np.array(image.convert("RGBA"))
    return np.array(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))


def write_image(
    path: str | os.PathLike[str], array: NDArray[Any], like: FileInfo | None = None, *, publish: Publish = write_new
) -> Path:
    """Write an image to a file, as `publish` does, and return its path.

    Parameters
    ----------
    path : path-like
        Where. ``.tif`` is added to a name without the extension of an image.
    array : array, (H, W), (H, W, 3), (H, W, 4) or (planes, ...)
        Arrays of three axes and more whose last is 3 or 4 long are color, others stacks of gray planes.
    like : FileInfo, optional
        Whose resolution and pixel size to write into a TIFF.

    Raises
    ------
    FileError
        The format cannot hold the dtype or shape (PNG: 8 and 16 bit; JPEG: 8 bit), or the folder is not
        writable.

    Notes
    -----
    TIFF keeps every integer and floating dtype. A pixel size is written as OME into ``.ome.tif``, and else as
    ImageJ does where its format has the dtype (uint8, uint16, float32).
    """
    path = Path(path)
    if _OTHER.search(path.name):
        raise FileError(f"{path.name}: only {SUPPORTED} are written; choose .tif, which keeps every dtype.")
    if not EXTENSION.search(path.name):
        path = path.with_name(path.name + ".tif")
    if path.suffix.lower() in (".tif", ".tiff"):
        return publish(path, lambda temporary: _write_tiff(temporary, path, array, like))
    encoded = _encode(array, path)
    return publish(path, lambda temporary: temporary.write_bytes(encoded))


def _encode(array: NDArray[Any], target: Path) -> bytes:
    import imagecodecs

    png = target.suffix.lower() == ".png"
    depths, kind = (("uint8", "uint16"), "8 or 16 bits") if png else (("uint8",), "8 bits")
    channels = array.shape[-1] if array.ndim == 3 else 1
    if array.dtype.name not in depths or array.ndim > 3 or channels not in ((1, 3, 4) if png else (1, 3)):
        transparent = "" if png else " without transparency"
        raise FileError(
            f"{target.name}: {target.suffix} holds one image of {kind}{transparent}, not {array.dtype} "
            f"of shape {array.shape}. Choose .tif, which keeps every dtype, or convert the image first."
        )
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return bytes(imagecodecs.png_encode(native) if png else imagecodecs.jpeg_encode(native, level=95))


def _write_tiff(temporary: Path, target: Path, array: NDArray[Any], info: FileInfo | None) -> None:
    import tifffile

    if array.dtype.kind not in "uif" or array.ndim < 2:
        raise FileError(
            f"{target.name}: {array.dtype} of shape {array.shape} is not written; convert it to uint8, "
            "uint16 or float32."
        )
    color = array.ndim >= 3 and array.shape[-1] in (3, 4)
    axes = "TCZYX"[-(array.ndim - color) :] + "S" * color
    options: dict[str, Any] = {"photometric": "rgb" if color else "minisblack"}
    metadata: dict[str, Any] = {"axes": axes} if len(axes) == array.ndim else {}
    if info is not None and info.resolution is not None:
        options |= {"resolution": info.resolution[:2], "resolutionunit": info.resolution[2]}
    if info is not None and info.pixel_size is not None and info.pixel_unit is not None:
        rows, columns = info.pixel_size
        if ".ome." in target.name.lower():
            unit = "µm" if info.pixel_unit == "um" else info.pixel_unit
            metadata |= {"PhysicalSizeY": rows, "PhysicalSizeX": columns}
            metadata |= {"PhysicalSizeYUnit": unit, "PhysicalSizeXUnit": unit}
        elif array.dtype.name in (("uint8",) if color else ("uint8", "uint16", "float32")) and array.ndim <= 3:
            options |= {"imagej": True, "resolution": (1 / columns, 1 / rows), "resolutionunit": 1}
            metadata["unit"] = "micron" if info.pixel_unit == "um" else info.pixel_unit
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        tifffile.imwrite(temporary, native, metadata=metadata, **options)
    except ValueError as error:
        raise FileError(f"{target.name} cannot be written as TIFF: {error}") from error


class ImageFile:
    """An image and the name that its results are filed under.

    Parameters
    ----------
    path : path-like
        A file to be read when `data` is first asked for, or any name when `data` is given.
    data : array, optional
        (H, W), (H, W, 3), (H, W, 4), or a stack of such planes (planes, ...). Kept as it is, not copied.

    Notes
    -----
    Two are equal if they have the same stem and equal pixels, dtype and shape included (NaN
    equals NaN). The hash is that of the stem, so that it needs no file and stays while somebody draws into
    `data`.
    """

    def __init__(self, path: str | os.PathLike[str], data: ArrayLike | None = None) -> None:
        self._path = Path(path)
        self._info: FileInfo | None = None
        self._data: NDArray[Any] | None = None
        if data is not None:
            self._data = np.asarray(data)
            if self._data.ndim < 2 or self._data.size == 0:
                raise ImageError(
                    f"{self._path.name}: {self._data.shape} is not the shape of an image (H, W[, channels])."
                )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ImageFile:
        """Read a file at once, so that a missing or damaged one is reported here (FileError)."""
        file = cls(path)
        file._load()
        return file

    def _load(self) -> NDArray[Any]:
        if self._data is None:
            self._data, self._info = read_image(self._path)
        return self._data

    @property
    def path(self) -> Path:
        """The path that was given."""
        return self._path

    @property
    def name(self) -> str:
        """The name with its extension, without folders."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without folders and without the extension of an image; outputs are named after it."""
        return image_stem(self._path.name)

    @cached_property
    def aoslo(self) -> AosloName:
        """What the name says: subject, eye, place, crop... (`AosloName`); a plain stem when it has no known form."""
        return AosloName.parse(self._path.name)

    @property
    def data(self) -> NDArray[Any]:
        """The pixels, in the dtype of the file; read when first asked for (FileError)."""
        return self._load()

    @property
    def info(self) -> FileInfo | None:
        """What the file says beside the pixels; None for an image that was given as an array."""
        self._load()
        return self._info

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of `data`."""
        return self.data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self.data.shape

    def __str__(self) -> str:
        return self.stem

    def __repr__(self) -> str:
        known = "not read yet" if self._data is None else f"{self._data.dtype}, {self._data.shape}"
        return f"<ImageFile {str(self._path)!r}: {known}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageFile):
            return NotImplemented
        if self is other:
            return True
        if self.stem != other.stem:
            return False
        one, two = self.data, other.data
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == "f")

    def __hash__(self) -> int:
        return hash(self.stem)

    def to_pil_rgb_image(self) -> Image:
        """Show the image in 8-bit RGB, scaled instead of clipped.

        Returns
        -------
        PIL.Image.Image
            Mode RGB. uint8 as it is; every other dtype with its finite minimum at 0 and maximum at 255,
            rounded (a constant image is black). Gray is repeated, transparency dropped.

        Raises
        ------
        ImageError
            A stack, or NaN among the pixels.

        Notes
        -----
        NST pipeline documentation, "ImageFile". Pillow's own conversion clips 16 bits at 255,
        which turns them white.
        """
        from PIL import Image

        array = self.data
        if array.ndim == 2:
            array = array[..., np.newaxis]
        if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
            raise ImageError(f"{self.name} is a stack of shape {array.shape}; choose one plane to show it as an image.")
        color = _eight_bits(array[..., :3], self.name)
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(color, (*color.shape[:2], 3))))

    def write(
        self,
        path: str | os.PathLike[str] | None = None,
        data: ArrayLike | None = None,
        like: ImageFile | FileInfo | None = None,
    ) -> Path:
        """Write the image to a new file.

        Parameters
        ----------
        path : path-like, optional
            Where; by default its own path. ``.tif`` is added to a name without the extension of an image.
            An existing file stays, and the new one gets a counter.
        data : array, optional
            Pixels to write instead of its own.
        like : ImageFile or FileInfo, optional
            Whose resolution and pixel size to write into a TIFF; by default its own.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        FileError
            As `write_image`, which see for dtypes, shapes and pixel sizes.
        """
        array = self.data if data is None else np.asarray(data)
        info = like.info if isinstance(like, ImageFile) else like
        if like is None and (self._data is not None or self._path.is_file()):
            info = self.info
        return write_image(self._path if path is None else path, array, info)


def _eight_bits(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    values = array.astype(np.float64)
    if np.isnan(values).any():
        raise ImageError(f"{name} contains NaN, which is no gray; replace it, for example with numpy.nan_to_num.")
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ImageError(f"{name} contains only infinite values.")
    # Halves: the difference of two float64 values may be beyond float64.
    low, high = finite.min() / 2, finite.max() / 2
    scaled = (values / 2 - low) / (high - low or 1.0)
    eight: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return eight
