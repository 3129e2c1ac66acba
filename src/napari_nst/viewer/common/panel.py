"""What the widgets' panels are made of: rows of fields, buttons and texts that fit a dock, and the widget around them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from magicgui.widgets.bases import BaseValueWidget, Widget
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QGuiApplication, QIcon
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QWidget,
)
from superqt import QCollapsible

if TYPE_CHECKING:
    from napari.viewer import Viewer


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


def copy_text(text: str) -> None:
    """Put text on the clipboard."""
    clipboard = QGuiApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)


def text_label(tooltip: str) -> QLabel:
    """A text that wraps and can be copied; hidden while it is empty, see :func:`say`."""
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(tooltip)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    # Its height follows its width: without this, a wrapped text is cut off.
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    label.hide()
    return label


def say(label: QLabel, text: str) -> None:
    """Show a text, or nothing at all."""
    label.setText(breakable(text))
    label.setVisible(bool(text))


def button(text: str, tooltip: str) -> QPushButton:
    """A button."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    return made


def progress_bar(tooltip: str) -> QProgressBar:
    """A thin bar, hidden at first."""
    bar = QProgressBar()
    bar.setToolTip(tooltip)
    bar.setTextVisible(False)
    bar.setFixedHeight(12)
    bar.hide()
    return bar


def row(*widgets: QWidget) -> QHBoxLayout:
    """Widgets side by side."""
    layout = QHBoxLayout()
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def set_tab_order(items: Iterable[QWidget | Widget]) -> None:
    """Let the tab key go through fields and buttons as they are read."""
    stops: list[Any] = []
    for item in items:
        stops += item if isinstance(item, Container) else [item]  # a line of text with its button are two
    for before, after in itertools.pairwise(stop.native if isinstance(stop, Widget) else stop for stop in stops):
        QWidget.setTabOrder(before, after)


class Form(QFormLayout):
    """Fields, one below the other, each with its label and tooltip; ``labels`` has them by the names of the fields.

    Fields whose names are `wide` take the whole width, below their label; `beside` has what stands beside a field.
    """

    def __init__(
        self,
        fields: Iterable[BaseValueWidget[Any]],
        wide: Iterable[str] = (),
        beside: Mapping[str, QWidget] | None = None,
    ) -> None:
        super().__init__()
        self.labels: dict[str, QLabel] = {}
        self.setContentsMargins(0, 0, 0, 0)
        self.setHorizontalSpacing(8)
        self.setVerticalSpacing(4)
        self.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for field in fields:
            label = self.labels[field.name] = QLabel(field.label)
            label.setToolTip(field.tooltip)
            label.setBuddy(field.native)
            if beside and field.name in beside:
                self.addRow(label, row(field.native, beside[field.name]))
            elif field.name in wide:
                self.addRow(label)
                self.addRow(field.native)
            else:
                self.addRow(label, field.native)


class Foldable(QCollapsible):
    """Rows below a heading that opens and closes them; closed at first."""

    def __init__(self, title: str, tooltip: str, form: QFormLayout) -> None:
        # An arrow in the text follows the theme; superqt's icons are drawn once, in the color of the first palette.
        super().__init__(f"▸  {title}", expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._heading = title
        self.setDuration(0)
        self.toggleButton().setToolTip(tooltip)
        inner = QWidget()
        inner.setLayout(form)
        self.addWidget(inner)
        for widget, margins in ((self, (0, 0, 0, 0)), (self.content(), (8, 2, 0, 2))):
            layout = widget.layout()
            assert layout is not None  # superqt has just made it
            layout.setContentsMargins(*margins)
            layout.setSpacing(0)
        self.collapse(animate=False)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, expanded: bool) -> None:
        self.setText(f"{'▾' if expanded else '▸'}  {self._heading}")


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


class PanelWidget(Container[Any]):
    """A plugin's widget: fields, by their names, which a panel shows in its own order.

    Scripts find the fields as attributes and by :meth:`asdict`, and commands find the widget by its name.
    """

    def __init__(self, viewer: Viewer, fields: Any, name: str) -> None:
        super().__init__(widgets=fields, labels=False, name=name)
        self._viewer: Any = viewer
        self._gone = self._docked = False
        self.margins = (0, 0, 0, 0)
        self.native_parent_changed.connect(self._on_parent_changed)
        self.native.destroyed.connect(self._on_destroyed)

    def show_panel(self, panel: QWidget) -> None:
        """Show the fields in a panel, which must be made after the widget: Qt gives a field to whom takes it last."""
        self.native.layout().addWidget(panel)
        for field in self:
            if isinstance(field, Container) and not panel.isAncestorOf(field.native):
                field.native.hide()  # its fields are in the panel

    def closed(self) -> None:
        """The dock was closed: what nobody can see or stop any more must end.  For subclasses."""

    def destroyed(self) -> None:
        """The window was closed: nothing may be touched any more.  For subclasses."""

    def _on_parent_changed(self, parent: Any) -> None:
        # A dock that is closed leaves the widget without parent.
        if parent is not None:
            self._docked = True
        elif self._docked:
            self.closed()

    def _on_destroyed(self) -> None:
        self._gone = True
        self.destroyed()
