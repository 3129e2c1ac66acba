"""What may be an image, and how its values map to [0, 1] and back without loss."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from napari_nst.errors import ImageError

__all__ = [
    "MINIMUM_SIDE",
    "ValueRange",
    "apply_change",
    "check_dtype",
    "digest_header",
    "digest_of",
    "find_range",
    "to_unit",
]

#: Below this, four poolings leave nothing: 16 -> 8 -> 4 -> 2 -> 1.
MINIMUM_SIDE = 16

_PERCENTILES = (0.1, 99.9)


class ValueRange(NamedTuple):
    """The values that become 0 and 1, in the image's own units (gray levels)."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """High - low, above 0."""
        return self.high - self.low


def check_dtype(dtype: np.dtype[Any], role: str) -> None:
    """Refuse what is no image (ImageError): bool, complex, text and objects."""
    if dtype == np.bool_:
        raise ImageError(
            f"The {role} is of type bool: a mask has no gray levels. Pass it as mask= or style_mask=, or convert "
            "it with .astype('uint8') * 255 if it really is an image."
        )
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise ImageError(
            f"The {role} is of type {dtype}; an image must be of uint8, uint16, int16, other integers, "
            "or float32/64. Convert it with .astype('float32')."
        )


def find_range(
    values: np.ndarray[Any, Any],
    request: str | tuple[float, float],
    role: str,
    dtype: np.dtype[Any] | None = None,
) -> ValueRange:
    """Return the value range of an image.

    `values` are those that count, of any shape; NaN is ignored, and without two finite ones there is an ImageError.  "auto" is
    0..255 for uint8, else the finite minimum..maximum; "percentiles" 0.1 % to 99.9 %.  `dtype` is the image's, if `values` is a
    sample of another type.
    """
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if finite.size == 0:
        raise ImageError(f"The {role} has no finite value in the area that counts.")
    low, high = finite.min(), finite.max()
    if low == high:
        raise ImageError(
            f"The {role} is constant: every value that counts is {low}. There is no structure to work on; check that the right "
            "layer, plane or file was chosen."
        )
    if not isinstance(request, str):
        chosen = ValueRange(*map(float, request))
    elif request == "percentiles":
        chosen = ValueRange(*(float(p) for p in np.percentile(finite, _PERCENTILES)))
        if chosen.span <= 0:  # nearly constant: a few bright pixels on a flat ground
            chosen = ValueRange(float(low), float(high))
    elif (dtype or values.dtype) == np.uint8:
        chosen = ValueRange(0.0, 255.0)
    else:
        chosen = ValueRange(float(low), float(high))
    if not (np.isfinite(chosen.span) and chosen.span > 0):
        raise ImageError(
            f"The {role} spans {low} to {high}, which double precision cannot tell apart from "
            f"{'infinity' if chosen.span > 0 else 'one value'}; rescale it, or give value_range."
        )
    return chosen


def to_unit(values: np.ndarray[Any, Any], value_range: ValueRange) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Map `value_range` linearly to [0, 1], in double precision; values outside map outside."""
    return (values.astype(np.float64) - value_range.low) / value_range.span


def apply_change(
    values: np.ndarray[Any, Any], change: np.ndarray[Any, Any], value_range: ValueRange
) -> np.ndarray[Any, Any]:
    """Add a change, given in [0, 1] units, to the original values.

    The result is made from the original and the change, not from the optimized image alone: where nothing changed,
    the value is the original to the last bit, for every type and outside the value range too.

    `values` is the original of any real dtype, and `change` of the same shape in units of the range's span.  Returns the
    shape and dtype of `values`; integers are rounded and limited to what the type can hold.
    """
    delta = change.astype(np.float64) * value_range.span
    if values.dtype.kind == "f":
        limits = np.finfo(values.dtype)
        out = np.clip(values.astype(np.float64) + delta, float(limits.min), float(limits.max))
        return np.where(delta == 0, values, out.astype(values.dtype))
    # In unsigned integers of the same width, which wrap around without loss: 64-bit integers do not fit a double, and
    # the way from one end of a signed type to the other does not fit the type.
    info, unsigned = np.iinfo(values.dtype), np.dtype(f"u{values.dtype.itemsize}")
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    held = native.astype(unsigned)
    highest, lowest = (np.array(limit, native.dtype).astype(unsigned) for limit in (info.max, info.min))
    whole = np.rint(delta)
    largest = np.nextafter(2.0**info.bits, 0) if info.bits > 53 else 2.0**info.bits - 1
    furthest = np.iinfo(unsigned).max  # of 64 bits, no double: the largest one below falls short of it
    up, down = (
        np.where(part > largest, furthest, np.clip(part, 0, largest).astype(unsigned)) for part in (whole, -whole)
    )
    moved = held + np.minimum(up, highest - held) - np.minimum(down, held - lowest)
    return np.asarray(moved.astype(native.dtype))


def digest_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """What is hashed before the values."""
    return f"{tuple(map(int, shape))} {dtype.str} ".encode()


def digest_of(shape: tuple[int, ...], dtype: np.dtype[Any], parts: Iterable[np.ndarray[Any, Any]]) -> str:
    """SHA-256 of an array's shape, type and values given in pieces, as hexadecimal text."""
    digest = hashlib.sha256(digest_header(shape, dtype))
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
