"""Sample data: a poor image of cones, a good one to take its style from, and where the cones are; and the demonstration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_nst.errors import StyleTransferError
from napari_nst.imaging.mosaic import mosaic_pair
from napari_nst.palette import TRUE_CONES

if TYPE_CHECKING:
    import napari

    from napari_nst.demo import DemoResults

#: µm per pixel: neighboring cones are then 4 µm apart, as they are a few degrees from the fovea.
PIXEL_SIZE = 0.5

#: Key of the sample in the manifest, and the dtype of its images.
SAMPLES = {"cone_mosaic_pair": "uint8", "cone_mosaic_pair_16bit": "uint16"}

LayerData = tuple[Any, dict[str, Any], str]


def cone_mosaic_pair() -> list[LayerData]:
    """Simulate a target to improve, a style to improve it with, and the target's true cones, always the same, in µm.

    The style lies beside the target, because it is another place of the same retina. The points are hidden at first.
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


def add_demo(viewer: napari.Viewer, demo: DemoResults) -> Any:
    """Add target, style, results and the true cones as layers, and open the widget on the pair."""
    pair = demo.pair
    look: dict[str, Any] = {"colormap": "gray", "contrast_limits": (0, 255)}
    target = viewer.add_image(pair.target, name="target", **look)
    style = viewer.add_image(pair.style, name="style", visible=False, **look)
    for name, result in demo.results.items():
        viewer.add_image(result.image, name=f"target ({name})", metadata={"napari_nst": result.metadata}, **look)
    viewer.add_points(
        pair.target_cones, name="true cones", size=2, face_color="transparent", border_color=TRUE_CONES, visible=False
    )
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")
    widget.target.value, widget.style.value = target, style
    return widget


def show_demo(demo: DemoResults) -> None:
    """Open napari on the demonstration and wait until it is closed; StyleTransferError without a Qt binding."""
    try:
        import napari

        viewer = napari.Viewer(title="napari-nst demo")
    except ImportError as error:
        raise StyleTransferError(
            f"napari cannot be opened: {error}. Install a Qt binding with: pip install 'napari-nst[all]'"
        ) from error
    add_demo(viewer, demo)
    napari.run()
