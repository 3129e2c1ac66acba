"""Scores against manual annotations, as ``napari-nst evaluate IMAGE --annotations`` gives them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_nst.cli.main import main
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.metrics import Annotations, Cones
from napari_nst.metrics import annotations as scoring

SHARED = Path(__file__).resolve().parents[3] / "shared"
SIDE = 120


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    """A mosaic whose cones are known, with its image and its marks on disk: x,y from 1, with a header."""
    made = cone_mosaic((SIDE, SIDE + 10), 8.0, seed=3, vessel=False)
    folder = tmp_path_factory.mktemp("mosaic")
    tifffile.imwrite(folder / "clear.tif", made.image)
    noisy = made.image + np.random.default_rng(0).normal(0, 40, made.image.shape)
    tifffile.imwrite(folder / "noisy.tif", np.clip(noisy, 0, 255).astype(np.uint8))
    inside = made.cones[np.all((made.cones > -0.5) & (made.cones < np.subtract(made.image.shape, 0.5)), axis=1)]
    write(folder / "marks.csv", inside[:, ::-1] + 1, "x,y\n")
    return folder, inside


def write(path, rows, header=""):
    path.write_text(header + "".join(f"{a:.4f},{b:.4f}\n" for a, b in rows), encoding="utf-8")
    return path


@pytest.fixture
def evaluate(capsys):
    def run(*arguments):
        status = main(["evaluate", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


HOW = ("--annotations-order", "xy", "--annotations-base", "1")


def test_the_cones_of_a_mosaic_are_found_where_they_are(evaluate, mosaic):
    folder, cones = mosaic
    status, out, _ = evaluate(folder / "clear.tif", "--annotations", folder / "marks.csv", *HOW, "--json")
    assert status == 0
    marks = json.loads(out)["marks"]
    assert marks["count"] == len(cones)
    inner = np.all((cones > 6.5) & (cones < np.subtract((SIDE, SIDE + 10), 7.5)), axis=1)
    assert marks["scored"] == inner.sum()
    assert (marks["border_px"], marks["header"]) == (7, ["x", "y"])
    scores = marks["scores"]["picture"]
    assert [entry["confidence"] for entry in scores] == [0.36, 0]
    for entry in scores:
        assert [one["tolerance"] for one in entry["agreements"]] == [0.35, 0.75]
        strict, published = entry["agreements"]
        assert strict["dice"] > 0.93
        # A pair across the border counts as nothing, and there are few of them.
        assert marks["scored"] - 3 <= strict["true_positives"] + strict["false_negatives"] <= marks["scored"]
        assert entry["found"] - 3 <= strict["true_positives"] + strict["false_positives"] <= entry["found"]
        assert strict["median_distance_px"] < 0.5
        # Blind lattices: .31 and .88 on images of real cones.
        assert 0.15 < strict["chance_dice"] < 0.45
        assert 0.75 < published["chance_dice"] < 0.95


def test_the_options_have_older_names(evaluate, mosaic):
    folder, _ = mosaic
    older = ("--marks", folder / "marks.csv", "--marks-order", "xy", "--marks-base", "1", "--json")
    newer = ("--annotations", folder / "marks.csv", *HOW, "--json")
    assert evaluate(folder / "clear.tif", *older) == evaluate(folder / "clear.tif", *newer)


def test_the_same_marks_in_any_form_give_the_same_scores(evaluate, mosaic, tmp_path):
    folder, cones = mosaic
    forms = [
        (write(tmp_path / "a.csv", cones), "yx", "0"),
        (write(tmp_path / "b.csv", cones + 1, "row;column\n"), "yx", "1"),
        (write(tmp_path / "c.csv", cones[:, ::-1]), "xy", "0"),
        (folder / "marks.csv", "xy", "1"),
    ]
    scores = []
    for path, order, base in forms:
        options = ("--annotations", path, "--annotations-order", order, "--annotations-base", base, "--json")
        status, out, _ = evaluate(folder / "clear.tif", *options)
        assert status == 0
        scores.append(json.loads(out)["marks"]["scores"])
    assert scores.count(scores[0]) == 4


def test_text_has_the_chance_rows_and_says_how_the_file_was_read(evaluate, mosaic):
    folder, _ = mosaic
    status, out, _ = evaluate(folder / "clear.tif", "--annotations", folder / "marks.csv", *HOW)
    assert status == 0
    assert "its first line is a header (x,y)" in out
    assert out.count("chance level (") == 4
    assert "confidence 0.36" in out
    assert "within 7 px of an edge" in out


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), "--annotations-order and --annotations-base"),
        (("--annotations-order", "xy"), "--annotations-base"),
        (("--annotations-base", "1"), "--annotations-order"),
    ],
)
def test_order_and_base_are_asked_for(evaluate, mosaic, given, missing):
    folder, _ = mosaic
    status, _, err = evaluate(folder / "clear.tif", "--annotations", folder / "marks.csv", *given)
    assert status == 2
    assert f"--annotations needs {missing}:" in err
    assert "--annotations-order xy --annotations-base 1" in err  # what fits
    assert "--annotations-order yx" not in err  # the header says otherwise


def test_marks_that_fit_in_one_way_only(evaluate, mosaic, tmp_path):
    folder, _ = mosaic
    edge = write(tmp_path / "edge.csv", [(1, SIDE + 10), (SIDE, 1)])
    status, _, err = evaluate(folder / "clear.tif", "--annotations", edge)
    assert status == 2
    assert "only --annotations-order yx --annotations-base 1 would fit" in err
    nowhere = write(tmp_path / "nowhere.csv", [(1, 900), (5, 1)])
    status, _, err = evaluate(folder / "clear.tif", "--annotations", nowhere)
    assert status == 2
    assert "no value of them lets" in err
    assert "another image" in err


@pytest.mark.parametrize(
    ("text", "order", "base", "told"),
    [
        ("x,y\n3,4\n9,9\n", "yx", 1, "which is order='xy'"),
        ("0,4\n9,9\n", "xy", 1, "1 of 2 points lie outside the image"),
        ("130,4\n9,9\n", "xy", 0, "All of them fit with base=1"),
        ("3,4,0.5\n", "xy", 1, "3 columns instead of two"),
        ("", "xy", 1, "holds no annotations"),
        ("3,4\n", "xy", 1, "--spacing PX"),
        ("3,4\n3,4\n", "xy", 1, "--spacing PX"),
    ],
)
def test_marks_that_cannot_be_used(evaluate, mosaic, tmp_path, text, order, base, told):
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    options = ("--annotations", tmp_path / "m.csv", "--annotations-order", order, "--annotations-base", base)
    status, _, err = evaluate(mosaic[0] / "clear.tif", *options)
    assert status == 1
    assert told in err


def test_a_single_mark_with_a_spacing(evaluate, mosaic, tmp_path):
    folder, cones = mosaic
    middle = cones[np.argmin(np.abs(cones - 60).sum(axis=1))]
    one = write(tmp_path / "one.csv", [middle])
    options = ("--annotations", one, "--annotations-order", "yx", "--annotations-base", "0", "--spacing", "8", "--json")
    status, out, _ = evaluate(folder / "clear.tif", *options)
    assert status == 0
    strict = json.loads(out)["marks"]["scores"]["picture"][0]["agreements"][0]
    assert strict["tolerance_px"] == pytest.approx(0.35 * 8)
    assert (strict["true_positives"], strict["false_negatives"]) == (1, 0)


def test_marks_in_the_border_only(evaluate, mosaic, tmp_path):
    marks = write(tmp_path / "m.csv", [(2, 3), (2, 11), (3, 20)])
    options = ("--annotations", marks, "--annotations-order", "xy", "--annotations-base", "1")
    status, out, _ = evaluate(mosaic[0] / "clear.tif", *options)
    assert status == 0
    assert "3 annotations" in out
    assert "No annotation is left inside: nothing can be scored" in out
    status, out, _ = evaluate(mosaic[0] / "clear.tif", *options, "--border", "0")
    assert status == 0
    assert "nothing can be scored" not in out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--border", "-1"), "--border must be a width in pixels, 0 or more, got -1"),
        (("--spacing", "0"), "--spacing must be a distance in pixels, above 0, got 0"),
        (("--spacing", "nan"), "above 0, got nan"),
        (("--scale", "0.5"), "--pixel-size needs TARGET and RESULT"),
        (("--fail-on", "look"), "--fail-on needs TARGET and RESULT"),
        (("--plane", "0"), "none of the images is a stack"),
    ],
)
def test_wrong_usage(evaluate, mosaic, options, told):
    folder, _ = mosaic
    status, _, err = evaluate(folder / "clear.tif", "--annotations", folder / "marks.csv", *HOW, *options)
    assert status == 2
    assert told in err


def test_scores_are_written_and_nothing_is_overwritten(evaluate, mosaic, tmp_path):
    folder, _ = mosaic
    command = (folder / "clear.tif", "--annotations", folder / "marks.csv", *HOW, "-o", tmp_path / "out", "--json")
    printed = [evaluate(*command)[1] for _ in range(2)]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"clear_marks.json", "clear_marks_1.json"}
    assert json.loads((tmp_path / "out" / "clear_marks.json").read_text()) == json.loads(printed[0])


def test_detections_outside_of_a_mask_do_not_count(evaluate, mosaic, tmp_path):
    folder, cones = mosaic
    mask = np.zeros((SIDE, SIDE + 10), np.uint8)
    mask[:, :60] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    options = ("--annotations", folder / "marks.csv", *HOW, "--mask", tmp_path / "mask.tif", "--border", "0", "--json")
    _, out, _ = evaluate(folder / "clear.tif", *options)
    marks = json.loads(out)["marks"]
    assert marks["scored"] == np.count_nonzero(cones[:, 1] < 59.5)
    strict = marks["scores"]["picture"][1]["agreements"][0]
    assert strict["true_positives"] + strict["false_negatives"] == marks["scored"]


# On annotated images, against the independent script


@pytest.fixture(scope="module")
def script():
    path = SHARED / "evaluation" / "cones.py"
    if not path.is_file() or not (SHARED / "data" / "cones" / "index.csv").is_file():
        pytest.skip(f"the annotated cones and their script are not beside this checkout (looked in {SHARED})")
    spec = importlib.util.spec_from_file_location("cones_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_are_those_of_the_independent_script(script, monkeypatch):
    """With its own detector's points: the same counts and ratios; and its detector reaches what was published of it."""
    folder, dice = SHARED / "data" / "cones", []
    for item in script.load_items(8):
        found = script.detect_log(item["image"])
        points = found[:, ::-1] - 1
        monkeypatch.setattr(scoring, "detect_cones", lambda *a, p=points, **k: Cones(p, np.ones(len(p))))
        shape = item["image"].shape
        marks = Annotations.read(folder / "manual" / f"{item['stem']}.csv", shape, order="xy", base=1)
        assert marks.spacing == pytest.approx(script.spacing(item["cones"]))
        scores = scoring.score(item["image"], marks)[0]
        assert scores.invented == script.invented(found, item["cones"], shape)
        assert scores.found == script.inside(found, shape).sum()
        for one in scores.agreements:
            expected = script.match(found, item["cones"], shape, one.tolerance)
            assert one.dice == pytest.approx(expected["dice"])
            assert one.true_positive_rate == pytest.approx(expected["tpr"])
            assert one.false_discovery_rate == pytest.approx(expected["fdr"])
        dice.append([one.dice for one in scores.agreements])
    # .9865 and .9890 on 40 other images of the same kind.
    assert np.mean(dice, axis=0) == pytest.approx([0.9865, 0.989], abs=0.01)


def test_a_real_image_with_its_header(script, evaluate):
    folder, stem = SHARED / "data" / "cones", "JC_0007_TL_0.08_aligned_CenterCropped"
    marks = folder / "manual" / f"{stem}.csv"
    status, out, _ = evaluate(folder / "images" / f"{stem}.tif", "--annotations", marks, *HOW, "--json")
    assert status == 0
    scores = json.loads(out)["marks"]["scores"]["picture"]
    assert scores[1]["agreements"][0]["dice"] > 0.96
    status, _, err = evaluate(
        folder / "images" / f"{stem}.tif",
        "--annotations",
        marks,
        "--annotations-order",
        "yx",
        "--annotations-base",
        "1",
    )
    assert status == 1
    assert "first line says x,y" in err
