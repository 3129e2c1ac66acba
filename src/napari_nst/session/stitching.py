"""Patches back into their image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError
from napari_nst.imaging.values import ValueRange, apply_change, check_dtype
from napari_nst.session.patches import Patch, check_picture_shape

__all__ = ["stitch"]

_GREY_LEVELS = ValueRange(0.0, 1.0)  # changes are in grey levels already


def stitch(image: ArrayLike, pieces: Iterable[tuple[Patch, ArrayLike]]) -> NDArray[Any]:
    """Put patches back into their image.

    Parameters
    ----------
    image : array, (H, W), (H, W, 3) or (H, W, 4)
        The original, any real dtype.
    pieces : iterable of (Patch, array)
        Patches and what became of them, in the shape (padding included) and dtype that they were cut in. Any
        order; taken one at a time. A patch that is missing counts as unchanged.

    Returns
    -------
    array, shape and dtype of `image`
        The original plus the changes of the patches, faded into each other (raised cosine) where neighbours
        overlap. The weights of all patches of a plan add up to 1 everywhere, so a missing neighbour pulls
        towards the original and leaves no seam. Where no patch changed anything, the value is the original's to
        the last bit; where one patch alone counts, it is exactly that patch's. Integers are rounded and
        saturate. Pixels that are not finite in the original stay as they are.

    Raises
    ------
    ImageError
        A piece has another shape or dtype than its patch, lies outside of the image, or is not finite.

    Notes
    -----
    Two patches of different plans may overlap, too: where weights add up to more than 1, the changes are
    averaged by them.
    """
    original = np.asarray(image)
    check_picture_shape(original.shape, "to stitch")
    check_dtype(original.dtype, "image to stitch")
    result = original.copy(order="C")
    change = np.zeros(original.shape)
    weights = np.zeros(original.shape[:2])
    alone = np.zeros(original.shape[:2], dtype=bool)
    for patch, piece in pieces:
        new, old = _checked_piece(patch, np.asarray(piece), original), original[patch.window]
        height, width = old.shape[:2]
        top, bottom, left, right = zip(patch.overlaps, patch.fades, strict=True)
        weight = np.outer(_fade(height, top, bottom), _fade(width, left, right))
        change[patch.window] += (weight if old.ndim == 2 else weight[..., np.newaxis]) * _difference(new, old)
        # Not by adding the difference: in floating point, a + (b - a) is not always b.
        first = (weight == 1) & (weights[patch.window] == 0)
        whole = first if old.ndim == 2 else first[..., np.newaxis]
        np.copyto(result[patch.window], new, where=whole & np.isfinite(old))
        alone[patch.window] |= first
        weights[patch.window] += weight
    alone &= weights == 1
    blended = (weights > 0) & ~alone
    scale = np.maximum(weights[blended], 1)
    faded = change[blended] / (scale if original.ndim == 2 else scale[:, np.newaxis])
    result[blended] = apply_change(original[blended], faded, _GREY_LEVELS)
    return result


def _checked_piece(patch: Patch, piece: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Take the padding from a piece, or say why it cannot be put back."""
    rows, columns = patch.window
    if rows.stop > image.shape[0] or columns.stop > image.shape[1]:
        raise ImageError(
            f"Patch {patch.name} ends at row {rows.stop}, column {columns.stop}, outside of the image of shape "
            f"{image.shape}; it was cut from another one ({patch.image})."
        )
    expected = (*patch.shape, *image.shape[2:])
    if piece.shape != expected:
        raise ImageError(
            f"Patch {patch.name} has shape {piece.shape} instead of {expected}; keep its size to stitch it."
        )
    if piece.dtype.newbyteorder("=") != image.dtype.newbyteorder("="):
        raise ImageError(
            f"Patch {patch.name} is of type {piece.dtype}, its image of type {image.dtype}; convert it back first."
        )
    inner: NDArray[Any] = piece[patch.inner]
    if inner.dtype.kind == "f" and not np.isfinite(inner[np.isfinite(image[patch.window])]).all():
        raise ImageError(f"Patch {patch.name} has NaN or infinite values where its image has none; leave it out.")
    return inner


def _fade(length: int, before: tuple[int, int], after: tuple[int, int]) -> NDArray[np.float64]:
    """Weights of a patch along one side, given overlap and fade with the neighbours before and after."""
    weights = np.ones(length)
    for (shared, faded), ordered in ((before, weights), (after, weights[::-1])):
        if faded:
            place = (np.arange(length) + 0.5 - (shared - faded) / 2) / faded
            ordered *= np.sin(np.pi / 2 * np.clip(place, 0, 1)) ** 2  # and the neighbour cos²: together 1
    return weights


def _difference(new: NDArray[Any], old: NDArray[Any]) -> NDArray[np.float64]:
    """New - old in double precision, 0 where `old` is not finite."""
    if old.dtype.kind == "f":
        finite = np.isfinite(old)
        return np.where(finite, new, 0).astype(np.float64) - np.where(finite, old, 0)
    # As unsigned integers of the same width, or 64-bit values would be rounded before they are subtracted.
    unsigned = np.dtype(f"u{old.dtype.itemsize}")
    p, q = (part.astype(part.dtype.newbyteorder("="), copy=False).astype(unsigned) for part in (new, old))
    up = new >= old
    size = np.where(up, p - q, q - p).astype(np.float64)
    signed: NDArray[np.float64] = np.where(up, size, -size)
    return signed
