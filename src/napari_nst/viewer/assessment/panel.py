"""How the widget "Assessment" looks: verdict, places to look at, fields, and tables. It knows no layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicgui.widgets.bases import BaseValueWidget
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QListWidget, QSizePolicy, QVBoxLayout, QWidget

from napari_nst.metrics.assessment import TableRow
from napari_nst.metrics.verdict import SIGNS, Level
from napari_nst.palette import GRAY, LEVELS
from napari_nst.viewer.common.panel import Form, Scrolled, button, row, say, set_tab_order, text_label

EMPTY = (
    "Nothing is assessed yet. Choose a target and what was made of it, and press Assess: the cones of both are found and "
    "compared, and what is unsupported by the target is looked for."
)
_WIDTH = 300  # pixels, at least
_ROWS = 5  # places that are seen without scrolling
_SHORT = 18  # characters of a measure's name that always have room in one line
_TEXT = 88  # pixels that the name of a measure gets at least


class _Places(QListWidget):
    """Places, as high as they need to be, up to a few."""

    def sizeHint(self) -> QSize:
        """The height of its rows."""
        rows = [self.sizeHintForRow(row) for row in range(min(self.count(), _ROWS))]
        return QSize(200, sum(rows) + 2 * self.frameWidth() + 2)

    def minimumSizeHint(self) -> QSize:
        """The same."""
        return QSize(100, self.sizeHint().height())


class AssessPanel(Scrolled):
    """The rows of the widget, one below the other."""

    #: The number of a place that is to be looked at.
    wanted = Signal(int)

    def __init__(self, fields: Sequence[BaseValueWidget]) -> None:
        super().__init__()
        self.heading = text_label("The verdict in one word: unchanged, trusted, look, or distrust.")
        self.verdict = text_label("The verdict, and what it is based on. It is no diagnosis.")
        self.reasons = text_label("Further reasons of this verdict.")
        self.limits = text_label("What cannot be said, and why.")
        self.places = _Places()
        self.places.setToolTip("Places where the result shows what the target does not. Double-click one to go there.")
        self.places.setWordWrap(True)
        self.places.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.places.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.go = button("Go there", "Move the camera to the selected place.")
        self.assess = button("Assess", "Measure what was done to the cones, and mark them in the viewer.")
        written = "Write the numbers (JSON), the figure (PNG) and the cones (CSV). Nothing is overwritten."
        self.save = button("Save…", written)
        self.copy = button("Copy", "Copy the assessment as text.")
        self.status = text_label("What happened last.")
        self._pair = text_label("What was compared.")
        self._tables = QVBoxLayout()
        self._tables.setSpacing(8)

        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(6, 6, 6, 6)
        rows.setSpacing(6)
        rows.addWidget(self._verdict_box())
        rows.addWidget(self._places_box())
        form = Form(fields)
        self.labels = form.labels
        rows.addLayout(form)
        rows.addLayout(row(self.assess, self.save, self.copy))
        rows.addWidget(self.status)
        rows.addLayout(self._tables)
        rows.addStretch(1)
        self.set_content(content)
        self.setMinimumWidth(_WIDTH)
        for signal in (self.places.itemActivated, self.places.itemDoubleClicked, self.go.clicked):
            signal.connect(self._on_go)
        set_tab_order([self.places, self.go, *fields, self.assess, self.save, self.copy])
        self.show_nothing()

    def _verdict_box(self) -> QFrame:
        self._box = QFrame()
        self._box.setObjectName("verdict")
        column = QVBoxLayout(self._box)
        column.setContentsMargins(10, 6, 6, 6)
        column.setSpacing(4)
        self.heading.setStyleSheet("font-size: 14pt; font-weight: bold;")
        for label in (self.heading, self._pair, self.verdict, self.reasons, self.limits):
            column.addWidget(label)
        return self._box

    def _places_box(self) -> QWidget:
        self._places_part = QWidget()
        column = QVBoxLayout(self._places_part)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(QLabel("Places to look at, the worst first"))
        column.addWidget(self.places)
        column.addWidget(self.go, alignment=Qt.AlignmentFlag.AlignLeft)
        return self._places_part

    def show_nothing(self) -> None:
        """Before the first assessment."""
        self._color(GRAY)
        say(self.verdict, EMPTY)
        for label in (self.heading, self._pair, self.reasons, self.limits):
            say(label, "")
        self.show_places([])

    def show_verdict(self, level: Level, pair: str, text: str, reasons: Sequence[str], limits: Sequence[str]) -> None:
        """The verdict: in a color, and in words that say it without."""
        self._color(LEVELS[level][1])
        say(self.heading, f"{SIGNS[level]}  {level.capitalize()}")
        say(self._pair, pair)
        say(self.verdict, text)
        say(self.reasons, "\n".join(f"• {reason}" for reason in reasons))
        say(self.limits, " ".join(limits))

    def show_places(self, texts: list[str]) -> None:
        """The places to look at."""
        self.places.clear()
        self.places.addItems(texts)
        self.places.updateGeometry()
        self._places_part.setVisible(bool(texts))

    def show_tables(self, tables: list[tuple[tuple[str, ...], list[TableRow]]]) -> None:
        """Tables, each with its headings and rows."""
        while self._tables.count():
            item = self._tables.takeAt(0)
            old = None if item is None else item.widget()
            if old is not None:
                old.hide()
                old.deleteLater()
        for content in tables:
            table = _table(*content)
            self._tables.addWidget(table)
            table.show()  # at once: what is not shown has no height
        self.fit()

    def fit(self) -> None:
        """Also be wide enough for the numbers, with a scroll bar beside them."""
        content, bar = self.widget(), self.verticalScrollBar()
        if content is not None and bar is not None:
            self.setMinimumWidth(max(_WIDTH, content.minimumSizeHint().width() + bar.sizeHint().width()))
        super().fit()

    def show_state(self, ready: bool, running: bool, assessed: bool) -> None:
        """Enable what can be pressed now."""
        self.assess.setEnabled(ready and not running)
        self.assess.setText("Assessing…" if running else "Assess")
        self.save.setEnabled(assessed)
        self.copy.setEnabled(assessed)

    def _color(self, color: str) -> None:
        # Only the edge has the color: text on a colored ground would not be read in every theme.
        self._box.setStyleSheet(f"QFrame#verdict {{ border: none; border-left: 6px solid {color}; }}")

    def _on_go(self, *_: Any) -> None:
        self.wanted.emit(max(0, self.places.currentRow()))


def _table(headings: tuple[str, ...], rows: list[TableRow]) -> QFrame:
    """A grid of texts: unlike the cells of Qt's tables, they wrap and are never cut off."""
    frame = QFrame()
    grid = QGridLayout(frame)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(8)
    grid.setVerticalSpacing(3)
    right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
    for column, heading in enumerate(headings):
        label = QLabel(heading)
        font = label.font()
        font.setBold(True)
        label.setFont(font)
        grid.addWidget(label, 0, column, alignment=right if column else Qt.AlignmentFlag.AlignLeft)
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    grid.addWidget(line, 1, 0, 1, len(headings))
    for number, entry in enumerate(rows, start=2):
        name = QLabel(entry.label)
        name.setWordWrap(len(entry.label) > _SHORT)
        if name.wordWrap():
            name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        name.setToolTip(entry.meaning)
        grid.addWidget(name, number, 0, alignment=Qt.AlignmentFlag.AlignTop)
        for column, text in enumerate(entry.values, start=1):
            value = QLabel(text)
            value.setToolTip(entry.meaning)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            grid.addWidget(value, number, column, alignment=right)
    grid.setColumnMinimumWidth(0, _TEXT)
    grid.setColumnStretch(0, 1)
    return frame
