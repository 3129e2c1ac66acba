"""Make the plan of a session, change it without measuring again, and find it again in an output folder."""

from __future__ import annotations

import functools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.errors import FileError, ParameterError, StyleTransferError
from napari_nst.io.filenames import AosloName
from napari_nst.io.tables import KnownNames
from napari_nst.session.cropping import Patch, PatchCropper, PatchImage
from napari_nst.session.images import LoadedImage, SessionImage, find_images, load_image
from napari_nst.session.pairing import CorrespondingPatchFinder, read_pairs
from napari_nst.session.plan import PlannedPatch, SessionPlan
from napari_nst.session.quality import PatchMeasures, count_markers, measure_patch, read_quality_table, split_scores
from napari_nst.session.registration import SAME_CONES, find_overlap, place_images
from napari_nst.session.store import STATE, SessionRecord, file_digest
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.settings.session import SessionSettings

if TYPE_CHECKING:
    import pandas as pd

#: Called with the name of what is being looked at, how much is done, and how much there is.
PlanProgress: TypeAlias = Callable[[str, int, int], object]

#: A file, a table with the columns patch and style, or patch to style.
Pairs: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | Mapping[str, str]"

#: Settings on which it depends what the patches are and what was measured in them, or where their files lie.
NEEDS_READING = ("size", "overlap", "border", "modality", "template", "orientation", "pixel_size", "axial_length")
#: Settings on which the scores depend.
_SCORING = ("quality", "quality_table", "markers")
#: Settings on which the scores, the split, or the pairs depend.
_ASSESSING = (*_SCORING, *("markers_base", "threshold", "treat", "score", "max_distance", "spacing_tolerance"))
_MARKER_FOLDERS = ("algorithmMarkers", "output_cone_detector/algorithmMarkers")
_MARKER_FILE, _QUALITY_TABLE = "marker file ", "quality table "  # before the names of inputs that are no images
_UNITS = {"ring": "dB", "aiq": "dB"}
_SHOWN = 4  # differences in a message


# --- making a plan --------------------------------------------------------------------------------------------------


def plan_session(
    folder: str | os.PathLike[str],
    settings: SessionSettings,
    parameters: StyleTransferParameters,
    *,
    pairs: Pairs | None = None,
    progress: PlanProgress | None = None,
    cancel: Cancel | None = None,
) -> SessionPlan:
    """Read the images of a folder, cut them, assess every patch, and pair the poor ones; nothing is written.

    Parameters
    ----------
    folder : path-like
    settings : SessionSettings
    parameters : StyleTransferParameters
    pairs : path-like, DataFrame or mapping, optional
        The pairing, instead of looking for one: a table as `write_pairs` wrote it (columns ``patch`` and ``style``), or
        patch to style. A patch that is not in it, or whose style is empty, is not enhanced.
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
    report = progress or (lambda text, done, total: None)
    paths, left_out = find_images(folder, settings)
    inputs = input_digests(folder, settings)
    images: list[SessionImage] = []
    found: list[tuple[Patch, PatchMeasures]] = []
    unreadable: list[dict[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, path in enumerate(paths):
            if cancelled():
                raise KeyboardInterrupt
            report(path.name, number, len(paths))
            try:
                loaded = load_image(path, settings, parameters.value_range)
            except StyleTransferError as error:
                unreadable.append({"image": path.name, "reason": str(error)})
                continue
            images.append(loaded.image)
            cuts = _cut(loaded, settings, 1 + max((patch.crop_id for patch, _ in found), default=0))
            measures = pool.map(lambda cut: measure_patch(cut.array, cut.valid), cuts)
            found += zip((cut.patch for cut in cuts), measures, strict=True)
    if not images:
        reasons = "; ".join(f"{entry['image']}: {entry['reason']}" for entry in unreadable[:3])
        raise FileError(f"None of the {len(unreadable)} images in {folder} can be used. {reasons}")
    report("assessing and pairing", len(paths), len(paths))
    _check_unique(patch for patch, _ in found)
    plan = SessionPlan(
        folder=folder,
        settings=settings,
        parameters=parameters,
        images=images,
        left_out=left_out,
        unreadable=unreadable,
        inputs=inputs,
        pairs_given=pairs is not None,
        **_assessed(folder, settings, found, images),
    )
    if settings.find_overlaps:
        _place_images(plan, report, cancelled)
    if pairs is None:
        _find_pairs(plan, cancelled)
    else:
        names = [planned.patch.name for planned in plan.patches]
        plan = with_pairs(plan, dict.fromkeys(names, "") | read_given_pairs(pairs, names))
    _add_notes(plan)
    return plan


def input_digests(folder: str | os.PathLike[str], settings: SessionSettings) -> dict[str, str]:
    """Return the SHA-256 of every file that a plan is made from: images, markers, table. FileError: one is unreadable."""
    paths = {path.name: path for path in find_images(folder, settings)[0]}
    markers = _marker_folder(Path(folder), settings)
    if markers is not None and markers.is_dir():
        paths |= {f"{_MARKER_FILE}{path.name}": path for path in sorted(markers.glob("*.csv"))}
    if settings.quality_table:
        table = Path(settings.quality_table)
        paths[f"{_QUALITY_TABLE}{table.name}"] = table
    digests = {}
    for name, path in paths.items():
        try:
            digests[name] = file_digest(path)
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    return digests


def read_given_pairs(pairs: Pairs, names: Sequence[str]) -> dict[str, str]:
    """Return a pairing from a file, a table, or a mapping: patch to style, of the patches that are to be enhanced.

    Raises FileError or ParameterError where it names a patch that is not in the session, or is no pairing.
    """
    if isinstance(pairs, str | os.PathLike):
        pairs = read_pairs(pairs, names)
    if isinstance(pairs, Mapping):
        rows: Iterable[tuple[Any, Any]] = pairs.items()
    else:
        missing = [column for column in ("patch", "style") if column not in pairs.columns]
        if missing:
            raise ParameterError(f"pairs: the table has no column {missing[0]!r}; it needs patch and style.")
        rows = zip(pairs["patch"], pairs["style"].fillna(""), strict=True)
    return {patch: style for patch, style in _checked_pairs(rows, names).items() if style}


def _checked_pairs(rows: Iterable[tuple[Any, Any]], names: Sequence[str]) -> dict[str, str]:
    """Patch to style, by their full names; an empty style stays empty."""
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
    return found


def _pair_finder(plan: SessionPlan, same_cones: Callable[[str, str], bool] | None = None) -> CorrespondingPatchFinder:
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


def _place_images(plan: SessionPlan, report: PlanProgress, cancelled: Callable[[], bool]) -> None:
    """Give images whose names say nothing a place by their overlaps."""
    placed = place_images(plan.load, plan.images, progress=report, cancel=cancelled, note=plan.placing_notes.append)
    frames = Counter(place.frame for place in placed.values())
    if len(placed) > 1:
        joined = sum(count for count in frames.values() if count > 1)
        plan.placing_notes.append(
            f"Of {len(placed)} images whose names give no place, {joined} overlap others; distances between those are known."
        )
    for number, image in enumerate(plan.images):
        if image.name in placed:
            place = placed[image.name]
            plan.images[number] = image.replace(place=(place.x, place.y), frame=place.frame)


def _find_pairs(plan: SessionPlan, cancelled: Callable[[], bool]) -> None:
    @functools.lru_cache(maxsize=64)
    def cut(name: str) -> PatchImage:
        return plan.crop(plan[name].patch)

    def shows_same(target: str, style: str) -> bool:
        if cancelled():
            raise KeyboardInterrupt
        one, two = cut(target), cut(style)
        return find_overlap(one.array, two.array, one.valid, two.valid).score > SAME_CONES

    found = _pair_finder(plan, shows_same).find()
    for number, row in enumerate(found.itertuples(index=False)):
        plan.patches[number] = plan.patches[number].replace(
            treat=bool(row.treat and row.style),
            style=str(row.style),
            distance=float(row.distance),
            pair_score=float(row.pair_score),
            reason=str(row.reason),
        )


def _assessed(
    folder: Path, settings: SessionSettings, found: list[tuple[Patch, PatchMeasures]], images: list[SessionImage]
) -> dict[str, Any]:
    """The fields of a plan that say how good its patches are."""
    kind = "ring" if settings.quality == "auto" else settings.quality
    notes, markers = [], _marker_folder(folder, settings)
    if settings.quality == "table":
        table = read_quality_table(settings.quality_table, {patch.name: patch.image for patch, _ in found})
        scores = [table[patch.name] for patch, _ in found]
    elif markers is not None:
        kind, shapes = "markers", {image.name: image.shape for image in images}
        patches = [patch for patch, _ in found]
        counts, summary = count_markers(markers, patches, base=settings.markers_base, image_shapes=shapes)
        notes, scores = [summary], counts.tolist()
    else:
        scores = [float(getattr(measures, kind)) for _, measures in found]
    split = split_scores(scores, None if isinstance(settings.threshold, str) else settings.threshold)
    planned = [
        PlannedPatch(patch=patch, measures=measures, score=score, good=good)
        for (patch, measures), score, good in zip(found, scores, split.good, strict=True)
    ]
    return {"patches": planned, "split": split, "score_kind": kind, "notes": notes}


def _marker_folder(folder: Path, settings: SessionSettings) -> Path | None:
    if settings.quality not in ("auto", "markers"):
        return None
    if settings.markers:
        return Path(settings.markers)
    found = [folder / name for name in _MARKER_FOLDERS if (folder / name).is_dir()]
    if not found and settings.quality == "markers":
        raise FileError(
            f"{folder} has no {' or '.join(_MARKER_FOLDERS)}; give the folder of marker files with markers=, or use "
            "quality='ring'."
        )
    return found[0] if found else None


def _add_notes(plan: SessionPlan) -> None:
    """Say what a user would otherwise wonder about."""
    plan.notes.extend(plan.placing_notes)
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
        plan.notes.append(f"No patch is called poor, so none is enhanced: {plan.split.reason}.")
    if not any(image.pixel_size for image in plan.images):
        plan.notes.append("The pixel size is unknown: no lut.csv and no densities. Give pixel_size= in µm per pixel.")


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
            **dict.fromkeys(("padding", "overlaps", "fades"), (0, 0, 0, 0)),
        )
        return [PatchImage(patch, loaded.array, loaded.valid)]
    cropper = PatchCropper(settings.size, settings.overlap)
    return cropper.crop(loaded.array, loaded.image.name, first_id=first_id, valid=loaded.valid)


def _check_unique(patches: Iterable[Patch]) -> None:
    seen: dict[str, Patch] = {}
    for patch in patches:
        other = seen.setdefault(patch.name.casefold(), patch)
        if other is not patch:
            raise FileError(
                f"{other.image} and {patch.image} both give a patch {patch.name}; rename one of the images."
            )


# --- changing a plan without measuring again ------------------------------------------------------------------------


def needs_reading(plan: SessionPlan, settings: SessionSettings, parameters: StyleTransferParameters) -> list[str]:
    """Return the settings that differ from those of a plan and for which its images must be read again."""
    names = _differing(plan, settings, NEEDS_READING)
    return names + ["value_range"] * (plan.parameters.value_range != parameters.value_range)


def replan(
    plan: SessionPlan,
    settings: SessionSettings,
    parameters: StyleTransferParameters | None = None,
    *,
    cancel: Cancel | None = None,
) -> SessionPlan:
    """Make a plan with other settings from the measures of one that is there, which is not changed.

    Its pairs are looked for again, unless nothing that they depend on differs; pairs that were given are gone. `cancel`
    ends the work with a KeyboardInterrupt. Raises ParameterError where the images must be read again (see
    `needs_reading`), and FileError where a table or marker file is wrong.
    """
    parameters = plan.parameters if parameters is None else parameters
    again = needs_reading(plan, settings, parameters)
    if again:
        raise ParameterError(f"{again[0]}: another value needs the images again; make a new plan with plan_session.")
    if not plan.pairs_given and not _differing(plan, settings, _ASSESSING):
        return plan.replace(settings=settings, parameters=parameters)
    found = [(planned.patch, planned.measures) for planned in plan.patches]
    made = plan.replace(
        settings=settings,
        parameters=parameters,
        inputs=_inputs(plan, settings),
        pairs_given=False,
        **_assessed(plan.folder, settings, found, plan.images),
    )
    _find_pairs(made, as_cancel(cancel))
    _add_notes(made)
    return made


def _differing(plan: SessionPlan, settings: SessionSettings, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(plan.settings, name) != getattr(settings, name)]


def _inputs(plan: SessionPlan, settings: SessionSettings) -> dict[str, str]:
    """The files that the plan is made from: images as they were when they were measured, tables as they are now."""
    images = {k: v for k, v in plan.inputs.items() if not k.startswith((_MARKER_FILE, _QUALITY_TABLE))}
    if len(images) == len(plan.inputs) and not _differing(plan, settings, _SCORING):
        return plan.inputs
    now = input_digests(plan.folder, settings)
    return {name: images.get(name, digest) for name, digest in now.items()}


def with_pairs(plan: SessionPlan, changes: Mapping[str, str]) -> SessionPlan:
    """Return a plan in which some patches have another style, or none (""); it counts as one whose pairs were given.

    Names may lack their extension. Raises ParameterError where there is no such patch or style, or a patch is its own
    style.
    """
    wanted = _checked_pairs(changes.items(), [planned.patch.name for planned in plan.patches])
    if not wanted:
        return plan
    finder = _pair_finder(plan)
    patches = [
        planned.replace(
            treat=bool(style),
            style=style,
            distance=finder.distance(planned.patch.name, style) if style else math.nan,
            pair_score=math.nan,
            reason="style: given" if style else "no style given, kept",
        )
        if (style := wanted.get(planned.patch.name)) is not None
        else planned
        for planned in plan.patches
    ]
    return plan.replace(patches=patches, pairs_given=True)


def style_candidates(plan: SessionPlan, patch: str) -> list[tuple[PlannedPatch, float]]:
    """Return all other patches and their distances, px or NaN: the good ones first, the near ones first among these."""
    finder, others = _pair_finder(plan), [other for other in plan.patches if other.patch.name != patch]
    found = [(other, finder.distance(patch, other.patch.name)) for other in others]
    return sorted(found, key=lambda pair: (not pair[0].good, math.isnan(pair[1]), pair[1] if pair[1] >= 0 else 0.0))


# --- finding a plan again in an output folder -----------------------------------------------------------------------


def continued_plan(
    record: SessionRecord,
    output: Path,
    folder: Path,
    settings: SessionSettings,
    parameters: StyleTransferParameters,
    pairs: Pairs | None,
) -> SessionPlan:
    """Return the plan of the session in the folder `output`, if it is the one that is asked for.

    Raises FileError where it is another session, of which the message says what differs, or its record is damaged.
    """
    plan = SessionPlan.from_dict(record.plan, folder, output / STATE, record.fingerprint)
    differs = [
        f"{name} was {before!r}, now {now!r}"
        for old, new in ((plan.settings, settings), (plan.parameters, parameters))
        for (name, before), now in zip(old.asdict().items(), new.asdict().values(), strict=True)
        if before != now
    ]
    differs += _other_files(plan.inputs, input_digests(folder, settings))
    differs += _other_pairs(plan, pairs)
    if differs:
        more = f", and {len(differs) - _SHOWN} more" if len(differs) > _SHOWN else ""
        raise FileError(
            f"{output} holds another session: {'; '.join(differs[:_SHOWN])}{more}. Choose another output folder, or ask for "
            "the same again to go on with this one."
        )
    return plan


def _other_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    gone = [f"{name} is missing" for name in before if name not in now]
    new = [f"{name} is new" for name in now if name not in before]
    return gone + new + [f"{name} has changed" for name in before if name in now and before[name] != now[name]]


def _other_pairs(plan: SessionPlan, pairs: Pairs | None) -> list[str]:
    if pairs is None:
        return ["its pairs were given, now they are to be found"] if plan.pairs_given else []
    if not plan.pairs_given:
        return ["its pairs were found, now they are given"]
    before = {planned.patch.name: planned.style for planned in plan.treated}
    now = read_given_pairs(pairs, [planned.patch.name for planned in plan.patches])
    other = [name for name in before | now if before.get(name) != now.get(name)]
    return [f"the style of {name} was {before.get(name)!r}, now {now.get(name)!r}" for name in other]
