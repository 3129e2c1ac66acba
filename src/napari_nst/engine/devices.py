"""Devices: which one to take, how many threads, how much memory a picture needs."""

from __future__ import annotations

import contextlib
import math
import platform
from collections.abc import Iterator

import psutil

from napari_nst.engine._torch import torch
from napari_nst.errors import ParameterError
from napari_nst.settings.layers import layers_up_to, reach_of
from napari_nst.settings.parameters import StyleTransferParameters

__all__ = [
    "cpu_threads",
    "describe_device",
    "free_memory",
    "has_bfloat16",
    "memory_needed",
    "resolve_device",
    "resolve_dtypes",
    "state_memory",
    "tile_memory",
]


def resolve_device(name: str) -> torch.device:
    """The device for "auto" (CUDA, then Apple MPS, then CPU), "cpu", "cuda", "cuda:1" or "mps".

    Raises
    ------
    ParameterError
        When the device that is named is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ParameterError(
                f"device: {name!r} is not there: PyTorch {torch.__version__} sees {count} CUDA device(s). Choose auto or cpu, "
                "or check the NVIDIA driver (napari-nst info shows what is seen)."
            )
        return torch.device("cuda", int(name[5:]) if ":" in name else torch.cuda.current_device())
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ParameterError("device: 'mps' is not there: this is no Apple computer with Metal. Choose auto or cpu.")
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device itself multiplies in bfloat16: AVX-512 BF16 or AMX, or CUDA from Ampere on.

    Other processors imitate it and are slower than in float32; Apple's MPS lacks some operations.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # PyTorch ships it without annotations
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # such as under ONEDNN_MAX_CPU_ISA=AVX2
        return False
    flags = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(flag is not None and flag() for flag in flags)


def resolve_dtypes(precision: str, device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """Precision of the convolutions and of the pixels, losses and Gram matrices.

    "auto" is bfloat16 where the device has it (see :func:`has_bfloat16`), else float32.

    Raises
    ------
    ParameterError
        When the device does not have the precision that is asked for.
    """
    if precision == "float64":
        if device.type == "mps":
            raise ParameterError("precision: Apple MPS has no float64; choose float32, or the device cpu.")
        return torch.float64, torch.float64
    if precision == "bfloat16" and not has_bfloat16(device):
        raise ParameterError(f"precision: {describe_device(device)} has no bfloat16; choose float32 or auto.")
    narrow = precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
    return torch.bfloat16 if narrow else torch.float32, torch.float32


def describe_device(device: torch.device) -> str:
    """The device's name for people, such as "cuda:0 (NVIDIA H100 80GB HBM3)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()})"


@contextlib.contextmanager
def cpu_threads(threads: int) -> Iterator[int]:
    """Use so many CPU threads inside, 0 meaning as many as now; gives the number and restores the old one."""
    before = torch.get_num_threads()
    if threads and threads != before:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def free_memory(device: torch.device) -> int:
    """Free memory of the device, bytes; what PyTorch holds unused counts as free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(psutil.virtual_memory().available)


def memory_needed(
    parameters: StyleTransferParameters, target: tuple[int, int], style: tuple[int, int], channels: int = 1
) -> int:
    """Estimated peak memory of one run, bytes, less the network's own 50 MB.

    Counted are, per pixel: the features kept for the reverse pass, pooling indices, the content's features, the two
    largest gradients in flight and the working copies of the convolutions, as measured on CPU.

    Parameters
    ----------
    parameters : StyleTransferParameters
        Their layers and precision count.
    target, style : tuple of int
        Height and width.
    channels : int
        1 or 3.
    """
    # "auto" may turn out as bfloat16, which needs half.
    size = {"float64": 8, "bfloat16": 2}.get(parameters.precision, 4)
    kept = content = indices = 0.0
    area = 1.0
    for layer in layers_up_to(parameters.content_layers + parameters.style_layers):
        if layer.kind == "pool":
            area /= 4
            indices += 8 * layer.out_channels * area
        if layer.kind != "relu":
            kept += layer.out_channels * area
        if layer.name in parameters.content_layers:
            content += layer.out_channels * area
    widest = 64.0
    per_pixel = size * (kept + 3 * widest) + max(size, 4) * (content + widest) + indices + 40 * channels
    per_style_pixel = size * (kept + widest) + indices
    return int(max(per_pixel * target[0] * target[1], per_style_pixel * style[0] * style[1]))


def state_memory(parameters: StyleTransferParameters, target: tuple[int, int], channels: int = 1) -> int:
    """Memory that a picture in tiles takes as a whole, bytes; what is read of target and style is not counted.

    Under Adam these are nine pictures in the precision of the pixels: the picture, its last good state, its gradient,
    two moments, and four in passing, while a step is made; L-BFGS keeps twenty more.
    """
    pictures = 9 if parameters.optimizer == "adam" else 31
    return pictures * (8 if parameters.precision == "float64" else 4) * channels * target[0] * target[1]


def tile_memory(
    parameters: StyleTransferParameters, side: int, size: tuple[int, int], narrow: bool, channels: int = 1
) -> int:
    """Estimated peak memory of one tile, bytes.

    Parameters
    ----------
    parameters : StyleTransferParameters
        Their layers and precision count.
    side : int
        Of the tile without its halo, pixels.
    size : tuple of int
        Height and width of the picture: no tile with its halo is larger.
    narrow : bool
        Whether the convolutions are bfloat16.
    channels : int
        1 or 3.
    """
    number = 8 if parameters.precision == "float64" else 2 if narrow else 4
    names = parameters.content_layers + parameters.style_layers
    reach = reach_of(names)
    near, far = (math.prod(min(side + 2 * by, n) for n in size) for by in (reach, 2 * reach))
    kept = entering = content = 0.0
    area = 1.0
    for layer in layers_up_to(names):
        if layer.kind == "pool":
            area /= 4
            kept += (number + 8) * layer.out_channels * area
        elif layer.kind == "relu" or layer.name in names:
            kept += number * layer.out_channels * area
        if layer.name in names:
            entering += number * layer.out_channels * area
        if layer.name in parameters.content_layers:
            content += number * layer.out_channels * area
    # The widest layers have 64 channels at the full resolution: one is read while the other is written.
    passing = 2 * 64 * number + 16 * channels
    forwards = far * passing + near * (kept + content)
    backwards = near * (kept + entering + max(content, 2 * 64 * number) + 16 * channels)
    return int(max(forwards, backwards))
