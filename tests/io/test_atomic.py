"""Files that appear whole or not at all: races, failures and interrupted writers."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_nst.errors import FileError
from napari_nst.io.atomic import clear_leftovers, free_stem, write_new


def text(content):
    return lambda path: path.write_text(content)


def failing(error):
    def write(path):
        path.write_text("half")
        raise error

    return write


def test_the_file_is_written_under_its_name_in_new_folders(tmp_path):
    written = write_new(tmp_path / "a" / "b" / "x.tif", text("one"))
    assert written == tmp_path / "a" / "b" / "x.tif"
    assert written.read_text() == "one"
    assert os.listdir(written.parent) == ["x.tif"]


def test_existing_files_stay_and_the_new_one_is_counted(tmp_path):
    names = [write_new(str(tmp_path / "x.ome.tif"), text(str(i))).name for i in range(3)]
    assert names == ["x.ome.tif", "x_1.ome.tif", "x_2.ome.tif"]
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]


def test_a_dot_within_a_name_without_extension_is_no_suffix(tmp_path):
    name = "S1_1.5x1.5_4495_Confocal"
    assert [write_new(tmp_path / name, text("")).name for _ in range(2)] == [name, name + "_1"]


def test_the_writer_gets_a_sibling_with_the_same_extension(tmp_path):
    seen = []

    def write(path):
        seen.append(path)
        path.touch()

    write_new(tmp_path / "x.tif", write)
    assert seen[0].parent == tmp_path
    assert seen[0].suffix == ".tif"
    assert not seen[0].exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad"), FileError("bad")])
def test_a_failed_writer_leaves_nothing(tmp_path, error):
    (tmp_path / "x.tif").write_text("old")
    with pytest.raises(type(error)):
        write_new(tmp_path / "x.tif", failing(error))
    assert os.listdir(tmp_path) == ["x.tif"]
    assert (tmp_path / "x.tif").read_text() == "old"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Free some space or choose another output folder"),
        (errno.EROFS, "read-only: choose another output folder"),
        (errno.EACCES, "Choose another output folder"),
        (errno.ENAMETOOLONG, "shorter path"),
    ],
)
def test_the_message_names_folder_reason_and_remedy(tmp_path, code, remedy):
    with pytest.raises(FileError, match=remedy) as caught:
        write_new(tmp_path / "x.tif", failing(OSError(code, os.strerror(code))))
    assert str(tmp_path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.tif", tmp_path / "file" / "deep" / "x.tif"):
        with pytest.raises(FileError, match=r"[cC]hoose another output folder"):
            write_new(path, text(""))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_without_permission_is_reported(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FileError, match="Permission denied"):
            write_new(tmp_path / "x.tif", text(""))
    finally:
        tmp_path.chmod(0o700)


def test_a_writer_that_writes_nothing_is_reported(tmp_path):
    with pytest.raises(FileError, match="left no file"):
        write_new(tmp_path / "x.tif", lambda path: None)


def test_a_full_disk_noticed_late_is_reported(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(FileError, match="No space left"):
        write_new(tmp_path / "x.tif", text("x"))
    assert os.listdir(tmp_path) == []


def no_links(source, target, **options):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_file_systems_without_hard_links_work_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    assert [write_new(tmp_path / "x.tif", text(str(i))).name for i in range(2)] == ["x.tif", "x_1.tif"]
    assert (tmp_path / "x.tif").read_text() == "0"
    assert sorted(os.listdir(tmp_path)) == ["x.tif", "x_1.tif"]


def test_a_failed_rename_gives_the_claimed_name_back(tmp_path, monkeypatch):
    def replace(source, target):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(FileError, match="Input/output error"):
        write_new(tmp_path / "x.tif", text(""))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_writers_that_race_for_one_name_all_keep_their_file(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda i: write_new(tmp_path / "x.tif", text(str(i))), range(40)))
    assert len(set(written)) == 40
    assert [path.read_text() for path in written] == [str(i) for i in range(40)]
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in written)


def test_the_files_of_a_run_share_a_counter(tmp_path):
    files = ["{}.csv", "nst/{}_1.0_0.1.png", "{}.json", lambda stem: f"result_{stem}.tif"]
    assert free_stem(tmp_path / "new", "a_b", files) == "a_b"
    for name in ("a_b.csv", "a_b_1.json", "result_a_b_2.tif", "nst/a_b_3_1.0_0.1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert free_stem(tmp_path, "a_b", files) == "a_b_4"
    assert free_stem(tmp_path, "a_b", ["{}.png"]) == "a_b"


def test_braces_in_a_stem_are_only_text(tmp_path):
    (tmp_path / "{0}.csv").touch()
    assert free_stem(tmp_path, "{0}", ["{}.csv"]) == "{0}_1"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_broken_link_occupies_its_name(tmp_path):
    (tmp_path / "x.csv").symlink_to(tmp_path / "nowhere")
    assert free_stem(tmp_path, "x", ["{}.csv"]) == "x_1"
    assert write_new(tmp_path / "x.csv", text("")) == Path(tmp_path / "x_1.csv")


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    import uuid

    left = [tmp_path / f".{uuid.uuid4().hex[:12]}.part{end}" for end in (".tif", ".ome.tif", "", ".png")]
    mine = [tmp_path / name for name in (".mine.part.tif", "a.part", ".hidden", "x.tif")]
    for path in (*left, *mine):
        path.write_bytes(b"x")
    clear_leftovers(tmp_path)
    clear_leftovers(tmp_path / "not there")
    assert sorted(tmp_path.iterdir()) == sorted(mine)
