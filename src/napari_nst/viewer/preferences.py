"""What the user prefers: napari's page Preferences > Neural Style Transfer, declared in napari.yaml."""

from __future__ import annotations

import logging
from typing import Any

from napari_nst.errors import ParameterError
from napari_nst.settings.parameters import StyleTransferParameters

logger = logging.getLogger(__name__)

KEYS = ("preset", "device", "weights", "output_folder")


def defaults() -> dict[str, str]:
    """The user's defaults for a new widget: parameters by their names, and the output folder, "" for beside the target.

    A value that cannot be used is replaced by the manifest's default, and a warning is logged; without preferences
    (another napari, a disabled plugin) the dict is empty.
    """
    try:
        from napari.settings import get_plugin_settings

        category = get_plugin_settings("napari-nst").transfer  # as the manifest calls it
    except (ImportError, KeyError, AttributeError, OSError, ValueError) as error:
        logger.warning("The preferences of napari-nst cannot be read, so none are used: %s", error)
        return {}
    return {key: _usable(key, getattr(category, key, None)) for key in KEYS}


def _usable(key: str, value: Any) -> str:
    text = value.strip() if isinstance(value, str) else value
    if not isinstance(text, str):
        problem = f"{value!r} is not a text."
    elif key == "output_folder":
        return text
    else:
        given: dict[str, Any] = {key: text}
        try:
            StyleTransferParameters(**given)
            return text
        except ParameterError as error:
            problem = str(error)
    # Equal to the manifest's default; a test holds them so.
    parameters = {spec.name: str(spec.default) for spec in StyleTransferParameters.recommended_specs()}
    default = parameters.get(key, "")  # of the folder: beside the target's file
    logger.warning("Preferences, %s: %s Taking %r.", key, problem, default)
    return default
