"""Every setting of a style transfer, once: default, range, unit and help.

The function, the command line and the widget take their fields from :class:`StyleTransferParameters`; nothing of them
is written down again elsewhere.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from napari_nst.errors import ParameterError
from napari_nst.settings.layers import DOCUMENTED_LAYERS, check_layers, reach_of
from napari_nst.settings.presets import PRESETS, RECOMMENDED, Preset
from napari_nst.settings.specs import ParameterSpec, Settings, ValueRangeSpec, parse_value_range, setting

__all__ = ["ParameterSpec", "StyleTransferParameters", "ValueRangeSpec", "parse_value_range"]

#: Fields of the machine and of the data, which no preset sets.
_NOT_OF_PRESETS = {
    *("preset", "device", "fallback", "precision", "threads", "batch", "tile"),
    *("seed", "channels", "value_range", "match_pixel_size"),
}


class StyleTransferParameters(Settings):
    """All settings of a style transfer, checked.

    A preset fills only the fields that are not passed: ``StyleTransferParameters(preset="texture", lr=0.001)`` has
    the learning rate 0.001 and everything else of "texture".

    Raises
    ------
    ParameterError
        For a value that cannot be used; the message names the field, the value and the remedy.
    """

    preset: Literal["documented", "quick", "microscopy", "texture", "gatys"] = setting(
        "documented", "Preset", advanced=False
    )
    """A named set of values; it fills whatever you do not set yourself. documented: the published pipeline exactly, a
    weak edit. quick: its loss in a quarter of its steps. microscopy: recommended for cells, measured on annotated
    images. texture: stronger. gatys: the classic of 2016."""

    alpha: float = setting(1.0, "Content weight α", ge=0.0, le=1e12, advanced=False)
    """Weight of the content loss: how strongly the target's structure is kept."""

    beta: float = setting(0.1, "Style weight β", ge=0.0, le=1e12, advanced=False)
    """Weight of the style loss: how strongly the texture of the style image is taken over."""

    lr: float = setting(0.001, "Learning rate", unit="of the value range", ge=1e-9, le=1e3, advanced=False)
    """Step size. With Adam a pixel moves by at most about this much of the value range per step."""

    epoch: int = setting(100, "Steps", unit="steps", ge=1, le=1_000_000, advanced=False)
    """Largest number of optimization steps (the documented name is epoch)."""

    device: str = setting("auto", "Device", advanced=False, pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$")
    """Where to compute: auto (CUDA, else Apple MPS, else CPU), cpu, cuda, cuda:1, mps."""

    fallback: bool = setting(True, "Fall back to CPU")
    """When the GPU runs out of memory, warn and start again on the CPU instead of stopping with an error."""

    precision: Literal["auto", "float32", "float64", "bfloat16"] = setting("auto", "Precision")
    """Precision of the convolutions. auto is bfloat16 where the device has it (two to four times as fast; gray levels
    move by about 1 of 255), else float32; float64 is for checking. Pixels and losses stay at float32 at least."""

    threads: int = setting(0, "CPU threads", ge=0, le=1024)
    """Threads for the CPU; 0 takes PyTorch's default (the widget leaves one core to the viewer). The thread count is
    recorded: results are bit-equal only at the same count."""

    batch: int = setting(0, "Images at once", ge=0, le=4096)
    """How many images of a list, or planes of a stack, are optimized together. 0 chooses: as many as fit a GPU's
    memory (64 at most); on a CPU 2 small images of a list, and the planes of a stack one by one."""

    tile: int = setting(0, "Tile", unit="px", ge=0, le=65536)
    """Side of the tiles in which a large image is computed, without the halo around them; nothing is approximated. 0
    chooses: one piece if that fits the memory, else tiles. Larger ones are faster and take more memory."""

    weights: str = setting("embedded", "Network weights", pattern=r"\S")
    """embedded (the original VGG-19, no network needed), torchvision (downloaded once), or the path of a .pth or
    .safetensors file; write caffe:PATH if the file expects the original 0..255 BGR input."""

    optimizer: Literal["adam", "lbfgs"] = setting("adam", "Optimizer")
    """Adam or L-BFGS (history 10)."""

    lr_decay: Literal["none", "cosine"] = setting("none", "Decay")
    """none: Adam's learning rate stays as it is; cosine: it falls to 0 along half a cosine over the steps, so that a
    run of few large steps comes to rest. L-BFGS does not need it and goes without."""

    adam_beta1: float = setting(0.9, "Adam's β₁", ge=0.0, le=0.9999)
    """How much of the running mean of gradients Adam keeps per step. A small one follows the gradient at once, which
    few large steps need."""

    adam_beta2: float = setting(0.999, "Adam's β₂", ge=0.0, le=0.999999)
    """How much of the running mean of squared gradients Adam keeps per step. A small one lets the step grow again as
    gradients fall."""

    content_layers: tuple[str, ...] = setting(DOCUMENTED_LAYERS, "Content layers")
    """Layers of VGG-19 on which the content is compared, such as relu3_1, relu4_2; conv3_1 is before its ReLU."""

    content_layer_weights: tuple[Annotated[float, Field(ge=0)], ...] = setting((), "Content layer weights")
    """One weight per content layer; empty means 1 each."""

    style_layers: tuple[str, ...] = setting(DOCUMENTED_LAYERS, "Style layers")
    """Layers of VGG-19 whose Gram matrices are compared; deeper layers mean larger textures."""

    style_layer_weights: tuple[Annotated[float, Field(ge=0)], ...] = setting((), "Style layer weights")
    """One weight per style layer; empty means 1 each."""

    gram: Literal["sum", "matched", "mean"] = setting("sum", "Gram matrix")
    """sum: F Fᵀ as documented, which grows with the image's area; matched: the same, with the style's scaled to the
    target's area; mean: divided by the number of positions."""

    tv_weight: float = setting(0.0, "Total variation", ge=0.0, le=1e12)
    """Weight of a smoothness term (mean squared difference of neighboring pixels). It also lowers the contrast of
    cells."""

    clip: bool = setting(False, "Keep value range")
    """Project the pixels into the value range after every Adam step. L-BFGS is never projected: it would spoil its
    curvature. The result is clipped once in any case."""

    padding: Literal["zeros", "replicate", "reflect"] = setting("zeros", "Border")
    """What the first convolution sees beyond the border: zeros (as documented), replicate or reflect."""

    fit_pools: bool = setting(False, "Fit poolings")
    """Pad by reflection to a size that all poolings divide, and crop afterwards, so that the last rows and columns take
    part in every layer."""

    init: Literal["target", "spectrum", "wiener", "noise"] = setting("target", "Start from")
    """target: the target itself (as documented); spectrum: the target filtered to the style's power spectrum; wiener:
    the same, but noise is lowered and not raised; noise: uniform noise drawn with the seed."""

    content_from: Literal["target", "start"] = setting("target", "Content of")
    """Whose features are the content: the target's (as documented), or those of the image it starts from, which has
    less noise after a filter."""

    style_spacing: float = setting(0.0, "Style's spacing", unit="of the target's", ge=0.0, le=10.0)
    """Resample the style until its cells are so many times as far apart as the target's, measured in their power
    spectra; where the style shows no ring of cells, it stays as it is. A style a little coarser invents less. 0:
    never."""

    max_change: float = setting(0.0, "Largest change", unit="of the value range", ge=0.0, le=1e3, was="trust")
    """How far a pixel may change from where it starts, at places with the usual contrast; less where the image has
    less contrast of the size of cells, so that next to nothing is drawn into shadows. 0: no limit. With Adam only."""

    tolerance: float = setting(0.0, "Tolerance", unit="%", ge=0.0, le=100.0)
    """Stop when the total loss has fallen by less than this share of the first loss over the last `window` steps; 0
    never stops early."""

    window: int = setting(10, "Window", unit="steps", ge=1, le=1_000_000)
    """Steps over which the tolerance is measured."""

    seed: int = setting(0, "Seed", ge=0, le=2**31 - 1)
    """Seed of whatever is random (only the start from noise)."""

    channels: Literal["auto", "rgb"] = setting("auto", "Channels")
    """auto: a gray target is optimized as one channel and cannot take on color; rgb: always three, as documented."""

    value_range: Annotated[ValueRangeSpec, BeforeValidator(parse_value_range)] = setting("auto", "Value range")
    """Which values mean black and white. auto: 0..255 for uint8, the finite minimum..maximum of target and of style for
    every other type; percentiles: 0.1 % to 99.9 %; or two numbers such as 0, 4095 for both."""

    match_pixel_size: bool = setting(True, "Match pixel size")
    """Resample the style to the target's pixel size where both are known in the same unit and differ."""

    PRESETS: ClassVar[dict[str, Preset]] = PRESETS
    _noun = "parameter"

    @classmethod
    def of_preset(cls, name: str, optimizer: str | None = None) -> dict[str, Any]:
        """Return every value that a preset sets, for the optimizer asked for (None: the preset's own)."""
        documented = {spec.name: spec.default for spec in cls.specs() if spec.name not in _NOT_OF_PRESETS}
        return documented | PRESETS[name].resolve(optimizer)

    @classmethod
    def recommended_specs(cls) -> tuple[ParameterSpec, ...]:
        """Return the descriptions with the defaults of the recommended preset: where the widget and the command line start."""
        values = cls(preset=RECOMMENDED).asdict()
        return tuple(dataclasses.replace(spec, default=values[spec.name]) for spec in cls.specs())

    def changed(self) -> dict[str, Any]:
        """Return the fewest arguments that give these parameters: the preset, and what differs from it."""
        # The optimizer is part of what a preset is asked for: it brings its own learning rate.
        chosen: dict[str, Any] = {} if self.preset == "documented" else {"preset": self.preset}
        if self.optimizer != self.of_preset(self.preset)["optimizer"]:
            chosen["optimizer"] = self.optimizer
        plain = StyleTransferParameters(**chosen)
        return chosen | {k: v for k, v in self.asdict().items() if v != getattr(plain, k)}

    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Let the preset fill the fields that the caller did not pass."""
        given = super()._complete(given)
        if (scales := given.pop("scales", 1)) != 1:  # records hold 1
            raise ParameterError(
                f"`scales` was removed, got {scales!r}: coarse to fine changed the image more than as many steps at its own size. "
                "Leave it out."
            )
        preset = given.get("preset", "documented")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ParameterError(cls.spec("preset").message(preset))
        return PRESETS[preset].resolve(given.get("optimizer")) | given

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        for role in ("content", "style"):
            layers, weights = getattr(self, f"{role}_layers"), getattr(self, f"{role}_layer_weights")
            check_layers(layers, f"{role}_layers")
            if weights and len(weights) != len(layers):
                raise ParameterError(
                    f"`{role}_layer_weights` must hold one weight per layer, got {len(weights)} for {len(layers)} layers. Give "
                    f"one each for {', '.join(layers)}, or none."
                )
        if self.alpha == self.beta == self.tv_weight == 0:
            raise ParameterError("`alpha`, `beta` and `tv_weight` are all 0: nothing to optimize. Raise one of them.")
        if self.init == "noise" and (self.max_change or self.content_from == "start"):
            raise ParameterError(
                f"`init`='noise' needs `max_change`=0 and `content_from`='target', got {self.max_change:g} and {self.content_from!r}: the "
                "result would be that noise. Set both, or another `init`."
            )
        if self.max_change and self.optimizer == "lbfgs":
            raise ParameterError(
                f"`max_change` must be 0 with the optimizer lbfgs, got {self.max_change:g}: a limit for every step spoils the curvature "
                "that L-BFGS learns. Set 0, or take the optimizer adam."
            )
        halo = 2 * reach_of(self.content_layers + self.style_layers)
        if 0 < self.tile < halo:
            raise ParameterError(
                f"`tile` must be at least the halo of {halo} pixels that these layers need on every side, got {self.tile}. Choose "
                f"at least {halo}, or 0 to have it chosen."
            )
        return self
