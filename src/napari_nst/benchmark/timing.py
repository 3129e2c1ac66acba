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


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, a value per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median, seconds."""
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        """Return the quickest round, seconds."""
        return min(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Return the lower and the upper quartile, seconds."""
        return _quartiles(self.seconds)

    @property
    def spread(self) -> float:
        """Return the distance of the quartiles, as a share of the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    def summary(self) -> dict[str, Any]:
        """Return median, minimum, quartiles and every value, seconds."""
        return {name: getattr(self, name) for name in ("median", "minimum", "quartiles", "seconds")}


@dataclass(frozen=True)
class Ratio:
    """How many times as long one contender took as another.

    `by_round`, the median of the ratios within each round, is to be trusted where the machine changed its pace; `low` and `high` are
    their quartiles.
    """

    of_medians: float
    by_round: float
    low: float
    high: float


def ratio(above: Timing, below: Timing) -> Ratio:
    """Return `above` / `below`; both from the same :func:`take_turns`."""
    each = tuple(a / b for a, b in zip(above.seconds, below.seconds, strict=True))
    return Ratio(above.median / below.median, statistics.median(each), *_quartiles(each))


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    each: int = 1,
    settle: Callable[[], object] | None = None,
    callback: Callable[[str, int, int], object] | None = None,
    cancel: Cancel | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time contenders in turns: every round measures each of them once, in the reverse order of the round before.

    A round goes before those that are measured, and only whole ones count.  A turn is `each` calls, and times (seconds) are per call;
    `settle` waits for a device that works on its own, before and after each.  The callback gets the contender's name, turns done
    and turns in all.  ParameterError without a contender, a round or a call.
    """
    if not contenders or rounds < 1 or each < 1:
        raise ParameterError(
            f"There must be at least one contender, round and call, got {len(contenders)}, {rounds} and {each}. Give more."
        )
    cancelled, wait = as_cancel(cancel), settle or (lambda: None)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    # Backwards every other round: neighbors stay neighbors, and a drift within a round strikes each side in turn.
    order = list(contenders)
    turns = ((order + order[::-1]) * (1 + rounds))[: (1 + rounds) * len(order)]
    for done, name in enumerate(turns, 1):
        if cancelled():
            break
        wait()
        start = clock()
        for _ in range(each):
            contenders[name]()
        wait()
        seconds[name].append((clock() - start) / each)
        if callback is not None:
            callback(name, done, len(turns))
    whole = min(map(len, seconds.values()))
    return {name: Timing(tuple(s[1:whole])) for name, s in seconds.items()} if whole > 1 else {}


def _quartiles(values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


class OtherPrograms:
    """How much of the processor others took while this process measured: a context, which sets `cores` at its end."""

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
        """Return whether they left less than `threads` of `cores` free, by more than a tenth of what is wanted."""
        return self.cores > cores - threads + 0.1 * threads
