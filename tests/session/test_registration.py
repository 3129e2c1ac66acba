"""Windows of one large mosaic lie where they were cut; what shows other cones, or shows them otherwise, lies apart."""

import itertools
import json
import threading
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import cone_mosaic
from napari_nst.errors import ImageError
from napari_nst.imaging.masks import black_border
from napari_nst.io.images import write_image
from napari_nst.session import planning, registration
from napari_nst.session.images import LoadedImage, SessionImage
from napari_nst.session.pairing import CorrespondingPatchFinder, PatchFacts
from napari_nst.session.plan import SessionPlan
from napari_nst.session.planning import plan_session
from napari_nst.session.registration import SAME_CONES, SIGNIFICANT, PlacedImage, find_overlap, place_images
from napari_nst.session.run import enhance_session
from napari_nst.settings.session import split_settings


@cache
def retina(seed=0, spacing=8.0, shape=(552, 640)):
    return cone_mosaic(shape, spacing, seed=seed, photons=1e5).image


def window(y, x, height=280, width=320, *, seed=0, noise=12.0, spacing=8.0):
    """An image of a part of a retina, with noise of its own."""
    part = retina(seed, spacing)[y : y + height, x : x + width].astype(np.float64)
    part += np.random.default_rng((y, x, seed)).normal(0, noise, part.shape)
    return np.clip(part, 1, 255).astype(np.uint8)


def load(array, name, **known):
    """An image as the session reads it."""
    array = np.asarray(array)
    known = {"place": None, "retina": None, "modality": None, "cropped": False, "pixel_size": None, **known}
    image = SessionImage(
        name=name, sha256="", shape=array.shape, dtype=str(array.dtype), value_range=(0.0, 255.0), valid=1.0, **known
    )
    return LoadedImage(image, array, black_border(array), None)


def place(*loaded, **options):
    found = {one.image.name: one for one in loaded}
    placed = place_images(lambda name: found[name], [one.image for one in loaded], **options)
    assert all(isinstance(entry, PlacedImage) and np.isfinite(entry[1:]).all() for entry in placed.values())
    return placed


def origin(placed, loaded):
    """Row and column of the first pixel in its frame."""
    height, width = loaded.image.shape
    entry = placed[loaded.image.name]
    return np.array([entry.y - height / 2, entry.x - width / 2])


# --- the same cones -------------------------------------------------------------------------------------------------


def brute_force(a, b, used_a, used_b, least):
    """Pearson's correlation at every shift whose overlap is large enough; the largest, and where."""
    best = (-2.0, None)
    counts = {}
    for dy, dx in itertools.product(range(-b.shape[0] + 1, a.shape[0]), range(-b.shape[1] + 1, a.shape[1])):
        ya, xa = (
            slice(max(0, dy), min(a.shape[0], b.shape[0] + dy)),
            slice(max(0, dx), min(a.shape[1], b.shape[1] + dx)),
        )
        yb, xb = slice(ya.start - dy, ya.stop - dy), slice(xa.start - dx, xa.stop - dx)
        both = used_a[ya, xa] & used_b[yb, xb]
        counts[dy, dx] = (both.sum(), a[ya, xa][both], b[yb, xb][both])
    most = max(count for count, _, _ in counts.values())
    for shift, (count, p, q) in counts.items():
        if count >= least * most and p.std() and q.std():
            best = max(best, (np.corrcoef(p, q)[0, 1], shift))
    return best


@pytest.mark.parametrize("masked", [False, True])
def test_overlap_is_the_maximum_over_all_shifts(masked):
    scene = cone_mosaic((60, 70), spacing=6, seed=3, vessel=False).image
    a, b = scene[:40, :44], scene[9:45, 17:57]
    masks = [np.ones(a.shape, bool), np.ones(b.shape, bool)]
    if masked:
        masks[0][:12, :30] = False
        masks[1][:, 35:] = False
    found = find_overlap(a, b, *masks)
    prepared = [registration._band_pass(image, mask, "") for image, mask in zip((a, b), masks, strict=True)]
    score, shift = brute_force(*(p for p, _ in prepared), *(used for _, used in prepared), 0.3)
    assert found.shift == shift == (9, 17)
    assert found.score == pytest.approx(score, abs=1e-9)
    assert found.score > 0.9


def test_pixels_outside_of_the_masks_do_not_matter(rng):
    scene = cone_mosaic((120, 150), spacing=7, seed=1).image.astype(float)
    a, b = scene[:100, :100], scene[20:, 30:130]
    used = np.ones((100, 100), bool)
    used[:, :15] = False
    clean = find_overlap(a, b, used, used)
    replaced = [np.where(used, image, value) for image, value in ((a, np.nan), (b, 1e9))]
    found = find_overlap(*replaced, used, used)
    assert found.score == pytest.approx(clean.score)
    assert found.shift == clean.shift == (20, 30)


@settings(max_examples=10)
@given(st.floats(1e-3, 1e3), st.floats(-1e4, 1e4))
def test_overlap_does_not_depend_on_brightness_or_contrast(gain, offset):
    scene = cone_mosaic((90, 90), spacing=7, seed=1).image.astype(float)
    a, b = scene[:70, :70], scene[10:80, 20:90]
    assert find_overlap(a, gain * b + offset).score == pytest.approx(find_overlap(a, b).score, abs=1e-6)


def test_other_places_of_one_mosaic_do_not_correlate():
    one, two = (cone_mosaic((185, 185), spacing=8, seed=seed) for seed in (1, 2))
    assert find_overlap(one.image, two.image).score < SAME_CONES
    shading = np.linspace(0, 200, 185)  # common to both, and larger than any cone
    assert find_overlap(one.image + shading, two.image + shading).score < SAME_CONES


@pytest.mark.parametrize(
    "image",
    [np.zeros((50, 50)), np.full((50, 50), 7, np.uint16), np.full((50, 50), np.nan), np.ones((2, 2)), np.eye(7)],
)
def test_nothing_to_compare_gives_zero(image):
    other = cone_mosaic((50, 50), spacing=6).image
    assert find_overlap(image, other) == (0.0, (0, 0))
    assert find_overlap(other, image).score == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((4, 4, 3)), np.ones((4, 4))), ImageError, r"target has shape \(4, 4, 3\)"),
        ((np.ones((4, 4)), np.ones((4, 4)), np.ones((3, 4), bool)), ImageError, r"mask has shape \(3, 4\)"),
        ((np.ones((4, 4)), np.ones((4, 4), complex)), ImageError, "complex"),
    ],
)
def test_what_cannot_be_compared(arguments, error, message):
    with pytest.raises(error, match=message):
        find_overlap(*arguments)


def test_overlapping_patches_are_noticed():
    first, second = (retina()[y : y + 400, x : x + 400].astype(float) for y, x in ((0, 0), (100, 200)))
    noise = np.random.default_rng(0).normal(0, 12, (2, 185, 185))
    a, b = first[150:335, 210:395] + noise[0], second[40:225, 30:215] + noise[1]
    found = find_overlap(a, b)
    assert found.score > 0.6
    assert found.shift == (40 + 100 - 150, 30 + 200 - 210)
    assert find_overlap(a, second[215:400, 215:400]).score < SAME_CONES
    assert find_overlap(a, retina(seed=1)[:185, :185]).score < SAME_CONES
    # Another gain and shading of the same place, pixel on pixel.
    assert find_overlap(a, 0.3 * a * np.linspace(0.5, 1, 185) + 40).score > SAME_CONES


def test_overlapping_real_images_are_noticed(aoslo):
    from napari_nst.session.cropping import PatchCropper

    first, second, distant = (np.asarray(aoslo(f"confocal_OS_{n}").data) for n in ("0070", "0071", "0075"))
    split = np.asarray(aoslo("split_det_OS_0070").data)
    # 0071 lies 427 px to the right of 0070 and 100 px above.
    a, b = first[50:235, 500:685], second[170:355, 90:275]
    found = find_overlap(a, b)
    assert found.score > 0.6
    assert np.abs(np.subtract(found.shift, (170 - 100 - 50, 90 + 427 - 500))).max() <= 5
    assert find_overlap(a, second[:185, 500:685]).score < SAME_CONES
    assert find_overlap(a, distant[:185, :185]).score < SAME_CONES
    # Another modality of the same place, pixel on pixel.
    scores = [
        find_overlap(one.array, two.array).score
        for one, two in zip(PatchCropper().crop(first, "a.tif"), PatchCropper().crop(split, "b.tif"), strict=True)
    ]
    assert np.mean(np.array(scores) > SAME_CONES) > 0.8


# --- what overlaps --------------------------------------------------------------------------------------------------


def test_windows_of_one_retina_lie_where_they_were_cut():
    corners = {"a": (0, 0), "b": (150, 200), "c": (40, 310), "d": (271, 33)}
    shapes = {"a": (280, 320), "b": (300, 257), "c": (281, 330), "d": (280, 320)}
    images = [load(window(*corners[k], *shapes[k]), k) for k in corners]
    placed = place(*images, load(window(0, 0, seed=1), "e"))
    assert {k: placed[k].frame for k in "abcde"} == {**dict.fromkeys("abcd", "a"), "e": "e"}
    assert placed["a"][1:] == placed["e"][1:] == (0.0, 0.0)
    for one in images:
        moved = origin(placed, one) - origin(placed, images[0])
        np.testing.assert_allclose(moved, corners[one.image.name], atol=1.0)


@settings(max_examples=12)
@given(
    st.integers(0, 230), st.integers(0, 280), st.integers(200, 320), st.integers(200, 320), st.sampled_from([8.0, 12.0])
)
def test_any_shift(y, x, height, width, spacing):
    first = load(window(60, 80, 320, 320, spacing=spacing), "first")
    second = load(window(y, x, height, width, spacing=spacing), "second")
    both = (min(380, y + height) - max(60, y)) * (min(400, x + width) - max(80, x))
    placed = place(first, second)
    if both > 150 * spacing**2:
        np.testing.assert_allclose(origin(placed, second) - origin(placed, first), (y - 60, x - 80), atol=1.0)


@pytest.mark.parametrize("kind", ["uint16", "float32 with gaps", "black border", "inverted light"])
def test_any_kind_of_pixels(kind):
    first, second = window(0, 0), window(120, 150)
    if kind == "uint16":
        second = (second.astype(np.uint16) * 16) + 300
    elif kind == "float32 with gaps":
        second = second.astype(np.float32) / 255
        second[40:60, 100:160] = np.nan
    elif kind == "black border":
        # The borders of both fit best at no shift, and must not.
        for array in (first, second):
            array[:30], array[:, :20], array[-25:] = 0, 0, 0
    else:
        second = (second * np.linspace(0.3, 1, 320)).astype(np.uint8)
    images = load(first, "first"), load(second, "second")
    if kind.startswith("float"):
        images[1].valid[:] = np.isfinite(second)
    placed = place(*images)
    np.testing.assert_allclose(origin(placed, images[1]) - origin(placed, images[0]), (120, 150), atol=1.0)


def test_a_black_border_that_the_session_counts_as_image_does_not_fit():
    arrays = [window(0, 0, seed=seed) for seed in (0, 1)]
    images = []
    for name, array in zip("ab", arrays, strict=True):
        array[:40], array[:, :40] = 0, 0
        images.append(load(array, name))
        images[-1].valid[:] = True
    assert {entry.frame for entry in place(*images).values()} == {"a", "b"}


def test_text_in_the_images_does_not_fit():
    images = [window(0, 0, seed=seed) for seed in (0, 1)]
    for array in images:
        array[8:20, 8:90][np.random.default_rng(0).random((12, 82)) > 0.5] = 255
    assert {entry.frame for entry in place(*map(load, images, "ab")).values()} == {"a", "b"}


@pytest.mark.parametrize("spacing", [5.0, 8.0, 14.0])
def test_other_cones_of_equal_spacing_lie_apart(spacing):
    images = [load(cone_mosaic((260, 280), spacing, seed=seed).image, str(seed)) for seed in range(4)]
    assert len({entry.frame for entry in place(*images).values()}) == 4


@pytest.mark.parametrize("change", ["quarter turn", "half turn", "mirror", "larger", "smaller"])
def test_the_same_cones_turned_or_at_another_scale_lie_apart(change):
    from skimage.transform import rescale

    image = window(0, 0)
    other = {
        "quarter turn": lambda: np.rot90(image),
        "half turn": lambda: image[::-1, ::-1],
        "mirror": lambda: image[:, ::-1],
        "larger": lambda: (255 * rescale(image, 1.3)).astype(np.uint8),
        "smaller": lambda: (255 * rescale(image, 0.75, anti_aliasing=True)).astype(np.uint8),
    }[change]()
    assert {entry.frame for entry in place(load(image, "a"), load(other, "b")).values()} == {"a", "b"}


@pytest.mark.parametrize(
    "array", [np.full((200, 200), 7, np.uint8), np.zeros((200, 200), np.uint8), np.ones((1, 1), np.uint8), np.eye(3)]
)
def test_images_without_cones_lie_apart(array):
    placed = place(load(array, "a"), load(array, "b"), load(window(0, 0), "c"))
    assert placed == {name: PlacedImage(name, 0.0, 0.0) for name in "abc"}


def test_the_correlation_is_that_of_the_overlap():
    bands = {name: registration._band(load(window(*at), name)) for name, at in {"a": (0, 0), "b": (100, 140)}.items()}
    fit = registration._fit(registration._Transforms(bands), "a", "b")
    first, second = bands["a"].values[50:, 70:], bands["b"].values[:-50, :-70]
    expected = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
    assert fit.correlation == pytest.approx(expected, abs=1e-4)
    assert fit.significance > 3 * SIGNIFICANT


def test_transforms_that_do_not_fit_into_memory_are_made_again(monkeypatch):
    images = [load(window(50 * k, 60 * k), str(k)) for k in range(5)]
    expected = place(*images)
    monkeypatch.setattr(registration, "_MEMORY", 0)
    assert place(*images) == expected


# --- which are compared ---------------------------------------------------------------------------------------------


def test_images_of_two_retinas_are_not_compared():
    image = window(0, 0)
    left, right = load(image, "a", retina=("3", "OS")), load(image, "b", retina=("3", "OD"))
    assert {entry.frame for entry in place(left, right).values()} == {"a", "b"}
    unknown = load(image, "c")
    assert {entry.frame for entry in place(left, unknown).values()} == {"a"}


def test_another_modality_of_a_place_lies_there():
    images = load(window(0, 0), "a", modality="Confocal"), load(window(30, 70), "b", modality="DF")
    assert {entry.frame for entry in place(*images).values()} == {"a"}


def test_places_by_degrees_stay_and_patches_are_left_out():
    assert place(load(window(0, 0), "a", place=(3.0, 4.0)), load(window(0, 0), "b", cropped=True)) == {}
    assert place(load(window(0, 0), "a", place=(3.0, 4.0)), load(window(0, 0), "b")) == {
        "b": PlacedImage("b", 0.0, 0.0)
    }


def test_of_too_many_pairs_the_nearest_by_name_are_compared(monkeypatch):
    monkeypatch.setattr(registration, "MOST_PAIRS", 5)
    names = [f"{modality}_{number}.tif" for modality in ("Confocal", "Split") for number in (8, 9, 10)]
    loaded = [load(window(0, 0), name, modality=name.split("_")[0]) for name in names]
    notes = []
    pairs = registration._pairs([one.image for one in loaded], notes.append)
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(pair)
        for pair in itertools.pairwise(
            f"{modality}_{number}.tif" for number in (8, 9, 10) for modality in ("Confocal", "Split")
        )
    }
    assert len(notes) == 1
    assert "6 images make 15 pairs; overlaps were looked for in the 5 nearest by name." in notes[0]


# --- loops ----------------------------------------------------------------------------------------------------------


def fit(first, second, shift, significance):
    return registration._Fit(first, second, significance, 0.5, shift)


def test_an_overlap_that_contradicts_better_ones_is_left_out_and_noted():
    images = [load(np.zeros((100, 100)), name).image for name in "abcd"]
    good = [fit("a", "b", (0, 80), 50.0), fit("b", "c", (80, 0), 40.0), fit("c", "d", (0, -80), 30.0)]
    expected = {"a": ("a", 0, 0), "b": ("a", 80, 0), "c": ("a", 80, 80), "d": ("a", 0, 80)}
    notes = []
    # A loop that closes within the tolerance says nothing.
    assert registration._joined(images, [*good, fit("a", "d", (85, 3), 20.0)], notes.append) == expected
    assert notes == []
    assert registration._joined(images, [fit("a", "c", (-60, 80), 10.0), *good], notes.append) == expected
    (note,) = notes
    assert "a and c seem to overlap where other images contradict it by 140 px" in note


def test_the_order_of_overlaps_does_not_matter():
    images = [load(np.zeros((100, 120)), name).image for name in "abcdef"]
    fits = [fit("e", "f", (9, 1), 20.0), fit("a", "c", (5, 60), 12.0), fit("c", "f", (0, 7), 11.0)]
    answers = [registration._joined(images, list(order), print) for order in itertools.permutations(fits)]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["e"] == PlacedImage("a", 60 + 7 - 1, 5 - 9)
    assert answers[0]["b"] == PlacedImage("b", 0, 0)


@given(st.floats(-0.5, 0.5), st.floats(0.1, 100), st.integers(0, 6))
def test_the_summit_of_a_parabola(offset, steepness, k):
    places = (np.arange(7) - k + 3) % 7 - 3  # around the maximum, over the end of the line
    line = -steepness * (places - offset) ** 2
    assert registration._summit(line, k) == pytest.approx(offset, abs=1e-6)


# --- progress and an end before the end -----------------------------------------------------------------------------


def test_progress_counts_images_and_pairs():
    seen = []
    place(*(load(window(0, 0, 64, 64), name) for name in "abcd"), progress=lambda *reported: seen.append(reported))
    assert seen == [("finding overlaps", done, 10) for done in range(10)]


@pytest.mark.parametrize("after", [0, 2, 6])
def test_it_can_be_cancelled(after):
    cancel = threading.Event()
    images = [load(window(0, 0, 64, 64), name) for name in "abcd"]
    with pytest.raises(KeyboardInterrupt):
        place(*images, cancel=cancel, progress=lambda text, done, total: done >= after and cancel.set())


# --- in the pairing -------------------------------------------------------------------------------------------------


def facts(patch, image, place, frame, x=0, **given):
    given = {"spacing": 9.0, "score": 5.0, "good": False, "image_shape": (300, 300), **given}
    return PatchFacts(patch, image, x, 0, 100, 100, place=place, frame=frame, **given)


def find(*patches, **options):
    return CorrespondingPatchFinder(patches, **options).find().set_index("patch")


def test_distances_count_within_one_frame():
    target = facts("t", "a", (0.0, 0.0), "a")
    near, other, degrees = (
        facts(name, name, (300.0, 400.0), frame, score=9.0, good=True) for name, frame in (("n", "a"), ("o", "o"), ("d", None))
    )  # fmt: skip
    finder = CorrespondingPatchFinder([target, near, other, degrees])
    assert finder.distance("t", "n") == 500
    assert np.isnan(finder.distance("t", "o"))
    assert np.isnan(finder.distance("t", "d"))
    row = find(target, other, degrees, near).loc["t"]
    assert (row["style"], row.distance) == ("n", 500)
    assert "500 px away" in row.reason


@pytest.mark.parametrize(("x", "allowed"), [(0.0, False), (99.0, False), (100.0, True), (-100.0, True), (-99.5, False)])
def test_no_overlap_in_a_frame_however_small(x, allowed):
    asked = []
    row = find(
        facts("t", "a", (0.0, 0.0), "a"),
        facts("s", "b", (x, 0.0), "a", score=9.0, good=True),
        same_cones=lambda *names: asked.append(names),
    ).loc["t"]
    assert row.treat == allowed
    assert asked == []


def test_the_images_are_asked_where_no_common_frame_is_known():
    asked = []
    styles = [facts(name, name, (0.0, 0.0), frame, score=9.0, good=True) for name, frame in (("o", "o"), ("d", None))]

    def same(*names):
        asked.append(names)
        return True

    row = find(facts("t", "a", (0.0, 0.0), "a"), *styles, same_cones=same).loc["t"]
    assert not row.treat
    assert asked == [("t", "o"), ("t", "d")]
    assert "2 with the same cones" in row.reason


# --- in a session ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_image(folder / "video_1.tif", window(0, 0))
    write_image(folder / "video_2.tif", window(90, 200, noise=60))
    write_image(folder / "video_3.tif", window(0, 0, seed=1))
    return folder


def plan_of(folder, **given):
    return plan_session(folder, *split_settings({"method": "none", "size": 110, "treat": "all", **given}))


def test_a_plan_has_the_places(folder):
    plan = plan_of(folder)
    assert [image.frame for image in plan.images] == ["video_1.tif", "video_1.tif", "video_3.tif"]
    np.testing.assert_allclose(plan.images[1].place, (200, 90), atol=1)
    assert "Of 3 images whose names give no place, 2 overlap others; distances between those are known." in plan.notes
    table = plan.table.set_index("patch")
    across = table[table["treat"] & (table["image"] == "video_2.tif")]
    across = across[[table.loc[style, "image"] == "video_1.tif" for style in across["style"]]]
    assert len(across)
    for row in across.itertuples():
        style = table.loc[row.style]
        gap = np.abs([row.x + 200 - style.x, row.y + 90 - style.y])
        assert row.distance == pytest.approx(np.hypot(*gap), abs=1.5)
        assert (gap > 109).any()  # never the same cones
        assert f"{row.distance:.0f} px away" in row.reason


def test_a_plan_without_registration(folder):
    plan = plan_of(folder, find_overlaps=False)
    assert {(image.place, image.frame) for image in plan.images} == {(None, None)}
    assert not any("overlap" in note for note in plan.notes)


def test_the_places_survive_the_record_and_do_not_tell_sessions_apart(folder):
    plan = plan_of(folder)
    record = json.loads(json.dumps(plan.to_dict()))
    again = SessionPlan.from_dict(record, folder, "session.json")
    assert again.images == plan.images
    assert str(again.facts()) == str(plan.facts())  # NaN is not equal to itself
    assert (again.notes, again.placing_notes) == (plan.notes, plan.placing_notes)
    again = again.replace(images=[image.replace(place=None, frame=None) for image in again.images])
    assert again.fingerprint == plan.fingerprint
    # Records of before there were frames.
    for entry in record["images"]:
        del entry["frame"]
    del record["placing_notes"]
    assert {image.frame for image in SessionPlan.from_dict(record, folder, "session.json").images} == {None}


def test_a_session_that_goes_on_keeps_its_places(folder, tmp_path, monkeypatch):
    arguments = {"method": "none", "size": 150, "workers": 1, "figures": False}
    cancel = threading.Event()
    first = enhance_session(
        folder, tmp_path / "out", cancel=cancel, callback=lambda reported: reported.row is not None and cancel.set(), **arguments
    )  # fmt: skip
    assert first.state == "cancelled"

    def refuse(*arguments, **options):
        raise AssertionError("the places are known")

    monkeypatch.setattr(planning, "place_images", refuse)
    second = enhance_session(folder, tmp_path / "out", **arguments)
    assert second.state == "finished"
    assert second.plan.images == first.plan.images
    assert second.plan.images[1].frame == "video_1.tif"


def test_names_with_degrees_keep_their_places(tmp_path):
    for number in (0, 1):
        write_image(tmp_path / f"Subject3_Session2_OS_({number},0)_1.0x1.0_{number}_Confocal.tif", window(0, 0))
    plan = plan_of(tmp_path)
    assert [(image.place, image.frame) for image in plan.images] == [((0.0, 0.0), None), ((320.0, 0.0), None)]
    assert plan.placing_notes == []


@pytest.mark.slow
def test_real_images_are_placed(aoslo):
    files = [aoslo(f"confocal_OS_{number}") for number in ("0069", "0070", "0071", "0072", "0075")]
    files += [aoslo("split_det_OS_0070"), aoslo("063063"), aoslo("043063"), aoslo("023063")]
    loaded = [load(np.asarray(file.data), name) for file, name in zip(files, [*"abcde", "split", *"xyz"], strict=True)]
    notes = []
    placed = place(*loaded, note=notes.append)
    assert [entry.frame for entry in placed.values()] == [*"aaaaaa", *"xyz"]
    assert notes == []
    corner = {one.image.name: origin(placed, one) for one in loaded}
    # By the correlation of whole images at full resolution (scikit-image); other modalities of one place are some px off.
    for first, second, shift in (
        ("a", "b", (-22, 278)),
        ("b", "c", (-100, 427)),
        ("c", "d", (57, 437)),
        ("d", "e", (118, 414)),
        ("b", "split", (0, 4)),
    ):
        np.testing.assert_allclose(corner[second] - corner[first], shift, atol=1.5)
