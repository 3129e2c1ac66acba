"""``napari-nst transfer``: exit statuses, files, records, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import tifffile

from napari_nst import StyleTransferParameters, mosaic_pair, save_transfer, transfer_style
from napari_nst.cli.main import build_parser, main

QUICK = ["--preset", "texture", "--epoch", "3", "--threads", "1"]


@pytest.fixture
def images(tmp_path):
    pair = mosaic_pair((48, 56), dtype=np.uint16)
    for name, image in (("target", pair.target), ("style", pair.style)):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    return tmp_path / "target.tif", tmp_path / "style.tif"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_transfer_writes_the_same_image_as_the_function(images, tmp_path, capsys):
    target, style = images
    assert run("transfer", target, style, "-o", tmp_path / "out", *QUICK) == 0
    expected = transfer_style(tifffile.imread(target), tifffile.imread(style), preset="texture", epoch=3, threads=1)
    written = tifffile.imread(tmp_path / "out" / "target_style.tif")
    assert written.dtype == np.uint16
    np.testing.assert_array_equal(written, expected.image)
    rows = np.loadtxt(tmp_path / "out" / "target_style.csv", delimiter=",")
    np.testing.assert_array_equal(rows, np.stack(expected.losses))
    assert (tmp_path / "out" / "nst" / "target_style_1.0_1.0.png").is_file()
    message = capsys.readouterr().out
    assert "Done after 3 steps" in message
    assert "target_style.json" in message


def test_the_record_repeats_the_run_and_nothing_is_overwritten(images, tmp_path):
    target, style = images
    out = tmp_path / "out"
    mask = np.zeros((48, 56), np.uint8)
    mask[:, :40] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    assert run("transfer", target, style, "-o", out, "--mask", tmp_path / "mask.tif", *QUICK) == 0
    first = (out / "target_style.tif").read_bytes()
    assert run("transfer", "--from", out / "target_style.json", "-o", out) == 0
    assert (out / "target_style.tif").read_bytes() == first
    np.testing.assert_array_equal(
        tifffile.imread(out / "target_style.tif"), tifffile.imread(out / "target_style_1.tif")
    )
    assert (out / "target_style_1.json").is_file()


def test_options_beside_a_record_replace_recorded_ones(images, tmp_path):
    target, style = images
    assert run("transfer", target, style, "-o", tmp_path, *QUICK) == 0
    assert run("transfer", "--from", tmp_path / "target_style.json", "--epoch", "2", "-o", tmp_path) == 0
    record = json.loads((tmp_path / "target_style_1.json").read_text())
    assert record["steps"] == 2
    assert record["parameters"]["preset"] == "texture"


def test_a_changed_input_is_noticed(images, tmp_path, capsys):
    target, style = images
    assert run("transfer", target, style, "-o", tmp_path, *QUICK) == 0
    tifffile.imwrite(target, tifffile.imread(target)[::-1])
    assert run("transfer", "--from", tmp_path / "target_style.json", "-o", tmp_path) == 1
    assert "is not the recorded target any more" in capsys.readouterr().err


def test_the_record_of_a_part_repeats_the_part(images, tmp_path):
    """As the widget records it: a plane of a stack, and a region of that."""
    target, style = images
    stack = np.stack([tifffile.imread(style), tifffile.imread(target), tifffile.imread(style)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    part = stack[1, 4:40, 8:56]
    result = transfer_style(part, tifffile.imread(style), preset="texture", epoch=2, threads=1)
    save_transfer(
        result,
        tmp_path,
        "stack",
        "style",
        inputs={
            "target": {"path": tmp_path / "stack.tif", "index": [1], "region": [[4, 40], [8, 56]]},
            "style": {"path": style},
        },
    )
    assert run("transfer", "--from", tmp_path / "stack_style.json", "-o", tmp_path / "again") == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "again" / "stack_style.tif"), result.image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--style-layers", "relu9_9"], "'relu9_9'"),
        (["--device", "tpu"], "--device cannot be 'tpu'. Where to compute: auto"),
        (["-o", "result.tif"], "give a folder"),
    ],
)
def test_wrong_values_are_wrong_usage(images, arguments, message, capsys):
    assert run("transfer", *images, *arguments) == 2
    assert message in capsys.readouterr().err


def test_one_image_is_not_enough(images, capsys):
    assert run("transfer", images[0]) == 2
    assert "Two images are needed" in capsys.readouterr().err


def test_failures_exit_with_one_and_a_remedy(images, tmp_path, capsys):
    assert run("transfer", tmp_path / "absent.tif", images[1]) == 1
    assert "absent.tif" in capsys.readouterr().err
    tifffile.imwrite(tmp_path / "flat.tif", np.full((32, 32), 7, np.uint8))
    assert run("transfer", tmp_path / "flat.tif", images[1], "-o", tmp_path) == 1
    assert "constant" in capsys.readouterr().err


def test_help_explains_every_parameter_with_its_default():
    commands = next(a for a in build_parser()._actions if hasattr(a, "choices") and a.choices and "demo" in a.choices)
    text = " ".join(commands.choices["transfer"].format_help().split())
    for spec in StyleTransferParameters.recommended_specs():
        assert f"--{spec.name.replace('_', '-')}" in text
        assert " ".join(spec.help.split()[:4]) in text
        assert f"default: {spec.to_text(spec.default) or 'none'}" in text


def test_pixel_sizes_in_the_files_are_matched(images, tmp_path):
    pair = mosaic_pair((48, 48))
    for name, size in (("fine", 0.5), ("coarse", 0.6)):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            pair.target if name == "fine" else pair.style,
            imagej=True,
            resolution=(1 / size, 1 / size),
            metadata={"unit": "um"},
        )
    assert run("transfer", tmp_path / "fine.tif", tmp_path / "coarse.tif", "-o", tmp_path, *QUICK) == 0
    record = json.loads((tmp_path / "fine_coarse.json").read_text())
    np.testing.assert_allclose(record["used"]["style_resampled"], [1.2, 1.2], rtol=1e-5)


def test_people_start_from_the_recommended_preset_and_functions_from_the_documented_one(images, tmp_path, capsys):
    target, style = images
    assert run("transfer", target, style, "-o", tmp_path, "--epoch", "1", "--threads", "1") == 0
    record = json.loads((tmp_path / "target_style.json").read_text())
    expected = StyleTransferParameters(preset="microscopy", epoch=1, threads=1)
    assert StyleTransferParameters(**record["parameters"]) == expected
    # What is repeated keeps its own.
    assert (
        run(
            "transfer",
            target,
            style,
            "-o",
            tmp_path / "old",
            "--preset",
            "documented",
            "--epoch",
            "1",
            "--threads",
            "1",
        )
        == 0
    )
    again = tmp_path / "again"
    assert run("transfer", "--from", tmp_path / "old" / "target_style.json", "-o", again) == 0
    assert json.loads((again / "target_style.json").read_text())["parameters"]["preset"] == "documented"
    assert StyleTransferParameters().preset == "documented"


def test_the_help_shows_the_defaults_that_hold(capsys):
    with pytest.raises(SystemExit):
        run("transfer", "--help")
    message = " ".join(capsys.readouterr().out.split())
    assert "(default: microscopy)" in message
    assert "(default: wiener)" in message


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one other process")
def test_ctrl_c_keeps_the_partial_result(images, tmp_path):
    target, style = images
    command = [sys.executable, "-m", "napari_nst", "transfer", str(target), str(style), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--preset", "texture", "--epoch", "100000", "--tolerance", "0", "--threads", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    seen = bytearray()
    reader = threading.Thread(
        target=lambda: [seen.extend(chunk) for chunk in iter(lambda: process.stderr.read(1), b"")]
    )
    reader.start()
    deadline = time.monotonic() + 120
    while b"content" not in seen and time.monotonic() < deadline:  # the losses of the first step are shown
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    reader.join()
    process.stderr.close()
    with process.stdout as out:
        message = out.read().decode()
    assert "Interrupted after" in message
    record = json.loads((tmp_path / "out" / "target_style.json").read_text())
    assert record["stopped"] == "cancelled"
    assert 0 < record["steps"] < 100000
    assert tifffile.imread(tmp_path / "out" / "target_style.tif").dtype == np.uint16


def test_our_warnings_are_one_line(images, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "big.tif", mosaic_pair((96, 96), dtype=np.uint16).style)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        status = run(
            "transfer",
            images[0],
            tmp_path / "big.tif",
            "-o",
            tmp_path,
            "--preset",
            "documented",
            "--epoch",
            "1",
            "--style-layers",
            "relu1_1",
            "--content-layers",
            "relu1_1",
        )
    assert status == 0
    message = capsys.readouterr().err
    assert message.count("Warning: ") == 1
    assert "area" in message
    assert "transfer.py" not in message  # no source line


def test_parameters_are_checked_once(images, tmp_path, monkeypatch):
    checks = []
    real = StyleTransferParameters._complete
    monkeypatch.setattr(StyleTransferParameters, "_complete", lambda given: checks.append(given) or real(given))
    assert run("transfer", *images, "-o", tmp_path, *QUICK) == 0
    assert sum(given.get("epoch") == 3 for given in checks) == 1  # the help asks for the recommended preset, too
