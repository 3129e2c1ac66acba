"""The output folder of a session: where everything lies, what is finished, and what may be written over.

A patch is finished when its record says so and every file that the record lists is there with the recorded hash; the
record is written last. So a run that was stopped by anything goes on where it was, half-written files are not taken
for finished ones, and a damaged file is made again.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, PlainSerializer

from napari_nst.errors import FileError
from napari_nst.io.atomic import clear_leftovers, write_new, write_over
from napari_nst.io.filenames import safe_stem
from napari_nst.io.records import Number, Record, confine, read_record, write_record

STATE, TABLE, PAIRS, RAW = "session.json", "session.csv", "pairs.csv", "raw_run"
_LOCK = ".session.lock"
_ASIDE = "replaced"


class SessionState(StrEnum):
    """How far a session is, in session.json."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


class PatchStatus(StrEnum):
    """What became of a patch."""

    ENHANCED = "enhanced"
    CORRECTED = "corrected"  # its range alone
    KEPT = "kept"
    FAILED = "failed"
    OPEN = "open"

    @property
    def changed(self) -> bool:
        """Whether the patch differs from its original."""
        return self in (PatchStatus.ENHANCED, PatchStatus.CORRECTED)


class PatchRow(BaseModel):
    """What a patch adds to its row of the plan: the columns of session.csv, of which docs/sessions.md has the meanings.

    Unknown numbers are NaN and unknown counts None, as are the columns that a session of an earlier version lacks.
    """

    status: Annotated[PatchStatus, PlainSerializer(str)]
    method: str = ""
    style_loss: Number = math.nan
    content_loss: Number = math.nan
    total_loss: Number = math.nan
    steps: int | None = None
    stopped: str = ""
    ring_after: Number = math.nan
    spacing_after: Number = math.nan
    cones_after: Number = math.nan
    aiq_after: Number = math.nan
    density_before: Number = math.nan
    density_after: Number = math.nan
    regularity_before: Number = math.nan
    regularity_after: Number = math.nan
    six_sided_before: Number = math.nan
    six_sided_after: Number = math.nan
    structure: Number = math.nan
    ssim: Number = math.nan
    monotonicity: Number = math.nan
    displacement: Number = math.nan
    largest_displacement: Number = math.nan
    spectrum_change: Number = math.nan
    kept: int | None = None
    lost: int | None = None
    new: int | None = None
    new_far: int | None = None
    shaded: int | None = None
    unsupported: int | None = None
    mean_change: Number = math.nan
    largest_change: Number = math.nan
    verdict: str = ""
    verdict_text: str = ""
    seconds: Number = math.nan
    device: str = ""
    error: str = ""


class PatchRecord(Record):
    """What was done to a patch, with the hashes of its files: ``records/{patch}.json``."""

    described: ClassVar[str] = "the record of a patch"
    remedy: ClassVar[str] = "The patch is made again."

    patch: str
    fingerprint: str
    row: PatchRow
    transfer: dict[str, Any] | None = None
    correction: dict[str, Any] | None = None
    warnings: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    worker: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str]


class SessionRecord(Record):
    """Settings, plan, versions and hashes: what is needed to go on; ``session.json``."""

    described: ClassVar[str] = "the record of a session of napari-nst"
    remedy: ClassVar[str] = "Choose another output folder; what lies in this one stays as it is."

    napari_nst_session: str  # the version that wrote it
    state: SessionState = SessionState.INTERRUPTED
    fingerprint: str = ""
    folder: str = ""  # of the images
    method: str = ""
    started: str = ""
    finished: str = ""
    seconds: float = 0.0
    coordinates: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    masks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    plan: dict[str, Any]


class SessionStore:
    """The output folder of one session; `method` names the sub-folder of the results. Other files are left alone."""

    def __init__(self, folder: str | os.PathLike[str], method: str) -> None:
        self.folder = Path(folder)
        self.results = self.folder / safe_stem(method)
        self.raw = self.folder / RAW
        self.plots = self.results / "nst"
        self.records = self.results / "records"
        self.stitched = self.results / "stitched"

    def read_state(self) -> SessionRecord | None:
        """Read session.json; None when there is none. Raises FileError where it is damaged, or of something else."""
        path = self.folder / STATE
        if not os.path.lexists(path):
            return None
        found = read_record(path, SessionRecord)
        self._confine_all(path, found)
        return found

    def write_state(self, record: SessionRecord) -> None:
        """Replace session.json."""
        write_record(self.folder / STATE, record, publish=write_over, indent=1)

    def check_free(self) -> None:
        """Raise FileError where a file or folder of another origin has the name of one of the session."""
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
        """Keep a second run out of the folder while this one works; FileError where one does, or it is not writable."""
        from filelock import FileLock, Timeout

        lock, made = FileLock(self.folder / _LOCK, timeout=0), not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise FileError(
                f"Another run is working in {self.folder}. Wait until it has finished, or choose another output folder."
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

    def record_path(self, patch: str) -> Path:
        """Return where the record of a patch lies."""
        return self.records / f"{safe_stem(patch, limit=200)}.json"

    def read_record(self, patch: str) -> PatchRecord | None:
        """Read the record of a patch, if there is one; FileError where it is damaged or names a file elsewhere."""
        path = self.record_path(patch)
        if not os.path.lexists(path):
            return None
        record = read_record(path, PatchRecord)
        if record.patch != patch:
            raise FileError(f"{path} is the record of {record.patch!r}, not of {patch!r}. {PatchRecord.remedy}")
        self._confine_all(path, record)
        return record

    def finished(self, patch: str, fingerprint: str) -> PatchRecord | None:
        """Read the record of a finished patch; None unless it is of this session and all files are as they were written."""
        with suppress(FileError):
            record = self.read_record(patch)
            if record is not None and record.fingerprint == fingerprint and self.unchanged(record.files):
                return record
        return None

    def _confine_all(self, path: Path, record: PatchRecord | SessionRecord) -> None:
        try:
            for name in record.files:
                confine(self.folder, name)
        except FileError as error:
            raise FileError(f"{path} is not {record.described}: {error} {record.remedy}") from error

    def write_record(self, record: PatchRecord, files: Iterable[Path]) -> PatchRecord:
        """Write the record of a patch with the hashes of its files; return what was written."""
        listed = {path.relative_to(self.folder).as_posix(): file_digest(path) for path in files}
        whole = record.model_copy(update={"files": listed})
        write_record(self.record_path(record.patch), whole, publish=write_over, indent=1)
        return whole

    def unchanged(self, files: Mapping[str, str]) -> bool:
        """Return whether files of the session (relative name to hash) are as they were written."""
        try:
            return all(file_digest(confine(self.folder, name)) == digest for name, digest in files.items())
        except (OSError, FileError):
            return False

    def set_aside(self, files: Mapping[str, str]) -> list[Path]:
        """Move files (relative name to recorded hash) that somebody changed out of the way; return where they are now.

        FileError is raised, and nothing moved, where a name leads out of the folder.
        """
        paths = {name: (confine(self.folder, name), confine(self.folder, f"{_ASIDE}/{name}")) for name in files}
        moved = []
        for name, (path, aside) in paths.items():
            if path.is_file() and not self.unchanged({name: files[name]}):
                moved.append(write_new(aside, partial(shutil.copyfile, path)))
                path.unlink()
        return moved


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _occupied(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)
