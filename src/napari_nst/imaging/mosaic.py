"""Synthetic confocal images of cones: the true positions are known, and one retina can be imaged well and badly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_nst.errors import ParameterError
from napari_nst.imaging.checks import Floats

__all__ = ["Mosaic", "MosaicPair", "cone_mosaic", "mosaic_pair"]

_Field = Callable[[Floats, Floats], Floats]

_SIGMA = 1 / math.sqrt(8 * math.log(2))  # standard deviation of a Gaussian of FWHM 1
_APERTURE = 0.45  # FWHM of the light guided by a cone, in spacings
_PEAK = 0.38  # brightness of an average cone, white being 1: the brightest then just reach white
_BETWEEN = 0.1  # brightness between cones, relative to an average cone
_DARK = 0.03  # a detector never reads 0
# 16 bits as the cameras of instruments use them: an offset and a part of the range.
_OFFSET, _RANGE = 32768.0, 27000.0


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A simulated image of cones and the truth about it.

    Attributes
    ----------
    image : array, (H, W)
        uint8 or uint16.
    cones : array of float64, (n, 2)
        Row and column of every cone within the image, in pixels; (0, 0) is the centre of the first pixel.
    spacing : float
        Distance of neighbors in the undisturbed lattice, in pixels.
    """

    image: NDArray[Any]
    cones: Floats
    spacing: float


@dataclass(frozen=True, eq=False)
class MosaicPair:
    """A poor image, a good one of another place, and the truth.

    Attributes
    ----------
    target, style, reference : array, (H, W)
        Defocused, hazy, few photons; a good image of another place of the same retina; `target` as good as `style`.
    target_cones, style_cones : array of float64, (n, 2)
        As `Mosaic.cones`; those of the target are those of the reference.
    spacing : float
        As `Mosaic.spacing`, of both.
    """

    target: NDArray[Any]
    style: NDArray[Any]
    reference: NDArray[Any]
    target_cones: Floats
    style_cones: Floats
    spacing: float


def mosaic_pair(
    size: tuple[int, int] = (256, 256), spacing: float = 8.0, seed: int = 0, dtype: DTypeLike = np.uint8
) -> MosaicPair:
    """Simulate a target to improve, a style to improve it with, and what the target should have looked like.

    Parameters
    ----------
    size, spacing, seed, dtype
        As `shape`, `spacing`, `seed` and `dtype` of `cone_mosaic`. The same seed gives bit-equal arrays; the places of
        different seeds share no lattice.

    Returns
    -------
    MosaicPair
        Images (H, W) of `dtype`, and the true positions of their cones.

    Raises
    ------
    ParameterError
        As `cone_mosaic`.
    """
    _check(size, spacing, seed, dtype)
    here, elsewhere = 2 * seed, 2 * seed + 1
    reference = cone_mosaic(size, spacing, seed=here, dtype=dtype)
    poor: dict[str, Any] = {"psf_fwhm": 0.55, "halo": 0.3, "photons": 500.0, "read_noise": 0.008}
    target = cone_mosaic(size, spacing, **poor, seed=here, dtype=dtype)
    style = cone_mosaic(size, spacing, vessel=False, seed=elsewhere, dtype=dtype)
    return MosaicPair(target.image, style.image, reference.image, target.cones, style.cones, spacing)


def cone_mosaic(
    shape: tuple[int, int] = (256, 256),
    spacing: float = 8.0,
    jitter: float = 0.2,
    reflectance_cv: float = 0.45,
    psf_fwhm: float = 0.3,
    halo: float = 0.08,
    vessel: bool = True,
    photons: float = 6000.0,
    read_noise: float = 0.003,
    seed: int = 0,
    dtype: DTypeLike = np.uint8,
) -> Mosaic:
    """Simulate a confocal image of a cone mosaic.

    Parameters
    ----------
    shape, spacing : (int, int), float
        Height and width, and distance of neighboring cones, at least 3, in pixels.
    jitter : float
        Standard deviation of a cone's place along each axis, in spacings, before cones that came too close
        push each other apart.
    reflectance_cv : float
        Standard deviation over mean of the cones' brightness, which is distributed log-normally.
    psf_fwhm, halo : float
        Full width at half maximum of the core of the point spread, in spacings, which defocus widens; share of the light,
        0 to 1, that is scattered over some spacings: haze, which lowers contrast.
    vessel : bool
        Whether a blood vessel in front throws its shadow over the cones.
    photons, read_noise : float
        Detected photons at white, infinity for no shot noise; standard deviation of the detector's noise, white being 1.
    seed : int
        Not negative. Place, brightness, vessel and noise are drawn apart: two images with one seed show the same cones,
        whatever the optics and the noise.
    dtype : uint8 or uint16
        8 bits from black to white, or 16 bits with a camera's offset and a part of the range.

    Returns
    -------
    Mosaic
        The image, (H, W), of `dtype`, and the true positions of its cones.

    Raises
    ------
    ParameterError
        A value is out of its range.

    Notes
    -----
    The lattice is hexagonal, 2 / (sqrt(3) spacing^2) cones per pixel, turned and gently warped as the retina's is, with
    independent jitter. Cones are Gaussians at their exact place, convolved with the point spread in closed form (variances
    add); only the halo is a filter.
    """
    kind = _check(shape, spacing, seed, dtype)
    for name, value, low, high in (
        ("jitter", jitter, 0, 0.5),
        ("reflectance_cv", reflectance_cv, 0, 2),
        ("psf_fwhm", psf_fwhm, 0, 3),
        ("halo", halo, 0, 1),
        ("photons", photons, 1, math.inf),
        ("read_noise", read_noise, 0, 1),
    ):
        if not low <= value <= high:
            raise ParameterError(f"{name} must be from {low} to {high}, got {value}.")
    from scipy import ndimage

    lattice, brightness, tissue, blood, camera = np.random.default_rng(seed).spawn(5)
    margin = math.ceil(3 * spacing)  # cones outside shine in, and the halo needs surroundings
    canvas = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    cones = _lattice(canvas, spacing, jitter, lattice) - margin
    rows, columns = np.indices(canvas) - float(margin)

    log_sigma = math.sqrt(math.log1p(reflectance_cv**2))
    reflectance = np.exp(log_sigma * brightness.normal(size=len(cones)) - log_sigma**2 / 2)
    slow = _smooth_field(shape, 7 * spacing, brightness)
    reflectance *= np.exp(0.22 * slow(cones[:, 0], cones[:, 1]))
    fine = _smooth_field(shape, 0.55 * spacing, tissue)
    between = _BETWEEN * np.exp(0.3 * slow(rows, columns) + 0.25 * fine(rows, columns))
    if vessel:
        shadow = _vessel(shape, spacing, blood)
        reflectance *= shadow(cones[:, 0], cones[:, 1])
        between *= 0.3 + 0.7 * shadow(rows, columns)

    sigma = spacing * _SIGMA * math.hypot(_APERTURE, psf_fwhm)
    # The core keeps a cone's light: a wider spot is dimmer.
    peak = (_APERTURE / math.hypot(_APERTURE, psf_fwhm)) ** 2 / (_APERTURE / math.hypot(_APERTURE, 0.3)) ** 2
    light = _spots(canvas, cones + margin, peak * reflectance, sigma)
    light += ndimage.gaussian_filter(between, spacing * _SIGMA * psf_fwhm)
    light = (1 - halo) * light + halo * ndimage.gaussian_filter(light, 1.2 * spacing)
    signal = _DARK + _PEAK * light[margin : margin + shape[0], margin : margin + shape[1]]

    if math.isfinite(photons):
        signal = camera.poisson(signal * photons) / photons
    signal = np.clip(signal + read_noise * camera.normal(size=shape), 0, 1)
    full = signal * 255 if kind == np.uint8 else _OFFSET + _RANGE * signal
    inside = np.all((cones >= -0.5) & (cones < np.subtract(shape, 0.5)), axis=1)
    return Mosaic(np.rint(full).astype(kind), cones[inside], float(spacing))


def _check(shape: Sequence[int], spacing: float, seed: int, dtype: DTypeLike) -> np.dtype[Any]:
    if len(shape) != 2 or min(shape) < 1:
        raise ParameterError(f"The shape must be a height and a width of at least 1 pixel, got {shape}.")
    if not 3 <= spacing < math.inf:
        raise ParameterError(f"spacing must be at least 3 pixels, got {spacing}. Try 8.")
    if seed < 0:
        raise ParameterError(f"seed must be 0 or more, got {seed}.")
    kind = np.dtype(dtype)
    if kind not in (np.uint8, np.uint16):
        raise ParameterError(f"dtype must be uint8 or uint16, got {kind}.")
    return kind


def _lattice(canvas: tuple[int, int], spacing: float, jitter: float, rng: np.random.Generator) -> Floats:
    """Scatter cones over the canvas, and somewhat beyond: (n, 2) row and column, in pixels."""
    from scipy.spatial import cKDTree

    # A disc around the canvas holds every rotation of it.
    reach = math.ceil(math.hypot(*canvas) / 2 / spacing * 2 / math.sqrt(3)) + 2
    i, j = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    points = spacing * np.stack([i * math.sqrt(3) / 2, j + i / 2], axis=1)
    angle = rng.uniform(0, math.pi / 3)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = (points + spacing * rng.uniform(-0.5, 0.5, 2)) @ turn + np.divide(canvas, 2)
    points = points[np.all((points > -spacing) & (points < np.add(canvas, spacing)), axis=1)]
    warp = [_smooth_field(canvas, 8 * spacing, rng)(points[:, 0], points[:, 1]) for _ in range(2)]
    points += spacing * (0.4 * np.stack(warp, axis=1) + jitter * rng.normal(size=points.shape))
    # Cones cannot overlap: those that came too close push each other apart, which also spreads the disorder.
    for _ in range(6):
        pairs = cKDTree(points).query_pairs(spacing, output_type="ndarray")
        apart = points[pairs[:, 0]] - points[pairs[:, 1]]
        distance = np.linalg.norm(apart, axis=1, keepdims=True)
        push = 0.25 * (spacing - distance) * apart / np.maximum(distance, 1e-9 * spacing)
        np.add.at(points, pairs[:, 0], push)
        np.subtract.at(points, pairs[:, 1], push)
    return np.asarray(points)


def _smooth_field(shape: tuple[int, int], length: float, rng: np.random.Generator) -> _Field:
    """Make a random function of row and column, about standard normal, that varies over `length` pixels."""
    from scipy import ndimage

    before = 4 * length + 24  # evaluated around the image too
    knots = rng.normal(size=[math.ceil((side + 2 * before) / length) + 2 for side in shape])

    def field(rows: Floats, columns: Floats) -> Floats:
        places = np.stack([(rows + before) / length, (columns + before) / length])
        return np.asarray(ndimage.map_coordinates(knots, places, order=3, mode="nearest"))

    return field


def _vessel(shape: tuple[int, int], spacing: float, rng: np.random.Generator) -> _Field:
    """Make the shadow of a winding vessel: 1 in full light, 0.2 in its middle."""
    angle = rng.uniform(0, math.pi)
    length = max(shape) * rng.uniform(0.9, 1.4)
    phase, bend = rng.uniform(0, 2 * math.pi), 0.06 * min(shape) * rng.uniform(0.6, 1.4)
    aside = 0.2 * min(shape) * rng.uniform(-1, 1)
    half = spacing * rng.uniform(1.3, 1.9)

    def shadow(rows: Floats, columns: Floats) -> Floats:
        y, x = rows - shape[0] / 2, columns - shape[1] / 2
        along = math.cos(angle) * y + math.sin(angle) * x
        across = math.cos(angle) * x - math.sin(angle) * y
        wave = 2 * math.pi * along / length + phase
        slope = bend * 2 * math.pi / length * np.cos(wave)
        distance = (across - aside - bend * np.sin(wave)) / np.hypot(1, slope)
        # Flat in the middle, soft at the wall: the vessel lies out of focus in front of the cones.
        return np.asarray(1 - 0.8 / (1 + (distance / half) ** 4))

    return shadow


def _spots(canvas: tuple[int, int], places: Floats, peaks: Floats, sigma: float) -> Floats:
    """Draw Gaussian spots at their exact places."""
    radius = math.ceil(4.5 * sigma)
    window = np.arange(-radius, radius + 1)
    pixels = np.rint(places).astype(np.intp)[..., np.newaxis] + window  # (n, 2, window)
    profiles = np.exp(-((pixels - places[..., np.newaxis]) ** 2) / (2 * sigma**2))
    valid = (pixels >= 0) & (pixels < np.reshape(canvas, (2, 1)))
    down, across = np.s_[:, 0, :, np.newaxis], np.s_[:, 1, np.newaxis, :]
    weights = peaks[:, np.newaxis, np.newaxis] * profiles[down] * profiles[across]
    flat = pixels[down] * canvas[1] + pixels[across]
    inside = valid[down] & valid[across]
    summed = np.bincount(flat[inside], weights[inside], minlength=canvas[0] * canvas[1])
    return np.asarray(summed, dtype=np.float64).reshape(canvas)
