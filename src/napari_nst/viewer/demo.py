"""Show the demonstration's pair and results in napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_nst.errors import StyleTransferError

if TYPE_CHECKING:
    import napari

    from napari_nst.demo import DemoResults
    from napari_nst.viewer.transfer.widget import StyleTransferWidget

__all__ = ["add_demo", "show_demo"]


def add_demo(viewer: napari.Viewer, demo: DemoResults) -> StyleTransferWidget:
    """Add target, style, results and the true cones as layers, and open the widget on the pair."""
    pair = demo.pair
    target = viewer.add_image(pair.target, name="target", colormap="gray", contrast_limits=(0, 255))
    style = viewer.add_image(pair.style, name="style", colormap="gray", contrast_limits=(0, 255), visible=False)
    for name, result in demo.results.items():
        layer = viewer.add_image(result.image, name=f"target ({name})", colormap="gray", contrast_limits=(0, 255))
        layer.metadata["napari_nst"] = result.metadata
    viewer.add_points(
        pair.target_cones, name="true cones", size=2, face_color="transparent", border_color="yellow", visible=False
    )
    widget: StyleTransferWidget
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")
    widget.target.value, widget.style.value = target, style
    return widget


def show_demo(demo: DemoResults) -> None:
    """Open napari on the demonstration and wait until it is closed.

    Raises
    ------
    StyleTransferError
        When there is no Qt to draw with.
    """
    try:
        import napari

        viewer = napari.Viewer(title="napari-nst demo")
    except ImportError as error:
        raise StyleTransferError(
            f"napari cannot be opened: {error}. Install a Qt binding with: pip install 'napari-nst[all]'"
        ) from error
    add_demo(viewer, demo)
    napari.run()
