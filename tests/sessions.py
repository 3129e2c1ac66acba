"""A small session: two images of one retina, a good one and a poor one, cut into six patches each."""

import shutil

import pandas as pd
import pytest

#: What makes the sessions of these tests quick.
QUICK = {"size": 96, "method": "spectrum", "figures": False, "workers": 1}
#: The columns that say how long something took, and nothing else.
TIMES = ["seconds"]


def name(number, x=None):
    return f"Subject1_Session2_OS_({number if x is None else x},0)_1x1_{100 + number}_Confocal_extract_reg_avg.tif"


@pytest.fixture(scope="session")
def mosaics():
    """The good and the poor image, uint8, 150 × 210, not square."""
    from napari_nst import cone_mosaic

    poor = {"psf_fwhm": 0.6, "halo": 0.3, "photons": 500.0, "read_noise": 0.008}
    return [cone_mosaic((150, 210), 8.0, seed=seed, vessel=False, **how) for seed, how in enumerate(({}, poor))]


@pytest.fixture(scope="session")
def _made_folder(tmp_path_factory, mosaics):
    from napari_nst.io.images import write_image

    folder = tmp_path_factory.mktemp("session")
    for number, mosaic in enumerate(mosaics):
        write_image(folder / name(number), mosaic.image)
    return folder


@pytest.fixture
def folder(_made_folder, tmp_path):
    """A fresh copy of the session's images."""
    return shutil.copytree(_made_folder, tmp_path / "images")


@pytest.fixture
def quick(folder, tmp_path):
    """Runs a quick session on `folder`, into ``out`` by default."""
    from napari_nst.session.run import enhance_session

    def run(output="out", **more):
        return enhance_session(more.pop("folder", folder), tmp_path / output, **{**QUICK, **more})

    return run


@pytest.fixture(scope="session")
def finished_folder(_made_folder, tmp_path_factory):
    """Runs a quick session and gives its folder: to be made once and copied, where many tests begin with it."""
    from napari_nst.session.run import enhance_session

    def make(**more):
        return enhance_session(_made_folder, tmp_path_factory.mktemp("finished") / "out", **{**QUICK, **more}).folder

    return make


@pytest.fixture(scope="session")
def finished(finished_folder):
    """The folder of a quick session, for tests that copy it."""
    return finished_folder()


@pytest.fixture
def done(quick, finished, tmp_path):
    """A finished session in ``out``: a copy of its folder, taken up again, which repeats nothing."""
    shutil.copytree(finished, tmp_path / "out")
    session = quick()
    assert session.repeated
    return session


@pytest.fixture(scope="session")
def drawn_folder(finished_folder, with_figures):
    """The folder of a session with figures."""
    return finished_folder(**with_figures)


@pytest.fixture(scope="session")
def with_figures():
    """The settings of `drawn`: two patches are enhanced, for each figure takes as long as the rest of its patch."""
    pairs = {f"CROP_{patch}_{name(1)}": f"CROP_1_x0y0_{name(0)}" for patch in ("7_x0y0", "11_x114y0")}
    return {"figures": True, "pairs": pairs}


@pytest.fixture
def drawn(quick, drawn_folder, with_figures, tmp_path):
    """A finished session with figures: a copy of its folder, taken up again."""
    shutil.copytree(drawn_folder, tmp_path / "out")
    session = quick(**with_figures)
    assert session.repeated
    return session


@pytest.fixture(scope="session")
def same_tables():
    """Asserts that two tables of a session agree in everything but times."""

    def check(one, two):
        pd.testing.assert_frame_equal(one.drop(columns=TIMES), two.drop(columns=TIMES))

    return check
