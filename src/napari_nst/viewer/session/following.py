"""The table follows the settings: after a change, the patches are judged again, as far as that needs no image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_nst.errors import StyleTransferError
from napari_nst.viewer.session.worker import Job, automatic_output

if TYPE_CHECKING:
    from napari_nst.viewer.session.widget import EnhanceSessionWidget

__all__ = ["Following"]

#: Milliseconds of rest after the last change: a number is typed digit by digit.
_REST = 400


class Following:
    """Judges again when settings have changed and rest.

    Parameters
    ----------
    widget : EnhanceSessionWidget
        Keeps this object: signals hold bound methods weakly.
    """

    def __init__(self, widget: EnhanceSessionWidget) -> None:
        self._widget = widget
        self._timer = QTimer(widget.panel)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST)
        self._timer.timeout.connect(self._on_rested)
        widget.output.changed.connect(self.soon)
        for field in widget.settings:
            field.changed.connect(self.soon)

    def soon(self) -> None:
        """Something has changed."""
        if self._widget.plan is not None:
            self._timer.start()

    def cancel(self) -> None:
        """Work begins that takes up what is entered."""
        self._timer.stop()

    def after(self, job: Job) -> None:
        """Work has ended: what was changed meanwhile counts now."""
        try:
            changed = self._widget.entered() != (job.settings, job.parameters, job.output)
        except StyleTransferError:
            changed = True
        if changed:  # else what failed would be tried for ever
            self.soon()

    def _on_rested(self) -> None:
        widget, plan = self._widget, self._widget.plan
        if plan is None or widget.is_running:
            return
        from napari_nst.session.planning import needs_reading

        try:
            settings, parameters, output = widget.entered()
        except StyleTransferError as error:
            widget.say(str(error))
            return
        again = needs_reading(plan, settings, parameters)
        if again:
            label = widget.panel.labels[again[0]].text()
            widget.say(f"{label} has changed: press Judge to cut and judge the images anew (Run does so too).")
        elif (plan.settings, plan.parameters) != (settings, parameters) or widget.shown_output != (
            output or automatic_output(plan)
        ):
            widget.rejudge()
