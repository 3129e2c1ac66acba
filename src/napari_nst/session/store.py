"""The output folder of a session: where everything lies, what is finished, and what may be written over.

A patch is finished when its record says so and every file that the record lists is there with the recorded hash; the
record is written last. So a run that was stopped by anything goes on where it was, half-written files are not taken
for finished ones, and a damaged file is made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from napari_nst.errors import FileError
from napari_nst.io.atomic import clear_leftovers, write_new, write_over
from napari_nst.io.filenames import safe_stem

__all__ = ["SessionStore", "file_digest"]

#: Under this key session.json says which version of napari-nst wrote it.
KEY = "napari_nst_session"
STATE, TABLE, PAIRS, RAW = "session.json", "session.csv", "pairs.csv", "raw_run"
_LOCK = ".session.lock"
_ASIDE = "replaced"


class SessionStore:
    """The output folder of one session.

    Parameters
    ----------
    folder : path-like
        New, empty, or of this session; other files in it are left alone.
    method : str
        Name of the sub-folder of the results.
    """

    def __init__(self, folder: str | os.PathLike[str], method: str) -> None:
        self.folder = Path(folder)
        self.results = self.folder / safe_stem(method)
        self.raw = self.folder / RAW
        self.plots = self.results / "nst"
        self.records = self.results / "records"
        self.stitched = self.results / "stitched"

    # --- the state of the session -----------------------------------------------------------------------------------

    def read_state(self) -> dict[str, Any] | None:
        """What session.json says; None when there is none.

        Raises
        ------
        FileError
            It cannot be read, or is no record of a session.
        """
        path = self.folder / STATE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise FileError(
                f"{path} cannot be read ({error}). Choose another output folder; what lies in this one stays as it is."
            ) from error
        if not isinstance(state, dict) or KEY not in state:
            raise FileError(f"{path} is no record of a session of napari-nst; choose another output folder.")
        return state

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace session.json."""
        write_over(self.folder / STATE, lambda temporary: _write_json(temporary, state))

    def check_free(self) -> None:
        """Make sure that a new session would not mix with files that are there already.

        Raises
        ------
        FileError
            Something of another origin has the name of a file or folder of the session.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise FileError(f"{self.folder} is a file; give a folder for the results.")
        taken = [path for path in (self.raw, self.results, self.folder / TABLE, self.folder / PAIRS) if _occupied(path)]
        if taken:
            names = ", ".join(path.name for path in taken)
            raise FileError(
                f"{self.folder} holds {names} already, of no session that can be continued (there is no {STATE}). Choose "
                "another output folder."
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run out of the folder; the lock ends with the process, however that ends.

        Raises
        ------
        FileError
            Another run is at work here, or the folder cannot be written to.
        """
        from filelock import FileLock, Timeout

        lock, made = FileLock(self.folder / _LOCK, timeout=0), not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise FileError(
                f"Another run is at work in {self.folder}. Wait until it has finished, or choose another output folder."
            ) from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise FileError(
                f"Cannot write to the folder {self.folder}: {reason}. Choose another output folder."
            ) from error
        try:
            yield
        finally:
            if made and not (self.folder / STATE).exists():
                # Nothing came of it: no empty folder stays behind.
                (self.folder / _LOCK).unlink(missing_ok=True)
                with suppress(OSError):
                    self.folder.rmdir()
            lock.release()

    def clear_leftovers(self) -> None:
        """Remove what a run that was killed left half written."""
        for folder in (self.folder, self.raw, self.results, self.plots, self.records, self.stitched):
            clear_leftovers(folder)

    # --- patches ----------------------------------------------------------------------------------------------------

    def record_path(self, patch: str) -> Path:
        """Where the record of a patch lies."""
        return self.records / f"{safe_stem(patch, 200)}.json"

    def read_record(self, patch: str) -> dict[str, Any] | None:
        """The record of a finished patch; None unless all its files are there as they were written."""
        try:
            record = json.loads(self.record_path(patch).read_text(encoding="utf-8"))
            files = dict(record["files"])
            if record["patch"] != patch:
                return None
            record["row"] = {key: math.nan if value is None else value for key, value in record["row"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if all(self.unchanged(name, digest) for name, digest in files.items()) else None

    def write_record(self, patch: str, record: Mapping[str, Any], files: list[Path]) -> dict[str, Any]:
        """Write the record of a patch, with the hashes of its files; gives what was written."""
        listed = {path.relative_to(self.folder).as_posix(): file_digest(path) for path in files}
        whole = {"patch": patch, **record, "files": listed}
        write_over(self.record_path(patch), lambda temporary: _write_json(temporary, whole))
        return whole

    def unchanged(self, name: str, digest: str) -> bool:
        """Whether a file of the session is as it was written."""
        try:
            return file_digest(self.folder / name) == digest
        except OSError:
            return False

    def set_aside(self, files: Mapping[str, str]) -> list[Path]:
        """Move files that differ from what was written out of the way: somebody may have changed them on purpose.

        Parameters
        ----------
        files : mapping
            Relative name to recorded hash.

        Returns
        -------
        list of Path
            Where the files are now.
        """
        moved = []
        for name, digest in files.items():
            path = self.folder / name
            if path.is_file() and not self.unchanged(name, digest):
                moved.append(write_new(self.folder / _ASIDE / name, partial(_copy, path)))
                path.unlink()
        return moved

    def recorded_files(self, patch: str) -> dict[str, str]:
        """The files that the record of a patch lists, whether they are still there or not."""
        try:
            files = json.loads(self.record_path(patch).read_text(encoding="utf-8"))["files"]
            return {str(name): str(digest) for name, digest in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _occupied(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def _copy(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """What JSON can hold: unknown numbers are null, NumPy's numbers are numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    value = getattr(value, "item", lambda: value)()
    return None if isinstance(value, float) and not math.isfinite(value) else value
