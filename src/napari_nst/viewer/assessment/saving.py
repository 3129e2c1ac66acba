"""The files of an assessment."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nst.io.atomic import free_stem, write_new

if TYPE_CHECKING:
    from napari_nst.metrics.assessment import Assessment

__all__ = ["save_assessment"]

_SUFFIXES = (".json", ".png", ".csv")
_FLAGS = ("unsupported", "shaded", "far")


def save_assessment(assessment: Assessment, path: str | Path, about: dict[str, Any]) -> list[Path]:
    """Write an assessment: its numbers as JSON, its figure as PNG, and its cones as CSV.

    Parameters
    ----------
    assessment : Assessment
    path : path-like
        Where; its extension, if it is one of these three, does not count. Nothing that exists is overwritten: all three
        get the same counter.
    about : dict
        What the pictures are, for the JSON's entry "layers"; JSON-able.

    Returns
    -------
    list of Path
        JSON, PNG and CSV. The CSV has a header and the columns row, column (pixels of the assessed picture, 0-based),
        cone (kept, lost or new), unsupported, shaded and far (1 or 0).

    Raises
    ------
    FileError
        The folder cannot be written to.
    """
    path = Path(path)
    stem = path.name.removesuffix(path.suffix) if path.suffix.lower() in _SUFFIXES else path.name
    free = free_stem(path.parent, stem, _SUFFIXES)
    numbers = {**assessment.to_dict(), "layers": about}

    def write_json(temporary: Path) -> None:
        temporary.write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def write_csv(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("row", "column", "cone", *_FLAGS), *_cones(assessment)])

    from napari_nst.transfer.files import save_figure

    return [
        write_new(path.with_name(f"{free}.json"), write_json),
        save_figure(path.with_name(f"{free}.png"), assessment.figure()),
        write_new(path.with_name(f"{free}.csv"), write_csv),
    ]


def _cones(assessment: Assessment) -> list[tuple[str | int, ...]]:
    cones = assessment.cones
    flagged = [{int(i) for i in np.asarray(getattr(cones, name))} for name in _FLAGS]
    return [
        (f"{row:.3f}", f"{column:.3f}", role, *(int(role == "new" and number in indices) for indices in flagged))
        for role in ("kept", "lost", "new")
        for number, (row, column) in enumerate(np.asarray(getattr(cones, role)).reshape(-1, 2))
    ]
