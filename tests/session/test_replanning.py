"""A plan that is changed equals one that is made anew with the other settings."""

import math

import numpy as np
import pytest

from napari_nst.errors import ParameterError
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.images import write_image
from napari_nst.session.planning import needs_reading, plan_session, replan, style_candidates, with_pairs
from napari_nst.settings.session import split_settings


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
    settings, parameters = split_settings({"method": "spectrum", "size": 100, **changed})
    before = plan.table
    assert needs_reading(plan, settings, parameters) == []
    again = replan(plan, settings, parameters)
    assert same(again, plan_with(folder, **changed))
    assert plan.table.equals(before)
    assert same(replan(again, plan.settings, plan.parameters), plan)


@pytest.mark.parametrize("changed", [{"size": 150}, {"border": False}, {"value_range": "percentiles"}])
def test_what_needs_the_images_is_refused(plan, changed):
    settings, parameters = split_settings({"method": "spectrum", "size": 100, **changed})
    assert needs_reading(plan, settings, parameters) == list(changed)
    with pytest.raises(ParameterError, match=next(iter(changed))):
        replan(plan, settings, parameters)


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
    # The same as giving the whole pairing from the start, but for the reasons of what nobody touched.
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
    assert {c.name for c in found} == {p.patch.name for p in plan.patches} - {target}
    good = [c.good is True for c in found]
    assert good == sorted(good, reverse=True)
    for group in (True, False):
        distances = [c.distance for c in found if (c.good is True) == group]
        assert np.all(np.diff(distances) >= 0)
    assert all(c.score == plan[c.name].score for c in found)
