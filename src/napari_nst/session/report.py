"""What a session writes beside the results of single patches.

The patches as they were (``raw_run``), ``pairs.csv``, ``lut.csv``, ``session.csv``, the histogram of the scores
(``quality.png``), the stitched images, and the figure of the patches that changed most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.cones import detect_cones
from napari_nst.imaging.masks import pack_mask
from napari_nst.imaging.range_correction import KnownStatistics, RangeCorrection, RangeStatistics
from napari_nst.io.atomic import Publish, write_over
from napari_nst.io.coordinates import write_coordinates
from napari_nst.io.images import image_stem, read_image, write_image
from napari_nst.io.records import confine
from napari_nst.session.cropping import stitch
from napari_nst.session.images import SessionImage
from napari_nst.session.pairing import write_pairs
from napari_nst.session.patch_task import PatchTask, read_comparison
from napari_nst.session.plan import PlannedPatch, SessionPlan, plan_row
from napari_nst.session.store import PAIRS, STATE, TABLE, PatchRecord, PatchRow, PatchStatus, SessionStore, file_digest
from napari_nst.transfer.files import save_figure

if TYPE_CHECKING:
    import pandas as pd

#: The columns of session.csv: those of the plan, and what a finished patch adds.
COLUMNS = (
    *(
        "patch",
        "image",
        "crop_id",
        "x",
        "y",
        "height",
        "width",
        "padding",
        "valid",
        "score",
        "quality",
        "treat",
        "style",
    ),
    *("distance", "pair_score", "reason", "ring_before", "spacing_before", "cones_before", "aiq_before"),
    *PatchRow.model_fields,
)
_COUNTS = ("steps", "kept", "lost", "new", "new_far", "shaded", "unsupported")
_SHOWN = 6  # rows of the figure over the whole session

Records = Mapping[str, PatchRecord]


class SessionFiles:
    """Writes what belongs to the session as a whole, and knows what was written.

    `files` (relative name to SHA-256) and `masks` (packed, of patches that are not all valid) are those of an earlier run.
    """

    def __init__(
        self, store: SessionStore, plan: SessionPlan, files: Mapping[str, str], masks: Mapping[str, Any]
    ) -> None:
        self.store, self.plan, self.fingerprint = store, plan, plan.fingerprint
        self.files: dict[str, str] = dict(files)
        self.masks: dict[str, Any] = dict(masks)
        self.notes: list[str] = []
        self._statistics: dict[str, KnownStatistics] = {}

    def unchanged(self) -> bool:
        """Return whether everything that was written is there as it was written."""
        return bool(self.files) and self.store.unchanged(self.files)

    def paths(self) -> dict[str, Any]:
        """Return where a user finds things."""
        store = self.store
        return {
            "table": store.folder / TABLE,
            "record": store.folder / STATE,
            "pairs": store.folder / PAIRS,
            "raw": store.raw,
            "results": store.results,
            "stitched": sorted(store.stitched.glob("*.tif")) if store.stitched.is_dir() else [],
        }

    def write_raw(self, image: SessionImage) -> None:
        """Write the patches of an image as they are, with the cones found in them, unless they are there."""
        entries = [entry for entry in self.plan.patches if entry.patch.image == image.name]
        paths = [(confine(self.store.raw, entry.patch.name), _coordinates(self.store.raw, entry)) for entry in entries]
        names = [self._name(path) for pair in paths for path in pair]
        if all(name in self.files and self.store.unchanged({name: self.files[name]}) for name in names):
            return
        info = self.plan.load(image.name).info
        for entry, (path, coordinates) in zip(entries, paths, strict=True):
            cut = self.plan.crop(entry.patch)
            if not cut.valid.all():
                self.masks[entry.patch.name] = pack_mask(cut.valid)
            self._write(path, write_image, cut.array, info)
            self._write_cones(coordinates, cut.array, cut.valid)

    def write_tables(self) -> None:
        """Write pairs.csv, lut.csv, and the histogram of the scores."""
        frame = self.plan.table
        columns = ["patch", "style", "treat", "score", "quality", "distance", "pair_score", "reason"]
        self._write(self.store.folder / PAIRS, write_pairs, frame[columns])
        scales = {image.name: image.pixel_size for image in self.plan.images}
        rows = [(entry.patch.crop_id, scales[entry.patch.image]) for entry in self.plan.patches]
        text = "".join(f"CROP_{number},{scale:.6g}\n" for number, scale in rows if scale is not None)
        if text:
            for folder in (self.store.raw, self.store.results):
                self._write(folder / "lut.csv", _save_text, text)
        from napari_nst.session.figures import quality_figure

        split = self.plan.split
        figure = quality_figure(frame["score"], split.threshold, self.plan.score_kind, reason=split.reason)
        self._write(self.store.results / "quality.png", save_figure, figure)

    def task(self, planned: PlannedPatch) -> PatchTask:
        """Return what a worker needs for a patch."""
        plan = self.plan
        image = plan.image_of(planned.patch)
        style = plan[planned.style].patch if planned.treat and plan.settings.method != "none" else None
        names = [planned.patch.name] + ([style.name] if style is not None else [])
        return PatchTask(
            output=str(self.store.folder.resolve()),
            fingerprint=self.fingerprint,
            settings=plan.settings,
            parameters=plan.parameters,
            patch=planned.patch.name,
            style=style.name if style is not None else "",
            hashes={name: self.files[self._name(self.store.raw / name)] for name in names},
            masks={name: self.masks[name] for name in names if name in self.masks},
            value_range=image.value_range,
            style_value_range=image.value_range if style is None else plan.image_of(style).value_range,
            measures=planned.measures,
            statistics=self._global_statistics(image.dtype),
            pixel_size=image.pixel_size,
        )

    def frame(self, records: Records) -> pd.DataFrame:
        """Return the table of the session so far, in the order of the patches."""
        import pandas as pd

        rows = []
        for entry in self.plan.patches:
            record = records.get(entry.patch.name)
            row = record.row if record is not None else PatchRow(status=PatchStatus.OPEN)
            rows.append(plan_row(entry) | row.model_dump())
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(_COUNTS, "Int64"))

    def write_session_table(self, records: Records) -> None:
        """Replace session.csv."""
        frame = self.frame(records)
        write_over(self.store.folder / TABLE, lambda path: frame.to_csv(path, index=False, float_format="%.6g"))

    def write_stitched(self, image: SessionImage, records: Records) -> None:
        """Put the patches of an image together, and find the cones in the whole."""
        if image.cropped:
            return
        folder, loaded = self.store.stitched, self.plan.load(image.name)
        pieces = (
            (entry.patch, read_image(confine(self.store.results, entry.patch.name))[0])
            for entry in self.plan.patches
            if entry.patch.image == image.name and records[entry.patch.name].row.status.changed
        )
        whole = stitch(loaded.array, pieces)
        self._write(confine(folder, f"{image.stem}.tif"), write_image, whole, loaded.info)
        self._write_cones(confine(folder, f"{image.stem}_coords.csv"), whole, loaded.valid)

    def write_overview(self, records: Records) -> None:
        """Draw the patches that changed most, one below the other."""
        enhanced = [record for record in records.values() if record.row.status == PatchStatus.ENHANCED]
        if not enhanced or not self.plan.settings.figures:
            return
        from napari_nst.session.figures import comparison_figure

        enhanced.sort(key=lambda record: -record.row.mean_change)
        rows = [read_comparison(self.task(self.plan[record.patch]), record.row) for record in enhanced[:_SHOWN]]
        of = f"The {len(rows)} patches that changed most, of {len(enhanced)} enhanced ones"
        figure = comparison_figure(rows, title=of if len(enhanced) > len(rows) else "")
        self._write(self.store.plots / "preprocessing_comparison.png", save_figure, figure)

    def _global_statistics(self, dtype: str) -> dict[str, Any] | None:
        correction = self.plan.settings.correction
        if not correction or RangeCorrection.parse(correction).correct != "global":
            return None
        if not self._statistics:
            self._statistics = session_statistics(self.plan)
        return self._statistics[dtype].to_dict()

    def _write_cones(self, path: Path, array: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        points = detect_cones(array, mask=valid).points
        self._write(path, write_coordinates, points, base=self.plan.settings.coordinates_base)

    def _write(self, path: Path, write: Callable[..., object], *content: Any, **options: Any) -> None:
        """Write a file of the session; one that somebody changed is kept elsewhere."""
        name = self._name(path)
        for moved in self.store.set_aside({name: self.files[name]} if name in self.files else {}):
            self.notes.append(f"{path.name} had been changed; it was kept as {moved} and made again.")
        write(path, *content, publish=write_over, **options)
        self.files[name] = file_digest(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.store.folder).as_posix()


def session_statistics(plan: SessionPlan) -> dict[str, KnownStatistics]:
    """Return the statistics of all patches as they were, by dtype, for a range correction over the whole session."""
    made: dict[str, RangeStatistics] = {}
    for image in plan.images:  # one after the other, because few are kept in memory
        for entry in plan.patches:
            if entry.patch.image == image.name:
                cut = plan.crop(entry.patch)
                made.setdefault(image.dtype, RangeStatistics()).update(cut.array, cut.valid)
    return {dtype: statistics.compute() for dtype, statistics in made.items()}


def _save_text(path: Path, text: str, *, publish: Publish) -> None:
    publish(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _coordinates(folder: Path, entry: PlannedPatch) -> Path:
    return confine(folder, f"{image_stem(entry.patch.name)}_coords.csv")
