"""The work of a session off the GUI thread: what it reports, scripts that could not use workers, and viewers that close."""

import sys
from types import SimpleNamespace

import pytest
from superqt.utils import WorkerBase

from napari_nst.settings.session import split_settings
from napari_nst.viewer.common.worker import Control
from napari_nst.viewer.session.job import SessionRequest, ShownPlan, _started_by_a_bare_script, session_work
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
