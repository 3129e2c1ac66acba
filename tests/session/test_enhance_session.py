"""Whole sessions in this process: what is written, what is refused, and going on after whatever stopped a run."""

import errno
import json
import shutil
import threading

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_nst import cone_mosaic
from napari_nst.errors import FileError, ParameterError, SessionError
from napari_nst.io.coordinates import read_coordinates
from napari_nst.io.images import write_image
from napari_nst.session.planning import read_given_pairs
from napari_nst.session.run import COLUMNS
from napari_nst.session.store import file_digest
from sessions import name


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, file_digest(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


# What is written


def test_good_patches_stay_and_poor_ones_change(done, mosaics):
    table = done.table
    good, poor = table[table["image"] == name(0)], table[table["image"] == name(1)]
    assert (len(good), len(poor)) == (6, 6)
    assert set(good["status"]) == {"kept"}
    assert set(poor["status"]) == {"enhanced"}
    assert set(poor["style"]) <= set(good["patch"])
    assert (poor["ring_after"] > poor["ring_before"]).all()
    assert done.ok
    assert done.state == "finished"
    for row in table.itertuples():
        raw = tifffile.imread(done.paths["raw"] / row.patch)
        after = tifffile.imread(done.paths["results"] / row.patch)
        image = mosaics[0 if row.image == name(0) else 1].image
        assert np.array_equal(raw, image[row.y : row.y + 96, row.x : row.x + 96])
        assert (after.shape, after.dtype) == (raw.shape, raw.dtype)
        assert np.array_equal(after, raw) == (row.status == "kept")


def test_table_and_record(done):
    table = pd.read_csv(done.paths["table"])
    assert tuple(table.columns) == COLUMNS
    assert table.columns[0] == "patch"
    assert table["patch"].is_unique
    assert list(table["crop_id"]) == list(range(1, 13))
    state = json.loads(done.paths["record"].read_text(encoding="utf-8"))
    assert state["state"] == "finished"
    assert state["coordinates"]["base"] == 0
    assert state["counts"] == {"kept": 6, "enhanced": 6}
    assert state["plan"]["settings"]["method"] == "spectrum"
    assert "Infinity" not in done.paths["record"].read_text(encoding="utf-8")


def test_the_record_is_json_for_every_reader(done):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    for path in [done.paths["record"], *(done.paths["results"] / "records").glob("*.json")]:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_stitched_images_lie_on_the_originals(done, mosaics):
    kept, changed = (tifffile.imread(done.paths["results"] / "stitched" / name(i)) for i in range(2))
    assert np.array_equal(kept, mosaics[0].image)
    assert (changed.shape, changed.dtype) == (mosaics[1].image.shape, np.uint8)
    # In the pixels that one patch alone covers, the stitched image is that patch.
    row = done.table[done.table["image"] == name(1)].iloc[0]
    patch = tifffile.imread(done.paths["results"] / row["patch"])
    assert np.array_equal(changed[:50, :50], patch[:50, :50])


def test_the_enhanced_image_is_nearer_to_the_undegraded_one(done, mosaics):
    truth = cone_mosaic((150, 210), 8.0, seed=1, vessel=False).image.ravel().astype(float)
    after = tifffile.imread(done.paths["results"] / "stitched" / name(1)).ravel().astype(float)
    before = mosaics[1].image.ravel().astype(float)
    assert np.corrcoef(after, truth)[0, 1] > np.corrcoef(before, truth)[0, 1]


@pytest.mark.parametrize("base", [0, 1])
def test_coordinates_say_where_the_cones_are(quick, mosaics, base):
    done = quick(coordinates_base=base)
    lines = (done.paths["results"] / "stitched" / name(0).replace(".tif", "_coords.csv")).read_text().splitlines()
    first = np.array([[float(v) for v in line.split(",")] for line in lines]) - base  # x, y
    points = first[:, ::-1]
    distance = np.linalg.norm(points[:, None] - mosaics[0].cones[None], axis=2).min(axis=1)
    assert np.median(distance) < 0.5
    row = done.table.iloc[0]
    for where in ("raw", "results"):
        found = read_coordinates(
            done.paths[where] / row["patch"].replace(".tif", "_coords.csv"), base=base, shape=(96, 96)
        )
        assert len(found) == row["cones_after"]


def test_the_scale_comes_from_the_field_of_view(done):
    """1° over 210 px at 291 µm per degree."""
    lines = (done.paths["raw"] / "lut.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"CROP_{i}" for i in range(1, 13)]
    assert [float(line.split(",")[1]) for line in lines] == pytest.approx([291 / 210] * 12, rel=1e-5)
    area = (96 * 291 / 210 / 1000) ** 2
    assert done.table["density_before"].iloc[0] == pytest.approx(done.table["cones_before"].iloc[0] / area)


def test_without_a_scale_there_is_no_lut(quick, folder):
    for number in range(2):
        (folder / name(number)).rename(folder / f"a{number}.tif")
    done = quick()
    assert not (done.paths["raw"] / "lut.csv").exists()
    assert any("pixel size is unknown" in note for note in done.notes)
    assert done.table["density_before"].isna().all()


def test_figures(drawn):
    figures = sorted(path.name for path in (drawn.paths["results"] / "nst").glob("*.png"))
    assert len(figures) == 3
    assert "preprocessing_comparison.png" in figures
    assert (drawn.paths["results"] / "quality.png").stat().st_size > 10_000


def test_style_transfer_leaves_losses_and_curves(quick, one_thread):
    pairs = {"CROP_7_x0y0_" + name(1): "CROP_1_x0y0_" + name(0)}
    done = quick(method="nst", epoch=3, pairs=pairs, figures=True)
    row = done.table[done.table["treat"]].iloc[0]
    assert row["status"] == "enhanced"
    assert row["steps"] == 3
    assert row["stopped"] == "finished"
    losses = [
        path for path in done.paths["results"].glob("*.csv") if "coords" not in path.name and path.name != "lut.csv"
    ]
    values = np.loadtxt(losses[0], delimiter=",")
    assert values.shape == (3, 3)
    assert values[:, -1] == pytest.approx([row["style_loss"], row["content_loss"], row["total_loss"]])
    assert len(list((done.paths["results"] / "nst").glob("*_1.0_1.0_*.png"))) == 1
    record = json.loads(next((done.paths["results"] / "records").glob("CROP_7_*")).read_text(encoding="utf-8"))
    from napari_nst import arguments_from, transfer_style

    raw = [tifffile.imread(done.paths["raw"] / row[key]) for key in ("patch", "style")]
    again = transfer_style(*raw, **arguments_from(record["transfer"]))
    assert np.array_equal(again.image, tifffile.imread(done.paths["results"] / row["patch"]))


def test_16_bits_and_8_bits_together(quick, folder):
    deep = cone_mosaic((150, 210), 8.0, seed=5, vessel=False, dtype=np.uint16, psf_fwhm=0.6, halo=0.3, photons=500.0)
    write_image(folder / name(2), deep.image)
    done = quick()
    rows = done.table[done.table["image"] == name(2)]
    assert len(rows) == 6
    assert any("several types" in note for note in done.notes)
    for row in rows.itertuples():
        after = tifffile.imread(done.paths["results"] / row.patch)
        assert after.dtype == np.uint16
        assert after.min() >= deep.image.min()
        assert after.max() <= deep.image.max()


def test_a_black_border_is_left_alone(quick, folder):
    path = folder / name(1)
    image = tifffile.imread(path)
    image[:30], image[:, :20] = 0, 0
    tifffile.imwrite(path, image)
    done = quick()
    first = done.table[done.table["image"] == name(1)].iloc[0]
    assert first["valid"] == pytest.approx(66 * 76 / 96**2)
    after = tifffile.imread(done.paths["results"] / first["patch"])
    assert not after[:30].any()
    assert not after[:, :20].any()
    assert not tifffile.imread(done.paths["results"] / "stitched" / name(1))[:30].any()


def test_smaller_images_are_padded_and_come_back_at_their_size(quick, folder):
    path = folder / name(1)
    tifffile.imwrite(path, tifffile.imread(path)[:80])
    done = quick()
    row = done.table[done.table["image"] == name(1)].iloc[0]
    assert row["padding"] == "8 8 0 0"
    assert tifffile.imread(done.paths["results"] / row["patch"]).shape == (96, 96)
    assert tifffile.imread(done.paths["results"] / "stitched" / name(1)).shape == (80, 210)
    assert any("continued by reflection" in note for note in done.notes)


def test_patches_that_are_cut_already_keep_their_numbers(quick, done, tmp_path):
    again = quick("out2", folder=done.paths["raw"])
    assert list(again.table["patch"]) == list(done.table["patch"])
    assert list(again.table["crop_id"]) == list(done.table["crop_id"])
    assert set(again.table["status"]) == {"kept", "enhanced"}
    assert not again.paths["stitched"]


def test_no_enhancement_only_cuts_assesses_and_pairs(quick):
    done = quick(method="none")
    assert set(done.table["status"]) == {"kept"}
    assert done.table["style"].astype(bool).sum() == 6
    for row in done.table.itertuples():
        assert file_digest(done.paths["results"] / row.patch) == file_digest(done.paths["raw"] / row.patch)


def test_warnings_of_patches_are_reported_once(quick):
    done = quick(method="none", correction="var_both_border_global")
    warned = [note for note in done.notes if note.startswith("12 of 12 patches: var_both_border_global")]
    assert len(warned) == 1
    assert "variance" in warned[0]


def test_a_range_correction_over_the_whole_session(quick, mosaics):
    """mean - std of all pixels replaces what lies below it, in every patch."""
    done = quick(method="none", correction="std_lower_border_global")
    assert set(done.table["status"]) == {"corrected"}
    assert done.paths["results"].name == "std_lower_border_global"
    patches = [tifffile.imread(done.paths["raw"] / patch) for patch in done.table["patch"]]
    pixels = np.concatenate([patch.ravel() for patch in patches]).astype(float)
    limit = pixels.mean() - pixels.std()
    for patch, raw in zip(done.table["patch"], patches, strict=True):
        expected = np.where(raw <= limit, np.rint(limit), raw)
        assert np.array_equal(tifffile.imread(done.paths["results"] / patch), expected)


# Pairs


def test_pairs_can_be_edited_and_fed_back(quick, done):
    frame = pd.read_csv(done.paths["pairs"])
    paired = frame["style"].notna()
    chosen = frame.index[paired][0]
    frame.loc[paired & (frame.index != chosen), "style"] = ""
    frame.loc[chosen, "style"] = frame["patch"][3]
    edited = done.folder.parent / "edited.csv"
    frame.to_csv(edited, index=False, sep=";")
    expected = {frame["patch"][chosen]: frame["patch"][3]}
    for given in (edited, frame, expected):
        assert read_given_pairs(given, list(frame["patch"])) == expected
    again = quick("out2", pairs=edited)
    assert list(again.table["patch"][again.table["status"] == "enhanced"]) == [frame["patch"][chosen]]
    assert again.table.set_index("patch").loc[frame["patch"][chosen], "style"] == frame["patch"][3]


def test_pairs_of_what_is_not_there(quick, folder, tmp_path):
    with pytest.raises(ParameterError, match=r"CROP_99_x0y0.*nearest|CROP_99_x0y0"):
        quick(pairs={"CROP_99_x0y0_" + name(1): "CROP_1_x0y0_" + name(0)})
    with pytest.raises(ParameterError, match="own style"):
        quick(pairs={"CROP_1_x0y0_" + name(0): "CROP_1_x0y0_" + name(0)})
    with pytest.raises(ParameterError, match="no column 'style'"):
        quick(pairs=pd.DataFrame({"patch": []}))
    assert not (tmp_path / "out" / "session.json").exists()


# Going on


def test_a_finished_session_is_only_reported(quick, done, same_tables):
    before = files_of(done.folder)
    again = quick()
    assert again.repeated
    assert "nothing was repeated" in again.summary()
    assert files_of(done.folder) == before
    same_tables(again.table, done.table)


def test_a_finished_session_of_version_0_1_is_only_reported(quick, done):
    """Its settings had other names, and so another fingerprint."""
    output = done.folder
    for path in (output / "session.json", *output.glob("*/records/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        del record["schema_version"]
        record["fingerprint"] = "of another version"
        if "plan" in record:
            settings, parameters = record["plan"]["settings"], record["plan"]["parameters"]
            settings["register"] = settings.pop("find_overlaps")
            parameters["trust"] = parameters.pop("max_change")
        path.write_text(json.dumps(record), encoding="utf-8")
    assert quick().repeated


def test_a_stopped_run_goes_on(quick, done, same_tables):
    cancel = threading.Event()

    def stop(now):
        if now.stage == "enhancing" and now.done == 8:
            cancel.set()

    stopped = quick("out2", cancel=cancel, callback=stop)
    assert stopped.state == "cancelled"
    assert (stopped.table["status"] == "open").sum() == 4
    records = files_of(stopped.paths["results"] / "records")
    assert len(records) == 8
    seen = []
    went_on = quick("out2", callback=lambda now: seen.append(now.row["patch"]) if now.row else None)
    assert len(seen) == 4
    assert {k: v for k, v in files_of(stopped.paths["results"] / "records").items() if k in records} == records
    same_tables(went_on.table, done.table)
    assert {p.name for p in went_on.paths["results"].iterdir()} == {p.name for p in done.paths["results"].iterdir()}


def test_a_full_disk_stops_the_run_and_loses_nothing(quick, done, same_tables, monkeypatch):
    from napari_nst.io import atomic

    flush, count = atomic._flush, 0

    def fill(temporary):
        nonlocal count
        count += 1
        if count > 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(temporary)

    monkeypatch.setattr(atomic, "_flush", fill)
    with pytest.raises((SessionError, FileError), match="No space left"):
        quick("out2")
    monkeypatch.undo()
    assert not list((done.folder.parent / "out2").rglob("*.part*"))
    same_tables(quick("out2").table, done.table)


def test_a_damaged_result_is_made_again_and_kept_aside(quick, done, same_tables):
    victim = done.paths["results"] / done.table["patch"].iloc[-1]
    good = victim.read_bytes()
    victim.write_bytes(good[:1000])
    again = quick()
    assert not again.repeated
    assert victim.read_bytes() == good
    assert any("had been changed; it was kept as" in note for note in again.notes)
    kept = list((done.folder / "replaced").rglob("*.tif"))
    assert [path.read_bytes() for path in kept] == [good[:1000]]
    same_tables(again.table, done.table)


@pytest.mark.parametrize("what", ["raw", "stitched", "pairs", "record"])
def test_whatever_is_missing_is_made_again(quick, done, same_tables, what):
    victim = {
        "raw": done.paths["raw"] / done.table["patch"].iloc[0],
        "stitched": done.paths["stitched"][0],
        "pairs": done.paths["pairs"],
        "record": next((done.paths["results"] / "records").iterdir()),
    }[what]
    content = victim.read_bytes()
    victim.unlink()
    again = quick()
    if what == "record":  # it says how long the patch took
        assert victim.is_file()
    else:
        assert victim.read_bytes() == content
    same_tables(again.table, done.table)


def test_half_written_files_are_not_taken_for_finished(quick, done, same_tables):
    cancel = threading.Event()
    stopped = quick("out2", cancel=cancel, callback=lambda now: cancel.set() if now.done == 8 else None)
    patch = stopped.table[stopped.table["status"] == "open"]["patch"].iloc[0]
    (stopped.paths["results"] / patch).write_bytes(b"II*\0 half an image")
    (stopped.paths["results"] / "records" / f"{patch}.json").write_text('{"patch": "CROP_', encoding="utf-8")
    (stopped.folder / "session.csv").write_text("patch,ima", encoding="utf-8")
    same_tables(quick("out2").table, done.table)


def test_a_patch_that_fails_keeps_its_original_and_is_tried_again(quick, done, same_tables, monkeypatch):
    from napari_nst.session import patch_task as work

    real = work.enhance_patch
    victim = done.table[done.table["treat"]]["patch"].iloc[2]
    raw = tifffile.imread(done.paths["raw"] / victim)

    def fail(method, target, style, **more):
        if np.array_equal(target, raw):
            raise ZeroDivisionError("by chance")
        return real(method, target, style, **more)

    monkeypatch.setattr(work, "enhance_patch", fail)
    failed = quick("out2")
    row = failed.table.set_index("patch").loc[victim]
    assert row["status"] == "failed"
    assert "ZeroDivisionError: by chance" in row["error"]
    assert np.array_equal(tifffile.imread(failed.paths["results"] / victim), raw)
    assert not failed.ok
    assert "original kept" in failed.summary()
    assert (failed.table["status"] == "enhanced").sum() == 5
    monkeypatch.undo()
    same_tables(quick("out2").table, done.table)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "histogram"}, "method was 'spectrum', now 'histogram'"),
        ({"threshold": 3.0}, "threshold was 'auto', now 3.0"),
        ({"epoch": 7}, "epoch was 20, now 7"),
        ({"pairs": {}}, "pairs were found, now they are given"),
    ],
)
def test_other_settings_need_another_folder(quick, done, more, message):
    before = files_of(done.folder)
    with pytest.raises(FileError, match=f"{message}.*another output folder"):
        quick(**more)
    assert files_of(done.folder) == before


def test_other_images_need_another_folder(quick, done, folder):
    shutil.copy(folder / name(0), folder / "another.tif")
    with pytest.raises(FileError, match=r"another\.tif is new"):
        quick()
    (folder / "another.tif").unlink()
    image = tifffile.imread(folder / name(0))
    image[0, 0] ^= 1
    tifffile.imwrite(folder / name(0), image)
    with pytest.raises(FileError, match="has changed"):
        quick()
    (folder / name(0)).unlink()
    with pytest.raises(FileError, match="is missing"):
        quick()


def test_two_runs_at_once(quick, done):
    from napari_nst.session.store import SessionStore

    with SessionStore(done.folder, "spectrum").locked(), pytest.raises(FileError, match="Another run is working in"):
        quick()
    assert quick().ok


# Bad input


@pytest.mark.parametrize("taken", ["raw_run", "spectrum", "session.csv", "pairs.csv"])
def test_an_output_folder_of_something_else(quick, tmp_path, taken):
    path = tmp_path / "out" / taken
    path.parent.mkdir()
    if "." in taken:
        path.write_text("mine", encoding="utf-8")
    else:
        path.mkdir()
        (path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileError, match=f"holds {taken} already"):
        quick()
    assert (path if "." in taken else path / "mine.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("text", ["{", "[]", '{"other": 1}', '{"napari_nst_session": "9.9", "plan": {}}'])
def test_a_record_that_is_none(quick, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "session.json").write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match="another output folder"):
        quick()


def test_other_files_in_the_output_folder_stay(quick, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    assert quick().ok
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_results_beside_the_images(quick, folder):
    """The documented layout has them in one folder."""
    done = quick(output=folder)
    assert done.ok
    assert sorted(path.name for path in folder.glob("*.tif")) == [name(0), name(1)]
    assert quick(output=folder).repeated


def test_folders_that_hold_nothing(quick, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileError, match=r"holds no image.*empty"):
        quick(folder=empty)
    (empty / "notes.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(FileError, match="its 1 files are of other kinds"):
        quick(folder=empty)
    (empty / "broken.tif").write_bytes(b"II*\0\x08\0\0\0")
    with pytest.raises(FileError, match=r"None of the 1 images.*broken\.tif"):
        quick(folder=empty)
    with pytest.raises(FileError, match="not a folder"):
        quick(folder=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_used_are_named_and_cost_no_other(quick, folder):
    whole = (folder / name(0)).read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    write_image(folder / "color.png", np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8))
    write_image(folder / "stack.tif", np.zeros((4, 100, 100), np.uint8))
    write_image(folder / "black.tif", np.zeros((100, 100), np.uint8))
    done = quick()
    assert {entry["image"] for entry in done.plan.unreadable} == {
        "truncated.tif",
        "color.png",
        "stack.tif",
        "black.tif",
    }
    assert (done.table["status"] == "enhanced").sum() == 6
    assert not done.ok
    for words in ("truncated.tif", "color image", "is a stack of shape", "black.tif is black"):
        assert words in done.summary()


def test_two_images_of_one_name(quick, folder):
    write_image(folder / name(0).replace(".tif", ".png"), tifffile.imread(folder / name(0)))
    with pytest.raises(FileError, match="two images of one name"):
        quick()


def test_a_folder_that_cannot_be_written_to(quick, tmp_path):
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(FileError, match="Cannot write to the folder"):
        quick()


def test_markers(quick, folder, mosaics):
    """Without saying so, marker files in their usual place are what is counted."""
    markers = folder / "algorithmMarkers"
    markers.mkdir()
    for number, mosaic in enumerate(mosaics):
        cones = mosaic.cones if number == 0 else mosaic.cones[:40]
        rows = "".join(f"{column},{row}\n" for row, column in cones)
        (markers / name(number).replace(".tif", ".csv")).write_text(rows, encoding="utf-8")
    done = quick()
    assert done.plan.score_kind == "markers"
    inside = (mosaics[0].cones < 95.5).all(axis=1).sum()
    assert done.table["score"].iloc[0] == inside
    (markers / name(0).replace(".tif", ".csv")).write_text("500,500\n", encoding="utf-8")
    with pytest.raises(FileError, match="500"):
        quick("out2")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"quality": "aiq"}, "AIQ"),
        ({"quality": "table"}, "quality_table"),
        ({"workers": 0}, "workers"),
        ({"size": 10}, "size"),
        ({"overlap": 96}, "overlap"),
        ({"method": "magic"}, "method"),
        ({"correction": "std"}, "std"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_wrong_settings(quick, tmp_path, more, message):
    with pytest.raises(ParameterError, match=message):
        quick(**more)
    assert not (tmp_path / "out").exists()


def test_what_a_killed_worker_left_half_written_goes_at_the_end_of_the_run(quick, tmp_path):
    left = ".0123456789ab.part.csv"

    def leave(now):
        folder = tmp_path / "out" / "spectrum"
        if now.row and folder.is_dir():
            (folder / left).write_text("1,2")

    result = quick(callback=leave)
    assert result.ok
    assert not list((tmp_path / "out").rglob("*.part*"))
