"""The patches of a session as a table that can be sorted, and in which a style can be chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtGui import QColor, QFont, QImage, QPixmap

from napari_nst.io.images import image_stem
from napari_nst.palette import ATTENTION

__all__ = ["COLUMNS", "PatchModel", "SortedPatches", "short_names"]

_ROLE = Qt.ItemDataRole
#: The columns whose words may call for attention.
_CALLING = ("quality", "status", "verdict")
#: Poor, failed and distrust, beside the words: Okabe and Ito's vermilion, lightened so that it is read on dark ground too.
_NONE = QModelIndex()


@dataclass(frozen=True)
class Column:
    """A column: where its value is found in a row, and how it is shown."""

    key: str
    title: str
    help: str
    digits: str | None = None  # a format, for numbers
    width: int = 8  # in characters
    after: bool = False  # whether it is empty until something has been enhanced


COLUMNS = (
    Column(
        "patch", "Patch", "Number of the patch and its image. Click a row, or press Return, to see the patch.", width=18
    ),
    Column("quality", "Quality", "good: the score is above the threshold.", width=6),
    Column("score", "Score", "What the patch is judged by.", "", 6),
    Column(
        "style",
        "Style ▾",
        "The patch whose texture this one gets. Double-click (or press F2) to choose another; Delete: none.",
        width=14,
    ),
    Column("status", "Status", "What has become of the patch, or what will.", width=11),
    Column("cones_after", "Cones after", "Cones found in the result.", ".0f", 10, True),
    Column(
        "verdict",
        "Verdict",
        "What the measures say of the result: trusted, look, or distrust. Rest the mouse on a cell for the reasons.",
        width=8,
        after=True,
    ),
    Column("new", "New", "Cones found in the result only: made up, or recovered.", ".0f", 5, True),
    Column(
        "unsupported",
        "Unsupported",
        "New ones at places where the patch as it was shows nothing that could be a cone.",
        ".0f",
        11,
        True,
    ),
    Column("lost", "Lost", "Cones found in the patch as it was only.", ".0f", 5, True),
    Column(
        "structure",
        "Structure",
        "Correlation of result and patch in the band of the cones; 1: the same.",
        ".3f",
        9,
        True,
    ),
    Column("ring_after", "Ring after", "Prominence of Yellott's ring in the result, dB.", ".1f", 9, True),
    Column("ring_before", "Ring", "Prominence of Yellott's ring, dB: how clear the mosaic is.", ".1f", 6),
    Column("cones_before", "Cones", "Cones that the own detector finds.", ".0f", 6),
    Column("spacing_before", "Spacing", "Cone spacing that follows from the ring, pixels.", ".2f", 8),
    Column("aiq_before", "AIQ", "Spectral signal-to-noise ratio, dB; shown only, it judges badly alone.", ".1f", 6),
    Column("distance", "Distance", "From patch to style, pixels on the retina.", ".0f", 8),
    Column("reason", "Reason", "Why it is treated with this style, or not treated.", width=50),
)
STYLE = next(number for number, column in enumerate(COLUMNS) if column.key == "style")


def short_names(names: Iterable[str]) -> dict[str, str]:
    """What tells file names apart: without the extension, and without the parts that all of them have."""
    stems = {name: image_stem(name) for name in names}
    parts = {name: stem.split("_") for name, stem in stems.items()}
    if len(stems) < 2:
        return stems
    if len({len(part) for part in parts.values()}) == 1:
        differs = [len(set(column)) > 1 for column in zip(*parts.values(), strict=True)]
        return {
            name: "_".join(word for word, kept in zip(part, differs, strict=True) if kept)
            for name, part in parts.items()
        }
    begin, end = _common(parts.values()), _common(part[::-1] for part in parts.values())
    return {name: "_".join(part[begin : len(part) - end]) or stems[name] for name, part in parts.items()}


def _common(lists: Iterable[list[str]]) -> int:
    """How many entries all lists begin with."""
    first, *others = lists
    return next((at for at, word in enumerate(first) if any(o[at : at + 1] != [word] for o in others)), len(first))


class PatchModel(QAbstractTableModel):
    """Rows of the session's table, one for each patch.

    Sorting goes by what ``Qt.UserRole`` gives: a number, a text in lower case, or None where nothing is known.
    """

    #: The full names of a patch and of the style that was chosen for it, "" for none.
    style_chosen = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.locked = False
        self._thumbnails: Mapping[str, NDArray[np.uint8]] = {}
        self._pixmaps: dict[str, QPixmap] = {}
        self._short: dict[str, str] = {}
        self._number: dict[str, int] = {}
        self.show_after = False

    def set_rows(self, rows: Sequence[dict[str, Any]], thumbnails: Mapping[str, NDArray[np.uint8]]) -> None:
        """Show other patches, or the same ones after another judgement."""
        self.beginResetModel()
        self.rows = [dict(row) for row in rows]
        if thumbnails is not self._thumbnails:
            self._thumbnails, self._pixmaps = thumbnails, {}
        images = short_names(dict.fromkeys(row["image"] for row in self.rows))
        self._short = {row["patch"]: f"{row['crop_id']} · {images[row['image']]}" for row in self.rows}
        self._number = {row["patch"]: number for number, row in enumerate(self.rows)}
        self.show_after = any(_known(row.get("structure")) for row in self.rows)
        self.endResetModel()

    def update_row(self, patch: str, values: Mapping[str, Any]) -> None:
        """Fill in what is known of a patch now."""
        number = self._number.get(patch)
        if number is None:
            return
        self.rows[number].update(values)
        self.show_after = self.show_after or _known(values.get("structure"))
        self.dataChanged.emit(self.index(number, 0), self.index(number, len(COLUMNS) - 1))

    def number_of(self, patch: str) -> int | None:
        """The row of a patch, before sorting."""
        return self._number.get(patch)

    def short(self, patch: str) -> str:
        """A short name: number and image."""
        return self._short.get(patch, patch)

    # What Qt asks for --------------------------------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = _NONE) -> int:
        """Patches."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _NONE) -> int:
        """Columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole) -> Any:
        """Titles, and what they mean."""
        if orientation == Qt.Orientation.Horizontal and 0 <= section < len(COLUMNS):
            if role == _ROLE.DisplayRole:
                return COLUMNS[section].title
            if role == _ROLE.ToolTipRole:
                return COLUMNS[section].help
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Only styles are edited, and not while they are in use."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == STYLE and not self.locked else flags

    def setData(self, index: QModelIndex, value: Any, role: int = _ROLE.EditRole) -> bool:
        """Tell that a style was chosen; who listens changes the plan, and then the rows."""
        if role != _ROLE.EditRole or not index.isValid() or index.column() != STYLE or self.locked:
            return False
        row = self.rows[index.row()]
        if value != row["style"]:
            self.style_chosen.emit(row["patch"], value)
        return True

    def data(self, index: QModelIndex, role: int = _ROLE.DisplayRole) -> Any:
        """What a cell shows."""
        if not index.isValid():
            return None
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        if role == _ROLE.DisplayRole:
            return self._text(row, column)
        if role == _ROLE.UserRole:
            return self._sort_key(row, column)
        if role == _ROLE.EditRole:
            return row.get(column.key)
        if role == _ROLE.ToolTipRole:
            return self._tooltip(row, column)
        if role == _ROLE.DecorationRole and column.key == "patch":
            return self._pixmap(row["patch"])
        if role == _ROLE.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.digits is not None else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        calls = column.key in _CALLING and self._text(row, column) in ("poor", "failed", "distrust")
        if role == _ROLE.ForegroundRole and calls:
            return QColor(ATTENTION)
        if role == _ROLE.FontRole and calls:
            font = QFont()
            font.setBold(True)
            return font
        return None

    def _text(self, row: Mapping[str, Any], column: Column) -> str:
        value = row.get(column.key)
        if column.key == "patch":
            return self.short(row["patch"])
        if column.key == "style":
            return self.short(value) if value else "–"
        if column.key == "status":
            return str(value) if value and value != "open" else "to do" if row["style"] else "keep"
        if column.digits is None:
            return str(value or "")
        if value is None or not _known(value):
            return "–"
        # Scores are decibels, counts, or whatever a table says.
        digits = column.digits or (".0f" if abs(value) >= 100 else ".1f" if abs(value) >= 10 else ".2f")
        return format(value, digits)

    def _sort_key(self, row: Mapping[str, Any], column: Column) -> Any:
        value = row.get(column.key)
        if column.key == "patch":
            return float(row["crop_id"])
        if column.key == "style":
            number = self._number.get(str(value))
            return None if number is None else float(self.rows[number]["crop_id"])
        if column.digits is not None:
            return float(value) if value is not None and _known(value) else None
        return self._text(row, column).casefold() or None

    def _tooltip(self, row: Mapping[str, Any], column: Column) -> str:
        if column.key == "patch":
            return str(row["patch"])
        if column.key == "style":
            return str(row["style"]) or "Not treated. Double-click to choose a style."
        if column.key == "status" and row.get("error"):
            return f"The original was kept: {row['error']}"
        if column.key == "verdict":
            return str(row.get("verdict_text") or "")
        return self._text(row, column) if column.key == "reason" else ""

    def _pixmap(self, patch: str) -> QPixmap | None:
        if patch not in self._pixmaps and patch in self._thumbnails:
            grey = self._thumbnails[patch]
            height, width = grey.shape
            image = QImage(grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
            self._pixmaps[patch] = QPixmap.fromImage(image)
        return self._pixmaps.get(patch)


class SortedPatches(QSortFilterProxyModel):
    """The table in the order of any column; what is unknown comes last, up or down."""

    def __init__(self, model: PatchModel) -> None:
        super().__init__()
        self.setSourceModel(model)
        self.setSortRole(_ROLE.UserRole)

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        """Compare two cells of a column."""
        one, two = left.data(_ROLE.UserRole), right.data(_ROLE.UserRole)
        if one is None or two is None:
            # Downwards, the larger one comes first: what is unknown must then be the smallest.
            falling = self.sortOrder() == Qt.SortOrder.DescendingOrder
            return (two is None and one is not None) != falling if (one is None) != (two is None) else False
        return bool(one < two)


def _known(value: Any) -> bool:
    """Whether it is a number; pandas has an NA of its own that is none."""
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
