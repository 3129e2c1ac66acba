"""Names of files: stems that every file system accepts (the oracle is the written rule of each system, and the disk),
and AOSLO names: the documented form, those of other laboratories, and any text at all.
"""

import dataclasses
import pickle
import re
import string
import time
import unicodedata
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_nst.errors import ParameterError
from napari_nst.io.filenames import KNOWN_TEMPLATES, AosloName, NameTemplate, safe_stem, split_extension
from napari_nst.io.images import ImageFile

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
    stem = safe_stem(*parts, limit=limit)
    assert_accepted(stem, limit)
    assert safe_stem(stem, limit=limit) == stem


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
    stem = safe_stem(AOSLO, CONFOCAL)
    assert len(stem) == 120
    assert "CROP_430_x267y452_Subject34_Session274_OS_(9,0)" in stem
    assert "_CS_13213_20150302_confocal_OS_0069_ref_20" in stem
    assert stem != safe_stem(AOSLO, CONFOCAL + "x")


def test_short_parts_leave_their_room_to_long_ones():
    assert safe_stem("a", "b" * 200).startswith("a_" + "b" * 107 + "_")
    assert safe_stem("a", "b", "") == "a_b_"
    assert safe_stem() == "image"


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


REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "aoslo"

FULL = "Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal_extract_reg_avg.tif"
PATCH = "CROP_430_x267y452_" + FULL
CANON = "206-20140730131309-11002-00-F-OS--063063-P0-0004-Preprocessed20160630104620.tif"
FCELL = "{IDnum}_{Year:4}{Month:2}{Day:2}_{Eye}_({LocX},{LocY})_{FOV_Width}x{FOV_Height}_{VidNum}_{Modality}{rest}"


def fields(name):
    values = dataclasses.asdict(name)
    del values["text"]
    return values


def test_the_name_in_the_document_gives_every_field_with_its_type():
    name = AosloName.parse(PATCH)
    expected = {
        "extension": "tif",
        "recognised": True,
        "crop_id": 430,
        "crop_x": 267,
        "crop_y": 452,
        "subject_id": 34,
        "session_id": 274,
        "eye": "OS",
        "x_position": 9.0,
        "y_position": 0.0,
        "x_size": 1.5,
        "y_size": 1.5,
        "image_id": 4495,
        "modality": "Confocal",
        "postfix": "_extract_reg_avg",
        "extra": (),
    }
    assert fields(name) == expected
    assert {key: type(value) for key, value in fields(name).items()} == {k: type(v) for k, v in expected.items()}
    assert str(name) == PATCH
    assert name.stem == PATCH[: -len(".tif")]
    assert name.position == (9.0, 0.0)
    assert name.squared_eccentricity == 81.0
    assert name.retina == (34, "OS")
    assert name.modality_code == "CO"
    assert name.full_image == AosloName.parse(FULL)
    assert str(name.full_image) == FULL


# --- what the documented system gets wrong
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [PATCH, FULL])
def test_a_missing_extension_is_none_and_not_the_text_behind_the_last_dot(text):
    bare = text.removesuffix(".tif")
    name = AosloName.parse(bare, strict=True)
    assert (name.extension, str(name), name.stem) == ("", bare, bare)
    assert fields(name) == fields(AosloName.parse(text)) | {"extension": ""}


@pytest.mark.parametrize("size", ["1x1", "1.0x1.0", "1.00x01", "1x0.75", "10x0", "1.x.5"])
def test_the_numbers_keep_their_spelling(size):
    text = FULL.replace("1.5x1.5", size)
    name = AosloName.parse(text, strict=True)
    assert str(name) == text
    assert (name.x_size, name.y_size) == tuple(float(side) for side in size.split("x"))


@pytest.mark.parametrize(
    ("x", "y"), [("-1.5", "0"), ("-1", "-2"), ("0.25", "-0.5"), ("+3", "0.0"), ("-0", "10.125"), (".5", "-.25")]
)
@pytest.mark.parametrize("modality", ["OA850nm", "Confocal", "Confocal1", "CalculatedSplit1", "760nm1"])
def test_any_position_goes_with_any_modality(x, y, modality):
    name = AosloName.parse(f"Subject1_Session2_OD_({x},{y})_1x1_3_{modality}_extract_reg_avg.tif", strict=True)
    assert name.position == (float(x), float(y))
    assert name.squared_eccentricity == pytest.approx(float(x) ** 2 + float(y) ** 2)
    assert (name.eye, name.modality, name.postfix) == ("OD", modality, "_extract_reg_avg")


@pytest.mark.parametrize(
    "extension", ["tif", "tiff", "png", "jpg", "jpeg", "TIF", "TiFF", "PNG", "Jpg", "JPEG", "ome.tif"]
)
@pytest.mark.parametrize("stem", [PATCH[:-4], CANON[:-4], "BAK8044R_2019_stabilized_840", "a.b"])
def test_extensions_in_any_case(stem, extension):
    text = f"{stem}.{extension}"
    name = AosloName.parse(text)
    assert (name.extension, name.stem, str(name)) == (extension.lower(), stem, text)
    assert name.stem == ImageFile(text).stem


@pytest.mark.parametrize("extension", ["png", "csv"])
def test_derived_names_keep_the_first_extension_in_the_postfix(extension):
    name = AosloName.parse(f"{PATCH}.{extension}", strict=True)
    assert (name.postfix, name.extension, name.stem) == ("_extract_reg_avg.tif", extension, PATCH)


def test_coordinates_are_filed_under_the_name_of_their_image():
    name = AosloName.parse(PATCH.replace(".tif", "_coords.csv"), strict=True)
    assert (name.image_id, name.postfix, name.extension) == (4495, "_extract_reg_avg_coords", "csv")


def test_what_is_unknown_is_none_instead_of_a_number_or_word():
    name = AosloName.parse(FULL)
    assert (name.crop_id, name.crop_x, name.crop_y) == (None, None, None)
    plain = AosloName.parse("BAK8044R_2019_stabilized_840.tif")
    assert set(fields(plain).values()) == {None, False, "tif", "", ()}
    assert (plain.stem, plain.position, plain.squared_eccentricity) == ("BAK8044R_2019_stabilized_840", None, None)
    assert (plain.retina, plain.modality_code) == ((None, None), None)


def test_equal_names_have_equal_hashes():
    one, two = AosloName.parse(PATCH), AosloName.parse(PATCH)
    assert one == two
    assert hash(one) == hash(two)
    assert one != AosloName.parse(FULL)
    assert AosloName.parse(CANON) in {AosloName.parse(CANON)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.crop_id = 3


# --- crops
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [FULL, CANON, "anything at all", "x.png", ".tif"])
def test_a_patch_is_named_after_its_image_and_leads_back_to_it(full):
    name = AosloName.parse(full)
    patch = name.with_crop(3, np.int64(0), 133)
    assert str(patch) == f"CROP_3_x0y133_{full}"
    assert patch == AosloName.parse(str(patch))
    assert (patch.crop_id, patch.crop_x, patch.crop_y) == (3, 0, 133)
    assert patch.full_image == name
    assert name.full_image is name
    assert patch.with_crop(4, 5, 6) == name.with_crop(4, 5, 6)


def test_the_crop_of_an_unknown_name_is_typed():
    name = AosloName.parse("CROP_3_x0y133_my image.png")
    assert (name.recognised, name.crop_id, name.crop_x, name.crop_y) == (False, 3, 0, 133)
    assert (name.stem, str(name.full_image)) == ("CROP_3_x0y133_my image", "my image.png")


def test_a_patch_of_a_patch_belongs_to_the_image():
    name = AosloName.parse("CROP_7_x1y2_" + PATCH)
    assert (name.crop_id, name.crop_x, name.crop_y) == (7, 1, 2)
    assert name.recognised
    assert str(name.full_image) == FULL
    assert str(name.with_crop(8, 3, 4)) == "CROP_8_x3y4_" + FULL


@pytest.mark.parametrize("text", ["CROP_3_x0y133_", "CROP_430.tif", "CROP_x1y2_a", "crop_3_x0y133_a", "CROP_3_x-1y0_a"])
def test_what_only_resembles_a_crop_is_none(text):
    name = AosloName.parse(text)
    assert (name.crop_id, str(name), name.full_image) == (None, text, name)


@pytest.mark.parametrize("bad", [-1, 1.5, "3", None])
@pytest.mark.parametrize("which", ["crop_id", "x", "y"])
def test_a_crop_needs_whole_numbers(which, bad):
    with pytest.raises(ParameterError, match=f"{which}={bad!r}"):
        AosloName.parse(FULL).with_crop(**({"crop_id": 1, "x": 0, "y": 0} | {which: bad}))


# --- names that do not fit
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image.tif",
        FULL.replace("OS", "middle"),
        FULL.replace("(9,0)", "(nine,0)"),
        FULL.replace("(9,0)", "(9)"),
        FULL.replace("1.5x1.5", "1.5"),
        FULL.replace("_Confocal_extract_reg_avg", ""),
        "CROP_3_x0y133_image.tif",
        "Subject" + "9" * 5000 + "_Session1_OS_(0,0)_1x1_1_Confocal.tif",
        FULL.replace("9,", "9" * 400 + ","),
    ],
)
def test_strict_names_the_text_and_what_is_expected(text):
    assert not AosloName.parse(text).recognised
    with pytest.raises(ParameterError) as error:
        AosloName.parse(text, strict=True)
    assert repr(text) in str(error.value)
    assert "Subject{IDnum}_Session{Session}_{Eye}_({LocX},{LocY})" in str(error.value)


def test_a_name_with_many_separators_is_given_up_soon():
    start = time.perf_counter()
    for text in ("_" * 1000, "CS_" + "_" * 250, "CS_1_20150302" + "_OS" * 80, "-" * 255, "1-" * 125, "9" * 10**6):
        assert not AosloName.parse(text).recognised
    template = NameTemplate("{a}_{b}_{c}_{d}_{e}_{f}_{g}_{VidNum}_z")
    for text in ("_" * 255, "ab_" * 80 + "x", "_1" * 120):
        assert template.match(text) is None
    assert time.perf_counter() - start < 5


# --- other laboratories
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "subject", "eye", "image", "modality", "code", "postfix", "extra"),
    [
        (
            "CS_13213_20150302_confocal_OS_0069_ref_20_lps_8_lbss_8_ffr_n_50_cropped_5.tif",
            *(13213, "OS", 69, "confocal", "CO", "_lps_8_lbss_8_ffr_n_50_cropped_5"),
            (("Date", "20150302"), ("Reference", "20")),
        ),
        (
            "CS_13213_20150302_split_det_OS_0070_ref_12_lps_8_lbss_8_ffr_n_50_cropped_5.tif",
            *(13213, "OS", 70, "split_det", "CS", "_lps_8_lbss_8_ffr_n_50_cropped_5"),
            (("Date", "20150302"), ("Reference", "12")),
        ),
        (
            "SF_7D225AD_790nm_OD_confocal_0010_ref_53_lps_12.tif",
            *("7D225AD", "OD", 10, "confocal", "CO", "_lps_12"),
            (("Wavelength", "790nm"), ("Reference", "53")),
        ),
        (
            CANON,
            *(11002, "OS", 4, None, None, "-Preprocessed20160630104620"),
            (
                *(("Device", "206"), ("Date", "20140730131309"), ("Visit", "00"), ("Sex", "F")),
                *(("ScanX", "063"), ("ScanY", "063"), ("ScanType", "P0")),
            ),
        ),
        (
            "11002_20200131_OD_(0.2,-0.4)_1.5x1.5_468_CalculatedSplit1_extract_reg_avg.tif",
            *(11002, "OD", 468, "CalculatedSplit1", "CS", "_extract_reg_avg"),
            (("Date", "20200131"),),
        ),
        (
            "JC_0138_20200131_OS_(0,1)_1x1_7_OA850nm.tif",
            *("JC_0138", "OS", 7, "OA850nm", "OA", ""),
            (("Date", "20200131"),),
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "CROP_12_x5y6_"])
def test_known_forms_of_other_laboratories(text, subject, eye, image, modality, code, postfix, extra, prefix):
    name = AosloName.parse(prefix + text, strict=True)
    assert (name.subject_id, name.eye, name.image_id, name.modality) == (subject, eye, image, modality)
    assert (name.modality_code, name.postfix, name.extra) == (code, postfix, extra)
    assert name.session_id is None
    assert name.crop_id == (12 if prefix else None)
    assert str(name) == prefix + text


def test_the_real_images_are_all_recognised():
    paths = sorted(REAL.glob("*.tif"))
    if not paths:
        pytest.skip(f"the folder {REAL.name} with real images is not beside this checkout")
    names = [ImageFile(path).aoslo for path in paths]
    assert all(name.recognised for name in names)
    assert {name.retina for name in names} == {(11002, "OS"), (13213, "OS")}
    assert {name.modality for name in names} == {"confocal", "split_det", None}


def test_a_template_of_a_laboratory():
    text = "CROP_2_x0y171_AB12_20200131_OD_(-0.2,4)_1.5x1_468_Confocal1_extract.tiff"
    name = AosloName.parse(text, FCELL, strict=True)
    assert (name.extension, name.recognised, name.crop_id, name.crop_x, name.crop_y) == ("tiff", True, 2, 0, 171)
    assert (name.retina, name.session_id, name.image_id) == (("AB12", "OD"), None, 468)
    assert (name.position, name.x_size, name.y_size) == ((-0.2, 4.0), 1.5, 1.0)
    assert (name.modality, name.postfix) == ("Confocal1", "_extract")
    assert name.extra == (("Year", "2020"), ("Month", "01"), ("Day", "31"))
    assert name == AosloName.parse(text, NameTemplate(FCELL))
    assert hash(name) == hash(pickle.loads(pickle.dumps(name)))


def test_the_configuration_of_fcell_is_understood_as_it_stands():
    template = NameTemplate(
        "{IDnum}_{Year:.4}{Month:.2}{Day:.2}_{Eye}_({LocX},{LocY})_{FOV_Width}x{FOV_Height}_{VidNum}_"
        "{Modality}{:.1}_extract_reg_avg.tif"
    )
    name = AosloName.parse("1_20200131_OD_(0,0)_1x1_468_760nm1_extract_reg_avg.png", template, strict=True)
    assert (name.modality, name.postfix, name.extension) == ("760nm", "", "png")
    assert dict(name.extra)["Day"] == "31"


def test_a_template_replaces_the_known_forms():
    assert not AosloName.parse(FULL, "{IDnum}_{Eye}").recognised
    with pytest.raises(ParameterError, match=r"\{IDnum\}_\{Eye\}"):
        AosloName.parse(FULL, "{IDnum}_{Eye}", strict=True)


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        ("{idnum}_{EYE}_{locX}_{LOCY}", "7_os_1_-2", ("subject_id", 7)),
        ("{idnum}_{EYE}_{locX}_{LOCY}", "7_os_1_-2", ("eye", "OS")),
        ("{LocX}{LocY:3}", "12.5-.5", ("x_position", 12.5)),
        ("{LocX:2}{LocY:3}", "12-.5", ("y_position", -0.5)),
        ("s{Session}.v{VidNum}", "s4.v0012", ("session_id", 4)),
        ("[{IDnum}]+{VidNum}", "[a]+b", ("image_id", "b")),
        ("{IDnum}-{site}-{rest}", "1-lab a-", ("extra", (("site", "lab a"),))),
        ("{IDnum:3}{VidNum}", "0075", ("image_id", 5)),
        ("{a}_{b}", "1_2_3", ("extra", (("a", "1"), ("b", "2_3")))),
        ("{IDnum}{rest}", "Anna-5", ("subject_id", "Anna")),
    ],
)
def test_fields_of_templates(template, text, expected):
    attribute, value = expected
    assert getattr(AosloName.parse(text, template, strict=True), attribute) == value


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{IDnum}_{LocX}_{LocY}", "1_west_2"),
        ("{LocX:4},{LocY:4}", "west,0001"),
        ("{Eye}_{VidNum}", "XX_1"),
        ("{Year:4}_{VidNum}", "20x0_1"),
        ("{Year:4}_{VidNum}", "020_1"),
        ("{IDnum}_a", "_a"),
        ("{IDnum}_a", "1_b"),
        ("{LocX}_{VidNum}", "1e5_1"),
        ("{LocX}_{VidNum}", "٣_1"),
    ],
)
def test_names_of_another_form_do_not_match(template, text):
    assert NameTemplate(template).match(text) is None


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{IDnum}_{Eye", r"character 9, a brace '\{'"),
        ("{IDnum}_Eye}", r"character 12, a brace '\}'"),
        ("{{IDnum}}", r"character 1, a brace"),
        ("{IDnum}_{}", r"character 9, a field without a name"),
        ("{IDnum}_{ }", r"character 9, a field without a name"),
        ("{IDnum}_{Year:four}", r"character 9, the width 'four'"),
        ("{Year:}", r"the width ''"),
        ("{Year:0}", r"the width '0'"),
        ("{Year:-4}", r"the width '-4'"),
        ("{Year:99999999999999}", r"a width is a number from 1 to 999"),
        ("{IDnum}{Eye}", r"character 8, \{Eye\} directly behind another field"),
        ("{IDnum}_{idnum}", r"character 9, the field \{idnum\} a second time"),
        ("{site}_{Site}", r"a second time"),
        ("{rest}_{IDnum}", r"character 1, \{rest\} with a width or with something behind it"),
        ("{IDnum}_{rest:3}", r"\{rest\} with a width"),
        ("image", r"'image' has no field"),
        ("", r"has no field"),
        ("{:3}_", r"has no field"),
    ],
)
def test_bad_templates_are_refused_with_the_place(template, message):
    with pytest.raises(ParameterError, match=message):
        AosloName.parse("x", template)


@given(
    st.lists(st.sampled_from(["{a}", "{b}", "{c}", "{d}", "{VidNum}", "{y:2}", "{LocX}"]), min_size=1, unique=True),
    st.text("_1a", max_size=14),
)
def test_fields_take_the_fewest_characters_with_which_the_whole_name_fits(names, text):
    # The oracle tries every way to share the text out, the shortest first field first.
    accepted = {"{VidNum}": r"[^_]+", "{y:2}": r"..", "{LocX}": r"[0-9]+"}

    def ways(rest, left):
        if len(left) == 1:
            return [[rest]] if re.fullmatch(accepted.get(left[0], ".+"), rest) else []
        cuts = [
            i for i in range(1, len(rest)) if rest[i] == "_" and re.fullmatch(accepted.get(left[0], ".+"), rest[:i])
        ]
        return [[rest[:i], *more] for i in cuts for more in ways(rest[i + 1 :], left[1:])]

    expected = ways(text, names)
    found = NameTemplate("_".join(names)).match(text)
    assert (found is None) == (not expected)
    if found is not None:
        others = [name[1:2] for name in names if name not in ("{VidNum}", "{LocX}")]
        values = dict(zip(names, expected[0], strict=True))
        assert found["extra"] == tuple((other, values.get(f"{{{other}}}", values.get("{y:2}"))) for other in others)


@given(st.text(st.sampled_from("{}:.4_aEye") | st.characters(), max_size=40), st.text(max_size=40))
def test_any_template_is_used_or_refused(template, text):
    try:
        made = NameTemplate(template)
    except ParameterError:
        return
    assert str(AosloName.parse(text, made)) == text


# --- any name
# ---------------------------------------------------------------------------------------------------

numbers = st.integers(0, 10**9)
decimals = st.from_regex(r"\A-?[0-9]{1,3}(\.[0-9]{1,4})?\Z")
words = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)


@st.composite
def documented(draw):
    crop = draw(st.none() | st.tuples(numbers, numbers, numbers))
    subject, session, image = draw(st.tuples(numbers, numbers, numbers))
    eye = draw(st.sampled_from(["OS", "OD"]))
    x, y, width, height = draw(st.tuples(decimals, decimals, decimals, decimals))
    modality = draw(words)
    postfix = draw(st.just("") | st.from_regex(r"\A_[a-z_]{0,20}(\.tif)?\Z"))
    extension = draw(st.sampled_from(["", "tif", "tiff", "png", "jpg", "jpeg", "TIF", "csv"]))
    # A postfix that ends like an image is one only when something stands behind it.
    assume(extension or not postfix.endswith(".tif"))
    text = (
        ("CROP_{}_x{}y{}_".format(*crop) if crop else "")
        + f"Subject{subject}_Session{session}_{eye}_({x},{y})_{width}x{height}_{image}_{modality}{postfix}"
        + (f".{extension}" if extension else "")
    )
    expected = AosloName(
        *(text, extension.lower(), True),
        *(crop or (None, None, None)),
        *(subject, session, eye, float(x), float(y), float(width), float(height), image, modality, postfix),
    )
    return expected


@given(documented())
def test_generated_names_are_read_as_they_were_made(expected):
    name = AosloName.parse(expected.text, strict=True)
    assert name == expected
    assert str(name) == expected.text
    assert AosloName.parse(str(name.full_image)) == name.full_image
    assert name.full_image.crop_id is None


pieces = st.sampled_from(
    ["CROP_1_x2y3_", "Subject1_", "Session2_", "OS_", "(0,1)_", "1x1_", "5_", "Confocal", ".tif", "\n", "CS_", "--", ""]
)
anything = st.text(max_size=200) | st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


@given(anything)
def test_any_text_is_a_name_and_stays_as_it_is(text):
    name = AosloName.parse(text)
    assert str(name) == text
    assert name.stem + text[len(name.stem) :] == text
    assert text[len(name.stem) :].lower() == ("." + name.extension if name.extension else "")
    assert name.full_image == AosloName.parse(str(name.full_image))
    assert text.endswith(str(name.full_image))
    if text:
        patch = name.with_crop(1, 2, 3)
        assert patch == AosloName.parse(str(patch))
        assert patch.full_image == name.full_image


def test_the_known_forms_exclude_each_other():
    examples = [
        FULL,
        "1_20200131_OD_(0,0)_1x1_4_Confocal",
        "CS_1_20150302_a_OS_9_ref_2",
        "SF_1_790nm_OD_a_1_ref_5",
        CANON,
    ]
    for index, text in enumerate(examples):
        found = [template.match(text.removesuffix(".tif")) is not None for template in KNOWN_TEMPLATES]
        assert found == [other == index for other in range(len(KNOWN_TEMPLATES))]


# --- ImageFile
# ---------------------------------------------------------------------------------------------------


def test_an_image_file_tells_what_its_name_says(tmp_path):
    file = ImageFile(tmp_path / PATCH)
    assert file.aoslo == AosloName.parse(PATCH)
    assert file.aoslo is file.aoslo
    assert file.aoslo.stem == str(file)
    assert ImageFile("some.png", np.zeros((3, 3))).aoslo.recognised is False
