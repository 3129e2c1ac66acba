"""How the widget looks: its rows, buttons and texts, in an order that fits a dock. It knows no layers and no runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_nst.viewer.common.job import State

if TYPE_CHECKING:
    from magicgui.widgets.bases import BaseValueWidget

__all__ = ["Panel", "Scrolled", "breakable", "short_text", "size_text", "time_text"]


#: Fields that need the whole width.
_WIDE = ("content_layers", "style_layers")


def breakable(text: str) -> str:
    """Let Qt break a line inside a path too: it would clip it."""
    return text.replace("/", "/\u200b").replace("\\", "\\\u200b").replace("_", "_\u200b")


def short_text(loss: float) -> str:
    """Three digits, and no more of an exponent than there is: 2.84e8."""
    return f"{loss:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


def size_text(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MB"


def time_text(seconds: float) -> str:
    """Minutes and seconds, or hours, for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _text(tooltip: str) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(tooltip)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    # Its height follows its width: without this, a wrapped text is cut off.
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    label.hide()
    return label


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for widget in widgets:
        row.addWidget(widget)
    return row


class Scrolled(QScrollArea):
    """Rows, one below the other, scrolled where the dock is too low."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def set_content(self, content: QWidget) -> None:
        """Show these rows."""
        self.setWidget(content)
        content.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Fit the rows whenever they, or the room for them, have changed."""
        changed = event is not None and event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize)
        if changed and watched is self.widget():
            self.fit()
        return super().eventFilter(watched, event)

    def fit(self) -> None:
        """Give the rows the height that they need at this width.

        Qt asks for what they would need at their least width, where every text wraps, and would scroll too early.
        """
        content = self.widget()
        layout = None if content is None else content.layout()
        if content is not None and layout is not None:
            content.setMinimumHeight(max(0, layout.totalHeightForWidth(content.width())))  # -1: no text is shown


class Panel(Scrolled):
    """The rows of the widget.

    Parameters
    ----------
    fields : list of BaseValueWidget
        Shown at first.
    advanced : list of BaseValueWidget
        Shown when "Advanced settings" is opened.
    """

    def __init__(self, fields: list[BaseValueWidget], advanced: list[BaseValueWidget]) -> None:
        super().__init__()
        self.labels: dict[str, QLabel] = {}
        self.restore = _button("Restore", "Set every field that the preset governs back to what the preset says.")
        self.restore.hide()
        self.device = _text("The device of the last run, the memory needed there, the time of a step and of all steps.")
        self.run = _button("Run", "Start the transfer. The result appears as a preview at once, above the target.")
        self.pause = _button(
            "Pause", "Hold after the step at work; the preview and the losses stay. Press again to go on."
        )
        self.stop = _button(
            "Stop", "End now and keep what was reached as the result. To throw it away, delete its layer."
        )
        self.progress = QProgressBar()
        self.progress.setToolTip("Steps done, of the most that there will be.")
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(12)
        self.progress.hide()
        self.step = _text("The step at work, and the time left at the present speed.")
        self.losses = _text("Losses of the last step: style and content with their weights make the total.")
        self.status = _text("What happened last.")
        self.plot_place = QVBoxLayout()
        self.compare = _button(
            "Compare", "Show target, style and result side by side; press again to put the view back."
        )
        self.difference = _button("Difference", "Add a layer with the signed difference of the result and its target.")
        self.checkerboard = _button("Checker", "Add a layer in which squares of the result and its target alternate.")
        self.assess = _button(
            "Assess what it did to the cones",
            "Find the cones of the result and its target, mark those that are kept, lost and new, and say whether the result "
            "can be trusted. Works on the selected result (else the newest one), or on two selected images.",
        )
        self.use_settings = _button(
            "Use these settings",
            "Fill the fields with the settings that made the selected result (else the newest one).",
        )
        self.copy_python = _button(
            "Copy as Python", "Copy a script that makes the selected result (else the newest one) again."
        )

        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(6, 6, 6, 6)
        rows.setSpacing(5)
        rows.addLayout(self._form(fields))
        rows.addWidget(self.device)
        rows.addLayout(_row(self.run, self.pause, self.stop))
        rows.addWidget(self.progress)
        for label in (self.step, self.losses, self.status):
            rows.addWidget(label)
        rows.addLayout(self.plot_place)
        rows.addWidget(self._advanced(advanced))
        rows.addWidget(self._results())
        rows.addStretch(1)
        self.set_content(content)
        self.setMinimumWidth(300)
        self._order([*fields, *advanced])

    def _form(self, fields: list[BaseValueWidget]) -> QFormLayout:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for field in fields:
            label = QLabel(field.label)
            label.setToolTip(field.tooltip)
            label.setBuddy(field.native)
            self.labels[field.name] = label
            if field.name == "preset":
                form.addRow(label, _row(field.native, self.restore))
            elif field.name in _WIDE:
                form.addRow(label)
                form.addRow(field.native)
            else:
                form.addRow(label, field.native)
        return form

    def _advanced(self, fields: list[BaseValueWidget]) -> QCollapsible:
        # An arrow in the text follows the theme; superqt's icons are drawn once, in the colour of the first palette.
        self.advanced = QCollapsible("▸  Advanced settings", expandedIcon=QIcon(), collapsedIcon=QIcon())
        self.advanced.toggled.connect(self._on_advanced)
        self.advanced.setDuration(0)
        self.advanced.toggleButton().setToolTip("Layers, optimiser, value range, masks, region, files and more.")
        inner = QWidget()
        inner.setLayout(self._form(fields))
        self.advanced.addWidget(inner)
        for widget, margins in ((self.advanced, (0, 0, 0, 0)), (self.advanced.content(), (8, 2, 0, 2))):
            layout = widget.layout()
            assert layout is not None  # superqt has just made it
            layout.setContentsMargins(*margins)
            layout.setSpacing(0)
        self.advanced.collapse(animate=False)
        return self.advanced

    def _on_advanced(self, expanded: bool) -> None:
        self.advanced.setText(f"{'▾' if expanded else '▸'}  Advanced settings")

    def _results(self) -> QWidget:
        self.results = QWidget()
        grid = QGridLayout(self.results)
        grid.setContentsMargins(0, 2, 0, 0)
        grid.setSpacing(4)
        for column, button in enumerate((self.compare, self.difference, self.checkerboard)):
            grid.addWidget(button, 1, 2 * column, 1, 2)
        grid.addWidget(self.assess, 0, 0, 1, 6)
        grid.addWidget(self.use_settings, 2, 0, 1, 3)
        grid.addWidget(self.copy_python, 2, 3, 1, 3)
        return self.results

    def _order(self, fields: list[BaseValueWidget]) -> None:
        """The keyboard's way through the fields: as they are read."""
        split = next(i for i, field in enumerate(fields) if field.name == "device") + 1
        chain = [f.native for f in fields[:split]]
        chain.insert(next(i for i, f in enumerate(fields) if f.name == "preset") + 1, self.restore)
        chain += [self.run, self.pause, self.stop, self.advanced.toggleButton()]
        chain += [f.native for f in fields[split:]]
        chain += [self.assess, self.compare, self.difference, self.checkerboard, self.use_settings, self.copy_python]
        for before, after in itertools.pairwise(chain):
            QWidget.setTabOrder(before, after)

    @staticmethod
    def say(label: QLabel, text: str) -> None:
        """Show a text, or nothing at all."""
        label.setText(breakable(text))
        label.setVisible(bool(text))

    def show_state(self, state: State) -> None:
        """Enable what can be pressed now."""
        running = {State.IDLE: "Run", State.PAUSED: "Paused"}
        self.run.setEnabled(state is State.IDLE)
        self.run.setText(running.get(state, "Running…"))
        for button in (self.pause, self.stop):
            button.setEnabled(state in (State.RUNNING, State.PAUSED))
        self.pause.setText("Resume" if state is State.PAUSED else "Pause")
        self.stop.setText("Stopping…" if state is State.STOPPING else "Stop")

    def add_plot(self, plot: Any) -> None:
        """Put the learning curves into their place."""
        self.plot_place.addWidget(plot)
