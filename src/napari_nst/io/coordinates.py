"""Tables of cone coordinates: x,y in files, (row, column) in the program.

The detectors and the tools that count cones exchange headerless text tables of x and y, some counting pixels
from 0 and some from 1. A file does not say which, so the caller must.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from decimal import Context, Decimal
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import FileError, ParameterError
from napari_nst.io.atomic import Publish, write_new
from napari_nst.io.tables import read_text

__all__ = ["read_coordinates", "read_header", "write_coordinates"]

_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
# float() alone would take "1_0", "infinity" and the digits of every script; Decimal() limits exponents.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
# Enough digits for the sum of 1 and any float64 to be exact: binary sums would move 0.1 to 0.10000000000000009.
_EXACT = Context(prec=700)
_ORDERS = ("xy", "rowcol")

#: The header of a Points layer that napari saved: a number for each point, row, column; pixels from 0.
_NAPARI = ("index", "axis-0", "axis-1")
#: What the beginning of a column's name says about its axis; other names say nothing.
_AXES = dict.fromkeys(["x", "col", "cols", "column", "columns"], "x") | dict.fromkeys(["y", "row", "rows"], "y")


def read_header(path: str | os.PathLike[str]) -> tuple[str, ...] | None:
    """Return the names in the first line of a table of points, in lower case and without quotation marks, if it has any.

    None if the first line that is not blank begins with a number, or if there is no such line.  Raises FileError for a
    file that cannot be read.
    """
    first = next((line.strip() for line in read_text(Path(path), "coordinates").split("\n") if line.strip()), "")
    cells = [cell.strip("\"' ").lower() for cell in re.split(r"[,;\t]", first)]
    if len(cells) == 1:
        cells = first.lower().split()
    named = all(re.match(r"[^\W\d]", cell) and cell not in ("nan", "inf", "infinity") for cell in cells)
    return tuple(cells) if named and cells else None


def read_coordinates(
    path: str | os.PathLike[str],
    *,
    base: int = 0,
    order: str = "xy",
    shape: Sequence[int] | None = None,
    header: bool = False,
) -> NDArray[np.float64]:
    """Read a table of points.

    Parameters
    ----------
    path : path-like
        UTF-8 text, two numbers a line, separated by comma, semicolon, tab or spaces. Blank lines do not count.
    base : 0 or 1
        What the file calls the first pixel. The markers of the MDRNN begin with 0, those of MATLAB with 1.
    order : "xy" or "rowcol"
        Whether the column (x) or the row (y) comes first.
    shape : (H, W), optional
        The image that the points must lie in, in pixels.
    header : bool
        Whether the first line may hold names instead of numbers. Names that contradict `order` are an error; others
        are read over. A Points layer saved by napari (index, axis-0, axis-1) is known, and its index read over.

    Returns
    -------
    array of float64, (n, 2)
        Row and column, 0-based, (0, 0) being the centre of the first pixel; (0, 2) for an empty file.

    Raises
    ------
    FileError
        The file cannot be read; it has a header that is not expected, or one that contradicts `order`; a line has
        not two columns, or holds no finite number; or points lie outside `shape`. A pixel reaches half a pixel to each side of its centre.
    """
    path = Path(path)
    _check_base(base)
    if order not in _ORDERS:
        raise ParameterError(f"order must be 'xy' (column first) or 'rowcol' (row first), got order={order!r}.")
    if shape is not None and (len(shape) != 2 or min(shape) < 1):
        raise ParameterError(f"shape must be a height and a width of at least 1 pixel, got shape={tuple(shape)}.")
    lines = [(n, line) for n, line in enumerate(read_text(path, "coordinates").split("\n"), start=1) if line.strip()]
    names = read_header(path) if header else None
    if names is not None:
        _check_names(path, names, order)
        lines = lines[1:]
    found = [_point(path, number, line, base, names == _NAPARI) for number, line in lines]
    points = np.array(found, dtype=np.float64).reshape(-1, 2)  # (0, 2) without any line
    if order == "xy":
        points = points[:, ::-1].copy()
    if shape is not None:
        _check_inside(path, points, [number for number, _ in lines], shape, base, order)
    return points


def write_coordinates(
    path: str | os.PathLike[str], points: ArrayLike, *, base: int = 0, publish: Publish = write_new
) -> Path:
    """Write points as a table without a header, as `publish` does, and return its path.

    It has a line ``x,y`` a point, in the shortest decimals that `read_coordinates` turns into the same float64 values.

    Parameters
    ----------
    path : path-like
        Wanted name, such as ``{image}_coords.csv``.
    points : array, (n, 2)
        Row and column, 0-based, finite (else ParameterError); n may be 0.
    base : 0 or 1
        What the file shall call the first pixel.
    """
    _check_base(base)
    array = np.asarray(points)
    if array.size == 0 and array.shape in ((0,), (0, 2)):
        array = np.empty((0, 2))
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iuf":
        raise ParameterError(
            f"Points of shape {array.shape} and dtype {array.dtype} cannot be written; pass numbers of shape (n, 2): "
            "row and column."
        )
    values = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise ParameterError(
            f"{bad.size} of {len(values)} points are not finite, the first is point {bad[0]}: "
            f"{tuple(values[bad[0]].tolist())}. Remove them before writing."
        )
    text = "".join(f"{_decimals(x, base)},{_decimals(y, base)}\n" for y, x in values.tolist())
    return publish(Path(path), lambda file: file.write_bytes(text.encode("ascii")))


def _check_base(base: int) -> None:
    if base not in (0, 1):
        raise ParameterError(f"base must be 0 or 1, what the file calls its first pixel, got base={base!r}.")


def _check_names(path: Path, names: tuple[str, ...], order: str) -> None:
    """Refuse names of columns that say another order than the caller."""
    shown = ",".join(names)
    pair = names[1:] if names == _NAPARI else names
    if len(pair) != 2:
        raise FileError(
            f"{path}: the first line names {len(names)} columns ({shown}) instead of two; keep x and y only, or row and "
            "column."
        )
    implied: dict[tuple[str, ...], str] = {("x", "y"): "xy", ("y", "x"): "rowcol", _NAPARI[1:]: "rowcol"}
    found = implied.get(pair) or implied.get(tuple(_axis(name) for name in pair))
    if found is not None and found != order:
        raise FileError(
            f"{path}: its first line says {shown}, which is order={found!r}, but it was to be read with order={order!r}. "
            f"Use order={found!r} if the header is right; else correct the header."
        )


def _axis(name: str) -> str:
    """Which axis a column of this name is, "x", "y" or "": "x [px]" and "x_um" begin with it."""
    return _AXES.get(re.split(r"[\W\d_]", name, maxsplit=1)[0], "")


def _point(path: Path, number: int, line: str, base: int, leave_out: bool = False) -> tuple[float, float]:
    def wrong(what: str) -> FileError:
        shown = line.strip()
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        return FileError(f"{path}, line {number} ({shown!r}): {what}")

    columns = _SEPARATOR.split(line.strip())
    if leave_out and len(columns) == len(_NAPARI):
        del columns[0]
    for column in columns:
        if column.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise wrong(f"{column!r} is not a position; remove the line.")
        if not _NUMBER.fullmatch(column):
            what = f"{column!r} is not a number" if column else "a number is missing between two separators"
            remedy = "remove the header, the table has none" if number == 1 and column else "write x,y"
            raise wrong(f"{what}; {remedy}.")
    if len(columns) != 2:
        raise wrong(
            f"{len(columns)} column{'s' * (len(columns) > 1)} instead of two; keep x and y only, with a point (not a "
            "comma) in decimals."
        )
    first, second = (_value(column, base) for column in columns)
    if not (math.isfinite(first) and math.isfinite(second)):
        raise wrong("the number is too large for a position in an image.")
    return first, second


def _value(text: str, base: int) -> float:
    value = float(text)
    return float(_EXACT.subtract(Decimal(text), Decimal(1))) if base and math.isfinite(value) else value


def _decimals(value: float, base: int) -> str:
    return f"{_EXACT.add(Decimal(repr(value)), Decimal(1)):f}" if base else repr(value)


def _outside(points: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.bool_]:
    outside: NDArray[np.bool_] = np.any((points < -0.5) | (points > np.subtract(shape, 0.5)), axis=1)
    return outside


def _check_inside(
    path: Path, points: NDArray[np.float64], lines: Sequence[int], shape: Sequence[int], base: int, order: str
) -> None:
    """Refuse points outside the image, and say under which reading of the file they would lie inside."""
    outside = _outside(points, shape)
    if not outside.any():
        return
    other_base, other_order = 1 - base, _ORDERS[1 - _ORDERS.index(order)]
    moved = points + (base - other_base)
    readings = {
        f"base={other_base}": moved,
        f"order={other_order!r}": points[:, ::-1],
        f"base={other_base} and order={other_order!r}": moved[:, ::-1],
    }
    fitting = [reading for reading, candidate in readings.items() if not _outside(candidate, shape).any()]
    remedy = (
        f"All of them fit with {' or with '.join(fitting)}: use that if it is how the file was written, or find the "
        "image that it belongs to."
        if fitting
        else f"Neither base={other_base} nor order={other_order!r} makes them fit: the file probably belongs to another image."
    )
    first = int(np.flatnonzero(outside)[0])
    row, column = points[first].tolist()
    raise FileError(
        f"{path}: {int(outside.sum())} of {len(points)} points lie outside the image of {shape[0]} × {shape[1]} pixels "
        f"(height × width), read with base={base} and order={order!r}; the first, in line {lines[first]}, is row {row:g}, "
        f"column {column:g}. {remedy}"
    )
