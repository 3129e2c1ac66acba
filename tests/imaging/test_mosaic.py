"""Synthetic mosaics: geometry, optics and noise against formulas that the generator does not share."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_nst.errors import ParameterError
from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair

CLEAN = {"photons": math.inf, "read_noise": 0.0}
FIELDS = ("target", "style", "reference", "target_cones", "style_cones")


def interior(cones, shape, margin):
    return cones[np.all((cones > margin) & (cones < np.subtract(shape, 1 + margin)), axis=1)]


def cone_band_contrast(image, spacing):
    """Root mean square over mean of the frequencies around Yellott's ring, 2 / (sqrt(3) spacing)."""
    image = image.astype(float)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    spectrum = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    ring = 2 / (math.sqrt(3) * spacing)
    band = (frequency > 0.8 * ring) & (frequency < 1.2 * ring)
    return math.sqrt(spectrum[band].sum()) / image.size / image.mean()


def noise_floor(image):
    """Root mean square over mean in the corners of the spectrum, where the optics pass nothing."""
    spectrum = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    return math.sqrt(spectrum[frequency > 0.55].mean()) / image.mean()


@pytest.mark.parametrize("spacing", [5.0, 8.0, 12.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_density_is_that_of_a_hexagonal_lattice(spacing, seed):
    shape = (300, 360)
    mosaic = cone_mosaic(shape, spacing, seed=seed)
    expected = shape[0] * shape[1] * 2 / (math.sqrt(3) * spacing**2)
    assert len(mosaic.cones) == pytest.approx(expected, rel=0.06)
    assert mosaic.spacing == spacing
    assert mosaic.cones.min() >= -0.5
    assert np.all(mosaic.cones < np.subtract(shape, 0.5))


@pytest.mark.parametrize("spacing", [5.0, 8.0, 12.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neighbors_have_the_asked_distance(spacing, seed):
    mosaic = cone_mosaic((300, 360), spacing, seed=seed)
    inner = interior(mosaic.cones, (300, 360), 2 * spacing)
    distances = cKDTree(mosaic.cones).query(inner, k=7)[0][:, 1:] / spacing
    # The nearest of six disturbed neighbors is nearer than the undisturbed distance; their mean is not.
    assert 0.8 < distances[:, 0].mean() < 1
    assert distances.mean() == pytest.approx(1, abs=0.08)
    assert distances[:, 0].min() > 0.4
    # Cone mosaics are regular: random points have a ratio of mean to deviation below 2.
    assert distances[:, 0].mean() / distances[:, 0].std() > 6


def test_jitter_disturbs_the_lattice():
    ratios = []
    for jitter in (0.1, 0.25, 0.45):
        cones = cone_mosaic((200, 200), jitter=jitter).cones
        nearest = cKDTree(cones).query(interior(cones, (200, 200), 10), k=2)[0][:, 1]
        ratios.append(nearest.mean() / nearest.std())
    assert ratios == sorted(ratios, reverse=True)


@pytest.mark.parametrize("seed", [0, 3])
def test_spots_lie_on_the_cones(seed):
    mosaic = cone_mosaic((256, 256), 10.0, vessel=False, seed=seed, dtype=np.uint16, **CLEAN)
    image = mosaic.image.astype(float)
    peaks = np.argwhere((image == ndimage.maximum_filter(image, 5)) & (image > np.percentile(image, 50)))
    inner = interior(peaks, image.shape, 10)
    # Every bright spot is a cone, to the pixel...
    assert cKDTree(mosaic.cones).query(inner)[0].max() < 2
    assert np.median(cKDTree(mosaic.cones).query(inner)[0]) < 0.6
    # ... and nearly every cone is a spot (some are dark, as in the eye).
    distance = cKDTree(peaks).query(interior(mosaic.cones, image.shape, 10))[0]
    assert np.mean(distance < 2) > 0.85


def test_places_are_drawn_between_pixels():
    mosaic = cone_mosaic((160, 160), 12.0, vessel=False, reflectance_cv=0.0, jitter=0.05, dtype=np.uint16, **CLEAN)
    image = mosaic.image.astype(float)
    errors = []
    for row, column in interior(mosaic.cones, image.shape, 12):
        r, c = round(row), round(column)
        patch = image[r - 2 : r + 3, c - 2 : c + 3]
        patch = np.log(patch - np.percentile(image, 1) + 1)
        # The vertex of the parabola through the middle of a Gaussian's logarithm is its centre.
        for profile, offset in ((patch[1:4, 2], row - r), (patch[2, 1:4], column - c)):
            vertex = (profile[0] - profile[2]) / (2 * (profile[0] - 2 * profile[1] + profile[2]))
            errors.append(vertex - offset)
    assert np.median(np.abs(errors)) < 0.12


def test_a_wider_point_spread_keeps_the_light_and_loses_contrast():
    options = {"shape": (200, 200), "spacing": 8.0, "reflectance_cv": 0.2, "dtype": np.uint16, **CLEAN}
    sharp, soft = (cone_mosaic(psf_fwhm=width, **options).image - 32768.0 for width in (0.3, 0.7))
    assert soft.mean() == pytest.approx(sharp.mean(), rel=0.02)
    # Gaussians: the core attenuates frequency f by exp(-2 (pi sigma f)^2), so does the difference of
    # variances.
    ring = 2 / (math.sqrt(3) * 8.0)
    variance = (0.7**2 - 0.3**2) * 64 / (8 * math.log(2))
    expected = math.exp(-2 * (math.pi * ring) ** 2 * variance)
    assert cone_band_contrast(soft, 8) / cone_band_contrast(sharp, 8) == pytest.approx(expected, rel=0.25)


def test_optics_and_noise_do_not_move_the_cones():
    one = cone_mosaic((64, 64), seed=4)
    two = cone_mosaic((64, 64), psf_fwhm=0.8, halo=0.5, vessel=False, photons=50, reflectance_cv=0.1, seed=4)
    assert np.array_equal(one.cones, two.cones)


def test_shot_noise_is_that_of_the_photons():
    options = {"shape": (200, 200), "dtype": np.uint16, "reflectance_cv": 0.1, "read_noise": 0.0}
    clean = (cone_mosaic(photons=math.inf, **options).image - 32768.0) / 27000
    noisy = (cone_mosaic(photons=400.0, **options).image - 32768.0) / 27000
    assert np.var(noisy - clean) == pytest.approx(clean.mean() / 400, rel=0.05)
    assert (noisy - clean).mean() == pytest.approx(0, abs=1e-3)


def test_a_vessel_is_a_dark_band_that_keeps_its_cones():
    options = {"shape": (256, 256), "dtype": np.uint16, **CLEAN}
    lit, shaded = cone_mosaic(vessel=False, **options), cone_mosaic(vessel=True, **options)
    assert np.array_equal(lit.cones, shaded.cones)
    light = (shaded.image - 32768.0) / (lit.image - 32768.0)
    assert light.min() < 0.5
    assert 0.02 < np.mean(light < 0.6) < 0.35
    # One band: its largest connected part holds nearly all of it.
    labels, _ = ndimage.label(light < 0.6)
    assert np.bincount(labels.ravel())[1:].max() > 0.9 * np.sum(light < 0.6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_a_pair_is_poor_and_good(dtype, seed):
    pair = mosaic_pair(seed=seed, dtype=dtype)
    offset = 32768 if dtype is np.uint16 else 0
    target, style, reference = (getattr(pair, name).astype(float) - offset for name in FIELDS[:3])
    assert all(getattr(pair, name).dtype == dtype and getattr(pair, name).shape == (256, 256) for name in FIELDS[:3])
    poor, good, best = (cone_band_contrast(image, pair.spacing) for image in (target, style, reference))
    assert poor < 0.6 * best
    assert good == pytest.approx(best, rel=0.4)
    assert noise_floor(target) > 2 * noise_floor(reference)
    assert np.corrcoef(target.ravel(), reference.ravel())[0, 1] > 0.5
    assert abs(np.corrcoef(style.ravel(), reference.ravel())[0, 1]) < 0.3
    assert len(pair.style_cones) != len(pair.target_cones) or not np.allclose(pair.style_cones, pair.target_cones)


def test_the_reference_is_the_target_imaged_well():
    pair = mosaic_pair(spacing=10.0, seed=2)
    truth = cone_mosaic(spacing=10.0, seed=4)
    assert np.array_equal(pair.reference, truth.image)
    assert np.array_equal(pair.target_cones, truth.cones)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_use_the_range_as_cameras_do(dtype):
    image = cone_mosaic(dtype=dtype).image
    assert image.dtype == dtype
    if dtype is np.uint8:
        assert image.min() < 40
        assert np.percentile(image, 99.95) > 200
        assert np.mean(image == 255) < 0.01
    else:
        assert 32768 <= image.min() < 36000
        assert 50000 < image.max() <= 59768


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([np.uint8, np.uint16]))
def test_a_seed_gives_bit_equal_arrays_and_another_one_others(seed, dtype):
    one, two, other = (mosaic_pair((48, 64), seed=s, dtype=dtype) for s in (seed, seed, seed + 1))
    for name in FIELDS:
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
        assert getattr(one, name).tobytes() != getattr(other, name).tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (33, 20)])
def test_any_shape_is_filled(shape):
    mosaic = cone_mosaic(shape)
    assert mosaic.image.shape == shape
    assert mosaic.cones.shape[1] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (0, 5)}, r"got \(0, 5\)"),
        ({"shape": (5,)}, "height and a width"),
        ({"spacing": 2.9}, "spacing must be .* got 2.9"),
        ({"spacing": math.nan}, "spacing must be .* got nan"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"dtype": np.float32}, "got float32"),
        ({"jitter": 0.6}, "jitter must be .* got 0.6"),
        ({"halo": -0.1}, "halo must be .* got -0.1"),
        ({"photons": 0}, "photons must be .* got 0"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        cone_mosaic(**options)
