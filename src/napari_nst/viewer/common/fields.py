"""The fields of the widget: one for each parameter, made from its description, and choices of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, LineEdit, SpinBox
from magicgui.widgets.bases import BaseValueWidget
from psygnal import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_nst.errors import ParameterError
from napari_nst.palette import INVALID
from napari_nst.settings.parameters import ParameterSpec, StyleTransferParameters, parse_value_range
from napari_nst.settings.presets import PRESETS
from napari_nst.settings.specs import call_by
from napari_nst.viewer.common.layers import plain

#: The value range that each layer's own contrast limits give.
CONTRAST = "contrast limits"

#: Suggestions for the fields that take any text.
_SUGGESTED = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "weights": ("embedded", "torchvision"),
    "value_range": ("auto", CONTRAST, "percentiles"),
}
_MORE_HELP = {
    "preset": "Choosing one fills all the fields that it governs; what you change afterwards counts.",
    "optimizer": "Choosing one brings the preset's learning rate for it.",
    "value_range": "contrast limits: those of each layer, as you see it.",
}


def described(spec: ParameterSpec) -> str:
    """The tooltip of a field: what it does, its unit, its name in scripts."""
    parts = [spec.help, _MORE_HELP.get(spec.name, ""), f"Unit: {spec.unit}." if spec.unit else ""]
    return f"{' '.join(part for part in parts if part)}\nIn scripts: {spec.name}"


class TextField(LineEdit):
    """A line of text that stands for a value: a number in any notation, or several."""

    def __init__(self, spec: ParameterSpec, **kwargs: Any) -> None:
        self._spec = spec
        super().__init__(value=spec.to_text(spec.default), **kwargs)

    def get_value(self) -> Any:
        """The value; raises ParameterError where the text is none."""
        return self._spec.from_text(str(super().get_value()))

    def set_value(self, value: Any) -> None:
        """Take a value, or its text."""
        super().set_value(value if isinstance(value, str) else self._spec.to_text(value))
        self.native.setCursorPosition(0)  # of a long text, the start is seen

    def _on_value_change(self, value: Any = None) -> None:
        try:
            value = self.get_value()
        except ParameterError:
            # Half typed, or wrong: seen, not interrupted.
            self.native.setStyleSheet(f"QLineEdit {{ color: {INVALID}; }}")
            return
        self.native.setStyleSheet("")
        self.changed.emit(value)


class OpenChoice(ComboBox):
    """A drop-down list of suggestions that also takes what is typed; `parse` and `show` make text a value, and back."""

    def __init__(
        self,
        suggestions: Iterable[str],
        parse: Callable[[str], Any] = str,
        show: Callable[[Any], str] = str,
        **kwargs: Any,
    ) -> None:
        self._suggestions = list(suggestions)
        self._parse, self._show = parse, show
        super().__init__(choices=lambda _: self._suggestions, **kwargs)
        native: QComboBox = self.native
        native.setEditable(True)
        native.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        editor = native.lineEdit()
        assert editor is not None  # it is editable
        editor.editingFinished.connect(self._take_typed)

    @property
    def value(self) -> Any:
        """The value that the text stands for."""
        return self._parse(str(self.get_value()))

    @value.setter
    def value(self, value: Any) -> None:
        text = self._show(value).strip()
        if text not in self._suggestions:
            self._suggestions.append(text)
            self.reset_choices()
        self.set_value(text)

    def _take_typed(self) -> None:
        text = self.native.currentText().strip()
        if text:
            self.value = text


class LayerChoice(ComboBox):
    """A list of layers (and words) that keeps what is chosen when layers come, go or are renamed.

    magicgui knows choices by their text, and so would take another layer when the chosen one is renamed.
    `find` gives the choices as pairs of text and value.
    """

    def __init__(self, find: Callable[[], list[tuple[str, Any]]], **kwargs: Any) -> None:
        super().__init__(choices=lambda _: [(text, plain(value)) for text, value in find()], **kwargs)
        shrinkable(self)

    def set_value(self, value: Any) -> None:
        """Choose."""
        super().set_value(plain(value))

    def reset_choices(self, *_: Any) -> None:
        """Look again for what there is to choose."""
        before = self.value
        with self.changed.blocked():
            super().reset_choices()
            if before is not None and any(choice is before for choice in self.choices):
                self.value = before
        if self.value is not before:
            self.changed.emit(self.value)


class PathField(FileEdit):
    """A path, or None where it is empty; the placeholder says what then counts."""

    def __init__(
        self, placeholder: str, mode: FileDialogMode = FileDialogMode.EXISTING_DIRECTORY, **kwargs: Any
    ) -> None:
        super().__init__(mode=mode, nullable=True, **kwargs)
        self.line_edit.native.setMinimumWidth(60)
        self.line_edit.native.setAcceptDrops(False)  # it would take the text of a URL; the panel takes the folder
        self.choose_btn.text = "…"
        self.choose_btn.tooltip = "Look for it."
        self.choose_btn.native.setFixedWidth(32)
        self.explain(placeholder)

    def get_value(self) -> Path | None:
        """The path, with the home folder in place of ~."""
        text = str(self.line_edit.value).strip()
        return Path(text).expanduser() if text else None

    def explain(self, placeholder: str, more: str = "") -> None:
        """Say what counts while the field is empty."""
        self.line_edit.native.setPlaceholderText(placeholder)
        self.line_edit.tooltip = f"{self.tooltip}\n{more}".strip()


def shrinkable(widget: BaseValueWidget) -> None:
    """Let a field be as narrow as the dock, and as wide."""
    native = widget.native
    if isinstance(native, QComboBox):
        # Long layer names must not widen the dock.
        native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        native.setMinimumContentsLength(6)
    native.setMinimumWidth(60)
    native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def field_for(spec: ParameterSpec) -> BaseValueWidget:
    """The field in which a parameter is entered."""
    common: dict[str, Any] = {"name": spec.name, "label": spec.label, "tooltip": described(spec)}
    if spec.name in _SUGGESTED:
        if spec.kind == "range":
            common |= {"parse": _range_or_contrast, "show": spec.to_text}
        field: BaseValueWidget = OpenChoice(_SUGGESTED[spec.name], **common)
    elif spec.kind == "choice":
        field = ComboBox(choices=spec.choices, value=spec.default, **common)
    elif spec.kind == "bool":
        field = CheckBox(value=spec.default, **common)
        field.native.setText("")  # it has a label like the others
    elif spec.kind == "int":
        low, high = int(spec.minimum or 0), int(spec.maximum or 2**31 - 1)
        field = SpinBox(value=spec.default, min=low, max=high, **common)
    else:
        field = TextField(spec, **common)
    shrinkable(field)
    return field


def _range_or_contrast(text: str) -> Any:
    return text if text == CONTRAST else parse_value_range(text)


class ParameterFields(Container):
    """One field for each parameter, by its name: ``fields.epoch.value = 4``.

    A preset fills the fields that it governs when it is chosen; what is set afterwards, by hand or by a script, counts.
    The fields may have others among them; by default they are those of the parameters alone.
    """

    edited = Signal(bool, description="Whether a field differs from what the preset says")

    def __init__(self, fields: Iterable[BaseValueWidget] | None = None, name: str = "parameters") -> None:
        if fields is None:
            fields = [field_for(spec) for spec in StyleTransferParameters.recommended_specs()]
        super().__init__(widgets=list(fields), labels=False, name=name)
        self.preset.changed.connect(self.restore)
        self.optimizer.changed.connect(self._on_optimizer)
        for field in self:
            field.changed.connect(self._on_any)

    def arguments(self) -> dict[str, Any]:
        """All values, for StyleTransferParameters (but for a value range "contrast limits").

        ParameterError where a text stands for no value.
        """
        return {field.name: field.value for field in self}

    def message(self, error: Exception) -> str:
        """Return an error's message, in which fields are called by their labels."""
        return call_by(str(error), {field.name: f'"{field.label}"' for field in self})

    def fill(self, values: dict[str, Any]) -> None:
        """Set fields; the preset and the optimizer first, since they fill others."""
        for name in sorted(values, key=lambda n: (n != "preset", n != "optimizer")):
            self[name].value = values[name]

    def restore(self) -> None:
        """Fill all that the preset governs."""
        self.fill(StyleTransferParameters.of_preset(self.preset.value))
        self._on_any()

    def _on_optimizer(self) -> None:
        preset = PRESETS[self.preset.value]
        values = StyleTransferParameters.of_preset(self.preset.value, self.optimizer.value)
        for name in {name for other in preset.with_optimizer.values() for name in other}:
            self[name].value = values[name]

    def _on_any(self) -> None:
        preset, of_preset = self.preset.value, StyleTransferParameters.of_preset
        wanted = of_preset(preset, self.optimizer.value) | {"optimizer": of_preset(preset)["optimizer"]}
        try:
            edited = any(self[name].value != value for name, value in wanted.items())
        except ParameterError:  # a text that is no value
            edited = True
        self.edited.emit(edited)
