"""VGG-19 as a frozen feature extractor with named layers, and its hand-written reverse pass.

The reverse pass goes to the input only, takes gradients in at any layer, and keeps no autograd graph: gradients of the
losses are known in closed form (see :mod:`napari_nst.engine.losses`), so nothing but the convolutions is left to do.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from napari_nst.engine._torch import F, torch
from napari_nst.engine.kernels import Convolution, feature_format, max_pool, max_unpool, relu_back
from napari_nst.engine.weights import WeightSet, load_weights
from napari_nst.errors import ParameterError
from napari_nst.settings.layers import DOCUMENTED_LAYERS, Layer, check_layers, layers_up_to


class Part(NamedTuple):
    """A rectangle of an image, in pixels; the ranges have step 1."""

    rows: range
    columns: range

    def of(self, z: torch.Tensor, pools: int = 0) -> torch.Tensor:
        """The positions of `z` (N, C, H, W) behind so many poolings that lie in the rectangle; a view."""
        rows, columns = (slice(side.start >> pools, side.stop >> pools) for side in self)
        return z[..., rows, columns]


class Pooled(NamedTuple):
    """What a pooling saw, what it left, and where it found that."""

    before: torch.Tensor
    after: torch.Tensor
    indices: torch.Tensor


@dataclass
class Trace:
    """What one forward pass leaves for the reverse pass: features by layer name, (N, C, H, W), and all in between."""

    size: tuple[int, int]  #: height and width of the image
    features: dict[str, torch.Tensor] = field(default_factory=dict)
    rectified: list[torch.Tensor] = field(default_factory=list)  #: what each ReLU left, in order
    pooled: list[Pooled] = field(default_factory=list)  #: what each pooling saw and left, in order


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
        What the first convolution sees beyond the border of the image; deeper ones always see zeros, as in training.
    dtype : torch.dtype
        Precision of the convolutions.

    Notes
    -----
    The normalized image is padded, not the image: zero padding means the mean color there, as in training.  To
    multiply the normalization, and the step from gray to RGB, into the first convolution would save 0.5 % of an
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
            raise ParameterError(f"channels: {channels} is not possible; the network takes 1 (gray) or 3 (RGB).")
        self._scale: torch.Tensor | None
        self._shift: torch.Tensor | None
        self.weight_set = load_weights(weights) if isinstance(weights, str) else weights
        self.layers = check_layers(layers)
        self.plan: list[Layer] = layers_up_to(self.layers)
        self.channels = channels
        self.padding = padding
        self._convolutions: dict[str, Convolution] = {}
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
    def normalises(self) -> bool:
        """Whether the image is normalized on entering."""
        return self._scale is not None

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
    def record(self, x: torch.Tensor, part: Part | None = None) -> Trace:
        """The same pass, keeping what :meth:`gradient` needs and no autograd graph.

        Of a tile with a halo only the `part` need be kept, in pixels of the tile: bounds that are no border of the tile
        must be multiples of 2 to the number of poolings.  The reverse pass then is that of the part.
        """
        with self._exact():
            return self._record(self._arranged(self._enter(x)), part)

    @torch.no_grad()
    def features(self, x: torch.Tensor, part: Part | None = None) -> dict[str, torch.Tensor]:
        """The features of :meth:`record` alone: nothing is kept for a reverse pass."""
        with self._exact():
            return self._record(self._arranged(self._enter(x)), part, reverse=False).features

    def _record(self, z: torch.Tensor, part: Part | None = None, reverse: bool = True) -> Trace:
        size = (z.shape[-2], z.shape[-1])
        trace, wanted = Trace(size if part is None else (len(part.rows), len(part.columns))), set(self.layers)
        convolutions, rectified, pools = self._prepared(size), False, 0
        for layer, behind in zip(self.plan, [*self.plan[1:], None], strict=True):
            if layer.kind == "conv":
                # With the ReLU in one go, unless the convolution's own output is wanted too, or is the last.
                rectified = layer.name not in wanted and behind is not None
                z = convolutions[layer.name].forward(self._bordered(layer, z), relu=rectified)
            elif layer.kind == "relu":
                z = z if rectified else F.relu(z)
            else:
                pools += 1
                if not reverse:
                    z = F.max_pool2d(z, 2)
                elif part is None:
                    before = z
                    z, indices = max_pool(z)
                    trace.pooled.append(Pooled(before, z, indices))
                else:
                    # Indices count within what is kept.
                    trace.pooled.append(Pooled(trace.rectified[-1], *max_pool(trace.rectified[-1])))
                    z = F.max_pool2d(z, 2)
            if layer.name in wanted or (reverse and layer.kind == "relu"):
                kept = z if part is None else self._arranged(part.of(z, pools))
                if reverse and layer.kind == "relu":
                    trace.rectified.append(kept)
                if layer.name in wanted:
                    trace.features[layer.name] = kept
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
        masked = False
        convolutions = self._prepared(trace.size)
        waiting = {name: self._arranged(entering.to(self.dtype)) for name, entering in gradients.items()}
        for layer, in_front in zip(reversed(self.plan), [*reversed(self.plan[:-1]), None], strict=True):
            rectified = trace.rectified.pop() if layer.kind == "relu" else None
            pooled = trace.pooled.pop() if layer.kind == "pool" else None
            entering = waiting.pop(layer.name, None)
            if entering is not None:
                g = entering if g is None else g.add_(entering)
            if g is None:
                continue
            # What enters at the layer in front.
            plus = None if in_front is None else waiting.pop(in_front.name, None)
            if layer.kind == "conv":
                g = self._unbordered(layer, convolutions[layer.name].backward(g, plus), trace.size)
                continue
            if pooled is not None:
                # The ReLU in front, which is due next, lets pass what is above 0: cheaper to say of the maxima alone.
                g = max_unpool(relu_back(g, pooled.after) if plus is None else g, pooled.indices, pooled.before)
                masked = plus is None
            elif rectified is not None and not masked:
                g = relu_back(g, rectified)
            else:
                masked = False
            g = g if plus is None else g.add_(plus)
        if g is None:
            raise ParameterError("gradient: no gradient was given for any layer of the network.")
        if self._scale is not None:  # the reverse of _enter
            g = g.to(self._scale.dtype) * self._scale
        return g.sum(1, keepdim=True) if self.channels == 1 else g

    def _enter(self, x: torch.Tensor) -> torch.Tensor:
        """The image as the weights expect it: three channels, normalized, in the precision of the convolutions.

        In bfloat16 it is the sum of two, as six channels: eight bits would round a pixel by up to half a gray
        level.  The first convolution, which pads its channels to 16 in any case, takes no longer for it.
        """
        x = x.expand(-1, 3, -1, -1)
        if self._scale is not None and self._shift is not None:
            x = x.to(self._scale.dtype) * self._scale - self._shift
        near = x.to(self.dtype)
        return near if self._parts == 1 else torch.cat([near, (x - near).to(self.dtype)], dim=1)

    @property
    def _parts(self) -> int:
        return 2 if self.dtype == torch.bfloat16 else 1

    def _convolve(self, layer: Layer, z: torch.Tensor) -> torch.Tensor:
        weight, bias = self.get_buffer(f"{layer.name}_weight"), self.get_buffer(f"{layer.name}_bias")
        if layer is self.plan[0]:
            weight = weight.repeat(1, self._parts, 1, 1)
        return F.conv2d(self._bordered(layer, z), weight, bias, padding=self._padding_of(layer))

    def _padding_of(self, layer: Layer) -> int:
        """Zeros around the input of a convolution: none where the border was made before."""
        return 0 if layer is self.plan[0] and self.padding != "zeros" else 1

    def _bordered(self, layer: Layer, z: torch.Tensor) -> torch.Tensor:
        return z if self._padding_of(layer) else F.pad(z, (1, 1, 1, 1), mode=self.padding)

    def _unbordered(self, layer: Layer, g: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The reverse of :meth:`_bordered` for a gradient."""
        if self._padding_of(layer):
            return g
        aten = torch.ops.aten
        fold = aten.replication_pad2d_backward if self.padding == "replicate" else aten.reflection_pad2d_backward
        out: torch.Tensor = fold(g, g.new_empty((*g.shape[:2], *size)), (1, 1, 1, 1))
        return out

    def _arranged(self, z: torch.Tensor) -> torch.Tensor:
        return z.contiguous(memory_format=feature_format(self.dtype, self.device))

    def _prepared(self, size: tuple[int, int]) -> dict[str, Convolution]:
        """The convolutions, packed at the first call for images of the size of then."""
        if not self._convolutions:
            for layer in self.plan:
                if layer.kind == "conv":
                    weight, bias = self.get_buffer(f"{layer.name}_weight"), self.get_buffer(f"{layer.name}_bias")
                    parts = self._parts if layer is self.plan[0] else 1
                    self._convolutions[layer.name] = Convolution(weight, bias, size, self._padding_of(layer), parts)
                elif layer.kind == "pool":
                    size = (max(1, size[0] // 2), max(1, size[1] // 2))
        return self._convolutions

    def _apply(self, *args: Any, **kwargs: Any) -> VGG:
        # Moved, or changed in precision: what was packed belongs to the weights of before.
        self._convolutions.clear()
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]  # PyTorch ships it without annotations
        return self


@functools.lru_cache(maxsize=8)
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
