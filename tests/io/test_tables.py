"""Tables as spreadsheets save them, and names as people type them."""

import pytest

from napari_nst.errors import FileError
from napari_nst.io.tables import KnownNames, read_table


def written(folder, text, encoding="utf-8"):
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(("separator", "other"), [(",", ";"), (";", ","), ("\t", ",")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep={}\n", '"sep={}"\r\n', "\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_spreadsheet_is_read(tmp_path, separator, other, end, first, encoding):
    lines = [separator.join(cells) for cells in ((" Patch", "STYLE ", "note"), ('"a b"', f"b{other}c", ""), ("ü",))]
    table = read_table(written(tmp_path, first.format(separator) + end.join(lines), encoding), ["patch", "style"])
    assert table.columns == ("patch", "style", "note")
    assert table.separator == separator
    assert [row.cells for row in table.rows] == [
        {"patch": "a b", "style": f"b{other}c", "note": ""},
        {"patch": "ü", "style": "", "note": ""},
    ]
    skipped = 1 if first else 0
    assert [row.line for row in table.rows] == [2 + skipped, 3 + skipped]


def test_the_line_is_that_of_an_editor(tmp_path):
    table = read_table(written(tmp_path, 'patch\n\n"a\nb"\n,\nc\n'), ["patch"])
    assert [(row.line, row.cells["patch"]) for row in table.rows] == [(4, "a\nb"), (6, "c")]
    assert str(table.error(table.rows[0], "wrong")) == f"{tmp_path / 'table.csv'}, line 4: wrong"


def test_quoted_cells_keep_the_separator(tmp_path):
    assert read_table(written(tmp_path, 'patch\n"a,b"\n'), ["patch"]).rows[0].cells == {"patch": "a,b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column patch and no column style: the file is empty"),
        ("patch\na\n", "no column style: the first line has patch"),
        ("patch,style,Style\n", "two columns style"),
        ("patch,style\n\na,b,c\n", "line 3: 3 cells under 2 columns"),
        ("patch,style\n" + "a" * 200_000, r"line 2: .*Save the table as CSV"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(FileError, match=message):
        read_table(written(tmp_path, text), ["patch", "style"])


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileError, match=r"Cannot read the table .*Check the path"):
        read_table(tmp_path / "missing.csv", ["patch"])
    with pytest.raises(FileError, match=r"is not UTF-8 text .*CSV UTF-8"):
        read_table(written(tmp_path, "patch\n", "utf-16"), ["patch"])


def test_names_are_found_as_people_write_them():
    known = KnownNames(["a.tif", "b.tif", "b.png", "Za\u0308pfen.tif"])
    assert known.find(" a ") == known.find("a.tif") == "a.tif"
    assert known.find("b") is None
    assert known.find("b.png") == "b.png"
    assert known.find("Z\u00e4pfen") == "Za\u0308pfen.tif"
    assert known.find("c") is None


def test_an_unknown_name_comes_with_the_likely_one():
    known = KnownNames(["first.tif", "b.tif", "b.png"])
    assert known.unknown("firts.tif") == "the session has no patch 'firts.tif'; the most similar name is 'first.tif'."
    assert known.unknown("b") == "'b' can be b.tif or b.png; write the extension."
    assert "one of its 3 names is 'first.tif'" in known.unknown("zzzzzzzz")
    assert KnownNames([], "image").unknown("a") == "the session has no image 'a'; it has no image at all."
