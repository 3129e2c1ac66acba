"""The documented range corrections: values of a patch that lie far from its mean are replaced."""

from __future__ import annotations

import math
import numbers
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError, StyleTransferWarning
from napari_nst.imaging.checks import check_grey

__all__ = ["Distribution", "KnownStatistics", "RangeCorrected", "RangeCorrection", "RangeStatistics", "correct_range"]

#: Every field that a name consists of, in the documented order, with its values.
_CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("zero", "std", "var"),
    "range_method": ("lower", "both"),
    "replace": ("median", "border"),
    "correct": ("local", "global"),
}

#: Values of a patch that stand for all of its values where they cannot be counted one by one.
_GROUPS = 1024


@dataclass(frozen=True)
class RangeCorrection:
    """Which values are replaced, and by what.

    Attributes
    ----------
    method : {"std", "var", "zero"}
        Limits at mean ± k standard deviations; at mean ± k variances (the legacy rule, see `correct_range`); or none, and
        the pixels that are 0 or less are replaced.
    range_method : {"both", "lower"} or None
        Whether the values at and above the upper limit are replaced too. Of no meaning for "zero", where it may be None.
    replace, correct : {"border", "median"}, {"local", "global"}
        By the limit itself or the median; by statistics of the patch or of all patches.
    k : float
        Half-width of the range in standard deviations (in variances under "var"), above 0.

    Examples
    --------
    >>> str(RangeCorrection("var", correct="global"))
    'var_both_border_global'
    >>> RangeCorrection.parse("std_lower_median_local").replace
    'median'
    """

    method: str = "std"
    range_method: str | None = "both"
    replace: str = "border"
    correct: str = "local"
    k: float = 1.0

    def __post_init__(self) -> None:
        """Check every field."""
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if name == "range_method" and value is None and self.method == "zero":
                continue
            if value not in choices:
                raise ParameterError(f"{name}: must be one of {', '.join(choices)}, got {value!r}.")
        if not isinstance(self.k, numbers.Real) or isinstance(self.k, bool) or not 0 < self.k < math.inf:
            raise ParameterError(f"k: must be a half-width above 0, got {self.k!r}. Try 1.")

    def __str__(self) -> str:
        """The documented name of the folder: method, range, replacement, correction; then k, if it is not 1."""
        parts = [getattr(self, name) for name in _CHOICES] + ([] if self.k == 1 else [f"k{float(self.k)!r}"])
        return "_".join(part for part in parts if part is not None)

    @classmethod
    def parse(cls, text: str) -> RangeCorrection:
        """Read a name as ``str()`` writes it; raises ParameterError for any other text."""
        given: dict[str, Any] = {"range_method": None}
        parts = text.split("_")
        if parts[-1].startswith("k"):
            try:
                given["k"] = float(parts[-1][1:])
            except ValueError:
                raise ParameterError(f"{text!r}: {parts[-1]!r} is not a half-width such as 'k1.5'.") from None
            parts.pop()
        for name, choices in _CHOICES.items():
            if parts and parts[0] in choices:
                given[name] = parts.pop(0)
        if parts or not given.keys() >= _CHOICES.keys():
            expected = "_".join("|".join(choices) for choices in _CHOICES.values())
            example = f"expected {expected}, for example 'std_both_border_global'."
            raise ParameterError(f"{text!r} is not the name of a range correction; {example}")
        return cls(**given)


class Distribution(NamedTuple):
    """Moments, median and smallest value of some pixels, in gray levels; NaN where there is no pixel."""

    pixels: int
    mean: float
    standard_deviation: float
    variance: float
    median: float
    minimum: float


@dataclass(frozen=True)
class KnownStatistics:
    """What `RangeStatistics` came to, as plain numbers that can be sent to another process.

    Attributes
    ----------
    dtype : str
        Of the patches; "" where there were none.
    everything, positive : Distribution
        Of all used pixels, and of those above 0.
    """

    dtype: str
    everything: Distribution
    positive: Distribution


_NOTHING = Distribution(0, *[math.nan] * 5)


class RangeCorrected(NamedTuple):
    """What a range correction made of a patch.

    Attributes
    ----------
    image, changed : array and array of bool, (H, W)
        A new array of the patch's dtype, and where it differs from the patch.
    report : dict
        JSON-able: the correction's name, used and changed pixels, and for each step its limit, the value put in
        place, and how many pixels lay at or beyond the limit.
    """

    image: NDArray[Any]
    changed: NDArray[np.bool_]
    report: dict[str, Any]


class RangeStatistics:
    """Mean, standard deviation and median of all used pixels of many patches, added one by one.

    The median is exact for integers of 8 and 16 bits and for patches of at most 1024 pixels. For other types each patch is
    stood for by 1024 of its values, evenly spread in rank: the rank is wrong by at most a thousandth of all pixels.
    """

    def __init__(self) -> None:
        self._dtype = ""
        self._all, self._positive = _Sums(), _Sums()

    @classmethod
    def of(cls, images: Iterable[ArrayLike], masks: Iterable[ArrayLike | None] | None = None) -> RangeStatistics:
        """Collect the statistics of patches, (H, W) of one dtype, with as many masks, not 0 where a pixel is used."""
        made, missing = cls(), object()
        pairs = ((i, None) for i in images) if masks is None else zip_longest(images, masks, fillvalue=missing)
        for image, mask in pairs:
            if image is missing or mask is missing:
                raise ImageError("There are not as many masks as patches; give None for a patch that is used whole.")
            made.update(image, mask)  # type: ignore[arg-type]  # the sentinel is gone
        return made

    def update(self, image: ArrayLike, mask: ArrayLike | None = None) -> RangeStatistics:
        """Add a patch, (H, W), with the mask of its used pixels; ImageError if it is of another dtype than those before."""
        array, used = check_grey(image, mask, "patch")
        self._dtype = _checked_dtype(array.dtype, self._dtype)
        values = array[used]
        self._all.add(values)
        self._positive.add(values[values > 0])
        return self

    def compute(self) -> KnownStatistics:
        """Return the statistics so far."""
        return KnownStatistics(self._dtype, self._all.compute(), self._positive.compute())


class _Sums:
    """Count, mean, sum of squared deviations (Chan, Golub and LeVeque 1983), and values with their numbers."""

    def __init__(self) -> None:
        self.count, self.mean, self.deviations, self.minimum = 0, 0.0, 0.0, math.inf
        self.levels: Counter[int] = Counter()
        self.samples: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []

    def add(self, values: NDArray[Any]) -> None:
        if not values.size:
            return
        precise = values.astype(np.float64)
        mean, count = float(precise.mean()), self.count + values.size
        shift = mean - self.mean
        self.deviations += float(((precise - mean) ** 2).sum()) + shift**2 * self.count * values.size / count
        self.mean += shift * values.size / count
        self.count, self.minimum = count, min(self.minimum, float(precise.min()))
        if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:
            levels, counts = np.unique(values, return_counts=True)
            self.levels.update(dict(zip(levels.tolist(), counts.tolist(), strict=True)))
        else:
            starts = np.unique(np.arange(_GROUPS) * values.size // _GROUPS)
            numbers = np.diff(np.append(starts, values.size))
            self.samples.append((np.sort(precise)[starts + numbers // 2], numbers))

    def compute(self) -> Distribution:
        if not self.count:
            return _NOTHING
        variance = self.deviations / self.count
        return Distribution(self.count, self.mean, math.sqrt(variance), variance, self._median(), self.minimum)

    def _median(self) -> float:
        if self.levels:
            values, numbers = np.array([*self.levels.items()], dtype=float).T
        else:
            values, numbers = (np.concatenate(part) for part in zip(*self.samples, strict=True))
        order = np.argsort(values)
        below = np.cumsum(numbers[order])
        middle = np.searchsorted(below, [(self.count - 1) // 2, self.count // 2], side="right")
        return float(values[order][middle].mean())


def correct_range(
    image: ArrayLike,
    correction: RangeCorrection,
    *,
    statistics: KnownStatistics | RangeStatistics | None = None,
    mask: ArrayLike | None = None,
) -> RangeCorrected:
    """Replace the values of a patch that lie at or beyond the limits of a correction.

    Parameters
    ----------
    image : array, (H, W)
        Any integer or float dtype; not changed.
    correction : RangeCorrection
        The rule.
    statistics : KnownStatistics or RangeStatistics, optional
        Of all patches of the session; needed for, and used by, ``correct="global"`` alone.
    mask : array, (H, W), optional
        Not 0 where a pixel is used; the others are neither counted nor touched.

    Raises
    ------
    ImageError, ParameterError
        The patch is not gray, not finite, of another dtype than `statistics`, or without a value above 0 to replace zeros
        by; global statistics are asked for and not given.

    Warns
    -----
    StyleTransferWarning
        Under the method "var", whose limits usually lie outside of what 8 bits hold, so that nothing changes.

    Notes
    -----
    With m, s and k s the mean, the standard deviation and the half-width: values <= m - k s are replaced by m - k s or by
    the median; then, for ``range_method="both"``, values >= m + k s likewise, by statistics of the patch as the first step
    left it (or by the same global ones). Under "zero" values <= 0 are replaced by the median or by m - k s of the
    values above 0, but by nothing below the smallest of these, which could be 0 again. Integers are rounded.
    """
    array, used = check_grey(image, mask, "patch")
    common = None
    if correction.correct == "global":
        if statistics is None:
            remedy = "collect them with RangeStatistics.of(patches, masks), or take correct='local'"
            raise ParameterError(f"{correction}: global statistics are needed; {remedy}.")
        known = statistics.compute() if isinstance(statistics, RangeStatistics) else statistics
        _checked_dtype(array.dtype, known.dtype)
        common = known.positive if correction.method == "zero" else known.everything
    if correction.method == "var":
        warnings.warn(
            f"{correction}: the legacy rule takes the variance for the half-width of the range. On 8-bit images its limits "
            "usually lie outside the values, so that nothing changes; method='std' is the working rule.",
            StyleTransferWarning,
            stacklevel=2,
        )
    out = array.copy()
    sides = ("lower", "upper") if correction.range_method == "both" and correction.method != "zero" else ("lower",)
    steps = [_replace(out, used, side, correction, common) for side in sides]
    changed = used & (out != array)
    pixels, number = int(used.sum()), int(changed.sum())
    counts = {"pixels": pixels, "changed": number, "share": number / pixels}
    return RangeCorrected(out, changed, {"correction": str(correction), **counts, "steps": steps})


def _replace(
    out: NDArray[Any], used: NDArray[np.bool_], side: str, correction: RangeCorrection, common: Distribution | None
) -> dict[str, Any]:
    """Do one step on `out`, in place."""
    zero, sign = correction.method == "zero", -1 if side == "lower" else 1
    values = out[used].astype(np.float64)
    found = _distribution_of(values[values > 0] if zero else values) if common is None else common
    if found.pixels == 0:
        lacking = f"there is no value{' above 0' if zero else ''} among those that count"
        raise ImageError(f"{correction}: {lacking}, so nothing can be put in place of others; leave this patch out.")
    width = correction.k * (found.variance if correction.method == "var" else found.standard_deviation)
    border = found.mean + sign * width
    limit = 0.0 if zero else border
    if zero:
        border = max(border, found.minimum)
    wanted = found.median if correction.replace == "median" else border
    beyond = used & (out.astype(np.float64) * sign >= limit * sign)
    value = _fitting(wanted, out.dtype)
    out[beyond] = value
    return {"side": side, "limit": limit, "value": value.item(), "pixels": int(beyond.sum())}


def _checked_dtype(dtype: np.dtype[Any], known: str) -> str:
    """Refuse a dtype other than that of the patches before: their gray levels are not the same."""
    native = str(dtype.newbyteorder("="))
    if known not in ("", native):
        what = f"A patch of type {native} cannot be corrected by statistics of {known} patches"
        raise ImageError(f"{what}; bring all to one type.")
    return native


def _distribution_of(values: NDArray[np.float64]) -> Distribution:
    if values.size == 0:
        return _NOTHING
    mean, variance, median, least = (float(of(values)) for of in (np.mean, np.var, np.median, np.min))
    return Distribution(values.size, mean, math.sqrt(variance), variance, median, least)


def _fitting(value: float, dtype: np.dtype[Any]) -> Any:
    """The value of a type that is nearest to a number."""
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    number = value if dtype.kind == "f" else round(value)
    return dtype.type(min(max(number, info.min), info.max))
