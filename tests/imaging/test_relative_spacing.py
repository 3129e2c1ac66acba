"""The ratio of spacings against mosaics and hand marks of which it is known."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_nst.imaging import relative_spacing
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics import nearest_neighbour_spacing, ring_prominence

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


def test_scale_and_offset_of_grey_levels_do_not_matter():
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


@pytest.mark.skipif(
    not ((SHARED / "data" / "cones").is_dir() and (SHARED / "evaluation" / "cones.py").is_file()),
    reason="the hand-marked pictures or the evaluation script are not here",
)
@pytest.mark.parametrize(("condition", "bias", "spread"), [("noise:3", 0.02, 0.04), ("defocus:2", 0.02, 0.045)])
def test_on_hand_marked_pictures_it_is_closer_than_the_rings_are(condition, bias, spread):
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
