"""Whether two pictures show the same cones, seen by the pictures alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError

__all__ = ["SAME_CONES", "Overlap", "cone_band", "find_overlap", "same_cones_score"]

#: Above this score two patches are taken to show the same cones. Measured with cone spacings of 5 to 10 px, patches of
#: 150 and 185 px: other places 0.12 to 0.31 (one of 690 pairs above 0.3), the same place 0.52 to 0.91, and 0.27 to 0.54
#: (median 0.46) when one of the two is badly degraded, 0.28 to 0.48 between confocal and split detection. Refusing a
#: good style in error costs little, a style of the same cones shows the answer that is to be found: the limit is just
#: above chance.
SAME_CONES = 0.3

_CORE, _SURROUND = 1.0, 8.0  # Gaussian sigmas in pixels: noise is taken out, and shading larger than cones
_LEAST = 64  # pixels: fewer correlate by chance


class Overlap(NamedTuple):
    """How two pictures fit together best.

    Attributes
    ----------
    score : float
        Correlation of their overlap, -1 to 1; 0 where nothing can be compared.
    shift : (int, int)
        Rows and columns by which `style` is to be moved to lie on `target`.
    """

    score: float
    shift: tuple[int, int]


def same_cones_score(
    target: ArrayLike,
    style: ArrayLike,
    target_mask: NDArray[np.bool_] | None = None,
    style_mask: NDArray[np.bool_] | None = None,
) -> float:
    """How likely two patches show the same cones: their correlation in the best position, see `find_overlap`.

    Returns
    -------
    float
        -1 to 1; above `SAME_CONES` the patches overlap.
    """
    return find_overlap(target, style, target_mask, style_mask).score


def find_overlap(
    target: ArrayLike,
    style: ArrayLike,
    target_mask: NDArray[np.bool_] | None = None,
    style_mask: NDArray[np.bool_] | None = None,
    *,
    least: float = 0.3,
) -> Overlap:
    """Find the shift at which two pictures correlate best.

    Parameters
    ----------
    target, style : array, (H, W)
        Grey, any real dtype; their shapes may differ.
    target_mask, style_mask : array of bool, optional
        True where they are picture; everywhere by default. Pixels that are not finite never count.
    least : float
        Smallest overlap that is tried, as a share of the largest possible one, above 0 and at most 1.

    Returns
    -------
    Overlap

    Raises
    ------
    ImageError
        A picture is not grey, or its mask does not fit.
    ParameterError
        `least` is out of its range.

    Notes
    -----
    Masked normalised cross-correlation (Padfield 2012, IEEE Trans. Image Process. 21:2706) over all shifts, by
    `skimage.registration.phase_cross_correlation`, of the pictures without their shading and pixel noise (difference
    of Gaussians of 1 and 8 px, which count masked pixels nowhere). Shading, vessels and the ring of equal spacings alone
    correlate too, so 0.2 means nothing. Overlaps below `least` are not found: smaller ones correlate by chance. Whole images
    show them (`least` 0.1), as their overlaps have more pixels.
    """
    if not 0 < least <= 1:
        raise ParameterError(f"least={least!r} must be above 0 and at most 1, a share of the largest overlap.")
    first, first_used = cone_band(target, target_mask, "target")
    second, second_used = cone_band(style, style_mask, "style")
    if min(np.count_nonzero(first_used), np.count_nonzero(second_used)) < _LEAST or not (first.any() and second.any()):
        return Overlap(0.0, (0, 0))
    from skimage.registration import phase_cross_correlation

    # Of pictures of different shapes it gives the shift of their middles; equal ones have no such question.
    shape = tuple(max(sides) for sides in zip(first.shape, second.shape, strict=True))
    found, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]  # scikit-image has no types
        _grown(first, shape),
        _grown(second, shape),
        reference_mask=_grown(first_used, shape),
        moving_mask=_grown(second_used, shape),
        overlap_ratio=least,
    )
    # Equal maxima are averaged, which happens only with exactly periodic pictures.
    shift = (round(float(found[0])), round(float(found[1])))
    return Overlap(_correlation(first, second, first_used, second_used, shift), shift)


def cone_band(
    picture: ArrayLike, mask: NDArray[np.bool_] | None, name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Take pixel noise, and shading larger than cones, out of a picture.

    Parameters
    ----------
    picture : array, (H, W)
        Grey, any real dtype.
    mask : array of bool, (H, W), optional
        True where it is picture; pixels that are not finite never count.
    name : str
        What the messages call it.

    Returns
    -------
    band : array of float64, (H, W)
        Difference of Gaussians of 1 and 8 px over used pixels, of the values divided by their range; 0 where unused.
    used : array of bool, (H, W)

    Raises
    ------
    ImageError
        The picture is not grey, or its mask does not fit.
    """
    from scipy.ndimage import gaussian_filter

    array = np.asarray(picture)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "buif":
        raise ImageError(f"The {name} has shape {array.shape} and dtype {array.dtype}; pass one grey picture (H, W).")
    used: NDArray[np.bool_] = np.isfinite(array)
    if mask is not None:
        if np.shape(mask) != array.shape:
            raise ImageError(f"The mask of the {name} has shape {np.shape(mask)}, the picture {array.shape}.")
        used = used & np.asarray(mask, dtype=bool)
    if not used.any():
        return np.zeros(array.shape), used
    values = np.where(used, array, 0).astype(np.float64)
    extent = float(np.ptp(values[used]))
    if extent == 0:
        return np.zeros(array.shape), used
    values = np.where(used, (values - float(values[used].mean())) / extent, 0.0)
    weights = used.astype(np.float64)

    def mean(sigma: float) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = gaussian_filter(values, sigma)
        # Normalised convolution: each mean is over used pixels only, so no edge appears where they end.
        return smooth if used.all() else smooth / np.maximum(gaussian_filter(weights, sigma), 1e-6)

    return np.where(used, mean(_CORE) - mean(_SURROUND), 0.0), used


def _grown(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Add unused pixels at the end of each side."""
    return np.pad(array, [(0, wanted - side) for side, wanted in zip(array.shape, shape, strict=True)])


def _correlation(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    first_used: NDArray[np.bool_],
    second_used: NDArray[np.bool_],
    shift: tuple[int, int],
) -> float:
    """Pearson's correlation where both are used, the second being moved by `shift`."""
    here, there = [], []
    for moved, length, other in zip(shift, first.shape, second.shape, strict=True):
        start, stop = max(0, moved), min(length, other + moved)
        here.append(slice(start, stop))
        there.append(slice(start - moved, stop - moved))
    both = first_used[tuple(here)] & second_used[tuple(there)]
    if np.count_nonzero(both) < _LEAST:
        return 0.0
    a, b = first[tuple(here)][both], second[tuple(there)][both]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / norm, -1, 1)) if norm > 0 else 0.0
