"""What is minimized: the losses of one image against its targets, and their gradient with respect to the pixels."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from napari_nst.engine._torch import F, torch
from napari_nst.engine.backbone import VGG, shared_backbone
from napari_nst.engine.kernels import feature_format
from napari_nst.engine.losses import GramStatistics, content_loss, gram_scale, style_loss, total_variation
from napari_nst.engine.weights import load_weights
from napari_nst.errors import ImageError
from napari_nst.settings.parameters import StyleTransferParameters


class Evaluation(NamedTuple):
    """Losses and gradient at one image."""

    losses: torch.Tensor  #: (N, 3): style, content, total; on the device, never read here
    gradient: torch.Tensor  #: of the total loss with respect to the pixels, shape of the image


def network_for(parameters: StyleTransferParameters, channels: int, device: torch.device, dtype: torch.dtype) -> VGG:
    """The network that `parameters` ask for; kept for the next run with the same ones.

    The documented pipeline feeds torchvision's weights with [0, 1] as it is; the original ones always get theirs.
    """
    weights = load_weights(parameters.weights)
    wanted = dict.fromkeys(parameters.content_layers + parameters.style_layers)
    # "quick" minimizes what "documented" does.
    normalise = parameters.preset not in ("documented", "quick") or weights.convention == "caffe"
    return shared_backbone(weights, tuple(wanted), channels, normalise, parameters.padding, dtype, device)


def mask_at(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask (1, 1, H, W) at the resolution of a layer: the share of used pixels that each position stands for."""
    # On the CPU: MPS pools only to sizes that divide, and masks are made once.
    return F.adaptive_avg_pool2d(mask.cpu(), size).to(mask.device)


def per_layer(layers: tuple[str, ...], weights: tuple[float, ...]) -> dict[str, float]:
    """Return the weight of each layer, 1 where none are given."""
    return dict(zip(layers, weights or (1.0,) * len(layers), strict=True))


@dataclass(frozen=True)
class StyleTarget:
    """What an image's style should be: by layer name, sums from which the Gram matrices of N styles are made."""

    statistics: dict[str, GramStatistics]

    @classmethod
    def of(
        cls, network: VGG, style: torch.Tensor, layers: Sequence[str], mask: torch.Tensor | None = None
    ) -> StyleTarget:
        """Of images (N, channels, H, W) in [0, 1]; an ImageError when the mask leaves no position of a layer."""
        found, features = {}, network.features(style)
        for name in layers:
            f = features[name]
            at = None if mask is None else mask_at(mask, (f.shape[-2], f.shape[-1]))
            found[name] = statistics = GramStatistics().update(f, at)
            if statistics.positions is None or not bool((statistics.positions > 0).all()):
                raise ImageError(f"The mask leaves no position of the style at layer {name}; enlarge the mask.")
        return cls(found)

    @classmethod
    def stacked(cls, targets: Sequence[StyleTarget]) -> StyleTarget:
        """Several styles, one for each image of a batch."""
        if len(targets) == 1:
            return targets[0]
        found = {}
        for name in targets[0].statistics:
            layers = [target.statistics[name] for target in targets]
            totals = [layer.total for layer in layers if layer.total is not None]
            positions = [layer.positions for layer in layers if layer.positions is not None]
            found[name] = GramStatistics(torch.cat(totals), torch.cat(positions))
        return cls(found)


class StyleCache:
    """The style targets made last: one style for many patches is passed through the network once.

    Each takes about 2.4 MB with the layers of "documented".
    """

    def __init__(self, size: int = 32) -> None:
        self._size, self._kept, self._lock = size, OrderedDict[tuple[object, ...], StyleTarget](), Lock()

    def get(self, network: VGG, style: torch.Tensor, layers: Sequence[str], mask: torch.Tensor | None) -> StyleTarget:
        """The target of this style, made now or before.

        Known by the weights, by how the network is fed, by layers, device, precision and number of threads (on all of
        which the last bit depends), and by the SHA-256 of the image and of its mask.
        """
        key = (
            *(network.weight_set.sha256, network.normalises, network.padding, network.channels, network.dtype),
            *(tuple(layers), network.device, torch.get_num_threads(), _digest(style), _digest(mask)),
        )
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = StyleTarget.of(network, style, layers, mask)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()


#: Of this process.
STYLES = StyleCache()


def _digest(x: torch.Tensor | None) -> tuple[tuple[int, ...], str] | None:
    if x is None:
        return None
    return tuple(x.shape), hashlib.sha256(x.detach().cpu().contiguous().numpy().data).hexdigest()


class Objective:
    """Content, style and total variation of images, against targets that are computed once.

    Parameters
    ----------
    network : VGG
        With all layers that `parameters` name.
    target, style : torch.Tensor
        (N, channels, H, W) and (1 or N, channels, H', W') in [0, 1]; or a StyleTarget, made before.
    target_mask, style_mask : torch.Tensor, optional
        (1 or N, 1, H, W) and (1 or N, 1, H', W'), 1 where pixels count and 0 where they are kept out of all statistics.
    """

    #: No evaluation waits for the device: it can be recorded as a CUDA graph.
    graphable = True

    def __init__(
        self,
        network: VGG,
        target: torch.Tensor,
        style: torch.Tensor | StyleTarget,
        parameters: StyleTransferParameters,
        target_mask: torch.Tensor | None = None,
        style_mask: torch.Tensor | None = None,
    ) -> None:
        self.network = network
        self.parameters = p = parameters
        # Losses in the pixels' precision; the convolutions may have less.
        self._dtype = target.dtype
        self._content_weights = per_layer(p.content_layers, p.content_layer_weights)
        self._style_weights = per_layer(p.style_layers, p.style_layer_weights)
        features = network.features(target)
        self._masks: dict[str, torch.Tensor | None] = {
            name: None if target_mask is None else mask_at(target_mask, (f.shape[-2], f.shape[-1]))
            for name, f in features.items()
        }
        self._content = {name: features[name] for name in p.content_layers}
        if not isinstance(style, StyleTarget):
            style = StyleTarget.of(network, style, p.style_layers, style_mask)
        self._grams = {}
        for name, statistics in style.statistics.items():
            assert statistics.positions is not None  # a StyleTarget has seen its style
            positions = GramStatistics.positions_of(features[name], self._masks[name])
            self._grams[name] = statistics.compute(gram_scale(p.gram, statistics.positions, positions))

    def keep(self, indices: torch.Tensor) -> None:
        """Go on with these images alone."""
        order = feature_format(self.network.dtype, self.network.device)
        self._content = {k: t[indices].contiguous(memory_format=order) for k, t in self._content.items()}
        self._grams = {k: t[indices] if len(t) > 1 else t for k, t in self._grams.items()}
        self._masks = {k: m if m is None or len(m) == 1 else m[indices] for k, m in self._masks.items()}

    def evaluate(self, x: torch.Tensor) -> Evaluation:
        """Losses and gradient at `x` (N, channels, H, W)."""
        p = self.parameters
        trace = self.network.record(x)
        style = content = torch.zeros(x.shape[0], dtype=self._dtype, device=x.device)
        gradients: dict[str, torch.Tensor] = {}
        for name, features in trace.features.items():
            mask = self._masks[name]
            entering: tuple[torch.Tensor, float] | None = None
            if name in self._content_weights:
                weight = self._content_weights[name]
                value, residual = content_loss(features, self._content[name], mask, weight=p.alpha * weight)
                content = content + weight * value
                entering = residual if p.alpha * weight else None
            if name in self._style_weights:
                weight = self._style_weights[name]
                slope_weight = p.beta * weight
                gram = self._grams[name]
                value, gradient = style_loss(features, gram, p.gram, mask, weight=slope_weight, plus=entering)
                style = style + weight * value
                if slope_weight:
                    gradients[name], entering = gradient, None
            if entering is not None:
                gradients[name] = entering[0].mul_(entering[1])
        total = p.alpha * content + p.beta * style
        gradient = self.network.gradient(trace, gradients).to(x.dtype) if gradients else torch.zeros_like(x)
        if p.tv_weight:
            value, slope = total_variation(x)
            total = total + p.tv_weight * value
            gradient = gradient + p.tv_weight * slope
        return Evaluation(torch.stack([style, content, total], dim=1), gradient)
