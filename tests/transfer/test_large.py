"""Images in tiles through the public function: the same result, read once, written where the caller wants it."""

import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from napari_nst import arguments_from, transfer_style
from napari_nst.engine import memory, run
from napari_nst.engine.memory import memory_needed, planned_memory, state_memory, tile_memory, tile_side
from napari_nst.errors import DivergenceError, ImageError, OutOfMemoryError, ParameterError
from napari_nst.settings.parameters import StyleTransferParameters

pytestmark = pytest.mark.usefixtures("one_thread")

#: The halo of these layers is 8 pixels.
SHALLOW = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
QUICK = {"preset": "texture", "epoch": 3, "tolerance": 0.0, "threads": 1, "device": "cpu", **SHALLOW}


@pytest.fixture(scope="module")
def large():
    from napari_nst import mosaic_pair

    made = mosaic_pair((75, 93))
    return made.target, made.style[:60, :70]


def as_dtype(image, dtype):
    return (image.astype(float) * (200 if dtype == "uint16" else 1)).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "color", "given_"),
    [
        ("uint8", False, {}),
        ("uint16", False, {"fit_pools": False, "padding": "zeros"}),
        ("float32", True, {"init": "noise", "seed": 3}),
        ("uint8", True, {"channels": "rgb"}),
        ("int16", False, {"channels": "rgb", "value_range": "percentiles"}),
        ("uint8", False, {"mask": "blob", "style_mask": "blob", "init": "noise"}),
        ("float64", False, {"mask": "blob"}),
        ("uint8", False, {"init": "spectrum", "pixel_size": 1.0, "style_pixel_size": 1.3, "style_mask": "blob"}),
        ("uint8", False, {"optimizer": "lbfgs"}),
    ],
)
def test_tiles_change_nothing(large, dtype, color, given_):
    target, style = (as_dtype(image, dtype) for image in large)
    if color:
        target, style = (np.stack([p, p // 2, p[::-1], np.full_like(p, 9)], axis=-1) for p in (target, style))
    given_ = dict(given_)
    for name, image in (("mask", target), ("style_mask", style)):
        if name in given_:
            given_[name] = np.hypot(*np.ogrid[-30 : image.shape[0] - 30, -35 : image.shape[1] - 35]) < 33
    if dtype == "float64":
        target[70, 90] = np.nan  # outside the mask
    options = {**QUICK, "precision": "float64", **given_}
    whole = transfer_style(target, style, **options)
    tiled = transfer_style(target, style, **options, tile=32)
    assert "tile" not in whole.metadata["used"]
    used = tiled.metadata["used"]
    assert (used["tile"], used["halo"], used["tiles"]) == (32, 8, 9)
    assert used["engine_shape"] == whole.metadata["used"]["engine_shape"]
    assert tiled.image.dtype == target.dtype
    for one, other in zip(tiled.losses, whole.losses, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8)
    # A half may be rounded either way.
    span = 1 if dtype == "float64" else 1e-6 if dtype == "float32" else 1
    np.testing.assert_allclose(tiled.image.astype(float), whole.image.astype(float), atol=span * 1.001, rtol=1e-6)
    assert (tiled.image != whole.image).mean() < 0.02 or dtype.startswith("float")


def test_float32_within_a_ten_thousandth(large):
    options = {**QUICK, "precision": "float32", "lr": 1e-3}
    whole, tiled = transfer_style(*large, **options), transfer_style(*large, **options, tile=32)
    np.testing.assert_allclose(tiled.losses.total, whole.losses.total, rtol=1e-4)
    assert np.abs(tiled.image.astype(int) - whole.image).max() <= 1


def test_tiles_are_taken_by_themselves_where_memory_is_short(large, monkeypatch):
    p = StyleTransferParameters(**QUICK, precision="float32")
    sizes = (large[0].shape, large[1].shape)
    # Enough for the state and tiles of 24 pixels.
    enough = state_memory(p, sizes[0]) + int(tile_memory(p, 24, sizes[0], False) / 0.69)
    assert enough < memory_needed(p, *sizes)
    for module in (memory, run):
        monkeypatch.setattr(module, "free_memory", lambda device: enough)
    result = transfer_style(*large, **QUICK, precision="float32")
    assert 8 <= result.metadata["used"]["tile"] < 75
    # Repeated with the tiles that were used, it is equal to the last bit, wherever memory abounds.
    monkeypatch.undo()
    again = transfer_style(*large, **arguments_from(result.metadata))
    assert np.array_equal(again.image, result.image)
    assert np.array_equal(again.losses.total, result.losses.total)


def test_tiles_grow_with_memory_up_to_a_limit():
    import torch

    cpu, size = torch.device("cpu"), (8192, 8192)

    def side(free, **given_):
        p = StyleTransferParameters(precision="float32", **given_)
        return tile_side(p, size, size, 1, cpu, int(free * 2**30))

    assert 0 < side(3) < side(3.5) <= side(20) == side(100)
    assert side(3) % 16 == 0
    assert side(1000) == 0
    assert side(20, preset="texture") > side(20)
    assert side(20, tile=1000) == 992
    p = StyleTransferParameters(preset="texture", precision="float32")
    planned = planned_memory(p, size, size, 1, cpu, 20 * 2**30)
    assert planned < 3 * 2**30
    assert planned_memory(p, (64, 64), (64, 64), 1, cpu, 2**30) < planned_memory(p, (640, 640), (64, 64), 1, cpu, 2**40)


def test_bad_input_is_told(large, monkeypatch):
    with pytest.raises(
        ParameterError, match=r"`tile` must be at least the halo of 160 .*, got 100\. Choose at least 160"
    ):
        transfer_style(*large, tile=100)
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**22)
    with pytest.raises(OutOfMemoryError, match=r"tile: 64 pixels and the halo .* GiB are free\. Choose \d+ or less"):
        transfer_style(*large, **{**QUICK, "tile": 64})
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**18)
    with pytest.raises(OutOfMemoryError, match=r"75 × 93 pixels.*even in tiles.*at most about \d+ × \d+ pixels"):
        transfer_style(*large, **QUICK)


def test_progress_and_cancel_within_a_step(large):
    seen, cancel = [], threading.Event()

    def tell(now):
        seen.append((now.step, now.tiles_done, now.tiles))
        assert now.image().shape == large[0].shape
        assert np.isnan(now.losses[2]) == (now.step == 0)
        if now.step == 1 and now.tiles_done == 5:
            cancel.set()

    result = transfer_style(*large, **QUICK, tile=32, callback=tell, cancel=cancel)
    # 6 tiles of the style, 9 of the target twice.
    assert seen == [(0, k, 24) for k in range(1, 25)] + [(1, 0, 0)] + [(1, k, 18) for k in range(1, 6)]
    assert result.stopped == "cancelled"
    assert len(result.losses.total) == 1
    assert not np.array_equal(result.image, large[0])


def test_divergence_gives_the_last_good_image(large):
    with pytest.raises(DivergenceError) as caught:
        transfer_style(*large, **{**QUICK, "lr": 1e3, "clip": False, "alpha": 1e12, "beta": 1e12, "tile": 32})
    assert caught.value.partial.image.shape == large[0].shape
    assert caught.value.partial.metadata["used"]["tile"] == 32


def test_lists_and_stacks_in_tiles(large):
    target, style = large
    options = {**QUICK, "tile": 32, "batch": 2}
    alone = transfer_style(target, style, **options)
    both = transfer_style([target, target[::-1]], style, **options)
    assert np.array_equal(both[0].image, alone.image)
    steps = []
    stack = transfer_style(
        np.stack([target, target[::-1]]), style, **options, callback=lambda now: steps.append((now.plane, now.step))
    )
    assert np.array_equal(stack.image, [result.image for result in both])
    assert next(step for plane, step in steps if plane == 1) == 3
    assert steps[-1] == (1, 6)


class Chunked:
    """What zarr and h5py have in common; counts what is read and written."""

    def __init__(self, values, chunks):
        self.values, self.chunks = values, chunks
        self.reads, self.writes = np.zeros(values.shape, int), np.zeros(values.shape, int)

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: self.values.ndim)

    def __getitem__(self, key):
        self.reads[key] += 1
        return self.values[key].copy()

    def __setitem__(self, key, values):
        self.writes[key] += 1
        self.values[key] = values

    def __array__(self, *args, **kwargs):
        raise AssertionError("the whole is read at once")


@pytest.mark.parametrize("tile", [0, 32])
def test_what_is_not_in_memory_is_read_once_and_written_once(large, tile):
    target, style = large
    options = {**QUICK, "tile": tile}
    expected = transfer_style(target, style, **options)
    source, goal = Chunked(target.copy(), (16, 16)), Chunked(np.zeros_like(target), (16, 16))
    result = transfer_style(source, Chunked(style.copy(), (16, 16)), **options, out=goal)
    assert result.image is goal
    assert np.array_equal(goal.values, expected.image)
    assert (source.reads == 1).all()
    assert (goal.writes == 1).all()
    assert result.metadata["target"] == expected.metadata["target"]


def test_dask_is_computed_once(large):
    da = pytest.importorskip("dask.array")
    target, style = large
    counted, lock = itertools.count(), threading.Lock()

    def compute(block):
        with lock:
            next(counted)
        return block

    lazy = da.from_array(target, chunks=(40, 50)).map_blocks(
        compute, dtype=target.dtype, meta=np.empty((0, 0), "uint8")
    )
    result = transfer_style(lazy, style, **QUICK, tile=32)
    assert next(counted) == 4
    assert np.array_equal(result.image, transfer_style(target, style, **QUICK, tile=32).image)


def test_a_memory_map_as_out(large, tmp_path):
    target, style = large
    stack = np.stack([target, target[::-1]])
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", stack.dtype, stack.shape)
    result = transfer_style(stack, style, **QUICK, out=out)
    assert result.image is out
    out.flush()
    assert np.array_equal(np.load(tmp_path / "out.npy"), transfer_style(stack, style, **QUICK).image)


def test_an_out_that_does_not_fit(large):
    target, style = large
    with pytest.raises(ImageError, match=r"out is \(75, 92\) of uint8; the result is \(75, 93\) of uint8"):
        transfer_style(target, style, **QUICK, out=np.zeros((75, 92), np.uint8))
    with pytest.raises(ImageError, match=r"out is \(75, 93\) of float32"):
        transfer_style(target, style, **QUICK, out=np.zeros((75, 93), np.float32))
    with pytest.raises(ImageError, match="out: list cannot be written"):
        transfer_style(target, style, **QUICK, out=[])
    with pytest.raises(ParameterError, match="out: with a list of targets"):
        transfer_style([target], style, **QUICK, out=target.copy())


MEASURE = """
import resource, sys
import numpy as np
from napari_nst import transfer_style
side = int(sys.argv[1])
image = np.kron(np.random.default_rng(0).integers(0, 256, (side // 8, side // 8), dtype=np.uint8), np.ones((8, 8), np.uint8))
transfer_style(image, image[:128, :128], preset="texture", content_layers=("relu1_1",), style_layers=("relu1_1",),
               precision="float32", epoch=2, threads=1, device="cpu", tile=256)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_memory_grows_by_what_is_said_and_no_more():
    def peak(side):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(side)], capture_output=True, text=True, check=True, env=environment
        )
        return int(done.stdout) * 1024

    p = StyleTransferParameters()
    more = peak(4096) - peak(1024)
    said = state_memory(p, (4096, 4096)) - state_memory(p, (1024, 1024)) + 2 * (4096**2 - 1024**2)
    assert more < said
