"""Scores of detections against manual annotations of an image's cones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.errors import FileError
from napari_nst.imaging.checks import check_length
from napari_nst.imaging.cones import DEFAULT_CONFIDENCE, detect_cones
from napari_nst.io.coordinates import read_coordinates, read_header
from napari_nst.metrics.assessment import BORDER
from napari_nst.metrics.matching import Agreement, agreement, invented, points_inside
from napari_nst.metrics.mosaic import nearest_neighbour_spacing

#: The order of columns as people write it, and as `read_coordinates` does.
ORDERS = {"xy": "xy", "yx": "rowcol"}

_CONFIDENCES = (DEFAULT_CONFIDENCE, 0.0)
_MEASURES = ("dice", "true_positive_rate", "false_discovery_rate", "median_distance_px")


@dataclass(frozen=True, eq=False)
class Annotations:
    """Cones that somebody annotated.

    Attributes
    ----------
    path : pathlib.Path
    points : array of float64, (n, 2)
        Row and column, 0-based.
    order, base : str, int
        How the file was read: "xy" or "yx", whether the column or the row comes first; 0 or 1, what it calls the first pixel.
    header : tuple of str or None
        The names in its first line.
    spacing : float
        Median distance of nearest neighbors in pixels, or what the user gave.
    border : float
        Pixels along the edges that are not scored.
    inside : array of bool, (n,)
        Which are neither in the border nor outside of the mask.
    """

    path: Path
    points: NDArray[np.float64]
    order: str
    base: int
    header: tuple[str, ...] | None
    spacing: float
    border: float
    inside: NDArray[np.bool_]

    @classmethod
    def read(
        cls,
        path: Path,
        shape: tuple[int, int],
        *,
        order: str,
        base: int,
        border: float = BORDER,
        spacing: float | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> Annotations:
        """Read the annotations of an image of a shape, (H, W).

        Parameters
        ----------
        path, order, base, border, spacing
            As the attributes; the file has two columns, with or without a line of their names. See `readings` for order and
            base. None measures the spacing at the annotations.
        mask : array of bool, (H, W), optional
            True where annotations and detections count.

        Raises
        ------
        ParameterError
            A number is out of its range.
        FileError
            The file cannot be read, annotations lie outside of the image, or they are too few to know their spacing.
        """
        check_length(spacing, "spacing")
        points = read_coordinates(path, base=base, order=ORDERS[order], shape=shape, header=True)
        if not len(points):
            raise FileError(f"{path} holds no annotations; there is nothing to score against.")
        if spacing is None:
            spacing = nearest_neighbour_spacing(points)
            if not spacing > 0:
                raise FileError(
                    f"{path} holds {len(points)} annotation(s) at one place: tolerances are parts of the distance of neighboring "
                    "cones, which cannot be measured. Pass the spacing (--spacing PX), or annotate more cones."
                )
        inside = points_inside(points, shape, border=border, mask=mask)
        return cls(path, points, order, base, read_header(path), spacing, border, inside)

    @staticmethod
    def readings(
        path: Path, shape: tuple[int, int], order: str | None = None, base: int | None = None
    ) -> tuple[list[tuple[str, int]], str]:
        """Return every order and base with which a file fits an image of a shape, and why the last that does not fails."""
        fitting, reason = [], ""
        for name, first in product(ORDERS if order is None else (order,), (0, 1) if base is None else (base,)):
            try:
                read_coordinates(path, base=first, order=ORDERS[name], shape=shape, header=True)
                fitting.append((name, first))
            except FileError as error:
                reason = str(error)
        return fitting, reason

    def __str__(self) -> str:
        header = "" if self.header is None else f"; its first line is a header ({','.join(self.header)})"
        text = (
            f"{len(self.points)} annotations of {self.path.name} ({','.join(self.order)}, first pixel {self.base}{header}), "
            f"{int(self.inside.sum())} of them scored"
        )
        if self.border:
            text += f": the others lie within {self.border:g} px of an edge of the image or its mask"
        return f"{text}; spacing {self.spacing:.2f} px."

    def to_dict(self) -> dict[str, Any]:
        """Return what is recorded, JSON-able."""
        return {
            "path": str(self.path),
            "order": self.order,
            "base": self.base,
            "header": self.header and list(self.header),
            "count": len(self.points),
            "scored": int(self.inside.sum()),
            "border_px": self.border,
            "spacing_px": self.spacing,
        }


@dataclass(frozen=True)
class Scores:
    """How well detections of at least some confidence agree with annotations, at each tolerance."""

    confidence: float
    found: int  # inside of border and mask
    invented: int  # of these, farther than 0.75 spacings from every annotation
    agreements: tuple[Agreement, ...]


def score(
    image: NDArray[Any], annotations: Annotations, *, mask: NDArray[np.bool_] | None = None
) -> tuple[Scores, ...]:
    """Find the cones of an image, where the mask is True, and score them, at the usual confidence and without threshold."""
    cones = detect_cones(image, mask=mask, confidence=0)  # a higher confidence takes some of these
    points, spacing, scores = annotations.points, annotations.spacing, []
    where: dict[str, Any] = {"shape": image.shape, "border": annotations.border, "mask": mask}
    for confidence in _CONFIDENCES:
        found = cones.points[cones.confidence >= confidence]
        inside = points_inside(found, **where)
        own = inside[invented(found, points, spacing)]
        scored = agreement(found, points, **where, spacing=spacing)
        scores.append(Scores(confidence, int(inside.sum()), int(own.sum()), scored))
    return tuple(scores)


def differences(target: Sequence[Scores], result: Sequence[Scores]) -> list[dict[str, float]]:
    """Return what a result gains over its target, for each confidence and tolerance: above 0 is more."""
    return [
        {
            "confidence": before.confidence,
            "tolerance": old.tolerance,
            **{name: getattr(new, name) - getattr(old, name) for name in _MEASURES},
            "found": after.found - before.found,
            "invented": after.invented - before.invented,
        }
        for before, after in zip(target, result, strict=True)
        for old, new in zip(before.agreements, after.agreements, strict=True)
    ]
