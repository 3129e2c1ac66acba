"""A plan that is changed equals one that is made anew with the other settings; records of plans, damaged ones included."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.errors import FileError, ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.images import write_image
from napari_nst.session.plan import SessionPlan
from napari_nst.session.planning import (
    continued_plan,
    needs_reading,
    plan_session,
    replan,
    style_candidates,
    with_pairs,
)
from napari_nst.session.store import SessionRecord
from napari_nst.settings.session import split_settings
from records import DAMAGE, changed, places


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, poor in enumerate([{}, {"psf_fwhm": 0.9, "photons": 30.0}]):
        image = cone_mosaic((130, 220), spacing=9.0, seed=number, **poor).image
        write_image(folder / f"Subject3_Session2_OS_({number},0)_1.0x1.0_{number}_Confocal.tif", image)
    return folder


def plan_with(folder, **settings):
    return plan_session(folder, *split_settings({"method": "spectrum", "size": 100, **settings}))


@pytest.fixture(scope="module")
def plan(folder):
    return plan_with(folder)


def same(one, two):
    return one.table.equals(two.table) and one.notes == two.notes and one.fingerprint == two.fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"threshold": 2.5},
        {"threshold": 1000.0},
        {"treat": "all"},
        {"quality": "cones"},
        {"score": "documented", "max_distance": 300.0},
        {"method": "histogram", "epoch": 3, "figures": False},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_same_as_a_new_plan(folder, plan, changed):
    wanted, parameters = split_settings({"method": "spectrum", "size": 100, **changed})
    before = plan.table
    assert needs_reading(plan, wanted, parameters) == []
    again = replan(plan, wanted, parameters)
    assert same(again, plan_with(folder, **changed))
    assert plan.table.equals(before)
    assert same(replan(again, plan.settings, plan.parameters), plan)


@pytest.mark.parametrize("changed", [{"size": 150}, {"border": False}, {"value_range": "percentiles"}])
def test_what_needs_the_images_is_refused(plan, changed):
    wanted, parameters = split_settings({"method": "spectrum", "size": 100, **changed})
    assert needs_reading(plan, wanted, parameters) == list(changed)
    with pytest.raises(ParameterError, match=next(iter(changed))):
        replan(plan, wanted, parameters)


def test_a_score_table_is_read_again(folder, plan, tmp_path):
    names = [planned.patch.name for planned in plan.patches]
    table = tmp_path / "scores.csv"
    table.write_text("patch,score\n" + "".join(f'"{name}",{n}\n' for n, name in enumerate(names)))
    again = replan(plan, plan.settings.replace(quality="table", quality_table=str(table), threshold=1.5))
    assert [planned.score for planned in again.patches] == list(range(len(names)))
    assert "quality table scores.csv" in again.inputs
    assert "quality table scores.csv" not in replan(again, plan.settings).inputs


def test_pairs_by_hand(plan):
    names = [planned.patch.name for planned in plan.patches]
    target, style, other = plan.treated[0].patch.name, names[0], plan.treated[1].patch.name
    changed = with_pairs(plan, {target: style, other.removesuffix(".tif"): ""})
    assert (changed[target].style, changed[target].treat, changed[target].reason) == (style, True, "style: given")
    assert math.isfinite(changed[target].distance)
    assert (changed[other].style, changed[other].treat) == ("", False)
    assert changed.pairs_given
    assert not plan.pairs_given
    assert plan[other].treat
    assert changed.fingerprint != plan.fingerprint
    untouched = [name for name in names if name not in (target, other)]
    assert all(changed[name] is plan[name] for name in untouched)
    # The same as giving the whole pairing from the start, but for the reasons of what did not change.
    whole = plan_session(
        plan.folder, plan.settings, plan.parameters, pairs={p.patch.name: p.style for p in changed.treated}
    )
    columns = ["patch", "treat", "style", "distance"]
    assert whole.table[columns].equals(changed.table[columns])
    assert whole.fingerprint == changed.fingerprint
    assert with_pairs(plan, {}) is plan
    assert same(replan(changed, plan.settings), plan)


@pytest.mark.parametrize(("pair", "words"), [(("x", ""), "no patch 'x'"), ((0, "y"), "no patch 'y'"), ((0, 0), "own")])
def test_wrong_pairs(plan, pair, words):
    names = [planned.patch.name for planned in plan.patches]
    patch, style = (names[entry] if isinstance(entry, int) else entry for entry in pair)
    with pytest.raises(ParameterError, match=words):
        with_pairs(plan, {patch: style})


def test_candidates_are_good_and_near_ones_first(plan):
    target = plan.treated[0].patch.name
    found = style_candidates(plan, target)
    assert {c.patch.name for c, _ in found} == {p.patch.name for p in plan.patches} - {target}
    good = [c.good is True for c, _ in found]
    assert good == sorted(good, reverse=True)
    for group in (True, False):
        distances = [distance for c, distance in found if (c.good is True) == group]
        assert np.all(np.diff(distances) >= 0)
    assert all(c == plan[c.patch.name] for c, _ in found)


# --- the record of a plan -------------------------------------------------------------------------------------------

#: As version 0.1 wrote it: three images, of which one is padded, one has no place in its name, and one was damaged.
OLD = Path(__file__).parent / "session_0.1.json"


@pytest.fixture(scope="module")
def old():
    return json.loads(OLD.read_text(encoding="utf-8"))


def test_a_plan_comes_back_from_its_record(plan):
    again = SessionPlan.from_dict(json.loads(json.dumps(plan.to_dict())), plan.folder, OLD)
    assert plan.to_dict()["schema_version"] == 1
    assert same(again, plan)
    assert again.images == plan.images
    assert str(again.patches) == str(plan.patches)  # NaN is not equal to itself


def test_unknown_numbers_are_null_in_the_record(plan):
    record = plan.to_dict()
    assert record["patches"][0]["distance"] is None
    assert math.isnan(SessionPlan.from_dict(record, plan.folder, OLD).patches[0].distance)


def test_records_of_version_0_1_are_read(old):
    plan = SessionPlan.from_dict(old["plan"], Path("images"), OLD)
    assert [(image.name, image.frame) for image in plan.images][-1] == ("video_1.tif", "video_1.tif")
    assert [planned.quality for planned in plan.patches] == ["good", "poor", "unknown"]
    assert [planned.style for planned in plan.patches] == ["", plan.patches[0].patch.name, ""]
    assert plan.patches[1].patch.padding == (2, 2, 0, 0)
    assert math.isnan(plan.patches[2].score)
    assert plan.unreadable[0]["image"] == "broken.tif"
    written = plan.to_dict()
    for image in written["images"]:
        image["um_per_px"] = image.pop("pixel_size")  # its name in version 0.1
    unchanged = set(old["plan"]) - {"settings", "parameters"}
    assert {key: written[key] for key in unchanged} == {key: old["plan"][key] for key in unchanged}


def problem(record):
    """What is reported of a record, or nothing."""
    try:
        SessionPlan.from_dict(record, Path("images"), OLD)
    except FileError as error:
        return str(error)
    return None


@pytest.mark.parametrize("damage", DAMAGE, ids=repr)
def test_a_damaged_record_gives_one_clear_error(old, damage):
    """Or is read, where the value is one that can be."""
    reported = [
        problem(changed(old["plan"], path, damage)) for path in places(old["plan"]) if path or damage is not ...
    ]
    wrong = [text for text in reported if text is not None]
    assert len(wrong) > 20
    for text in wrong:
        assert text.startswith((f"{OLD} is not the record of a session: ", f"{OLD} was written by a newer napari-nst"))
        assert text.endswith(
            ("Choose another output folder; what lies in this one stays as it is.", "Update napari-nst.")
        )
        assert len(text) < 1000


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(max_examples=50)
def test_what_is_no_plan_gives_one_clear_error(content):
    with pytest.raises(FileError, match=r"session_0\.1\.json is not the record of a session: "):
        SessionPlan.from_dict(content, Path("images"), OLD)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("patches", 1, "patch", "x"), "5", "'patches[1].patch.x' must be a valid integer, got '5'"),
        (("patches", 1, "patch", "fades"), ..., "'patches[1].patch.fades' is missing"),
        (("patches", 1, "patch", "name"), "../x.tif", "'patches[1].patch.name' must be a file name without folders"),
        (("patches", 1, "style"), "x.tif", "has no patch 'x.tif', which is the style of"),
        (("patches", 1, "measures"), [], "'patches[1].measures"),
        (("images", 0, "name"), "/etc/passwd", "'images[0].name' must be a file name without folders"),
        (("images", 0, "name"), "a.tif", "has no image 'Subject3_"),
        (("images", 0, "value_range"), [math.nan, 1], "'images[0].value_range[0]' must be a finite number, got nan"),
        (("settings", "size"), "large", "`size` must be a whole number"),
        (("settings",), [], "'settings' must be a dictionary, got []"),
        (
            ("split", "separability"),
            "much",
            "'split.separability' must be a valid number, unable to parse string as a number, got 'much'",
        ),
        (("schema_version",), 2, "its schema_version is 2, and this one reads up to 1"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_damaged_record_names_the_entry(old, path, value, message):
    with pytest.raises(FileError, match=re.escape(message)):
        SessionPlan.from_dict(changed(old["plan"], path, value), Path("images"), OLD)


def test_a_session_whose_plan_is_damaged_is_not_gone_on_with(plan, tmp_path):
    record = SessionRecord(napari_nst_session="0.1.0", plan={"settings": {}})
    with pytest.raises(
        FileError, match=r"session\.json is not the record of a session: .*Choose another output folder"
    ):
        continued_plan(record, tmp_path, plan.folder, plan.settings, plan.parameters, None)
