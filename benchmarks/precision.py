"""What bfloat16 changes: images, losses, and how well cones are found, against float32.

    python benchmarks/precision.py [--data DIR] [--pairs 3] [--presets documented texture] [--steps 100] [--cones 6] [--json F]

Windows of real AOSLO images (DATA/aoslo/*confocal*.tif) are run in float32 and in bfloat16, without an early stop, on one
thread, and as a yardstick in float32 on two threads: as far as that, float32 does not agree with itself.  Differences of
the final images are in gray levels of 255, not rounded; differences of the losses are relative, after the last step and
at the worst step (from the second: before, the content loss is 0).

--cones N enhances N degraded, annotated images (condition mix:2) in both precisions and compares dice35, with the script
cones.py beside the data (DATA/../evaluation).  Either part is left out by 0.
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

from napari_nst import ImageFile, StyleTransferParameters, transfer_style
from napari_nst.benchmark.report import machine
from napari_nst.engine._torch import torch
from napari_nst.engine.devices import has_bfloat16, resolve_device
from napari_nst.transfer.api import StyleTransfer

#: What must hold: RMS in gray levels of 255, losses relative, dice35 absolute.
LIMITS = {"documented": 1.5, "texture": 3.5}
LOSSES, DICE = 0.02, 0.005
DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def window(image: np.ndarray, size: int) -> np.ndarray:
    """The square nearest to the centre that has no black border in it."""
    corners = [(y, x) for y in range(0, image.shape[0] - size + 1, 8) for x in range(0, image.shape[1] - size + 1, 8)]
    middle = (np.array(image.shape) - size) / 2
    for y, x in sorted(corners, key=lambda corner: float(np.hypot(*(corner - middle)))):
        found = image[y : y + size, x : x + size]
        if (found > 0).mean() > 0.999:
            return found
    sys.exit(
        f"No window of {size} × {size} without a black border in an image of {image.shape}; take a smaller --size."
    )


def windows(folder: Path, size: int, count: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, target and style, gray levels of 255, float32; the style is the window of the next image."""
    files = sorted(folder.glob("*confocal*.tif"))
    if len(files) < 2:
        sys.exit(f"There are {len(files)} confocal AOSLO images in {folder}; name the folder of the data by --data.")
    images = [window(np.asarray(ImageFile.read(file).data), size).astype(np.float32) for file in files[: count + 1]]
    images *= 2
    return [(files[k].stem[:40], images[k], images[k + 1]) for k in range(min(count, len(files)))]


def difference(one: StyleTransfer, other: StyleTransfer) -> dict[str, Any]:
    """How far `one` is from `other`, images and losses."""
    away = one.image.astype(float) - other.image.astype(float)
    found: dict[str, Any] = {
        "rms": float(np.sqrt((away**2).mean())),
        "largest": float(np.abs(away).max()),
        "losses": {},
    }
    for name, mine, theirs in zip(one.losses._fields, one.losses, other.losses, strict=True):
        relative = np.abs(mine[1:] / theirs[1:] - 1)
        found["losses"][name] = {"end": float(relative[-1]), "worst": float(relative.max())}
    return found


def compare_windows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per preset, pair and kind of comparison."""
    rows: list[dict[str, Any]] = []
    common = {"epoch": options.steps, "tolerance": 0.0, "value_range": (0, 255), "device": options.device}
    print(
        f"{'preset':11} {'against float32':22} {'rms':>6} {'largest':>8}  relative differences of losses, end (worst step)"
    )
    for preset in options.presets:
        for name, target, style in windows(options.data / "aoslo", options.size, options.pairs):
            given = {**common, "preset": preset}
            wide = transfer_style(target, style, precision="float32", threads=1, **given)
            others = {"bfloat16": {"precision": "bfloat16", "threads": 1}}
            if not options.no_yardstick and resolve_device(options.device).type == "cpu":
                others["float32, two threads"] = {"precision": "float32", "threads": 2}
            for kind, settings in others.items():
                found = difference(transfer_style(target, style, **settings, **given), wide)
                rows.append({"preset": preset, "pair": name, "kind": kind, **found})
                losses = ", ".join(f"{n} {v['end']:.2%} ({v['worst']:.2%})" for n, v in found["losses"].items())
                print(f"{preset:11} {kind:22} {found['rms']:6.3f} {found['largest']:8.2f}  {losses}", flush=True)
    return rows


def load_evaluation(path: Path) -> ModuleType:
    """The script that scores enhancements on annotated images."""
    if not path.is_file():
        sys.exit(f"There is no {path}; name it by --evaluation, or leave this part out by --cones 0.")
    spec = importlib.util.spec_from_file_location("cones_evaluation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare_cones(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean dice35 on the same images, one row per preset and precision."""
    evaluation = load_evaluation(options.evaluation or options.data.parent / "evaluation" / "cones.py")
    items = evaluation.load_items(options.cones, data=options.data / "cones")
    kinds = {"float32": ("float32", 1), "bfloat16": ("bfloat16", 1)}
    if not options.no_yardstick and resolve_device(options.device).type == "cpu":
        kinds["float32, two threads"] = ("float32", 2)
    rows: list[dict[str, Any]] = []
    print(
        f"\n{'preset':11} {'kind':22} {'images':>6} {'steps':>6} {'dice35':>8} {'change':>8} {'largest of one image':>21}"
    )
    for preset in options.presets:
        reference = None
        for kind, (precision, threads) in kinds.items():
            given = {"preset": preset, "precision": precision, "threads": threads}
            steps: list[int] = []
            # With the early stop that users get: where rounding shifts it, that is part of what bfloat16 changes.
            table = evaluation.score(
                items,
                enhancer({**given, "epoch": options.steps, "device": options.device}, steps),
                "mix:2",
                detectors={"log": evaluation.detect_log},
                hallucination=False,
            )
            dice = table["dice35"].to_numpy()
            reference = dice if reference is None else reference
            each = dice - reference
            row = {"preset": preset, "kind": kind, "dice35": float(dice.mean()), "change": float(each.mean())}
            rows.append({**row, "each": each.tolist(), "steps": steps})
            print(
                f"{preset:11} {kind:22} {len(items):6d} {np.mean(steps):6.0f} {row['dice35']:8.4f} {row['change']:+8.4f} "
                f"{np.abs(each).max():21.4f}",
                flush=True,
            )
    return rows


def enhancer(given: dict[str, Any], steps: list[int]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What the script calls for each image; the steps that were made are added to `steps`."""

    def enhance(target: np.ndarray, style: np.ndarray) -> np.ndarray:
        result = transfer_style(target, style, **given)
        steps.append(len(result.losses.total))
        return result.image

    return enhance


def verdicts(windows_rows: list[dict[str, Any]], cones_rows: list[dict[str, Any]]) -> list[str]:
    """The limits, and what was reached."""
    lines = []
    narrow = [row for row in windows_rows if row["kind"] == "bfloat16"]
    for preset in dict.fromkeys(row["preset"] for row in narrow):
        rows = [row for row in narrow if row["preset"] == preset]
        rms = max(row["rms"] for row in rows)
        end = max(loss["end"] for row in rows for loss in row["losses"].values())
        worst = max(loss["worst"] for row in rows for loss in row["losses"].values())
        if preset in LIMITS:
            lines.append(f"{preset}: largest RMS {rms:.2f}, limit {LIMITS[preset]}: {_judged(rms, LIMITS[preset])}")
        lines.append(
            f"{preset}: losses within {end:.2%} at the end, limit {LOSSES:.0%}: {_judged(end, LOSSES)}; {worst:.2%} at the worst step"
        )
    lines += [
        f"{row['preset']}: dice35 changes by {row['change']:+.4f}, limit {DICE}: {_judged(abs(row['change']), DICE)}"
        for row in cones_rows
        if row["kind"] == "bfloat16"
    ]
    return lines


def _judged(value: float, limit: float) -> str:
    return "holds" if value <= limit else "does not hold"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEFAULT, help="default: shared/data beside the repository")
    parser.add_argument("--evaluation", type=Path, help="cones.py; default: evaluation/cones.py beside DATA")
    parser.add_argument("--presets", nargs="+", default=list(LIMITS), choices=list(StyleTransferParameters.PRESETS))
    parser.add_argument("--size", type=int, default=185)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--cones", type=int, default=6, metavar="N")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-yardstick", action="store_true", help="without float32 on two threads")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = resolve_device(options.device)
    if not has_bfloat16(device):
        sys.exit(f"{options.device} has no bfloat16: there is nothing to compare.")
    if options.steps < 2:
        sys.exit(f"--steps {options.steps}: at least 2 are needed, the content loss of the first is 0.")
    facts = machine(device)
    print(f"{facts['device']}, {', '.join(facts['features'])}, PyTorch {torch.__version__}, {options.steps} steps")
    began = time.perf_counter()
    windows_rows = compare_windows(options) if options.pairs else []
    cones_rows = compare_cones(options) if options.cones else []
    print("", *verdicts(windows_rows, cones_rows), sep="\n")
    print(f"{time.perf_counter() - began:.0f} s")
    if options.json:
        written = {
            "machine": facts,
            "steps": options.steps,
            "size": options.size,
            "windows": windows_rows,
            "cones": cones_rows,
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
