"""What a bug report needs: versions, devices, weights, paths."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from typing import Any

from napari_nst.errors import WeightsError
from napari_nst.transfer.record import versions

__all__ = ["collect", "format_text"]


def collect() -> dict[str, Any]:
    """All facts, JSON-able; loads torch but no weights."""
    from napari_nst.engine._torch import torch
    from napari_nst.engine.devices import describe_device, free_memory, resolve_device
    from napari_nst.engine.weights import EMBEDDED_SHA256, embedded_path, torchvision_cache_path

    devices: dict[str, str] = {}
    cpu = torch.device("cpu")
    devices["cpu"] = (
        f"{describe_device(cpu)}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {free_memory(cpu) / 2**30:.1f} GiB free"
    )
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", number)
        devices[str(device)] = f"{describe_device(device)}, {free_memory(device) / 2**30:.1f} GiB free"
    if torch.backends.mps.is_available():
        devices["mps"] = describe_device(torch.device("mps"))
    weights: dict[str, Any] = {}
    try:
        path = embedded_path()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        weights["embedded"] = {"path": str(path), "sha256": digest, "intact": digest == EMBEDDED_SHA256}
    except (WeightsError, OSError) as error:
        weights["embedded"] = {"missing": str(error)}
    cached = torchvision_cache_path()
    weights["torchvision"] = {"path": str(cached), "downloaded": cached.is_file()}
    found = versions()
    for name in ("npe2", "magicgui", "superqt", "qtpy", "PyQt6", "PySide6", "triton", "tifffile", "matplotlib", "dask"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": found,
        "processor": platform.processor() or platform.machine(),
        "cuda": torch.version.cuda or "none in this build of PyTorch",
        "devices": devices,
        "auto": str(resolve_device("auto")),
        "weights": weights,
        "environment": {
            k: v
            for k, v in os.environ.items()
            if k.startswith(("OMP_", "MKL_", "CUDA_VISIBLE", "TORCH_HOME", "QT_", "NAPARI_"))
        },
    }


def format_text(facts: dict[str, Any], indent: str = "") -> str:
    """The facts as indented lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{key}:" + ("" if value else " none"))
            if value:
                lines.append(format_text(value, indent + "  "))
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
