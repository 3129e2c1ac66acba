"""Timings on a machine that is never quite alone: contenders take turns, and ratios are formed round by round.

A processor changes its clock, throttles its matrix unit and serves other programs, in states that last for seconds. Who
is measured in the same round is measured in the same state, so ratios within a round hold where times do not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import ParameterError

__all__ = ["OtherPrograms", "Ratio", "Timing", "ratio", "take_turns"]


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, a value per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median, seconds."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """The quickest round, seconds."""
        return min(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile, seconds."""
        return _quartiles(self.seconds)

    @property
    def spread(self) -> float:
        """Distance of the quartiles, as a share of the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    def summary(self) -> dict[str, Any]:
        """JSON-able: median, minimum, quartiles and every value, seconds."""
        return {
            "median": self.median,
            "minimum": self.minimum,
            "quartiles": list(self.quartiles),
            "seconds": list(self.seconds),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times as long one contender took as another.

    Attributes
    ----------
    of_medians : float
        Ratio of the medians.
    by_round : float
        Median of the ratios within each round: the figure to trust where the machine changed its pace.
    low, high : float
        Quartiles of the ratios within each round.
    """

    of_medians: float
    by_round: float
    low: float
    high: float

    def summary(self) -> dict[str, Any]:
        """JSON-able."""
        return {"of_medians": self.of_medians, "by_round": self.by_round, "quartiles": [self.low, self.high]}


def ratio(above: Timing, below: Timing) -> Ratio:
    """`above` / `below`; both from the same :func:`take_turns`."""
    each = tuple(a / b for a, b in zip(above.seconds, below.seconds, strict=True))
    return Ratio(above.median / below.median, statistics.median(each), *_quartiles(each))


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    each: int = 1,
    warm_up: int = 1,
    settle: Callable[[], object] | None = None,
    callback: Callable[[str, int, int], object] | None = None,
    cancel: Cancel | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time contenders in turns: every round measures each of them once, in an order that turns round every time.

    Parameters
    ----------
    contenders : mapping
        Name to what is called.
    rounds : int
        Rounds that are measured.
    each : int
        Calls in a turn; times are per call.
    warm_up : int
        Rounds before those that are measured.
    settle : callable, optional
        Waits for a device that works on its own, before and after each turn.
    callback : callable, optional
        Called after each turn with the contender's name, turns done and turns in all.
    cancel : Cancel, optional
        Asked before every turn; a round that was begun does not count.
    clock : callable
        Seconds.

    Returns
    -------
    dict of str to Timing
        Of whole rounds; empty if there was none.

    Raises
    ------
    ParameterError
        Without a contender, a round or a call.
    """
    if not contenders or rounds < 1 or each < 1:
        raise ParameterError(
            f"take_turns: {len(contenders)} contenders, {rounds} rounds of {each} calls; at least one of each is needed."
        )
    cancelled = as_cancel(cancel)
    wait = settle or (lambda: None)
    measured: list[dict[str, float]] = []
    order = list(contenders)
    done, total = 0, (warm_up + rounds) * len(order)
    for number in range(-warm_up, rounds):
        now: dict[str, float] = {}
        for name in order:
            if cancelled():
                return _collected(measured, contenders)
            call = contenders[name]
            wait()
            began = clock()
            for _ in range(each):
                call()
            wait()
            now[name] = (clock() - began) / each
            done += 1
            if callback is not None:
                callback(name, done, total)
        if number >= 0:
            measured.append(now)
        # Neighbours stay neighbours, and a drift within a round strikes each side in turn.
        order.reverse()
    return _collected(measured, contenders)


def _collected(rounds: list[dict[str, float]], names: Mapping[str, object]) -> dict[str, Timing]:
    return {name: Timing(tuple(r[name] for r in rounds)) for name in names} if rounds else {}


def _quartiles(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


class OtherPrograms:
    """How much of the processor others took while this process measured.

    Examples
    --------
    >>> with OtherPrograms() as others:
    ...     total = sum(range(1000))
    >>> others.cores >= 0
    True
    """

    def __init__(self) -> None:
        self.cores = 0.0

    def __enter__(self) -> OtherPrograms:
        self._before = self._now()
        return self

    def __exit__(self, *exception: object) -> None:
        (clock, busy, own), (clock0, busy0, own0) = self._now(), self._before
        passed = clock - clock0
        # The system counts in hundredths of a second: within a short time nothing can be said.
        self.cores = max(0.0, (busy - busy0) - (own - own0)) / passed if passed > 0.1 else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()._asdict()
        # Guests are counted among the users already; what the host takes away from a virtual machine (steal) counts.
        busy = sum(v for name, v in times.items() if name not in ("idle", "iowait", "guest", "guest_nice"))
        return time.perf_counter(), float(busy), time.process_time()

    def disturb(self, threads: int, cores: int) -> bool:
        """Whether they left less than `threads` of `cores` cores free, by more than a tenth of what is wanted."""
        return self.cores > cores - threads + 0.1 * threads
