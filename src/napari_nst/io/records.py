"""Every JSON file that is read or written: checked models with a version, and one way to write them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import reprlib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from napari_nst.errors import FileError, ParameterError, StyleTransferError
from napari_nst.io.atomic import Publish, write_new

__all__ = [
    "FileName",
    "Number",
    "Record",
    "RecordPart",
    "check_record",
    "confine",
    "plain",
    "read_record",
    "to_json",
    "write_record",
]

RecordT = TypeVar("RecordT", bound="Record")

#: A number that may be unknown: NaN in Python, null in JSON.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


def _file_name(name: str) -> str:
    if name != PurePath(name).name or name in ("", ".", "..") or "\0" in name:
        raise ValueError("must be a file name without folders")
    return name


#: The name of a file in a folder that is known otherwise: it can lead to no other folder.
FileName = Annotated[str, AfterValidator(_file_name)]


class RecordPart(BaseModel):
    """Base of what a record consists of; cannot be changed."""

    model_config = ConfigDict(frozen=True)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return self.model_copy(update=changes)


class Record(BaseModel):
    """Base of the models of JSON files.

    A subclass declares the entries that it relies on; others are kept as they are (``model_extra``).  When the meaning
    of an entry changes, the subclass raises the default of `schema_version`: files of a newer version are refused.

    Attributes
    ----------
    schema_version : int
        Version of the file's structure; files that do not say one have the first.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True, arbitrary_types_allowed=True)

    #: What the file should be and what to do about a wrong one, for messages.
    described: ClassVar[str] = "a record of napari-nst"
    remedy: ClassVar[str] = "Give the .json file beside a result."

    schema_version: int = 1


def read_record(path: str | os.PathLike[str], model: type[RecordT]) -> RecordT:
    """Read a JSON file in UTF-8 into a model.

    Raises
    ------
    FileError
        The file is missing or unreadable, not JSON, not an object, of a newer version, or an entry of it is missing or
        wrong; the message names the file, the entry, the value and the remedy.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}. {model.remedy}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not {model.described}: it is not valid JSON ({error}). {model.remedy}") from error
    return check_record(data, model, str(path), FileError)


def check_record(
    data: Any, model: type[RecordT], source: str, error: type[StyleTransferError] = ParameterError
) -> RecordT:
    """Check values, such as a layer's metadata, against a model, as `read_record` does; messages begin with their source."""
    if not isinstance(data, Mapping):
        raise error(f"{source} is not {model.described}: it holds {reprlib.repr(data)}. {model.remedy}")
    version, newest = data.get("schema_version", 1), model.model_fields["schema_version"].default
    if isinstance(version, int) and version > newest:
        raise error(
            f"{source} was written by a newer napari-nst: its schema_version is {version}, and this one reads up to "
            f"{newest}. Update napari-nst."
        )
    try:
        return model.model_validate({**data, "schema_version": version})
    except ValidationError as failed:
        problems = failed.errors(include_url=False)
        more = f" ({len(problems) - 1} more entries are wrong.)" if len(problems) > 1 else ""
        raise error(f"{source} is not {model.described}: {_explained(problems[0])}.{more} {model.remedy}") from failed


def _explained(problem: Mapping[str, Any]) -> str:
    """Say which entry is wrong, how, and what it holds."""
    entry = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
    if problem["type"] == "missing":
        return f"the entry {entry!r} is missing"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not entry:
        return f"it {message}"
    return f"the entry {entry!r} {message}, got {reprlib.repr(problem['input'])}"


def plain(value: Any) -> Any:
    """Return what JSON can hold: NumPy's scalars and arrays, tuples, paths, enums, dataclasses and models converted.

    Numbers that are not finite become None.  Values of other types are returned as they are.
    """
    if isinstance(value, BaseModel):
        return plain(value.model_dump(by_alias=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, indent: int = 2) -> str:
    """Return a value as JSON, converted by `plain`; objects of unknown types as their text."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def write_record(path: str | os.PathLike[str], value: Any, *, publish: Publish = write_new, indent: int = 2) -> Path:
    """Write a model or mapping as a JSON file, whole or not at all, as `publish` does; return the name that it got."""
    text = to_json(value, indent) + "\n"
    return publish(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def confine(folder: str | os.PathLike[str], name: str | os.PathLike[str]) -> Path:
    """Return ``folder / name``, the path of a file that a record names, which need not exist.

    FileError where it leads out of the folder, by ``..``, as an absolute path or through a link, or is no path.
    """
    try:
        path = Path(folder) / name
        top = Path(folder).resolve()
        found = path.resolve()
    except (TypeError, ValueError, OSError, RuntimeError) as error:  # RuntimeError: links that end in themselves
        raise FileError(f"{reprlib.repr(name)} is not the path of a file in {folder}: {error}.") from error
    if found == top or top not in found.parents:
        raise FileError(
            f"The path {str(name)!r} leads out of the folder {folder}. Paths in a record must lie in its own folder."
        )
    return path
