"""Stems that every file system accepts; the oracle is the written rule of each system, and the disk."""

import string
import unicodedata
from pathlib import PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nst.errors import ParameterError
from napari_nst.io.filenames import joined_stem, safe_stem, split_extension

AOSLO = "CROP_430_x267y452_Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg"
CONFOCAL = "CS_13213_20150302_confocal_OS_0069_ref_20_lps_8_lbss_8_ffr_n_50_cropped_5"

anything = st.text(st.characters(), max_size=300) | st.text(string.ascii_lowercase + '. /\\:"*', max_size=300)


def assert_accepted(stem, limit=120):
    assert stem
    assert len(stem) <= limit
    assert len(stem.encode("utf-8")) <= 240
    assert not set(stem) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in stem)
    assert stem == stem.strip()
    assert stem[0] != "."
    assert stem[-1] != "."
    assert stem == unicodedata.normalize("NFC", stem)
    # Device names are reserved with any extension, so also once ".tif" stands behind.
    first = stem.split(".")[0].strip().upper()
    assert first not in {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    assert not (first[:3] in {"COM", "LPT"} and first[3:] in set("0123456789¹²³"))


@given(anything)
def test_any_text_becomes_an_accepted_stem_and_stays(name):
    stem = safe_stem(name)
    assert_accepted(stem)
    assert safe_stem(stem) == stem


@given(st.lists(anything, max_size=30), st.integers(16, 400))
def test_joined_names_are_accepted_at_any_limit(parts, limit):
    stem = joined_stem(*parts, limit=limit)
    assert_accepted(stem, limit)
    assert safe_stem(stem, limit) == stem


@given(anything)
def test_the_disk_takes_the_stem(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    path = folder / (safe_stem(name) + "_12.ome.tiff")
    path.touch()
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", [AOSLO, CONFOCAL, "a (2), b.c", "Zapfen müde 視細胞", "con_1", "comet", "COM10", "a..b"]
)
def test_good_names_survive(name):
    assert safe_stem(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "image"),
        (" .. ", "image"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x", "C__x"),
        ("a\nb\x00", "a_b_"),
        ("\ud800x", "_x"),
        ("con", "_con"),
        ("NUL.tif", "_NUL.tif"),
        ("nul .tif", "_nul .tif"),
        ("COM1", "_COM1"),
        ("com¹.x", "_com¹.x"),
        ("lpt0", "_lpt0"),
        ("gpj\u202efit", "gpj_fit"),
        ("cafe\u0301", "caf\u00e9"),
        (".hidden. ", "hidden"),
    ],
)
def test_bad_names_are_mended(name, expected):
    assert safe_stem(name) == expected


def test_long_names_that_differ_only_at_the_end_stay_different():
    names = [CONFOCAL * 3 + str(index) for index in range(50)]
    stems = {safe_stem(name) for name in names}
    assert len(stems) == 50
    assert all(len(stem) == 120 and stem.startswith(CONFOCAL) for stem in stems)


def test_the_byte_limit_holds_for_wide_letters():
    stem = safe_stem("視" * 100)
    assert 200 < len(stem.encode()) <= 240
    assert stem != safe_stem("視" * 101)


def test_joining_two_long_names_keeps_both_recognisable():
    stem = joined_stem(AOSLO, CONFOCAL)
    assert len(stem) == 120
    assert "CROP_430_x267y452_Subject34_Session274_OS_(9,0)" in stem
    assert "_CS_13213_20150302_confocal_OS_0069_ref_20" in stem
    assert stem != joined_stem(AOSLO, CONFOCAL + "x")


def test_short_parts_leave_their_room_to_long_ones():
    assert joined_stem("a", "b" * 200).startswith("a_" + "b" * 107 + "_")
    assert joined_stem("a", "b", "") == "a_b_"
    assert joined_stem() == "image"


def test_a_limit_without_room_is_refused():
    with pytest.raises(ParameterError, match="limit=15"):
        safe_stem("x", limit=15)


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.b.tif", ".tif"),
        ("a.ome.tif", ".ome.tif"),
        ("a.OME.TIFF", ".OME.TIFF"),
        ("x_1.5x1.5_4495_Confocal", ""),
        (AOSLO + ".tif", ".tif"),
        ("x.tif.csv", ".csv"),
        (".hidden", ""),
        ("none", ""),
        ("", ""),
    ],
)
def test_extensions_begin_with_a_letter(name, extension):
    stem, found = split_extension(name)
    assert (stem + found, found) == (name, extension)


def test_reserved_names_agree_with_pathlib():
    for name in ("con", "prn", "aux", "nul", "com5", "lpt³", "conin$"):
        safe = safe_stem(name)
        assert safe == "_" + name
        assert PureWindowsPath(safe + ".tif").name == safe + ".tif"
