"""Everything together: numbers that agree with their own measures, a verdict with reasons, records and figures."""

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

import napari_nst
from napari_nst.errors import FileError, ImageError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics import (
    aiq,
    assess,
    detect_cones,
    erase_cones,
    nearest_neighbour_spacing,
    ring_prominence,
    structural_similarity,
)
from napari_nst.metrics.verdict import LEVELS, Verdict


@pytest.fixture(scope="module")
def mosaic():
    return cone_mosaic((120, 136), 8.0, seed=4, vessel=False)


@pytest.fixture(scope="module")
def images(mosaic):
    """A target with two discs without cones, and the result with cones drawn into them."""
    holed = erase_cones(mosaic.image, cones=mosaic.cones, spacing=8.0, radius=20, seed=2)
    return SimpleNamespace(target=holed.image, drawn=mosaic.image, centres=holed.centres)


@pytest.fixture(scope="module")
def drawn(images, mosaic):
    return assess(images.target, images.drawn, mosaic.image[:100, :110], 0.5)


def test_cones_drawn_into_empty_discs_are_distrusted_and_the_place_is_named(drawn, images):
    verdict = drawn.verdict
    assert verdict.level == "distrust"
    assert verdict.reasons[0] in verdict.text
    first = drawn.cones.places[0]
    assert min(np.hypot(*(images.centres - [first.row, first.column]).T)) < 10
    assert f"around row {first.row:.0f}, column {first.column:.0f}: look there" in verdict.text
    assert f"{len(drawn.cones.unsupported)} new detections" in verdict.text
    assert "not for diagnosis" in verdict.text


def test_numbers_are_those_of_the_measures(drawn, images, mosaic):
    for measures, image in ((drawn.before, images.target), (drawn.after, images.drawn)):
        found = detect_cones(image, spacing=drawn.cones.spacing)
        assert np.array_equal(measures.cones.points, found.points)
        assert measures.density == pytest.approx(len(found) / (image.size * 0.25e-6))
        assert measures.spacing == nearest_neighbour_spacing(found.points)
        assert measures.spacing_um == measures.spacing / 2
        ring = ring_prominence(image)
        assert (measures.ring_db, measures.ring_spacing) == pytest.approx((ring.prominence, ring.spacing))
        assert measures.aiq_db == pytest.approx(aiq(image))
        assert measures.snr_db > 0
    change = images.drawn.astype(float) - images.target
    assert drawn.comparison.mean_change == pytest.approx(np.abs(change).mean())
    assert drawn.comparison.largest_change == np.abs(change).max()
    assert drawn.comparison.ssim_range == 255
    assert drawn.comparison.ssim == pytest.approx(structural_similarity(images.target, images.drawn, data_range=255))
    assert drawn.style.ring_db == pytest.approx(ring_prominence(mosaic.image[:100, :110]).prominence)
    strict = drawn.agreement[0]
    assert strict.tolerance == 0.35
    assert strict.dice > 0.8
    assert strict.chance_dice < 0.5


def test_an_equal_result_is_unchanged(mosaic):
    same = assess(mosaic.image, mosaic.image.astype(np.float32))
    assert same.verdict.level == "unchanged"
    assert same.verdict.reasons == ()
    assert same.style is None
    assert same.comparison.structure == pytest.approx(1)
    assert same.agreement[0].dice == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda a: 0.6 * a + 50,
        lambda a: 255 * (a / 255) ** 0.6,
        lambda a: a + 0.7 * (a - ndimage.gaussian_filter(a, 3)),
        lambda a: ndimage.gaussian_filter(a, 0.7),
    ],
)
def test_gentle_changes_are_trusted(images, change):
    result = np.clip(np.rint(change(images.target.astype(float))), 0, 255).astype(np.uint8)
    assessment = assess(images.target, result)
    assert assessment.verdict.level == "trusted", assessment.verdict
    assert assessment.verdict.reasons == ()


def test_another_mosaic_a_shift_and_an_erased_half_are_not_trusted(mosaic):
    other = cone_mosaic((120, 136), 8.0, seed=9, vessel=False).image
    assert assess(mosaic.image, other).verdict.level == "distrust"
    shifted = assess(mosaic.image, np.roll(mosaic.image, 3, axis=1))
    assert shifted.verdict.level == "distrust"
    assert any("displaced by up to 3.0 pixels" in reason for reason in shifted.verdict.reasons)
    half = mosaic.image.copy()
    half[:, :60] = 40
    gone = assess(mosaic.image, half)
    assert gone.verdict.level in ("look", "distrust")
    assert any("are lost" in reason for reason in gone.verdict.reasons)


def test_what_cannot_be_said_is_said(mosaic, rng):
    flat = np.full((40, 50), 7, np.uint8)
    nothing = assess(flat, flat + np.uint8(1))
    assert nothing.verdict.level == "look"
    assert "No cones are found" in nothing.verdict.text
    assert "Without the pixel size" in nothing.verdict.text
    assert math.isnan(nothing.before.density)
    assert math.isnan(nothing.before.ring_db)
    assert "Without the pixel size" not in assess(flat, flat, pixel_size=0.4).verdict.text
    small = assess(mosaic.image[:20, :20], mosaic.image[:20, :20] // 2)
    assert "too small for its spectrum" in small.verdict.text
    noise = rng.normal(size=(64, 64))
    assert "No spectrum shows a ring" in assess(noise, noise * 1.1).verdict.text
    assert "hardly share a scale" in assess(mosaic.image, mosaic.image / 255).verdict.text
    assert "No pixel is left" in assess(mosaic.image, mosaic.image, mask=np.zeros(mosaic.image.shape)).verdict.text
    invented = assess(np.full(mosaic.image.shape, 60, np.uint8), mosaic.image)
    assert invented.verdict.level == "distrust"
    assert "cannot be said whether those of the result are real" in invented.verdict.text


@pytest.mark.parametrize(("dtype", "factor"), [(np.uint16, 257), (np.float32, 1 / 255), (np.int16, 1)])
def test_any_type_gives_the_same_verdict(drawn, images, dtype, factor):
    target, result = ((a.astype(float) * factor).astype(dtype) for a in (images.target, images.drawn))
    found = assess(target, result)
    assert found.verdict.level == "distrust"
    assert len(found.cones.unsupported) == pytest.approx(len(drawn.cones.unsupported), abs=1)
    assert found.comparison.ssim_range == pytest.approx(float(target.max()) - float(target.min()))
    assert assess(target, result, value_range=(0, 300)).comparison.ssim_range == 300


def test_a_border_is_left_out_when_asked_and_only_then(mosaic):
    target = mosaic.image.copy()
    target[:, :30] = 0
    result = target.copy()
    result[:, :30] = mosaic.image[:, :30]
    assert assess(target, result).verdict.level == "distrust"
    for mask in ("border", np.indices(target.shape)[1] >= 30):
        left_out = assess(target, result, pixel_size=1, mask=mask)
        assert left_out.verdict.level == "unchanged"
        assert left_out.pixels == 120 * 106
        assert left_out.before.density == pytest.approx(len(left_out.before.cones) / (120 * 106 * 1e-6))
    assert assess(target, result, mask="auto").pixels == target.size


def test_wrong_input_is_reported(mosaic):
    image = mosaic.image
    with pytest.raises(ImageError, match=r"\(120, 136\).*\(120, 100\)"):
        assess(image, image[:, :100])
    with pytest.raises(ImageError, match="gray image"):
        assess(np.dstack([image] * 3), np.dstack([image] * 3), mask="border")
    with pytest.raises(ImageError, match="The style"):
        assess(image, image, np.ones((3, 40, 40)))
    with pytest.raises(ParameterError, match="got -1"):
        assess(image, image, pixel_size=-1)
    with pytest.raises(ParameterError, match=r"mask must be .* got 'black'"):
        assess(image, image, mask="black")
    for wrong in ((5, 5), (0, math.nan), "auto", 7):
        with pytest.raises(ParameterError, match="value_range must be"):
            assess(image, image, value_range=wrong)


def test_the_text_has_all_measures_and_the_verdict(drawn):
    text = str(drawn)
    assert f"{len(drawn.before.cones)} → {len(drawn.after.cones):9d}" in text
    for label in ("Cones/mm²", "Spacing, µm", "chance", "range 255", "DISTRUST."):
        assert label in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_the_record_is_json_without_nan(drawn, tmp_path):
    record = json.loads(drawn.to_json(tmp_path / "record.json"))
    assert record == drawn.to_dict() == json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["before"]["cones"] == len(drawn.before.cones)
    assert record["cones"]["unsupported"] == sum(new["unsupported"] for new in record["cones"]["new_at"])
    assert record["verdict"]["level"] in LEVELS
    with pytest.raises(FileError, match="exists already"):
        drawn.to_json(tmp_path / "record.json")
    with pytest.raises(FileError, match="cannot be written"):
        drawn.to_json(tmp_path / "missing" / "record.json")
    flat = np.zeros((9, 9))
    empty = json.loads(assess(flat, flat).to_json())
    assert empty["before"]["density"] is None
    assert empty["comparison"]["structure"] is None


def test_the_figure_shows_what_was_found(drawn):
    figure = drawn.figure()
    titles = [axes.get_title() for axes in figure.axes]
    assert f"Target: {len(drawn.before.cones)} cones found" in titles
    marked = next(axes for axes in figure.axes if axes.get_title().startswith("Result: kept"))
    labels = {c.get_label(): len(c.get_offsets()) for c in marked.collections}
    assert labels[f"{len(drawn.cones.unsupported)} new, unsupported by the target"] == len(drawn.cones.unsupported)
    assert labels[f"{len(drawn.cones.kept)} kept"] == len(drawn.cones.kept)
    change = next(axes for axes in figure.axes if axes.get_title().startswith("Change")).images[0]
    low, high = change.get_clim()
    assert low == -high
    figure.savefig(io.BytesIO(), dpi=30)


@pytest.mark.parametrize("shape", [(1, 1), pytest.param((9, 30), marks=pytest.mark.slow), (40, 20)])
def test_figures_of_small_masked_and_flat_images_show_what_there_is(rng, shape):
    noise = rng.normal(size=shape)
    holed = np.where(noise > 0, np.nan, noise)
    for target, result in ((noise, noise + 1), (np.zeros(shape), noise), (noise, holed)):
        assessment = assess(target, result)
        figure = assessment.figure()
        target_axes, result_axes, cone_axes, change_axes, _, spectra = figure.axes[:6]
        assert target_axes.get_title() == f"Target: {len(assessment.before.cones)} cones found"
        for axes in (target_axes, result_axes, change_axes):
            shown = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
            assert shown.shape == shape
            assert np.array_equal(np.isfinite(shown), np.isfinite(target) & np.isfinite(result))
        counts = [int(one.get_label().split()[0]) for one in cone_axes.collections]
        cones = assessment.cones
        assert counts[:2] == [len(cones.kept), len(cones.lost)]
        assert sum(counts[2:]) == len(cones.new)
        assert bool(spectra.lines) == (min(shape) >= 16)
        assert (not spectra.lines) == any("too small" in text.get_text() for text in spectra.texts)
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=20)
        assert drawn.getvalue().startswith(b"\x89PNG")


def test_the_most_serious_reason_leads():
    at = np.array([[10.0, 10.0], [11.0, 14.0]])
    cones = SimpleNamespace(
        before=range(100), after=range(100), kept=np.zeros((40, 2)), lost=np.zeros((60, 2)), new=at,
        unsupported=np.array([0, 1]), shaded=np.array([], int), far=np.array([], int), remapped=np.array([], int),
        faint=0, spacing=8.0, places=(SimpleNamespace(row=10.0, column=12.0, radius=6.0, count=2),),
    )  # fmt: skip
    comparison = SimpleNamespace(structure=0.9, displacement=0.1, largest_displacement=0.2, largest_change=9.0)
    verdict = Verdict.from_measures(cones, comparison, ("A limit.",))
    assert verdict.level == "distrust"
    assert verdict.reasons == (
        "60 of 100 cones of the target are lost",
        "2 new detections are unsupported by the target, around row 10, column 12: look there",
    )
    assert verdict.text.startswith("Do not trust it: 60 of 100 cones of the target are lost. A limit. This is advice")


@pytest.mark.parametrize(
    ("holed", "reason"), [("result", "1800 pixels of the result"), ("target", "1800 pixels of the target")]
)
def test_holes_in_one_of_the_images_are_no_reason_to_trust(holed, reason):
    whole = cone_mosaic((120, 90), 8.0, seed=2, vessel=False).image.astype(float)
    holes = whole.copy()
    holes[:20] = np.nan
    made = assess(holes, whole) if holed == "target" else assess(whole, holes)
    assert made.verdict.level == "look"
    assert made.verdict.reasons[0].startswith(reason)
    # Holes that both have, or that are left out, are nobody's loss.
    assert assess(holes, holes).verdict.level == "unchanged"
    assert assess(whole, holes, mask=np.isfinite(holes)).verdict.level == "unchanged"


def test_a_pixel_size_that_is_no_number_is_refused():
    with pytest.raises(ParameterError, match=r"positive pixel size \(µm/px\), got '0\.5'"):
        assess(np.eye(40), np.eye(40), pixel_size="0.5")


def test_it_is_public():
    assert napari_nst.assess is assess
    assert napari_nst.Assessment.__doc__


def test_the_vessel_of_a_real_image_decides(aoslo):
    from napari_nst.imaging.spectrum import match_spectrum

    target, style = (aoslo(f"confocal_OS_{n}").data[200:385, 250:435] for n in ("0075", "0070"))
    gentle = target + 1.5 * (target - ndimage.gaussian_filter(target.astype(float), 3))
    assert assess(target, np.clip(np.rint(gentle), 0, 255)).verdict.level == "trusted"
    matched = assess(target, np.clip(np.rint(match_spectrum(target, style)), 0, 255), style)
    assert matched.verdict.level == "look"
    assert any("too dark and poor in contrast" in reason for reason in matched.verdict.reasons)
