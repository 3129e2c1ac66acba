"""A folder of two small images, and the widget of sessions with settings that take a second."""

import shutil

import pytest

from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.images import write_image

TIMEOUT = 120_000


@pytest.fixture(scope="session")
def settings():
    """Settings that are quick, and give good patches and poor ones."""
    return {"method": "spectrum", "size": 100, "figures": False, "threshold": 6.0}


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("widget") / "session"
    folder.mkdir()
    for number, poor in enumerate([{}, {"psf_fwhm": 0.62, "photons": 250.0, "halo": 0.4}]):
        image = cone_mosaic((100, 180), spacing=9.0, seed=number, **poor).image
        write_image(folder / f"Subject3_OS_(0,{number})_a_very_long_name_that_must_not_widen_the_dock.tif", image)
    return folder


@pytest.fixture
def folder(made_folder, tmp_path):
    """A fresh copy of the session's images."""
    return shutil.copytree(made_folder, tmp_path / "session")


@pytest.fixture
def set_quick(folder, settings):
    """Fill the fields of a widget."""

    def fill(widget):
        widget.folder.value = folder
        for name, value in settings.items():
            widget.settings[name].value = value
        widget.workers.value = 1
        widget._rest.setInterval(30)  # nobody types here

    return fill


@pytest.fixture
def dock(viewer):
    """Docks one more widget of sessions, as it is."""
    from napari_nst.viewer.session.widget import EnhanceSessionWidget

    def open_widget(name="Enhance Session"):
        widget = EnhanceSessionWidget(viewer)
        viewer.window.add_dock_widget(widget, name=name)
        return widget

    return open_widget


class Runner:
    """Starts something, waits for its end, and keeps what was emitted."""

    def __init__(self, qtbot):
        self.qtbot, self.plans, self.results, self.errors = qtbot, [], [], []

    def __call__(self, widget, action, **arguments):
        signals = ((widget.planned, self.plans), (widget.finished, self.results), (widget.errored, self.errors))
        for signal, seen in signals:
            signal.connect(seen.append)
        try:
            action(**arguments)
            self.wait(widget)
        finally:
            for signal, seen in signals:
                signal.disconnect(seen.append)

    def wait(self, widget):
        self.qtbot.waitUntil(lambda: not widget.is_running, timeout=TIMEOUT)

    def until(self, condition):
        self.qtbot.waitUntil(condition, timeout=TIMEOUT)


@pytest.fixture
def do(qtbot):
    return Runner(qtbot)
