"""Looking at a result beside what it was made of: target, style and result in napari's grid, and the way back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_nst.errors import StyleTransferError
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common.difference import add_checkerboard, add_difference, checkerboard
from napari_nst.viewer.common.layers import plain

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = [
    "Comparison",
    "add_checkerboard",
    "add_difference",
    "checkerboard",
    "comparison_of",
    "fit_layers",
    "partners",
    "remember",
]

_GRID = ("shape", "stride", "spacing", "enabled")
_DIMS = ("ndisplay", "order", "point")
_CAMERA = ("angles", "zoom", "center", "perspective")
_SHARED = ("contrast_limits", "gamma")

_partners: weakref.WeakKeyDictionary[Layer, tuple[weakref.ref[Layer], weakref.ref[Layer] | None]]
_partners = weakref.WeakKeyDictionary()
_comparisons: weakref.WeakKeyDictionary[ViewerModel, Comparison] = weakref.WeakKeyDictionary()


def remember(result_layer: Layer, target_layer: Layer, style_layer: Layer | None = None) -> None:
    """Note which layers a result came from, by weak reference: renaming them does not matter."""
    style = None if style_layer is None else weakref.ref(plain(style_layer))
    _partners[plain(result_layer)] = (weakref.ref(plain(target_layer)), style)


def partners(viewer: ViewerModel, result_layer: Layer) -> tuple[Image | None, Image | None]:
    """Find the layers that a result came from.

    Parameters
    ----------
    viewer : napari.Viewer
        Only its layers are found.
    result_layer : napari.layers.Image
        A layer that was remembered, or that carries the record of a run in its metadata.

    Returns
    -------
    target, style : Image or None
        None for one that is not in the viewer. Layers that were not remembered (the record came with a file, say)
        are taken by the recorded name, if they are large enough.
    """
    viewer, result = plain(viewer), plain(result_layer)
    record = result.metadata.get(KEY, {})
    if not isinstance(record, Mapping):
        record = {}
    found: list[Any] = []
    for role, known in zip(("target", "style"), _partners.get(result, (None, None)), strict=True):
        layer = known() if known is not None else None
        found.append(layer if layer in viewer.layers else _by_name(viewer, result, record, role))
    return found[0], found[1]


def _by_name(viewer: ViewerModel, result: Layer, record: Mapping[str, Any], role: str) -> Layer | None:
    from napari.layers import Image

    name = record.get("layers", {}).get(role)
    wanted = tuple(record.get(role, {}).get("shape", ()))
    for layer in viewer.layers:
        if layer.name != name or layer == result or not isinstance(layer, Image):
            continue
        shape = (layer.data[0] if layer.multiscale else layer.data).shape
        # What was used may be a plane or a region of the layer.
        if len(shape) >= len(wanted) and all(a >= b for a, b in zip(shape[::-1], wanted[::-1], strict=False)):
            return layer
    return None


@dataclass
class _View:
    """What a comparison changes, as it was before."""

    layers: list[weakref.ref[Layer]]
    visible: list[bool]
    named: list[tuple[bool, float]]
    grid: dict[str, Any]
    dims: dict[str, Any]
    camera: dict[str, Any]
    ndim: int
    shown: list[weakref.ref[Layer]]
    arranged: list[weakref.ref[Layer]] | None = None
    undo: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def of(cls, viewer: ViewerModel, trio: Sequence[Layer]) -> _View:
        layers = list(viewer.layers)
        return cls(
            [weakref.ref(layer) for layer in layers],
            [layer.visible for layer in layers],
            [(layer.name_overlay.visible, layer.name_overlay.font_size) for layer in layers],
            {key: getattr(viewer.canvas.grid, key) for key in _GRID},
            {key: getattr(viewer.dims, key) for key in _DIMS},
            {key: getattr(viewer.scene.camera, key) for key in _CAMERA},
            viewer.dims.ndim,
            [weakref.ref(layer) for layer in trio],
        )

    def put_back(self, viewer: ViewerModel) -> None:
        for step in reversed(self.undo):
            step()
        if self.arranged is not None:
            now, arranged = list(viewer.layers), _alive(self.arranged)
            before = [layer for layer in _alive(self.layers) if layer in now]
            # An order that somebody made meanwhile is theirs.
            if [layer for layer in now if layer in before] == [layer for layer in arranged if layer in before]:
                order = iter(before)
                _reorder(viewer, [next(order) if layer in before else layer for layer in now])
        for known, visible, named in zip(self.layers, self.visible, self.named, strict=True):
            layer = known()
            if layer is not None:
                layer.visible = visible
                layer.name_overlay.visible, layer.name_overlay.font_size = named
        for key, value in self.grid.items():
            setattr(viewer.canvas.grid, key, value)
        if viewer.dims.ndim == self.ndim:
            for key, value in self.dims.items():
                setattr(viewer.dims, key, value)
        for key, value in self.camera.items():
            setattr(viewer.scene.camera, key, value)


class Comparison:
    """Target, style and result beside each other in the grid of a viewer.

    Use :func:`comparison_of`: a viewer has one comparison, however many buttons and commands ask for it.

    Parameters
    ----------
    viewer : napari.Viewer
        Kept by weak reference.

    Notes
    -----
    All cells of the grid share one camera. A style that lies elsewhere in the world is therefore moved over the target
    while the comparison lasts. The result takes the target's contrast limits, and stays linked to them meanwhile.
    A layer that is added ends the comparison, since it would otherwise appear on top of the target.
    """

    #: Emitted with True when a comparison begins and with False when it ends.
    changed = Signal(bool)

    def __init__(self, viewer: ViewerModel) -> None:
        viewer = plain(viewer)
        self._viewer = weakref.ref(viewer)
        self._view: _View | None = None
        self._linked: list[weakref.ref[Layer]] = []
        viewer.layers.events.inserted.connect(self._on_inserted)

    @property
    def active(self) -> bool:
        """Whether layers are being compared."""
        return self._view is not None

    def toggle(self, target_layer: Image, style_layer: Image | None, result_layer: Image) -> bool:
        """End the comparison of these layers, or begin it; returns whether one is active now."""
        trio = [plain(layer) for layer in (target_layer, style_layer, result_layer) if layer is not None]
        if self._view is not None and _alive(self._view.shown) == trio:
            self.stop()
        else:
            self.start(target_layer, style_layer, result_layer)
        return self.active

    def start(self, target_layer: Image, style_layer: Image | None, result_layer: Image) -> None:
        """Show target | style | result from left to right, and nothing else.

        Parameters
        ----------
        target_layer, style_layer, result_layer : Image
            Layers of the viewer; without a style there are two cells.

        Raises
        ------
        StyleTransferError
            When one of them is not in the viewer, or two are the same.
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

        view = self._view = _View.of(viewer, trio)
        if style is not None:
            _move_over(viewer, style, target, view.undo)
        if not (target.rgb or result.rgb):
            self._share_contrast(target, result, view.undo)
        places = [viewer.layers.index(layer) for layer in trio]
        stride = -1 if places == sorted(places, reverse=True) else 1
        if stride == 1 and places != sorted(places):
            # The grid goes by the list of layers, up or down; any other order must be made.
            wanted = list(viewer.layers)
            for place, layer in zip(sorted(places), trio, strict=True):
                wanted[place] = layer
            _reorder(viewer, wanted)
            view.arranged = [weakref.ref(layer) for layer in wanted]
        for layer in viewer.layers:
            layer.visible = layer in trio
            if layer in trio:
                layer.name_overlay.visible = True
        grid = viewer.canvas.grid
        grid.stride, grid.shape, grid.spacing, grid.enabled = stride, (1, len(trio)), 0.02, True
        size = min(_fitting(layer.name, viewer.canvas.viewbox_size(viewer.layers)[1]) for layer in trio)
        for layer in trio:
            layer.name_overlay.font_size = min(size, layer.name_overlay.font_size)
        fit_layers(viewer, trio)
        self.changed.emit(True)

    def stop(self) -> None:
        """Put the view back exactly as it was; does nothing when no comparison is active."""
        view, self._view = self._view, None
        if view is None:
            return
        viewer = self._viewer()
        if viewer is not None:
            view.put_back(viewer)
        self.changed.emit(False)

    def _share_contrast(self, target: Image, result: Image, undo: list[Callable[[], None]]) -> None:
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

        undo.append(unshare)

    def _follow(self, event: Any) -> None:
        for layer in _alive(self._linked):
            for key in _SHARED:
                value = getattr(event.source, key)
                if getattr(layer, key) != value:
                    setattr(layer, key, value)

    def _on_inserted(self) -> None:
        self.stop()


def comparison_of(viewer: ViewerModel) -> Comparison:
    """The comparison of a viewer, made when it is first asked for."""
    viewer = plain(viewer)
    if viewer not in _comparisons:
        _comparisons[viewer] = Comparison(viewer)
    return _comparisons[viewer]


def _alive(references: Sequence[weakref.ref[Layer]]) -> list[Layer]:
    return [layer for reference in references if (layer := reference()) is not None]


def _reorder(viewer: ViewerModel, wanted: Sequence[Layer]) -> None:
    for place, layer in enumerate(wanted):
        now = viewer.layers.index(layer)
        if now != place:
            viewer.layers.move(now, place)


def _fitting(name: str, width: float) -> float:
    """The size in points, within what can be read, at which a name fits into a width in screen pixels."""
    return float(np.clip((width - 20) / (0.9 * max(1, len(name))), 6, 10))


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


def _move_over(viewer: ViewerModel, layer: Image, onto: Image, undo: list[Callable[[], None]]) -> None:
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

    undo.append(back)
