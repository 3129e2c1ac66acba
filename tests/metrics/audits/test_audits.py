"""The audits of an enhancer, against enhancers whose inventions are known, and the phantom measure against cones.py."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics import (
    density_bias,
    detect_cones,
    erase_cones,
    match_cones,
    phantom_ratio,
    phantom_test,
    repeatability,
    ring_prominence,
    style_agreement,
)
from napari_nst.metrics.audits.density_bias import rescale_style

EVALUATION = Path(__file__).resolve().parents[4] / "shared" / "evaluation" / "cones.py"


def raw(target, style):
    return target


def paint_style(target, style):
    """All of the result is invented."""
    return style


@pytest.fixture(scope="module")
def mosaic():
    return cone_mosaic((120, 150), 8.0, seed=1, vessel=False)


@pytest.fixture(scope="module")
def others():
    """Other places: styles."""
    return [cone_mosaic((120, 150), 8.0, seed=seed, vessel=False).image for seed in (11, 12, 13)]


def spots(shape, places, heights, sigma):
    rows, columns = np.indices(shape)
    drawn = np.zeros(shape)
    for (row, column), height in zip(places, heights, strict=True):
        drawn += height * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))
    return drawn


# ------------------------------------------------------------------------------------------------------ erasing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_outside_of_the_discs_nothing_changes_and_inside_no_cone_is_left(dtype):
    made = cone_mosaic((120, 150), 8.0, seed=3, vessel=False, dtype=np.uint8 if dtype == np.uint8 else np.uint16)
    image = made.image.astype(dtype)
    before = image.copy()
    hole = erase_cones(image, cones=made.cones, spacing=8.0, seed=5)
    assert hole.image.dtype == dtype
    assert np.array_equal(image, before)
    away = np.min([np.hypot(*(np.indices(image.shape) - c[:, None, None])) for c in hole.centres], axis=0)
    assert np.array_equal(hole.image[away > hole.radius + 2], image[away > hole.radius + 2])
    assert hole.radius == pytest.approx(13 * 8 / 8.25)

    truly = np.min([np.hypot(*(made.cones - c).T) for c in hole.centres], axis=0) < hole.core
    assert np.array_equal(hole.erased, np.flatnonzero(truly))
    assert len(hole.erased) >= 4
    found = detect_cones(hole.image, spacing=8.0).points
    left = np.min([np.hypot(*(found - c).T) for c in hole.centres], axis=0) < hole.core
    there = detect_cones(image, spacing=8.0).points
    whole = np.min([np.hypot(*(there - c).T) for c in hole.centres], axis=0) < hole.core
    assert left.sum() <= 1 < 4 <= whole.sum()


def test_discs_scale_with_the_spacing_and_keep_apart(mosaic):
    coarse = cone_mosaic((200, 240), 14.0, seed=1, vessel=False)
    for made, spacing in ((mosaic, 8.0), (coarse, 14.0)):
        for seed in range(4):
            hole = erase_cones(made.image, cones=made.cones, spacing=spacing, seed=seed)
            assert hole.radius == pytest.approx(13 * spacing / 8.25)
            assert np.hypot(*(hole.centres[0] - hole.centres[1])) > 2.5 * hole.radius
            low, high = hole.centres.min(axis=0), hole.centres.max(axis=0)
            assert (low >= hole.radius).all()
            assert (high <= np.array(made.image.shape) - hole.radius).all()
    same, other = (erase_cones(mosaic.image, cones=mosaic.cones, seed=seed) for seed in (2, 3))
    assert np.array_equal(same.image, erase_cones(mosaic.image, cones=mosaic.cones, seed=2).image)
    assert not np.array_equal(same.centres, other.centres)


def test_without_marks_the_cones_are_detections_and_the_spacing_is_theirs(mosaic):
    hole = erase_cones(mosaic.image)
    assert match_cones(hole.cones, mosaic.cones, tolerance_px=2.8).dice > 0.93
    assert hole.spacing == pytest.approx(8.0, rel=0.15)


def test_a_mask_keeps_the_discs_away():
    made = cone_mosaic((120, 200), 8.0, seed=4, vessel=False)
    mask = np.zeros(made.image.shape, bool)
    mask[:, 110:] = True
    for seed in range(5):
        hole = erase_cones(made.image, cones=made.cones, spacing=8.0, discs=1, seed=seed, mask=mask)
        assert np.array_equal(hole.image[~mask], made.image[~mask])
        assert not np.array_equal(hole.image, made.image)
        assert hole.centres[0, 1] > 110 + hole.radius


# --------------------------------------------------------------------------------------------------- phantom ratio


@given(st.floats(0.05, 3), st.floats(1e-3, 1e4), st.floats(-1e4, 1e4))
@settings(max_examples=15, deadline=None)
def test_the_ratio_is_that_of_the_heights_whatever_scale_and_offset(height, scale, offset):
    # Far apart, so that the response of one spot is not in that of the next.
    cones = np.array([[r, c] for r in (20, 100) for c in (20, 60, 100)])
    drawn = spots((120, 120), [*cones, (60, 60)], [1.0] * 6 + [height], 1.5)
    ratio = phantom_ratio(offset + scale * drawn, [(60, 60)], [*cones, (60, 60)], spacing=8.25)
    assert ratio == pytest.approx(height, rel=1e-2)


def test_the_ratio_is_a_median_and_sees_cores_only():
    cones = np.array([[r, c] for r in (20, 100) for c in (20, 60, 100)])
    drawn = spots((120, 120), [*cones, (56, 57), (62, 66), (64, 56)], [1.0] * 6 + [0.2, 0.3, 0.9], 1.0)
    # In the rim, between 9 and 13 pixels, nothing counts.
    rim = drawn + spots((120, 120), [(49, 60)], [2.0], 1.0)
    for image in (drawn, rim):
        assert phantom_ratio(image, [(60, 60)], cones, spacing=8.25) == pytest.approx(0.3, abs=0.05)


def test_the_ratio_is_zero_where_nothing_is_drawn_and_nan_without_real_cones():
    cones = np.array([[20, 20], [20, 100]])
    dome = spots((120, 120), [(60, 60)], [-1.0], 8.0)  # a hollow has no bright maximum in its middle
    assert phantom_ratio(dome + spots((120, 120), cones, [1, 1], 1.5), [(60, 60)], cones, spacing=8.25) == 0
    assert math.isnan(phantom_ratio(np.full((120, 120), 7.3), [(60, 60)], cones, spacing=8.25))
    assert math.isnan(phantom_ratio(dome, [(60, 60)], [(60, 62)], spacing=8.25))


@pytest.fixture(scope="module")
def evaluation():
    if not EVALUATION.is_file():
        pytest.skip(f"the independent implementation is not beside this checkout (looked for {EVALUATION})")
    spec = importlib.util.spec_from_file_location("cones_evaluation", EVALUATION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_images_and_ratios_are_those_of_the_independent_implementation(evaluation, seed):
    made = cone_mosaic((150, 150), 8.25, seed=seed, vessel=False)
    xy = made.cones[:, ::-1] + 1
    theirs, centres = evaluation.erase_cones(made.image, xy, seed=seed)
    ours = erase_cones(made.image, cones=made.cones, spacing=8.25, seed=seed)
    assert np.array_equal(ours.image, theirs)
    assert ours.centres == pytest.approx(centres[:, ::-1])
    for image in (theirs, made.image, ndimage.gaussian_filter(theirs.astype(float), 1)):
        ratio = phantom_ratio(image, ours.centres, made.cones, spacing=8.25)
        assert ratio == pytest.approx(evaluation.phantom_ratio(image, centres, xy), abs=2e-3)


def test_annotated_images_too(evaluation, marked):
    for item in marked[::8]:
        xy = item.cones[:, ::-1] + 1
        theirs, centres = evaluation.erase_cones(item.image, xy)
        ours = erase_cones(item.image, cones=item.cones, spacing=8.25)
        assert np.array_equal(ours.image, theirs)
        ratio = phantom_ratio(theirs, ours.centres, item.cones, spacing=8.25)
        assert ratio == pytest.approx(evaluation.phantom_ratio(theirs, centres, xy), abs=2e-3)


# ---------------------------------------------------------------------------------------------------- phantom test


def test_who_changes_nothing_draws_nothing(mosaic, others):
    test = phantom_test(raw, mosaic.image, others[0], cones=mosaic.cones, seeds=(0, 1))
    assert test.ratios == test.ratios_before
    assert test.detected == test.detected_before
    assert 0 <= test.ratio < 0.2
    assert test.seeds == (0, 1)
    assert "0." in str(test)
    json.dumps(test.to_dict(), allow_nan=False)


def test_who_restores_what_cannot_be_known_draws_cones_as_strong_as_real_ones(mosaic, others):
    test = phantom_test(lambda target, style: mosaic.image, mosaic.image, others[0], cones=mosaic.cones)
    assert test.ratio == pytest.approx(1, abs=0.25)
    assert sum(test.detected) >= 0.8 * sum(test.erased) > 10
    assert sum(test.detected_before) <= 0.1 * sum(test.erased)


def test_a_fainter_phantom_is_reported_as_fainter(mosaic, others):
    def some(part):
        def enhance(target, style):
            return (1 - part) * target.astype(float) + part * mosaic.image

        return phantom_test(enhance, mosaic.image, others[0], cones=mosaic.cones, seeds=(0,)).ratio

    nothing, third, all_ = some(0), some(0.35), some(1)
    assert nothing < 0.15 < 0.25 < third < 0.5 < 0.75 < all_


def test_an_enhancer_that_works_in_place_does_no_harm(mosaic, others):
    def vandal(target, style):
        target[:] = 0
        style[:] = 0
        return target

    before = mosaic.image.copy(), others[0].copy()
    test = phantom_test(vandal, mosaic.image, others[0], cones=mosaic.cones, seeds=(0,))
    assert np.array_equal(mosaic.image, before[0])
    assert np.array_equal(others[0], before[1])
    assert math.isnan(test.ratio)
    assert not math.isnan(test.ratio_before)
    assert test.to_dict()["ratios"] == [None]
    assert "unknown" in str(test)


# ------------------------------------------------------------------------------------------------------ style agreement


def test_cones_that_do_not_depend_on_the_style_agree_wholly(mosaic, others):
    found = style_agreement(raw, mosaic.image, others)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert found.dice == 1
    assert [len(points) for points in found.only] == [0, 0, 0]
    assert 0.2 < found.chance_dice < 0.45
    # The ring's spacing is the distance of rows, 8 sqrt(3) / 2, in a mosaic as regular as this.
    assert 6.9 < found.spacing < 8
    json.dumps(found.to_dict(), allow_nan=False)


def test_cones_of_the_styles_agree_by_chance_only(mosaic, others):
    found = style_agreement(paint_style, mosaic.image, others, spacing=8.0)
    assert found.dice < 0.45
    assert found.dice == min(one.dice for one in found.agreements)
    # Of two independent mosaics a cone has a partner within 0.35 spacings by chance: in about 1/3 of cases, twice.
    assert all(0.2 < len(p) / n < 0.8 for p, n in zip(found.only, found.detected, strict=True))


def test_cones_that_one_style_alone_brings_are_named():
    shape, pitch = (128, 128), 16
    lattice = [(r, c) for r in range(16, 128, pitch) for c in range(16, 128, pitch)]
    invented = [(40, 40), (72, 88)]
    target = spots(shape, lattice, [1.0] * len(lattice), 2.5)

    def enhance(image, style):
        return image + (spots(shape, invented, [1.0, 1.0], 2.5) if style[0, 0] == 2 else 0)

    found = style_agreement(enhance, target, [np.full((8, 8), value) for value in (1, 2, 3)], spacing=16.0)
    assert len(found.only[0]) == len(found.only[2]) == 0
    assert found.only[1] == pytest.approx(np.array(invented, float), abs=0.5)
    # 7 × 7 cones, those at 16 and 112 are 13.6 pixels and more from the edges; two more with the second style.
    assert found.detected == (49, 51, 49)
    assert [one.dice for one in found.agreements] == pytest.approx([98 / 100, 1, 98 / 100])


def test_a_mask_leaves_out_what_is_invented_there(mosaic, others):
    mask = np.ones(mosaic.image.shape, bool)
    mask[:, 90:] = False

    def enhance(target, style):
        return np.where(mask, target, style)

    assert style_agreement(enhance, mosaic.image, others[:2], mask=mask).dice == 1
    assert style_agreement(enhance, mosaic.image, others[:2]).dice < 0.9


def test_nothing_to_see_is_said(others):
    found = style_agreement(raw, np.full((100, 100), 9, np.uint8), others)
    assert math.isnan(found.dice)
    assert found.detected == (0, 0, 0)
    assert "unknown" in str(found)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["agreements"][0]["dice"] is None


# --------------------------------------------------------------------------------------------------------- repeatability


@pytest.fixture(scope="module")
def repeats():
    """Two noisy images of one place, the second 7 rows lower and 4 columns further left."""
    made = cone_mosaic((150, 150), 8.0, seed=6, vessel=False, photons=math.inf, read_noise=0)
    rng = np.random.default_rng(0)
    noisy = [np.clip(made.image + rng.normal(0, 6, made.image.shape), 0, 255).astype(np.uint8) for _ in range(2)]
    return noisy[0][10:130, 10:140], noisy[1][17:137, 6:136]


def invent(target, style):
    """Cones at places that depend on nothing but this image's noise."""
    rng = np.random.default_rng(int(target.astype(np.int64).sum()))
    return cone_mosaic(target.shape, 8.0, seed=int(rng.integers(10**6)), vessel=False).image


def test_repeats_are_laid_on_each_other_and_agree_as_before(repeats, others):
    report = repeatability(raw, *repeats, others[0])
    assert report.shift == pytest.approx((7, -4), abs=0.2)
    assert report.overlap == pytest.approx((120 - 7) * (130 - 4) / (120 * 130), abs=0.02)
    assert report.correlation > 0.5
    assert report.same_place
    assert report.raw == report.enhanced
    assert report.raw.dice > 0.9
    assert report.gain == 0
    json.dumps(report.to_dict(), allow_nan=False)


def test_who_draws_from_noise_contradicts_itself(repeats, others):
    report = repeatability(invent, *repeats, others[0])
    assert report.raw.dice > 0.9
    assert report.enhanced.dice < 0.5
    assert report.gain < -0.4
    assert abs(report.enhanced.dice - report.enhanced.chance_dice) < 0.12


def test_a_given_shift_is_taken(repeats, others):
    # Wrong by half a spacing: by a whole one, a lattice falls onto itself in part.
    wrong = repeatability(raw, *repeats, others[0], shift=(7, 0))
    right = repeatability(raw, *repeats, others[0], shift=(7, -4))
    assert wrong.shift == (7, 0)
    assert wrong.raw.dice < 0.55 < 0.9 < right.raw.dice
    assert not wrong.same_place
    assert "different places" in str(wrong)
    assert "different places" not in str(right)


def test_repeats_may_be_of_different_sizes_and_masked(repeats, others):
    mask = np.ones((100, 130), bool)
    mask[:40] = False
    report = repeatability(raw, repeats[0], repeats[1][:100], others[0], repeat_mask=mask)
    assert report.shift == pytest.approx((7, -4), abs=0.3)
    assert report.overlap == pytest.approx(60 * 126 / (120 * 130), abs=0.02)
    assert report.raw.dice > 0.85


def test_different_places_are_reported(mosaic, others):
    assert not repeatability(raw, mosaic.image, others[1], others[0]).same_place


def test_flat_repeats_say_nothing(others):
    flat = np.full((80, 90), 3.0)
    report = repeatability(raw, flat, flat, others[0])
    assert math.isnan(report.raw.dice)
    assert math.isnan(report.gain)
    assert "unknown" in str(report)


# --------------------------------------------------------------------------------------------------- density bias


def test_the_density_of_an_untouched_target_does_not_follow(mosaic, others):
    found = density_bias(raw, mosaic.image, others[0])
    assert found.slope == 0
    assert found.spread == 0
    assert set(found.densities) == {found.target_density}
    # A hexagonal lattice of spacing 8 has 2 / (sqrt(3) 64) cones per pixel.
    assert found.target_density == pytest.approx(2 / math.sqrt(3) / 64, rel=0.1)
    json.dumps(found.to_dict(), allow_nan=False)


def test_styles_are_as_dense_as_asked_and_who_paints_them_follows(mosaic, others):
    found = density_bias(paint_style, mosaic.image, others[0])
    asked = np.array(found.factors) * found.target_density
    assert np.array(found.style_densities) == pytest.approx(asked, rel=0.15)
    assert found.slope == pytest.approx(1, abs=0.15)
    assert found.spread > 1


def test_slope_and_spread_by_their_formulas(monkeypatch, mosaic, others):
    from napari_nst.metrics.audits import density_bias as module

    # Target, style; then for each factor the resampled style and the result.
    given = iter([0.02, 0.02, 0.01, 0.018, 0.02, 0.02, 0.04, 0.025])
    monkeypatch.setattr(module, "_density", lambda *_: next(given))
    found = density_bias(raw, mosaic.image, others[0], factors=(0.5, 1, 2))
    assert found.slope == pytest.approx(np.polyfit(np.log([0.01, 0.02, 0.04]), np.log([0.018, 0.02, 0.025]), 1)[0])
    assert found.spread == pytest.approx(0.007 / 0.021)


@pytest.mark.parametrize("zoom", [0.7, 1.4])
def test_a_style_is_resampled_to_the_spacing(zoom):
    style = cone_mosaic((160, 200), 9.0, seed=2, vessel=False).image
    made = rescale_style(style, zoom)
    assert made.shape == style.shape
    assert made.dtype == style.dtype
    assert style.min() <= made.min() <= made.max() <= style.max()
    assert ring_prominence(made).spacing == pytest.approx(zoom * ring_prominence(style).spacing, rel=0.06)
    assert abs(made.mean() - style.mean()) < 0.1 * style.mean()


def test_interpolation_adds_no_values_beyond_those_of_the_style():
    # Cubic interpolation overshoots at edges; in 8 bits black would stand beside white.
    edges = np.where(np.indices((64, 64)).sum(axis=0) % 16 < 8, 0.0, 255.0)
    for zoom in (0.8, 1.3):
        made = rescale_style(edges, zoom)
        assert (made.min(), made.max()) == (0, 255)
        assert np.array_equal(rescale_style(edges.astype(np.uint8), zoom), np.rint(made))


def test_no_cones_no_slope(mosaic, others):
    def unused(target, style):
        raise AssertionError

    flat = np.zeros((90, 90), np.uint8)
    for target, style in ((flat, others[0]), (mosaic.image, flat)):
        found = density_bias(unused, target, style)
        assert math.isnan(found.slope)
        assert "nothing can be said" in str(found)
        assert found.to_dict()["slope"] is None
    wiped = density_bias(lambda target, style: np.zeros_like(target), mosaic.image, others[0], factors=(0.5, 1))
    assert wiped.densities == (0, 0)
    assert math.isnan(wiped.slope)
    assert math.isnan(wiped.spread)
    assert "unknown" in str(wiped)


# ------------------------------------------------------------------------------------------------------- bad input


def test_marks_outside_of_the_image_are_refused(mosaic):
    with pytest.raises(ParameterError, match=r"1 of 2 cones lie outside .* row 20, column 150"):
        erase_cones(mosaic.image, cones=[(20, 20), (20, 150)])
    with pytest.raises(ParameterError, match="x before y"):
        erase_cones(mosaic.image, cones=mosaic.cones[:, ::-1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cones": np.empty((0, 2))}, "There are 0 cones to erase"),
        ({"cones": [(50, 50)] * 5}, "at one place"),
        ({"discs": 0}, "discs=0"),
        ({"discs": 40}, "No place for 40 discs"),
        ({"radius": 4.0}, "less than the spacing"),
        ({"radius": -1.0}, "must be a positive length"),
        ({"radius": 60.0}, "No place for 2 discs"),
        ({"spacing": 40.0}, "check the spacing"),
        ({"spacing": math.nan}, "must be a positive length"),
    ],
)
def test_what_cannot_be_erased_is_said(mosaic, given, message):
    with pytest.raises(ParameterError, match=message):
        erase_cones(mosaic.image, **{"cones": mosaic.cones, **given})


def test_an_image_without_cones_or_too_small_cannot_be_tested(mosaic, others):
    with pytest.raises(ParameterError, match="0 cones to erase"):
        phantom_test(raw, np.zeros((100, 100)), others[0])
    with pytest.raises(ParameterError, match="40 × 40"):
        phantom_test(raw, mosaic.image[:40, :40], others[0])
    with pytest.raises(ParameterError, match="seeds is empty"):
        phantom_test(raw, mosaic.image, others[0], seeds=())
    with pytest.raises(ParameterError, match="no centres"):
        phantom_ratio(mosaic.image, [], mosaic.cones, spacing=8)


@pytest.mark.parametrize(
    "audit",
    [
        lambda enhance, target, styles: phantom_test(enhance, target, styles[0]),
        style_agreement,
        lambda enhance, target, styles: repeatability(enhance, target, target, styles[0]),
        lambda enhance, target, styles: density_bias(enhance, target, styles[0]),
    ],
    ids=["phantoms", "style agreement", "repeatability", "density bias"],
)
def test_what_an_enhancer_gives_is_checked(audit, mosaic, others):
    with pytest.raises(ImageError, match=r"shape \(119, 150\)"):
        audit(lambda target, style: target[1:], mosaic.image, others)
    with pytest.raises(ImageError, match="18000 pixels of the enhancer's result are NaN"):
        audit(lambda target, style: np.full(target.shape, np.nan), mosaic.image, others)
    with pytest.raises(ImageError, match="type complex128"):
        audit(lambda target, style: target * 1j, mosaic.image, others)
    with pytest.raises(ImageError, match="gray"):
        audit(raw, np.zeros((60, 60, 3)), others)


def test_styles_factors_and_shifts_are_checked(mosaic, others):
    with pytest.raises(ParameterError, match="1 styles to compare"):
        style_agreement(raw, mosaic.image, others[:1])
    for factors in ((), (1.0,), (1.0, 1.0), (0.0, 1.0), (1.0, math.nan)):
        with pytest.raises(ParameterError, match="factors"):
            density_bias(raw, mosaic.image, others[0], factors=factors)
    with pytest.raises(ImageError, match="smaller than 32 pixels"):
        density_bias(raw, mosaic.image, others[0], factors=(1, 40))
    with pytest.raises(ImageError, match="cannot be resampled"):
        rescale_style([[math.nan] * 40] * 40, 1)
    with pytest.raises(ParameterError, match="zoom"):
        rescale_style(others[0], 0)
    for shift in ((1, 2, 3), (math.nan, 0), 4):
        with pytest.raises(ParameterError, match="shift"):
            repeatability(raw, mosaic.image, mosaic.image, others[0], shift=shift)
