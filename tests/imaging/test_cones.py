"""The detector against synthetic mosaics with known cones, ideal lattices, and manual annotations."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics import detect_cones, match_cones, nearest_neighbour_spacing


@pytest.fixture(scope="module")
def mosaic():
    made = cone_mosaic((120, 150), 8.0, seed=1, vessel=False)
    made.image.flags.writeable = False
    return made


def inner(points, shape, margin):
    return points[np.all((points >= margin) & (points <= np.subtract(shape, 1 + margin)), axis=1)]


@pytest.mark.parametrize("pitch", [4.0, 5.0, 8.0, 13.3])
def test_an_ideal_lattice_is_found_to_a_fraction_of_a_pixel(hexagonal, pitch):
    image, points = hexagonal((150, 190), pitch)
    found = detect_cones(image)
    matching = match_cones(found.points, inner(points, image.shape, pitch), tolerance_px=0.35 * pitch)
    assert matching.true_positive_rate == 1
    assert np.median(matching.distances) < 0.12
    clear = inner(found.points, image.shape, pitch)
    assert len(match_cones(clear, points, tolerance_px=0.35 * pitch).new) == 0


@pytest.mark.parametrize("spacing", [5.0, 8.0, 12.0])
@pytest.mark.parametrize("seed", [0, 3])
def test_cones_of_a_mosaic_are_found_whatever_the_pixel_size(spacing, seed):
    made = cone_mosaic((200, 240), spacing, seed=seed, vessel=False)
    found = detect_cones(made.image)
    assert match_cones(found.points, made.cones, tolerance_px=0.35 * spacing).dice > 0.93


@pytest.mark.parametrize(
    "change",
    [
        lambda a: 33169 + a.astype(np.uint16) * 100,
        lambda a: a.astype(np.int32) - 70_000,
        lambda a: a.astype(np.float32) * 1e-6,
        lambda a: a.astype(np.float64) * 1e30 - 1e31,
        lambda a: a.astype(np.int64) + 2**40,
        lambda a: a.astype(np.float16),
    ],
)
def test_neither_type_nor_scale_nor_offset_matters(mosaic, change):
    first, second = detect_cones(mosaic.image), detect_cones(change(mosaic.image))
    assert len(first) == len(second) > 200
    assert np.abs(first.points - second.points).max() < 1e-3
    assert np.abs(first.confidence - second.confidence).max() < 1e-3


def test_sixteen_bit_and_eight_bit_agree_up_to_rounding():
    fine, coarse = (cone_mosaic((120, 120), seed=5, vessel=False, dtype=t).image for t in (np.uint16, np.uint8))
    first, second = detect_cones(fine), detect_cones(coarse)
    matching = match_cones(first.points, second.points, tolerance_px=0.3)
    assert matching.dice > 0.98


@given(st.integers(0, 10**6), st.sampled_from(["transpose", "flip"]))
@settings(max_examples=10)
def test_the_axes_have_no_order_and_no_direction(seed, how):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.normal(size=(40, 56)), 1.5)
    plain = detect_cones(image, confidence=0, spacing=7)
    if how == "transpose":
        other = detect_cones(image.T, confidence=0, spacing=7).points[:, ::-1]
    else:
        other = [0, 55] + [1, -1] * detect_cones(image[:, ::-1], confidence=0, spacing=7).points
    assert len(match_cones(other, plain.points, tolerance_px=1e-6).pairs) == len(plain) == len(other)


def test_confidence_only_takes_away(mosaic):
    every = detect_cones(mosaic.image, confidence=0)
    assert every.points.dtype == every.confidence.dtype == np.float64
    assert every.confidence.min() >= 0
    assert every.confidence.max() <= 1
    for least in (0.3, 0.8):
        some = detect_cones(mosaic.image, confidence=least)
        keep = every.confidence >= least
        assert np.array_equal(some.points, every.points[keep])
        assert np.array_equal(some.confidence, every.confidence[keep])
    assert 0 < len(some) < len(every)


def test_nothing_is_found_where_there_is_nothing():
    for flat in (np.zeros((40, 50), np.uint8), np.full((185, 185), 0.1, np.float32), np.full((3, 3), 60_000)):
        assert detect_cones(flat).points.shape == (0, 2)


@pytest.mark.parametrize("spacing", [None, 5, 8.25])
def test_white_noise_is_hardly_taken_for_cones(rng, spacing):
    noise = rng.normal(100, 20, (185, 185))
    everything = detect_cones(noise, spacing=spacing, confidence=0)
    assert len(everything) > 500
    assert len(detect_cones(noise, spacing=spacing)) < 0.02 * len(everything)


def test_few_fire_in_the_shadow_of_a_vessel():
    rows, columns = np.mgrid[:185, :185]
    shadow = np.exp(-(((rows - 60 - 0.3 * columns) / 22) ** 6))
    image = cone_mosaic((185, 185), 8.0, seed=2, vessel=False).image.astype(float)
    # Vessels take light from the cones and blur what is left, while the camera adds its noise.
    blurred = 0.12 * ndimage.gaussian_filter(image, 2.5)
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    image = (1 - shadow) * image + shadow * blurred + noise
    every, sure = (detect_cones(image, confidence=c).points.round().astype(int) for c in (0, 0.36))
    dark = shadow > 0.9
    inside = [int(dark[tuple(points.T)].sum()) for points in (every, sure)]
    outside = [len(points) - n for points, n in zip((every, sure), inside, strict=True)]
    assert inside[0] > 40
    assert inside[1] < 0.15 * inside[0]
    assert outside[1] > 0.85 * outside[0]


def test_uneven_light_costs_little(mosaic):
    light = np.linspace(0.3, 1.7, mosaic.image.shape[1])
    even, uneven = detect_cones(mosaic.image), detect_cones(mosaic.image * light)
    assert match_cones(uneven.points, even.points, tolerance_px=1).dice > 0.95


def test_a_border_neither_fires_nor_changes_what_lies_away_from_it(mosaic):
    image = mosaic.image
    rows, columns = np.indices(image.shape)
    mask = (rows > 25) & (columns < 120) & (rows + columns > 60)
    whole, part = detect_cones(image, spacing=7), detect_cones(np.where(mask, image, 0), mask=mask, spacing=7)
    depth = ndimage.distance_transform_edt(mask)
    assert depth[tuple(part.points.round().astype(int).T)].min() > 1
    deep = whole.points[depth[tuple(whole.points.round().astype(int).T)] > 7]
    assert len(match_cones(part.points, deep, tolerance_px=0.5).lost) <= 0.02 * len(deep)
    # Whatever the border holds: black, white or NaN.
    for value in (255, np.nan):
        other = detect_cones(np.where(mask, image, value), mask=mask, spacing=7)
        assert np.array_equal(other.points, part.points)
    assert np.array_equal(detect_cones(np.where(mask, image, np.nan), spacing=7).points, part.points)


def test_a_step_to_a_black_border_is_no_row_of_cones(rng):
    image = rng.normal(200, 1, (90, 90))
    image[:30] = 0
    mask = np.ones(image.shape, bool)
    mask[:30] = False
    assert len(detect_cones(image, mask=mask, spacing=8)) <= 3
    assert len(detect_cones(image, mask=np.zeros(image.shape, bool))) == 0


def test_two_equal_pixels_are_one_cone():
    image = np.zeros((31, 40))
    image[10, 10:12] = image[20, 30] = image[20:22, 15] = 1
    found = detect_cones(image, spacing=8).points
    assert found[np.lexsort(found.T[::-1])] == pytest.approx(np.array([[10, 10.5], [20, 30], [20.5, 15]]), abs=0.03)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (3, 5), (17, 4)])
def test_small_images_are_no_special_case(rng, shape):
    found = detect_cones(rng.normal(size=shape), confidence=0)
    assert np.all((found.points > -0.5) & (found.points < np.subtract(shape, 0.5)))


def test_sigma_and_spacing_are_two_names_of_one_scale(mosaic):
    assert np.array_equal(
        detect_cones(mosaic.image, sigma=1.36).points,
        detect_cones(mosaic.image, sigma=1.36, spacing=1.36 / 0.17).points,
    )
    assert np.array_equal(
        detect_cones(mosaic.image, spacing=8).points, detect_cones(mosaic.image, sigma=0.17 * 8).points
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.1}, "confidence must be .* got 1.1"),
        ({"confidence": np.nan}, "confidence must be .* got nan"),
        ({"sigma": 0}, "sigma must be .* got 0"),
        ({"spacing": np.nan}, "spacing must be .* got nan"),
        ({"spacing": -3}, "spacing must be .* got -3"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ParameterError, match=message):
        detect_cones(np.ones((20, 20)), **options)


@pytest.mark.parametrize("image", [np.ones(5), np.ones((4, 4, 3)), np.ones((0, 4)), np.ones((9, 9), complex)])
def test_only_gray_images_have_cones(image):
    with pytest.raises(ImageError, match=r"Pass one|Convert"):
        detect_cones(image)
    with pytest.raises(ImageError, match="mask has shape"):
        detect_cones(np.ones((9, 9)), mask=np.zeros((9, 8)))


def test_simulated_cones_are_found(simulated):
    for confidence in (0.36, 0):
        scores = []
        for one in simulated:
            found = inner(detect_cones(one.image, confidence=confidence).points, one.image.shape, 6.5)
            true = inner(one.cones, one.image.shape, 6.5)
            scores.append(match_cones(found, true, tolerance_px=0.35 * one.spacing).dice)
        assert np.mean(scores) > 0.975
        assert min(scores) > 0.96


def test_annotated_cones_are_found_as_well_as_published_detectors_do(marked):
    # Of a LoG without threshold .987 is known on such images, of the published network .985.
    dice, every, subjects = [], [], [item.subject for item in marked]
    for item in marked:
        limits, inside = 0.35 * item.spacing, []
        for confidence in (0.36, 0):
            found = inner(detect_cones(item.image, confidence=confidence).points, item.image.shape, 6.5)
            inside.append(match_cones(found, inner(item.cones, item.image.shape, 6.5), tolerance_px=limits).dice)
        dice.append(inside[0])
        every.append(inside[1])
    assert np.mean(dice) > 0.975
    assert np.mean(every) > 0.98
    assert min(np.mean([d for d, s in zip(dice, subjects, strict=True) if s == one]) for one in set(subjects)) > 0.96
    assert nearest_neighbour_spacing(detect_cones(item.image).points) == pytest.approx(item.spacing, rel=0.05)


@pytest.mark.parametrize("whole", [True, False])
def test_the_dark_vessel_of_a_real_image_hardly_fires(aoslo, whole):
    image = aoslo("confocal_OS_0075").data
    dark = ndimage.gaussian_filter(image.astype(float), 8) < 25
    if whole:
        outside = np.ones(dark.shape, bool)
        outside[200:386, 250:436] = False
        dark &= ~outside
    else:
        image, dark = image[200:386, 250:436], dark[200:386, 250:436]
    counts = []
    for confidence in (0, 0.36):
        points = detect_cones(image, confidence=confidence).points.round().astype(int)
        inside = int(dark[tuple(points.T)].sum())
        counts.append((inside, len(points) - inside))
    assert counts[0][0] > 30
    assert counts[1][0] < (0.35 if whole else 0.6) * counts[0][0]
    assert counts[1][1] > 0.85 * counts[0][1]


def test_the_sixteen_bit_images_work(aoslo):
    image = aoslo("OS--043063").data[300:485, 300:485]
    assert image.min() > 30_000
    eight = np.rint((image.astype(float) - image.min()) / np.ptp(image) * 255).astype(np.uint8)
    first, second = detect_cones(image), detect_cones(eight)
    assert len(first) > 300
    assert match_cones(first.points, second.points, tolerance_px=0.5).dice > 0.98


def test_importing_the_package_loads_numpy_only():
    code = "import napari_nst.metrics.assessment, sys; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"scipy", "skimage", "pandas", "torch", "cv2", "matplotlib", "napari", "tifffile"}
