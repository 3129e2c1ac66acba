"""Correlation in the band of the cones against skimage's Gaussians and NumPy's correlation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import gaussian

from napari_nst.errors import ImageError, ParameterError
from napari_nst.images.mosaic import cone_mosaic, mosaic_pair
from napari_nst.metrics import structure_correlation


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


def test_pictures_and_spacing_are_checked(places):
    with pytest.raises(ImageError, match=r"\(120, 150\), the result \(120, 149\)"):
        structure_correlation(places.target, places.style[:, 1:])
    with pytest.raises(ImageError, match="The result has shape"):
        structure_correlation(places.target, np.zeros((120, 150, 3)))
    with pytest.raises(ParameterError, match="spacing=0"):
        structure_correlation(places.target, places.style, spacing=0)
