"""The preset "microscopy": what it starts from, where it stays, what its record says, and how it warns."""

import json
import warnings

import numpy as np
import pytest

from napari_nst import arguments_from, cone_mosaic, transfer_style
from napari_nst.errors import OutOfMemoryError, StyleTransferWarning
from napari_nst.imaging.spacing import relative_spacing
from napari_nst.imaging.spectrum import match_spectrum
from napari_nst.imaging.trust_region import local_trust
from napari_nst.methods import enhance_patch
from napari_nst.metrics import ring_prominence

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"preset": "microscopy", "epoch": 2, "device": "cpu", "threads": 1, "precision": "float32"}
HELD = QUICK | {"lr": 1e-9, "epoch": 1}


@pytest.fixture(scope="module")
def images():
    poor = cone_mosaic((96, 96), 8.0, seed=1, vessel=False, psf_fwhm=0.6, photons=500).image
    return poor, cone_mosaic((96, 96), 8.6, seed=2, vessel=False).image


def test_it_starts_from_the_filtered_target_with_the_style_at_its_spacing(images):
    target, style = images
    result = transfer_style(target, style, **HELD | {"style_spacing": 0.0})
    expected = match_spectrum(target / 255, style / 255, denoise=True) * 255
    np.testing.assert_allclose(result.image, expected.clip(0, 255), atol=0.51)
    spaced = transfer_style(target, style, **HELD)
    (enlarged,) = spaced.metadata["used"]["style_enlarged"]
    assert enlarged == pytest.approx(1.02 * relative_spacing(target, style), abs=1e-3)
    assert abs(spaced.image.astype(int) - result.image).max() > 2


def test_no_pixel_goes_farther_than_it_is_trusted(images):
    target, style = images
    settings = QUICK | {"style_spacing": 0.0, "epoch": 8, "lr": 0.02}
    result = transfer_style(target.astype(float), style, **settings, value_range=(0, 255))
    start = match_spectrum(target / 255, style / 255, denoise=True)
    reach = 0.015 * local_trust(start, ring_prominence(style / 255).spacing)
    moved = np.abs(result.image / 255 - start.clip(0, 1))
    assert (moved <= reach + 1e-5).all()
    assert np.median(moved / reach) > 0.9


def test_the_record_repeats_the_run_to_the_last_bit(images):
    result = transfer_style(*images, **QUICK)
    record = json.loads(json.dumps(result.metadata))
    assert record["parameters"]["init"] == "wiener"
    assert np.array_equal(transfer_style(*images, **arguments_from(record)).image, result.image)


def test_a_stack_is_its_planes(images):
    target, style = images
    stack = np.stack([target, target[::-1]])
    result = transfer_style(stack, style, **QUICK)
    assert len(result.metadata["used"]["style_enlarged"]) == len(result.metadata["used"]["trust_spacing"]) == 2
    for plane, made in zip(stack, result.image, strict=True):
        assert np.array_equal(made, transfer_style(plane, style, **QUICK).image)


def test_tiles_give_the_same(images):
    whole = transfer_style(*images, **QUICK | {"precision": "float64"})
    tiled = transfer_style(*images, **QUICK | {"precision": "float64", "tile": 64})
    assert "tiles" in tiled.metadata["used"]
    assert abs(whole.image.astype(int) - tiled.image).max() <= 1


def test_noise_without_cells_is_told(images):
    noise = np.clip(np.random.default_rng(0).normal(100, 20, (96, 96)), 0, 255).astype(np.uint8)
    with pytest.warns(StyleTransferWarning, match="No cells can be told from noise"):
        transfer_style(noise, images[1], **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transfer_style(*images, **QUICK)


def test_filtering_counts_as_memory(images, monkeypatch):
    monkeypatch.setattr("napari_nst.engine.memory.free_memory", lambda device: 50 * images[0].size)
    with pytest.raises(OutOfMemoryError, match="GiB"):
        transfer_style(*images, **QUICK)


def test_a_start_that_is_asked_for_takes_the_place_of_the_presets(images):
    asked = transfer_style(*images, **HELD, init="spectrum")
    assert asked.metadata["parameters"]["init"] == "spectrum"
    assert not np.array_equal(asked.image, transfer_style(*images, **HELD).image)


def test_the_method_spectrum_nst_keeps_its_content_under_any_preset(images):
    made = enhance_patch("spectrum+nst", *images, value_range=(0, 255), parameters=QUICK)
    assert made.losses.original[0] > 0
    plain = enhance_patch("nst", *images, value_range=(0, 255), parameters=QUICK)
    assert plain.losses.original[0] == pytest.approx(0, abs=1e-9)
