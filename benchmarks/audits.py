"""Which methods and presets invent cones: four audits, on annotated images or on a simulated place.

    python benchmarks/audits.py [--method raw histogram spectrum] [--places 6] [--condition clean] [--json FILE]

A method is raw (nothing is done), histogram, spectrum, spectrum+nst, or a preset of the style transfer; "all" is all of
them. The first three take two seconds a place. A style transfer takes 10 to 30 s an image on a CPU, and each place asks for
about a dozen: take few (--places 2), fewer seeds (--seeds 1) and factors (--factors 0.5 1 2).

phantom   what is drawn where cones were erased, relative to real ones: 0 nothing, 1 as strong; in brackets what was there
          before. Below 0.15 is good. Then the detections there, of the cones that were erased. Always on good images.
style agreement   the least Dice at 0.35 spacings of detections with three styles: two other places of the same eye, one of
          another eye. 1 is best; then the share of cones that only one style has. The last row has the chance level.
repeatability   Dice at 0.35 spacings of two images of one place, enhanced apart; in brackets before. Not below is good.
density bias   slope of the result's density over the style's, both logarithmic: 0 does not follow, 1 follows. Then the spread.

Printed are means over the places, and below them the least and the largest. DATA/cones holds annotated images (index.csv with
stem, subject, quadrant; images/STEM.tif; manual/STEM.csv, x,y from 1): the confocal ones of Cunefare et al. (2017) can be
arranged so. A condition other than clean (as mix:2, noise:3) degrades targets, not styles, as the script cones.py beside
the data does. Without data, or with --simulated, one simulated place is measured.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import napari_nst
from napari_nst import ImageFile, StyleTransferParameters
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.methods import enhance_patch
from napari_nst.metrics import density_bias, phantom_test, repeatability, style_agreement

CHEAP = ("raw", "histogram", "spectrum")
METHODS = (*CHEAP, "spectrum+nst", *StyleTransferParameters.PRESETS)
DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
#: The table: heading, the figure, and what stands beside it in brackets.
COLUMNS = (
    ("phantom", "phantom", "phantom_before"),
    ("drawn", "phantom_detected", None),
    ("style agreement", "style_agreement", None),
    ("own", "style_agreement_only", None),
    ("repeatability", "repeatability", "repeatability_before"),
    ("density bias", "density_slope", None),
    ("spread", "density_spread", None),
)

Array = np.ndarray
Enhance = Callable[[Array, Array], Array]


@dataclass
class Site:
    """A target with its annotations, a repeat of it, and styles: two other places of the same eye, then another eye."""

    name: str
    target: Array
    repeat: Array
    styles: list[Array]
    cones: Array


def annotated_sites(folder: Path, count: int) -> list[Site]:
    """The first repeats of each place; all eyes come once before any comes twice."""
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["quadrant"], row["subject"]), []).append(row)

    def image(row: dict[str, str]) -> Array:
        return np.asarray(ImageFile.read(folder / "images" / f"{row['stem']}.tif").data)

    def clearest(candidates: list[dict[str, str]]) -> dict[str, str]:
        return max(candidates, key=lambda row: float(row["ring_prominence_db"]))

    places = []
    for (quadrant, subject), repeats in sorted(groups.items()):
        same_eye = [row for row in rows if row["subject"] == subject and row["quadrant"] != quadrant]
        first = clearest(same_eye)
        second = clearest([row for row in same_eye if row["quadrant"] != first["quadrant"]])
        other = clearest([row for row in rows if row["subject"] != subject])
        marks = np.loadtxt(
            folder / "manual" / f"{repeats[0]['stem']}.csv", delimiter=",", skiprows=1, ndmin=2
        )[:, ::-1] - 1  # fmt: skip
        places.append(
            Site(
                f"{subject} {quadrant}",
                image(repeats[0]),
                image(repeats[1]),
                [image(row) for row in (first, second, other)],
                marks,
            )
        )
        if len(places) == count:
            break
    return places


def simulated_site(size: int = 185) -> Site:
    """Two noisy images of one simulated place, moved by (5, -3), and three others, the last one less dense."""
    made = cone_mosaic((size + 8, size + 8), 8.0, seed=0, vessel=False, photons=math.inf, read_noise=0)
    rng = np.random.default_rng(0)
    first, second = (
        np.clip(np.rint(made.image + rng.normal(0, 5, made.image.shape)), 0, 255).astype(np.uint8) for _ in range(2)
    )
    cones = made.cones - (0, 3)
    inside = np.all((cones > -0.5) & (cones < size - 0.5), axis=1)
    styles = [
        cone_mosaic((size, size), spacing, seed=seed, vessel=False).image
        for seed, spacing in ((1, 8.0), (2, 8.0), (3, 9.0))
    ]
    return Site("simulated", first[:size, 3 : 3 + size], second[5 : 5 + size, :size], styles, cones[inside])


def degrader(condition: str, evaluation: Path) -> Callable[[Array, int], Array]:
    """Image and seed to the degraded image."""
    if condition == "clean":
        return lambda image, seed: image
    if not evaluation.is_file():
        sys.exit(f"The condition {condition!r} needs {evaluation}; name it by --evaluation, or take --condition clean.")
    spec = importlib.util.spec_from_file_location("cones_evaluation", evaluation)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def degrade(image: Array, seed: int) -> Array:
        return np.asarray(module.degrade(image, condition, seed))

    return degrade


def enhancer(method: str, options: argparse.Namespace) -> Enhance:
    """The method as the audits call it; a pair of images that was asked for before is remembered."""
    known: dict[tuple[bytes, bytes], Array] = {}
    parameters: dict[str, Any] = {"device": options.device}
    if options.threads is not None:
        parameters["threads"] = options.threads
    name = method
    if method in StyleTransferParameters.PRESETS:
        name, parameters["preset"] = "nst", method

    def enhance(target: Array, style: Array) -> Array:
        pair = target.tobytes(), style.tobytes()
        if pair not in known:
            known[pair] = enhance_patch(name, target, style, value_range=(0, 255), parameters=parameters).image
        return known[pair]

    return (lambda target, style: target) if method == "raw" else enhance


def audit(enhance: Enhance, place: Site, degrade: Callable[[Array, int], Array], options: argparse.Namespace) -> Any:
    """Figures of one method at one place: for the table, and all that the audits say."""
    target, repeat = degrade(place.target, 1), degrade(place.repeat, 2)
    phantom = phantom_test(enhance, place.target, place.styles[0], cones=place.cones, seeds=range(options.seeds))
    styles = style_agreement(enhance, target, place.styles)
    repeats = repeatability(enhance, target, repeat, place.styles[0])
    density = density_bias(enhance, target, place.styles[0], factors=options.factors)
    return {
        "phantom": phantom.ratio,
        "phantom_before": phantom.ratio_before,
        "phantom_detected": sum(phantom.detected) / sum(phantom.erased),
        "style_agreement": styles.dice,
        "style_agreement_chance": styles.chance_dice,
        "style_agreement_only": sum(len(points) for points in styles.only) / max(1, sum(styles.detected)),
        "repeatability": repeats.enhanced.dice,
        "repeatability_before": repeats.raw.dice,
        "repeatability_chance": repeats.enhanced.chance_dice,
        "density_slope": density.slope,
        "density_spread": density.spread,
        "audits": {
            "phantom": phantom.to_dict(),
            "style_agreement": styles.to_dict(),
            "repeatability": repeats.to_dict(),
            "density_bias": density.to_dict(),
        },
    }


def lines_of(rows: list[dict[str, Any]]) -> list[str]:
    """Two lines: the means, and the least and the largest."""
    means, ranges = [], []
    for _, key, beside in COLUMNS:
        values = [row[key] for row in rows]
        extra = "" if beside is None else f" ({np.mean([row[beside] for row in rows]):.3f})"
        means.append(f"{np.mean(values):.3f}{extra}".rjust(15))
        ranges.append(f"{min(values):.3f}..{max(values):.3f}".rjust(15))
    return [" ".join(means), " ".join(ranges)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--method", nargs="+", default=list(CHEAP), choices=[*METHODS, "all"], metavar="METHOD", help=", ".join(METHODS)
    )
    parser.add_argument("--places", type=int, default=6, metavar="N", help="at most; default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="draws of the phantom test; %(default)s")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 0.71, 1.0, 1.41, 2.0], metavar="F")
    parser.add_argument("--condition", default="clean", metavar="KIND:LEVEL", help="default: %(default)s")
    parser.add_argument("--simulated", action="store_true", help="a simulated place, even where there are data")
    parser.add_argument("--data", type=Path, default=DEFAULT, help="default: shared/data beside the repository")
    parser.add_argument("--evaluation", type=Path, help="cones.py; default: evaluation/cones.py beside DATA")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    for name in ("places", "seeds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: at least 1 is needed.")
    degrade = degrader(options.condition, options.evaluation or options.data.parent / "evaluation" / "cones.py")
    folder = options.data / "cones"
    simulated = options.simulated or not (folder / "index.csv").is_file()
    if simulated and not options.simulated:
        print(f"There are no annotated images in {folder} (--data): a simulated place is measured.")
    places = [simulated_site()] if simulated else annotated_sites(folder, options.places)
    methods = METHODS if "all" in options.method else tuple(dict.fromkeys(options.method))

    print(f"{len(places)} places ({', '.join(place.name for place in places)}), condition {options.condition}\n")
    print(f"{'method':13}" + " ".join(heading.rjust(15) for heading, _, _ in COLUMNS))
    written: list[dict[str, Any]] = []
    for method in methods:
        began = time.perf_counter()
        # One enhancer for each place: what it remembers is not asked for again at the next.
        rows = [audit(enhancer(method, options), place, degrade, options) for place in places]
        seconds = time.perf_counter() - began
        means, ranges = lines_of(rows)
        print(f"{method:13}{means}\n{'':13}{ranges}   {seconds:.0f} s", flush=True)
        written += [{"method": method, "place": p.name, **row} for p, row in zip(places, rows, strict=True)]
    chance = [np.nanmean([row[key] for row in written]) for key in ("style_agreement_chance", "repeatability_chance")]
    print(f"{'chance level':13}{'':32}{chance[0]:15.3f} {'':15} {chance[1]:15.3f}")
    if options.json:
        settings = {
            "version": napari_nst.__version__,
            "condition": options.condition,
            "seeds": options.seeds,
            "factors": options.factors,
            "device": options.device,
        }
        text = json.dumps({"settings": settings, "rows": written}, indent=1, default=float)
        # NaN is no JSON.
        plain = json.loads(text, parse_constant=lambda _: None)
        options.json.write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
