"""The noise-aware filter against its formula written out, and against what it is for."""

import numpy as np
import pytest
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.imaging.spectrum import match_spectrum, match_spectrum_denoised, noise_power, radial_power_spectrum


def smoothed(image, bins):
    frequencies, power = radial_power_spectrum(image, bins=bins)
    return frequencies, np.exp(ndimage.gaussian_filter1d(np.log(power), 1.0))


def written_out(target, style, bins, limit=6.0, pad=24):
    """The gain ring by ring, as the Notes have it."""
    frequencies, present = smoothed(target, bins)
    _, wanted = smoothed(style, bins)
    noise = min(p for f, p in zip(frequencies, present, strict=True) if f > 0.42)
    plain, wiener = [], []
    for p, s in zip(present, wanted, strict=True):
        signal = max(p - noise, p / 1000)
        plain.append(np.sqrt(s / signal) * (signal / p) ** 0.25)
        wiener.append(signal / p)
    c = np.median([r * w for r, w in zip(plain, wiener, strict=True)][: bins // 4])
    gain = [w * (min(r / c, limit) if r / c > 1 else np.sqrt(r / c)) for r, w in zip(plain, wiener, strict=True)]
    padded = np.pad(target.astype(float), pad, mode="reflect")
    radius = np.hypot(np.fft.fftfreq(padded.shape[0])[:, None], np.fft.fftfreq(padded.shape[1]))
    out = np.fft.ifft2(np.fft.fft2(padded - padded.mean()) * np.interp(radius, frequencies, gain)).real
    out = out[pad:-pad, pad:-pad]
    return (out - out.mean()) / out.std() * style.std() + style.mean()


@pytest.mark.parametrize(("shape", "style_shape"), [((96, 96), (96, 96)), ((70, 111), (120, 64))])
def test_the_filter_is_its_formula(shape, style_shape, rng):
    target = ndimage.gaussian_filter(rng.normal(size=shape), 1.5) * 40 + rng.normal(size=shape)
    style = ndimage.gaussian_filter(rng.normal(size=style_shape), 1.0) * 30 + 100
    bins = min(48, *(side // 2 for side in (*shape, *style_shape)))
    found = match_spectrum_denoised(target, style)
    np.testing.assert_allclose(found, written_out(target, style, bins), atol=1e-9 * np.ptp(style))
    assert found.mean() == pytest.approx(style.mean())
    assert found.std() == pytest.approx(style.std())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_restores_a_noisy_mosaic_better_than_the_filter_that_takes_noise_for_structure(seed):
    clean = cone_mosaic((150, 150), 8.0, seed=seed, vessel=False).image.astype(float)
    style = cone_mosaic((150, 150), 8.0, seed=seed + 50, vessel=False).image.astype(float)
    noisy = clean + np.random.default_rng(seed).normal(0, clean.std(), clean.shape)
    kept = [
        np.corrcoef(f(noisy, style).ravel(), clean.ravel())[0, 1] for f in (match_spectrum, match_spectrum_denoised)
    ]
    assert kept[1] > kept[0] + 0.01
    assert kept[1] > np.corrcoef(noisy.ravel(), clean.ravel())[0, 1]


def test_a_picture_without_noise_that_has_the_spectrum_already_stays(rng):
    picture = ndimage.gaussian_filter(rng.normal(size=(128, 128)), 2.0)
    np.testing.assert_allclose(match_spectrum_denoised(picture, picture), picture, atol=0.02 * np.ptp(picture))


def test_the_noise_of_a_noisy_picture_is_its_variance_under_the_window(rng):
    picture = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 3.0) * 200 + rng.normal(0, 7, (400, 400))
    # (3/8)² is the mean square of a two-dimensional Hann window; the least of some rings lies a little below the mean.
    _, power = smoothed(picture, 48)
    assert noise_power(power) == pytest.approx(49 * (3 / 8) ** 2, rel=0.1)


def test_unused_pixels_stay_and_have_no_say(rng):
    picture, style = (ndimage.gaussian_filter(rng.normal(size=(64, 64)), s) for s in (2.0, 1.5))
    mask = np.ones((64, 64), bool)
    mask[:10] = False
    spoilt = np.where(mask, picture, 1e6)
    found = match_spectrum_denoised(spoilt, style, mask=mask)
    assert np.array_equal(found[~mask], spoilt[~mask])
    np.testing.assert_allclose(
        found[mask], match_spectrum_denoised(np.where(mask, picture, 3.0), style, mask=mask)[mask]
    )


def test_what_cannot_be_filtered_is_refused(rng):
    picture = rng.normal(size=(32, 32))
    with pytest.raises(ImageError, match="constant"):
        match_spectrum_denoised(np.zeros((32, 32)), picture)
    with pytest.raises(ImageError, match="16"):
        match_spectrum_denoised(picture[:8], picture)
    with pytest.raises(ParameterError, match="limit=0"):
        match_spectrum_denoised(picture, picture, limit=0)
