"""The command ``napari-nst enhance``, as it is typed."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_nst import cone_mosaic
from napari_nst.cli.main import build_parser, main
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A good and a poor image."""
    folder = tmp_path_factory.mktemp("images")
    poor = {"psf_fwhm": 0.6, "halo": 0.3, "photons": 500.0, "read_noise": 0.008}
    for number, how in enumerate(({}, poor)):
        mosaic = cone_mosaic((150, 210), 8.0, seed=number, vessel=False, **how)
        tifffile.imwrite(folder / f"Subject1_Session2_OS_({number},0)_1x1_{number}_Confocal.tif", mosaic.image)
    return folder


@pytest.fixture
def enhance(images, tmp_path, capsys):
    def run(*options, folder=images, output="out"):
        arguments = ["enhance", str(folder), "-o", str(tmp_path / output), "--size", "96", "--workers", "1"]
        status = main([*arguments, "--method", "spectrum", "--no-figures", *options])
        return status, *capsys.readouterr()

    return run


def test_it_says_what_it_did_and_where_that_is(enhance, tmp_path):
    status, out, err = enhance()
    assert status == 0
    assert "12 patches of 2 images: 6 enhanced, 6 kept as they are (finished in" in out
    assert f"Table:   {tmp_path / 'out' / 'session.csv'}" in out
    assert "enhancing: 12/12" in err
    status, out, _ = enhance()
    assert status == 0
    assert "finished before; nothing was repeated" in out


def test_every_setting_is_an_option(images):
    parser = build_parser()
    for field in (*SessionSettings.specs(), *StyleTransferParameters.specs()):
        flag = f"--{field.name.replace('_', '-')}"
        assert any(flag in action.option_strings for action in _options(parser)), flag
    given = parser.parse_args(["enhance", str(images), "-o", "x", "--threshold", "auto", "--max-distance", "300"])
    assert given.threshold == "auto"
    assert given.max_distance == 300.0
    assert not hasattr(given, "epoch")


def _options(parser):
    commands = next(action for action in parser._actions if action.dest == "command")
    return commands.choices["enhance"]._actions


def test_pairs_from_a_file(enhance, tmp_path):
    enhance()
    pairs = pd.read_csv(tmp_path / "out" / "pairs.csv")
    pairs.loc[pairs["style"].notna().to_numpy().nonzero()[0][1:], "style"] = ""
    pairs.to_csv(tmp_path / "edited.csv", index=False)
    status, out, _ = enhance("--pairs", str(tmp_path / "edited.csv"), output="out2")
    assert status == 0
    assert "1 enhanced, 11 kept" in out
    (tmp_path / "wrong.csv").write_text("patch,style\nCROP_77_x0y0_a.tif,CROP_1_x0y0_a.tif\n", encoding="utf-8")
    status, _, err = enhance("--pairs", str(tmp_path / "wrong.csv"), output="out3")
    assert status == 1
    assert "CROP_77_x0y0_a.tif" in err
    assert "line 2" in err
    assert not (tmp_path / "out3").exists()


def test_an_image_that_fails_makes_the_status_1(enhance, images, tmp_path):
    import shutil

    folder = shutil.copytree(images, tmp_path / "images")
    (folder / "broken.tif").write_bytes(b"II*\0")
    status, out, _ = enhance(folder=folder)
    assert status == 1
    assert "Not used: " in out
    assert "broken.tif" in out
    assert "6 enhanced" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quality", "table"], "--quality-table"),
        (["--overlap", "96"], "overlap"),
        (["--correction", "std_nonsense"], "std_nonsense"),
        (["--template", "{a}{b"], "template"),
        (["--markers", "x", "--quality", "ring"], "markers"),
    ],
)
def test_wrong_values_are_wrong_usage(enhance, tmp_path, options, message):
    status, _, err = enhance(*options)
    assert status == 2
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [["--workers", "none"], ["--method", "magic"], ["--size", "big"]])
def test_wrong_words_are_wrong_usage(enhance, options):
    with pytest.raises(SystemExit) as exit_:
        enhance(*options)
    assert exit_.value.code == 2


@pytest.mark.parametrize("what", ["nowhere", "a file", "empty"])
def test_folders_without_images(enhance, tmp_path, what):
    folder = tmp_path / what
    if what == "a file":
        folder.write_text("x", encoding="utf-8")
    elif what == "empty":
        folder.mkdir()
    status, _, err = enhance(folder=folder)
    assert status == 1
    assert what in err


@pytest.mark.slow
def test_real_images_of_all_kinds(aoslo, enhance, tmp_path):
    """Uneven 8-bit images and a 16-bit one with a damaged directory, reduced to their corners."""
    folder = tmp_path / "images"
    folder.mkdir()
    pieces = {}
    for part in ("confocal_OS_0070", "confocal_OS_0075", "023063"):
        file = aoslo(part)
        pieces[file.name] = file.data[150:350, 200:440]
        tifffile.imwrite(folder / file.name, pieces[file.name])
    status, out, _ = enhance("--treat", "all", folder=folder)
    assert status == 0, out
    for name, piece in pieces.items():
        whole = tifffile.imread(tmp_path / "out" / "spectrum" / "stitched" / name)
        assert whole.shape == piece.shape
        assert whole.dtype == piece.dtype
        low, high = (0, 255) if piece.dtype == np.uint8 else (piece.min(), piece.max())
        assert low <= whole.min()
        assert whole.max() <= high
    table = pd.read_csv(tmp_path / "out" / "session.csv")
    assert "enhanced" in set(table["status"])
    # Registration: the band of the cones still lies where it lay.
    assert table.loc[table["status"] == "enhanced", "structure"].min() > 0.8
