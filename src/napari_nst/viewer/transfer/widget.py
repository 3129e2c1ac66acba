"""The widget "Style Transfer"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from napari.utils.theme import get_theme
from psygnal import Signal

from napari_nst.errors import ImageError, StyleTransferError
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.record import KEY
from napari_nst.viewer import commands
from napari_nst.viewer.common.compare import comparison_of
from napari_nst.viewer.common.fields import CONTRAST, LayerChoice, ParameterFields
from napari_nst.viewer.common.job import State
from napari_nst.viewer.common.layers import made_by_us, plain
from napari_nst.viewer.common.panel import PanelWidget, say, short_text, size_text, time_text
from napari_nst.viewer.common.region import WHOLE, mask_choices, region_choices
from napari_nst.viewer.preferences import defaults
from napari_nst.viewer.transfer.job import End, Snapshot, Started, TransferJob
from napari_nst.viewer.transfer.layers import assemble
from napari_nst.viewer.transfer.panel import TransferPanel, extra_fields

if TYPE_CHECKING:
    import napari.viewer


class StyleTransferWidget(PanelWidget):
    """Give a target layer the texture of a style layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered; napari passes it.

    Attributes
    ----------
    target, style : magicgui widgets
        ``widget.target.value = layer``.
    parameters : Container
        A field for each parameter: ``widget.parameters.epoch.value = 4``.
    region, mask, style_mask, interval, output_folder, write_files : magicgui widgets
        The choices beside the parameters.
    finished : signal
        Emits the result layer, or None, at the end of every run.
    errored : signal
        Emits the error of a run that failed, before ``finished``.

    Examples
    --------
    >>> dock, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")  # doctest: +SKIP
    >>> widget.target.value, widget.style.value = viewer.layers["poor"], viewer.layers["good"]  # doctest: +SKIP
    >>> widget.parameters.preset.value = "texture"  # doctest: +SKIP
    >>> widget.finished.connect(lambda layer: print(layer.metadata["napari_nst"]["stopped"]))  # doctest: +SKIP
    >>> widget.run()  # doctest: +SKIP
    """

    finished = Signal(object, description="The result layer, or None, when a run has ended")
    errored = Signal(object, description="The error of a run that failed")

    # napari recognizes the annotation, also as text, and passes its viewer.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._run: TransferJob | None = None
        self._plot: Any = None
        self._device = ""
        self._warnings: list[str] = []
        what = "The image to improve; it is not changed."
        self.target = LayerChoice(self._images, name="target", label="Target", tooltip=what)
        what = "An image of the same tissue whose texture is taken over."
        self.style = LayerChoice(self._images, name="style", label="Style", tooltip=what)
        self.parameters = ParameterFields()
        extra = extra_fields(lambda: region_choices(viewer, self.target.value), lambda: mask_choices(viewer))
        super().__init__(viewer, [self.target, self.style, self.parameters, *extra], "style_transfer")
        specs = StyleTransferParameters.specs()
        self.panel = TransferPanel(
            [self.target, self.style, *(self.parameters[s.name] for s in specs if not s.advanced)],
            [*extra, *(self.parameters[s.name] for s in specs if s.advanced)],
        )
        self.show_panel(self.panel)
        self.min_width = 300
        self._connect()
        self._apply_preferences()
        self.reset_choices()
        self._show_state()

    def _connect(self) -> None:
        panel = self.panel
        panel.run.clicked.connect(self._on_run_clicked)
        panel.pause.clicked.connect(self._on_pause_clicked)
        panel.stop.clicked.connect(self.stop)
        panel.restore.clicked.connect(self.parameters.restore)
        panel.use_settings.clicked.connect(self._on_use_settings_clicked)
        viewer = self._viewer
        for pressed, command in (
            (panel.assess, commands.assess_selected),
            (panel.compare, commands.compare_side_by_side),
            (panel.difference, commands.signed_difference),
            (panel.checkerboard, commands.target_result_checkerboard),
            (panel.copy_python, commands.copy_as_python),
        ):
            pressed.clicked.connect(lambda *_, command=command: command(viewer))
        self.parameters.edited.connect(self._on_edited)
        self.target.changed.connect(self.region.reset_choices)
        self._viewer.events.theme.connect(self._on_theme)
        comparison_of(self._viewer).changed.connect(self._on_compared)

    def _apply_preferences(self) -> None:
        chosen = defaults()
        self.parameters.fill({k: chosen[k] for k in ("preset", "device", "weights") if chosen.get(k)})
        if chosen.get("output_folder"):
            self.output_folder.value = Path(chosen["output_folder"])

    # Choices of layers -------------------------------------------------------------------------------------------

    def _images(self) -> list[tuple[str, Any]]:
        return [(layer.name, plain(layer)) for layer in self._viewer.layers if isinstance(layer, Image)]

    def reset_choices(self, *_: Any) -> None:
        """Look again for layers; napari calls it when layers come, go or are renamed."""
        alone = self.target.value is self.style.value
        super().reset_choices()
        if alone and self.style.value is self.target.value:
            # The first image is both; a second one, unless it is a result, is the better style.
            others = [x for _, x in self._images() if x is not self.target.value and not made_by_us(x)]
            if others:
                self.style.value = others[0]
        self._show_state()

    # Running -----------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._run is not None

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused."""
        return self.state is State.PAUSED

    @property
    def state(self) -> State:
        """What the run is doing; IDLE without one."""
        return State.IDLE if self._run is None else self._run.state

    @property
    def losses(self) -> np.ndarray[Any, Any]:
        """Style, content and total loss of every step so far, (steps, 3); empty without a run."""
        return np.empty((0, 3)) if self._run is None else self._run.losses

    def run(self) -> None:
        """Start a run with what is entered; ``finished`` tells its end.

        StyleTransferError when a run is under way, or what is entered cannot be used; nothing is started then.
        """
        if self._run is not None:
            raise StyleTransferError("A transfer is under way in this widget: stop it, or wait for its end.")
        target, style = self.target.value, self.style.value
        if target is None or style is None:
            raise ImageError("There is no image to work on: open a target and a style image first.")
        folder = self.output_folder.value
        request, placement = assemble(
            self._viewer,
            target,
            style,
            self.parameters.arguments(),
            region=self.region.value or WHOLE,
            mask=self.mask.value,
            style_mask=self.style_mask.value,
            interval=self.interval.value,
            folder=folder if isinstance(folder, Path) else None,
            write_files=self.write_files.value,
        )
        self._show_plot()
        self._run = run = TransferJob(self._viewer, request, placement)
        run.reported.connect(self._on_reported)
        run.warned.connect(self._on_warned)
        run.ended.connect(self._on_ended)
        for label in (self.panel.step, self.panel.losses):
            say(label, "")
        self._warnings.clear()
        self._say("Loading the network…")
        self.panel.progress.setRange(0, 0)
        self.panel.progress.show()
        run.start()
        self._show_state()

    def stop(self) -> None:
        """End the run within its step, and keep what was reached as the result."""
        if self._run is not None:
            self._run.stop()
            self._show_state()

    def pause(self) -> None:
        """Hold the run after its step."""
        if self._run is not None:
            self._run.pause()
            self._show_state()

    def resume(self) -> None:
        """Go on."""
        if self._run is not None:
            self._run.resume()
            self._show_state()

    def _on_reported(self, event: Started | Snapshot) -> None:
        if isinstance(event, Snapshot):
            self._show_snapshot(event)
            return
        self._device = f"{event.device} · {size_text(event.memory)}"
        say(self.panel.device, self._device)
        self._say("Preparing the images…")
        self.panel.progress.setRange(0, event.total)
        self.panel.progress.setValue(0)

    def _show_snapshot(self, now: Snapshot) -> None:
        assert self._run is not None
        self.panel.progress.setValue(now.step)
        text = f"Step {now.step} of {now.total}"
        if now.seconds_per_step:
            text += f", {time_text((now.total - now.step) * now.seconds_per_step)} left"
            whole = time_text(now.total * now.seconds_per_step)
            say(self.panel.device, f"{self._device} · {now.seconds_per_step:.2g} s/step · {whole}")
        say(self.panel.step, text)
        if len(self._run.losses):
            style, content, total = self._run.losses[-1]
            text = f"total {short_text(total)}, style {short_text(style)}, content {short_text(content)}"
            say(self.panel.losses, text)
        self._say("")
        if self._plot is not None:
            self._plot.show_losses(self._run.losses)

    def _on_warned(self, message: str) -> None:
        self._warnings.append(f"Warning: {message}")
        self._say("")

    def _on_ended(self, end: End) -> None:
        layer, error, summary = end
        self._run = None
        if not self._gone:
            self._say(summary)
            if self.panel.progress.maximum() == 0:
                self.panel.progress.setRange(0, 1)
            if error is None and layer is not None and layer.metadata[KEY]["stopped"] != "cancelled":
                self.panel.progress.setValue(self.panel.progress.maximum())
            self._show_state()
        if error is not None:
            self.errored.emit(error)
        self.finished.emit(layer)

    # Buttons -----------------------------------------------------------------------------------------------------

    def _on_run_clicked(self) -> None:
        try:
            self.run()
        except StyleTransferError as error:
            self._warnings.clear()
            message = self.parameters.message(error)
            self._say(message)
            show_error(message)

    def _on_pause_clicked(self) -> None:
        if self.is_paused:
            self.resume()
        else:
            self.pause()

    def _on_compared(self, active: bool) -> None:
        if not self._gone:
            self.panel.compare.setText("Put back" if active else "Compare")

    def _on_use_settings_clicked(self) -> None:
        try:
            layer = commands.selected_result(plain(self._viewer))
            self.use_settings(layer)
            self._say(f"Settings of {layer.name}.")
        except commands.MissingError as missing:
            show_info(str(missing))
        except StyleTransferError as error:
            show_error(self.parameters.message(error))

    def use_settings(self, layer: Image) -> None:
        """Fill the fields with the settings that made a layer; ParameterError when its record is damaged."""
        record = layer.metadata[KEY]
        values = StyleTransferParameters.from_record(record["parameters"]).asdict()
        if record.get("choices", {}).get("value_range") == CONTRAST:
            values["value_range"] = CONTRAST
        self.parameters.fill(values)

    # Looks -------------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        """Show what happened, below the warnings of the run."""
        say(self.panel.status, "\n".join([*self._warnings, *filter(None, [text])]))

    def _show_state(self) -> None:
        self.panel.show_state(self.state)
        self.panel.results.setEnabled(any(made_by_us(layer) for layer in self._viewer.layers))

    def _show_plot(self) -> None:
        """The curves come with the first run: matplotlib takes a while to import."""
        if self._plot is None:
            from napari_nst.viewer.transfer.plot import LossPlot

            self._plot = LossPlot(get_theme(self._viewer.theme))
            self.panel.plot_place.addWidget(self._plot)
        self._plot.clear_losses()

    def _on_edited(self, edited: bool) -> None:
        self.panel.labels["preset"].setText("Preset (changed)" if edited else "Preset")
        self.panel.restore.setVisible(edited)

    def _on_theme(self, event: Any = None) -> None:
        if self._plot is not None and not self._gone:
            self._plot.use_theme(get_theme(self._viewer.theme))

    # The end -----------------------------------------------------------------------------------------------------

    def closed(self) -> None:
        """End the run, whose result becomes its layer."""
        self.stop()

    def destroyed(self) -> None:
        """End the run."""
        run, self._run = self._run, None
        if run is not None:
            run.abandon()
            self.finished.emit(None)
