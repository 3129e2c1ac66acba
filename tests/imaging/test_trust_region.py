"""Local trust against its formula and against places of which it is known what they show."""

import numpy as np
import pytest
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.imaging.trust_region import local_trust


def test_it_is_the_cube_of_the_relative_contrast(rng):
    image, s = rng.normal(size=(60, 72)), 8.0
    band = ndimage.gaussian_filter(image, 0.8) - ndimage.gaussian_filter(image, 4.8)
    contrast = np.sqrt(ndimage.gaussian_filter(band**2, 4.0))
    expected = np.where(contrast < np.median(contrast), (contrast / np.median(contrast)) ** 3, 1)
    np.testing.assert_allclose(local_trust(image, s), expected)


def test_a_place_without_cells_is_not_trusted_and_cells_around_it_are():
    image = cone_mosaic((160, 160), 8.0, vessel=False).image.astype(float)
    y, x = np.indices(image.shape)
    away = np.hypot(y - 80, x - 80)
    trust = local_trust(np.where(away < 25, image.mean(), image), 8.0)
    assert trust[away < 14].max() < 0.01
    assert np.median(trust[away > 40]) > 0.9


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (500.0, -7.0)])
def test_neither_scale_nor_offset_matters(scale, offset, rng):
    image = ndimage.gaussian_filter(rng.normal(size=(40, 40)), 2)
    np.testing.assert_allclose(local_trust(scale * image + offset, 8.0), local_trust(image, 8.0), rtol=1e-6)


def test_a_constant_image_is_trusted_evenly():
    assert np.array_equal(local_trust(np.full((20, 30), 7), 8.0), np.ones((20, 30)))


def test_unused_pixels_have_no_say(rng):
    image, mask = rng.normal(size=(50, 50)), np.ones((50, 50), bool)
    mask[:, :12] = False
    first, second = (local_trust(np.where(mask, image, fill), 8.0, mask=mask) for fill in (0.0, 1e5))
    assert np.array_equal(first, second)


def test_bad_input_is_refused():
    with pytest.raises(ParameterError, match=r"spacing must be .* got 0"):
        local_trust(np.eye(20), 0)
    with pytest.raises(ImageError, match="shape"):
        local_trust(np.zeros((3, 20, 20)), 8.0)
