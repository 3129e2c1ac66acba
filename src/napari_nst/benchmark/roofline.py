"""The time that a step's arithmetic alone takes: what any implementation is measured against."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from napari_nst.engine._torch import F, torch
from napari_nst.engine.kernels import Convolution, feature_format
from napari_nst.engine.weights import load_weights
from napari_nst.settings.layers import layers_up_to
from napari_nst.settings.parameters import StyleTransferParameters


class Roofline:
    """The convolutions of a step, forward and back to their input, and its Gram products, and nothing else.

    No implementation in the same library does less: what a step takes beyond that is its own.  Each call computes all
    of them once, on values of the size that features have, in the formats in which this library is fastest.

    `size` are height and width, `count` the images at once.  Weights are `packed` beforehand
    (:class:`napari_nst.engine.kernels.Convolution`), or what a caller of ``torch.nn.functional.conv2d`` and of its reverse gets.
    """

    def __init__(
        self,
        parameters: StyleTransferParameters,
        size: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
        *,
        count: int = 1,
        packed: bool = False,
        products: bool = True,
    ) -> None:
        weights = load_weights(parameters.weights).convolutions
        order = feature_format(dtype, device)
        random = torch.Generator().manual_seed(0)

        def features(channels: int) -> torch.Tensor:
            values = torch.randn(count, channels, *size, generator=random).relu_()
            return values.to(device, dtype).contiguous(memory_format=order)

        self._packed, self._device = packed, device
        self._convolutions: list[tuple[Any, torch.Tensor, torch.Tensor]] = []
        self._rows: list[torch.Tensor] = []
        for layer in layers_up_to(parameters.content_layers + parameters.style_layers):
            if layer.kind == "pool":
                size = (size[0] // 2, size[1] // 2)
            if layer.kind == "conv":
                weight, bias = (w.to(device, dtype) for w in weights[layer.name])
                own = Convolution(weight, bias, size) if packed else (weight.contiguous(memory_format=order), bias)
                self._convolutions.append((own, features(layer.in_channels), features(layer.out_channels)))
            if products and layer.name in parameters.style_layers:
                self._rows.append(features(layer.out_channels).flatten(2).transpose(1, 2).contiguous())

    @torch.no_grad()
    def __call__(self) -> None:
        """Compute everything once; what comes out is dropped."""
        quickest: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self._device.type == "cuda":  # in the precision that was asked for: TF32 is not float32
            quickest = torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False)
        with quickest:
            for own, x, gradient in self._convolutions:
                if self._packed:
                    own.forward(x, relu=False)
                    own.backward(gradient)
                    continue
                weight, bias = own
                F.conv2d(x, weight, bias, padding=1)
                torch.ops.aten.convolution_backward(
                    gradient, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False]
                )
            for rows in self._rows:
                torch.bmm(rows.transpose(1, 2), rows)


def waiting_for(device: torch.device) -> Callable[[], object]:
    """Return what waits until a device has done all that it was given."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None
