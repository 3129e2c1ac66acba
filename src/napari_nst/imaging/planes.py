"""How an array is made of planes, and how a plane becomes channels."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_nst.errors import ImageError
from napari_nst.imaging.values import MINIMUM_SIDE, check_dtype, digest_header, digest_of

__all__ = ["Planes", "band_height", "luminance", "resample_plane"]

#: Weights of R, G, B in luminance (ITU-R BT.709, as in skimage.color.rgb2gray).
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


@dataclass(frozen=True)
class Planes:
    """An array seen as planes: (y, x), (y, x, 3 or 4) if it is `rgb`, or stacks of these with any leading axes.

    It is of NumPy, Dask, or anything with shape, dtype and slices, as of zarr or h5py.  What is not in memory is read plane by
    plane, and the plane that was read last is kept.  The role, "target" or "style", is for messages.
    """

    array: Any
    role: str
    rgb: bool
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, array: Any, role: str, rgb: bool | None = None) -> Planes:
        """Check an array (ImageError) and find its layout; a multiscale sequence is not accepted here.

        By default the last axis is color when it has 3 or 4 entries, which no plane can have.
        """
        if not (hasattr(array, "shape") and hasattr(array, "dtype")):
            array = np.asarray(array)
        shape = tuple(int(n) for n in array.shape)
        check_dtype(np.dtype(array.dtype), role)
        if 0 in shape:
            raise ImageError(f"The {role} is empty: its shape is {shape}.")
        if len(shape) < 2:
            raise ImageError(
                f"The {role} has {len(shape)} dimension(s), shape {shape}; an image has two (y, x), color one more (y, x, 3), a "
                "stack leading ones (planes, y, x)."
            )
        if rgb is None:
            rgb = len(shape) >= 3 and shape[-1] in (3, 4)
        if rgb and (len(shape) < 3 or shape[-1] not in (3, 4)):
            raise ImageError(
                f"The {role} is said to be RGB, but its shape is {shape}; the last axis must have 3 or 4 entries."
            )
        height, width = shape[-3:-1] if rgb else shape[-2:]
        if min(height, width) < MINIMUM_SIDE:
            raise ImageError(
                f"The {role} is {height} × {width} pixels; at least {MINIMUM_SIDE} × {MINIMUM_SIDE} are needed, because the "
                "network halves the image four times. Take a larger region."
            )
        return cls(array, role, rgb)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width."""
        shape = self.array.shape[-3:-1] if self.rgb else self.array.shape[-2:]
        return int(shape[0]), int(shape[1])

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """The leading axes; empty for a single plane."""
        return tuple(int(n) for n in self.array.shape[: -3 if self.rgb else -2])

    @property
    def nbytes(self) -> int:
        """Size of all planes in memory, bytes."""
        return math.prod(map(int, self.array.shape)) * int(np.dtype(self.array.dtype).itemsize)

    @property
    def unread(self) -> int:
        """Size of one plane if it is not in memory, bytes: it has to be read to be worked on."""
        return 0 if isinstance(self.array, np.ndarray) else self.nbytes // max(1, math.prod(self.stack_shape))

    def indices(self) -> Iterator[tuple[int, ...]]:
        """The index of every plane, in order."""
        return itertools.product(*map(range, self.stack_shape))

    @property
    def row_axis(self) -> int:
        """The axis of the rows."""
        return len(self.stack_shape)

    def digest(self) -> str:
        """SHA-256 of shape, type and values, plane by plane: a Dask array hashes as the NumPy array of its values.

        What is not in memory is not read again where :meth:`each` has been through.
        """
        if "digest" not in self._kept:
            self._kept["digest"] = digest_of(
                tuple(self.array.shape), np.dtype(self.array.dtype), map(self.plane, self.indices())
            )
        return str(self._kept["digest"])

    def each(self) -> Iterator[np.ndarray[Any, Any]]:
        """All planes in order; of those that are not in memory, the hash is found on the way."""
        if isinstance(self.array, np.ndarray):
            yield from map(self.plane, self.indices())
            return
        digest = hashlib.sha256(digest_header(tuple(self.array.shape), np.dtype(self.array.dtype)))
        for index in self.indices():
            plane = self.plane(index)
            digest.update(np.ascontiguousarray(plane).data)
            yield plane
        self._kept["digest"] = digest.hexdigest()

    def plane(self, index: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """One plane, (y, x) or (y, x, 3 or 4); read or computed now unless it was the last."""
        if isinstance(self.array, np.ndarray):
            return np.asarray(self.array[index])
        if self._kept.get("index") != index:
            self._kept.pop("plane", None)  # room for the next
            self._kept["plane"], self._kept["index"] = self._read(index), index
        kept: np.ndarray[Any, Any] = self._kept["plane"]
        return kept

    def _read(self, index: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Chunk by chunk, each once: nothing is held twice."""
        array = self.array
        out = np.empty(array.shape[len(index) :], np.dtype(array.dtype))
        if hasattr(array, "dask") and hasattr(array, "store"):
            array[index].store(out, lock=False)
            return out
        height = band_height(array, self.row_axis)
        for top in range(0, len(out), height):
            rows = slice(top, min(top + height, len(out)))
            out[rows] = np.asarray(array[(*index, rows)])
        return out


#: Rows that are read or written at once, where an array has no chunks.
_ROWS_AT_ONCE = 512


def band_height(array: Any, axis: int) -> int:
    """How many rows of an array to read or write at once: whole chunks, where it says so as zarr and h5py do."""
    chunks = getattr(array, "chunks", None)
    height = chunks[axis] if isinstance(chunks, (tuple, list)) and len(chunks) > axis else 1
    return max(1, _ROWS_AT_ONCE // height) * height if isinstance(height, int) and height > 0 else _ROWS_AT_ONCE


def luminance(color: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(y, x, 3) to (y, x), by the weights of ITU-R BT.709."""
    return np.asarray(color @ _LUMINANCE)


def resample_plane(
    plane: np.ndarray[Any, Any], factors: tuple[float, float], nearest: bool = False, cubic: bool = False
) -> np.ndarray[Any, Any]:
    """Resample (y, x, ...) by `factors` along y and x: linear or cubic with anti-aliasing, or nearest for masks."""
    from skimage.transform import resize

    shape = tuple(max(1, round(n * f)) for n, f in zip(plane.shape[:2], factors, strict=True))
    shape += plane.shape[2:]
    options: dict[str, Any] = {"order": 3 if cubic else 1, "mode": "reflect", "anti_aliasing": True}
    if nearest:
        options = {"order": 0, "anti_aliasing": False}
    out = np.asarray(resize(plane, shape, preserve_range=True, **options))  # type: ignore[no-untyped-call]  # skimage's gap
    return out > 0.5 if nearest else out
