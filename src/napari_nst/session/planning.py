"""Making the plan of a session: its images are cut into patches, each judged, and the poor ones paired with good ones."""

from __future__ import annotations

import math
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, ParameterError, StyleTransferError
from napari_nst.io.aoslo import AosloName
from napari_nst.io.tables import KnownNames
from napari_nst.session.cropping import PatchCropper, PatchImage
from napari_nst.session.images import LoadedImage, SessionImage, find_images, load_image
from napari_nst.session.pairing import SAME_CONES, CorrespondingPatchFinder, read_pairs, same_cones_score
from napari_nst.session.patches import Patch
from napari_nst.session.plan import PlannedPatch, SessionPlan
from napari_nst.session.quality import PatchMeasures, count_markers, measure_patch, read_quality_table, split_scores
from napari_nst.session.registration import place_images
from napari_nst.session.store import file_digest
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Pairs", "PlanProgress", "input_digests", "plan_session", "read_given_pairs"]

#: Called with the name of what is being looked at, how much is done, and how much there is.
PlanProgress: TypeAlias = Callable[[str, int, int], object]

_MARKER_FOLDERS = ("algorithmMarkers", "output_cone_detector/algorithmMarkers")
_UNITS = {"ring": "dB", "aiq": "dB"}

#: A file, a table with the columns patch and style, or patch to style.
Pairs: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | Mapping[str, str]"


def plan_session(
    folder: str | os.PathLike[str],
    settings: SessionSettings,
    parameters: StyleTransferParameters,
    *,
    pairs: Pairs | None = None,
    progress: PlanProgress | None = None,
    cancel: Cancel | None = None,
) -> SessionPlan:
    """Read the images of a folder, cut them, judge every patch, and pair the poor ones; nothing is written.

    Parameters
    ----------
    folder : path-like
    settings : SessionSettings
    parameters : StyleTransferParameters
    pairs : path-like, DataFrame or mapping, optional
        The pairing, instead of looking for one: a table as `write_pairs` wrote it (columns ``patch`` and ``style``), or
        patch to style. A patch that is not in it, or whose style is empty, is not treated.
    progress : callable, optional
        Called with a text, how much is done, and how much there is.
    cancel : callable or threading.Event, optional
        Ends the work: KeyboardInterrupt is raised, nothing is left behind.

    Returns
    -------
    SessionPlan

    Raises
    ------
    FileError
        The folder holds nothing that can be used, or a table or marker file is wrong.
    ParameterError
        The pairing names what is not there.
    """
    folder, cancelled = Path(folder), as_cancel(cancel)
    told = progress or (lambda text, done, total: None)
    paths, left_out = find_images(folder, settings)
    images: list[SessionImage] = []
    found: list[tuple[Patch, PatchMeasures]] = []
    unreadable: list[dict[str, str]] = []
    inputs = input_digests(folder, settings)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, path in enumerate(paths):
            if cancelled():
                raise KeyboardInterrupt
            told(path.name, number, len(paths))
            try:
                loaded = load_image(path, settings, parameters.value_range)
            except StyleTransferError as error:
                unreadable.append({"image": path.name, "reason": str(error)})
                continue
            images.append(loaded.image)
            cuts = _cut(loaded, settings, 1 + max((patch.crop_id for patch, _ in found), default=0))
            found += zip((cut.patch for cut in cuts), pool.map(_measured, cuts), strict=True)
    if not images:
        reasons = "; ".join(f"{entry['image']}: {entry['reason']}" for entry in unreadable[:3])
        raise FileError(f"None of the {len(unreadable)} pictures in {folder} can be used. {reasons}")
    told("judging and pairing", len(paths), len(paths))
    patches = [patch for patch, _ in found]
    _check_unique(patches)
    notes: list[str] = []
    kind, scores = score_patches(folder, settings, found, images, notes)
    split = split_scores(scores, None if isinstance(settings.threshold, str) else settings.threshold)
    planned = [
        PlannedPatch(patch, measures, score, good)
        for (patch, measures), score, good in zip(found, scores, split.good, strict=True)
    ]
    plan = SessionPlan(
        folder,
        settings,
        parameters,
        images,
        planned,
        split,
        kind,
        left_out,
        unreadable,
        notes,
        inputs,
        pairs is not None,
    )
    if settings.register:
        _place_images(plan, told, cancelled)
    if pairs is None:
        find_pairs(plan, cancelled)
    else:
        _take_pairs(plan, pairs)
    describe(plan)
    return plan


def input_digests(folder: str | os.PathLike[str], settings: SessionSettings) -> dict[str, str]:
    """SHA-256 of every file that the plan of a session is made from: images, markers, and the table of scores.

    Raises
    ------
    FileError
        A file cannot be read, or there is none.
    """
    paths = {path.name: path for path in find_images(folder, settings)[0]}
    markers = _marker_folder(Path(folder), settings)
    if markers is not None and markers.is_dir():
        paths |= {f"marker file {path.name}": path for path in sorted(markers.glob("*.csv"))}
    if settings.quality_table:
        table = Path(settings.quality_table)
        paths[f"quality table {table.name}"] = table
    digests = {}
    for name, path in paths.items():
        try:
            digests[name] = file_digest(path)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    return digests


def read_given_pairs(pairs: Pairs, names: Sequence[str]) -> dict[str, str]:
    """A pairing from a file, a table, or a mapping: patch to style, of the patches that are to be treated.

    Raises
    ------
    FileError, ParameterError
        It names a patch that is not in the session, or is no pairing.
    """
    if isinstance(pairs, str | os.PathLike):
        frame = read_pairs(pairs, names)
        rows = list(zip(frame["patch"], frame["style"], strict=True))
    elif isinstance(pairs, Mapping):
        rows = list(pairs.items())
    else:
        missing = [column for column in ("patch", "style") if column not in pairs.columns]
        if missing:
            raise ParameterError(f"pairs: the table has no column {missing[0]!r}; it needs patch and style.")
        rows = list(zip(pairs["patch"], pairs["style"].fillna(""), strict=True))
    known, found = KnownNames(names), dict[str, str]()
    for given in rows:
        patch, style = (known.find(str(name)) if name else "" for name in given)
        for name, wanted in ((patch, given[0]), (style, given[1])):
            if name is None or not patch:
                raise ParameterError(f"pairs: {known.unknown(str(wanted))}")
        if patch in found or patch == style:
            what = "is its own style" if patch == style else "has two styles"
            raise ParameterError(f"pairs: {patch!r} {what}; give it another patch of the session.")
        found[str(patch)] = str(style)
    return {patch: style for patch, style in found.items() if style}


def pair_finder(plan: SessionPlan, same_cones: Callable[[str, str], bool] | None = None) -> CorrespondingPatchFinder:
    limit = plan.settings.max_distance
    return CorrespondingPatchFinder(
        plan.facts(),
        score=plan.settings.score,
        treat=plan.settings.treat,
        max_distance=None if isinstance(limit, str) else limit,
        spacing_tolerance=plan.settings.spacing_tolerance,
        same_cones=same_cones,
        label=plan.score_kind,
        unit=_UNITS.get(plan.score_kind, ""),
    )


def _take_pairs(plan: SessionPlan, pairs: Pairs) -> None:
    wanted = read_given_pairs(pairs, [planned.patch.name for planned in plan.patches])
    finder = pair_finder(plan)
    for number, planned in enumerate(plan.patches):
        style = wanted.get(planned.patch.name, "")
        plan.patches[number] = replace(
            planned,
            treat=bool(style),
            style=style,
            distance=finder.distance(planned.patch.name, style) if style else math.nan,
            reason="style: given" if style else "no style given, kept",
        )


def _place_images(plan: SessionPlan, told: PlanProgress, cancelled: Callable[[], bool]) -> None:
    """Give images whose names say nothing a place by their overlaps."""
    placed = place_images(plan.load, plan.images, progress=told, cancel=cancelled, note=plan.placing_notes.append)
    frames = Counter(place.frame for place in placed.values())
    if len(placed) > 1:
        joined = sum(count for count in frames.values() if count > 1)
        plan.placing_notes.append(
            f"Of {len(placed)} images whose names give no place, {joined} overlap others; distances between those are known."
        )
    for number, image in enumerate(plan.images):
        if image.name in placed:
            place = placed[image.name]
            plan.images[number] = replace(image, place=(place.x, place.y), frame=place.frame)


def find_pairs(plan: SessionPlan, cancelled: Callable[[], bool]) -> None:
    cuts: OrderedDict[str, PatchImage] = OrderedDict()

    def cut(name: str) -> PatchImage:
        if name not in cuts:
            cuts[name] = plan.crop(plan[name].patch)
            while len(cuts) > 64:
                cuts.popitem(last=False)
        return cuts[name]

    def shows_same(target: str, style: str) -> bool:
        if cancelled():
            raise KeyboardInterrupt
        one, two = cut(target), cut(style)
        return same_cones_score(one.array, two.array, one.valid, two.valid) > SAME_CONES

    found = pair_finder(plan, shows_same).find()
    for number, row in enumerate(found.itertuples(index=False)):
        plan.patches[number] = replace(
            plan.patches[number],
            treat=bool(row.treat and row.style),
            style=str(row.style),
            distance=float(row.distance),
            pair_score=float(row.pair_score),
            reason=str(row.reason),
        )


def score_patches(
    folder: Path,
    settings: SessionSettings,
    found: list[tuple[Patch, PatchMeasures]],
    images: list[SessionImage],
    notes: list[str],
) -> tuple[str, list[float]]:
    """What the patches are judged by, and a number for each."""
    patches = [patch for patch, _ in found]
    markers = _marker_folder(folder, settings)
    if settings.quality == "table":
        table = read_quality_table(settings.quality_table, {patch.name: patch.image for patch in patches})
        return "table", [table[patch.name] for patch in patches]
    if markers is not None:
        shapes = {image.name: image.shape for image in images}
        counted = count_markers(markers, patches, base=settings.markers_base, image_shapes=shapes)
        notes.append(counted.summary)
        return "markers", [float(count) for count in counted.counts]
    kind = "ring" if settings.quality == "auto" else settings.quality
    return kind, [float(getattr(measures, kind)) for _, measures in found]


def _marker_folder(folder: Path, settings: SessionSettings) -> Path | None:
    if settings.quality not in ("auto", "markers"):
        return None
    if settings.markers:
        return Path(settings.markers)
    found = [folder / name for name in _MARKER_FOLDERS if (folder / name).is_dir()]
    if not found and settings.quality == "markers":
        raise FileError(
            f"{folder} has no {' or '.join(_MARKER_FOLDERS)}; give the folder of marker files with markers=, or judge by "
            "quality='ring'."
        )
    return found[0] if found else None


def describe(plan: SessionPlan) -> None:
    """Say what a user would otherwise wonder about."""
    plan.notes += plan.placing_notes
    dtypes = sorted({image.dtype for image in plan.images})
    if len(dtypes) > 1:
        plan.notes.append(
            f"The images are of several types ({', '.join(dtypes)}); target and style are compared by their value ranges."
        )
    padded = sum(any(planned.patch.padding) for planned in plan.patches)
    if padded:
        plan.notes.append(
            f"{padded} patches are smaller than {plan.settings.size} px and were continued by reflection; the padding counts "
            "in no statistics and is cut off when images are stitched."
        )
    if not plan.pairs_given and plan.split.threshold is None and plan.settings.treat == "poor":
        plan.notes.append(f"No patch is called poor, so none is treated: {plan.split.reason}.")
    if not any(image.um_per_px for image in plan.images):
        plan.notes.append("The scale is unknown: no lut.csv and no densities; give scale= in µm per pixel.")


def _cut(loaded: LoadedImage, settings: SessionSettings, first_id: int) -> list[PatchImage]:
    name = AosloName.parse(loaded.image.name)
    if loaded.image.cropped and name.crop_id is not None:
        patch = Patch(
            name=f"{loaded.image.stem}.tif",
            image=loaded.image.name,
            crop_id=name.crop_id,
            x=name.crop_x or 0,
            y=name.crop_y or 0,
            shape=loaded.image.shape,
        )
        return [PatchImage(patch, loaded.array, loaded.valid)]
    cropper = PatchCropper(settings.size, settings.overlap)
    return cropper.crop(loaded.array, loaded.image.name, first_id=first_id, valid=loaded.valid)


def _measured(cut: PatchImage) -> PatchMeasures:
    return measure_patch(cut.array, cut.valid)


def _check_unique(patches: Sequence[Patch]) -> None:
    seen: dict[str, Patch] = {}
    for patch in patches:
        other = seen.setdefault(patch.name.casefold(), patch)
        if other is not patch:
            raise FileError(
                f"{other.image} and {patch.image} both give a patch {patch.name}; rename one of the images."
            )
