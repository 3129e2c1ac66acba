"""Devices: which one to take, what it can do, how many threads, how much memory is free."""

from __future__ import annotations

import contextlib
import gc
import platform
from collections.abc import Iterator

import psutil

from napari_nst.engine._torch import torch
from napari_nst.errors import ParameterError


def resolve_device(name: str) -> torch.device:
    """The device for "auto" (CUDA, then Apple MPS, then CPU), "cpu", "cuda", "cuda:1" or "mps", if it is there."""
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


def release(device: torch.device) -> None:
    """Give memory back that nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
