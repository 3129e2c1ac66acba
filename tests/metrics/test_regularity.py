"""Voronoi cells against lattices, the known statistics of random points, counting pixels, and manual annotations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics import voronoi_regularity


def test_a_hexagonal_lattice_has_equal_cells_with_six_sides(hexagonal):
    points = hexagonal((150, 190), 8.0)[1]
    found = voronoi_regularity(points, (150, 190))
    assert found.regularity == math.inf
    assert found.six_sided == 1
    # Corners lie 8 / sqrt(3) from a cone and sides 4; with its neighbours inside, at 8, the cell must be known.
    known, possible = (
        np.all((points > reach - 0.5) & (points < np.subtract((150, 190), 0.5 + reach)), axis=1).sum()
        for reach in (8, 4)
    )
    assert known <= found.cells <= possible


def test_random_points_have_the_known_statistics():
    # Poisson Voronoi cells (Tanemura 2003): a coefficient of variation of 0.5293 for areas, 29.47 % with six sides.
    points = np.random.default_rng(0).uniform(-0.5, 999.5, (20_000, 2))
    found = voronoi_regularity(points, (1000, 1000))
    assert found.regularity == pytest.approx(1 / 0.5293, rel=0.02)
    assert found.six_sided == pytest.approx(0.2947, abs=0.01)
    assert 19_000 < found.cells < 20_000


def cells_by_pixels(points, shape, step=0.1):
    """Areas and numbers of neighbours of the cells that do not touch the edge, by asking fine pixels for their cone."""
    rows, columns = (np.arange(-0.5 + step / 2, side - 0.5, step) for side in shape)
    owner = cKDTree(points).query(np.stack(np.meshgrid(rows, columns, indexing="ij"), -1))[1]
    edge = set(np.concatenate([owner[0], owner[-1], owner[:, 0], owner[:, -1]]))
    whole = [k for k in range(len(points)) if k not in edge]
    areas = np.bincount(owner.ravel(), minlength=len(points)) * step**2
    touching = set()
    for first, second in ((owner[1:], owner[:-1]), (owner[:, 1:], owner[:, :-1])):
        touching |= {frozenset(pair) for pair in zip(first.ravel(), second.ravel(), strict=True) if len(set(pair)) == 2}
    neighbours = [sum(k in pair for pair in touching) for k in range(len(points))]
    return whole, areas, np.array(neighbours)


@pytest.mark.parametrize("seed", [1, 2])
def test_areas_and_neighbours_are_those_that_pixels_count(seed):
    shape = (40, 55)
    points = cone_mosaic(shape, 8.0, seed=seed).cones
    whole, areas, neighbours = cells_by_pixels(points, shape)
    found = voronoi_regularity(points, shape)
    assert found.cells == len(whole) > 10
    assert found.regularity == pytest.approx(areas[whole].mean() / areas[whole].std(ddof=1), rel=0.01)
    # Pixels of a tenth can miss the shortest sides.
    assert found.six_sided == pytest.approx(np.mean(neighbours[whole] == 6), abs=1.5 / len(whole))


def test_a_mask_takes_away_the_cells_that_hold_its_pixels():
    shape = (60, 70)
    points = cone_mosaic(shape, 7.0, seed=3).cones
    mask = np.ones(shape, bool)
    mask[30, 35] = False
    mask[:, :20] = False
    holders = {cKDTree(points).query(pixel)[1] for pixel in np.argwhere(~mask)}
    whole, areas, _ = cells_by_pixels(points, shape, 0.2)
    kept = [k for k in whole if k not in holders]
    found = voronoi_regularity(points, shape, mask=mask)
    assert found.cells == len(kept) < len(whole)
    assert found.regularity == pytest.approx(areas[kept].mean() / areas[kept].std(ddof=1), rel=0.02)
    assert voronoi_regularity(points, shape, mask=np.ones(shape)) == voronoi_regularity(points, shape)
    assert voronoi_regularity(points, shape, mask=np.zeros(shape)).cells == 0


@given(st.integers(0, 10**6), st.floats(0.2, 5))
@settings(max_examples=20)
def test_neither_size_nor_direction_nor_order_matters(seed, scale):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 49, (60, 2))
    plain = voronoi_regularity(points, (50, 50))
    for other, shape in (
        (points[:, ::-1], (50, 50)),
        (rng.permutation(points), (50, 50)),
        (np.concatenate([points, points[:5]]), (50, 50)),
    ):
        again = voronoi_regularity(other, shape)
        assert (again.cells, again.six_sided) == (plain.cells, plain.six_sided)
        assert again.regularity == pytest.approx(plain.regularity, nan_ok=True)
    # Pixels keep their edges at whole numbers less a half.
    larger = voronoi_regularity((points + 0.5) * 3 - 0.5, (150, 150))
    assert (larger.cells, larger.six_sided) == (plain.cells, plain.six_sided)
    assert larger.regularity == pytest.approx(plain.regularity, nan_ok=True)


def test_disorder_lowers_both(hexagonal):
    points = hexagonal((185, 185), 8.0)[1]
    values = []
    for jitter in (0.3, 0.8, 1.6, 3.0):
        moved = points + np.random.default_rng(0).normal(0, jitter, points.shape)
        found = voronoi_regularity(moved, (185, 185))
        values.append((found.regularity, found.six_sided))
    assert values == sorted(values, reverse=True)
    assert values[0][0] > 15 > 4 > values[-1][0]


@pytest.mark.parametrize(
    "points",
    [
        [],
        [[3, 4]],
        [[3, 4], [8, 9]],
        [[3, 4], [8, 9], [12, 3]],
        [[1, 1], [2, 2], [3, 3], [4, 4], [9, 9]],
        [[5, 5]] * 9,
        [[3, 4], [3, 4], [8, 9], [8, 9], [8, 9]],
        [[0, k] for k in range(12)],
        [[5, 5], [5, 6], [6, 5], [6, 6]],
    ],
)
def test_too_few_or_collinear_cones_have_no_cells(points):
    found = voronoi_regularity(points, (20, 20))
    assert found.cells == 0
    assert math.isnan(found.regularity)
    assert math.isnan(found.six_sided)


def test_one_cell_has_no_scatter():
    found = voronoi_regularity([[10, 10], [5, 5], [5, 15], [15, 5], [15, 15]], (21, 21))
    assert found.cells == 1
    assert found.six_sided == 0
    assert math.isnan(found.regularity)


def test_input_is_checked():
    with pytest.raises(ParameterError, match=r"cones have shape \(2, 3\)"):
        voronoi_regularity(np.ones((2, 3)), (9, 9))
    with pytest.raises(ParameterError, match="NaN"):
        voronoi_regularity([[1, math.nan]], (9, 9))
    with pytest.raises(ImageError, match="mask has shape"):
        voronoi_regularity([[1, 2]], (9, 9), mask=np.ones((9, 8)))


def test_simulated_cones_are_far_from_random_and_from_a_lattice(simulated):
    found = [voronoi_regularity(one.cones, one.image.shape) for one in simulated]
    assert 6 < min(v.regularity for v in found) < max(v.regularity for v in found) < 15
    assert 0.75 < np.median([v.six_sided for v in found]) < 0.95


def test_annotated_cones_are_far_from_random_and_from_a_lattice(marked):
    found = [voronoi_regularity(item.cones, item.image.shape) for item in marked]
    assert 7 < np.median([v.regularity for v in found]) < 11
    assert 0.55 < np.median([v.six_sided for v in found]) < 0.85
    assert min(v.regularity for v in found) > 4
