"""Every setting of a style transfer, once: default, range, unit and help.

The function, the command line and the widget take their fields from :class:`StyleTransferParameters`; nothing of them
is written down again elsewhere.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from napari_nst.errors import ParameterError
from napari_nst.settings.layers import check_layers, reach_of
from napari_nst.settings.presets import PRESETS, RECOMMENDED
from napari_nst.settings.specs import Described, ParameterSpec, ValueRangeSpec, check_value, parse_value_range, setting

__all__ = ["ParameterSpec", "StyleTransferParameters", "ValueRangeSpec", "parse_value_range"]

_DOCUMENTED = PRESETS["documented"].values


def _filled_by_preset(cls: type) -> type:
    """Let the preset fill the fields that the caller did not pass: only here is it known which those are."""
    plain: Callable[..., None] = vars(cls)["__init__"]

    @functools.wraps(plain)
    def __init__(self: Any, **given: Any) -> None:
        name = given.get("preset", "documented")
        if not isinstance(name, str) or name not in PRESETS:
            raise ParameterError(f"preset: there is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
        unknown = sorted(set(given) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            known = ", ".join(f.name for f in dataclasses.fields(cls))
            raise ParameterError(f"{unknown[0]!r} is not a parameter; the parameters are {known}.")
        plain(self, **{**PRESETS[name].resolve(given.get("optimizer")), **given})

    cls.__init__ = __init__  # type: ignore[misc]  # a class's own constructor is replaced on purpose
    return cls


@_filled_by_preset
@dataclass(frozen=True, kw_only=True)
class StyleTransferParameters(Described):
    """All settings of a style transfer, checked.

    A preset fills only the fields that are not passed: ``StyleTransferParameters(preset="texture", lr=0.001)`` has
    the learning rate 0.001 and everything else of "texture".

    Raises
    ------
    ParameterError
        For a value that cannot be used; the message names the field, the value and the remedy.
    """

    preset: Literal["documented", "quick", "microscopy", "texture", "gatys"] = setting(
        "documented",
        "Preset",
        "A named set of values; it fills whatever you do not set yourself. documented: the published pipeline exactly, "
        "a weak edit. quick: its loss in a quarter of its steps. microscopy: recommended for cells, measured on hand-marked images. "
        "texture: stronger. gatys: the classic of 2016.",
        advanced=False,
    )
    alpha: float = setting(
        _DOCUMENTED["alpha"],
        "Content weight α",
        "Weight of the content loss: how strongly the target's structure is kept.",
        minimum=0.0,
        maximum=1e12,
        advanced=False,
    )
    beta: float = setting(
        _DOCUMENTED["beta"],
        "Style weight β",
        "Weight of the style loss: how strongly the texture of the style image is taken over.",
        minimum=0.0,
        maximum=1e12,
        advanced=False,
    )
    lr: float = setting(
        _DOCUMENTED["lr"],
        "Learning rate",
        "Step size. With Adam a pixel moves by at most about this much of the value range per step.",
        unit="of the value range",
        minimum=1e-9,
        maximum=1e3,
        advanced=False,
    )
    epoch: int = setting(
        _DOCUMENTED["epoch"],
        "Steps",
        "Largest number of optimisation steps (the documented name is epoch).",
        unit="steps",
        minimum=1,
        maximum=1_000_000,
        advanced=False,
    )
    device: str = setting(
        "auto",
        "Device",
        "Where to compute: auto (CUDA, else Apple MPS, else CPU), cpu, cuda, cuda:1, mps.",
        advanced=False,
    )
    fallback: bool = setting(
        True,
        "Fall back to CPU",
        "When the GPU runs out of memory, warn and start again on the CPU instead of stopping with an error.",
    )
    precision: Literal["auto", "float32", "float64", "bfloat16"] = setting(
        "auto",
        "Precision",
        "Precision of the convolutions. auto is bfloat16 where the device has it (two to four times as fast; grey levels "
        "move by about 1 of 255), else float32; float64 is for checking. Pixels and losses stay at float32 at least.",
    )
    threads: int = setting(
        0,
        "CPU threads",
        "Threads for the CPU; 0 takes PyTorch's default (the widget leaves one core to the viewer). The thread count "
        "is recorded: results are bit-equal only at the same count.",
        minimum=0,
        maximum=1024,
    )
    batch: int = setting(
        0,
        "Pictures at once",
        "How many pictures of a list, or planes of a stack, are optimised side by side. 0 chooses: as many as fit a GPU's "
        "memory (64 at most); on a CPU 2 small pictures of a list, and the planes of a stack one by one.",
        minimum=0,
        maximum=4096,
    )
    tile: int = setting(
        0,
        "Tile",
        "Side of the tiles in which a large picture is computed, without the halo around them; nothing is approximated. "
        "0 chooses: one piece if that fits the memory, else tiles. Larger ones are faster and take more memory.",
        unit="px",
        minimum=0,
        maximum=65536,
    )
    weights: str = setting(
        _DOCUMENTED["weights"],
        "Network weights",
        "embedded (the original VGG-19, no network needed), torchvision (downloaded once), or the path of a .pth or "
        ".safetensors file; write caffe:PATH if the file expects the original 0..255 BGR input.",
    )
    optimizer: Literal["adam", "lbfgs"] = setting(_DOCUMENTED["optimizer"], "Optimiser", "Adam or L-BFGS (history 10).")
    lr_decay: Literal["none", "cosine"] = setting(
        _DOCUMENTED["lr_decay"],
        "Decay",
        "none: Adam's learning rate stays as it is; cosine: it falls to 0 along half a cosine over the steps, so that a "
        "run of few large steps comes to rest. L-BFGS does not need it and goes without.",
    )
    adam_beta1: float = setting(
        _DOCUMENTED["adam_beta1"],
        "Adam's β₁",
        "How much of the running mean of gradients Adam keeps per step. A small one follows the gradient at once, which "
        "few large steps need.",
        minimum=0.0,
        maximum=0.9999,
    )
    adam_beta2: float = setting(
        _DOCUMENTED["adam_beta2"],
        "Adam's β₂",
        "How much of the running mean of squared gradients Adam keeps per step. A small one lets the step grow again as "
        "gradients fall.",
        minimum=0.0,
        maximum=0.999999,
    )
    content_layers: tuple[str, ...] = setting(
        _DOCUMENTED["content_layers"],
        "Content layers",
        "Layers of VGG-19 on which the content is compared, such as relu3_1, relu4_2; conv3_1 is before its ReLU.",
    )
    content_layer_weights: tuple[float, ...] = setting(
        (), "Content layer weights", "One weight per content layer; empty means 1 each.", minimum=0.0
    )
    style_layers: tuple[str, ...] = setting(
        _DOCUMENTED["style_layers"],
        "Style layers",
        "Layers of VGG-19 whose Gram matrices are compared; deeper layers mean larger textures.",
    )
    style_layer_weights: tuple[float, ...] = setting(
        (), "Style layer weights", "One weight per style layer; empty means 1 each.", minimum=0.0
    )
    gram: Literal["sum", "matched", "mean"] = setting(
        _DOCUMENTED["gram"],
        "Gram matrix",
        "sum: F Fᵀ as documented, which grows with the picture's area; matched: the same, with the style's scaled to "
        "the target's area; mean: divided by the number of positions.",
    )
    tv_weight: float = setting(
        _DOCUMENTED["tv_weight"],
        "Total variation",
        "Weight of a smoothness term (mean squared difference of neighbouring pixels). It also lowers the contrast of "
        "cells.",
        minimum=0.0,
        maximum=1e12,
    )
    clip: bool = setting(
        _DOCUMENTED["clip"],
        "Keep value range",
        "Project the pixels into the value range after every Adam step. L-BFGS is never projected: it would spoil its "
        "curvature. The result is clipped once in any case.",
    )
    padding: Literal["zeros", "replicate", "reflect"] = setting(
        _DOCUMENTED["padding"],
        "Border",
        "What the first convolution sees beyond the border: zeros (as documented), replicate or reflect.",
    )
    fit_pools: bool = setting(
        _DOCUMENTED["fit_pools"],
        "Fit poolings",
        "Pad by reflection to a size that all poolings divide, and crop afterwards, so that the last rows and columns "
        "take part in every layer.",
    )
    init: Literal["target", "spectrum", "wiener", "noise"] = setting(
        _DOCUMENTED["init"],
        "Start from",
        "target: the target itself (as documented); spectrum: the target filtered to the style's power spectrum; wiener: the "
        "same, but noise is lowered and not raised; noise: uniform noise drawn with the seed.",
    )
    content_from: Literal["target", "start"] = setting(
        _DOCUMENTED["content_from"],
        "Content of",
        "Whose features are the content: the target's (as documented), or those of the picture it starts from, which has less "
        "noise after a filter.",
    )
    style_spacing: float = setting(
        _DOCUMENTED["style_spacing"],
        "Style's spacing",
        "Resample the style until its cells are so many times as far apart as the target's, measured in their power spectra; "
        "where the style shows no ring of cells, it stays as it is. A style a little coarser invents less. 0: never.",
        unit="of the target's",
        minimum=0.0,
        maximum=10.0,
    )
    trust: float = setting(
        _DOCUMENTED["trust"],
        "Trust region",
        "How far a pixel may depart from where it starts, at places with the usual contrast; less where the picture has less "
        "contrast of the size of cells, so that next to nothing is drawn into shadows. 0: no limit. With Adam only.",
        unit="of the value range",
        minimum=0.0,
        maximum=1e3,
    )
    tolerance: float = setting(
        _DOCUMENTED["tolerance"],
        "Tolerance",
        "Stop when the total loss has fallen by less than this share of the first loss over the last `window` steps; "
        "0 never stops early.",
        unit="%",
        minimum=0.0,
        maximum=100.0,
    )
    window: int = setting(
        _DOCUMENTED["window"],
        "Window",
        "Steps over which the tolerance is judged.",
        unit="steps",
        minimum=1,
        maximum=1_000_000,
    )
    scales: int = setting(
        _DOCUMENTED["scales"],
        "Sizes",
        "Coarse to fine: optimise at so many sizes, each half of the next, with the steps shared among them. A loss is reached "
        "in less time; the picture changes more than by as many steps at its own size.",
        minimum=1,
        maximum=8,
    )
    seed: int = setting(
        0, "Seed", "Seed of whatever is random (only the start from noise).", minimum=0, maximum=2**31 - 1
    )
    channels: Literal["auto", "rgb"] = setting(
        "auto",
        "Channels",
        "auto: a grey target is optimised as one channel and cannot take on colour; rgb: always three, as documented.",
    )
    value_range: ValueRangeSpec = setting(
        "auto",
        "Value range",
        "Which values mean black and white. auto: 0..255 for uint8, the finite minimum..maximum of target and of style "
        "for every other type; percentiles: 0.1 % to 99.9 %; or two numbers such as 0, 4095 for both.",
        kind="range",
    )
    match_pixel_size: bool = setting(
        True,
        "Match pixel size",
        "Resample the style to the target's pixel size where both are known in the same unit and differ.",
    )

    PRESETS: ClassVar[dict[str, Any]] = PRESETS

    def __post_init__(self) -> None:
        """Check every field and bring it to its plain Python type."""
        for spec in self.specs():
            object.__setattr__(self, spec.name, check_value(spec, getattr(self, spec.name)))
        for role in ("content", "style"):
            layers, weights = getattr(self, f"{role}_layers"), getattr(self, f"{role}_layer_weights")
            check_layers(layers, f"{role}_layers")
            if weights and len(weights) != len(layers):
                raise ParameterError(
                    f"{role}_layer_weights: {len(weights)} weights for {len(layers)} layers ({', '.join(layers)}); give "
                    "one each, or none."
                )
        if self.alpha == 0 and self.beta == 0 and self.tv_weight == 0:
            raise ParameterError(
                "alpha, beta and tv_weight are all 0: there is nothing to optimise; raise one of them."
            )
        if self.init == "noise" and (self.trust or self.content_from == "start"):
            raise ParameterError(
                "init: from noise, neither a trust region nor the content of the start makes sense: the result would be that noise. Set "
                f"trust=0 and content_from='target' (trust={self.trust:g}, content_from={self.content_from!r}), or another init."
            )
        if self.trust and self.optimizer == "lbfgs":
            raise ParameterError(
                f"trust: {self.trust:g} is a limit for every step, which would spoil the curvature that L-BFGS learns; set trust=0, or take "
                "the optimiser adam."
            )
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ParameterError(f"device: {self.device!r} is not a device; choose auto, cpu, cuda, cuda:0 or mps.")
        halo = 2 * reach_of(self.content_layers + self.style_layers)
        if 0 < self.tile < halo:
            raise ParameterError(
                f"tile: {self.tile} pixels are fewer than the halo of {halo} pixels that these layers need on every side, which "
                f"would be most of the work. Choose at least {halo}, or 0 to have it chosen."
            )
        if not self.weights:
            raise ParameterError("weights: empty; choose embedded, torchvision, or the path of a file.")

    @classmethod
    def recommended_specs(cls) -> tuple[ParameterSpec, ...]:
        """The descriptions with the defaults of the recommended preset: what the widget and the command line begin with."""
        values = cls(preset=RECOMMENDED).asdict()
        return tuple(dataclasses.replace(spec, default=values[spec.name]) for spec in cls.specs())

    def changed(self) -> dict[str, Any]:
        """The fewest arguments that give these parameters: the preset, and what differs from it."""
        # The optimiser is part of what a preset is asked for: it brings its own learning rate.
        chosen: dict[str, Any] = {} if self.preset == "documented" else {"preset": self.preset}
        if self.optimizer != PRESETS[self.preset].values["optimizer"]:
            chosen["optimizer"] = self.optimizer
        plain = StyleTransferParameters(**chosen)
        return chosen | {k: v for k, v in self.asdict().items() if v != getattr(plain, k)}
