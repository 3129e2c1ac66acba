"""How the widget "Style Transfer" looks: its fields beside the parameters, its buttons and texts. It knows no layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import CheckBox, FloatSpinBox
from magicgui.widgets.bases import BaseValueWidget
from qtpy.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from napari_nst.viewer.common.fields import LayerChoice, PathField, shrinkable
from napari_nst.viewer.common.job import State
from napari_nst.viewer.common.panel import (
    Foldable,
    Form,
    Scrolled,
    button,
    progress_bar,
    row,
    set_tab_order,
    text_label,
)

Find = Callable[[], list[tuple[str, Any]]]


def extra_fields(find_regions: Find, find_masks: Find) -> list[BaseValueWidget[Any]]:
    """The fields beside the parameters; what there is to choose is given as pairs of text and value."""
    region = LayerChoice(
        find_regions,
        name="region",
        label="Region",
        tooltip="What of the target takes part: the whole layer; of a stack the plane that is shown, or all planes one by one; or "
        "the first selected, else the last rectangle of a Shapes layer. The result lies exactly there.",
    )
    mask = LayerChoice(
        find_masks,
        name="mask",
        label="Target mask",
        tooltip="Which pixels of the target count and may change. none: all; black border: those inside the black border of a "
        "montage; a Labels layer: the painted ones (of a stack, those of the plane that is shown, for all planes).",
    )
    style_mask = LayerChoice(
        find_masks,
        name="style_mask",
        label="Style mask",
        tooltip="Which pixels of the style count, in the same way.",
    )
    write_files = CheckBox(
        name="write_files",
        label="Write files",
        value=True,
        tooltip="Write the result (TIFF), the losses (CSV), the learning curves (PNG) and the record (JSON) after a run. Nothing "
        "is ever overwritten.",
    )
    write_files.native.setText("")  # it has a label like the others
    output_folder = PathField(
        "automatic",
        name="output_folder",
        label="Output folder",
        tooltip="Where the files are written. Empty: beside the target's file, or in a folder napari-nst in your documents if the "
        "target has none.",
    )
    interval = FloatSpinBox(
        name="interval",
        label="Preview every",
        value=0.3,
        min=0.1,
        max=60,
        step=0.1,
        tooltip="Seconds of rest between two updates of the preview and the curves. A larger number leaves more time to the run.",
    )
    interval.native.setSuffix(" s")
    shrinkable(interval)
    return [region, mask, style_mask, write_files, output_folder, interval]


#: The order of the advanced fields, first what is about the images, last what is about the computer; others follow.
_ORDER = """
region value_range mask style_mask match_pixel_size
content_layers content_layer_weights style_layers style_layer_weights gram
optimizer lr_decay adam_beta1 adam_beta2 tolerance window
init content_from style_spacing max_change seed clip tv_weight padding fit_pools channels
weights precision threads batch tile fallback
write_files output_folder interval
""".split()  # noqa: SIM905  # one a line would be forty lines


class TransferPanel(Scrolled):
    """The rows of the widget; the advanced fields are shown when "Advanced settings" is opened."""

    def __init__(self, fields: list[BaseValueWidget], advanced: list[BaseValueWidget]) -> None:
        super().__init__()
        self.restore = button("Restore", "Set every field that the preset governs back to what the preset says.")
        self.restore.hide()
        self.device = text_label(
            "The device of the last run, the memory needed there, the time of a step and of all steps."
        )
        self.run = button("Run", "Start the transfer. The result appears as a preview at once, above the target.")
        self.pause = button(
            "Pause", "Hold after the step at work; the preview and the losses stay. Press again to go on."
        )
        self.stop = button(
            "Stop", "End now and keep what was reached as the result. To throw it away, delete its layer."
        )
        self.progress = progress_bar("Steps done, of the most that there will be.")
        self.step = text_label("The step at work, and the time left at the present speed.")
        self.losses = text_label("Losses of the last step: style and content with their weights make the total.")
        self.status = text_label("What happened last.")
        self.plot_place = QVBoxLayout()
        self.compare = button(
            "Compare", "Show target, style and result side by side; press again to put the view back."
        )
        self.difference = button("Difference", "Add a layer with the signed difference of the result and its target.")
        self.checkerboard = button("Checker", "Add a layer in which squares of the result and its target alternate.")
        self.assess = button(
            "Assess what it did to the cones",
            "Find the cones of the result and its target, mark those that are kept, lost and new, and say whether the result "
            "can be trusted. Works on the selected result (else the newest one), or on two selected images.",
        )
        self.use_settings = button(
            "Use these settings",
            "Fill the fields with the settings that made the selected result (else the newest one).",
        )
        self.copy_python = button(
            "Copy as Python", "Copy a script that makes the selected result (else the newest one) again."
        )

        form = Form(fields, beside={"preset": self.restore})
        advanced = sorted(advanced, key=lambda f: _ORDER.index(f.name) if f.name in _ORDER else len(_ORDER))
        further = Form(advanced, wide=("content_layers", "style_layers"))
        self.labels = form.labels | further.labels
        self.advanced = Foldable(
            "Advanced settings", "Layers, optimizer, value range, masks, region, files and more.", further
        )
        content = QWidget()
        rows = QVBoxLayout(content)
        rows.setContentsMargins(6, 6, 6, 6)
        rows.setSpacing(5)
        rows.addLayout(form)
        rows.addWidget(self.device)
        rows.addLayout(row(self.run, self.pause, self.stop))
        rows.addWidget(self.progress)
        for label in (self.step, self.losses, self.status):
            rows.addWidget(label)
        rows.addLayout(self.plot_place)
        rows.addWidget(self.advanced)
        self.results = QWidget()
        rows.addWidget(self.results)
        grid = QGridLayout(self.results)
        grid.setContentsMargins(0, 2, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.assess, 0, 0, 1, 6)
        for column, look in enumerate((self.compare, self.difference, self.checkerboard)):
            grid.addWidget(look, 1, 2 * column, 1, 2)
        grid.addWidget(self.use_settings, 2, 0, 1, 3)
        grid.addWidget(self.copy_python, 2, 3, 1, 3)
        rows.addStretch(1)
        self.set_content(content)
        self.setMinimumWidth(300)
        chain: list[Any] = [*fields, self.run, self.pause, self.stop, self.advanced.toggleButton(), *advanced]
        chain.insert(next(i for i, field in enumerate(fields) if field.name == "preset") + 1, self.restore)
        chain += [self.assess, self.compare, self.difference, self.checkerboard, self.use_settings, self.copy_python]
        set_tab_order(chain)

    def show_state(self, state: State) -> None:
        """Enable what can be pressed now."""
        running = {State.IDLE: "Run", State.PAUSED: "Paused"}
        self.run.setEnabled(state is State.IDLE)
        self.run.setText(running.get(state, "Running…"))
        for action in (self.pause, self.stop):
            action.setEnabled(state in (State.RUNNING, State.PAUSED))
        self.pause.setText("Resume" if state is State.PAUSED else "Pause")
        self.stop.setText("Stopping…" if state is State.STOPPING else "Stop")
