"""Arrays as planes: which axis is what, luminance, resampling."""

import numpy as np
import pytest
from skimage.color import rgb2gray
from skimage.transform import rescale

from napari_nst.errors import ImageError
from napari_nst.imaging.masks import fill_from_nearest
from napari_nst.imaging.planes import Planes, luminance, resample_plane


@pytest.mark.parametrize(
    ("shape", "rgb", "plane", "stack"),
    [
        ((20, 30), False, (20, 30), ()),
        ((20, 30, 3), True, (20, 30), ()),
        ((20, 30, 4), True, (20, 30), ()),
        ((5, 20, 30), False, (20, 30), (5,)),
        ((3, 20, 30), False, (20, 30), (3,)),
        ((1, 20, 30), False, (20, 30), (1,)),
        ((2, 20, 30, 3), True, (20, 30), (2,)),
        ((2, 3, 20, 30), False, (20, 30), (2, 3)),
        ((2, 3, 20, 30, 4), True, (20, 30), (2, 3)),
    ],
)
def test_layouts(shape, rgb, plane, stack):
    array = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    planes = Planes.of(array, "target")
    assert (planes.rgb, planes.plane_shape, planes.stack_shape) == (rgb, plane, stack)
    assert planes.nbytes == array.nbytes
    indices = list(planes.indices())
    assert indices == list(np.ndindex(*stack))
    for index in indices:
        assert np.array_equal(planes.plane(index), array[index])


@pytest.mark.parametrize("rgb", [True, False])
def test_color_can_be_said(rgb):
    array = np.zeros((20, 30, 4)) if rgb else np.zeros((2, 20, 30))
    assert Planes.of(array, "target", rgb).rgb is rgb
    with pytest.raises(ImageError, match="said to be RGB"):
        Planes.of(np.zeros((20, 30)), "target", True)
    with pytest.raises(ImageError, match=r"30 × 3 pixels"):
        Planes.of(np.zeros((20, 30, 3)), "target", False)


def test_a_list_of_lists_is_an_array():
    assert Planes.of([[0.0] * 16] * 16, "style").plane_shape == (16, 16)


def test_dask_is_computed_plane_by_plane_and_hashed_as_numpy():
    da = pytest.importorskip("dask.array")
    array = np.random.default_rng(0).integers(0, 999, (3, 20, 30), dtype=np.uint16)
    lazy = Planes.of(da.from_array(array, chunks=(2, 7, 11)), "target")
    assert isinstance(lazy.plane((1,)), np.ndarray)
    assert np.array_equal(lazy.plane((1,)), array[1])
    assert lazy.digest() == Planes.of(array, "target").digest()
    assert lazy.digest() == Planes.of(np.asfortranarray(array), "target").digest()
    assert lazy.digest() != Planes.of(array.astype(np.int16), "target").digest()


def test_luminance_is_that_of_skimage(rng):
    color = rng.random((8, 9, 3))
    np.testing.assert_allclose(luminance(color), rgb2gray(color), rtol=1e-12)
    gray = rng.random((8, 9))
    np.testing.assert_allclose(luminance(np.stack([gray] * 3, axis=-1)), gray, rtol=1e-12)


@pytest.mark.parametrize("factors", [(0.5, 0.5), (2.0, 1.5), (0.7, 1.3)])
def test_resampling_is_that_of_skimage(factors, rng):
    for shape in ((20, 24), (20, 24, 3)):
        plane = rng.random(shape)
        options = {"channel_axis": -1} if len(shape) == 3 else {}
        expected = rescale(plane, factors, order=1, mode="reflect", anti_aliasing=True, **options)
        np.testing.assert_allclose(resample_plane(plane, factors), expected, atol=1e-12)


def test_resampling_keeps_the_mean_and_the_period():
    y = np.arange(120)
    wave = np.tile(100 + np.cos(2 * np.pi * y / 12), (40, 1))
    larger = resample_plane(wave, (1.0, 1.5))
    assert larger.shape == (40, 180)
    assert larger.mean() == pytest.approx(100, abs=0.05)
    spectrum = np.abs(np.fft.rfft(larger[20] - larger[20].mean()))
    assert 180 / np.argmax(spectrum) == pytest.approx(18, rel=0.05)


def test_masks_are_resampled_to_booleans():
    mask = np.zeros((20, 20))
    mask[5:15, 5:15] = 1
    out = resample_plane(mask, (2.0, 0.5), nearest=True)
    assert out.dtype == bool
    assert out.shape == (40, 10)
    assert out.mean() == pytest.approx(0.25, abs=0.06)


def test_unknown_pixels_take_the_value_of_the_nearest_known_one():
    image = np.array([[1.0, 2.0, np.nan, np.nan, np.inf, 7.0]])
    filled = fill_from_nearest(image, np.isfinite(image))
    assert filled[0, [0, 1, 2, 4, 5]].tolist() == [1, 2, 2, 7, 7]
    assert filled[0, 3] in (2, 7)
    color = np.stack([image] * 3, axis=-1)
    assert np.array_equal(fill_from_nearest(color, np.isfinite(image))[..., 1], filled)
    known = np.ones((1, 6), bool)
    assert fill_from_nearest(image, known) is image
