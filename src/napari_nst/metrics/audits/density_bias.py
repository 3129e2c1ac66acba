"""Density bias: the style's cones are packed closer or wider, and the result's must not follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.checks import image_and_mask
from napari_nst.imaging.cones import detect_cones
from napari_nst.metrics._bands import spacing_or_default
from napari_nst.metrics.audits.common import BORDER, Enhancer, Report, enhanced, number
from napari_nst.metrics.matching import points_inside

#: Below, neither a filter nor a network can learn a texture from it: sides of a resampled style, before it is continued.
_LEAST_SIDE = 32


@dataclass(frozen=True)
class DensityBias(Report):
    """How the density of a result follows that of the style.

    Attributes
    ----------
    factors : tuple of float
        Densities of the styles that were asked for, in densities of the target.
    style_densities, densities, target_density : tuple of float, tuple of float, float
        Detections per square pixel in each style, in the result made with it, and in the target as it is.
    slope : float
        Of log output density over log style density, by least squares: 0 does not follow, 1 follows. NaN where a density
        is 0 or unknown, or where all styles came out equally dense.
    spread : float
        Largest less smallest of `densities`, divided by their mean: 0 where all agree. NaN where no result shows cones.
    spacing : float
        Of the target, in pixels.
    """

    factors: tuple[float, ...]
    style_densities: tuple[float, ...]
    densities: tuple[float, ...]
    target_density: float
    slope: float
    spread: float
    spacing: float

    def __str__(self) -> str:
        if not self.target_density > 0:
            return "Density bias: no cones were found in the target or in the style, so nothing can be said."
        styles, results = (
            ", ".join(number(one / self.target_density) for one in densities)
            for densities in (self.style_densities, self.densities)
        )
        return (
            f"Density bias: styles of {styles} times the target's density give results of {results} times; slope "
            f"{number(self.slope)} (0 does not follow the style, 1 follows it), spread {number(100 * self.spread, 1)} %."
        )


def density_bias(
    enhance: Enhancer,
    target: ArrayLike,
    style: ArrayLike,
    *,
    factors: Sequence[float] = (0.5, 0.71, 1.0, 1.41, 2.0),
    spacing: float | None = None,
    style_spacing: float | None = None,
    mask: ArrayLike | None = None,
) -> DensityBias:
    """Enhance one target with styles of other densities: its own density does not depend on them.

    Parameters
    ----------
    enhance, target, mask
        As for `style_agreement`; `enhance` is called once for each factor.
    style : array, (H', W')
        An image of cones, from which all styles are made.
    factors : sequence of float
        Cone densities of the styles in units of the target's, two different ones or more.
    spacing, style_spacing : float, optional
        Distance of neighboring cones in target and style, in pixels. None: that of the ring, or 8.25 where there is
        none.

    Returns
    -------
    DensityBias
        With NaN, and without a call of `enhance`, where target or style shows no cones.

    Raises
    ------
    ImageError, ParameterError
        As `style_agreement`; the style is too small to be resampled; factors that are no densities or are all the same.

    Notes
    -----
    A style of density f D, with D that of the target, is `style` resampled by sqrt(D_style / (f D)) along both axes
    by cubic interpolation (``skimage.transform.rescale``); its density is then measured, not assumed. All detections in
    results are made at the scale of the target's spacing, so that a change is one of the image and not of the detector;
    those in styles at the scale of their own. Nothing is counted within 0.85 spacings of the edges.

    References
    ----------
    Cohen, Luck and Honari, as `style_agreement`: what one domain has more of is added to images of the other.
    """
    wanted = [float(factor) for factor in factors]
    if not all(0 < factor < math.inf for factor in wanted) or len(set(wanted)) < 2:
        raise ParameterError(
            f"factors={tuple(factors)}: pass two different densities or more, in units of the target's and above 0, as (0.5, 1, 2)."
        )
    image, model = np.asarray(target), np.asarray(style)
    scale = spacing_or_default(*image_and_mask(image, mask, "target"), spacing)
    model_scale = spacing_or_default(*image_and_mask(model, None, "style"), style_spacing)
    own, theirs = _density(image, scale, mask), _density(model, model_scale)
    if not (own > 0 and theirs > 0):
        unknown = (math.nan,) * len(wanted)
        return DensityBias(tuple(wanted), unknown, unknown, math.nan, math.nan, math.nan, scale)

    styles, results = [], []
    for factor in wanted:
        zoom = math.sqrt(theirs / (factor * own))
        resampled = rescale_style(model, zoom)
        styles.append(_density(resampled, model_scale * zoom))
        results.append(_density(enhanced(enhance, image, resampled), scale, mask))
    mean = float(np.mean(results))
    spread = (max(results) - min(results)) / mean if mean > 0 else math.nan
    return DensityBias(tuple(wanted), tuple(styles), tuple(results), own, _slope(styles, results), spread, scale)


def rescale_style(style: ArrayLike, zoom: float) -> NDArray[Any]:
    """Resample a style so that its cones lie `zoom` times as far apart, in an image of its own size, dtype and range.

    Enlarged, it is the middle; made smaller, it is continued by reflection, which neither doubles the cones at the seam
    nor changes the density.
    """
    model, used = image_and_mask(style, None, "style")
    if not 0 < zoom < math.inf:
        raise ParameterError(f"zoom must be above 0, got {zoom}.")
    if not used.all():
        broken = "The style has pixels that are NaN or infinite; it cannot be resampled."
        raise ImageError(f"{broken} Take a part without them.")
    if min(model.shape) * zoom < _LEAST_SIDE:
        small = f"A style of {model.shape[0]} × {model.shape[1]} pixels becomes smaller than {_LEAST_SIDE} pixels"
        raise ImageError(f"{small} when it is resampled by {zoom:.2f}. Take a larger style, or smaller factors.")
    from skimage.transform import rescale

    # Clipped to the range of the style: cubic interpolation overshoots.
    scaled = rescale(model, zoom, order=3, mode="reflect", anti_aliasing=zoom < 1, preserve_range=True, clip=True)
    spare = np.subtract(scaled.shape, model.shape)
    first, missing = np.maximum(spare, 0) // 2, np.maximum(-spare, 0)
    scaled = scaled[first[0] : first[0] + model.shape[0], first[1] : first[1] + model.shape[1]]
    scaled = np.pad(scaled, np.column_stack([missing // 2, missing - missing // 2]), mode="reflect")
    dtype = np.asarray(style).dtype
    return np.asarray((np.rint(scaled) if dtype.kind in "ui" else scaled).astype(dtype))


def _slope(styles: Sequence[float], results: Sequence[float]) -> float:
    """Of log results over log styles."""
    if not (min(styles) > 0 and min(results) > 0):
        return math.nan
    x, y = np.log(styles), np.log(results)
    x -= x.mean()
    spread = float(x @ x)
    return float(x @ (y - y.mean())) / spread if spread > 1e-6 else math.nan


def _density(image: ArrayLike, spacing: float, mask: ArrayLike | None = None) -> float:
    """Detections at the scale of `spacing` per square pixel, away from the edges; NaN where no pixel is left there."""
    shape, border = np.shape(image), BORDER * spacing
    points = detect_cones(image, mask=mask, spacing=spacing).points
    counted, pixels = (
        int(np.count_nonzero(points_inside(places, shape, border=border, mask=mask)))
        for places in (points, np.indices(shape).reshape(2, -1).T)
    )
    return counted / pixels if pixels else math.nan
