"""Range corrections against their rules written out, and the faults of the documented system, one by one."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst.errors import ImageError, ParameterError, StyleTransferWarning
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.imaging.range_correction import RangeCorrection, RangeStatistics, correct_range

GRID = list(itertools.product(("zero", "std", "var"), ("lower", "both"), ("median", "border"), ("local", "global")))
NAMES = [f"{m}_{r}_{p}_{c}" for m, r, p, c in GRID]


@pytest.fixture(scope="module")
def patches():
    made = [cone_mosaic((40, 50), seed=seed).image for seed in range(3)]
    for number, patch in enumerate(made):
        patch[number : number + 3, 5:20] = 0
    return made


@pytest.fixture(scope="module")
def statistics(patches):
    return RangeStatistics.of(patches)


def corrected(patch, rule, **options):
    """Without the warning of the legacy rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StyleTransferWarning)
        return correct_range(patch, rule, **options)


def integer(value, dtype=np.uint8):
    return int(np.clip(np.rint(value), np.iinfo(dtype).min, np.iinfo(dtype).max))


# Names


@pytest.mark.parametrize("name", [*NAMES, "zero_median_local", "zero_border_global", "std_both_border_local_k1.5"])
def test_names_go_there_and_back(name):
    assert str(RangeCorrection.parse(name)) == name


@pytest.mark.parametrize(("method", "range_method", "replace", "correct"), GRID)
def test_names_are_the_documented_ones(method, range_method, replace, correct):
    made = RangeCorrection(method, range_method, replace, correct)
    assert str(made) == f"{method}_{range_method}_{replace}_{correct}"


@given(st.sampled_from(GRID), st.floats(0, 1e300, exclude_min=True))
def test_any_correction_comes_back_from_its_name(choice, k):
    method, range_method, replace, correct = choice
    made = RangeCorrection(method, range_method, replace, correct, k)
    assert RangeCorrection.parse(str(made)) == made
    assert ("k" in str(made).rpartition("_")[2][:1]) == (k != 1)


@pytest.mark.parametrize(
    "text", ["", "std", "std_both_border", "std_border_local", "var_border_both_global", "std_both_border_global_nst",
             "std_both_border_local_k", "std_both_border_local_k0", "std_both_border_local_knan", "mean_both_border_local",
             "std_std_both_border_local", "k2"],
)  # fmt: skip
def test_other_names_are_refused(text):
    with pytest.raises(ParameterError):
        RangeCorrection.parse(text)


@pytest.mark.parametrize(
    "setting",
    [{"method": "mad"}, {"range_method": "upper"}, {"range_method": None}, {"replace": None}, {"replace": "mean"},
     {"correct": "all"}, {"k": 0}, {"k": -1.0}, {"k": np.nan}, {"k": np.inf}, {"k": "1"}, {"k": True}],
)  # fmt: skip
def test_settings_out_of_range(setting):
    with pytest.raises(ParameterError, match=f"^{next(iter(setting))}: "):
        RangeCorrection(**setting)


# The rules


@pytest.mark.parametrize("k", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("replace", ["median", "border"])
@pytest.mark.parametrize("range_method", ["lower", "both"])
def test_the_local_std_rule_step_by_step(range_method, replace, k, patches):
    patch = patches[0]
    before = patch.copy()
    out, changed, report = correct_range(patch, RangeCorrection("std", range_method, replace, "local", k))
    expected = patch.astype(float)
    low = patch.mean() - k * patch.std()
    expected[patch <= low] = integer(np.median(patch) if replace == "median" else low)
    if range_method == "both":
        high = expected.mean() + k * expected.std()  # of what the first step left
        median = np.median(expected)
        expected[expected >= high] = integer(median if replace == "median" else high)
    assert np.array_equal(out, expected)
    assert out.dtype == np.uint8
    assert np.array_equal(changed, out != patch)
    assert np.array_equal(patch, before)
    assert report["changed"] == changed.sum() > 0
    assert report["share"] == changed.mean()
    assert [step["side"] for step in report["steps"]] == (["lower", "upper"] if range_method == "both" else ["lower"])
    assert report["steps"][0]["limit"] == pytest.approx(low)
    assert report["steps"][0]["pixels"] == (patch <= low).sum()


@pytest.mark.parametrize("replace", ["median", "border"])
def test_the_global_std_rule_takes_the_statistics_of_all_patches(replace, patches, statistics):
    together = np.concatenate([p.ravel() for p in patches]).astype(float)
    low, high = together.mean() - together.std(), together.mean() + together.std()
    median = np.median(together)
    for patch in patches:
        expected = patch.copy()
        expected[patch <= low] = integer(median if replace == "median" else low)
        expected[expected >= high] = integer(median if replace == "median" else high)
        rule = RangeCorrection("std", "both", replace, "global")
        assert np.array_equal(correct_range(patch, rule, statistics=statistics).image, expected)


@pytest.mark.parametrize(
    "dtype", ["uint8", ">u2", "uint16", "int16", "int32", "uint64", "float16", "float32", "float64"]
)
def test_every_type_stays_what_it_is(dtype, patches):
    patch = (patches[0] // 2).astype(dtype)
    out, changed, report = correct_range(patch, RangeCorrection())
    assert out.dtype == np.dtype(dtype)
    assert out.shape == patch.shape
    assert changed.any()
    reference = correct_range(patches[0].astype(float) // 2, RangeCorrection())
    np.testing.assert_allclose(out.astype(float), reference.image, atol=0.51)
    assert isinstance(report["steps"][0]["value"], (int, float))


@settings(max_examples=8)
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_masked_pixels_are_neither_touched_nor_counted(name, data):
    dtype = data.draw(st.sampled_from(["uint8", "int16", "float32"]))
    shape = data.draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    elements = {"width": 32} if dtype == "float32" else {}
    values = (st.floats if elements else st.integers)(0, 255, **elements)
    patch = data.draw(arrays(dtype, shape, elements=values))
    mask = data.draw(arrays(bool, shape))
    mask[0, 0], patch[0, 0] = True, 1
    hidden = np.where(mask, patch, np.nan if dtype == "float32" else 255).astype(dtype)
    rule = RangeCorrection.parse(name)
    given_ = {"statistics": RangeStatistics.of([patch], [mask])} if rule.correct == "global" else {}
    out, changed, report = corrected(hidden, rule, mask=mask, **given_)
    alone = corrected(patch[mask][np.newaxis], rule, **given_)
    assert np.array_equal(out[mask], alone.image[0])
    assert np.array_equal(changed[mask], alone.changed[0])
    assert not changed[~mask].any()
    assert np.array_equal(out[~mask], hidden[~mask], equal_nan=True)
    assert report == alone.report
    assert report["pixels"] == mask.sum()


# The faults of the documented system


def test_the_variance_rule_changes_nothing_and_says_so(patches, statistics):
    rule = RangeCorrection.parse("var_both_border_global")
    with pytest.warns(StyleTransferWarning, match=r"var_both_border_global.*8-bit.*nothing changes.*'std'"):
        out, changed, report = correct_range(patches[0], rule, statistics=statistics)
    assert not changed.any()
    assert np.array_equal(out, patches[0])
    assert report["changed"] == 0
    # The rule that was meant flattens the tails.
    assert (
        0.1 < correct_range(patches[0], RangeCorrection(correct="global"), statistics=statistics).changed.mean() < 0.5
    )


def test_the_variance_rule_is_the_variance_where_it_fits():
    patch = np.array([[0.0, 0.2, 0.4, 0.5, 0.5, 0.6, 0.8, 1.0]])
    low = patch.mean() - patch.var()
    expected = np.where(patch <= low, low, patch)
    high = expected.mean() + expected.var()
    expected = np.where(expected >= high, high, expected)
    np.testing.assert_allclose(corrected(patch, RangeCorrection("var")).image, expected, rtol=1e-12)


def test_on_real_images_the_variance_lies_outside_of_eight_bits(aoslo):
    image = aoslo("0075").data
    assert image.dtype == np.uint8
    assert not corrected(image, RangeCorrection("var")).changed.any()
    assert correct_range(image, RangeCorrection("std")).changed.any()


@pytest.mark.parametrize("range_method", ["lower", "both", None])
@pytest.mark.parametrize("replace", ["median", "border"])
def test_zeros_are_replaced_by_what_is_local(replace, range_method, patches):
    patch = patches[0]
    light = patch[patch > 0].astype(float)
    out, changed, _ = correct_range(patch, RangeCorrection("zero", range_method, replace, "local"))
    border = max(light.mean() - light.std(), light.min())
    expected = np.where(patch == 0, integer(np.median(light) if replace == "median" else border), patch)
    assert np.array_equal(out, expected)
    assert np.array_equal(changed, patch == 0)


@pytest.mark.parametrize("replace", ["median", "border"])
def test_global_zeros_are_replaced_by_something_else_than_zero(replace, patches, statistics):
    light = np.concatenate([p[p > 0] for p in patches]).astype(float)
    border = max(light.mean() - light.std(), light.min())
    value = integer(np.median(light) if replace == "median" else border)
    assert value > 0
    for patch in patches:
        out = correct_range(patch, RangeCorrection("zero", "lower", replace, "global"), statistics=statistics).image
        assert np.array_equal(out, np.where(patch == 0, value, patch))


def test_the_border_of_a_dim_patch_is_not_zero_again():
    patch = np.array([[0, 1, 1, 1, 90]], np.uint8)  # mean less deviation of what is above 0 lies below 0
    assert correct_range(patch, RangeCorrection("zero", replace="border")).image.tolist() == [[1, 1, 1, 1, 90]]


def test_values_below_zero_count_as_zero():
    patch = np.array([[-5.0, 0.0, 2.0, 4.0, 6.0]])
    assert correct_range(patch, RangeCorrection("zero", replace="median")).image.tolist() == [[4, 4, 2, 4, 6]]


def test_a_black_patch_takes_from_the_others_or_is_reported(statistics):
    black = np.zeros((5, 5), np.uint8)
    with pytest.raises(ImageError, match="no value above 0"):
        correct_range(black, RangeCorrection("zero"))
    assert (correct_range(black, RangeCorrection("zero", correct="global"), statistics=statistics).image > 0).all()


# Statistics of many patches


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", ">i2"])
def test_statistics_of_small_integers_are_exact(dtype, positive, rng):
    info = np.iinfo(dtype)
    images = [rng.integers(info.min, info.max, (n, 70), endpoint=True).astype(dtype) for n in (3, 40, 21)]
    masks = [rng.random(image.shape) > 0.4 for image in images]
    together = np.concatenate([i[m] for i, m in zip(images, masks, strict=True)]).astype(float)
    together = together[together > 0] if positive else together
    known = RangeStatistics.of(images, masks).compute()
    found = known.positive if positive else known.everything
    assert found.pixels == together.size
    assert found.median == np.median(together)
    assert found.minimum == together.min()
    np.testing.assert_allclose(found[1:4], [together.mean(), together.std(), together.var()], rtol=1e-12)


@given(
    st.lists(
        arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-1e6, 1e6)), min_size=1
    )
)
def test_statistics_of_small_patches_of_floats_are_exact(images):
    together = np.concatenate([image.ravel() for image in images])
    found = RangeStatistics.of(images).compute().everything
    assert found.median == np.median(together)
    np.testing.assert_allclose(
        found[1:4],
        [together.mean(), together.std(), together.var()],
        rtol=1e-6,
        atol=1e-7 * (1 + np.abs(together).max()),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_the_median_of_large_patches_is_right_to_a_thousandth_in_rank(dtype, rng):
    images = [(rng.gamma(2, 1000 * scale, (90, 80 + scale))).astype(dtype) for scale in (1, 3, 7)]
    together = np.sort(np.concatenate([image.ravel() for image in images]))
    median = RangeStatistics.of(images).compute().everything.median
    assert abs(np.searchsorted(together, median) / together.size - 0.5) <= 0.001


def test_the_order_of_patches_and_how_they_come_do_not_matter(patches):
    one = RangeStatistics.of(patches).compute().everything
    other = RangeStatistics()
    for patch in patches[::-1]:
        assert other.update(patch) is other
    np.testing.assert_allclose(one, other.compute().everything, rtol=1e-12)


def test_of_nothing_there_are_no_statistics(patches):
    found = RangeStatistics().compute().everything
    assert found.pixels == 0
    assert np.isnan(found[1:]).all()
    with pytest.raises(ImageError, match="no value among"):
        correct_range(patches[0], RangeCorrection(correct="global"), statistics=RangeStatistics())


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32"])
def test_statistics_sent_to_another_process_do_the_same(dtype, patches):
    images = [patch.astype(dtype) for patch in patches]
    collected = RangeStatistics.of(images)
    read = pickle.loads(pickle.dumps(collected.compute()))
    assert read == collected.compute()
    for name in ("std_both_border_global", "zero_median_global"):
        rule = RangeCorrection.parse(name)
        one, other = (correct_range(images[0], rule, statistics=s) for s in (collected, read))
        assert np.array_equal(one.image, other.image)
        assert one.report == other.report


def test_black_patches_have_statistics_too():
    known = RangeStatistics.of([np.zeros((3, 3), np.uint8)]).compute()
    assert known.positive.pixels == 0
    with pytest.raises(ImageError, match="no value above 0"):
        correct_range(np.eye(3, dtype=np.uint8), RangeCorrection("zero", correct="global"), statistics=known)


# Bad input


def test_global_statistics_must_be_given(patches):
    with pytest.raises(ParameterError, match=r"global statistics are needed.*RangeStatistics\.of"):
        correct_range(patches[0], RangeCorrection(correct="global"))


def test_statistics_of_another_type_do_not_fit(patches, statistics):
    rule = RangeCorrection(correct="global")
    with pytest.raises(ImageError, match=r"uint16.*uint8"):
        correct_range(patches[0].astype(np.uint16), rule, statistics=statistics)
    with pytest.raises(ImageError, match=r"float64.*uint8"):
        RangeStatistics.of([patches[0], patches[0].astype(float)])


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (np.zeros((2, 3, 3)), "gray image"),
        (np.array([[1, np.nan]]), "NaN or infinite"),
        (np.eye(2, dtype=bool), "bool"),
    ],
)
def test_patches_that_cannot_be_corrected(patch, message):
    with pytest.raises(ImageError, match=message):
        correct_range(patch, RangeCorrection())


def test_as_many_masks_as_images():
    for masks in ([], [None, None]):
        with pytest.raises(ImageError, match="not as many masks as patches"):
            RangeStatistics.of([np.eye(3)], masks)
