"""Where a patch lies in its image, and what its file is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError
from napari_nst.io.filenames import safe_stem, split_extension

__all__ = ["Patch", "check_picture_shape", "patch_name", "whole_number"]

_LONGEST_NAME = 240  # characters of a stem: names are shortened only where a file system would refuse them

Sides = tuple[int, int, int, int]


@dataclass(frozen=True)
class Patch:
    """Where a patch lies in its image.

    Attributes
    ----------
    name : str
        File name of the patch, ``CROP_{crop_id}_x{x}y{y}_{image}.tif``.
    image : str
        File name of the image, without folders.
    crop_id : int
        Number of the patch, unique in a session.
    x, y : int
        Column and row, in the image, of the first pixel that the patch shows of it; never negative, since
        padding is not counted.
    shape : (int, int)
        Height and width of the patch's array in pixels, padding included.
    padding : (int, int, int, int)
        Pixels added by reflection at the top, the bottom, the left and the right.
    overlaps : (int, int, int, int)
        Pixels shared with the neighbour above, below, to the left and to the right; 0 where there is none.
    fades : (int, int, int, int)
        So many pixels in the middle of each overlap, over which stitching goes over to that neighbour; those
        beyond belong to one of the two alone.

    Raises
    ------
    ParameterError
        A number is not whole, is negative, or leaves nothing of the image.
    """

    name: str
    image: str
    crop_id: int
    x: int
    y: int
    shape: tuple[int, int]
    padding: Sides = (0, 0, 0, 0)
    overlaps: Sides = (0, 0, 0, 0)
    fades: Sides = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        for name in ("crop_id", "x", "y"):
            object.__setattr__(self, name, whole_number(f"{name} of patch {self.name}", getattr(self, name), 0))
        for name, count, least in (("shape", 2, 1), ("padding", 4, 0), ("overlaps", 4, 0), ("fades", 4, 0)):
            given = getattr(self, name)
            if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != count:
                raise ParameterError(f"{name} of patch {self.name} must be {count} whole numbers, not {given!r}.")
            values = tuple(whole_number(f"{name} of patch {self.name}", value, least) for value in given)
            object.__setattr__(self, name, values)
        height, width = self._covered
        if min(height, width) < 1:
            raise ParameterError(
                f"Patch {self.name} of shape {self.shape} with padding {self.padding} shows nothing of its image."
            )
        if max(self.overlaps[:2]) >= height or max(self.overlaps[2:]) >= width:
            raise ParameterError(
                f"Patch {self.name} shows {height} x {width} pixels, fewer than its overlaps {self.overlaps} need."
            )
        if any(fade > overlap for fade, overlap in zip(self.fades, self.overlaps, strict=True)):
            raise ParameterError(f"Patch {self.name} fades over {self.fades} pixels of overlaps {self.overlaps}.")

    @property
    def _covered(self) -> tuple[int, int]:
        top, bottom, left, right = self.padding
        return self.shape[0] - top - bottom, self.shape[1] - left - right

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the patch shows."""
        height, width = self._covered
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the patch's array that show the image: all but the padding."""
        top, bottom, left, right = self.padding
        return slice(top, self.shape[0] - bottom), slice(left, self.shape[1] - right)

    @property
    def center(self) -> tuple[float, float]:
        """Row and column, in the image, of the middle of `window`; (0, 0) is the centre of the first pixel."""
        height, width = self._covered
        return self.y + (height - 1) / 2, self.x + (width - 1) / 2

    def to_image(self, points: ArrayLike) -> NDArray[np.float64]:
        """Move points from the patch to its image.

        Parameters
        ----------
        points : array, (n, 2)
            Row and column in the patch's array, in pixels.

        Returns
        -------
        array of float64, (n, 2)
            Row and column in the image. Points in the padding come to lie outside of it.
        """
        return _points(points) + self._offset

    def from_image(self, points: ArrayLike) -> NDArray[np.float64]:
        """Move points (n, 2), row and column in the image, to the patch's array; the inverse of `to_image`."""
        return _points(points) - self._offset

    @property
    def _offset(self) -> tuple[int, int]:
        return self.y - self.padding[0], self.x - self.padding[2]

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Patch:
        """Make the patch that `to_dict` described.

        Raises
        ------
        ParameterError
            A field is missing or damaged.
        """
        try:
            return cls(
                name=str(record["name"]),
                image=str(record["image"]),
                crop_id=record["crop_id"],
                x=record["x"],
                y=record["y"],
                shape=record["shape"],
                padding=record["padding"],
                overlaps=record["overlaps"],
                fades=record["fades"],
            )
        except KeyError as error:
            raise ParameterError(f"The record of a patch lacks {error}; crop the session again.") from error


def patch_name(crop_id: int, x: int, y: int, image_name: str) -> str:
    """Name the file of a patch.

    Parameters
    ----------
    crop_id, x, y : int
        As the attributes of `Patch`.
    image_name : str
        File name of the image.

    Returns
    -------
    str
        ``CROP_{crop_id}_x{x}y{y}_{image_name}`` with the extension ``.tif``, whatever the image's is. Characters
        that some system refuses are replaced, and names that are too long for a file system are shortened.
    """
    stem = split_extension(image_name)[0]
    return safe_stem(f"CROP_{crop_id}_x{x}y{y}_{stem}", limit=_LONGEST_NAME) + ".tif"


def check_picture_shape(shape: tuple[int, ...], what: str) -> None:
    """Refuse what is not one picture, with an `ImageError` about "the image `what`"."""
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))) or 0 in shape:
        raise ImageError(
            f"The image {what} has shape {shape}; patches are made of pictures (H, W), (H, W, 3) or (H, W, 4). "
            "Pass one plane of a stack at a time."
        )


def whole_number(name: str, value: Any, least: int) -> int:
    """Take a whole number of at least `least`, NumPy's included, or raise `ParameterError`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ParameterError(f"{name} must be a whole number, at least {least}, not {value!r}.")
    return int(value)


def _points(points: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ImageError(f"Points are (n, 2) rows and columns, not of shape {array.shape}.")
    return array
