"""What the filters and corrections of grey pictures ask of their input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError
from napari_nst.imaging.masks import check_mask
from napari_nst.imaging.values import check_dtype

__all__ = ["check_grey"]


def check_grey(
    image: ArrayLike, mask: ArrayLike | None, role: str, *, minimum_side: int = 1, varied: bool = False
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Check a grey picture and its mask.

    Parameters
    ----------
    image : array, (H, W)
        Any integer or float dtype.
    mask : array, (H, W), or None
        Not 0 where a pixel is used; None: everywhere.
    role : str
        "target", "style", "picture"..., for messages.
    minimum_side : int
        Fewest pixels along either axis.
    varied : bool
        Whether a constant picture is refused.

    Returns
    -------
    array, (H, W)
        `image`, not copied.
    array of bool, (H, W)
        True where a pixel is used.

    Raises
    ------
    ImageError
        When it is no such picture, or a used pixel is NaN or infinite.
    """
    array = np.asarray(image)
    check_dtype(array.dtype, role)
    if array.ndim != 2:
        raise ImageError(
            f"The {role} has shape {array.shape}; a grey picture (H, W) is needed. Pass one plane of a stack or one channel of "
            "a colour picture at a time."
        )
    if min(array.shape) < minimum_side:
        raise ImageError(
            f"The {role} is {array.shape[0]} × {array.shape[1]} pixels; at least {minimum_side} × {minimum_side} are needed. "
            "Take a larger region."
        )
    used = np.ones(array.shape, dtype=bool) if mask is None else check_mask(mask, array.shape)
    if array.dtype.kind == "f":
        bad = used & ~np.isfinite(array)
        if bad.any():
            row, column = (int(v) for v in np.argwhere(bad)[0])
            raise ImageError(
                f"The {role} has {int(bad.sum())} pixel(s) that are NaN or infinite, the first at row {row}, column {column}. "
                "Replace them, or keep them out with a mask."
            )
    values = array[used]
    if varied and (values == values[0]).all():
        raise ImageError(
            f"The {role} is constant: every value that counts is {values[0]}. There is no structure to work on; check that "
            "the right picture and the right mask were chosen."
        )
    return array, used
