"""All measures of one enhancement together, and a verdict."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import FileError, ParameterError
from napari_nst.imaging.checks import Floats, image_and_mask, images_and_mask
from napari_nst.imaging.cones import Cones, detect_cones
from napari_nst.imaging.masks import black_border
from napari_nst.imaging.spacing import ring_prominence
from napari_nst.metrics.agreement import Agreement, agreement
from napari_nst.metrics.assessment_words import limits_of, record_of, table_of
from napari_nst.metrics.changes import ConeChanges, cone_changes, shared_spacing
from napari_nst.metrics.displacement import local_displacement
from napari_nst.metrics.mosaic import cone_density, nearest_neighbour_spacing, voronoi_regularity
from napari_nst.metrics.noise import signal_to_noise
from napari_nst.metrics.quality import aiq
from napari_nst.metrics.similarity import intensity_monotonicity, structural_similarity, structure_correlation
from napari_nst.metrics.spectra import spectrum_change
from napari_nst.metrics.verdict import Verdict, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Assessment", "Comparison", "MosaicMeasures", "assess"]

#: Pixels along the edges in which agreement is not counted, as published: cones are cut there.
_BORDER = 7


@dataclass(frozen=True, eq=False)
class MosaicMeasures:
    """What one picture shows. NaN where that cannot be said.

    Attributes
    ----------
    cones : Cones
        Those found.
    density : float
        Cones / mm² over the used pixels; NaN without a scale.
    spacing, spacing_um : float
        Median distance of nearest neighbours, in pixels and in µm; NaN for fewer than two cones, µm also without a scale.
    regularity, six_sided : float
        As `voronoi_regularity` defines them.
    ring_db, ring_spacing : float
        Prominence in dB and spacing in pixels of Yellott's ring (`ring_prominence`).
    aiq_db : float
        Automated image quality, dB (`aiq`); NaN where a mask leaves pixels out.
    snr_db : float
        Signal-to-noise ratio in the band of the cones, dB (`signal_to_noise`).
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


@dataclass(frozen=True)
class Comparison:
    """A result against its target, pixel by pixel. NaN where that cannot be said.

    Attributes
    ----------
    structure : float
        Correlation in the band of the cones, -1 to 1 (`structure_correlation`).
    ssim, ssim_range : float
        Structural similarity (`structural_similarity`), and the range of values that it was measured with.
    displacement, largest_displacement : float
        Median and largest shift of the structure over tiles of the picture, pixels (`local_displacement`).
    displacement_tiles : int
        Tiles that could be measured.
    monotonicity : float
        Spearman's rank correlation of the pixels (`intensity_monotonicity`).
    spectrum_change, band_change : float
        Root mean square change of the radial power spectrum, and mean change in the band of the cones, dB
        (`spectrum_change`).
    mean_change, largest_change : float
        Mean and largest absolute change of a pixel, grey levels.
    """

    structure: float
    ssim: float
    ssim_range: float
    displacement: float
    largest_displacement: float
    displacement_tiles: int
    monotonicity: float
    spectrum_change: float
    band_change: float
    mean_change: float
    largest_change: float


@dataclass(frozen=True, eq=False)
class Assessment:
    """What an enhancement did to the cones. ``print`` it for a table and the verdict.

    Attributes
    ----------
    before, after : MosaicMeasures
        Of target and result, whose cones were looked for with the same spacing.
    style : MosaicMeasures or None
        Of the style, with the spacing of its own ring.
    comparison : Comparison
    cones : ConeChanges
        Kept, lost and new detections, those that nothing in the target speaks for, and where they lie.
    agreement : tuple of Agreement
        Detections of the result scored against those of the target, each tolerance beside what chance gives.
    verdict : Verdict
    scale : float or None
        µm on the retina per pixel.
    pixels : int
        How many were used.
    target, result, style_image : array
        The pictures, as they were given.
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
    scale: float | None
    pixels: int
    target: NDArray[Any] = field(repr=False)
    result: NDArray[Any] = field(repr=False)
    used: NDArray[np.bool_] = field(repr=False)
    style_image: NDArray[Any] | None = field(repr=False, default=None)
    style_used: NDArray[np.bool_] | None = field(repr=False, default=None)

    def __str__(self) -> str:
        return table_of(self)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, JSON-able: what cannot be said (NaN) and what is infinite is None; no pixels.

        Returns
        -------
        dict
            Positions are [row, column] in pixels.
        """
        return record_of(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as text, and, if asked, as a file.

        Parameters
        ----------
        path : str or Path, optional
            Written to, in a folder that exists; a file of that name is never overwritten.

        Returns
        -------
        str

        Raises
        ------
        FileError
            The file exists already, or cannot be written.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        if path is not None:
            try:
                with Path(path).open("x", encoding="utf-8") as file:
                    file.write(text + "\n")
            except FileExistsError as error:
                raise FileError(f"{path} exists already; give another name, nothing is overwritten.") from error
            except OSError as error:
                raise FileError(
                    f"{path} cannot be written ({error.strerror}); give a name in a folder that exists."
                ) from error
        return text

    def figure(self) -> Figure:
        """Draw target, result with its cones, change, suspicion and spectra.

        Returns
        -------
        matplotlib Figure
            Belongs to no screen; ``savefig`` it.
        """
        from napari_nst.metrics.figure import assessment_figure

        return assessment_figure(self)


def assess(
    target: ArrayLike,
    result: ArrayLike,
    style: ArrayLike | None = None,
    scale: float | None = None,
    *,
    mask: ArrayLike | str | None = None,
    style_mask: ArrayLike | str | None = None,
    value_range: tuple[float, float] | None = None,
) -> Assessment:
    """Measure what an enhancement did to the cones, and say whether it may be trusted.

    Parameters
    ----------
    target, result : array, (H, W)
        The picture before and after, grey, of one shape, their values on one scale; any integer or float dtype.
    style : array, (H', W'), optional
        The picture that the result was to be like; it is measured beside the two.
    scale : float, optional
        Micrometres on the retina per pixel. Without it densities and spacings in µm are NaN.
    mask, style_mask : array of the picture's shape, "border", "auto", or None
        0 or False for pixels to leave out; "border" leaves out the black border that montages have (of the target);
        None and "auto" leave out nothing. Pixels that are not finite are left out always.
    value_range : (float, float), optional
        The least and largest value that such pictures can have, for SSIM. None: 0 to 255 for a target of uint8, else
        least and largest used value of the target.

    Returns
    -------
    Assessment
        Also of pictures without any cone, whose verdict says so.

    Raises
    ------
    ImageError
        The shapes differ, a picture is no grey plane, or a mask does not fit.
    ParameterError
        `scale`, `value_range` or the name of a mask is wrong.

    Notes
    -----
    The spacing that both pictures are looked at with is that of the target's ring, else of the result's, else
    8.25 pixels. It is measured once, so that no measure can choose its own. Agreement is counted 7 pixels from the
    edges, as published. The levels of the verdict, and what their limits come from: `napari_nst.metrics.verdict`.
    """
    if scale is not None and not _is_length(scale):
        raise ParameterError(f"scale={scale!r} is no scale; pass micrometres per pixel, above 0, or None.")
    chosen = _mask(mask, target, "mask")
    before, after, used = images_and_mask(target, result, chosen)
    holes = _holes(target, result, chosen)
    spacing = shared_spacing(before, after, used)
    cones = cone_changes(before, after, mask=used, spacing=spacing)
    span = _span(np.asarray(target), before, used, value_range)
    compared = _compare(before, after, used, spacing, cones.change, span)
    style_measures, style_picture, style_used = None, None, None
    if style is not None:
        style_picture, style_used = image_and_mask(style, _mask(style_mask, style, "style_mask"), "style")
        own = shared_spacing(style_picture, style_picture, style_used)
        found = detect_cones(style_picture, mask=style_used, spacing=own)
        style_measures = _measure(np.asarray(style), style_picture, style_used, found, own, scale)
    measures = [
        _measure(np.asarray(given), picture, used, detected, spacing, scale)
        for given, picture, detected in ((target, before, cones.before), (result, after, cones.after))
    ]
    limits = limits_of(measures[0], measures[1], compared, cones, used, scale, before, after)
    return Assessment(
        before=measures[0],
        after=measures[1],
        style=style_measures,
        comparison=compared,
        cones=cones,
        agreement=agreement(
            cones.after.points,
            cones.before.points,
            before.shape,
            border=_BORDER,
            mask=None if used.all() else used,
            spacing=None if len(cones.before) > 1 else spacing,
        ),
        verdict=judge(cones, compared, limits, holes),
        scale=None if scale is None else float(scale),
        pixels=int(np.count_nonzero(used)),
        target=np.asarray(target),
        result=np.asarray(result),
        used=used,
        style_image=None if style is None else np.asarray(style),
        style_used=style_used,
    )


def _is_length(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < math.inf


def _holes(target: ArrayLike, result: ArrayLike, mask: ArrayLike | None) -> tuple[int, int]:
    """Pixels that are finite in the target only, and in the result only: of cones there nothing is known."""
    (_, first), (_, second) = image_and_mask(target, mask, "target"), image_and_mask(result, mask, "result")
    return int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))


def _mask(given: ArrayLike | str | None, picture: ArrayLike, name: str) -> ArrayLike | None:
    if not isinstance(given, str):
        return given
    if given not in ("border", "auto"):
        raise ParameterError(f"{name}={given!r} is no mask; pass an array, 'border', 'auto' or None.")
    if given == "auto":
        return None
    image_and_mask(picture, None)  # says what is wrong with it
    return black_border(picture)


def _span(given: NDArray[Any], picture: Floats, used: NDArray[np.bool_], value_range: Any) -> float:
    """Largest less least value; NaN for a flat target."""
    if value_range is not None:
        try:
            low, high = (float(value) for value in value_range)
        except (TypeError, ValueError):
            low = high = math.nan
        if not 0 < high - low < math.inf:
            raise ParameterError(f"value_range={value_range!r} is no range; pass two finite numbers, the lower first.")
        return high - low
    if given.dtype == np.uint8:
        return 255.0
    span = float(np.ptp(picture[used])) if used.any() else 0.0
    return span if 0 < span < math.inf else math.nan


def _measure(
    given: NDArray[Any],
    picture: Floats,
    used: NDArray[np.bool_],
    cones: Cones,
    spacing: float,
    scale: float | None,
) -> MosaicMeasures:
    area = int(np.count_nonzero(used))
    ring = ring_prominence(picture, mask=used)
    shapes = voronoi_regularity(cones.points, picture.shape, mask=None if used.all() else used)
    apart = nearest_neighbour_spacing(cones.points)
    return MosaicMeasures(
        cones=cones,
        density=math.nan if scale is None or area == 0 else cone_density(len(cones), area, scale),
        spacing=apart,
        spacing_um=math.nan if scale is None else apart * scale,
        regularity=shapes.regularity,
        six_sided=shapes.six_sided,
        ring_db=ring.prominence,
        ring_spacing=ring.spacing,
        aiq_db=aiq(picture) if used.all() else math.nan,
        # In its own type: integers have at least the noise of their rounding.
        snr_db=signal_to_noise(given, spacing=spacing, mask=used),
    )


def _compare(
    target: Floats, result: Floats, used: NDArray[np.bool_], spacing: float, change: Floats, span: float
) -> Comparison:
    mask = None if used.all() else used
    moved = local_displacement(target, result, spacing=spacing, mask=mask)
    spectra = spectrum_change(target, result, spacing=spacing, mask=mask)
    changed = np.abs(change[used])
    return Comparison(
        structure=structure_correlation(target, result, spacing=spacing, mask=mask),
        ssim=structural_similarity(target, result, data_range=span, mask=mask) if span > 0 else math.nan,
        ssim_range=span,
        displacement=moved.median,
        largest_displacement=moved.largest,
        displacement_tiles=len(moved.shifts),
        monotonicity=intensity_monotonicity(target, result, mask=mask),
        spectrum_change=spectra.rms_db,
        band_change=spectra.band_db,
        mean_change=float(changed.mean()) if len(changed) else math.nan,
        largest_change=float(changed.max()) if len(changed) else math.nan,
    )
