"""Runs from the widget: results, stop, pause, errors, and layers that go away meanwhile."""

import gc
import json
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.utils.progress import progress
from qtpy.QtCore import Qt

from napari_nst.errors import DivergenceError
from napari_nst.viewer.common.layers import plain

KEY = "napari_nst"


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def idle(widget):
    panel = widget.panel
    return panel.run.isEnabled() and not panel.pause.isEnabled() and not panel.stop.isEnabled()


def endless(widget):
    """So many steps that only Stop ends them."""
    widget.parameters.epoch.value = 1_000_000


# A whole run ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("drawn_plots")
def test_clicks_through_a_whole_run(qtbot, viewer, images, widget, runner, documents):
    runner.watch(widget)
    widget.parameters.epoch.value = 6
    click(qtbot, widget.panel.run)
    assert widget.is_running
    assert not widget.panel.run.isEnabled()
    assert widget.panel.stop.isEnabled()
    runner.wait(widget)

    (layer,) = runner.layers
    assert runner.errors == []
    assert [x.name for x in viewer.layers] == ["target", "style", "target styled by style"]
    assert viewer.layers[2] == layer
    assert layer.data.shape == images[0].data.shape
    assert layer.data.dtype == np.uint8
    assert (layer.data != images[0].data).any()
    assert idle(widget)
    assert widget.panel.progress.value() == widget.panel.progress.maximum() == 6
    assert "Finished after 6 steps" in widget.panel.status.text()
    assert "cpu" in widget.panel.device.text()
    assert widget._plot.lines["total"].get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert widget.target.value is plain(images[0])  # our own layer has not taken the choice
    assert widget.style.value is plain(images[1])
    assert not list(progress._all_instances)

    record = layer.metadata[KEY]
    assert record["steps"] == 6
    assert record["layers"] == {"target": "target", "style": "style"}
    files = {name: Path(path) for name, path in record["files"].items()}
    assert set(files) == {"image", "losses", "plot", "record"}
    assert all(path.is_file() and documents in path.parents for path in files.values())
    written = json.loads(files["record"].read_text(encoding="utf-8"))
    assert written["parameters"] == record["parameters"]
    assert written["inputs"]["target"]["name"] == "target"


def test_the_result_is_that_of_the_function(images, widget, runner):
    from napari_nst import arguments_from, transfer_style

    layer = runner(widget)
    again = transfer_style(images[0].data, images[1].data, **arguments_from(layer.metadata[KEY]))
    np.testing.assert_array_equal(layer.data, again.image)


def test_a_second_run_adds_a_second_layer(viewer, widget, runner):
    first, second = runner(widget), runner(widget)
    assert first is not second
    assert second.name == "target styled by style [1]"
    np.testing.assert_array_equal(first.data, second.data)
    assert first.metadata[KEY]["files"]["image"] != second.metadata[KEY]["files"]["image"]


def test_the_preview_is_one_layer_updated_in_place(viewer, widget, runner):
    endless(widget)
    runner.watch(widget)
    widget.run()
    runner.until(lambda: len(viewer.layers) == 3)
    preview = plain(viewer.layers[2])
    limits = list(preview.contrast_limits)
    first = preview.data.copy()
    runner.until(lambda: (preview.data != first).any())
    assert len(viewer.layers) == 3
    widget.stop()
    runner.wait(widget)
    assert runner.layers == [preview]
    assert list(preview.contrast_limits) == limits == list(viewer.layers[0].contrast_limits)


def test_a_rectangle_of_a_world(viewer, images, widget, runner):
    target = images[0]
    target.scale, target.translate, target.rotate = (0.5, 0.5), (7, 3), 30
    corners = [target.data_to_world(c) for c in ((8, 16), (8, 48), (40, 48), (40, 16))]
    shapes = viewer.add_shapes([np.array(corners)], shape_type="rectangle", name="roi")
    widget.region.value = shapes
    layer = runner(widget)
    assert layer.data.shape == (32, 32)
    for point in ((0, 0), (31, 5.5)):
        np.testing.assert_allclose(layer.data_to_world(point), target.data_to_world(np.add(point, (8, 16))))
    assert layer.metadata[KEY]["region"]["target"]["kind"] == "rectangle"


@pytest.mark.parametrize("region", ["current plane", "all planes"])
def test_stacks(viewer, images, widget, runner, pair, region):
    stack = viewer.add_image(
        np.stack([pair.target[i : i + 40, :48] for i in (0, 8, 16)]), name="stack", scale=(3, 1, 1)
    )
    viewer.dims.set_point(0, 3)
    widget.target.value, widget.region.value = stack, region
    layer = runner(widget)
    if region == "current plane":
        assert layer.data.shape == (1, 40, 48)
        np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (3, 0, 0))
    else:
        assert layer.data.shape == (3, 40, 48)
        assert all((layer.data[i] != stack.data[i]).any() for i in range(3))
    assert layer.metadata[KEY]["steps"] == 4 * layer.data.shape[0]


def test_contrast_limits_masks_and_pixel_sizes_reach_the_engine(viewer, images, widget, runner):
    target, style = images
    for layer, scale in ((target, 1.0), (style, 0.8)):
        layer.units, layer.scale = ("um", "um"), (scale, scale)
    target.contrast_limits, style.contrast_limits = (10, 120), (5, 200)
    labels = viewer.add_labels(np.zeros(target.data.shape, dtype=int), units=("um", "um"))
    labels.data[10:40, 20:60] = 3
    widget.parameters.value_range.value = "contrast limits"
    widget.mask.value = labels
    layer = runner(widget)
    record = layer.metadata[KEY]
    assert record["parameters"]["value_range"] == [10, 120]
    assert record["arguments"]["style_value_range"] == [5, 200]
    assert record["arguments"]["pixel_size"] == [1, 1]
    np.testing.assert_allclose(record["arguments"]["style_pixel_size"], [0.8, 0.8])
    np.testing.assert_array_equal(layer.data[labels.data == 0], target.data[labels.data == 0])
    widget.parameters.value_range.value = "auto"
    widget.use_settings(layer)
    assert widget.parameters.value_range.value == "contrast limits"


def test_color(viewer, images, widget, runner, rng):
    rgb = viewer.add_image(rng.integers(0, 255, (32, 40, 3), dtype=np.uint8), rgb=True, name="rgb")
    widget.target.value = rgb
    layer = runner(widget)
    assert layer.rgb
    assert layer.data.shape == (32, 40, 3)


def test_without_files_and_with_a_folder_that_cannot_be_written(widget, runner, documents, tmp_path, notified):
    widget.write_files.value = False
    layer = runner(widget)
    assert layer.metadata[KEY]["files"] == {}
    assert not documents.exists()
    assert notified == []
    # It costs no result.
    widget.write_files.value = True
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    widget.output_folder.value = blocker / "folder"
    other = runner(widget)
    assert other is not None
    assert other != layer
    assert [severity for severity, _ in notified] == ["warning"]
    assert str(blocker) in notified[0][1]
    assert "were not written" in widget.panel.status.text()


# Stop, pause ------------------------------------------------------------------------------------------------------


def test_stop_keeps_what_was_reached(qtbot, viewer, widget, runner):
    endless(widget)
    runner.watch(widget)
    click(qtbot, widget.panel.run)
    runner.wait_steps(widget, 2)
    click(qtbot, widget.panel.stop)
    runner.wait(widget)
    (layer,) = runner.layers
    assert layer.metadata[KEY]["stopped"] == "cancelled"
    assert layer.metadata[KEY]["steps"] >= 2
    assert "Stopped after" in widget.panel.status.text()
    assert idle(widget)


def test_pause_resume_and_stop_while_paused(qtbot, widget, runner):
    endless(widget)
    runner.watch(widget)
    click(qtbot, widget.panel.run)
    runner.wait_steps(widget, 1)
    click(qtbot, widget.panel.pause)
    assert widget.panel.pause.text() == "Resume"
    # The step at work comes to its end, and its snapshot here: at once, but on a busy machine.
    held, before = len(widget.losses), -1
    for _ in range(20):
        if held == before:
            break
        qtbot.wait(300)
        held, before = len(widget.losses), held
    assert held == before
    click(qtbot, widget.panel.pause)
    runner.wait_steps(widget, held + 2)
    click(qtbot, widget.panel.pause)
    click(qtbot, widget.panel.stop)
    runner.wait(widget)
    assert runner.layers[0].metadata[KEY]["stopped"] == "cancelled"
    assert idle(widget)


def test_stop_before_the_first_step_adds_nothing(viewer, widget, runner):
    runner.watch(widget)
    widget.run()
    widget.stop()
    runner.wait(widget)
    assert runner.layers == [None]
    assert len(viewer.layers) == 2
    assert "nothing is added" in widget.panel.status.text()


# Layers and viewers that go ---------------------------------------------------------------------------------------


def test_renamed_and_removed_layers(viewer, images, widget, runner):
    endless(widget)
    runner.watch(widget)
    widget.run()
    runner.wait_steps(widget, 1)
    images[0].name = "renamed"
    viewer.layers[2].name = "mine"
    assert widget.target.value is plain(images[0])
    viewer.layers.remove(plain(images[0]))
    viewer.layers.remove(plain(images[1]))
    count = len(widget.losses)
    runner.wait_steps(widget, count + 1)
    widget.stop()
    runner.wait(widget)
    assert [layer.name for layer in viewer.layers] == ["mine"]
    assert viewer.layers[0] == runner.layers[0]


def test_a_deleted_preview_stops_the_run_and_stays_away(viewer, widget, runner, documents):
    endless(widget)
    runner.watch(widget)
    widget.run()
    runner.wait_steps(widget, 1)
    viewer.layers.remove(plain(viewer.layers[2]))
    runner.wait(widget)
    assert runner.layers == [None]
    assert len(viewer.layers) == 2
    assert "deleted" in widget.panel.status.text()
    assert not documents.exists()


def test_closing_the_viewer_ends_the_run(qtbot, make_napari_viewer_proxy, pair, runner):
    from superqt.utils import WorkerBase

    from napari_nst.viewer.transfer.widget import StyleTransferWidget

    viewer = make_napari_viewer_proxy()
    viewer.add_image(pair.target)
    viewer.add_image(pair.style)
    widget = StyleTransferWidget(viewer)
    viewer.window.add_dock_widget(widget)
    endless(widget)
    runner.watch(widget)
    widget.run()
    runner.wait_steps(widget, 1)
    viewer.close()
    runner.until(lambda: not WorkerBase._worker_set)
    assert len(viewer.layers) == 0


def test_closing_the_dock_ends_the_run_and_keeps_its_layer(viewer, widget, runner):
    endless(widget)
    runner.watch(widget)
    widget.run()
    runner.wait_steps(widget, 1)
    viewer.window.remove_dock_widget(widget.native)
    runner.wait(widget)
    assert [layer.name for layer in viewer.layers][2:] == ["target styled by style"]
    assert viewer.layers[2].metadata[KEY]["stopped"] == "cancelled"
    widget.native.deleteLater()  # napari leaves a removed widget to its owner
    runner.qtbot.wait(50)


def test_two_widgets_do_not_fight(viewer, widget, open_widget, runner):
    other = open_widget("second")
    endless(widget)
    endless(other)
    before = warnings.showwarning, list(warnings.filters)
    for one in (widget, other):
        runner.watch(one)
        one.run()
    runner.wait_steps(widget, 1)
    runner.wait_steps(other, 1)
    other.stop()
    runner.wait(other)
    assert widget.is_running
    widget.stop()
    runner.wait(widget)
    assert len(viewer.layers) == 4
    assert len(set(map(id, runner.layers))) == 2
    assert (warnings.showwarning, list(warnings.filters)) == before


# Errors -----------------------------------------------------------------------------------------------------------


class Big:
    """Stands for the tensors of a run."""


def failing(error, alive, steps=0):
    """A transfer_events that holds something big and fails, after so many steps of the real one."""
    from napari_nst.transfer.api import transfer_events as real

    def fail():
        try:
            raise KeyError("below it")
        except KeyError as cause:
            raise error() from cause

    def transfer_events(*args, **kwargs):
        big = Big()
        alive.append(weakref.ref(big))
        if steps == 0:
            fail()
        for now in real(*args, **kwargs):
            yield now
            if now.step == steps:
                fail()

    return transfer_events


def out_of_memory():
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (lambda: RuntimeError("shapes do not fit"), "RuntimeError: shapes do not fit"),
        (out_of_memory, "OutOfMemoryError: CUDA out of memory"),
        (lambda: ValueError("no such thing"), "ValueError: no such thing"),
        (MemoryError, "not enough memory"),
    ],
    ids=["RuntimeError", "OutOfMemoryError", "ValueError", "MemoryError"],
)
def test_errors_reach_the_user_and_free_the_memory(viewer, widget, runner, notified, monkeypatch, error, told):
    for steps in (2, 0):  # with a preview, and before there is one
        alive = []
        with monkeypatch.context() as patched:
            patched.setattr("napari_nst.transfer.api.transfer_events", failing(error, alive, steps))
            assert runner(widget) is None
        assert [(severity, told in message) for severity, message in notified] == [("error", True)]
        assert told in widget.panel.status.text().replace("\u200b", "")
        assert idle(widget)
        assert len(viewer.layers) == 2, "an unfinished preview was left behind"
        assert not isinstance(runner.errors[0], RuntimeError)
        gc.collect()
        assert [reference() for reference in alive] == [None]
        assert not list(progress._all_instances)
        notified.clear()
        runner.errors.clear()
        widget.panel.status.setText("")


def test_divergence_keeps_the_last_good_image(viewer, widget, runner, notified):
    # The first step goes a thousand times beyond the value range: the squares of Gram matrices there are infinite.
    widget.parameters.fill({"lr": 1e3, "beta": 1e12, "clip": False})
    layer = runner(widget)
    assert isinstance(runner.errors[0], DivergenceError)
    assert layer.metadata[KEY]["stopped"] == "diverged"
    assert np.isfinite(layer.data).all()
    assert notified[0][0] == "error"
    assert len(viewer.layers) == 3


def test_what_cannot_be_run_is_said_at_once(qtbot, viewer, widget, runner, notified):
    from napari_nst.errors import ImageError, ParameterError, StyleTransferError

    widget.parameters.style_layers.value = "relu9_9"
    with pytest.raises(ParameterError, match="relu9_9"):
        widget.run()
    click(qtbot, widget.panel.run)
    assert notified[-1][0] == "error"
    assert "relu9_9" in widget.panel.status.text().replace("\u200b", "")
    assert idle(widget)
    widget.parameters.style_layers.value = "relu1_1"
    endless(widget)
    widget.run()
    with pytest.raises(StyleTransferError, match="under way"):
        widget.run()
    widget.stop()
    runner.wait(widget)
    viewer.layers.clear()
    with pytest.raises(ImageError, match="no image"):
        widget.run()


def test_warnings_of_the_engine_are_seen_every_time(viewer, widget, runner, notified, pair):
    widget.style.value = viewer.add_image(pair.style, name="large")
    widget.parameters.gram.value = "sum"
    for _ in range(2):
        notified.clear()
        runner(widget)
        assert [severity for severity, _ in notified] == ["warning"]
        assert "times the target's area" in notified[0][1]
        assert "Warning" in widget.panel.status.text()
