"""Where the cones of a confocal image are, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import (
    Floats,
    check_length,
    fill_smoothly,
    image_and_mask,
    is_flat,
    noise_deviation,
    to_unit_range,
)
from napari_nst.imaging.spacing import ring_prominence

__all__ = ["DEFAULT_CONFIDENCE", "DEFAULT_SPACING", "LOG_SIGMA", "Cones", "blobs", "detect_cones", "region_strength"]

#: Spacing in pixels where an image shows no ring; that of annotated confocal images at 0.4 µm per pixel.
DEFAULT_SPACING = 8.25
DEFAULT_CONFIDENCE = 0.36

#: In spacings: the LoG that finds most cones, the neighborhood of a maximum, the region of the local normalization,
#: and the region whose strength supports a detection or does not.
LOG_SIGMA, _NEIGHBORHOOD, _NORMALIZE, _REGION = 0.17, 0.25, 1.5, 1.0
#: A peak with this multiple of the noise, or this part of the strong peaks, has half its confidence.
_NOISE, _WEAK = 1.5, 0.05
#: Strong peaks of white noise, in deviations of the noise: 2.2 for fine and 2.3 for coarse filters (measured).
_NOISE_PEAKS = 2.35
#: No part of the image is expected to be weaker than this part of the typical.
_DIM = 0.25


@dataclass(frozen=True, eq=False)
class Cones:
    """Detected cones.

    Attributes
    ----------
    points : array of float64, (n, 2)
        Row and column in pixels, (0, 0) being the centre of the first pixel; in the order of rows.
    confidence : array of float64, (n,)
        0 to 1, as `detect_cones` defines it.
    """

    points: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.points)


def detect_cones(
    image: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
    sigma: float | None = None,
    spacing: float | None = None,
) -> Cones:
    """Find cones, bright spots, in a confocal image.

    Parameters
    ----------
    image : array, (H, W)
        Integers or floats of any scale and offset: neither changes what is found. Pixels that are not finite are left
        out.
    mask : array, (H, W), optional
        0 or False for pixels to leave out, as black borders. Nothing is found in or right beside them (within
        a quarter of the spacing).
    confidence : float
        Least confidence of a detection, 0 to 1. 0 gives every local maximum.
    sigma : float, optional
        Standard deviation of the Laplacian of Gaussian, in pixels. None: 0.17 spacings.
    spacing : float, optional
        Distance of neighboring cones in pixels. None: ``sigma / 0.17`` if `sigma` is given, else that of Yellott's ring
        (`ring_prominence`), else 8.25 pixels where there is no ring.

    Returns
    -------
    Cones
        Empty for a flat image, or where nothing is left to look at.

    Raises
    ------
    ImageError
        `image` is no gray image, or the mask does not fit it.
    ParameterError
        `confidence` is not in 0..1, or a length is not above 0.

    Notes
    -----
    The response R is the negative Laplacian of Gaussian times sigma²; divided by its own mean absolute value in the
    region (Gaussian, 1.5 spacings) it is independent of the illumination, and its positive local maxima are the
    candidates, refined by a parabola along each axis. The confidence of a candidate with response A is::

        c = max(0, 1 - (2.35 N / S)^6)  min(1, E B)  A² / (A² + (1.5 N)² + (0.05 S)²)

        S   third quartile of A of all candidates: the image's own strong detections
        N   standard deviation that the image's pixel noise has in R (noise after Immerkær 1996, by medians)
        E   mean |R| in the region of the candidate (Gaussian, one spacing), relative to the image's trend
        B   brightness of the region above the image's black (its 0.5th percentile), relative to its trend

    A trend is the plane fitted to the whole image, so that uneven illumination costs no confidence. The first factor
    is 0 where the strong detections are no stronger than those of white noise. The second is low in the shadow of
    vessels, where regions are both dark and poor in contrast, and the third for peaks of noise and ripples between cones.

    All is relative to the image: one that lies wholly within a shadow has nothing to be compared with. Noise that was
    smoothed at the scale of cones is not recognized as noise. Where noise hides the cones of an image nearly, nothing may
    be found; ask with ``confidence=0`` then.

    References
    ----------
    Immerkær, Fast noise variance estimation, Comput. Vis. Image Underst. 64, 300 (1996).
    """
    if not 0 <= confidence <= 1:
        raise ParameterError(f"confidence must be from 0 to 1, got {confidence}.")
    check_length(sigma, "sigma")
    check_length(spacing, "spacing")
    values, used = image_and_mask(image, mask)
    if is_flat(values[used]):
        return Cones(np.empty((0, 2)), np.empty(0))
    if spacing is None:
        spacing = sigma / LOG_SIGMA if sigma is not None else ring_prominence(values, mask=used).spacing
        spacing = DEFAULT_SPACING if math.isnan(spacing) else spacing
    if sigma is None:
        sigma = LOG_SIGMA * spacing

    from scipy import ndimage

    values = fill_smoothly(to_unit_range(values, used), used, spacing)
    response = blobs(values, sigma)
    level = ndimage.gaussian_filter(np.abs(response), _NORMALIZE * spacing, mode="reflect")
    normalized = response / (level + 1e-9 * level.max() + np.finfo(float).tiny)
    radius = max(1, round(_NEIGHBORHOOD * spacing))
    peaks = _maxima(normalized, radius)
    if not used.all():
        peaks &= ndimage.distance_transform_edt(used) > radius
    rows, columns = np.nonzero(peaks)
    if len(rows) == 0:
        return Cones(np.empty((0, 2)), np.empty(0))

    sure = _confidence(values, response, used, (rows, columns), sigma, spacing)
    points = np.column_stack(
        [
            rows + _offset(normalized, rows, columns),
            columns + _offset(normalized.T, columns, rows),
        ]
    )
    keep = sure >= confidence
    return Cones(points[keep], sure[keep])


def blobs(values: Floats, sigma: float) -> Floats:
    """R of `detect_cones`: how much every pixel looks like the middle of a bright spot, in the values' own units."""
    from scipy import ndimage

    response: Floats = -(sigma**2) * ndimage.gaussian_laplace(values, sigma, mode="reflect")
    return response


def _maxima(response: Floats, radius: int) -> NDArray[np.bool_]:
    """Positive maxima within a square of 2 radius + 1 pixels; of equal neighbors the first."""
    from scipy import ndimage

    highest = (response == ndimage.maximum_filter(response, 2 * radius + 1, mode="nearest")) & (response > 0)
    labels, count = ndimage.label(highest, np.ones((3, 3)))
    firsts = np.zeros(response.shape, dtype=bool)
    firsts.ravel()[np.unique(labels, return_index=True)[1][-count:] if count else []] = True
    return firsts


def _offset(response: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """Where, along the rows, the parabola through a maximum and its two neighbors has its vertex: -0.5 to 0.5."""
    inner = np.clip(rows, 1, len(response) - 2)
    if len(response) < 3:
        return np.zeros(len(rows))
    before, centre, after = (response[inner + step, columns] for step in (-1, 0, 1))
    bend = before - 2 * centre + after
    vertex = np.divide(before - after, 2 * bend, out=np.zeros(len(rows)), where=bend < 0)
    offset: Floats = np.where(inner == rows, np.clip(vertex, -0.5, 0.5), 0.0)
    return offset


def _confidence(
    values: Floats,
    response: Floats,
    used: NDArray[np.bool_],
    peaks: tuple[NDArray[np.intp], NDArray[np.intp]],
    sigma: float,
    spacing: float,
) -> Floats:
    """The formula of `detect_cones`."""
    region = region_strength(values, response, used, spacing)[peaks]
    height = response[peaks]
    strong = float(np.percentile(height, 75))
    noise = noise_deviation(values, used) * _gain(sigma)
    clear = max(0.0, 1 - (_NOISE_PEAKS * noise / strong) ** 6)
    sure: Floats = (
        clear * np.minimum(1, region) * height**2 / (height**2 + (_NOISE * noise) ** 2 + (_WEAK * strong) ** 2)
    )
    return sure


def region_strength(values: Floats, response: Floats, used: NDArray[np.bool_], spacing: float) -> Floats:
    """E B of `detect_cones` at every pixel, not limited to 1: low in the shadow of vessels."""
    from scipy import ndimage

    energy = ndimage.gaussian_filter(np.abs(response), _REGION * spacing, mode="reflect")
    light = ndimage.gaussian_filter(values, _REGION * spacing, mode="reflect")
    light = np.maximum(light - np.percentile(values[used], 0.5), 0)
    strength: Floats = (energy / _trend(energy, used)) * (light / _trend(light, used))
    return strength


def _trend(values: Floats, used: NDArray[np.bool_]) -> Floats:
    """The plane through values above 0, by least squares, and a quarter of their mean where it is lower than that."""
    rows, columns = (axis / max(1, len(axis) - 1) - 0.5 for axis in (np.arange(side) for side in values.shape))
    y, x = np.nonzero(used)
    terms = np.column_stack([np.ones(len(y)), rows[y], columns[x]])
    level, down, right = np.linalg.lstsq(terms, values[used], rcond=None)[0]
    plane = level + down * rows[:, np.newaxis] + right * columns
    trend: Floats = np.maximum(plane, _DIM * float(values[used].mean()) + np.finfo(float).tiny)
    return trend


def _gain(sigma: float) -> float:
    """Standard deviation of the response to white noise of standard deviation 1."""
    from scipy import ndimage

    radius = math.ceil(5 * sigma) + 1
    impulse = np.zeros((2 * radius + 1, 2 * radius + 1))
    impulse[radius, radius] = 1
    return float(sigma**2 * np.linalg.norm(ndimage.gaussian_laplace(impulse, sigma, mode="constant")))
