"""A plane read piece by piece: what an engine that works in tiles asks for."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from napari_nst.engine._torch import torch
from napari_nst.engine.backbone import Part
from napari_nst.imaging.padding import reflect_to_multiple
from napari_nst.imaging.planes import luminance
from napari_nst.imaging.values import ValueRange, to_unit

__all__ = ["PlaneSource", "unit_of"]

Array: TypeAlias = np.ndarray[Any, Any]


def unit_of(plane: Array, value_range: ValueRange, channels: int) -> Array:
    """(y, x[, colours]) in the picture's values to (y, x, channels), float64, `value_range` being [0, 1]."""
    unit = to_unit(plane[..., :3] if plane.ndim == 3 else plane, value_range)
    if plane.ndim == 3 and channels == 1:
        unit = luminance(unit)
    return np.repeat(unit[..., None], channels, axis=2) if unit.ndim == 2 else unit


class PlaneSource:
    """A plane in its own type, of which pieces are brought to [0, 1] when they are asked for.

    Parameters
    ----------
    plane : array, (y, x), (y, x, 3) or (y, x, 4)
        Kept, not copied.
    value_range : ValueRange
        What becomes 0 and 1.
    channels : {1, 3}
        Of the picture that the engine sees.
    multiple : int
        The picture is extended by reflection until this divides both sides (1: not at all), as by
        :func:`napari_nst.imaging.padding.reflect_to_multiple`.

    Attributes
    ----------
    crop : tuple of slice
        Where the plane lies in the extended picture.
    """

    def __init__(self, plane: Array, value_range: ValueRange, channels: int, multiple: int = 1) -> None:
        self._plane, self._range, self._channels = plane, value_range, channels
        (self._rows, rows), (self._columns, columns) = (_extended(n, multiple) for n in plane.shape[:2])
        self.crop = (rows, columns)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(1, channels, H, W), extended."""
        return (1, self._channels, len(self._rows), len(self._columns))

    def read(self, part: Part) -> torch.Tensor:
        """The pixels of `part`, (1, channels, h, w), float64."""
        unit = unit_of(self._taken(self._plane, part), self._range, self._channels)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(unit, -1, 0), dtype=np.float64))[None]

    def extended(self, mask: Array) -> torch.Tensor:
        """A mask (y, x) of bool, extended likewise, (1, 1, H, W)."""
        height, width = self.shape[-2:]
        return torch.from_numpy(np.array(self._taken(mask, Part(range(height), range(width)))))[None, None]

    def _taken(self, array: Array, part: Part) -> Array:
        rows, columns = (
            self._rows[part.rows.start : part.rows.stop],
            self._columns[part.columns.start : part.columns.stop],
        )
        top, left = rows.min(), columns.min()
        piece = array[top : rows.max() + 1, left : columns.max() + 1]
        # In the margins rows stand in the reverse order.
        inside = all(np.array_equal(n, np.arange(n[0], n[0] + len(n))) for n in (rows, columns))
        return piece if inside else piece[np.ix_(rows - top, columns - left)]


def _extended(length: int, multiple: int) -> tuple[Array, slice]:
    """Which row (or column) of the plane stands at each place, and where the plane itself lies."""
    numbers, (crop, _) = reflect_to_multiple(np.arange(length)[:, None], multiple)
    return numbers[:, 0], crop
