"""Several images at once: each must come out as if it were alone."""

import threading

import numpy as np
import pytest
import torch

from napari_nst import transfer_style
from napari_nst.engine import memory, objective
from napari_nst.engine.memory import batch_size
from napari_nst.errors import DivergenceError, ImageError
from napari_nst.settings.parameters import StyleTransferParameters

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
EXACT = {"preset": "texture", **LAYERS, "device": "cpu", "threads": 1, "precision": "float64", "tolerance": 0.0}


@pytest.fixture(scope="module")
def images(pair):
    """Five targets of one size and five styles, the last target of another size."""
    targets = [pair.target[8 * k : 8 * k + 24, 4 * k : 4 * k + 32].astype(np.float32) for k in range(4)]
    styles = [pair.style[4 * k : 4 * k + 32 - k, 8 * k : 8 * k + 24] for k in range(5)]
    return [*targets, pair.target[:40, :24].astype(np.float32)], styles


@pytest.fixture(autouse=True)
def forget_styles():
    objective.STYLES.clear()


def same(one, other, tolerance=1e-4):
    """Gray values of 0..255, and losses."""
    np.testing.assert_allclose(one.image, other.image, rtol=0, atol=tolerance)
    for got, wanted in zip(one.losses, other.losses, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-8)
    assert one.stopped == other.stopped


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("batch", [0, 2, 3, 8])
def test_each_image_comes_out_as_if_it_were_alone(batch, optimizer, images):
    targets, styles = images
    given = {**EXACT, "optimizer": optimizer, "epoch": 4}
    together = transfer_style(targets, styles, **given, batch=batch)
    assert [r.image.shape for r in together] == [t.shape for t in targets]
    for target, style, result in zip(targets, styles, together, strict=True):
        same(result, transfer_style(target, style, **given))
        assert result.metadata["steps"] == 4
    sizes = {0: [2, 2, 2, 2, None], 2: [2, 2, 2, 2, None], 3: [3, 3, 3, None, None], 8: [4, 4, 4, 4, None]}[batch]
    assert [r.metadata["used"].get("batch") for r in together] == sizes


def test_one_style_serves_all(images):
    targets, styles = images
    together = transfer_style(targets, styles[0], **EXACT, epoch=2, batch=4)
    for target, result in zip(targets, together, strict=True):
        same(result, transfer_style(target, styles[0], **EXACT, epoch=2))


def test_a_style_passes_through_the_network_once(images, monkeypatch):
    targets, styles = images
    seen, plain = [], objective.StyleTarget.of.__func__

    def of(cls, network, style, *rest):
        seen.append(style)
        return plain(cls, network, style, *rest)

    monkeypatch.setattr(objective.StyleTarget, "of", classmethod(of))
    transfer_style(targets, styles[0], **EXACT, epoch=1)
    transfer_style(targets[0], styles[0], **EXACT, epoch=1)
    assert len(seen) == 1
    transfer_style(targets[0], styles[1], **EXACT, epoch=1)
    transfer_style(targets[0], styles[0], **{**EXACT, "precision": "float32"}, epoch=1)
    changed = styles[0].copy()
    changed[3, 3] += 1
    transfer_style(targets[0], changed, **EXACT, epoch=1, value_range=(0, 255))
    assert len(seen) == 4


def test_the_cache_forgets_the_oldest():
    network = objective.network_for(StyleTransferParameters(**EXACT), 1, torch.device("cpu"), torch.float64)
    cache = objective.StyleCache(size=2)
    styles = [torch.rand(1, 1, 16, 16, dtype=torch.float64) for _ in range(3)]
    first = cache.get(network, styles[0], ("relu1_1",), None)
    cache.get(network, styles[1], ("relu1_1",), None)
    assert cache.get(network, styles[0], ("relu1_1",), None) is first
    cache.get(network, styles[2], ("relu1_1",), None)  # instead of the second
    assert cache.get(network, styles[0], ("relu1_1",), None) is first
    assert cache.get(network, styles[0], ("relu1_1",), torch.ones(1, 1, 16, 16)) is not first


def test_each_image_ends_when_it_has_converged(images):
    targets, styles = images
    given = {**EXACT, "tolerance": 3.0, "window": 2, "epoch": 40, "lr": 0.02}
    alone = [transfer_style(t, s, **given) for t, s in zip(targets[:4], styles, strict=False)]
    ends = [r.metadata["steps"] for r in alone]
    assert len(set(ends)) > 1
    for one, other in zip(transfer_style(targets[:4], styles[:4], **given, batch=4), alone, strict=True):
        same(one, other)
        assert one.stopped == "converged"


def test_masks_hold_for_all(images):
    targets, styles = images
    mask = np.zeros(targets[0].shape, bool)
    mask[4:20, 6:30] = True
    together = transfer_style(targets[:3], styles[0], **EXACT, epoch=3, batch=3, mask=mask)
    for target, result in zip(targets, together, strict=False):
        same(result, transfer_style(target, styles[0], **EXACT, epoch=3, mask=mask))
        assert np.array_equal(result.image[~mask], target[~mask])


def test_borders_of_some_images_are_kept_out(images):
    targets, styles = [t.copy() for t in images[0][:3]], images[1]
    targets[1][:5] = 0
    together = transfer_style(targets, styles[0], **EXACT, epoch=3, batch=3, mask="border")
    for target, result in zip(targets, together, strict=True):
        same(result, transfer_style(target, styles[0], **EXACT, epoch=3, mask="border"))


def test_noise_and_spectrum_as_starts(images):
    targets, styles = images
    for given in ({"init": "noise", "seed": 3}, {"init": "spectrum"}):
        together = transfer_style(targets[:2], styles[:2], **EXACT, **given, epoch=2)
        for target, style, result in zip(targets[:2], styles[:2], together, strict=True):
            same(result, transfer_style(target, style, **EXACT, **given, epoch=2))


def test_the_callback_sees_every_step_of_every_target(images):
    targets, styles = images
    seen = []

    def callback(p):
        seen.append((p.target, p.step, p.epoch, p.plane, p.planes))
        assert p.image().shape == targets[p.target].shape
        assert p.losses[2] > 0

    transfer_style(targets[:3], styles[0], **EXACT, epoch=2, batch=2, callback=callback)
    assert seen == [
        (0, 1, 2, 0, 1),
        (1, 1, 2, 0, 1),
        (0, 2, 2, 0, 1),
        (1, 2, 2, 0, 1),
        (2, 1, 2, 0, 1),
        (2, 2, 2, 0, 1),
    ]


def test_cancelling_leaves_the_others_as_they_are(images):
    targets, styles = images
    stop = threading.Event()
    results = transfer_style(
        targets, styles, **EXACT, epoch=5, batch=2, cancel=stop, callback=lambda p: p.step == 2 and stop.set()
    )
    assert [r.metadata["steps"] for r in results] == [2, 2, 0, 0, 0]
    assert {r.stopped for r in results} == {"cancelled"}
    assert [n["stopped"] for r in results for n in r.metadata["planes"]] == ["cancelled"] * 2 + ["not begun"] * 3
    assert (results[0].image != targets[0]).any()
    for target, result in zip(targets[2:], results[2:], strict=True):
        assert np.array_equal(result.image, target)


def test_an_image_that_diverges_costs_no_other(images, monkeypatch):
    targets, styles = images
    plain, calls = objective.Objective.evaluate, []

    def evaluate(self, x):
        calls.append(len(x))
        found = plain(self, x)
        if len(calls) == 3 and len(x) == 4:
            found.losses[1] = float("nan")
        return found

    monkeypatch.setattr(objective.Objective, "evaluate", evaluate)
    with pytest.raises(DivergenceError, match=r"step 2 of 5.*learning rate") as caught:
        transfer_style(targets, styles, **EXACT, epoch=5, batch=4)
    assert calls == [4, 4, 4, 3, 3] + [1] * 5
    results = caught.value.partial
    assert [r.stopped for r in results] == ["finished", "diverged", "finished", "finished", "finished"]
    monkeypatch.undo()
    for k in (0, 2, 3, 4):
        same(results[k], transfer_style(targets[k], styles[k], **EXACT, epoch=5))
    # The last image whose losses were finite is the one of the evaluation before.
    assert np.array_equal(results[1].image, transfer_style(targets[1], styles[1], **EXACT, epoch=1).image)


@pytest.mark.parametrize("most", [1, 2])
def test_too_little_memory_halves_the_batch(most, images, monkeypatch):
    targets, styles = images
    plain, sizes = objective.Objective.evaluate, []

    def evaluate(self, x):
        sizes.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, x)

    monkeypatch.setattr(objective.Objective, "evaluate", evaluate)
    seen = []
    results = transfer_style(
        targets[:4], styles[0], **EXACT, epoch=1, batch=4, callback=lambda p: seen.append(p.target)
    )
    assert sizes == {1: [4, 2, 1, 1, 2, 1, 1], 2: [4, 2, 2]}[most]
    assert seen == [0, 1, 2, 3]
    monkeypatch.undo()
    same(results[3], transfer_style(targets[3], styles[0], **EXACT, epoch=1))


def test_stacks_side_by_side(images):
    targets, styles = images
    stack = np.stack([targets[0], np.zeros_like(targets[0]), *targets[1:4]])
    seen = []
    given = {**EXACT, "epoch": 2, "value_range": (0, 255)}
    with pytest.warns(UserWarning, match=r"Plane \(1,\) is left as it is"):
        result = transfer_style(stack, styles[0], **given, batch=3, callback=lambda p: seen.append((p.step, p.plane)))
    with pytest.warns(UserWarning, match=r"Plane \(1,\) is left as it is"):
        plain = transfer_style(stack, styles[0], **given)
    same(result, plain)
    assert [n["stopped"] for n in result.metadata["planes"]] == [n["stopped"] for n in plain.metadata["planes"]]
    assert [plane for _, plane in seen] == [0, 2, 0, 2, 3, 4, 3, 4]
    steps = [step for step, _ in seen]
    assert steps == sorted(set(steps))
    assert steps[-1] == 10


def test_a_stack_within_a_list(images):
    targets, styles = images
    stack = np.stack(targets[:2])
    results = transfer_style([targets[0], stack, targets[1]], styles[0], **EXACT, epoch=2, value_range=(0, 255))
    assert [r.image.shape for r in results] == [targets[0].shape, stack.shape, targets[1].shape]
    assert np.array_equal(results[1].image[0], results[0].image)


def test_how_many_at_once(monkeypatch):
    p = StyleTransferParameters(device="cpu", precision="float32")
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    free = 64 * 2**30
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    assert batch_size(p, (185, 185), (185, 185), 1, cpu) == 2
    assert batch_size(p, (512, 512), (185, 185), 1, cpu) == 1
    assert batch_size(p, (185, 185), (185, 185), 1, cuda) == 64
    few = batch_size(p, (2048, 2048), (185, 185), 1, cuda)
    assert 1 < few < 64
    free //= 2
    assert abs(batch_size(p, (2048, 2048), (185, 185), 1, cuda) - few / 2) <= 1
    free = 0
    assert batch_size(p, (185, 185), (185, 185), 1, cuda) == 1
    assert batch_size(StyleTransferParameters(batch=7), (185, 185), (185, 185), 1, cpu) == 7


def test_a_bad_target_is_named_before_anything_runs(images):
    targets, styles = images
    with pytest.raises(ImageError, match="3 targets and 2 styles"):
        transfer_style(targets[:3], styles[:2])
    with pytest.raises(ImageError, match="constant"):
        transfer_style([targets[0], np.ones_like(targets[0])], styles[0], **EXACT, epoch=1)
