"""What a session writes beside the patches' own results: the patches as they were, tables, stitched images, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.imaging.cones import detect_cones
from napari_nst.imaging.masks import pack_mask
from napari_nst.imaging.range_correction import RangeCorrection, RangeStatistics
from napari_nst.io.atomic import Publish, write_over
from napari_nst.io.coordinates import write_coordinates
from napari_nst.io.images import FileInfo, image_stem, read_image, write_image
from napari_nst.session.cropping import stitch
from napari_nst.session.effects import EFFECTS
from napari_nst.session.images import SessionImage
from napari_nst.session.pairing import write_pairs
from napari_nst.session.patch_task import PatchTask, changed, read_comparison
from napari_nst.session.plan import PlannedPatch, SessionPlan
from napari_nst.session.store import PAIRS, STATE, TABLE, SessionStore, file_digest
from napari_nst.transfer.files import save_figure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "Products"]

#: What a finished patch adds to its row of the plan, in the order of the table.
_RESULTS = (
    "status",
    "method",
    "style_loss",
    "content_loss",
    "total_loss",
    "steps",
    "stopped",
    *EFFECTS,
    "seconds",
    "device",
    "error",
)
_PLAN = (
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
    "distance",
    "pair_score",
    "reason",
    "ring_before",
    "spacing_before",
    "cones_before",
    "aiq_before",
)
#: The columns of session.csv.
COLUMNS = (*_PLAN, *_RESULTS)

_SHOWN = 6  # rows of the figure over the whole session


class Products:
    """Writes what belongs to the session as a whole.

    Parameters
    ----------
    store : SessionStore
    plan : SessionPlan
    files : mapping
        Relative name to SHA-256 of what an earlier run wrote.
    masks : mapping
        Packed masks of patches that are not all picture, of an earlier run.
    """

    def __init__(
        self, store: SessionStore, plan: SessionPlan, files: Mapping[str, str], masks: Mapping[str, Any]
    ) -> None:
        self.store, self.plan = store, plan
        self.files: dict[str, str] = dict(files)
        self.masks: dict[str, Any] = dict(masks)
        self.notes: list[str] = []
        self._statistics: dict[str, Any] = {}

    def unchanged(self) -> bool:
        """Whether everything that was written is there as it was written."""
        return bool(self.files) and all(self.store.unchanged(name, digest) for name, digest in self.files.items())

    def paths(self) -> dict[str, Any]:
        """Where a user finds things."""
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
        """Write the patches of an image as they are, with the cones found in them."""
        planned = [entry for entry in self.plan.patches if entry.patch.image == image.name]
        wanted = [self.store.raw / name for entry in planned for name in _names(entry.patch.name)]
        if all(self._is_there(path) for path in wanted):
            return
        info = self.plan.load(image.name).info
        for entry in planned:
            cut = self.plan.crop(entry.patch)
            if not cut.valid.all():
                self.masks[entry.patch.name] = pack_mask(cut.valid)
            picture, coordinates = (self.store.raw / name for name in _names(entry.patch.name))
            self._write(picture, partial(_write_picture, cut.array, info))
            self._write_cones(coordinates, cut.array, cut.valid)

    def write_tables(self) -> None:
        """Write pairs.csv, lut.csv, and the histogram of the scores."""
        frame = self.plan.table
        columns = ["patch", "style", "treat", "score", "quality", "distance", "pair_score", "reason"]
        self._write(self.store.folder / PAIRS, lambda path, publish: write_pairs(path, frame[columns], publish=publish))
        scales = {image.name: image.um_per_px for image in self.plan.images}
        rows = [(entry.patch.crop_id, scales[entry.patch.image]) for entry in self.plan.patches]
        text = "".join(f"CROP_{number},{scale:.6g}\n" for number, scale in rows if scale is not None)
        if text:
            for folder in (self.store.raw, self.store.results):
                self._write_text(folder / "lut.csv", text)
        from napari_nst.session.figures import quality_figure

        split = self.plan.split
        figure = quality_figure(frame["score"], split.threshold, self.plan.score_kind, reason=split.reason)
        self._write(
            self.store.results / "quality.png", lambda path, publish: save_figure(path, figure, publish=publish)
        )

    def task(self, planned: PlannedPatch, fingerprint: str) -> PatchTask:
        """What a worker needs for a patch."""
        plan, settings = self.plan, self.plan.settings
        image = plan.image_of(planned.patch)
        style = plan[planned.style] if planned.treat and settings.method != "none" else None
        names = [planned.patch.name] + ([style.patch.name] if style is not None else [])
        style_range = image.value_range if style is None else plan.image_of(style.patch).value_range
        return PatchTask(
            output=str(self.store.folder.resolve()),
            folder_name=settings.folder_name,
            fingerprint=fingerprint,
            patch=planned.patch.name,
            style=style.patch.name if style is not None else "",
            hashes={name: self.files[self._relative(self.store.raw / name)] for name in names},
            masks={name: self.masks[name] for name in names if name in self.masks},
            value_range=image.value_range,
            style_value_range=style_range,
            measures=planned.measures._asdict(),
            parameters=plan.parameters.asdict(),
            method=settings.method,
            correction=settings.correction,
            statistics=self._global_statistics(image.dtype),
            um_per_px=image.um_per_px,
            coordinates_base=settings.coordinates_base,
            figures=settings.figures,
        )

    def frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """The table of the session."""
        import pandas as pd

        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        text = ["status", "method", "stopped", "verdict", "verdict_text", "device", "error"]
        frame[text] = frame[text].astype(object).fillna("")
        counts = ["steps", "kept", "lost", "new", "new_far", "shaded", "unsupported"]
        return frame.astype(dict.fromkeys(counts, "Int64"))

    def write_session_table(self, rows: list[dict[str, Any]]) -> None:
        """Replace session.csv."""
        frame = self.frame(rows)
        write_over(self.store.folder / TABLE, lambda path: frame.to_csv(path, index=False, float_format="%.6g"))

    def write_stitched(self, image: SessionImage, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Put the patches of an image together, and find the cones in the whole."""
        if image.cropped:
            return
        picture = self.store.stitched / f"{image.stem}.tif"
        coordinates = self.store.stitched / f"{image.stem}_coords.csv"
        loaded = self.plan.load(image.name)
        whole = stitch(loaded.array, self._pieces(image, records))
        self._write(picture, partial(_write_picture, whole, loaded.info))
        self._write_cones(coordinates, whole, loaded.valid)

    def write_overview(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Draw the patches that changed most, one below the other."""
        enhanced = [name for name, record in records.items() if record["row"]["status"] == "enhanced"]
        if not enhanced or not self.plan.settings.figures:
            return
        from napari_nst.session.figures import comparison_figure

        enhanced.sort(key=lambda name: -records[name]["row"]["mean_change"])
        fingerprint = self.plan.fingerprint
        rows = [
            read_comparison(self.task(self.plan[name], fingerprint), records[name]["row"]) for name in enhanced[:_SHOWN]
        ]
        of = f"The {len(rows)} patches that changed most, of {len(enhanced)} enhanced ones"
        figure = comparison_figure(rows, title=of if len(enhanced) > len(rows) else "")
        path = self.store.plots / "preprocessing_comparison.png"
        self._write(path, lambda path, publish: save_figure(path, figure, publish=publish))

    def _pieces(
        self, image: SessionImage, records: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[tuple[Any, NDArray[Any]]]:
        for entry in self.plan.patches:
            if entry.patch.image == image.name and changed(records[entry.patch.name]["row"]):
                yield entry.patch, read_image(self.store.results / entry.patch.name)[0]

    def _global_statistics(self, dtype: str) -> dict[str, Any] | None:
        """Of all patches of one type as they were, for a range correction over the whole session."""
        correction = self.plan.settings.correction
        if not correction or RangeCorrection.parse(correction).correct != "global":
            return None
        if not self._statistics:
            made: dict[str, RangeStatistics] = {}
            for image in self.plan.images:
                for entry in self.plan.patches:
                    if entry.patch.image == image.name:
                        cut = self.plan.crop(entry.patch)
                        made.setdefault(image.dtype, RangeStatistics()).update(cut.array, cut.valid)
            self._statistics = {kind: statistics.compute().to_dict() for kind, statistics in made.items()}
        found: dict[str, Any] = self._statistics[dtype]
        return found

    def _write_cones(self, path: Path, array: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        points = detect_cones(array, mask=valid).points
        base = self.plan.settings.coordinates_base
        self._write(path, lambda path, publish: write_coordinates(path, points, base=base, publish=publish))

    def _write_text(self, path: Path, text: str) -> None:
        self._write(
            path, lambda path, publish: publish(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        )

    def _write(self, path: Path, write: Callable[[Path, Publish], object]) -> None:
        """Write a file of the session, unless it is there; one that somebody changed is kept elsewhere."""
        name = self._relative(path)
        for moved in self.store.set_aside({name: self.files.get(name, "")} if name in self.files else {}):
            self.notes.append(f"{path.name} had been changed; it was kept as {moved} and made again.")
        write(path, write_over)
        self.files[name] = file_digest(path)

    def _is_there(self, path: Path) -> bool:
        name = self._relative(path)
        return name in self.files and self.store.unchanged(name, self.files[name])

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.store.folder).as_posix()


def _write_picture(array: NDArray[Any], info: FileInfo | None, path: Path, publish: Publish) -> None:
    write_image(path, array, info, publish=publish)


def _names(patch: str) -> tuple[str, str]:
    return patch, f"{image_stem(patch)}_coords.csv"
