"""The preset "quick": the objective of "documented", whatever the weights."""

import torch

from napari_nst import StyleTransferParameters
from napari_nst.engine.objective import network_for


def test_the_network_is_fed_as_under_documented(torchvision_file):
    for weights, expected in (("embedded", True), (str(torchvision_file), False)):
        for preset in ("documented", "quick"):
            p = StyleTransferParameters(
                preset=preset, weights=weights, content_layers="relu1_1", style_layers="relu1_1"
            )
            assert network_for(p, 1, torch.device("cpu"), torch.float32).normalises == expected
