"""What is minimised: the losses of one picture against its targets, and their gradient with respect to the pixels."""

from __future__ import annotations

from typing import NamedTuple

from napari_nst.engine._torch import F, torch
from napari_nst.engine.backbone import VGG, shared_backbone
from napari_nst.engine.losses import GramStatistics, content_loss, gram_scale, style_loss, total_variation
from napari_nst.engine.parameters import StyleTransferParameters
from napari_nst.engine.weights import load_weights
from napari_nst.errors import ImageError

__all__ = ["Evaluation", "Objective", "mask_at", "network_for"]


class Evaluation(NamedTuple):
    """Losses and gradient at one picture.

    Attributes
    ----------
    losses : torch.Tensor
        (N, 3): style, content, total; on the device, never read here.
    gradient : torch.Tensor
        Of the total loss with respect to the pixels, shape of the picture.
    """

    losses: torch.Tensor
    gradient: torch.Tensor


def network_for(parameters: StyleTransferParameters, channels: int, device: torch.device, dtype: torch.dtype) -> VGG:
    """The network that `parameters` ask for; kept for the next run with the same ones.

    The documented pipeline feeds torchvision's weights with [0, 1] as it is; the original ones always get theirs.
    """
    weights = load_weights(parameters.weights)
    wanted = dict.fromkeys(parameters.content_layers + parameters.style_layers)
    normalise = parameters.preset != "documented" or weights.convention == "caffe"
    return shared_backbone(weights, tuple(wanted), channels, normalise, parameters.padding, dtype, device)


def mask_at(mask: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask (1, 1, H, W) at the resolution of a layer: the share of used pixels that each position stands for."""
    # On the CPU: MPS pools only to sizes that divide, and masks are made once.
    return F.adaptive_avg_pool2d(mask.cpu(), size).to(mask.device)


def _per_layer(layers: tuple[str, ...], weights: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(layers, weights or (1.0,) * len(layers), strict=True))


class Objective:
    """Content, style and total variation of a picture, against targets that are computed once.

    Parameters
    ----------
    network : VGG
        With all layers that `parameters` name.
    target : torch.Tensor
        (N, channels, H, W) in [0, 1]: its features are the content.
    style : torch.Tensor
        (1 or N, channels, H', W') in [0, 1]: its Gram matrices are the style.
    parameters : StyleTransferParameters
        Layers, weights of the losses, kind of Gram matrix.
    target_mask, style_mask : torch.Tensor, optional
        (1, 1, H, W) and (1, 1, H', W'), 1 where pixels count and 0 where they are kept out of all statistics.
    """

    def __init__(
        self,
        network: VGG,
        target: torch.Tensor,
        style: torch.Tensor,
        parameters: StyleTransferParameters,
        target_mask: torch.Tensor | None = None,
        style_mask: torch.Tensor | None = None,
    ) -> None:
        self.network = network
        self.parameters = p = parameters
        # Losses in the pixels' precision; the convolutions may have less.
        self._dtype = target.dtype
        self._content_weights = _per_layer(p.content_layers, p.content_layer_weights)
        self._style_weights = _per_layer(p.style_layers, p.style_layer_weights)
        features = network.record(target).features
        self._masks: dict[str, torch.Tensor | None] = {
            name: None if target_mask is None else mask_at(target_mask, (f.shape[-2], f.shape[-1]))
            for name, f in features.items()
        }
        self._content = {name: features[name] for name in p.content_layers}
        positions = {
            name: GramStatistics().update(features[name], self._masks[name]).positions for name in p.style_layers
        }
        del features
        self._grams = {}
        for name, f in network.record(style).features.items():
            if name not in self._style_weights:
                continue
            at = None if style_mask is None else mask_at(style_mask, (f.shape[-2], f.shape[-1]))
            statistics = GramStatistics().update(f, at)
            if statistics.positions is None or not bool((statistics.positions > 0).all()):
                raise ImageError(f"The mask leaves no position of the style at layer {name}; enlarge the mask.")
            self._grams[name] = statistics.compute(gram_scale(p.gram, statistics.positions, positions[name]))

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
                value, gradient = style_loss(
                    features, self._grams[name], p.gram, mask, weight=slope_weight, plus=entering
                )
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
