"""The fields beside the parameters: which part, which pixels, which files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, FileEdit, FloatSpinBox
from magicgui.widgets.bases import BaseValueWidget

from napari_nst.viewer.common.fields import LayerChoice, shrinkable

__all__ = ["ExtraFields"]

Find = Callable[[], list[tuple[str, Any]]]


class ExtraFields:
    """Region, masks and files.

    Parameters
    ----------
    find_regions, find_masks : callable
        Give what there is to choose, as pairs of text and value.
    """

    def __init__(self, find_regions: Find, find_masks: Find) -> None:
        self.region = LayerChoice(
            find_regions,
            name="region",
            label="Region",
            tooltip="What of the target takes part: the whole layer; of a stack the plane that is shown, or all planes one by one; or "
            "the first selected, else the last rectangle of a Shapes layer. The result lies exactly there.",
        )
        self.mask = LayerChoice(
            find_masks,
            name="mask",
            label="Target mask",
            tooltip="Which pixels of the target count and may change. none: all; black border: those inside the black border of a "
            "montage; a Labels layer: the painted ones (of a stack, those of the plane that is shown, for all planes).",
        )
        self.style_mask = LayerChoice(
            find_masks,
            name="style_mask",
            label="Style mask",
            tooltip="Which pixels of the style count, in the same way.",
        )
        self.write_files = CheckBox(
            name="write_files",
            label="Write files",
            value=True,
            tooltip="Write the result (TIFF), the losses (CSV), the learning curves (PNG) and the record (JSON) after a run. Nothing "
            "is ever overwritten.",
        )
        self.write_files.native.setText("")  # it has a label like the others
        self.output_folder = FileEdit(
            name="output_folder",
            label="Output folder",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            tooltip="Where the files are written. Empty: beside the target's file, or in a folder napari-nst in your documents if the "
            "target has none.",
        )
        self.output_folder.line_edit.tooltip = self.output_folder.tooltip
        self.output_folder.line_edit.native.setPlaceholderText("automatic")
        self.output_folder.choose_btn.text = "…"
        self.output_folder.choose_btn.tooltip = "Choose the folder."
        self.output_folder.choose_btn.native.setFixedWidth(32)
        self.interval = FloatSpinBox(
            name="interval",
            label="Preview every",
            value=0.3,
            min=0.1,
            max=60,
            step=0.1,
            tooltip="Seconds of rest between two updates of the preview and the curves. A larger number leaves more time to the run.",
        )
        self.interval.native.setSuffix(" s")
        for field in (self.region, self.mask, self.style_mask, self.interval):
            shrinkable(field)

    def all(self) -> list[BaseValueWidget[Any]]:
        """The fields, in the order of the keyboard."""
        return [self.region, self.mask, self.style_mask, self.write_files, self.output_folder, self.interval]
