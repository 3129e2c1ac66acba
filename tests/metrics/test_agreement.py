"""Scores against an independent script on manual annotations, against published figures, and against counts by hand."""

import importlib.util
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_nst.errors import ImageError, ParameterError
from napari_nst.metrics import agreement, detect_cones, invented, points_inside, random_lattice

EVALUATION = Path(__file__).resolve().parents[3] / "shared" / "evaluation" / "cones.py"


@pytest.fixture(scope="module")
def script():
    """The evaluation script of the project, written before this package and without it: 1-based x, y."""
    if not EVALUATION.is_file():
        pytest.skip(f"the evaluation script is not beside this checkout (looked in {EVALUATION})")
    spec = importlib.util.spec_from_file_location("evaluation", EVALUATION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_xy(points):
    return np.asarray(points)[:, ::-1] + 1


def check_against(script, found, reference, shape):
    rows = agreement(found, reference, shape, border=7)
    assert [row.tolerance for row in rows] == [0.35, 0.75]
    for row in rows:
        expected = script.match(to_xy(found), to_xy(reference), shape, row.tolerance)
        assert row.dice == pytest.approx(expected["dice"])
        assert row.true_positive_rate == pytest.approx(expected["tpr"])
        assert row.false_discovery_rate == pytest.approx(expected["fdr"])
        assert row.tolerance_px == pytest.approx(row.tolerance * script.spacing(to_xy(reference)))
    far = invented(found, reference)
    counted = points_inside(np.asarray(found)[far], shape, border=7)
    assert int(counted.sum()) == script.invented(to_xy(found), to_xy(reference), shape)
    return rows


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_random_points_get_the_scores_of_the_script(script, seed):
    rng = np.random.default_rng(seed)
    shape = (40, 60)  # not square: rows and columns must not be taken for each other
    reference = rng.uniform(-0.5, 1, (60, 2)) % 1 * shape - 0.5
    found = np.concatenate([reference[::2] + rng.normal(0, 2, (30, 2)), rng.uniform(0, 1, (20, 2)) * shape])
    check_against(script, found, reference, shape)


@pytest.mark.slow
def test_simulated_cones_score_far_above_the_chance_level(simulated):
    rows = [agreement(detect_cones(one.image).points, one.cones, one.image.shape, border=7) for one in simulated]
    strict, published = ([row[k] for row in rows] for k in range(2))
    assert np.mean([row.dice for row in strict]) == pytest.approx(0.99, abs=0.01)
    assert all(one.dice >= other.dice for one, other in zip(published, strict, strict=True))
    assert 0.3 < np.mean([row.chance_dice for row in strict]) < 0.45
    assert 0.87 < np.mean([row.chance_dice for row in published]) < 0.94
    assert all(row.median_distance_px < 0.5 for row in strict)


def test_annotated_images_get_the_scores_and_the_chance_row_that_are_known(script, marked):
    scores = []
    for item in marked[::2]:
        shape = item.image.shape
        check_against(script, detect_cones(item.image).points, item.cones, shape)
        rows = check_against(script, script.detect_log(item.image)[:, ::-1] - 1, item.cones, shape)
        marks = agreement(item.cones, item.cones, shape, border=7)
        scores.append([*(row.dice for row in rows), *(row.chance_dice for row in marks), rows[0].median_distance_px])
        assert {row.dice for row in marks} == {1.0}
    strict, published, chance_strict, chance_published, apart = np.mean(scores, axis=0)
    # Known of this detector on other images of the kind: .9865 and .989, of blind lattices .312 and .882, and 0.5 px.
    assert strict == pytest.approx(0.9865, abs=0.01)
    assert published == pytest.approx(0.989, abs=0.01)
    assert chance_strict == pytest.approx(0.312, abs=0.02)
    assert chance_published == pytest.approx(0.882, abs=0.02)
    assert apart == pytest.approx(0.5, abs=0.1)


def test_the_counts_by_hand():
    # Spacing 10. One exact, one 3 px off, one 6 px off, one lost; one found where nothing is.
    reference = [[10, 10], [10, 20], [20, 10], [20, 20]]
    found = [[10, 10], [10, 23], [26, 10], [40, 40]]
    strict, published = agreement(found, reference, (50, 50))
    assert (strict.true_positives, strict.false_positives, strict.false_negatives) == (2, 2, 2)
    assert (published.true_positives, published.false_positives, published.false_negatives) == (3, 1, 1)
    assert strict.dice == strict.true_positive_rate == strict.false_discovery_rate == 0.5
    assert published.dice == published.true_positive_rate == 0.75
    assert (strict.tolerance_px, published.tolerance_px) == (3.5, 7.5)
    assert (strict.median_distance_px, published.median_distance_px) == (1.5, 3)
    assert invented(found, reference).tolist() == [3]
    assert invented(found, reference, spacing=7).tolist() == [2, 3]
    (wide,) = agreement(found, reference, (50, 50), tolerances=[0.35], spacing=20)
    assert wide.true_positives == 3


def test_a_border_is_counted_from_the_edges_of_the_pixels():
    points = np.array([[6.4, 20.0], [6.6, 20], [20, 6.4], [20, 6.6], [32.4, 20], [32.6, 20], [20, 42.4], [20, 42.6]])
    expected = [False, True, False, True, True, False, True, False]
    assert points_inside(points, (40, 50), border=7).tolist() == expected
    mask = np.ones((60, 70), bool)
    mask[:10], mask[50:], mask[:, :10], mask[:, 60:] = False, False, False, False
    # A masked margin is an edge like that of the image.
    assert points_inside(points + 10, (60, 70), border=7, mask=mask).tolist() == expected
    assert points_inside(points, (40, 50)).all()
    assert points_inside([[-0.6, 3], [3, -0.6], [39.6, 3], [3, 49.6]], (40, 50)).sum() == 0
    assert points_inside([], (40, 50), border=7).shape == (0,)


def test_a_pair_across_the_border_is_no_error():
    reference, found = [[6.0, 20.0], [20, 20]], [[7.0, 20.0], [20, 20]]
    (row,) = agreement(found, reference, (40, 40), border=7, tolerances=[0.35])
    assert (row.true_positives, row.false_positives, row.false_negatives) == (1, 0, 0)


def test_a_mask_takes_cones_out_of_the_count(rng):
    shape = (80, 100)
    reference = random_lattice(150, shape, seed=3)
    mask = np.zeros(shape, bool)
    mask[20:70, 30:] = True
    found = np.where((reference[:, 1] < 29)[:, None], rng.uniform(0, 80, reference.shape), reference)
    (row,) = agreement(found, reference, shape, mask=mask, tolerances=[0.35])
    kept = points_inside(reference, shape, mask=mask)
    inner = (reference > [19.5, 29.5]).all(1) & (reference < [69.5, 99.5]).all(1)
    assert np.array_equal(kept, inner)
    assert row.true_positives == inner.sum()
    assert row.false_negatives == 0
    assert agreement(found, reference, shape, mask=np.zeros(shape))[0].true_positives == 0
    assert math.isnan(agreement(found, reference, shape, mask=np.zeros(shape))[0].dice)


@given(st.integers(0, 10**6), st.integers(20, 400))
@settings(max_examples=20)
def test_a_random_lattice_has_the_density_the_pitch_and_six_neighbours(seed, count):
    shape = (150, 190)
    points = random_lattice(count, shape, seed=seed)
    assert points_inside(points, shape).all()
    pitch = math.sqrt(2 / math.sqrt(3) * shape[0] * shape[1] / count)
    distance = cKDTree(points).query(points, k=7)[0]
    inner = np.all((points > 1.1 * pitch) & (points < np.subtract(shape, 1 + 1.1 * pitch)), axis=1)
    assert distance[inner, 1:] == pytest.approx(pitch)
    # As many as the area says, but for the rows that the edges cut.
    assert abs(len(points) - count) <= 2.5 * math.sqrt(count)
    assert np.array_equal(points, random_lattice(count, shape, seed=seed))
    assert not np.array_equal(points, random_lattice(count, shape, seed=seed + 1))


def test_random_lattices_have_the_wanted_number_on_average_and_stay_on_the_mask():
    shape, mask = (120, 90), np.zeros((120, 90), bool)
    mask[:60, 10:80] = True
    assert np.mean([len(random_lattice(200, shape, seed=s)) for s in range(60)]) == pytest.approx(200, abs=2)
    masked = [random_lattice(100, shape, seed=s, mask=mask) for s in range(60)]
    assert np.mean([len(m) for m in masked]) == pytest.approx(100, abs=2)
    rows, columns = np.rint(np.concatenate(masked)).astype(int).T
    assert mask[rows, columns].all()
    assert random_lattice(0, shape).shape == random_lattice(9, shape, mask=np.zeros(shape)).shape == (0, 2)


def test_of_blind_points_the_score_is_the_chance_row():
    reference = random_lattice(300, (150, 150), seed=100)
    rng = np.random.default_rng(0)
    reference = reference + rng.normal(0, 0.8, reference.shape)
    blind = [agreement(random_lattice(300, (150, 150), seed=s), reference, (150, 150)) for s in range(50, 70)]
    for k in range(2):
        assert np.mean([rows[k].dice for rows in blind]) == pytest.approx(blind[0][k].chance_dice, abs=0.05)


def test_chance_is_as_dense_as_the_detections_of_the_mask(rng):
    mask = np.zeros((150, 300), bool)
    mask[:, :150] = True
    reference = random_lattice(300, (150, 150), seed=3)
    reference = np.clip(reference + rng.normal(0, 0.8, reference.shape), 0, 149)
    masked = agreement(reference, reference, (150, 300), mask=mask)[1]
    alone = agreement(reference, reference, (150, 150))[1]
    assert masked.dice == alone.dice == 1
    assert masked.chance_dice == pytest.approx(alone.chance_dice, abs=0.05)
    # Spread over the whole image as many points would leave half of the cones without a partner.
    assert masked.chance_dice > 0.75


def test_images_without_cones_have_answers_that_say_so():
    two = [[3.0, 4.0], [9, 9]]
    for row in agreement([], [], (20, 20)):
        assert (row.true_positives, row.false_positives, row.false_negatives) == (0, 0, 0)
        assert all(math.isnan(v) for v in (row.dice, row.true_positive_rate, row.false_discovery_rate))
        assert all(math.isnan(v) for v in (row.tolerance_px, row.chance_dice, row.median_distance_px))
    for row in agreement(two, [], (20, 20)):
        assert (row.dice, row.false_discovery_rate, row.false_positives) == (0, 1, 2)
        assert math.isnan(row.true_positive_rate)
    for row in agreement([], two, (20, 20)):
        assert (row.dice, row.true_positive_rate, row.false_negatives) == (0, 0, 2)
        assert math.isnan(row.false_discovery_rate)
    assert invented(two, []).tolist() == [0, 1]
    assert invented([], two).tolist() == invented([], []).tolist() == []


def test_one_reference_cone_has_no_spacing_of_its_own():
    for row in agreement([[5, 5], [8, 8]], [[5, 5]], (20, 20)):
        assert math.isnan(row.dice)
        assert math.isnan(row.tolerance_px)
        assert math.isnan(row.chance_dice)
        assert row.true_positives == 0
    assert agreement([[5, 5], [8, 8]], [[5, 5]], (20, 20), spacing=8)[0].true_positives == 1
    with pytest.raises(ParameterError, match="pass spacing"):
        invented([[5, 5], [8, 8]], [[5, 5]])
    assert invented([[5, 5], [80, 8]], [[5, 5]], spacing=8).tolist() == [1]


def test_a_row_is_plain_numbers():
    values = asdict(agreement([[5, 5], [8, 8]], [[5, 5], [9, 9]], (20, 20))[0])
    assert {type(value) for value in values.values()} == {int, float}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerances": [0.35, 0]}, "got 0. Try"),
        ({"tolerances": [math.nan]}, "got nan"),
        ({"border": -1}, "border=-1"),
        ({"border": math.nan}, "border=nan"),
        ({"spacing": 0}, "spacing must be a positive length in pixels, got 0"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ParameterError, match=message):
        agreement([[1, 2]], [[3, 4], [5, 6]], (9, 9), **options)


def test_points_count_and_mask_are_checked():
    with pytest.raises(ParameterError, match=r"found cones have shape \(1, 3\)"):
        agreement([[1, 2, 3]], [[1, 2]], (9, 9))
    with pytest.raises(ParameterError, match="reference cones contain NaN"):
        invented([[1, 2]], [[1, math.nan]])
    with pytest.raises(ParameterError, match="got -1"):
        random_lattice(-1, (9, 9))
    with pytest.raises(ImageError, match="mask has shape"):
        agreement([[1, 2]], [[1, 2]], (9, 9), mask=np.ones((9, 8)))
