"""Writing pictures: TIFF in any dtype, PNG and JPEG where they can hold it, never over another file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_nst.errors import FileError
from napari_nst.io.atomic import Publish, write_new
from napari_nst.io.reading import EXTENSION, SUPPORTED, FileInfo, swap_red_blue

__all__ = ["write_image"]

# Not written; any other text after a dot belongs to the name (AOSLO names contain dots) and gets ".tif".
_OTHER = re.compile(r"\.(bmp|gif|webp|jp2|svg|pdf|npy|npz|zarr|h5|czi|nd2|csv|json|avi|mp4)$", re.IGNORECASE)
_OME_UNITS = {"um": "µm", "nm": "nm", "mm": "mm"}


def write_image(
    path: str | os.PathLike[str], array: NDArray[Any], like: FileInfo | None = None, *, publish: Publish = write_new
) -> Path:
    """Write a picture to a new file.

    Parameters
    ----------
    path : path-like
        Where. ``.tif`` is added to a name without the extension of a picture. An existing file stays, and the
        new one gets a counter.
    array : array, (H, W), (H, W, 3), (H, W, 4) or (planes, ...)
        Arrays of three axes and more whose last is 3 or 4 long are colour, others stacks of grey planes.
    like : FileInfo, optional
        Whose resolution and pixel size to write into a TIFF.
    publish : write_new or write_over
        Whether an existing file stays, or is the program's own and replaced.

    Returns
    -------
    pathlib.Path
        The file that was written.

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


def _is_colour(array: NDArray[Any]) -> bool:
    return array.ndim >= 3 and array.shape[-1] in (3, 4)


def _encode(array: NDArray[Any], target: Path) -> bytes:
    import cv2

    png = target.suffix.lower() == ".png"
    depths, kind = (("uint8", "uint16"), "8 or 16 bits") if png else (("uint8",), "8 bits")
    channels = array.shape[-1] if array.ndim == 3 else 1
    if array.dtype.name not in depths or array.ndim > 3 or channels not in ((1, 3, 4) if png else (1, 3)):
        transparent = "" if png else " without transparency"
        raise FileError(
            f"{target.name}: {target.suffix} holds one picture of {kind}{transparent}, not {array.dtype} "
            f"of shape {array.shape}. Choose .tif, which keeps every dtype, or convert the picture first."
        )
    options = [] if png else [cv2.IMWRITE_JPEG_QUALITY, 95]
    ok, encoded = cv2.imencode(target.suffix.lower(), swap_red_blue(array) if channels > 1 else array, options)
    if not ok:
        raise FileError(f"{target.name}: OpenCV could not encode shape {array.shape}; choose .tif.")
    return bytes(encoded)


def _write_tiff(temporary: Path, target: Path, array: NDArray[Any], info: FileInfo | None) -> None:
    import tifffile

    if array.dtype.kind not in "uif" or array.ndim < 2:
        raise FileError(
            f"{target.name}: {array.dtype} of shape {array.shape} is not written; convert it to uint8, "
            "uint16 or float32."
        )
    colour = _is_colour(array)
    axes = "TCZYX"[-(array.ndim - colour) :] + "S" * colour
    options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
    metadata: dict[str, Any] = {"axes": axes} if len(axes) == array.ndim else {}
    if info is not None and info.resolution is not None:
        options |= {"resolution": info.resolution[:2], "resolutionunit": info.resolution[2]}
    if info is not None and info.pixel_size is not None and info.pixel_unit is not None:
        rows, columns = info.pixel_size
        if ".ome." in target.name.lower():
            for axis, size in zip("YX", info.pixel_size, strict=True):
                metadata |= {
                    f"PhysicalSize{axis}": size,
                    f"PhysicalSize{axis}Unit": _OME_UNITS[info.pixel_unit],
                }
        elif array.dtype.name in (("uint8",) if colour else ("uint8", "uint16", "float32")) and array.ndim <= 3:
            options |= {"imagej": True, "resolution": (1 / columns, 1 / rows), "resolutionunit": 1}
            metadata["unit"] = "micron" if info.pixel_unit == "um" else info.pixel_unit
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        tifffile.imwrite(temporary, native, metadata=metadata, **options)
    except ValueError as error:
        raise FileError(f"{target.name} cannot be written as TIFF: {error}") from error
