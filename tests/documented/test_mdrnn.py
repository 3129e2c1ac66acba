"""The documented class: its names, its steps in memory, and that a run writes what the steps give."""

import numpy as np
import pytest
import tifffile
from skimage.exposure import match_histograms

from napari_nst import ImageFile, MDRNNPreProcessor
from napari_nst.errors import ParameterError
from sessions import name

SETTINGS = {"size": 96, "figures": False}
RULE = {"method": "std", "replace": "border", "range_method": "lower", "correct": "global"}


@pytest.fixture
def make(folder, tmp_path):
    def made(**more):
        return MDRNNPreProcessor(folder, tmp_path / "out", **{**SETTINGS, **more})

    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "none"),
        ({"enhancement": "nst"}, "nst"),
        ({"enhancement": "match"}, "histogram"),
        (RULE, "std_lower_border_global"),
        (RULE | {"enhancement": "nst"}, "std_lower_border_global_nst"),
        (
            {"method": "var", "range_method": "both", "replace": "border", "correct": "global"},
            "var_both_border_global",
        ),
    ],
)
def test_the_documented_name_of_the_folder(make, given, expected):
    assert str(make(**given)) == expected


def test_patches_are_cut_and_numbered(make, mosaics):
    patches = make().crop_images_to_patches()
    assert [str(file) for file in patches[:2]] == [f"CROP_1_x0y0_{name(0)[:-4]}", f"CROP_2_x0y54_{name(0)[:-4]}"]
    assert [file.aoslo.crop_id for file in patches] == list(range(1, 13))
    assert np.array_equal(patches[1].data, mosaics[0].image[54:150, :96])


def test_range_correction_by_its_formula(make):
    processor = make(**RULE)
    patches = processor.crop_images_to_patches()
    pixels = np.concatenate([file.data.ravel() for file in patches]).astype(float)
    limit = pixels.mean() - pixels.std()
    for before, after in zip(patches, processor.apply_preprocessing_to_images(), strict=True):
        assert str(after) == str(before)
        assert np.array_equal(after.data, np.where(before.data <= limit, np.rint(limit), before.data))


def test_histogram_matching_takes_only_the_poor_patches(make):
    """Documented as "match", where it never worked."""
    processor = make(enhancement="match")
    patches, results = processor.crop_images_to_patches(), processor.apply_nst_to_patches()
    raw = {file.name: file.data for file in patches}
    for file in results:
        entry = processor.plan[file.name]
        if not entry.treat:
            assert np.array_equal(file.data, raw[file.name])
            continue
        expected = match_histograms(raw[file.name].astype(float), raw[entry.style].astype(float))
        assert np.abs(file.data - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-9


def test_a_run_writes_what_the_steps_give(make):
    """The correction is not lost before the enhancement, as it was."""
    processor = make(**RULE, enhancement="spectrum")
    steps = processor.apply_nst_to_patches()
    done = processor.run(workers=1)
    assert set(done.table["status"]) == {"corrected", "enhanced"}
    for file in steps:
        assert np.array_equal(tifffile.imread(done.paths["results"] / file.name), file.data)


def test_pairs_of_ones_own(make):
    processor = make(enhancement="spectrum")
    patches = processor.crop_images_to_patches()
    results = processor.apply_nst_to_patches(patches, {patches[7]: patches[0]})
    changed = [not np.array_equal(a.data, b.data) for a, b in zip(patches, results, strict=True)]
    assert changed == [i == 7 for i in range(12)]
    assert processor.apply_nst_to_patches(patches, {}) == patches
    with pytest.raises(ParameterError, match="CROP_99"):
        processor.apply_nst_to_patches(patches, {"CROP_99_x0y0_a.tif": patches[0].name})


def test_strangers_are_refused(make):
    processor = make(enhancement="spectrum")
    with pytest.raises(ParameterError, match="must be a patch of this session"):
        processor.apply_nst_to_patches([ImageFile("other.tif", np.zeros((96, 96), np.uint8))])
    with pytest.raises(ParameterError, match=r"replace, correct is missing"):
        make(method="std", range_method="both")
    with pytest.raises(ParameterError, match="method"):
        make(enhancement="magic")
