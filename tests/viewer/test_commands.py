"""The commands of the palette: they work on what is selected, and say what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_nst.viewer import commands
from napari_nst.viewer.common.compare import comparison_of, remember

RECORD = {
    "napari_nst": "0",
    "parameters": {"preset": "texture", "epoch": 3},
    "layers": {"target": "target", "style": "style"},
    "target": {"shape": [32, 32]},
    "style": {"shape": [32, 32]},
}


@pytest.fixture
def said():
    """Messages of this test."""
    before = len(notification_manager.records)
    return lambda: [record.message for record in notification_manager.records[before:]]


def image(seed):
    return np.random.default_rng(seed).integers(0, 255, (32, 32), dtype=np.uint8)


@pytest.fixture
def viewer(viewer):
    for seed, name in enumerate(("target", "style", "result")):
        viewer.add_image(image(seed), name=name)
    return viewer


@pytest.fixture
def result(viewer):
    layer = viewer.layers["result"]
    layer.metadata = {"napari_nst": RECORD}
    remember(layer, viewer.layers["target"], viewer.layers["style"])
    return layer


def select(viewer, *names):
    viewer.layers.selection.clear()
    for name in names:
        viewer.layers.selection.active = viewer.layers[name] if len(names) == 1 else None
        viewer.layers.selection.add(viewer.layers[name])


def test_what_is_missing_is_said(viewer, said):
    """In one viewer, for opening one takes longer than everything that is done in it."""
    told = []
    for command in (commands.compare_side_by_side, commands.signed_difference, commands.copy_as_python):
        command(viewer)
        told.append(commands.SELECT_RESULT)
        assert said() == told
    for names in ((), ("target",), ("target", "style", "result")):
        select(viewer, *names)
        commands.assess_selected(viewer)
        told.append(commands.SELECT_TO_ASSESS)
        assert said() == told
        commands.transfer_selected(viewer)
        told.append("Select two image layers: first the target, then the style.")
        assert said() == told
    assert len(viewer.layers) == 3
    assert not viewer.window.dock_widgets


def test_transfer_fills_the_widget_in_the_order_of_clicks(viewer):
    widgets = []
    for order in (("target", "style"), ("style", "target")):
        viewer.layers.selection.clear()
        for name in order:
            viewer.layers.selection.add(viewer.layers[name])
            # As a click does: the list makes the clicked layer the current one.
            viewer.layers.selection.__wrapped__._current = viewer.layers[name].__wrapped__
        commands.transfer_selected(viewer)
        (widget,) = viewer.window.dock_widgets.values()
        assert (widget.target.value.name, widget.style.value.name) == order
        widgets.append(widget)
    # Once more: the same widget, not a second one.
    assert widgets[0] is widgets[1]


def test_the_widget_of_the_menu_is_found(viewer):
    from napari_nst.viewer.transfer.widget import StyleTransferWidget

    widget = StyleTransferWidget(viewer)
    dock = viewer.window.add_dock_widget(widget, name="Style Transfer (Neural Style Transfer)")
    dock.hide()
    assert commands.open_widget(viewer) is widget
    assert isinstance(dock, QDockWidget)
    assert not dock.isHidden()
    assert len(viewer.window.dock_widgets) == 1


def test_compare_and_back(viewer, result):
    viewer.layers["style"].visible = False
    commands.compare_side_by_side(viewer)
    assert comparison_of(viewer).active
    assert viewer.canvas.grid.enabled
    commands.compare_side_by_side(viewer)
    assert not comparison_of(viewer).active
    assert not viewer.canvas.grid.enabled
    assert [layer.visible for layer in viewer.layers] == [True, False, True]


def test_layers_of_the_selected_result(viewer, result):
    newer = viewer.add_image(image(7), name="newer", metadata={"napari_nst": RECORD})
    for number, command in enumerate((commands.signed_difference, commands.target_result_checkerboard)):
        select(viewer, "result")
        command(viewer)
        assert "result" in viewer.layers[-1].name
        # With nothing selected that is a result, the newest one is meant.
        select(viewer, "style")
        command(viewer)
        assert newer.name in viewer.layers[-1].name
        assert len(viewer.layers) == 6 + 2 * number


def test_target_is_gone(viewer, result, said):
    viewer.layers.remove("target")
    asked = (commands.compare_side_by_side, commands.signed_difference, commands.assess_selected)
    for number, command in enumerate(asked, 1):
        command(viewer)
        assert said() == number * [commands.NO_TARGET.format("result")]


def test_errors_are_told(viewer, result, said):
    viewer.layers["target"].translate = (0.5, 0)
    commands.signed_difference(viewer)
    (message,) = said()
    assert "do not share their pixels" in message
    assert len(viewer.layers) == 3


def test_copy_as_python(viewer, result, said):
    commands.copy_as_python(viewer)
    script = QApplication.clipboard().text()
    assert 'preset="texture"' in script
    assert "epoch=3" in script
    compile(script, "script", "exec")
    assert "result" in said()[0]


def test_a_damaged_record_is_told(viewer, result, said):
    result.metadata = {"napari_nst": {**RECORD, "parameters": {"preset": "none such"}}}
    commands.copy_as_python(viewer)
    assert "none such" in said()[0]


def test_napari_gives_the_viewer(viewer, result, monkeypatch):
    from napari._app_model import get_app_model

    app = get_app_model()
    monkeypatch.setattr("napari.viewer.current_viewer", lambda: viewer.__wrapped__)
    called = app.injection_store.inject(commands.compare_side_by_side)
    called()
    assert comparison_of(viewer).active
    comparison_of(viewer).stop()
