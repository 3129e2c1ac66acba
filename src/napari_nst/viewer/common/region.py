"""Which part of a layer takes part in a transfer: a plane, all planes, or a rectangle, and where it lies.

All geometry is done in data coordinates of the layer, where pixel i covers i - 0.5 to i + 0.5; world coordinates are
used only to get from one layer to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import ImageError
from napari_nst.imaging.values import MINIMUM_SIDE

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer, Shapes
    from napari.viewer import Viewer
    from numpy.typing import NDArray

#: Choices that are no layers: of a region, and of a mask.
WHOLE, PLANE, ALL = "whole layer", "current plane", "all planes"
NO_MASK, BORDER = "none", "black border"


def finest(layer: Layer) -> Any:
    """The data of a layer; of a multiscale layer its finest level."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


@dataclass(frozen=True)
class Cut:
    """A part of a layer's data."""

    start: tuple[int, ...]  #: the first pixel along every axis of the layer (color is no axis)
    stop: tuple[int, ...]  #: the one after the last
    axes: tuple[int, int]  #: of the plane, ascending
    stack: bool  #: whether all planes take part; else the other axes are one pixel long
    kind: str  #: "whole layer", "current plane", "all planes" or "rectangle", for the record

    @property
    def hidden(self) -> tuple[int, ...]:
        """The axes that are not of the plane."""
        return tuple(a for a in range(len(self.start)) if a not in self.axes)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width."""
        y, x = self.axes
        return self.stop[y] - self.start[y], self.stop[x] - self.start[x]

    def take(self, data: Any) -> Any:
        """The part as the engine takes it: planes last, color behind them; nothing else is read or computed."""
        index = tuple(
            slice(a, b) if self.stack or axis in self.axes else a
            for axis, (a, b) in enumerate(zip(self.start, self.stop, strict=True))
        )
        part = data[index]
        order = (*self.hidden, *self.axes)
        if self.stack and order != tuple(range(len(order))):
            color = tuple(range(len(order), part.ndim))
            part = (part if hasattr(part, "transpose") else np.asarray(part)).transpose(order + color)
        return part

    def put(self, image: NDArray[Any]) -> NDArray[Any]:
        """A result of the engine in the order of the layer's axes, none of them missing."""
        if self.stack:
            order = np.argsort((*self.hidden, *self.axes))
            return image.transpose((*order, *range(len(order), image.ndim)))
        return np.expand_dims(image, self.hidden)

    def index_of(self, plane: tuple[int, ...]) -> tuple[Any, ...]:
        """Where a plane of the engine's stack lies in what :meth:`put` gives."""
        index: list[Any] = [slice(None)] * len(self.start)
        for axis, position in zip(self.hidden, plane, strict=False):
            index[axis] = position
        return tuple(index)

    def describe(self) -> dict[str, Any]:
        """For the record: JSON-able."""
        return {"kind": self.kind, "start": list(self.start), "stop": list(self.stop), "axes": list(self.axes)}


def region_choices(viewer: Viewer, target: Image | None) -> list[tuple[str, Any]]:
    """What can be chosen as region for a target: label and value."""
    from napari.layers import Shapes

    ways = [WHOLE] if target is None or target.ndim == 2 else [PLANE, ALL]
    rectangles = [(f"rectangle in {layer.name}", layer) for layer in viewer.layers if isinstance(layer, Shapes)]
    return [(way, way) for way in ways] + rectangles


def cut_layer(layer: Image, viewer: Viewer, region: str | Shapes, role: str) -> Cut:
    """The part of a layer that a region means; ImageError when there is none.

    The region is "whole layer" (which for a stack means the current plane), "current plane", "all planes", or a Shapes
    layer: its first selected rectangle, else its last one; of a stack, in the current plane.
    """
    shape = _shape(layer)
    if layer.ndim < 2:
        raise ImageError(f"The {role} {layer.name!r} has only {layer.ndim} dimension; an image has two.")
    axes, hidden = _shown(layer, viewer)
    start, stop = [0] * layer.ndim, list(shape)
    stack = isinstance(region, str) and region == ALL and layer.ndim > 2
    if not stack:
        for axis, position in _position(layer, viewer, hidden, role).items():
            start[axis], stop[axis] = position, position + 1
    if isinstance(region, str):
        kind = WHOLE if layer.ndim == 2 else ALL if stack else PLANE
        return Cut(tuple(start), tuple(stop), axes, stack, kind)
    corners = _rectangle(region, layer, viewer)[:, axes]
    for axis, low, high in zip(axes, corners.min(axis=0), corners.max(axis=0), strict=True):
        # From the pixel that holds the first corner up to, and without, the one that holds the last.
        start[axis] = max(0, int(np.floor(low + 0.5)))
        stop[axis] = min(shape[axis], int(np.floor(high + 0.5)))
    cut = Cut(tuple(start), tuple(stop), axes, False, "rectangle")
    if min(cut.plane_shape) <= 0:
        raise ImageError(
            f"The rectangle in {region.name!r} lies outside the {role} {layer.name!r}. Move it onto the image."
        )
    if min(cut.plane_shape) < MINIMUM_SIDE:
        raise ImageError(
            f"The rectangle in {region.name!r} covers {cut.plane_shape[0]} × {cut.plane_shape[1]} pixels of {layer.name!r}; at "
            f"least {MINIMUM_SIDE} × {MINIMUM_SIDE} are needed, because the network halves the image four times. Draw a "
            "larger one."
        )
    return cut


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(int(n) for n in finest(layer).shape[: layer.ndim])


def _shown(layer: Layer, viewer: Viewer) -> tuple[tuple[int, int], list[int]]:
    """The two axes of the layer that make its plane in the viewer, and the others.

    A layer has the last of the viewer's axes.  In 3-D the last two of the displayed ones make the plane.
    """
    missing = viewer.dims.ndim - layer.ndim
    order = [a - missing for a in viewer.dims.order if a >= missing] if missing >= 0 else list(range(layer.ndim))
    y, x = sorted(order[-2:])
    return (y, x), order[:-2]


def _position(layer: Layer, viewer: Viewer, hidden: list[int], role: str) -> dict[int, int]:
    """The plane of the layer that the viewer shows: axis to index, computed as napari slices."""
    if not hidden:
        return {}
    world = _world_point(layer, viewer)
    origin = np.asarray(layer.world_to_data(np.zeros(layer.ndim)))
    inverse = np.stack([np.asarray(layer.world_to_data(e)) - origin for e in np.eye(layer.ndim)], axis=1)
    data = inverse[np.ix_(hidden, hidden)] @ world[hidden] + origin[hidden]
    found = {axis: int(np.round(value)) for axis, value in zip(hidden, data, strict=True)}
    shape = _shape(layer)
    for axis, index in found.items():
        if not 0 <= index < shape[axis]:
            raise ImageError(
                f"The viewer stands at plane {index} of the {role} {layer.name!r} (axis {layer.axis_labels[axis]}), which has "
                f"planes 0 to {shape[axis] - 1}. Move the slider below the canvas to a plane of it."
            )
    return found


def _world_point(layer: Layer, viewer: Viewer) -> NDArray[np.float64]:
    """The viewer's position along the layer's axes, in the layer's units."""
    point = np.zeros(layer.ndim)
    given = np.asarray(viewer.dims.point, dtype=float)[-layer.ndim :]
    point[layer.ndim - len(given) :] = given
    return point * _factors(viewer, viewer.dims.units, layer.units)


def _factors(viewer: Viewer, old: Any, new: Any) -> NDArray[np.float64]:
    """By what world coordinates in the old units are multiplied to be in the new ones, for each of the new axes.

    Where the units of the viewer's layers do not fit together, napari takes all coordinates as they are: so do we.
    """
    factors = np.ones(len(new))
    if viewer.dims.units is not None and old is not None:
        for back in range(1, min(len(old), len(new)) + 1):
            factors[-back] = _ratio(old[-back], new[-back]) or 1.0
    return factors


def _ratio(old: Any, new: Any) -> float | None:
    """How many of the new unit are one of the old; None where they measure different things."""
    if old == new:
        return 1.0
    if old.dimensionality != new.dimensionality:
        return None
    return float((1 * old).to(new).magnitude)


def _rectangle(shapes: Shapes, layer: Layer, viewer: Viewer) -> NDArray[np.float64]:
    """The corners of the chosen rectangle in data coordinates of the layer, (corners, ndim)."""
    rectangles = [i for i, kind in enumerate(shapes.shape_type) if kind == "rectangle"]
    if not rectangles:
        raise ImageError(f"There is no rectangle in {shapes.name!r}: draw one, or choose another region.")
    selected = sorted(set(rectangles) & set(shapes.selected_data))
    vertices = np.asarray(shapes.data[selected[0] if selected else rectangles[-1]], dtype=float)
    return np.stack([_carried(vertex, shapes, layer, viewer) for vertex in vertices])


def mask_choices(viewer: Viewer) -> list[tuple[str, Any]]:
    """What can be chosen as mask: label and value."""
    from napari.layers import Labels

    painted = [(f"labels {layer.name}", layer) for layer in viewer.layers if isinstance(layer, Labels)]
    return [(NO_MASK, NO_MASK), (BORDER, BORDER), *painted]


def mask_of(choice: str | Labels | None, layer: Image, cut: Cut, viewer: Viewer) -> Any:
    """A chosen mask as the engine takes it: None, "border", or an array."""
    if choice is None or choice == NO_MASK:
        return None
    return "border" if choice == BORDER else mask_from_labels(choice, layer, cut, viewer)


def mask_from_labels(labels: Labels, layer: Image, cut: Cut, viewer: Viewer) -> NDArray[np.bool_]:
    """Where a Labels layer is painted, on the plane of a cut: (y, x), True where it is.

    The labels are looked up at the world position of every pixel, so that the two layers may differ in size, scale and
    position.  Of a stack, the plane that is shown in the viewer serves all planes.
    """
    painted = np.asarray(finest(labels))
    point = np.array(cut.start, dtype=float)
    if cut.stack:
        _, hidden = _shown(layer, viewer)
        for axis, position in _position(layer, viewer, hidden, "target").items():
            point[axis] = position
    origin = _carried(point, layer, labels, viewer)
    down, right = (_carried(point + np.eye(layer.ndim)[axis], layer, labels, viewer) - origin for axis in cut.axes)
    rows, columns = (np.arange(n, dtype=float) for n in cut.plane_shape)
    inside = np.ones(cut.plane_shape, dtype=bool)
    index = []
    for axis, size in enumerate(painted.shape):
        # A hair above the half: rounding errors of the transforms must not move a boundary by a pixel.
        places = origin[axis] + down[axis] * rows[:, None] + right[axis] * columns
        nearest = np.floor(places + 0.5 + 1e-9).astype(np.intp)
        inside &= (nearest >= 0) & (nearest < size)
        index.append(np.clip(nearest, 0, size - 1))
    mask: NDArray[np.bool_] = (painted[tuple(index)] != 0) & inside
    return mask


def _carried(point: NDArray[np.float64], source: Layer, other: Layer, viewer: Viewer) -> NDArray[np.float64]:
    """A point of a layer's data in data coordinates of another; along axes that it lacks, where the viewer stands."""
    world = _world_point(other, viewer)
    shared = min(source.ndim, other.ndim)
    factors = _factors(viewer, source.units, other.units)
    world[-shared:] = np.asarray(source.data_to_world(point))[-shared:] * factors[-shared:]
    return np.asarray(other.world_to_data(world))


def pixel_sizes(
    target: Image, target_cut: Cut, style: Image, style_cut: Cut
) -> tuple[tuple[float, float], tuple[float, float]] | tuple[None, None]:
    """Pixel sizes of target and style along y and x in the target's unit.

    None where the units do not measure the same, and where neither layer is calibrated (scale 1 in pixels): there is
    nothing to match then.
    """
    sizes = []
    for a, b in zip(target_cut.axes, style_cut.axes, strict=True):
        ratio = _ratio(style.units[b], target.units[a])
        if ratio is None:
            return None, None
        sizes.append((abs(float(target.scale[a])), abs(float(style.scale[b])) * ratio))
    (ty, sy), (tx, sx) = sizes
    if (ty, sy, tx, sx) == (1, 1, 1, 1) and all(str(target.units[a]) == "pixel" for a in target_cut.axes):
        return None, None
    return (ty, tx), (sy, sx)


def micrometers(layer: Image, cut: Cut) -> tuple[float, float] | None:
    """Height and width of a pixel in µm, where the layer's units are lengths."""
    if not all(layer.units[axis].is_compatible_with("um") for axis in cut.axes):
        return None
    height, width = (abs(layer.scale[axis]) * float((1 * layer.units[axis]).to("um").magnitude) for axis in cut.axes)
    return float(height), float(width)
