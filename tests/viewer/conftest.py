"""A viewer with two images and a docked widget, and small seeded runs that take about a second."""

from __future__ import annotations

import contextlib
import gc
from unittest import mock

import numpy as np
import pytest
from app_model import Application
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication
from superqt.utils import WorkerBase

from napari_nst.viewer.common.compare import comparison_of

#: Generous: a slow machine must not fail, and nothing waits longer than it needs.
TIMEOUT = 120_000


@pytest.fixture(autouse=True)
def strict_qt(monkeypatch):
    """A widget that outlives its viewer fails its test."""
    monkeypatch.setenv("NAPARI_STRICT_QT", "1")


@pytest.fixture(autouse=True)
def documents(monkeypatch, tmp_path):
    """Nothing is written into anybody's documents."""
    folder = tmp_path / "documents"
    monkeypatch.setattr("platformdirs.user_documents_path", lambda: folder)
    return folder


@pytest.fixture
def drawn_plots():
    """The learning curves beside a result are drawn as they are."""


@pytest.fixture(autouse=True)
def plain_plots(request, monkeypatch):
    """Elsewhere the plot is empty: drawing curves takes longer than a quick run."""
    if "drawn_plots" not in request.fixturenames:
        from matplotlib.figure import Figure

        monkeypatch.setattr("napari_nst.transfer.files.learning_curves", lambda losses: Figure((1, 1)))


@pytest.fixture(autouse=True)
def no_worker_left():
    """Every run has ended with its test: the set is emptied by a signal, so its thread is over too."""
    yield
    WorkerBase.await_workers(TIMEOUT)


@pytest.fixture
def notified(monkeypatch):
    """The notifications that a user has seen, as (severity, message)."""
    from napari.utils.notifications import notification_manager

    seen = []

    def see(notification):
        seen.append((str(notification.severity), notification.message))

    notification_manager.notification_ready.connect(see)
    yield seen
    notification_manager.notification_ready.disconnect(see)


class SharedViewer:
    """One viewer for the tests of a module, cleaned after each: opening and closing it takes longer than most tests."""

    def __init__(self):
        self._viewer = self._closing = None

    def open(self):
        """The viewer, without layers and docks; made as napari's own fixture makes one for each test."""
        if self._viewer is None:
            from napari import Viewer
            from napari._app_model._app import NapariApplication, _napari_names
            from napari._qt._qapp_model.qactions import init_qactions
            from napari.plugins import _initialize_plugins
            from napari.settings import get_settings

            self._closing = contextlib.ExitStack()
            patch = self._closing.enter_context(pytest.MonkeyPatch.context())
            get_settings().reset()
            for made_once in (_initialize_plugins, init_qactions):
                made_once.cache_clear()
                self._closing.callback(made_once.cache_clear)
            app = NapariApplication("shared_app")
            app.injection_store.namespace = _napari_names
            self._closing.callback(Application.destroy, "shared_app")
            patch.setattr(NapariApplication, "get_app_model", lambda: app)
            patch.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None)
            self._viewer = Viewer(show=False, show_welcome_screen=False)
        return self._viewer

    def clean(self):
        """Take away what a test has added."""
        viewer = self._viewer
        if viewer is None:
            return
        for widget in list(viewer.window.dock_widgets.values()):
            native = getattr(widget, "native", widget)
            viewer.window.remove_dock_widget(native)
            native.deleteLater()
        comparison_of(viewer).stop()
        viewer.layers.clear()
        viewer.dims.reset()
        viewer.theme = "dark"
        flush()

    def close(self):
        """Close it; nothing of it may stay alive."""
        viewer, self._viewer = self._viewer, None
        if viewer is None:
            return
        from napari._qt.qt_viewer import QtViewer

        with mock.patch.object(viewer.window._qt_window, "_save_current_window_settings"):
            viewer.close()
        del viewer
        self._closing.close()
        flush()
        leaked = len(QtViewer._instances)
        QtViewer._instances.clear()
        assert leaked == 0, "something keeps the viewer alive"


def flush():
    """Delete what Qt and Python delete later."""
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()
    gc.collect()


@pytest.fixture(scope="module")
def shared_viewer(qapp):
    shared = SharedViewer()
    yield shared
    shared.close()


@pytest.fixture(autouse=True)
def one_viewer_at_a_time(request):
    """A test that opens its own viewer finds no other one."""
    if "make_napari_viewer" in request.fixturenames:
        request.getfixturevalue("shared_viewer").close()


@pytest.fixture
def viewer(shared_viewer, qtbot, monkeypatch):
    """The module's viewer, as a plugin gets it; what a test adds to it is gone after the test."""
    monkeypatch.setenv("NAPARI_ENSURE_PLUGIN_MAIN_THREAD", "True")
    opened = shared_viewer.open()
    before = set(QApplication.topLevelWidgets())
    yield PublicOnlyProxy(opened)
    WorkerBase.await_workers(TIMEOUT)
    shared_viewer.clean()
    leaked = set(QApplication.topLevelWidgets()) - before
    # What has a parent, such as the menu of a slider, goes with the viewer.
    assert [widget for widget in leaked if widget.parent() is None] == []


@pytest.fixture
def images(viewer, pair):
    """Target and style of 48 × 64 pixels in the viewer."""
    target = viewer.add_image(pair.target[:48, :64].copy(), name="target")
    style = viewer.add_image(pair.style[:48, :64].copy(), name="style")
    return target, style


@pytest.fixture
def open_widget(viewer):
    """Docks one more widget with a quick setting: shallow layers, four steps."""

    def dock(name="Style Transfer"):
        from napari_nst.viewer.transfer.widget import StyleTransferWidget

        widget = StyleTransferWidget(viewer)
        viewer.window.add_dock_widget(widget, name=name)
        set_quick(widget)
        return widget

    return dock


@pytest.fixture
def widget(images, open_widget):
    return open_widget()


def set_quick(widget, epoch=4):
    fields = widget.parameters
    fields.preset.value = "texture"
    fields.content_layers.value = ("relu2_1",)
    fields.style_layers.value = ("relu1_1", "relu2_1")
    fields.tolerance.value = 0.0
    fields.epoch.value = epoch
    fields.threads.value = 1
    fields.device.value = "cpu"
    widget.interval.value = 0.1


class Runner:
    """Runs a widget to its end, and keeps what it emitted."""

    def __init__(self, qtbot):
        self.qtbot = qtbot
        self.layers, self.errors = [], []

    def watch(self, widget):
        widget.finished.connect(self.layers.append)
        widget.errored.connect(self.errors.append)

    def until(self, condition):
        self.qtbot.waitUntil(condition, timeout=TIMEOUT)

    def wait(self, widget):
        self.qtbot.waitUntil(lambda: not widget.is_running, timeout=TIMEOUT)

    def wait_steps(self, widget, count=1):
        self.qtbot.waitUntil(lambda: widget.is_running and len(widget.losses) >= count, timeout=TIMEOUT)

    def __call__(self, widget):
        self.watch(widget)
        widget.run()
        self.wait(widget)
        assert self.layers, "finished was not emitted"
        return self.layers[-1]


@pytest.fixture
def runner(qtbot):
    return Runner(qtbot)


@pytest.fixture
def random(rng):
    """A random affine world for a layer of so many dimensions."""

    def make(ndim):
        turned, _ = np.linalg.qr(rng.normal(size=(ndim, ndim)))
        affine = np.eye(ndim + 1)
        affine[:-1, :-1] += 0.2 * rng.normal(size=(ndim, ndim))
        affine[:-1, -1] = 10 * rng.normal(size=ndim)
        return {
            "scale": rng.uniform(0.2, 3, ndim),
            "translate": rng.normal(size=ndim) * 20,
            "rotate": turned if np.linalg.det(turned) > 0 else -turned if ndim % 2 else turned[::-1],
            "shear": rng.uniform(-0.3, 0.3, ndim * (ndim - 1) // 2),
            "affine": affine,
        }

    return make


@pytest.fixture(scope="session", autouse=True)
def frozen_imports():
    """Leave what the imports made out of the garbage collector's rounds: napari's leak check runs several a test."""
    import napari.qt  # noqa: F401 - most of what a viewer needs
    import pandas  # noqa: F401 - for the table of sessions

    import napari_nst.transfer.api  # noqa: F401 - PyTorch

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
