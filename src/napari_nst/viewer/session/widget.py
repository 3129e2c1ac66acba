"""The widget "Enhance Session"."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_warning
from napari.utils.theme import get_theme
from psygnal import Signal
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

from napari_nst.errors import FileError, ParameterError, StyleTransferError
from napari_nst.io.tables import KnownNames
from napari_nst.session.plan import SessionPlan, plan_row
from napari_nst.session.quality import Quality
from napari_nst.viewer import commands
from napari_nst.viewer.common.fields import PathField
from napari_nst.viewer.common.job import Job, JobOutcome, State
from napari_nst.viewer.common.panel import PanelWidget, say, time_text
from napari_nst.viewer.session.job import SessionRequest, ShownPlan, automatic_output, session_work
from napari_nst.viewer.session.layers import PatchLayers
from napari_nst.viewer.session.panel import FRONT, SessionPanel, SettingFields, process_fields
from napari_nst.viewer.session.table import PatchModel, PatchTable

if TYPE_CHECKING:
    import napari.viewer
    import pandas as pd

    from napari_nst.session.run import SessionProgress, SessionResult

#: Names of version 0.1, served for one release.
_FORMER = {"judge": "make_plan", "rejudge": "replan", "judged": "planned"}
#: Milliseconds of rest after the last change of a setting: a number is typed digit by digit.
_REST = 400


class EnhanceSessionWidget(PanelWidget):
    """Plan the enhancement of a folder of images, patch by patch, and enhance the poor ones.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where patches are shown; napari passes it.

    Attributes
    ----------
    folder, output : magicgui widgets
        ``widget.folder.value = "session"``; an empty output is a new folder beside it.
    settings : Container
        A field for each setting: ``widget.settings.method.value = "spectrum"``.
    workers, scheduler : magicgui widgets
        Where patches are enhanced; workers are a number or "auto".
    plan : SessionPlan or None
        What Run would do, with the pairs that were chosen by hand; None before the first plan.
    edits : dict
        Patch to style, as chosen by hand, "" for none; another plan keeps them.
    planned : signal
        Emits the plan, whenever there is a new one.
    finished : signal
        Emits the SessionResult, or None where there is none, at the end of every run.
    errored : signal
        Emits the error of what failed; of a run before ``finished``.

    Notes
    -----
    What cannot be done (something is running, what is entered cannot be used, there is no such patch) raises a
    StyleTransferError that says why, and changes nothing.

    Examples
    --------
    >>> dock, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Enhance Session")  # doctest: +SKIP
    >>> widget.folder.value = "session"  # doctest: +SKIP
    >>> widget.planned.connect(lambda plan: print(plan.table))  # doctest: +SKIP
    >>> widget.make_plan()  # doctest: +SKIP
    """

    planned = Signal(object, description="The plan, whenever there is a new one")
    finished = Signal(object, description="The SessionResult, or None, when a run has ended")
    errored = Signal(object, description="The error of what failed")

    # napari recognises the annotation, also as text, and passes its viewer.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._job: Job | None = None
        self.plan: SessionPlan | None = None
        self._thumbnails: Any = {}
        self._output: Path | None = None
        self._plot: Any = None
        self._notes: list[str] = []
        self._layers = PatchLayers(viewer)
        self.edits: dict[str, str] = {}
        images = "A folder of images of one retina (TIFF, PNG, JPEG); it is not changed."
        self.folder: Any = PathField("choose, or drop here", name="folder", label="Images", tooltip=images)
        results = "Where the results go; empty: a new folder beside the images."
        self.output: Any = PathField("beside the images", name="output", label="Output", tooltip=results)
        self.settings = SettingFields()
        self.workers, self.scheduler = process_fields()
        self.model = PatchModel()
        self.view = PatchTable(self.model, self._style_choices)
        fields = [self.folder, self.output, self.settings, self.workers, self.scheduler]
        super().__init__(viewer, fields, "enhance_session")
        self.panel = SessionPanel(
            [self.folder, self.output],
            [*(self.settings[name] for name in FRONT), self.workers],
            [*(field for field in self.settings if field.name not in FRONT), self.scheduler],
            self.view,
        )
        self.show_panel(self.panel)
        self.min_width = 340
        self._rest = QTimer(self.panel)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST)
        self._connect()
        self._show_state()

    def _connect(self) -> None:
        # Qt holds bound methods weakly: functions made here would keep the widget.
        panel = self.panel
        panel.plan.clicked.connect(self._on_plan_clicked)
        panel.run.clicked.connect(self._on_run_clicked)
        panel.stop.clicked.connect(self.stop)
        panel.assess.clicked.connect(self._on_assess_clicked)
        panel.save_pairs.clicked.connect(self._on_save_clicked)
        panel.load_pairs.clicked.connect(self._on_load_clicked)
        panel.find_pairs.clicked.connect(self._on_find_clicked)
        self.view.wanted.connect(self._on_wanted)
        self.view.undone.connect(self._on_undone)
        self.model.style_chosen.connect(self._on_style_chosen)
        self.folder.changed.connect(self._on_folder)
        for field in (self.output, *self.settings):
            field.changed.connect(self._follow)
        self._rest.timeout.connect(self._on_rested)
        self._viewer.events.theme.connect(self._on_theme)

    @property
    def table(self) -> pd.DataFrame:
        """The table as it is seen, in the order of the patches, with full names; empty before the first plan."""
        import pandas as pd

        return pd.DataFrame(self.model.rows)

    @property
    def output_folder(self) -> Path | None:
        """Where the results go; None while it is to be chosen and there is no plan yet."""
        return self.output.value or self._output

    @property
    def is_running(self) -> bool:
        """Whether a plan is made or patches are enhanced at this moment."""
        return self._job is not None

    def make_plan(self) -> None:
        """Read and cut the images, assess the patches, and pair them; ``planned`` tells the end."""
        self._start(fresh=True, enhance=False)

    def replan(self) -> None:
        """Split and pair again, with what is entered now; the images are read only if that is needed."""
        self._start(fresh=False, enhance=False)

    def run(self) -> None:
        """Enhance the poor patches, with a new plan where that is needed; ``finished`` tells the end."""
        self._start(fresh=False, enhance=True)

    def stop(self) -> None:
        """End what is running soon; what is finished is kept, and `run` goes on there."""
        if self._job is not None:
            self._job.stop()
            self._show_state()

    def __getattr__(self, name: str) -> Any:
        if name in _FORMER:
            warnings.warn(f"`{name}` was renamed. Use `{_FORMER[name]}`.", DeprecationWarning, stacklevel=2)
            return getattr(self, _FORMER[name])
        return super().__getattr__(name)

    def set_pair(self, patch: str, style: str | None) -> None:
        """Choose the style of a patch by hand; without style, the patch is not enhanced.

        Names are those of the table, with or without extension.
        """
        self.set_pairs({patch: style or ""})

    def set_pairs(self, changes: Mapping[str, str]) -> None:
        """Choose the styles of several patches by hand, as `set_pair` does: patch to style, "" for none."""
        from napari_nst.session.planning import with_pairs

        plan = self._known_plan()
        self._check_idle()
        changed, known = with_pairs(plan, changes), _names(plan)
        self.edits |= {known.find(p) or p: (known.find(s) or s) if s else "" for p, s in changes.items()}
        self.plan = changed
        self._show_plan({})
        self._follow()  # another session, so another folder
        self.planned.emit(changed)

    def load_pairs(self, path: str | Path) -> None:
        """Take the whole pairing from a table, as `save_pairs` writes it; what it does not name is not enhanced."""
        from napari_nst.session.pairing import read_pairs

        names = [planned.patch.name for planned in self._known_plan().patches]
        self.set_pairs(dict.fromkeys(names, "") | read_pairs(path, names))

    def save_pairs(self, path: str | Path) -> Path:
        """Write the table with its pairs; return the path, with a number where the name is taken."""
        from napari_nst.session.pairing import write_pairs

        return write_pairs(path, self._known_plan().table)

    def find_pairs(self) -> None:
        """Forget the pairs that were chosen by hand, and pair the patches anew; ``planned`` tells the end."""
        self._known_plan()
        self._check_idle()
        self.edits = {}
        self.replan()

    def _style_choices(self, patch: str) -> list[tuple[str, str]]:
        """The styles that a patch can have, the best ones first: text and full name."""
        from napari_nst.session.planning import style_candidates

        choices = [("(not enhanced)", "")]
        for found, distance in style_candidates(self._known_plan(), patch):
            where = f", {distance:.0f} px" if distance >= 0 else ""
            text = f"{self.model.short(found.patch.name)} ({found.quality}, {found.score:.3g}{where})"
            choices.append((text, found.patch.name))
        return choices

    def show_patch(self, patch: str) -> None:
        """Show target, style and result of a patch in the viewer, with the cones on them."""
        plan = self._known_plan()
        known = _names(plan)
        name = known.find(patch)
        if name is None:
            raise ParameterError(known.unknown(patch))
        seen = self._layers.show(plan, name, self.output_folder, self.model.short)
        say(self.panel.seen, f"In the viewer: {self.model.short(name)}, {seen}.")
        self.panel.assess.setVisible(self._layers.has_result)

    def assess_patch(self) -> None:
        """Open the widget "Assessment" on the patch that is shown."""
        commands.assess_layer(self._viewer, self._layers.layers().get("result"))

    def _check_idle(self) -> None:
        if self.is_running:
            raise StyleTransferError("This session is running. Stop it, or wait for its end.")

    def _known_plan(self) -> SessionPlan:
        if self.plan is None:
            raise StyleTransferError("There are no patches yet. Choose a folder of images, and press Plan.")
        return self.plan

    def _start(self, *, fresh: bool, enhance: bool) -> None:
        self._check_idle()
        if self.folder.value is None:
            raise FileError("There is nothing to work on. Choose a folder of images first.")
        settings, parameters = self.settings.chosen()
        self._rest.stop()
        request = SessionRequest(
            folder=self.folder.value,
            output=self.output.value,
            settings=settings,
            parameters=parameters,
            plan=self.plan,
            fresh=fresh,
            edits=dict(self.edits),
            thumbnails=self._thumbnails,
            enhance=enhance,
            workers=self.workers.value,
            scheduler=str(self.scheduler.value).strip(),
        )
        self._job = job = Job(session_work, request, f"Enhance Session: {request.folder.name}" if enhance else "")
        job.reported.connect(self._on_reported)
        job.warned.connect(self._on_warned)
        job.ended.connect(self._on_ended)
        self._notes.clear()
        self._say("")
        self.panel.show_progress(None, "Looking at the images…" if fresh or self.plan is None else "Planning…")
        job.start()
        self._show_state()

    def _on_reported(self, event: ShownPlan | SessionProgress) -> None:
        if isinstance(event, ShownPlan):
            self._take_plan(event)
            return
        self.panel.show_progress(*_progress(event))
        if event.row is not None:
            patch = event.row["patch"]
            self.model.update_row(patch, event.row)
            if patch == self._layers.patch and self._layers.layers():
                self._on_wanted(patch)
        elif event.stage == "enhancing":
            self.model.show_running(event.text)

    def _take_plan(self, shown: ShownPlan) -> None:
        # A copy has a store of images of its own: that of the plan at work belongs to the worker.
        self.plan = shown.plan.replace()
        self._thumbnails, self._output = shown.thumbnails, shown.output
        self.edits = {patch: style for patch, style in self.edits.items() if patch not in shown.dropped}
        if shown.dropped:
            self._note(f"{len(shown.dropped)} styles chosen by hand are of patches that are not there any more.")
        self.output.explain(f"→ {shown.output.name}", f"→ {shown.output}")
        self._show_plan(shown.rows)
        self.planned.emit(self.plan)

    def _show_plan(self, finished: dict[str, dict[str, Any]]) -> None:
        plan, selected = self._known_plan(), self.view.selected()
        rows = [plan_row(p) | {"status": "open"} | finished.get(p.patch.name, {}) for p in plan.patches]
        self.model.set_rows(rows, self._thumbnails)
        if self._plot is None:  # matplotlib takes a while to import: opening the dock must not
            from napari_nst.viewer.session.plot import ScorePlot

            self._plot = ScorePlot(get_theme(self._viewer.theme))
            self._plot.threshold_chosen.connect(self._on_threshold)
            self.panel.add_plot(self._plot)
        self.panel.show_patches(True)
        self._plot.show_plan(plan)
        if selected:
            self.view.select(selected[0])
        say(self.panel.summary, _summary(plan))
        self.panel.summary.setToolTip(plan.split.reason)
        self._show_state()

    def _on_warned(self, message: str) -> None:
        show_warning(message)
        self._note(f"Warning: {message}")

    def _on_ended(self, outcome: JobOutcome) -> None:
        job, self._job = self._job, None
        if job is None or self._gone:
            return
        self.model.show_running("")
        request: SessionRequest = job.request
        if outcome.error is not None:
            self._report(outcome.error)
        elif outcome.value is None:
            self._say("Stopped." if self.plan is not None else "Stopped; press Plan to start again.")
        elif request.enhance:
            self._show_result(outcome.value)
        self.panel.show_progress(0.0, "")
        self._show_state()
        if outcome.error is not None:
            self.errored.emit(outcome.error)
        if request.enhance:
            self.finished.emit(outcome.value)
        try:
            entered = (*self.settings.chosen(), self.output.value)
            changed = entered != (request.settings, request.parameters, request.output)
        except StyleTransferError:
            changed = True
        if changed:  # else what failed would be tried for ever
            self._follow()

    def _show_result(self, result: SessionResult) -> None:
        for row in result.table.to_dict("records"):
            self.model.update_row(str(row["patch"]), {str(key): value for key, value in row.items()})
        # The table beside it shows every verdict; here a long text would leave no room for the table.
        stopped = "Stopped: what is finished is kept, and Run goes on there.\n" if result.state == "cancelled" else ""
        self._say(f"{result.summary(worst=False)}\n{stopped}Results: {result.folder}")

    def _follow(self) -> None:
        if self.plan is not None:
            self._rest.start()

    def _on_rested(self) -> None:
        plan = self.plan
        if plan is None or self.is_running:
            return
        from napari_nst.session.planning import needs_reading

        try:
            settings, parameters = self.settings.chosen()
        except StyleTransferError as error:
            self._say(self.settings.message(error))
            return
        again = needs_reading(plan, settings, parameters)
        if again:
            label = self.panel.labels[again[0]].text()
            self._say(f"{label} has changed. Press Plan to cut the images anew (Run does so too).")
            return
        output = self.output.value or automatic_output(plan)
        if (plan.settings, plan.parameters, self._output) != (settings, parameters, output):
            self.replan()

    def _on_threshold(self, threshold: float) -> None:
        self.settings.threshold.value = threshold

    def _on_folder(self) -> None:
        if self.plan is not None and self.folder.value != self.plan.folder:
            self.plan, self._output, self.edits = None, None, {}
            self.model.set_rows([], {})
            self.panel.show_patches(False)
            self.output.explain("beside the images")
        self._show_state()

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do something, and say why it cannot be done."""
        try:
            action()
        except StyleTransferError as error:
            self._report(error)

    def _on_plan_clicked(self) -> None:
        self._attempt(self.make_plan)

    def _on_run_clicked(self) -> None:
        self._attempt(self.run)

    def _on_find_clicked(self) -> None:
        self._attempt(self.find_pairs)

    def _on_assess_clicked(self) -> None:
        self._attempt(self.assess_patch)

    def _on_save_clicked(self) -> None:
        start = str(self._beside() / "pairs.csv")
        path, _ = QFileDialog.getSaveFileName(self.native, "Save pairs", start, "CSV (*.csv)")
        if path:
            self._attempt(lambda: self._say(f"Pairs: {self.save_pairs(path)}"))

    def _on_load_clicked(self) -> None:
        kinds = "CSV (*.csv);;All files (*)"
        path, _ = QFileDialog.getOpenFileName(self.native, "Load pairs", str(self._beside()), kinds)
        if path:
            self._attempt(lambda: self.load_pairs(path))

    def _beside(self) -> Path:
        return (self.folder.value or Path()).parent

    def _on_wanted(self, patch: str) -> None:
        self._attempt(lambda: self.show_patch(patch))

    def _on_style_chosen(self, patch: str, style: str) -> None:
        self._attempt(lambda: self.set_pair(patch, style))

    def _on_undone(self, patches: list[str]) -> None:
        self._attempt(lambda: self.set_pairs(dict.fromkeys(patches, "")))

    def _say(self, text: str) -> None:
        """Show a text, below what is to be known of the run."""
        say(self.panel.status, "\n".join([*self._notes, *filter(None, [text])]))

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._say("")

    def _report(self, error: StyleTransferError) -> None:
        message = self.settings.message(error)
        self._say(message)
        show_error(message)

    def _show_state(self) -> None:
        state = State.IDLE if self._job is None else self._job.state
        enhancing = self._job is not None and self._job.request.enhance
        folder, patches = self.folder.value is not None, self.plan is not None
        self.panel.show_state(state, enhancing=enhancing, folder=folder, patches=patches)
        self.model.locked = enhancing  # threshold and styles of patches that are enhanced stay
        if self._plot is not None:
            self._plot.locked = enhancing

    def _on_theme(self, event: Any = None) -> None:
        if self._plot is not None and not self._gone:
            self._plot.use_theme(get_theme(self._viewer.theme))

    def closed(self) -> None:
        """End a run that nobody can see or stop."""
        self.stop()

    def destroyed(self) -> None:
        """End, and say nothing any more."""
        if self._job is not None:
            self._job.abandon()


def _names(plan: SessionPlan) -> KnownNames:
    return KnownNames([planned.patch.name for planned in plan.patches])


def _summary(plan: SessionPlan) -> str:
    """What was found, in a few lines."""
    qualities = [planned.quality for planned in plan.patches]
    counts = ", ".join(f"{n} {quality}" for quality in Quality if (n := qualities.count(quality)))
    images, total, enhanced = len(plan.images), len(plan.patches), len(plan.treated)
    text = f"{total} patch{'es' if total != 1 else ''} of {images} image{'s' if images != 1 else ''}: {counts}. "
    doing = "to be enhanced" if plan.settings.method != "none" else "paired"
    text += f"{enhanced or 'None'} {doing}{', pairs changed by hand' if plan.pairs_given else ''}."
    return "\n".join([text, *plan.notes, *(f"Not used: {entry['reason']}" for entry in plan.unreadable)])


#: Share of the whole that each stage is, from and to; what is done before every patch takes little.
_STAGES = {"cutting": (0.0, 0.03), "enhancing": (0.03, 0.95), "stitching": (0.95, 1.0)}


def _progress(now: SessionProgress) -> tuple[float, str]:
    """How far it is, 0 to 1, and in words."""
    count = f"{min(now.done + 1, now.total)} of {now.total}"
    if now.stage not in _STAGES:  # planning
        return now.done / (now.total + 1), f"{now.text} ({count})"
    start, end = _STAGES[now.stage]
    done = now.done + (now.step / now.steps if now.steps else 0.0)
    part = start + (end - start) * (min(1.0, done / now.total) if now.total else 1.0)
    text = f"{now.stage.capitalize()} {count}"
    if now.stage == "enhancing":
        text = f"{now.done} of {now.total} patches done"
        if now.steps:
            text += f", step {now.step} of {now.steps}"
    return part, text if now.seconds_left is None else f"{text}, {time_text(now.seconds_left)} left"
