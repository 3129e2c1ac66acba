"""Adam against PyTorch's, with its own schedule; images that leave the batch."""

import pytest
import torch

from napari_nst import StyleTransferParameters
from napari_nst.engine.optimization import Adam


def gradient_of(x):
    return torch.sin(5 * x) + x**3


def start_of(count=1):
    return torch.rand((count, 1, 4, 5), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def ours(parameters, start, steps):
    x = start.clone().requires_grad_()
    optimizer = Adam(x, parameters)
    for _ in range(steps):
        optimizer.step(gradient_of(x.detach()))
    return x.detach()


@pytest.mark.parametrize("decay", ["none", "cosine"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.0, 0.0)])
def test_steps_and_decay_are_pytorchs(decay, betas):
    p = StyleTransferParameters(lr=0.02, epoch=12, lr_decay=decay, adam_beta1=betas[0], adam_beta2=betas[1])
    x = start_of(2).requires_grad_()
    plain = torch.optim.Adam([x], lr=p.lr, betas=betas)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(plain, T_max=p.epoch)
    for _ in range(p.epoch):
        x.grad = gradient_of(x.detach())
        plain.step()
        if decay == "cosine":
            schedule.step()
    torch.testing.assert_close(ours(p, start_of(2), p.epoch), x.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", ["none", "cosine"])
def test_images_that_leave_change_nothing_for_the_others(decay):
    p = StyleTransferParameters(lr=0.02, epoch=9, lr_decay=decay)
    expected = ours(p, start_of(3), 9)
    x = start_of(3).requires_grad_()
    optimizer = Adam(x, p)
    for k in range(9):
        if k == 4:
            staying = torch.tensor([2, 0])
            x = x.detach()[staying].requires_grad_()
            optimizer.keep(x, staying)
        optimizer.step(gradient_of(x.detach()))
    torch.testing.assert_close(x.detach(), expected[[2, 0]], rtol=0, atol=1e-12)
