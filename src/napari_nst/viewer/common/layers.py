"""What is taken over from the target layer, and how a result becomes a layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.transfer.record import KEY

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_nst.viewer.common.region import Cut

#: What places a layer in the world.
TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
#: Of the target's state, what a result must not have: its own name and data, and what is set anew.
_OWN = {"name", "metadata", "visible", "multiscale", "auto_contrast", "locked_data_level", "opacity", "blending"}
#: What only layers without color channels have.
_GREY = {"colormap", "contrast_limits", "gamma"}


def plain(layer: Any) -> Any:
    """The layer itself, of one that napari wrapped for a plugin: identity and weak references need it."""
    return getattr(layer, "__wrapped__", layer)


def carried_over(layer: Image, cut: Cut) -> dict[str, Any]:
    """Arguments for ``viewer.add_image`` that put a part of a layer where it lies, looking as it does.

    The transforms (scale, translate, rotate, shear, affine), units, axis labels, display and, unless it is RGB, the
    colormap, contrast limits and gamma.  Opacity and blending are not taken over: a result covers its target, it
    is not added to it.
    """
    left_out = _OWN | _GREY if layer.rgb else _OWN
    arguments = {k: v for k, v in layer.as_layer_data_tuple()[1].items() if k not in left_out}
    return arguments | {"translate": moved(layer, cut.start)}


def moved(layer: Layer, offset: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """The ``translate`` of a layer like this one whose first pixel is this one's pixel `offset`.

    napari maps data to the world by affine · (rotate · shear · scale · p + translate): the way of the first pixel in the
    world is brought back through the affine.
    """
    start = np.asarray(offset, dtype=float)
    way = np.asarray(layer.data_to_world(start)) - np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    linear = np.asarray(layer.affine.affine_matrix)[:-1, :-1]
    return np.asarray(layer.translate) + np.linalg.solve(linear, way)


def add_above(viewer: Viewer, below: Sequence[Layer], data: Any, arguments: dict[str, Any]) -> Any:
    """Add an image above those layers that are still there, but below what lies on them; gives the layer."""
    layer = plain(viewer.add_image(data, **arguments))
    layers = viewer.layers
    places = [layers.index(other) for other in below if is_in(other, viewer)]
    if places and layers.index(layer) != max(places) + 1:
        layers.move(layers.index(layer), max(places) + 1)
    return layer


def is_in(layer: Layer, viewer: Viewer) -> bool:
    """Whether this very layer is in the viewer."""
    return any(plain(other) is layer for other in viewer.layers)


def made_by_us(layer: Any) -> bool:
    """Whether a layer carries the record of a run."""
    record = getattr(layer, "metadata", {}).get(KEY)
    return isinstance(record, dict) and "parameters" in record


def result_name(target: str, style: str) -> str:
    """The name of the result; napari adds a number where it is taken."""
    return f"{target} styled by {style}"


def source_path(layer: Layer) -> str | None:
    """The file that a layer was read from, if it is known."""
    path = layer.source.path
    return str(path) if path else None


def source_of(layer: Image, index: Any = None, region: Any = None) -> dict[str, Any]:
    """Where the pixels of a layer come from, as JSON can hold it, for ``metadata["layers_source"]``.

    The index is that of the plane that was used, along the leading axes; the region ((y0, y1), (x0, x1)) that of its rows
    and columns.
    """
    layer = plain(layer)
    sample = layer.source.sample
    return {
        "name": layer.name,
        "path": source_path(layer),
        "sample": None if sample is None else list(sample),
        "index": [int(i) for i in index] if isinstance(index, Sequence) else None if index is None else int(index),
        "region": None if region is None else [[int(edge) for edge in side] for side in region],
        "multiscale": bool(layer.multiscale),
    }


def default_folder(path: str | None) -> Path:
    """Where files go that the user gave no folder for: beside the target's file, else in the documents."""
    if path and "://" not in path and Path(path).exists():
        return Path(path).absolute().parent
    import platformdirs

    return platformdirs.user_documents_path() / "napari-nst"
