"""Displacements against known shifts of images, known warps, and skimage's registration of whole images."""

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair
from napari_nst.metrics import local_displacement


@pytest.fixture(scope="module")
def wide():
    return cone_mosaic((190, 220), 8.0, seed=4, vessel=False, photons=np.inf, read_noise=0).image.astype(float)


def moved(wide, shift):
    """Two images of 150 × 180 cut from one, the second displaced by so much, each with noise of its own."""
    rng = np.random.default_rng(0)
    second = ndimage.shift(wide, shift, order=5, mode="reflect")
    return [p[20:-20, 20:-20] + rng.normal(0, 4, (150, 180)) for p in (wide, second)]


@pytest.mark.parametrize("shift", [(0.3, -0.7), (1.6, 2.25), (-4.0, 3.0), (0.0, 6.5)])
def test_known_shifts_are_found_to_a_fraction_of_a_pixel(wide, shift):
    target, result = moved(wide, shift)
    found = local_displacement(target, result)
    assert found.unmatched <= 1
    assert len(found.shifts) == found.tiles - found.weak - found.unmatched >= 30
    assert np.median(found.shifts, axis=0) == pytest.approx(shift, abs=0.06)
    assert found.shifts == pytest.approx(np.tile(shift, (len(found.shifts), 1)), abs=0.25)
    assert found.median == pytest.approx(math.hypot(*shift), abs=0.06)
    assert found.largest == pytest.approx(np.hypot(*found.shifts.T).max())
    back = phase_cross_correlation(target, result, upsample_factor=20, normalization=None)[0]
    assert np.median(found.shifts, axis=0) == pytest.approx(-back, abs=0.1)


@pytest.mark.parametrize("spacing", [5.0, 14.0])
def test_the_tiles_follow_the_size_of_the_cones(spacing):
    image = cone_mosaic((185, 185), spacing, seed=1).image
    found = local_displacement(image, np.roll(image, (1, 2), axis=(0, 1)), spacing=spacing)
    side = max(48, 6 * spacing)
    assert found.centres.min() == pytest.approx((side - 1) / 2)
    assert found.centres.max() == pytest.approx(184 - (side - 1) / 2)
    assert np.median(found.shifts, axis=0) == pytest.approx([1, 2])


def test_an_undisturbed_place_is_exactly_where_it_was(wide):
    for result in (wide, 3 * wide - 50, wide.round().astype(np.uint16) * 100 + 20_000):
        found = local_displacement(wide.round(), result)
        assert found.weak == found.unmatched == 0
        assert found.median == 0
        assert found.largest <= 0.05


def test_a_better_image_of_the_same_place_is_not_displaced():
    pair = mosaic_pair((185, 185), 8.0, seed=3)
    found = local_displacement(pair.target, pair.reference)
    assert found.tiles == len(found.centres) == 49
    assert found.median < 0.02 * 8
    assert found.largest < 0.06 * 8


def test_a_warp_is_located(wide):
    # The lower right quarter slides to the right by up to 2 pixels, the rest stays.
    rows, columns = np.indices(wide.shape, dtype=float)
    slide = 2 / (1 + np.exp(-(rows - 110) / 6)) / (1 + np.exp(-(columns - 120) / 6))
    result = ndimage.map_coordinates(wide, [rows, columns - slide], order=5, mode="reflect")
    found = local_displacement(wide, result)
    corner = (found.centres > [130, 140]).all(axis=1)
    away = (found.centres < [80, 95]).all(axis=1)
    assert corner.sum() >= 4
    assert away.sum() >= 4
    assert found.shifts[corner] == pytest.approx(np.tile([0, 2], (corner.sum(), 1)), abs=0.25)
    assert found.shifts[away] == pytest.approx(0, abs=0.06)
    assert found.largest == pytest.approx(2, abs=0.2)
    assert found.median < 0.5


def test_places_that_are_not_alike_have_no_displacement():
    pair = mosaic_pair((185, 185), 8.0, seed=2)
    rng = np.random.default_rng(3)
    noise = rng.normal(size=pair.target.shape)
    for first, second in ((pair.target, pair.style), (pair.reference, noise), (noise, rng.normal(size=noise.shape))):
        found = local_displacement(first, second, spacing=8)
        assert found.tiles == 49
        assert found.unmatched >= 48
    inverted = local_displacement(pair.reference, 255 - pair.reference)
    assert len(inverted.shifts) == 0
    assert math.isnan(inverted.median)


def test_tiles_without_structure_are_left_out_and_counted(wide):
    target, empty = wide.copy(), (slice(0, 100), slice(0, 120))
    rng = np.random.default_rng(5)
    target[empty] = 40 + rng.normal(0, 0.5, (100, 120))
    for first, second in ((target, wide), (wide, target)):
        found = local_displacement(first, second, spacing=8)
        assert found.weak >= 6
        inside = (found.centres < [70, 90]).all(axis=1)
        assert not inside.any()
        assert found.largest <= 0.3


def test_flat_images_have_weak_tiles_only(wide):
    flat = np.full(wide.shape, 7.0)
    for first, second in ((flat, wide), (wide, flat), (flat, flat)):
        found = local_displacement(first, second)
        assert found.weak == found.tiles > 0
        assert found.centres.shape == found.shifts.shape == (0, 2)
        assert math.isnan(found.median)
        assert math.isnan(found.largest)


@pytest.mark.parametrize("shape", [(1, 1), (15, 80), (3, 400)])
def test_too_small_images_have_no_tiles(rng, shape):
    image = rng.normal(size=shape)
    found = local_displacement(image, image)
    assert found.tiles == found.weak == found.unmatched == 0
    assert math.isnan(found.median)


def test_images_smaller_than_a_tile_are_one(wide):
    found = local_displacement(wide[:30, :30], wide[:30, :30])
    assert found.tiles == 1
    assert found.centres == pytest.approx(np.array([[14.5, 14.5]]))
    assert found.median == 0


def test_a_mask_hides_what_lies_outside(wide):
    mask = np.zeros(wide.shape, bool)
    mask[:, 60:] = True
    target, result = wide.copy(), ndimage.shift(wide, (0, 1.5), order=5, mode="reflect")
    found = local_displacement(target, np.where(mask, result, 0), mask=mask, spacing=8)
    assert 20 <= found.tiles < local_displacement(target, result, spacing=8).tiles
    assert found.unmatched == 0
    assert found.shifts[:, 1] == pytest.approx(1.5, abs=0.3)
    for hole in (255, np.nan):
        other = local_displacement(target, np.where(mask, result, hole), mask=mask, spacing=8)
        assert np.array_equal(other.shifts, found.shifts)
    gaps = local_displacement(np.where(mask, target, np.nan), result, spacing=8)
    assert np.array_equal(gaps.shifts, found.shifts)
    assert local_displacement(target, result, mask=np.zeros(wide.shape)).tiles == 0


def test_large_images_have_no_more_tiles_than_can_be_measured_quickly(rng):
    image = ndimage.gaussian_filter(rng.normal(size=(60, 1500)), 1.4)
    found = local_displacement(image, image, spacing=8)
    assert found.tiles == 2 * 24
    assert found.centres[:, 1].max() == pytest.approx(1499 - 23.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tile": 15}, "tile=15"), ({"tile": math.nan}, "tile=nan"), ({"spacing": 0}, "spacing must be")],
)
def test_settings_are_checked(wide, options, message):
    with pytest.raises(ParameterError, match=message):
        local_displacement(wide, wide, **options)


def test_images_are_checked(wide):
    with pytest.raises(ImageError, match=r"\(190, 220\), the result \(190, 219\)"):
        local_displacement(wide, wide[:, 1:])
