"""Yellott's ring and ratios of spacings against lattices and mosaics whose spacing is known, and annotated images."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_nst.errors import ImageError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.imaging.spacing import relative_spacing, ring_prominence
from napari_nst.metrics import nearest_neighbour_spacing


@pytest.mark.parametrize("pitch", [4.0, 5.0, 8.0, 12.5, 20.0])
@pytest.mark.parametrize("shape", [(150, 190), (240, 140)])
def test_a_lattice_has_its_ring_where_theory_says(hexagonal, pitch, shape):
    ring = ring_prominence(hexagonal(shape, pitch)[0])
    assert ring.lattice_spacing == pytest.approx(pitch, rel=0.04)
    assert ring.spacing == pytest.approx(pitch * math.sqrt(3) / 2, rel=0.04)
    assert ring.prominence > 20


@pytest.mark.parametrize("spacing", [4.0, 6.0, 8.0, 12.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_in_a_disordered_mosaic_the_ring_gives_the_distance_of_nearest_neighbors(spacing, seed):
    made = cone_mosaic((200, 260), spacing, seed=seed, vessel=False)
    ring = ring_prominence(made.image)
    assert ring.spacing == pytest.approx(nearest_neighbour_spacing(made.cones), rel=0.08)
    assert 10 < ring.prominence < 25


def test_the_prominence_is_the_height_of_a_peak_over_a_power_law():
    # Noise with the power f^-2, and one with 12 dB more around 0.12 cycles/pixel.
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.fftfreq(400))
    frequency[0, 0] = 1
    bump = 12 * np.exp(-(np.log(frequency / 0.12) ** 2) / (2 * 0.15**2))
    spectrum = np.fft.fft2(rng.normal(size=(400, 400))) / frequency * 10 ** (bump / 20)
    ring = ring_prominence(np.fft.ifft2(spectrum).real)
    # Smoothing by 0.08 of a peak 0.15 wide lowers it by a factor sqrt(0.15² / (0.15² + 0.08²)).
    assert ring.prominence == pytest.approx(12 * 0.15 / math.hypot(0.15, 0.08), abs=0.8)
    assert 1 / ring.spacing == pytest.approx(0.12, rel=0.04)


def test_the_ring_of_simulated_images_follows_the_spacing(simulated):
    ratio = np.array([ring_prominence(one.image).spacing / one.spacing for one in simulated])
    assert ratio.mean() == pytest.approx(0.94, abs=0.02)
    assert ratio.std() < 0.036


def test_the_published_relation_holds_on_annotated_images(marked):
    rings = [ring_prominence(item.image) for item in marked]
    ratio = np.array([r.spacing / item.spacing for r, item in zip(rings, marked, strict=True)])
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert ratio.std() < 0.036
    ours, theirs = [r.prominence for r in rings], [item.ring for item in marked]
    assert stats.spearmanr(ours, theirs)[0] > 0.9
    assert np.std(np.subtract(ours, theirs)) < 0.6


def test_real_images_rank_as_they_look(aoslo):
    # 12.5, 13.6, 12.8, 10.3 and 8.3 dB by another implementation.
    values = [
        ring_prominence(aoslo(f"confocal_OS_{n}").data).prominence for n in ("0069", "0070", "0071", "0072", "0075")
    ]
    assert values == pytest.approx([12.5, 13.6, 12.8, 10.3, 8.3], abs=1)


def test_it_falls_with_noise_haze_and_blurred_cones():
    clean = cone_mosaic((185, 185), 8.0, seed=2, vessel=False).image.astype(float)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=clean.shape)
    noisy = [ring_prominence(clean + s * noise).prominence for s in (0, 15, 40, 120)]
    assert noisy == sorted(noisy, reverse=True)
    assert noisy[-1] < 4
    defocused = [
        ring_prominence(cone_mosaic((185, 185), 8.0, psf_fwhm=w, seed=2, vessel=False).image).prominence
        for w in (0.3, 0.6, 0.9)
    ]
    assert defocused[-1] < defocused[0]


def test_noise_has_no_ring():
    rng = np.random.default_rng(5)
    rings = [ring_prominence(rng.normal(size=(150, 185))) for _ in range(20)]
    assert np.mean([r.prominence for r in rings]) < 2
    assert sum(math.isfinite(r.spacing) for r in rings) <= 1
    # Brown noise: structure at all scales, but no ring.
    walk = ndimage.gaussian_filter(rng.normal(size=(150, 185)), 0.7).cumsum(0).cumsum(1)
    assert math.isnan(ring_prominence(walk).spacing)


def test_neither_scale_nor_type_nor_axes_matter():
    image = cone_mosaic((130, 190), 8.0, seed=3).image
    plain = ring_prominence(image)
    for other in (
        image.T,
        image[::-1],
        33169 + image.astype(np.uint16) * 100,
        image.astype(np.float32) * 1e-6,
        -1.0 * image,
    ):
        ring = ring_prominence(other)
        assert ring.prominence == pytest.approx(plain.prominence, abs=1e-3)
        assert ring.spacing == pytest.approx(plain.spacing, rel=1e-6)


def test_a_mask_keeps_borders_and_holes_out(rng):
    image = cone_mosaic((220, 220), 8.0, seed=3, vessel=False).image
    whole = ring_prominence(image)
    rows, columns = np.indices(image.shape)
    corner = (rows > 30) & (columns < 180) & (columns - rows < 110)
    hole = (rows - 100) ** 2 + (columns - 90) ** 2 > 30**2
    for mask in (corner, hole, corner & hole):
        masked = ring_prominence(np.where(mask, image, 0), mask=mask)
        assert masked.prominence == pytest.approx(whole.prominence, abs=2)
        assert masked.spacing == pytest.approx(whole.spacing, rel=0.04)
        assert ring_prominence(np.where(mask, image, 255), mask=mask) == masked
        assert ring_prominence(np.where(mask, image, np.nan)) == masked
    # Without the mask the edge of the hole fills the spectrum.
    assert ring_prominence(np.where(corner & hole, image, 0)).prominence < whole.prominence - 1.5


def test_where_there_is_no_spectrum_there_is_no_number(rng):
    noise = rng.normal(size=(100, 100))
    few = np.zeros((100, 100), bool)
    few[10:30, 10:60] = True
    nothing = [
        ring_prominence(np.full((64, 64), 7)),
        ring_prominence(noise[:31]),
        ring_prominence(noise[:1, :1]),
        ring_prominence(noise, mask=few),
        ring_prominence(noise, mask=np.zeros((100, 100))),
        ring_prominence(np.full((64, 64), np.nan)),
    ]
    assert all(math.isnan(r.prominence) and math.isnan(r.spacing) for r in nothing)
    assert math.isfinite(ring_prominence(noise[:32, :32]).prominence)
    assert math.isfinite(ring_prominence(np.eye(64)).prominence)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.ones((40, 40, 3)), None, r"\(40, 40, 3\)"),
        (np.ones((40, 40), bool), None, "bool"),
        (np.ones((40, 40)), np.ones((40, 39)), r"\(40, 39\)"),
    ],
)
def test_what_is_no_image_is_refused(image, mask, message):
    with pytest.raises(ImageError, match=message):
        ring_prominence(image, mask=mask)


SHARED = Path(__file__).resolve().parents[3] / "shared"


def made(spacing, seed):
    mosaic = cone_mosaic((150, 150), spacing, seed=seed, vessel=False)
    return mosaic.image.astype(float), nearest_neighbour_spacing(mosaic.cones)


@pytest.mark.parametrize("spacing", [7.0, 8.0, 9.0])
@pytest.mark.parametrize("poor", ["clean", "blurred", "noisy"])
def test_it_is_the_ratio_of_the_mosaics_whatever_became_of_the_target(spacing, poor, rng):
    target, true = made(spacing, 3)
    style, other = made(8.0, 4)
    if poor == "blurred":
        target = ndimage.gaussian_filter(target, 1.5)
    if poor == "noisy":
        target = target + rng.normal(0, target.std(), target.shape)
    assert math.log(relative_spacing(target, style) / (true / other)) == pytest.approx(0, abs=0.07)


@pytest.mark.parametrize("spacing", [5.8, 11.3])
def test_another_magnification_is_found_too(spacing):
    target, true = made(spacing, 5)
    style, other = made(8.0, 6)
    assert relative_spacing(target, style) == pytest.approx(true / other, rel=0.07)


def test_scale_and_offset_of_gray_levels_do_not_matter():
    target, style = made(8.5, 1)[0], made(8.0, 2)[0]
    assert relative_spacing(40 * target - 3, style / 7) == relative_spacing(target, style)


def test_where_nothing_can_be_said_it_says_so(rng):
    mosaic, noise = made(8.0, 1)[0], rng.normal(size=(150, 150))
    assert math.isnan(relative_spacing(mosaic, noise))
    assert math.isnan(relative_spacing(np.ones((64, 64)), mosaic))
    assert math.isnan(relative_spacing(mosaic[:20], mosaic))
    # Of a target of noise nothing is known either: the style may as well stay as it is.
    assert relative_spacing(noise, mosaic) == pytest.approx(1, abs=0.15)


def test_unused_pixels_have_no_say():
    target, style = made(8.0, 1)[0], made(8.5, 2)[0]
    mask = np.ones(target.shape, bool)
    mask[:30] = False
    first, second = (relative_spacing(np.where(mask, target, fill), style, mask=mask) for fill in (0.0, 1e4))
    assert first == second


def test_it_is_closer_than_the_rings_are_where_the_target_is_poor():
    errors, by_rings = [], []
    for seed in range(8):
        target, true = made(8.0, 2 * seed)
        style, other = made(8.0, 2 * seed + 1)
        poor = ndimage.gaussian_filter(target, 1.2)
        poor += np.random.default_rng(seed).normal(0, 0.8 * poor.std(), poor.shape)
        errors.append(math.log(relative_spacing(poor, style) / (true / other)))
        by_rings.append(math.log(ring_prominence(poor).spacing / ring_prominence(style).spacing / (true / other)))
    assert abs(np.mean(errors)) < 0.02 < abs(np.mean(by_rings))
    assert np.sqrt(np.mean(np.square(errors))) < np.sqrt(np.mean(np.square(by_rings)))


@pytest.mark.skipif(
    not ((SHARED / "data" / "cones").is_dir() and (SHARED / "evaluation" / "cones.py").is_file()),
    reason="the annotated images or the evaluation script are not here",
)
@pytest.mark.parametrize(("condition", "bias", "spread"), [("noise:3", 0.02, 0.04), ("defocus:2", 0.02, 0.045)])
def test_on_annotated_images_it_is_closer_than_the_rings_are(condition, bias, spread):
    spec = importlib.util.spec_from_file_location("cones", SHARED / "evaluation" / "cones.py")
    cones = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cones)
    index = cones.load_index()
    spacings = dict(zip(index.stem, index.spacing_px, strict=True))
    errors, by_rings = [], []
    for item in cones.load_items(10):
        row = index[index.stem == item["stem"]].iloc[0]
        poor = cones.degrade(item["image"], condition, seed=1)
        true = cones.spacing(item["cones"]) / spacings[cones.style_for(row, index)]
        errors.append(math.log(relative_spacing(poor, item["style"]) / true))
        by_rings.append(math.log(ring_prominence(poor).spacing / ring_prominence(item["style"]).spacing / true))
    assert abs(np.mean(errors)) < bias < abs(np.mean(by_rings))
    assert np.std(errors) < spread
