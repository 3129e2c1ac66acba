"""Whether two patches show the same cones, and where images lie to each other by the cones that they share."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.imaging.checks import image_and_mask
from napari_nst.imaging.masks import black_border
from napari_nst.session.images import natural_order

if TYPE_CHECKING:
    from napari_nst.session.images import LoadedImage, SessionImage

#: Above this score two patches are taken to show the same cones. Measured with cone spacings of 5 to 10 px, patches of
#: 150 and 185 px: other places 0.12 to 0.31 (one of 690 pairs above 0.3), the same place 0.52 to 0.91, and 0.27 to 0.54
#: (median 0.46) when one of the two is badly degraded, 0.28 to 0.48 between confocal and split detection. Refusing a
#: good style in error costs little, a style of the same cones shows the answer that is to be found: the limit is just
#: above chance.
SAME_CONES = 0.3

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

_CORE, _SURROUND = 1.0, 8.0  # Gaussian sigmas in pixels: noise is taken out, and shading larger than cones
_LEAST_PIXELS = 64  # of an overlap of patches: fewer correlate by chance
_LEAST_SHARE = 0.3  # of the largest possible overlap of two patches
_STEP = 2  # pixels that are taken together along each side: cones of 5 px can still be told apart
_LEAST_OF_IMAGE = 0.02  # of the smaller image: smaller overlaps are significant only by chance
_CLIP = 3.0  # standard deviations: what is brighter, text or an edge, shall not count more than cones
_MEMORY = 2**30  # bytes of transforms that are kept

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Overlap(NamedTuple):
    """How two patches fit together best."""

    score: float  # correlation of their overlap, -1 to 1; 0 where nothing can be compared
    shift: tuple[int, int]  # rows and columns by which `style` is to be moved to lie on `target`


class PlacedImage(NamedTuple):
    """Where an image lies."""

    frame: str  # name of the first image that it is connected with by overlaps; only within one, places compare
    x: float
    y: float  # center of the image from that of the first one, pixels along columns and rows


class _Band(NamedTuple):
    values: Floats
    used: Mask


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


def find_overlap(
    target: ArrayLike, style: ArrayLike, target_mask: Mask | None = None, style_mask: Mask | None = None
) -> Overlap:
    """Find the shift at which two gray patches (H, W) correlate best; above `SAME_CONES` they show the same cones.

    Their shapes may differ. Masks are False for pixels to leave out; pixels that are not finite never count. Raises
    ImageError where a patch is not gray, or its mask does not fit.

    Masked normalized cross-correlation (Padfield 2012, IEEE Trans. Image Process. 21:2706) over all shifts, by
    `skimage.registration.phase_cross_correlation`, of the patches without their shading and pixel noise (difference
    of Gaussians of 1 and 8 px, which count masked pixels nowhere). Shading, vessels and the ring of equal spacings alone
    correlate too, so 0.2 means nothing. Overlaps below 30 % of the largest possible one are not tried: smaller ones
    correlate by chance. `place_images` finds those, as overlaps of whole images have more pixels.
    """
    first, first_used = _band_pass(target, target_mask, "target")
    second, second_used = _band_pass(style, style_mask, "style")
    most = min(np.count_nonzero(first_used), np.count_nonzero(second_used))
    if most < _LEAST_PIXELS or not (first.any() and second.any()):
        return Overlap(0.0, (0, 0))
    from skimage.registration import phase_cross_correlation

    # Of images of different shapes it gives the shift of their middles; equal ones have no such question.
    shape = np.maximum(first.shape, second.shape)
    padded = [
        np.pad(array, [(0, int(more)) for more in shape - array.shape])
        for array in (first, second, first_used, second_used)
    ]
    found = phase_cross_correlation(  # type: ignore[no-untyped-call]  # scikit-image has no types
        *padded[:2], reference_mask=padded[2], moving_mask=padded[3], overlap_ratio=_LEAST_SHARE
    )[0]
    # Equal maxima are averaged, which happens only with exactly periodic images.
    shift = (round(float(found[0])), round(float(found[1])))
    return Overlap(_correlation(first, second, first_used, second_used, shift), shift)


def place_images(
    load: Callable[[str], LoadedImage],
    images: Sequence[SessionImage],
    *,
    progress: Callable[[str, int, int], object] | None = None,
    cancel: Cancel | None = None,
    note: Callable[[str], object] | None = None,
) -> dict[str, PlacedImage]:
    """Find which images overlap, and so where they lie to each other; one without overlap has a frame of its own.

    `load` is called once for each, from this thread. Images whose names give their place, and patches, are left out.
    Images of different retinas are not compared; those of different modalities are, because they show the same cones.
    `note` is called with overlaps that contradict better ones, or pairs that were not compared; KeyboardInterrupt is
    raised when `cancel` asks for it.

    Masked normalized cross-correlation over all shifts (Padfield 2012, IEEE Trans. Image Process. 21:2706) of the band
    of the cones at half resolution, at which overlaps separate as well as at full resolution. The local means, nearly 0
    in a band, are left out. Of two images of n common pixels the correlation r varies by chance as 1 / sqrt(n), so the
    shift of the largest r sqrt(n) is taken, and that in standard deviations, estimated over all shifts by the median,
    is its significance: it depends neither on the size of cones nor on that of the overlap.

    Frames grow from the most significant overlaps on, a spanning tree; later ones within a frame must agree with it
    within `TOLERANCE`. Of more than `MOST_PAIRS` pairs those that are nearest by name, without the modality, are
    compared.
    """
    cancelled, report = as_cancel(cancel), progress or (lambda text, done, total: None)
    noted = note or (lambda text: None)
    compared = [image for image in images if image.place is None and not image.cropped]
    if len(compared) < 2:
        return {image.name: PlacedImage(image.name, 0.0, 0.0) for image in compared}
    pairs = _pairs(compared, noted)
    total, done = len(compared) + len(pairs), 0

    def count() -> None:
        nonlocal done
        if cancelled():
            raise KeyboardInterrupt
        report("finding overlaps", done, total)
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


def _band_pass(image: ArrayLike, mask: Mask | None, what: str) -> tuple[Doubles, Mask]:
    """Take noise and shading from an image: difference of Gaussians over used pixels of values / range, else 0."""
    from scipy.ndimage import gaussian_filter

    values, used = image_and_mask(image, mask, what)
    extent = float(np.ptp(values[used])) if used.any() else 0.0
    if extent == 0:
        return np.zeros(values.shape), used
    values = np.where(used, (values - float(values[used].mean())) / extent, 0.0)
    weights = used.astype(np.float64)

    def mean(sigma: float) -> Doubles:
        smooth: Doubles = gaussian_filter(values, sigma)
        # Normalized convolution: each mean is over used pixels only, so no edge appears where they end.
        return smooth if used.all() else smooth / np.maximum(gaussian_filter(weights, sigma), 1e-6)

    return np.where(used, mean(_CORE) - mean(_SURROUND), 0.0), used


def _correlation(first: Doubles, second: Doubles, first_used: Mask, second_used: Mask, shift: tuple[int, int]) -> float:
    """Pearson's correlation where both are used, the second being moved by `shift`."""
    here, there = [], []
    for moved, length, other in zip(shift, first.shape, second.shape, strict=True):
        start, stop = max(0, moved), min(length, other + moved)
        here.append(slice(start, stop))
        there.append(slice(start - moved, stop - moved))
    both = first_used[tuple(here)] & second_used[tuple(there)]
    if np.count_nonzero(both) < _LEAST_PIXELS:
        return 0.0
    a, b = first[tuple(here)][both], second[tuple(there)][both]
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / norm, -1, 1)) if norm > 0 else 0.0


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
    # Even where a session counts the black border as image: two borders fit well.
    valid = loaded.valid & black_border(loaded.array)
    full, used = _band_pass(loaded.array, valid, "image")
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
        kept = max(4, _MEMORY // (12 * math.prod(self.shape)))
        self.of = functools.lru_cache(maxsize=kept)(functools.partial(_transform, bands, self.shape))


def _transform(bands: dict[str, _Band], shape: tuple[int, ...], name: str) -> _Transform:
    from scipy.fft import rfft2

    values, used = bands[name]
    return _Transform(*(rfft2(array, shape) for array in (values, values * values, used.astype(np.float32))))


def _fit(transforms: _Transforms, first: str, second: str) -> _Fit:
    """How two images fit together best."""
    from scipy.fft import irfft2

    least = _LEAST_OF_IMAGE * min(np.count_nonzero(transforms.bands[name].used) for name in (first, second))
    if least == 0:
        return _Fit(first, second, 0.0, 0.0, (0.0, 0.0))
    a, b = transforms.of(first), transforms.of(second)
    shape = transforms.shape

    def sums(one: NDArray[np.complex64], other: NDArray[np.complex64]) -> Floats:
        found: Floats = irfft2(one * other.conj(), shape)
        return found

    common = np.maximum(sums(a.used, b.used), 1)  # pixels
    # Where an image has no texture, its correlation is of rounding errors: 1 % of its variance is the least.
    height = np.maximum(sums(a.squares, b.used), 0.01 * common)
    height *= np.maximum(sums(a.used, b.squares), 0.01 * common)
    height = np.sqrt(common / height) * sums(a.values, b.values)  # the correlation times the root of the pixels
    height[common < least] = 0
    # Every third shift is enough; of a normal distribution the median of the amounts is 0.6745 standard deviations.
    spread = float(np.median(np.abs(height[::3, ::3][common[::3, ::3] >= least]))) / 0.6745
    row, column = np.unravel_index(int(height.argmax()), shape)
    # The second half of the indices are negative shifts.
    rows, columns = (
        _STEP * (k - side * (2 * k >= side) + _summit(line, k))
        for k, side, line in ((int(row), shape[0], height[:, column]), (int(column), shape[1], height[row]))
    )
    peak = float(height[row, column])
    correlation = peak / math.sqrt(float(common[row, column]))
    return _Fit(first, second, peak / spread if spread else 0.0, correlation, (rows, columns))


def _summit(line: Floats, k: int) -> float:
    """Where the parabola through a maximum and its neighbors is highest, from the maximum."""
    before, here, after = float(line[k - 1]), float(line[k]), float(line[(k + 1) % line.size])
    bend = before - 2 * here + after
    return max(-0.5, min(0.5, 0.5 * (before - after) / bend)) if bend < 0 else 0.0


def _joined(images: Sequence[SessionImage], fits: list[_Fit], noted: Callable[[str], object]) -> dict[str, PlacedImage]:
    """Connect the images, the most significant overlaps first."""
    shapes = {image.name: np.asarray(image.shape, dtype=np.float64) for image in images}
    group = {image.name: image.name for image in images}
    center = {image.name: np.zeros(2) for image in images}
    for fit in sorted(fits, key=lambda fit: -fit.significance):
        first, second = fit.first, fit.second
        wanted = center[first] + fit.shift + (shapes[second] - shapes[first]) / 2
        move = wanted - center[second]
        if group[first] == group[second]:
            if (miss := float(np.hypot(*move))) > TOLERANCE:
                noted(
                    f"{first} and {second} seem to overlap where other images contradict it by {miss:.0f} px; the better "
                    "overlaps were kept. If one of these images is doubtful, leave it out."
                )
            continue
        for name in [name for name, its in group.items() if its == group[second]]:
            group[name], center[name] = group[first], center[name] + move
    heads: dict[str, str] = {}
    for image in images:
        heads.setdefault(group[image.name], image.name)
    placed = {}
    for image in images:
        head = heads[group[image.name]]
        y, x = center[image.name] - center[head]
        placed[image.name] = PlacedImage(head, float(x), float(y))
    return placed
