"""The files of a run from the widget."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nst.errors import FileError, StyleTransferError
from napari_nst.io.images import FileInfo, read_image

if TYPE_CHECKING:
    from napari_nst.transfer.api import StyleTransfer
    from napari_nst.viewer.transfer.worker import Job

__all__ = ["save"]

logger = logging.getLogger(__name__)


def save(job: Job, result: StyleTransfer) -> tuple[dict[str, str], str]:
    """Write the files of a run, off the GUI thread.

    Returns
    -------
    files : dict of str
        "image", "losses", "plot" and "record" to their paths; empty where nothing was asked for, or nothing could be written.
    problem : str
        Why nothing was written: a full disk must not cost the result.
    """
    if job.folder is None:
        return {}, ""
    from napari_nst.transfer.files import save_transfer

    try:
        saved = save_transfer(
            result, job.folder, job.target_name, job.style_name, like=_file_info(job), inputs=job.inputs
        )
    except (FileError, OSError) as error:
        return {}, f"The files of this run were not written to {job.folder}: {error}"
    return {name: str(path) for name, path in vars(saved).items()}, ""


def _file_info(job: Job) -> FileInfo | None:
    """What the TIFF should say about pixels: the resolution of the target's file, the pixel size of its layer."""
    info = None
    if job.target_path and Path(job.target_path).is_file():
        try:
            info = read_image(job.target_path)[1]
        except StyleTransferError:
            logger.debug("No resolution was found in %s.", job.target_path, exc_info=True)
    if job.pixel_size_um is None:
        return info
    plain = FileInfo(Path(job.target_name), "") if info is None else info
    return dataclasses.replace(plain, pixel_size=job.pixel_size_um, pixel_unit="um")
