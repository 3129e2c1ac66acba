"""Likeness of images against skimage's Gaussians, NumPy's correlation, and the formulas with plain windows and ranks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.filters import gaussian

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair
from napari_nst.metrics import intensity_monotonicity, structural_similarity, structure_correlation


def band(image, spacing):
    fine, coarse = (gaussian(image.astype(float), s * spacing, mode="reflect") for s in (0.1, 0.6))
    return (fine - coarse).ravel()


@pytest.fixture(scope="module")
def places():
    return mosaic_pair((120, 150), 8.0, seed=1)


@pytest.mark.parametrize("spacing", [5.0, 8.0, 12.0])
def test_it_is_the_correlation_of_differences_of_gaussians(places, spacing):
    expected = np.corrcoef(band(places.target, spacing), band(places.reference, spacing))[0, 1]
    # Where both stop summing a Gaussian's tail differs: at 4 deviations here, rounded in another way there.
    assert structure_correlation(places.target, places.reference, spacing=spacing) == pytest.approx(expected, abs=1e-6)


def test_one_place_resembles_itself_and_no_other(places):
    assert structure_correlation(places.target, places.target) == pytest.approx(1)
    assert structure_correlation(places.target, 255 - places.target) == pytest.approx(-1)
    assert structure_correlation(places.target, places.reference) > 0.7
    assert abs(structure_correlation(places.target, places.style)) < 0.15


@given(st.floats(1e-3, 1e3), st.floats(-1e4, 1e4))
@settings(max_examples=10)
def test_scale_and_offset_of_either_do_not_matter(scale, offset):
    pair = mosaic_pair((60, 70), 7.0)
    plain = structure_correlation(pair.target, pair.reference, spacing=7)
    assert structure_correlation(pair.target, pair.reference * scale + offset, spacing=7) == pytest.approx(plain)
    assert structure_correlation(pair.target * scale + offset, pair.reference, spacing=7) == pytest.approx(plain)
    assert structure_correlation(pair.target.T, pair.reference.T, spacing=7) == pytest.approx(plain)
    assert structure_correlation(pair.reference, pair.target, spacing=7) == pytest.approx(plain)


def test_uneven_light_is_not_seen(places):
    slope = np.linspace(0, 40, places.target.shape[1])
    assert structure_correlation(places.reference, places.reference + slope) > 0.99


def test_the_spacing_is_measured_where_none_is_given():
    image = cone_mosaic((160, 160), 14.0, seed=2, vessel=False).image
    changed = image + np.random.default_rng(0).normal(0, 25, image.shape)
    # 12.3 pixels is what the ring of a mosaic of that pitch gives: sqrt(3) / 2 of it, roughly.
    measured = structure_correlation(image, changed)
    assert abs(measured - structure_correlation(image, changed, spacing=12.1)) < 0.01
    assert abs(measured - structure_correlation(image, changed, spacing=8.25)) > 0.02


def test_a_mask_hides_what_lies_outside(places):
    mask = np.zeros(places.target.shape, bool)
    mask[20:100, 15:120] = True
    plain = structure_correlation(places.target, places.reference, mask=mask)
    spoilt = np.where(mask, places.reference, 255)
    assert structure_correlation(places.target, spoilt, mask=mask) == plain
    assert structure_correlation(places.target, np.where(mask, places.reference, np.nan)) == plain
    assert structure_correlation(places.target, np.where(mask, places.target, 0), mask=mask) == pytest.approx(1)


def test_without_contrast_there_is_no_correlation(places):
    flat = np.full(places.target.shape, 7)
    assert math.isnan(structure_correlation(places.target, flat))
    assert math.isnan(structure_correlation(flat, places.target))
    assert math.isnan(structure_correlation(places.target, places.style, mask=np.zeros(flat.shape)))


def test_images_and_spacing_are_checked(places):
    with pytest.raises(ImageError, match=r"\(120, 150\), the result \(120, 149\)"):
        structure_correlation(places.target, places.style[:, 1:])
    with pytest.raises(ImageError, match="The result has shape"):
        structure_correlation(places.target, np.zeros((120, 150, 3)))
    with pytest.raises(ParameterError, match=r"spacing must be .* got 0"):
        structure_correlation(places.target, places.style, spacing=0)


def ssim_by_the_paper(x, y, data_range):
    """Wang et al. 2004, equations 12 to 16, window by window: the mean over all that fit."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = np.full(x.shape, np.nan)
    for r in range(5, x.shape[0] - 5):
        for c in range(5, x.shape[1] - 5):
            a, b = (p[r - 5 : r + 6, c - 5 : c + 6].astype(float) for p in (x, y))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            cov = (weights * (a - ma) * (b - mb)).sum()
            values[r, c] = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return values


@pytest.mark.parametrize("data_range", [255, 80.0])
def test_the_structural_similarity_is_that_of_the_paper(places, data_range):
    x, y = places.target[:30, :40], places.reference[:30, :40]
    values = ssim_by_the_paper(x, y, data_range)
    assert structural_similarity(x, y, data_range=data_range) == pytest.approx(np.nanmean(values), abs=1e-9)
    mask = np.ones(x.shape, bool)
    mask[12, 9] = mask[:, 33:] = False
    values[7:18, 4:15] = values[:, 28:] = np.nan  # whose windows of 11 × 11 hold an unused pixel
    for hole in (0, 1e9, np.nan):
        spoilt = np.where(mask, y, hole)
        assert structural_similarity(x, spoilt, data_range=data_range, mask=mask) == pytest.approx(np.nanmean(values))
    gaps = np.where(mask, x, np.nan)
    assert structural_similarity(gaps, y, data_range=data_range) == pytest.approx(np.nanmean(values))


def test_structural_similarity_of_what_is_equal_and_what_is_not(places):
    x = places.target
    assert structural_similarity(x, x, data_range=255) == pytest.approx(1)
    assert structural_similarity(x, places.reference, data_range=255) < 0.95
    assert structural_similarity(x, 255 - x, data_range=255) < 0.5
    wide = (x / 255 * 27_000 + 33_000).astype(np.uint16)
    assert structural_similarity(wide, wide + 40, data_range=65_535) > 0.999
    big = 1e200 * x.astype(float)
    assert structural_similarity(big, big, data_range=255e200) == pytest.approx(1)
    # Constant images have a similarity: of their means.
    first, second = (np.full((20, 20), v) for v in (100.0, 50.0))
    expected = (2 * 100 * 50 + 2.55**2) / (100**2 + 50**2 + 2.55**2)
    assert structural_similarity(first, second, data_range=255) == pytest.approx(expected)


def test_without_a_whole_window_there_is_no_structural_similarity(places):
    x, y = places.target, places.reference
    assert math.isnan(structural_similarity(x[:10], y[:10], data_range=255))
    assert math.isnan(structural_similarity(x[:, :10], y[:, :10], data_range=255))
    assert not math.isnan(structural_similarity(x[:11, :11], y[:11, :11], data_range=255))
    assert math.isnan(structural_similarity(x, y, data_range=255, mask=np.zeros(x.shape)))
    assert math.isnan(structural_similarity(x, np.full(x.shape, np.nan), data_range=255))


@pytest.mark.parametrize("data_range", [0, -255, math.nan, math.inf])
def test_the_range_is_checked(places, data_range):
    with pytest.raises(ParameterError, match=f"data_range must be above 0, got {data_range}"):
        structural_similarity(places.target, places.reference, data_range=data_range)


pixels = arrays(np.int64, (4, 5), elements=st.integers(0, 9))


@given(pixels, pixels)
def test_monotonicity_is_the_correlation_of_mean_ranks(x, y):
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert math.isnan(intensity_monotonicity(x, y))
        return
    ranks = [[(b < a).sum() + ((b == a).sum() + 1) / 2 for a in b.ravel()] for b in (x, y)]
    assert intensity_monotonicity(x, y) == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-12)


def test_brightness_contrast_and_gamma_keep_the_order(places):
    x = places.target
    for changed in (2.5 * x - 40, (x / 255) ** 0.4, np.exp(x / 100.0).astype(np.float32)):
        assert intensity_monotonicity(x, changed) == pytest.approx(1)
    assert intensity_monotonicity(x, 255 - x) == pytest.approx(-1)
    assert intensity_monotonicity(x, np.clip(x, 30, 60)) < 0.999
    assert intensity_monotonicity(x, ndimage.gaussian_filter(x.astype(float), 1.5)) < 0.99
    noise = np.random.default_rng(0).normal(size=x.shape)
    assert abs(intensity_monotonicity(x, noise)) < 0.03


def test_monotonicity_sees_the_used_pixels_only(places):
    x, y = places.target, places.reference
    mask = np.zeros(x.shape, bool)
    mask[20:60, 30:90] = True
    inside = intensity_monotonicity(x[20:60, 30:90], y[20:60, 30:90])
    assert intensity_monotonicity(x, np.where(mask, y, 255), mask) == pytest.approx(inside)
    assert intensity_monotonicity(x, np.where(mask, y, np.nan)) == pytest.approx(inside)
    assert math.isnan(intensity_monotonicity(x, y, np.zeros(x.shape)))
    assert math.isnan(intensity_monotonicity(x[:1, :1], y[:1, :1]))


@pytest.mark.parametrize("measure", [lambda *a: structural_similarity(*a, data_range=255), intensity_monotonicity])
def test_every_comparison_needs_two_grey_images_of_one_shape(places, measure):
    with pytest.raises(ImageError, match=r"\(120, 150\), the result \(120, 149\)"):
        measure(places.target, places.style[:, 1:])
    with pytest.raises(ImageError, match="The target has shape"):
        measure(np.zeros((120, 150, 3)), places.style)
