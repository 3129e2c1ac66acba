"""Those who take part in benchmarks/iteration.py: each gives a function that does one iteration at one size.

All see the same pair of synthetic mosaics, use the layers of the preset "documented" (or what they call them) and Adam.
A rival runs through its own interface; nothing of it is copied here.  Rivals that are not installed are left out, and
the reason is printed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import oracle
from napari_nst import StyleTransferParameters, mosaic_pair
from napari_nst.benchmark.report import stepper
from napari_nst.benchmark.roofline import Roofline
from napari_nst.engine._torch import torch
from napari_nst.imaging.values import ValueRange, to_unit
from napari_nst.io.images import write_image
from napari_nst.settings.layers import DOCUMENTED_LAYERS

Step = Callable[[], object]
CPU = torch.device("cpu")


class MissingError(Exception):
    """A rival that cannot take part; says why."""


def images(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Target and style as three equal channels in [0, 1], float32."""
    pair = mosaic_pair((size, size))
    target, style = (
        torch.from_numpy(to_unit(image, ValueRange(0, 255))).float()[None, None].repeat(1, 3, 1, 1)
        for image in (pair.target, pair.style)
    )
    return target, style


def literal(size: int) -> Step:
    """The document, line by line: three images through the network in every step, weights not frozen."""
    target, style = images(size)
    nst = oracle.NST(oracle.VGG(oracle.caffe_state(), "caffe").eval(), style, target)

    def step() -> None:
        nst.optimize(*nst.calculate_losses())

    return step


def frozen_autograd(size: int) -> Step:
    """What a good rival does: frozen weights, targets computed once, losses by autograd."""
    target, style = images(size)
    model = oracle.VGG(oracle.caffe_state(), "caffe").eval().requires_grad_(False)
    generated = target.clone().requires_grad_()
    optimizer = torch.optim.Adam([generated], lr=0.001)
    with torch.no_grad():
        content = [f.clone() for f in model(target)]
        grams = [oracle.compute_gram_matrix(f, *f.shape[1:]) for f in model(style)]

    def step() -> None:
        features = model(generated)
        loss = sum(((f - c) ** 2).mean() for f, c in zip(features, content, strict=True))
        loss = loss + 0.1 * sum(
            ((oracle.compute_gram_matrix(f, *f.shape[1:]) - g) ** 2).mean()
            for f, g in zip(features, grams, strict=True)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def ours(size: int, steps: int, precision: str, channels: str, stack: contextlib.ExitStack) -> Step:
    """What the callback of ``transfer_style`` sees; "rgb" optimises three channels as the others do."""
    return stack.enter_context(stepper(size, steps, device="cpu", precision=precision, channels=channels))


def roofline(size: int, precision: str, packed: bool) -> Step:
    """The convolutions and Gram products alone, in the same precision."""
    return Roofline(StyleTransferParameters(), (size, size), getattr(torch, precision), CPU, packed=packed)


def pastiche(size: int) -> Step:
    """PyPI's pastiche: its artist draws once."""
    module = _installed("pastiche.pastiche", "pastiche")
    # Its names for the same layers: block3_relu1 is relu3_1.
    layers = [f"block{name[4]}_{name[:4]}{name[6]}" for name in DOCUMENTED_LAYERS]
    with tempfile.TemporaryDirectory() as folder:
        pair = mosaic_pair((size, size))
        paths = [
            str(write_image(Path(folder) / f"{name}.png", image))
            for name, image in (("target", pair.target), ("style", pair.style))
        ]
        artist = module.PasticheArtist(
            paths[0],
            paths[1:],
            optimizer="adam",
            device="cpu",
            content_layers=layers,
            style_layers=layers,
            size=(size, size),
            style_size=(size, size),
        )
    return artist.draw


def stylemod(size: int) -> Step:
    """PyPI's stylemod: its model's losses over its own five style layers, which are the document's."""
    base = _installed("stylemod.core.cnn", "stylemod")

    class Features(torch.nn.Module):
        def __init__(self, weights: object = None) -> None:
            super().__init__()
            self.features = oracle.features(oracle.caffe_state(), torch.float32)

    # Its default model, with the values of the embedded weights in place of a download of half a gigabyte.
    style_weights = {"0": 1.0, "5": 0.8, "10": 0.5, "19": 0.3, "28": 0.1}
    model = base.CNNBaseModel(Features, content_layer="21", style_weights=style_weights)
    model.eval()
    target, style = images(size)
    content_features = model.get_features(target, layers=[model.content_layer])
    style_features = model.get_features(style, layers=model.style_layers)
    generated = target.clone().requires_grad_()
    optimizer = torch.optim.Adam([generated], lr=model.learning_rate)

    def step() -> None:
        optimizer.zero_grad()
        loss = model.forward(
            target=generated,
            content_image=target,
            style_image=style,
            content_features=content_features,
            style_features=style_features,
            loss_callback=lambda *losses: None,
        )
        loss.backward()
        optimizer.step()

    return step


def neural_style(size: int) -> Step:
    """PyPI's neural-style."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("neural-style")
        raise MissingError("its loop lies inside its main(): it cannot do one iteration in turn with others")
    raise MissingError("neural-style is not installed")


#: Those that may be missing.
RIVALS: dict[str, Callable[[int], Step]] = {
    "pastiche": pastiche,
    "stylemod": stylemod,
    "neural-style": neural_style,
}


def _installed(module: str, package: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(f"{package} cannot be imported ({error})") from error
