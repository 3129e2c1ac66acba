"""Style agreement: one target is enhanced with several styles, and the cones of the results are compared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats, image_and_mask
from napari_nst.imaging.cones import detect_cones
from napari_nst.metrics._bands import spacing_or_default
from napari_nst.metrics.audits.common import BORDER, Enhancer, Report, enhanced, number, strict_agreement
from napari_nst.metrics.matching import STRICT, Agreement, distances_to, points_inside


@dataclass(frozen=True, eq=False)
class StyleAgreement(Report):
    """How far the cones of a result depend on the style.

    Attributes
    ----------
    pairs, agreements : tuple of (int, int), tuple of Agreement
        Which two styles are compared, by their places in the list; the detections with the first as found cones, those with
        the second as reference, at 0.35 spacings.
    detected, only : tuple of int, tuple of array of float64, (n, 2)
        Detections with each style, without those near an edge, and its own cones: row and column, in pixels, of those that
        no other style has within 0.35 spacings.
    spacing : float
        In pixels.
    """

    pairs: tuple[tuple[int, int], ...]
    agreements: tuple[Agreement, ...]
    detected: tuple[int, ...]
    only: tuple[Floats, ...]
    spacing: float

    @property
    def dice(self) -> float:
        """The least Dice of the pairs, 0 to 1; NaN where no result of some pair shows cones."""
        return float(np.min([one.dice for one in self.agreements]))

    @property
    def chance_dice(self) -> float:
        """Chance level, the mean of random lattices; NaN as `dice` is."""
        return float(np.mean([one.chance_dice for one in self.agreements]))

    def __str__(self) -> str:
        own = ", ".join(f"{len(points)} of {count}" for points, count in zip(self.only, self.detected, strict=True))
        return (
            f"Style agreement: detections with {len(self.detected)} styles agree by a Dice of {number(self.dice, 3)} at "
            f"{STRICT} spacings (worst pair; chance level {number(self.chance_dice, 3)}); cones that only one style has: {own}."
        )


def style_agreement(
    enhance: Enhancer,
    target: ArrayLike,
    styles: Sequence[ArrayLike],
    *,
    spacing: float | None = None,
    mask: ArrayLike | None = None,
) -> StyleAgreement:
    """Enhance one target with several styles and compare the cones: a cone of the target does not depend on the style.

    Parameters
    ----------
    enhance : callable
        ``enhance(target, style)`` gives the enhanced target as an array of its shape. Called once for each style.
    target : array, (H, W)
        Integers or floats.
    styles : sequence of array, (H', W')
        Two or more, each of any size.
    spacing : float, optional
        Distance of neighboring cones in the target, in pixels. None: that of its ring, or 8.25 where it has none.
    mask : array, (H, W), optional
        0 or False for pixels of the target to leave out.

    Returns
    -------
    StyleAgreement
        Dice of every pair of results.

    Raises
    ------
    ImageError, ParameterError
        An image is not gray, the mask does not fit, or the enhancer gives an image of another shape; fewer than two styles,
        or a spacing that is not above 0.

    Notes
    -----
    Nothing is counted within 0.85 spacings (7 pixels at a spacing of 8.25) of the edges. The target as it is agrees with
    itself by 1, and a good enhancer by more than 0.97 on images of good quality.

    References
    ----------
    Cohen, Luck and Honari, Distribution matching losses can hallucinate features in medical image translation,
    MICCAI 2018.
    """
    if len(styles) < 2:
        raise ParameterError(f"There are {len(styles)} styles to compare. Pass two or more.")
    image = np.asarray(target)
    scale = spacing_or_default(*image_and_mask(image, mask, "target"), spacing)
    results = [enhanced(enhance, image, np.asarray(style)) for style in styles]
    found = [detect_cones(result, mask=mask, spacing=scale).points for result in results]
    pairs = tuple(itertools.combinations(range(len(styles)), 2))
    rows = tuple(strict_agreement(found[one], found[other], image.shape, mask, scale) for one, other in pairs)
    inside = [points[points_inside(points, image.shape, border=BORDER * scale, mask=mask)] for points in found]
    only = []
    for index, points in enumerate(inside):
        others = np.concatenate([*found[:index], *found[index + 1 :]])
        only.append(points[distances_to(others, points) > STRICT * scale])
    return StyleAgreement(pairs, rows, tuple(len(points) for points in inside), tuple(only), scale)
