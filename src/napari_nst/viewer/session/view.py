"""How the table of patches looks and behaves: rows to click, and a cell in which a style is chosen from a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QAbstractItemModel, QModelIndex, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_nst.viewer.session.table import COLUMNS, STYLE, PatchModel, SortedPatches
from napari_nst.viewer.session.worker import THUMBNAIL

__all__ = ["PatchTable", "StyleDelegate"]

#: The choices for a patch: text and full name.
Choices = Callable[[str], Sequence[tuple[str, str]]]


class StyleDelegate(QStyledItemDelegate):
    """A drop-down list in the cell of a style.

    Parameters
    ----------
    find : callable
        Gives the choices for a patch, by its full name.
    """

    def __init__(self, find: Choices, parent: QObject) -> None:
        super().__init__(parent)
        self._find = find

    def createEditor(self, parent: QWidget | None, option: QStyleOptionViewItem, index: QModelIndex) -> QWidget | None:
        """Make the list, opened."""
        patch = index.siblingAtColumn(0).data(Qt.ItemDataRole.EditRole)
        combo = QComboBox(parent)
        for text, name in self._find(patch):
            combo.addItem(text, name)
            combo.setItemData(combo.count() - 1, name, Qt.ItemDataRole.ToolTipRole)
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

    def setEditorData(self, editor: QWidget | None, index: QModelIndex) -> None:
        """Choose what is chosen already."""
        assert isinstance(editor, QComboBox)
        editor.setCurrentIndex(max(0, editor.findData(index.data(Qt.ItemDataRole.EditRole) or "")))

    def setModelData(self, editor: QWidget | None, model: QAbstractItemModel | None, index: QModelIndex) -> None:
        """Hand over the choice."""
        assert isinstance(editor, QComboBox)
        assert model is not None
        model.setData(index, editor.currentData(), Qt.ItemDataRole.EditRole)


class PatchTable(QTableView):
    """The table.

    Parameters
    ----------
    model : PatchModel
    find_styles : callable
        Gives the styles that a patch can have, as pairs of text and full name.
    """

    #: The full name of a patch that is to be seen.
    wanted = Signal(str)
    #: The full names of patches that are not to be treated.
    undone = Signal(list)

    def __init__(self, model: PatchModel, find_styles: Choices) -> None:
        super().__init__()
        self.patches = model
        self.sorted = SortedPatches(model)
        self.setModel(self.sorted)
        self.setItemDelegateForColumn(STYLE, StyleDelegate(find_styles, self))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setAlternatingRowColors(False)  # napari's palette has one colour for both themes
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTabKeyNavigation(False)  # Tab leaves the table, arrows move in it
        self.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setMinimumHeight(96)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None
        assert columns is not None
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(THUMBNAIL + 4)
        columns.setSectionsMovable(True)
        columns.setHighlightSections(False)
        unit = self.fontMetrics().averageCharWidth()
        for number, column in enumerate(COLUMNS):
            icon = THUMBNAIL if column.key == "patch" else 0
            self.setColumnWidth(number, unit * (column.width + 2) + icon)
        model.modelReset.connect(self.show_columns)
        model.dataChanged.connect(self._on_changed)
        self.clicked.connect(self._on_chosen)
        self.activated.connect(self._on_chosen)
        self.show_columns()

    def show_columns(self) -> None:
        """Hide the columns that are empty until something has been enhanced."""
        for number, column in enumerate(COLUMNS):
            self.setColumnHidden(number, column.after and not self.patches.show_after)

    def selected(self) -> list[str]:
        """The full names of the selected patches."""
        selection = self.selectionModel()
        return (
            []
            if selection is None
            else [str(index.data(Qt.ItemDataRole.EditRole)) for index in selection.selectedRows(0)]
        )

    def select(self, patch: str) -> None:
        """Select the row of a patch, and bring it into sight."""
        number = self.patches.number_of(patch)
        if number is not None:
            index = self.sorted.mapFromSource(self.patches.index(number, 0))
            self.setCurrentIndex(index)
            self.scrollTo(index)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Delete takes the styles of the selected patches away."""
        if event is not None and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and not self.patches.locked:
            self.undone.emit(self.selected())
            event.accept()
            return
        super().keyPressEvent(event)

    def _on_changed(self, *_: Any) -> None:
        if self.patches.show_after and self.isColumnHidden(self._first_after):
            self.show_columns()

    _first_after = next(number for number, column in enumerate(COLUMNS) if column.after)

    def _on_chosen(self, index: QModelIndex) -> None:
        self.wanted.emit(str(index.siblingAtColumn(0).data(Qt.ItemDataRole.EditRole)))
