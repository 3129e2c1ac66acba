"""What this machine does: the time of a step, against the time that its arithmetic alone takes here."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from napari_nst.benchmark.roofline import Roofline, waiting_for
from napari_nst.benchmark.timing import OtherPrograms, Ratio, Timing, ratio, take_turns
from napari_nst.engine._torch import torch
from napari_nst.engine.cancel import Cancel
from napari_nst.engine.devices import cpu_threads, describe_device, has_bfloat16, resolve_device, resolve_dtypes
from napari_nst.errors import EngineError, OutOfMemoryError, ParameterError
from napari_nst.imaging.mosaic import mosaic_pair
from napari_nst.io.records import to_json
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.api import transfer_steps
from napari_nst.transfer.record import versions

#: The presets that patches are enhanced with; the first is the one that is compared with the roofline.
MEASURED = ("documented", "texture")

#: Sizes that make sense: smaller images vanish in the poolings, larger ones are no patches.
SMALLEST, LARGEST = 32, 4096

#: Steps in a turn on a GPU, where the first step of a turn finds the device idle.
_EACH_ON_GPU = 10

#: Quartiles farther apart than this share of the median mean that the figures are of little worth.
_WIDE = 0.25

#: A number of threads is worth its cores if it is faster by more than this share.
_WORTH = 0.05


@contextlib.contextmanager
def stepper(size: int, steps: int, **parameters: Any) -> Iterator[Callable[[], object]]:
    """Give a function that makes a step of a transfer on a synthetic mosaic at each of at most `steps` calls."""
    pair = mosaic_pair((size, size))
    run = transfer_steps(pair.target, pair.style, **{**parameters, "epoch": steps, "tolerance": 0.0})
    with contextlib.closing(run):
        yield lambda: next(run)


@dataclass(frozen=True)
class Speed:
    """How fast one preset runs in one precision: a step of the `epoch` that a patch takes at most.

    `roofline` are the convolutions and Gram products alone, of the preset "documented"; `over_roofline` is `step` / `roofline`.
    """

    preset: str
    precision: str
    epoch: int
    step: Timing
    roofline: Timing | None = None
    over_roofline: Ratio | None = None

    @property
    def seconds_per_patch(self) -> float:
        """The time of all steps, and about one more for the passes that make the targets."""
        return (self.epoch + 1) * self.step.median

    @property
    def patches_per_hour(self) -> float:
        """How many, one after the other."""
        return 3600 / self.seconds_per_patch

    def summary(self) -> dict[str, Any]:
        """Return everything, JSON-able."""
        times = {"step": self.step.summary(), "roofline": self.roofline and self.roofline.summary()}
        derived = {"seconds_per_patch": self.seconds_per_patch, "patches_per_hour": self.patches_per_hour}
        return {**asdict(self), **times, **derived}


@dataclass(frozen=True)
class Benchmark:
    """What a machine did, in each preset and precision.

    `threads` leads from a number of CPU threads to the time of a step of "documented", and is empty on a GPU; `other_programs` is
    how many cores these kept busy, `notes` make the figures doubtful, and `automatic` is the precision that "auto" takes.
    """

    machine: dict[str, Any]
    size: int
    rounds: int
    speeds: tuple[Speed, ...]
    threads: dict[int, Timing]
    other_programs: float = 0.0
    notes: tuple[str, ...] = ()
    automatic: str = "float32"

    @property
    def precision(self) -> str:
        """Return the fastest precision."""
        return min((s for s in self.speeds if s.preset == MEASURED[0]), key=lambda s: s.step.median).precision

    @property
    def recommended_threads(self) -> int:
        """Return the fewest CPU threads that are within some percent of the fastest; 0 where the CPU is not used."""
        if not self.threads:
            return 0
        most = self.threads[max(self.threads)]
        return min(n for n, timing in self.threads.items() if ratio(timing, most).by_round <= 1 + _WORTH)

    def to_json(self) -> str:
        """Return everything, as JSON."""
        return to_json(
            {
                "machine": self.machine,
                "size": self.size,
                "rounds": self.rounds,
                "speeds": [speed.summary() for speed in self.speeds],
                "threads": {n: timing.summary() for n, timing in self.threads.items()},
                "recommended": {"precision": self.precision, "threads": self.recommended_threads},
                "other_programs_cores": self.other_programs,
                "notes": self.notes,
            }
        )

    def to_text(self) -> str:
        """Return a table and advice, for people."""
        m = self.machine
        can = ", ".join(m["features"]) or "no bfloat16"
        epochs = ", ".join(f"{s.epoch} ({s.preset})" for s in self.speeds if s.precision == self.precision)
        lines = [
            f"{m['device']}, {m['cores']} cores, {m['threads']} threads, {can}, PyTorch {m['versions']['torch']}",
            f"{self.size} × {self.size} pixels, gray, {self.rounds} round{'s' * (self.rounds != 1)}, everything in turns",
            "",
            f"{'preset':12} {'precision':10} {'s/step':>8} {'quartiles':>17} {'/ roofline':>10} {'s/patch':>9} {'patches/h':>10}",
        ]
        for s in self.speeds:
            low, high = s.step.quartiles
            over = f"{s.over_roofline.by_round:10.2f}" if s.over_roofline else " " * 10
            lines.append(
                f"{s.preset:12} {s.precision:10} {s.step.median:8.4f} {low:8.4f}–{high:8.4f} {over} "
                f"{s.seconds_per_patch:9.1f} {s.patches_per_hour:10.0f}"
            )
        lines += [
            "",
            "roofline: the convolutions, forward and back to their input, and the Gram products alone, in this very run.",
            f"s/patch: all steps, {epochs}; texture may stop earlier.",
        ]
        if len(self.threads) > 1:
            counts = ", ".join(f"{n}: {timing.median:.4f} s" for n, timing in sorted(self.threads.items()))
            lines.append(f"A step by CPU threads: {counts}.")
        kind = "what auto takes" if self.precision == self.automatic else f"auto would take {self.automatic}"
        advice = [f"precision {self.precision} ({kind})"] if len({s.precision for s in self.speeds}) > 1 else []
        advice += [f"threads {self.recommended_threads}"] if len(self.threads) > 1 else []
        if advice:
            lines.append(f"Recommended: {', '.join(advice)}.")
        return "\n".join([*lines, *(f"Warning: {note}" for note in self.notes)])


def machine(device: torch.device) -> dict[str, Any]:
    """Return what bears on speed, JSON-able: processor, cores, threads, what it can, versions; no names of computers."""
    supports = {"AMX": "_is_amx_tile_supported", "AVX-512 BF16": "_is_avx512_bf16_supported"}
    features = [name for name, test in supports.items() if getattr(torch.cpu, test, bool)()]
    return {
        "device": describe_device(device) if device.type == "cuda" else f"{device} ({_processor()})",
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "features": features if has_bfloat16(torch.device("cpu")) else [],
        "versions": versions(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):  # only Linux has the file, and only there platform says less
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_benchmark(
    size: int = 185,
    rounds: int = 8,
    *,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    callback: Callable[[str, int, int], object] | None = None,
    cancel: Cancel | None = None,
) -> Benchmark | None:
    """Measure what this machine does; None if it was cancelled before the first round was complete.

    `size` is the side of the image in pixels, and precision "auto" measures all that a patch may run in.  The callback gets,
    after each turn, what was measured, turns done and turns in all.  ParameterError for what is not possible here.
    """
    if not SMALLEST <= size <= LARGEST:
        raise ParameterError(f"`size` must be from {SMALLEST} to {LARGEST} pixels, got {size!r}. Try 185.")
    if not 1 <= rounds <= 1000:
        raise ParameterError(f"`steps` must be from 1 to 1000, got {rounds!r}. Try 8.")
    given: dict[str, Any] = {"precision": precision}
    parameters = StyleTransferParameters(device=device, threads=threads, **given)
    where = resolve_device(parameters.device)
    with cpu_threads(parameters.threads):
        try:
            return _run(size, rounds, parameters, where, callback, cancel)
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(f"{describe_device(where)} ran out of memory; take a smaller size.") from error
        except RuntimeError as error:
            raise EngineError(f"PyTorch {torch.__version__} failed on {describe_device(where)}: {error}") from error


def _run(
    size: int,
    rounds: int,
    p: StyleTransferParameters,
    device: torch.device,
    callback: Callable[[str, int, int], object] | None,
    cancel: Cancel | None,
) -> Benchmark | None:
    resolve_dtypes(p.precision, device)
    automatic = "bfloat16" if has_bfloat16(device) else "float32"
    precisions = list(dict.fromkeys((automatic, "float32"))) if p.precision == "auto" else [p.precision]
    on_cpu = device.type == "cpu"
    each = 1 if on_cpu else _EACH_ON_GPU
    threads = torch.get_num_threads()
    fewer = threads // 2 if on_cpu else 0
    steps = (rounds + 1) * each * (2 if fewer else 1)
    runs: dict[str, Callable[[], object]] = {}
    with contextlib.ExitStack() as stack:
        for precision in precisions:
            given = {"precision": precision, "device": str(device), "fallback": False}
            for preset in MEASURED:
                step = stack.enter_context(stepper(size, steps, preset=preset, **given))
                runs[f"{preset}, {precision}"] = step
                if preset != MEASURED[0]:
                    continue
                dtype, _ = resolve_dtypes(precision, device)  # beside the step that it is compared with
                roofline = Roofline(StyleTransferParameters(), (size, size), dtype, device, packed=True)
                runs[f"roofline, {precision}"] = roofline
                if fewer and precision == precisions[0]:
                    runs["threads"] = cpu_threads(fewer)(step)
        with OtherPrograms() as others:
            times = take_turns(runs, rounds, each=each, settle=waiting_for(device), callback=callback, cancel=cancel)
    if not times:
        return None
    speeds = []
    for precision in precisions:
        for preset in MEASURED:
            epoch = StyleTransferParameters.of_preset(preset)["epoch"]
            speeds.append(Speed(preset, precision, epoch, times[f"{preset}, {precision}"]))
        alone, place = times[f"roofline, {precision}"], -len(MEASURED)
        speeds[place] = replace(speeds[place], roofline=alone, over_roofline=ratio(speeds[place].step, alone))
    by_threads = {threads: speeds[0].step} if on_cpu else {}
    if fewer:
        by_threads[fewer] = times["threads"]
    notes = _doubts(speeds, others, threads if on_cpu else 0)
    measured = len(speeds[0].step.seconds)
    return Benchmark(machine(device), size, measured, tuple(speeds), by_threads, others.cores, notes, automatic)


def _doubts(speeds: list[Speed], others: OtherPrograms, threads: int) -> tuple[str, ...]:
    notes = []
    if threads and others.disturb(threads, _cores()):
        notes.append(
            f"other programs kept {others.cores:.1f} of {_cores()} cores busy: times are longer than on a quiet machine. "
            "Close them, or give threads that leave them room."
        )
    widest = max(speeds, key=lambda s: s.step.spread)
    if widest.step.spread > _WIDE:
        notes.append(
            f"times of {widest.preset} in {widest.precision} vary by {widest.step.spread:.0%} between quartiles: another "
            "program, or the processor's own throttling, disturbs the measurement. Ratios to the roofline hold, times do not."
        )
    return tuple(notes)
