"""How well the cone detector and Yellott's ring agree with hand marks, over the detector's confidence.

    python benchmarks/cone_detector.py PICTURES [--vessel PICTURE ROW ROW COLUMN COLUMN] [--confidence C ...]

PICTURES is a folder with index.csv (stem, subject, spacing_px, ring_prominence_db), images/STEM.tif and manual/STEM.csv
(x,y, 1-based, with a header), as the annotated confocal images of Cunefare et al. (2017) can be arranged. Printed
are, per confidence, Dice at 0.35 spacings (mean, worst image, each subject), true positive and false discovery rate;
with --vessel the detections in and outside of the shadow within a window of another image: where its brightness,
averaged over 8 pixels, is below two thirds of the window's median.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from scipy import ndimage, stats

from napari_nst import ImageFile
from napari_nst.metrics import Cones, detect_cones, match_cones, ring_prominence

BORDER = 7  # pixels at the edge, where marks are not reliable; left out as in the publication


def inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    margin = BORDER - 0.5
    return np.all((points > margin) & (points < np.subtract(shape, 1 + margin)), axis=1)


def scores(
    found: np.ndarray, marks: np.ndarray, shape: tuple[int, ...], tolerance: float
) -> tuple[float, float, float]:
    """Dice, true positive rate, false discovery rate: matched with the border, counted without it."""
    matching = match_cones(found, marks, tolerance_px=tolerance)
    in_found, in_marks = inside(found, shape), inside(marks, shape)
    true = int((in_found[matching.pairs[:, 0]] & in_marks[matching.pairs[:, 1]]).sum())
    lost, new = int(in_marks[matching.lost].sum()), int(in_found[matching.new].sum())
    return 2 * true / (2 * true + lost + new), true / (true + lost), new / (true + new)


def confident(cones: Cones, least: float) -> np.ndarray:
    return cones.points[cones.confidence >= least]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--vessel", nargs=5, metavar=("PICTURE", "TOP", "BOTTOM", "LEFT", "RIGHT"))
    parser.add_argument("--confidence", type=float, nargs="+", default=[0, 0.25, 0.3, 0.33, 0.36, 0.4, 0.45, 0.5])
    args = parser.parse_args()

    with (args.images / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [np.asarray(ImageFile.read(args.images / "images" / f"{r['stem']}.tif").data) for r in rows]
    marks = [
        np.loadtxt(args.images / "manual" / f"{r['stem']}.csv", delimiter=",", skiprows=1)[:, ::-1] - 1 for r in rows
    ]
    spacing = np.array([float(r["spacing_px"]) for r in rows])
    subjects = np.array([r["subject"] for r in rows])

    rings = [ring_prominence(image) for image in images]
    ratio = np.array([r.spacing for r in rings]) / spacing
    height, known = (
        np.array(v, float) for v in ([r.prominence for r in rings], [r["ring_prominence_db"] for r in rows])
    )
    print(f"{len(rows)} images of {len(set(subjects))} subjects")
    print(
        f"ring spacing / nearest neighbors  {np.nanmean(ratio):.3f} ± {np.nanstd(ratio):.3f}, none in {np.isnan(ratio).sum()}"
    )
    print(
        f"prominence against the index       Spearman {stats.spearmanr(height, known)[0]:.3f}, "
        f"difference {np.mean(height - known):+.2f} ± {np.std(height - known):.2f} dB\n"
    )

    began = time.perf_counter()
    found = [detect_cones(image, confidence=0) for image in images]
    milliseconds = (time.perf_counter() - began) / len(images) * 1e3
    shadow = vessel = None
    if args.vessel:
        top, bottom, left, right = map(int, args.vessel[1:])
        image = np.asarray(ImageFile.read(Path(args.vessel[0])).data)
        light = ndimage.gaussian_filter(image.astype(float), 8)
        window = np.zeros(image.shape, bool)
        window[top:bottom, left:right] = True
        shadow = window & (light < 2 / 3 * np.median(light[window]))
        vessel = detect_cones(image, confidence=0)

    print(
        "confidence  dice   worst  TPR    FDR    by subject" + " " * 30 + ("vessel  elsewhere" if args.vessel else "")
    )
    for least in args.confidence:
        each = np.array(
            [
                scores(confident(f, least), m, i.shape, 0.35 * s)
                for f, m, i, s in zip(found, marks, images, spacing, strict=True)
            ]
        )
        dice = each[:, 0]
        line = f"{least:10.2f}  {dice.mean():.4f} {dice.min():.3f}  {each[:, 1].mean():.4f} {each[:, 2].mean():.4f} "
        line += " ".join(f"{dice[subjects == s].mean():.4f}" for s in sorted(set(subjects)))
        if vessel is not None and shadow is not None:
            at = np.rint(confident(vessel, least)).astype(int)
            dark = int(shadow[tuple(at.T)].sum())
            line += f"    {dark:4d}  {len(at) - dark:6d}"
        print(line)
    print(f"\n{milliseconds:.0f} ms an image")


if __name__ == "__main__":
    main()
