"""Images cut into patches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.values import check_dtype
from napari_nst.session.patches import Patch, check_picture_shape, patch_name, whole_number
from napari_nst.session.stitching import stitch

__all__ = ["MINIMUM_PATCH", "Patch", "PatchCropper", "PatchImage", "patch_name", "stitch"]

#: Smallest patch in pixels: below, there are too few cones for a spacing, and four poolings leave one position.
MINIMUM_PATCH = 32


class PatchImage(NamedTuple):
    """A patch that was cut out.

    Attributes
    ----------
    patch : Patch
        Where it lies.
    array : array, (size, size) or (size, size, channels)
        Its pixels, a contiguous copy in the image's dtype.
    valid : array of bool, (size, size)
        True where it shows the picture: False for padding, and for what the caller declared to be no picture.
    """

    patch: Patch
    array: NDArray[Any]
    valid: NDArray[np.bool_]

    @property
    def valid_share(self) -> float:
        """Share of the patch that is picture, 0 to 1."""
        return float(self.valid.mean())


@dataclass(frozen=True)
class PatchCropper:
    """Cuts images of any height and width into overlapping square patches.

    Parameters
    ----------
    size : int
        Side of a patch in pixels, at least 32.
    overlap : int
        Pixels that neighbours share at least, below `size`. The default is twice the border of 7 pixels in
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
        object.__setattr__(self, "size", whole_number("size", self.size, MINIMUM_PATCH))
        object.__setattr__(self, "overlap", whole_number("overlap", self.overlap, 0))
        if self.overlap >= self.size:
            raise ParameterError(
                f"overlap={self.overlap} must be smaller than size={self.size}, or neighbouring patches would coincide."
            )

    def positions(self, length: int) -> list[int]:
        """First pixels of the patches along one side of an image.

        Parameters
        ----------
        length : int
            Of that side, in pixels.

        Returns
        -------
        list of int
            ``i * (length - size) // (n - 1)`` for n = max(2, ceil((length - size) / (size - overlap)) + 1)
            patches; [0] for a side that one patch covers.

        Raises
        ------
        ParameterError
            `length` is not a positive whole number.

        Notes
        -----
        The exact step is at most ``size - overlap``, a whole number, so a step between floors is, too.
        """
        free = whole_number("length", length, 1) - self.size
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
            `shape` is not that of a picture.
        """
        check_picture_shape(tuple(shape), image_name)
        if not image_name or PurePath(image_name).name != image_name:
            raise ParameterError(f"image_name must be a file name without folders, not {image_name!r}.")
        number = whole_number("first_id", first_id, 0)
        rows, columns = (self._along(int(side)) for side in shape[:2])
        patches = []
        for column in columns:
            for row in rows:
                patches.append(
                    Patch(
                        name=patch_name(number, column.start, row.start, image_name),
                        image=image_name,
                        crop_id=number,
                        x=column.start,
                        y=row.start,
                        shape=(self.size, self.size),
                        padding=(*row.padding, *column.padding),
                        overlaps=(*row.overlaps, *column.overlaps),
                        fades=(*row.fades, *column.fades),
                    )
                )
                number += 1
        return patches

    def crop(
        self,
        image: ArrayLike,
        image_name: str,
        *,
        first_id: int = 1,
        valid: NDArray[np.bool_] | None = None,
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
            True where the image is picture, as `napari_nst.imaging.masks.black_border` finds it; everywhere by
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
            `image` is not a picture, or `valid` does not fit it.
        """
        array = np.asarray(image)
        patches = self.plan(array.shape, image_name, first_id)
        check_dtype(array.dtype, f"image {image_name}")
        if valid is None:
            valid = np.ones(array.shape[:2], dtype=bool)
        elif np.shape(valid) != array.shape[:2] or np.asarray(valid).dtype != np.bool_:
            raise ImageError(
                f"valid must be booleans of shape {array.shape[:2]} for image {image_name}, not "
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
    """Cut one patch out of its image, as `PatchCropper.crop` cuts all.

    Parameters
    ----------
    image : array, (H, W), (H, W, 3) or (H, W, 4)
    patch : Patch
        Of this image.
    valid : array of bool, (H, W)
        True where the image is picture.

    Raises
    ------
    ImageError
        The patch reaches beyond the image: it was cut from another one.
    """
    rows, columns = patch.window
    if rows.stop > image.shape[0] or columns.stop > image.shape[1]:
        raise ImageError(
            f"Patch {patch.name} reaches beyond its image of shape {image.shape[:2]}; it was cut from another one."
        )
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
    inner = array[patch.window]
    if not any(patch.padding):
        return inner.copy(order="C")
    margins = [(top, bottom), (left, right), (0, 0)][: array.ndim]
    return np.ascontiguousarray(np.pad(inner, margins, mode=mode))
