"""One picture from coarse to fine: an Optimization at each size, that looks like one at full size."""

from __future__ import annotations

from collections.abc import Iterator

from napari_nst.engine._torch import torch
from napari_nst.engine.adam import Moments
from napari_nst.engine.backbone import VGG
from napari_nst.engine.cancel import Cancel, as_cancel
from napari_nst.engine.objective import STYLES, Objective
from napari_nst.engine.optimization import Optimization, Progress
from napari_nst.engine.pyramid import Level, carry, carry_moments, levels, reduced
from napari_nst.errors import DivergenceError
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = ["ScaledOptimization"]


class ScaledOptimization:
    """A picture under way through the sizes of :func:`napari_nst.engine.pyramid.levels`.

    What it tells is of the full size throughout: pictures with the change so far enlarged, losses in proportion.

    Parameters
    ----------
    network : VGG
        With all layers that `parameters` name.
    target, style : torch.Tensor
        (1, channels, H, W) and (1, channels, H', W') in [0, 1].
    start : torch.Tensor
        (1, channels, H, W).
    parameters : StyleTransferParameters
        ``scales`` and ``epoch``, and whatever an Optimization takes.
    bounds : tuple of float
        The value range.
    target_mask, style_mask : torch.Tensor, optional
        (1, 1, H, W) and (1, 1, H', W'), of 0 and 1.
    cancel : Cancel, optional
        Asked before every evaluation.
    reach : torch.Tensor, optional
        (1, 1, H, W): how far a pixel may depart from `start`, at every size.
    """

    def __init__(
        self,
        network: VGG,
        target: torch.Tensor,
        style: torch.Tensor,
        start: torch.Tensor,
        parameters: StyleTransferParameters,
        bounds: tuple[float, float],
        target_mask: torch.Tensor | None = None,
        style_mask: torch.Tensor | None = None,
        cancel: Cancel | None = None,
        reach: torch.Tensor | None = None,
    ) -> None:
        self._network, self._target, self._style, self._start = network, target, style, start
        self._content, self._reach = start if parameters.content_from == "start" else target, reach
        self._masks, self._cancelled, self._cut = (target_mask, style_mask), as_cancel(cancel), ""
        self.parameters, self.bounds = parameters, [bounds]
        sizes = [(x.shape[-2], x.shape[-1]) for x in (target, style)]
        self.levels = levels(parameters, sizes[0], sizes[1], parameters.scales)
        self._before: list[torch.Tensor] = []
        self._number = 0
        self._now = self._begin(self.levels[0], reduced(start, self.levels[0].size), None)

    def _begin(self, level: Level, start: torch.Tensor, moments: Moments | None) -> Optimization:
        p, mask = level.parameters, None
        style_mask = None if self._masks[1] is None else reduced(self._masks[1], level.style_size)
        style = STYLES.get(self._network, reduced(self._style, level.style_size), p.style_layers, style_mask)
        if self._masks[0] is not None:
            # A coarse pixel moves if it stands for used pixels for the most part.
            mask = (reduced(self._masks[0], level.size) >= 0.5).to(start.dtype)
        objective = Objective(self._network, reduced(self._content, level.size), style, p, mask)
        reach = None if self._reach is None else reduced(self._reach, level.size)
        origin = reduced(self._start, level.size)
        return Optimization(objective, start, p, self.bounds[0], mask, self._cancelled, moments, reach, origin)

    def run(self) -> Iterator[Progress]:
        """Yield after every step at every size.

        Raises
        ------
        DivergenceError
            As :meth:`napari_nst.engine.optimization.Optimization.run`; its step is counted over all sizes.
        """
        done = 0
        for number, level in enumerate(self.levels):
            if number:
                if self._cancelled():
                    self._cut = "cancelled"
                    return
                self._go_on(number, level)
            try:
                for progress in self._now.run():
                    yield Progress(done + progress.step, self.parameters.epoch, self)
            except DivergenceError as error:
                error.step += done
                raise
            done += self._now.step
            if self.stopped == "cancelled":
                return

    def _go_on(self, number: int, level: Level) -> None:
        coarse, came_to, moments = self.levels[number - 1], self._now.image, self._now.moments
        self._before.append(coarse.losses_at_full_size(self._now.losses))
        start = carry(reduced(self._start, level.size), reduced(self._start, coarse.size), came_to)
        self._number = number
        self._now = self._begin(level, start, None if moments is None else carry_moments(moments, level.size))

    @property
    def stopped(self) -> str:
        """Why it ended; empty while it runs."""
        return self._cut or self._now.stopped

    @property
    def image(self) -> torch.Tensor:
        """The picture so far at full size, (1, channels, H, W)."""
        return self._at_full_size(self._now.image)

    @property
    def last_good(self) -> torch.Tensor:
        """The same when its losses were finite last."""
        return self._at_full_size(self._now.last_good)

    @property
    def losses(self) -> torch.Tensor:
        """Style, content and total loss of the steps done, (steps, 3), in proportion to those at full size."""
        return torch.cat([*self._before, self.levels[self._number].losses_at_full_size(self._now.losses)])

    def image_of(self, picture: int) -> torch.Tensor:
        """The picture, by the number that Progress knows it by."""
        return self.image

    def losses_of(self, picture: int) -> torch.Tensor:
        """Its losses likewise."""
        return self.losses

    def _at_full_size(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape == self._start.shape:
            return image
        return carry(self._start, reduced(self._start, self.levels[self._number].size), image)
