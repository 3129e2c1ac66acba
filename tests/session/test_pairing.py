"""Pairs against hand-made layouts, overlap against brute force, tables as people and spreadsheets write them."""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.errors import FileError, ParameterError
from napari_nst.session.pairing import CorrespondingPatchFinder, PatchFacts, read_pairs, write_pairs

AOSLO = "CROP_430_x267y452_Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg.tif"
OTHER = "CROP_431_x267y535_Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg.tif"


def facts(patch, x=0, y=0, score=5.0, good=False, image="a.tif", **more):
    given = {"spacing": 10.0, "cones": 100.0, "image_shape": (2000, 2000), **more}
    return PatchFacts(patch, image, x, y, 100, 100, score=score, good=good, **given)


def pairs(*patches, **options):
    frame = CorrespondingPatchFinder(patches, **options).find()
    assert list(frame.columns) == ["patch", "treat", "style", "distance", "pair_score", "reason"]
    assert list(frame["patch"]) == [p.patch for p in patches]
    assert (frame["treat"] == (frame["style"] != "")).all()
    return frame.set_index("patch")


# --- who is enhanced -------------------------------------------------------------------------------------------------


def test_only_poor_patches_are_enhanced_by_default():
    """The documented system computed its threshold, and enhanced every patch (bug a)."""
    frame = pairs(facts("poor"), facts("good", x=300, score=9, good=True), facts("unknown", x=600, good=None))
    assert frame["style"].to_dict() == {"poor": "good", "good": "", "unknown": ""}
    assert frame.reason["good"] == "good, kept"
    assert frame.reason["unknown"] == "quality unknown, kept"


def test_all_enhances_what_has_a_better_good_patch():
    frame = pairs(
        facts("poor"), facts("good", x=300, score=9, good=True), facts("best", x=600, score=10, good=True), treat="all"
    )
    assert frame["style"].to_dict() == {"poor": "good", "good": "best", "best": ""}
    assert "1 not better" in frame.reason["best"]


def test_all_works_where_no_quality_is_known():
    frame = pairs(facts("low", good=None), facts("high", x=300, score=9, good=None), treat="all")
    assert frame["style"].to_dict() == {"low": "high", "high": ""}


# --- the rules of a style -------------------------------------------------------------------------------------------

TARGET = facts("target")
STYLE = facts("style", x=300, score=9, good=True)


def test_a_style_is_described_in_words():
    frame = pairs(
        replace(TARGET, score=8.3, spacing=10.1),
        replace(STYLE, x=245, score=13.4, spacing=9.8),
        label="ring",
        unit="dB",
    )
    assert frame.reason["target"] == "style: ring 13.4 > 8.3 dB, 245 px away, spacing 9.8 / 10.1 px"
    assert frame.distance["target"] == 245


@pytest.mark.parametrize(
    ("target", "style", "options", "reason"),
    [
        ({}, {"good": False}, {}, "no good patch"),
        ({}, {"good": None}, {}, "no good patch"),
        ({"score": 9}, {}, {}, "1 good patch: 1 not better"),  # bug b: nothing required the style to be better
        ({"score": math.nan}, {}, {}, "no score to compare with"),
        ({}, {"score": math.nan}, {}, "no good patch"),
        ({}, {"x": 99}, {}, "1 overlap"),
        ({"retina": (1, "OS")}, {"image": "b.tif", "retina": (1, "OD")}, {}, "1 of another retina"),
        ({"modality": "Confocal"}, {"modality": "OA"}, {}, "1 of another modality"),
        ({}, {"spacing": 11.6}, {}, "1 of another spacing"),
        ({}, {"spacing": 8.4}, {}, "1 of another spacing"),
        ({}, {"spacing": math.nan}, {}, "1 of unknown spacing"),
        ({}, {"valid_fraction": 0.4}, {}, "1 with too few valid pixels"),
        ({}, {}, {"max_distance": 299}, "1 too far away"),
        ({}, {"image": "b.tif"}, {"max_distance": 999}, "1 at unknown distance"),
        (
            {"place": (0, 0)},
            {"image": "b.tif", "place": (-250, 0)},
            {},
            "1 overlap",
        ),
        ({}, {"image": "b.tif"}, {"same_cones": lambda target, style: True}, "1 with the same cones"),
    ],
)
def test_what_a_style_must_not_be(target, style, options, reason):
    frame = pairs(replace(TARGET, **target), replace(STYLE, **style), **options)
    assert frame["style"]["target"] == ""
    assert frame.reason["target"].startswith("poor, but no style: ")
    assert reason in frame.reason["target"]


@pytest.mark.parametrize(
    ("target", "style"),
    [
        ({}, {"x": 100}),  # touches, and shares no pixel
        ({}, {"spacing": 11.5}),
        ({}, {"spacing": 8.5}),
        ({"spacing": math.nan}, {"spacing": 30}),
        ({"retina": (1, "OS")}, {}),
        ({}, {"modality": "OA"}),
        ({}, {"image": "b.tif"}),
        ({}, {"image": "b.tif", "x": 0}),
        ({"place": (0, 0)}, {"image": "b.tif", "place": (-199, 0)}),  # 101 px apart on the retina
        ({}, {"valid_fraction": 0.5}),
    ],
)
def test_what_a_style_may_be(target, style):
    frame = pairs(replace(TARGET, **target), replace(STYLE, **style))
    assert frame["style"]["target"] == "style", frame.reason["target"]


def test_the_reasons_count_every_good_patch_once():
    near = [facts(f"near{i}", x=i, score=9, good=True) for i in range(9)]
    other = [facts(f"other{i}", x=200 + i, score=9, good=True, spacing=20) for i in range(3)]
    frame = pairs(facts("target"), *near, *other)
    assert frame.reason["target"] == "poor, but no style: 12 good patches: 9 overlap, 3 of another spacing"


def test_the_callback_is_asked_last_and_only_about_other_images():
    asked = []

    def same_cones(target, style):
        asked.append((target, style))
        return style == "best"

    others = [
        facts("best", image="b.tif", score=9, good=True),
        facts("second", image="b.tif", score=8, good=True),
        facts("third", image="b.tif", score=7, good=True),
        facts("coarse", image="b.tif", score=10, good=True, spacing=20),
    ]
    assert pairs(TARGET, *others, same_cones=same_cones)["style"]["target"] == "second"
    assert asked == [("target", "best"), ("target", "second")]
    asked.clear()
    assert pairs(TARGET, STYLE, same_cones=same_cones)["style"]["target"] == "style"
    assert asked == []


# --- which of several -----------------------------------------------------------------------------------------------


def test_nearness_is_traded_against_the_score():
    patches = facts("t", score=4), facts("near", x=250, score=8, good=True), facts("far", x=1000, score=12, good=True)
    frame = pairs(*patches)
    # (8 - 4) / (12 - 4) / (1 + 250/500) = 1/3, as much as 1 / (1 + 1000/500): the first of the input is taken
    assert frame.pair_score["t"] == pytest.approx(1 / 3)
    assert frame["style"]["t"] == "near"
    assert pairs(*patches[::2], patches[1])["style"]["t"] == "far"
    assert pairs(*patches[:2], replace(patches[2], x=999))["style"]["t"] == "far"
    assert pairs(*patches[:2], replace(patches[2], x=1001))["style"]["t"] == "near"


@given(st.floats(0.01, 100), st.floats(-100, 100))
def test_the_choice_does_not_depend_on_the_unit_of_the_score(scale, offset):
    rng = np.random.default_rng(3)
    patches = [
        facts(str(i), x=int(x), y=int(y), score=s, good=s > 0.5)
        for i, (x, y, s) in enumerate(zip(*rng.integers(0, 1900, (2, 20)), rng.random(20), strict=True))
    ]
    scaled = [replace(p, score=p.score * scale + offset) for p in patches]
    assert list(pairs(*patches)["style"]) == list(pairs(*scaled)["style"])


def test_a_known_distance_comes_before_an_unknown_one():
    lost = facts("lost", image="b.tif", score=100, good=True)
    far = facts("far", x=1900, score=6, good=True)
    assert pairs(TARGET, lost, far)["style"]["target"] == "far"
    frame = pairs(TARGET, lost, facts("lost2", image="c.tif", score=101, good=True))
    assert frame["style"]["target"] == "lost2"
    assert math.isnan(frame.distance["target"])
    assert math.isnan(frame.pair_score["target"])
    assert "distance unknown" in frame.reason["target"]


def test_every_pair_of_patches_of_two_images_has_its_own_distance():
    """The documented system gave all patches of a neighbor one distance, and added degrees to pixels (bug d)."""
    here = facts("t", x=500, y=100, image_shape=(600, 800), place=(1000.0, 50.0))
    found = set()
    for x, y in itertools.product((0, 200), (0, 300)):
        there = facts("s", x=x, y=y, image="b.tif", image_shape=(400, 300), place=(2100.0, 60.0), score=9, good=True)
        expected = math.hypot(2100 - 150 + x - (1000 - 400 + 500), 60 - 200 + y - (50 - 300 + 100))
        assert pairs(here, there).distance["t"] == pytest.approx(expected)
        found.add(round(expected, 6))
    assert len(found) == 4


def test_a_place_without_the_size_of_the_image_is_no_place():
    here = facts("t", place=(0, 0))
    there = facts("s", image="b.tif", image_shape=None, place=(500, 0), score=9, good=True)
    assert math.isnan(pairs(here, there).distance["t"])


def test_a_large_session_is_paired_in_a_short_time():
    import time

    rng = np.random.default_rng(0)
    patches = [
        facts(str(i), x=int(x), y=int(y), score=s, good=s > 0, image=f"{i % 40}.tif", place=(i % 40 * 700, 0))
        for i, (x, y, s) in enumerate(zip(*rng.integers(0, 1900, (2, 1000)), rng.normal(size=1000), strict=True))
    ]
    start = time.perf_counter()
    first = CorrespondingPatchFinder(patches).find()
    assert time.perf_counter() - start < 10
    assert first["treat"].sum() > 400
    pd.testing.assert_frame_equal(first, CorrespondingPatchFinder(patches).find())


# --- the documented score -------------------------------------------------------------------------------------------


def test_the_documented_score_is_cones_times_nearness():
    rng = np.random.default_rng(5)
    patches = [
        facts(str(i), x=int(x), y=int(y), good=False, cones=float(c))
        for i, (x, y, c) in enumerate(zip(*rng.integers(0, 1500, (2, 30)), rng.integers(0, 300, 30), strict=True))
    ]
    frame = pairs(*patches, score="documented")
    for p in patches:
        scores = {
            q.patch: q.cones * (1 - math.hypot(p.x - q.x, p.y - q.y) / 1000) for q in patches if q.patch != p.patch
        }
        best = max(scores, key=scores.__getitem__)
        assert frame["style"][p.patch] == best
        assert frame.pair_score[p.patch] == pytest.approx(scores[best])


def test_the_documented_score_knows_no_other_rule_but_enhances_the_poor_only():
    worse = facts("worse", x=1, score=1, good=False, cones=50, spacing=50, valid_fraction=0)
    frame = pairs(TARGET, worse, facts("good", x=500, good=True, cones=60), score="documented")
    assert frame["style"].to_dict() == {"target": "worse", "worse": "target", "good": ""}
    assert "50 cones x (1 - 1/1000) = 50.0" in frame.reason["target"]


@pytest.mark.parametrize("more", [{"x": 1000}, {"cones": 0}, {"cones": math.nan}, {"image": "b.tif"}])
def test_a_style_that_is_not_found_does_not_crash(more):
    """The documented system failed with AttributeError or TypeError here (bug e)."""
    for patches in ([replace(TARGET, x=0), replace(STYLE, **more)], [TARGET]):
        frame = pairs(*patches, score="documented")
        assert frame["style"]["target"] == ""
        assert "no other patch with cones is known to lie within 1000 px" in frame.reason["target"]


def test_the_documented_score_reaches_other_images_by_their_place():
    there = facts("s", image="b.tif", place=(400, 300), good=True, cones=200)
    frame = pairs(replace(TARGET, place=(0, 0)), there, score="documented")
    assert frame.pair_score["target"] == pytest.approx(200 * (1 - 500 / 1000))


# --- bad input ------------------------------------------------------------------------------------------------------


def test_no_patch_gives_an_empty_table():
    assert len(CorrespondingPatchFinder([]).find()) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "upstream"}, "score must be 'retina' or 'documented', got 'upstream'"),
        ({"treat": "good"}, "treat must be 'poor' or 'all', got 'good'"),
        ({"max_distance": -1}, "max_distance must be at least 0, got -1"),
        ({"max_distance": math.nan}, "max_distance must be at least 0, got nan"),
        ({"spacing_tolerance": -0.1}, "spacing_tolerance"),
        ({"minimum_valid": 1.1}, "at most 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        CorrespondingPatchFinder([], **options)


def test_two_patches_of_one_name():
    with pytest.raises(ParameterError, match="Two patches are called 'style'"):
        CorrespondingPatchFinder([STYLE, TARGET, STYLE])


# --- the table ------------------------------------------------------------------------------------------------------


def test_a_table_survives_the_round_trip(tmp_path):
    frame = CorrespondingPatchFinder([replace(TARGET, patch=AOSLO), replace(STYLE, patch=OTHER)]).find()
    path = write_pairs(tmp_path / "pairs.csv", frame)
    back = read_pairs(path, [AOSLO, OTHER])
    assert back == {AOSLO: OTHER, OTHER: ""}
    text = path.read_bytes()
    assert text.startswith(b"\xef\xbb\xbfpatch,style,")
    assert list(pd.read_csv(path).columns[:2]) == ["patch", "style"]
    assert write_pairs(path, frame) != path
    assert path.read_bytes() == text


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1), min_size=2, unique=True
    )
)
@settings(max_examples=30)
def test_any_names_survive_the_round_trip(tmp_path_factory, names):
    import unicodedata

    names = [f"{i}{unicodedata.normalize('NFC', name)}.tif" for i, name in enumerate(names)]
    frame = pd.DataFrame({"style": ["", *names[:1] * (len(names) - 1)], "patch": names})
    path = write_pairs(tmp_path_factory.mktemp("pairs") / "p.csv", frame)
    back = read_pairs(path, names)
    assert list(back.items()) == list(zip(names, frame["style"], strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "patch,style\na.tif,b.tif\nb.tif,\n",
        "\ufeffpatch;style;reason\r\na.tif;b.tif;x, y\r\nb.tif;;\r\n",
        "patch\tstyle\na.tif\tb.tif\nb.tif",
        "sep=;\nstyle;patch\nb.tif;a.tif\n;b.tif\n",
        ' Patch , STYLE \n "a.tif" , b.tif \n\n b ,\n,\n',
        '"patch","style"\n"a","b"\n"b",""\n',
    ],
)
def test_tables_as_spreadsheets_and_people_write_them(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_bytes(text.encode())
    back = read_pairs(path, ["a.tif", "b.tif", "c.tif"])
    assert list(back.items()) == [("a.tif", "b.tif"), ("b.tif", "")]


def test_names_with_commas(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(f'patch,style\n"{AOSLO}","{OTHER.removesuffix(".tif")}"\n')
    assert read_pairs(path, [AOSLO, OTHER]) == {AOSLO: OTHER}
    path.write_text(f"patch;style\n{AOSLO};{OTHER}\n")
    assert read_pairs(path, [AOSLO, OTHER]) == {AOSLO: OTHER}
    path.write_text(f"patch,style\n{AOSLO},{OTHER}\n")
    with pytest.raises(FileError, match=r"line 2: 4 cells under 2 columns.*quotation marks"):
        read_pairs(path, [AOSLO, OTHER])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column patch and no column style: the file is empty"),
        ("patch,score\na.tif,1\n", "no column style: the first line has patch, score"),
        ("a.tif,b.tif\n", "no column patch and no column style"),
        ("patch,style,style\n", "two columns style"),
        ("patch,style\na.tif,b.tif\nfirts.tif,b.tif\n", "line 3: the session has no patch 'firts.tif'; the most similar name is 'first.tif'"),
        ("patch,style\na.tif,zzzzzzzz\n", "line 2: the style is missing: the session has no patch 'zzzzzzzz'"),
        ("patch,style\na.tif,a\n", "line 2: 'a.tif' is its own style"),
        ("patch,style\na.tif,b.tif\n\na,\n", "line 4: 'a.tif' has a line already, line 2"),
        ("patch,style\n,b.tif\n", "line 2: the style 'b.tif' has no patch before it"),
        ("patch,style\ntwin,b.tif\n", "can be twin.tif or twin.png"),
    ],
)  # fmt: skip
def test_errors_name_the_line(tmp_path, text, message):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(FileError, match=re.escape(message)):
        read_pairs(path, ["a.tif", "b.tif", "first.tif", "twin.tif", "twin.png"])


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(FileError, match="Cannot read the table"):
        read_pairs(tmp_path / "absent.csv", [])
    path = tmp_path / "pairs.csv"
    path.write_bytes("patch,style\nä,b\n".encode("utf-16"))
    with pytest.raises(FileError, match="not UTF-8"):
        read_pairs(path, [])
    path.write_text("patch,style\na,b\n")
    with pytest.raises(FileError, match="it has no patch at all"):
        read_pairs(path, [])
