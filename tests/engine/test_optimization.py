"""The loop: optimisers against PyTorch's own on autograd, stopping, convergence, failures, repetition."""

import itertools
import threading

import numpy as np
import pytest
import torch

from napari_nst import StyleTransferParameters, transfer_style
from napari_nst.engine import devices, memory, objective
from napari_nst.engine import run as running
from napari_nst.engine.cancel import as_cancel
from napari_nst.engine.objective import Objective, network_for
from napari_nst.engine.optimization import Optimization
from napari_nst.engine.run import Problem, run
from napari_nst.errors import (
    DivergenceError,
    EngineError,
    OutOfMemoryError,
    ParameterError,
    StyleTransferError,
    StyleTransferWarning,
)

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
BASE = {"preset": "texture", **LAYERS, "device": "cpu", "threads": 1, "tolerance": 0.0}


def settings(**given):
    return StyleTransferParameters(**{**BASE, **given})


@pytest.fixture(scope="module")
def units(pair):
    return [torch.from_numpy(p[:24, :32] / 255.0)[None, None] for p in (pair.target, pair.style)]


@pytest.fixture(scope="module")
def arrays(pair):
    return pair.target[:24, :32], pair.style[:24, :32]


def loop(units, p, dtype=torch.float64, **kwargs):
    target, style = (u.to(dtype) for u in units)
    network = network_for(p, 1, torch.device("cpu"), dtype)
    return Optimization(Objective(network, target, style, p), target, p, **kwargs)


def total_by_autograd(x, p, target, style):
    """The plain formula, without masks, on the network's differentiable forward pass."""
    network = network_for(p, 1, torch.device("cpu"), x.dtype)
    mine, content, styles = (dict(zip(network.layers, network(v), strict=True)) for v in (x, target, style))
    loss = p.alpha * sum(((mine[n] - content[n]) ** 2).mean() for n in p.content_layers)
    weights = p.style_layer_weights or (1.0,) * len(p.style_layers)
    for n, weight in zip(p.style_layers, weights, strict=True):
        grams = [(f.flatten(2) @ f.flatten(2).mT) / f[0, 0].numel() for f in (mine[n], styles[n])]
        loss = loss + p.beta * weight * ((grams[0] - grams[1]) ** 2).mean()
    return loss


def count_evaluations(monkeypatch):
    calls = []
    plain = objective.Objective.evaluate

    def evaluate(self, x):
        calls.append(x.detach().clone())
        return plain(self, x)

    monkeypatch.setattr(objective.Objective, "evaluate", evaluate)
    return calls


# The optimisers


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_steps_equal_those_of_pytorchs_optimiser_on_autograd(optimizer, units):
    # With these layers no step of L-BFGS needs to be shortened.
    p = StyleTransferParameters(preset="gatys", optimizer=optimizer, clip=False, epoch=8)
    target, style = units
    x = target.clone().requires_grad_()
    if optimizer == "adam":
        plain = torch.optim.Adam([x], lr=p.lr)
    else:
        plain = torch.optim.LBFGS([x], lr=1.0, max_iter=1, history_size=10, tolerance_grad=-1, tolerance_change=-1)
    losses = []

    def closure():
        plain.zero_grad()
        loss = total_by_autograd(x, p, target, style)
        (x.grad,) = torch.autograd.grad(loss, x)
        losses.append(float(loss.detach()))
        return loss.detach()

    run = loop(units, p)
    for _ in run.run():
        plain.step(closure)
        torch.testing.assert_close(run.image_of(), x.detach(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(run.losses_of()[:, 2], losses, rtol=1e-8)


@pytest.mark.parametrize("preset", ["gatys", "texture", "documented"])
def test_lbfgs_lowers_the_loss_under_every_preset(preset, pair):
    # Without a limit to the length of its steps, "texture" came to infinity in the third.
    result = transfer_style(
        pair.target[:32, :48], pair.style[:32, :48], preset=preset, optimizer="lbfgs", epoch=15, device="cpu", threads=1
    )
    assert result.losses.total[-1] < 0.2 * result.losses.total[0]
    assert result.losses.total.max() < 2 * result.losses.total[0]


@pytest.mark.parametrize(("optimizer", "lr", "reached"), [("lbfgs", 1.0, 2.0), ("adam", 0.1, 1.0)])
def test_lbfgs_is_never_projected_and_adam_always(optimizer, lr, reached):
    class Bowl:
        def evaluate(self, x):
            value = ((x - 2) ** 2).sum() / 2
            return objective.Evaluation(torch.stack([value, value, value])[None], x - 2)

    run = Optimization(
        Bowl(), torch.full((1, 1, 16, 16), 0.5), settings(optimizer=optimizer, lr=lr, clip=True, epoch=20)
    )
    for _ in run.run():
        pass
    torch.testing.assert_close(run.image_of(), torch.full((1, 1, 16, 16), reached), rtol=0, atol=1e-4)


def test_no_step_of_lbfgs_is_longer_than_a_quarter_of_the_value_range():
    # A quadratic along which the plain method would jump.

    class Concave:
        def evaluate(self, x):
            value = -1e6 * (x**2).sum() / 2
            return objective.Evaluation(torch.stack([value, value, value])[None], -1e6 * x)

    p = settings(optimizer="lbfgs", epoch=3)
    start = torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    run = Optimization(Concave(), start, p)
    images = [start] + [progress.image.clone() for progress in run.run()]
    for one, other in itertools.pairwise(images[1:]):  # the first is one of the gradient, PyTorch's own limit
        assert float((other - one).abs().max()) == pytest.approx(0.25)


def test_lbfgs_takes_one_evaluation_a_step(units, monkeypatch):
    calls = count_evaluations(monkeypatch)
    for _ in loop(units, settings(optimizer="lbfgs", epoch=6)).run():
        pass
    assert len(calls) == 6


def test_projection_keeps_the_value_range_after_every_step(units):
    run, free = (loop(units, settings(lr=0.2, epoch=6, clip=clip)) for clip in (True, False))
    for progress in run.run():
        assert progress.image.min() >= 0
        assert progress.image.max() <= 1
    outside = False
    for progress in free.run():
        outside |= bool(progress.image.min() < 0 or progress.image.max() > 1)
    assert outside


def test_the_result_is_within_the_value_range_in_any_case(arrays):
    result = transfer_style(*arrays, **{**BASE, "lr": 0.3, "clip": False, "epoch": 4}, value_range=(0, 255))
    unit = transfer_style(
        arrays[0] / 255.0, arrays[1] / 255.0, **{**BASE, "lr": 0.3, "clip": False, "epoch": 4}, value_range=(0, 1)
    )
    assert result.image.dtype == np.uint8
    assert unit.image.min() >= -1e-7  # the change is of single precision
    assert unit.image.max() <= 1 + 1e-7


def test_an_adam_step_is_at_most_the_learning_rate(units):
    run = loop(units, settings(lr=0.01, epoch=1, clip=False))
    next(run.run())
    assert (run.image_of() - units[0]).abs().max() <= 0.01 + 1e-12


def test_total_variation_lowers_total_variation(arrays):
    def variation(image):
        return sum(float((np.diff(image, axis=a) ** 2).mean()) for a in (0, 1))

    plain, smooth = (
        transfer_style(
            arrays[0] / 255.0, arrays[1] / 255.0, **{**BASE, "beta": 0.0, "epoch": 5}, tv_weight=w, value_range=(0, 1)
        )
        for w in (0.0, 1e9)
    )
    assert variation(smooth.image) < 0.9 * variation(plain.image)
    np.testing.assert_allclose(plain.image, arrays[0] / 255.0, atol=1e-12)


# Convergence


@pytest.mark.parametrize(("tolerance", "window"), [(5.0, 1), (5.0, 4), (20.0, 10), (100.0, 2), (0.01, 3)])
def test_convergence_is_judged_as_documented(tolerance, window, units):
    full = loop(units, settings(epoch=40, lr=0.02))
    for _ in full.run():
        pass
    losses = full.losses_of()[:, 2].tolist()
    # 100 (L[k-w] - L[k]) / L[0] < tolerance, from the first k that has an L[k-w]
    stops = [k for k in range(window, 40) if 100 * (losses[k - window] - losses[k]) / losses[0] < tolerance]
    run = loop(units, settings(epoch=40, lr=0.02, tolerance=tolerance, window=window))
    for _ in run.run():
        pass
    expected = stops[0] + 1 if stops else 40
    assert run.step == len(run.losses_of()) == expected
    assert run.stopped_of() == ("converged" if stops else "finished")
    assert run.losses_of()[:, 2].tolist() == losses[:expected]


def test_a_converged_run_says_so(arrays):
    result = transfer_style(*arrays, **{**BASE, "tolerance": 100.0, "window": 2, "epoch": 50})
    assert result.stopped == result.metadata["stopped"] == "converged"
    assert len(result.losses.total) == result.metadata["steps"] == 3


def test_documented_never_stops_early(arrays):
    assert transfer_style(*arrays, **LAYERS, epoch=30, device="cpu", threads=1).metadata["steps"] == 30


# Cancelling


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["event", "callable"])
def test_cancelling_stops_within_one_evaluation_with_the_partial_result(kind, optimizer, arrays, monkeypatch):
    calls, stop = count_evaluations(monkeypatch), threading.Event()
    seen = []

    def callback(progress):
        seen.append(progress.image())
        if progress.step == 3:
            stop.set()

    cancel = stop if kind == "event" else stop.is_set
    result = transfer_style(*arrays, **BASE, optimizer=optimizer, epoch=50, callback=callback, cancel=cancel)
    assert len(calls) == 3
    assert result.stopped == result.metadata["stopped"] == "cancelled"
    assert len(result.losses.total) == 3
    assert np.array_equal(result.image, seen[-1])
    assert (result.image != arrays[0]).any()


def test_cancelling_before_the_first_evaluation_gives_the_target(arrays, monkeypatch):
    calls = count_evaluations(monkeypatch)
    result = transfer_style(*arrays, **BASE, cancel=lambda: True)
    assert not calls
    assert result.stopped == "cancelled"
    assert [loss.shape for loss in result.losses] == [(0,)] * 3
    assert np.array_equal(result.image, arrays[0])


def test_a_cancel_that_cannot_be_asked_is_refused(arrays):
    assert as_cancel(None)() is False
    with pytest.raises(ParameterError, match="cancel: True can neither be called"):
        transfer_style(*arrays, **BASE, cancel=True)


# Failures


def failing(monkeypatch, at, failure):
    plain, calls = objective.Objective.evaluate, []

    def evaluate(self, x):
        calls.append(x.detach().clone())
        found = plain(self, x)
        return failure(found) if len(calls) == at else found

    monkeypatch.setattr(objective.Objective, "evaluate", evaluate)
    return calls


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [1, 4])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_good_image(at, value, arrays, monkeypatch):
    seen = []
    failing(monkeypatch, at, lambda found: found._replace(losses=found.losses * value))
    with pytest.raises(DivergenceError, match=rf"step {at - 1} of 9 .*learning rate \(0.01\)") as caught:
        transfer_style(*arrays, **BASE, epoch=9, callback=lambda p: seen.append(p.image()))
    error = caught.value
    assert error.step == at - 1
    # The last image whose losses were finite is the one of the evaluation before.
    expected = arrays[0] if at == 1 else transfer_style(*arrays, **BASE, epoch=at - 2).image
    assert np.array_equal(error.partial.image, expected)
    assert error.partial.stopped == "diverged"
    assert error.partial.metadata["stopped"] == "diverged"


def test_a_gradient_that_is_not_finite_is_noticed_in_the_last_step_too(arrays, monkeypatch):
    failing(monkeypatch, 3, lambda found: found._replace(gradient=found.gradient * float("nan")))
    with pytest.raises(DivergenceError) as caught:
        transfer_style(arrays[0].astype(np.float32), arrays[1], **BASE, epoch=3)
    assert np.isfinite(caught.value.partial.image).all()


@pytest.mark.parametrize("given_", [{"lr": 1e3}, {"lr": 1e3, "beta": 1e12}])
def test_absurd_settings_end_in_a_divergence_with_a_finite_image(given_, pair):
    target = pair.target.astype(np.float32)
    with pytest.raises(DivergenceError) as caught:
        transfer_style(target, pair.style, **given_, epoch=20, device="cpu")
    assert np.isfinite(caught.value.partial.image).all()
    assert caught.value.step < 3


@pytest.mark.usefixtures("bfloat16")
def test_absurd_settings_end_in_a_divergence_with_a_finite_image_in_bfloat16(pair):
    test_absurd_settings_end_in_a_divergence_with_a_finite_image({"lr": 1e3, "precision": "bfloat16"}, pair)


def test_a_gradient_whose_squares_are_infinite_is_told(pair):
    # Adam would divide by infinity and change nothing, without an error.
    target = pair.target.astype(np.float32)
    with pytest.raises(DivergenceError, match=r"too large for float32.*step 1 of 5.*precision='float64'") as caught:
        transfer_style(target, pair.style, beta=1e12, epoch=5, device="cpu")
    assert caught.value.step == 0
    assert np.array_equal(caught.value.partial.image, target)
    exact = transfer_style(target, pair.style, beta=1e12, epoch=2, device="cpu", precision="float64")
    assert exact.losses.total[1] < exact.losses.total[0]


@pytest.mark.parametrize("message", ["CUDA error: an illegal memory access", ""])
def test_a_runtime_error_never_leaves_as_such(message, arrays, monkeypatch):
    def fail(found):
        raise RuntimeError(message)

    failing(monkeypatch, 2, fail)
    with pytest.raises(EngineError, match=r"PyTorch .* failed on cpu.*napari-nst info") as caught:
        transfer_style(*arrays, **BASE)
    assert not isinstance(caught.value, RuntimeError)


def test_no_error_of_ours_is_a_runtime_error():
    from napari_nst import errors

    for name in errors.__all__:
        found = getattr(errors, name)
        assert not issubclass(found, RuntimeError)
        assert issubclass(found, StyleTransferError | Warning)


def out_of_memory_on(monkeypatch, kind):
    """The first device is one that is full; only its evaluations fail, after some of them went well."""
    plain = running._Batch.__init__

    def start(self, problems, p, device, *rest):
        if device.type == kind:
            raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB.\nmore lines")
        plain(self, problems, p, device, *rest)

    monkeypatch.setattr(running, "resolve_device", lambda name: torch.device(kind))
    monkeypatch.setattr(running._Batch, "__init__", start)
    monkeypatch.setattr(running, "free_memory", lambda device: 2**40)


def test_a_full_gpu_hands_over_to_the_cpu_with_a_warning_and_a_record(arrays, monkeypatch):
    expected = transfer_style(*arrays, **BASE, epoch=3)
    out_of_memory_on(monkeypatch, "mps")
    with pytest.warns(StyleTransferWarning, match=r"mps .*ran out of memory.*Going on on the CPU"):
        result = transfer_style(*arrays, **BASE, epoch=3)
    assert np.array_equal(result.image, expected.image)
    assert result.metadata["used"]["device"] == "cpu"
    assert "20.00 GiB" in result.metadata["used"]["fallback"]
    assert "Going on on the CPU" in result.metadata["warnings"][0]


def test_a_full_gpu_without_fallback_is_an_error_with_the_amount(arrays, monkeypatch):
    out_of_memory_on(monkeypatch, "mps")
    with pytest.raises(OutOfMemoryError, match=r"ran out of memory \(Tried to allocate 20.00 GiB"):
        transfer_style(*arrays, **BASE, fallback=False)


def test_a_cpu_without_memory_has_nothing_to_fall_back_to(arrays, monkeypatch):
    def fail(found):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    failing(monkeypatch, 1, fail)
    with pytest.raises(OutOfMemoryError, match="smaller region"):
        transfer_style(*arrays, **BASE)


def test_too_little_memory_is_told_before_anything_is_allocated(arrays, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**16)
    calls = count_evaluations(monkeypatch)
    with pytest.raises(OutOfMemoryError, match=r"24 × 32 pixels.*needs about .* GiB.*0\.0 GiB are free.*at most about"):
        transfer_style(*arrays, **BASE)
    assert not calls


def test_more_memory_is_needed_for_larger_images_deeper_layers_and_double_precision():
    def needed(size=(256, 256), **given):
        return memory.memory_needed(settings(**given), size, (256, 256))

    assert needed((512, 512)) == pytest.approx(4 * needed(), rel=0.01)
    assert needed(content_layers=("relu5_1",)) > needed()
    assert needed(precision="float64") > needed() > needed(precision="bfloat16")


def test_a_device_that_is_not_there_is_refused(arrays, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match=r"device: 'cuda:3' is not there.*sees 0 CUDA"):
        transfer_style(*arrays, **{**BASE, "device": "cuda:3"})
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="device: 'mps' is not there"):
        transfer_style(*arrays, **{**BASE, "device": "mps"})


def test_auto_takes_cuda_then_mps_then_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.resolve_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.resolve_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert str(devices.resolve_device("auto")) == "cuda:1"


# Repetition


@pytest.mark.parametrize(
    "given_", [{}, {"optimizer": "lbfgs"}, {"init": "noise"}, {"precision": "float64"}],
    ids=["adam", "lbfgs", "noise", "float64"],
)  # fmt: skip
def test_a_run_repeated_is_equal_to_the_last_bit(given_, arrays):
    target = arrays[0].astype(np.float64)
    one, other = (transfer_style(target, arrays[1], **{**BASE, "epoch": 6, **given_}) for _ in range(2))
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.losses.total, other.losses.total)


@pytest.mark.usefixtures("bfloat16")
def test_a_run_in_bfloat16_repeated_is_equal_to_the_last_bit(arrays):
    test_a_run_repeated_is_equal_to_the_last_bit({"precision": "bfloat16"}, arrays)


def test_the_seed_decides_the_noise(arrays):
    one, other = (transfer_style(*arrays, **BASE, init="noise", epoch=1, seed=s) for s in (1, 2))
    assert not np.array_equal(one.image, other.image)
    assert not np.array_equal(one.losses.total, other.losses.total)
    before = torch.get_rng_state()
    transfer_style(*arrays, **BASE, init="noise", epoch=1)
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's numbers change


def test_noise_leaves_masked_pixels_alone(arrays):
    mask = np.zeros(arrays[0].shape, bool)
    mask[5:15] = True
    result = transfer_style(*arrays, **BASE, init="noise", epoch=1, mask=mask)
    assert np.array_equal(result.image[~mask], arrays[0][~mask])


@pytest.mark.usefixtures("bfloat16")
def test_bfloat16_is_within_a_few_gray_levels(arrays):
    exact, rough = (transfer_style(*arrays, **BASE, epoch=10, precision=p) for p in ("float32", "bfloat16"))
    difference = np.abs(exact.image.astype(int) - rough.image)
    assert difference.mean() < 4
    assert rough.metadata["used"]["precision"] == "bfloat16"


# Threads


@pytest.mark.parametrize("ending", ["finished", "cancelled", "error", "callback"])
def test_the_thread_count_is_given_back(ending, arrays, monkeypatch):
    before = torch.get_num_threads()
    inside = []

    def callback(progress):
        inside.append(torch.get_num_threads())
        if ending == "callback":
            raise KeyError("a mistake in the callback")

    given_ = {**BASE, "threads": before + 1, "epoch": 3, "callback": callback}
    if ending == "cancelled":
        transfer_style(*arrays, **given_, cancel=lambda: bool(inside))
    elif ending == "finished":
        result = transfer_style(*arrays, **given_)
        assert result.metadata["used"]["threads"] == before + 1
    else:
        if ending == "error":
            failing(monkeypatch, 2, lambda found: found._replace(losses=found.losses * float("nan")))
        with pytest.raises((DivergenceError, KeyError)) as caught:
            transfer_style(*arrays, **given_)
        assert torch.get_num_threads() == before  # while the error is still held
        del caught
    assert inside[0] == before + 1
    assert torch.get_num_threads() == before


def test_steps_can_be_left_at_any_time(units):
    before = torch.get_num_threads()
    p = settings(threads=before + 1, epoch=5)
    steps = run([Problem(*(u.double() for u in units))], p)
    next(steps)
    steps.close()
    assert torch.get_num_threads() == before
