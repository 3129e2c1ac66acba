"""L-BFGS against PyTorch's own, on quadratics and on a style transfer, and the limit on the length of its steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import StyleTransferParameters
from napari_nst.engine.objective import Objective, network_for
from napari_nst.engine.optimization import LBFGS


def plainly(gradient_of, start, lr, steps):
    """Images after every step of PyTorch's optimizer."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x], lr=lr, max_iter=1, history_size=10, tolerance_grad=-1, tolerance_change=-1)

    def closure():
        x.grad = gradient_of(x.detach())
        return torch.zeros(())

    images = []
    for _ in range(steps):
        optimizer.step(closure)
        images.append(x.detach().clone())
    return images


def ours(gradient_of, start, steps, **settings):
    x = start.clone().requires_grad_()
    optimizer = LBFGS(x, **settings)
    images = []
    for _ in range(steps):
        optimizer.step(gradient_of(x.detach()))
        images.append(x.detach().clone())
    return images


def quadratic(seed, shape=(1, 4, 5), spread=50.0):
    """Gradient of xᵀ A x / 2 - bᵀ x with eigenvalues from 1 to `spread`."""
    generator = torch.Generator().manual_seed(seed)
    n = shape[0] * shape[1] * shape[2]
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    matrix = q * torch.logspace(0, torch.tensor(spread).log10().item(), n, dtype=torch.float64) @ q.T
    offset = torch.randn(n, generator=generator, dtype=torch.float64)
    return lambda x: (x.flatten(1) @ matrix - offset).view(x.shape)


def start_of(seed, count=1, shape=(1, 4, 5)):
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), lr=st.sampled_from([0.3, 1.0]))
def test_quadratics_go_as_with_pytorch(seed, lr):
    gradient_of, start = quadratic(seed), start_of(seed)
    expected = plainly(gradient_of, start, lr, 25)
    for one, other in zip(ours(gradient_of, start, 25, lr=lr, longest_step=1e9), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("one_thread")
def test_a_style_transfer_goes_as_with_pytorch(pair):
    p = StyleTransferParameters(preset="gatys")
    target, style = (torch.from_numpy(image[:32, :48] / 255.0)[None, None] for image in (pair.target, pair.style))
    objective = Objective(network_for(p, 1, torch.device("cpu"), torch.float64), target, style, p)

    def gradient_of(x):
        return objective.evaluate(x).gradient

    expected = plainly(gradient_of, target, 1.0, 18)
    moved = max(float((b - a).abs().max()) for a, b in zip([target, *expected], expected, strict=False))
    assert 1e-3 < moved < 0.25  # something happens, and nothing needs to be shortened
    for one, other in zip(ours(gradient_of, target, 18, lr=1.0), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_long_step_is_shortened():
    start = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    images = [start, *ours(lambda x: -1e6 * x, start, 4, lr=1.0)]
    moves = torch.stack(images).diff(dim=0).abs().amax((1, 2, 3, 4))
    assert (moves <= 0.25 + 1e-12).all()
    assert float(moves[-1]) == pytest.approx(0.25)


def test_the_history_holds_the_step_that_was_made():
    curvatures = torch.linspace(1, 3, 20, dtype=torch.float64).view(1, 1, 4, 5)
    x = (start_of(4) + 3).requires_grad_()
    optimizer = LBFGS(x, lr=1.0, longest_step=0.1)
    before = x.detach().clone()
    for _ in range(3):
        before = x.detach().clone()
        optimizer.step(curvatures * x.detach())
    made = x.detach() - before
    assert float(made.abs().max()) == pytest.approx(0.1)
    optimizer.step(curvatures * x.detach())
    state = optimizer._optimizers[0].state[optimizer._images[0]]
    torch.testing.assert_close(state["old_stps"][-1], made.flatten())
    torch.testing.assert_close(state["old_dirs"][-1], (curvatures * made).flatten())


def test_images_together_go_as_each_alone():
    starts = start_of(5, 3)
    starts[1] *= 1e-3  # lengths of first steps, shortenings and histories of their own
    starts[2] *= 40
    gradient_of = quadratic(11)
    together = ours(gradient_of, starts, 20, lr=1.0)
    for k in range(3):
        alone = ours(gradient_of, starts[k : k + 1], 20, lr=1.0)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[k : k + 1], other, rtol=0, atol=1e-12)


def test_images_that_leave_change_nothing_for_the_others():
    gradient_of, starts = quadratic(4), start_of(8, 4)
    expected = ours(gradient_of, starts, 16, lr=1.0)[-1]
    x = starts.clone()
    optimizer = LBFGS(x, 1.0)
    for k in range(16):
        if k in (4, 13):
            staying = torch.tensor([0, 2, 3] if k == 4 else [2, 1])
            x = x[staying]
            optimizer.keep(x, staying)
        optimizer.step(gradient_of(x))
    torch.testing.assert_close(x, expected[[3, 2]], rtol=0, atol=1e-12)


def test_a_gradient_that_is_not_finite_stays_with_its_image():
    gradient_of, starts = quadratic(6), start_of(9, 2)

    def broken(x):
        g = gradient_of(x)
        g[0] = torch.nan
        return g

    together = ours(broken, starts, 6, lr=1.0)[-1]
    assert together[0].isnan().all()
    torch.testing.assert_close(together[1:], ours(gradient_of, starts[1:], 6, lr=1.0)[-1], rtol=0, atol=1e-12)


def test_shortened_steps_reach_the_minimum():
    gradient_of = quadratic(2)
    last = ours(gradient_of, start_of(2) + 5, 120, lr=1.0, longest_step=0.2)[-1]
    assert float(gradient_of(last).abs().max()) < 1e-5


def test_the_gradient_may_be_overwritten_and_an_image_at_rest_stays():
    gradient_of, start = quadratic(1), start_of(1)
    x, buffer = start.clone().requires_grad_(), torch.empty_like(start)
    optimizer = LBFGS(x, 1.0)
    for _ in range(5):
        buffer.copy_(gradient_of(x.detach()))
        optimizer.step(buffer)
        buffer.fill_(7.0)
    torch.testing.assert_close(x.detach(), ours(gradient_of, start, 5, lr=1.0)[-1])
    resting = start.clone().requires_grad_()
    optimizer = LBFGS(resting, 1.0)
    for _ in range(3):
        optimizer.step(torch.zeros_like(start))
    torch.testing.assert_close(resting.detach(), start)
