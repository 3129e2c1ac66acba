"""The documented classes, on top of the engine (NST Pipeline Documentation, "NST" and "NSTPipelineManager").

They keep the documented signatures (style first, then original), attributes, methods and files, but no faults that
change no result: the three images do not all pass the network in every step, the weights take no gradient, and no model
is loaded at import.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_nst.engine._torch import torch
from napari_nst.engine.backbone import VGG
from napari_nst.engine.devices import resolve_device
from napari_nst.engine.objective import Evaluation, Objective, network_for
from napari_nst.errors import DivergenceError, ImageError, ParameterError
from napari_nst.imaging.planes import Planes
from napari_nst.imaging.values import MINIMUM_SIDE, find_range, to_unit
from napari_nst.io.images import ImageFile
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.curves import learning_curves
from napari_nst.transfer.files import output_names, save_figure, save_losses

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["NST", "PATCH_SIZE", "NSTPipelineManager"]

_logger = logging.getLogger(__name__)

#: Side of the documented system's patches in pixels; what ``size=185`` asks for.
PATCH_SIZE = 185


class _Shared:
    """A class attribute that is made when it is first read, once for all."""

    def __init__(self, make: Any) -> None:
        self._make, self._value = make, None

    def __get__(self, instance: object, owner: type) -> Any:
        if self._value is None:
            self._value = self._make(owner)
        return self._value


def _to_tensor(size: int | None) -> Any:
    """Return the documented loader: an optional resize to a square, then (3, H, W) in [0, 1]."""
    from torchvision import transforms

    resize = [] if size is None else [transforms.Resize((size, size))]
    return transforms.Compose([*resize, transforms.ToTensor()])


class NST:
    """One style transfer under the documented algorithm, step by step.

    Parameters
    ----------
    style_img_file : ImageFile, ndarray or PIL.Image
        Gray (H, W) or color (H, W, 3 or 4), any real dtype.
    original_image_file : ImageFile, ndarray or PIL.Image
        The image to change; the same kinds.
    alpha, beta : float
        Weights of the content and of the style loss.
    lr : float
        Learning rate of Adam, in units of the value range.
    size : int, optional
        Resize both images to a square of this side first, as the documented system does (185).  By default each
        keeps its own size: a resize would change the spacing of the cells.

    Attributes
    ----------
    style_img, original_img : torch.Tensor
        (1, 3, H, W) in [0, 1], float32.
    generated : torch.Tensor
        (1, 3, H, W): the image being optimized.
    optimizer : torch.optim.Adam
        Of `generated`.
    device, loader, model
        Shared by all instances: the device, the transform of PIL images and the one network, each made when first used.

    Notes
    -----
    Images of more than 8 bits go to [0, 1] directly, not through 8 bits.
    """

    device: ClassVar[Any] = _Shared(lambda owner: resolve_device("auto"))
    loader: ClassVar[Any] = _Shared(lambda owner: _to_tensor(None))
    model: ClassVar[Any] = _Shared(lambda owner: owner._network())

    def __init__(
        self,
        style_img_file: Any,
        original_image_file: Any,
        alpha: float = 1.0,
        beta: float = 0.1,
        lr: float = 0.001,
        *,
        size: int | None = None,
    ) -> None:
        self.parameters = StyleTransferParameters(alpha=alpha, beta=beta, lr=lr, channels="rgb", precision="float32")
        if size is not None and size < MINIMUM_SIDE:
            raise ParameterError(
                f"`size` must be at least {MINIMUM_SIDE} pixels, got {size}. Try {PATCH_SIZE}, as documented."
            )
        self.size = size
        self.alpha, self.beta = self.parameters.alpha, self.parameters.beta
        self.style_img = self.load_image(style_img_file)
        self.original_img = self.load_image(original_image_file)
        self.generated = self.original_img.clone().requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.generated], lr=self.parameters.lr)
        self._objective = Objective(self.model, self.original_img, self.style_img, self.parameters)
        self._last: tuple[torch.Tensor, torch.Tensor, Evaluation, tuple[float, float]] | None = None

    @classmethod
    def _network(cls) -> VGG:
        return network_for(StyleTransferParameters(), 3, cls.device, torch.float32)

    def load_image(self, image: Image | ImageFile | np.ndarray[Any, Any]) -> torch.Tensor:
        """Bring an image to (1, 3, H, W) in [0, 1], float32, on the device.

        uint8 maps 0..255, every other dtype its own finite minimum..maximum.

        Raises
        ------
        ImageError
            It is not an image of one plane, is too small or constant, or holds NaN.
        """
        if isinstance(image, (ImageFile, np.ndarray)):
            tensor = _from_array(np.asarray(image.data if isinstance(image, ImageFile) else image), str(image)[:80])
            if self.size is not None:
                from torchvision.transforms.functional import resize

                tensor = resize(tensor, [self.size, self.size], antialias=True)
        elif hasattr(image, "convert"):
            if image.mode.startswith(("I", "F")):  # more than 8 bits: PIL's own conversion would clip them
                return self.load_image(np.asarray(image))
            loader = self.loader if self.size is None else _to_tensor(self.size)
            tensor = loader(image.convert("RGB"))
        else:
            raise ImageError(
                f"An image must be an ImageFile, a NumPy array or a PIL image, got {type(image).__name__}. Of a path make an "
                "ImageFile('patch.tif')."
            )
        if min(tensor.shape[-2:]) < MINIMUM_SIDE:
            raise ImageError(
                f"An image must have at least {MINIMUM_SIDE} × {MINIMUM_SIDE} pixels, got {tensor.shape[-2]} × "
                f"{tensor.shape[-1]} pixels: the network halves it four times. Take a larger one."
            )
        return tensor.unsqueeze(0).float().to(self.device)

    def calculate_losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return content and style loss of `generated`; the gradients are kept for :meth:`optimize`."""
        weights = (float(self.alpha), float(self.beta))
        if weights != (self.parameters.alpha, self.parameters.beta):  # changed by the caller between steps
            self.parameters = self.parameters.replace(alpha=self.alpha, beta=self.beta)
            self._objective.parameters = self.parameters
        with torch.no_grad():
            evaluation = self._objective.evaluate(self.generated)
        style, content, _ = evaluation.losses[0].unbind()
        self._last = (content, style, evaluation, weights)
        return content, style

    def optimize(self, original_loss: torch.Tensor, style_loss: torch.Tensor) -> torch.Tensor:
        """Take one Adam step for the losses that :meth:`calculate_losses` returned last; return the total loss.

        Raises
        ------
        ParameterError
            When these are not the losses last returned: their gradients are no longer known.
        """
        content, style, evaluation, weights = self._last or (None, None, None, None)
        if evaluation is None or content is not original_loss or style is not style_loss:
            raise ParameterError(
                "optimize() takes the two losses that calculate_losses() returned last. Call that first."
            )
        if weights != (float(self.alpha), float(self.beta)):
            raise ParameterError("alpha or beta changed after calculate_losses(). Call it again before optimize().")
        self._last = None
        self.generated.grad = evaluation.gradient
        self.optimizer.step()
        return evaluation.losses[0, 2]

    @staticmethod
    def compute_gram_matrix(feature: torch.Tensor, channel: int, height: int, width: int) -> torch.Tensor:
        """Return F Fᵀ of a feature map (1, C, H, W): (C, C), not normalized."""
        feature_view = feature.view(channel, height * width)
        return feature_view.mm(feature_view.t())


class NSTPipelineManager:
    """A whole documented run: optimize, record the losses, plot them and save them.

    Parameters
    ----------
    style_img_file, original_image_file : ImageFile, ndarray or PIL.Image
        See :class:`NST`.
    alpha, beta, lr : float
        See :class:`NST`.
    epoch : int
        Steps to do at most.
    size : int, optional
        See :class:`NST`.

    Attributes
    ----------
    nst : NST
        The transfer itself.
    style_losses, original_losses, total_losses : list of numpy scalars
        One value per step.
    generated : torch.Tensor
        The image being optimized, (1, 3, H, W).
    """

    def __init__(
        self,
        style_img_file: Any,
        original_image_file: Any,
        alpha: float = 1.0,
        beta: float = 0.1,
        lr: float = 0.001,
        epoch: int = 100,
        *,
        size: int | None = None,
    ) -> None:
        self.__style_img = style_img_file
        self.__original_img = original_image_file
        self.__total_steps = StyleTransferParameters(epoch=epoch).epoch
        self.nst = NST(style_img_file, original_image_file, alpha, beta, lr, size=size)
        self.style_losses: list[Any] = []
        self.original_losses: list[Any] = []
        self.total_losses: list[Any] = []

    @property
    def generated(self) -> torch.Tensor:
        """Return the image being optimized, (1, 3, H, W)."""
        return self.nst.generated

    def run(self) -> torch.Tensor:
        """Optimize for `epoch` steps; return the image, (1, 3, H, W).

        Raises
        ------
        DivergenceError
            When a loss is no longer finite; its ``partial`` is the last good image.
        """
        _logger.info("%s", _name_of(self.__original_img))
        good = now = self.nst.generated.detach().clone()
        for step in range(self.__total_steps):
            good, now = now, self.nst.generated.detach().clone()
            original_loss, style_loss = self.nst.calculate_losses()
            total_loss = self.nst.optimize(original_loss, style_loss)
            self.log_losses({"style": style_loss, "original": original_loss, "total": total_loss})
            if not np.isfinite(self.total_losses[-1]):
                raise DivergenceError(
                    f"The total loss became {self.total_losses[-1]} at step {step} of {self.__total_steps}; the image before that "
                    "step is kept. Lower lr, alpha or beta.",
                    step,
                    good,  # not `now`: these are its losses
                )
            if self.should_stop(total_loss):
                break
        return self.nst.generated

    def log_losses(self, losses: dict[str, torch.Tensor]) -> None:
        """Append the losses of a step, by name ("style", "original", "total"), to their lists."""
        for loss_name, loss_value in losses.items():
            getattr(self, f"{loss_name}_losses").append(loss_value.detach().cpu().numpy())

    def should_stop(self, total_loss: torch.Tensor) -> bool:
        """Return whether all steps are done; `total_loss` does not count, as documented.

        The documented test (more losses than steps) never holds inside the loop; this one holds at its last step, which
        comes to the same.  For a rule that stops on convergence see the parameter ``tolerance``.
        """
        return len(self.total_losses) >= self.__total_steps

    def generate_plot(self, directory: str | Path) -> Path:
        """Write the learning curves to ``{directory}/nst/{original}_{style}_{alpha}_{beta}.png``; return the path.

        Without a name of the style, ``{original}_{alpha}_{beta}.png``.  An existing file stays: a counter is added.
        """
        losses = {name: getattr(self, f"{name}_losses") for name in ("total", "original", "style")}
        return save_figure(Path(directory) / "nst" / f"{self._names()[1]}.png", learning_curves(losses))

    def save_losses(self, directory: str | Path) -> Path:
        """Write ``{directory}/{original}_{style}.csv`` with rows style, content, total; return the path.

        Without a name of the style, ``{original}_.csv``.  An existing file stays: a counter is added.
        """
        rows = (self.style_losses, self.original_losses, self.total_losses)
        return save_losses(Path(directory) / f"{self._names()[0]}.csv", rows)

    def _names(self) -> tuple[str, str]:
        original, style = _name_of(self.__original_img) or "image", _name_of(self.__style_img)
        return output_names(original, style, self.nst.alpha, self.nst.beta)


def _name_of(image: Any) -> str:
    """Return the stem of an ImageFile, or of the file that a PIL image was opened from; arrays have no name."""
    if isinstance(image, ImageFile):
        return str(image)
    return str(ImageFile(image.filename)) if getattr(image, "filename", "") else ""


def _from_array(array: np.ndarray[Any, Any], name: str) -> torch.Tensor:
    """Bring (H, W) or (H, W, 3 or 4), any real dtype, to (3, H, W) in [0, 1], float32."""
    planes = Planes.of(array, "image")
    if planes.stack_shape:
        raise ImageError(f"{name} is a stack of shape {array.shape}. Give the documented classes one plane at a time.")
    color = array[..., :3] if planes.rgb else np.repeat(array[..., None], 3, axis=2)
    if color.dtype.kind == "f" and not np.isfinite(color).all():
        raise ImageError(
            f"{name} has {int((~np.isfinite(color)).any(axis=2).sum())} pixels that are NaN or infinite. Replace them."
        )
    unit = to_unit(color, find_range(color, "auto", "image"))
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(unit, -1, 0), dtype=np.float32))
