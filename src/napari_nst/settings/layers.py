"""The layers of VGG-19 by name.

Layers are called as in the papers: ``conv3_1`` is the convolution's output, ``relu3_1`` what its ReLU leaves of it,
``pool3`` the pooling behind the block (Simonyan and Zisserman 2015, table 1, column E).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from napari_nst.errors import ParameterError

__all__ = ["DOCUMENTED_LAYERS", "LAYERS", "Layer", "check_layers", "layers_up_to", "pools_before", "reach_of"]

Kind = Literal["conv", "relu", "pool"]


class Layer(NamedTuple):
    """One layer: its name, what it does, its channels and its index in torchvision's ``vgg19().features``."""

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    torchvision_index: int


def _vgg19() -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    channels = 3
    for block, (convolutions, width) in enumerate([(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)], start=1):
        for number in range(1, convolutions + 1):
            for kind in ("conv", "relu"):
                name = f"{kind}{block}_{number}"
                layers[name] = Layer(name, kind, channels, width, len(layers))
                channels = width
        layers[f"pool{block}"] = Layer(f"pool{block}", "pool", width, width, len(layers))
    return layers


#: Every layer in the order of computation; the position is torchvision's index.
LAYERS: dict[str, Layer] = _vgg19()

#: The layers of the documented system: torchvision's 0, 5, 10, 19 and 28.  The first four are rewritten by their
#: in-place ReLU before they are read; the last one's ReLU lies behind the cut (reference "aladdinpersson", features[:29]).
DOCUMENTED_LAYERS: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "conv5_1")


def check_layers(names: Iterable[str], role: str = "layers") -> tuple[str, ...]:
    """Return the names of layers as a tuple; ParameterError for none, an unknown one, or one given twice."""
    names = tuple(names)
    if not names:
        raise ParameterError(f"`{role}` must name at least one layer, got none. Try relu3_1.")
    for name in names:
        if name not in LAYERS:
            raise ParameterError(
                f"`{role}` must name layers of VGG-19, got {name!r}. Names are like conv1_1, relu1_1, pool1, up to relu5_4."
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ParameterError(f"`{role}` names {', '.join(twice)} twice. Give a layer weight of 2 instead.")
    return names


def layers_up_to(names: Iterable[str]) -> list[Layer]:
    """All layers from the first to the deepest of `names`, in order."""
    deepest = max(LAYERS[name].torchvision_index for name in names)
    return [layer for layer in LAYERS.values() if layer.torchvision_index <= deepest]


def pools_before(names: Iterable[str]) -> int:
    """How many poolings the deepest of `names` lies behind: each halves height and width, rounding down."""
    return sum(layer.kind == "pool" for layer in layers_up_to(names))


def reach_of(names: Iterable[str]) -> int:
    """How far, in pixels, the deepest of `names` looks beyond the square of pixels that a position of its stands for.

    Behind k poolings that square has 2ᵏ pixels a side, and the result is rounded up to a multiple of it: for conv5_1,
    whose positions depend on 156 × 156 pixels, 70 on each side of 16, it is 80.  A pixel's gradient comes from positions
    no further away than that.
    """
    low = high = 0
    names = tuple(names)
    for layer in reversed(layers_up_to(names)):
        if layer.kind == "conv":
            low, high = low - 1, high + 1
        elif layer.kind == "pool":
            low, high = 2 * low, 2 * high + 1
    square: int = 2 ** pools_before(names)
    return -(-max(-low, high - square + 1) // square) * square
