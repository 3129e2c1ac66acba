"""Layers that show what a run changed: the signed difference, and a checkerboard of target and result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import ImageError, ParameterError, StyleTransferError
from napari_nst.imaging.planes import luminance
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common.layers import plain

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["TRANSFORMS", "add_checkerboard", "add_difference", "checkerboard", "symmetric_limit"]

#: What places a layer in the world.
TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
#: Farther than this from a whole pixel, two layers do not share their pixels.
_TOLERANCE = 0.01
_PERCENTILE = 99.5
_PLANES_LOOKED_AT = 5


def checkerboard(one: Any, other: Any, size: int, rgb: bool = False) -> Any:
    """Cut two pictures into squares and take them in turn.

    Parameters
    ----------
    one, other : array
        (..., y, x), or (..., y, x, colours) if `rgb`, of equal shape; NumPy, or Dask, which stays lazy.
    size : int
        Side of a square in pixels.
    rgb : bool
        Whether the last axis is colour.

    Returns
    -------
    array
        The pixel (y, x) is that of `one` where ``y // size + x // size`` is even, of `other` where it is odd.

    Raises
    ------
    ImageError, ParameterError
        The shapes differ, or `size` is less than 1.
    """
    if one.shape != other.shape:
        raise ImageError(f"A checkerboard needs two pictures of one shape, not {one.shape} and {other.shape}.")
    if size < 1:
        raise ParameterError(f"size={size} is no square; give at least 1 pixel.")
    height, width = one.shape[-3:-1] if rgb else one.shape[-2:]
    first = (np.arange(height)[:, None] // size + np.arange(width) // size) % 2 == 0
    return np.where(first[..., None] if rgb else first, one, other)


def add_checkerboard(viewer: ViewerModel, target_layer: Image, result_layer: Image, squares: int = 8) -> Image:
    """Add a layer in which squares of target and result alternate, beginning with the target at the upper left.

    Parameters
    ----------
    viewer : napari.Viewer
        Gets the layer.
    target_layer, result_layer : Image
        The result may be a plane or a region of the target: the target's pixels under it are taken.
    squares : int
        About as many along the shorter side.

    Returns
    -------
    Image
        It lies on the result and is shown as the target is. Of a stack it has all planes, each of them computed when
        it is looked at.

    Raises
    ------
    StyleTransferError
        When the result does not lie on pixels of the target.
    """
    viewer, target, result = plain(viewer), plain(target_layer), plain(result_layer)
    if target.rgb != result.rgb:
        raise StyleTransferError(
            f"Of {target.name!r} and {result.name!r} only one is RGB; convert it to grey to mix them in a checkerboard."
        )
    # The squares lie in the plane that is shown, whichever axes make it.
    shown = [axis - viewer.dims.ndim + result.ndim for axis in sorted(viewer.dims.order[-2:])]
    plane = [result.ndim - 2, result.ndim - 1]
    shown = shown if min(shown) >= 0 else plane
    below, above = (_lazy(np.moveaxis(array, shown, plane), target.rgb) for array in _matched(viewer, target, result))
    shorter = min(below.shape[result.ndim - 2 : result.ndim])
    squared = checkerboard(below, above, max(1, math.ceil(shorter / squares)), target.rgb)
    look = (
        {}
        if target.rgb
        else {"contrast_limits": target.contrast_limits, "colormap": target.colormap, "gamma": target.gamma}
    )
    return viewer.add_image(
        np.moveaxis(squared, plane, shown),
        name=f"checkerboard of {target.name} and {result.name}",
        rgb=target.rgb,
        metadata=_note("checkerboard", target, result),
        **look,
        **_place(result),
    )


def add_difference(viewer: ViewerModel, target_layer: Image, result_layer: Image) -> Image:
    """Add a layer with result - target, in the target's grey levels.

    Parameters
    ----------
    viewer : napari.Viewer
        Gets the layer.
    target_layer, result_layer : Image
        The result may be a plane or a region of the target: the target's pixels under it are taken. Of RGB, the
        luminance is compared.

    Returns
    -------
    Image
        float32, blue where the result is darker and red where it is brighter, with limits that are symmetric about 0
        and hold 99.5 % of the pixels. It lies on the result. Of a stack it has all planes, each of them computed
        when it is looked at.

    Raises
    ------
    StyleTransferError
        When the result does not lie on pixels of the target.
    """
    viewer, target, result = plain(viewer), plain(target_layer), plain(result_layer)
    below, above = _matched(viewer, target, result)
    before, after = _grey(_lazy(below, target.rgb), target.rgb), _grey(_lazy(above, result.rgb), result.rgb)
    # float64 holds all differences of integers up to 32 bits, and does not wrap around as unsigned ones do.
    change = (after.astype(np.float64) - before.astype(np.float64)).astype(np.float32)
    limit = symmetric_limit(change)
    layer = viewer.add_image(
        change,
        name=f"difference of {result.name} and {target.name}",
        rgb=False,
        colormap="coolwarm",
        contrast_limits=(-limit, limit),
        metadata=_note("difference", target, result),
        **_place(result),
    )
    layer.colorbar.size = (20, 220)  # high enough for more labels than that of 0
    layer.colorbar.visible = True
    return layer


def _matched(viewer: ViewerModel, target: Image, result: Image) -> tuple[Any, Any]:
    """The target's pixels under the result, and the result's."""
    below, above = _finest(target), _finest(result)
    lead = target.ndim - result.ndim
    pair = f"The result {result.name!r} and the target {target.name!r}"
    if lead < 0:
        raise StyleTransferError(f"{pair} have {result.ndim} and {target.ndim} axes; choose the target it was made of.")
    if [str(unit) for unit in target.units[lead:]] != [str(unit) for unit in result.units]:
        raise StyleTransferError(f"{pair} have different units; give both layers the same ones.")
    index = _plane_index(viewer, target, result)[:lead]
    shape, span = below.shape[: target.ndim], np.array(above.shape[: result.ndim])
    # The corners at the ends of the axes fix an affine map; with the others in line, so are all pixels.
    corners = np.vstack([np.zeros(result.ndim), np.diag(span - 1.0)])
    leading = np.asarray(target.data_to_world([*index, *[0] * result.ndim]))[:lead]
    on_target = np.array([target.world_to_data([*leading, *result.data_to_world(corner)]) for corner in corners])
    offset = np.rint(on_target[0]).astype(int)
    expected = offset + np.hstack([np.zeros((len(corners), lead)), corners])
    if np.abs(on_target - expected).max() > _TOLERANCE:
        raise StyleTransferError(
            f"{pair} do not share their pixels: one was moved, scaled or turned by less or more than whole pixels. Put "
            "it back, or run again."
        )
    sizes = np.concatenate([np.ones(lead, int), span])
    if (offset < 0).any() or (offset + sizes > shape).any():
        raise StyleTransferError(
            f"{pair} do not lie on each other: the result begins at pixel {tuple(map(int, offset))} of the target and is "
            f"{tuple(map(int, sizes))} pixels large, the target {tuple(map(int, shape))}. Move it back, or run again."
        )
    region = (*map(int, offset[:lead]), *(slice(int(o), int(o + n)) for o, n in zip(offset[lead:], span, strict=True)))
    return below[region], above


def _plane_index(viewer: ViewerModel, target: Image, result: Image) -> tuple[int, ...]:
    """Which plane of a stack a flat result belongs to: the recorded one, else the one that is looked at."""
    record = result.metadata.get(KEY, {})
    source = record.get("layers_source", {}) if isinstance(record, Mapping) else {}
    index = source.get("target", {}).get("index")
    if index is not None:
        return tuple(index) if isinstance(index, (list, tuple)) else (int(index),)
    point = np.rint(target.world_to_data(viewer.dims.point[-target.ndim :])).astype(int)
    return tuple(int(i) for i in np.clip(point, 0, np.array(_finest(target).shape[: target.ndim]) - 1))


def _finest(layer: Image) -> Any:
    return layer.data[0] if layer.multiscale else layer.data


def _place(layer: Image) -> dict[str, Any]:
    return {key: getattr(layer, key) for key in TRANSFORMS}


def _note(kind: str, target: Image, result: Image) -> dict[str, Any]:
    return {"napari_nst_view": {"kind": kind, "target": target.name, "result": result.name}}


def _lazy(array: Any, rgb: bool) -> Any:
    """A single picture at once; a stack as Dask, plane by plane, so that a large one costs nothing yet."""
    flat = 3 if rgb else 2
    if math.prod(array.shape[:-flat]) == 1:
        return np.asarray(array)
    import dask.array as da

    planes = (1,) * (array.ndim - flat) + tuple(array.shape[-flat:])
    return array.rechunk(planes) if isinstance(array, da.Array) else da.from_array(array, chunks=planes)


def _grey(array: Any, rgb: bool) -> Any:
    if not rgb:
        return array
    if isinstance(array, np.ndarray):
        return luminance(array[..., :3])
    return array[..., :3].map_blocks(luminance, drop_axis=array.ndim - 1, dtype=np.float64)


def symmetric_limit(change: Any) -> float:
    """A limit that is not zero and that a few extreme pixels do not set."""
    if change.ndim > 2:
        stack = change.reshape(-1, *change.shape[-2:])
        chosen = np.unique(np.linspace(0, len(stack) - 1, _PLANES_LOOKED_AT).round().astype(int))
        change = np.stack([np.asarray(stack[int(plane)]) for plane in chosen])
    sizes = np.abs(change[np.isfinite(change)])
    if sizes.size == 0:
        return 1.0
    limit = float(np.percentile(sizes, _PERCENTILE)) or float(sizes.max())
    return limit or 1.0
