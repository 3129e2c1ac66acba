"""How well the ratio of two cone spacings is measured, though one of the images is poor.

    python benchmarks/relative_spacing.py [--images 20] [--evaluation FILE]

Printed is, for each degradation of the target and for styles as they are and resampled by 0.71 and 1.41, the error of
ln(ratio): its mean and its standard deviation over the images, of `relative_spacing` and of the ratio of the two rings.
What is true comes from manual annotations: the median distance of nearest neighbours in target and style. Images, marks and
degradations come from the evaluation script (by default that of the shared folder beside the project).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from marks import CONDITIONS, EVALUATION, load
from scipy import ndimage

from napari_nst.imaging.spacing import relative_spacing
from napari_nst.metrics import ring_prominence


def by_rings(target: np.ndarray, style: np.ndarray) -> float:
    return ring_prominence(target).spacing / ring_prominence(style).spacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="places of different subjects and quadrants")
    parser.add_argument("--evaluation", type=Path, default=EVALUATION, metavar="FILE")
    args = parser.parse_args()
    cones = load(args.evaluation)
    index = cones.load_index()
    spacings = dict(zip(index.stem, index.spacing_px, strict=True))
    for zoom in (1.0, 0.71, 1.41):
        for condition in CONDITIONS:
            errors: dict[str, list[float]] = {"relative_spacing": [], "rings": []}
            for item in cones.load_items(args.images):
                row = index[index.stem == item["stem"]].iloc[0]
                target = cones.degrade(item["image"], condition, seed=int(item["image"].sum()) % 997)
                style = ndimage.zoom(item["style"].astype(float), zoom, order=3, mode="reflect", grid_mode=True)
                true = cones.spacing(item["cones"]) / (spacings[cones.style_for(row, index)] * zoom)
                for name, ratio in zip(errors, (relative_spacing, by_rings), strict=True):
                    errors[name].append(math.log(ratio(target, style) / true))
            told = [
                f"{name} {np.nanmean(values):+.3f} ± {np.nanstd(values):.3f} ({np.isnan(values).sum()} unknown)"
                for name, values in errors.items()
            ]
            print(f"style x {zoom:<5g} {condition:10s} " + "   ".join(told), flush=True)


if __name__ == "__main__":
    main()
