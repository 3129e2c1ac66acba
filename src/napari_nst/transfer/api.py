"""Style transfer on arrays: the one way into the engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

from napari_nst.engine.optimization import Cancel
from napari_nst.errors import ImageError, ParameterError
from napari_nst.transfer.result import Losses, StyleTransfer, TransferProgress
from napari_nst.transfer.stack import Transfer, steps_of_all

__all__ = ["Losses", "StyleTransfer", "TransferProgress", "transfer_steps", "transfer_style"]


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
    initial: str | None = None,
    out: Any = None,
    **parameters: Any,
) -> Any:
    """Give a target picture the texture of a style picture.

    Parameters
    ----------
    target : array or sequence of arrays
        (y, x), (y, x, 3), (y, x, 4), or a stack of these with leading axes, processed plane by plane; NumPy, Dask, or
        anything with shape, dtype and slices such as zarr; any integer or float type.  What does not fit the memory in
        one piece is computed in tiles, exactly (parameter ``tile``; docs/large-images.md).  A list or tuple of targets gives a list of results; those of one size are
        optimised side by side (parameter ``batch``), each with its own style and end.
    style : array or sequence of arrays
        The same kinds; may differ from the target in size, type, range and colour.  One plane serves all planes of
        a stack; a stack of the same leading shape is taken plane by plane.
    callback : callable, optional
        Called with a :class:`TransferProgress` after every step, and of a picture in tiles after every tile.
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
        Whether the last axis is colour; by default it is when it has 3 or 4 entries.
    initial : "spectrum", optional
        Start from the target filtered to the style's radial power spectrum, mean and standard deviation
        (:func:`napari_nst.imaging.spectrum.match_spectrum`, channel by channel) instead of from where the parameter
        ``init`` says. The content is that of the target itself, unless the parameter ``content_from`` says otherwise.
    out : array, optional
        With shape and dtype of the target and assignment by slices, such as a zarr array or a memory map: the result
        is written there band by band and is its ``image``.  For a single target, not a list.
    **parameters
        The fields of :class:`napari_nst.StyleTransferParameters`: ``preset="texture"``, ``alpha=2.0``...

    Returns
    -------
    StyleTransfer or list of StyleTransfer
        The picture, its losses and its record.

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
    options = {
        "mask": mask,
        "style_mask": style_mask,
        "pixel_size": pixel_size,
        "style_pixel_size": style_pixel_size,
        "style_value_range": style_value_range,
        "rgb": rgb,
        "style_rgb": style_rgb,
        "initial": initial,
    }
    if isinstance(target, (list, tuple)):
        if out is not None:
            raise ParameterError("out: with a list of targets there are several results; run them one by one.")
        styles = style if isinstance(style, (list, tuple)) else [style] * len(target)
        if len(styles) != len(target):
            raise ImageError(f"{len(target)} targets and {len(styles)} styles: give one style, or one for each target.")
        pairs = zip(target, styles, strict=True)
        return _drive(steps_of_all([Transfer(t, s, cancel, options, parameters) for t, s in pairs]), callback)
    return _drive(Transfer(target, style, cancel, options, parameters, out).steps(), callback)


def _drive(steps: Generator[TransferProgress, None, Any], callback: Callable[[TransferProgress], object] | None) -> Any:
    # Closed also when the callback raises: the thread count is given back then and not whenever it is collected.
    with contextlib.closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return end.value
            if callback is not None:
                callback(progress)


def transfer_steps(
    target: Any,
    style: Any,
    *,
    cancel: Cancel | None = None,
    mask: Any = None,
    style_mask: Any = None,
    pixel_size: float | tuple[float, float] | None = None,
    style_pixel_size: float | tuple[float, float] | None = None,
    style_value_range: str | tuple[float, float] | None = None,
    rgb: bool | None = None,
    style_rgb: bool | None = None,
    initial: str | None = None,
    out: Any = None,
    **parameters: Any,
) -> Generator[TransferProgress, None, StyleTransfer]:
    """The same as a generator: yields a :class:`TransferProgress` per step and returns the StyleTransfer."""
    options = {
        "mask": mask,
        "style_mask": style_mask,
        "pixel_size": pixel_size,
        "style_pixel_size": style_pixel_size,
        "style_value_range": style_value_range,
        "rgb": rgb,
        "style_rgb": style_rgb,
        "initial": initial,
    }
    return (yield from Transfer(target, style, cancel, options, parameters, out).steps())
