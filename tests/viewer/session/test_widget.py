"""The widget "Enhance Session": planning, pairs by hand, thresholds, running, stopping, resuming, and what goes wrong."""

import shutil

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent, QResizeEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_nst import StyleTransferParameters
from napari_nst.errors import FileError, ParameterError, StyleTransferError
from napari_nst.settings.session import SessionSettings, split_settings


@pytest.fixture
def widget(dock, set_quick):
    """Docked, with settings that take a second."""
    widget = dock()
    set_quick(widget)
    return widget


def status(widget):
    return widget.panel.status.text().replace("\u200b", "")


# Settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_has_its_field(dock):
    widget = dock()
    specs = (*SessionSettings.specs(), *StyleTransferParameters.specs())
    assert [field.name for field in widget.settings] == [spec.name for spec in specs]
    assert widget.settings.chosen() == split_settings({})
    for spec in specs:
        assert getattr(widget.settings, spec.name) is widget.settings[spec.name]
        assert spec.help in widget.settings[spec.name].tooltip
        assert spec.name in widget.panel.labels
    for field in (widget.folder, widget.output, widget.workers, widget.scheduler, *widget.settings):
        assert widget.panel.isAncestorOf(field.native)
    assert {spec.name for spec in specs if not spec.advanced} <= {
        *("method", "preset", "epoch", "quality", "treat", "threshold"),
        *("alpha", "beta", "lr", "device"),  # of the transfer: a session rarely changes them
    }


def test_values_reach_the_settings(widget):
    values = {
        "max_distance": 300.0,
        "quality": "markers",
        "markers": "/a/markers",
        "orientation": "left-down",
        "correction": "std_both_border_global",
        "figures": False,
        "value_range": (0.0, 4095.0),
        "epoch": 7,
        "threads": 2,
    }
    for threshold in (4.25, "auto"):
        for name, value in (values | {"threshold": threshold}).items():
            widget.settings[name].value = value
        settings, parameters = widget.settings.chosen()
        for name, value in (values | {"threshold": threshold}).items():
            assert getattr(settings if hasattr(settings, name) else parameters, name) == value
    for value in ("auto", 1, 6):
        widget.workers.value = value
        assert widget.workers.value == value
    widget.settings.preset.value = "texture"
    widget.settings.threads.value = 1
    filled = StyleTransferParameters(preset="texture", value_range=(0.0, 4095.0), threads=1)
    assert widget.settings.chosen()[1] == filled
    widget.workers.value = "many"
    with pytest.raises(ParameterError, match="many"):
        widget.run()


def test_former_names_are_served_with_a_warning(dock):
    widget = dock()
    for former, name in {"judge": "make_plan", "rejudge": "replan", "judged": "planned"}.items():
        with pytest.warns(DeprecationWarning, match=f"`{former}` was renamed. Use `{name}`"):
            assert getattr(widget, former) == getattr(widget, name)
    assert not hasattr(widget, "judges")


# Planning ---------------------------------------------------------------------------------------------------------


def test_before_anything_it_says_what_to_do(dock):
    widget = dock()
    panel = widget.panel
    assert "Choose a folder" in panel.empty.text()
    assert panel.pages.currentIndex() == 0
    assert not panel.plan.isEnabled()
    assert not panel.run.isEnabled()
    assert widget.table.empty
    with pytest.raises(FileError, match="Choose a folder"):
        widget.make_plan()
    for action in (lambda: widget.set_pair("a", "b"), lambda: widget.show_patch("a"), widget.find_pairs):
        with pytest.raises(StyleTransferError, match="press Plan"):
            action()


def test_the_table_is_the_plan(widget, folder, do, viewer):
    from napari_nst.session.planning import plan_session

    do(widget, widget.make_plan)
    expected = plan_session(folder, *widget.settings.chosen())
    assert len(do.plans) == 1
    assert do.plans[0] is widget.plan
    assert do.results == []  # only a run finishes
    pd.testing.assert_frame_equal(widget.table[expected.table.columns], expected.table)
    assert set(widget.table["status"]) == {"open"}
    assert widget.output_folder == folder.with_name("session-enhanced")
    assert not widget.output_folder.exists()
    counts = f"{len(expected.patches)} patches of 2 images: "
    assert widget.panel.summary.text().startswith(counts)
    assert {thumbnail.dtype for thumbnail in widget.model._thumbnails.values()} == {np.dtype(np.uint8)}
    assert widget._plot.threshold == 6.0
    assert widget.panel.minimumSizeHint().width() < 420
    dark = widget._plot.figure.get_facecolor()
    viewer.theme = "light"
    assert sum(widget._plot.figure.get_facecolor()[:3]) > sum(dark[:3])


def test_a_threshold_plans_again_without_reading(widget, do, monkeypatch):
    do(widget, widget.make_plan)
    monkeypatch.setattr("napari_nst.session.planning.plan_session", None)
    widget._plot.threshold_chosen.emit(1000.0)  # as dragging the line does
    assert widget.settings.threshold.value == 1000.0
    do.until(lambda: widget.plan.split.threshold == 1000.0)
    do.wait(widget)
    assert set(widget.table["quality"]) == {"poor"}
    labels = [text.get_text() for text in widget._plot.axes.get_legend().get_texts()]
    assert {f"poor: {len(widget.plan.patches)}", "good: 0"} < set(labels)
    widget.settings.threshold.value = 6.0
    do.until(lambda: widget.plan.split.threshold == 6.0)
    assert set(widget.table["quality"]) == {"good", "poor"}


def test_what_needs_the_images_is_said(widget, do):
    do(widget, widget.make_plan)
    widget.settings.size.value = 90
    do.until(lambda: "Patch size has changed" in status(widget))
    assert widget.plan.settings.size == 100
    do(widget, widget.run)
    assert widget.plan.settings.size == 90
    assert do.results[0].state == "finished"


def test_half_typed_settings_are_said_and_kept_out(widget, do):
    do(widget, widget.make_plan)
    plan, field = widget.plan, widget.settings.threshold
    field.native.setText("1e")
    assert field.native.styleSheet()  # seen to be no number yet
    with pytest.raises(ParameterError, match="threshold"):
        widget.run()
    widget.settings.treat.value = "all"
    do.until(lambda: '"Threshold" must be auto or a number' in status(widget))
    assert widget.plan is plan


def test_folders(widget, folder, do, tmp_path):
    do(widget, widget.make_plan)
    one, other = (folder / image.name for image in widget.plan.images)
    shutil.copyfile(other, one)
    widget.view.wanted.emit(widget.plan.patches[0].patch.name)
    assert "has changed since" in status(widget)
    widget.folder.value = tmp_path
    assert widget.plan is None
    assert widget.panel.pages.currentIndex() == 0


# Pairs ------------------------------------------------------------------------------------------------------------


def test_pairs_by_hand_outlast_another_threshold(widget, do):
    do(widget, widget.make_plan)
    one, two = (planned.patch.name for planned in widget.plan.treated[:2])
    good = next(planned.patch.name for planned in widget.plan.patches if planned.good)
    widget.set_pair(one.removesuffix(".tif"), good)
    widget.view.select(two)
    widget.view.undone.emit(widget.view.selected())  # as the key Delete does
    assert widget.table.set_index("patch")["style"][[one, two]].tolist() == [good, ""]
    assert widget.plan.pairs_given
    widget.settings.threshold.value = 5.5
    do.until(lambda: widget.plan.split.threshold == 5.5)
    do.wait(widget)
    assert widget.table.set_index("patch")["style"][[one, two]].tolist() == [good, ""]
    do(widget, widget.make_plan)
    assert widget.plan[one].style == good
    do(widget, widget.find_pairs)
    assert not widget.plan.pairs_given
    assert widget.plan[two].treat


def test_a_style_is_chosen_in_the_table(widget, do, notified):
    do(widget, widget.make_plan)
    one = widget.plan.treated[0].patch.name
    choices = widget._style_choices(one)
    assert choices[0] == ("(not enhanced)", "")
    assert "(good, " in choices[1][0]
    wanted = choices[-1][1]
    widget.model.style_chosen.emit(one, wanted)
    assert widget.plan[one].style == wanted
    widget.model.style_chosen.emit(one, one)
    assert "own style" in status(widget)
    assert notified[-1][0] == "error"


def test_pairs_are_saved_and_loaded(widget, do, tmp_path, monkeypatch):
    do(widget, widget.make_plan)
    one = widget.plan.treated[0].patch.name
    widget.set_pair(one, None)
    pairs = {planned.patch.name: planned.style for planned in widget.plan.treated}
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a: (str(tmp_path / "pairs.csv"), ""))
    widget.panel.save_pairs.click()
    assert "pairs.csv" in status(widget)
    do(widget, widget.find_pairs)
    assert widget.plan[one].treat
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a: (str(tmp_path / "pairs.csv"), ""))
    widget.panel.load_pairs.click()
    assert {planned.patch.name: planned.style for planned in widget.plan.treated} == pairs
    (tmp_path / "pairs.csv").write_text("patch,style\nnobody,\n")
    widget.panel.load_pairs.click()
    assert "nobody" in status(widget)


# Running ----------------------------------------------------------------------------------------------------------


def test_a_run_from_the_folder_to_the_images(widget, folder, do, viewer):
    do(widget, widget.run)  # plans by itself
    result = do.results[0]
    assert do.plans
    assert (result.state, result.ok) == ("finished", True)
    assert result.folder == folder.with_name("session-enhanced") == widget.output_folder
    table = widget.table.set_index("patch")
    assert table["status"].to_dict() == result.table.set_index("patch")["status"].to_dict()
    assert "enhanced" in set(table["status"])
    assert "patches of 2 images" in status(widget)
    assert "session-enhanced" in status(widget)
    assert widget.panel.progress.isHidden()
    name = widget.plan.treated[0].patch.name
    widget.view.wanted.emit(name)  # as a click does
    assert widget._layers.layers()["result"].visible
    assert not widget.panel.assess.isHidden()
    row = table.loc[name]
    assert f"{row['kept']:.0f} kept, {row['lost']:.0f} lost, {row['new']:.0f} new" in widget.panel.seen.text()
    # Once more: reported, not repeated; also by a widget that has just been opened.
    do(widget, widget.run)
    assert do.results[1].repeated
    assert widget.output_folder == result.folder


def test_results_of_before_are_seen_at_once(widget, folder, do, dock, set_quick):
    do(widget, widget.run)
    again = dock("again")
    set_quick(again)
    do(again, again.make_plan)
    assert again.table["status"].tolist() == widget.table["status"].tolist()
    again.settings.threshold.value = 5.0  # another session, so another folder
    do.until(lambda: again.output_folder == folder.with_name("session-enhanced-2"))
    assert set(again.table["status"]) == {"open"}


def test_pairs_by_hand_are_recorded_as_given(widget, do):
    do(widget, widget.make_plan)
    names = [planned.patch.name for planned in widget.plan.treated]
    widget.set_pair(names[0], None)
    do(widget, widget.run)
    result = do.results[0]
    assert result.plan.pairs_given
    assert result.table.set_index("patch")["status"][names[0]] == "kept"
    do(widget, widget.run)
    assert do.results[1].repeated


def test_stop_keeps_what_is_finished_and_run_goes_on(widget, do, monkeypatch):
    from napari_nst.session import cluster

    original, calls = cluster.run_task, []

    def one_then_stop(task, *arguments):
        calls.append(task.patch)
        record = original(task, *arguments)
        if len(calls) == 2:
            widget._job.stop()  # touches nothing of Qt: this is the worker's thread
        return record

    do(widget, widget.make_plan)
    monkeypatch.setattr(cluster, "run_task", one_then_stop)
    do(widget, widget.run)
    assert do.results[0].state == "cancelled"
    assert "Run goes on there" in status(widget)
    done = widget.table["status"] != "open"
    assert widget.table["patch"][done].tolist() == calls[:2]
    assert not (widget.table["status"] == "running").any()
    do(widget, widget.run)
    assert do.results[1].state == "finished"
    assert sorted(calls) == sorted(widget.table["patch"])  # each was enhanced once


def test_patches_of_a_run_are_locked(widget, do):
    widget.make_plan()
    widget.stop()
    assert widget.panel.stop.text() == "Stopping…"
    do.wait(widget)
    do(widget, widget.make_plan)
    name = widget.plan.treated[0].patch.name
    widget.run()
    for action in (widget.run, widget.make_plan, lambda: widget.set_pair(name, None)):
        with pytest.raises(StyleTransferError, match="is running"):
            action()
    assert widget.model.locked
    widget.show_patch(name)  # looking is allowed
    widget.stop()
    do.wait(widget)
    assert not widget.model.locked


# What goes wrong --------------------------------------------------------------------------------------------------


def test_an_empty_folder(widget, tmp_path, do, notified):
    (tmp_path / "empty").mkdir()
    widget.folder.value = tmp_path / "empty"
    do(widget, widget.panel.run.click)
    assert isinstance(do.errors[0], FileError)
    assert do.results == [None]
    assert "holds no image" in status(widget)
    assert notified[-1][0] == "error"
    assert widget.panel.run.isEnabled()


def test_an_output_of_something_else(widget, folder, do):
    taken = folder.with_name("session-enhanced")
    (taken / "spectrum").mkdir(parents=True)
    (taken / "spectrum" / "mine.txt").write_text("mine")
    do(widget, widget.make_plan)
    assert widget.output_folder == folder.with_name("session-enhanced-2")  # automatic: another one
    widget.output.value = taken
    do.until(lambda: widget._output == taken)
    do(widget, widget.run)
    assert "Choose another output folder" in status(widget)
    assert do.results == [None]
    assert len(do.errors) == 1


def test_errors_that_nobody_foresaw_end_the_run_too(widget, do, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr("napari_nst.session.run.enhance_session", broken)
    do(widget, widget.run)
    assert isinstance(do.errors[0], StyleTransferError)
    assert "illegal memory access" in status(widget)
    assert not widget.is_running
    do.qtbot.wait(300)  # and it is not tried again and again
    assert len(do.errors) == 1


def test_a_setting_that_fails_is_not_tried_again_and_again(widget, do, tmp_path):
    do(widget, widget.make_plan)
    widget.errored.connect(do.errors.append)
    widget.settings.quality_table.value = str(tmp_path / "missing.csv")
    widget.settings.quality.value = "table"
    do.until(lambda: "missing.csv" in status(widget))
    do.wait(widget)
    do.qtbot.wait(300)
    assert len(do.errors) == 1
    assert widget.plan is not None


# Qt ---------------------------------------------------------------------------------------------------------------


def test_a_folder_is_dropped(dock, folder):
    widget = dock()
    for dropped in (folder, next(folder.iterdir())):
        widget.folder.value = None
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(dropped))])
        event = QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        )
        widget.panel.dropEvent(event)
        assert widget.folder.value == folder
        assert widget.panel.plan.isEnabled()


def test_at_the_side_and_at_the_bottom(widget, do):
    do(widget, widget.make_plan)
    panel = widget.panel
    for size, wide in (((450, 800), False), ((1200, 300), True), ((450, 800), False)):
        panel.setMinimumSize(*size)
        panel.resize(*size)
        QApplication.sendEvent(panel, QResizeEvent(panel.size(), panel.size()))  # nothing is on the screen here
        assert panel.wide is wide
        assert panel.splitter.orientation() == (Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)
        panel.further.expand(animate=False)
        panel.further.collapse(animate=False)
    assert panel.minimumSizeHint().width() <= 420


def test_tab_goes_from_the_folder_to_the_table(widget):
    seen, stop = [], widget.folder.line_edit.native
    for _ in range(200):
        seen.append(stop)
        stop = stop.nextInFocusChain()
        if stop is widget.folder.line_edit.native:
            break
    wanted = [
        widget.folder.line_edit.native,
        widget.output.line_edit.native,
        widget.settings.method.native,
        widget.settings.threshold.native,
        widget.panel.plan,
        widget.panel.run,
        widget.panel.stop,
        widget.view,
        widget.panel.save_pairs,
    ]
    places = [seen.index(native) for native in wanted]
    assert places == sorted(places)


def test_closing_the_dock_stops_the_run(widget, viewer, do):
    do(widget, widget.make_plan)
    widget.finished.connect(do.results.append)
    widget.run()
    viewer.window.remove_dock_widget(widget.native)
    do.wait(widget)
    assert do.results[0] is None or do.results[0].state in ("cancelled", "finished")
    widget.native.deleteLater()  # napari leaves a removed widget to its owner
    do.qtbot.wait(50)
