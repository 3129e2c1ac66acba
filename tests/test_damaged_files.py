"""JSON files that came to harm: one clear error or a patch done again, never a traceback, whatever is wrong with them."""

import shutil
import warnings

import numpy as np
import pytest

from damage import every_damage
from napari_nst.cli.main import main
from sessions import QUICK

#: A fair share of the damages for the quick suite; the slow one takes all.
SHARE = 23


def run(capsys, *arguments):
    """Exit status and the text of standard error; an exception that leaves is a failure of the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = main([str(a) for a in arguments])
    return status, capsys.readouterr().err


@pytest.fixture(scope="session")
def transfer_record(tmp_path_factory, pair):
    """The record of a short transfer of two files, and its folder."""
    from napari_nst.io.images import write_image

    folder = tmp_path_factory.mktemp("transfer")
    for name in ("target", "style"):
        write_image(folder / f"{name}.tif", np.asarray(getattr(pair, name))[:32, :32])
    quick = ["--preset", "texture", "--content-layers", "relu1_2", "--style-layers", "relu1_1", "--epoch", "1"]
    assert main(["transfer", str(folder / "target.tif"), str(folder / "style.tif"), "-o", str(folder), *quick]) == 0
    return folder / "target_style.json"


def wrong_with_transfer(capsys, tmp_path, damages):
    """What is wrong with the answer to each damage, of those that are not answered as they must be."""
    wrong = []
    for what, data in damages:
        path = tmp_path / "damaged.json"
        path.write_bytes(data)
        try:
            status, text = run(capsys, "transfer", "--from", path, "-o", tmp_path / "out", "--epoch", "1")
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not have left
            capsys.readouterr()
            wrong.append((what, repr(error)))
            continue
        # The last line: progress stands before it.
        message = text.strip().splitlines()[-1] if text.strip() else ""
        if status not in (0, 1, 2) or (status and not message.startswith("napari-nst")) or len(message) > 700:
            wrong.append((what, f"{status}: {message}"))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    return wrong


def test_a_damaged_record_of_a_transfer_is_one_clear_error(capsys, tmp_path, transfer_record):
    damages = list(every_damage(transfer_record.read_text()))
    assert not wrong_with_transfer(capsys, tmp_path, damages[::SHARE])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_damaged_record_of_a_transfer_is_one_clear_error(capsys, tmp_path, transfer_record):
    assert not wrong_with_transfer(capsys, tmp_path, every_damage(transfer_record.read_text()))


def session_again(capsys, images, out):
    options = ["--size", QUICK["size"], "--method", QUICK["method"], "--no-figures", "--workers", 1]
    return run(capsys, "enhance", images, "-o", out, *options)


@pytest.fixture(scope="session")
def session(finished_folder, _made_folder):
    return _made_folder, finished_folder()


def wrong_with_session(capsys, tmp_path, session, name, damages):
    """The same for a session that goes on after a file of it was damaged."""
    images, finished = session
    wrong = []
    for what, data in damages:
        out = shutil.copytree(finished, tmp_path / "out")
        (out / name if isinstance(name, str) else name(out)).write_bytes(data)
        try:
            status, text = session_again(capsys, images, out)
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not have left
            capsys.readouterr()
            wrong.append((what, repr(error)))
        else:
            if status not in (0, 1, 2) or "Traceback" in text:
                wrong.append((what, f"{status}: {text[-300:]}"))
        shutil.rmtree(out)
    return wrong


def first_record(out):
    return sorted(out.glob("*/records/*.json"))[0]


def damages_of(session, name):
    path = session[1] / name if isinstance(name, str) else name(session[1])
    return list(every_damage(path.read_text()))


@pytest.mark.parametrize("name", ["session.json", first_record], ids=["session", "patch"])
def test_a_damaged_file_of_a_session(capsys, tmp_path, session, name):
    damages = damages_of(session, name)
    # Each goes through a whole session: fewer of them.
    assert not wrong_with_session(capsys, tmp_path, session, name, damages[:: max(1, len(damages) // 10)])


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ["session.json", first_record], ids=["session", "patch"])
def test_files_of_a_session_with_more_damages(capsys, tmp_path, session, name):
    damages = damages_of(session, name)
    assert not wrong_with_session(capsys, tmp_path, session, name, damages[:: max(1, len(damages) // 150)])
