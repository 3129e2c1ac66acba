"""The patches of a session as a table that can be sorted, and in which a style can be chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, QSortFilterProxyModel, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QFont, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import QComboBox, QHeaderView, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from napari_nst.io.images import image_stem
from napari_nst.palette import ATTENTION

#: Largest side of a thumbnail, pixels.
THUMBNAIL = 38
#: Values that call for attention.
_ALERTS = {("quality", "poor"), ("status", "failed"), ("verdict", "distrust")}
_Role = Qt.ItemDataRole
_ROOT = QModelIndex()

#: The styles that a patch can have: text and full name.
Choices = Callable[[str], Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Column:
    """A column: where its value is found in a row, and how it is shown."""

    key: str
    title: str
    help: str
    digits: str | None = None  # a format, for numbers; "": as many digits as the value needs
    width: int = 8  # in characters
    after: bool = False  # whether it is empty until something has been enhanced


COLUMNS = (
    Column("patch", "Patch", "Number of the patch and its image. Click a row, or press Return, to see it.", width=18),
    Column("quality", "Quality", "good: the score is above the threshold.", width=6),
    Column("score", "Score", "The image quality of the patch.", "", 6),
    Column("style", "Style ▾", "The patch whose texture it gets. F2 or double-click: choose; Delete: none.", width=14),
    Column("status", "Status", "What has become of the patch, or what will.", width=11),
    Column("cones_after", "Cones after", "Cones found in the result.", ".0f", 10, True),
    Column("verdict", "Verdict", "trusted, look, or distrust; rest the mouse on it for the reasons.", None, 10, True),
    Column("new", "New", "Cones found in the result only: made up, or recovered.", ".0f", 5, True),
    Column("unsupported", "Unsupported", "New cones where the original shows nothing like a cone.", ".0f", 11, True),
    Column("lost", "Lost", "Cones found in the original only.", ".0f", 5, True),
    Column("structure", "Structure", "Correlation of result and original in the band of the cones.", ".3f", 9, True),
    Column("ring_after", "Ring after", "Prominence of Yellott's ring in the result, dB.", ".1f", 9, True),
    Column("ring_before", "Ring", "Prominence of Yellott's ring, dB: how clear the mosaic is.", ".1f", 6),
    Column("cones_before", "Cones", "Cones that the own detector finds.", ".0f", 6),
    Column("spacing_before", "Spacing", "Cone spacing that follows from the ring, pixels.", ".2f"),
    Column("aiq_before", "AIQ", "Spectral signal-to-noise ratio, dB; shown only, a poor measure alone.", ".1f", 6),
    Column("distance", "Distance", "From patch to style, pixels on the retina.", ".0f"),
    Column("reason", "Reason", "Why it is enhanced with this style, or not enhanced.", width=50),
)
STYLE = next(number for number, column in enumerate(COLUMNS) if column.key == "style")


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return what tells file names apart: no extension, and no word that all have at one place, from either end."""
    stems = {name: image_stem(name) for name in names}
    parts = [stem.split("_") for stem in stems.values()]
    if len(stems) < 2:
        return stems
    columns = (enumerate(zip(*(part[::way] for part in parts), strict=False)) for way in (1, -1))
    start, end = ({place for place, words in column if len(set(words)) == 1} for column in columns)
    short = {}
    for (name, stem), part in zip(stems.items(), parts, strict=True):
        kept = (word for n, word in enumerate(part) if n not in start and len(part) - 1 - n not in end)
        short[name] = "_".join(kept) or stem
    return short


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
        self.show_after = False
        self._thumbnails: Mapping[str, NDArray[np.uint8]] = {}
        self._pixmaps: dict[str, QPixmap] = {}
        self._short: dict[str, str] = {}
        self.number: dict[str, int] = {}  #: the row of each patch, before sorting

    def set_rows(self, rows: Sequence[dict[str, Any]], thumbnails: Mapping[str, NDArray[np.uint8]]) -> None:
        """Show other patches, or the same ones with another plan."""
        self.beginResetModel()
        self.rows = [dict(row) for row in rows]
        if thumbnails is not self._thumbnails:
            self._thumbnails, self._pixmaps = thumbnails, {}
        images = short_names(dict.fromkeys(row["image"] for row in self.rows))
        self._short = {row["patch"]: f"{row['crop_id']} · {images[row['image']]}" for row in self.rows}
        self.number = {row["patch"]: number for number, row in enumerate(self.rows)}
        self.show_after = any(_is_number(row.get("structure")) for row in self.rows)
        self.endResetModel()

    def update_row(self, patch: str, values: Mapping[str, Any]) -> None:
        """Fill in what is known of a patch now."""
        if patch in self.number:
            number = self.number[patch]
            self.rows[number].update(values)
            self.show_after = self.show_after or _is_number(values.get("structure"))
            self.dataChanged.emit(self.index(number, 0), self.index(number, len(COLUMNS) - 1))

    def show_running(self, patch: str) -> None:
        """Show that a patch is enhanced now; none any more if there is no name."""
        number = self.number.get(patch)
        if number is not None and self.rows[number]["status"] == "open":
            self.update_row(patch, {"status": "running"})
        for row in self.rows if not patch else ():
            if row["status"] == "running":
                self.update_row(row["patch"], {"status": "open"})

    def short(self, patch: str) -> str:
        """Return a short name: number and image."""
        return self._short.get(patch, patch)

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Patches."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Columns."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        """Titles, and what they mean."""
        if orientation == Qt.Orientation.Horizontal and 0 <= section < len(COLUMNS):
            return {_Role.DisplayRole: COLUMNS[section].title, _Role.ToolTipRole: COLUMNS[section].help}.get(role)
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Only styles are edited, and not while they are in use."""
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == STYLE and not self.locked else flags

    def setData(self, index: QModelIndex, value: Any, role: int = _Role.EditRole) -> bool:
        """Emit the style that was chosen; who listens changes the plan, and then the rows."""
        if role != _Role.EditRole or not index.isValid() or index.column() != STYLE or self.locked:
            return False
        row = self.rows[index.row()]
        if value != row["style"]:
            self.style_chosen.emit(row["patch"], value)
        return True

    def data(self, index: QModelIndex, role: int = _Role.DisplayRole) -> Any:
        """What a cell shows."""
        if not index.isValid():
            return None
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        if role == _Role.EditRole:
            return row.get(column.key)
        show = {
            _Role.DisplayRole: self._text,
            _Role.UserRole: self._sort_key,
            _Role.ToolTipRole: self._tooltip,
            _Role.DecorationRole: self._pixmap,
        }.get(role)
        return _appearance(row, column, role) if show is None else show(row, column)

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
        if value is None or not _is_number(value):
            return "–"
        # Scores are decibels, counts, or whatever a table says.
        digits = column.digits or (".0f" if abs(value) >= 100 else ".1f" if abs(value) >= 10 else ".2f")
        return format(value, digits)

    def _sort_key(self, row: Mapping[str, Any], column: Column) -> Any:
        value = row.get(column.key)
        if column.key == "patch":
            return float(row["crop_id"])
        if column.key == "style":
            number = self.number.get(str(value))
            return None if number is None else float(self.rows[number]["crop_id"])
        if column.digits is not None:
            return float(value) if value is not None and _is_number(value) else None
        return self._text(row, column).casefold() or None

    def _tooltip(self, row: Mapping[str, Any], column: Column) -> str:
        if column.key == "style":
            return str(row["style"]) or "Not enhanced. Double-click to choose a style."
        if column.key == "status":
            return f"The original was kept: {row['error']}" if row.get("error") else ""
        shown = {"patch": "patch", "verdict": "verdict_text", "reason": "reason"}.get(column.key, "")
        return str(row.get(shown) or "")

    def _pixmap(self, row: Mapping[str, Any], column: Column) -> QPixmap | None:
        patch = row["patch"]
        if column.key != "patch" or patch not in self._thumbnails:
            return None
        if patch not in self._pixmaps:
            height, width = self._thumbnails[patch].shape
            gray = self._thumbnails[patch].tobytes(), width, height, width, QImage.Format.Format_Grayscale8
            self._pixmaps[patch] = QPixmap.fromImage(QImage(*gray))
        return self._pixmaps[patch]


def _appearance(row: Mapping[str, Any], column: Column, role: int) -> Any:
    """Alignment, and color and font of what calls for attention."""
    if role == _Role.TextAlignmentRole:
        side = Qt.AlignmentFlag.AlignRight if column.digits is not None else Qt.AlignmentFlag.AlignLeft
        return side | Qt.AlignmentFlag.AlignVCenter
    if (column.key, row.get(column.key)) not in _ALERTS:
        return None
    if role == _Role.FontRole:
        font = QFont()
        font.setBold(True)
        return font
    return QColor(ATTENTION) if role == _Role.ForegroundRole else None


def _is_number(value: Any) -> bool:
    """Whether it is a finite number; pandas has an NA of its own that is none."""
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


class _SortedPatches(QSortFilterProxyModel):
    """The table in the order of any column; what is unknown comes last, up or down."""

    def __init__(self, model: PatchModel) -> None:
        super().__init__()
        self.setSourceModel(model)
        self.setSortRole(_Role.UserRole)

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        one, two = left.data(_Role.UserRole), right.data(_Role.UserRole)
        if one is not None and two is not None:
            return bool(one < two)
        # Downwards, the larger one comes first: what is unknown must then be the smallest.
        falling = self.sortOrder() == Qt.SortOrder.DescendingOrder
        return one is not two and (one is None) == falling


class _StyleDelegate(QStyledItemDelegate):
    """A drop-down list in the cell of a style."""

    def __init__(self, find_styles: Choices, parent: QWidget) -> None:
        super().__init__(parent)
        self._find_styles = find_styles

    def createEditor(self, parent: QWidget | None, option: QStyleOptionViewItem, index: QModelIndex) -> QWidget | None:
        combo = QComboBox(parent)
        for text, name in self._find_styles(index.siblingAtColumn(0).data(_Role.EditRole)):
            combo.addItem(text, name)
            combo.setItemData(combo.count() - 1, name, _Role.ToolTipRole)
        view = combo.view()
        if view is not None:
            # The cell is narrow, the list need not be.
            view.setMinimumWidth(min(420, view.sizeHintForColumn(0) + 40))
        combo.activated.connect(self._on_activated)
        soon = QTimer(combo)  # its child: an editor that is closed at once is not opened any more
        soon.setSingleShot(True)
        soon.timeout.connect(combo.showPopup)
        soon.start(0)
        return combo

    def _on_activated(self) -> None:
        combo = self.sender()
        if isinstance(combo, QComboBox):
            self.commitData.emit(combo)
            self.closeEditor.emit(combo)

    def setEditorData(self, editor: Any, index: QModelIndex) -> None:
        editor.setCurrentIndex(max(0, editor.findData(index.data(_Role.EditRole) or "")))

    def setModelData(self, editor: Any, model: Any, index: QModelIndex) -> None:
        model.setData(index, editor.currentData(), _Role.EditRole)


class PatchTable(QTableView):
    """The table: rows to click, and a cell in which a style is chosen from a list."""

    #: The full name of a patch that is to be seen.
    wanted = Signal(str)
    #: The full names of patches that are not to be enhanced.
    undone = Signal(list)

    def __init__(self, model: PatchModel, find_styles: Choices) -> None:
        super().__init__()
        self.patches = model
        self.sorted = _SortedPatches(model)
        self.setModel(self.sorted)
        self.setItemDelegateForColumn(STYLE, _StyleDelegate(find_styles, self))
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QTableView.EditTrigger.DoubleClicked | QTableView.EditTrigger.EditKeyPressed)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setAlternatingRowColors(False)  # napari's palette has one color for both themes
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)  # Tab leaves the table, arrows move in it
        self.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setMinimumHeight(96)
        rows: Any = self.verticalHeader()
        columns: Any = self.horizontalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(THUMBNAIL + 4)
        columns.setSectionsMovable(True)
        columns.setHighlightSections(False)
        unit = self.fontMetrics().averageCharWidth()
        for number, column in enumerate(COLUMNS):
            icon = THUMBNAIL if column.key == "patch" else 0
            self.setColumnWidth(number, unit * (column.width + 2) + icon)
        model.modelReset.connect(self._show_columns)
        model.dataChanged.connect(self._show_columns)
        self.clicked.connect(self._on_chosen)
        self.activated.connect(self._on_chosen)
        self._show_columns()

    def _show_columns(self, *_: Any) -> None:
        for number, column in enumerate(COLUMNS):
            self.setColumnHidden(number, column.after and not self.patches.show_after)

    def selected(self) -> list[str]:
        """Return the full names of the selected patches."""
        selection = self.selectionModel()
        return [] if selection is None else [str(index.data(_Role.EditRole)) for index in selection.selectedRows(0)]

    def select(self, patch: str) -> None:
        """Select the row of a patch, and bring it into sight."""
        number = self.patches.number.get(patch)
        if number is not None:
            index = self.sorted.mapFromSource(self.patches.index(number, 0))
            self.setCurrentIndex(index)
            self.scrollTo(index)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Take the styles of the selected patches away on Delete."""
        if event is not None and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and not self.patches.locked:
            self.undone.emit(self.selected())
            event.accept()
            return
        super().keyPressEvent(event)

    def _on_chosen(self, index: QModelIndex) -> None:
        self.wanted.emit(str(index.siblingAtColumn(0).data(_Role.EditRole)))
