"""Looking at a result beside what it was made of: side by side in napari's grid and back, difference, checkerboard."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_nst.errors import ImageError, StyleTransferError
from napari_nst.imaging.planes import luminance
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common.layers import TRANSFORMS, plain
from napari_nst.viewer.common.region import finest

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

_GRID = ("shape", "stride", "spacing", "enabled")
_DIMS = ("ndisplay", "order", "point")
_CAMERA = ("angles", "zoom", "center", "perspective")
_SHARED = ("contrast_limits", "gamma")

#: Farther than this from a whole pixel, two layers do not share their pixels.
_TOLERANCE = 0.01
_PERCENTILE = 99.5
_PLANES_LOOKED_AT = 5

_partners: weakref.WeakKeyDictionary[Layer, tuple[weakref.ref[Layer], weakref.ref[Layer] | None]]
_partners = weakref.WeakKeyDictionary()
_comparisons: weakref.WeakKeyDictionary[ViewerModel, SideBySide] = weakref.WeakKeyDictionary()


def remember(result_layer: Layer, target_layer: Layer, style_layer: Layer | None = None) -> None:
    """Note which layers a result came from, by weak reference: renaming them does not matter."""
    style = None if style_layer is None else weakref.ref(plain(style_layer))
    _partners[plain(result_layer)] = (weakref.ref(plain(target_layer)), style)


def partners(viewer: ViewerModel, result_layer: Layer) -> tuple[Image | None, Image | None]:
    """Find the target and style that a result came from; None for one that is not in the viewer.

    Layers that were not remembered (the record came with a file, say) are taken by the recorded name, if they are large
    enough.
    """
    viewer, result = plain(viewer), plain(result_layer)
    found: list[Any] = []
    for role, known in zip(("target", "style"), _partners.get(result, (None, None)), strict=True):
        layer = known() if known is not None else None
        found.append(layer if layer in viewer.layers else _by_name(viewer, result, role))
    return found[0], found[1]


def _record(result: Layer) -> Mapping[str, Any]:
    record = result.metadata.get(KEY)
    return record if isinstance(record, Mapping) else {}


def _by_name(viewer: ViewerModel, result: Layer, role: str) -> Layer | None:
    from napari.layers import Image

    record = _record(result)
    name = record.get("layers", {}).get(role)
    wanted = tuple(record.get(role, {}).get("shape", ()))
    for layer in viewer.layers:
        if layer.name != name or layer == result or not isinstance(layer, Image):
            continue
        shape = finest(layer).shape
        # What was used may be a plane or a region of the layer.
        if len(shape) >= len(wanted) and all(a >= b for a, b in zip(shape[::-1], wanted[::-1], strict=False)):
            return layer
    return None


class SideBySide:
    """Target, style and result beside each other in the grid of a viewer.

    Use :func:`comparison_of`: a viewer has one comparison, however many buttons and commands ask for it.

    All cells of the grid share one camera. A style that lies elsewhere in the world is therefore moved over the target
    while the comparison lasts. The result takes the target's contrast limits, and stays linked to them meanwhile.
    A layer that is added ends the comparison, since it would otherwise appear on top of the target.
    """

    #: Emitted with True when a comparison starts and with False when it ends.
    changed = Signal(bool)

    def __init__(self, viewer: ViewerModel) -> None:
        viewer = plain(viewer)
        self._viewer = weakref.ref(viewer)
        self._undo: ExitStack | None = None
        self._linked: list[weakref.ref[Layer]] = []
        viewer.layers.events.inserted.connect(self.stop)

    @property
    def active(self) -> bool:
        """Whether layers are being compared."""
        return self._undo is not None

    def start(self, target_layer: Image, style_layer: Image | None, result_layer: Image) -> None:
        """Show target | style | result from left to right, and nothing else; without a style there are two cells.

        Raises StyleTransferError when one of them is not in the viewer, or two are the same.
        """
        viewer = self._viewer()
        target, style, result = plain(target_layer), plain(style_layer), plain(result_layer)
        trio: list[Any] = [layer for layer in (target, style, result) if layer is not None]
        if viewer is None:
            raise StyleTransferError("The viewer is closed, so nothing can be compared in it.")
        for layer in trio:
            if layer not in viewer.layers:
                raise StyleTransferError(f"The layer {layer.name!r} is not in this viewer; choose one that is.")
        if len(set(trio)) < len(trio):
            raise StyleTransferError("Target, style and result must be different layers to be compared.")
        self.stop()

        # Undone in the reverse order: the camera, which everything else moves, comes last.
        undo = self._undo = ExitStack()
        _restore_later(undo, viewer.scene.camera, _CAMERA)
        _restore_later(undo, viewer.dims, _DIMS)
        _restore_later(undo, viewer.canvas.grid, _GRID)
        for layer in viewer.layers:
            _restore_later(undo, layer, ("visible",))
            _restore_later(undo, layer.name_overlay, ("visible", "font_size"))
        stride = self._arrange(viewer, trio, undo)
        if style is not None:
            _move_over(viewer, style, target, undo)
        if not (target.rgb or result.rgb):
            self._share_contrast(target, result, undo)
        for layer in viewer.layers:
            layer.visible = layer in trio
            if layer in trio:
                layer.name_overlay.visible = True
        grid = viewer.canvas.grid
        grid.stride, grid.shape, grid.spacing, grid.enabled = stride, (1, len(trio)), 0.02, True
        # The size in points, within what can be read, at which the longest name fits into the width of a cell.
        width, longest = viewer.canvas.viewbox_size(viewer.layers)[1], max(1, *(len(layer.name) for layer in trio))
        size = float(np.clip((width - 20) / (0.9 * longest), 6, 10))
        for layer in trio:
            layer.name_overlay.font_size = min(size, layer.name_overlay.font_size)
        fit_layers(viewer, trio)
        self.changed.emit(True)

    def stop(self) -> None:
        """Put the view back exactly as it was; does nothing when no comparison is active."""
        undo, self._undo = self._undo, None
        if undo is None:
            return
        if self._viewer() is not None:
            undo.close()
        self.changed.emit(False)

    def _arrange(self, viewer: ViewerModel, trio: list[Layer], undo: ExitStack) -> int:
        """Bring layers into an order in which the grid shows them from left to right; gives the grid's stride."""
        places = [viewer.layers.index(layer) for layer in trio]
        if places == sorted(places, reverse=True):
            return -1
        if places != sorted(places):
            # The grid goes by the list of layers, up or down; any other order must be made.
            before = [weakref.ref(layer) for layer in viewer.layers]
            wanted = list(viewer.layers)
            for place, layer in zip(sorted(places), trio, strict=True):
                wanted[place] = layer
            _reorder(viewer, wanted)
            undo.callback(self._arrange_back, before, [weakref.ref(layer) for layer in wanted])
        return 1

    def _arrange_back(self, before: list[weakref.ref[Layer]], arranged: list[weakref.ref[Layer]]) -> None:
        viewer = self._viewer()
        assert viewer is not None  # or nothing is undone
        now = list(viewer.layers)
        old = [layer for layer in _alive(before) if layer in now]
        # An order that somebody made meanwhile is theirs.
        if [layer for layer in now if layer in old] == [layer for layer in _alive(arranged) if layer in old]:
            order = iter(old)
            _reorder(viewer, [next(order) if layer in old else layer for layer in now])

    def _share_contrast(self, target: Image, result: Image, undo: ExitStack) -> None:
        # Not napari's link_layers: until it is undone, its registry keeps linked layers alive, closed viewer or not.
        before = {key: getattr(result, key) for key in (*_SHARED, "contrast_limits_range")}
        for key in _SHARED:
            setattr(result, key, getattr(target, key))
        shared = {key: getattr(result, key) for key in _SHARED}
        self._linked = [weakref.ref(target), weakref.ref(result)]
        for layer in (target, result):
            for key in _SHARED:
                layer.events[key].connect(self._follow)
        known = weakref.ref(result)

        def unshare() -> None:
            for layer in _alive(self._linked):
                for key in _SHARED:
                    layer.events[key].disconnect(self._follow)
            self._linked = []
            again = known()
            # Limits that somebody chose while comparing are kept.
            if again is not None and all(getattr(again, key) == value for key, value in shared.items()):
                for key, value in before.items():
                    setattr(again, key, value)

        undo.callback(unshare)

    def _follow(self, event: Any) -> None:
        for layer in _alive(self._linked):
            for key in _SHARED:
                value = getattr(event.source, key)
                if getattr(layer, key) != value:
                    setattr(layer, key, value)


def comparison_of(viewer: ViewerModel) -> SideBySide:
    """The comparison of a viewer, made when it is first asked for."""
    viewer = plain(viewer)
    if viewer not in _comparisons:
        _comparisons[viewer] = SideBySide(viewer)
    return _comparisons[viewer]


def _restore_later(undo: ExitStack, owner: Any, keys: Sequence[str]) -> None:
    """Have attributes put back; those of another number of axes would not fit any more."""
    known, before = weakref.ref(owner), {key: getattr(owner, key) for key in ("ndim", *keys) if hasattr(owner, key)}

    def restore() -> None:
        again, ndim = known(), before.pop("ndim", None)
        if again is not None and getattr(again, "ndim", None) == ndim:
            for key, value in before.items():
                setattr(again, key, value)

    undo.callback(restore)


def _alive(references: Sequence[weakref.ref[Layer]]) -> list[Layer]:
    return [layer for reference in references if (layer := reference()) is not None]


def _reorder(viewer: ViewerModel, wanted: Sequence[Layer]) -> None:
    for place, layer in enumerate(wanted):
        now = viewer.layers.index(layer)
        if now != place:
            viewer.layers.move(now, place)


def fit_layers(viewer: ViewerModel, trio: Sequence[Layer]) -> None:
    """Fill the canvas with some layers."""
    if max(layer.ndim for layer in trio) == viewer.dims.ndim:
        viewer.fit_to_view(layers=trio)
        return
    # Where another layer has more axes, napari 0.9.2 looks for the displayed axes at the wrong place (IndexError).
    if list(viewer.dims.displayed) != [viewer.dims.ndim - 2, viewer.dims.ndim - 1]:
        viewer.fit_to_view()
        return
    extents = np.stack([np.asarray(layer.extent.world)[:, -2:] for layer in trio])
    low, high = extents[:, 0].min(axis=0), extents[:, 1].max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    viewer.scene.camera.center = (0.0, *((low + high) / 2))
    viewer.scene.camera.zoom = 0.95 * float(np.min(np.asarray(viewer.canvas.viewbox_size(viewer.layers)) / size))


def _move_over(viewer: ViewerModel, layer: Image, onto: Image, undo: ExitStack) -> None:
    """Lay the middle of a layer on that of another, within the displayed axes."""
    if layer.ndim != onto.ndim or [str(u) for u in layer.units] != [str(u) for u in onto.units]:
        return
    away = np.asarray(onto.extent.world).mean(axis=0) - np.asarray(layer.extent.world).mean(axis=0)
    hidden = np.setdiff1d(np.arange(layer.ndim), np.asarray(viewer.dims.displayed) - (viewer.dims.ndim - layer.ndim))
    away[hidden] = 0
    if not away.any():
        return
    before = np.array(layer.translate)
    moved = before + np.linalg.solve(layer.affine.linear_matrix, away)
    layer.translate = moved
    known = weakref.ref(layer)

    def back() -> None:
        again = known()
        if again is not None and np.array_equal(again.translate, moved):
            again.translate = before

    undo.callback(back)


# Layers that show what a run changed -----------------------------------------------------------------------------------


def checkerboard(one: Any, other: Any, size: int, rgb: bool = False) -> Any:
    """Cut two images of equal shape, (..., y, x) or with colors behind them, into squares and take them in turn.

    The pixel (y, x) is that of `one` where ``y // size + x // size`` is even, else that of `other`.  Dask stays lazy.
    """
    if one.shape != other.shape:
        raise ImageError(f"A checkerboard needs two images of one shape, got {one.shape} and {other.shape}.")
    height, width = one.shape[-3:-1] if rgb else one.shape[-2:]
    first = (np.arange(height)[:, None] // size + np.arange(width) // size) % 2 == 0
    return np.where(first[..., None] if rgb else first, one, other)


def add_checkerboard(viewer: ViewerModel, target_layer: Image, result_layer: Image, squares: int = 8) -> Image:
    """Add a layer in which squares of target and result alternate, about so many along the shorter side.

    The target is first, at the upper left.  The layer lies on the result, which may be a plane or a region of the
    target, and is shown as the target is.  Of a stack it has all planes, each computed when it is looked at.
    StyleTransferError when the result does not lie on pixels of the target.
    """
    viewer, target, result = plain(viewer), plain(target_layer), plain(result_layer)
    if target.rgb != result.rgb:
        raise StyleTransferError(
            f"Of {target.name!r} and {result.name!r} only one is RGB; convert it to gray to mix them in a checkerboard."
        )
    # The squares lie in the plane that is shown, whichever axes make it.
    shown = [axis - viewer.dims.ndim + result.ndim for axis in sorted(viewer.dims.order[-2:])]
    plane = [result.ndim - 2, result.ndim - 1]
    shown = shown if min(shown) >= 0 else plane
    below, above = (_lazy(np.moveaxis(array, shown, plane), target.rgb) for array in _matched(viewer, target, result))
    shorter = min(below.shape[result.ndim - 2 : result.ndim])
    squared = checkerboard(below, above, max(1, math.ceil(shorter / squares)), target.rgb)
    look = {} if target.rgb else {key: getattr(target, key) for key in (*_SHARED, "colormap")}
    return viewer.add_image(
        np.moveaxis(squared, plane, shown),
        name=f"checkerboard of {target.name} and {result.name}",
        rgb=target.rgb,
        **look,
        **_on_result("checkerboard", target, result),
    )


def add_difference(viewer: ViewerModel, target_layer: Image, result_layer: Image) -> Image:
    """Add a layer with result - target, in the target's gray levels; of RGB, of the luminance.

    float32, blue where the result is darker and red where it is brighter, with limits that are symmetric about 0 and hold
    99.5 % of the pixels.  It lies and is computed like the checkerboard, with the same errors.
    """
    viewer, target, result = plain(viewer), plain(target_layer), plain(result_layer)
    below, above = _matched(viewer, target, result)
    before, after = _gray(_lazy(below, target.rgb), target.rgb), _gray(_lazy(above, result.rgb), result.rgb)
    # float64 holds all differences of integers up to 32 bits, and does not wrap around as unsigned ones do.
    change = (after.astype(np.float64) - before.astype(np.float64)).astype(np.float32)
    limit = symmetric_limit(change)
    layer = viewer.add_image(
        change,
        name=f"difference of {result.name} and {target.name}",
        rgb=False,
        colormap="coolwarm",
        contrast_limits=(-limit, limit),
        **_on_result("difference", target, result),
    )
    layer.colorbar.size = (20, 220)  # high enough for more labels than that of 0
    layer.colorbar.visible = True
    return layer


def _matched(viewer: ViewerModel, target: Image, result: Image) -> tuple[Any, Any]:
    """The target's pixels under the result, and the result's."""
    below, above = finest(target), finest(result)
    lead = target.ndim - result.ndim
    pair = f"The result {result.name!r} and the target {target.name!r}"
    if lead < 0:
        raise StyleTransferError(f"{pair} have {result.ndim} and {target.ndim} axes. Choose the target it was made of.")
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
            f"{pair} do not share their pixels: one was moved, scaled or rotated by less or more than whole pixels. Put "
            "it back, or run again."
        )
    sizes = np.concatenate([np.ones(lead, int), span])
    if (offset < 0).any() or (offset + sizes > shape).any():
        raise StyleTransferError(
            f"{pair} do not lie on each other: the result starts at pixel {tuple(map(int, offset))} of the target and is "
            f"{tuple(map(int, sizes))} pixels large, the target {tuple(map(int, shape))}. Move it back, or run again."
        )
    region = (*map(int, offset[:lead]), *(slice(int(o), int(o + n)) for o, n in zip(offset[lead:], span, strict=True)))
    return below[region], above


def _plane_index(viewer: ViewerModel, target: Image, result: Image) -> tuple[int, ...]:
    """Which plane of a stack a flat result belongs to: the recorded one, else the one that is looked at."""
    index = _record(result).get("layers_source", {}).get("target", {}).get("index")
    if index is not None:
        return tuple(index) if isinstance(index, (list, tuple)) else (int(index),)
    point = np.rint(target.world_to_data(viewer.dims.point[-target.ndim :])).astype(int)
    return tuple(int(i) for i in np.clip(point, 0, np.array(finest(target).shape[: target.ndim]) - 1))


def _on_result(kind: str, target: Image, result: Image) -> dict[str, Any]:
    """Arguments for ``add_image`` that put a layer on a result, and note what it shows."""
    note = {"kind": kind, "target": target.name, "result": result.name}
    return {key: getattr(result, key) for key in TRANSFORMS} | {"metadata": {"napari_nst_view": note}}


def _lazy(array: Any, rgb: bool) -> Any:
    """A single image at once; a stack as Dask, plane by plane, so that a large one costs nothing yet."""
    flat = 3 if rgb else 2
    if math.prod(array.shape[:-flat]) == 1:
        return np.asarray(array)
    import dask.array as da

    planes = (1,) * (array.ndim - flat) + tuple(array.shape[-flat:])
    return array.rechunk(planes) if isinstance(array, da.Array) else da.from_array(array, chunks=planes)


def _gray(array: Any, rgb: bool) -> Any:
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
