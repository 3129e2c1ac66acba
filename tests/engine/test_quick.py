"""The preset "quick": the objective of "documented", whatever the weights, and its loss in a quarter of the steps."""

import pytest
import torch

from napari_nst import StyleTransferParameters, transfer_style
from napari_nst.engine.objective import Evaluation, network_for
from napari_nst.engine.optimization import Optimization


def test_the_network_is_fed_as_under_documented(torchvision_file):
    for weights, expected in (("embedded", True), (str(torchvision_file), False)):
        for preset in ("documented", "quick"):
            p = StyleTransferParameters(
                preset=preset, weights=weights, content_layers="relu1_1", style_layers="relu1_1"
            )
            assert network_for(p, 1, torch.device("cpu"), torch.float32).normalises == expected


def test_it_comes_to_rest():
    class Slope:
        def evaluate(self, x):
            value = x.sum((1, 2, 3))
            return Evaluation(torch.stack([value, value, value], dim=1), torch.ones_like(x))

    p = StyleTransferParameters(preset="quick")
    start = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    images = [start, *(progress.image.clone() for progress in Optimization(Slope(), start, p).run())]
    moves = torch.stack(images).diff(dim=0).abs().amax((1, 2, 3, 4))
    # Against a gradient that stays the same Adam moves by the learning rate, and that falls along half a cosine.
    expected = p.lr / 2 * (1 + torch.cos(torch.pi * torch.arange(25, dtype=torch.float64) / 25))
    torch.testing.assert_close(moves, expected, rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_it_reaches_the_loss_of_the_documented_pipeline_in_a_quarter_of_the_steps(pair):
    quick, documented = (
        transfer_style(pair.target, pair.style, preset=preset, device="cpu", precision="float32")
        for preset in ("quick", "documented")
    )
    assert len(quick.losses.total) * 4 == len(documented.losses.total)
    assert quick.losses.total[-1] < documented.losses.total[-1]
