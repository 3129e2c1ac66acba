"""The phantom test: what an enhancer draws where cones were erased is its own invention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import check_length, fill_smoothly, image_and_mask
from napari_nst.imaging.cones import DEFAULT_SPACING, detect_cones
from napari_nst.metrics.audits.common import Enhancer, Record, check_marks, enhanced, number
from napari_nst.metrics.audits.erasing import away, core_radius, disc_radius, erase_cones

__all__ = ["PhantomTest", "phantom_ratio", "phantom_test"]

#: In spacings; the first two are 1.4 and 3 pixels at the spacing for which the test was made, 8.25.
_SIGMA, _AWAY = 1.4 / DEFAULT_SPACING, 3 / DEFAULT_SPACING
#: Windows of 5 × 5 and 3 × 3 pixels at that spacing.
_NEIGHBOURHOOD, _MARK = 0.25, 0.12


def phantom_ratio(
    result: ArrayLike,
    centres: ArrayLike,
    cones: ArrayLike,
    *,
    spacing: float,
    radius: float | None = None,
    mask: ArrayLike | None = None,
) -> float:
    """How strong that is which was drawn where cones were erased, relative to real cones.

    Parameters
    ----------
    result : array, (H, W)
        The enhanced picture of `Erased`, or `Erased.image` itself.
    centres : array, (n, 2)
        Middles of the discs, row and column, in pixels.
    cones : array, (m, 2)
        All cones of the original picture, row and column, in pixels.
    spacing : float
        Of the cones, in pixels.
    radius : float, optional
        Of the discs, in pixels. None: 1.58 spacings.
    mask : array, (H, W), optional
        0 or False for pixels to leave out.

    Returns
    -------
    float
        0 where nothing was drawn, 1 where phantoms are as strong as real cones. NaN where no real cone is left to compare
        with, or where the result shows none of them, as a flat picture does.

    Raises
    ------
    ImageError
        The result is no grey picture, or the mask does not fit it.
    ParameterError
        Positions outside of the picture, or a length that is none.

    Notes
    -----
    With R the negative Laplacian of Gaussian of `result` less its mean (sigma 0.17 spacings), and lengths in pixels at a
    spacing of 8.25::

        drawn = positive local maxima (5 × 5) of R nearer to a centre than radius - 4
        real  = highest R (3 × 3) at each cone farther from every centre than radius + 3
        ratio = median(drawn) / median(real),  0 without maxima

    A median: one phantom among weak ripples changes it little, which is why `phantom_test` counts detections, too.
    """
    check_length(spacing, "spacing")
    picture, used = image_and_mask(result, mask, "result")
    middles, points = check_marks(centres, picture.shape), check_marks(cones, picture.shape)
    if not len(middles):
        raise ParameterError("There are no centres of discs; pass those of `Erased`.")
    wide = disc_radius(radius, spacing)

    from scipy import ndimage

    # The kernel is cut off, so that its sum is not quite 0: the brightness of the whole would count.
    level = float(picture[used].mean()) if used.any() else 0.0
    values = fill_smoothly(picture, used, spacing) - level
    response = -ndimage.gaussian_laplace(values, _SIGMA * spacing)
    maxima = (response == ndimage.maximum_filter(response, _odd(_NEIGHBOURHOOD * spacing))) & (response > 0) & used
    places = np.column_stack(np.nonzero(maxima))
    drawn = response[maxima][away(places, middles) < core_radius(wide, spacing)]

    # A cone right at the edge has no neighbours on one side: that of the pixel beside it stands for it.
    pixels = np.clip(np.rint(points).astype(np.intp), 1, np.maximum(np.array(picture.shape) - 2, 0))
    pixels = pixels[(away(points, middles) > wide + _AWAY * spacing) & used[tuple(pixels.T)]]
    if not len(pixels):
        return math.nan
    real = float(np.median(ndimage.maximum_filter(response, _odd(_MARK * spacing))[tuple(pixels.T)]))
    # Of a flat picture only rounding is left.
    if real <= 1e-12 * float(np.abs(picture).max()):
        return math.nan
    return float(np.median(drawn)) / real if len(drawn) else 0.0


@dataclass(frozen=True)
class PhantomTest(Record):
    """What an enhancer draws where cones were erased.

    Attributes
    ----------
    ratios : tuple of float
        `phantom_ratio` of the enhanced picture, for each seed: 0 nothing, 1 as strong as real cones.
    ratios_before : tuple of float
        The same of the picture before enhancement, cones erased: noise that looks like cones.
    erased : tuple of int
        Cones that were erased, in the parts of the discs that count.
    detected, detected_before : tuple of int
        Detections there, after and before the enhancement.
    seeds : tuple of int
        Of `erase_cones`.
    radius, spacing : float
        Of the discs, and of the cones, in pixels.
    """

    ratios: tuple[float, ...]
    ratios_before: tuple[float, ...]
    erased: tuple[int, ...]
    detected: tuple[int, ...]
    detected_before: tuple[int, ...]
    seeds: tuple[int, ...]
    radius: float
    spacing: float

    @property
    def ratio(self) -> float:
        """Mean of `ratios`; NaN if one is."""
        return float(np.mean(self.ratios))

    @property
    def ratio_before(self) -> float:
        """Mean of `ratios_before`; NaN if one is."""
        return float(np.mean(self.ratios_before))

    def __str__(self) -> str:
        return (
            f"Phantom test: where {sum(self.erased)} cones were erased (discs of {self.radius:.0f} px, {len(self.seeds)} draws), the "
            f"result shows {number(self.ratio)} of the strength of real cones (worst {number(max(self.ratios))}), before it "
            f"{number(self.ratio_before)}; detections there {sum(self.detected)}, before {sum(self.detected_before)}. 0 is "
            "nothing, 1 as strong as real cones."
        )


def phantom_test(
    enhance: Enhancer,
    target: ArrayLike,
    style: ArrayLike,
    *,
    cones: ArrayLike | None = None,
    spacing: float | None = None,
    discs: int = 2,
    seeds: Sequence[int] = (0, 1, 2),
    mask: ArrayLike | None = None,
) -> PhantomTest:
    """Erase cones, enhance, and look at what is drawn in their place.

    Parameters
    ----------
    enhance : callable
        ``enhance(target, style)`` gives the enhanced target as an array of its shape. Called once for each seed.
    target : array, (H, W)
        Of good quality: where noise looks like cones already, the test says nothing (compare `ratios_before`).
    style : array, (H', W')
    cones : array, (n, 2), optional
        Cones of the target marked by hand, row and column. None: detections.
    spacing, discs, mask
        As `erase_cones`.
    seeds : sequence of int
        Of `erase_cones`, at least one.

    Returns
    -------
    PhantomTest

    Raises
    ------
    ImageError
        No grey picture, or the enhancer gives one of another shape.
    ParameterError
        As `erase_cones`, or there is no seed.

    References
    ----------
    Cohen, Luck and Honari, MICCAI 2018, as `erase_cones`.
    """
    if not len(seeds):
        raise ParameterError("seeds is empty; pass one number for each draw of discs, as (0, 1, 2).")
    picture, model = np.asarray(target), np.asarray(style)
    rows = []
    for seed in seeds:
        hole = erase_cones(picture, cones=cones, spacing=spacing, discs=discs, seed=seed, mask=mask)
        row: list[Any] = [hole]
        for image in (enhanced(enhance, hole.image, model), hole.image):
            ratio = phantom_ratio(image, hole.centres, hole.cones, spacing=hole.spacing, radius=hole.radius, mask=mask)
            found = detect_cones(image, mask=mask, spacing=hole.spacing).points
            row += [ratio, int(np.count_nonzero(away(found, hole.centres) < hole.core))]
        rows.append(row)
    return PhantomTest(
        ratios=tuple(row[1] for row in rows),
        ratios_before=tuple(row[3] for row in rows),
        erased=tuple(len(row[0].erased) for row in rows),
        detected=tuple(row[2] for row in rows),
        detected_before=tuple(row[4] for row in rows),
        seeds=tuple(int(seed) for seed in seeds),
        radius=rows[0][0].radius,
        spacing=rows[0][0].spacing,
    )


def _odd(half: float) -> int:
    """Side of a window that reaches about `half` pixels from its middle."""
    return 2 * max(1, round(half)) + 1
