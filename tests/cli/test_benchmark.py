"""``napari-nst benchmark``: exit statuses, messages and the file."""

import json
import subprocess
import sys
import threading

import pytest

from napari_nst.cli.main import main

QUICK = ["--size", "32", "--steps", "1", "--device", "cpu", "--precision", "float32", "--threads", "1"]


def run(*arguments):
    return main(["benchmark", *map(str, arguments)])


def test_a_table_is_reported_and_a_file_written_that_replaces_nothing(tmp_path, capsys):
    file = tmp_path / "new" / "speed.json"
    assert run(*QUICK, "--json", file) == 0
    message = capsys.readouterr().out
    assert "documented   float32" in message
    assert str(file) in message
    first = file.read_text(encoding="utf-8")
    assert json.loads(first)["size"] == 32
    assert run(*QUICK, "--json", file) == 0
    assert file.read_text(encoding="utf-8") == first
    assert file.with_name("speed_1.json").is_file()


@pytest.mark.parametrize(
    "options", [["--size", "5"], ["--steps", "0"], ["--device", "abacus"], ["--device", "cuda:99"], ["--json", "."]]
)
def test_wrong_usage_ends_with_2(options, capsys):
    assert run(*QUICK, *options) == 2
    assert options[1] in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--size", "small"], ["--precision", "float16"], ["--no-such-option"]])
def test_what_cannot_be_read_ends_with_2(options, capsys):
    with pytest.raises(SystemExit) as end:
        run(*options)
    assert end.value.code == 2
    assert options[-1] in capsys.readouterr().err


def test_a_failure_ends_with_1(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(*QUICK, "--json", tmp_path / "file" / "speed.json") == 1
    assert "napari-nst benchmark:" in capsys.readouterr().err


@pytest.fixture
def stopped_after(monkeypatch):
    """Sets the stop that Ctrl-C sets, after so many turns."""

    def after(turns):
        import contextlib

        import napari_nst.cli.benchmark as command

        cancel = threading.Event()

        @contextlib.contextmanager
        def bar(*arguments, **options):
            yield lambda done, total, title: cancel.set() if done >= turns else None

        monkeypatch.setattr(command, "progress_bar", bar)
        monkeypatch.setattr(command, "interruptible", lambda: contextlib.nullcontext(cancel))

    return after


def test_stopped_before_a_round_was_complete(stopped_after, tmp_path, capsys):
    stopped_after(1)
    assert run(*QUICK, "--json", tmp_path / "speed.json") == 130
    assert "nothing to report" in capsys.readouterr().err
    assert not (tmp_path / "speed.json").exists()


def test_stopped_later_reports_what_was_reached(stopped_after, tmp_path, capsys):
    stopped_after(7)  # three kinds: a round to warm up, one that counts, and a turn
    assert run(*QUICK, "--steps", "9", "--json", tmp_path / "speed.json") == 130
    assert "1 round," in capsys.readouterr().out
    assert json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["rounds"] == 1


def test_help_and_wrong_usage_import_no_torch():
    script = (
        "import sys\nfrom napari_nst.cli.main import main\n"
        "status = main(['benchmark', '--device', 'abacus'])\nprint(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["2", "False"]
