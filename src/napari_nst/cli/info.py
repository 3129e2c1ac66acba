"""The command ``napari-nst info``: versions, devices, weights, paths."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from napari_nst.cli.options import DONE
from napari_nst.errors import WeightsError

_VARIABLES = ("OMP_", "MKL_", "CUDA_VISIBLE", "TORCH_HOME", "QT_", "NAPARI_")


def add_info(commands: Any) -> None:
    """Add the command to the parser's commands."""
    info = commands.add_parser(
        "info",
        help="show versions, devices, weights and paths: what a bug report needs",
        description="Show versions, devices, weights with their hashes, and cache paths: what a bug report needs.",
    )
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> int:
    facts = collect()
    print(json.dumps(facts, indent=2) if options.json else format_text(facts))
    return DONE


def collect() -> dict[str, Any]:
    """Return all facts, JSON-able; load torch but no weights."""
    from napari_nst.engine._torch import torch
    from napari_nst.engine.devices import describe_device, free_memory, resolve_device
    from napari_nst.engine.weights import EMBEDDED_SHA256, embedded_path, torchvision_cache_path
    from napari_nst.transfer.record import versions

    def free(device: torch.device) -> str:
        return f"{free_memory(device) / 2**30:.1f} GiB free"

    cpu = torch.device("cpu")
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    devices = {"cpu": f"{describe_device(cpu)}, {os.cpu_count()} cores, {threads} threads, {capability}, {free(cpu)}"}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", number)
        devices[str(device)] = f"{describe_device(device)}, {free(device)}"
    if torch.backends.mps.is_available():
        devices["mps"] = describe_device(torch.device("mps"))
    try:
        path = embedded_path()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        embedded: dict[str, Any] = {"path": str(path), "sha256": digest, "intact": digest == EMBEDDED_SHA256}
    except (WeightsError, OSError) as error:
        embedded = {"missing": str(error)}
    cached, found = torchvision_cache_path(), versions()
    for name in ("npe2", "magicgui", "superqt", "qtpy", "PyQt6", "PySide6", "triton", "tifffile", "matplotlib", "dask"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "versions": found,
        "processor": platform.processor() or platform.machine(),
        "cuda": torch.version.cuda or "none in this build of PyTorch",
        "devices": devices,
        "auto": str(resolve_device("auto")),
        "weights": {"embedded": embedded, "torchvision": {"path": str(cached), "downloaded": cached.is_file()}},
        "environment": {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)},
    }


def format_text(facts: dict[str, Any], indent: str = "") -> str:
    """Return the facts as indented lines."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", format_text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {'none' if value == {} else value}")
    return "\n".join(lines)
