"""Presets: named sets of parameter values, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from napari_nst.settings.layers import DOCUMENTED_LAYERS

__all__ = ["PRESETS", "RECOMMENDED", "Preset"]

#: What measured best on hand-marked pictures (docs/evaluation.md): where people start; functions keep the documented values.
RECOMMENDED: Final = "microscopy"


@dataclass(frozen=True)
class Preset:
    """A named set of values.

    Attributes
    ----------
    values : dict
        Field of :class:`~napari_nst.settings.parameters.StyleTransferParameters` to value; every preset states all of
        the fields that shape the result.
    with_optimizer : dict
        Values that replace those above when another optimiser than the preset's own is asked for: a learning rate of
        one optimiser means nothing to another.
    summary, source : str
        One line for people, and where the values come from.
    """

    values: dict[str, Any]
    summary: str
    source: str
    with_optimizer: dict[str, dict[str, Any]] = field(default_factory=dict)

    def resolve(self, optimizer: str | None = None) -> dict[str, Any]:
        """The values, given the optimiser that was asked for (None: the preset's own)."""
        chosen = self.values["optimizer"] if optimizer is None else optimizer
        # What cannot be a key is no optimiser; the check of the parameters says so.
        own = self.with_optimizer.get(chosen, {}) if isinstance(chosen, str) else {}
        return {**self.values, **own, "optimizer": chosen}


_GATYS_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

PRESETS: dict[str, Preset] = {
    "documented": Preset(
        summary="The documented pipeline, exactly: a weak, safe edit (a pixel moves by at most about a tenth of the range).",
        source=(
            "NST Pipeline Documentation, classes NST and NSTPipelineManager: VGG-19 up to conv5_1, content and style on "
            "the same five layers (four taken after their ReLU, the last before it), Gram matrices not normalised, Adam "
            "1e-3 on the pixels, 100 steps, no projection."
        ),
        values={
            "alpha": 1.0,
            "beta": 0.1,
            "lr": 0.001,
            "epoch": 100,
            "optimizer": "adam",
            "lr_decay": "none",
            "adam_beta1": 0.9,
            "adam_beta2": 0.999,
            "content_layers": DOCUMENTED_LAYERS,
            "content_layer_weights": (),
            "style_layers": DOCUMENTED_LAYERS,
            "style_layer_weights": (),
            "gram": "sum",
            "tv_weight": 0.0,
            "clip": False,
            "padding": "zeros",
            "scales": 1,
            "fit_pools": False,
            "init": "target",
            "content_from": "target",
            "style_spacing": 0.0,
            "trust": 0.0,
            "tolerance": 0.0,
            "window": 10,
            "weights": "embedded",
        },
        with_optimizer={"lbfgs": {"lr": 1.0}},
    ),
    "quick": Preset(
        summary=(
            "The loss of the documented pipeline in a quarter of its steps: fewer, larger ones that come to rest. The picture is "
            "almost the same: it differs by 2 to 6 grey levels of 255 RMS, a pixel moves by up to a sixth of the range."
        ),
        source=(
            "Values of this project, measured on four pairs of AOSLO patches and a synthetic one (benchmarks/steps.py): layers, "
            'weights and Gram matrices of "documented"; Adam at ten times its learning rate with a cosine decay (Loshchilov '
            "and Hutter 2017) and a short memory."
        ),
        values={
            "alpha": 1.0,
            "beta": 0.1,
            "lr": 0.01,
            "epoch": 25,
            "optimizer": "adam",
            "lr_decay": "cosine",
            "adam_beta1": 0.5,
            "adam_beta2": 0.9,
            "content_layers": DOCUMENTED_LAYERS,
            "content_layer_weights": (),
            "style_layers": DOCUMENTED_LAYERS,
            "style_layer_weights": (),
            "gram": "sum",
            "tv_weight": 0.0,
            "clip": False,
            "padding": "zeros",
            "scales": 1,
            "fit_pools": False,
            "init": "target",
            "content_from": "target",
            "style_spacing": 0.0,
            "trust": 0.0,
            "tolerance": 0.0,
            "window": 10,
            "weights": "embedded",
        },
        with_optimizer={"lbfgs": {"lr": 1.0, "epoch": 16}},
    ),
    "microscopy": Preset(
        summary=(
            "For patches of cells: sharpens what the target shows, at its own cell spacing. On hand-marked retina images it helped most, "
            "and invented no more than a linear filter, in a tenth of the documented time."
        ),
        source=(
            "Values of this project, chosen on the hand-marked confocal AOSLO images of five training subjects (Cunefare et al., Sci. "
            "Rep. 7:6620, 2017) by leaving one subject out (benchmarks/marks.py, docs/evaluation.md): a start by Wiener's "
            'filter, the layers of "texture", few small steps of Adam, a trust region for every pixel.'
        ),
        values={
            "alpha": 1.0,
            "beta": 1.0,
            "lr": 0.0015,
            "epoch": 20,
            "optimizer": "adam",
            "lr_decay": "none",
            "adam_beta1": 0.9,
            "adam_beta2": 0.999,
            "content_layers": ("relu3_1",),
            "content_layer_weights": (),
            "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
            "style_layer_weights": (),
            "gram": "mean",
            "tv_weight": 0.0,
            "clip": True,
            "padding": "reflect",
            "scales": 1,
            "fit_pools": True,
            "init": "wiener",
            "content_from": "start",
            "style_spacing": 1.02,
            "trust": 0.015,
            "tolerance": 0.0,
            "window": 10,
            "weights": "embedded",
        },
        with_optimizer={"lbfgs": {"lr": 1.0, "epoch": 5, "trust": 0.0}},
    ),
    "texture": Preset(
        summary="For patches: shallower layers and normalised Gram matrices, a stronger edit at about half the cost.",
        source=(
            "Values of this project: content relu3_1 against style relu1_1 to relu3_1, so that texture of the size of "
            "cells moves and larger structure stays; Gram matrices divided by positions (Gatys, Ecker and Bethge 2016, "
            "with the normalisation of their PyTorch release)."
        ),
        values={
            "alpha": 1.0,
            "beta": 1.0,
            "lr": 0.01,
            "epoch": 100,
            "optimizer": "adam",
            "lr_decay": "none",
            "adam_beta1": 0.9,
            "adam_beta2": 0.999,
            "content_layers": ("relu3_1",),
            "content_layer_weights": (),
            "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
            "style_layer_weights": (),
            "gram": "mean",
            "tv_weight": 0.0,
            "clip": True,
            "padding": "reflect",
            "scales": 1,
            "fit_pools": True,
            "init": "target",
            "content_from": "target",
            "style_spacing": 0.0,
            "trust": 0.0,
            "tolerance": 0.01,
            "window": 10,
            "weights": "embedded",
        },
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
            "alpha": 1.0,
            "beta": 1.0,
            "lr": 1.0,
            "epoch": 500,
            "optimizer": "lbfgs",
            "lr_decay": "none",
            "adam_beta1": 0.9,
            "adam_beta2": 0.999,
            "content_layers": ("relu4_2",),
            "content_layer_weights": (),
            "style_layers": _GATYS_STYLE_LAYERS,
            "style_layer_weights": tuple(1e3 / c**2 for c in (64, 128, 256, 512, 512)),
            "gram": "mean",
            "tv_weight": 0.0,
            "clip": True,
            "padding": "reflect",
            "scales": 1,
            "fit_pools": True,
            "init": "target",
            "content_from": "target",
            "style_spacing": 0.0,
            "trust": 0.0,
            "tolerance": 0.01,
            "window": 10,
            "weights": "embedded",
        },
        with_optimizer={"adam": {"lr": 0.02}},
    ),
}
