"""What the audits of an enhancer share: how it is called, the spacing they measure in, and their records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.checks import Floats, image_and_mask, to_points
from napari_nst.imaging.cones import DEFAULT_SPACING, detect_cones
from napari_nst.metrics.agreement import points_inside

__all__ = ["BORDER", "Enhancer", "Record", "check_marks", "density", "enhanced", "number"]

#: What an audit calls: ``enhance(target, style)`` gives the enhanced target, of the target's shape.
Enhancer = Callable[[NDArray[Any], NDArray[Any]], ArrayLike]

#: Along the edges nothing is counted within this many spacings: the 7 pixels of the published protocol.
BORDER = 7 / DEFAULT_SPACING


class Record:
    """A dataclass that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Fields as plain numbers, lists and dicts; None stands for NaN, and arrays are nested lists."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float, digits: int = 2) -> str:
    """A figure for people."""
    return "unknown" if math.isnan(value) else f"{value:.{digits}f}"


def enhanced(enhance: Enhancer, target: NDArray[Any], style: NDArray[Any]) -> NDArray[Any]:
    """Call an enhancer, with copies, and check what comes back.

    Raises
    ------
    ImageError
        The result has another shape than the target, is not real, or not finite where the target is.
    """
    result = np.asarray(enhance(target.copy(), style.copy()))
    if result.shape != target.shape:
        raise ImageError(
            f"The enhancer gave a picture of shape {result.shape} for a target of {target.shape}. An audit compares them pixel by "
            "pixel: return the picture in the target's own size."
        )
    _, used = image_and_mask(result, None, "enhancer's result")
    broken = int(np.count_nonzero(~used & np.isfinite(target)))
    if broken:
        raise ImageError(
            f"{broken} pixels of the enhancer's result are NaN or infinite; nothing can be said about such a picture. Look into the "
            "enhancer, or leave these pixels out by a mask before they reach it."
        )
    return result


def check_marks(cones: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Positions, (n, 2) row and column, all of which lie in the picture.

    Raises
    ------
    ParameterError
        They do not.
    """
    points = to_points(cones, "cones")
    outside = np.flatnonzero(~points_inside(points, shape))
    if len(outside):
        row, column = points[outside[0]]
        raise ParameterError(
            f"{len(outside)} of {len(points)} cones lie outside of the picture of {shape[0]} × {shape[1]} pixels, the first at row "
            f"{row:g}, column {column:g}. Positions are row before column and count from 0: marks in files are often x "
            "before y, or count from 1."
        )
    return points


def density(image: ArrayLike, spacing: float, mask: ArrayLike | None = None) -> float:
    """Detections at the scale of `spacing` per square pixel, away from the edges; NaN where no pixel is left there."""
    shape, border = np.shape(image), BORDER * spacing
    points = detect_cones(image, mask=mask, spacing=spacing).points
    counted, pixels = (
        int(np.count_nonzero(points_inside(places, shape, border=border, mask=mask)))
        for places in (points, np.indices(shape).reshape(2, -1).T)
    )
    return counted / pixels if pixels else math.nan
