"""What the user does with the panel of "Enhance Session": each thing is a method of the widget, and its errors are said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import StyleTransferError
from napari_nst.viewer.session.fields import chosen_folder

if TYPE_CHECKING:
    from napari_nst.viewer.session.widget import EnhanceSessionWidget

__all__ = ["SessionActions"]


class SessionActions:
    """Buttons, dialogs, clicks in the table.

    Parameters
    ----------
    widget : EnhanceSessionWidget
        Keeps this object: Qt holds bound methods weakly.
    """

    def __init__(self, widget: EnhanceSessionWidget) -> None:
        self._widget = widget
        panel = widget.panel
        panel.judge.clicked.connect(self._on_judge_clicked)
        panel.run.clicked.connect(self._on_run_clicked)
        panel.stop.clicked.connect(self._on_stop_clicked)
        panel.assess.clicked.connect(self._on_assess_clicked)
        panel.save_pairs.clicked.connect(self._on_save_clicked)
        panel.load_pairs.clicked.connect(self._on_load_clicked)
        panel.find_pairs.clicked.connect(self._on_find_clicked)
        panel.dropped.connect(self._on_dropped)
        widget.view.wanted.connect(self._on_wanted)
        widget.view.undone.connect(self._on_undone)
        widget.model.style_chosen.connect(self._on_style_chosen)

    def attempt(self, action: Callable[[], object]) -> None:
        """Do something, and say why it cannot be done."""
        try:
            action()
        except StyleTransferError as error:
            self._widget.say(str(error))
            show_error(str(error))

    def _on_judge_clicked(self) -> None:
        self.attempt(self._widget.judge)

    def _on_run_clicked(self) -> None:
        self.attempt(self._widget.run)

    def _on_stop_clicked(self) -> None:
        self._widget.stop()

    def _on_find_clicked(self) -> None:
        self.attempt(self._widget.find_pairs)

    def _on_assess_clicked(self) -> None:
        self.attempt(self._widget.assess_patch)

    def _on_save_clicked(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self._widget.native, "Save pairs", str(self._beside() / "pairs.csv"), "CSV (*.csv)"
        )
        if path:
            self.attempt(lambda: self._widget.say(f"Pairs: {self._widget.save_pairs(path)}"))

    def _on_load_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self._widget.native, "Load pairs", str(self._beside()), "CSV (*.csv);;All files (*)"
        )
        if path:
            self.attempt(lambda: self._widget.load_pairs(path))

    def _beside(self) -> Path:
        return (chosen_folder(self._widget.folder) or Path()).parent

    def _on_dropped(self, folder: str) -> None:
        self._widget.folder.value = Path(folder)

    def _on_wanted(self, patch: str) -> None:
        self.attempt(lambda: self._widget.show_patch(patch))

    def _on_style_chosen(self, patch: str, style: str) -> None:
        self.attempt(lambda: self._widget.set_pair(patch, style))

    def _on_undone(self, patches: list[str]) -> None:
        self.attempt(lambda: self._widget.set_pairs(dict.fromkeys(patches, "")))
