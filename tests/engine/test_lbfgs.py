"""L-BFGS against PyTorch's, on quadratics and on a style transfer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nst import StyleTransferParameters
from napari_nst.engine.lbfgs import LBFGS
from napari_nst.engine.objective import Objective, network_for


def plainly(gradient_of, start, lr, steps):
    """Pictures after every step of PyTorch's optimiser, of one picture alone."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([x], lr=lr, max_iter=1, history_size=10, tolerance_grad=-1, tolerance_change=-1)

    def closure():
        x.grad = gradient_of(x.detach())
        return torch.zeros(())

    pictures = []
    for _ in range(steps):
        optimizer.step(closure)
        pictures.append(x.detach().clone())
    return pictures


def ours(gradient_of, start, steps, **settings):
    optimizer = LBFGS(start.clone(), **settings)
    pictures = []
    for _ in range(steps):
        optimizer.step(gradient_of(optimizer.x))
        pictures.append(optimizer.x.clone())
    return pictures


def quadratic(seed, shape=(1, 4, 5), spread=50.0):
    """Gradient of xᵀ A x / 2 - bᵀ x with eigenvalues from 1 to `spread`."""
    generator = torch.Generator().manual_seed(seed)
    n = shape[0] * shape[1] * shape[2]
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    matrix = q * torch.logspace(0, torch.tensor(spread).log10().item(), n, dtype=torch.float64) @ q.T
    offset = torch.randn(n, generator=generator, dtype=torch.float64)
    return lambda x: (x.flatten(1) @ matrix - offset).view(x.shape)


def start_of(seed, count=1, shape=(1, 4, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, *shape), generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def transfer(pair):
    """Gradient of a small style transfer in double precision, and its target."""
    p = StyleTransferParameters(preset="gatys")
    target, style = (torch.from_numpy(image[:32, :48] / 255.0)[None, None] for image in (pair.target, pair.style))
    network = network_for(p, 1, torch.device("cpu"), torch.float64)
    objective = Objective(network, target, style, p)
    return lambda x: objective.evaluate(x).gradient, target


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), lr=st.sampled_from([0.3, 1.0]))
def test_quadratics_go_as_with_pytorch(seed, lr):
    gradient_of, start = quadratic(seed), start_of(seed)
    expected = plainly(gradient_of, start, lr, 25)
    for one, other in zip(ours(gradient_of, start, 25, lr=lr, longest_step=1e9), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("one_thread")
def test_a_style_transfer_goes_as_with_pytorch(transfer):
    gradient_of, start = transfer
    expected = plainly(gradient_of, start, 1.0, 18)
    moved = max(float((b - a).abs().max()) for a, b in zip([start, *expected], expected, strict=False))
    assert 1e-3 < moved < 0.25  # something happens, and nothing needs to be shortened
    for one, other in zip(ours(gradient_of, start, 18, lr=1.0), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def bent(x):
    """Gradient of Σ log(1 + a x²): concave far out, convex near the minimum."""
    factors = torch.linspace(1, 3, x[0].numel(), dtype=x.dtype).view(x[:1].shape)
    return 2 * factors * x / (1 + factors * x**2)


def test_pairs_without_curvature_take_no_place_in_the_history():
    starts = start_of(3, 8) + torch.linspace(0.5, 4, 8, dtype=torch.float64).view(-1, 1, 1, 1)
    expected = torch.stack([torch.cat(plainly(bent, start[None], 0.5, 24)) for start in starts])
    curvatures = (
        expected.diff(dim=1).mul(bent(expected.flatten(0, 1)).view(expected.shape).diff(dim=1)).flatten(2).sum(2)
    )
    left_out = (curvatures <= 1e-10).sum(1)
    assert len(set(left_out.tolist())) > 3  # not of all pictures alike
    assert ((curvatures > 1e-10).sum(1) > 10).any()  # and histories come to their end
    together = ours(bent, starts, 24, lr=0.5, longest_step=1e9)
    torch.testing.assert_close(together[-1], expected[:, -1], rtol=0, atol=1e-8)


def test_pictures_together_go_as_each_alone():
    starts = start_of(5, 3)
    starts[1] *= 1e-3  # lengths of first steps, shortenings and histories of their own
    starts[2] *= 40
    gradient_of = quadratic(11)
    together = ours(gradient_of, starts, 20, lr=1.0)
    for k in range(3):
        alone = ours(gradient_of, starts[k : k + 1], 20, lr=1.0)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[k : k + 1], other, rtol=0, atol=1e-12)


def test_a_long_step_is_shortened_for_its_picture_alone():
    def concave(x):
        return -1e6 * x

    start = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    start[1] = 1e-9
    pictures = [start, *ours(concave, start, 4, lr=1.0)]
    moves = torch.stack(pictures).diff(dim=0).abs().amax((2, 3, 4))
    assert (moves <= 0.25 + 1e-12).all()
    torch.testing.assert_close(moves[1:, 0], torch.full((3,), 0.25, dtype=torch.float64))
    assert moves[1, 1] < 0.25  # its gradient was small enough


def test_the_history_holds_the_step_that_was_made():
    """On aᵢ xᵢ² / 2 with shortened steps the secant equation H y = s holds for what was really moved."""
    curvatures = torch.tensor([1.0, 2.0, 5.0, 9.0], dtype=torch.float64).view(1, 1, 2, 2)
    start = torch.full((1, 1, 2, 2), 30.0, dtype=torch.float64)
    optimizer = LBFGS(start.clone(), lr=1.0, longest_step=0.1)
    before = start
    for _ in range(3):
        before = optimizer.x.clone()
        optimizer.step(curvatures * optimizer.x)
    made = optimizer.x - before
    assert float(made.abs().max()) == pytest.approx(0.1)
    # A last gradient equal to the change of the gradient asks for - H y, which must be less the last step.
    change = curvatures * made
    optimizer._remember(change.flatten(1), made.flatten(1))
    torch.testing.assert_close(optimizer._before[1], made.flatten(1))
    optimizer._done += 1
    torch.testing.assert_close(optimizer._direction(change.flatten(1)), -made.flatten(1))


def test_shortened_steps_reach_the_minimum():
    gradient_of = quadratic(2)
    start = start_of(2) + 5
    last = ours(gradient_of, start, 120, lr=1.0, longest_step=0.2)[-1]
    assert float(gradient_of(last).abs().max()) < 1e-5


def test_pictures_that_leave_change_nothing_for_the_others():
    gradient_of, starts = quadratic(4), start_of(8, 4)
    expected = ours(gradient_of, starts, 16, lr=1.0)[-1]
    optimizer = LBFGS(starts.clone(), 1.0)
    for k in range(16):
        if k in (4, 13):
            staying = torch.tensor([0, 2, 3] if k == 4 else [2, 1])
            optimizer.keep(staying)
            optimizer.x = optimizer.x[staying]
        optimizer.step(gradient_of(optimizer.x))
    torch.testing.assert_close(optimizer.x, expected[[3, 2]], rtol=0, atol=1e-12)


def test_a_gradient_that_is_not_finite_stays_with_its_picture():
    gradient_of, starts = quadratic(6), start_of(9, 2)

    def broken(x):
        g = gradient_of(x)
        g[0] = torch.nan
        return g

    together = ours(broken, starts, 6, lr=1.0)[-1]
    assert together[0].isnan().all()
    torch.testing.assert_close(together[1:], ours(gradient_of, starts[1:], 6, lr=1.0)[-1], rtol=0, atol=1e-12)


def test_the_gradient_may_be_overwritten_and_a_picture_at_rest_stays():
    gradient_of, start = quadratic(1), start_of(1)
    optimizer, buffer = LBFGS(start.clone(), 1.0), torch.empty_like(start)
    for _ in range(5):
        buffer.copy_(gradient_of(optimizer.x))
        optimizer.step(buffer)
        buffer.fill_(7.0)
    torch.testing.assert_close(optimizer.x, ours(gradient_of, start, 5, lr=1.0)[-1])
    resting = LBFGS(start.clone(), 1.0)
    for _ in range(3):
        resting.step(torch.zeros_like(start))
    torch.testing.assert_close(resting.x, start)
