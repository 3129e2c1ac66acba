"""Which pixels count: the black border of montages, masks from users, and masks in JSON records."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError

__all__ = ["black_border", "check_mask", "fill_from_nearest", "pack_mask", "unpack_mask"]

_ENCODING = "base64(zlib(packbits))"


def black_border(image: ArrayLike) -> NDArray[np.bool_]:
    """Find the image inside the black border that registration and montaging leave.

    Parameters
    ----------
    image : array, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        Any numeric dtype; the fourth channel is transparency and not looked at.

    Returns
    -------
    array of bool, (H, W)
        False for pixels that are 0 in every channel and connected to the edge of the image through such
        pixels. Zeros inside (a vessel's shadow, a dead pixel) stay True.

    Notes
    -----
    Connected means sharing a side: across corners it would leak through single diagonal pixels into dark tissue beside it.
    """
    array = np.asarray(image)
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))) or 0 in array.shape:
        raise ImageError(
            f"A black border is that of an image (H, W), (H, W, 3) or (H, W, 4), got shape {array.shape}. Pass one plane of "
            "a stack at a time."
        )
    black = array == 0 if array.ndim == 2 else (array[..., :3] == 0).all(axis=-1)
    from scipy import ndimage

    # From beyond the edges through black pixels; the default structure of scipy joins by sides.
    used: NDArray[np.bool_] = ~ndimage.binary_propagation(np.zeros_like(black), mask=black, border_value=1)
    return used


def check_mask(mask: ArrayLike, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Turn a user's mask or labels into booleans, or say why that is impossible (ImageError).

    They are bool, integer labels (as a napari Labels layer has), or finite floats, and not 0 where a pixel is used. `shape`
    is that of the image without its channels; there must be a pixel to use.
    """
    array = np.asarray(mask)
    expected = tuple(int(side) for side in shape)
    if array.shape != expected:
        raise ImageError(
            f"The mask has shape {array.shape}, the image {expected}. Draw the mask on the image itself, or crop both in the "
            "same way."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ImageError(
                "The mask contains NaN or infinite values; use 0 for pixels to leave out, 1 for the others."
            )
    elif array.dtype.kind not in "bui":
        raise ImageError(f"A mask of dtype {array.dtype} cannot be used; pass booleans or integer labels.")
    used: NDArray[np.bool_] = array.astype(bool) if array.dtype.kind == "b" else array != 0
    if not used.any():
        raise ImageError("The mask selects no pixel: all its values are 0. Paint the region to use, or pass no mask.")
    return used


def fill_from_nearest(image: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Give every unknown pixel the value of the known pixel nearest to it, so that no edge is added where they begin.

    `image` is (H, W) or (H, W, channels), `known` (H, W) with at least one True. Returns `image` itself when all are known.
    """
    if known.all():
        return image
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled: NDArray[Any] = image[rows, columns]
    return filled


def pack_mask(mask: ArrayLike) -> dict[str, Any]:
    """Encode a boolean mask of any shape compactly and exactly for a JSON record.

    The keys are ``shape`` (list of int), ``encoding`` (how to decode it) and ``data`` (ASCII str): eight pixels a
    byte in C order, the first in the highest bit, compressed by zlib, in base64. Raises ImageError for another dtype.
    """
    array = np.asarray(mask)
    if array.dtype != np.bool_:
        raise ImageError(f"Only boolean masks are packed, not {array.dtype}; check_mask turns labels into booleans.")
    packed = zlib.compress(np.packbits(array.ravel()).tobytes(), 9)
    return {"shape": list(array.shape), "encoding": _ENCODING, "data": base64.b64encode(packed).decode("ascii")}


def unpack_mask(packed: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode what `pack_mask` made; raises ImageError for an incomplete or damaged record."""
    try:
        if packed["encoding"] != _ENCODING:
            raise ImageError(f"Masks are encoded as {_ENCODING!r}, not as {packed['encoding']!r}.")
        shape = tuple(int(side) for side in packed["shape"])
        compressed = base64.b64decode(packed["data"], validate=True)
        size = math.prod(shape)
        if min(shape, default=0) < 0:
            raise ValueError(f"negative shape {shape}")
        expected = (size + 7) // 8
        # At most one byte more than the shape says: a damaged record must not unpack into gigabytes.
        raw = zlib.decompressobj().decompress(compressed, expected + 1)
        if len(raw) != expected:
            raise ValueError(f"{len(raw)} bytes or more for shape {shape}, which needs {expected}")
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ImageError(f"The recorded mask is damaged ({error}); run again with the original mask.") from error
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=size)
    return bits.astype(bool).reshape(shape)
