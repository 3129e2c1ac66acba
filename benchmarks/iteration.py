"""Cost of one iteration of "documented", against rivals and against the time of its arithmetic, in one process.

    python benchmarks/iteration.py [--precision bfloat16] [--size 185] [--rounds 12] [--threads N] [--json F] [--plot F.png]

Contenders take turns, so that a noisy machine disturbs all of them alike.  Printed are, per contender, the median, minimum
and quartiles, and ratios twice: of the medians, and the median over rounds of the ratio within a round.  The second
is the one to trust.  Rivals have no bfloat16 and run in float32 in either case; the rooflines have the precision asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import contenders

from napari_nst.benchmark.report import machine
from napari_nst.benchmark.timing import OtherPrograms, Ratio, Timing, ratio, take_turns
from napari_nst.engine._torch import torch
from napari_nst.engine.devices import has_bfloat16

LITERAL, FROZEN, GREY, RGB = "literal transcription", "frozen, cached, autograd", "ours, grey", "ours, three channels"
ROOFLINE, PACKED = "roofline, plain PyTorch", "roofline, packed weights"


def gather(options: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[dict[str, contenders.Step], list[str]]:
    """Those who take part, in the order of their turns, and why others do not."""
    size, precision = options.size, options.precision
    steps = options.rounds + 1
    slow: dict[str, contenders.Step] = {}
    absent = []
    if not options.no_literal:
        slow[LITERAL] = contenders.literal(size)
    for name, make in contenders.RIVALS.items():
        try:
            slow[name] = make(size)
        except contenders.MissingError as reason:
            absent.append(f"{name} is left out: {reason}.")
    slow[FROZEN] = contenders.frozen_autograd(size)
    # The rooflines stand beside what they are compared with.
    quick = {
        RGB: contenders.ours(size, steps, precision, "rgb", stack),
        ROOFLINE: contenders.roofline(size, precision, packed=False),
        GREY: contenders.ours(size, steps, precision, "auto", stack),
        PACKED: contenders.roofline(size, precision, packed=True),
    }
    return {**slow, **quick}, absent


def ratios(times: dict[str, Timing]) -> dict[str, Ratio]:
    """The ratios that have a goal, and those beside them."""
    found = {}
    for mine in (GREY, RGB):
        found |= {
            f"{name} / {mine}": ratio(times[name], times[mine])
            for name in times
            if name not in (GREY, RGB, ROOFLINE, PACKED)
        }
        found |= {f"{mine} / {name}": ratio(times[mine], times[name]) for name in (ROOFLINE, PACKED)}
    return found


def plot(path: Path, times: dict[str, Timing], title: str) -> None:
    """Bars of the medians with their quartiles."""
    from matplotlib.figure import Figure

    from napari_nst.transfer.files import save_figure

    names = sorted(times, key=lambda name: -times[name].median)
    medians = [times[name].median * 1e3 for name in names]
    low, high = zip(*(times[name].quartiles for name in names), strict=True)
    errors = [
        [m - 1e3 * q for m, q in zip(medians, low, strict=True)],
        [1e3 * q - m for m, q in zip(medians, high, strict=True)],
    ]
    figure = Figure(figsize=(7.2, 0.42 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    colours = [
        "tab:blue" if n.startswith("ours") else "tab:gray" if n.startswith("roofline") else "tab:orange" for n in names
    ]
    axes.barh(names, medians, xerr=errors, color=colours, ecolor="black", capsize=2)
    for row, median in enumerate(medians):
        axes.annotate(f"{median:.0f}", (high[row] * 1e3, row), xytext=(4, 0), textcoords="offset points", va="center")
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.set_xlabel("One iteration [ms], median and quartiles")
    # A machine's name is longer than the plot is wide.
    figure.suptitle("\n".join(textwrap.wrap(title, 90)), fontsize="small")
    print(f"Plot: {save_figure(path, figure)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="float32")
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--no-literal", action="store_true", help="without the transcription, the slowest by far")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.precision == "bfloat16" and not has_bfloat16(contenders.CPU):
        sys.exit("This processor has no bfloat16; take --precision float32.")
    facts = machine(contenders.CPU)
    title = (
        f"{facts['processor']}, {facts['cores']} cores, {', '.join(facts['features']) or facts['instructions']}, "
        f"{facts['threads']} threads, PyTorch {torch.__version__}"
    )
    with contextlib.ExitStack() as stack:
        entries, absent = gather(options, stack)
        with OtherPrograms() as others:
            times = take_turns(entries, options.rounds)
    compared = ratios(times)
    print(title)
    print(f"{options.size} × {options.size}, ours and rooflines {options.precision}, {options.rounds} rounds in turns")
    print(f"Other programs kept {others.cores:.2f} cores busy.", *absent, sep="\n")
    print(f"\n{'one iteration, seconds':26} {'median':>8} {'minimum':>8} {'quartiles':>17}")
    for name, timing in times.items():
        low, high = timing.quartiles
        print(f"{name:26} {timing.median:8.4f} {timing.minimum:8.4f} {low:8.4f}–{high:8.4f}")
    print(f"\n{'ratio':50} {'medians':>8} {'by round':>8} {'quartiles':>13}")
    for name, r in compared.items():
        print(f"{name:50} {r.of_medians:8.2f} {r.by_round:8.2f} {r.low:6.2f}–{r.high:6.2f}")
    if options.json:
        written: dict[str, Any] = {
            "machine": facts,
            "size": options.size,
            "precision": options.precision,
            "rounds": options.rounds,
            "other_programs_cores": others.cores,
            "absent": absent,
            "contenders": {name: timing.summary() for name, timing in times.items()},
            "ratios": {name: asdict(r) for name, r in compared.items()},
        }
        options.json.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.plot:
        plot(options.plot, times, f"{options.size} × {options.size}, {options.precision}: {title}")


if __name__ == "__main__":
    main()
