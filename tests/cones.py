"""Annotated confocal images (Cunefare et al. 2017) where they lie beside the checkout, simulated ones, ideal lattices."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_nst.imaging.mosaic import cone_mosaic

CONES = Path(__file__).resolve().parents[2] / "shared" / "data" / "cones"


@pytest.fixture(scope="session")
def marked():
    """Every fifth of the images: .image, .cones (row, column, 0-based), .spacing and .ring of the index."""
    if not (CONES / "index.csv").is_file():
        pytest.skip(f"the annotated cones are not beside this checkout (looked in {CONES})")
    import tifffile

    found = []
    with (CONES / "index.csv").open(newline="") as file:
        for row in list(csv.DictReader(file))[::5]:
            with (CONES / "manual" / f"{row['stem']}.csv").open(newline="") as marks:
                xy = np.array([[float(v) for v in line] for line in list(csv.reader(marks))[1:]])
            found.append(
                SimpleNamespace(
                    subject=row["subject"],
                    image=tifffile.imread(CONES / "images" / f"{row['stem']}.tif"),
                    cones=xy[:, ::-1] - 1,
                    spacing=float(row["spacing_px"]),
                    ring=float(row["ring_prominence_db"]),
                )
            )
    return found


@pytest.fixture(scope="session")
def simulated():
    """The same of six simulated mosaics whose cones are known, for the same rules on every machine; ring is not known."""
    found = []
    for seed in range(6):
        made = cone_mosaic((150, 150), 8.25, seed=seed, vessel=False)
        cones = made.cones[np.all((made.cones > -0.5) & (made.cones < 149.5), axis=1)]
        spacing = float(np.median(cKDTree(cones).query(cones, k=2)[0][:, 1]))
        found.append(SimpleNamespace(subject=seed % 2, image=made.image, cones=cones, spacing=spacing))
    return found


@pytest.fixture(scope="session")
def hexagonal():
    """Draws a perfect lattice of Gaussian dots: shape, pitch -> (image, positions inside it)."""
    return _hexagonal


def _hexagonal(shape, pitch, angle=0.3):
    i, j = (axis.ravel() for axis in np.mgrid[-80:81, -80:81])
    points = pitch * np.column_stack([i * np.sqrt(3) / 2, j + i % 2 / 2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = points @ turn + np.divide(shape, 2) + 0.31
    points = points[np.all((points > -2 * pitch) & (points < np.add(shape, 2 * pitch)), axis=1)]
    rows, columns = (np.arange(side)[:, None] for side in shape)
    sigma = 0.18 * pitch
    across = [np.exp(-((axis - points[:, k]) ** 2) / (2 * sigma**2)) for k, axis in enumerate((rows, columns))]
    inside = np.all((points > -0.5) & (points < np.subtract(shape, 0.5)), axis=1)
    return across[0] @ across[1].T, points[inside]
