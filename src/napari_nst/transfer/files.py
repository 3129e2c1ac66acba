"""The files beside a run: losses, learning curves, the result and its record."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_nst.io import records
from napari_nst.io.atomic import Publish, free_stem, write_new
from napari_nst.io.filenames import safe_stem
from napari_nst.io.images import FileInfo, write_image
from napari_nst.transfer.curves import learning_curves
from napari_nst.transfer.record import TransferRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_nst.transfer.api import StyleTransfer

__all__ = ["SavedFiles", "output_names", "read_record", "save_figure", "save_losses", "save_transfer"]


@dataclass(frozen=True)
class SavedFiles:
    """Where the files of a run went."""

    image: Path  #: the result, TIFF in the target's dtype
    losses: Path  #: CSV: three rows (style, content, total), no header
    plot: Path  #: learning curves, PNG
    record: Path  #: JSON: everything that repeats the run


def output_names(original: str, style: str, alpha: float, beta: float) -> tuple[str, str]:
    """The stems of a run's files and of its plot, from the names of target and style without extension.

    As documented: ``{original}_{style}`` and ``nst/{original}_{style}_{alpha}_{beta}``; where the style has no name,
    ``{original}_`` and ``nst/{original}_{alpha}_{beta}``.
    """
    weights = (str(float(alpha)), str(float(beta)))
    if not style:
        return safe_stem(original, ""), safe_stem(original, *weights)
    return safe_stem(original, style), safe_stem(original, style, *weights)


def save_losses(path: Path, rows: Iterable[Iterable[float]], *, publish: Publish = write_new) -> Path:
    """Write losses as documented (``NSTPipelineManager.save_losses``): one row each, no header; gives the path."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([float(value) for value in row] for row in rows)

    return publish(path, write)


def save_figure(path: Path, figure: Figure, *, publish: Publish = write_new) -> Path:
    """Write a figure as PNG, by matplotlib's own canvas for files; gives the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    return publish(path, lambda temporary: figure.savefig(temporary, dpi=150))


def save_transfer(
    result: StyleTransfer,
    folder: str | Path,
    target_name: str,
    style_name: str = "",
    *,
    like: FileInfo | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> SavedFiles:
    """Write the files of a run; nothing that exists is overwritten, a counter is added for all of them together.

    Parameters
    ----------
    result : StyleTransfer
        What to save.
    folder : path
        Made if it does not exist; the plot goes to its sub-folder ``nst``.
    target_name, style_name : str
        Names of target and style without extension; unsafe characters are replaced.
    like : FileInfo, optional
        The file that the target was read from: its resolution is written into the TIFF.
    inputs : mapping, optional
        More about the inputs for the record: paths, file hashes, layer names.

    Raises
    ------
    FileError
        When the folder cannot be written to.
    """
    folder = Path(folder)
    p = result.metadata["parameters"]
    stem, plot_stem = output_names(target_name, style_name, p["alpha"], p["beta"])

    def plot_name(candidate: str) -> str:
        return f"nst/{plot_stem}{candidate.removeprefix(stem)}.png"

    free = free_stem(folder, stem, ["{}.csv", "{}.tif", "{}.json", plot_name])
    losses = result.losses
    csv_path = save_losses(folder / f"{free}.csv", (losses.style, losses.original, losses.total))
    plot_path = save_figure(folder / plot_name(free), learning_curves(losses._asdict()))
    image_path = write_image(folder / f"{free}.tif", result.image, like)
    record = {
        "schema_version": TransferRecord.model_fields["schema_version"].default,
        **result.metadata,
        "inputs": {"target": {"name": target_name}, "style": {"name": style_name}, **(inputs or {})},
        "files": {
            name: path.relative_to(folder).as_posix()
            for name, path in (("image", image_path), ("losses", csv_path), ("plot", plot_path))
        },
    }
    record_path = records.write_record(folder / f"{free}.json", record)
    return SavedFiles(image_path, csv_path, plot_path, record_path)


def read_record(path: str | Path) -> dict[str, Any]:
    """Read the JSON record of a run; a FileError when it cannot be read, or is not such a record."""
    return dict(records.plain(records.read_record(path, TransferRecord).model_dump(exclude_unset=True)))
