"""The command line: what is wrong usage, ``napari-nst demo`` and ``napari-nst info``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from napari_nst.cli.main import main


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transfer", "--epoch", "many"], "argument --epoch: must be a whole number"),
        (["transfer", "--alpha", "-1"], "argument --alpha: must be a number from 0 to 1e+12, got '-1'. Try 1.0."),
        (["transfer", "--preset", "best"], "documented"),
        (["nothing"], "demo"),
        ([], "COMMAND"),
    ],
)
def test_wrong_words_are_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "usage:" in said
    assert message in said


def test_importing_the_command_loads_no_torch():
    code = "import sys, napari_nst.cli.main as c; c.build_parser(); print([m for m in ('torch', 'cv2', 'matplotlib') if m in sys.modules])"
    message = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert message.strip() == "[]"


def test_info_names_versions_devices_and_weights(capsys):
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["weights"]["embedded"]["intact"] is True
    assert "cpu" in facts["devices"]
    assert facts["versions"]["torch"]
    assert run("info") == 0
    assert "torchvision:" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_writes_everything_and_says_where(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("napari_nst.demo._SIZE", (48, 48))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert run("demo", "-o", tmp_path / "demo") == 0
    found = {path.relative_to(tmp_path / "demo").as_posix() for path in (tmp_path / "demo").rglob("*.*")}
    assert found >= {
        "target.tif",
        "style.tif",
        "target_cones.csv",
        "comparison.png",
        "documented/target_style.tif",
        "documented/target_style.csv",
        "documented/nst/target_style_1.0_0.1.png",
        "microscopy/target_style.json",
        "microscopy/assessment.png",
    }
    assert str((tmp_path / "demo").resolve()) in capsys.readouterr().out
