"""The start from the spectrum-matched image: where the pixels begin, what they are drawn to, and the record of it."""

import json

import numpy as np
import pytest

from napari_nst import StyleTransferParameters, arguments_from, transfer_style
from napari_nst.errors import ParameterError
from napari_nst.imaging.spectrum import match_spectrum

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {
    "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "epoch": 2,
    "device": "cpu", "threads": 1, "precision": "float64",
}  # fmt: skip
#: So short a step that the result is the start.
HELD = {**QUICK, "lr": 1e-9, "epoch": 1}


@pytest.fixture(scope="module")
def images(pair):
    # Of different types and ranges, which both become [0, 1].
    return pair.target[:40, :48] * 2.5 - 100, pair.style[:32, :40] * np.uint16(200)


def unit(image):
    return (image.astype(float) - image.min()) / (float(image.max()) - image.min())


def test_the_pixels_start_at_the_targets_structure_with_the_styles_spectrum(images):
    target, style = images
    result = transfer_style(target, style, **HELD, init="spectrum")
    expected = match_spectrum(unit(target), unit(style)).clip(0, 1) * np.ptp(target) + target.min()
    np.testing.assert_allclose(result.image, expected, atol=1e-6 * np.ptp(target))
    assert np.abs(expected - target).max() > 0.1 * np.ptp(target)


def test_the_content_is_that_of_the_target_itself(images):
    target, style = images
    plain, started = (transfer_style(target, style, **HELD, init=init) for init in ("target", "spectrum"))
    assert plain.losses.original[0] == 0
    assert started.losses.original[0] > 0
    assert started.losses.style[0] < plain.losses.style[0]
    # With nothing but content, the pixels come back towards the target.
    back = transfer_style(target, style, **{**QUICK, "beta": 0.0, "epoch": 15}, init="spectrum")
    assert back.losses.original[-1] < 0.7 * back.losses.original[0]
    assert np.abs(back.image - target).mean() < np.abs(started.image - target).mean()


def test_the_record_repeats_the_run_to_the_last_bit(images):
    result = transfer_style(*images, **QUICK, init="spectrum")
    record = json.loads(json.dumps(result.metadata))
    arguments = arguments_from(record)
    assert arguments["init"] == "spectrum"
    assert np.array_equal(transfer_style(*images, **arguments).image, result.image)
    # As version 0.1 recorded it.
    record["parameters"]["init"], record["arguments"]["initial"] = "target", "spectrum"
    assert arguments_from(record) == arguments


def test_masked_pixels_have_no_influence_on_the_start_and_keep_their_values(images):
    target, style = images
    mask, style_mask = np.ones(target.shape, bool), np.ones(style.shape, bool)
    mask[:, :9] = style_mask[20:] = False
    spoilt = np.where(mask, target, np.nan)
    options = {"mask": mask, "style_mask": style_mask, "value_range": (-100, 500), "style_value_range": (0, 51000)}
    result = transfer_style(spoilt, np.where(style_mask, style, 50999), **HELD, **options, init="spectrum")
    expected = (
        match_spectrum((target + 100) / 600, style / 51000, mask=mask, style_mask=style_mask).clip(0, 1) * 600 - 100
    )
    np.testing.assert_allclose(result.image[mask], expected[mask], atol=1e-3)
    assert np.isnan(result.image[~mask]).all()


def test_colour_starts_channel_by_channel_and_an_empty_one_stays(images):
    target, style = (np.clip(p, 0, 255).astype(np.uint8) for p in (images[0], images[1] // 200))
    target = np.stack([target, target[::-1], np.zeros_like(target)], axis=-1)
    style = np.stack([style, style[:, ::-1], style], axis=-1)
    result = transfer_style(target, style, **HELD, init="spectrum")
    for channel in (0, 1):
        expected = match_spectrum(target[..., channel], style[..., channel]).clip(0, 255)
        np.testing.assert_allclose(result.image[..., channel], expected, atol=0.51)
    assert not result.image[..., 2].any()


def test_every_plane_of_a_stack_has_its_start(images):
    stack = np.stack([images[0], images[0][::-1] * 1.5])
    options = {**QUICK, "value_range": (-150, 800), "style_value_range": (0, 51000), "init": "spectrum"}
    result = transfer_style(stack, images[1], **options)
    for plane, expected in zip(result.image, stack, strict=True):
        assert np.array_equal(plane, transfer_style(expected, images[1], **options).image)


def test_a_run_cancelled_at_once_leaves_the_start(images):
    result = transfer_style(*images, **QUICK, init="spectrum", cancel=lambda: True)
    assert result.stopped == "cancelled"
    np.testing.assert_allclose(result.image, transfer_style(*images, **HELD, init="spectrum").image, atol=1e-3)


def test_the_former_name_is_taken_with_a_warning(images):
    with pytest.warns(DeprecationWarning, match="init='spectrum'"):
        result = transfer_style(*images, **QUICK, initial="spectrum")
    assert np.array_equal(result.image, transfer_style(*images, **QUICK, init="spectrum").image)
    assert result.metadata["parameters"]["init"] == "spectrum"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("initial", ["style", "", 1, True, np.zeros((40, 48))])
def test_other_starts_are_refused(initial, images):
    with pytest.raises(ParameterError, match="`init` must be one of"):
        transfer_style(*images, **QUICK, initial=initial)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_starts_are_one_too_many(images):
    with pytest.raises(ParameterError, match="initial='spectrum' and init='noise'"):
        transfer_style(*images, **QUICK, initial="spectrum", init="noise")


def test_parameters_that_are_checked_stand_for_the_fields(images, monkeypatch):
    checked = StyleTransferParameters(**QUICK)
    expected = transfer_style(*images, **QUICK)
    monkeypatch.setattr(StyleTransferParameters, "_complete", lambda given: pytest.fail("checked again"))
    np.testing.assert_array_equal(transfer_style(*images, parameters=checked).image, expected.image)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"parameters": QUICK}, "got dict"), ({"parameters": StyleTransferParameters(), "lr": 1}, "lr")],
)
def test_fields_beside_checked_parameters_are_refused(images, wrong, message):
    with pytest.raises(ParameterError, match=f"`parameters` must be .*{message}"):
        transfer_style(*images, **wrong)
