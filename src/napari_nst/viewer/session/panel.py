"""How the widget "Enhance Session" looks: fields, table and histogram, arranged for a dock at a side or at the bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from magicgui.types import FileDialogMode
from magicgui.widgets.bases import BaseValueWidget
from pydantic import Field
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QResizeEvent
from qtpy.QtWidgets import QBoxLayout, QGridLayout, QLabel, QSizePolicy, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import THREADS, SessionSettings, split_settings
from napari_nst.settings.specs import ParameterSpec, Settings, parse_value_range, setting
from napari_nst.viewer.common.fields import OpenChoice, ParameterFields, PathField, described, field_for, shrinkable
from napari_nst.viewer.common.job import State
from napari_nst.viewer.common.panel import (
    Foldable,
    Form,
    Scrolled,
    button,
    progress_bar,
    row,
    say,
    set_tab_order,
    text_label,
)

EMPTY = (
    "No patches yet.\n\nChoose a folder of images of one retina, or drop it here, and press Plan: the images are cut into "
    "patches, the quality of each patch is assessed, and every poor one gets a good one as its style. Nothing is "
    "written.\n\nThen check the table, and press Run."
)
#: The settings that are seen at once, in pairs.
FRONT = ("method", "preset", "epoch", "quality", "treat", "threshold")
#: Settings that are paths.
_PATHS = {"markers": FileDialogMode.EXISTING_DIRECTORY, "quality_table": FileDialogMode.EXISTING_FILE}
#: From this width on, and if it is wider than high, the fields lie beside the table.
_WIDE = 820
_FIELDS = 420  # pixels of width, beside the table
_LEAST = 120  # pixels of fields that are always seen
_ANY = 16_777_215  # Qt's own largest: no limit


class _Processes(Settings):
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = setting("auto", "Workers")
    """Local processes that enhance patches at the same time. auto: as many as help, but one core is left to napari; 1:
    none beside napari itself."""

    scheduler: str = setting("", "Scheduler")
    """Address of a running Dask scheduler, such as tcp://host:8786, instead of local processes. All its machines must see
    the output folder under the same path."""


def process_fields() -> tuple[OpenChoice, BaseValueWidget]:
    """Return the fields for the number of processes, or auto, and for the address of a Dask scheduler."""
    spec, scheduler = _Processes.spec("workers"), field_for(_Processes.spec("scheduler"))
    scheduler.native.setPlaceholderText("none")
    return _open_choice(spec, ("auto", "1", "2", "4", "8"), spec.from_text), scheduler


class SettingFields(ParameterFields):
    """One field for each setting of a session, by its name: ``fields.method.value = "spectrum"``."""

    def __init__(self) -> None:
        specs = (*SessionSettings.specs(), *StyleTransferParameters.recommended_specs())
        super().__init__([_setting_field(spec) for spec in specs], name="settings")
        # A session has its own default: with one thread, the images do not depend on the number of workers.
        self["threads"].value = THREADS

    @property  # type: ignore[misc]  # hides that of the container, which is never shown
    def orientation(self) -> Any:
        """The field of this name."""
        return self["orientation"]

    def chosen(self) -> tuple[SessionSettings, StyleTransferParameters]:
        """Return what is entered, checked; raise ParameterError where something cannot be used."""
        paths = {name: str(self[name].value or "") for name in _PATHS}
        return split_settings(self.arguments() | paths)


def _setting_field(spec: ParameterSpec) -> BaseValueWidget:
    if spec.name in _PATHS:
        return PathField("none", _PATHS[spec.name], name=spec.name, label=spec.label, tooltip=described(spec))
    if spec.name == "value_range":
        # Each image has its own; there are no layers whose contrast limits could be meant.
        return _open_choice(spec, ("auto", "percentiles"), parse_value_range)
    return field_for(spec)


def _open_choice(spec: ParameterSpec, suggestions: Iterable[str], parse: Callable[[str], Any]) -> OpenChoice:
    tooltip = f"{spec.help}\nIn scripts: {spec.name}"
    field = OpenChoice(suggestions, parse, spec.to_text, name=spec.name, label=spec.label, tooltip=tooltip)
    shrinkable(field)
    return field


class _Fields(Scrolled):
    """The fields, as high as they need to be where there is room, scrolled where there is not."""

    def __init__(self) -> None:
        super().__init__()
        self._beside, self._room, self._height = False, 0, 200

    def arrange(self, beside: bool, room: int) -> None:
        """Lie beside the table, or above it, and take of a height of `room` what is needed, but leave some to the table."""
        self._beside, self._room = beside, room
        self.setMinimumWidth(_FIELDS if beside else 0)
        self.setMaximumWidth(_FIELDS if beside else _ANY)
        self.fit()

    def fit(self) -> None:
        super().fit()
        content = self.widget()
        if content is None:
            return
        needed = 2 + (content.minimumHeight() or content.minimumSizeHint().height())
        self.setMaximumHeight(_ANY if self._beside else needed)
        height = needed if self._beside else min(needed, max(_LEAST, int(0.55 * self._room)))
        if height != self._height:
            self._height = height
            self.updateGeometry()

    def sizeHint(self) -> QSize:
        return QSize(_FIELDS, self._height)

    def minimumSizeHint(self) -> QSize:
        return QSize(200, min(_LEAST, self._height))


class SessionPanel(QWidget):
    """Everything that is seen: the fields of folders, those in `front` in two columns, `further` ones, and the table.

    A dropped folder is written into the first field.
    """

    def __init__(
        self, folders: list[PathField], front: list[BaseValueWidget], further: list[BaseValueWidget], table: QWidget
    ) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self._folder = folders[0]
        self.plan = button("Plan", "Read and cut the images, assess the patches, and pair them. Nothing is written.")
        run = "Enhance the poor patches. A session that was stopped goes on where it was; a finished one is shown."
        self.run = button("Run", run)
        self.stop = button("Stop", "End soon. What is finished is kept; Run goes on there.")
        self.progress = progress_bar("Of the whole session.")
        self.step = text_label("What is being done, and the time left.")
        self.status = text_label("What happened last.")
        self.summary = text_label("How many patches there are, and how good they are.")
        self.seen = text_label("The patch that is shown in the viewer.")
        self.assess = button("Assess", "Measure what was done to the cones, and whether they can be trusted.")
        self.assess.hide()
        self.save_pairs = button("Save pairs…", "Write the table with its pairs as CSV, to be edited and loaded.")
        self.load_pairs = button("Load pairs…", "Take the pairs from a CSV with the columns patch and style.")
        self.find_pairs = button("Find pairs", "Forget what was chosen by hand, and pair the patches anew.")

        above, below = Form(folders), Form(further)
        self.labels: dict[str, QLabel] = above.labels | below.labels
        tooltip = "Quality, pairing, patches, names, scale, the transfer, the cluster."
        self.further = Foldable("Further settings", tooltip, below)
        self.further.toggled.connect(self._arrange)
        self.fields = self._fields(above, front)
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self._table_part(table))
        self.arranged = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self.arranged.setContentsMargins(4, 4, 4, 4)
        self.arranged.setSpacing(6)
        self.arranged.addWidget(self.fields)
        self.arranged.addWidget(self.splitter, 1)
        self.setMinimumWidth(330)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._was_wide: bool | None = None
        buttons = [self.plan, self.run, self.stop, self.further.toggleButton()]
        pairs = [self.assess, self.save_pairs, self.load_pairs, self.find_pairs]
        set_tab_order([*folders, *front, *buttons, *further, table, *pairs])
        self._arrange()

    def _fields(self, folders: Form, front: list[BaseValueWidget]) -> _Fields:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        for number, field in enumerate(front):
            label = self.labels[field.name] = QLabel(field.label)
            label.setToolTip(field.tooltip)
            label.setBuddy(field.native)
            grid.addWidget(label, number // 2, number % 2 * 2)
            grid.addWidget(field.native, number // 2, number % 2 * 2 + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(2, 2, 2, 2)
        rows.setSpacing(5)
        for layout in (folders, grid, row(self.plan, self.run, self.stop)):
            rows.addLayout(layout)
        for widget in (self.progress, self.step, self.status, self.further):
            rows.addWidget(widget)
        rows.addStretch(1)
        area = _Fields()
        area.set_content(content)
        return area

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
        rows.addLayout(row(self.save_pairs, self.load_pairs, self.find_pairs))
        self.pages = QStackedWidget()
        self.pages.addWidget(self.empty)
        self.pages.addWidget(page)
        return self.pages

    @property
    def wide(self) -> bool:
        """Whether there is room for the fields beside the table, as at the bottom of the window."""
        return self.width() >= _WIDE and self.width() > 1.2 * self.height()

    def _arrange(self, *_: Any) -> None:
        wide = self.wide
        self.fields.arrange(wide, self.height())
        if wide != self._was_wide:
            self._was_wide = wide
            self.arranged.setDirection(QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom)
            self.splitter.setOrientation(Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical)
            self._split()

    def _split(self) -> None:
        room = self.splitter.width() if self._was_wide else self.splitter.height()
        self.splitter.setSizes([int(0.72 * room), int(0.28 * room)])

    def sizeHint(self) -> QSize:
        """Wide enough for every word in the fields."""
        return QSize(470, 720)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Arrange for a dock at a side or at the bottom."""
        super().resizeEvent(event)
        self._arrange()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept folders, or files for the folder that they lie in."""
        if event is not None and _dropped_folder(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take the folder."""
        if event is not None and (folder := _dropped_folder(event)):
            event.acceptProposedAction()
            self._folder.value = folder

    def show_progress(self, part: float | None, text: str) -> None:
        """Show how far it is, 0 to 1 (None: unknown), and in words; nothing without words."""
        self.progress.setVisible(bool(text))
        self.progress.setRange(0, 0 if part is None else 1000)
        self.progress.setValue(round(1000 * (part or 0.0)))
        say(self.step, text)

    def show_patches(self, there: bool) -> None:
        """Show the table, or what to do to get one."""
        self.pages.setCurrentIndex(int(there))
        if self.splitter.count() > 1:
            self.splitter.widget(1).setVisible(there)

    def show_state(self, state: State, *, enhancing: bool, folder: bool, patches: bool) -> None:
        """Enable what can be pressed now."""
        idle, stopping = state is State.IDLE, state is State.STOPPING
        self.plan.setEnabled(folder and idle)
        self.plan.setText("Plan" if idle or enhancing else "Planning…")
        self.run.setEnabled(folder and idle)
        self.run.setText("Running…" if enhancing else "Run")
        self.stop.setEnabled(not idle and not stopping)
        self.stop.setText("Stopping…" if stopping else "Stop")
        self.load_pairs.setEnabled(patches and idle)
        self.find_pairs.setEnabled(patches and idle)
        self.save_pairs.setEnabled(patches)

    def add_plot(self, plot: QWidget) -> None:
        """Put the histogram into its place."""
        self.splitter.addWidget(plot)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 1)
        self._split()


def _dropped_folder(event: QDropEvent) -> Path | None:
    data = event.mimeData()
    paths = [Path(url.toLocalFile()) for url in (data.urls() if data is not None else []) if url.isLocalFile()]
    return None if not paths else paths[0] if paths[0].is_dir() else paths[0].parent
