"""Files that appear whole, under a name that was free, or not at all.

A result of an hour must not end as half a file because the disk was full, nor replace the result of
yesterday. Each file is written under a temporary name in its own folder and gets its name only then.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from napari_nst.errors import FileError
from napari_nst.io.filenames import split_extension

__all__ = ["Publish", "clear_leftovers", "free_stem", "write_new", "write_over"]

#: `write_new` or `write_over`: how a file gets its name.
Publish = Callable[[Path, Callable[[Path], object]], Path]

_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.part(\.\w+){0,2}")
_REMEDIES = {
    errno.ENOSPC: "Free some space or choose another output folder.",
    errno.EROFS: "The disk is read-only: choose another output folder.",
    errno.ENAMETOOLONG: "Choose an output folder with a shorter path.",
}


def write_new(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Write a file completely, under a name that nothing else has.

    Parameters
    ----------
    path : path-like
        The wanted name. Missing folders are made.
    write : callable
        Gets a temporary path in the same folder and with the same extension, and writes the file there.

    Returns
    -------
    pathlib.Path
        `path`, or with a counter before the extension (``result_1.tif``) when that existed. An existing file is never
        replaced, not even one that another process made in the meantime.

    Raises
    ------
    FileError
        The folder cannot be made or written to, the disk is full, or `write` left no file. Nothing stays
        behind, whatever `write` raises, KeyboardInterrupt included.
    """
    return _write(Path(path), write, _publish)


def write_over(path: str | os.PathLike[str], write: Callable[[Path], object]) -> Path:
    """Write a file completely, as `write_new`, in the place of an older one: for files that only the program writes.

    Whoever reads it finds the old file or the new one, whole, at any moment.
    """
    return _write(Path(path), write, Path.replace)


def _write(path: Path, write: Callable[[Path], object], publish: Callable[[Path, Path], Path]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, error) from error
    # Hidden, short, and with the whole extension: writers choose the format by it.
    temporary = path.parent / f".{uuid.uuid4().hex[:12]}.part{split_extension(path.name)[1]}"
    try:
        write(temporary)
        if not temporary.is_file():
            raise FileError(f"Writing {path} left no file there; the program that should write it reported no error.")
        _flush(temporary)
        return publish(temporary, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        # A full or vanished disk can refuse this too; the first error is the one to report.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files that writers left in a folder when their process was killed."""
    for leftover in folder.glob(".*.part*"):
        if _TEMPORARY.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def free_stem(folder: str | os.PathLike[str], stem: str, files: Sequence[str | Callable[[str], str]]) -> str:
    """Return the first of `stem`, ``stem_1``, ``stem_2``... under which all files of a run are free.

    `files` are relative to `folder`: templates with ``{}`` for the stem (``nst/{}_1.0_0.1.png``), or functions from the
    stem to the name.  Nothing is reserved: `write_new` still protects the files when two processes choose the same stem.
    """

    def taken(candidate: str) -> bool:
        # Not str.format: a stem or template may hold other braces.
        names = (file.replace("{}", candidate) if isinstance(file, str) else file(candidate) for file in files)
        return any(os.path.lexists(Path(folder, name)) for name in names)  # a broken link occupies its name too

    return next(candidate for candidate in _counted(stem) if not taken(candidate))


def _counted(stem: str) -> Iterator[str]:
    yield stem
    for count in itertools.count(1):
        yield f"{stem}_{count}"


def _flush(temporary: Path) -> None:
    """Bring the bytes to the disk before the name: after a power cut a named file must not be empty."""
    with temporary.open("r+b") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            # Some network and virtual file systems cannot; a full disk that is noticed late is an error.
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                raise


def _publish(temporary: Path, path: Path) -> Path:
    """Give the temporary file the first free name; the file system decides races, not a look beforehand."""
    stem, suffix = split_extension(path.name)
    for candidate in _counted(stem):
        target = path.with_name(candidate + suffix)
        try:
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise
            except (OSError, NotImplementedError):  # no hard links: exFAT, some network disks
                _claim_and_rename(temporary, target)
        except FileExistsError:
            continue
        return target
    raise AssertionError("unreachable: the counter has no end")


def _claim_and_rename(temporary: Path, target: Path) -> None:
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        os.replace(temporary, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _refusal(path: Path, error: OSError) -> FileError:
    reason = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "Choose another output folder.")
    return FileError(f"Cannot write {path.name} to the folder {path.parent}: {reason}. {remedy}")
