"""Where images lie to each other, seen by the cones that they share."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.imaging.masks import black_border
from napari_nst.session.images import natural_order
from napari_nst.session.overlap import cone_band

if TYPE_CHECKING:
    from napari_nst.session.images import LoadedImage, SessionImage

__all__ = ["MOST_PAIRS", "Placed", "place_images"]

#: More pairs of images are not compared; 45 images have 990.
MOST_PAIRS = 1000
#: A fit is an overlap if its correlation is so many standard deviations of chance above 0. Measured: pairs of other
#: places reach 4.3 to 6.1, confocal and split-detector images of one place 28 to 54, images of one modality that share
#: 40 to 60 % 41 to 85, and simulated ones that share 5 % 9 (cones of 14 px) to 33 (of 5 px).
SIGNIFICANT = 9.0
#: And correlates at least so well: burnt-in text or a scan's own pattern is significant, but weak (below 0.1).
CORRELATED = 0.15
#: Pixels by which an overlap may contradict others: images of a moving eye are distorted by a few.
TOLERANCE = 20.0

_STEP = 2  # pixels that are taken together along each side: cones of 5 px can still be told apart
_LEAST = 0.02  # of the smaller image: smaller overlaps are significant only by chance
_CLIP = 3.0  # standard deviations: what is brighter, text or an edge, shall not count more than cones
_MEMORY = 2**30  # bytes of transforms that are kept

Floats = NDArray[np.float32]


class Placed(NamedTuple):
    """Where an image lies.

    Attributes
    ----------
    frame : str
        Name of the first image of those that it is connected with by overlaps; only places in one frame compare.
    x, y : float
        Centre of the image from that of the first one, pixels along columns and rows.
    """

    frame: str
    x: float
    y: float


class _Band(NamedTuple):
    values: Floats
    used: NDArray[np.bool_]


class _Transform(NamedTuple):
    values: NDArray[np.complex64]
    squares: NDArray[np.complex64]
    used: NDArray[np.complex64]


class _Fit(NamedTuple):
    first: str
    second: str
    significance: float
    correlation: float
    shift: tuple[float, float]  # rows and columns that move the second one onto the first


def place_images(
    load: Callable[[str], LoadedImage],
    images: Sequence[SessionImage],
    *,
    progress: Callable[[str, int, int], object] | None = None,
    cancel: Cancel | None = None,
    note: Callable[[str], object] | None = None,
) -> dict[str, Placed]:
    """Find which images overlap, and so where they lie to each other.

    Parameters
    ----------
    load : callable
        Gives an image with its pixels by its name; called once for each, from this thread.
    images : sequence of SessionImage
        In the order of their names. Those whose names give their place, and patches, are left out. Images of different
        retinas are not compared; those of different modalities are, because they show the same cones.
    progress : callable, optional
        Called with a text, how much is done, and how much there is.
    cancel : callable or threading.Event, optional
        Ends the work: KeyboardInterrupt is raised.
    note : callable, optional
        Called with what a user should know: overlaps that contradict better ones, or pairs that were not compared.

    Returns
    -------
    dict of str to Placed
        For each image that was compared. One that overlaps no other has a frame of its own.

    Raises
    ------
    FileError, ImageError
        An image cannot be read.

    Notes
    -----
    Masked normalised cross-correlation over all shifts (Padfield 2012, IEEE Trans. Image Process. 21:2706) of the band of
    the cones at half resolution, at which overlaps separate as well as at full resolution. The local means, nearly 0 in a
    band, are left out. Of two pictures of n common pixels the correlation r varies by chance as 1 / sqrt(n), so the shift of
    the largest r sqrt(n) is taken, and that in standard deviations, estimated over all shifts by the median, is its
    significance: it depends neither on the size of cones nor on that of the overlap.

    Frames grow from the most significant overlaps on, a spanning tree; later ones within a frame must agree with it
    within `TOLERANCE`. Of more than `MOST_PAIRS` pairs those that are nearest by name, without the modality, are compared.
    """
    cancelled, told = as_cancel(cancel), progress or (lambda text, done, total: None)
    noted = note or (lambda text: None)
    compared = [image for image in images if image.place is None and not image.cropped]
    if len(compared) < 2:
        return {image.name: Placed(image.name, 0.0, 0.0) for image in compared}
    pairs = _pairs(compared, noted)
    total, done = len(compared) + len(pairs), 0

    def count() -> None:
        nonlocal done
        if cancelled():
            raise KeyboardInterrupt
        told("finding overlaps", done, total)
        done += 1

    workers = os.cpu_count() or 1
    bands: dict[str, _Band] = {}
    fits: list[_Fit] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for start in range(0, len(compared), workers):
                loaded = []
                for image in compared[start : start + workers]:
                    count()
                    loaded.append(load(image.name))
                bands |= zip((one.image.name for one in loaded), pool.map(_band, loaded), strict=True)
            transforms = _Transforms(bands)
            for fit in pool.map(lambda pair: _fit(transforms, *pair), pairs):
                count()
                if fit.significance >= SIGNIFICANT and fit.correlation >= CORRELATED:
                    fits.append(fit)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _joined(compared, fits, noted)


def _pairs(images: Sequence[SessionImage], noted: Callable[[str], object]) -> list[tuple[str, str]]:
    """Which images are compared."""

    def plain(image: SessionImage) -> str:
        name = image.name.casefold()
        return name.replace(image.modality.casefold(), "") if image.modality else name

    # Without their modality the images of one video lie side by side, and those of the next one beside them.
    ranked = sorted(images, key=lambda image: natural_order(plain(image)))
    pairs = [
        (j - i, ranked[i].name, ranked[j].name)
        for i, j in itertools.combinations(range(len(ranked)), 2)
        if ranked[i].retina is None or ranked[j].retina is None or ranked[i].retina == ranked[j].retina
    ]
    if len(pairs) > MOST_PAIRS:
        noted(
            f"{len(images)} images make {len(pairs)} pairs; overlaps were looked for in the {MOST_PAIRS} nearest by name. "
            "Patches of others are still compared when one may become the style of the other."
        )
        pairs.sort(key=lambda pair: pair[0])
        pairs = pairs[:MOST_PAIRS]
    return [(first, second) for _, first, second in pairs]


def _band(loaded: LoadedImage) -> _Band:
    """The band of the cones at reduced resolution, with unit variance."""
    # Even where a session counts the black border as picture: two borders fit well.
    valid = loaded.valid & black_border(loaded.array)
    full, used = cone_band(loaded.array, valid, "image")
    height, width = (side // _STEP for side in full.shape)
    if not height or not width or not full.any():
        return _Band(np.zeros((1, 1), np.float32), np.zeros((1, 1), dtype=bool))
    # Unused pixels are 0 in the band.
    blocks, counts = (
        array[: height * _STEP, : width * _STEP].reshape(height, _STEP, width, _STEP).sum((1, 3), dtype=np.float64)
        for array in (full, used)
    )
    enough = counts >= _STEP**2 / 2
    values = np.where(enough, blocks / np.maximum(counts, 1), 0.0)
    spread = math.sqrt(float((values**2).sum()) / max(1, int(np.count_nonzero(enough))))
    values = np.clip(values / (spread or 1.0), -_CLIP, _CLIP)
    return _Band(values.astype(np.float32), enough)


class _Transforms:
    """The Fourier transforms of the bands, all of one shape; as many are kept as memory allows."""

    def __init__(self, bands: dict[str, _Band]) -> None:
        from scipy.fft import next_fast_len

        self.bands = bands
        sides = np.sort([band.values.shape for band in bands.values()], axis=0)
        # So large that no shift of any two wraps around.
        self.shape = tuple(next_fast_len(int(side), real=True) for side in sides[-2:].sum(axis=0))
        self._limit = max(4, _MEMORY // (12 * math.prod(self.shape)))
        self._kept: OrderedDict[str, _Transform] = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> _Transform:
        from scipy.fft import rfft2

        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        values, used = self.bands[name]
        arrays = (values, values * values, used.astype(np.float32))
        made = _Transform(*(rfft2(array, self.shape) for array in arrays))
        with self._lock:
            self._kept[name] = made
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return made


def _fit(transforms: _Transforms, first: str, second: str) -> _Fit:
    """How two images fit together best."""
    from scipy.fft import irfft2

    least = _LEAST * min(np.count_nonzero(transforms.bands[name].used) for name in (first, second))
    if least == 0:
        return _Fit(first, second, 0.0, 0.0, (0.0, 0.0))
    a, b = transforms[first], transforms[second]
    shape = transforms.shape

    def sums(one: NDArray[np.complex64], other: NDArray[np.complex64]) -> Floats:
        found: Floats = irfft2(one * other.conj(), shape)
        return found

    common = np.maximum(sums(a.used, b.used), 1)  # pixels
    # Where a picture has no texture, its correlation is of rounding errors: 1 % of its variance is the least.
    height = np.maximum(sums(a.squares, b.used), 0.01 * common)
    height *= np.maximum(sums(a.used, b.squares), 0.01 * common)
    height = np.sqrt(common / height) * sums(a.values, b.values)  # the correlation times the root of the pixels
    height[common < least] = 0
    # Every third shift is enough; of a normal distribution the median of the amounts is 0.6745 standard deviations.
    spread = float(np.median(np.abs(height[::3, ::3][common[::3, ::3] >= least]))) / 0.6745
    row, column = np.unravel_index(int(height.argmax()), shape)
    shift = tuple(
        _STEP * (_signed(int(k), side) + _summit(line, int(k)))
        for k, side, line in ((row, shape[0], height[:, column]), (column, shape[1], height[row]))
    )
    peak = float(height[row, column])
    return _Fit(
        first,
        second,
        peak / spread if spread else 0.0,
        peak / math.sqrt(float(common[row, column])),
        (shift[0], shift[1]),
    )


def _signed(k: int, side: int) -> int:
    """The shift of an index of a transform."""
    return k if 2 * k < side else k - side


def _summit(line: Floats, k: int) -> float:
    """Where the parabola through a maximum and its neighbours is highest, from the maximum."""
    before, here, after = float(line[k - 1]), float(line[k]), float(line[(k + 1) % line.size])
    bend = before - 2 * here + after
    return max(-0.5, min(0.5, 0.5 * (before - after) / bend)) if bend < 0 else 0.0


def _joined(images: Sequence[SessionImage], fits: list[_Fit], noted: Callable[[str], object]) -> dict[str, Placed]:
    """Connect the images, the most significant overlaps first."""
    shapes = {image.name: np.asarray(image.shape, dtype=np.float64) for image in images}
    group = {image.name: image.name for image in images}
    centre = {image.name: np.zeros(2) for image in images}
    for fit in sorted(fits, key=lambda fit: -fit.significance):
        first, second = fit.first, fit.second
        wanted = centre[first] + fit.shift + (shapes[second] - shapes[first]) / 2
        move = wanted - centre[second]
        if group[first] == group[second]:
            if (miss := float(np.hypot(*move))) > TOLERANCE:
                noted(
                    f"{first} and {second} seem to overlap where other images contradict it by {miss:.0f} px; the better "
                    "overlaps were kept. If one of these images is doubtful, leave it out."
                )
            continue
        for name in [name for name, its in group.items() if its == group[second]]:
            group[name], centre[name] = group[first], centre[name] + move
    heads: dict[str, str] = {}
    for image in images:
        heads.setdefault(group[image.name], image.name)
    placed = {}
    for image in images:
        head = heads[group[image.name]]
        y, x = centre[image.name] - centre[head]
        placed[image.name] = Placed(head, float(x), float(y))
    return placed
