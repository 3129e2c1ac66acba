"""Images cut into patches, where a patch lies and what its file is called, and patches back into their image."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.values import ValueRange, apply_change, check_dtype
from napari_nst.io.filenames import safe_stem, split_extension
from napari_nst.io.records import FileName, RecordPart

#: Smallest patch in pixels: below, there are too few cones for a spacing, and four poolings leave one position.
MINIMUM_PATCH = 32

_LONGEST_NAME = 240  # characters of a stem: names are shortened only where a file system would refuse them
_GRAY_LEVELS = ValueRange(0.0, 1.0)  # changes are in gray levels already

#: A number of pixels, or of a patch.
Count = Annotated[int, Field(ge=0, strict=True)]
Length = Annotated[int, Field(ge=1, strict=True)]
#: Pixels at the top, the bottom, the left and the right.
Sides = tuple[Count, Count, Count, Count]


class Patch(RecordPart):
    """Where a patch lies in its image."""

    name: FileName  # file name of the patch, ``CROP_{crop_id}_x{x}y{y}_{image}.tif``
    image: FileName  # file name of the image, without folders
    crop_id: Count  # number of the patch, unique in a session
    x: Count  # column and row, in the image, of the first pixel that the patch shows of it: padding is not counted
    y: Count
    shape: tuple[Length, Length]  # height and width of the patch's array in pixels, padding included
    padding: Sides  # pixels added by reflection at the top, the bottom, the left and the right
    overlaps: Sides  # pixels shared with the neighbor above, below, to the left and to the right; 0 where there is none
    fades: Sides  # so many pixels in the middle of each overlap, over which stitching goes over to that neighbor

    @model_validator(mode="after")
    def _shows_its_image(self) -> Self:
        height, width = self._covered
        if min(height, width) < 1:
            raise ValueError(f"shows nothing of its image, {self.shape} px with a padding of {self.padding} px")
        if max(self.overlaps[:2]) >= height or max(self.overlaps[2:]) >= width:
            raise ValueError(f"shows {height} x {width} px, fewer than its overlaps of {self.overlaps} px need")
        if any(fade > overlap for fade, overlap in zip(self.fades, self.overlaps, strict=True)):
            raise ValueError(f"fades over {self.fades} px, more than its overlaps of {self.overlaps} px")
        return self

    @property
    def _covered(self) -> tuple[int, int]:
        top, bottom, left, right = self.padding
        return self.shape[0] - top - bottom, self.shape[1] - left - right

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the patch shows."""
        height, width = self._covered
        return slice(self.y, self.y + height), slice(self.x, self.x + width)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the patch's array that show the image: all but the padding."""
        top, bottom, left, right = self.padding
        return slice(top, self.shape[0] - bottom), slice(left, self.shape[1] - right)


def patch_name(crop_id: int, x: int, y: int, image_name: str) -> str:
    """Name the file of a patch as every system takes it; a name that is too long for one is shortened."""
    stem = split_extension(image_name)[0]
    return safe_stem(f"CROP_{crop_id}_x{x}y{y}_{stem}", limit=_LONGEST_NAME) + ".tif"


class PatchImage(NamedTuple):
    """A patch that was cut out."""

    patch: Patch  # where it lies
    array: NDArray[Any]  # (size, size) or (size, size, channels): a contiguous copy in the image's dtype
    valid: NDArray[np.bool_]  # (size, size): False for padding, and for what is no tissue, such as a black border


@dataclass(frozen=True)
class PatchCropper:
    """Cut images of any height and width into overlapping square patches.

    Parameters
    ----------
    size : int
        Side of a patch in pixels, at least 32.
    overlap : int
        Pixels that neighbors share at least, below `size`. The default is twice the border of 7 pixels in
        which the MDRNN cone detector finds nothing.

    Raises
    ------
    ParameterError
        A value is out of its range.

    Notes
    -----
    The documented layout: patches are spread evenly, and numbered down the columns (x outside, y inside). On
    square images the numbers and names are the documented ones; on others, x is the column and y the row,
    as the names say.
    """

    size: int = 185
    overlap: int = 14

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _whole_number("size", self.size, MINIMUM_PATCH))
        object.__setattr__(self, "overlap", _whole_number("overlap", self.overlap, 0))
        if self.overlap >= self.size:
            raise ParameterError(
                f"overlap={self.overlap} must be smaller than size={self.size}, or neighboring patches would coincide."
            )

    def positions(self, length: int) -> list[int]:
        """Return the first pixels of the patches along one side of an image of `length` pixels.

        Returns
        -------
        list of int
            ``i * (length - size) // (n - 1)`` for n = max(2, ceil((length - size) / (size - overlap)) + 1)
            patches; [0] for a side that one patch covers. The exact step is at most ``size - overlap``, a whole
            number, so a step between floors is, too.

        Raises
        ------
        ParameterError
            `length` is not a positive whole number.
        """
        free = _whole_number("length", length, 1) - self.size
        if free <= 0:
            return [0]
        steps = max(1, -(-free // (self.size - self.overlap)))
        return [i * free // steps for i in range(steps + 1)]

    def plan(self, shape: Sequence[int], image_name: str, first_id: int = 1) -> list[Patch]:
        """Lay out the patches of an image without cutting them.

        Parameters
        ----------
        shape : sequence of int
            Of the image's array: (H, W) or (H, W, channels).
        image_name : str
            File name of the image, without folders.
        first_id : int
            Number of the first patch. Numbers are unique in a session when each image goes on where the one
            before ended.

        Returns
        -------
        list of Patch
            In the order of their numbers.

        Raises
        ------
        ParameterError
            `image_name` or `first_id` cannot be used.
        ImageError
            `shape` is not that of an image.
        """
        _check_image_shape(tuple(shape), image_name)
        if not image_name or PurePath(image_name).name != image_name:
            raise ParameterError(f"image_name must be a file name without folders, got {image_name!r}.")
        number = _whole_number("first_id", first_id, 0)
        rows, columns = (self._along(int(side)) for side in shape[:2])
        return [
            Patch(
                name=patch_name(crop_id, column.start, row.start, image_name),
                image=image_name,
                crop_id=crop_id,
                x=column.start,
                y=row.start,
                shape=(self.size, self.size),
                padding=(*row.padding, *column.padding),
                overlaps=(*row.overlaps, *column.overlaps),
                fades=(*row.fades, *column.fades),
            )
            for crop_id, (column, row) in enumerate(itertools.product(columns, rows), start=number)
        ]

    def crop(
        self, image: ArrayLike, image_name: str, *, first_id: int = 1, valid: NDArray[np.bool_] | None = None
    ) -> list[PatchImage]:
        """Cut an image into patches.

        Parameters
        ----------
        image : array, (H, W), (H, W, 3) or (H, W, 4)
            Any real dtype. A side shorter than a patch is continued by reflection, about the middle, as often
            as needed; the edge pixel is not repeated.
        image_name, first_id
            As in `plan`.
        valid : array of bool, (H, W), optional
            False in the black border, as `napari_nst.imaging.masks.black_border` finds it; True everywhere by
            default.

        Returns
        -------
        list of PatchImage
            As many as `plan` gives, in that order. The pixels are those of the image: nothing is filled.

        Raises
        ------
        ParameterError
            As `plan`.
        ImageError
            `image` is not one image, or `valid` does not fit it.
        """
        array = np.asarray(image)
        patches = self.plan(array.shape, image_name, first_id)
        check_dtype(array.dtype, f"image {image_name}")
        if valid is None:
            valid = np.ones(array.shape[:2], dtype=bool)
        elif np.shape(valid) != array.shape[:2] or np.asarray(valid).dtype != np.bool_:
            raise ImageError(
                f"valid must be booleans of shape {array.shape[:2]} for image {image_name}, got "
                f"{np.asarray(valid).dtype} of shape {np.shape(valid)}."
            )
        return [cut_patch(array, patch, valid=valid) for patch in patches]

    def _along(self, length: int) -> list[_Stretch]:
        """What the patches along one side are, in their order."""
        missing = max(0, self.size - length)
        starts = self.positions(length)
        steps = [b - a for a, b in itertools.pairwise(starts)]
        shared = [0, *(self.size - step for step in steps), 0]
        # Where patches overlap by more than half, the one after the next overlaps, too. Fades of at most one step, in
        # the middle of the overlap, never meet, so that at most two patches count and their weights add up to 1.
        faded = shared if len(starts) < 3 else [0, *(min(self.size - step, step) for step in steps), 0]
        padding = (missing // 2, missing - missing // 2)
        return [
            _Stretch(start, padding, (shared[i], shared[i + 1]), (faded[i], faded[i + 1]))
            for i, start in enumerate(starts)
        ]


def cut_patch(image: NDArray[Any], patch: Patch, *, valid: NDArray[np.bool_]) -> PatchImage:
    """Cut a patch out of its image (H, W[, channels]), and what is `valid` in it; ImageError where it lies outside."""
    _check_inside(patch, image.shape)
    return PatchImage(patch, _cut(image, patch, "reflect"), _cut(valid, patch, "constant"))


class _Stretch(NamedTuple):
    """One axis of a patch; pairs are before and after."""

    start: int
    padding: tuple[int, int]
    overlaps: tuple[int, int]
    fades: tuple[int, int]


def _cut(array: NDArray[Any], patch: Patch, mode: Any) -> NDArray[Any]:
    """Copy a patch out of its image; `mode` of numpy.pad, a constant being 0 or False."""
    top, bottom, left, right = patch.padding
    margins = [(top, bottom), (left, right), (0, 0)][: array.ndim]
    return np.ascontiguousarray(np.pad(array[patch.window], margins, mode=mode))


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
        The original plus the changes of the patches, faded into each other (raised cosine) where neighbors
        overlap. The weights of all patches of a plan add up to 1 everywhere, so a missing neighbor pulls
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
    _check_image_shape(original.shape, "to stitch")
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
    result[blended] = apply_change(original[blended], faded, _GRAY_LEVELS)
    return result


def _checked_piece(patch: Patch, piece: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
    """Take the padding from a piece, or say why it cannot be put back."""
    _check_inside(patch, image.shape)
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
    """Weights of a patch along one side, given overlap and fade with the neighbors before and after."""
    weights = np.ones(length)
    for (shared, faded), ordered in ((before, weights), (after, weights[::-1])):
        if faded:
            share = (np.arange(length) + 0.5 - (shared - faded) / 2) / faded
            ordered *= np.sin(np.pi / 2 * np.clip(share, 0, 1)) ** 2  # and the neighbor cos²: together 1
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


def _check_inside(patch: Patch, shape: tuple[int, ...]) -> None:
    """Refuse a patch that was cut from a larger image than one of `shape`."""
    rows, columns = patch.window
    if rows.stop > shape[0] or columns.stop > shape[1]:
        raise ImageError(
            f"Patch {patch.name} ends at row {rows.stop}, column {columns.stop}, outside of the image of shape {shape}. "
            f"Pass the image that it was cut from ({patch.image})."
        )


def _check_image_shape(shape: tuple[int, ...], what: str) -> None:
    """Refuse what is not one image, with an `ImageError` about "the image `what`"."""
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))) or 0 in shape:
        raise ImageError(
            f"The image {what} must have the shape (H, W), (H, W, 3) or (H, W, 4), got {shape}. Pass one plane of a stack "
            "at a time."
        )


def _whole_number(name: str, value: Any, least: int) -> int:
    """Take a whole number of at least `least`, NumPy's included, or raise `ParameterError`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ParameterError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    return int(value)
