"""The ways to enhance a patch, behind one function: neural style transfer, its linear rivals, and none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.histogram import match_histogram
from napari_nst.imaging.masks import check_mask
from napari_nst.imaging.spectrum import match_spectrum
from napari_nst.imaging.values import ValueRange, apply_change, check_dtype, to_unit

if TYPE_CHECKING:
    from napari_nst.transfer.api import Losses, TransferProgress

__all__ = ["METHODS", "Enhanced", "Method", "enhance_patch"]


@dataclass(frozen=True)
class Enhanced:
    """An enhanced patch.

    Attributes
    ----------
    image : array
        A new array of the target's shape, dtype and value range.
    losses : Losses or None
        Of every step; None where nothing was optimised.
    stopped : {"finished", "converged", "cancelled", "done"}
        Why it ended; "done" for methods without steps.
    metadata : dict
        JSON-able: ``method``, ``value_range``, ``style_value_range``; after a style transfer also its whole record, of
        which :func:`napari_nst.arguments_from` makes the arguments that repeat it.
    """

    image: NDArray[Any]
    losses: Losses | None
    stopped: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Request:
    """Checked input of a method; masks are None where they leave nothing out."""

    target: NDArray[Any]
    style: NDArray[Any]
    target_mask: NDArray[np.bool_] | None
    style_mask: NDArray[np.bool_] | None
    value_range: ValueRange
    style_value_range: ValueRange
    parameters: Mapping[str, Any]
    cancel: Cancel | None
    callback: Callable[[TransferProgress], object] | None


@dataclass(frozen=True)
class Method:
    """A way to enhance a patch.

    Attributes
    ----------
    name, summary : str
        As it is asked for, and one line for people.
    uses_style : bool
        Whether it needs a style.
    function : callable or None
        Does it; None leaves the patch as it is.
    """

    name: str
    summary: str
    uses_style: bool
    function: Callable[[_Request], Enhanced] | None


def enhance_patch(
    method: str,
    target: ArrayLike,
    style: ArrayLike | None,
    *,
    target_mask: ArrayLike | None = None,
    style_mask: ArrayLike | None = None,
    value_range: tuple[float, float],
    style_value_range: tuple[float, float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    cancel: Cancel | None = None,
    callback: Callable[[TransferProgress], object] | None = None,
) -> Enhanced:
    """Enhance a patch by one of the `METHODS`.

    Parameters
    ----------
    method : str
        "nst", "histogram", "spectrum", "spectrum+nst" or "none".
    target : array, (H, W), or (H, W, 3) for "nst", "spectrum+nst" and "none"
        The patch, any integer or float dtype; not changed.
    style : array or None
        The patch to be like: of the same kind, and of any size and dtype. Not looked at by "none".
    target_mask, style_mask : array, (H, W), optional
        Not 0 where a pixel is used. The others take no part, and those of the target keep their values.
    value_range, style_value_range : (float, float)
        The grey levels of the images from which target and style come that count as black and white: both patches
        are compared on these scales. By default the style has the target's.
    parameters : mapping, optional
        Fields of :class:`napari_nst.StyleTransferParameters`, for the methods with a style transfer; the others ignore
        them. A ``value_range`` among them gives way to the argument of that name.
    cancel : threading.Event or callable, optional
        Asked before every step; a method without steps asks once, and then gives the patch as it was.
    callback : callable, optional
        Called with a :class:`napari_nst.transfer.api.TransferProgress` after every step.

    Returns
    -------
    Enhanced
        Made from the original and the change: where nothing changed, a value is the original to the last bit.

    Raises
    ------
    ParameterError
        An unknown method or parameter, a value range that is none, or no style where one is needed.
    ImageError
        A patch or mask cannot be used; the message says why.
    DivergenceError, OutOfMemoryError, EngineError, WeightsError
        As :func:`napari_nst.transfer_style`.
    """
    chosen = METHODS.get(method)
    if chosen is None:
        raise ParameterError(f"method: {method!r} is not a choice; choose one of {', '.join(METHODS)}.")
    scale = _range("value_range", value_range)
    style_scale = scale if style_value_range is None else _range("style_value_range", style_value_range)
    about: dict[str, Any] = {"method": chosen.name, "value_range": list(scale)}
    picture = _picture(target, "target")
    if chosen.function is None:
        return Enhanced(picture.copy(), None, "done", about)
    if style is None:
        raise ParameterError(
            f"The method {chosen.name!r} needs a style; give a better patch, or take the method 'none'."
        )
    request = _Request(
        picture,
        _picture(style, "style"),
        _mask(target_mask, picture),
        _mask(style_mask, np.asarray(style)),
        scale,
        style_scale,
        {} if parameters is None else parameters,
        cancel,
        callback,
    )
    made = chosen.function(request)
    metadata = {**made.metadata, **about, "style_value_range": list(style_scale)}
    return Enhanced(made.image, made.losses, made.stopped, metadata)


def _transferred(request: _Request, **start: Any) -> Enhanced:
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.transfer.api import transfer_style

    StyleTransferParameters(**request.parameters)  # other arguments of a transfer are not the caller's to give
    result = transfer_style(
        request.target,
        request.style,
        callback=request.callback,
        cancel=request.cancel,
        mask=request.target_mask,
        style_mask=request.style_mask,
        style_value_range=request.style_value_range,
        **start,
        **{**request.parameters, "value_range": request.value_range},
    )
    return Enhanced(result.image, result.losses, result.stopped, result.metadata)


def _started_and_transferred(request: _Request) -> Enhanced:
    # The start and the content are what the method is: a preset that has others gives way.
    own = {**request.parameters, "content_from": "target"}
    return _transferred(replace(request, parameters=own), initial="spectrum")


def _matched(request: _Request, match: Callable[..., NDArray[np.float64]]) -> Enhanced:
    if as_cancel(request.cancel)():
        return Enhanced(request.target.copy(), None, "cancelled", {})
    unit = to_unit(request.target, request.value_range)
    mask = np.ones(unit.shape, dtype=bool) if request.target_mask is None else request.target_mask
    wanted = match(
        unit,
        to_unit(request.style, request.style_value_range),
        mask=request.target_mask,
        style_mask=request.style_mask,
    )
    # As after a style transfer: nothing beyond black and white that was not there before.
    used = unit[mask]
    wanted = np.clip(wanted, min(0.0, used.min()), max(1.0, used.max()))
    change = np.zeros_like(unit)
    change[mask] = wanted[mask] - used
    image = apply_change(request.target, change, request.value_range)
    return Enhanced(image.astype(request.target.dtype, copy=False), None, "done", {})  # the byte order, too


def _histogram(request: _Request) -> Enhanced:
    return _matched(_grey(request, "histogram"), match_histogram)


def _spectrum(request: _Request) -> Enhanced:
    return _matched(_grey(request, "spectrum"), match_spectrum)


#: Every method by its name.
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method("nst", "Neural style transfer, with any preset.", True, _transferred),
            Method("histogram", "The style's histogram; every grey level keeps its rank.", True, _histogram),
            Method(
                "spectrum",
                "The style's radial power spectrum, mean and contrast, by a linear filter that keeps every phase.",
                True,
                _spectrum,
            ),
            Method(
                "spectrum+nst",
                "Neural style transfer that starts from the result of 'spectrum'; the content is the target's.",
                True,
                _started_and_transferred,
            ),
            Method("none", "The patch as it is.", False, None),
        )
    }
)


def _range(name: str, value: tuple[float, float]) -> ValueRange:
    try:
        found = ValueRange(*(float(v) for v in value))
    except (TypeError, ValueError):
        found = ValueRange(math.nan, math.nan)
    if not 0 < found.span < math.inf:
        raise ParameterError(f"{name}: {value!r} is not a range; give two finite numbers, the lower first.")
    return found


def _picture(image: ArrayLike, role: str) -> NDArray[Any]:
    array = np.asarray(image)
    check_dtype(array.dtype, role)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(f"The {role} has shape {array.shape}; a patch is grey (H, W) or RGB (H, W, 3).")
    return array


def _mask(mask: ArrayLike | None, picture: NDArray[Any]) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    used = check_mask(mask, picture.shape[:2])
    return None if used.all() else used


def _grey(request: _Request, name: str) -> _Request:
    for role, array in (("target", request.target), ("style", request.style)):
        if array.ndim == 3:
            raise ImageError(
                f"The {role} is RGB, shape {array.shape}, and the method {name!r} would change its colours: channels matched one by "
                "one no longer fit together. Pass a grey picture, or take the method 'nst'."
            )
    return request
