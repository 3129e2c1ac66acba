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
from napari_nst.images.atomic import Publish, write_new

__all__ = ["read_coordinates", "write_coordinates"]

_SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")
# float() alone would take "1_0", "infinity" and the digits of every script; Decimal() limits exponents.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
# Enough digits for the sum of 1 and any float64 to be exact: binary sums would move 0.1 to 0.10000000000000009.
_EXACT = Context(prec=700)
_ORDERS = ("xy", "rowcol")


def read_coordinates(
    path: str | os.PathLike[str], *, base: int = 0, order: str = "xy", shape: Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Read a table of points without a header.

    Parameters
    ----------
    path : path-like
        UTF-8 text, two numbers a line, separated by comma, semicolon, tab or spaces. Blank lines do not count.
    base : 0 or 1
        What the file calls the first pixel. The markers of the MDRNN begin with 0, those of MATLAB with 1.
    order : "xy" or "rowcol"
        Whether the column (x) or the row (y) comes first.
    shape : (H, W), optional
        The picture that the points must lie in, in pixels.

    Returns
    -------
    array of float64, (n, 2)
        Row and column, 0-based, (0, 0) being the centre of the first pixel; (0, 2) for an empty file.

    Raises
    ------
    FileError
        The file cannot be read; a line is a header, has not two columns, or holds no finite number; or points
        lie outside `shape`. A pixel reaches half a pixel to each side of its centre.
    ParameterError
        `base`, `order` or `shape` cannot be used.
    """
    path = Path(path)
    _check_base(base)
    if order not in _ORDERS:
        raise ParameterError(f"order={order!r} is unknown; use 'xy' (column first) or 'rowcol' (row first).")
    if shape is not None and (len(shape) != 2 or min(shape) < 1):
        raise ParameterError(f"shape={tuple(shape)} is not a height and a width of at least 1 pixel.")
    found: list[tuple[float, float]] = []
    lines: list[int] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            found.append(_point(path, number, line, base))
            lines.append(number)
    points = np.array(found, dtype=np.float64).reshape(-1, 2)  # (0, 2) without any line
    if order == "xy":
        points = points[:, ::-1].copy()
    if shape is not None:
        _check_inside(path, points, lines, shape, base, order)
    return points


def write_coordinates(
    path: str | os.PathLike[str], points: ArrayLike, *, base: int = 0, publish: Publish = write_new
) -> Path:
    """Write points as a table of x,y without a header.

    Parameters
    ----------
    path : path-like
        Wanted name, such as ``{image}_coords.csv``. An existing file stays, and the new one gets a counter.
    points : array, (n, 2)
        Row and column, 0-based, finite; n may be 0.
    base : 0 or 1
        What the file shall call the first pixel.
    publish : write_new or write_over
        Whether an existing file stays, or is the program's own and replaced.

    Returns
    -------
    pathlib.Path
        The file that was written: a line ``x,y`` a point, in the shortest decimals that `read_coordinates`
        turns into the same float64 values.

    Raises
    ------
    ParameterError
        `points` or `base` cannot be used.
    FileError
        The file cannot be written.
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
        raise ParameterError(f"base={base!r} is impossible: files call their first pixel 0 or 1.")


def _text(path: Path) -> str:
    try:
        # The mark that spreadsheets put at the beginning is no text; line ends of all systems are one.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"Cannot read the coordinates {path}: {reason}. Check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is not a text file in UTF-8 (byte {error.start} is {error.object[error.start]:#04x}); save the "
            "coordinates as plain text, x,y."
        ) from error


def _point(path: Path, number: int, line: str, base: int) -> tuple[float, float]:
    def wrong(what: str) -> FileError:
        shown = line.strip()
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        return FileError(f"{path}, line {number} ({shown!r}): {what}")

    columns = _SEPARATOR.split(line.strip())
    for column in columns:
        if column.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise wrong(f"{column!r} is no place; remove the line.")
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
        raise wrong("the number is too large for a place in a picture.")
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
    """Refuse points outside the picture, and say under which reading of the file they would lie inside."""
    outside = _outside(points, shape)
    if not outside.any():
        return
    other_base, other_order = 1 - base, _ORDERS[1 - _ORDERS.index(order)]
    moved = points + (base - other_base)
    fitting = [
        reading
        for reading, candidate in (
            (f"base={other_base}", moved),
            (f"order={other_order!r}", points[:, ::-1] + 0.0),
            (f"base={other_base} and order={other_order!r}", moved[:, ::-1]),
        )
        if not _outside(candidate, shape).any()
    ]
    remedy = (
        f"All of them fit with {' or with '.join(fitting)}: use that if it is how the file was written, or find the "
        "picture it belongs to."
        if fitting
        else f"Neither base={other_base} nor order={other_order!r} makes them fit: the file probably belongs to another "
        "picture."
    )
    first = int(np.flatnonzero(outside)[0])
    row, column = points[first].tolist()
    raise FileError(
        f"{path}: {int(outside.sum())} of {len(points)} points lie outside the picture of {shape[0]} × {shape[1]} pixels "
        f"(height × width), read with base={base} and order={order!r}; the first, in line {lines[first]}, is row {row:g}, "
        f"column {column:g}. {remedy}"
    )
