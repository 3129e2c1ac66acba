"""The output folder: damaged records give one message and cost no other patch, and no record leads out of the folder."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst.errors import FileError
from napari_nst.session.store import PatchRecord, SessionRecord, SessionStore
from records import DAMAGE, changed, places

#: A record as version 0.1 wrote it: without a schema version, unknown numbers as null.
OLD = {
    "patch": "CROP_1_x0y0_a.tif",
    "fingerprint": "ab",
    "row": {
        "status": "enhanced",
        "method": "nst",
        "total_loss": 0.5,
        "ring_after": None,
        "steps": 3,
        "kept": 12,
        "new": 1,
    },
    "transfer": {"method": "nst", "value_range": [0.0, 255.0]},
    "correction": None,
    "warnings": ["a warning"],
    "notes": [],
    "worker": {"host": "here"},
    "files": {"nst/CROP_1_x0y0_a.tif": "00"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = SessionStore(tmp_path_factory.mktemp("store"), "nst")
    store.records.mkdir(parents=True)
    return store


def read(store, text):
    """What is read of a record, or the message."""
    store.record_path(OLD["patch"]).write_text(text, encoding="utf-8")
    try:
        return store.read_record(OLD["patch"])
    except FileError as error:
        return str(error)


def test_records_of_version_0_1_are_read(store):
    record = read(store, json.dumps(OLD))
    assert (record.schema_version, record.row.status, record.row.kept, record.row.lost) == (1, "enhanced", 12, None)
    assert record.row.ring_after != record.row.ring_after  # NaN
    assert record.row.verdict == ""
    assert record.transfer == OLD["transfer"]
    assert store.finished(OLD["patch"], "ab") is None  # its file is not there


@pytest.mark.parametrize("damage", DAMAGE, ids=repr)
def test_a_damaged_record_gives_one_message(store, damage):
    """Or is read, where the value is one that can be."""
    found = [read(store, json.dumps(changed(OLD, path, damage))) for path in places(OLD) if path or damage is not ...]
    wrong = [text for text in found if isinstance(text, str)]
    assert len(wrong) >= 5
    for text in wrong:
        assert text.startswith(str(store.record_path(OLD["patch"])))
        assert text.endswith(PatchRecord.remedy)


def test_a_truncated_record_gives_one_message(store):
    text = json.dumps(OLD)
    for length in range(0, len(text), 7):
        assert "it is not valid JSON" in read(store, text[:length])


@settings(max_examples=50)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_no_record_gives_one_message(store, content):
    assert "is not the record of a patch" in read(store, json.dumps(content))


def test_damaged_records_are_reported_and_their_patches_made_again(quick, done, same_tables):
    store = SessionStore(done.folder, "spectrum")
    victim = done.folder.parent / "victim.txt"
    victim.write_text("mine", encoding="utf-8")
    (done.folder / "link").symlink_to(done.folder.parent)
    damages = [
        lambda record: "{",
        lambda record: json.dumps(changed(record, ("row", "kept"), "many")),
        lambda record: json.dumps(changed(record, ("files",), ...)),
        *(
            lambda record, name=name: json.dumps({**record, "files": {name: "00"}})
            for name in ("../victim.txt", str(victim), "link/victim.txt")
        ),
    ]
    for patch, damage in zip(done.table["patch"], damages, strict=False):
        path = store.record_path(patch)
        path.write_text(damage(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    again = quick()
    assert not again.repeated
    same_tables(again.table, done.table)
    reported = [note for note in again.notes if note.endswith(PatchRecord.remedy)]
    assert len(reported) == len(damages)
    assert sum("leads out of the folder" in note for note in reported) == 3
    assert victim.read_text(encoding="utf-8") == "mine"
    assert not (done.folder / "replaced").exists()
    assert quick().repeated


@pytest.mark.parametrize("name", ["../victim.txt", "{victim}", "link/victim.txt", "link", "", "a\0b"])
def test_files_elsewhere_are_neither_read_nor_moved(done, quick, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for victim in (elsewhere / "victim.txt", tmp_path / "victim.txt"):
        victim.write_text("mine", encoding="utf-8")
    (done.folder / "link").symlink_to(elsewhere)
    name = name.format(victim=elsewhere / "victim.txt")
    with pytest.raises(FileError):
        SessionStore(done.folder, "spectrum").set_aside({done.paths["table"].name: "00", name: "00"})
    state = json.loads(done.paths["record"].read_text(encoding="utf-8"))
    state["files"][name] = "00"
    done.paths["record"].write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(FileError, match=f"session.json is not the record of a session.*{SessionRecord.remedy[:20]}"):
        quick()
    for victim in (elsewhere / "victim.txt", tmp_path / "victim.txt"):
        assert victim.read_text(encoding="utf-8") == "mine"
    assert done.paths["table"].is_file()
    assert not (done.folder / "replaced").exists()


def test_a_folder_that_became_a_link_is_not_written_to(quick, done, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    done.paths["stitched"][0].parent.rename(elsewhere)
    done.paths["stitched"][0].parent.symlink_to(elsewhere)
    image = elsewhere / done.paths["stitched"][0].name
    image.write_bytes(b"mine")
    with pytest.raises(FileError, match="leads out of the folder"):
        quick()
    assert image.read_bytes() == b"mine"
