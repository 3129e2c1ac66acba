"""Tables of coordinates; the oracle is the written text, and fractions, which add exactly."""

import errno
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst.errors import FileError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.coordinates import read_coordinates, read_header, write_coordinates

MARKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "cones" / "manual"

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(folder, text, name="marks.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- reading
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", "   ", ", ", " ; ", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_separator_and_line_end(tmp_path, separator, end):
    path = table(
        tmp_path, end.join(f"{x}{separator}{y}" for x, y in (("1", "2.5"), ("-0.25", "1e1"), ("+.5", "3."))) + end
    )
    found = read_coordinates(path)
    assert found.dtype == np.float64
    assert found.tolist() == [[2.5, 1.0], [10.0, -0.25], [3.0, 0.5]]


def test_markers_of_the_mdrnn_are_column_and_row_from_zero(tmp_path):
    path = table(tmp_path, "12.0,7.0\n100.5,3.25\n", "CROP_1_x0y0_Subject1.tif.csv")
    assert read_coordinates(path, shape=(8, 101)).tolist() == [[7.0, 12.0], [3.25, 100.5]]


@pytest.mark.parametrize(
    ("base", "order", "expected"),
    [(0, "xy", [2.0, 1.0]), (1, "xy", [1.0, 0.0]), (0, "rowcol", [1.0, 2.0]), (1, "rowcol", [0.0, 1.0])],
)
def test_base_and_order_are_what_the_caller_says(tmp_path, base, order, expected):
    assert read_coordinates(table(tmp_path, "1,2"), base=base, order=order).tolist() == [expected]


@pytest.mark.parametrize("text", ["", "\n", " \n\t\r\n", "\ufeff"])
def test_an_empty_file_has_no_cones(tmp_path, text):
    for order in ("xy", "rowcol"):
        found = read_coordinates(table(tmp_path, text), order=order, shape=(3, 3))
        assert (found.shape, found.dtype) == ((0, 2), np.float64)


def test_a_spreadsheets_mark_and_blank_lines_do_not_count(tmp_path):
    assert read_coordinates(table(tmp_path, "\ufeff1,2\n\n  3,4  \n\n")).tolist() == [[2.0, 1.0], [4.0, 3.0]]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x,y\n1,2\n", 1, "'x' is not a number; remove the header"),
        ("1,2\nx,y\n", 2, "'x' is not a number; write x,y"),
        ("1,2,0.9\n", 1, "3 columns instead of two"),
        ("1,2\n3\n", 2, "1 column instead of two"),
        ("1,5;2,5\n", 1, "4 columns instead of two; keep x and y only, with a point"),
        ("1,2\n\n3,NaN\n", 3, "'NaN' is not a position"),
        ("-inf,3\n", 1, "'-inf' is not a position"),
        ("1,,2\n", 1, "a number is missing"),
        ("1,\n", 1, "a number is missing"),
        (",\n", 1, "a number is missing"),
        ("1,2\n1,0x10\n", 2, "'0x10' is not a number"),
        ("1_0,2\n", 1, "'1_0' is not a number"),
        ("٣,2\n", 1, "is not a number"),
        ("1,2\n1,1e999\n", 2, "too large"),
        ("1,1e99999999999999999999\n", 1, "is not a number"),
        ('"1","2"\n', 1, "is not a number"),
        ("1,2\n" + "word " * 50, 2, "…"),
    ],
)
@pytest.mark.parametrize("base", [0, 1])
def test_a_bad_line_is_named(tmp_path, text, line, message, base):
    path = table(tmp_path, text)
    with pytest.raises(FileError) as error:
        read_coordinates(path, base=base)
    assert f"{path}, line {line} " in str(error.value)
    assert message in str(error.value)


@given(st.text(max_size=40) | st.text("0123456789.,;- \t\neE+nai", max_size=40), st.sampled_from([0, 1]))
@same_folder
def test_any_text_is_read_or_refused(tmp_path, text, base):
    path = table(tmp_path, text.encode("utf-8", "surrogatepass"))
    try:
        found = read_coordinates(path, base=base)
    except FileError as error:
        assert str(path) in str(error)  # noqa: PT017 - both ends are right, so pytest.raises does not fit
    else:
        assert found.shape[1:] == (2,)
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("header", "names", "order"),
    [
        ("x,y", ("x", "y"), "xy"),
        ('\ufeff\n"X" ; "Y"', ("x", "y"), "xy"),
        ("x [px]\ty [px]", ("x [px]", "y [px]"), "xy"),
        ("Row Column", ("row", "column"), "rowcol"),
        ("axis-0,axis-1", ("axis-0", "axis-1"), "rowcol"),
        ("left,right", ("left", "right"), ""),
        ("x,x2", ("x", "x2"), ""),
    ],
)
def test_a_header_is_read_over_unless_it_says_another_order(tmp_path, header, names, order):
    path = table(tmp_path, header + "\n1,2\n3,4\n")
    assert read_header(path) == names
    for wanted, first in (("xy", [2.0, 1.0]), ("rowcol", [1.0, 2.0])):
        if order in ("", wanted):
            assert read_coordinates(path, order=wanted, header=True)[0].tolist() == first
        else:
            with pytest.raises(FileError, match=f"which is order='{order}'.*Use order='{order}'"):
                read_coordinates(path, order=wanted, header=True)
    with pytest.raises(FileError, match="is not a number"):
        read_coordinates(path, order=order or "xy")


@pytest.mark.parametrize("text", ["1,2\n", "\n.5 7\n", "nan,2\n", "-inf,1\n", "", "\n \n", "-1,2\n"])
def test_what_is_no_header(tmp_path, text):
    assert read_header(table(tmp_path, text)) is None


def test_points_that_napari_saved(tmp_path):
    path = table(tmp_path, "index,axis-0,axis-1\n0.0,12.5,3.0\n1.0,7.0,8.25\n")
    assert read_coordinates(path, order="rowcol", header=True).tolist() == [[12.5, 3.0], [7.0, 8.25]]
    with pytest.raises(FileError, match="Use order='rowcol'"):
        read_coordinates(path, order="xy", header=True)


def test_a_header_counts_as_a_line_and_only_once(tmp_path):
    with pytest.raises(FileError, match=r"line 3 .*'x' is not a number"):
        read_coordinates(table(tmp_path, "x,y\n1,2\nx,y\n"), header=True)
    with pytest.raises(FileError, match=r"in line 3, is row 9, column 1"):
        read_coordinates(table(tmp_path, "x,y\n1,2\n1,9\n"), header=True, shape=(5, 5))
    with pytest.raises(FileError, match="names 4 columns"):
        read_coordinates(table(tmp_path, "index,axis-0,axis-1,axis-2\n0,1,2,3\n"), header=True)
    assert read_coordinates(table(tmp_path, "x,y\n"), header=True).shape == (0, 2)


def test_what_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(FileError, match="Cannot read the coordinates"):
            read_coordinates(path)
    for raw in (b"\x89PNG\r\n", "1,2".encode("utf-16")):
        with pytest.raises(FileError, match=r"other\.csv is not UTF-8 text \(byte 0 is 0x"):
            read_coordinates(table(tmp_path, raw, "other.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": 2}, "base=2"),
        ({"base": None}, "base=None"),
        ({"order": "yx"}, "order='yx'"),
        ({"shape": (3,)}, r"shape=\(3,\)"),
        ({"shape": (0, 3)}, r"shape=\(0, 3\)"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(ParameterError, match=message):
        read_coordinates(table(tmp_path, "1,2"), **options)


# --- points outside the image
# ---------------------------------------------------------------------------------------------------


def test_points_up_to_the_edge_of_the_pixels_are_inside(tmp_path):
    path = table(tmp_path, "-0.5,-0.5\n4.5,2.5\n0,0\n")
    assert len(read_coordinates(path, shape=(3, 5))) == 3


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        # Pixels counted from 1, read as from 0: the last ones are too far.
        ("1,1\n\n5,2\n5,3\n", {"shape": (3, 5)}, ("2 of 3", "line 3, is row 2, column 5", "3 × 5", "fit with base=1:")),
        ("0,0\n4,2\n", {"shape": (3, 5), "base": 1}, ("1 of 2", "line 1, is row -1, column -1", "fit with base=0:")),
        ("2,4\n0,0\n", {"shape": (3, 5), "order": "xy"}, ("1 of 2", "row 4, column 2", "fit with order='rowcol':")),
        ("2,4\n0,0\n", {"shape": (5, 3), "order": "rowcol"}, ("1 of 2", "fit with order='xy':")),
        ("3,5\n1,1\n", {"shape": (3, 5)}, ("1 of 2", "fit with base=1 and order='rowcol':")),
        ("100,2\n", {"shape": (3, 5)}, ("1 of 1", "Neither base=1 nor order='rowcol'", "another image")),
    ],
)
def test_points_outside_come_with_the_likely_remedy(tmp_path, text, options, parts):
    path = table(tmp_path, text)
    with pytest.raises(FileError) as error:
        read_coordinates(path, **options)
    for part in (str(path), *parts):
        assert part in str(error.value)


# --- writing
# ---------------------------------------------------------------------------------------------------


def test_the_file_holds_x_and_y_in_shortest_decimals(tmp_path):
    points = np.array([[0.0, 0.1], [2.5, 12.0]])
    assert write_coordinates(tmp_path / "a_coords.csv", points).read_bytes() == b"0.1,0.0\n12.0,2.5\n"
    # In binary 0.1 + 1 - 1 is 0.10000000000000009.
    path = write_coordinates(tmp_path / "one.csv", points, base=1)
    assert path.read_bytes() == b"1.1,1.0\n13.0,3.5\n"
    assert np.array_equal(read_coordinates(path, base=1), points)


@pytest.mark.parametrize("points", [[], np.empty((0, 2)), np.empty((0, 2), dtype=int)])
def test_no_cones_give_an_empty_file(tmp_path, points):
    path = write_coordinates(tmp_path / "none.csv", points)
    assert path.read_bytes() == b""
    assert read_coordinates(path).shape == (0, 2)


def test_an_existing_file_stays(tmp_path):
    first = write_coordinates(tmp_path / "a.csv", [[1, 2]])
    second = write_coordinates(tmp_path / "a.csv", [[3, 4]])
    assert (first.name, second.name) == ("a.csv", "a_1.csv")
    assert (first.read_text(), second.read_text()) == ("2.0,1.0\n", "4.0,3.0\n")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\)"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.zeros((2, 2), dtype=complex), "complex128"),
        ([["1", "2"]], "dtype <U1"),
        ([[1, 2], [3, np.nan], [np.inf, 0]], r"2 of 3 points are not finite, the first is point 1: \(3.0, nan\)"),
    ],
)
def test_bad_points_are_refused_and_leave_nothing(tmp_path, points, message):
    with pytest.raises(ParameterError, match=message):
        write_coordinates(tmp_path / "a.csv", points)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match="Free some space"):
        write_coordinates(tmp_path / "a.csv", [[1, 2]])
    assert list(tmp_path.iterdir()) == []


points_of_any_size = arrays(
    np.float64,
    st.tuples(st.integers(0, 8), st.just(2)),
    elements=st.floats(-1e6, 1e6) | st.floats(allow_nan=False, allow_infinity=False),
)


@given(points_of_any_size, st.sampled_from([0, 1]))
@same_folder
def test_points_come_back_exactly(tmp_path, points, base):
    path = write_coordinates(tmp_path / "a.csv", points, base=base)
    text = path.read_text()
    found = read_coordinates(path, base=base)
    swapped = read_coordinates(path, base=base, order="rowcol")
    path.unlink()
    assert np.array_equal(found, points)
    assert np.array_equal(swapped, points[:, ::-1])
    written = [[Fraction(number) for number in line.split(",")] for line in text.splitlines()]
    assert written == [[Fraction(repr(number)) + base for number in (x, y)] for y, x in points.tolist()]


def test_annotations_of_matlab_with_a_header_lie_inside_their_image(tmp_path):
    made = cone_mosaic((60, 80), seed=1)
    lines = ["x,y", *(f"{x + 1:.2f},{y + 1:.2f}" for y, x in made.cones)]
    path = table(tmp_path, "\r\n".join(lines))
    with pytest.raises(FileError, match=r"line 1 .*remove the header"):
        read_coordinates(path)
    found = read_coordinates(path, base=1, shape=(60, 80), header=True)
    np.testing.assert_allclose(found, made.cones, atol=0.006)


def test_manual_annotations_lie_inside_their_images(tmp_path):
    paths = sorted(MARKS.glob("*.csv"))[:5]
    if not paths:
        pytest.skip(f"the folder {MARKS.parent.name} with manual annotations is not beside this checkout")
    for path in paths:
        header, body = path.read_text().split("\n", 1)
        with pytest.raises(FileError, match=r"line 1 .*remove the header"):
            read_coordinates(path)
        found = read_coordinates(table(tmp_path, body), base=1, shape=(150, 150))
        assert header == "x,y"
        assert np.array_equal(found[:, ::-1] + 1, np.loadtxt(path, delimiter=",", skiprows=1))
