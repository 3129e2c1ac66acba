"""Do presets and methods help to find cones, without inventing any?  On annotated images, beside every rival.

    python benchmarks/marks.py table [--method raw spectrum microscopy ...] [--condition mix:2 ...] [--json FILE]
    python benchmarks/marks.py search [--json FILE]

"table" scores methods: the baselines of the evaluation script (raw, gaussian, clahe, histogram, richardson_lucy, spectrum),
"wiener" (what the preset microscopy starts from, alone), and presets. "search" scores the candidates of which the preset
"microscopy" was chosen, and chooses by leaving one subject out: each subject's score is that of the candidate which was best
on the others. A candidate is best if it breaks the fewest limits, and gains most over the spectrum filter.

Scores of a file given with --json are kept and not computed again, so a run can be cut and continued: neither the settings
of a candidate nor the images are looked at, only names.

Images, marks and degradations come from the evaluation script (--evaluation, by default that of the shared folder beside
the project), which prints what its columns mean with --help. dice35 and invented are given for its two detectors, log and
robust; a third column is the project's own `detect_cones`. Intervals are of 95 %, by bootstrap over subjects.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from napari_nst import StyleTransferParameters, transfer_style
from napari_nst.metrics import detect_cones

EVALUATION = Path(__file__).resolve().parent.parent.parent / "shared" / "evaluation" / "cones.py"
CONDITIONS = ("mix:2", "noise:3", "defocus:2", "astig:2", "clean")
BASELINES = ("raw", "gaussian", "clahe", "histogram", "richardson_lucy", "spectrum")
#: The least gain over the spectrum filter that a preset must reach, by condition: of the interval's lower end, or of the mean.
GAINS = {"mix:2": ("low", 0.0), "noise:3": ("low", 0.0), "defocus:2": ("mean", -0.005), "astig:2": ("mean", -0.005)}
MOST_PHANTOM, MOST_LOSS = 0.12, 0.005

_START = {"preset": "texture", "init": "wiener", "content_from": "start", "style_spacing": 1.02, "tolerance": 0.0}
_SMALL = _START | {"lr": 0.0015, "epoch": 20, "max_change": 0.015}
#: What the search chooses from: one lever at a time around what was best in a coarser search.
CANDIDATES: dict[str, dict[str, Any]] = {
    "start only": _START | {"lr": 1e-9, "epoch": 1},
    "spectrum, spacing as is": _SMALL | {"init": "spectrum", "style_spacing": 0.0},
    "spacing as is": _SMALL | {"style_spacing": 0.0},
    "equal spacing": _SMALL | {"style_spacing": 1.0},
    "spacing 1.02": _SMALL,
    "spacing 1.04": _SMALL | {"style_spacing": 1.04},
    "content of target": _SMALL | {"content_from": "target"},
    "no trust region": _SMALL | {"max_change": 0.0},
    "trust .01": _SMALL | {"max_change": 0.01},
    "trust .03": _SMALL | {"max_change": 0.03},
    "to relu2_1": _SMALL | {"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)},
    "cosine": _SMALL | {"lr": 0.004, "epoch": 15, "lr_decay": "cosine", "adam_beta1": 0.5, "adam_beta2": 0.9},
}

_HEADER = (
    "| method | Dice at 0.35, log / robust / own | at 0.75 | gain over spectrum, log / robust | over raw | invented | structure | SSIM | phantom |"
    "\n|---|---|---|---|---|---|---|---|---|"
)

Array = np.ndarray
Enhance = Callable[[Array, Array], Array]


def load(path: Path) -> ModuleType:
    if not path.is_file():
        sys.exit(f"There is no evaluation script {path}; name it with --evaluation.")
    spec = importlib.util.spec_from_file_location("cones", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cones"] = module
    spec.loader.exec_module(module)
    return module


class Scores:
    """A row per method, condition, image and detector; kept in a file, if there is one."""

    def __init__(self, cones: ModuleType, images: int, threads: int, file: Path | None) -> None:
        self.cones, self.items, self.threads, self.file = cones, cones.load_items(images), threads, file
        rows = json.loads(file.read_text()) if file is not None and file.exists() else []
        self.frame = pd.DataFrame(rows)

    def of(self, method: str, condition: str, settings: dict[str, Any] | None = None) -> pd.DataFrame:
        if len(self.frame):
            f = self.frame
            known = f[(f.method == method) & (f.condition == condition) & f.stem.isin([i["stem"] for i in self.items])]
            if known.stem.nunique() == len(self.items):
                return known
        began = time.perf_counter()
        enhance = self.enhancer(method, condition, settings)
        seconds = time.perf_counter() - began
        detectors = {**self.cones.DETECTORS, "own": lambda image: detect_cones(image).points[:, ::-1] + 1}
        table = self.cones.score(self.items, enhance, condition, detectors, hallucination=condition == "clean")
        table = table.assign(method=method, condition=condition, seconds=seconds / len(self.items))
        old = self.frame
        if len(old):
            old = old[~((old.method == method) & (old.condition == condition))]
        self.frame = pd.concat([old, table], ignore_index=True)
        if self.file is not None:
            beside = self.file.with_suffix(".part")
            beside.write_text(self.frame.to_json(orient="records"))
            beside.replace(self.file)
        return table

    def enhancer(self, method: str, condition: str, settings: dict[str, Any] | None) -> Enhance:
        """The baselines by the script; of a style transfer all images are made at once, and looked up then."""
        if settings is None and method in BASELINES:
            baseline: Enhance = self.cones.BASELINES[method]
            return baseline
        if settings is None:
            settings = CANDIDATES["start only"] if method == "wiener" else {"preset": method}
        pairs = [
            (self.cones.degrade(i["image"], condition, seed=int(i["image"].sum()) % 997), i["style"])
            for i in self.items
        ]
        if condition == "clean":
            pairs += [(self.cones.erase_cones(i["image"], i["cones"])[0], i["style"]) for i in self.items]
        results = transfer_style([t for t, _ in pairs], [s for _, s in pairs], threads=self.threads, **settings)
        made = {(t.tobytes(), s.tobytes()): r.image for (t, s), r in zip(pairs, results, strict=True)}
        return lambda target, style: made[target.tobytes(), style.tobytes()]


def report(scores: Scores, method: str, condition: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """A row of the table: means, and paired differences to the spectrum filter and to the untouched image."""
    cones, mine = scores.cones, scores.of(method, condition, settings)
    rivals = {name: scores.of(name, condition) for name in ("raw", "spectrum")}
    row: dict[str, Any] = {"method": method, "condition": condition}
    for detector, own in mine.groupby("detector"):
        row[f"dice35 {detector}"] = own.dice35.mean()
        row[f"dice75 {detector}"] = own.dice75.mean()
        row[f"invented {detector}"] = own.invented.mean()
        for name, other in rivals.items():
            theirs = other[other.detector == detector]
            row[f"{name} invented {detector}"] = theirs.invented.mean()
            drop = [c for c in ("method", "condition", "seconds") if c in own]
            row[f"-{name} {detector}"] = cones.paired(own.drop(columns=drop), theirs.drop(columns=drop))
    row["struct"], row["spectrum struct"] = mine.struct.mean(), rivals["spectrum"].struct.mean()
    row["ssim"] = mine.ssim.mean()
    row["phantom"] = mine.phantom.mean() if "phantom" in mine and condition == "clean" else float("nan")
    row["seconds"] = mine.seconds.mean()
    return row


def broken(row: dict[str, Any]) -> list[str]:
    """The limits that a candidate breaks in a condition, by either of the script's two detectors."""
    found, condition = [], row["condition"]
    for detector in ("log", "robust"):
        if condition in GAINS:
            which, least = GAINS[condition]
            gain = row[f"-spectrum {detector}"][["mean", "low", "high"].index(which)]
            if gain < least or (which == "low" and gain <= least):
                found.append(f"{condition} {detector}: gain {gain:+.4f}")
        elif row[f"-raw {detector}"][0] < -MOST_LOSS:
            found.append(f"{condition} {detector}: loss {row[f'-raw {detector}'][0]:+.4f}")
        if row[f"invented {detector}"] > row[f"spectrum invented {detector}"] + 1e-9:
            found.append(
                f"{condition} {detector}: invented {row[f'invented {detector}']:.2f} > {row[f'spectrum invented {detector}']:.2f}"
            )
    if row["struct"] <= row["spectrum struct"]:
        found.append(f"{condition}: structure {row['struct']:.4f} <= {row['spectrum struct']:.4f}")
    if row["phantom"] > MOST_PHANTOM:
        found.append(f"{condition}: phantom {row['phantom']:.3f}")
    return found


def told(row: dict[str, Any]) -> str:
    def difference(value: tuple[float, float, float]) -> str:
        return f"{value[0]:+.4f} [{value[1]:+.4f},{value[2]:+.4f}]"

    parts = [f"{row['method']:22s} {row['condition']:10s}"]
    for detector in ("log", "robust"):
        parts.append(f"{detector} {row[f'dice35 {detector}']:.4f} -spectrum {difference(row[f'-spectrum {detector}'])}")
    parts.append(f"own {row['dice35 own']:.4f}")
    parts.append(f"-raw {row['-raw log'][0]:+.4f}/{row['-raw robust'][0]:+.4f}")
    parts.append(f"invented {row['invented log']:.2f}/{row['invented robust']:.2f}/{row['invented own']:.2f}")
    parts.append(
        f"struct {row['struct']:.4f} ssim {row['ssim']:.3f} phantom {row['phantom']:.3f} {row['seconds']:.1f} s"
    )
    return " | ".join(parts)


def as_markdown(row: dict[str, Any]) -> str:
    """The same as a row of a table: method; Dice; paired gains over spectrum and raw; what was invented; likeness."""

    def both(form: Callable[[str], str]) -> str:
        return " / ".join(form(detector) for detector in ("log", "robust"))

    def interval(detector: str) -> str:
        mean, low, high = row[f"-spectrum {detector}"]
        return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"

    cells = [
        row["method"],
        both(lambda d: f"{row[f'dice35 {d}']:.3f}") + f" / {row['dice35 own']:.3f}",
        both(lambda d: f"{row[f'dice75 {d}']:.3f}"),
        both(interval),
        both(lambda d: f"{row[f'-raw {d}'][0]:+.3f}"),
        both(lambda d: f"{row[f'invented {d}']:.2f}"),
        f"{row['struct']:.3f}",
        f"{row['ssim']:.2f}",
        "" if np.isnan(row["phantom"]) else f"{row['phantom']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def gain(rows: list[dict[str, Any]]) -> float:
    """Mean gain over the spectrum filter where there is noise, over both detectors."""
    wanted = [row for row in rows if row["condition"] in ("mix:2", "noise:3")]
    return float(np.mean([row[f"-spectrum {d}"][0] for row in wanted for d in ("log", "robust")]))


def search(scores: Scores, conditions: list[str]) -> None:
    """Score all candidates, tell which limits they break, and choose by leaving one subject out."""
    everything = {}
    for name, settings in CANDIDATES.items():
        everything[name] = [report(scores, name, condition, settings) for condition in conditions]
        print("\n".join(told(row) for row in everything[name]), flush=True)
        faults = [fault for row in everything[name] for fault in broken(row)]
        print(
            f"   gain {gain(everything[name]):+.4f}; breaks {len(faults)}: {'; '.join(faults) or 'nothing'}\n",
            flush=True,
        )

    def choice(rows_of: dict[str, list[dict[str, Any]]]) -> str:
        return min(rows_of, key=lambda n: (sum(len(broken(row)) for row in rows_of[n]), -gain(rows_of[n])))

    items, frame = scores.items, scores.frame
    held_out = []
    for subject in sorted({item["subject"] for item in items}):
        scores.items = [item for item in items if item["subject"] != subject]
        scores.frame = frame[frame.subject != subject]
        chosen = choice({n: [report(scores, n, c, s) for c in conditions] for n, s in CANDIDATES.items()})
        scores.items = [item for item in items if item["subject"] == subject]
        scores.frame = frame[frame.subject == subject]
        gains = {
            c: [report(scores, chosen, c, CANDIDATES[chosen])[f"-spectrum {d}"][0] for d in ("log", "robust")]
            for c in conditions
        }
        held_out.append((subject, chosen, gains))
    scores.items, scores.frame = items, frame
    print("held out  chosen on the others      gain over the spectrum filter on the one held out (log / robust)")
    for subject, chosen, gains in held_out:
        print(f"{subject:9s} {chosen:24s} " + "  ".join(f"{c} {a:+.4f}/{b:+.4f}" for c, (a, b) in gains.items()))
    for condition in conditions:
        values = np.array([gains[condition] for _, _, gains in held_out])
        mean, spread = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else values[0] * np.nan
        print(
            f"all       {condition:24s} log {mean[0]:+.4f} ± {spread[0]:.4f}   robust {mean[1]:+.4f} ± {spread[1]:.4f}"
        )
    print(f"chosen on all subjects: {choice(everything)}")


def lattice(scores: Scores) -> str:
    cones, parts = scores.cones, []
    for name, tolerance in (("dice35", cones.STRICT), ("dice75", cones.PUBLISHED)):
        values = [
            cones.match(cones.blind_lattice(i["cones"], i["image"].shape, k), i["cones"], i["image"].shape, tolerance)[
                "dice"
            ]
            for k, i in enumerate(scores.items)
        ]
        parts.append(f"{name} {np.mean(values):.4f}")
    return "chance level (random lattice): " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "search"))
    parser.add_argument("--method", nargs="+", default=[*BASELINES, "wiener", "microscopy"], metavar="NAME")
    parser.add_argument("--condition", nargs="+", default=list(CONDITIONS), metavar="CONDITION")
    parser.add_argument("--images", type=int, default=20, help="places of different subjects and quadrants")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--evaluation", type=Path, default=EVALUATION, metavar="FILE", help="the evaluation script cones.py"
    )
    parser.add_argument("--markdown", action="store_true", help="the table in Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the scores of single images here")
    args = parser.parse_args()
    unknown = [m for m in args.method if m not in (*BASELINES, "wiener", *StyleTransferParameters.PRESETS)]
    if unknown:
        parser.error(f"--method: there is no {unknown[0]!r}")
    scores = Scores(load(args.evaluation), args.images, args.threads, args.json)
    print(
        f"{len(scores.items)} images of {len({i['subject'] for i in scores.items})} subjects; {lattice(scores)}",
        flush=True,
    )
    if args.what == "search":
        search(scores, args.condition)
        return
    for condition in args.condition:
        if args.markdown:
            print(f"**{condition}**\n\n{_HEADER}")
        for method in args.method:
            print((as_markdown if args.markdown else told)(report(scores, method, condition)), flush=True)
        print()


if __name__ == "__main__":
    main()
