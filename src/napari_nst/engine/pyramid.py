"""Coarse to fine: the same picture at smaller sizes first, where a step costs a quarter, and how to go on from there."""

from __future__ import annotations

from dataclasses import dataclass

from napari_nst.engine._torch import F, torch
from napari_nst.engine.adam import Moments
from napari_nst.settings.layers import pools_before
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["Level", "carry", "carry_moments", "enlarged", "levels", "reduced"]

#: Fewest positions along a side at the deepest layer, below which a Gram matrix says nothing of the texture.
_FEWEST_POSITIONS = 4


@dataclass(frozen=True)
class Level:
    """One size at which the picture is optimised.

    Attributes
    ----------
    size, style_size : tuple of int
        Height and width of the target and of the style.
    parameters : StyleTransferParameters
        Those of the run with the steps of this level, and with the weights of losses that depend on the size set so
        that the losses stand in the same proportion as at full size.
    style_factor : float
        A style loss of this level times this is comparable to one at full size.
    """

    size: tuple[int, int]
    style_size: tuple[int, int]
    parameters: StyleTransferParameters
    style_factor: float = 1.0

    def losses_at_full_size(self, losses: torch.Tensor) -> torch.Tensor:
        """Style, content and total of this level, (..., 3), as they would count at full size."""
        # The total needs no factor: the weight of the style holds it already.
        return losses * losses.new_tensor([self.style_factor, 1.0, 1.0])


def levels(
    parameters: StyleTransferParameters, size: tuple[int, int], style_size: tuple[int, int], scales: int
) -> list[Level]:
    """The sizes at which to optimise, the coarsest first and the full one last.

    Each is half of the next.  ``parameters.epoch`` steps are made in all, as many at each size, what is left over at full
    size.  There are `scales` of them, or fewer where steps are too few or a picture would become so small
    that its deepest layer has fewer than four positions along a side.

    Parameters
    ----------
    parameters : StyleTransferParameters
        Of the run.
    size, style_size : tuple of int
        Height and width of target and style.
    scales : int
        How many sizes there may be; 1 is the full size alone.

    Notes
    -----
    Gram matrices that are sums ("sum", "matched") grow with the area A, and the style loss with A²; means do not.  Total
    variation is a mean over neighbours, which lie twice as far apart at half the size: its square is fourfold for what
    is smooth at both.
    """
    p = parameters
    smallest = _FEWEST_POSITIONS * 2 ** pools_before(p.content_layers + p.style_layers)
    count = 1
    while count < min(scales, p.epoch) and min(_halved(size, count) + _halved(style_size, count)) >= smallest:
        count += 1
    found = []
    for k in reversed(range(count)):
        own, own_style = _halved(size, k), _halved(style_size, k)
        area = (size[0] * size[1]) / (own[0] * own[1])
        factor = 1.0 if p.gram == "mean" else area**2
        steps = p.epoch // count if k else p.epoch - (count - 1) * (p.epoch // count)
        # At the limit of the setting the content counts next to nothing in any case.
        beta = min(p.beta * factor, p.spec("beta").maximum or p.beta)
        at_level = p.replace(epoch=steps, beta=beta, tv_weight=p.tv_weight / area)
        found.append(Level(own, own_style, at_level, factor))
    return found


def _halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    return round(size[0] / 2**times), round(size[1] / 2**times)


def reduced(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pictures or masks (N, C, H, W) at a smaller size, by the mean over the area that becomes a pixel.

    The mean keeps the value range, and no frequency above the new limit comes back as a false pattern of cells.
    """
    # On the CPU: MPS pools only to sizes that divide, and this is done once.
    return x if x.shape[-2:] == size else F.adaptive_avg_pool2d(x.cpu(), size).to(x.device)


def enlarged(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pictures (N, C, H, W) at a larger size, by cubic interpolation."""
    # On the CPU for the same reason.
    large = F.interpolate(x.cpu(), size=size, mode="bicubic", align_corners=False)
    return large.to(x.device)


def carry(start: torch.Tensor, coarse_start: torch.Tensor, coarse_image: torch.Tensor) -> torch.Tensor:
    """Where to go on at a finer size.

    The change at the coarse size is enlarged, not the picture: the finer picture keeps all of its detail.

    Parameters
    ----------
    start : torch.Tensor
        (N, C, H, W): where the finer size would start by itself.
    coarse_start, coarse_image : torch.Tensor
        (N, C, h, w): where the coarse size started, and where it came to.
    """
    return start + enlarged(coarse_image - coarse_start, (start.shape[-2], start.shape[-1]))


def carry_moments(moments: Moments, size: tuple[int, int]) -> Moments:
    """What Adam remembers, for a finer size.

    Notes
    -----
    The moments are enlarged as in Crowson's style-transfer-pytorch (``scale_adam``).  Beyond that they are brought to the
    gradients that follow: of a loss that is the same at both sizes, each of four pixels has a quarter of the gradient of
    the one that they replace.  Otherwise Adam, which forgets squares within 1000 steps, would take steps of a quarter of
    its learning rate for as long.  The number of steps stays, so that nothing is corrected for a start from 0.
    """
    share = (moments.mean.shape[-2] * moments.mean.shape[-1]) / (size[0] * size[1])
    mean = enlarged(moments.mean, size) * share
    # Linear: between squares there is nothing below 0.
    square = F.interpolate(moments.square.cpu(), size=size, mode="bilinear", align_corners=False)
    return Moments(mean, square.to(moments.square.device) * share**2, moments.step)
