"""On a processor with AVX2 alone, which the environment "isa" of tox imitates."""

import os

import pytest
import torch

from napari_nst.engine.devices import has_bfloat16, resolve_dtypes
from napari_nst.errors import ParameterError

ASKED = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@pytest.mark.skipif(
    any(os.environ.get(name) != value for name, value in ASKED.items()),
    reason="needs " + " ".join(f"{name}={value}" for name, value in ASKED.items()),
)
def test_a_processor_with_avx2_alone_has_no_bfloat16():
    cpu = torch.device("cpu")
    assert torch.backends.cpu.get_cpu_capability() == "AVX2"
    assert not has_bfloat16(cpu)
    assert resolve_dtypes("auto", cpu) == (torch.float32, torch.float32)
    with pytest.raises(ParameterError, match="has no bfloat16; choose float32 or auto"):
        resolve_dtypes("bfloat16", cpu)
