"""Presets: what each changes of the documented values, and where its values come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["PRESETS", "RECOMMENDED", "Preset"]

#: What measured best on annotated images (docs/evaluation.md): where people start; functions keep the documented values.
RECOMMENDED: Final = "microscopy"


@dataclass(frozen=True)
class Preset:
    """A named set of values: those that are not the documented ones, which are the fields' defaults.

    `with_optimizer` holds what replaces them when another optimizer than the preset's own is asked for: a learning rate of one
    optimizer means nothing to another.
    """

    summary: str
    source: str
    values: dict[str, Any] = field(default_factory=dict)
    with_optimizer: dict[str, dict[str, Any]] = field(default_factory=dict)

    def resolve(self, optimizer: Any = None) -> dict[str, Any]:
        """Return what differs from the documented values with the optimizer asked for (None: the preset's own)."""
        # What cannot be a key is no optimizer; the check of the parameters says so.
        own = self.with_optimizer.get(optimizer, {}) if isinstance(optimizer, str) else {}
        return self.values | own | ({} if optimizer is None else {"optimizer": optimizer})


#: Cells' texture: shallow layers, and Gram matrices that do not depend on the image's area.
_TEXTURE: dict[str, Any] = {
    "beta": 1.0,
    "content_layers": ("relu3_1",),
    "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
    "gram": "mean",
    "clip": True,
    "padding": "reflect",
    "fit_pools": True,
}

PRESETS: dict[str, Preset] = {
    "documented": Preset(
        summary="The documented pipeline, exactly: a weak, safe edit (a pixel moves by at most about a tenth of the range).",
        source=(
            "NST Pipeline Documentation, classes NST and NSTPipelineManager: VGG-19 up to conv5_1, content and style on "
            "the same five layers (four taken after their ReLU, the last before it), Gram matrices not normalized, Adam "
            "1e-3 on the pixels, 100 steps, no projection."
        ),
        with_optimizer={"lbfgs": {"lr": 1.0}},
    ),
    "quick": Preset(
        summary=(
            "The loss of the documented pipeline in a quarter of its steps: fewer, larger ones that come to rest. The image is "
            "almost the same: it differs by 2 to 6 gray levels of 255 RMS, a pixel moves by up to a sixth of the range."
        ),
        source=(
            "Values of this project, measured on four pairs of AOSLO patches and a synthetic one (benchmarks/steps.py): layers, "
            'weights and Gram matrices of "documented"; Adam at ten times its learning rate with a cosine decay (Loshchilov '
            "and Hutter 2017) and a short memory."
        ),
        values={"lr": 0.01, "epoch": 25, "lr_decay": "cosine", "adam_beta1": 0.5, "adam_beta2": 0.9},
        with_optimizer={"lbfgs": {"lr": 1.0, "epoch": 16}},
    ),
    "microscopy": Preset(
        summary=(
            "For patches of cells: sharpens what the target shows, at its own cell spacing. On annotated retina images it helped most, "
            "and invented no more than a linear filter, in a tenth of the documented time."
        ),
        source=(
            "Values of this project, chosen on the annotated confocal AOSLO images of five training subjects (Cunefare et al., Sci. "
            "Rep. 7:6620, 2017) by leaving one subject out (benchmarks/marks.py, docs/evaluation.md): a start by Wiener's "
            'filter, the layers of "texture", few small steps of Adam, a limit to the change of every pixel.'
        ),
        values={
            **_TEXTURE,
            "lr": 0.0015,
            "epoch": 20,
            "init": "wiener",
            "content_from": "start",
            "style_spacing": 1.02,
            "max_change": 0.015,
        },
        with_optimizer={"lbfgs": {"lr": 1.0, "epoch": 5, "max_change": 0.0}},
    ),
    "texture": Preset(
        summary="For patches: shallower layers and normalized Gram matrices, a stronger edit at about half the cost.",
        source=(
            "Values of this project: content relu3_1 against style relu1_1 to relu3_1, so that texture of the size of "
            "cells moves and larger structure stays; Gram matrices divided by positions (Gatys, Ecker and Bethge 2016, "
            "with the normalization of their PyTorch release)."
        ),
        values={**_TEXTURE, "lr": 0.01, "tolerance": 0.01},
        with_optimizer={"lbfgs": {"lr": 1.0}},
    ),
    "gatys": Preset(
        summary="The classic of Gatys et al., with L-BFGS or Adam: a strong restyling, made for art more than for cells.",
        source=(
            "Gatys, Ecker and Bethge, CVPR 2016, section 3: content relu4_2, style relu1_1 to relu5_1; layer weights "
            "1e3/C² and content weight 1 from the authors' PyTorch release, L-BFGS, 500 steps. With Adam, the "
            "learning rate 0.02 on pixels in [0, 1] of Crowson's style-transfer-pytorch."
        ),
        values={
            **_TEXTURE,
            "lr": 1.0,
            "epoch": 500,
            "optimizer": "lbfgs",
            "content_layers": ("relu4_2",),
            "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
            "style_layer_weights": tuple(1e3 / c**2 for c in (64, 128, 256, 512, 512)),
            "tolerance": 0.01,
        },
        with_optimizer={"adam": {"lr": 0.02}},
    ),
}
