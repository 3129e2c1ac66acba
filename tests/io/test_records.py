"""JSON files: one model each, one clear error for a damaged one, and one encoder."""

import dataclasses
import json
import math
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from napari_nst.errors import FileError, ParameterError
from napari_nst.io.atomic import write_over
from napari_nst.io.records import Number, Record, check_record, confine, plain, read_record, to_json, write_record


class Losses(Record):
    described = "a record of losses"
    remedy = "Give the .json beside a loss."
    schema_version: int = 2
    name: str
    style: list[Number]


GOOD = {"schema_version": 2, "name": "a", "style": [1.5, None], "unknown": {"kept": 1}}


def test_a_record_survives_the_round_trip(tmp_path):
    path = write_record(tmp_path / "new" / "a.json", check_record(GOOD, Losses, "here"))
    assert json.loads(path.read_text()) == GOOD
    read = read_record(path, Losses)
    assert (read.name, read.style[0], read.model_extra) == ("a", 1.5, {"unknown": {"kept": 1}})
    assert math.isnan(read.style[1])


def test_a_file_without_a_version_is_of_the_first(tmp_path):
    (tmp_path / "a.json").write_text('{"name": "a", "style": []}')
    assert read_record(tmp_path / "a.json", Losses).schema_version == 1
    assert Losses(name="a", style=[]).schema_version == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("1" * 5000, "not valid JSON"),
        ("\udcff", "not valid JSON"),
        ("[1, 2]", "it holds [1, 2]"),
        ('"text"', "it holds 'text'"),
        ("null", "it holds None"),
        ('{"style": []}', "the entry 'name' is missing"),
        ('{"name": "a", "style": [1, "x"]}', "the entry 'style[1]' must be a valid number"),
        ('{"name": "a", "style": [1, "x"]}', "got 'x'"),
        ('{"name": 3, "style": {}}', "1 more"),
        ('{"name": "a", "style": [1%s]}' % ("0" * 1000), "got 1000000000000"),
        ('{"name": "a", "style": [], "schema_version": "x"}', "the entry 'schema_version'"),
        ('{"name": "a", "style": [], "schema_version": 3}', "schema_version is 3, and this one reads up to 2"),
    ],
)
def test_a_damaged_file_gives_one_clear_error(tmp_path, text, said):
    path = tmp_path / "damaged.json"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FileError) as caught:
        read_record(path, Losses)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "Give the .json beside a loss." in message or "Update napari-nst." in message
    assert "\n" not in message


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_record(tmp_path, Losses)


def test_values_in_memory_are_checked_likewise():
    with pytest.raises(ParameterError, match=r"the layer is not a record of losses: the entry 'name' is missing"):
        check_record({"style": []}, Losses, "the layer")


def test_a_mark_of_bytes_at_the_beginning_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"name": "ü", "style": []}', encoding="utf-8-sig")
    assert read_record(tmp_path / "a.json", Losses).name == "ü"


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    at: tuple[float, float]
    value: object


def test_everything_that_json_cannot_hold_is_converted():
    value = {
        1: np.float32(0.5),
        "array": np.array([[1, 2]], np.uint8),
        "flag": np.bool_(True),
        "unknown": [np.nan, np.inf, np.float64("nan"), np.array(np.nan)],
        "point": Point((1, 2), Path("a/b")),
        "color": Color.RED,
        "record": Losses(name="a", style=[math.nan]),
        "text": np.str_("ü"),
    }
    expected = {
        "1": 0.5,
        "array": [[1, 2]],
        "flag": True,
        "unknown": [None] * 4,
        "point": {"at": [1, 2], "value": str(Path("a/b"))},
        "color": "red",
        "record": {"schema_version": 2, "name": "a", "style": [None]},
        "text": "ü",
    }
    assert plain(value) == expected
    assert json.loads(to_json(value)) == expected
    assert "ü" in to_json(value)


def test_a_file_is_replaced_only_when_asked(tmp_path):
    path = write_record(tmp_path / "a.json", {"b": 1})
    assert write_record(path, {"b": 2}) == tmp_path / "a_1.json"
    assert write_record(path, {"b": 3}, publish=write_over) == path
    assert json.loads(path.read_text()) == {"b": 3}


def test_paths_stay_in_their_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    assert confine(folder, "raw/a.tif") == folder / "raw" / "a.tif"
    assert confine(folder, "raw/../a.tif") == folder / "raw" / ".." / "a.tif"
    for outside in ("../a.tif", "raw/../../a.tif", "/etc/passwd", ".", "", str(tmp_path)):
        with pytest.raises(FileError, match="leads out of the folder"):
            confine(folder, outside)
    for wrong in (None, 3, "a\0b"):
        with pytest.raises(FileError, match="not the path of a file"):
            confine(folder, wrong)


def test_a_link_does_not_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "inner").mkdir()
    try:
        (folder / "out").symlink_to(tmp_path, target_is_directory=True)
        (folder / "in").symlink_to(folder / "inner", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links here")
    assert confine(folder, "in/a.tif") == folder / "in" / "a.tif"
    with pytest.raises(FileError, match=r"'out/a\.tif' leads out of the folder"):
        confine(folder, "out/a.tif")
