"""The widget "Assessment"."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from psygnal import Signal
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import ImageError, ParameterError, StyleTransferError
from napari_nst.io.filenames import safe_stem
from napari_nst.settings.parameters import ParameterSpec
from napari_nst.viewer.assessment.input import AS_RUN, Trio, assess_request, known_scale, measure, trio_of
from napari_nst.viewer.assessment.layers import assessment_layers, is_ours, look_at, show_assessment
from napari_nst.viewer.assessment.panel import AssessPanel
from napari_nst.viewer.common.fields import LayerChoice, TextField, shrinkable
from napari_nst.viewer.common.job import Job
from napari_nst.viewer.common.layers import default_folder, made_by_us, plain
from napari_nst.viewer.common.panel import PanelWidget, copy_text, say
from napari_nst.viewer.common.region import mask_choices

if TYPE_CHECKING:
    import napari.viewer

    from napari_nst.metrics.assessment import Assessment
    from napari_nst.viewer.assessment.input import LayerPlane
    from napari_nst.viewer.common.job import JobOutcome

NO_STYLE = "none"
_CHOICES = {
    "target": "The image as it was before the enhancement.",
    "result": "What was made of it, of the same shape. Of a result of Style Transfer, target and style are found.",
    "style": "The image whose texture was taken over, for the table; none: it is left out.",
    "mask": "Which pixels count. as in the run: those that the run had, else all; none: all; black border: those inside the "
    "black border of a montage; a Labels layer: the painted ones.",
}
_SCALE = "µm per pixel of the target, for densities. Empty: unknown, and no density is given."
#: Endings that a name to save under may have.
_SUFFIXES = (".json", ".png", ".csv")


class _PixelSize(ParameterSpec):
    """µm per pixel, a number above 0; None, and no text, where they are not known."""

    def to_text(self, value: Any) -> str:
        return "" if value is None else f"{value:.6g}"

    def from_text(self, text: str) -> Any:
        text = text.strip()
        if not text:
            return None
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise ParameterError(
                f"Pixel size must be a positive pixel size (µm/px), got {text!r}. Try 0.5, or leave the field empty."
            )
        return value


class AssessmentWidget(PanelWidget):
    """Say what an enhancement did to the cones, and where to look.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered; napari passes it.

    Attributes
    ----------
    target, result, style, scale, mask : magicgui widgets
        ``widget.result.value = layer``; a style may be "none", a scale None, and the mask "as in the run", "none",
        "black border" or a Labels layer.
    assessment : Assessment or None
        The last one.
    assessed : signal
        Emits the Assessment when there is one.
    errored : signal
        Emits the error of an assessment that failed.

    Notes
    -----
    What cannot be done raises a StyleTransferError that says why, and changes nothing.

    Examples
    --------
    >>> _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Assessment")  # doctest: +SKIP
    >>> widget.result.value = viewer.layers["poor styled by good"]  # its target and style are found  # doctest: +SKIP
    >>> widget.scale.value = 0.4  # doctest: +SKIP
    >>> widget.assessed.connect(lambda assessment: print(assessment.verdict.text))  # doctest: +SKIP
    >>> widget.assess()  # doctest: +SKIP
    """

    assessed = Signal(object, description="The Assessment, whenever there is a new one")
    errored = Signal(object, description="The error of an assessment that failed")

    # napari recognises the annotation, also as text, and passes its viewer.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._job: Job | None = None
        self._warnings: list[str] = []
        self.assessment: Assessment | None = None
        self._plane: LayerPlane | None = None
        self._about: dict[str, dict[str, Any]] = {}
        self._scale_of: Any = lambda: None
        finders = {
            "target": self._images,
            "result": self._images,
            "style": lambda: [(NO_STYLE, NO_STYLE), *self._images()],
            "mask": lambda: [(AS_RUN, AS_RUN), *mask_choices(viewer)],
        }
        self.target, self.result, self.style, self.mask = (
            LayerChoice(find, name=name, label=name.capitalize(), tooltip=_CHOICES[name])
            for name, find in finders.items()
        )
        size = _PixelSize("scale", "Pixel size, µm", _SCALE, unit="µm", kind="float", default=None)
        self.scale = TextField(size, name=size.name, label=size.label, tooltip=size.help)
        self.scale.native.setPlaceholderText("unknown")
        fields = [self.target, self.result, self.style, self.scale, self.mask]
        for field in fields:
            shrinkable(field)
        super().__init__(viewer, fields, "assessment")
        self.panel = AssessPanel(fields)
        self.show_panel(self.panel)
        self.min_width = 310
        self.panel.assess.clicked.connect(lambda: self._attempt(self.assess))
        self.panel.save.clicked.connect(self._on_save_clicked)
        self.panel.copy.clicked.connect(self._on_copy_clicked)
        self.panel.wanted.connect(lambda number: self._attempt(lambda: self.show_place(number)))
        self.result.changed.connect(self._on_result)
        self.target.changed.connect(self._on_target)
        self.reset_choices()
        self._choose_first()
        self._on_target(self.target.value)

    def _images(self) -> list[tuple[str, Any]]:
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image) and not is_ours(layer)]
        return [(layer.name, plain(layer)) for layer in images]

    def reset_choices(self, *_: Any) -> None:
        """Look again for layers; napari calls it when layers come, go or are renamed."""
        super().reset_choices()
        if self.target.value is self.result.value:
            self._choose_first()
        self._show_state()

    def _choose_first(self) -> None:
        """The newest result; else the two uppermost images."""
        images = [layer for _, layer in self._images()]
        known = next((t for x in reversed(images) if made_by_us(x) and (t := trio_of(self._viewer, x))), None)
        if known is None and len(images) > 1:
            known = Trio(images[-2], images[-1])
        if known is not None:
            self.choose(known)

    def choose(self, trio: Trio) -> None:
        """Fill the fields with layers."""
        self.result.value = trio.result
        self.target.value = trio.target
        self.style.value = NO_STYLE if trio.style is None else trio.style

    def _on_result(self, layer: Any) -> None:
        known = None if layer is None else trio_of(self._viewer, layer)
        if known is not None and known.result is layer:
            self.choose(known)
        self._show_state()

    def _on_target(self, layer: Any) -> None:
        # The scale of another image, typed or not, is not that of this one.
        if layer is not None and layer is not self._scale_of():
            self._scale_of = weakref.ref(layer)
            scale, why = known_scale(layer, self._viewer)
            self.scale.set_value(scale)
            self.panel.labels["scale"].setToolTip(f"{self.scale.tooltip} {why}".strip())
        self._show_state()

    @property
    def is_running(self) -> bool:
        """Whether an assessment is under way."""
        return self._job is not None

    def assess(self) -> None:
        """Start an assessment of what is chosen; ``assessed`` or ``errored`` tells its end."""
        if self._job is not None:
            raise StyleTransferError("An assessment is under way in this widget: wait for its end.")
        target, result, style = self.target.value, self.result.value, self.style.value
        if target is None or result is None:
            raise ImageError("There is nothing to assess: open an image and what was made of it first.")
        trio = Trio(target, result, None if style is None or style == NO_STYLE else style)
        request = assess_request(self._viewer, trio, self.scale.get_value(), self.mask.value or AS_RUN)
        self._job = job = Job(measure, request)
        self._warnings = []
        job.warned.connect(self._warnings.append)
        job.ended.connect(self._on_ended)
        say(self.panel.status, "")
        job.start()
        self._show_state()

    def _on_ended(self, outcome: JobOutcome) -> None:
        job, self._job = self._job, None
        if job is None or self._gone:
            return
        request, assessment = job.request, outcome.value
        if outcome.error is not None:
            say(self.panel.status, str(outcome.error))
            show_error(str(outcome.error))
        elif assessment is not None:
            # Not the request: it holds the pixels of layers that may be deleted.
            self.assessment, self._plane, self._about = assessment, request.plane, request.layers
            show_assessment(self._viewer, assessment, self._plane, self._about["result"]["name"])
            self._show(assessment)
            say(self.panel.status, "\n".join(f"Warning: {message}" for message in self._warnings))
        self._show_state()
        if outcome.error is not None:
            self.errored.emit(outcome.error)
        elif assessment is not None:
            self.assessed.emit(assessment)

    def _show(self, assessment: Assessment) -> None:
        verdict = assessment.verdict
        # The text holds the limits too; here they stand apart.
        text = verdict.text.removesuffix(" ".join(verdict.limits)).strip()
        further = [reason for reason in verdict.reasons if reason not in text]
        pair = f"{self._about['result']['name']}, against {self._about['target']['name']}"
        self.panel.show_verdict(verdict.level, pair, text, further, verdict.limits)
        self.panel.show_places(assessment.place_texts())
        headings = ("Measure", "Target", "Result", *(["Style"] if assessment.style is not None else []))
        tables = [(headings, assessment.measure_rows()), (("Comparison", "Value"), assessment.comparison_rows())]
        self.panel.show_tables(tables)

    def layers(self) -> dict[str, Any]:
        """The layers of the last assessment that are still there: change, suspicion, kept, lost, new."""
        return assessment_layers(self._viewer)

    def show_place(self, number: int) -> None:
        """Move the camera to a place to look at, the worst being number 0."""
        places = () if self.assessment is None else self.assessment.cones.places
        if not 0 <= number < len(places):
            raise ParameterError(f"There is no place {number}: the assessment has {len(places)}, counted from 0.")
        layer = next(iter(self.layers().values()), None)
        if layer is None or self._plane is None:
            raise ImageError("The layers of the assessment were deleted; press Assess for new ones.")
        place = places[number]
        look_at(self._viewer, layer, place.row, place.column, place.radius, self._plane.axes)

    def save(self, path: str | Path) -> list[Path]:
        """Write the assessment as JSON, PNG and CSV, whatever the extension; return the files. Nothing is overwritten."""
        if self.assessment is None:
            raise StyleTransferError("There is nothing to save: press Assess first.")
        path = Path(path)
        stem = path.name.removesuffix(path.suffix) if path.suffix.lower() in _SUFFIXES else path.name
        record = {**self.assessment.to_dict(), "layers": self._about}
        return list(self.assessment.save(path.parent, stem, record).values())

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except StyleTransferError as error:
            say(self.panel.status, str(error))
            show_error(str(error))

    def _on_copy_clicked(self) -> None:
        if self.assessment is not None:
            copy_text(str(self.assessment))
            show_info("Copied: the assessment as text.")

    def _on_save_clicked(self) -> None:
        name = safe_stem(self._about["result"]["name"], "assessment")
        path, _ = QFileDialog.getSaveFileName(
            self.native,
            "Save assessment: numbers, figure and cones",
            str(default_folder(self._about["target"]["path"]) / f"{name}.json"),
            "Assessment (*.json)",
            options=QFileDialog.Option.DontConfirmOverwrite,  # a counter is added instead
        )
        if path:
            self._attempt(lambda: self._say_saved(self.save(path)))

    def _say_saved(self, files: list[Path]) -> None:
        say(self.panel.status, f"Saved: {', '.join(file.name for file in files)} in {files[0].parent}")

    def _show_state(self) -> None:
        ready = self.target.value is not None and self.result.value is not None
        self.panel.show_state(ready, self._job is not None, self.assessment is not None)

    def closed(self) -> None:
        """Nobody waits for layers any more."""
        job, self._job = self._job, None
        if job is not None:
            job.abandon()

    destroyed = closed
