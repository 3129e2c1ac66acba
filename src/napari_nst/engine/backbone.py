"""VGG-19 as a frozen feature extractor with named layers, and its hand-written reverse pass.

The reverse pass goes to the input only, takes gradients in at any layer, and keeps no autograd graph: gradients of the
losses are known in closed form (see :mod:`napari_nst.engine.losses`), so nothing but the convolutions is left to do.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch.nn.grad import conv2d_input

from napari_nst.engine._torch import F, torch
from napari_nst.engine.layers import DOCUMENTED_LAYERS, Layer, check_layers, layers_up_to
from napari_nst.engine.weights import WeightSet, load_weights
from napari_nst.errors import ParameterError

__all__ = ["VGG", "Trace"]


@dataclass
class Trace:
    """What one forward pass leaves for the reverse pass.

    Attributes
    ----------
    features : dict
        Layer name to features (N, C, H, W), in the precision of the convolutions.
    shapes : list of torch.Size
        What entered each convolution and each pooling, in order.
    saved : list of torch.Tensor
        What each ReLU left, and where each pooling found its maxima, in order.
    """

    features: dict[str, torch.Tensor] = field(default_factory=dict)
    shapes: list[torch.Size] = field(default_factory=list)
    saved: list[torch.Tensor] = field(default_factory=list)


class VGG(torch.nn.Module):
    """VGG-19's convolutions, frozen, trimmed to the deepest layer in use.

    Parameters
    ----------
    weights : str or WeightSet
        See :func:`napari_nst.engine.weights.load_weights`.
    layers : sequence of str
        The layers whose features are wanted, such as ``relu3_1``.  The default is the five of the documentation.
    channels : {1, 3}
        Channels of the input.  One channel gives exactly what three equal ones would give, and takes one gradient.
    normalise : bool
        Whether the input, in [0, 1], is brought to what the weights expect.  The documented pipeline does not do so
        for torchvision's weights.
    padding : {"zeros", "replicate", "reflect"}
        What the first convolution sees beyond the border of the picture; deeper ones always see zeros, as in training.
    dtype : torch.dtype
        Precision of the convolutions.

    Notes
    -----
    The normalised picture is padded, not the picture: zero padding means the mean colour there, as in training.  To
    multiply the normalisation, and the step from grey to RGB, into the first convolution would save 0.5 % of an
    iteration; it is not done because the rounding of the features then differs from the literal computation's, and Adam
    turns the sign of a gradient near zero into a whole step: the pixels' largest difference after 20 documented steps
    in float32 fell by a factor of four without it.

    The module has buffers and no parameters: nothing of it can take a gradient or be trained by accident.
    """

    def __init__(
        self,
        weights: str | WeightSet = "embedded",
        layers: Sequence[str] = DOCUMENTED_LAYERS,
        *,
        channels: int = 3,
        normalise: bool = True,
        padding: str = "zeros",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ParameterError(f"channels: {channels} is not possible; the network takes 1 (grey) or 3 (RGB).")
        self._scale: torch.Tensor | None
        self._shift: torch.Tensor | None
        self.weight_set = load_weights(weights) if isinstance(weights, str) else weights
        self.layers = check_layers(layers)
        self.plan: list[Layer] = layers_up_to(self.layers)
        self.channels = channels
        self.padding = padding
        for layer in self.plan:
            if layer.kind != "conv":
                continue
            weight, bias = self.weight_set.convolutions[layer.name]
            self.register_buffer(f"{layer.name}_weight", weight.to(dtype).contiguous())
            self.register_buffer(f"{layer.name}_bias", bias.to(dtype).contiguous())
        norm = self.weight_set.normalisation if normalise else None
        # In float32 at least: rounded only after the mean has been taken off.
        wide = torch.promote_types(dtype, torch.float32)
        for name, values in (("_scale", norm and norm.scale), ("_shift", norm and norm.shift)):
            self.register_buffer(name, None if values is None else torch.tensor(values, dtype=wide).view(1, 3, 1, 1))
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the convolutions."""
        return self.get_buffer("conv1_1_bias").dtype

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.get_buffer("conv1_1_bias").device

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features at the named layers, differentiable by autograd.

        Parameters
        ----------
        x : torch.Tensor
            (N, channels, H, W), values in [0, 1].

        Returns
        -------
        list of torch.Tensor
            One (N, C, H', W') per name in ``layers``, in that order.
        """
        found, z = {}, self._enter(x)
        for layer in self.plan:
            if layer.kind == "conv":
                z = self._convolve(layer, z)
            else:
                z = F.relu(z) if layer.kind == "relu" else F.max_pool2d(z, 2)
            found[layer.name] = z
        return [found[name] for name in self.layers]

    @torch.no_grad()
    def record(self, x: torch.Tensor) -> Trace:
        """The same pass, keeping what :meth:`gradient` needs and no autograd graph."""
        with self._exact():
            return self._record(self._enter(x))

    def _record(self, z: torch.Tensor) -> Trace:
        trace, wanted = Trace(), set(self.layers)
        for layer in self.plan:
            if layer.kind == "conv":
                trace.shapes.append(z.shape)
                z = self._convolve(layer, z)
            elif layer.kind == "relu":
                # In place, unless the convolution's own output is wanted too.
                z = F.relu(z) if f"conv{layer.name[4:]}" in wanted else F.relu_(z)
                trace.saved.append(z)
            else:
                trace.shapes.append(z.shape)
                z, indices = F.max_pool2d(z, 2, return_indices=True)
                trace.saved.append(indices)
            if layer.name in wanted:
                trace.features[layer.name] = z
        return trace

    @torch.no_grad()
    def gradient(self, trace: Trace, gradients: dict[str, torch.Tensor]) -> torch.Tensor:
        """Gradient with respect to the input, given gradients with respect to features.

        Parameters
        ----------
        trace : Trace
            Of the pass in question; it is used up.
        gradients : dict
            Layer name to gradient, of the shape of that layer's features.

        Returns
        -------
        torch.Tensor
            (N, channels, H, W).
        """
        with self._exact():
            return self._gradient(trace, gradients)

    def _exact(self) -> contextlib.AbstractContextManager[None]:
        """On CUDA, convolutions that repeat to the last bit, and float32 that is float32 (cuDNN's default is TF32)."""
        if self.device.type != "cuda":
            return contextlib.nullcontext()
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)

    def _gradient(self, trace: Trace, gradients: dict[str, torch.Tensor]) -> torch.Tensor:
        g: torch.Tensor | None = None
        for layer in reversed(self.plan):
            shape = None if layer.kind == "relu" else trace.shapes.pop()
            saved = None if layer.kind == "conv" else trace.saved.pop()
            entering = gradients.get(layer.name)
            if entering is not None:
                entering = entering.to(self.dtype)
                g = entering if g is None else g.add_(entering)
            if g is None:
                continue
            if saved is None and shape is not None:
                g = self._convolve_back(layer, g, shape)
            elif shape is None:
                g = torch.ops.aten.threshold_backward(g, saved, 0)
            elif saved is not None:
                g = _unpool(g, saved, shape)
        if g is None:
            raise ParameterError("gradient: no gradient was given for any layer of the network.")
        return self._leave(g)

    def _enter(self, x: torch.Tensor) -> torch.Tensor:
        """The picture as the weights expect it: three channels, normalised, in the precision of the convolutions."""
        x = x.expand(-1, 3, -1, -1)
        if self._scale is not None and self._shift is not None:
            x = x.to(self._scale.dtype) * self._scale - self._shift
        return x.to(self.dtype)

    def _leave(self, g: torch.Tensor) -> torch.Tensor:
        """The reverse of :meth:`_enter` for a gradient."""
        if self._scale is not None:
            g = g.to(self._scale.dtype) * self._scale
        return g.sum(1, keepdim=True) if self.channels == 1 else g

    def _convolve(self, layer: Layer, z: torch.Tensor) -> torch.Tensor:
        weight, bias = self.get_buffer(f"{layer.name}_weight"), self.get_buffer(f"{layer.name}_bias")
        if layer is not self.plan[0] or self.padding == "zeros":
            return F.conv2d(z, weight, bias, padding=1)
        return F.conv2d(F.pad(z, (1, 1, 1, 1), mode=self.padding), weight, bias)

    def _convolve_back(self, layer: Layer, g: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        weight = self.get_buffer(f"{layer.name}_weight")
        if layer is not self.plan[0] or self.padding == "zeros":
            return _convolution_input(tuple(shape), weight, g, padding=1)
        n, c, h, w = shape
        g = _convolution_input((n, c, h + 2, w + 2), weight, g, padding=0)
        fold = torch.ops.aten.reflection_pad2d_backward
        if self.padding == "replicate":
            fold = torch.ops.aten.replication_pad2d_backward
        out: torch.Tensor = fold(g, g.new_empty((n, c, h, w)), (1, 1, 1, 1))
        return out


def _convolution_input(size: tuple[int, ...], weight: torch.Tensor, g: torch.Tensor, padding: int) -> torch.Tensor:
    """Gradient of a convolution with respect to its input, which is not needed for it."""
    out: torch.Tensor = conv2d_input(size, weight, g, padding=padding)  # type: ignore[no-untyped-call]  # PyTorch's gap
    return out


def _unpool(g: torch.Tensor, indices: torch.Tensor, before: torch.Size) -> torch.Tensor:
    """Reverse of 2×2 max pooling: each value goes back to where the maximum was; the windows do not overlap."""
    out = g.new_zeros(before).flatten(2)
    return out.scatter_(2, indices.flatten(2), g.flatten(2)).view(before)


@functools.lru_cache(maxsize=2)
def shared_backbone(
    weights: WeightSet,
    layers: tuple[str, ...],
    channels: int,
    normalise: bool,
    padding: str,
    dtype: torch.dtype,
    device: torch.device,
) -> VGG:
    """A network kept for the next run with the same settings."""
    return VGG(weights, layers, channels=channels, normalise=normalise, padding=padding, dtype=dtype).to(device)
