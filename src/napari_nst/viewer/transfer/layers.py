"""What a transfer takes from layers and choices, and how its result becomes a layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.viewer.common.fields import CONTRAST
from napari_nst.viewer.common.layers import carried_over, default_folder, result_name, source_of, source_path
from napari_nst.viewer.common.region import (
    ALL,
    PLANE,
    Cut,
    cut_layer,
    finest,
    mask_of,
    micrometers,
    pixel_sizes,
)
from napari_nst.viewer.transfer.job import Placement, TransferRequest

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Shapes
    from napari.viewer import Viewer


def assemble(
    viewer: Viewer,
    target: Image,
    style: Image,
    parameters: dict[str, Any],
    *,
    region: str | Shapes,
    mask: str | Labels,
    style_mask: str | Labels,
    interval: float,
    folder: Path | None,
    write_files: bool,
) -> tuple[TransferRequest, Placement]:
    """Take from the layers what a transfer needs; ParameterError or ImageError when the choices do not fit them.

    The parameters' ``value_range`` may also be "contrast limits"; a mask is "none", "black border", or a Labels layer
    whose painted pixels are used; without a folder, files go beside the target's, or into the documents.
    """
    parameters = dict(parameters)
    options: dict[str, Any] = {"rgb": bool(target.rgb), "style_rgb": bool(style.rgb)}
    by_contrast = parameters.get("value_range") == CONTRAST
    if by_contrast:
        parameters["value_range"] = tuple(float(v) for v in target.contrast_limits)
        options["style_value_range"] = tuple(float(v) for v in style.contrast_limits)
    checked = StyleTransferParameters(**parameters)  # a wrong value is reported at once, not by the worker

    cut = cut_layer(target, viewer, region, "target")
    style_cut = cut_layer(style, viewer, _style_region(target, style, cut), "style")
    options["mask"] = mask_of(mask, target, cut, viewer)
    options["style_mask"] = mask_of(style_mask, style, style_cut, viewer)
    options["pixel_size"], options["style_pixel_size"] = pixel_sizes(target, cut, style, style_cut)

    sources = {"target": _source(target, cut), "style": _source(style, style_cut)}
    about = {
        "layers": {"target": target.name, "style": style.name},
        "layers_source": sources,
        "region": {"target": cut.describe(), "style": style_cut.describe()},
        "choices": {
            "value_range": CONTRAST if by_contrast else None,
            "region": _in_words(region),
            "mask": _in_words(mask),
            "style_mask": _in_words(style_mask),
        },
    }
    folder = (folder or default_folder(source_path(target))) if write_files else None
    request = TransferRequest(
        target=finest(target),
        style=finest(style),
        target_cut=cut,
        style_cut=style_cut,
        parameters=checked,
        options=options,
        target_name=target.name,
        style_name=style.name,
        inputs=sources,
        folder=folder,
        target_path=source_path(target),
        pixel_size_um=micrometers(target, cut),
        interval=interval,
    )
    arguments = {**carried_over(target, cut), "name": result_name(target.name, style.name)}
    return request, Placement(target, style, arguments, about)


def _style_region(target: Image, style: Image, cut: Cut) -> str:
    """All planes of the style only where they pair with all planes of the target; else the plane that is shown."""
    planes = [finest(target).shape[a] for a in cut.hidden]
    paired = cut.stack and style.ndim == target.ndim and [finest(style).shape[a] for a in cut.hidden] == planes
    return ALL if paired else PLANE


def _source(layer: Image, cut: Cut) -> dict[str, Any]:
    """Where the pixels come from, and which of them were used, for the script that repeats the run."""
    index = [cut.start[a] for a in cut.hidden] if cut.hidden and not cut.stack else None
    whole = all(cut.start[a] == 0 and cut.stop[a] == finest(layer).shape[a] for a in cut.axes)
    return source_of(layer, index, None if whole else [(cut.start[a], cut.stop[a]) for a in cut.axes])


def _in_words(choice: Any) -> str:
    return choice if isinstance(choice, str) else f"layer {choice.name}"
