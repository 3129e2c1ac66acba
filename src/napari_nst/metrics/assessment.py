"""All measures of one enhancement together: numbers, a verdict, a table, a figure and files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import FileError, ParameterError
from napari_nst.imaging.checks import Floats, image_and_mask, images_and_mask
from napari_nst.imaging.cones import DEFAULT_CONFIDENCE, Cones, detect_cones
from napari_nst.imaging.masks import black_border
from napari_nst.imaging.spacing import ring_prominence
from napari_nst.io.atomic import free_stem, write_new
from napari_nst.io.coordinates import write_coordinates
from napari_nst.io.records import plain, to_json, write_record
from napari_nst.metrics._bands import Mask, shared_spacing
from napari_nst.metrics.changes import ConeChanges, cone_changes
from napari_nst.metrics.comparison import Comparison, compare
from napari_nst.metrics.matching import Agreement, agreement
from napari_nst.metrics.mosaic import (
    check_pixel_size,
    cone_density,
    nearest_neighbour_spacing,
    renamed_argument,
    voronoi_regularity,
)
from napari_nst.metrics.quality import aiq, signal_to_noise
from napari_nst.metrics.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels along the edges that the published protocol does not count: cones are cut there.
BORDER = 7
#: Images whose ranges of values differ by more than this factor are hardly on one scale.
_SCALES = 20.0
#: Side of the square, in pixels, from which on a spectrum can be read (`ring_prominence`).
_SPECTRUM = 32
#: Columns of the text, of its labels and of a value.
_TEXT, _LABEL, _VALUE = 100, 34, 9
#: What is written where nothing can be said.
_UNKNOWN = "–"
_ROLES, _FLAGS = ("kept", "lost", "new"), ("unsupported", "shaded", "far")
_AGREEMENT = (
    "Dice coefficient of the detections of target and result; in brackets the chance level, that of a random lattice of as "
    "many points: only what is above it counts."
)


class TableRow(NamedTuple):
    """A row of a table: what it is called, its values as text, and what it means."""

    label: str
    values: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, eq=False)
class MosaicMeasures:
    """What one image shows. NaN where that cannot be said.

    Attributes
    ----------
    cones, density : Cones, float
        Those found, and how many / mm² of the used pixels; NaN without a pixel size.
    spacing, spacing_um : float
        `nearest_neighbour_spacing`, in pixels and in µm; the latter NaN without a pixel size.
    regularity, six_sided : float
        As `voronoi_regularity` defines them.
    ring_db, ring_spacing : float
        Prominence in dB and spacing in pixels of Yellott's ring (`ring_prominence`).
    aiq_db, snr_db : float
        `aiq`, NaN where a mask leaves pixels out, and `signal_to_noise`, dB.
    """

    cones: Cones
    density: float
    spacing: float
    spacing_um: float
    regularity: float
    six_sided: float
    ring_db: float
    ring_spacing: float
    aiq_db: float
    snr_db: float


@dataclass(frozen=True, eq=False)
class Assessment:
    """What an enhancement did to the cones. ``print`` it for a table and the verdict.

    Attributes
    ----------
    before, after, style : MosaicMeasures
        Of target and result, whose cones were looked for with the same spacing, and of the style, with that of its own
        ring; None without a style.
    comparison, cones, verdict : Comparison, ConeChanges, Verdict
    agreement : tuple of Agreement
        Detections of the result scored against those of the target, each tolerance beside the chance level.
    pixel_size : float or None
        µm on the retina per pixel.
    pixels : int
        How many were used.
    target, result, style_image : array
        The images, as they were given.
    used, style_used : array of bool
        Which of their pixels count.
    """

    before: MosaicMeasures
    after: MosaicMeasures
    style: MosaicMeasures | None
    comparison: Comparison
    cones: ConeChanges
    agreement: tuple[Agreement, ...]
    verdict: Verdict
    pixel_size: float | None
    pixels: int
    target: NDArray[Any] = field(repr=False)
    result: NDArray[Any] = field(repr=False)
    used: NDArray[np.bool_] = field(repr=False)
    style_image: NDArray[Any] | None = field(repr=False, default=None)
    style_used: NDArray[np.bool_] | None = field(repr=False, default=None)

    @property
    def scale(self) -> float | None:
        """The name of `pixel_size` in version 0.1."""
        return self.pixel_size

    def measure_rows(self) -> list[TableRow]:
        """Return the measures of target, result and style (if there is one) as text."""
        images = [one for one in (self.before, self.after, self.style) if one is not None]
        return [TableRow(label, tuple(show(of(one)) for one in images), text) for label, of, text, show in _MEASURES]

    def comparison_rows(self) -> list[TableRow]:
        """Return what became of the target's cones, and how much the image was changed, as text: one value a row."""
        c, cones = self.comparison, self.cones
        rows = [
            ("Cones kept", f"{len(cones.kept)}", "Detections of the result that are cones of the target."),
            ("Cones lost", f"{len(cones.lost)}", "Cones of the target that are not found in the result."),
            ("New detections", f"{len(cones.new)}", "Detections of the result that are no cones of the target."),
            ("… unsupported", f"{len(cones.unsupported)}", "New detections that are unsupported by the target: no gain and no filter of it explains them."),
            ("… in shadows", f"{len(cones.shaded)}", "New detections where the target is so dark and poor in contrast that none of its cones can be recognized."),
            ("… far from any cone", f"{len(cones.far)}", "New detections that lie farther than one spacing from every cone of the target."),
            *((f"Agreement within {one.tolerance:g} spacings", f"{written(one.dice)} (chance {written(one.chance_dice)})", _AGREEMENT) for one in self.agreement),
            ("Structure kept", written(c.structure), "Correlation of target and result in the band of the cones: 1 is all."),
            (f"SSIM (range {written(c.ssim_range)})", written(c.ssim), "Structural similarity (Wang 2004) of target and result, with this range of values."),
            ("Moved, px", f"{written(c.displacement)} (most {written(c.largest_displacement)})", "How far the structure was moved: the median and the largest over tiles of the image that have enough structure."),
            ("Order of gray levels", written(c.monotonicity), "Spearman's rank correlation of the pixels: 1 if no order was changed."),
            ("Change of the spectrum, dB", _decibels(c.spectrum_change), "Root mean square of the change of the radial power spectrum."),
            ("… in the band of the cones", _decibels(c.band_change, "+"), "Mean change of the spectrum in the band of the cones."),
            ("Change, gray levels", f"{written(c.mean_change)} (most {written(c.largest_change)})", "Mean and largest absolute change of a pixel."),
        ]  # fmt: skip
        return [TableRow(label, (value,), meaning) for label, value, meaning in rows]

    def place_texts(self) -> list[str]:
        """Return the places to look at in words, the worst first."""
        text = "{0.count} new detection{1} around row {0.row:.0f}, column {0.column:.0f}"
        return [text.format(place, "s" if place.count != 1 else "") for place in self.cones.places]

    def __str__(self) -> str:
        headings = ("Target", "Result") if self.style is None else ("Target", "Result", "Style")
        rows = [TableRow("", headings, ""), *self.measure_rows()]
        lines = [
            f"{row.label:{_LABEL}}"
            + " → ".join(f"{value:>{_VALUE}}" for value in row.values[:2])
            + "".join(f"   {value:>{_VALUE}}" for value in row.values[2:])
            for row in rows
        ]
        lines[0] = lines[0].replace("→", " ")
        lines += ["", *(f"{row.label:{_LABEL}}{row.values[0]}" for row in self.comparison_rows()), ""]
        lines += textwrap.wrap(f"{self.verdict.level.upper()}. {self.verdict.text}", _TEXT)
        for reason in self.verdict.reasons[1:]:
            lines += textwrap.wrap(reason, _TEXT, initial_indent="- ", subsequent_indent="  ")
        return "\n".join([*lines, *(f"Place {n}: {text}" for n, text in enumerate(self.place_texts(), start=1))])

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, JSON-able: NaN and infinity are None, positions [row, column] in pixels; no pixels."""
        cones = self.cones
        flags = cones.flags("unsupported", "shaded", "remapped", "far")
        images = {"before": self.before, "after": self.after, "style": self.style}
        record = {
            "verdict": self.verdict,
            **{name: one and {**vars(one), "cones": len(one.cones)} for name, one in images.items()},
            "comparison": self.comparison,
            "cones": {
                **{name: len(getattr(cones, name)) for name in (*_ROLES, *_FLAGS)},
                "faint": cones.faint,
                "spacing": cones.spacing,
                "confidence": DEFAULT_CONFIDENCE,
                "places": cones.places,
                "lost_at": cones.lost.round(2),
                "new_at": [
                    {"position": at, **{name: of[i] for name, of in flags.items()}}
                    for i, at in enumerate(cones.new.round(2))
                ],
            },
            "agreement": self.agreement,
            "um_per_px": self.pixel_size,
            "shape": self.target.shape,
            "dtypes": {"target": str(self.target.dtype), "result": str(self.result.dtype)},
            "pixels": self.pixels,
        }
        converted: dict[str, Any] = plain(record)
        return converted

    def to_json(self, path: str | Path | None = None) -> str:
        """Return `to_dict` as text, and write it to a file, if asked.

        Raises
        ------
        FileError
            The file exists already (it is never overwritten), or the folder does not, or cannot be written to.
        """
        text = to_json(self.to_dict())
        if path is not None:
            try:
                with Path(path).open("x", encoding="utf-8") as file:
                    file.write(text + "\n")
            except OSError as error:
                exists = isinstance(error, FileExistsError)
                what = (
                    "exists already, and nothing is overwritten" if exists else f"cannot be written ({error.strerror})"
                )
                raise FileError(f"{path} {what}. Pass another name, in a folder that exists.") from error
        return text

    def figure(self) -> Figure:
        """Draw target, result with its cones, change, suspicion and spectra: a figure of no screen, to ``savefig``."""
        from napari_nst.metrics.figure import assessment_figure

        style = self.style_image, self.style_used
        return assessment_figure(self.target, self.result, self.used, self.cones, self.verdict, *style)

    def save(
        self,
        folder: str | Path,
        stem: str,
        record: Mapping[str, Any],
        *,
        ending: str = "",
        coordinates_base: int | None = None,
    ) -> dict[str, Path]:
        """Write the assessment as JSON, its figure as PNG, and its cones as CSV.

        Parameters
        ----------
        folder, stem : path-like, str
            Where, made if it does not exist, and the beginning of the names. Nothing that exists is overwritten: all files
            get the same counter.
        record, ending : mapping, str
            What the JSON holds: `to_dict`, and what else is known; the end of the names of JSON, PNG and the one CSV.
        coordinates_base : 0 or 1, optional
            Write three tables x,y without header, ``{stem}_kept_coords.csv``, lost and new, in which the first pixel has
            this number. None: one table with the columns row, column (pixels of the target, 0-based), cone (kept, lost or
            new), unsupported, shaded and far (1 or 0).

        Returns
        -------
        dict
            Record, Figure, and Cones or Kept, Lost and New to the path of the file. FileError if it cannot be written.
        """
        writers: dict[str, tuple[str, Callable[[Path], Path]]] = {
            "Record": (f"{ending}.json", lambda path: write_record(path, record)),
            "Figure": (f"{ending}.png", lambda path: write_new(path, partial(self.figure().savefig, dpi=150))),
        }
        if coordinates_base is None:
            writers["Cones"] = (f"{ending}.csv", lambda path: write_new(path, self._write_cones))
        else:
            for name in _ROLES:
                write = partial(write_coordinates, points=getattr(self.cones, name), base=coordinates_base)
                writers[name.capitalize()] = (f"_{name}_coords.csv", write)
        free = free_stem(folder, stem, [f"{{}}{end}" for end, _ in writers.values()])
        return {label: write(Path(folder) / f"{free}{end}") for label, (end, write) in writers.items()}

    def _write_cones(self, path: Path) -> None:
        flags = self.cones.flags(*_FLAGS)
        lines = [",".join(("row", "column", "cone", *_FLAGS))]
        for role in _ROLES:
            for number, (row, column) in enumerate(getattr(self.cones, role)):
                flagged = (str(int(role == "new" and of[number])) for of in flags.values())
                lines.append(",".join((f"{row:.3f}", f"{column:.3f}", role, *flagged)))
        path.write_text("\r\n".join([*lines, ""]), encoding="utf-8", newline="")


def assess(
    target: ArrayLike,
    result: ArrayLike,
    style: ArrayLike | None = None,
    pixel_size: float | None = None,
    *,
    mask: ArrayLike | str | None = None,
    style_mask: ArrayLike | str | None = None,
    value_range: tuple[float, float] | None = None,
    scale: float | None = None,
) -> Assessment:
    """Measure what an enhancement did to the cones, and say whether it may be trusted.

    Parameters
    ----------
    target, result : array, (H, W)
        The image before and after, gray, of one shape, their values on one scale; any integer or float dtype.
    style : array, (H', W'), optional
        The image that the result was to be like; it is measured beside the two.
    pixel_size : float, optional
        µm on the retina per pixel; `scale` is its deprecated alias. Without it densities and spacings in µm are NaN.
    mask, style_mask : array of the image's shape, "border", "auto", or None
        0 or False for pixels to leave out; "border" leaves out the black border that montages have (of the target);
        None and "auto" leave out nothing. Pixels that are not finite are left out always.
    value_range : (float, float), optional
        The least and largest value that such images can have, for SSIM. None: 0 to 255 for a target of uint8, else
        least and largest used value of the target.

    Returns
    -------
    Assessment
        Also of images without any cone, whose verdict says so.

    Raises
    ------
    ImageError, ParameterError
        The shapes differ, an image is no gray plane, or a mask does not fit; `pixel_size`, `value_range` or the name of a
        mask is wrong.

    Notes
    -----
    The spacing that both images are looked at with is that of the target's ring, else of the result's, else 8.25 pixels,
    measured once for all measures. Agreement is counted 7 pixels from the edges, as published. The levels of the verdict,
    and what their limits come from: `napari_nst.metrics.verdict`.
    """
    pixel_size = renamed_argument(scale, "scale", pixel_size)
    check_pixel_size(pixel_size)
    target, result = np.asarray(target), np.asarray(result)
    chosen = _mask(mask, target, "mask")
    before, after, used = images_and_mask(target, result, chosen)
    spacing = shared_spacing((before, after), used)
    cones = cone_changes(before, after, mask=used, spacing=spacing)
    comparison = compare(
        before, after, used, spacing=spacing, value_span=_value_span(target, before, used, value_range)
    )
    style_measures, style_used = None, None
    if style is not None:
        style = np.asarray(style)
        image, style_used = image_and_mask(style, _mask(style_mask, style, "style_mask"), "style")
        own = shared_spacing((image,), style_used)
        style_measures = _measure(style, style_used, detect_cones(image, mask=style_used, spacing=own), own, pixel_size)
    first = _measure(target, used, cones.before, spacing, pixel_size)
    second = _measure(result, used, cones.after, spacing, pixel_size)
    spans = [float(np.ptp(image[used])) if used.any() else 0.0 for image in (before, after)]
    limits = _limits(first, second, comparison, spacing, used, spans)
    detected = cones.after.points, cones.before.points
    unknown = None if len(cones.before) > 1 else spacing
    return Assessment(
        before=first,
        after=second,
        style=style_measures,
        comparison=comparison,
        cones=cones,
        agreement=agreement(*detected, used.shape, border=BORDER, mask=used, spacing=unknown),
        verdict=Verdict.from_measures(cones, comparison, limits, _holes(target, result, chosen)),
        pixel_size=None if pixel_size is None else float(pixel_size),
        pixels=int(np.count_nonzero(used)),
        target=target,
        result=result,
        used=used,
        style_image=style,
        style_used=style_used,
    )


def written(value: float | None, digits: int = 3) -> str:
    """Write a number for people: whole ones as they are, others with so many digits, "–" where there is none."""
    if value is None or math.isnan(value):
        return _UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if not isinstance(value, float) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _decibels(value: float, sign: str = "") -> str:
    return f"{value:{sign}.1f}" if math.isfinite(value) else _UNKNOWN


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else _UNKNOWN


def _thousands(value: float) -> str:
    # Three digits are all that a count of a few hundred cones supports.
    if not math.isfinite(value):
        return _UNKNOWN
    digits = max(0, math.floor(math.log10(abs(value))) - 2) if value else 0
    return f"{round(value, -digits):,.0f}".replace(",", "\u2009")


#: Label, value, meaning, and how the value is written.
_MEASURES: tuple[tuple[str, Callable[[MosaicMeasures], Any], str, Callable[[Any], str]], ...] = (
    ("Cones found", lambda m: len(m.cones), "Detections of napari-nst's detector, which was checked against manual annotations.", written),
    ("Cones/mm²", lambda m: m.density, "Cones found over the area that was looked at. Unknown without a pixel size.", _thousands),
    ("Spacing, px", lambda m: m.spacing, "Distance of neighboring cones: the median over the cones found.", written),
    ("Spacing, µm", lambda m: m.spacing_um, "The same in micrometers. Unknown without a pixel size.", written),
    ("Regularity", lambda m: m.regularity, "Mean area of the cones' Voronoi cells over its standard deviation: the higher, the more even the mosaic.", written),
    ("Six-sided", lambda m: m.six_sided, "Share of the Voronoi cells with six neighbors: about half in a natural mosaic, all of them in a honeycomb.", _percent),
    ("Cone ring, dB", lambda m: m.ring_db, "How far the ring of the cones (Yellott's ring) stands out of the spectrum of the image. Unknown where there is none.", _decibels),
    ("its spacing, px", lambda m: m.ring_spacing, "The spacing of the cones that the ring shows, without detections.", written),
    ("AIQ, dB", lambda m: m.aiq_db, "Automated image quality index: signal against noise, from the spectrum.", _decibels),
    ("SNR, dB", lambda m: m.snr_db, "Signal-to-noise ratio: power in the band of the cones over that of the noise there.", _decibels),
)  # fmt: skip


def _holes(target: ArrayLike, result: ArrayLike, mask: ArrayLike | None) -> tuple[int, int]:
    """Count pixels that are finite in the target only, and in the result only: of cones there nothing is known."""
    (_, first), (_, second) = image_and_mask(target, mask, "target"), image_and_mask(result, mask, "result")
    return int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))


def _mask(given: ArrayLike | str | None, image: ArrayLike, name: str) -> ArrayLike | None:
    if not isinstance(given, str):
        return given
    if given not in ("border", "auto"):
        raise ParameterError(f"{name} must be an array, 'border', 'auto' or None, got {given!r}.")
    image_and_mask(image, None)  # reports what is wrong with it
    return black_border(image) if given == "border" else None


def _value_span(given: NDArray[Any], image: Floats, used: Mask, value_range: Any) -> float:
    """Largest less least value; NaN for a flat target."""
    if value_range is None:
        span = 255.0 if given.dtype == np.uint8 else float(np.ptp(image[used])) if used.any() else 0.0
        return span if 0 < span < math.inf else math.nan
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < high - low < math.inf:
        what = "value_range must be two finite numbers, the lower first"
        raise ParameterError(f"{what}, got {value_range!r}. Try (0, 255).")
    return high - low


def _measure(image: NDArray[Any], used: Mask, cones: Cones, spacing: float, pixel_size: float | None) -> MosaicMeasures:
    area = int(np.count_nonzero(used))
    ring = ring_prominence(image, mask=used)
    cells = voronoi_regularity(cones.points, image.shape, mask=used)
    apart = nearest_neighbour_spacing(cones.points)
    return MosaicMeasures(
        cones=cones,
        density=math.nan if pixel_size is None or area == 0 else cone_density(len(cones), area, pixel_size),
        spacing=apart,
        spacing_um=math.nan if pixel_size is None else apart * pixel_size,
        regularity=cells.regularity,
        six_sided=cells.six_sided,
        ring_db=ring.prominence,
        ring_spacing=ring.spacing,
        aiq_db=aiq(image) if used.all() else math.nan,
        # In its own type: integers have at least the noise of their rounding.
        snr_db=signal_to_noise(image, spacing=spacing, mask=used),
    )


def _limits(
    before: MosaicMeasures, after: MosaicMeasures, change: Comparison, spacing: float, used: Mask, spans: list[float]
) -> tuple[str, ...]:
    """Return sentences that say what an assessment cannot say, and why."""
    if not used.any():
        return ("No pixel is left to look at: the mask leaves out all of them, or none is finite.",)
    small = min(*used.shape, math.sqrt(np.count_nonzero(used))) < _SPECTRUM
    unknown = math.isnan(before.ring_spacing)
    still = change.displacement_tiles == 0 and change.largest_change > 0
    sentences = (
        (not len(before.cones) and len(after.cones), "No cones are found in the target, so it cannot be said whether those of the result are real."),
        (not len(before.cones) and not len(after.cones), "No cones are found, so nothing can be said about them."),
        (small, f"The image is smaller than {_SPECTRUM} × {_SPECTRUM} pixels, too small for its spectrum to be read: the spacing of its cones was taken to be {spacing:.3g} pixels."),
        (not small and unknown and math.isnan(after.ring_spacing), f"No spectrum shows a ring of cones; the spacing to look with was taken to be {spacing:.3g} pixels."),
        (not small and unknown and not math.isnan(after.ring_spacing), f"The spectrum of the target shows no ring of cones; the spacing to look with is that of the result, {spacing:.3g} pixels."),
        (math.isnan(before.density), "Without the pixel size (µm per pixel) no density can be given."),
        (len(before.cones) and still, "Whether cones were displaced cannot be said: no part of the image has enough structure in both."),
        (min(spans) > 0 and max(spans) > _SCALES * min(spans), f"The values of target and result span {spans[0]:.3g} and {spans[1]:.3g}: they hardly share a scale, so that SSIM and the changes in gray levels say nothing."),
    )  # fmt: skip
    return tuple(sentence for applies, sentence in sentences if applies)
