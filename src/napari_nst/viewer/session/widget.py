"""The widget "Enhance Session"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from napari.utils.notifications import show_error, show_warning
from napari.utils.theme import get_theme
from psygnal import Signal

from napari_nst.errors import FileError, ParameterError, StyleTransferError
from napari_nst.io.tables import KnownNames
from napari_nst.session.plan import SessionPlan, plan_row
from napari_nst.viewer import commands
from napari_nst.viewer.common.panel import time_text
from napari_nst.viewer.session.actions import SessionActions
from napari_nst.viewer.session.fields import (
    SettingFields,
    chosen_folder,
    input_field,
    output_field,
    scheduler_field,
    show_automatic,
    workers_field,
)
from napari_nst.viewer.session.following import Following
from napari_nst.viewer.session.pairs import PairsByHand
from napari_nst.viewer.session.panel import SessionPanel
from napari_nst.viewer.session.show import SessionShow, own_copy
from napari_nst.viewer.session.table import PatchModel
from napari_nst.viewer.session.view import PatchTable
from napari_nst.viewer.session.words import style_choices, summary
from napari_nst.viewer.session.work import SessionWork
from napari_nst.viewer.session.worker import Ended, Job, Judged, Progress

if TYPE_CHECKING:
    import napari.viewer
    import pandas as pd

    from napari_nst.session.run import SessionResult
    from napari_nst.settings.parameters import StyleTransferParameters
    from napari_nst.settings.session import SessionSettings

__all__ = ["EnhanceSessionWidget"]


class EnhanceSessionWidget(PairsByHand, Container):
    """Judge the patches of a folder of images, pair them, and enhance the poor ones.

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
        Where patches are worked on; workers are a number or "auto".
    judged : signal
        Emits the plan, whenever there is a new one.
    finished : signal
        Emits the SessionResult, or None where there is none, at the end of every run.
    errored : signal
        Emits the error of what failed; of a run before ``finished``.

    Examples
    --------
    >>> dock, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Enhance Session")  # doctest: +SKIP
    >>> widget.folder.value = "session"  # doctest: +SKIP
    >>> widget.judged.connect(lambda plan: print(plan.table))  # doctest: +SKIP
    >>> widget.judge()  # doctest: +SKIP
    """

    judged = Signal(object, description="The plan, whenever there is a new one")
    finished = Signal(object, description="The SessionResult, or None, when a run has ended")
    errored = Signal(object, description="The error of what failed")

    # napari recognises the annotation, also as text, and passes its viewer.
    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._work: SessionWork | None = None
        self._plan: SessionPlan | None = None
        self._thumbnails: Any = {}
        self.edits: dict[str, str] = {}
        self._output: Path | None = None
        self._plot: Any = None
        self._notes: list[str] = []
        self._show = SessionShow(viewer)
        self.folder, self.output = input_field(), output_field()
        self.settings = SettingFields()
        self.workers, self.scheduler = workers_field(), scheduler_field()
        self.model = PatchModel()
        self.view = PatchTable(self.model, self._styles)
        super().__init__(
            widgets=[self.folder, self.output, self.settings, self.workers, self.scheduler],
            labels=False,
            name="enhance_session",
        )
        self.margins = (0, 0, 0, 0)
        self.panel = SessionPanel(
            [self.folder, self.output],
            self.settings.front(),
            [*self.settings.further(), self.scheduler],
            self.workers,
            self.view,
        )
        self.native.layout().addWidget(self.panel)
        self.settings.native.hide()  # its fields are in the panel
        self.min_width = 340
        self._actions, self._following = SessionActions(self), Following(self)
        self.folder.changed.connect(self._on_folder)
        self.native_parent_changed.connect(self._on_parent_changed)
        self.native.destroyed.connect(self._on_destroyed)
        self._viewer.events.theme.connect(self._on_theme)
        self._show_state()

    @property
    def plan(self) -> SessionPlan | None:
        """What Run would do, with the pairs that were chosen by hand; None before the first judgement."""
        return self._plan

    @property
    def table(self) -> pd.DataFrame:
        """The table as it is seen, in the order of the patches, with full names; empty before the first judgement."""
        import pandas as pd

        return pd.DataFrame(self.model.rows)

    @property
    def output_folder(self) -> Path | None:
        """Where the results go; None while it is to be chosen and nothing was judged yet."""
        return chosen_folder(self.output) or self._output

    @property
    def shown_output(self) -> Path | None:
        """The output folder whose results the table shows."""
        return self._output

    @property
    def is_running(self) -> bool:
        """Whether patches are judged or enhanced at this moment."""
        return self._work is not None

    def judge(self) -> None:
        """Read the images, cut and judge the patches, and pair them; ``judged`` tells its end.

        Raises
        ------
        StyleTransferError
            When something is under way, or what is entered cannot be used; nothing is started then.
        """
        self._start(fresh=True, enhance=False)

    def rejudge(self) -> None:
        """Split and pair again, with what is entered now; the images are read only if that is needed.

        Raises
        ------
        StyleTransferError
            When something is under way, or what is entered cannot be used; nothing is started then.
        """
        self._start(fresh=False, enhance=False)

    def run(self) -> None:
        """Enhance the poor patches, judging them first where needed; ``finished`` tells its end.

        Raises
        ------
        StyleTransferError
            When something is under way, or what is entered cannot be used; nothing is started then.
        """
        self._start(fresh=False, enhance=True)

    def stop(self) -> None:
        """End what is under way soon; what is finished is kept, and `run` goes on there."""
        if self._work is not None:
            self._work.stop()
            self._show_state()

    def show_patch(self, patch: str) -> None:
        """Show target, style and result of a patch in the viewer, with the cones on them.

        Raises
        ------
        StyleTransferError
            There is no such patch, or its image has changed or vanished.
        """
        plan = self.judged_plan()
        known = KnownNames([planned.patch.name for planned in plan.patches])
        name = known.find(patch)
        if name is None:
            raise ParameterError(known.unknown(patch))
        short = {planned.patch.name: self.model.short(planned.patch.name) for planned in plan.patches}
        seen = self._show.show(plan, name, self.output_folder, short)
        self.panel.say(self.panel.seen, f"In the viewer: {short[name]}, {seen}.")
        self.panel.assess.setVisible(self._show.has_result)

    def assess_patch(self) -> None:
        """Open the widget "Assessment" on the patch that is shown; raises StyleTransferError where that cannot be."""
        commands.assess_layer(self._viewer, self._show.layers().get("result"))

    # Judging and running -----------------------------------------------------------------------------------------

    def check_idle(self) -> None:
        """Raise StyleTransferError when something is under way."""
        if self._work is not None:
            raise StyleTransferError("This session is at work: stop it, or wait for its end.")

    def judged_plan(self) -> SessionPlan:
        """The plan; raises StyleTransferError where there is none yet."""
        if self._plan is None:
            raise StyleTransferError("There are no patches yet: choose a folder of images, and press Judge.")
        return self._plan

    def _start(self, *, fresh: bool, enhance: bool) -> None:
        self.check_idle()
        folder = chosen_folder(self.folder)
        if folder is None:
            raise FileError("There is nothing to work on: choose a folder of images first.")
        settings, parameters, output = self.entered()
        self._following.cancel()
        job = Job(
            folder=folder,
            output=output,
            settings=settings,
            parameters=parameters,
            plan=self._plan,
            fresh=fresh,
            edits=dict(self.edits),
            thumbnails=self._thumbnails,
            enhance=enhance,
            workers=self.workers.value,
            scheduler=str(self.scheduler.value).strip(),
        )
        self._work = work = SessionWork(job)
        work.judged.connect(self._on_judged)
        work.row.connect(self._on_row)
        work.advanced.connect(self._on_advanced)
        work.warned.connect(self._on_warned)
        work.ended.connect(self._on_ended)
        self._notes.clear()
        self.say("")
        self.panel.show_progress(None, "Looking at the images…" if fresh or self._plan is None else "Judging…")
        self._lock(enhance)
        work.start()
        self._show_state()

    def _lock(self, locked: bool) -> None:
        """Patches that are at work keep their threshold and their styles."""
        self.model.locked = locked
        if self._plot is not None:
            self._plot.locked = locked

    def _on_judged(self, judged: Judged) -> None:
        # A store of images of its own: that of the plan at work belongs to the worker.
        self._plan, self._thumbnails, self._output = own_copy(judged.plan), judged.thumbnails, judged.output
        self.edits = {patch: style for patch, style in self.edits.items() if patch not in judged.dropped}
        if judged.dropped:
            self._note(f"{len(judged.dropped)} styles chosen by hand are of patches that are not there any more.")
        show_automatic(self.output, judged.output)
        self._show_plan(judged.rows)
        self.judged.emit(self._plan)

    def take_plan(self, plan: SessionPlan) -> None:
        """Show a plan with other pairs: another session, with another folder."""
        self._plan = plan
        self._show_plan({})
        self._following.soon()
        self.judged.emit(plan)

    def _show_plan(self, finished: dict[str, dict[str, Any]]) -> None:
        plan = self.judged_plan()
        selected = self.view.selected()
        rows = [plan_row(p) | {"status": "open"} | finished.get(p.patch.name, {}) for p in plan.patches]
        self.model.set_rows(rows, self._thumbnails)
        self.panel.show_patches(True)
        if self._plot is None:
            from napari_nst.viewer.session.plot import ScorePlot

            self._plot = ScorePlot(get_theme(self._viewer.theme))
            self._plot.threshold_chosen.connect(self._on_threshold)
            self.panel.add_plot(self._plot)
        self._plot.show_plan(plan)
        if selected:
            self.view.select(selected[0])
        self.panel.say(self.panel.summary, summary(plan))
        self.panel.summary.setToolTip(plan.split.reason)

    def _on_row(self, row: dict[str, Any]) -> None:
        self.model.update_row(row["patch"], row)
        if row["patch"] == self._show.patch and self._show.layers():
            self._actions.attempt(lambda: self.show_patch(row["patch"]))

    def _on_advanced(self, now: Progress) -> None:
        left = "" if now.seconds_left is None else f", {time_text(now.seconds_left)} left"
        self.panel.show_progress(now.part, f"{now.text}{left}")
        number = self.model.number_of(now.patch)
        if number is not None and self.model.rows[number]["status"] == "open":
            self.model.update_row(now.patch, {"status": "at work"})

    def _on_warned(self, message: str) -> None:
        show_warning(message)
        self._note(f"Warning: {message}")

    def _on_ended(self, ended: Ended) -> None:
        work, self._work = self._work, None
        if work is None or self._gone:
            return
        self._lock(False)
        for row in self.model.rows:
            if row["status"] == "at work":
                self.model.update_row(row["patch"], {"status": "open"})
        if ended.result is not None:
            self._show_result(ended.result)
        elif ended.error is not None:
            self.say(str(ended.error))
            show_error(str(ended.error))
        elif ended.stopped:
            self.say("Stopped." if self._plan is not None else "Stopped; press Judge to begin again.")
        self.panel.show_progress(0.0, "")
        self._show_state()
        if ended.error is not None:
            self.errored.emit(ended.error)
        if work.job.enhance:
            self.finished.emit(ended.result)
        self._following.after(work.job)

    def _show_result(self, result: SessionResult) -> None:
        for row in result.table.to_dict("records"):
            self.model.update_row(str(row["patch"]), {str(key): value for key, value in row.items()})
        # The table beside it shows every verdict; here a long text would leave no room for the table.
        text = [result.summary(gravest=False)]
        if result.state == "cancelled":
            text.append("Stopped: what is finished is kept, and Run goes on there.")
        text.append(f"Results: {result.folder}")
        self.say("\n".join(text))

    def _styles(self, patch: str) -> list[tuple[str, str]]:
        return style_choices(self.judged_plan(), patch, self.model.short)

    def _on_threshold(self, threshold: float) -> None:
        self.settings.threshold.value = threshold

    def entered(self) -> tuple[SessionSettings, StyleTransferParameters, Path | None]:
        """What is entered now: settings, parameters, and the output folder unless that is automatic.

        Raises
        ------
        ParameterError
            Where something cannot be used.
        """
        return (*self.settings.chosen(), chosen_folder(self.output))

    def _on_folder(self) -> None:
        if self._plan is not None and chosen_folder(self.folder) != self._plan.folder:
            self._plan, self._output, self.edits = None, None, {}
            self.model.set_rows([], {})
            self.panel.show_patches(False)
            show_automatic(self.output, None)
        self._show_state()

    def say(self, text: str) -> None:
        """Tell the user, below what is to be known of the run."""
        self.panel.say(self.panel.status, "\n".join([*self._notes, *filter(None, [text])]))

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self.say("")

    def _show_state(self) -> None:
        work = self._work
        self.panel.show_state(
            folder=chosen_folder(self.folder) is not None,
            judging=work is not None,
            running=work is not None and work.job.enhance,
            stopping=work is not None and work.stopping,
            patches=self._plan is not None,
        )

    def _on_theme(self, event: Any = None) -> None:
        if self._plot is not None and not self._gone:
            self._plot.use_theme(get_theme(self._viewer.theme))

    # The end -----------------------------------------------------------------------------------------------------

    _gone = False
    _docked = False

    def _on_parent_changed(self, parent: Any) -> None:
        """A dock that is closed leaves the widget without parent: a run that nobody can see or stop must end."""
        if parent is not None:
            self._docked = True
        elif self._docked:
            self.stop()

    def _on_destroyed(self) -> None:
        self._gone = True
        if self._work is not None:
            self._work.abandon()
