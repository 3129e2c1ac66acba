"""The roofline does the arithmetic of a step: counted by PyTorch's own counter, and by the formula of a convolution."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from napari_nst import StyleTransferParameters
from napari_nst.benchmark.roofline import Roofline, waiting_for

CPU = torch.device("cpu")
#: Simonyan and Zisserman 2015, table 1, column E, up to conv5_1: channels in and out, and poolings before.
CONVOLUTIONS = [(3, 64, 0), (64, 64, 0), (64, 128, 1), (128, 128, 1), (128, 256, 2), *[(256, 256, 2)] * 3]
CONVOLUTIONS += [(256, 512, 3), *[(512, 512, 3)] * 3, (512, 512, 4)]
#: Channels of the five documented layers, and poolings before.
STYLES = [(64, 0), (128, 1), (256, 2), (512, 3), (512, 4)]


def positions(size, pools):
    height, width = size
    return (height // 2**pools) * (width // 2**pools)


def multiplications(size, count, products=True):
    """Of both directions of every convolution, and of one Gram product per style layer."""
    there = sum(9 * a * b * positions(size, pools) for a, b, pools in CONVOLUTIONS)
    grams = sum(c * c * positions(size, pools) for c, pools in STYLES)
    return count * (2 * there + products * grams)


@pytest.mark.parametrize(
    ("size", "count", "products"), [((32, 32), 1, True), ((37, 50), 1, True), ((32, 48), 3, True), ((32, 32), 1, False)]
)
def test_the_roofline_multiplies_as_often_as_a_step_must(one_thread, size, count, products):
    roofline = Roofline(StyleTransferParameters(), size, torch.float32, CPU, count=count, products=products)
    with FlopCounterMode(display=False) as counter:
        roofline()
    # The counter takes an addition and a multiplication for two.
    assert counter.get_total_flops() == 2 * multiplications(size, count, products)


def test_the_formula_gives_the_known_cost_of_a_patch():
    """12.215 billion multiplications forwards, 0.588 in the Gram products (reference, 2a)."""
    assert multiplications((185, 185), 1, products=False) / 2e9 == pytest.approx(12.215, abs=5e-3)
    assert (multiplications((185, 185), 1) - multiplications((185, 185), 1, products=False)) / 1e9 == pytest.approx(
        0.588, abs=5e-3
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_convolutions_go_both_ways_on_real_shapes(monkeypatch, one_thread, dtype):
    seen = []

    class Recorder:
        def __init__(self, weight, bias, size):
            self.weight = weight

        def forward(self, x, relu):
            seen.append(("there", x.dtype, *x.shape[1:], self.weight.shape[0]))

        def backward(self, gradient):
            seen.append(("back", gradient.dtype, *gradient.shape[1:], self.weight.shape[1]))

    monkeypatch.setattr("napari_nst.benchmark.roofline.Convolution", Recorder)
    Roofline(StyleTransferParameters(), (32, 48), dtype, CPU, packed=True)()
    expected = []
    for into, out, pools in CONVOLUTIONS:
        height, width = 32 // 2**pools, 48 // 2**pools
        expected += [("there", dtype, into, height, width, out), ("back", dtype, out, height, width, into)]
    assert seen == expected


def test_shallower_layers_make_a_lower_roofline(one_thread):
    roofline = Roofline(StyleTransferParameters(preset="texture"), (32, 32), torch.float32, CPU)
    with FlopCounterMode(display=False) as counter:
        roofline()
    there = sum(9 * a * b * positions((32, 32), pools) for a, b, pools in CONVOLUTIONS[:5])
    grams = sum(c * c * positions((32, 32), pools) for c, pools in STYLES[:3])
    assert counter.get_total_flops() == 2 * (2 * there + grams)


def test_nothing_is_waited_for_on_a_cpu():
    assert waiting_for(CPU)() is None
