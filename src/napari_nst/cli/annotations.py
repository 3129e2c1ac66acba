"""Scoring detections against hand marks, for ``napari-nst evaluate --marks``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import FileError, ParameterError
from napari_nst.imaging.cones import DEFAULT_CONFIDENCE, detect_cones
from napari_nst.io.coordinates import read_coordinates, read_header
from napari_nst.metrics.agreement import Agreement, agreement, invented, points_inside
from napari_nst.metrics.mosaic import nearest_neighbour_spacing

__all__ = ["BORDER", "ORDERS", "Marks", "Scores", "differences", "read_marks", "score", "score_lines"]

#: Pixels along the edges that the published protocol leaves out: cones that are cut there are marked by chance.
BORDER = 7
#: As the command line writes the order of columns, and as `read_coordinates` does.
ORDERS = {"xy": "xy", "yx": "rowcol"}

_CONFIDENCES = (DEFAULT_CONFIDENCE, 0.0)


@dataclass(frozen=True, eq=False)
class Marks:
    """Cones that somebody marked by hand.

    Attributes
    ----------
    path : pathlib.Path
    points : array of float64, (n, 2)
        Row and column, 0-based.
    order, base : str, int
        How the file was read: "xy" or "yx", 0 or 1.
    header : tuple of str or None
        The names in its first line.
    spacing : float
        Median distance of nearest neighbours in pixels, or what the user said.
    border : float
        Pixels along the edges that are not scored.
    inside : array of bool, (n,)
        Marks that are neither in the border nor outside of the mask.
    """

    path: Path
    points: NDArray[np.float64]
    order: str
    base: int
    header: tuple[str, ...] | None
    spacing: float
    border: float
    inside: NDArray[np.bool_]

    def __str__(self) -> str:
        header = "" if self.header is None else f"; its first line is a header ({','.join(self.header)})"
        axes = "x,y" if self.order == "xy" else "y,x"
        said = (
            f"{len(self.points)} marks of {self.path.name} ({axes}, first pixel {self.base}{header}), "
            f"{int(self.inside.sum())} of them scored"
        )
        if self.border:
            said += f": the others lie within {self.border:g} px of an edge of the picture or its mask"
        return f"{said}; spacing {self.spacing:.2f} px."

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "order": self.order,
            "base": self.base,
            "header": None if self.header is None else list(self.header),
            "count": len(self.points),
            "scored": int(self.inside.sum()),
            "border_px": self.border,
            "spacing_px": self.spacing,
        }


@dataclass(frozen=True)
class Scores:
    """How well the cones that the own detector finds in a picture agree with marks.

    Attributes
    ----------
    confidence : float
        Least confidence of the detections.
    found : int
        Detections inside of border and mask.
    invented : int
        Those of them that are farther than 0.75 spacings from every mark.
    agreements : tuple of Agreement
        One for each tolerance.
    """

    confidence: float
    found: int
    invented: int
    agreements: tuple[Agreement, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "confidence": self.confidence,
            "found": self.found,
            "invented": self.invented,
            "agreements": [dataclasses.asdict(entry) for entry in self.agreements],
        }


def read_marks(
    path: Path,
    shape: tuple[int, int],
    *,
    order: str | None,
    base: int | None,
    border: float = BORDER,
    spacing: float | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Marks:
    """Read hand marks of a picture.

    Parameters
    ----------
    path : pathlib.Path
        Two columns, with or without a line of their names.
    shape : (H, W)
        Of the picture.
    order, base : "xy" or "yx", 0 or 1
        Whether the column or the row comes first, and what the file calls the first pixel. A file does not say, so None is
        refused, with what the file would allow.
    border : float
        Pixels along the edges to leave out, 0 or more.
    spacing : float, optional
        Distance of neighbouring cones in pixels; measured at the marks by default.
    mask : array of bool, (H, W), optional
        True where marks and detections count.

    Raises
    ------
    ParameterError
        `order` or `base` is missing, or a number cannot be used.
    FileError
        The file cannot be read, marks lie outside of the picture, or there are too few to know their spacing.
    """
    if not 0 <= border < math.inf:
        raise ParameterError(f"--border: {border:g} is no width in pixels; give 0 or more.")
    if spacing is not None and not 0 < spacing < math.inf:
        raise ParameterError(f"--spacing: {spacing:g} is no distance in pixels; give a number above 0.")
    header = read_header(path)
    if order is None or base is None:
        raise ParameterError(_what_fits(path, shape, order, base))
    try:
        points = read_coordinates(path, base=base, order=ORDERS[order], shape=shape, header=True)
    except FileError as error:
        raise FileError(f"{error} (base is --marks-base; 'xy' is --marks-order xy, 'rowcol' is yx.)") from error
    if not len(points):
        raise FileError(f"{path} holds no marks; there is nothing to score against.")
    if spacing is None:
        spacing = nearest_neighbour_spacing(points)
        if not spacing > 0:
            raise FileError(
                f"{path} holds {len(points)} mark(s) at one place: tolerances are parts of the distance of neighbouring cones, "
                "which cannot be told from them. Give it with --spacing PX, or mark more cones."
            )
    return Marks(
        path, points, order, base, header, spacing, border, points_inside(points, shape, border=border, mask=mask)
    )


def score(picture: NDArray[Any], marks: Marks, *, mask: NDArray[np.bool_] | None = None) -> tuple[Scores, ...]:
    """Find the cones of a picture and score them, at the usual confidence and without any threshold.

    Parameters
    ----------
    picture : array, (H, W)
    marks : Marks
    mask : array of bool, (H, W), optional
        True where cones are looked for.
    """
    cones = detect_cones(picture, mask=mask, confidence=0)  # a higher confidence takes some of these
    scores = []
    for confidence in _CONFIDENCES:
        found = cones.points[cones.confidence >= confidence]
        inside = points_inside(found, picture.shape, border=marks.border, mask=mask)
        scores.append(
            Scores(
                confidence,
                int(inside.sum()),
                int(inside[invented(found, marks.points, marks.spacing)].sum()),
                agreement(found, marks.points, picture.shape, border=marks.border, mask=mask, spacing=marks.spacing),
            )
        )
    return tuple(scores)


def differences(target: Sequence[Scores], result: Sequence[Scores]) -> list[dict[str, float]]:
    """What a result gains over its target, for each confidence and tolerance: above 0 is more.

    Returns
    -------
    list of dict
        ``confidence``, ``tolerance``, and the differences of ``dice``, ``true_positive_rate``, ``false_discovery_rate``,
        ``median_distance_px``, ``found`` and ``invented``.
    """
    measures = ("dice", "true_positive_rate", "false_discovery_rate", "median_distance_px")
    return [
        {
            "confidence": before.confidence,
            "tolerance": old.tolerance,
            **{name: getattr(new, name) - getattr(old, name) for name in measures},
            "found": after.found - before.found,
            "invented": after.invented - before.invented,
        }
        for before, after in zip(target, result, strict=True)
        for old, new in zip(before.agreements, after.agreements, strict=True)
    ]


def score_lines(marks: Marks, scored: Sequence[tuple[str, Sequence[Scores]]]) -> list[str]:
    """The scores as a table to be read.

    Parameters
    ----------
    marks : Marks
    scored : sequence of (name, scores)
        One or two pictures, the target first.
    """
    if not marks.inside.any():
        return [str(marks), "No mark is left inside: nothing can be scored. Give a smaller --border, or another mask."]
    rows: list[tuple[str, ...]] = [
        ("", "within", "Dice", "TPR", "FDR", "TP", "FP", "FN", "off by", "found", "invented")
    ]
    for name, scores in scored:
        for entry in scores:
            rows += [
                (f"{name}, confidence {entry.confidence:g}", *_cells(one), str(entry.found), str(entry.invented))
                for one in entry.agreements
            ]
            rows += [
                (f"  {entry.found} points placed blindly", _within(one), _share(one.chance_dice), *("",) * 8)
                for one in entry.agreements
            ]
    if len(scored) == 2:
        rows.append((f"{scored[1][0]} less {scored[0][0]}", *("",) * 10))
        rows += [
            (
                f"  confidence {change['confidence']:g}",
                f"{change['tolerance']:g}",
                *(_signed(change[name]) for name in ("dice", "true_positive_rate", "false_discovery_rate")),
                "",
                "",
                "",
                _signed(change["median_distance_px"], ".2f", " px"),
                f"{change['found']:+d}",
                f"{change['invented']:+d}",
            )
            for change in differences(scored[0][1], scored[1][1])
        ]
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    table = [
        "  ".join(
            cell.rjust(width) if number > 1 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [
        str(marks),
        *table,
        "within: tolerance in spacings; a lattice placed blindly shows what chance gives, so read 0.35 first.",
        "invented: farther than 0.75 spacings from every mark. off by: median distance of a matched cone.",
    ]


def _cells(one: Agreement) -> tuple[str, ...]:
    return (
        _within(one),
        *(_share(value) for value in (one.dice, one.true_positive_rate, one.false_discovery_rate)),
        *(str(value) for value in (one.true_positives, one.false_positives, one.false_negatives)),
        "–" if math.isnan(one.median_distance_px) else f"{one.median_distance_px:.2f} px",
    )


def _within(one: Agreement) -> str:
    return f"{one.tolerance:g} ({one.tolerance_px:.1f} px)"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _signed(value: float, digits: str = ".3f", unit: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:+{digits}}{unit}"


def _what_fits(path: Path, shape: tuple[int, int], order: str | None, base: int | None) -> str:
    """Why the options are needed, and which of their values the file allows."""
    fitting = []
    for name in ORDERS if order is None else (order,):
        for first in (0, 1) if base is None else (base,):
            try:
                read_coordinates(path, base=first, order=ORDERS[name], shape=shape, header=True)
            except FileError as error:
                reason = str(error)
                continue
            fitting.append(f"--marks-order {name} --marks-base {first}")
    missing = " and ".join(
        option for option, value in (("--marks-order", order), ("--marks-base", base)) if value is None
    )
    if not fitting:
        return f"--marks needs {missing}, and no value of them lets {path} fit the picture. {reason}"
    return (
        f"--marks needs {missing}: whether x (column) or y (row) comes first in {path}, and whether its first pixel is 0 or 1. "
        "A wrong guess would mirror the marks, or shift all of them by a pixel. Ask who made the file: MATLAB begins with 1, "
        f"Python and napari with 0. In the picture of {shape[0]} × {shape[1]} pixels (height × width) "
        f"{'only ' if len(fitting) == 1 else ''}{' or '.join(fitting)} would fit."
    )
