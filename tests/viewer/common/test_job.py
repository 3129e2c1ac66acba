"""The worker and its job: events, warnings, pauses and every kind of end, without any widget."""

import weakref

import pytest
from superqt.utils import WorkerBase

from napari_nst.errors import OutOfMemoryError, ParameterError, StyleTransferError, StyleTransferWarning
from napari_nst.viewer.common.job import Job, State

TIMEOUT = 30_000


class Watched:
    """A job, run to its end, and what it emitted."""

    def __init__(self, qtbot, work, request=None):
        self.qtbot, self.events, self.warnings, self.ends = qtbot, [], [], []
        self.job = Job(work, request)
        self.job.reported.connect(self.events.append)
        self.job.warned.connect(self.warnings.append)
        self.job.ended.connect(self.ends.append)

    def start(self):
        self.job.start()
        return self

    def wait(self):
        self.qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=TIMEOUT)
        return self


@pytest.fixture
def watched(qapp, qtbot):
    return lambda *args: Watched(qtbot, *args)


def until_cancelled(request, control):
    control.report("started")
    assert control.cancelled.wait(30)
    return "partial"


def test_events_come_in_order_and_the_value_last(watched):
    def work(request, control):
        for number in range(request):
            control.report(number)
        return "value"

    seen = watched(work, 50)
    assert seen.job.state is State.RUNNING
    seen.start().wait()
    assert seen.events == list(range(50))
    (end,) = seen.ends
    assert (end.value, end.error) == ("value", None)
    assert seen.job.state is State.IDLE


def test_a_fast_computation_does_not_flood_the_viewer(watched):
    def work(request, control):
        for number in range(2000):
            if control.rested(0.01):
                control.report(number)

    seen = watched(work).start().wait()
    assert seen.events[0] == 0
    assert len(seen.events) < 100


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (RuntimeError("shapes do not fit"), StyleTransferError, "RuntimeError: shapes do not fit"),
        (ValueError("first line\nsecond"), StyleTransferError, "ValueError: first line This was not foreseen"),
        (ValueError(), StyleTransferError, "ValueError: no message"),
        (MemoryError(), OutOfMemoryError, "not enough memory"),
        (ParameterError("lr must be greater than 0"), ParameterError, "lr must be greater than 0"),
    ],
)
def test_every_error_is_told_and_holds_nothing(watched, error, kind, text):
    alive = []

    class Big:
        """Stands for the arrays of a run."""

    def work(request, control):
        big = Big()
        alive.append(weakref.ref(big))
        raise error from KeyError("below it")

    (end,) = watched(work).start().wait().ends
    assert type(end.error) is kind
    assert not isinstance(end.error, RuntimeError)
    assert text in str(end.error)
    if error is end.error:
        assert end.error.__traceback__ is end.error.__cause__ is end.error.__context__ is None
        assert alive[0]() is None


def test_an_interrupt_is_an_end_without_value(watched):
    def work(request, control):
        raise KeyboardInterrupt

    (end,) = watched(work).start().wait().ends
    assert (end.value, end.error) == (None, None)


def test_stop_keeps_what_was_reached(watched, qtbot):
    seen = watched(until_cancelled).start()
    qtbot.waitUntil(lambda: seen.events == ["started"], timeout=TIMEOUT)
    seen.job.stop()
    assert seen.job.state is State.STOPPING
    seen.job.pause()  # too late
    assert seen.job.state is State.STOPPING
    assert [end.value for end in seen.wait().ends] == ["partial"]


def test_pause_and_resume(watched, qtbot):
    def work(request, control):
        steps = 0
        while not control.cancelled.is_set():
            waited = control.wait()
            if waited > 0.05:
                control.report(waited)
            steps += 1
        return steps

    seen = watched(work)
    seen.job.pause()
    seen.start()
    assert seen.job.state is State.PAUSED
    qtbot.wait(100)
    seen.job.resume()
    qtbot.waitUntil(lambda: bool(seen.events), timeout=TIMEOUT)
    seen.job.pause()
    seen.job.stop()  # also while paused
    assert seen.wait().ends[0].value > 0


def test_an_abandoned_job_emits_nothing(watched, qtbot):
    seen = watched(until_cancelled).start()
    qtbot.waitUntil(lambda: seen.events == ["started"], timeout=TIMEOUT)
    seen.job.abandon()
    assert seen.wait().ends == []


def test_napari_quits_workers_with_its_window(watched, qtbot):
    seen = watched(until_cancelled).start()
    qtbot.waitUntil(lambda: seen.events == ["started"], timeout=TIMEOUT)
    WorkerBase.await_workers(TIMEOUT)
    (end,) = seen.wait().ends
    assert (end.value, end.error) == (None, None)


def test_a_reported_warning_is_one_for_the_user(watched):
    def work(request, control):
        control.report(StyleTransferWarning("reported"))

    seen = watched(work).start().wait()
    assert seen.warnings == ["reported"]
    assert seen.events == []
