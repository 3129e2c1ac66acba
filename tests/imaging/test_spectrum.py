"""Radial spectra and filters against their definitions written out, closed forms, and what they promise."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic, mosaic_pair
from napari_nst.imaging.spectrum import match_spectrum, noise_power, radial_power_spectrum


def written_out(image, bins):
    """The definition, with the transform as two matrix products and the rings as loops."""
    height, width = image.shape
    centred = image - image.mean()
    window = np.array(
        [
            [np.sin(np.pi * y / (height - 1)) ** 2 * np.sin(np.pi * x / (width - 1)) ** 2 for x in range(width)]
            for y in range(height)
        ]
    )
    rows = np.exp(-2j * np.pi * np.outer(np.arange(height), np.arange(height)) / height)
    columns = np.exp(-2j * np.pi * np.outer(np.arange(width), np.arange(width)) / width)
    power = np.abs(rows @ (centred * window) @ columns) ** 2 / (height * width)
    found = [[] for _ in range(bins)]
    for v in range(height):
        for u in range(width):
            f = np.hypot(min(v, height - v) / height, min(u, width - u) / width)
            if f <= 0.5:
                found[min(int(f / 0.5 * bins), bins - 1)].append(power[v, u])
    return np.array([np.mean(ring) for ring in found])


@pytest.mark.parametrize(("shape", "bins"), [((16, 16), None), ((16, 21), 8), ((30, 17), 5), ((23, 40), None)])
def test_the_radial_spectrum_is_its_definition(shape, bins, rng):
    image = rng.normal(100, 20, shape)
    frequencies, power = radial_power_spectrum(image, bins=bins)
    count = bins or min(shape) // 2
    np.testing.assert_allclose(frequencies, (np.arange(count) + 0.5) / (2 * count))
    np.testing.assert_allclose(power, written_out(image, count), rtol=1e-9)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cycles", [0.1, 0.25, 0.4])
def test_a_wave_of_an_image_that_is_not_square_peaks_at_its_frequency(axis, cycles):
    wave = np.cos(2 * np.pi * cycles * np.indices((60, 140))[axis])
    frequencies, power = radial_power_spectrum(wave)
    assert abs(frequencies[power.argmax()] - cycles) <= 1 / 60


def test_white_noise_is_flat_at_its_variance_times_the_windows_power(rng):
    # The mean square of the Hann window is (3/8)^2 in two dimensions.
    _, power = radial_power_spectrum(rng.normal(0, 7, (300, 200)), bins=10)
    # The innermost ring has too few members for a close mean.
    np.testing.assert_allclose(power[1:], 49 * (3 / 8) ** 2, rtol=0.12)


def test_a_constant_has_no_power():
    assert not radial_power_spectrum(np.full((20, 20), 9, np.uint8))[1].any()


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_spectra_have_every_ring_and_scale_with_the_square(dtype, data):
    shape = data.draw(st.tuples(st.integers(16, 40), st.integers(16, 40)))
    low = -1000 if dtype in ("int16", "float32") else 0
    width = {"width": 32} if dtype == "float32" else {}
    elements = (st.floats if width else st.integers)(low, 250 if dtype == "uint8" else 30000, **width)
    image = data.draw(arrays(dtype, shape, elements=elements, fill=st.just(0)))
    bins = data.draw(st.none() | st.integers(1, min(shape) // 2))
    frequencies, power = radial_power_spectrum(image, bins=bins)
    assert frequencies.shape == power.shape
    assert np.isfinite(power).all()
    assert ((power >= 0) & (frequencies > 0) & (frequencies < 0.5)).all()
    doubled = radial_power_spectrum(image.astype(float) * 2 + 5, bins=bins)[1]
    np.testing.assert_allclose(doubled, 4 * power, rtol=1e-9, atol=1e-12 * (1 + power.max()))


@pytest.mark.parametrize("hidden", [0.0, 255.0, np.nan])
def test_masked_pixels_stand_for_the_mean(hidden, rng):
    image, mask = rng.normal(90, 9, (32, 40)), np.ones((32, 40), bool)
    mask[:10, 20:] = False
    filled = np.where(mask, image, image[mask].mean())
    spoilt = np.where(mask, image, hidden)
    np.testing.assert_allclose(
        radial_power_spectrum(spoilt, mask=mask.astype(int))[1], radial_power_spectrum(filled)[1], rtol=1e-9
    )


@pytest.mark.parametrize("bins", [0, -1, 9])
def test_more_rings_than_frequencies_are_refused(bins):
    with pytest.raises(ParameterError, match=rf"bins must be from 1 to 8 .* got {bins}"):
        radial_power_spectrum(np.eye(16), bins=bins)


# The filter


def decibels(power):
    return 10 * np.log10(power)


def test_a_blurred_image_regains_the_spectrum_of_the_style():
    from scipy import ndimage

    style = cone_mosaic((160, 180), seed=3, vessel=False).image
    target = ndimage.gaussian_filter(cone_mosaic((140, 150), seed=8, vessel=False).image.astype(float), 1.0)
    out = match_spectrum(target, style)
    before, after, wanted = (decibels(radial_power_spectrum(p, bins=24)[1]) for p in (target, out, style))
    # Beyond 0.3 cycles/pixel the blur took more than the limit of the gain gives back.
    compared = slice(1, 14)
    assert np.abs(before - wanted)[compared].max() > 6
    assert np.abs(after - wanted)[compared].max() < 2
    assert abs(out.mean() - style.mean()) < 1e-9
    assert abs(out.std() - style.std()) < 1e-9


def test_noise_gets_the_spectrum_of_smooth_noise(rng):
    from scipy import ndimage

    target, style = rng.normal(size=(200, 200)), ndimage.gaussian_filter(rng.normal(size=(200, 200)), 0.6)
    out = match_spectrum(target, style)
    difference = decibels(radial_power_spectrum(out, bins=20)[1] / radial_power_spectrum(style, bins=20)[1])
    assert np.abs(difference).max() < 1.5


def test_a_style_of_the_same_spectrum_changes_nothing():
    image = cone_mosaic((64, 90), seed=1).image.astype(float)
    np.testing.assert_allclose(match_spectrum(image, image), image, atol=1e-9)
    # Neither do another brightness and contrast of the style: they are all that is taken on.
    np.testing.assert_allclose(match_spectrum(image, image * 3 + 7), image * 3 + 7, atol=1e-8)


def test_the_filter_is_symmetric_so_nothing_moves(rng):
    from skimage.registration import phase_cross_correlation

    pair = mosaic_pair((96, 120), seed=2)
    out = match_spectrum(pair.target, pair.style)
    shift = phase_cross_correlation(pair.target, out, upsample_factor=50)[0]
    assert np.abs(shift).max() <= 0.02
    # Mirrored and turned input gives mirrored and turned output.
    for turn in (np.flipud, np.fliplr, np.transpose):
        np.testing.assert_allclose(match_spectrum(turn(pair.target), pair.style), turn(out), atol=1e-8)


def test_a_single_point_spreads_evenly_to_all_sides(rng):
    point = np.zeros((81, 81))
    point[40, 40] = 1
    out = match_spectrum(point, rng.normal(size=(50, 60)).cumsum(axis=0).cumsum(axis=1))
    assert np.unravel_index(out.argmax(), out.shape) == (40, 40)
    np.testing.assert_allclose(out, out[::-1], atol=1e-9 * np.ptp(out))
    np.testing.assert_allclose(out, out.T, atol=1e-9 * np.ptp(out))


def test_phases_are_kept(rng):
    from scipy import ndimage

    # Of even images, which reflection continues without an edge, a transform can be taken of the padded one.
    target = cone_mosaic((90, 90), seed=4).image.astype(float)
    out = match_spectrum(target, ndimage.gaussian_filter(rng.normal(size=(90, 90)), 1.0), pad=89)
    whole = [np.pad(p, ((0, 88), (0, 88)), mode="reflect") for p in (target - target.mean(), out - out.mean())]
    one, other = (np.fft.fft2(p)[:20, :20].ravel()[1:] for p in whole)
    strong = np.abs(one) > np.percentile(np.abs(one), 30)
    assert np.abs(np.angle(other[strong] / one[strong])).max() < 0.05


def test_nothing_comes_around_from_the_opposite_side(rng):
    target = rng.normal(100, 5, (64, 64))
    style = cone_mosaic((80, 80), seed=5).image
    spot = target.copy()
    spot[2, 2] += 3000
    # Another mean and standard deviation come with the spot; taken out, the far side must be the same.
    out, spotted = (match_spectrum(p, style, limit=1.5) for p in (target, spot))
    far = np.corrcoef(out[40:, 40:].ravel(), spotted[40:, 40:].ravel())[0, 1]
    assert far > 0.98


def test_the_gain_stays_within_its_limit(rng):
    from scipy import ndimage

    target, style = ndimage.gaussian_filter(rng.normal(size=(128, 128)), 2), rng.normal(size=(128, 128))
    for limit in (1.0, 2.0, 6.0):
        out = match_spectrum(target, style, limit=limit)
        gain = np.sqrt(radial_power_spectrum(out, bins=48)[1] / radial_power_spectrum(target, bins=48)[1])
        # Up to where the window's leakage outweighs what the blur left.
        relative = (gain / np.median(gain[:12]))[:20]
        assert relative.max() == pytest.approx(limit, rel=0.1)
        assert relative.min() >= 1 / limit / 1.1


@pytest.mark.parametrize("hidden", [0.0, 1e4, np.nan])
def test_pixels_outside_the_masks_have_no_influence_and_come_back(hidden):
    pair = mosaic_pair((64, 80), seed=6)
    mask, style_mask = np.ones((64, 80), bool), np.ones((64, 80), bool)
    mask[:, :12] = style_mask[50:] = False
    target, style = np.where(mask, pair.target, hidden), np.where(style_mask, pair.style, hidden)
    out = match_spectrum(target, style, mask=mask, style_mask=style_mask)
    plain = match_spectrum(pair.target.astype(float), pair.style, mask=mask, style_mask=style_mask)
    np.testing.assert_allclose(out[mask], plain[mask], rtol=1e-12)
    assert np.array_equal(out[~mask], target[~mask], equal_nan=True)
    assert abs(out[mask].mean() - pair.style[style_mask].mean()) < 1e-9
    assert abs(out[mask].std() - pair.style[style_mask].std()) < 1e-9


@settings(max_examples=15)
@given(
    target=st.tuples(st.integers(16, 50), st.integers(16, 50)),
    style=st.tuples(st.integers(16, 50), st.integers(16, 50)),
    seed=st.integers(0, 9),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
)
def test_any_two_shapes_and_types_go_together(target, style, seed, dtype):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(0, 120, shape).astype(dtype) for shape in (target, style))
    before = one.copy()
    out = match_spectrum(one, other)
    assert out.shape == target
    assert out.dtype == np.float64
    assert np.isfinite(out).all()
    assert np.array_equal(one, before)
    np.testing.assert_allclose(match_spectrum(one * 0.5, other * 0.5), out / 2, atol=1e-7)


@pytest.mark.parametrize(
    ("target", "style", "message"),
    [
        (np.full((20, 20), 3), np.eye(20), "target is constant.*3"),
        (np.eye(20), np.zeros((20, 20)), "style is constant"),
        (np.eye(15), np.eye(20), "target is 15 × 15 pixels; at least 16"),
        (np.eye(20), np.eye(20)[:9], "style is 9 × 20"),
        (np.zeros((20, 20, 3)), np.eye(20), r"shape \(20, 20, 3\)"),
        (np.where(np.eye(20), np.nan, 1), np.eye(20), "20 pixel.*row 0, column 0"),
        (np.eye(20, dtype=bool), np.eye(20), "bool"),
    ],
)
def test_images_that_cannot_be_matched(target, style, message):
    with pytest.raises(ImageError, match=message):
        match_spectrum(target, style)


def test_a_mask_that_leaves_a_constant_is_reported():
    image, mask = np.eye(20), np.zeros((20, 20))
    mask[0, 1:] = 1
    with pytest.raises(ImageError, match="target is constant"):
        match_spectrum(image, image, mask=mask)


@pytest.mark.parametrize("setting", [{"limit": 0.5}, {"bins": 3}, {"pad": -1}, {"limit": np.nan}, {"limit": np.inf}])
def test_settings_out_of_range(setting):
    with pytest.raises(ParameterError, match=next(iter(setting))):
        match_spectrum(np.eye(20), np.eye(20), **setting)


def test_a_mask_that_leaves_only_the_edge_is_survived():
    image, mask = np.eye(20), np.zeros((20, 20))
    mask[0] = 1
    out = match_spectrum(image, image, mask=mask)
    assert np.isfinite(out).all()
    assert np.array_equal(out[1:], image[1:])


def smoothed(image, bins):
    frequencies, power = radial_power_spectrum(image, bins=bins)
    return frequencies, np.exp(ndimage.gaussian_filter1d(np.log(power), 1.0))


denoised = functools.partial(match_spectrum, denoise=True)


def filter_written_out(target, style, bins, limit=6.0, pad=24):
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
    found = denoised(target, style)
    np.testing.assert_allclose(found, filter_written_out(target, style, bins), atol=1e-9 * np.ptp(style))
    assert found.mean() == pytest.approx(style.mean())
    assert found.std() == pytest.approx(style.std())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_restores_a_noisy_mosaic_better_than_the_filter_that_takes_noise_for_structure(seed):
    clean = cone_mosaic((150, 150), 8.0, seed=seed, vessel=False).image.astype(float)
    style = cone_mosaic((150, 150), 8.0, seed=seed + 50, vessel=False).image.astype(float)
    noisy = clean + np.random.default_rng(seed).normal(0, clean.std(), clean.shape)
    kept = [
        np.corrcoef(match_spectrum(noisy, style, denoise=denoise).ravel(), clean.ravel())[0, 1]
        for denoise in (False, True)
    ]
    assert kept[1] > kept[0] + 0.01
    assert kept[1] > np.corrcoef(noisy.ravel(), clean.ravel())[0, 1]


def test_an_image_without_noise_that_has_the_spectrum_already_stays(rng):
    image = ndimage.gaussian_filter(rng.normal(size=(128, 128)), 2.0)
    np.testing.assert_allclose(denoised(image, image), image, atol=0.02 * np.ptp(image))


def test_the_noise_of_a_noisy_image_is_its_variance_under_the_window(rng):
    image = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 3.0) * 200 + rng.normal(0, 7, (400, 400))
    # (3/8)² is the mean square of a two-dimensional Hann window; the least of some rings lies a little below the mean.
    _, power = smoothed(image, 48)
    assert noise_power(power) == pytest.approx(49 * (3 / 8) ** 2, rel=0.1)


def test_unused_pixels_stay_and_have_no_say(rng):
    image, style = (ndimage.gaussian_filter(rng.normal(size=(64, 64)), s) for s in (2.0, 1.5))
    mask = np.ones((64, 64), bool)
    mask[:10] = False
    spoilt = np.where(mask, image, 1e6)
    found = denoised(spoilt, style, mask=mask)
    assert np.array_equal(found[~mask], spoilt[~mask])
    np.testing.assert_allclose(found[mask], denoised(np.where(mask, image, 3.0), style, mask=mask)[mask])


def test_what_cannot_be_filtered_is_refused(rng):
    image = rng.normal(size=(32, 32))
    with pytest.raises(ImageError, match="constant"):
        denoised(np.zeros((32, 32)), image)
    with pytest.raises(ImageError, match="16"):
        denoised(image[:8], image)
    with pytest.raises(ParameterError, match="limit must be at least 1"):
        denoised(image, image, limit=0)
