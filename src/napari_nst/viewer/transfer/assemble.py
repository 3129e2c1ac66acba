"""From layers and choices to a request for the worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.viewer.common.layers import carried_over, default_folder, result_name, source_path
from napari_nst.viewer.common.region import ALL, PLANE, Cut, cut_layer, finest, mask_from_labels, pixel_sizes
from napari_nst.viewer.transfer.job import Placement, TransferRequest
from napari_nst.viewer.transfer.script import source_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Shapes
    from napari.viewer import Viewer

__all__ = ["BORDER", "CONTRAST", "NO_MASK", "Choices", "assemble", "micrometres"]

#: Choices that are no layers.
NO_MASK, BORDER = "none", "black border"
#: The value range that each layer's own contrast limits give.
CONTRAST = "contrast limits"


@dataclass(frozen=True)
class Choices:
    """What was chosen beside the two layers.

    Attributes
    ----------
    parameters : dict
        Fields of StyleTransferParameters; ``value_range`` may also be "contrast limits".
    region : str or Shapes
        See :func:`napari_nst.viewer.common.region.cut_layer`.
    mask, style_mask : str or Labels
        "none", "black border", or a Labels layer whose painted pixels are used.
    interval : float
        Seconds between two snapshots.
    folder : Path or None
        None: beside the target's file, or in the documents.
    write_files : bool
        Whether files are written.
    """

    parameters: dict[str, Any]
    region: str | Shapes
    mask: str | Labels = NO_MASK
    style_mask: str | Labels = NO_MASK
    interval: float = 0.3
    folder: Path | None = None
    write_files: bool = True


def assemble(viewer: Viewer, target: Image, style: Image, choices: Choices) -> tuple[TransferRequest, Placement]:
    """Take from the layers what a run needs.

    Raises
    ------
    ParameterError, ImageError
        When the choices do not fit the layers; nothing has been started then.
    """
    parameters = dict(choices.parameters)
    options: dict[str, Any] = {"rgb": bool(target.rgb), "style_rgb": bool(style.rgb)}
    by_contrast = parameters.get("value_range") == CONTRAST
    if by_contrast:
        parameters["value_range"] = tuple(float(v) for v in target.contrast_limits)
        options["style_value_range"] = tuple(float(v) for v in style.contrast_limits)
    StyleTransferParameters(**parameters)  # a wrong value is said at once, not by the worker

    cut = cut_layer(target, viewer, choices.region, "target")
    style_cut = cut_layer(style, viewer, _style_region(target, style, cut), "style")
    options["mask"] = _mask(choices.mask, target, cut, viewer)
    options["style_mask"] = _mask(choices.style_mask, style, style_cut, viewer)
    options["pixel_size"], options["style_pixel_size"] = pixel_sizes(target, cut, style, style_cut)

    sources = {"target": _source(target, cut), "style": _source(style, style_cut)}
    about = {
        "layers": {"target": target.name, "style": style.name},
        "layers_source": sources,
        "region": {"target": cut.describe(), "style": style_cut.describe()},
        "choices": {
            "value_range": CONTRAST if by_contrast else None,
            "region": _said(choices.region),
            "mask": _said(choices.mask),
            "style_mask": _said(choices.style_mask),
        },
    }
    folder = (choices.folder or default_folder(source_path(target))) if choices.write_files else None
    request = TransferRequest(
        target=finest(target),
        style=finest(style),
        target_cut=cut,
        style_cut=style_cut,
        parameters=parameters,
        options=options,
        target_name=target.name,
        style_name=style.name,
        inputs=sources,
        folder=folder,
        target_path=source_path(target),
        pixel_size_um=micrometres(target, cut),
        interval=choices.interval,
    )
    arguments = {**carried_over(target, cut), "name": result_name(target.name, style.name)}
    return request, Placement(target, style, cut, arguments, about)


def _style_region(target: Image, style: Image, cut: Cut) -> str:
    """All planes of the style only where they pair with all planes of the target; else the plane that is shown."""
    planes = [finest(target).shape[a] for a in cut.hidden]
    paired = cut.stack and style.ndim == target.ndim and [finest(style).shape[a] for a in cut.hidden] == planes
    return ALL if paired else PLANE


def _mask(choice: Any, layer: Image, cut: Cut, viewer: Viewer) -> Any:
    if isinstance(choice, str):
        return {NO_MASK: None, BORDER: "border"}[choice]
    return None if choice is None else mask_from_labels(choice, layer, cut, viewer)


def _source(layer: Image, cut: Cut) -> dict[str, Any]:
    """Where the pixels come from, and which of them were used, for the script that repeats the run."""
    index = [cut.start[a] for a in cut.hidden] if cut.hidden and not cut.stack else None
    whole = all(cut.start[a] == 0 and cut.stop[a] == finest(layer).shape[a] for a in cut.axes)
    return source_of(layer, index, None if whole else [(cut.start[a], cut.stop[a]) for a in cut.axes])


def _said(choice: Any) -> str:
    return choice if isinstance(choice, str) else f"layer {choice.name}"


def micrometres(layer: Image, cut: Cut) -> tuple[float, float] | None:
    """Height and width of a pixel in µm, where the layer's units are lengths."""
    sizes = []
    for axis in cut.axes:
        unit = layer.units[axis]
        if not unit.is_compatible_with("um"):
            return None
        sizes.append(abs(float(layer.scale[axis])) * float((1 * unit).to("um").magnitude))
    return sizes[0], sizes[1]
