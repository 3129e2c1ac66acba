"""The widget before a run: fields, presets, choices of layers, looks, and the buttons for results."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QApplication, QComboBox, QLabel, QLineEdit, QWidget

from napari_nst import StyleTransferParameters
from napari_nst.errors import ParameterError
from napari_nst.settings.presets import PRESETS, RECOMMENDED
from napari_nst.viewer.common.layers import plain

KEY = "napari_nst"


@pytest.fixture
def fresh(images, viewer):
    """A docked widget as it opens."""
    from napari_nst.viewer.transfer.widget import StyleTransferWidget

    widget = StyleTransferWidget(viewer)
    viewer.window.add_dock_widget(widget)
    return widget


def parameters(widget):
    return StyleTransferParameters(**widget.parameters.arguments())


# Fields -----------------------------------------------------------------------------------------------------------


def test_every_parameter_has_its_field(fresh):
    assert [field.name for field in fresh.parameters] == [spec.name for spec in StyleTransferParameters.specs()]
    assert parameters(fresh) == StyleTransferParameters(preset=RECOMMENDED)
    for spec in StyleTransferParameters.specs():
        field = fresh.parameters[spec.name]
        assert field.label == spec.label
        assert spec.help in field.tooltip
        if spec.kind == "choice":
            assert field.choices == spec.choices
    for field in (fresh.target, fresh.style, fresh.region, fresh.mask, fresh.write_files, *fresh.parameters):
        assert fresh.panel.isAncestorOf(field.native)


def test_values_survive_their_field(fresh):
    # In one widget, for opening one takes longer than all of this.
    for name, value in (
        ("epoch", 4),
        ("lr", 1e-7),
        ("alpha", 123456.789),
        ("tolerance", 0.25),
        ("device", "cuda:1"),
        ("weights", "caffe:/a/b.pth"),
        ("content_layers", ("relu1_1", "conv2_1")),
        ("style_layers", ("relu1_1", "relu1_2", "relu2_1", "conv2_2", "pool2")),
        ("style_layer_weights", (0.1, 2.0, 1 / 3, 1e-9, 5.0)),
        ("value_range", (-3.5, 4095.0)),
        ("value_range", "percentiles"),
        ("match_pixel_size", False),
        ("gram", "matched"),
        ("init", "spectrum"),
        ("content_from", "target"),
        ("style_spacing", 0.97),
        ("max_change", 0.0),
        ("seed", 2**31 - 1),
    ):
        fresh.parameters[name].value = value
        assert fresh.parameters[name].value == value
        assert getattr(parameters(fresh), name) == value
        fresh.reset_choices()
        assert fresh.parameters[name].value == value


def test_typed_text_counts(qtbot, fresh):
    editor = fresh.parameters.device.native.lineEdit()
    editor.clear()
    qtbot.keyClicks(editor, "cuda:3")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert fresh.parameters.device.value == "cuda:3"
    rate = fresh.parameters.lr
    rate.native.clear()
    qtbot.keyClicks(rate.native, "1e")
    assert rate.native.styleSheet()  # seen to be no number yet
    with pytest.raises(ParameterError, match="`lr` must be a number") as caught:
        parameters(fresh)
    assert fresh.parameters.message(caught.value).startswith('"Learning rate" must be a number')
    qtbot.keyClicks(rate.native, "-2")
    assert not rate.native.styleSheet()
    assert rate.value == 0.01


def test_a_preset_fills_and_edits_count(fresh):
    fields = fresh.parameters
    assert fresh.panel.labels["preset"].text() == "Preset"
    fields.preset.value = "texture"
    assert parameters(fresh) == StyleTransferParameters(preset="texture")
    assert fresh.panel.restore.isHidden()
    fields.lr.value = 0.001
    assert parameters(fresh) == StyleTransferParameters(preset="texture", lr=0.001)
    assert fresh.panel.labels["preset"].text() == "Preset (changed)"
    assert not fresh.panel.restore.isHidden()
    fresh.panel.restore.click()
    assert parameters(fresh) == StyleTransferParameters(preset="texture")
    assert fresh.panel.labels["preset"].text() == "Preset"

    # Fields that no preset governs stay.
    fresh.parameters.seed.value = 7
    fresh.parameters.device.value = "cpu"
    fresh.parameters.preset.value = "gatys"
    assert parameters(fresh) == StyleTransferParameters(preset="gatys", seed=7, device="cpu")


def test_an_optimizer_brings_its_learning_rate(fresh):
    for preset in PRESETS:
        fresh.parameters.preset.value = preset
        assert parameters(fresh) == StyleTransferParameters(preset=preset)
        for optimizer in ("lbfgs", "adam", "lbfgs"):
            fresh.parameters.optimizer.value = optimizer
            assert parameters(fresh) == StyleTransferParameters(preset=preset, optimizer=optimizer)


def test_preferences_are_taken_over(viewer, images, monkeypatch, tmp_path):
    from napari_nst.viewer.transfer import widget as module

    chosen = {"preset": "texture", "device": "cpu", "weights": "torchvision", "output_folder": str(tmp_path)}
    monkeypatch.setattr(module, "defaults", lambda: chosen)
    widget = module.StyleTransferWidget(viewer)
    viewer.window.add_dock_widget(widget)
    assert parameters(widget) == StyleTransferParameters(preset="texture", device="cpu", weights="torchvision")
    assert widget.output_folder.value == tmp_path


# Choices of layers ------------------------------------------------------------------------------------------------


def test_the_second_image_becomes_the_style(viewer, open_widget, rng):
    widget = open_widget()
    assert widget.target.value is None
    first = viewer.add_image(rng.random((20, 20)))
    assert widget.target.value is widget.style.value is plain(first)
    second = viewer.add_image(rng.random((20, 20)))
    assert (widget.target.value, widget.style.value) == (first, second)
    viewer.add_image(rng.random((20, 20)))
    assert (widget.target.value, widget.style.value) == (first, second)


def test_choices_survive_what_happens_to_layers(viewer, fresh, images, rng):
    target, style = images
    assert (fresh.target.value, fresh.style.value) == (plain(target), plain(style))
    third = viewer.add_image(rng.random((20, 20)), name="third")
    fresh.target.value = style
    fresh.style.value = third
    seen = []
    fresh.target.changed.connect(seen.append)
    viewer.add_image(rng.random((20, 20)), name="another")
    style.name = "a new name"
    viewer.layers.move(0, 4)
    viewer.layers.remove(plain(target))
    assert fresh.target.value is plain(style)
    assert fresh.style.value is plain(third)
    assert fresh.target.current_choice == "a new name"
    assert seen == []
    viewer.layers.remove(plain(style))
    assert fresh.target.value is plain(third)
    assert seen == [plain(third)]


def test_regions_follow_the_target(viewer, fresh, images, rng):
    stack = viewer.add_image(rng.random((3, 30, 40)), name="stack")
    assert fresh.region.choices == ("whole layer",)
    fresh.target.value = stack
    assert fresh.region.choices == ("current plane", "all planes")
    shapes = viewer.add_shapes(name="roi")
    fresh.region.value = shapes
    fresh.target.value = images[0]
    assert fresh.region.value is plain(shapes)
    shapes.name = "renamed"
    assert fresh.region.current_choice == "rectangle in renamed"
    viewer.layers.remove(plain(shapes))
    assert fresh.region.value == "whole layer"


def test_masks_are_labels_layers(viewer, fresh):
    assert fresh.mask.choices == ("none", "black border")
    labels = viewer.add_labels(np.zeros((48, 64), dtype=int))
    fresh.mask.value = labels
    fresh.style_mask.value = "black border"
    labels.name = "painted"
    assert fresh.mask.value is plain(labels)
    assert fresh.mask.current_choice == "labels painted"


def test_the_border_mask_is_handed_on(widget, runner, images):
    images[0].data[:, :10] = 0
    images[0].data[12:, 9:] += 1
    widget.mask.value = "black border"
    layer = runner(widget)
    assert layer.metadata[KEY]["arguments"]["mask"] == "border"
    assert (layer.data[:, :9] == 0).all()


# Routes -----------------------------------------------------------------------------------------------------------


def test_opened_by_its_name(viewer, images):
    from napari_nst.viewer.transfer.widget import StyleTransferWidget

    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")
    assert isinstance(widget, StyleTransferWidget)
    assert widget.target.value is plain(images[0])
    assert viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")[1] is widget


def test_a_script_drives_it(viewer, images, runner, documents):
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")
    widget.target.value = viewer.layers["style"]
    widget.style.value = viewer.layers["target"]
    widget.parameters.preset.value = "texture"
    widget.parameters.style_layers.value = ("relu1_1",)
    widget.parameters.content_layers.value = ("relu1_1",)
    widget.parameters.epoch.value = 2
    assert widget.asdict()["target"] is plain(images[1])
    layer = runner(widget)
    assert layer.name == "style styled by target"


# Looks ------------------------------------------------------------------------------------------------------------


def controls(widget):
    """What a user can press or fill in."""
    for child in widget.native.findChildren(QWidget):
        inside = isinstance(child.parent(), (QComboBox, QAbstractSpinBox))  # an editor shows its field's tooltip
        if isinstance(child, (QComboBox, QAbstractSpinBox, QLineEdit, QAbstractButton)) and not inside:
            yield child


def test_what_is_seen_and_pressed(fresh):
    """In one widget: every control says what it does, all of it fits, and the keyboard goes from top to bottom."""
    every_control_has_a_tooltip(fresh)
    keyboard_goes_from_top_to_bottom(fresh)
    it_fits_a_dock(fresh)


def every_control_has_a_tooltip(fresh):
    found = list(controls(fresh))
    assert len(found) > 40
    assert [child for child in found if len(child.toolTip()) < 8] == []
    labels = [label for label in fresh.panel.findChildren(QLabel) if label.text()]
    assert [label.text() for label in labels if not label.toolTip()] == []


def it_fits_a_dock(fresh):
    """At 300 pixels nothing is cut off, and what is seen first fits a screen 768 pixels high."""
    panel = fresh.panel
    assert panel.minimumWidth() <= 300
    panel.advanced.expand(animate=False)
    content = panel.widget()
    content.resize(300, content.sizeHint().height())
    content.layout().activate()
    QApplication.sendPostedEvents()
    assert content.minimumSizeHint().width() <= 300
    for label in panel.findChildren(QLabel):
        if label.text() and not label.wordWrap():
            assert label.width() >= label.sizeHint().width(), label.text()
    panel.advanced.collapse(animate=False)
    content.layout().activate()
    assert content.sizeHint().height() < 500


def keyboard_goes_from_top_to_bottom(fresh):
    panel, chain = fresh.panel, []
    wanted = [fresh.target.native, fresh.style.native, *(fresh.parameters[n].native for n in ("preset", "alpha", "lr"))]
    wanted += [panel.run, panel.pause, panel.stop, panel.advanced.toggleButton(), panel.compare, panel.copy_python]
    at = fresh.target.native
    for _ in range(300):
        chain.append(at)
        at = at.nextInFocusChain()
    places = [chain.index(child) for child in wanted]
    assert places == sorted(places)


# Buttons for results ----------------------------------------------------------------------------------------------


def test_use_these_settings(viewer, widget, runner):
    assert not widget.panel.use_settings.isEnabled()
    widget.parameters.lr.value = 0.003
    first = runner(widget)
    wanted = parameters(widget)
    widget.parameters.lr.value = 0.004
    runner(widget)
    widget.parameters.preset.value = "gatys"
    viewer.layers.selection = {first}
    widget.panel.use_settings.click()
    assert parameters(widget) == wanted
    assert first.name in widget.panel.status.text()


def test_copy_as_python_and_the_theme_of_the_plot(viewer, widget, runner):
    from napari.utils.theme import get_theme

    runner(widget)
    QApplication.clipboard().setText("")
    widget.panel.copy_python.click()
    text = QApplication.clipboard().text()
    assert "transfer_style(" in text
    compile(text, "copied", "exec")
    for name in ("light", "dark"):
        viewer.theme = name
        wanted = np.array(get_theme(name).background.as_rgb_tuple()[:3]) / 255
        np.testing.assert_allclose(widget._plot.figure.get_facecolor()[:3], wanted)


def test_compare_difference_and_checkerboard(viewer, widget, runner):
    layer = runner(widget)
    panel = widget.panel
    panel.compare.click()
    assert viewer.canvas.grid.enabled
    assert panel.compare.text() == "Put back"
    panel.compare.click()
    assert not viewer.canvas.grid.enabled
    assert panel.compare.text() == "Compare"
    viewer.layers.selection = {layer}
    panel.difference.click()
    viewer.layers.selection = {layer}
    panel.checkerboard.click()
    assert len(viewer.layers) == 5
