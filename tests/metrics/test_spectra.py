"""Changes of spectra against filters whose gain is known in closed form."""

import math

import numpy as np
import pytest
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging import spectrum
from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair
from napari_nst.metrics import radial_power_spectrum, spectrum_change


def test_it_is_the_spectrum_of_the_images():
    assert radial_power_spectrum is spectrum.radial_power_spectrum


def test_a_gaussian_takes_what_its_transform_says(rng):
    image = rng.normal(100, 20, (180, 200))
    change = spectrum_change(image, ndimage.gaussian_filter(image, 1.1), spacing=8)
    gain = -10 * math.log10(math.e) * (2 * np.pi * 1.1 * change.frequencies) ** 2
    inside = (change.frequencies > 0.03) & (change.frequencies < 0.35)
    assert change.change_db[inside] == pytest.approx(gain[inside], abs=0.6)
    band = (change.frequencies >= 0.7 / 8) & (change.frequencies <= 1.4 / 8)
    assert change.band_db == pytest.approx(gain[band].mean(), abs=0.3)
    assert change.rms_db == pytest.approx(math.sqrt(np.mean(gain**2)), rel=0.1)


def test_a_factor_counts_at_every_frequency_and_an_offset_at_none():
    image = cone_mosaic((120, 150), 8.0, seed=1).image.astype(float)
    change = spectrum_change(image, 2 * image + 30)
    assert len(change.frequencies) == 60
    assert change.change_db == pytest.approx(20 * math.log10(2))
    assert [change.rms_db, change.band_db] == pytest.approx([20 * math.log10(2)] * 2)
    same = spectrum_change(image, image)
    assert not same.change_db.any()
    assert same.rms_db == same.band_db == 0
    back = spectrum_change(2 * image + 30, image)
    assert back.change_db == pytest.approx(-change.change_db)


def test_a_better_image_has_more_in_the_band_of_its_cones():
    pair = mosaic_pair((160, 160), 12.0, seed=2)
    spread = [pair.target.astype(float), pair.reference.astype(float)]
    known = spectrum_change(*spread, spacing=11)
    measured = spectrum_change(*spread)
    assert known.band_db > 3
    # The ring of the target gives the spacing: other bands have other means.
    assert abs(measured.band_db - known.band_db) < 1.5
    assert abs(spectrum_change(*spread, spacing=4).band_db - known.band_db) > 3


def test_a_mask_hides_what_lies_outside():
    pair = mosaic_pair((120, 130), 8.0, seed=2)
    mask = np.zeros(pair.target.shape, bool)
    mask[20:100, 15:120] = True
    plain = spectrum_change(pair.target, pair.reference, mask=mask, spacing=8)
    for hole in (0, 255, np.nan):
        other = spectrum_change(pair.target, np.where(mask, pair.reference, hole), mask=mask, spacing=8)
        assert np.array_equal(other.change_db, plain.change_db)
    gaps = spectrum_change(np.where(mask, pair.target, np.nan), pair.reference, spacing=8)
    assert np.array_equal(gaps.change_db, plain.change_db)
    twice = spectrum_change(pair.target, 2.0 * pair.target, mask=mask, spacing=8)
    assert twice.change_db == pytest.approx(20 * math.log10(2))


def test_where_nothing_can_be_compared():
    image = cone_mosaic((60, 60), 8.0).image
    for first, second in ((image, np.full(image.shape, 7)), (np.zeros(image.shape), image)):
        change = spectrum_change(first, second)
        assert len(change.change_db) == len(change.frequencies) == 30
        assert np.isnan(change.change_db).all()
        assert math.isnan(change.rms_db)
        assert math.isnan(change.band_db)
    for change in (
        spectrum_change(image[:15], image[:15]),
        spectrum_change(image[:1, :1], image[:1, :1]),
        spectrum_change(image, image, mask=np.zeros(image.shape)),
        spectrum_change(image, np.full(image.shape, np.nan)),
    ):
        assert len(change.frequencies) == len(change.change_db) == 0
        assert math.isnan(change.rms_db)
    # A spacing that the image has no frequency for.
    assert math.isnan(spectrum_change(image, image, spacing=500).band_db)
    assert spectrum_change(image, image, spacing=500).rms_db == 0


def test_input_is_checked():
    image = np.ones((20, 20))
    with pytest.raises(ParameterError, match=r"spacing must be .* got 0"):
        spectrum_change(image, image, spacing=0)
    with pytest.raises(ImageError, match=r"\(20, 20\), the result \(20, 19\)"):
        spectrum_change(image, image[:, 1:])
