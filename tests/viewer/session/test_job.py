"""The work of a session off the GUI thread: what it reports, scripts that could not use workers, and viewers that close."""

import sys
import threading
import warnings
from types import SimpleNamespace

import pytest
from superqt.utils import WorkerBase

from napari_nst.errors import StyleTransferWarning
from napari_nst.settings.session import split_settings
from napari_nst.viewer.common.job import Control
from napari_nst.viewer.session.job import (
    SessionRequest,
    ShownPlan,
    _cluster_warnings,
    _started_by_a_bare_script,
    session_work,
)
from napari_nst.viewer.session.widget import EnhanceSessionWidget


def test_the_plan_is_reported_before_the_patches(folder, settings):
    control, events = Control(), []
    control.send = events.append
    chosen = split_settings(settings)
    request = SessionRequest(folder, None, *chosen, enhance=True, workers=1)
    result = session_work(request, control)
    shown = next(event for event in events if isinstance(event, ShownPlan))
    assert result.folder == shown.output == folder.with_name("session-enhanced")
    patches = [planned.patch.name for planned in shown.plan.patches]
    assert sorted(shown.thumbnails) == sorted(patches)
    assert {(thumbnail.ndim, max(thumbnail.shape)) for thumbnail in shown.thumbnails.values()} == {(2, 38)}
    after = events[events.index(shown) + 1 :]
    assert [event.row["patch"] for event in after if event.row is not None] == patches
    # Once more: what is finished is found, and no image is read for it.
    again = session_work(SessionRequest(folder, None, *chosen, plan=shown.plan, thumbnails=shown.thumbnails), control)
    assert again.thumbnails is shown.thumbnails
    assert {name: row["status"] for name, row in again.rows.items()} == dict(
        zip(result.table["patch"], result.table["status"], strict=True)
    )


@pytest.mark.parametrize(
    ("text", "spec", "bare"),
    [
        ("import napari\nnapari.run()\n", None, True),
        ("if __name__ == '__main__':\n    main()\n", None, False),
        ("import napari\n", "spec", False),
        (None, None, False),
    ],
)
def test_scripts_without_a_guard_get_no_workers(text, spec, bare, tmp_path, monkeypatch):
    main = SimpleNamespace(__spec__=spec)
    if text is not None:
        (tmp_path / "script.py").write_text(text)
        main.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert _started_by_a_bare_script() is bare


def test_warnings_of_the_cluster_are_heard_every_time_and_others_left_alone():
    def warn(kind, text):
        warnings.warn(text, kind, stacklevel=1)

    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        before = warnings.showwarning, list(warnings.filters)
        for _ in range(2):
            seen = []
            with _cluster_warnings(seen.append):
                warn(StyleTransferWarning, "ours")
                warn(UserWarning, "theirs")
                thread = threading.Thread(target=warn, args=(StyleTransferWarning, "of another thread"))
                thread.start()
                thread.join()
            assert [str(message) for message in seen] == ["ours"]
        assert (warnings.showwarning, list(warnings.filters)) == before
    assert [str(warning.message) for warning in others] == ["theirs", "of another thread"] * 2


@pytest.mark.parametrize("action", ["make_plan", "run"])
def test_closing_the_viewer_ends_everything(make_napari_viewer_proxy, folder, do, set_quick, action):
    viewer = make_napari_viewer_proxy()
    widget = EnhanceSessionWidget(viewer)
    viewer.window.add_dock_widget(widget)
    set_quick(widget)
    getattr(widget, action)()
    do.qtbot.wait(300)
    viewer.close()
    do.until(lambda: not WorkerBase._worker_set)
