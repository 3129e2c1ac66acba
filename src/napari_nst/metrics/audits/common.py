"""What the audits of an enhancer share: how it is called, where is counted, and their records."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError
from napari_nst.imaging.checks import image_and_mask
from napari_nst.imaging.cones import DEFAULT_SPACING
from napari_nst.io.records import plain
from napari_nst.metrics.matching import STRICT, Agreement, agreement

#: What an audit calls: ``enhance(target, style)`` gives the enhanced target, of the target's shape.
Enhancer = Callable[[NDArray[Any], NDArray[Any]], ArrayLike]

#: Along the edges nothing is counted within this many spacings: the 7 pixels of the published protocol.
BORDER = 7 / DEFAULT_SPACING


class Report:
    """A dataclass that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dicts; None stands for NaN, and arrays are nested lists."""
        fields: dict[str, Any] = plain(self)
        return fields


def number(value: float, digits: int = 2) -> str:
    """Write a number for people."""
    return "unknown" if math.isnan(value) else f"{value:.{digits}f}"


def strict_agreement(
    found: ArrayLike, reference: ArrayLike, shape: tuple[int, ...], mask: ArrayLike | None, spacing: float
) -> Agreement:
    """Score detections away from the edges, at the tolerance that tells cones from a random lattice."""
    border = BORDER * spacing
    return agreement(found, reference, shape, border=border, mask=mask, tolerances=(STRICT,), spacing=spacing)[0]


def enhanced(enhance: Enhancer, target: NDArray[Any], style: NDArray[Any]) -> NDArray[Any]:
    """Call an enhancer, with copies; ImageError if the shape is not the target's, or a pixel not finite as there."""
    result = np.asarray(enhance(target.copy(), style.copy()))
    if result.shape != target.shape:
        raise ImageError(
            f"The enhancer gave an image of shape {result.shape} for a target of {target.shape}. An audit compares them pixel "
            "by pixel: return the image in the target's own size."
        )
    _, used = image_and_mask(result, None, "enhancer's result")
    broken = int(np.count_nonzero(~used & np.isfinite(target)))
    if broken:
        raise ImageError(
            f"{broken} pixels of the enhancer's result are NaN or infinite, so that nothing can be measured. Look into the "
            "enhancer, or leave these pixels out by a mask before they reach it."
        )
    return result
