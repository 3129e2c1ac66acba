"""One run, as the GUI thread sees it: the worker, the one layer that it adds, and how it ends."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_warning
from psygnal import Signal

from napari_nst.errors import DivergenceError
from napari_nst.transfer.record import KEY
from napari_nst.viewer.common import listening
from napari_nst.viewer.common.layers import add_above, is_in, plain
from napari_nst.viewer.transfer.worker import Begun, Control, Done, Job, Snapshot, TransferWorker, neural_style_transfer

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_nst.viewer.transfer.assemble import Placement

__all__ = ["TransferRun"]


class TransferRun:
    """A transfer from its start to its layer.

    It outlives the widget that started it if need be, and lets go of viewer and worker at its end.  At most one layer is
    added: with the first snapshot, as preview; it becomes the result.  If the user deletes it, the run stops and adds
    nothing more.

    Attributes
    ----------
    layer : Image or None
        The preview, later the result.
    losses : ndarray, (steps, 3)
        Style, content, total so far.
    paused, stopping : bool
        What was asked for.
    """

    begun = Signal(object, description="Begun: the device is known")
    advanced = Signal(object, description="Snapshot: a few times a second")
    warned = Signal(str, description="Something was done in another way than asked")
    ended = Signal(object, object, str, description="The layer or None, the error or None, and a sentence")

    def __init__(self, viewer: Viewer, job: Job, placement: Placement) -> None:
        self.layer: Any = None
        self.losses = np.empty((0, 3))
        self.stopping = False
        self._viewer: Any = viewer
        self._placement = placement
        self._control = Control()
        self._deleted = False
        self._said: set[str] = set()
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._busy = False
        self._worker: Any = create_worker(
            neural_style_transfer,
            job,
            self._control,
            _worker_class=TransferWorker,
            _ignore_errors=True,  # they are reported here, not raised from a slot
            _progress={"desc": placement.arguments["name"], "total": 0},
        )

    def start(self) -> None:
        """Begin."""
        worker = self._worker
        # Signals hold bound methods weakly: the worker keeps this object until it has ended.
        worker.transfer_run = self
        worker.yielded.connect(self._on_yielded)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._on_finished)
        self._viewer.layers.events.removed.connect(self._on_layer_removed)
        listening.install()
        worker.start()

    @property
    def paused(self) -> bool:
        """Whether the run holds, or will after the step at work."""
        return self._control.paused

    def stop(self) -> None:
        """End within the step at work, and keep what was reached."""
        self.stopping = True
        self._control.stop()

    def pause(self) -> None:
        """Hold after the step at work."""
        self._control.pause()

    def resume(self) -> None:
        """Go on."""
        self._control.resume()

    def abandon(self) -> None:
        """End, and touch nothing of the viewer any more: it is being closed."""
        self._control.abandon()
        self._release_viewer()

    # Slots, in the GUI thread ------------------------------------------------------------------------------------

    def _alive(self) -> bool:
        """Whether there is still a viewer to work on; ``quit`` of the worker, by napari, sets `abandoned`."""
        if self._control.abandoned:
            self._release_viewer()
        return self._viewer is not None

    def _in_turn(self, handle: Callable[[Any], None], message: Any) -> None:
        """Handle messages one after the other.

        napari processes events while its progress bar is updated: the next message would be handled inside this one.
        """
        self._waiting.append((handle, message))
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                handle, message = self._waiting.popleft()
                handle(message)
        finally:
            self._busy = False

    def _on_yielded(self, message: Begun | Snapshot) -> None:
        self._in_turn(self._take, message)

    def _on_returned(self, done: Done) -> None:
        self._in_turn(self._succeed, done)

    def _on_errored(self, error: Exception) -> None:
        self._in_turn(self._fail, error)

    def _on_finished(self) -> None:
        self._in_turn(self._finish, None)

    def _take(self, message: Begun | Snapshot) -> None:
        if not self._alive():
            return
        self._tell_warnings()
        if isinstance(message, Begun):
            with contextlib.suppress(RuntimeError):
                self._worker.pbar.total = message.total
            self.begun.emit(message)
            return
        self.losses = np.concatenate([self.losses, message.losses])
        with contextlib.suppress(RuntimeError):
            self._worker.pbar.update(message.step - self._worker.pbar.n)
        if not self._deleted:
            self._show(message)
        self.advanced.emit(message)
        self._control.shown()

    def _show(self, snapshot: Snapshot) -> None:
        cut = self._placement.cut
        if self.layer is None:
            picture = snapshot.picture if snapshot.base is None else snapshot.base
            if snapshot.base is not None:
                picture[snapshot.index] = snapshot.picture
            self._add(picture)
        elif cut.stack:
            data = self.layer.data
            data[cut.index_of(snapshot.index)] = snapshot.picture
            self.layer.data = data
        else:
            self.layer.data = cut.put(snapshot.picture)

    def _add(self, picture: np.ndarray[Any, Any]) -> None:
        # Above the style too: wherever the two overlap, it would hide the preview.
        placement, below = self._placement, (self._placement.target, self._placement.style)
        self.layer = add_above(self._viewer, below, placement.cut.put(picture), placement.arguments)

    def _on_layer_removed(self, event: Any) -> None:
        if self.layer is not None and plain(event.value) is self.layer:
            self._deleted = True
            self.layer = None
            self._control.keep = False
            self.stop()

    def _succeed(self, done: Done) -> None:
        if not self._alive():
            self._end(None, None, "")
            return
        self._tell_warnings(done.result.metadata["warnings"])
        if done.problem:
            show_warning(done.problem)
        self._end(self._keep(done.result, done.files), None, self._summary(done))

    def _fail(self, error: Exception) -> None:
        if not self._alive():
            self._end(None, None, "")
            return
        self._tell_warnings()
        partial = error.partial if isinstance(error, DivergenceError) else None
        layer = None
        if partial is not None and len(partial.losses.total):
            layer = self._keep(partial, {})
        elif self.layer is not None:
            unfinished, self.layer = self.layer, None
            self._viewer.layers.remove(unfinished)
        show_error(str(error))
        self._end(layer, error, str(error))

    def _finish(self, _: None) -> None:
        """Comes last in any case; alone when the run was aborted."""
        if self._worker is not None:
            self._end(None, None, "")

    def _keep(self, result: Any, files: dict[str, str]) -> Any:
        """Make the preview the result; gives the layer, None where nothing is to be kept."""
        if self._deleted or len(result.losses.total) == 0:
            return None
        image = self._placement.cut.put(result.image)
        if self.layer is None:
            self._add(result.image)
        elif not is_in(self.layer, self._viewer):
            return None
        else:
            self.layer.data = image
        self.layer.metadata = {
            **self.layer.metadata,
            KEY: {**result.metadata, **self._placement.record, "files": files},
        }
        return self.layer

    def _summary(self, done: Done) -> str:
        steps, metadata = len(done.result.losses.total), done.result.metadata
        if self._deleted:
            return "Stopped: the preview layer was deleted, so nothing is kept."
        if steps == 0:
            return "Stopped before the first step: nothing is added."
        how = {"finished": "Finished", "converged": "Converged", "cancelled": "Stopped"}[done.result.stopped]
        text = f"{how} after {steps} step{'s' if steps != 1 else ''}, {metadata['seconds']:.3g} s."
        if done.problem:
            return f"{text} {done.problem}"
        return f"{text} Files: {done.files['image']}" if done.files else text

    def _tell_warnings(self, recorded: Any = ()) -> None:
        """Show each warning once: those that came from the worker, and at the end those that only the record has."""
        while self._control.messages:
            self._tell(self._control.messages.popleft())
        for message in recorded:
            self._tell(message)

    def _tell(self, message: str) -> None:
        # The engine records a fallback in other words than it warns: the first sentence is the same.
        if any(message.startswith(said) or said.startswith(message.split(". ")[0]) for said in self._said):
            return
        self._said.add(message)
        show_warning(message)
        self.warned.emit(message)

    def _end(self, layer: Any, error: Exception | None, summary: str) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        listening.uninstall()
        self._release_viewer()
        worker.transfer_run = None
        self.ended.emit(layer, error, summary)

    def _release_viewer(self) -> None:
        if self._viewer is not None:
            self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
            self._viewer = None
