"""What a method gets and gives: checked images and options in, an enhanced image with its record out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.masks import check_mask
from napari_nst.imaging.values import ValueRange, apply_change, check_dtype, to_unit

if TYPE_CHECKING:
    from napari_nst.transfer.api import Losses, TransferProgress


@dataclass(frozen=True)
class Enhanced:
    """An enhanced image."""

    image: NDArray[Any]  # of the target's shape, dtype and value range
    losses: Losses | None = None  # of every step; None where nothing was optimized
    stopped: str = "done"  # finished, converged, cancelled; done for methods without steps
    metadata: dict[str, Any] = field(default_factory=dict)  # JSON-able; after a style transfer its whole record, too


@dataclass(frozen=True)
class Input:
    """Target or style, checked."""

    pixels: NDArray[Any]  # (H, W) or (H, W, 3), any integer or float dtype
    mask: NDArray[np.bool_] | None  # (H, W), True where a pixel is used; None where all are
    value_range: ValueRange  # black and white

    @classmethod
    def checked(cls, role: str, pixels: ArrayLike, mask: ArrayLike | None, value_range: ValueRange) -> Input:
        """Raise ImageError where pixels or mask cannot be used."""
        array = np.asarray(pixels)
        check_dtype(array.dtype, role)
        if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
            raise ImageError(f"The {role} has shape {array.shape}. Give a gray patch (H, W) or an RGB one (H, W, 3).")
        used = None if mask is None else check_mask(mask, array.shape[:2])
        return cls(array, None if used is None or used.all() else used, value_range)


@dataclass(frozen=True)
class Options:
    """Whatever else a method may look at."""

    parameters: Mapping[str, Any]  # fields of `StyleTransferParameters`, for methods with a style transfer
    cancel: Cancel | None
    callback: Callable[[TransferProgress], object] | None  # called after every step


@dataclass(frozen=True)
class Method:
    """A way to enhance an image."""

    name: str  # as it is asked for
    summary: str  # one line for people
    function: Callable[[Input, Any, Options], Enhanced]  # target, style or None, options
    uses_style: bool = True
    transfers: bool = False  # by style transfer: it has parameters, a device, and takes its time


def checked_range(name: str, value: tuple[float, float]) -> ValueRange:
    """Return a range of finite numbers, the lower first; `name` is that of the argument."""
    try:
        found = ValueRange(*(float(v) for v in value))
    except (TypeError, ValueError):
        found = ValueRange(math.nan, math.nan)
    if not 0 < found.span < math.inf:
        raise ParameterError(f"`{name}` must be two finite numbers, the lower first, got {value!r}. Try (0, 255).")
    return found


def match_gray(match: Callable[..., NDArray[np.float64]], target: Input, style: Input, options: Options) -> Enhanced:
    """Apply a function that makes a gray target like a style, both on their unit scales, without steps."""
    for role, given in (("target", target), ("style", style)):
        if given.pixels.ndim == 3:
            raise ImageError(
                f"The {role} is RGB, shape {given.pixels.shape}, and this method would change its colors: channels matched "
                "one by one no longer fit together. Pass a gray image, or take the method 'nst'."
            )
    if as_cancel(options.cancel)():
        return Enhanced(target.pixels.copy(), stopped="cancelled")
    unit = to_unit(target.pixels, target.value_range)
    wanted = match(unit, to_unit(style.pixels, style.value_range), mask=target.mask, style_mask=style.mask)
    mask = np.ones(unit.shape, dtype=bool) if target.mask is None else target.mask
    # As after a style transfer: nothing beyond black and white that was not there before.
    used = unit[mask]
    wanted = np.clip(wanted, min(0.0, used.min()), max(1.0, used.max()))
    change = np.zeros_like(unit)
    change[mask] = wanted[mask] - used
    image = apply_change(target.pixels, change, target.value_range)
    return Enhanced(image.astype(target.pixels.dtype, copy=False))  # the byte order, too
