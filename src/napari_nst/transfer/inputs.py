"""From arrays to what the engine takes, and back: channels, value ranges, masks, pixel size, padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from napari_nst.engine._torch import torch
from napari_nst.engine.backbone import Part
from napari_nst.engine.memory import check_memory
from napari_nst.engine.run import Problem
from napari_nst.engine.tiling import Pixels, read
from napari_nst.errors import ImageError, ParameterError
from napari_nst.imaging.cones import DEFAULT_SPACING, detect_cones
from napari_nst.imaging.masks import black_border, check_mask, fill_from_nearest
from napari_nst.imaging.padding import reflect_to_multiple
from napari_nst.imaging.planes import Planes, luminance, resample_plane
from napari_nst.imaging.spacing import relative_spacing, ring_prominence
from napari_nst.imaging.spectrum import match_spectrum
from napari_nst.imaging.trust_region import local_trust
from napari_nst.imaging.values import MINIMUM_SIDE, ValueRange, apply_change, find_range, to_unit
from napari_nst.settings.layers import pools_before
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.options import TransferOptions

Array: TypeAlias = np.ndarray[Any, Any]

#: Rows of a plane that are made at once.
_BAND = 512

#: ln of the ratio of spacings that is not worth resampling a style for.
_SAME_SPACING = 0.004

#: Memory for filtering one plane, bytes per value (measured: 85 to 88).
_FILTERING = 90

#: Side of the window in which it is seen whether there are cells at all, pixels.
_LOOKED_AT = 1024

#: Percentiles of a stack are taken from at most so many values, evenly spread.
_SAMPLE = 20_000_000


def resampling(target: Any, style: Any, match: bool) -> tuple[float, float]:
    """Factors along y and x by which the style must grow to have the target's pixel size."""
    sizes = []
    for name, value in (("pixel_size", target), ("style_pixel_size", style)):
        if value is None:
            continue
        try:
            pair = tuple(float(v) for v in np.broadcast_to(np.asarray(value, dtype=float), 2))
        except (TypeError, ValueError):
            pair = ()
        if not pair or not all(np.isfinite(v) and v > 0 for v in pair):
            raise ParameterError(
                f"{name}: {value!r} is not a pixel size; give one positive number, or two for y and x."
            )
        sizes.append(pair)
    if len(sizes) < 2 or not match:
        return 1.0, 1.0
    factors = tuple(s / t for t, s in zip(*sizes, strict=True))
    # Less than a thousandth: rounding of calibrations, not another magnification.
    return (1.0, 1.0) if max(abs(f - 1) for f in factors) < 1e-3 else (factors[0], factors[1])


def unit_of(plane: Array, value_range: ValueRange, channels: int) -> Array:
    """Return (y, x[, colors]) in the image's values to (y, x, channels), float64, `value_range` being [0, 1]."""
    unit = to_unit(plane[..., :3] if plane.ndim == 3 else plane, value_range)
    if plane.ndim == 3 and channels == 1:
        unit = luminance(unit)
    return np.repeat(unit[..., None], channels, axis=2) if unit.ndim == 2 else unit


class PlaneSource:
    """A plane in its own type, of which pieces are brought to [0, 1] when they are asked for.

    The plane, (y, x), (y, x, 3) or (y, x, 4), is kept, not copied; the engine sees an image of 1 or 3 channels, which is
    extended by reflection until `multiple` divides both sides.  `crop` tells where the plane lies in it.
    """

    def __init__(self, plane: Array, value_range: ValueRange, channels: int, multiple: int = 1) -> None:
        self._plane, self._range, self._channels = plane, value_range, channels
        (self._rows, rows), (self._columns, columns) = (_extended(n, multiple) for n in plane.shape[:2])
        self.crop = (rows, columns)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(1, channels, H, W), extended."""
        return (1, self._channels, len(self._rows), len(self._columns))

    def read(self, part: Part) -> torch.Tensor:
        """The pixels of `part`, (1, channels, h, w), float64."""
        unit = unit_of(self._taken(self._plane, part), self._range, self._channels)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(unit, -1, 0), dtype=np.float64))[None]

    def whole(self) -> torch.Tensor:
        """All pixels, (1, channels, H, W), float64."""
        height, width = self.shape[-2:]
        return self.read(Part(range(height), range(width)))

    def extended(self, mask: Array) -> torch.Tensor:
        """A mask (y, x) of bool, extended likewise, (1, 1, H, W)."""
        height, width = self.shape[-2:]
        return torch.from_numpy(np.array(self._taken(mask, Part(range(height), range(width)))))[None, None]

    def _taken(self, array: Array, part: Part) -> Array:
        rows = self._rows[part.rows.start : part.rows.stop]
        columns = self._columns[part.columns.start : part.columns.stop]
        top, left = rows.min(), columns.min()
        piece = array[top : rows.max() + 1, left : columns.max() + 1]
        # In the margins rows stand in the reverse order.
        inside = all(np.array_equal(n, np.arange(n[0], n[0] + len(n))) for n in (rows, columns))
        return piece if inside else piece[np.ix_(rows - top, columns - left)]


def _extended(length: int, multiple: int) -> tuple[Array, slice]:
    """Which row (or column) of the plane stands at each place, and where the plane itself lies."""
    numbers, (crop, _) = reflect_to_multiple(np.arange(length)[:, None], multiple)
    return numbers[:, 0], crop


@dataclass(frozen=True)
class Prepared:
    """One plane, ready for the engine, and the way back."""

    problem: Problem
    plane: Array
    value_range: ValueRange
    crop: tuple[slice, slice]
    mask: Array | None

    def render(self, image: torch.Tensor, bounds: tuple[float, float] | None = None) -> Array:
        """Return the plane with the change that `image` is: shape, dtype and value range of the target's plane."""
        out = np.empty(self.plane.shape, self.plane.dtype.newbyteorder("="))
        for rows, band in self.bands(image, _BAND, bounds):
            out[rows] = band
        return out

    def bands(
        self, image: torch.Tensor, height: int, bounds: tuple[float, float] | None = None
    ) -> Iterator[tuple[slice, Array]]:
        """Yield what :meth:`render` gives, so many rows at a time: in double precision, the whole may be too large."""
        top = self.crop[0].start or 0
        for first in range(0, self.plane.shape[0], height):
            rows = slice(first, min(first + height, self.plane.shape[0]))
            part = Part(range(top + rows.start, top + rows.stop), range(int(image.shape[-1]))[self.crop[1]])
            now = part.of(image).cpu().double()
            # As the device saw it.
            was = read(self.problem.target, part).to(image.dtype).double()
            yield rows, self._apply((now if bounds is None else now.clamp(*bounds)).sub_(was)[0].numpy(), rows)

    def _apply(self, change: Array, rows: slice) -> Array:
        plane = self.plane[rows]
        if self.mask is not None:
            change = np.where(self.mask[rows], change, 0.0)
        if plane.ndim == 2:
            return apply_change(plane, change.mean(axis=0), self.value_range)
        out = plane.copy()  # keeps alpha
        out[..., :3] = apply_change(plane[..., :3], np.moveaxis(change, 0, -1), self.value_range)
        return out


@dataclass
class Preparer:
    """Prepares the planes of one transfer; what holds for all of them is found once."""

    parameters: StyleTransferParameters
    targets: Planes
    styles: Planes
    options: TransferOptions
    factors: tuple[float, float]  #: by which the style is resampled along y and x
    warn: Callable[[str], None]  #: takes a message for the user
    used: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find channels, masks and value ranges."""
        p, options = self.parameters, self.options
        self.channels = 3 if p.channels == "rgb" or self.targets.rgb else 1
        # The filter whose result the pixels start from; None: no filter.
        self.start = p.init if p.init in ("spectrum", "wiener") else None
        for planes in (self.targets, self.styles):
            self._check_depth(planes.role, planes.plane_shape)
        height, width = (max(1, round(n * f)) for n, f in zip(self.styles.plane_shape, self.factors, strict=True))
        # Before the value ranges, which read every pixel: of a Dask array, that is to compute it.
        result = self.targets.nbytes if options.out is None else 0
        unread = sum(planes.unread for planes in (self.targets, self.styles))
        if self.start is not None or p.style_spacing or p.max_change:
            # Spectra and local contrast are taken of a whole plane in double precision.
            unread += _FILTERING * int(np.prod(self.targets.plane_shape, dtype=int)) * self.channels
        self.tiled = check_memory(p, self.targets.plane_shape, (height, width), self.channels, result, unread)
        self._given_masks: dict[str, Array | None] = {"target": None, "style": None}
        for name, planes in (("mask", self.targets), ("style_mask", self.styles)):
            given = getattr(options, name)
            if isinstance(given, str) and given != "border":
                raise ParameterError(f"{name}: {given!r} is not a mask; pass an array of shape (y, x), or 'border'.")
            if given is not None and not isinstance(given, str):
                self._given_masks[planes.role] = check_mask(given, planes.plane_shape)
        target_range = self._range_of(self.targets, p.value_range)
        wanted = p.value_range if options.style_value_range is None else options.style_value_range
        style_range = self._range_of(self.styles, wanted)
        self._ranges = {"target": target_range, "style": style_range}
        self.used |= {
            "channels": self.channels,
            "value_range": list(target_range),
            "style_value_range": list(style_range),
            "style_resampled": list(self.factors),
        }

    def prepare(self, plane: Array, style: Array) -> Prepared:
        """Bring one plane and its style to what the engine takes; an ImageError when a plane cannot be used."""
        mask, style_mask = self._mask_of("target", plane), self._mask_of("style", style)
        _check_values(plane, mask, self.targets)
        _check_values(style, style_mask, self.styles)
        if self.parameters.gram == "sum":
            self._warn_of_areas(plane.shape[:2], style.shape[:2], mask, style_mask)
        p = self.parameters
        target = self._source("target", plane, mask)
        start: Array | None = None
        limit: Array | None = None
        if self.start is None and self.factors == (1.0, 1.0) and not (p.style_spacing or p.max_change):
            source = self._source("style", style, style_mask)
            style_pixels: Pixels = source if self.tiled else source.whole()
            seen = None if style_mask is None else source.extended(style_mask)
        else:
            # To resample, or to measure and match spectra, takes the whole.
            target_unit, style_unit = self._unit("target", plane, mask), self._unit("style", style, style_mask)
            style_unit, style_mask = self._resampled(style_unit, style_mask)
            style_unit, style_mask = self._spaced(target_unit, style_unit, mask, style_mask)
            start = self._start(target_unit, style_unit, mask, style_mask)
            limit = self._limit(target_unit if start is None else start, style_unit, mask, style_mask)
            del target_unit
            style_pixels = self._tensor(style_unit)
            seen = None if style_mask is None else self._tensor(style_mask)
        self.used["engine_shape"] = list(target.shape[-2:])
        problem = Problem(
            target if self.tiled else target.whole(),
            style_pixels,
            None if mask is None else target.extended(mask),
            seen,
            None if start is None else self._tensor(start),
            None if limit is None else self._tensor(limit),
        )
        return Prepared(problem, plane, self._ranges["target"], target.crop, mask)

    @property
    def _multiple(self) -> int:
        """What must divide the sides of the images that the engine sees."""
        p = self.parameters
        return 2 ** pools_before(p.content_layers + p.style_layers) if p.fit_pools else 1

    def _source(self, role: str, plane: Array, mask: Array | None) -> PlaneSource:
        return PlaneSource(_known(role, plane, mask), self._ranges[role], self.channels, self._multiple)

    def _tensor(self, array: Array) -> torch.Tensor:
        """(y, x[, channels]) as (1, channels, H, W): masks of bool, the others in the precision of the pixels."""
        fitted, _ = reflect_to_multiple(np.moveaxis(np.atleast_3d(array), -1, 0), self._multiple)
        dtype = bool if array.dtype == bool else np.float64 if self.parameters.precision == "float64" else np.float32
        return torch.from_numpy(np.array(fitted, dtype=dtype, order="C"))[None]

    def _resampled(self, style: Array, mask: Array | None) -> tuple[Array, Array | None]:
        """The style, (y, x, channels), and its mask at the target's pixel size."""
        if self.factors == (1.0, 1.0):
            return style, mask
        style = resample_plane(style, self.factors)
        if mask is not None:
            mask = resample_plane(mask.astype(float), self.factors, nearest=True)
        if min(style.shape[:2]) < MINIMUM_SIDE:
            raise ImageError(
                f"At the target's pixel size the style is only {style.shape[0]} × {style.shape[1]} pixels; at least "
                f"{MINIMUM_SIDE} × {MINIMUM_SIDE} are needed. Take a larger style, or set match_pixel_size=False."
            )
        return style, mask

    def _mask_of(self, role: str, plane: Array) -> Array | None:
        given = self.options.mask if role == "target" else self.options.style_mask
        if isinstance(given, str):
            found = black_border(plane)
            return None if found.all() else check_mask(found, found.shape)
        return self._given_masks[role]

    def _range_of(self, planes: Planes, request: Any) -> ValueRange:
        if isinstance(request, (list, tuple)):
            request = (float(request[0]), float(request[1]))
        extremes: list[float] = []
        samples: list[Array] = []
        count = max(1, int(np.prod(planes.stack_shape, dtype=int)))
        for plane in planes.each():
            mask = self._mask_of(planes.role, plane)
            colors = plane[..., :3] if planes.rgb else plane
            values = colors.ravel() if mask is None else colors[mask].ravel()
            finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
            if finite.size:
                extremes += [finite.min(), finite.max()]
            if request == "percentiles":
                samples.append(finite[:: max(1, finite.size * count // _SAMPLE)])
        values = np.concatenate(samples) if samples else np.array(extremes, dtype=planes.array.dtype)
        return find_range(values, request, planes.role, np.dtype(planes.array.dtype))

    def _unit(self, role: str, plane: Array, mask: Array | None) -> Array:
        """(y, x[, colors]) in the image's values to (y, x, channels) in [0, 1]."""
        return unit_of(_known(role, plane, mask), self._ranges[role], self.channels)

    def _start(self, target: Array, style: Array, mask: Array | None, style_mask: Array | None) -> Array | None:
        """(y, x, channels) in [0, 1]: where the pixels start; None: at the target, or at noise."""
        if self.start is None:
            return None
        # The middle will do: of a montage, the whole would take as much memory as the filter.
        middle = tuple(slice(max(0, (n - _LOOKED_AT) // 2), (n + _LOOKED_AT) // 2) for n in target.shape[:2])
        if not len(detect_cones(target[middle].mean(axis=-1), mask=None if mask is None else mask[middle])):
            self.warn(
                "No cells can be told from noise in the target. What a filter makes of noise looks like cells: trust none "
                "that the result shows."
            )
        denoise = self.start != "spectrum"
        start = target.copy()
        for channel in range(self.channels):
            one, other = target[..., channel], style[..., channel]
            # An empty channel of a color image, of a fluorescence image say, has no spectrum to change or to give.
            if all(np.ptp(p if m is None else p[m]) > 0 for p, m in ((one, mask), (other, style_mask))):
                start[..., channel] = match_spectrum(one, other, mask=mask, style_mask=style_mask, denoise=denoise)
        return start

    def _spaced(
        self, target: Array, style: Array, mask: Array | None, style_mask: Array | None
    ) -> tuple[Array, Array | None]:
        """The style and its mask with cells as far apart as is wanted, if that can be measured."""
        wanted = self.parameters.style_spacing
        if not wanted:
            return style, style_mask
        ratio = wanted * relative_spacing(target.mean(axis=-1), style.mean(axis=-1), mask=mask, style_mask=style_mask)
        known = np.isfinite(ratio) and min(style.shape[:2]) * ratio >= MINIMUM_SIDE
        self.used.setdefault("style_enlarged", []).append(round(ratio, 4) if known else None)
        # Less than that is the error of the measurement, and resampling costs sharpness.
        if not known or abs(ratio - 1) < _SAME_SPACING:
            return style, style_mask
        # Cubic: linear interpolation at a ratio near 1 would take the finest frequencies away.
        grown = resample_plane(style, (ratio, ratio), cubic=True)
        if style_mask is not None:
            style_mask = resample_plane(style_mask.astype(float), (ratio, ratio), nearest=True)
        return grown, style_mask

    def _limit(self, start: Array, style: Array, mask: Array | None, style_mask: Array | None) -> Array | None:
        """(y, x): how far a pixel may depart from its start, in units of the value range; None without a trust region."""
        if not self.parameters.max_change:
            return None
        # The style's, whose ring is the clearer one, and which is as coarse as the target's where that was matched.
        spacing = ring_prominence(style.mean(axis=-1), mask=style_mask).spacing
        self.used.setdefault("trust_spacing", []).append(round(spacing, 3) if np.isfinite(spacing) else None)
        spacing = spacing if np.isfinite(spacing) else DEFAULT_SPACING
        return self.parameters.max_change * local_trust(start.mean(axis=-1), spacing, mask=mask)

    def _check_depth(self, role: str, size: tuple[int, int]) -> None:
        """A pooling halves height and width: behind five of them, 16 pixels are none."""
        p = self.parameters
        pools = 0 if p.fit_pools else pools_before(p.content_layers + p.style_layers)
        if min(size) < 2**pools:
            raise ImageError(
                f"The {role} is {size[0]} × {size[1]} pixels, and the layers lie behind {pools} poolings, each of which halves "
                f"it: at least {2**pools} × {2**pools} are needed. Take a larger region, shallower layers, or fit_pools=True."
            )

    def _warn_of_areas(
        self, target: tuple[int, ...], style: tuple[int, ...], mask: Array | None, style_mask: Array | None
    ) -> None:
        scale = float(np.prod(self.factors))
        style = tuple(round(n * f) for n, f in zip(style, self.factors, strict=True))
        areas = [
            float(np.prod(shape) if m is None else factor * m.sum())
            for shape, m, factor in ((target, mask, 1.0), (style, style_mask, scale))
        ]
        if abs(areas[1] / areas[0] - 1) > 0.02:
            self.warn(
                f"The style has {areas[1] / areas[0]:.2g} times the target's area, and Gram matrices that are sums grow with the "
                "area: the result is driven to another brightness. Crop the style to the target's size, or choose "
                "gram='matched' or the preset texture."
            )


def _known(role: str, plane: Array, mask: Array | None) -> Array:
    """The plane, with values from nearby where a mask leaves out what must not be seen.

    Convolutions look beyond a mask.  Of the style nothing may come from there; of the target, the tissue around is true
    and stays, but NaN must not spread (the result keeps it).
    """
    if mask is None:
        return plane
    if role == "style":
        return fill_from_nearest(plane, mask)
    finite = np.asarray(np.isfinite(plane[..., :3] if plane.ndim == 3 else plane[..., None]).all(axis=2))
    return fill_from_nearest(plane, finite)


def _check_values(plane: Array, mask: Array | None, planes: Planes) -> None:
    colors = plane[..., :3] if planes.rgb else plane[..., None]
    if plane.dtype.kind == "f":
        bad = ~np.isfinite(colors).all(axis=2)
        if mask is not None:
            bad &= mask
        if bad.any():
            y, x = (int(v) for v in np.argwhere(bad)[0])
            raise ImageError(
                f"The {planes.role} has {int(bad.sum())} pixel(s) that are NaN or infinite, the first at row {y}, column {x}. "
                "Replace them, or keep them out with a mask."
            )
    used = colors.reshape(-1, colors.shape[-1]) if mask is None else colors[mask]
    if (used == used[0]).all():
        raise ImageError(
            f"The {planes.role} is constant: every value that counts is {used[0].tolist() if planes.rgb else used[0, 0]}. There is "
            "no structure to work on; check that the right layer, plane or file was chosen."
        )
