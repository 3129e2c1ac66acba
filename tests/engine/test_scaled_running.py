"""Coarse to fine: what it tells is of the full size, and what the coarse size has reached is carried on."""

import numpy as np
import pytest
import torch

from napari_nst import transfer_style
from napari_nst.engine.batching import batch_size
from napari_nst.errors import DivergenceError, ParameterError
from napari_nst.settings.parameters import StyleTransferParameters

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
BASE = {"preset": "texture", **LAYERS, "device": "cpu", "threads": 1, "precision": "float64", "tolerance": 0.0}


@pytest.fixture(scope="module")
def arrays(pair):
    return pair.target[:64, :64].astype(np.float32), pair.style[:64, :64]


def test_one_size_is_the_plain_run(arrays):
    one, other = (transfer_style(*arrays, **BASE, epoch=3, **given) for given in ({}, {"scales": 1}))
    assert np.array_equal(one.image, other.image)


@pytest.mark.parametrize("gram", ["sum", "mean"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_steps_pictures_and_losses_are_of_the_full_size(optimizer, gram, arrays):
    seen = []

    def callback(p):
        seen.append((p.step, p.epoch))
        assert p.image().shape == arrays[0].shape
        assert p.image().dtype == arrays[0].dtype

    given = {**BASE, "optimizer": optimizer, "gram": gram, "beta": 1e-6 if gram == "sum" else 1.0}
    result = transfer_style(*arrays, **given, scales=3, epoch=11, callback=callback)
    assert seen == [(k, 11) for k in range(1, 12)]
    assert result.metadata["steps"] == len(result.losses.total) == 11
    assert result.stopped == "finished"
    total = given.get("alpha", 1.0) * result.losses.original + given["beta"] * result.losses.style
    np.testing.assert_allclose(result.losses.total, total, rtol=1e-9)
    # In proportion, the same pictures are about as far apart at a quarter of the size.
    plain = transfer_style(*arrays, **given, epoch=1)
    assert 0.2 < result.losses.style[0] / plain.losses.style[0] < 5


def test_what_was_reached_at_the_coarse_size_is_carried_on(arrays):
    given = {**BASE, "lr": 0.01}
    both = transfer_style(*arrays, **given, scales=2, epoch=16)  # 8 at 32 × 32, 8 at 64 × 64
    fine = transfer_style(*arrays, **given, epoch=8)
    assert both.losses.total[8] < 0.9 * fine.losses.total[0]
    assert both.losses.total[15] < fine.losses.total[7]


def test_a_mask_holds_at_every_size(arrays):
    mask = np.zeros(arrays[0].shape, bool)
    mask[10:50, 7:60] = True
    result = transfer_style(*arrays, **BASE, epoch=6, scales=2, mask=mask, style_mask=np.ones(arrays[1].shape, bool))
    assert np.array_equal(result.image[~mask], arrays[0][~mask])
    assert (result.image[mask] != arrays[0][mask]).mean() > 0.9


@pytest.mark.parametrize("at", [1, 4, 5, 9])
def test_cancelling_at_any_size_keeps_what_was_reached(at, arrays):
    seen = []
    result = transfer_style(
        *arrays, **BASE, epoch=12, scales=3, callback=lambda p: seen.append(p.image()), cancel=lambda: len(seen) == at
    )
    assert result.stopped == "cancelled"
    assert result.metadata["steps"] == at
    np.testing.assert_allclose(result.image, seen[-1], atol=1e-4)


def test_a_divergence_counts_its_steps_over_all_sizes(arrays, monkeypatch):
    from napari_nst.engine import objective

    plain, calls = objective.Objective.evaluate, []

    def evaluate(self, x):
        calls.append(x.shape[-1])
        found = plain(self, x)
        return found._replace(losses=found.losses * float("nan")) if len(calls) == 6 else found

    monkeypatch.setattr(objective.Objective, "evaluate", evaluate)
    with pytest.raises(DivergenceError) as caught:
        transfer_style(*arrays, **BASE, epoch=8, scales=2)
    assert calls == [32] * 4 + [64] * 2
    assert caught.value.step == 5
    assert np.isfinite(caught.value.partial.image).all()
    assert caught.value.partial.image.shape == arrays[0].shape


def test_lists_and_tiles(arrays):
    results = transfer_style([arrays[0]] * 2, arrays[1], **BASE, epoch=4, scales=2)
    assert np.array_equal(results[0].image, results[1].image)
    p = StyleTransferParameters(scales=2, batch=4)
    assert batch_size(p, (64, 64), (64, 64), 1, torch.device("cpu")) == 1
    with pytest.raises(ParameterError, match=r"scales: 2 sizes are not possible.*computed in tiles"):
        transfer_style(*arrays, **BASE, epoch=4, scales=2, tile=32)
