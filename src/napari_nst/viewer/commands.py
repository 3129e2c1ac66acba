"""What the command palette and the Layers menu do: each works on the selected layers and says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import napari
from napari.layers import Image
from napari.utils.notifications import show_info, show_warning

from napari_nst.errors import StyleTransferError
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common.compare import add_checkerboard, add_difference, comparison_of, partners
from napari_nst.viewer.common.layers import made_by_us, plain

PLUGIN = "napari-nst"

SELECT_TWO = "Select two image layers: first the target, then the style."
SELECT_RESULT = "Select a layer that Style Transfer has made."
SELECT_TO_ASSESS = (
    "Select a layer that Style Transfer has made, or two image layers of one shape: an image and what was made of it."
)
NO_TARGET = "The target of {!r} is not in this viewer any more; open it again under the name it had."


class MissingError(StyleTransferError):
    """The layers that a command needs are not there or not selected."""


def _command(action: Callable[[Any], None]) -> Callable[[Any], None]:
    """Show the errors of a command as notifications; napari passes the viewer by its annotation."""

    @wraps(action)
    def command(viewer: napari.viewer.Viewer) -> None:
        try:
            action(plain(viewer))
        except MissingError as missing:
            show_info(str(missing))
        except StyleTransferError as error:
            show_warning(str(error))

    return command


@_command
def transfer_selected(viewer: napari.viewer.Viewer) -> None:
    """Open the widget with the two selected layers as target and style, ready to run."""
    images = [layer for layer in viewer.layers if layer in viewer.layers.selection and isinstance(layer, Image)]
    if len(images) != 2:
        raise MissingError(SELECT_TWO)
    # A selection has no order, but it knows the layer that was clicked last; else the list's order, from below.
    if getattr(viewer.layers.selection, "_current", None) is images[0]:
        images.reverse()
    widget = open_widget(viewer)
    widget.target.value, widget.style.value = images


@_command
def compare_side_by_side(viewer: napari.viewer.Viewer) -> None:
    """Show target, style and the selected result beside each other; once more puts the view back."""
    comparison = comparison_of(viewer)
    if comparison.active:
        comparison.stop()
    else:
        comparison.start(*_trio(viewer))


@_command
def signed_difference(viewer: napari.viewer.Viewer) -> None:
    """Add a layer with the signed difference of the selected result and its target."""
    target, _, result = _trio(viewer)
    add_difference(viewer, target, result)


@_command
def target_result_checkerboard(viewer: napari.viewer.Viewer) -> None:
    """Add a layer in which squares of the selected result and its target alternate."""
    target, _, result = _trio(viewer)
    add_checkerboard(viewer, target, result)


@_command
def copy_as_python(viewer: napari.viewer.Viewer) -> None:
    """Put a script that repeats the selected result's run on the clipboard."""
    from napari_nst.viewer.common.panel import copy_text
    from napari_nst.viewer.transfer.script import python_script

    result = selected_result(viewer)
    copy_text(python_script(result.metadata[KEY]))
    show_info(f"Copied: a Python script that makes {result.name!r} again.")


@_command
def assess_selected(viewer: napari.viewer.Viewer) -> None:
    """Assess the selected result against its target, or the upper of two selected images against the lower one."""
    # Not with the others: it brings what sessions need.
    from napari_nst.viewer.assessment.input import trio_selected
    from napari_nst.viewer.assessment.layers import is_ours

    images = [plain(layer) for layer in viewer.layers if isinstance(layer, Image) and not is_ours(layer)]
    trio = trio_selected(viewer, images)
    if trio is None:
        raise MissingError(NO_TARGET.format(selected_result(viewer, SELECT_TO_ASSESS).name))
    _assess(viewer, trio)


def assess_layer(viewer: Any, result: Any) -> None:
    """Assess a result, of a run or of a session, against its target; StyleTransferError when it cannot be assessed."""
    from napari_nst.viewer.assessment.input import trio_of

    trio = None if result is None else trio_of(plain(viewer), result)
    if trio is None:
        raise StyleTransferError("There is no result to assess: show one in the viewer first.")
    _assess(viewer, trio)


def _assess(viewer: Any, trio: Any) -> None:
    widget = open_assessment(viewer)
    widget.choose(trio)
    widget.assess()


def open_widget(viewer: napari.viewer.Viewer) -> Any:
    """The viewer's Style Transfer widget in front of others, opened if it is not there yet."""
    return _opened(viewer, "style_transfer", "Style Transfer")


def open_assessment(viewer: napari.viewer.Viewer) -> Any:
    """The viewer's Assessment widget in front of others, opened if it is not there yet."""
    return _opened(viewer, "assessment", "Assessment", tabify=True)


def _opened(viewer: Any, name: str, title: str, **how: Any) -> Any:
    from qtpy.QtWidgets import QDockWidget

    window = plain(viewer).window
    # The menu and add_plugin_dock_widget give different titles: looked up by title, there would be two widgets.
    docked = [inner for inner in window.dock_widgets.values() if getattr(inner, "name", None) == name]
    widget: Any = docked[0] if docked else window.add_plugin_dock_widget(PLUGIN, title, **how)[1]
    dock = widget.native
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parent()
    if dock is not None:
        dock.show()
        dock.raise_()
    return widget


def selected_result(viewer: Any, missing: str = SELECT_RESULT) -> Image:
    """The result that is meant: a selected one, else, when no image is selected or it is no result, the newest."""
    results = [layer for layer in viewer.layers if made_by_us(layer)]
    selected = [layer for layer in results if layer in viewer.layers.selection]
    if not results:
        raise MissingError(missing)
    layer: Image = (selected or results)[-1]
    return layer


def _trio(viewer: Any) -> tuple[Image, Image | None, Image]:
    result = selected_result(viewer)
    target, style = partners(viewer, result)
    if target is None:
        raise MissingError(NO_TARGET.format(result.name))
    return target, style, result
