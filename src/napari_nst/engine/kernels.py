"""The few operations on which the time of an iteration goes, each in the fastest form that PyTorch has for the device.

On a CPU, oneDNN's convolutions take weights that are packed once, and add bias and ReLU while the result is still in the
registers; the reverse pass of a 3 × 3 convolution is the transposed one, a convolution with the kernels rotated by
180°, and so profits too.
Features lie with the channels last, so that Gram matrices are one product of a matrix that is there already.
"""

from __future__ import annotations

from napari_nst.engine._torch import F, conv2d_input, torch
from napari_nst.engine.devices import has_bfloat16

_ONE = [1, 1]


def feature_format(dtype: torch.dtype, device: torch.device) -> torch.memory_format:
    """Order in which features lie in memory: channels last where PyTorch is faster so, else channels first."""
    slower = device.type == "mps" or dtype == torch.float64
    return torch.contiguous_format if slower else torch.channels_last


def _packs(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN is there, with PyTorch's own entry for packed weights, and takes this precision."""
    if device.type != "cpu" or dtype == torch.float64 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # PyTorch ships it without annotations
        return False
    if dtype == torch.bfloat16 and not has_bfloat16(device):
        return False
    operations = torch.ops.mkldnn
    return hasattr(operations, "_convolution_pointwise") and hasattr(operations, "_reorder_convolution_weight")


class Convolution:
    """A frozen 3 × 3 convolution of stride 1, forwards and back to its input.

    Packed weights suit inputs of `size` (height and width) best, and serve every other.  The input of :meth:`forward` comes
    in so many `parts`: addends, one after the other as channels.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, size: tuple[int, int], padding: int = 1, parts: int = 1
    ) -> None:
        self._weight, self._bias, self._padding = weight, bias, padding
        self._repeated = weight if parts == 1 else weight.repeat(1, parts, 1, 1)
        self._packed = _packs(weight.dtype, weight.device)
        if self._packed:
            # The gradient is the transposed convolution: kernels rotated by 180°, channels exchanged.
            self._forwards = _pack(self._repeated, padding, size)
            self._backwards = _pack(weight.flip(2, 3).transpose(0, 1), 2 - padding, size)

    def forward(self, x: torch.Tensor, relu: bool) -> torch.Tensor:
        """(N, parts · C_in, H, W) to (N, C_out, H', W'), rectified if asked for."""
        if self._packed:
            return _pointwise(x, self._forwards, self._bias, self._padding, "relu" if relu else "none")
        out = F.conv2d(x, self._repeated, self._bias, padding=self._padding)
        return F.relu_(out) if relu else out

    def backward(self, g: torch.Tensor, plus: torch.Tensor | None = None) -> torch.Tensor:
        """Gradient with respect to the input, (N, C_in, H, W), from that with respect to the output.

        `plus` is another gradient with respect to the input, to be added; it may be overwritten.
        """
        if self._packed:
            return _pointwise(g, self._backwards, None, 2 - self._padding, "none", plus)
        n, _, height, width = g.shape
        size = (n, self._weight.shape[1], height + 2 - 2 * self._padding, width + 2 - 2 * self._padding)
        out: torch.Tensor = conv2d_input(size, self._weight, g, padding=self._padding)  # type: ignore[no-untyped-call]  # PyTorch ships it without annotations
        return out if plus is None else out.add_(plus)


def _pack(weight: torch.Tensor, padding: int, size: tuple[int, int]) -> torch.Tensor:
    shape = [1, weight.shape[1], *size]
    packed: torch.Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight.contiguous(), [padding] * 2, _ONE, _ONE, 1, shape
    )
    return packed


def _pointwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: int,
    then: str,
    plus: torch.Tensor | None = None,
) -> torch.Tensor:
    operations, pads = torch.ops.mkldnn, [padding] * 2
    out: torch.Tensor
    if plus is None:
        out = operations._convolution_pointwise(x, weight, bias, pads, _ONE, _ONE, 1, then, [], "")
    else:
        out = operations._convolution_pointwise_.binary(
            plus, x, weight, bias, pads, _ONE, _ONE, 1, "add", 1.0, None, [], None
        )
    return out


def relu_back(g: torch.Tensor, rectified: torch.Tensor) -> torch.Tensor:
    """Gradient with respect to what entered a ReLU; written over `g`."""
    out: torch.Tensor = torch.ops.aten.threshold_backward.grad_input(g, rectified, 0, grad_input=g)
    return out


def max_pool(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """2 × 2 maxima, (N, C, H // 2, W // 2), and where they were."""
    out, indices = F.max_pool2d(x, 2, return_indices=True)
    return out, indices


def max_unpool(g: torch.Tensor, indices: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Gradient with respect to what entered :func:`max_pool`, which was `before`."""
    out: torch.Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        g, before, [2, 2], [2, 2], [0, 0], _ONE, False, indices
    )
    return out
