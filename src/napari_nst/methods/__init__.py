"""The ways to enhance an image, behind one function: target, style or None, and options in, an image and its record out.

To add a method, write one module here, as `histogram.py`: a function from :class:`~napari_nst.methods.base.Input` and
:class:`~napari_nst.methods.base.Options` to :class:`~napari_nst.methods.base.Enhanced`, and a
:class:`~napari_nst.methods.base.Method` with its name. Register it in `METHODS` below, and name it in the choices of the
setting ``method`` (`settings/session.py`), which cannot import this package; a test compares the two. Sessions, the
command line, the widget and `MDRNNPreProcessor` then offer it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from napari_nst.engine.cancel import Cancel
from napari_nst.errors import ParameterError
from napari_nst.methods.base import Enhanced, Input, Method, Options, checked_range
from napari_nst.methods.histogram import HISTOGRAM
from napari_nst.methods.none import NONE
from napari_nst.methods.nst import NST, SPECTRUM_NST
from napari_nst.methods.spectrum import SPECTRUM

if TYPE_CHECKING:
    from napari_nst.transfer.api import TransferProgress

__all__ = ["METHODS", "Enhanced", "Method", "enhance_patch"]

#: Every method by its name.
METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (NST, HISTOGRAM, SPECTRUM, SPECTRUM_NST, NONE)}
)


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
    """Enhance a patch, (H, W) of any integer or float dtype, by one of the `METHODS`; it is not changed itself.

    The style is of the same kind, and of any size and dtype; "none" needs none. "nst", "spectrum+nst" and "none" take
    (H, W, 3), too. Masks, (H, W), are not 0 where a pixel is used; the others take no part, and those of the target
    keep their values. The value ranges are the gray levels of the images from which the patches come that count as
    black and white; by default the style has the target's. `parameters` are fields of
    :class:`napari_nst.StyleTransferParameters`, which methods without a style transfer ignore. A method without steps
    asks `cancel` once, and then gives the patch as it was.

    Where nothing changed, a value of the result is the original to the last bit.

    Raises
    ------
    ParameterError
        An unknown method or parameter, a value range that cannot be used, or no style where one is needed.
    ImageError
        A patch or mask cannot be used; the message says why.
    DivergenceError, OutOfMemoryError, EngineError, WeightsError
        As :func:`napari_nst.transfer_style`.
    """
    chosen = METHODS.get(method)
    if chosen is None:
        raise ParameterError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}.")
    limits = checked_range("value_range", value_range)
    style_limits = limits if style_value_range is None else checked_range("style_value_range", style_value_range)
    image, other = Input.checked("target", target, target_mask, limits), None
    record: dict[str, Any] = {"method": chosen.name, "value_range": list(limits)}
    if chosen.uses_style:
        if style is None:
            raise ParameterError(f"The method {method!r} needs a style, got None. Give a better patch, or take 'none'.")
        other = Input.checked("style", style, style_mask, style_limits)
        record["style_value_range"] = list(style_limits)
    made = chosen.function(image, other, Options(parameters or {}, cancel, callback))
    return Enhanced(made.image, made.losses, made.stopped, {**made.metadata, **record})
