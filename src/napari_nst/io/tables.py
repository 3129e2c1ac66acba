"""Tables that people edit: CSV as spreadsheets of several languages save it, and names as people type them."""

from __future__ import annotations

import csv
import difflib
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from napari_nst.errors import FileError
from napari_nst.io.filenames import split_extension

__all__ = ["KnownNames", "Row", "Table", "read_table", "read_text"]

_SEPARATORS = ",;\t"


class Row(NamedTuple):
    """A row of a table: the line of the file in which it ends, from 1, and its cells by the names of the columns."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """What a file of a table says: its columns, in lower case, and the rows that are not empty."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    separator: str

    def error(self, row: Row, what: str) -> FileError:
        """Describe what is wrong in a row."""
        return FileError(f"{self.path}, line {row.line}: {what}")


def read_text(path: Path, what: str) -> str:
    """Read UTF-8 text, without the mark that spreadsheets put before it; FileError for what cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"Cannot read the {what} {path}: {reason}. Check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); save the {what} "
            "as 'CSV UTF-8'."
        ) from error


def read_table(path: str | os.PathLike[str], needed: Iterable[str]) -> Table:
    """Read a table with a header: UTF-8 text, with or without a byte order mark, separated by commas, semicolons or tabs.

    Columns that are `needed`, in lower case, must be there; the header may have others, and capitals.  FileError for a file that
    cannot be read, has no such column, or a row with more cells than the header has columns.

    Read with `csv` and not with pandas, which does not tell the line of a row: messages to people name it.
    """
    path, needed = Path(path), tuple(needed)
    lines = read_text(path, "table").splitlines(keepends=True)
    # Spreadsheets put it before the header to tell each other the separator.
    skipped = 1 if lines and lines[0].strip().strip('"').lower().startswith("sep=") else 0
    lines = lines[skipped:]
    header = next((line for line in lines if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda candidate: _fit(header, candidate, needed))
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    rows = []
    try:
        for record in reader:
            cells = [cell.strip() for cell in record]
            if any(cells):
                rows.append((reader.line_num + skipped, cells))
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num + skipped}: {error}. Save the table as CSV (UTF-8).") from error
    columns = tuple(cell.lower() for cell in rows[0][1]) if rows else ()
    _check_header(path, columns, needed)
    for line, cells in rows[1:]:
        if any(cells[len(columns) :]):
            raise FileError(
                f"{path}, line {line}: {len(cells)} cells under {len(columns)} columns. Put names that contain "
                f"{separator!r} between quotation marks."
            )
    # Spreadsheets leave out empty cells at the end of a row.
    filled = (Row(line, dict.fromkeys(columns, "") | dict(zip(columns, cells))) for line, cells in rows[1:])  # noqa: B905
    return Table(path, columns, tuple(filled), separator)


def _fit(header: str, separator: str, needed: tuple[str, ...]) -> tuple[int, int]:
    """How well a separator explains the header: by the columns that must be there, then by their number."""
    cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    names = {cell.strip().lower() for cell in cells}
    return len(names.intersection(needed)), len(cells)


def _check_header(path: Path, columns: tuple[str, ...], needed: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        seen = f"the first line has {', '.join(columns)}" if columns else "the file is empty"
        raise FileError(
            f"{path} has no column {' and no column '.join(missing)}: {seen}. The table begins with a line of the names of "
            f"its columns, {', '.join(needed)} among them."
        )
    doubled = sorted({name for name in columns if name and columns.count(name) > 1})
    if doubled:
        raise FileError(f"{path} has two columns {doubled[0]}; keep one of them.")


class KnownNames:
    """Finds names of files as people write them: without the extension, or with spaces around.

    `names` are the true names, and `what` they are, for messages: "patch".
    """

    def __init__(self, names: Iterable[str], what: str = "patch") -> None:
        self.names = tuple(names)
        self._what = what
        self._exact = {_normal(name): name for name in self.names}
        self._stems: dict[str, list[str]] = {}
        for name in self.names:
            self._stems.setdefault(_normal(split_extension(name)[0]), []).append(name)

    def find(self, text: str) -> str | None:
        """Return the true name that `text` stands for, or None."""
        wanted = _normal(text.strip())
        if wanted in self._exact:
            return self._exact[wanted]
        found = self._stems.get(wanted, [])
        return found[0] if len(found) == 1 else None

    def unknown(self, text: str) -> str:
        """Say that `text` is not known, and what it may have been meant for."""
        namesakes = self._stems.get(_normal(text.strip()), [])
        if len(namesakes) > 1:
            return f"{text!r} can be {' or '.join(namesakes)}; write the extension."
        near = difflib.get_close_matches(text, self.names, n=1, cutoff=0.5)
        remedy = f"it has no {self._what} at all."
        if near:
            remedy = f"the most similar name is {near[0]!r}."
        elif self.names:
            remedy = f"one of its {len(self.names)} names is {self.names[0]!r}."
        return f"the session has no {self._what} {text!r}; {remedy}"


def _normal(name: str) -> str:
    """One form for letters that macOS writes as two characters."""
    return unicodedata.normalize("NFC", name)
