"""The files beside a run: complete, named as documented, never in another's place."""

import csv
import json
import os
import re
import sys

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_nst import ImageFile, arguments_from, save_transfer, transfer_style
from napari_nst.errors import FileError
from napari_nst.transfer.files import output_names, read_record

QUICK = {
    "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "epoch": 3,
    "device": "cpu", "threads": 1,
}  # fmt: skip
RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def run(pair, dtype="uint8"):
    return transfer_style(pair.target[:24, :32].astype(dtype), pair.style[:24, :32], **QUICK)


@pytest.fixture(scope="module")
def result(pair):
    return run(pair)


@pytest.fixture
def plain_plot(monkeypatch):
    """An empty plot: where names and places count, what is drawn does not, and drawing takes longest."""
    from matplotlib.figure import Figure

    monkeypatch.setattr("napari_nst.transfer.files.learning_curves", lambda losses: Figure((1, 1)))


def names_in(folder):
    return sorted(str(p.relative_to(folder)).replace(os.sep, "/") for p in folder.rglob("*") if p.is_file())


def test_names_and_places_are_the_documented_ones(result, tmp_path):
    saved = save_transfer(result, tmp_path / "new" / "folder", "poor", "good")
    folder = tmp_path / "new" / "folder"
    assert names_in(folder) == ["nst/poor_good_1.0_1.0.png", "poor_good.csv", "poor_good.json", "poor_good.tif"]
    assert saved.plot == folder / "nst" / "poor_good_1.0_1.0.png"
    assert saved.image == folder / "poor_good.tif"


@pytest.mark.usefixtures("plain_plot")
def test_without_a_style_name_the_fallback_names_apply(result, tmp_path):
    save_transfer(result, tmp_path, "poor")
    assert names_in(tmp_path) == ["nst/poor_1.0_1.0.png", "poor_.csv", "poor_.json", "poor_.tif"]
    assert output_names("a", "b", 1, 0.1) == ("a_b", "a_b_1.0_0.1")
    assert output_names("a", "", 1, 0.1) == ("a_", "a_1.0_0.1")


def test_losses_are_three_rows_equal_to_the_losses(result, tmp_path):
    with save_transfer(result, tmp_path, "poor", "good").losses.open(newline="") as file:
        rows = [list(map(float, row)) for row in csv.reader(file)]
    assert len(rows) == 3
    for row, expected in zip(rows, (result.losses.style, result.losses.original, result.losses.total), strict=True):
        assert row == expected.tolist()


@pytest.mark.usefixtures("plain_plot")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_the_image_is_kept_in_its_type(dtype, pair, tmp_path):
    result = run(pair, dtype)
    saved = save_transfer(result, tmp_path, "poor", "good")
    found = tifffile.imread(saved.image)
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, result.image)
    assert np.array_equal(ImageFile.read(saved.image).data, result.image)


@pytest.mark.usefixtures("plain_plot")
def test_the_resolution_of_the_targets_file_is_kept(pair, tmp_path):
    tifffile.imwrite(tmp_path / "poor.tif", pair.target[:24, :32], resolution=(300, 150), resolutionunit="CENTIMETER")
    target = ImageFile.read(tmp_path / "poor.tif")
    result = transfer_style(target.data, pair.style[:24, :32], **QUICK)
    saved = save_transfer(result, tmp_path / "out", str(target), "good", like=target.info)
    with tifffile.TiffFile(saved.image) as file:
        tags = file.pages[0].tags
        assert [tags[name].value for name in ("XResolution", "YResolution")] == [(300, 1), (150, 1)]
        assert tags["ResolutionUnit"].value == 3


def test_the_record_is_readable_and_repeats_the_run(result, pair, tmp_path):
    saved = save_transfer(result, tmp_path, "poor", "good", inputs={"target": {"name": "poor", "path": tmp_path}})
    record = read_record(saved.record)
    assert record["files"] == {
        "image": "poor_good.tif", "losses": "poor_good.csv", "plot": "nst/poor_good_1.0_1.0.png"
    }  # fmt: skip
    assert record["inputs"] == {"target": {"name": "poor", "path": str(tmp_path)}, "style": {"name": "good"}}
    assert {k: record[k] for k in result.metadata} == json.loads(json.dumps(result.metadata))
    again = transfer_style(pair.target[:24, :32], pair.style[:24, :32], **arguments_from(record))
    assert np.array_equal(again.image, tifffile.imread(saved.image))


@pytest.mark.usefixtures("plain_plot")
def test_a_second_run_gets_one_counter_for_all_its_files(result, tmp_path):
    first = save_transfer(result, tmp_path, "poor", "good")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    second = save_transfer(result, tmp_path, "poor", "good")
    third = save_transfer(result, tmp_path, "poor", "good")
    assert [p.name for p in (second.image, second.losses, second.record)] == [
        "poor_good_1.tif", "poor_good_1.csv", "poor_good_1.json"
    ]  # fmt: skip
    assert second.plot.name == "poor_good_1.0_1.0_1.png"
    assert third.image.name == "poor_good_2.tif"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len({first.plot, second.plot, third.plot}) == 3


@pytest.mark.usefixtures("plain_plot")
@pytest.mark.parametrize("taken", ["poor_good.csv", "poor_good.tif", "poor_good.json", "nst/poor_good_1.0_1.0.png"])
def test_one_file_in_the_way_moves_all_four(taken, result, tmp_path):
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("somebody else's")
    saved = save_transfer(result, tmp_path, "poor", "good")
    assert saved.image.name == "poor_good_1.tif"
    assert saved.plot.name == "poor_good_1.0_1.0_1.png"
    assert (tmp_path / taken).read_text() == "somebody else's"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="this user can write anywhere")
def test_a_read_only_folder_is_reported(result, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileError, match="another output folder"):
            save_transfer(result, tmp_path, "poor", "good")
        assert names_in(tmp_path) == []
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file_is_reported(result, tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(FileError, match="another output folder"):
        save_transfer(result, tmp_path / "file", "poor", "good")


def test_a_full_disk_is_told_and_nothing_half_written_stays(result, tmp_path, monkeypatch):
    import errno

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        save_transfer(result, tmp_path, "poor", "good")
    assert names_in(tmp_path) == []


@pytest.mark.usefixtures("plain_plot")
@pytest.mark.parametrize(
    "name",
    ["../../x", "CON", "a/b", "..", "", "a:b*c?", "nul.tif", "x" * 300, "é" * 200, "line\nbreak", "C:\\a\\b", "{}"],
)
def test_hostile_names_stay_in_the_folder(name, result, tmp_path):
    folder = tmp_path / "out"
    saved = save_transfer(result, folder, name, name)
    for path in (saved.image, saved.losses, saved.plot, saved.record):
        assert path.is_file()
        assert path.resolve().is_relative_to(folder.resolve())
        assert not RESERVED.match(path.name)
        assert len(path.name) <= 130
    assert names_in(tmp_path) == [f"out/{n}" for n in names_in(folder)]
    assert len(names_in(folder)) == 4


@given(st.text(max_size=200), st.text(max_size=200), st.floats(0, 1e12), st.floats(0, 1e12))
def test_any_names_make_safe_stems(original, style, alpha, beta):
    for stem in output_names(original, style, alpha, beta):
        assert stem
        assert len(stem) <= 120
        assert not set(stem) & set('<>:"/\\|?*\n\0')
        assert not RESERVED.match(stem)
        assert stem not in (".", "..")


def test_long_names_that_differ_stay_different():
    one, other = (output_names("x" * 200 + end, "good", 1, 1)[0] for end in "ab")
    assert one != other


@pytest.mark.parametrize("content", ["no json", "[1, 2]", "", "\xff\xfe"])
def test_what_is_no_record_is_reported(content, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(FileError, match=r"is not a record.*record\.json|record\.json is not a record"):
        read_record(path)
    with pytest.raises(FileError, match="cannot be read"):
        read_record(tmp_path / "none.json")
