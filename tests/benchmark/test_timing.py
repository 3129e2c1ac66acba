"""Timing in turns: the arithmetic on given times, never the speed of this machine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.benchmark.timing import OtherPrograms, Timing, ratio, take_turns
from napari_nst.errors import ParameterError

SECONDS = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=20)


class Clock:
    """Stands still unless somebody works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        def call():
            self.now += seconds

        return call


@given(SECONDS)
def test_a_timing_says_what_numpy_says(seconds):
    timing = Timing(tuple(seconds))
    assert timing.median == pytest.approx(np.median(seconds))
    assert timing.minimum == min(seconds)
    np.testing.assert_allclose(timing.quartiles, np.percentile(seconds, [25, 75]), rtol=1e-9)
    assert timing.spread == pytest.approx(np.subtract(*np.percentile(seconds, [75, 25])) / np.median(seconds))
    assert timing.summary()["seconds"] == tuple(seconds)


@given(SECONDS, st.floats(0.01, 100), st.lists(st.floats(1, 50), min_size=20, max_size=20))
def test_the_ratio_by_round_does_not_see_the_pace_of_the_machine(seconds, factor, pace):
    slow = [s * p for s, p in zip(seconds, pace, strict=False)]
    found = ratio(Timing(tuple(factor * s for s in slow)), Timing(tuple(slow)))
    np.testing.assert_allclose([found.by_round, found.low, found.high, found.of_medians], factor, rtol=1e-9)


def test_a_ratio_of_given_times():
    found = ratio(Timing((2.0, 9.0, 4.0)), Timing((1.0, 3.0, 4.0)))
    assert found.of_medians == pytest.approx(4 / 3)
    assert found.by_round == pytest.approx(2.0)  # of 2, 3 and 1
    assert (found.low, found.high) == pytest.approx((1.5, 2.5))


def test_timings_of_different_runs_make_no_ratio():
    with pytest.raises(ValueError, match="argument 2"):
        ratio(Timing((1.0, 2.0)), Timing((1.0,)))


@pytest.mark.parametrize(("rounds", "each"), [(1, 1), (3, 1), (4, 5)])
def test_everyone_is_measured_in_every_round(rounds, each):
    clock = Clock()
    turns = []
    contenders = {"a": clock.work(1.0), "b": clock.work(0.25)}
    times = take_turns(
        contenders, rounds, each=each, clock=clock, callback=lambda name, done, total: turns.append((name, done, total))
    )
    assert times["a"].seconds == pytest.approx([1.0] * rounds)
    assert times["b"].seconds == pytest.approx([0.25] * rounds)
    names = [name for name, _, _ in turns]
    assert [done for _, done, _ in turns] == list(range(1, 2 * (rounds + 1) + 1))
    assert {total for _, _, total in turns} == {2 * (rounds + 1)}
    for start in range(0, len(names), 2):
        assert set(names[start : start + 2]) == {"a", "b"}
    # Backwards every other round: between rounds nobody changes.
    assert names == (["a", "b", "b", "a"] * (rounds + 1))[: 2 * (rounds + 1)]


def test_what_is_waited_for_counts():
    clock, queue = Clock(), []

    def settle():
        clock.now += sum(queue)
        queue.clear()

    contenders = {"queued": lambda: queue.append(2.0), "at once": clock.work(3.0)}
    times = take_turns(contenders, 2, each=4, settle=settle, clock=clock)
    assert times["queued"].seconds == pytest.approx([2.0, 2.0])
    assert times["at once"].seconds == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(("stop_after", "whole"), [(0, 0), (3, 0), (4, 1), (5, 1), (6, 2)])
def test_a_stop_keeps_whole_rounds(stop_after, whole):
    clock, calls = Clock(), []

    def call():
        calls.append(1)
        clock.now += 1.0

    times = take_turns({"a": call, "b": call}, 5, clock=clock, cancel=lambda: len(calls) >= stop_after)
    assert len(calls) == stop_after
    assert {len(timing.seconds) for timing in times.values()} == ({whole} if whole else set())


@pytest.mark.parametrize("arguments", [({}, 1), ({"a": print}, 0), ({"a": print}, -3)])
def test_nothing_to_measure_is_refused(arguments):
    with pytest.raises(ParameterError, match="at least one"):
        take_turns(*arguments)


@pytest.mark.parametrize(
    ("cores", "threads", "busy", "disturbed"),
    [(2, 2, 0.1, False), (2, 2, 0.5, True), (2, 1, 0.9, False), (2, 1, 1.5, True), (64, 32, 30.0, False)],
)
def test_other_programs_disturb_when_they_leave_too_few_cores(cores, threads, busy, disturbed):
    others = OtherPrograms()
    others.cores = busy
    assert others.disturb(threads, cores) is disturbed


def test_other_programs_are_what_the_system_counts_beyond_this_process(monkeypatch):
    counts = iter([(10.0, 100.0, 5.0), (20.0, 117.0, 14.0)])  # seconds: wall, busy on all cores, of this process
    monkeypatch.setattr(OtherPrograms, "_now", staticmethod(lambda: next(counts)))
    with OtherPrograms() as others:
        pass
    assert others.cores == pytest.approx((17 - 9) / 10)
