"""Tiles against the image in one piece, in double precision: nothing may be approximated."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import VGG, StyleTransferParameters
from napari_nst.engine.backbone import Part
from napari_nst.engine.objective import Objective, mask_at
from napari_nst.engine.optimization import Optimization, Progress
from napari_nst.engine.tiling import TiledObjective, mask_part, tiles_of
from napari_nst.errors import ImageError, ParameterError
from napari_nst.settings.layers import reach_of

pytestmark = pytest.mark.usefixtures("one_thread")

SHALLOW = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "conv2_2")}


def image(height, width, seed=0, channels=1):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)
    return (F.avg_pool2d(rough, 3, 1, 1) + 0.2 * rough).clamp(0, 1)


def blob(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask = ((y - 0.4 * height) ** 2 + (x - 0.5 * width) ** 2) < (0.45 * min(height, width)) ** 2
    mask[: height // 4, : width // 4] = True
    return mask[None, None]


def both(side, size, style_size=None, masked=False, dtype=torch.float64, channels=1, **given_):
    """The same evaluation in one piece and in tiles, at an image that is not the target."""
    p = StyleTransferParameters(**{"preset": "texture", **given_})
    layers = tuple(dict.fromkeys(p.content_layers + p.style_layers))
    network = VGG("embedded", layers, channels=channels, padding=p.padding, dtype=dtype)
    target, style = image(*size, 0, channels), image(*(style_size or size), 1, channels)
    x = (0.7 * target + 0.3 * image(*size, 2, channels)).to(torch.float32 if dtype == torch.bfloat16 else dtype)
    target, style = target.to(x.dtype), style.to(x.dtype)
    mask = blob(*size) if masked else None
    style_mask = blob(*(style_size or size)) if masked else None
    masks = [None if m is None else m.to(x.dtype) for m in (mask, style_mask)]
    whole = Objective(network, target, style, p, *masks).evaluate(x)
    tiled = TiledObjective(network, target, style, p, side, x.dtype, mask, style_mask).evaluate(x)
    if masked:
        # What lies under the mask never moves.
        whole, tiled = (e._replace(gradient=e.gradient * masks[0]) for e in (whole, tiled))
    return whole, tiled


def check(whole, tiled, rtol=1e-10):
    torch.testing.assert_close(tiled.losses, whole.losses, rtol=rtol, atol=0)
    largest = float(whole.gradient.abs().max())
    torch.testing.assert_close(tiled.gradient, whole.gradient, rtol=0, atol=rtol * largest)


@settings(max_examples=8)
@given(
    size=st.tuples(st.integers(16, 45), st.integers(16, 45)),
    style_size=st.tuples(st.integers(16, 30), st.integers(16, 30)),
    side=st.sampled_from([4, 8, 12, 20, 32]),
    padding=st.sampled_from(["zeros", "replicate", "reflect"]),
    gram=st.sampled_from(["sum", "mean", "matched"]),
    masked=st.booleans(),
)
def test_tiles_are_the_whole(size, style_size, side, padding, gram, masked):
    check(*both(side, size, style_size, masked, padding=padding, gram=gram, tv_weight=3.0))


@pytest.mark.parametrize("layers", [("conv3_2", "pool1"), ("pool2",), ("conv1_1", "relu2_2", "conv3_1")])
def test_every_kind_of_layer(layers):
    check(*both(8, (37, 41), content_layers=layers, style_layers=layers, content_layer_weights=(0.5,) * len(layers)))


def test_color():
    check(*both(8, (26, 31), channels=3, **SHALLOW))


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_loss_without_weight_is_still_reported(alpha, beta):
    whole, tiled = both(8, (26, 31), alpha=alpha, beta=beta, **SHALLOW)
    assert (whole.losses > 0).all()
    check(whole, tiled)


@pytest.mark.slow
def test_the_deep_layers_of_documented():
    check(*both(64, (96, 113), (32, 48), preset="documented", masked=True))


@pytest.mark.slow
def test_the_deep_layers_far_from_every_border():
    check(*both(176, (531, 543), preset="documented"))


def test_float32_agrees_to_its_rounding():
    check(*both(16, (75, 90), dtype=torch.float32), rtol=1e-4)


def test_the_halo_is_as_wide_as_needed_and_no_wider():
    assert reach_of(["conv5_1"]) == 80  # 70 pixels beyond 16, of 156 in all
    assert reach_of(["relu3_1"]) == 12
    assert reach_of(["relu1_1"]) == 1
    assert reach_of(["pool1"]) == 2


@pytest.mark.parametrize("name", ["relu1_2", "pool1", "conv3_1", "relu4_1"])
def test_reach_covers_what_autograd_finds(name):
    network = VGG("embedded", (name,), dtype=torch.float64)
    x = image(160, 160, channels=3).requires_grad_()
    (features,) = network(x)
    pools = int(math.log2(160 // features.shape[-1]))
    i = features.shape[-1] // 2
    (gradient,) = torch.autograd.grad(features[..., i, i].sum(), x)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    square = 2**pools
    beyond = max(square * i - int(rows[0]), int(rows[-1]) - (square * (i + 1) - 1))
    assert beyond <= reach_of([name]) < beyond + square


@given(size=st.tuples(st.integers(1, 90), st.integers(1, 90)), cells=st.integers(1, 6), pools=st.integers(0, 4))
def test_inner_parts_cover_the_image_once(size, cells, pools):
    square = 2**pools
    seen = np.zeros(size, int)
    for inner, padded, outer in tiles_of(size, cells * square, square):
        for rows, columns in (inner, padded, outer):
            assert rows.start % square == 0 == columns.start % square
            assert rows.stop % square == 0 or rows.stop == size[0]
            assert columns.stop % square == 0 or columns.stop == size[1]
        seen[inner.rows.start : inner.rows.stop, inner.columns.start : inner.columns.stop] += 1
        assert padded.rows.start == max(0, inner.rows.start - square)
        assert outer.columns.stop == min(size[1], inner.columns.stop + 2 * square)
    assert (seen == 1).all()


@given(size=st.tuples(st.integers(16, 60), st.integers(16, 60)), pools=st.integers(0, 4), data=st.data())
def test_masks_at_a_part_of_a_layer(size, pools, data):
    mask, square = blob(*size), 2**pools
    starts = [square * data.draw(st.integers(0, n // square)) for n in size]
    stops = [min(n, start + square * data.draw(st.integers(0, 4))) for n, start in zip(size, starts, strict=True)]
    part = Part(range(starts[0], stops[0]), range(starts[1], stops[1]))
    whole = mask_at(mask.double(), tuple(n >> pools for n in size))
    torch.testing.assert_close(mask_part(mask, part, pools), part.of(whole, pools), rtol=1e-12, atol=1e-12)


def run(objective, start, p, cancel=None):
    optimization = Optimization(objective, start, p, cancel=cancel)
    for _ in optimization.run():
        pass
    return optimization


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_in_tiles_is_the_run(optimizer):
    p = StyleTransferParameters(preset="texture", optimizer=optimizer, epoch=6, tolerance=0.0, **SHALLOW)
    network = VGG("embedded", ("relu2_1", "relu1_1", "conv2_2"), channels=1, padding="reflect", dtype=torch.float64)
    target, style = image(29, 33), image(24, 20, 1)
    whole = run(Objective(network, target, style, p), target, p)
    tiled = run(TiledObjective(network, target, style, p, 8, torch.float64), target, p)
    torch.testing.assert_close(tiled.losses_of(), whole.losses_of(), rtol=1e-9, atol=0)
    torch.testing.assert_close(tiled.image_of(), whole.image_of(), rtol=0, atol=1e-9)


def tiled_run(cancel=None):
    p = StyleTransferParameters(preset="texture", epoch=3, tolerance=0.0, **SHALLOW)
    network = VGG("embedded", ("relu2_1", "relu1_1", "conv2_2"), channels=1, padding="reflect")
    target, style = image(32, 32).float(), image(16, 24, 1).float()
    objective = TiledObjective(network, target, style, p, 16, torch.float32, cancel=cancel)
    return objective, target, p


@pytest.mark.parametrize("asked", [1, 2, 4, 8, 12, 15])
def test_cancelled_within_a_step(asked):
    questions = itertools.count(1)
    objective, target, p = tiled_run(lambda: next(questions) >= asked)
    ended = run(objective, target, p)
    assert ended.stopped_of() == "cancelled"
    # 2 tiles of the style, and 4 of the target twice.
    assert ended.step == len(ended.losses_of()) == (0 if asked <= 10 else 1)
    assert asked > 10 or torch.equal(ended.image_of(), target)
    assert next(questions) == asked + 1


def test_tile_by_tile_beforehand_is_not_done_twice():
    objective, target, _ = tiled_run()
    expected = objective.evaluate(target).losses
    objective, target, p = tiled_run()
    assert list(objective.steps(target)) == [(k, 10) for k in range(1, 11)]
    recorded = []
    objective.network.record = lambda *args: recorded.append(args) or VGG.record(objective.network, *args)
    assert torch.equal(objective.evaluate(target).losses, expected)
    assert not recorded
    # What was found for one image does not answer for another.
    assert [total for _, total in objective.steps(target)] == [8] * 8
    target += 0.01
    assert not torch.equal(objective.evaluate(target).losses, expected)
    assert len(recorded) == 8
    optimization = Optimization(objective, target, p)
    assert np.isnan(Progress(0, 3, optimization, tiles_done=1, tiles=8).losses).all()


def test_bad_input():
    p = StyleTransferParameters(preset="texture", **SHALLOW)
    network = VGG("embedded", ("relu2_1", "relu1_1", "conv2_2"), channels=1)
    target = image(32, 32).float()
    for side in (0, -2, 7):
        with pytest.raises(ParameterError, match=f"tile: {side} is not a multiple of 2"):
            TiledObjective(network, target, target, p, side, torch.float32)
    objective = TiledObjective(
        network, target, target, p, 16, torch.float32, None, torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    )
    with pytest.raises(ImageError, match="mask leaves no position of the style at layer relu1_1"):
        objective.evaluate(target)
