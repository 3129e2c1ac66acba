"""The command ``napari-nst evaluate`` on images whose changes are known."""

import json
import math

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from napari_nst.cli.main import build_parser, main
from napari_nst.imaging.mosaic import cone_mosaic

SHAPE = (128, 136)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A mosaic with a shadow in which nothing is, the same with cones drawn into the shadow, and a gentle change of it."""
    folder = tmp_path_factory.mktemp("pictures")
    made = cone_mosaic(SHAPE, 8.0, seed=5, vessel=False)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shadow = np.exp(-((((rows - 64) ** 2 + (columns - 68) ** 2) / 26**2) ** 4))
    noise = np.random.default_rng(1).normal(0, 2, SHAPE)
    target = made.image * (1 - shadow) + shadow * (25 + noise)
    drawn = target.copy()
    planted = [(64 + 8 * i, 68 + 8 * j + 4 * (i % 2)) for i in range(-2, 3) for j in range(-2, 3)]
    for row, column in planted:
        drawn += 110 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 1.5**2))
    gentle = 1.1 * (target - 80) + 80
    for name, image in (("target", target), ("drawn", drawn), ("gentle", gentle), ("style", made.image)):
        tifffile.imwrite(folder / f"{name}.tif", np.clip(np.rint(image), 0, 255).astype(np.uint8))
    return folder, np.array(planted, float)


@pytest.fixture
def plain_figure(monkeypatch):
    """An empty figure, where the other files are looked at: drawing takes longest."""
    from matplotlib.figure import Figure

    monkeypatch.setattr("napari_nst.metrics.assessment.Assessment.figure", lambda self: Figure((1, 1)))


@pytest.fixture
def evaluate(capsys):
    def run(*arguments):
        status = main(["evaluate", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def report(evaluate):
    def run(*arguments):
        status, out, _ = evaluate(*arguments, "--json")
        assert status == 0

        def refuse(word):
            raise AssertionError(f"{word} is no JSON")

        return json.loads(out, parse_constant=refuse)

    return run


def test_drawn_cones_are_reported_with_their_place(evaluate, images):
    folder, _ = images
    status, out, err = evaluate(folder / "target.tif", folder / "drawn.tif")
    assert status == 0, "a bad verdict is no failure"
    assert err == ""
    assert str(folder / "drawn.tif") in out
    assert "density" in out
    assert "unknown" in out  # the scale
    assert "distrust" in out.lower()


def test_fail_on_is_for_scripts(evaluate, images):
    folder, _ = images
    for level in ("look", "distrust"):
        status, _, err = evaluate(folder / "target.tif", folder / "drawn.tif", "--fail-on", level)
        assert status == 1
        assert "the verdict is distrust" in err
        for harmless in ("target", "gentle"):
            status, _, err = evaluate(folder / "target.tif", folder / f"{harmless}.tif", "--fail-on", level)
            assert (status, err) == (0, "")


def test_the_record_says_what_was_found(report, images):
    folder, _ = images
    found = report(folder / "target.tif", folder / "drawn.tif")
    assert set(found) == {"pictures", "assessment"}
    assert set(found["pictures"]) == {"target", "result"}
    assert len(found["pictures"]["target"]["sha256"]) == 64
    assert found["assessment"]["verdict"]["level"] == "distrust"
    same = report(folder / "target.tif", folder / "target.tif")
    assert same["assessment"]["verdict"]["level"] == "unchanged"


def test_densities_need_a_scale(report, images, tmp_path):
    folder, _ = images
    plain = report(folder / "target.tif", folder / "gentle.tif")["assessment"]["before"]
    assert plain["density"] is None
    given = report(folder / "target.tif", folder / "gentle.tif", "--scale", "0.5")["assessment"]["before"]
    cones, area = given["cones"], SHAPE[0] * SHAPE[1] * 0.25e-6
    assert given["density"] == pytest.approx(cones / area)
    # From the file: ImageJ's pixels per micrometre.
    said = tmp_path / "said.tif"
    image = tifffile.imread(folder / "target.tif")
    tifffile.imwrite(said, image, imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    for pair in ((said, folder / "gentle.tif"), (folder / "gentle.tif", said)):
        read = report(*pair)["assessment"]["before"]
        assert read["density"] == pytest.approx(read["cones"] / area)
    tifffile.imwrite(said, image, imagej=True, resolution=(2, 3), metadata={"unit": "um"})
    assert report(said, folder / "gentle.tif")["assessment"]["before"]["density"] is None


def test_where_the_scale_is_from_is_said(evaluate, images):
    folder, _ = images
    _, out, _ = evaluate(folder / "target.tif", folder / "gentle.tif", "--scale", "0.42")
    assert "0.42 µm (--pixel-size)" in out


def test_a_style_is_measured_beside_the_two(report, images):
    folder, _ = images
    found = report(folder / "target.tif", folder / "gentle.tif", "--style", folder / "style.tif")
    style = found["assessment"]["style"]
    assert style["cones"] > found["assessment"]["before"]["cones"]
    assert "style" in found["pictures"]
    assert report(folder / "target.tif", folder / "gentle.tif")["assessment"]["style"] is None


def test_files_are_written_and_none_is_overwritten(evaluate, images, tmp_path):
    folder, _ = images
    out = tmp_path / "out"
    for _ in range(2):
        status, printed, _ = evaluate(folder / "target.tif", folder / "drawn.tif", "-o", out)
        assert status == 0
    endings = ("_assessment.json", "_assessment.png", "_kept_coords.csv", "_lost_coords.csv", "_new_coords.csv")
    names = {f"drawn{count}{ending}" for count in ("", "_1") for ending in endings}
    assert {path.name for path in out.iterdir()} == names
    assert str(out / "drawn_1_new_coords.csv") in printed
    record = json.loads((out / "drawn_assessment.json").read_text())
    assert record["assessment"]["verdict"]["level"] == "distrust"
    assert (out / "drawn_assessment.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("plain_figure")
@pytest.mark.parametrize("base", [0, 1])
def test_new_cones_are_written_where_they_were_drawn(evaluate, images, tmp_path, base):
    folder, planted = images
    evaluate(folder / "target.tif", folder / "drawn.tif", "-o", tmp_path, "--coordinates-base", base)
    lines = (tmp_path / "drawn_new_coords.csv").read_text().split()
    new = np.array([[float(value) for value in line.split(",")] for line in lines])[:, ::-1] - base
    nearest = np.linalg.norm(planted[:, None] - new[None], axis=2).min(axis=1)
    assert np.mean(nearest < 1) > 0.8


@pytest.mark.usefixtures("plain_figure")
def test_json_alone_is_printed(evaluate, images, tmp_path):
    folder, _ = images
    status, out, err = evaluate(folder / "target.tif", folder / "drawn.tif", "--json", "-o", tmp_path)
    assert status == 0
    assert json.loads(out) == json.loads((tmp_path / "drawn_assessment.json").read_text())
    assert "drawn_assessment.png" in err


def test_with_marks_the_two_are_compared(evaluate, report, images, tmp_path):
    folder, planted = images
    marks = tmp_path / "marks.csv"
    marks.write_text("".join(f"{x},{y}\n" for y, x in planted), encoding="utf-8")
    how = ("--annotations", marks, "--annotations-order", "xy", "--annotations-base", "0")
    found = report(folder / "target.tif", folder / "drawn.tif", *how)["marks"]
    assert set(found["scores"]) == {"target", "result"}
    recall = {
        name: entry[0]["agreements"][0]["true_positive_rate"] for name, entry in found["scores"].items()
    }  # what was drawn is found, where the target has nothing
    assert recall["result"] - recall["target"] > 0.5
    gain = found["result_less_target"][0]
    assert gain["true_positive_rate"] == pytest.approx(recall["result"] - recall["target"])
    assert gain["found"] == found["scores"]["result"][0]["found"] - found["scores"]["target"][0]["found"]
    _, out, _ = evaluate(folder / "target.tif", folder / "drawn.tif", *how)
    assert "result less target" in out
    assert "distrust" in out.lower()


def test_images_of_different_shape(evaluate, images, tmp_path):
    folder, _ = images
    tifffile.imwrite(tmp_path / "small.tif", tifffile.imread(folder / "target.tif")[:100])
    marks = tmp_path / "marks.csv"
    marks.write_text("5,5\n9,9\n", encoding="utf-8")
    for more in ((), ("--annotations", marks, "--annotations-order", "xy", "--annotations-base", "0")):
        status, _, err = evaluate(folder / "target.tif", tmp_path / "small.tif", *more)
        assert status == 1
        assert "(128, 136)" in err
        assert "(100, 136)" in err


def test_a_plane_of_a_stack(report, evaluate, images, tmp_path):
    folder, _ = images
    target, drawn = (tifffile.imread(folder / f"{name}.tif") for name in ("target", "drawn"))
    tifffile.imwrite(
        tmp_path / "t.tif", np.stack([np.zeros_like(target), target, target[::-1]]), photometric="minisblack"
    )
    tifffile.imwrite(tmp_path / "r.tif", np.stack([np.zeros_like(target), drawn, target]), photometric="minisblack")
    alone = report(folder / "target.tif", folder / "drawn.tif")
    assert report(tmp_path / "t.tif", tmp_path / "r.tif", "--plane", "1")["assessment"] == alone["assessment"]
    # A result of one plane beside its stack
    assert report(tmp_path / "t.tif", folder / "drawn.tif", "--plane", "1")["assessment"] == alone["assessment"]
    for wrong, told in (
        ((), "choose one with --plane, the last is 2"),
        (("--plane", "3"), "the first is 0, the last 2"),
    ):
        status, _, err = evaluate(tmp_path / "t.tif", tmp_path / "r.tif", *wrong)
        assert status == 2
        assert told in err
    status, _, err = evaluate(tmp_path / "t.tif", tmp_path / "r.tif", "--plane", "1,0")
    assert status == 2
    assert "a stack of 3 planes" in err


def test_colour_is_refused_and_grey_saved_as_colour_is_not(report, evaluate, images, tmp_path):
    folder, _ = images
    target = tifffile.imread(folder / "target.tif")
    tifffile.imwrite(tmp_path / "grey.tif", np.stack([target] * 3, axis=-1), photometric="rgb")
    alone = report(folder / "target.tif", folder / "drawn.tif")
    assert report(tmp_path / "grey.tif", folder / "drawn.tif")["assessment"] == alone["assessment"]
    tifffile.imwrite(tmp_path / "red.tif", np.stack([target, target // 2, target], axis=-1), photometric="rgb")
    status, _, err = evaluate(tmp_path / "red.tif", folder / "drawn.tif")
    assert status == 1
    assert "red.tif is a color image" in err


def test_masks(report, images, tmp_path):
    """What was drawn does not count where the mask is."""
    folder, _ = images
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :36] = 1
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    masked = report(folder / "target.tif", folder / "drawn.tif", "--mask", tmp_path / "mask.tif")["assessment"]
    assert masked["verdict"]["level"] in ("unchanged", "trusted")
    bordered = []
    for name in ("target", "drawn"):
        image = tifffile.imread(folder / f"{name}.tif")
        image[:20] = 0
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
        bordered.append(tmp_path / f"{name}.tif")
    counted = report(*bordered, "--mask", "border", "--scale", "1")["assessment"]["before"]
    assert counted["density"] == pytest.approx(counted["cones"] / ((SHAPE[0] - 20) * SHAPE[1] * 1e-6))


def test_an_image_without_cones_gets_an_answer(evaluate, tmp_path):
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64), 7, np.uint16))
    noise = np.random.default_rng(0).normal(1000, 30, (64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "noise.tif", noise)
    tifffile.imwrite(tmp_path / "smooth.tif", ndimage.gaussian_filter(noise, 1))
    for pair in (("flat", "flat"), ("flat", "noise"), ("noise", "flat"), ("noise", "smooth")):
        status, out, err = evaluate(*(tmp_path / f"{name}.tif" for name in pair), "--json")
        assert status == 0, err
        assert json.loads(out)["assessment"]["verdict"]["text"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scale", "0"), "--pixel-size must be a positive pixel size (µm/px), got 0"),
        (("--scale", "nan"), "(µm/px), got nan"),
        (("--annotations-order", "xy"), "give --annotations FILE.csv too"),
        (("--border", "3"), "give --annotations FILE.csv too"),
        (("--style-mask", "border"), "--style-mask needs --style"),
        (("-o", "out.json"), "looks like a file"),
        (("--plane", "0"), "none of the images is a stack"),
    ],
)
def test_wrong_usage_is_reported(evaluate, images, options, told):
    folder, _ = images
    status, _, err = evaluate(folder / "target.tif", folder / "gentle.tif", *options)
    assert status == 2
    assert told in err


@pytest.mark.parametrize(
    "options", [("--plane", "-1"), ("--plane", "x"), ("--fail-on", "trusted"), ("--annotations-base", "2")]
)
def test_wrong_words_are_reported(images, options):
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(images[0] / "target.tif"), *options])
    assert exit_.value.code == 2


def test_one_image_alone_is_not_enough(evaluate, images):
    status, _, err = evaluate(images[0] / "target.tif")
    assert status == 2
    assert "napari-nst evaluate TARGET RESULT" in err
    status, _, err = evaluate(images[0] / "missing.tif", images[0] / "target.tif")
    assert status == 1
    assert "missing.tif does not exist" in err


def test_the_range_of_the_similarity_is_recorded(report, images):
    folder, _ = images

    def comparison(*more):
        return report(folder / "target.tif", folder / "drawn.tif", *more)["assessment"]["comparison"]

    usual, given = comparison(), comparison("--value-range", "0,1000")
    assert usual["ssim_range"] == 255
    assert given["ssim_range"] == 1000
    assert given["ssim"] > usual["ssim"]
    assert math.isfinite(comparison("--value-range", "percentiles")["ssim"])


def test_help_explains_every_option():
    commands = next(action for action in build_parser()._actions if action.dest == "command")
    assert all(action.help for action in commands.choices["evaluate"]._actions)
