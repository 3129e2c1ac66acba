"""What tests of the engine share."""

import pytest
import torch

from napari_nst.engine import devices, kernels
from napari_nst.engine.backbone import shared_backbone


@pytest.fixture(params=["device", "portable"])
def bfloat16(request, monkeypatch):
    """bfloat16 as the device has it, and as PyTorch computes it on every processor."""
    shared_backbone.cache_clear()
    if request.param == "portable":
        monkeypatch.setattr(devices, "has_bfloat16", lambda device: True)
        monkeypatch.setattr(kernels, "has_bfloat16", lambda device: False)  # no kernels of oneDNN
    elif not devices.has_bfloat16(torch.device("cpu")):
        pytest.skip("this processor has no bfloat16 (AVX-512 BF16 or AMX)")
    yield request.param
    shared_backbone.cache_clear()
