"""The layers that show an assessment: cones kept, lost and new, the change, and where it is suspicious."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.palette import KEPT, LOST, NEW, UNSUPPORTED
from napari_nst.viewer.common.compare import symmetric_limit
from napari_nst.viewer.common.layers import is_in, plain

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_nst.metrics.assessment import Assessment
    from napari_nst.viewer.assessment.input import LayerPlane

KEY = "napari_nst_assessment"
ROLES = ("change", "suspicion", "kept", "lost", "new")

#: Cones: how they are drawn, and the width of the line in sizes.
_CONES = {"kept": (KEPT, 0.06), "lost": (LOST, 0.1), "new": (NEW, 0.08)}
#: One that is unsupported by the target is bolder and larger; one in a shadow of the target is bolder.
_BOLD, _LARGER = 0.15, 1.4
#: Of a cone's spacing.
_SIZE = 0.62
#: Of the view, so much is a place that is looked at.
_PART = 0.6

_shown: weakref.WeakKeyDictionary[ViewerModel, dict[str, weakref.ref[Any]]] = weakref.WeakKeyDictionary()


def assessment_layers(viewer: Any) -> dict[str, Any]:
    """The layers of the last assessment in a viewer that nobody has deleted, by their role."""
    viewer = plain(viewer)
    known = {role: layer() for role, layer in _shown.get(viewer, {}).items()}
    return {role: layer for role, layer in known.items() if layer is not None and is_in(layer, viewer)}


def is_ours(layer: Any) -> bool:
    """Whether a layer was added by an assessment."""
    return KEY in getattr(layer, "metadata", {})


def show_assessment(viewer: Any, assessment: Assessment, plane: LayerPlane, name: str) -> dict[str, Any]:
    """Show an assessment on its plane, in place of the one before; names of layers start with that of the result.

    Returns the layers by their roles. What was hidden before, or shown, stays so. Of all other layers, and of the
    selection, nothing is changed.
    """
    viewer = plain(viewer)
    before = assessment_layers(viewer)
    visible = {"change": False} | {role: layer.visible for role, layer in before.items()}
    selection = viewer.layers.selection
    selected = [layer for layer in selection if layer not in before.values()]
    active = selection.active if selection.active in selected else None
    point = viewer.dims.point
    for layer in before.values():
        viewer.layers.remove(layer)

    cones = assessment.cones
    expand = {"visible": True, **plane.world, "metadata": {KEY: {"result": name}}}
    layers = _add_images(viewer, cones, plane, name, expand)
    size = _SIZE * cones.spacing
    for role, (mark, width) in _CONES.items():
        places = np.zeros((len(getattr(cones, role)), plane.ndim))
        places[:, plane.axes] = np.reshape(getattr(cones, role), (-1, 2))
        layers[role] = plain(viewer.add_points(
            places, ndim=plane.ndim, name=f"{name} cones {role}", symbol=mark.symbol, size=size, border_width=width,
            border_color=mark.color, face_color="transparent", **expand,
        ))  # fmt: skip
    _mark(layers["new"], cones, size)
    for role, layer in layers.items():
        layer.visible = visible.get(role, True)
    viewer.dims.point = point
    selection.clear()
    selection.update(selected)
    selection.active = active if active is not None else selection.active
    _shown[viewer] = {role: weakref.ref(layer) for role, layer in layers.items()}
    return layers


def look_at(viewer: Any, layer: Any, row: float, column: float, radius: float, axes: tuple[int, int]) -> None:
    """Move the camera to a place in pixels of a layer's plane, which has these axes, and the sliders to the plane."""
    viewer = plain(viewer)
    missing = viewer.dims.ndim - layer.ndim
    here = np.zeros(layer.ndim)
    here[list(axes)] = row, column
    aside = here.copy()
    aside[axes[1]] += max(radius, 1.0)
    world, edge = (np.asarray(layer.data_to_world(position)) for position in (here, aside))
    for axis in range(layer.ndim):
        if axis not in axes:
            viewer.dims.set_point(axis + missing, world[axis])
    full = np.zeros(viewer.dims.ndim)
    full[missing:] = world
    shown = [axis for axis in viewer.dims.displayed if axis >= missing]
    camera = viewer.scene.camera
    camera.center = tuple(full[list(viewer.dims.displayed)])
    span = float(np.linalg.norm([(edge - world)[axis - missing] for axis in shown]))
    if span > 0:
        camera.zoom = _PART * float(min(viewer.canvas.viewbox_size(viewer.layers))) / (2 * span)


def _add_images(viewer: Any, cones: Any, plane: LayerPlane, name: str, common: dict[str, Any]) -> dict[str, Any]:
    from napari.utils import Colormap

    change, suspicion = (
        np.expand_dims(np.asarray(image, dtype=np.float32), plane.hidden) for image in (cones.change, cones.suspicion)
    )
    limit = symmetric_limit(change)
    changed = viewer.add_image(
        change, name=f"{name} change", rgb=False, colormap="coolwarm", contrast_limits=(-limit, limit), **common
    )
    changed.colorbar.size = (20, 220)  # high enough for more labels than that of 0
    changed.colorbar.visible = True
    # Black adds nothing to the image below; the brightest is the color of the unsupported detections.
    colors = Colormap(np.array([[0, 0, 0, 1], [0.835, 0.369, 0, 1]]), name="suspicion")
    suspected = viewer.add_image(
        np.nan_to_num(suspicion), name=f"{name} suspicion", rgb=False, colormap=colors, contrast_limits=(0, 1),
        blending="additive", opacity=0.7, **common,
    )  # fmt: skip
    return {"change": plain(changed), "suspicion": plain(suspected)}


def _mark(layer: Any, cones: Any, size: float) -> None:
    """Make the doubtful ones among the new detections stand out, and say of each what it is."""
    flags = cones.flags("unsupported", "shaded", "far")
    layer.features = flags
    if not len(layer.data):
        return
    unsupported = flags["unsupported"]
    layer.size = np.where(unsupported, _LARGER * size, size)
    layer.border_width = np.where(unsupported | flags["shaded"], _BOLD, _CONES["new"][1])
    layer.symbol = [(UNSUPPORTED if bad else NEW).symbol for bad in unsupported]
    layer.border_color = [(UNSUPPORTED if bad else NEW).color for bad in unsupported]
    layer.selected_data = set()
