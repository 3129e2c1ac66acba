"""What only a CUDA device can show; skipped without one.  The logic of the graph is tested without."""

import numpy as np
import pytest
import torch

from napari_nst import StyleTransferParameters, transfer_style
from napari_nst.engine import optimization
from napari_nst.engine.objective import Objective, network_for
from napari_nst.engine.optimization import Optimization

pytestmark = pytest.mark.usefixtures("one_thread")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")
LAYERS = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}


def loop(pair, device="cpu", count=1, dtype=torch.float32, **given):
    p = StyleTransferParameters(**{"preset": "texture", **LAYERS, "epoch": 12, "tolerance": 0.0, **given})
    device = torch.device(device)
    target, style = (
        torch.stack([torch.from_numpy(image[4 * k : 4 * k + 32, :48] / 255.0) for k in range(count)])[:, None]
        .float()
        .to(device)
        for image in (pair.target, pair.style)
    )
    network = network_for(p, 1, device, dtype)
    return Optimization(Objective(network, target, style, p), target, p)


def finish(run):
    for _ in run.run():
        pass
    return run


def test_a_recorded_step_is_replayed_until_an_image_leaves(pair, monkeypatch):
    # In place of a graph, the step itself, counted.
    recorded, replayed = [], []

    def record(step):
        recorded.append(run.step)

        def replay():
            replayed.append(run.step)
            step()

        return replay

    monkeypatch.setattr(optimization, "_recorded", record)
    given = {"count": 3, "tolerance": 1.0, "window": 2, "lr": 0.03, "epoch": 40}
    plain = finish(loop(pair, **given))
    ends = sorted({len(plain.losses_of(k)) for k in range(3)})
    assert len(ends) > 1
    run = loop(pair, **given)
    run._graphable = True
    finish(run)
    assert run.graphed
    # Three plain steps first; then anew each time that an image has left and others go on.
    assert recorded == [3, *ends[:-1]]
    assert replayed == list(range(3, ends[-1]))
    for k in range(3):
        assert torch.equal(run.image_of(k), plain.image_of(k))
        assert torch.equal(run.losses_of(k), plain.losses_of(k))


def test_no_graph_on_a_cpu_or_with_lbfgs(pair):
    assert not finish(loop(pair, epoch=5)).graphed
    assert not loop(pair, optimizer="lbfgs", epoch=5)._graphable


@needs_cuda
@pytest.mark.parametrize("count", [1, 4])
def test_the_graph_does_what_its_steps_do(count, pair, monkeypatch):
    graphed = finish(loop(pair, "cuda", count))
    monkeypatch.setattr(optimization, "_STEPS_BEFORE_GRAPH", 1_000_000)
    eager = finish(loop(pair, "cuda", count))
    assert graphed.graphed
    assert not eager.graphed
    for k in range(count):
        torch.testing.assert_close(graphed.image_of(k), eager.image_of(k), rtol=0, atol=1e-6)
        torch.testing.assert_close(graphed.losses_of(k), eager.losses_of(k), rtol=1e-5, atol=0)


@needs_cuda
def test_no_step_waits_for_the_device(pair):
    run = loop(pair, "cuda", 2).run()
    for _ in range(2 * 6):  # past the recording of the graph
        next(run)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2 * 3):  # up to the ninth step; the tenth is a look
            next(run)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@pytest.mark.parametrize(("precision", "limit"), [("float64", 1e-4), ("float32", 0.2), ("bfloat16", 3.5)])
@pytest.mark.parametrize("preset", ["documented", "texture"])
def test_cuda_gives_what_the_cpu_gives(preset, precision, limit, pair):
    given = {"preset": preset, "epoch": 10, "value_range": (0, 255), "tolerance": 0.0}
    targets = [pair.target.astype(np.float32), pair.target[::-1].astype(np.float32).copy()]
    reference = transfer_style(targets, pair.style, **given, device="cpu", precision="float64")
    for got, wanted in zip(
        transfer_style(targets, pair.style, **given, device="cuda", precision=precision), reference, strict=True
    ):
        assert np.sqrt(np.mean((got.image - wanted.image) ** 2)) < limit
        np.testing.assert_allclose(got.losses.total, wanted.losses.total, rtol=0.02)


@needs_cuda
def test_memory_is_given_back(pair):
    before = torch.cuda.memory_allocated()
    transfer_style([pair.target] * 4, pair.style, epoch=6, device="cuda")
    grown = torch.cuda.memory_allocated() - before
    assert grown < 200 * 2**20  # the network and the styles that are kept
