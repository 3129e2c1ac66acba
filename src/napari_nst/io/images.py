"""The picture and its name: `ImageFile`, the documented container."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError
from napari_nst.io.aoslo import AosloName
from napari_nst.io.reading import FileInfo, image_stem, read_image
from napari_nst.io.writing import write_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FileInfo", "ImageFile", "image_stem", "read_image", "write_image"]


class ImageFile:
    """A picture and the name that its results are filed under.

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
                    f"{self._path.name}: {self._data.shape} is not the shape of a picture (H, W[, channels])."
                )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ImageFile:
        """Read a file at once, so that a missing or damaged one is told here (FileError)."""
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
        """The name without folders and without the extension of a picture; outputs are named after it."""
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
        """What the file says beside the pixels; None for a picture that was given as an array."""
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
        """Show the picture in 8-bit RGB, scaled instead of clipped.

        Returns
        -------
        PIL.Image.Image
            Mode RGB. uint8 as it is; every other dtype with its finite minimum at 0 and maximum at 255,
            rounded (a constant picture is black). Grey is repeated, transparency dropped.

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
            raise ImageError(
                f"{self.name} is a stack of shape {array.shape}; choose one plane to show it as a picture."
            )
        colour = _eight_bits(array[..., :3], self.name)
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3))))

    def write(
        self,
        path: str | os.PathLike[str] | None = None,
        data: ArrayLike | None = None,
        like: ImageFile | FileInfo | None = None,
    ) -> Path:
        """Write the picture to a new file.

        Parameters
        ----------
        path : path-like, optional
            Where; by default its own path. ``.tif`` is added to a name without the extension of a picture.
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
            The format cannot hold the dtype or shape (PNG: 8 and 16 bit; JPEG: 8 bit), or the folder is not
            writable.

        Notes
        -----
        See `write_image` for dtypes, shapes and pixel sizes.
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
        raise ImageError(f"{name} contains NaN, which is no grey; replace it, for example with numpy.nan_to_num.")
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        raise ImageError(f"{name} contains only infinite values.")
    # Halves: the difference of two float64 values may be beyond float64.
    low, high = finite.min() / 2, finite.max() / 2
    scaled = (values / 2 - low) / (high - low or 1.0)
    eight: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return eight
