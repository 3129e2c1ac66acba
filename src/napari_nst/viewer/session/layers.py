"""One patch of a session in the viewer: target, style and result beside each other, and the cones on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import StyleTransferError
from napari_nst.imaging.cones import DEFAULT_SPACING
from napari_nst.imaging.masks import pack_mask
from napari_nst.io.images import read_image
from napari_nst.palette import CAPTION, KEPT, LOST, NEW
from napari_nst.session.effects import compare_cones
from napari_nst.session.plan import SessionPlan
from napari_nst.session.store import PatchStatus, SessionStore
from napari_nst.viewer.common.compare import fit_layers
from napari_nst.viewer.common.layers import is_in, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

#: Under this key the metadata of a layer say which patch it shows.
SESSION_KEY = "napari_nst_session"
_IMAGES = ("target", "style", "result")
#: Cones: how they are drawn, and where they are.
_CONES = {
    "kept": (KEPT, "in target and result"),
    "lost": (LOST, "in the target only"),
    "new": (NEW, "in the result only"),
}
_GAP = 0.06  # between images, in widths

Points = NDArray[np.float64]


class _Part(NamedTuple):
    """One of the images, None where there is none; its value range, and the short name of its patch."""

    image: NDArray[Any] | None
    value_range: tuple[float, float]
    name: str = ""


class PatchLayers:
    """Seven layers that show one patch after the other; those of the user stay as they are."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer: Any = plain(viewer)
        self._layers: dict[str, Any] = {}
        self._origin = (0.0, 0.0)
        self._extent: tuple[float, ...] = ()
        self._scale = 1.0
        self._world: dict[str, Any] = {}
        self.patch = ""

    def layers(self) -> dict[str, Any]:
        """Return those that the user has not deleted: target, style, result, kept, lost, new, captions."""
        return {role: layer for role, layer in self._layers.items() if is_in(layer, self._viewer)}

    @property
    def has_result(self) -> bool:
        """Whether the patch that is shown has a result beside it."""
        return "result" in self.layers() and bool(self._layers["result"].visible)

    def show(self, plan: SessionPlan, patch: str, output: Path | None, short: Callable[[str], str]) -> str:
        """Show a patch, by its full name, and what the output folder holds of it; return in words what is seen.

        Layers are named by what `short` makes of full names. Raises FileError where an image has changed or vanished.
        """
        planned = plan[patch]
        original, image = plan.crop(planned.patch), plan.image_of(planned.patch)
        result, remark = _read_result(plan, patch, output)
        style = _Part(None, image.value_range)
        if planned.style:
            of = plan[planned.style].patch
            style = _Part(plan.crop(of).array, plan.image_of(of).value_range, short(planned.style))
        target = _Part(original.array, image.value_range, short(patch))
        parts = {"target": target, "style": style, "result": target._replace(image=result)}
        self._scale = image.pixel_size or 1.0
        self._world = {"scale": (self._scale,) * 2, "units": ("um" if image.pixel_size else "pixel",) * 2}
        first = not self.layers()
        if first:
            self._find_place(original.array.shape[1])
        cones, text = _cones(planned.measures.spacing, original.array, result, original.valid)
        offsets = self._offsets(parts)
        # The mask, so that what lies in a black border is not assessed either.
        mask = None if original.valid.all() else pack_mask(original.valid)
        about = {"patch": patch, "style": planned.style, "folder": str(plan.folder), "mask": mask}
        for role, part in parts.items():
            self._show_image(role, part, offsets[role], about)
        spacing = planned.measures.spacing
        size = 0.62 * (spacing if np.isfinite(spacing) else DEFAULT_SPACING)
        for role, points in cones.items():
            shifted = [offsets[where] + found for where, found in points.items()]
            self._show_cones(role, np.concatenate([np.empty((0, 2)), *shifted]), size, result is not None)
        self._show_captions(parts, offsets)
        self._look_at(parts, offsets)
        if first:
            self._viewer.layers.selection.active = self._layers["target" if result is None else "result"]
        self.patch = patch
        return text + remark

    def _find_place(self, width: int) -> None:
        """Lie to the right of the user's layers, so that nothing covers anything."""
        right, top = 0.0, 0.0
        for layer in self._viewer.layers:
            world = np.asarray(layer.extent.world)
            if world.shape[1] >= 2 and np.isfinite(world).all():
                right, top = max(right, float(world[1, -1])), min(top, float(world[0, -2]))
        self._origin = (top, right + (2 * _GAP * width * self._scale if self._viewer.layers else 0.0))

    def _offsets(self, parts: dict[str, _Part]) -> dict[str, Points]:
        """Where the first pixel of each image lies, in pixels."""
        row, column = (place / self._scale for place in self._origin)
        widths = {role: 0 if part.image is None else part.image.shape[1] for role, part in parts.items()}
        gap, offsets = round(_GAP * widths["target"]), {}
        for role, width in widths.items():
            offsets[role] = np.array([row, column])
            column += width + gap if width else 0
        return offsets

    def _look_at(self, parts: dict[str, _Part], offsets: dict[str, Points]) -> None:
        """Fill the canvas, unless the same place is looked at already: then the user's own zoom stays."""
        seen = [(*offsets[role], *part.image.shape) for role, part in parts.items() if part.image is not None]
        extent = (self._scale, *(number for entry in seen for number in entry))
        if extent != self._extent:
            self._extent = extent
            shown = [self._layers[role] for role in ("captions", *_IMAGES) if self._layers[role].visible]
            fit_layers(self._viewer, shown)

    def _put(self, role: str, add: Any, data: Any, name: str, once: dict[str, Any], **attributes: Any) -> Any:
        """Change a layer; or make it, with what it has `once`, until the user changes that."""
        layer = self.layers().get(role)
        if layer is None:
            layer = self._layers[role] = plain(add(data, name=name, **once, **self._world))
        layer.data = data
        for key, value in {"name": name, **attributes, **self._world}.items():
            setattr(layer, key, value)
        return layer

    def _show_image(self, role: str, part: _Part, offset: Points, about: dict[str, Any]) -> None:
        layer = self._put(
            role,
            self._viewer.add_image,
            np.zeros((1, 1), dtype=np.uint8) if part.image is None else part.image,
            f"{role} {part.name}".strip(),
            {"colormap": "gray", "contrast_limits": part.value_range},
            contrast_limits_range=part.value_range,
            contrast_limits=part.value_range,
            translate=offset * self._scale,
            visible=part.image is not None,
        )
        layer.metadata = {**layer.metadata, SESSION_KEY: {"role": role, **about}}

    def _show_cones(self, role: str, points: Points, size: float, compared: bool) -> None:
        mark, where = _CONES[role]
        layer = self._put(
            role,
            self._viewer.add_points,
            points,
            f"cones {role}: {where}" if compared else f"cones {role}" if role != "kept" else "cones found",
            {"border_width": 0.14},
            symbol=mark.symbol,
            size=size,
            face_color="transparent",
            border_color=mark.color,
        )
        layer.selected_data = set()

    def _show_captions(self, parts: dict[str, _Part], offsets: dict[str, Points]) -> None:
        shown = {role: part.image for role, part in parts.items() if part.image is not None}
        height = shown["target"].shape[0]
        # The number alone: a name could be longer than its image is wide.
        features = {"caption": [f"{role} {parts[role].name.split()[0]}" for role in shown]}
        text = {"string": "{caption}", "size": 10, "color": CAPTION, "anchor": "upper_left"}
        look = {"size": 1, "opacity": 1.0, "face_color": "transparent", "border_color": "transparent"}
        layer = self._put(
            "captions",
            self._viewer.add_points,
            np.array([offsets[role] - (0.02 * height, 0) for role in shown]),
            "captions",
            {"features": features, "text": text, **look},
            features=features,
        )
        layer.selected_data = set()


def _cones(
    spacing: float, target: NDArray[Any], result: NDArray[Any] | None, valid: NDArray[np.bool_]
) -> tuple[dict[str, dict[str, Points]], str]:
    """Which cones are marked on which image, and how many there are."""
    found = compare_cones(target, target if result is None else result, valid, spacing)
    matching, before, after = found.matching, found.before.points, found.after.points
    if result is None:
        return {"kept": {"target": before}, "lost": {}, "new": {}}, f"{len(before)} cones found"
    cones = {
        "kept": {"target": before[matching.pairs[:, 1]], "result": after[matching.kept]},
        "lost": {"target": before[matching.lost]},
        "new": {"result": after[matching.new]},
    }
    kept, lost, new = len(matching.pairs), len(matching.lost), len(matching.new)
    return cones, f"cones: {kept} kept, {lost} lost, {new} new"


def _read_result(plan: SessionPlan, patch: str, output: Path | None) -> tuple[NDArray[Any] | None, str]:
    """The result of a patch, if there is one of this very session that differs from the original; and a remark."""
    if output is None:
        return None, ""
    store = SessionStore(output, plan.settings.folder_name)
    record = store.finished(patch, plan.fingerprint)
    if record is None:
        return None, ""
    if record.row.status == PatchStatus.FAILED:
        return None, f"; failed: {record.row.error}"
    if not record.row.status.changed:
        return None, "; kept as it is"
    try:
        return read_image(store.results / patch)[0], ""
    except StyleTransferError as error:
        return None, f"; {error}"
