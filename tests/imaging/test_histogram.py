"""Histogram matching against its cumulative definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_nst.errors import ImageError
from napari_nst.imaging.histogram import match_histogram

PICTURES = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-50, 300)).filter(
    lambda a: np.ptp(a) > 0
)


def by_cumulative_shares(target, style):
    """Each value's share of values not above it, looked up among the style's."""
    levels = np.unique(style)
    shares = np.array([(style <= level).mean() for level in levels])
    return np.array([np.interp((target <= value).mean(), shares, levels) for value in target])


@given(target=PICTURES, style=PICTURES)
def test_matching_is_its_definition_and_keeps_order(target, style):
    out = match_histogram(target, style)
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.ravel(), by_cumulative_shares(target.ravel(), style.ravel()), rtol=1e-12, atol=1e-9)
    order = np.argsort(target, axis=None, kind="stable")
    assert (np.diff(out.ravel()[order]) >= 0).all()
    for level in np.unique(target):
        assert np.ptp(out[target == level]) == 0
    assert style.min() <= out.min() <= out.max() <= style.max()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "int16", "float16", "float32", "float64"])
def test_every_type_gives_double_precision(dtype, rng):
    target, style = rng.integers(0, 60, (20, 30)).astype(dtype), rng.integers(40, 120, (25, 17)).astype(dtype)
    out = match_histogram(target, style)
    assert out.dtype == np.float64
    np.testing.assert_allclose(
        out.ravel(), by_cumulative_shares(target.ravel().astype(float), style.astype(float).ravel())
    )
    assert (out != np.rint(out)).any()


def test_an_image_matched_to_itself_is_itself(rng):
    image = rng.normal(size=(30, 30))
    np.testing.assert_allclose(match_histogram(image, image), image, atol=1e-12)


@pytest.mark.parametrize("hidden", [0.0, 1e6, np.nan])
def test_pixels_outside_the_masks_take_no_part_and_come_back(hidden, rng):
    target, style = rng.integers(10, 90, (20, 24)).astype(float), rng.integers(50, 200, (18, 20)).astype(float)
    mask, style_mask = rng.random(target.shape) > 0.3, rng.random(style.shape) > 0.3
    out = match_histogram(
        np.where(mask, target, hidden),
        np.where(style_mask, style, hidden),
        mask=mask,
        style_mask=style_mask.astype(np.uint8),
    )
    np.testing.assert_allclose(out[mask], by_cumulative_shares(target[mask], style[style_mask]))
    assert np.array_equal(out[~mask], np.full((~mask).sum(), hidden), equal_nan=True)


def test_the_inputs_are_not_touched(rng):
    target, style = rng.normal(size=(9, 9)), rng.normal(size=(9, 9))
    before = target.copy(), style.copy()
    match_histogram(target, style)
    assert np.array_equal(target, before[0])
    assert np.array_equal(style, before[1])


@pytest.mark.parametrize(
    ("target", "style", "message"),
    [
        (np.full((4, 4), 7), np.eye(4), "target is constant.*7"),
        (np.eye(4), np.full((4, 4), 7), "style is constant"),
        (np.zeros((4, 4, 3)), np.eye(4), r"shape \(4, 4, 3\)"),
        (np.eye(4), np.full((4, 4), np.inf), "style has 16 pixel"),
        (np.zeros((0, 4)), np.eye(4), r"shape \(0, 4\)"),
    ],
)
def test_images_that_cannot_be_matched(target, style, message):
    with pytest.raises(ImageError, match=message):
        match_histogram(target, style)


def test_a_mask_of_another_shape_is_reported():
    with pytest.raises(ImageError, match=r"shape \(3, 3\)"):
        match_histogram(np.eye(4), np.eye(4), mask=np.ones((3, 3)))
