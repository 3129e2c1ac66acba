"""The widget "Assessment": from the button to the verdict, its places and its files."""

import csv
import json
from threading import Event

import numpy as np
import pytest
from napari.qt.threading import GeneratorWorker
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel

from napari_nst.errors import ParameterError, StyleTransferError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics.assessment import written
from napari_nst.metrics.verdict import SIGNS
from napari_nst.palette import LEVELS
from napari_nst.viewer import commands
from napari_nst.viewer.assessment import widget as module
from napari_nst.viewer.assessment.layers import ROLES
from napari_nst.viewer.common.compare import remember
from napari_nst.viewer.common.layers import plain

TIMEOUT = 120_000
RECORD = {"napari_nst": "0", "parameters": {"preset": "texture"}}
#: Where dots are planted that the target does not show: row, column.
DOTS = [(48 + 8 * y, 64 + 8 * x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


@pytest.fixture(scope="module")
def planted():
    """A mosaic with a dark disc, and the same with bright dots in it."""
    target = cone_mosaic((112, 128), spacing=9.0, seed=3).image.astype(float)
    y, x = np.mgrid[:112, :128]
    target[np.hypot(y - 48, x - 64) < 20] = np.percentile(target, 10)
    dots = sum(np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * 1.6**2)) for r, c in DOTS)
    result = target + np.ptp(target) * 0.6 * dots
    return tuple(np.clip(image, 0, 255).astype(np.uint8) for image in (target, result))


@pytest.fixture
def images(viewer, planted):
    """Target, style and result as a run leaves them."""
    world = {"scale": (0.5, 0.5), "units": ("um", "um"), "translate": (10, 20)}
    target = viewer.add_image(planted[0], name="poor", **world)
    style = viewer.add_image(planted[0][::-1].copy(), name="good", **world)
    result = viewer.add_image(planted[1], name="poor styled by good", metadata={"napari_nst": RECORD}, **world)
    remember(result, target, style)
    return target, style, result


@pytest.fixture
def assess(qtbot):
    """Waits for the end of an assessment."""

    def wait(widget):
        qtbot.waitUntil(lambda: not widget.is_running, timeout=TIMEOUT)
        return widget.assessment

    return wait


def table_texts(widget):
    tables = [widget.panel._tables.itemAt(n).widget() for n in range(widget.panel._tables.count())]
    return {label.text() for table in tables for label in table.findChildren(QLabel)}


def test_from_the_button_to_the_verdict(viewer, images, open_widget, assess, qtbot, tmp_path, monkeypatch):
    target, style, result = images
    transfer = open_widget()
    viewer.layers.selection.active = target
    before = len(viewer.layers)
    transfer.panel.assess.click()
    widget = commands.open_assessment(viewer)
    assert (widget.target.value, widget.result.value, widget.style.value) == tuple(
        plain(layer) for layer in (target, result, style)
    )
    assert widget.scale.get_value() == pytest.approx(0.5)
    assert all(widget.panel.isAncestorOf(field.native) for field in widget)
    assessment = assess(widget)
    assert assessment is not None, widget.panel.status.text()
    panel = widget.panel

    # The verdict can be read without its color.
    level = assessment.verdict.level
    assert panel.heading.text() == f"{SIGNS[level]}  {level.capitalize()}"
    assert LEVELS[level][1] in panel._box.styleSheet()
    said = " ".join(label.text().replace("\u200b", "") for label in (panel.verdict, panel.limits))
    assert said == assessment.verdict.text
    assert all(reason in panel.verdict.text() + panel.reasons.text() for reason in assessment.verdict.reasons)
    assert assessment.verdict.level in ("look", "distrust")  # dots where there was nothing

    # The dots are marked, and lie where they were planted.
    layers = widget.layers()
    assert list(layers) == list(ROLES)
    assert len(viewer.layers) == before + len(ROLES)
    unsupported = layers["new"].data[layers["new"].features["unsupported"].to_numpy()]
    distance = np.linalg.norm(unsupported[:, None] - np.array(DOTS)[None], axis=-1)
    assert (distance.min(axis=0) < 2).all()
    assert set(viewer.layers.selection) == {target}
    place = assessment.cones.places[0]
    assert panel.places.item(0).text() == (
        f"{place.count} new detections around row {place.row:.0f}, column {place.column:.0f}"
    )
    panel.places.setCurrentRow(0)
    panel.go.click()
    assert viewer.scene.camera.center[-2:] == pytest.approx((10 + place.row / 2, 20 + place.column / 2))
    viewer.scene.camera.center = (0, 0, 0)
    panel.places.itemDoubleClicked.emit(panel.places.item(0))
    assert viewer.scene.camera.center[-1] == pytest.approx(20 + place.column / 2)

    # Every number has its name and its meaning.
    labels = [label for label in panel.findChildren(QLabel) if not label.isHidden()]
    texts = {label.text() for label in labels}
    assert {"Measure", "Target", "Result", "Style", "Cones/mm²", "AIQ, dB", "New detections"} <= texts
    for measures in (assessment.before, assessment.after, assessment.style):
        assert str(len(measures.cones)) in texts
        assert written(measures.regularity) in texts
    named = [label for label in labels if label.text() in ("Regularity", "Cones lost", "Structure kept", "Moved, px")]
    assert len(named) == 4
    assert all(len(label.toolTip()) > 20 for label in named)

    # Saved beside each other, under a name that all three are free of.
    (tmp_path / "made.png").write_text("mine")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(tmp_path / "made.json"), ""))
    panel.save.click()
    files = {path.name: path for path in tmp_path.glob("made*")}
    assert sorted(files) == ["made.png", "made_1.csv", "made_1.json", "made_1.png"]
    assert files["made.png"].read_text() == "mine"
    assert files["made_1.png"].read_bytes().startswith(b"\x89PNG")
    assert "made_1.json" in panel.status.text().replace("\u200b", "")
    saved = json.loads(files["made_1.json"].read_text())
    assert saved["verdict"]["level"] == assessment.verdict.level
    assert saved["layers"]["target"]["name"] == "poor"
    assert saved["layers"]["result"]["part"]["stop"] == [112, 128]
    rows = list(csv.DictReader(files["made_1.csv"].read_text().splitlines()))
    assert [sum(row["cone"] == role for row in rows) for role in ("kept", "lost", "new")] == [
        len(getattr(assessment.cones, role)) for role in ("kept", "lost", "new")
    ]
    assert sum(row["unsupported"] == "1" for row in rows) == len(unsupported)

    # Once more, of the same: the same number of layers, in the same widget.
    commands.assess_selected(viewer)
    assert commands.open_assessment(viewer) is widget
    assess(widget)
    assert len(viewer.layers) == before + len(ROLES)


def test_any_two_images_and_what_is_wrong_with_them(viewer, planted, assess, notified):
    target = viewer.add_image(planted[0], name="before")
    result = viewer.add_image(planted[0], name="after")
    viewer.add_image(planted[0][:, :-1], name="smaller")
    viewer.layers.selection.clear()
    viewer.layers.selection.update({result, target})
    commands.assess_selected(viewer)
    widget = commands.open_assessment(viewer)
    assert (widget.target.value, widget.result.value) == (plain(target), plain(result))
    assert widget.style.value == "none"
    assert widget.scale.get_value() is None
    assessment = assess(widget)
    assert assessment.verdict.level == "unchanged"
    assert assessment.style is None
    assert "AIQ, dB" in table_texts(widget)
    assert "Style" not in table_texts(widget)

    widget.result.value = viewer.layers["smaller"]
    widget.panel.assess.click()
    assert "choose two images of one shape" in widget.panel.status.text()
    assert notified[-1][0] == "error"
    with pytest.raises(StyleTransferError, match="one shape"):
        widget.assess()
    assert widget.assessment is assessment


def test_an_error_of_the_thread_is_reported(viewer, planted, assess, notified, monkeypatch):
    def fail(request, control):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(module, "measure", fail)
    for name in ("before", "after"):
        viewer.add_image(planted[0], name=name)
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Assessment")
    errors = []
    widget.errored.connect(errors.append)
    widget.assess()
    with pytest.raises(StyleTransferError, match="under way"):
        widget.assess()
    assert assess(widget) is None
    assert "no such thing" in str(errors[0])
    assert "no such thing" in widget.panel.status.text()
    assert notified[-1][0] == "error"
    assert widget.panel.assess.isEnabled()
    assert not widget.panel.save.isEnabled()
    with pytest.raises(StyleTransferError, match="press Assess"):
        widget.save("x")
    with pytest.raises(ParameterError, match="no place 0"):
        widget.show_place(0)


def test_closing_the_dock_ends_it_without_layers(viewer, planted, monkeypatch):
    go = Event()
    measure = module.measure
    monkeypatch.setattr(module, "measure", lambda request, control: go.wait(60) and measure(request, control))
    for name in ("before", "after"):
        viewer.add_image(planted[0], name=name)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Assessment")
    widget.assess()
    viewer.window.remove_dock_widget(dock)
    assert not widget.is_running
    go.set()
    GeneratorWorker.await_workers(TIMEOUT)
    QApplication.processEvents()
    assert len(viewer.layers) == 2


def test_the_scale_is_a_number_or_unknown(viewer, planted, qtbot):
    from napari_nst.viewer.assessment.widget import AssessmentWidget

    viewer.add_image(planted[0], name="before", scale=(0.4, 0.4), units=("um", "um"))
    viewer.add_image(planted[0], name="after")
    widget = AssessmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    field = widget.scale
    assert field.get_value() == pytest.approx(0.4)
    for text, value in (("0,35", 0.35), ("", None), (" 2e-1 ", 0.2)):
        field.native.setText(text)
        assert field.get_value() == value
        assert not field.native.styleSheet()
    for text in ("0", "-1", "nan", "some"):
        field.native.setText(text)
        assert field.native.styleSheet()  # seen
        with pytest.raises(ParameterError, match="Pixel size"):
            widget.assess()
    widget.target.value = viewer.layers["after"]
    assert field.get_value() is None  # not the scale of another image
