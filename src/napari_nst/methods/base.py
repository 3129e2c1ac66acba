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
    """An enhanced image.

    Attributes
    ----------
    image : array
        A new array of the target's shape, dtype and value range.
    losses : Losses or None
        Of every step; None where nothing was optimized.
    stopped : {"finished", "converged", "cancelled", "done"}
        Why it ended; "done" for methods without steps.
    metadata : dict
        JSON-able: ``method``, ``value_range``, ``style_value_range``; after a style transfer also its whole record, of
        which :func:`napari_nst.arguments_from` makes the arguments that repeat it.
    """

    image: NDArray[Any]
    losses: Losses | None = None
    stopped: str = "done"
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Input:
    """Target or style, checked.

    Attributes
    ----------
    pixels : array, (H, W) or (H, W, 3)
        Any integer or float dtype.
    mask : array of bool, (H, W), or None
        True where a pixel is used; None where all are.
    value_range : ValueRange
        The values that count as black and white.
    """

    pixels: NDArray[Any]
    mask: NDArray[np.bool_] | None
    value_range: ValueRange

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
    """Whatever else a method may look at.

    Attributes
    ----------
    parameters : mapping
        Fields of :class:`napari_nst.StyleTransferParameters`, for methods with a style transfer.
    cancel : threading.Event or callable, or None
    callback : callable or None
        To be called after every step.
    """

    parameters: Mapping[str, Any]
    cancel: Cancel | None
    callback: Callable[[TransferProgress], object] | None


@dataclass(frozen=True)
class Method:
    """A way to enhance an image.

    Attributes
    ----------
    name, summary : str
        As it is asked for, and one line for people.
    function : callable
        From target (`Input`), style (`Input`, or None) and `Options` to `Enhanced`.
    uses_style : bool
        Whether it needs a style.
    transfers : bool
        Whether it optimizes by style transfer: it then has parameters, a device, and takes its time.
    """

    name: str
    summary: str
    function: Callable[[Input, Any, Options], Enhanced]
    uses_style: bool = True
    transfers: bool = False


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
