"""How the widget "Enhance Session" looks: fields, table and histogram, arranged for a dock at a side or at the bottom."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from magicgui.widgets.bases import BaseValueWidget
from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QIcon, QResizeEvent
from qtpy.QtWidgets import (
    QBoxLayout,
    QFormLayout,
    QFrame,
    QGridLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_nst.viewer.common.panel import _button, _row, _text, breakable

__all__ = ["SessionPanel"]

EMPTY = (
    "No patches yet.\n\nChoose a folder of images of one retina, or drop it here, and press Judge: the images are cut into "
    "patches, each patch is judged, and every poor one gets a good one as its style. Nothing is written.\n\nThen check the "
    "table, and press Run."
)
#: From this width on, and if it is wider than high, the fields lie beside the table.
_WIDE = 820
_FIELDS = 420
_LEAST = 120  # pixels of fields that are always seen
_ANY = 16_777_215  # Qt's own largest: no limit


class _Fields(QScrollArea):
    """The fields, as high as they need to be where there is room, scrolled where there is not."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._height = 200

    def fit(self, width: int, room: int) -> None:
        """Take this width (0: any), and of a height of `room` what is needed, but leave some to the table."""
        content = self.widget()
        layout = None if content is None else content.layout()
        if content is None or layout is None:
            return
        # Qt asks for what they would need at their least width, where every text wraps, and would scroll too early.
        needed = layout.totalHeightForWidth(content.width())
        if needed < 0:  # no text is shown
            needed = layout.totalMinimumSize().height()
        content.setMinimumHeight(needed)
        self.setMinimumWidth(width)
        self.setMaximumWidth(width or _ANY)
        self.setMaximumHeight(_ANY if width else needed + 2)
        height = needed + 2 if width else min(needed + 2, max(_LEAST, int(0.55 * room)))
        if height != self._height:
            self._height = height
            self.updateGeometry()

    def sizeHint(self) -> QSize:
        """As high as they need to be."""
        return QSize(_FIELDS, self._height)

    def minimumSizeHint(self) -> QSize:
        """A few of them."""
        return QSize(200, min(_LEAST, self._height))


class SessionPanel(QWidget):
    """Everything that is seen.

    Parameters
    ----------
    folders, front, further : lists of BaseValueWidget
        Fields of the folders; those that are seen at once, shown in two columns; and those below "Further settings".
    workers : BaseValueWidget
        Beside the buttons.
    table : QWidget
    """

    #: A folder was dropped.
    dropped = Signal(str)

    def __init__(
        self,
        folders: list[BaseValueWidget],
        front: list[BaseValueWidget],
        further: list[BaseValueWidget],
        workers: BaseValueWidget,
        table: QWidget,
    ) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self.labels: dict[str, QLabel] = {}
        self.judge = _button("Judge", "Read the images, cut and judge the patches, and pair them. Nothing is written.")
        self.run = _button(
            "Run", "Enhance the poor patches. A session that was stopped goes on where it was; a finished one is shown."
        )
        self.stop = _button("Stop", "End soon. What is finished is kept; Run goes on there.")
        self.progress = QProgressBar()
        self.progress.setToolTip("Of the whole session.")
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(12)
        self.progress.hide()
        self.step = _text("What is being done, and the time left.")
        self.status = _text("What happened last.")
        self.summary = _text("How many patches there are, and how they were judged.")
        self.seen = _text("The patch that is shown in the viewer.")
        self.assess = _button(
            "Assess", "Measure what was done to the cones of this patch, and whether they can be trusted."
        )
        self.assess.hide()
        self.save_pairs = _button(
            "Save pairs…", "Write the table with its pairs as CSV, which can be edited and loaded."
        )
        self.load_pairs = _button("Load pairs…", "Take the pairs from a CSV with the columns patch and style.")
        self.find_pairs = _button("Find pairs", "Forget what was chosen by hand, and pair the patches anew.")
        self.plot_place = QWidget()
        self.plot_layout = QVBoxLayout(self.plot_place)
        self.plot_layout.setContentsMargins(0, 0, 0, 0)
        self.plot_place.hide()

        self.fields = self._fields(folders, front, further, workers)
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self._table_part(table))
        self.splitter.addWidget(self.plot_place)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 1)
        self.arranged = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self.arranged.setContentsMargins(4, 4, 4, 4)
        self.arranged.setSpacing(6)
        self.arranged.addWidget(self.fields)
        self.arranged.addWidget(self.splitter, 1)
        self.setMinimumWidth(330)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._was_wide: bool | None = None
        self._order(folders, front, further, workers, table)
        self.show_patches(False)
        self._arrange()

    # Parts -------------------------------------------------------------------------------------------------------

    def _fields(
        self,
        folders: list[BaseValueWidget],
        front: list[BaseValueWidget],
        further: list[BaseValueWidget],
        workers: BaseValueWidget,
    ) -> _Fields:
        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(2, 2, 2, 2)
        rows.setSpacing(5)
        rows.addLayout(self._form(folders))
        rows.addLayout(self._grid([*front, workers]))
        rows.addLayout(_row(self.judge, self.run, self.stop))
        rows.addWidget(self.progress)
        rows.addWidget(self.step)
        rows.addWidget(self.status)
        rows.addWidget(self._further(further))
        rows.addStretch(1)
        area = _Fields()
        area.setWidget(content)
        content.installEventFilter(self)
        return area

    def _label(self, field: BaseValueWidget) -> QLabel:
        label = QLabel(field.label)
        label.setToolTip(field.tooltip)
        label.setBuddy(field.native)
        self.labels[field.name] = label
        return label

    def _form(self, fields: list[BaseValueWidget]) -> QFormLayout:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for field in fields:
            form.addRow(self._label(field), field.native)
        return form

    def _grid(self, fields: list[BaseValueWidget]) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        for number, field in enumerate(fields):
            row, column = divmod(number, 2)
            grid.addWidget(self._label(field), row, 2 * column)
            grid.addWidget(field.native, row, 2 * column + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        return grid

    def _further(self, fields: list[BaseValueWidget]) -> QCollapsible:
        self.further = QCollapsible("▸  Further settings", expandedIcon=QIcon(), collapsedIcon=QIcon())
        self.further.setDuration(0)
        self.further.toggleButton().setToolTip("Judging, pairing, patches, names, scale, the transfer, the cluster.")
        inner = QWidget()
        inner.setLayout(self._form(fields))
        self.further.addWidget(inner)
        for widget, margins in ((self.further, (0, 0, 0, 0)), (self.further.content(), (8, 2, 0, 2))):
            layout = widget.layout()
            assert layout is not None  # superqt has just made it
            layout.setContentsMargins(*margins)
            layout.setSpacing(0)
        self.further.collapse(animate=False)
        self.further.toggled.connect(self._on_further)
        return self.further

    def _table_part(self, table: QWidget) -> QWidget:
        self.empty = QLabel(EMPTY)
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setMargin(12)
        self.empty.setMinimumHeight(150)
        self.empty.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        page = QWidget()
        rows = QVBoxLayout(page)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addWidget(self.summary)
        rows.addWidget(table, 1)
        rows.addWidget(self.seen)
        rows.addWidget(self.assess, alignment=Qt.AlignmentFlag.AlignLeft)
        rows.addLayout(_row(self.save_pairs, self.load_pairs, self.find_pairs))
        self.pages = QStackedWidget()
        self.pages.addWidget(self.empty)
        self.pages.addWidget(page)
        return self.pages

    def _order(
        self,
        folders: list[BaseValueWidget],
        front: list[BaseValueWidget],
        further: list[BaseValueWidget],
        workers: BaseValueWidget,
        table: QWidget,
    ) -> None:
        """The keyboard's way: as it is read."""
        chain: list[Any] = []
        for field in [*folders, *front, workers]:
            chain += _stops(field)
        chain += [self.judge, self.run, self.stop, self.further.toggleButton()]
        for field in further:
            chain += _stops(field)
        chain += [table, self.assess, self.save_pairs, self.load_pairs, self.find_pairs]
        for before, after in itertools.pairwise(chain):
            QWidget.setTabOrder(before, after)

    # Sizes -------------------------------------------------------------------------------------------------------

    @property
    def wide(self) -> bool:
        """Whether there is room for the fields beside the table, as at the bottom of the window."""
        return self.width() >= _WIDE and self.width() > 1.2 * self.height()

    def _arrange(self) -> None:
        wide = self.wide
        self.arranged.setDirection(QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom)
        self.splitter.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)
        self.fields.fit(_FIELDS if wide else 0, self.height())
        if wide != self._was_wide:
            self._was_wide = wide
            room = self.splitter.width() if wide else self.splitter.height()
            self.splitter.setSizes([int(0.72 * room), int(0.28 * room)])

    def sizeHint(self) -> QSize:
        """Wide enough for every word in the fields."""
        return QSize(470, 720)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Arrange for a dock at a side or at the bottom."""
        super().resizeEvent(event)
        self._arrange()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Give the fields the height that they need at this width."""
        if event is not None and watched is self.fields.widget() and event.type() == QEvent.Type.LayoutRequest:
            self._arrange()
        return super().eventFilter(watched, event)

    def _on_further(self, expanded: bool) -> None:
        self.further.setText(f"{'▾' if expanded else '▸'}  Further settings")
        self._arrange()

    # Dropping ----------------------------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take folders, or files for the folder that they lie in."""
        if event is not None and _dropped_folder(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Tell which folder it was."""
        folder = "" if event is None else _dropped_folder(event)
        if folder and event is not None:
            event.acceptProposedAction()
            self.dropped.emit(folder)

    # What is shown -----------------------------------------------------------------------------------------------

    def say(self, label: QLabel, text: str) -> None:
        """Show a text, or nothing at all."""
        label.setText(breakable(text))
        label.setVisible(bool(text))

    def show_progress(self, part: float | None, text: str) -> None:
        """Show how far it is, 0 to 1 (None: unknown), and in words; nothing without words."""
        self.progress.setVisible(bool(text))
        self.progress.setRange(0, 0 if part is None else 1000)
        self.progress.setValue(round(1000 * (part or 0.0)))
        self.say(self.step, text)

    def show_patches(self, there: bool) -> None:
        """The table, or what to do to get one."""
        self.pages.setCurrentIndex(int(there))
        self.plot_place.setVisible(there)

    def show_state(self, folder: bool, judging: bool, running: bool, stopping: bool, patches: bool) -> None:
        """Enable what can be pressed now."""
        busy = judging or running
        self.judge.setEnabled(folder and not busy)
        self.judge.setText("Judging…" if judging and not running else "Judge")
        self.run.setEnabled(folder and not busy)
        self.run.setText("Running…" if running else "Run")
        self.stop.setEnabled(busy and not stopping)
        self.stop.setText("Stopping…" if stopping else "Stop")
        for button in (self.load_pairs, self.find_pairs):
            button.setEnabled(patches and not busy)
        self.save_pairs.setEnabled(patches)

    def add_plot(self, plot: QWidget) -> None:
        """Put the histogram into its place."""
        self.plot_layout.addWidget(plot)


def _stops(field: BaseValueWidget) -> list[QWidget]:
    """Where the keyboard stops in a field: that of a path has two places."""
    parts = [getattr(field, name, None) for name in ("line_edit", "choose_btn")]
    return [part.native for part in parts if part is not None] or [field.native]


def _dropped_folder(event: QDropEvent) -> str:
    data = event.mimeData()
    paths = [Path(url.toLocalFile()) for url in (data.urls() if data is not None else []) if url.isLocalFile()]
    if not paths:
        return ""
    return str(paths[0] if paths[0].is_dir() else paths[0].parent)
