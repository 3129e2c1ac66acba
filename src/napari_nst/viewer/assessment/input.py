"""What an assessment takes from the layers: which of them, which plane and part, which pixels, and where it all lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.masks import unpack_mask
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common.compare import partners
from napari_nst.viewer.common.job import Control
from napari_nst.viewer.common.layers import TRANSFORMS, made_by_us, moved, plain, source_of
from napari_nst.viewer.common.region import ALL, PLANE, Cut, cut_layer, finest, mask_of, micrometers
from napari_nst.viewer.session.layers import SESSION_KEY as SESSION

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_nst.metrics.assessment import Assessment

#: The choice of a mask that repeats what the run did.
AS_RUN = "as in the run"
#: Pixels are square where their sides differ by less than this part.
_SQUARE = 0.01


@dataclass(frozen=True)
class Trio:
    """The layers of an assessment; the style is None where there is none."""

    target: Any
    result: Any
    style: Any = None


@dataclass(frozen=True)
class LayerPlane:
    """Where the assessed plane lies: what `viewer.add_image` and `add_points` need to lay something on it."""

    axes: tuple[int, int]  #: those of the plane
    hidden: tuple[int, ...]  #: the others; in the layers they are one pixel long
    ndim: int
    world: dict[str, Any]  #: transforms, units and axis labels; the first pixel of the plane is the origin of the data


@dataclass(frozen=True)
class AssessRequest:
    """All that an assessment needs, taken from the layers before it starts; one plane of each."""

    target: Any  #: data of the layer's finest level; cut and computed in the worker
    result: Any
    style: Any  #: None without a style, as its cut and mask
    target_cut: Cut
    result_cut: Cut
    style_cut: Cut | None
    scale: float | None  #: µm per pixel; None where it is not known
    mask: Any  #: which pixels count: bool (y, x), "border" or None
    style_mask: Any
    value_range: tuple[float, float] | None  #: what the run took as the target's range
    layers: dict[str, dict[str, Any]]  #: role to where its pixels come from, for the record
    plane: LayerPlane


def trio_of(viewer: Viewer, result: Any) -> Trio | None:
    """The layers that a result belongs to: those of its run, or of its patch in a session; None where there are none."""
    result = plain(result)
    if made_by_us(result):
        target, style = partners(viewer, result)
        return None if target is None else Trio(plain(target), result, plain(style))
    about = _session(result)
    if about is None or about.get("role") not in ("target", "style", "result"):
        return None
    patch = about.get("folder"), about.get("patch")
    known = ((a, plain(x)) for x in viewer.layers if (a := _session(x)))
    found = {a["role"]: layer for a, layer in known if (a.get("folder"), a.get("patch")) == patch}
    if "result" not in found or not found["result"].visible:  # a patch without a result has an empty, hidden layer
        return None
    return Trio(found["target"], found["result"], found["style"] if found["style"].visible else None)


def trio_selected(viewer: Viewer, images: list[Any]) -> Trio | None:
    """Return what the user means by what is selected, of those layers that may be assessed.

    Of two selected images the result and its target, else the lower one (which is the older one, unless the list was put
    in another order) as target; of one selected layer what it belongs to; without either, the newest result of a run.
    """
    selected = [layer for layer in images if layer in viewer.layers.selection]
    if len(selected) == 2:
        for one, other in (selected, selected[::-1]):
            known = trio_of(viewer, other)
            if known is not None and known.result is other and known.target is one:
                return known
        return Trio(*selected)
    for layer in [*reversed(selected), *(x for x in reversed(images) if made_by_us(x))]:
        known = trio_of(viewer, layer)
        if known is not None:
            return known
    return None


def known_scale(layer: Image, viewer: Viewer) -> tuple[float | None, str]:
    """µm per pixel of a layer's plane, and why there are none."""
    try:
        rows, columns = micrometers(layer, cut_layer(layer, viewer, PLANE, "target")) or (0.0, 0.0)
    except ImageError:
        rows = columns = 0.0
    if not rows or not columns:
        return None, "The layer's units are no lengths."
    if abs(rows - columns) > _SQUARE * max(rows, columns):
        return None, f"The layer's pixels are not square: {rows:.4g} × {columns:.4g} µm."
    return (rows * columns) ** 0.5, ""


def assess_request(viewer: Viewer, trio: Trio, scale: float | None, mask: str | Labels = AS_RUN) -> AssessRequest:
    """Take from the layers what an assessment needs; ImageError or ParameterError if they cannot be compared.

    Of a stack the plane that the viewer shows is taken. `scale` is in µm per pixel; `mask` is "as in the run", "none",
    "black border", or a Labels layer whose painted pixels count.
    """
    target, result, style = trio.target, trio.result, trio.style
    if target is result:
        raise ImageError(f"Target and result are the same layer, {target.name!r}: choose two.")
    for role, layer in (("target", target), ("result", result), ("style", style)):
        if layer is not None and layer.rgb:
            raise ImageError(
                f"The {role} {layer.name!r} is an RGB image; cones are looked for in gray ones. Convert it to gray first "
                "(napari: Layers > Data > Split RGB, or skimage.color.rgb2gray)."
            )
    record = _record_of(viewer, trio)
    result_cut, target_cut = _cuts(viewer, target, result, record)
    if target_cut.plane_shape != result_cut.plane_shape:
        (th, tw), (rh, rw) = target_cut.plane_shape, result_cut.plane_shape
        raise ImageError(
            f"The target {target.name!r} is {th} × {tw} pixels large and the result {result.name!r} {rh} × {rw}: choose two "
            "images of one shape, pixel on pixel."
        )
    style_cut = None if style is None else _recorded(record, "style", style) or cut_layer(style, viewer, PLANE, "style")
    session = _session(result)
    arguments = record.get("arguments", {}) if session is None else {"mask": session.get("mask")}
    used = _fitting(arguments.get("mask"), target_cut)
    wanted = record.get("parameters", {}).get("value_range")
    cuts = {"target": target_cut, "result": result_cut, "style": style_cut}
    # On the target; but the images of a session lie beside each other, and there the result is what is looked at.
    base, cut = (result, result_cut) if session is not None else (target, target_cut)
    return AssessRequest(
        target=finest(target),
        result=finest(result),
        style=None if style is None else finest(style),
        target_cut=target_cut,
        result_cut=result_cut,
        style_cut=style_cut,
        scale=scale,
        mask=used if mask == AS_RUN else mask_of(mask, target, target_cut, viewer),
        style_mask=_fitting(arguments.get("style_mask"), style_cut) if style_cut is not None else None,
        value_range=(float(wanted[0]), float(wanted[1])) if isinstance(wanted, (list, tuple)) else None,
        layers={role: source_of(getattr(trio, role)) | {"part": of.describe()} for role, of in cuts.items() if of},
        plane=LayerPlane(
            cut.axes,
            cut.hidden,
            base.ndim,
            {**{key: getattr(base, key) for key in TRANSFORMS}, "translate": moved(base, cut.start)},
        ),
    )


def measure(request: AssessRequest, control: Control) -> Assessment:
    """Assess, off the GUI thread; a function for `Job`."""
    from napari_nst.metrics.assessment import assess

    return assess(
        np.asarray(request.target_cut.take(request.target)),
        np.asarray(request.result_cut.take(request.result)),
        None if request.style_cut is None else np.asarray(request.style_cut.take(request.style)),
        request.scale,
        mask=request.mask,
        style_mask=request.style_mask,
        value_range=request.value_range,
    )


def _session(layer: Any) -> Mapping[str, Any] | None:
    about = getattr(layer, "metadata", {}).get(SESSION)
    return about if isinstance(about, Mapping) else None


def _record_of(viewer: Viewer, trio: Trio) -> Mapping[str, Any]:
    """The record of the run, if the result was made of this very target; else nothing."""
    if not made_by_us(trio.result):
        return {}
    known = partners(viewer, trio.result)[0]
    return trio.result.metadata[KEY] if known is not None and plain(known) is trio.target else {}


def _recorded(record: Mapping[str, Any], role: str, layer: Any) -> Cut | None:
    """The part of a layer that took part in a run; None where that is not known, all planes, or not there any more."""
    region = record.get("region", {}).get(role)
    shape = tuple(int(n) for n in finest(layer).shape[: layer.ndim])
    if not isinstance(region, Mapping) or len(region["start"]) != layer.ndim:
        return None
    cut = Cut(tuple(region["start"]), tuple(region["stop"]), tuple(region["axes"]), False, str(region["kind"]))
    flat = all(cut.stop[axis] - cut.start[axis] == 1 for axis in cut.hidden)
    return cut if flat and all(0 <= a < b <= n for a, b, n in zip(cut.start, cut.stop, shape, strict=True)) else None


def _cuts(viewer: Viewer, target: Any, result: Any, record: Mapping[str, Any]) -> tuple[Cut, Cut]:
    """The plane of the result, and that of the target under it."""
    recorded = _recorded(record, "target", target)
    if recorded is not None:
        sizes = tuple(b - a for a, b in zip(recorded.start, recorded.stop, strict=True))
        if tuple(int(n) for n in finest(result).shape) == sizes:
            return Cut((0,) * len(sizes), sizes, recorded.axes, False, recorded.kind), recorded
    shown = cut_layer(result, viewer, PLANE, "result")
    stacked = record.get("region", {}).get("target", {}).get("kind") == ALL and result.ndim == target.ndim
    if stacked and all(b <= n for b, n in zip(shown.stop, finest(target).shape, strict=False)):
        return shown, shown  # the same plane of the target, wherever its layer was moved to
    return shown, cut_layer(target, viewer, PLANE, "target")


def _fitting(used: Any, cut: Cut) -> Any:
    """A recorded mask, if it is one of this plane."""
    if not isinstance(used, Mapping):
        return used if used == "border" else None
    try:
        mask = unpack_mask(used)
    except (ParameterError, ValueError, KeyError):
        return None
    return mask if mask.shape == cut.plane_shape else None
