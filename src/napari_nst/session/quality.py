"""The quality of patches: measures, counts of marker files, tables of scores, and the threshold between poor and good."""

from __future__ import annotations

import contextlib
import enum
import functools
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, FiniteFloat

from napari_nst.errors import FileError, ImageError, ParameterError
from napari_nst.imaging.checks import image_and_mask
from napari_nst.imaging.masks import fill_from_nearest
from napari_nst.io.coordinates import read_coordinates
from napari_nst.io.filenames import split_extension
from napari_nst.io.records import Number, RecordPart
from napari_nst.io.tables import KnownNames, read_table

if TYPE_CHECKING:
    from napari_nst.session.cropping import Patch

#: The kinds of scores that a patch can be given, and what they are.
QUALITY_SCORES = {
    "markers": "number of cones in marker files",
    "cones": "number of cones that the own detector finds",
    "ring": "prominence of the ring that a cone mosaic has in its power spectrum, dB",
    "aiq": "signal over noise by spectral slopes, dB; shown only",
    "table": "numbers of your own, from a table",
}

#: Fewer scores than this cannot show two groups.
MINIMUM_SCORES = 4
#: Two groups are believed in when so few samples of one flat group would look as separate.
SIGNIFICANCE = 0.05

_DECIMALS = 4  # scores recorded with more are taken for continuous
_SHOWN = 3  # names in a message


class Quality(enum.StrEnum):
    """What is known of a patch's quality, as tables say it."""

    GOOD = "good"
    POOR = "poor"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, good: bool | None) -> Quality:
        """Return the quality of a patch whose score is above the threshold, or not, or unknown."""
        return cls.UNKNOWN if good is None else cls.GOOD if good else cls.POOR


class PatchMeasures(NamedTuple):
    """What was measured in a patch; NaN where it cannot be."""

    ring: Number  # height of Yellott's ring over the spectrum around it, dB
    spacing: Number  # cone spacing that follows from the ring, pixels
    cones: Number  # number of cones that the own detector finds
    aiq: Number  # spectral signal-to-noise ratio (Brennan 2024), dB
    valid_fraction: Number  # share of pixels that show tissue, not a border or padding; 0 to 1


class Split(RecordPart):
    """Which scores are good."""

    threshold: FiniteFloat | None  # good is above it; None when no threshold was found
    reason: str  # why this threshold, or why none
    separability: Number  # Otsu's eta: between-class over total variance of the scores, 0 to 1; NaN when all are equal
    p_value: FiniteFloat | None  # share of uniform samples of this size that look as separate; None: not tested
    good: tuple[bool | None, ...] = Field((), exclude=True)  # one for each score; None is unknown


def measure_patch(array: ArrayLike, valid: NDArray[np.bool_] | None = None) -> PatchMeasures:
    """Measure a gray patch (H, W); `valid`, (H, W), is False in a border or padding. ImageError for anything else."""
    from napari_nst.imaging.cones import detect_cones
    from napari_nst.imaging.spacing import ring_prominence
    from napari_nst.metrics.quality import aiq

    image = np.asarray(array)
    _, used = image_and_mask(image, valid, "patch")
    fraction = float(used.mean())
    if not used.any() or np.ptp(image[used].astype(np.float64)) == 0:
        return PatchMeasures(math.nan, math.nan, math.nan, math.nan, fraction)
    filled = fill_from_nearest(image, used)
    ring = spacing = cones = signal = math.nan
    # A patch that is too small for one measure may do for another.
    with contextlib.suppress(ImageError):
        found = ring_prominence(filled, mask=used)
        ring, spacing = found.prominence, found.spacing
    with contextlib.suppress(ImageError):
        cones = float(len(detect_cones(filled, mask=used).points))
    with contextlib.suppress(ImageError):
        signal = float(aiq(filled))
    return PatchMeasures(ring, spacing, cones, signal, fraction)


def split_scores(scores: ArrayLike, threshold: float | None = None) -> Split:
    """Divide scores, (n,), into poor and good if they really are two groups; a given `threshold` is used as it is.

    Higher is better; the quality of what is not finite is unknown. Raises ParameterError where `scores` is not one row
    of numbers, or `threshold` is not finite.

    Otsu's threshold (1979, IEEE Trans. SMC 9:62) of the scores themselves, without bins, in the middle of the gap:
    every value in it divides them alike. Otsu's method divides anything, so his measure of separability (§III, eta =
    between-class / total variance) is compared with samples of the same size from a uniform distribution, which is the
    flattest with one group (a normal one reaches 2/pi, a uniform one 3/4). Scores that were rounded, such as counts,
    get the variance that rounding hides, step²/12 (Sheppard 1898), so that 0 and 1 are not two groups for being two
    numbers.
    """
    given: NDArray[Any] = np.asarray(scores)
    if given.ndim != 1 or given.dtype.kind not in "buif":
        raise ParameterError(f"scores must be one row of numbers, got shape {given.shape} and dtype {given.dtype}.")
    if threshold is not None and not (isinstance(threshold, numbers.Real) and math.isfinite(threshold)):
        raise ParameterError(f"threshold must be a finite number in the unit of the scores, got {threshold!r}.")
    values = given.astype(np.float64)
    finite = values[np.isfinite(values)]
    n = len(finite)

    def split(limit: float | None, reason: str, eta: float = math.nan, p: float | None = None) -> Split:
        reason += f"; {len(values) - n} unknown" if n < len(values) else ""
        reason += "; give a threshold or enhance all" if limit is None else ""
        good = tuple(None if limit is None or not math.isfinite(value) else value > limit for value in values.tolist())
        return Split(threshold=limit, reason=reason, separability=eta, p_value=p, good=good)

    if threshold is not None:
        limit = float(threshold)
        above = int((finite > limit).sum())
        return split(limit, f"given: {above} above {limit:g}, {n - above} not", _separability(finite, limit))
    if n < MINIMUM_SCORES:
        return split(None, f"{n} scores cannot show two groups")
    if np.ptp(finite) == 0:
        return split(None, f"the {n} scores are all {finite[0]:g}")
    limit = _otsu(finite)
    eta = _separability(finite, limit)
    simulated = _uniform_separability(n)
    p = float((1 + np.count_nonzero(simulated >= eta)) / (1 + len(simulated)))  # the observed one counts as one of them
    share = "less than 0.1 %" if p < 0.001 else f"{100 * p:{'.0f' if p >= 0.1 else '.2g'}} %"
    compared = f"eta = {eta:.2f}, a uniform distribution reaches that in {share} of cases".replace("= 0.", "= .")
    if p >= SIGNIFICANCE:
        return split(None, f"the {n} scores form one group: {compared}", eta, p)
    above = int((finite > limit).sum())
    return split(limit, f"two groups: {above} above {limit:g}, {n - above} below ({compared})", eta, p)


def count_markers(
    folder: str | os.PathLike[str],
    patches: Sequence[Patch],
    *,
    base: int = 0,
    image_shapes: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[NDArray[np.float64], str]:
    """Count the cones of each patch in the marker files of a folder (x,y), NaN without one, and say how many those are.

    A file belongs to a patch, or to a whole image, whose name it has: ``{name}.csv``, ``{stem}.csv`` or
    ``{stem}_coords.csv``, the first that exists. A patch's own file comes before that of its image, of which the points
    in the patch's window count. Cones in the padding of a patch are reflections, and not counted.

    `base` is the coordinate of the first pixel, 0 or 1; `image_shapes`, (H, W) by image name, finds markers outside of
    their image. Raises FileError for those, and where the folder cannot be read or has no file of any patch or image.
    """
    folder = Path(folder)
    files = _marker_files(folder)
    counts = np.full(len(patches), np.nan)
    read: dict[str, NDArray[np.float64]] = {}
    for i, patch in enumerate(patches):
        own = _marker_file(files, patch.name)
        if own is not None:
            points = read_coordinates(own, base=base, shape=patch.shape)
            window = patch.inner
        else:
            whole = _marker_file(files, patch.image)
            if whole is None:
                continue
            if patch.image not in read:
                shape = (image_shapes or {}).get(patch.image)
                read[patch.image] = read_coordinates(whole, base=base, shape=shape)
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
    return counts, summary


def read_quality_table(path: str | os.PathLike[str], known_names: Mapping[str, str]) -> dict[str, float]:
    """Read the score of every patch of `known_names` (patch to image) from a table that the user made.

    A CSV with the columns ``patch`` (or ``image``: the score is that of all its patches) and ``score``. Names may lack
    their extension; an empty score, and that of a patch which is not named, is NaN. Raises FileError, with the line,
    where the table cannot be read, lacks a column, names something unknown or twice, or a score is no finite number.
    """
    table = read_table(path, ("score",))
    column = "patch" if "patch" in table.columns else "image"
    if column not in table.columns:
        raise FileError(
            f"{table.path} has no column patch (or image): the first line has {', '.join(table.columns)}. Add it, with "
            "the file names."
        )
    known = KnownNames(known_names if column == "patch" else dict.fromkeys(known_names.values()), column)
    found: dict[str, float] = {}
    lines: dict[str, int] = {}
    for row in table.rows:
        name = known.find(row.cells[column])
        if name is None:
            raise table.error(row, known.unknown(row.cells[column]))
        if name in found:
            raise table.error(row, f"{name!r} has a score already, in line {lines[name]}; keep one of them.")
        text = row.cells["score"]
        try:
            # Where the semicolon separates cells, the comma may separate decimals.
            score = float(text.replace(",", ".") if table.separator == ";" else text) if text else math.nan
        except ValueError:
            score = math.inf
        if math.isinf(score):
            raise table.error(
                row, f"the score of {name!r} must be a number, got {text!r}; correct it, or leave it empty."
            )
        found[name], lines[name] = score, row.line
    return {patch: found.get(patch if column == "patch" else image, math.nan) for patch, image in known_names.items()}


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
    lower = np.array([rows.start, columns.start]) - 0.5  # a pixel reaches half a pixel around its center
    upper = np.array([rows.stop, columns.stop]) - 0.5
    inside = (points >= lower) & (points <= upper)
    return int(np.count_nonzero(inside.all(axis=1)))


def _otsu(finite: NDArray[np.float64]) -> float:
    from skimage.filters import threshold_otsu

    levels, counts = np.unique(finite, return_counts=True)
    # Scaled: huge scores would overflow. The bins are the values themselves, so no two of them share one.
    scaled = (levels - levels[0]) / (levels[-1] - levels[0])
    lower = float(threshold_otsu(hist=(counts.astype(np.float64), scaled)))  # type: ignore[no-untyped-call]  # scikit-image has no types
    below = int(np.searchsorted(scaled, lower, side="right")) - 1
    middle = float(levels[below] + (levels[below + 1] - levels[below]) / 2)
    # Between neighboring floats there is no middle; the lower one divides them, since good is above.
    return middle if levels[below] <= middle < levels[below + 1] else float(levels[below])


def _separability(finite: NDArray[np.float64], limit: float) -> float:
    if len(finite) == 0 or np.ptp(finite) == 0:
        return math.nan
    step = next((10.0**-d for d in range(_DECIMALS) if np.array_equal(np.round(finite, d), finite)), 0.0)
    extent = float(np.ptp(finite))
    scaled = (finite - finite.min()) / extent
    above = finite > limit
    share = float(above.mean())
    if share in (0.0, 1.0):
        return 0.0
    between = share * (1 - share) * float(scaled[above].mean() - scaled[~above].mean()) ** 2
    return between / (float(scaled.var()) + (step / extent) ** 2 / 12)


@functools.lru_cache(maxsize=64)
def _uniform_separability(size: int) -> NDArray[np.float64]:
    """Otsu's largest separability of many uniform samples of `size` values; the same ones every time."""
    samples = min(4000, max(200, 1_000_000 // size))
    values = np.sort(np.random.default_rng(1979).random((samples, size)), axis=1)
    values -= values.mean(axis=1, keepdims=True)
    below = np.arange(1, size)
    sums = np.cumsum(values, axis=1)[:, :-1]
    between: NDArray[np.float64] = (sums**2 / (below * (size - below))).max(axis=1)
    eta: NDArray[np.float64] = between / values.var(axis=1)
    return eta
