"""How an array is made of planes, and how a plane becomes channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_nst.errors import ImageError
from napari_nst.images.values import MINIMUM_SIDE, check_dtype, digest_of

__all__ = ["Planes", "luminance", "resample_plane"]

#: Weights of R, G, B in luminance (ITU-R BT.709, as in skimage.color.rgb2gray).
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


@dataclass(frozen=True)
class Planes:
    """An array seen as planes: (y, x), (y, x, 3 or 4), or stacks of these with any leading axes.

    Attributes
    ----------
    array : array
        NumPy or Dask; planes are computed one by one.
    role : str
        "target" or "style", for messages.
    rgb : bool
        Whether the last axis is colour.
    """

    array: Any
    role: str
    rgb: bool

    @classmethod
    def of(cls, array: Any, role: str, rgb: bool | None = None) -> Planes:
        """Check an array and find its layout.

        Parameters
        ----------
        array : array_like
            NumPy, Dask, or anything that NumPy understands; a multiscale sequence is not accepted here.
        role : str
            "target" or "style", for messages.
        rgb : bool, optional
            Whether the last axis is colour; by default it is when it has 3 or 4 entries, which no plane can have.

        Raises
        ------
        ImageError
            For what is no picture, with the shape seen and what to pass instead.
        """
        if not (hasattr(array, "shape") and hasattr(array, "dtype")):
            array = np.asarray(array)
        shape = tuple(int(n) for n in array.shape)
        check_dtype(np.dtype(array.dtype), role)
        if 0 in shape:
            raise ImageError(f"The {role} is empty: its shape is {shape}.")
        if len(shape) < 2:
            raise ImageError(
                f"The {role} has {len(shape)} dimension(s), shape {shape}; a picture has two (y, x), colour one more (y, x, 3), a "
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
                "network halves the picture four times. Take a larger region."
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

    def indices(self) -> Iterator[tuple[int, ...]]:
        """The index of every plane, in order."""
        return itertools.product(*map(range, self.stack_shape))

    def digest(self) -> str:
        """SHA-256 of shape, type and values, plane by plane: a Dask array hashes as the NumPy array of its values."""
        parts = (self.plane(index) for index in self.indices())
        return digest_of(tuple(self.array.shape), np.dtype(self.array.dtype), parts)

    def plane(self, index: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """One plane, (y, x) or (y, x, 3 or 4), computed now."""
        return np.asarray(self.array[index] if index else self.array)


def luminance(colour: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(y, x, 3) to (y, x), by the weights of ITU-R BT.709."""
    return np.asarray(colour @ _LUMINANCE)


def resample_plane(
    plane: np.ndarray[Any, Any], factors: tuple[float, float], nearest: bool = False
) -> np.ndarray[Any, Any]:
    """Resample (y, x, ...) by `factors` along y and x: linear with anti-aliasing, or nearest for masks."""
    from skimage.transform import resize

    shape = tuple(max(1, round(n * f)) for n, f in zip(plane.shape[:2], factors, strict=True))
    shape += plane.shape[2:]
    options: dict[str, Any] = {"order": 1, "mode": "reflect", "anti_aliasing": True}
    if nearest:
        options = {"order": 0, "anti_aliasing": False}
    out = np.asarray(resize(plane, shape, preserve_range=True, **options))  # type: ignore[no-untyped-call]  # skimage's gap
    return out > 0.5 if nearest else out
