"""Which good patch each poor patch takes as its style, and the table of pairs that a person can edit."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import ParameterError
from napari_nst.io.atomic import Publish, write_new
from napari_nst.io.tables import KnownNames, read_table
from napari_nst.session.quality import Quality

if TYPE_CHECKING:
    import pandas as pd

#: Distance in pixels at which a style counts half: some four patches of 185 px on, where the spacing can differ.
HALF_DISTANCE = 500.0
#: Distance in pixels at which the documented score is 0.
DOCUMENTED_REACH = 1000.0

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PatchFacts:
    """What is known of a patch when its style is chosen."""

    patch: str  # its file name, unique in the session
    image: str  # file name of the image it was cut from
    x: int
    y: int  # column and row, in the image, of its first pixel
    height: int
    width: int  # of what it shows of the image, in pixels
    image_shape: tuple[int, int] | None = None  # height and width of the image
    retina: Hashable | None = None  # what tells one retina from another, such as (subject, eye); None is unknown
    modality: str | None = None  # how the image was taken; None is unknown
    place: tuple[float, float] | None = None  # center of the image on the retina, x and y in pixels; None is unknown
    score: float = math.nan  # quality, higher is better; NaN is unknown
    good: bool | None = None  # whether the score is above the threshold; None is unknown
    spacing: float = math.nan  # cone spacing in pixels; NaN is unknown
    cones: float = math.nan  # number of cones, for the documented score; NaN is unknown
    valid_fraction: float = 1.0  # share of its pixels that show tissue, not a border or padding
    frame: Hashable | None = None  # of a `place` found by shared cones; only places in one frame are compared


class CorrespondingPatchFinder:
    """Find the style of each patch that is to be enhanced.

    Parameters
    ----------
    patches : sequence of PatchFacts
        Of the whole session; their order decides between equals.
    score : "retina" or "documented"
        How a style is chosen, see the notes.
    treat : "poor" or "all"
        Which patches get a style: those whose `good` is False, or every one.
    max_distance : float, optional
        Largest distance of a style, pixels. Styles at an unknown distance are then refused.
    spacing_tolerance : float
        Largest relative difference of the cone spacings of target and style.
    minimum_valid : float
        Share of a style that must show tissue, 0 to 1.
    same_cones : callable, optional
        Gets the names of target and style, and says whether they show the same cones. Asked last, and only about
        patches of different images that overlaps have not placed in one frame.
    label, unit : str
        What the score is called in the reasons: "ring", "dB".

    Raises
    ------
    ParameterError
        A value is out of its range, or two patches have one name.

    Notes
    -----
    "retina": the style is good, scores strictly higher than the target, shows other cones (no overlap in the image, nor
    on the retina where both places are known in one frame), comes from the same retina and modality where both are
    known, shows tissue enough, has a known spacing within the tolerance of the target's, if that is known, and lies
    within `max_distance`. Of these the one with the largest ``pair_score`` is taken,

        pair_score = (style - target) / (best good score - target) / (1 + distance / 500 px),

    the share of the possible gain in score, halved at 500 px: it does not depend on the unit of the score. Styles at an
    unknown distance come after all others, by their score. Where no quality is known (`good` is None everywhere), every
    one with a higher score may be a style of "all".

    "documented": the style has the largest ``cones x (1 - distance / 1000)`` above 0, among the other patches at a
    known distance, without any other rule.
    """

    def __init__(
        self,
        patches: Sequence[PatchFacts],
        *,
        score: str = "retina",
        treat: str = "poor",
        max_distance: float | None = None,
        spacing_tolerance: float = 0.15,
        minimum_valid: float = 0.5,
        same_cones: Callable[[str, str], bool] | None = None,
        label: str = "score",
        unit: str = "",
    ) -> None:
        self.patches = tuple(patches)
        for name, value, choices in (("score", score, ("retina", "documented")), ("treat", treat, ("poor", "all"))):
            if value not in choices:
                raise ParameterError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}.")
        self.reach = math.inf if max_distance is None else max_distance
        for name, limit, greatest in (
            ("max_distance", self.reach, math.inf),
            ("spacing_tolerance", spacing_tolerance, math.inf),
            ("minimum_valid", minimum_valid, 1.0),
        ):
            if not 0 <= limit <= greatest:
                raise ParameterError(f"{name} must be at least 0{' and at most 1' * (greatest == 1)}, got {limit!r}.")
        self.names = [patch.patch for patch in self.patches]
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ParameterError(f"Two patches are called {twice!r}; give each patch of the session a name of its own.")
        self.score, self.treat = score, treat
        self.far_is_known = max_distance is not None
        self.spacing_tolerance, self.minimum_valid, self.same_cones = spacing_tolerance, minimum_valid, same_cones
        self.label, self.unit = label, unit
        self._all = _Columns(self.patches)

    def find(self) -> pd.DataFrame:
        """Choose the styles.

        Returns
        -------
        pandas.DataFrame
            A row for each patch, in the order they were given: ``patch``; ``treat``, whether it has a style; ``style``,
            its file name or ""; ``distance`` to it in pixels, NaN if unknown; ``pair_score``, NaN where the distance
            is; and ``reason``, in words.
        """
        import pandas as pd

        choices = [self._choice(i) for i in range(len(self.patches))]
        frame = pd.DataFrame(choices, columns=_Choice._fields)
        frame.insert(0, "treat", frame["style"] != "")
        frame.insert(0, "patch", self.names)
        return frame.astype({"treat": bool, "distance": np.float64, "pair_score": np.float64})

    def distance(self, patch: str, style: str) -> float:
        """Return the pixels between two patches, by name, on the retina or in their image; NaN where unknown."""
        return float(self._all.distance(self.names.index(patch))[self.names.index(style)])

    def _choice(self, i: int) -> _Choice:
        quality = Quality.of(self.patches[i].good)
        state = "quality unknown" if quality is Quality.UNKNOWN else quality.value
        if self.treat == "poor" and quality is not Quality.POOR:
            return _Choice(reason=f"{state}, kept")
        chosen = self._documented(i) if self.score == "documented" else self._retina(i)
        reason = f"style: {chosen.reason}" if chosen.style else f"{state}, but no style: {chosen.reason}"
        return chosen._replace(reason=reason)

    def _retina(self, i: int) -> _Choice:
        known, own = self._all, float(self._all.score[i])
        if not math.isfinite(own):
            return _Choice(reason="it has no score to compare with")
        left = known.eligible.copy()
        left[i] = False
        total = int(left.sum())
        what = "good patch" if known.assessed else "other patch"
        if not total:
            return _Choice(reason=f"no {what}")
        refused: dict[str, int] = {}
        distance = known.distance(i)
        for why, fails in (
            ("not better", ~(known.score > own)),
            ("of another retina", known.differs(known.retina, i)),
            ("of another modality", known.differs(known.modality, i)),
            ("overlap", known.overlaps(i)),
            ("with too few valid pixels", ~(known.valid >= self.minimum_valid)),
            ("of unknown spacing", ~np.isfinite(known.spacing)),
            ("of another spacing", self._other_spacing(float(known.spacing[i]))),
            ("at unknown distance", np.isnan(distance) & self.far_is_known),
            ("too far away", distance > self.reach),
        ):
            refused[why] = int((left & fails).sum())
            left &= ~fails
        candidates = np.flatnonzero(left)
        gain = (known.score[candidates] - own) / (known.score[known.eligible].max() - own) if candidates.size else []
        far = np.isnan(distance[candidates])
        value = np.asarray(gain) / (1 + np.where(far, 0.0, distance[candidates]) / HALF_DISTANCE)
        # Known distances first, then the larger value; the sort is stable, so the order of input decides last.
        for k in np.lexsort((-value, far)).tolist():
            j = int(candidates[k])
            if not self._shows_same_cones(i, j):
                pair_score = math.nan if far[k] else float(value[k])
                return _Choice(self.names[j], float(distance[j]), pair_score, self._why(i, j, float(distance[j])))
            refused["with the same cones"] = refused.get("with the same cones", 0) + 1
        listed = ", ".join(f"{count} {why}" for why, count in refused.items() if count)
        return _Choice(reason=f"{total} {what}{'es' * (total != 1)}: {listed}")

    def _documented(self, i: int) -> _Choice:
        cones, distance = self._all.cones, self._all.distance(i)
        value = cones * (1 - distance / DOCUMENTED_REACH)
        possible = (value > 0) & (distance <= self.reach)  # False where one of them is unknown
        possible[i] = False
        if not possible.any():
            reach = min(self.reach, DOCUMENTED_REACH)
            return _Choice(reason=f"no other patch with cones is known to lie within {reach:g} px")
        j = int(np.argmax(np.where(possible, value, -np.inf)))
        reason = f"{cones[j]:g} cones x (1 - {distance[j]:.0f}/1000) = {value[j]:.1f}"
        return _Choice(self.names[j], float(distance[j]), float(value[j]), reason)

    def _other_spacing(self, own: float) -> Bools:
        if not math.isfinite(own):
            return np.zeros(len(self.patches), dtype=bool)
        # The slack keeps 11.5 within 15 % of 10, which binary fractions miss.
        near: Bools = np.abs(self._all.spacing - own) <= self.spacing_tolerance * abs(own) + 1e-9
        return ~near

    def _shows_same_cones(self, i: int, j: int) -> bool:
        target, style = self.patches[i], self.patches[j]
        if self.same_cones is None or target.image == style.image:
            return False
        if target.frame is not None and target.frame == style.frame:
            return False  # their places were found by their cones, so their overlap is known
        return bool(self.same_cones(target.patch, style.patch))

    def _why(self, i: int, j: int, distance: float) -> str:
        target, style = self.patches[i], self.patches[j]
        # As many digits as show the difference.
        texts = ((f"{style.score:.{digits}g}", f"{target.score:.{digits}g}") for digits in (3, 6, 9))
        better, worse = next((pair for pair in texts if pair[0] != pair[1]), (repr(style.score), repr(target.score)))
        where = "distance unknown" if math.isnan(distance) else f"{distance:.0f} px away"
        spacings = f"{style.spacing:.3g} / {target.spacing:.3g} px" if math.isfinite(target.spacing) else ""
        spacings = spacings or f"{style.spacing:.3g} px, of the target unknown"
        return f"{self.label} {better} > {worse}{' ' * bool(self.unit)}{self.unit}, {where}, spacing {spacings}"


class _Choice(NamedTuple):
    """The style of a patch, or none, and why."""

    style: str = ""
    distance: float = math.nan
    pair_score: float = math.nan
    reason: str = ""


class _Columns:
    """What is known of all patches as arrays, and what it says of one patch against all."""

    def __init__(self, patches: Sequence[PatchFacts]) -> None:
        import pandas as pd

        frame = pd.DataFrame(list(patches), columns=[field.name for field in fields(PatchFacts)], dtype=object)
        numbers = ["x", "y", "width", "height", "score", "spacing", "cones", "valid_fraction"]
        number = frame[numbers].astype(np.float64).replace([math.inf, -math.inf], math.nan)
        self.score, self.spacing, self.cones, self.valid = (number[k].to_numpy() for k in numbers[4:])
        # A number for each different value, -1 for None.
        self.image, self.retina, self.modality, self._frame = (
            pd.factorize(frame[name])[0] for name in ("image", "retina", "modality", "frame")
        )
        self.assessed = bool(frame["good"].notna().any())
        good = frame["good"].fillna(False).to_numpy(bool)
        self.eligible: Bools = (good | (not self.assessed)) & np.isfinite(self.score)
        self._start, self._size = number[["x", "y"]].to_numpy(), number[["width", "height"]].to_numpy()
        # Where the first pixel of a patch lies on the retina.
        unknown = (math.nan, math.nan)
        shapes, places = ([value or unknown for value in frame[name]] for name in ("image_shape", "place"))
        centers = np.array(shapes, dtype=np.float64).reshape(-1, 2)[:, ::-1] / 2
        self._on_retina = self._start - centers + np.array(places, dtype=np.float64).reshape(-1, 2)

    def differs(self, codes: NDArray[np.intp], i: int) -> Bools:
        """Where something known of the patch is known to be different."""
        different: Bools = (codes >= 0) & (codes != codes[i]) & (codes[i] >= 0)
        return different

    def _elsewhere(self, i: int) -> Bools:
        """Where places have no common origin: another frame, or another retina."""
        other: Bools = (self._frame != self._frame[i]) | self.differs(self.retina, i)
        return other

    def distance(self, i: int) -> Floats:
        """Pixels from one patch to each: within the image, or on the retina; NaN where unknown."""
        within = np.hypot(*(self._start - self._start[i]).T)
        middle = self._on_retina + self._size / 2
        across = np.hypot(*(middle - middle[i]).T)
        across[self._elsewhere(i)] = np.nan
        pixels: Floats = np.where(self.image == self.image[i], within, across)
        return pixels

    def overlaps(self, i: int) -> Bools:
        """Which patches are known to share pixels, or places on the retina, with one of them."""

        def shared(start: Floats) -> Bools:
            gap = np.maximum(start, start[i]) - np.minimum(start + self._size, start[i] + self._size[i])
            both: Bools = (gap < 0).all(axis=1)  # False where a place is unknown
            return both

        there = shared(self._on_retina) & ~self._elsewhere(i)
        overlapping: Bools = np.where(self.image == self.image[i], shared(self._start), there)
        return overlapping


def write_pairs(path: str | os.PathLike[str], frame: pd.DataFrame, *, publish: Publish = write_new) -> Path:
    """Write a table of pairs for a spreadsheet and `read_pairs`; return the file that was written.

    An existing file stays, and the new one gets a counter, unless `publish` is `write_over`. The file is CSV in UTF-8
    with a byte order mark, without which Excel takes it for another encoding.
    """
    columns = ["patch", "style", *(name for name in frame.columns if name not in ("patch", "style"))]
    return publish(Path(path), lambda file: frame[columns].to_csv(file, index=False, encoding="utf-8-sig"))


def read_pairs(path: str | os.PathLike[str], known_names: Iterable[str]) -> dict[str, str]:
    """Read a table of pairs, patch to style, with their full names and in the order of the file.

    The CSV has the columns ``patch`` and ``style``; others are ignored, and names may lack their extension. A patch
    with an empty style, or that is not named, is not enhanced. Raises FileError, with the line, where a column is
    missing, or a row has a patch or style that the session does not have, a patch again, or one that is its own style.
    """
    table = read_table(path, ("patch", "style"))
    known = KnownNames(known_names)
    lines: dict[str, int] = {}
    pairs: dict[str, str] = {}
    for row in table.rows:
        written, wanted = row.cells["patch"], row.cells["style"]
        if not written:
            raise table.error(row, f"the style {wanted!r} has no patch before it; write the patch, or remove the line.")
        patch = known.find(written)
        if patch is None:
            raise table.error(row, known.unknown(written))
        if patch in lines:
            raise table.error(row, f"{patch!r} has a line already, line {lines[patch]}; keep one of them.")
        lines[patch] = row.line
        style = known.find(wanted) if wanted else ""
        if style is None:
            raise table.error(row, f"the style is missing: {known.unknown(wanted)}")
        if style == patch:
            raise table.error(row, f"{patch!r} is its own style; choose another, or leave the style empty.")
        pairs[patch] = style
    return pairs
