"""The signal-to-noise ratio against mosaics whose signal and noise are known apart, and against the formula for spectra."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair
from napari_nst.metrics import signal_to_noise


@pytest.fixture(scope="module")
def clean():
    """A mosaic without noise, from 0 to about 255, that rounding has hardly touched."""
    made = cone_mosaic((185, 185), 8.0, seed=1, photons=np.inf, read_noise=0, vessel=False, dtype=np.uint16)
    return (made.image.astype(float) - 32768) / 27000 * 255


def passed(shape, spacing):
    """What the difference of Gaussians lets through, over the plane of frequencies, from the transform of a Gaussian."""
    squared = np.add.outer(np.fft.fftfreq(shape[0]) ** 2, np.fft.fftfreq(shape[1]) ** 2)
    fine, coarse = (np.exp(-2 * (np.pi * part * spacing) ** 2 * squared) for part in (0.1, 0.6))
    return (fine - coarse) ** 2


@pytest.mark.parametrize("deviation", [3, 10, 30, 80])
@pytest.mark.parametrize("spacing", [8.0, 11.0])
def test_it_is_the_power_in_the_band_over_that_of_the_noise(clean, deviation, spacing):
    rng = np.random.default_rng(2)
    noisy = clean + rng.normal(0, deviation, clean.shape)
    weight = passed(clean.shape, spacing)
    # By Parseval: powers over frequencies, weighted by what the filter passes. White noise has the same everywhere.
    power = np.abs(np.fft.fft2(clean - clean.mean())) ** 2 / clean.size
    expected = 10 * math.log10((power * weight).sum() / (deviation**2 * weight).sum())
    assert signal_to_noise(noisy, spacing=spacing) == pytest.approx(expected, abs=0.5)


@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
@settings(max_examples=10)
def test_scale_and_offset_do_not_matter(clean, scale, offset):
    noisy = clean + np.random.default_rng(2).normal(0, 9, clean.shape)
    plain = signal_to_noise(noisy, spacing=8)
    assert signal_to_noise(noisy * scale + offset * scale, spacing=8) == pytest.approx(plain, abs=1e-3)
    assert signal_to_noise(noisy.T, spacing=8) == pytest.approx(plain)


def test_noise_alone_has_no_signal(rng):
    for spacing in (None, 5, 8, 14):
        assert -20 <= signal_to_noise(rng.normal(100, 20, (185, 185)), spacing=spacing) < -8


def test_a_poor_image_has_less_and_a_smoothed_one_more():
    pair = mosaic_pair((150, 150), 8.0, seed=1)
    poor, good = (signal_to_noise(p, spacing=8) for p in (pair.target, pair.reference))
    assert poor < good - 3
    assert signal_to_noise(ndimage.gaussian_filter(pair.target.astype(float), 1), spacing=8) > poor + 3


def test_integers_have_at_least_the_noise_of_their_rounding(clean):
    rounded = np.rint(clean).astype(np.uint8)
    weight = passed(clean.shape, 8).mean()
    signal = (np.abs(np.fft.fft2(clean - clean.mean())) ** 2 * passed(clean.shape, 8)).sum() / clean.size**2
    limit = 10 * math.log10(12 * signal / weight)
    assert signal_to_noise(rounded, spacing=8) <= limit + 0.5
    coarse = np.rint(clean / 40).astype(np.uint8)
    assert signal_to_noise(coarse, spacing=8) <= limit - 20 * math.log10(40) + 0.5


def test_the_spacing_is_that_of_the_ring_where_none_is_given():
    image = cone_mosaic((185, 185), 14.0, seed=2, vessel=False).image
    assert signal_to_noise(image) == pytest.approx(signal_to_noise(image, spacing=12.1), abs=0.5)
    assert abs(signal_to_noise(image) - signal_to_noise(image, spacing=6)) > 2


def test_a_mask_hides_what_lies_outside(clean):
    noisy = clean + np.random.default_rng(2).normal(0, 9, clean.shape)
    mask = np.zeros(clean.shape, bool)
    mask[20:160, 15:150] = True
    plain = signal_to_noise(np.where(mask, noisy, 0), mask=mask, spacing=8)
    assert plain == pytest.approx(signal_to_noise(noisy[20:160, 15:150], spacing=8), abs=0.3)
    assert signal_to_noise(np.where(mask, noisy, 255), mask=mask, spacing=8) == plain
    assert signal_to_noise(np.where(mask, noisy, np.nan), spacing=8) == plain


def test_where_nothing_can_be_said(clean):
    for flat in (np.full((60, 60), 3), np.full((60, 60), 0.1), np.full((60, 60), np.nan)):
        assert math.isnan(signal_to_noise(flat))
    assert math.isnan(signal_to_noise(clean, mask=np.zeros(clean.shape)))
    assert math.isnan(signal_to_noise(clean[:31], spacing=8))
    assert not math.isnan(signal_to_noise(clean[:32, :32], spacing=8))
    mask = np.zeros(clean.shape)
    mask[40:60, 40:60] = 1
    assert math.isnan(signal_to_noise(clean, mask=mask, spacing=8))
    # A calculated slope has neither cones nor noise.
    assert math.isnan(signal_to_noise(np.add.outer(np.arange(90.0), np.arange(80.0)), spacing=8))
    for shape in ((1, 1), (2, 2), (1, 40)):
        assert math.isnan(signal_to_noise(np.random.default_rng(0).normal(size=shape)))


def test_input_is_checked(clean):
    with pytest.raises(ParameterError, match=r"spacing must be .* got -1"):
        signal_to_noise(clean, spacing=-1)
    with pytest.raises(ParameterError, match=r"spacing must be .* got nan"):
        signal_to_noise(np.ones((9, 9)), spacing=math.nan)
    with pytest.raises(ImageError, match="gray image"):
        signal_to_noise(np.ones((9, 9, 3)))
