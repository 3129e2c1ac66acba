"""The fields of the widget "Enhance Session": folders, settings, workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import FileEdit, LineEdit
from magicgui.widgets.bases import BaseValueWidget

from napari_nst.errors import ParameterError
from napari_nst.settings.parameters import ParameterSpec, StyleTransferParameters, parse_value_range
from napari_nst.settings.session import THREADS, SessionSettings, split_settings
from napari_nst.viewer.common.fields import OpenChoice, ParameterFields, described, field_for, shrinkable

__all__ = [
    "FRONT",
    "SettingFields",
    "chosen_folder",
    "input_field",
    "output_field",
    "scheduler_field",
    "show_automatic",
    "workers_field",
]

#: The settings that are seen at once, in pairs.
FRONT = ("method", "preset", "epoch", "quality", "treat", "threshold")
#: Settings that are paths: of a folder, and of a file.
_PATHS = {"markers": FileDialogMode.EXISTING_DIRECTORY, "quality_table": FileDialogMode.EXISTING_FILE}


class PathField(FileEdit):
    """A path as text, empty for none; with a button to look for it."""

    @property
    def value(self) -> Any:
        """The text."""
        return str(self.line_edit.value or "").strip()

    @value.setter
    def value(self, value: Any) -> None:
        self.line_edit.value = "" if value is None else str(value)


def _as_path_field(field: FileEdit, empty: str) -> None:
    field.line_edit.tooltip = field.tooltip
    field.line_edit.native.setPlaceholderText(empty)
    field.line_edit.native.setMinimumWidth(60)
    field.line_edit.native.setAcceptDrops(False)  # it would take the text of a URL; the panel takes the folder
    field.choose_btn.text = "…"
    field.choose_btn.tooltip = "Look for it."
    field.choose_btn.native.setFixedWidth(32)


def input_field() -> FileEdit:
    """The folder of images."""
    return _folder_field(
        "folder",
        "Images",
        "A folder of images of one retina (TIFF, PNG, JPEG); it is not changed.",
        "choose, or drop here",
    )


def output_field() -> FileEdit:
    """The folder for the results."""
    return _folder_field(
        "output", "Output", "Where the results go; empty: a new folder beside the images.", "beside the images"
    )


def show_automatic(field: FileEdit, folder: Path | None) -> None:
    """Say in an empty field which folder is taken."""
    field.line_edit.native.setPlaceholderText("beside the images" if folder is None else f"→ {folder.name}")
    field.line_edit.tooltip = field.tooltip if folder is None else f"{field.tooltip}\n→ {folder}"


def _folder_field(name: str, label: str, tooltip: str, empty: str) -> FileEdit:
    field = FileEdit(
        name=name, label=label, mode=FileDialogMode.EXISTING_DIRECTORY, nullable=True, value=None, tooltip=tooltip
    )
    _as_path_field(field, empty)
    return field


def workers_field() -> OpenChoice:
    """How many processes: a number, or auto."""
    field = OpenChoice(
        ("auto", "1", "2", "4", "8"),
        name="workers",
        label="Workers",
        tooltip="Local processes that enhance patches side by side. auto: as many as help, but one core is left to napari; 1: none "
        "beside napari itself.",
        parse=_workers,
    )
    shrinkable(field)
    return field


def _workers(text: str) -> int | str:
    text = text.strip().lower()
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ParameterError(f"workers: {text!r} is not a number of processes; give auto, or 1 and more.")
    return int(text)


def scheduler_field() -> LineEdit:
    """Address of a Dask scheduler."""
    field = LineEdit(
        name="scheduler",
        label="Scheduler",
        value="",
        tooltip="Address of a running Dask scheduler, such as tcp://host:8786, instead of local processes. All its machines must "
        "see the output folder under the same path.",
    )
    field.native.setPlaceholderText("none")
    shrinkable(field)
    return field


class SettingFields(ParameterFields):
    """One field for each setting of a session, by its name: ``fields.method.value = "spectrum"``."""

    def __init__(self) -> None:
        specs = (*SessionSettings.specs(), *StyleTransferParameters.recommended_specs())
        super().__init__([_field(spec) for spec in specs], name="settings")
        # A session has its own default: with one thread, the pictures do not depend on the number of workers.
        self["threads"].value = THREADS

    @property  # type: ignore[misc]  # hides that of the container, which is never shown
    def orientation(self) -> Any:
        """The field of this name."""
        return self["orientation"]

    def chosen(self) -> tuple[SessionSettings, StyleTransferParameters]:
        """What is entered, checked.

        Raises
        ------
        ParameterError
            Where something cannot be used.
        """
        return split_settings(self.arguments())

    def front(self) -> list[BaseValueWidget]:
        """The fields that are seen at once."""
        return [self[name] for name in FRONT]

    def further(self) -> list[BaseValueWidget]:
        """The others: first what is about the session, then what is about the transfer."""
        return [field for field in self if field.name not in FRONT]


def _field(spec: ParameterSpec) -> BaseValueWidget:
    if spec.name in _PATHS:
        field = PathField(
            name=spec.name, label=spec.label, mode=_PATHS[spec.name], value=None, tooltip=described(spec), nullable=True
        )
        _as_path_field(field, "none")
        return field
    if spec.name == "value_range":
        # Each image has its own; there are no layers whose contrast limits could be meant.
        choice = OpenChoice(
            ("auto", "percentiles"),
            name=spec.name,
            label=spec.label,
            tooltip=f"{spec.help}\nIn scripts: {spec.name}",
            parse=parse_value_range,
            show=spec.to_text,
        )
        shrinkable(choice)
        return choice
    return field_for(spec)


def chosen_folder(field: FileEdit) -> Path | None:
    """The folder of a field, or None when it is empty."""
    value = field.value
    if value is None or str(value) in ("", "."):
        return None
    return Path(str(value)).expanduser()
