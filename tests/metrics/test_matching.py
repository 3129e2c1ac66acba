"""The published matching rule against a transcription with plain loops; densities and spacings by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst.errors import ParameterError
from napari_nst.metrics import cone_density, match_cones, nearest_neighbour_spacing

# On a grid of eighths no distance is rounded, so that ties are ties in both.
positions = st.integers(0, 7).flatmap(
    lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 80).map(lambda v: v / 8))
)


def by_the_rule(found, reference, tolerance):
    claims = {}
    for r, place in enumerate(reference):
        distances = [math.dist(place, f) for f in found]
        if distances and min(distances) <= tolerance:
            claims.setdefault(distances.index(min(distances)), []).append((min(distances), r))
    return {f: min(who)[1] for f, who in claims.items()}


@given(positions, positions, st.sampled_from([0.0, 0.5, 2.0, 30.0]))
def test_every_reference_claims_and_a_detection_keeps_its_nearest_claimant(found, reference, tolerance):
    # Equally near detections: which is claimed is left open by the rule.
    for place in reference:
        distances = sorted(math.dist(place, f) for f in found)
        if len(distances) > 1 and distances[0] == distances[1]:
            return
    matching = match_cones(found, reference, tolerance_px=tolerance)
    expected = by_the_rule(found.tolist(), reference.tolist(), tolerance)
    assert dict(matching.pairs.tolist()) == expected
    assert matching.kept.tolist() == sorted(expected)
    assert matching.new.tolist() == [i for i in range(len(found)) if i not in expected]
    assert matching.lost.tolist() == [i for i in range(len(reference)) if i not in expected.values()]
    assert matching.distances == pytest.approx([math.dist(found[f], reference[r]) for f, r in matching.pairs])
    assert matching.pairs.dtype.kind == matching.new.dtype.kind == matching.lost.dtype.kind == "i"


def test_the_figures_by_hand():
    # Detection 0 is claimed by both marks at 0 and at 1; 2 is nobody's; mark 2 is too far from detection 1.
    matching = match_cones([[0, 0.4], [5, 5], [9, 0]], [[0, 0], [0, 1], [5, 8]], tolerance_px=2)
    assert matching.pairs.tolist() == [[0, 0]]
    assert matching.new.tolist() == [1, 2]
    assert matching.lost.tolist() == [1, 2]
    assert matching.dice == pytest.approx(2 / 6)
    assert matching.true_positive_rate == pytest.approx(1 / 3)
    assert matching.false_discovery_rate == pytest.approx(2 / 3)


@given(st.integers(0, 10**6))
def test_the_order_of_the_detections_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    found, reference, order = rng.uniform(0, 30, (20, 2)), rng.uniform(0, 30, (25, 2)), rng.permutation(20)
    plain, shuffled = (match_cones(f, reference, tolerance_px=4) for f in (found, found[order]))
    assert {(order[f], r) for f, r in shuffled.pairs} == {(f, r) for f, r in plain.pairs}


def test_nothing_found_and_nothing_to_find():
    none, one = np.empty((0, 2)), [[1.0, 2.0]]
    both = match_cones(none, [], tolerance_px=1)
    assert both.pairs.shape == (0, 2)
    assert math.isnan(both.dice)
    assert math.isnan(both.true_positive_rate)
    assert math.isnan(both.false_discovery_rate)
    missed, invented = match_cones(none, one, tolerance_px=1), match_cones(one, none, tolerance_px=1)
    assert (missed.dice, missed.true_positive_rate, missed.lost.tolist()) == (0, 0, [0])
    assert (invented.dice, invented.false_discovery_rate, invented.new.tolist()) == (0, 1, [0])


@pytest.mark.parametrize(
    ("found", "tolerance", "message"),
    [
        (np.ones((2, 3)), 1, r"shape \(2, 3\)"),
        ([1.0, 2.0], 1, r"shape \(2,\)"),
        ([[1.0, np.nan]], 1, "NaN"),
        ([[1.0, 2.0]], -1, "tolerance_px=-1"),
        ([[1.0, 2.0]], np.nan, "tolerance_px=nan"),
    ],
)
def test_positions_and_tolerance_are_checked(found, tolerance, message):
    with pytest.raises(ParameterError, match=message):
        match_cones(found, [[0.0, 0.0]], tolerance_px=tolerance)


@given(arrays(np.float64, st.tuples(st.integers(2, 12), st.just(2)), elements=st.integers(0, 9)))
def test_the_spacing_is_the_median_of_the_nearest(points):
    nearest = [min(math.dist(p, q) for k, q in enumerate(points) if k != i) for i, p in enumerate(points)]
    assert nearest_neighbour_spacing(points) == pytest.approx(np.median(nearest))


def test_the_spacing_of_fewer_than_two_is_not_known():
    assert math.isnan(nearest_neighbour_spacing([]))
    assert math.isnan(nearest_neighbour_spacing([[3, 4]]))


def test_the_spacing_of_simulated_cones_is_below_that_of_their_lattice(simulated):
    for one in simulated:
        assert nearest_neighbour_spacing(one.cones) == pytest.approx(one.spacing)
        assert 0.85 * 8.25 < one.spacing < 8.25


def test_the_spacing_of_annotated_cones_is_that_of_the_index(marked):
    for item in marked:
        assert nearest_neighbour_spacing(item.cones) == pytest.approx(item.spacing, abs=1e-3)


def test_density():
    # 100 × 100 pixels of 0.5 µm are 0.0025 mm².
    assert cone_density(50, 100 * 100, 0.5) == pytest.approx(20_000)
    assert cone_density(np.int64(50), 10_000, 0.5) == pytest.approx(20_000)
    assert cone_density(np.zeros((50, 2)), 10_000, 0.5) == pytest.approx(20_000)
    assert cone_density(0, 10_000, 0.5) == cone_density([], 10_000, 0.5) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 100, None), "pixel_size"),
        ((5, 100, 0), "got 0"),
        ((5, 100, math.nan), "got nan"),
        ((5, 0, 0.4), "area_px must be above 0, got 0"),
        ((5, math.inf, 0.4), "area_px must be above 0, got inf"),
        ((-1, 100, 0.4), "got -1"),
        ((2.5, 100, 0.4), r"shape \(\)"),
        ((np.ones((3, 4)), 100, 0.4), r"\(3, 4\)"),
    ],
)
def test_a_density_needs_a_pixel_size_an_area_and_cones(arguments, message):
    with pytest.raises(ParameterError, match=message):
        cone_density(*arguments)
