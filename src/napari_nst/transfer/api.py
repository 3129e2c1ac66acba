"""Style transfer on arrays: the one way into the engine."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator
from typing import Any

from napari_nst.engine.cancel import Cancel
from napari_nst.errors import DivergenceError, ImageError, ParameterError, StyleTransferWarning
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.options import TransferOptions
from napari_nst.transfer.result import Losses, StyleTransfer, TransferNotice, TransferProgress
from napari_nst.transfer.stack import Transfer, results_of, run_transfers

__all__ = [
    "Losses",
    "StyleTransfer",
    "TransferNotice",
    "TransferProgress",
    "transfer_events",
    "transfer_steps",
    "transfer_style",
]


def transfer_style(
    target: Any,
    style: Any,
    *,
    callback: Callable[[TransferProgress], object] | None = None,
    cancel: Cancel | None = None,
    mask: Any = None,
    style_mask: Any = None,
    pixel_size: float | tuple[float, float] | None = None,
    style_pixel_size: float | tuple[float, float] | None = None,
    style_value_range: str | tuple[float, float] | None = None,
    rgb: bool | None = None,
    style_rgb: bool | None = None,
    out: Any = None,
    **parameters: Any,
) -> Any:
    """Give a target image the texture of a style image.

    Parameters
    ----------
    target : array or sequence of arrays
        (y, x), (y, x, 3), (y, x, 4), or a stack of these with leading axes, processed plane by plane; NumPy, Dask, or
        anything with shape, dtype and slices such as zarr; any integer or float type.  What does not fit the memory in
        one piece is computed in tiles, exactly (parameter ``tile``; docs/large-images.md).  A list or tuple of targets
        gives a list of results; those of one size run as a batch (parameter ``batch``), each with its own style and end.
    style : array or sequence of arrays
        The same kinds; may differ from the target in size, type, range and color.  One plane serves all planes of
        a stack; a stack of the same leading shape is taken plane by plane.
    callback : callable, optional
        Called with a :class:`TransferProgress` after every iteration, and of an image in tiles after every tile.
    cancel : threading.Event or callable, optional
        Asked before every evaluation; when set (or when it returns True) the partial result is returned.
    mask, style_mask : array or "border", optional
        (y, x): pixels that are True or not 0 are used; the others are kept out of all statistics, and of the target
        they keep their values.  "border" leaves out the black border of a registered montage.
    pixel_size, style_pixel_size : float or (float, float), optional
        Size of a pixel along y and x, both in the same unit.  Where both are given and differ, the style is resampled
        to the target's (see the parameter ``match_pixel_size``).
    style_value_range : str or (low, high), optional
        As the parameter ``value_range``, for the style alone.
    rgb, style_rgb : bool, optional
        Whether the last axis is color; by default it is when it has 3 or 4 entries.
    out : array, optional
        With shape and dtype of the target and assignment by slices, such as a zarr array or a memory map: the result
        is written there band by band and is its ``image``.  For a single target, not a list.
    **parameters
        The fields of :class:`napari_nst.StyleTransferParameters`: ``preset="texture"``, ``alpha=2.0``... Or, in place of
        all of them, ``parameters=``: such an object, which is not checked again.

    Returns
    -------
    StyleTransfer or list of StyleTransfer
        The image, its losses and its record.

    Raises
    ------
    ParameterError, ImageError, WeightsError
        When something that was passed cannot be used.
    DivergenceError, OutOfMemoryError, EngineError
        When the computation fails; a DivergenceError carries the last good result as ``partial`` (of a list of targets,
        the list of all results: the others are finished first).

    Examples
    --------
    >>> from napari_nst import mosaic_pair, transfer_style
    >>> pair = mosaic_pair((64, 64))
    >>> result = transfer_style(pair.target, pair.style, preset="texture", epoch=2, threads=1)
    >>> result.image.shape, result.image.dtype, result.stopped
    ((64, 64), dtype('uint8'), 'finished')
    """
    options = TransferOptions(
        mask=mask,
        style_mask=style_mask,
        pixel_size=pixel_size,
        style_pixel_size=style_pixel_size,
        style_value_range=style_value_range,
        rgb=rgb,
        style_rgb=style_rgb,
        out=out,
    )
    several = isinstance(target, (list, tuple))
    targets = target if several else [target]
    styles = style if several and isinstance(style, (list, tuple)) else [style] * len(targets)
    if several and out is not None:
        raise ParameterError("out: with a list of targets there are several results; run them one by one.")
    if len(styles) != len(targets):
        raise ImageError(f"{len(targets)} targets and {len(styles)} styles: give one style, or one for each target.")
    checked = _checked(parameters)
    transfers = [Transfer(*pair, checked, options, k) for k, pair in enumerate(zip(targets, styles, strict=True))]
    # Closed also when the callback raises: the thread count is given back then and not whenever it is collected.
    with contextlib.closing(run_transfers(transfers, cancel)) as events:
        for event in events:
            if isinstance(event, TransferNotice):
                warnings.warn(event.message, StyleTransferWarning, stacklevel=2)
            elif callback is not None:
                callback(event)
    return results_of(transfers) if several else _only(transfers)


def transfer_steps(
    target: Any, style: Any, *, cancel: Cancel | None = None, **arguments: Any
) -> Generator[TransferProgress, None, StyleTransfer]:
    """Do the same as a generator, for one target: yield a TransferProgress per iteration and return the StyleTransfer.

    Parameters
    ----------
    target, style, cancel, **arguments
        As :func:`transfer_style` takes them.
    """
    transfer = _transfer(target, style, arguments)
    for event in run_transfers([transfer], cancel):
        if isinstance(event, TransferNotice):
            warnings.warn(event.message, StyleTransferWarning, stacklevel=2)
        else:
            yield event
    return _only([transfer])


def transfer_events(
    target: Any, style: Any, *, cancel: Cancel | None = None, **arguments: Any
) -> Generator[TransferProgress | TransferNotice, None, StyleTransfer]:
    """Do the same, but yield messages to the user as a TransferNotice instead of raising Python warnings."""
    transfer = _transfer(target, style, arguments)
    yield from run_transfers([transfer], cancel)
    return _only([transfer])


def _transfer(target: Any, style: Any, arguments: dict[str, Any]) -> Transfer:
    options, parameters = TransferOptions.split(arguments)
    return Transfer(target, style, _checked(parameters), options)


def _only(transfers: list[Transfer]) -> StyleTransfer:
    try:
        return results_of(transfers)[0]
    except DivergenceError as error:
        error.partial = error.partial[0]
        raise


def _checked(parameters: dict[str, Any]) -> StyleTransferParameters:
    """Check the parameters, once: ``parameters=`` has been. ``initial=`` was a second name of ``init=``."""
    checked = parameters.pop("parameters", None)
    if isinstance(checked, StyleTransferParameters) and not parameters:
        return checked
    if checked is not None:
        raise ParameterError(
            f"`parameters` must be a StyleTransferParameters and stand alone, got {type(checked).__name__} and "
            f"{', '.join(parameters) or 'nothing'} beside it. Pass parameters.replace(...), or the fields themselves."
        )
    initial = parameters.pop("initial", None)
    if initial is None:
        return StyleTransferParameters(**parameters)
    warnings.warn(
        f"initial={initial!r} is now init={initial!r}; initial goes with the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
    if isinstance(initial, str) and parameters.get("init", initial) != initial:
        raise ParameterError(
            f"initial={initial!r} and init={parameters['init']!r} are two starts for one run; give init alone."
        )
    return StyleTransferParameters(**{**parameters, "init": initial})
