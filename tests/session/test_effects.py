"""What a session's table says of each patch, and sessions that an earlier version made."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.coordinates import read_coordinates
from napari_nst.metrics.changes import cone_changes
from napari_nst.session import effects as effects_module
from napari_nst.session.effects import assess_patch, caption, compare_cones, effect_row, verdict_lines
from napari_nst.session.quality import measure_patch
from napari_nst.session.store import PatchRow, PatchStatus

#: The columns that came with the assessment.
ASSESSED = [
    "regularity_before",
    "regularity_after",
    "six_sided_before",
    "six_sided_after",
    "ssim",
    "monotonicity",
    "displacement",
    "largest_displacement",
    "spectrum_change",
    "new_far",
    "shaded",
    "unsupported",
    "verdict",
    "verdict_text",
]


#: The columns that say what happened to a patch.
COLUMNS = list(PatchRow.model_fields)
EFFECTS = COLUMNS[COLUMNS.index("ring_after") : COLUMNS.index("seconds")]


@pytest.fixture(scope="module")
def patch():
    """A mosaic with a dark disc in its middle, and the same with dots drawn into the disc."""
    made = cone_mosaic((120, 120), 8.0, seed=2, vessel=False)
    rows, columns = np.mgrid[:120, :120]
    disc = np.hypot(rows - 60, columns - 60) < 24
    target = np.where(disc, 25 + np.random.default_rng(0).normal(0, 2, disc.shape), made.image)
    drawn = target.copy()
    for row, column in ((60, 60), (60, 68), (60, 52), (52, 56), (52, 64), (68, 56), (68, 64), (44, 60), (76, 60)):
        drawn += 110 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 4.5)
    return tuple(np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in (target, drawn))


def row_of(target, result, mask=None, pixel_size=0.5):
    mask = np.ones(target.shape, bool) if mask is None else mask
    before = measure_patch(target, mask)
    effects = assess_patch(target, result, mask, before.spacing, (0.0, 255.0), pixel_size)
    return effect_row(target, result, mask, effects, before, pixel_size), effects, before


def test_dots_that_were_drawn_into_the_dark_are_reported(patch):
    target, drawn = patch
    row, effects, before = row_of(target, drawn)
    assert set(row) == set(EFFECTS)
    assert row["verdict"] == "distrust"
    assert 7 <= row["unsupported"] <= 11
    assert row["new_far"] >= 7
    assert row["new_far"] <= row["new"]
    inside = np.hypot(*(effects.unsupported - 60).T) < 24
    assert inside.mean() > 0.9
    lines = caption(PatchRow(status=PatchStatus.ENHANCED, **row), before).split("\n")
    assert len(lines) == 2
    assert lines[1] == row["verdict_text"]
    assert lines[1].startswith("Do not trust it: ")


def test_numbers_are_those_of_other_libraries(patch):
    from scipy.stats import spearmanr
    from skimage.metrics import structural_similarity

    target, drawn = patch
    row, effects, _ = row_of(target, drawn)
    change = np.abs(drawn.astype(float) - target)
    assert row["mean_change"] == pytest.approx(change.mean())
    assert row["largest_change"] == change.max()
    assert row["monotonicity"] == pytest.approx(spearmanr(target.ravel(), drawn.ravel()).statistic)
    expected = structural_similarity(
        target.astype(float), drawn.astype(float), data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert row["ssim"] == pytest.approx(expected, abs=0.01)  # edges may be handled in another way
    assert row["displacement"] == pytest.approx(0, abs=0.1)
    area = 120 * 120 * 0.25e-6
    assert row["density_before"] == pytest.approx(len(effects.before) / area)
    assert row["density_after"] == pytest.approx(len(effects.after) / area)
    assert row["kept"] + row["new"] == len(effects.after) == row["cones_after"]
    assert row["kept"] + row["lost"] == len(effects.before)


def test_detections_that_the_detector_doubts_are_unsupported_and_not_new(patch, monkeypatch):
    """Only the first of three listed as new is one of the detector's; the two behind it are doubted."""
    target, drawn = patch
    points = np.array([[5.0, 5], [60, 60], [60, 68]])
    found = cone_changes(target, drawn)
    cones = replace(
        found,
        matching=replace(found.matching, new=np.array([0])),
        new=points,
        far=np.arange(3),
        shaded=np.array([1, 2]),
        unsupported=np.array([1, 2]),
        faint=2,
    )
    monkeypatch.setattr(effects_module, "cone_changes", lambda *args, **more: cones)
    effects = compare_cones(target, drawn, np.ones(target.shape, bool), 8.0)
    assert (effects.far, effects.shaded) == (1, 0)
    assert np.array_equal(effects.unsupported, points[1:])


def test_the_viewer_finds_the_same_cones_as_the_table(patch):
    target, drawn = patch
    mask = np.ones(target.shape, bool)
    _, effects, before = row_of(target, drawn)
    shown = compare_cones(target, drawn, mask, before.spacing)
    assert np.array_equal(shown.matching.pairs, effects.matching.pairs)
    assert np.array_equal(shown.after.points, effects.after.points)
    assert np.array_equal(shown.unsupported, effects.unsupported)


def test_a_patch_that_was_not_changed(patch):
    target, _ = patch
    row, effects, before = row_of(target, target)
    assert set(row) == set(EFFECTS)
    assert row["verdict"] == "unchanged"
    assert row["cones_after"] == before.cones == len(effects.before)
    assert (row["lost"], row["new"], row["unsupported"], row["mean_change"], row["ssim"]) == (0, 0, 0, 0, 1)
    assert row["regularity_before"] == row["regularity_after"] > 1.5  # a hole in it
    # What is measured of an equal copy is the same.
    copied, _, _ = row_of(target, target.copy())
    same = [key for key in EFFECTS if key not in ("verdict_text", "displacement", "largest_displacement")]
    assert {key: copied[key] for key in same} == pytest.approx({key: row[key] for key in same})


def test_masked_pixels_do_not_count(patch):
    target, drawn = patch
    mask = np.zeros(target.shape, bool)
    mask[:30] = True
    row, effects, _ = row_of(target, drawn, mask)
    assert row["verdict"] in ("unchanged", "trusted")
    assert row["unsupported"] == 0
    assert row["density_after"] == pytest.approx(len(effects.after) / (30 * 120 * 0.25e-6))


@pytest.mark.parametrize("pixel_size", [None, 0.5])
def test_patches_in_which_nothing_can_be_measured(pixel_size):
    flat, noise = np.full((40, 40), 9, np.uint16), np.random.default_rng(0).integers(0, 50, (40, 40)).astype(np.uint16)
    nothing = np.zeros((40, 40), bool)
    for target, result, mask in ((flat, noise, None), (noise, flat, None), (noise, noise[::-1], nothing)):
        row, _, before = row_of(target, result, mask, pixel_size)
        assert set(row) == set(EFFECTS)
        assert row["verdict_text"]
        assert math.isnan(row["density_before"]) or pixel_size is not None
        json.dumps(row)
        assert caption(PatchRow(status=PatchStatus.ENHANCED, **row), before)


def test_what_a_session_writes(drawn):
    done = drawn
    table = pd.read_csv(done.paths["table"])
    enhanced, kept = (table[table["status"] == status] for status in ("enhanced", "kept"))
    assert set(kept["verdict"]) == {"unchanged"}
    assert (len(enhanced), len(kept)) == (2, 10)
    assert set(enhanced["verdict"]) <= {"trusted", "look", "distrust"}
    assert enhanced["verdict_text"].str.len().min() > 10
    assert enhanced[ASSESSED].notna().all(axis=None)
    for row in enhanced.itertuples():
        points = read_coordinates(done.paths["results"] / row.patch.replace(".tif", "_coords.csv"), shape=(96, 96))
        assert len(points) == row.cones_after == row.kept + row.new
        before = read_coordinates(done.paths["raw"] / row.patch.replace(".tif", "_coords.csv"), shape=(96, 96))
        assert len(before) == row.cones_before == row.kept + row.lost
        target, result = (tifffile.imread(done.paths[where] / row.patch) for where in ("raw", "results"))
        assert row.largest_change == np.abs(target.astype(int) - result).max()
    assert "Verdicts: " in done.summary()
    assert len(list((done.paths["results"] / "nst").glob("*_preprocessing_comparison.png"))) == 2


def test_the_worst_patch_is_named():
    columns = {
        "verdict": ["look", "distrust", "distrust"],
        "unsupported": [9, 2, 5],
        "new_far": 0,
        "shaded": [90, 9, 0],
    }
    table = pd.DataFrame({"patch": ["a.tif", "b.tif", "c.tif"], "verdict_text": ["A.", "B.", "C."], **columns})
    assert verdict_lines(table) == ["Verdicts: 1 to be looked at, 2 not to be trusted.", "Worst patch: c.tif. C."]
    assert verdict_lines(table.assign(verdict="trusted")) == ["Verdicts: 3 trusted."]
    assert verdict_lines(table.assign(verdict="")) == []


def forget(done):
    """Make of a session what an earlier version would have left: without the columns of the assessment."""
    for path in (done.paths["results"] / "records").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["row"] = {key: value for key, value in record["row"].items() if key not in ASSESSED}
        path.write_text(json.dumps(record), encoding="utf-8")
    table = pd.read_csv(done.paths["table"]).drop(columns=ASSESSED)
    table.to_csv(done.paths["table"], index=False)


def test_a_finished_session_of_an_earlier_version_opens(quick, done):
    forget(done)
    again = quick()
    assert again.repeated
    assert list(again.table.columns) == list(done.table.columns)
    assert set(again.table["verdict"]) == set(again.table["verdict_text"]) == {""}
    assert again.table["unsupported"].isna().all()
    assert again.table["kept"].equals(done.table["kept"])
    assert "Verdicts" not in again.summary()


def test_a_session_of_an_earlier_version_goes_on(quick, drawn, with_figures):
    """With figures: the overview is drawn of old rows and new ones."""
    done = drawn
    forget(done)
    patch = done.table[done.table["status"] == "enhanced"]["patch"].iloc[0]
    (done.paths["results"] / patch).unlink()
    (done.paths["results"] / "nst" / "preprocessing_comparison.png").unlink()
    again = quick(**with_figures)
    assert not again.repeated
    rows = again.table.set_index("patch")
    assert rows.loc[patch, "verdict"] == done.table.set_index("patch").loc[patch, "verdict"] != ""
    assert set(rows.drop(patch)["verdict"]) == {""}
    assert (again.paths["results"] / "nst" / "preprocessing_comparison.png").is_file()
    assert pd.read_csv(again.paths["table"])["verdict"].notna().sum() == 1
