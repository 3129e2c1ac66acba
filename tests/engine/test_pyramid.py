"""Coarse to fine: sizes, resampling, and what is carried from one size to the next."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_nst import StyleTransferParameters
from napari_nst.engine.adam import Moments
from napari_nst.engine.objective import Objective, network_for
from napari_nst.engine.pyramid import carry, carry_moments, enlarged, levels, reduced


def waves(size, cycles):
    """(1, 1, H, W) float64: a plaid of so many cycles across the picture."""
    y, x = ((np.arange(n) + 0.5) / n * 2 * np.pi * cycles for n in size)
    return torch.from_numpy(0.5 + 0.2 * np.sin(y)[:, None] + 0.2 * np.cos(x)[None])[None, None]


# The sizes


def test_one_scale_is_the_run_itself():
    p = StyleTransferParameters(preset="texture")
    (level,) = levels(p, (185, 200), (90, 100), 1)
    assert (level.size, level.style_size, level.parameters, level.style_factor) == ((185, 200), (90, 100), p, 1.0)


@given(
    scales=st.integers(1, 8), epoch=st.integers(1, 50), sides=st.tuples(*[st.integers(16, 900)] * 4),
    preset=st.sampled_from(["documented", "texture", "gatys"]),
)  # fmt: skip
def test_every_size_is_half_of_the_next_and_all_steps_are_made(scales, epoch, sides, preset):
    p = StyleTransferParameters(preset=preset, epoch=epoch)
    found = levels(p, sides[:2], sides[2:], scales)
    assert 1 <= len(found) <= scales
    assert (found[-1].size, found[-1].style_size) == (sides[:2], sides[2:])
    assert sum(level.parameters.epoch for level in found) == epoch
    assert found[-1].parameters.beta == p.beta
    depth = {"documented": 4, "texture": 2, "gatys": 4}[preset]
    for k, level in enumerate(reversed(found)):
        for side, full in zip(level.size + level.style_size, sides, strict=True):
            assert abs(side - full / 2**k) <= 0.5
            assert k == 0 or side >> depth >= 4


def test_as_many_sizes_as_asked_for_where_there_is_room():
    p = StyleTransferParameters()
    assert [level.size for level in levels(p, (512, 640), (512, 512), 3)] == [(128, 160), (256, 320), (512, 640)]
    assert [level.parameters.epoch for level in levels(p, (512, 640), (512, 512), 3)] == [33, 33, 34]
    assert [level.size for level in levels(p, (512, 640), (130, 512), 3)] == [
        (256, 320),
        (512, 640),
    ]  # a style too small


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("gram", ["sum", "matched", "mean"])
def test_losses_of_a_smaller_size_stand_in_the_proportion_of_full_size(gram):
    """Of pictures that are constant but for the border, where features do not depend on the size."""
    p = StyleTransferParameters(
        gram=gram, padding="replicate", content_layers=("relu1_1",), style_layers=("relu1_1", "relu2_1")
    )
    found, parts = [], []
    for level in levels(p, (64, 64), (64, 64), 2):
        target, style, now = (torch.full((1, 1, *level.size), v, dtype=torch.float64) for v in (0.3, 0.8, 0.5))
        network = network_for(p, 1, torch.device("cpu"), torch.float64)
        losses = Objective(network, target, style, level.parameters).evaluate(now).losses
        found.append(level.losses_at_full_size(losses))
        parts.append(level.parameters.beta * losses[0, 0] / losses[0, 2])
    assert len(found) == 2
    # Zeros around the second convolution are seen by a larger share of a smaller picture.
    torch.testing.assert_close(found[0], found[1], rtol=0.15, atol=0)
    torch.testing.assert_close(parts[0], parts[1], rtol=0.15, atol=0)


def test_the_weight_of_total_variation_goes_with_the_distance_of_neighbours():
    from napari_nst.engine.losses import total_variation

    p = StyleTransferParameters(tv_weight=3.0, preset="texture")
    coarse, fine = levels(p, (128, 128), (128, 128), 2)
    values = [
        level.parameters.tv_weight * total_variation(waves(level.size, 2))[0] for level in (coarse, fine)
    ]  # fmt: skip
    torch.testing.assert_close(values[0], values[1], rtol=0.02, atol=0)


def test_a_weight_at_its_limit_can_be_divided():
    assert levels(StyleTransferParameters(beta=1e12), (512, 512), (512, 512), 3)[0].parameters.beta == 1e12


# Resampling


def test_reducing_takes_the_mean_of_the_area():
    x = torch.arange(24.0).view(1, 1, 4, 6)
    torch.testing.assert_close(reduced(x, (2, 3)), x.view(1, 1, 2, 2, 3, 2).mean((3, 5)))
    assert reduced(x, (4, 6)) is x


@given(sides=st.tuples(*[st.integers(16, 60)] * 2), seed=st.integers(0, 99))
def test_reducing_keeps_the_range_and_folds_nothing_back(sides, seed):
    x = torch.from_numpy(np.random.default_rng(seed).random((2, 1, *sides)))
    small = reduced(x, (sides[0] // 2, sides[1] // 2))
    assert small.shape == (2, 1, sides[0] // 2, sides[1] // 2)
    assert x.min() <= small.min() <= small.max() <= x.max()
    checks = (torch.arange(sides[0])[:, None] + torch.arange(sides[1])).remainder(2).double()[None, None]
    even = checks[..., : sides[0] // 2 * 2, : sides[1] // 2 * 2]
    torch.testing.assert_close(reduced(even, (sides[0] // 2, sides[1] // 2)).std(), torch.tensor(0.0).double())


def test_enlarging_gives_smooth_pictures_back():
    small, large = waves((40, 50), 2), waves((80, 101), 2)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(enlarged(small, (80, 101))[inner], large[inner], rtol=0, atol=1e-2)


# Carrying on


def test_nothing_that_changed_changes_nothing():
    start = torch.rand(2, 1, 33, 47)
    coarse = reduced(start, (16, 24))
    torch.testing.assert_close(carry(start, coarse, coarse.clone()), start)


def test_a_change_is_carried_and_the_detail_stays():
    detail = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    start = waves((64, 64), 1) + detail
    coarse_start = reduced(start, (32, 32))
    on = carry(start, coarse_start, coarse_start + waves((32, 32), 2) - 0.5)
    inner = (..., slice(4, -4), slice(4, -4))
    expected = start + waves((64, 64), 2) - 0.5
    torch.testing.assert_close(on[inner], expected[inner], rtol=0, atol=1e-2)


def test_carried_moments_are_those_of_the_finer_size():
    """A loss that reads the mean over 2 × 2 pixels: its gradients at both sizes are known."""
    gradients = [waves((32, 32), 1) - 0.4, waves((32, 32), 2) - 0.3]
    coarse, fine = (self_made(g) for g in (gradients, [enlarged(g, (64, 64)) / 4 for g in gradients]))
    carried = carry_moments(Moments(*coarse, step=2), (64, 64))
    assert carried.step == 2
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(carried.mean[inner], fine[0][inner], rtol=0, atol=1e-6)
    torch.testing.assert_close(carried.square[inner], fine[1][inner], rtol=0.1, atol=3e-7)


def self_made(gradients):
    """Adam's running means after these gradients (Kingma and Ba 2015, algorithm 1)."""
    mean = square = torch.zeros_like(gradients[0])
    for g in gradients:
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
    return mean, square


@given(seed=st.integers(0, 999))
def test_carried_squares_are_never_below_zero(seed):
    generator = torch.Generator().manual_seed(seed)
    square = (torch.rand(2, 1, 9, 12, generator=generator) > 0.8).float()
    carried = carry_moments(Moments(torch.zeros_like(square), square, 7), (18, 25))
    assert carried.mean.shape == carried.square.shape == (2, 1, 18, 25)
    assert (carried.square >= 0).all()
