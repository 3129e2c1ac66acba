"""One patch of a session in the viewer: target, style and result beside each other, and the cones on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import StyleTransferError
from napari_nst.imaging.masks import pack_mask
from napari_nst.io.images import read_image
from napari_nst.palette import CAPTION, KEPT, LOST, NEW
from napari_nst.session.effects import compare_cones, known_spacing
from napari_nst.session.plan import SessionPlan
from napari_nst.session.store import SessionStore
from napari_nst.viewer.common.compare import fit_layers
from napari_nst.viewer.common.layers import is_in, plain

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["SessionShow"]

KEY = "napari_nst_session"
_PICTURES = ("target", "style", "result")
#: Cones: how they are drawn, and where they are.
_CONES = {
    "kept": (KEPT, "in target and result"),
    "lost": (LOST, "in the target only"),
    "new": (NEW, "in the result only"),
}
_GAP = 0.06  # between pictures, in widths

Points = NDArray[np.float64]


class SessionShow:
    """Seven layers that show one patch after the other; those of the user stay as they are.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer: Any = plain(viewer)
        self._layers: dict[str, Any] = {}
        self._origin: tuple[float, float] | None = None
        self._extent: tuple[float, ...] = ()
        self._scale = 1.0
        self._world: dict[str, Any] = {}
        self.patch = ""

    def layers(self) -> dict[str, Any]:
        """Those of the layers that the user has not deleted: target, style, result, kept, lost, new, captions."""
        return {role: layer for role, layer in self._layers.items() if is_in(layer, self._viewer)}

    @property
    def has_result(self) -> bool:
        """Whether the patch that is shown has a result beside it."""
        result = self._here("result")
        return result is not None and bool(result.visible)

    def show(self, plan: SessionPlan, patch: str, output: Path | None, short: dict[str, str]) -> str:
        """Show a patch.

        Parameters
        ----------
        plan : SessionPlan
        patch : str
            Its full name.
        output : Path or None
            Where its result is looked for.
        short : dict
            Full name to a short one, for the names of the layers.

        Returns
        -------
        str
            What is seen, in words.

        Raises
        ------
        FileError
            An image has changed or vanished since it was judged.
        """
        planned = plan[patch]
        pictures: dict[str, NDArray[Any] | None] = dict.fromkeys(_PICTURES)
        cut = plan.crop(planned.patch)
        pictures["target"] = cut.array
        ranges = dict.fromkeys(_PICTURES, plan.image_of(planned.patch).value_range)
        names = {"target": short[patch], "style": "", "result": short[patch]}
        if planned.style:
            style = plan[planned.style].patch
            pictures["style"], ranges["style"] = plan.crop(style).array, plan.image_of(style).value_range
            names["style"] = short[planned.style]
        result, status = read_result(plan, patch, output)
        pictures["result"] = result
        um = plan.image_of(planned.patch).um_per_px
        self._scale = um or 1.0
        self._world = {"scale": (self._scale,) * 2, "units": ("um" if um else "pixel",) * 2}
        self._place(pictures)
        cones, words = self._cones(planned.measures.spacing, cut.array, result, cut.valid)
        offsets, first = self._offsets(pictures), not self.layers()
        # The mask, so that what lies in a black border is not assessed either.
        mask = None if cut.valid.all() else pack_mask(cut.valid)
        about = {"patch": patch, "style": planned.style, "folder": str(plan.folder), "mask": mask}
        for role in _PICTURES:
            self._picture(role, pictures[role], f"{role} {names[role]}".strip(), ranges[role], offsets[role], about)
        size = 0.62 * known_spacing(planned.measures.spacing)
        for role, points in cones.items():
            shifted = [offsets[where] + found for where, found in points.items()]
            self._points(role, np.concatenate([np.empty((0, 2)), *shifted]), size, result is not None)
        self._captions(pictures, names, offsets)
        self._look_at(pictures, offsets)
        if first:
            self._viewer.layers.selection.active = self._layers["target" if result is None else "result"]
        self.patch = patch
        return words + status

    def _cones(
        self, spacing: float, target: NDArray[Any], result: NDArray[Any] | None, valid: NDArray[np.bool_]
    ) -> tuple[dict[str, dict[str, Points]], str]:
        """Which cones are marked on which picture, and how many there are."""
        found = compare_cones(target, target if result is None else result, valid, spacing)
        if result is None:
            cones = {"kept": {"target": found.before.points}, "lost": {}, "new": {}}
            return cones, f"{len(found.before)} cones found"
        matching, before, after = found.matching, found.before.points, found.after.points
        cones = {
            "kept": {"target": before[matching.pairs[:, 1]], "result": after[matching.kept]},
            "lost": {"target": before[matching.lost]},
            "new": {"result": after[matching.new]},
        }
        kept, lost, new = len(matching.pairs), len(matching.lost), len(matching.new)
        return cones, f"cones: {kept} kept, {lost} lost, {new} new"

    # Where things lie --------------------------------------------------------------------------------------------

    def _place(self, pictures: dict[str, NDArray[Any] | None]) -> None:
        """Lie to the right of the user's layers, so that nothing covers anything."""
        if self._origin is not None and self.layers():
            return
        others = [layer for layer in self._viewer.layers if plain(layer) not in self._layers.values()]
        right, top = 0.0, 0.0
        for layer in others:
            world = np.asarray(layer.extent.world)
            if world.shape[1] >= 2 and np.isfinite(world).all():
                right, top = max(right, float(world[1, -1])), min(top, float(world[0, -2]))
        target = pictures["target"]
        assert target is not None
        self._origin = (top, right + 2 * _GAP * target.shape[1] * self._scale if others else 0.0)

    def _offsets(self, pictures: dict[str, NDArray[Any] | None]) -> dict[str, Points]:
        """Where the first pixel of each picture lies, in pixels."""
        assert self._origin is not None
        row, column = (place / self._scale for place in self._origin)
        widths = [picture.shape[1] if picture is not None else 0 for picture in pictures.values()]
        gap = round(_GAP * widths[0])
        offsets, at = {}, column
        for role, width in zip(pictures, widths, strict=True):
            offsets[role] = np.array([row, at])
            at += width + gap if width else 0
        return offsets

    def _look_at(self, pictures: dict[str, NDArray[Any] | None], offsets: dict[str, Points]) -> None:
        """Fill the canvas, unless the same place is looked at already: then the user's own zoom stays."""
        seen = [offsets[role].tolist() + list(p.shape) for role, p in pictures.items() if p is not None]
        extent = (self._scale, *(number for entry in seen for number in entry))
        if extent != self._extent:
            self._extent = extent
            shown = [self._layers[role] for role in ("captions", *_PICTURES) if self._layers[role].visible]
            fit_layers(self._viewer, shown)

    # The layers --------------------------------------------------------------------------------------------------

    def _keep(self, role: str, layer: Any) -> Any:
        self._layers[role] = layer = plain(layer)
        return layer

    def _here(self, role: str) -> Any:
        layer = self._layers.get(role)
        return layer if layer is not None and is_in(layer, self._viewer) else None

    def _picture(
        self,
        role: str,
        data: NDArray[Any] | None,
        name: str,
        limits: tuple[float, float],
        offset: Points,
        about: dict[str, Any],
    ) -> None:
        layer = self._here(role)
        shown = np.zeros((1, 1), dtype=np.uint8) if data is None else data
        if layer is None:
            layer = self._keep(
                role, self._viewer.add_image(shown, name=name, contrast_limits=limits, colormap="gray", **self._world)
            )
        else:
            layer.data = shown
            layer.name = name
            layer.contrast_limits_range = limits
            layer.contrast_limits = limits
        self._set_world(layer)
        layer.translate = offset * self._scale
        layer.visible = data is not None
        layer.metadata = {**layer.metadata, KEY: {"role": role, **about}}

    def _points(self, role: str, points: Points, size: float, compared: bool) -> None:
        (colour, _, symbol), where = _CONES[role]
        name = f"cones {role}: {where}" if compared else f"cones {role}" if role != "kept" else "cones found"
        layer = self._here(role)
        if layer is None:
            layer = self._viewer.add_points(
                np.empty((0, 2)),
                name=name,
                symbol=symbol,
                size=size,
                border_width=0.14,
                **_colours(colour),
                **self._world,
            )
            layer = self._keep(role, layer)
        self._set_world(layer)
        layer.data = points
        layer.name = name
        layer.symbol = symbol
        layer.size = size
        for key, value in _colours(colour).items():
            setattr(layer, key, value)
        layer.selected_data = set()

    def _captions(
        self, pictures: dict[str, NDArray[Any] | None], names: dict[str, str], offsets: dict[str, Points]
    ) -> None:
        shown = [role for role in _PICTURES if pictures[role] is not None]
        height = next(picture.shape[0] for picture in pictures.values() if picture is not None)
        places = np.array([offsets[role] - (0.02 * height, 0) for role in shown])
        # The number alone: a name could be longer than its picture is wide.
        texts = [f"{role} {names[role].split()[0]}" for role in shown]
        text = {"string": "{caption}", "size": 10, "color": CAPTION, "anchor": "upper_left"}
        layer = self._here("captions")
        if layer is None:
            layer = self._viewer.add_points(
                places, name="captions", features={"caption": texts}, text=text, size=1, opacity=1.0,
                face_color="transparent", border_color="transparent", **self._world,
            )  # fmt: skip
            layer = self._keep("captions", layer)
        else:
            layer.data = places
            layer.features = {"caption": texts}
            layer.selected_data = set()
        self._set_world(layer)

    def _set_world(self, layer: Any) -> None:
        """Micrometres where they are known: those of the target, since its pixels are what is looked at."""
        for key, value in self._world.items():
            setattr(layer, key, value)


def _colours(colour: str) -> dict[str, str]:
    return {"face_color": "transparent", "border_color": colour}


def read_result(plan: SessionPlan, patch: str, output: Path | None) -> tuple[NDArray[Any] | None, str]:
    """The result of a patch, if there is one of this very session that differs from the original; and a sentence."""
    if output is None:
        return None, ""
    store = SessionStore(output, plan.settings.folder_name)
    record = store.read_record(patch)
    if record is None or record.get("fingerprint") != plan.fingerprint:
        return None, ""
    status = record["row"]["status"]
    if status == "failed":
        return None, f"; failed: {record['row']['error']}"
    if status not in ("enhanced", "corrected"):
        return None, "; kept as it is"
    try:
        return read_image(store.results / patch)[0], ""
    except StyleTransferError as error:
        return None, f"; {error}"


def own_copy(plan: SessionPlan) -> SessionPlan:
    """A plan with a store of images of its own: that of a plan at work belongs to the worker's thread."""
    return plan.replace()
