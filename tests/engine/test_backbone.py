"""VGG-19 against torchvision's own layers, and its reverse pass against autograd."""

import pytest
import torch
import torch.nn.functional as F

import oracle
from napari_nst import VGG
from napari_nst.engine.weights import WeightSet, load_weights
from napari_nst.errors import ParameterError
from napari_nst.settings.layers import DOCUMENTED_LAYERS, LAYERS, check_layers, layers_up_to, pools_before

pytestmark = pytest.mark.usefixtures("one_thread")

MIXED = ("conv1_1", "relu1_1", "pool1", "relu2_1", "conv2_2", "relu2_2", "conv3_1")


@pytest.fixture(scope="module")
def seeded():
    """The oracle's seeded network as a set of weights."""
    state = oracle.random_state()
    convolutions = {
        layer.name: tuple(state[f"features.{layer.torchvision_index}.{part}"] for part in ("weight", "bias"))
        for layer in LAYERS.values()
        if layer.kind == "conv"
    }
    return WeightSet("seeded", "0" * 64, "torchvision", convolutions)


def image(channels, size=(24, 21), count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, *size, generator=generator, dtype=torch.float64)


def plain_features(x, layers, state, convention, normalise, padding="zeros"):
    """torchvision's layers one by one, on an image that is normalized outside of them."""
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    if convention == "caffe":
        x = oracle.expected_input(x, "caffe")
    elif normalise:
        mean, deviation = (torch.tensor(v, dtype=x.dtype).view(1, 3, 1, 1) for v in (oracle.MEAN, oracle.DEVIATION))
        x = (x - mean) / deviation
    found = {}
    for layer, plain in zip(LAYERS.values(), oracle.features(state, x.dtype), strict=True):
        if layer.name == "conv1_1" and padding != "zeros":
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode=padding), plain.weight, plain.bias)
        else:
            x = plain(x)
        found[layer.name] = x
        if set(layers) <= set(found):
            return [found[name] for name in layers]
    raise AssertionError


def test_the_layers_are_those_of_torchvision():
    kinds = {"conv": torch.nn.Conv2d, "relu": torch.nn.ReLU, "pool": torch.nn.MaxPool2d}
    plain = list(oracle.network())
    assert len(plain) == len(LAYERS)
    for layer, module in zip(LAYERS.values(), plain, strict=True):
        assert isinstance(module, kinds[layer.kind])
        assert plain[layer.torchvision_index] is module
        if layer.kind == "conv":
            assert (module.in_channels, module.out_channels) == (layer.in_channels, layer.out_channels)


def test_the_documented_layers_are_the_five_as_the_in_place_relus_leave_them():
    indices = [LAYERS[name].torchvision_index for name in DOCUMENTED_LAYERS]
    assert indices == [1, 6, 11, 20, 28]  # 0, 5, 10 and 19 rewritten by the ReLU behind them; 28 as it is


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize(("convention", "normalise"), [("caffe", True), ("torchvision", True), ("torchvision", False)])
def test_features_equal_those_of_torchvisions_network(convention, padding, normalise, channels, seeded):
    weights = load_weights("embedded") if convention == "caffe" else seeded
    state = oracle.caffe_state() if convention == "caffe" else oracle.random_state()
    network = VGG(weights, MIXED, channels=channels, normalise=normalise, padding=padding, dtype=torch.float64)
    x = image(channels, count=2)
    expected = plain_features(x, MIXED, state, convention, normalise, padding)
    for name, got, wanted in zip(MIXED, network(x), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11 * float(wanted.abs().max()), msg=name)


def test_the_deepest_features_equal_those_of_torchvisions_network(seeded):
    layers = ("relu4_2", "conv5_1", "relu5_4", "pool5")
    x = image(3, (33, 40))
    got = VGG(seeded, layers, normalise=False, dtype=torch.float64)(x)
    for one, other in zip(got, plain_features(x, layers, oracle.random_state(), "torchvision", False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_forward_and_recorded_features_are_the_same_and_come_in_the_order_asked_for(seeded):
    layers = ("relu2_1", "conv1_1", "relu1_1")
    network = VGG(seeded, layers, dtype=torch.float64)
    x = image(3)
    trace = network.record(x)
    for name, features in zip(layers, network(x), strict=True):
        assert torch.equal(features, trace.features[name])
        assert features.shape[1] == LAYERS[name].out_channels
    assert (trace.features["conv1_1"] < 0).any()  # not rewritten by its ReLU


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize(
    "layers",
    [MIXED, DOCUMENTED_LAYERS, ("pool1",), ("conv1_1",), ("relu1_1", "pool2", "relu5_1")],
    ids=["mixed", "documented", "pool1", "conv1_1", "deep"],
)
def test_the_reverse_pass_equals_autograd(layers, padding, channels, seeded):
    network = VGG(seeded, layers, channels=channels, padding=padding, dtype=torch.float64)
    x = image(channels, (20, 23), count=2).requires_grad_()
    features = network(x)
    entering = {n: torch.randn(f.shape, dtype=f.dtype) for n, f in zip(layers, features, strict=True)}
    (wanted,) = torch.autograd.grad(sum((f * entering[n]).sum() for n, f in zip(layers, features, strict=True)), x)
    got = network.gradient(network.record(x.detach()), {n: g.clone() for n, g in entering.items()})
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12 * float(wanted.abs().max()))


def test_the_reverse_pass_takes_gradients_at_some_layers_only(seeded):
    network = VGG(seeded, MIXED, dtype=torch.float64)
    x = image(3).requires_grad_()
    features = dict(zip(MIXED, network(x), strict=True))
    (wanted,) = torch.autograd.grad(features["pool1"].square().sum(), x)
    trace = network.record(x.detach())
    got = network.gradient(trace, {"pool1": 2 * trace.features["pool1"]})
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-14)
    with pytest.raises(ParameterError, match="no gradient was given"):
        network.gradient(network.record(x.detach()), {})


@pytest.mark.parametrize("padding", ["zeros", "replicate", "reflect"])
@pytest.mark.parametrize("convention", ["caffe", "torchvision"])
def test_gray_equals_three_equal_channels_up_to_the_border(convention, padding, seeded):
    weights = load_weights("embedded") if convention == "caffe" else seeded
    gray, color = (
        VGG(weights, ("conv1_1", "relu2_1"), channels=c, padding=padding, dtype=torch.float64) for c in (1, 3)
    )
    x = image(1, (18, 25))
    for one, other in zip(gray(x), color(x.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * float(other.abs().max()))


def test_the_gradient_of_gray_is_the_sum_over_three_equal_channels(seeded):
    x = image(1)
    gradients = []
    for channels in (1, 3):
        network = VGG(seeded, ("relu3_1",), channels=channels, dtype=torch.float64)
        trace = network.record(x.expand(-1, channels, -1, -1))
        gradients.append(network.gradient(trace, {"relu3_1": trace.features["relu3_1"].clone()}).sum(1))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_nothing_in_the_network_can_be_trained_and_nothing_is_deeper_than_needed(seeded):
    network = VGG(seeded, ("relu2_1",))
    assert list(network.parameters()) == []
    assert not any(value.requires_grad for value in network.buffers())
    assert not network.training
    assert [layer.name for layer in network.plan][-1] == "relu2_1"
    names = {name for name, _ in network.named_buffers()}
    assert "conv2_1_weight" in names
    assert "conv2_2_weight" not in names
    assert network(torch.rand(1, 3, 16, 16))[0].requires_grad is False


def test_an_image_of_another_size_or_count_needs_no_new_network(seeded):
    network = VGG(seeded, ("relu1_1",), dtype=torch.float64)
    for count, size in ((1, (16, 16)), (3, (16, 16)), (1, (19, 17)), (1, (16, 16))):
        assert network(image(3, size, count))[0].shape == (count, 64, *size)


def test_poolings_are_counted_and_layers_cut():
    assert pools_before(("relu1_2",)) == 0
    assert pools_before(("relu3_1", "relu1_1")) == 2
    assert pools_before(("conv5_1",)) == 4
    assert len(layers_up_to(("conv5_1",))) == 29


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "at least one layer"),
        (("relu6_1",), "relu6_1"),
        (("relu1_1", "relu1_1"), "names relu1_1 twice"),
        (("5",), "'5'"),
    ],
)
def test_wrong_layers_are_named(names, message):
    with pytest.raises(ParameterError, match=message):
        check_layers(names)


def test_two_channels_are_refused(seeded):
    with pytest.raises(ParameterError, match=r"1 \(gray\) or 3 \(RGB\)"):
        VGG(seeded, channels=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_in_bfloat16_the_image_itself_is_not_rounded(padding, channels, bfloat16):
    x = image(channels, (24, 31)).float()
    narrow, wide = (
        VGG("embedded", ("conv1_1",), channels=channels, padding=padding, dtype=dtype)
        for dtype in (torch.bfloat16, torch.float64)
    )
    for part in ("weight", "bias"):
        wide.get_buffer(f"conv1_1_{part}").copy_(narrow.get_buffer(f"conv1_1_{part}"))
    got, exact = narrow.record(x).features["conv1_1"], wide.record(x.double()).features["conv1_1"]
    # The portable kernels sum in another order where channels lie last in memory.
    rounding = 0 if bfloat16 == "device" else 2**-7
    torch.testing.assert_close(narrow(x)[0], got, rtol=rounding, atol=rounding)
    # With the same weights, what is left is the rounding of the features (half of 2**-7), and of an image of 16 bits.
    error = (got.double() - exact).abs()
    assert (error <= 2**-8 * exact.abs() + 0.02).all()
    assert float(exact.abs().median()) > 5
