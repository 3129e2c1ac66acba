"""Counts of cones from marker files, one for each patch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import FileError
from napari_nst.io.coordinates import read_coordinates
from napari_nst.io.filenames import split_extension

if TYPE_CHECKING:
    from napari_nst.session.patches import Patch

__all__ = ["MarkerCounts", "count_markers"]

_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class MarkerCounts:
    """Cones in marker files.

    Attributes
    ----------
    counts : array of float64, (n,)
        One for each patch; NaN where no file belongs to it.
    summary : str
        For the user.
    """

    counts: NDArray[np.float64]
    summary: str


def count_markers(
    folder: str | os.PathLike[str],
    patches: Sequence[Patch],
    *,
    base: int = 0,
    order: str = "xy",
    image_shapes: Mapping[str, tuple[int, int]] | None = None,
) -> MarkerCounts:
    """Count the cones that marker files hold for each patch.

    Parameters
    ----------
    folder : path-like
        Its ``.csv`` files hold x,y without a header. A file belongs to a patch, or to a whole image, whose file name
        or stem it has: ``{name}.csv``, ``{stem}.csv`` or ``{stem}_coords.csv``, the first that exists. A patch's own
        file comes before that of its image, of which the points in the patch's window count.
    patches : sequence of Patch
    base, order
        As in `napari_nst.io.coordinates.read_coordinates`.
    image_shapes : mapping of str to (H, W), optional
        By image name, to find markers that lie outside of their image.

    Returns
    -------
    MarkerCounts

    Raises
    ------
    FileError
        The folder cannot be read, has no marker file of any patch or image, or a file has markers outside of its
        picture.

    Notes
    -----
    Cones that a detector found in the padding of a patch are reflections, and not counted.
    """
    folder = Path(folder)
    files = _marker_files(folder)
    counts = np.full(len(patches), np.nan)
    read: dict[str, NDArray[np.float64]] = {}
    for i, patch in enumerate(patches):
        own = _marker_file(files, patch.name)
        if own is not None:
            points = read_coordinates(own, base=base, order=order, shape=patch.shape)
            window = patch.inner
        else:
            whole = _marker_file(files, patch.image)
            if whole is None:
                continue
            if patch.image not in read:
                shape = (image_shapes or {}).get(patch.image)
                read[patch.image] = read_coordinates(whole, base=base, order=order, shape=shape)
            points, window = read[patch.image], patch.window
        counts[i] = _inside(points, window)
    missing = [patch.name for patch, count in zip(patches, counts, strict=True) if math.isnan(count)]
    if patches and len(missing) == len(patches):
        raise FileError(
            f"None of the {len(files)} marker files in {folder} belongs to a patch of the session. A marker file is called "
            f"{min(path.name for path in files.values())!r}, for example; a patch {patches[0].name!r}, of image "
            f"{patches[0].image!r}. Name marker files after the patch or the image, with .csv."
        )
    summary = f"{len(patches) - len(missing)} of {len(patches)} patches have markers, "
    summary += f"{int(np.nansum(counts))} cones in all"
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        summary += f"; of unknown quality without a marker file: {shown}"
    return MarkerCounts(counts, summary)


def _marker_files(folder: Path) -> dict[str, Path]:
    try:
        found = {path.name: path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.is_file()}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(
            f"Cannot read the folder of markers {folder}: {reason}. Check the path and its permissions."
        ) from error
    if not found:
        raise FileError(
            f"The folder of markers {folder} has no .csv file. Choose the folder that holds a file x,y for each patch or "
            "image, such as algorithmMarkers."
        )
    return found


def _marker_file(files: Mapping[str, Path], name: str) -> Path | None:
    stem = split_extension(name)[0]
    candidates = (f"{name}.csv", f"{stem}.csv", f"{stem}_coords.csv")
    return next((files[candidate] for candidate in candidates if candidate in files), None)


def _inside(points: NDArray[np.float64], window: tuple[slice, slice]) -> int:
    rows, columns = window
    lower = np.array([rows.start, columns.start]) - 0.5  # a pixel reaches half a pixel around its centre
    upper = np.array([rows.stop, columns.stop]) - 0.5
    inside = (points >= lower) & (points <= upper)
    return int(np.count_nonzero(inside.all(axis=1)))
