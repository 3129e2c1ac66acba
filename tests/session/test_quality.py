"""Thresholds against skimage and simulated groups; markers and tables as they are found on disks."""

import math
import re
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nst import cone_mosaic
from napari_nst.errors import FileError, ImageError, ParameterError
from napari_nst.session.cropping import PatchCropper
from napari_nst.session.quality import (
    count_markers,
    measure_patch,
    read_quality_table,
    split_scores,
)


def brute_force_eta(values):
    """Otsu's eta over all ways to cut the sorted values in two, from its definition; and the two sides of the cut."""
    values = sorted(values)
    total = np.var(values)
    best = (-1.0, None)
    for k in range(1, len(values)):
        if values[k - 1] == values[k]:
            continue
        low, high = values[:k], values[k:]
        between = len(low) * len(high) / len(values) ** 2 * (np.mean(low) - np.mean(high)) ** 2
        best = max(best, (between / total, (low[-1], high[0])))
    return best


# --- the threshold --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [
        ([5, 6, 7, 60, 62, 65], 7, 60),  # the documented threshold was 0.5 here (bug c)
        ([40, 45, 50, 90, 95, 100], 50, 90),  # and here
        ([5, 5, 5, 60, 60, 60], 5, 60),
        ([5, 6, 7, 60], 7, 60),
        ([0, 0, 1, 0, 90, 91, 95], 1, 90),
        ([8.31, 8.9, 9.07, 8.5, 13.42, 14.01, 13.77], 9.07, 13.42),
        ([-41.5, -40.25, -40.75, -3.5, -2.25, -2.5], -40.25, -3.5),
        ([1e12, 2e12, 1.5e12, 60e12, 61e12, 60.5e12], 2e12, 60e12),
    ],
)
@pytest.mark.parametrize("dtype", [float, "as given"])
def test_two_groups_are_split_between_them(scores, low, high, dtype):
    split = split_scores(np.asarray(scores, None if dtype == "as given" else dtype))
    assert low <= split.threshold < high
    assert split.good == tuple(score >= high for score in scores)
    assert all(type(good) is bool for good in split.good)
    assert split.p_value < 0.05
    assert "two groups" in split.reason


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=30), st.booleans())
def test_the_separability_is_the_largest_of_all_cuts(scores, grouped):
    scores = np.round(scores, 5)  # more decimals than count as rounded
    if grouped:
        scores = np.r_[scores, scores + 1e8]
    split = split_scores(scores)
    if np.ptp(scores) == 0:
        assert split.threshold is None
        return
    expected, (low, high) = brute_force_eta(scores)
    assert split.separability <= expected + 1e-9
    if not np.array_equal(scores, np.round(scores, 3)):
        assert split.separability == pytest.approx(expected, rel=1e-6)
    if split.threshold is not None:
        between = np.mean(scores > split.threshold)
        assert 0 < between < 1
        if split.p_value < 0.001:
            assert low <= split.threshold < high or expected == pytest.approx(split.separability, rel=1e-6)


def test_the_threshold_divides_like_that_of_skimage():
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(4)
    for _ in range(20):
        scores = np.r_[rng.normal(50, 10, 20), rng.normal(120, 10, 20)].astype(int)
        assert split_scores(scores).good == tuple((scores > threshold_otsu(scores)).tolist())


def test_one_group_is_not_split_and_told_with_figures():
    scores = np.random.default_rng(0).uniform(5, 15, 25)
    split = split_scores(scores)
    assert split.threshold is None
    assert split.good == (None,) * 25
    assert re.fullmatch(
        r"the 25 scores form one group: eta = \.\d\d, a uniform distribution reaches that in \d+(\.\d+)? % of cases; "
        r"give a threshold or enhance all",
        split.reason,
    )
    assert split.separability == pytest.approx(brute_force_eta(scores)[0])
    heaped = split_scores(np.random.default_rng(0).normal(10, 1, 100))
    assert "reaches that in 100 % of cases" in heaped.reason
    # the share of uniform samples, simulated anew
    rng = np.random.default_rng(99)
    share = np.mean([brute_force_eta(rng.random(25))[0] >= split.separability for _ in range(400)])
    assert split.p_value == pytest.approx(share, abs=0.1)


GROUPS = {
    "normal": lambda rng, n: rng.normal(10, 2, n),
    "uniform": lambda rng, n: rng.random(n),
    "dB": lambda rng, n: np.round(rng.normal(10, 2, n), 1),
    "Poisson 0.1": lambda rng, n: rng.poisson(0.1, n),
    "Poisson 0.5": lambda rng, n: rng.poisson(0.5, n),
    "Poisson 2": lambda rng, n: rng.poisson(2, n),
    "Poisson 100": lambda rng, n: rng.poisson(100, n),
    "coin": lambda rng, n: rng.integers(0, 2, n),
    "die": lambda rng, n: rng.integers(1, 7, n),
}


@pytest.mark.parametrize("size", [25, 100])
@pytest.mark.parametrize("kind", GROUPS)
def test_one_group_is_rarely_split(kind, size):
    rng = np.random.default_rng(11)
    found = [split_scores(GROUPS[kind](rng, size)).threshold is not None for _ in range(300)]
    # 5 % wanted, of uniform samples; 7 % allowed, with the chance of 300 repetitions (standard error 1.3 %)
    assert np.mean(found) <= 0.07


@pytest.mark.parametrize("size", [25, 100])
def test_two_clear_groups_are_found(size):
    rng = np.random.default_rng(12)
    few = size // 3
    for make in (
        lambda: np.r_[rng.normal(6, 1, few), rng.normal(13, 1, size - few)],
        lambda: np.r_[rng.poisson(40, few), rng.poisson(120, size - few)],
        lambda: np.r_[np.round(rng.normal(13, 1, few), 1), np.round(rng.normal(6, 1, size - few), 1)],
    ):
        assert np.mean([split_scores(make()).threshold is not None for _ in range(100)]) >= 0.95


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([], "0 scores cannot show two groups"),
        ([1, 2, 60], "3 scores cannot show two groups"),
        ([7.5] * 9, "the 9 scores are all 7.5"),
        ([math.nan, 7, 60, math.inf, 61], "3 scores cannot show two groups; 2 unknown"),
        ([0, 0, 0, 1, 1, 1], "form one group"),
    ],
)
def test_too_little_to_split(scores, reason):
    split = split_scores(scores)
    assert split.threshold is None
    assert reason in split.reason
    assert split.reason.endswith("give a threshold or enhance all")
    assert split.good == (None,) * len(scores)


def test_unknown_scores_are_left_out():
    split = split_scores([math.nan, 5, 6, 7, -math.inf, 60, 62, 65])
    assert split.good == (None, False, False, False, None, True, True, True)
    assert split.reason.endswith("; 2 unknown")


def test_a_given_threshold_is_used_as_it_is():
    split = split_scores([5, 6, math.nan, 7], 6)
    assert split == split_scores([5, 6, math.nan, 7], np.float32(6))
    assert split.threshold == 6
    assert split.good == (False, False, None, True)
    assert split.reason == "given: 1 above 6, 2 not; 1 unknown"
    assert split.p_value is None
    assert split_scores([], 6).good == ()
    assert split_scores([1, 2], 6).separability == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], math.nan), "got nan"),
        (([1, 2], "auto"), "got 'auto'"),
        (([[1, 2]],), r"shape \(1, 2\)"),
        ((["a", "b"],), "dtype <U1"),
        (([1j],), "complex"),
    ],
)
def test_wrong_scores(arguments, message):
    with pytest.raises(ParameterError, match=message):
        split_scores(*arguments)


@pytest.mark.parametrize("size", [25, 5000])
def test_the_simulation_is_fast_and_always_the_same(size):
    from napari_nst.session import quality

    scores = np.random.default_rng(size).normal(size=size)
    split_scores(scores)  # imports
    quality._uniform_separability.cache_clear()
    start = time.process_time()
    first = split_scores(scores)
    assert time.process_time() - start < 0.5
    quality._uniform_separability.cache_clear()
    assert split_scores(scores) == first


# --- measures -------------------------------------------------------------------------------------------------------


def test_a_good_mosaic_measures_better_than_a_poor_one():
    good, poor = (
        cone_mosaic((185, 185), spacing=8, seed=4, psf_fwhm=fwhm, photons=photons, vessel=False)
        for fwhm, photons in ((0.3, 6000), (0.7, 150))
    )
    better, worse = measure_patch(good.image), measure_patch(poor.image)
    assert better.ring > worse.ring + 3
    assert better.spacing == pytest.approx(8, rel=0.2)
    assert better.cones == pytest.approx(len(good.cones), rel=0.15)
    assert math.isfinite(better.aiq)
    assert better.valid_fraction == 1
    assert all(type(value) is float for value in better)


def test_the_border_does_not_count():
    mosaic = cone_mosaic((185, 185), spacing=8, seed=4, vessel=False)
    valid = np.ones((185, 185), bool)
    valid[:60] = False
    replaced = np.where(valid, mosaic.image, np.nan)
    found = measure_patch(replaced, valid)
    assert found == measure_patch(np.where(valid, mosaic.image, 255.0), valid)
    assert found == measure_patch(replaced)
    assert found.valid_fraction == pytest.approx(125 / 185)
    inside = np.count_nonzero(mosaic.cones[:, 0] >= 60)
    assert found.cones == pytest.approx(inside, rel=0.15)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("side", [1, 3, 20, 40, 185])
def test_what_cannot_be_measured_is_nan_without_warnings(dtype, side):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (np.zeros((side, side)), np.full((side, side), 60000), rng.integers(0, 255, (side, side))):
            found = measure_patch(image.astype(dtype))
            assert found.valid_fraction == 1
            assert not any(map(math.isinf, found))
            if np.ptp(image) == 0:
                assert all(map(math.isnan, found[:4]))
        nothing = measure_patch(rng.random((side, side)), np.zeros((side, side), bool))
        assert nothing.valid_fraction == 0
        assert all(map(math.isnan, nothing[:4]))


@pytest.mark.parametrize(
    ("array", "valid", "message"),
    [
        (np.ones((9, 9, 3)), None, r"patch has shape \(9, 9, 3\)"),
        (np.ones((0, 9)), None, r"patch has shape \(0, 9\)"),
        (np.ones((9, 9), complex), None, "complex128"),
        (np.ones((9, 9)), np.ones((9, 8), bool), r"mask has shape \(9, 8\)"),
    ],
)
def test_what_is_no_patch(array, valid, message):
    with pytest.raises(ImageError, match=message):
        measure_patch(array, valid)


# --- markers --------------------------------------------------------------------------------------------------------

IMAGE = "Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg.tif"
SHAPE = (300, 360)


@pytest.fixture
def patches():
    return PatchCropper().plan(SHAPE, IMAGE)


@pytest.mark.parametrize("name", ["{name}.csv", "{stem}.csv", "{stem}_coords.csv"])
def test_markers_of_patches(tmp_path, patches, name):
    for count, patch in enumerate(patches[:-1]):
        file = tmp_path / name.format(name=patch.name, stem=patch.name.removesuffix(".tif"))
        file.write_text("".join(f"{5 + i},100.5\n" for i in range(count)))
    counts, summary = count_markers(tmp_path, patches)
    assert counts[:-1].tolist() == list(range(len(patches) - 1))
    assert math.isnan(counts[-1])
    assert summary.startswith(f"{len(patches) - 1} of {len(patches)} patches have markers, ")
    assert patches[-1].name in summary


@pytest.mark.parametrize("name", ["{}.csv", "{}_coords.csv"])
@pytest.mark.parametrize("base", [0, 1])
def test_markers_of_whole_images_are_those_in_the_window(tmp_path, patches, name, base):
    rng = np.random.default_rng(2)
    points = rng.uniform(0, np.subtract(SHAPE, 1), (200, 2))
    path = tmp_path / name.format(IMAGE.removesuffix(".tif"))
    np.savetxt(path, points[:, ::-1] + base, delimiter=",")
    counts, summary = count_markers(tmp_path, patches, base=base, image_shapes={IMAGE: SHAPE})
    for patch, count in zip(patches, counts, strict=True):
        y, x = points.T
        inside = (y > patch.y - 0.5) & (y < patch.y + 184.5) & (x > patch.x - 0.5) & (x < patch.x + 184.5)
        assert count == inside.sum()
    assert "unknown" not in summary


def test_the_own_file_of_a_patch_comes_before_that_of_its_image(tmp_path, patches):
    (tmp_path / f"{IMAGE}.csv").write_text("1,1\n2,2\n")
    (tmp_path / f"{patches[0].name}.csv").write_text("")
    counts, _ = count_markers(tmp_path, patches)
    assert counts[0] == 0  # a detector that found nothing, which is not the same as no file
    assert counts[1] == 0


def test_reflections_in_the_padding_are_not_counted(tmp_path):
    (patch,) = PatchCropper().plan((100, 150), "small.tif")
    top, _, left, _ = patch.padding
    inside, outside = (left + 3, top + 3), (left - 3, top + 3)
    (tmp_path / f"{patch.name}.csv").write_text("".join(f"{x},{y}\n" for x, y in (inside, outside)))
    assert count_markers(tmp_path, [patch])[0].tolist() == [1]


def test_markers_outside_of_the_image(tmp_path, patches):
    (tmp_path / f"{IMAGE}.csv").write_text("1,1\n400,2\n")
    with pytest.raises(FileError, match="1 of 2 points lie outside the image of 300 × 360"):
        count_markers(tmp_path, patches, image_shapes={IMAGE: SHAPE})
    (tmp_path / f"{IMAGE}.csv").unlink()
    (tmp_path / f"{patches[0].name}.csv").write_text("1,1\n185,2\n")
    with pytest.raises(FileError, match="1 of 2 points lie outside the image of 185 × 185"):
        count_markers(tmp_path, patches)


def test_markers_of_another_session(tmp_path, patches):
    (tmp_path / "other.csv").write_text("1,1\n")
    with pytest.raises(FileError, match="None of the 1 marker files") as caught:
        count_markers(tmp_path, patches)
    assert "'other.csv'" in str(caught.value)
    assert patches[0].name in str(caught.value)


def test_no_markers(tmp_path, patches):
    with pytest.raises(FileError, match=r"has no \.csv file"):
        count_markers(tmp_path, patches)
    with pytest.raises(FileError, match="Cannot read the folder of markers"):
        count_markers(tmp_path / "absent", patches)


# --- a table of one's own -------------------------------------------------------------------------------------------

NAMES = {"CROP_1_a(9,0).tif": "a(9,0).tif", "CROP_2_a(9,0).tif": "a(9,0).tif", "CROP_3_b.tif": "b.tif"}


@pytest.mark.parametrize(
    "text",
    [
        'patch,score\n"CROP_1_a(9,0).tif",1.5\nCROP_3_b,-2\n',
        "\ufeffPatch;Note;Score\r\nCROP_1_a(9,0);x;1,5\r\nCROP_3_b.tif;;-2\r\n",
        'score,patch\n1.5,"CROP_1_a(9,0)"\n,"CROP_2_a(9,0)"\n-2e0, CROP_3_b.tif\n',
    ],
)
def test_scores_of_patches(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode())
    found = read_quality_table(path, NAMES)
    assert list(found) == list(NAMES)
    assert list(found.values()) == pytest.approx([1.5, math.nan, -2], nan_ok=True)


def test_the_score_of_an_image_is_that_of_its_patches(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text('image,score\n"a(9,0)",7\n')
    assert list(read_quality_table(path, NAMES).values()) == pytest.approx([7, 7, math.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patch,value\na,1\n", "no column score: the first line has patch, value"),
        ("name,score\na,1\n", "no column patch (or image): the first line has name, score"),
        (
            "patch,score\nCROP_3_b,1\nCROP_4_b,1\n",
            "line 3: the session has no patch 'CROP_4_b'; the most similar name is",
        ),
        ("image,score\nc_long_name,1\n", "line 2: the session has no image 'c_long_name'"),
        ("patch,score\nCROP_3_b,1\nCROP_3_b.tif,1\n", "line 3: 'CROP_3_b.tif' has a score already, in line 2"),
        ("patch,score\nCROP_3_b,good\n", "line 2: the score of 'CROP_3_b.tif' must be a number, got 'good'"),
        ("patch,score\nCROP_3_b,inf\n", "line 2: the score of 'CROP_3_b.tif' must be a number, got 'inf'"),
        ('patch,score\nCROP_3_b,"1,5"\n', "line 2: the score of 'CROP_3_b.tif' must be a number, got '1,5'"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=re.escape(message)):
        read_quality_table(path, NAMES)
