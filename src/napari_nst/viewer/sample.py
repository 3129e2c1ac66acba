"""Sample data: a poor picture of cones, a good one to take its style from, and where the cones really are."""

from __future__ import annotations

from typing import Any

from napari_nst.imaging.mosaic import mosaic_pair
from napari_nst.palette import TRUE_CONES

__all__ = ["PIXEL_SIZE", "SAMPLES", "cone_mosaic_pair", "cone_mosaic_pair_16bit"]

#: Micrometres per pixel: neighbouring cones are then 4 µm apart, as they are a few degrees from the fovea.
PIXEL_SIZE = 0.5

#: Key of the sample in the manifest, and the dtype of its pictures.
SAMPLES = {"cone_mosaic_pair": "uint8", "cone_mosaic_pair_16bit": "uint16"}

LayerData = tuple[Any, dict[str, Any], str]


def cone_mosaic_pair() -> list[LayerData]:
    """Simulate a target to improve, a style to improve it with, and the target's true cones.

    Returns
    -------
    list of (data, keywords, layer type)
        Two images and points, always the same ones, in micrometres. The style lies beside the target, because it is
        another place of the same retina. The points are hidden at first.
    """
    return _pair("cone_mosaic_pair")


def cone_mosaic_pair_16bit() -> list[LayerData]:
    """The same as :func:`cone_mosaic_pair` in 16 bits, with a camera's offset and a part of its range."""
    return _pair("cone_mosaic_pair_16bit")


def _pair(key: str) -> list[LayerData]:
    pair = mosaic_pair(dtype=SAMPLES[key])
    place: dict[str, Any] = {"scale": (PIXEL_SIZE,) * 2, "units": ("um",) * 2, "axis_labels": ("y", "x")}
    beside = (0.0, PIXEL_SIZE * (pair.target.shape[1] + 16))
    return [
        (pair.target, {"name": "hazy cones", "colormap": "gray", **place}, "image"),
        (pair.style, {"name": "clear cones", "colormap": "gray", "translate": beside, **place}, "image"),
        (
            pair.target_cones,
            {
                "name": "true cones",
                "size": 0.6 * pair.spacing,
                "face_color": "transparent",
                "border_color": TRUE_CONES,
                "border_width": 0.12,
                "visible": False,
                **place,
            },
            "points",
        ),
    ]
