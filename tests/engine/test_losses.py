"""Values and closed-form gradients of the losses against autograd of the plain formulas, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from napari_nst import VGG, StyleTransferParameters
from napari_nst.engine.losses import GramStatistics, content_loss, gram_scale, style_loss, total_variation
from napari_nst.engine.objective import Objective, mask_at
from napari_nst.errors import ImageError

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (2, 5, 7, 6)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights_at(seed=3):
    """A mask as a deeper layer sees it: shares in [0, 1], some 0."""
    return (randn(1, 1, *SHAPE[2:], seed=seed).clamp(-0.5, 0.5) + 0.5).contiguous()


def plain_gram(features, mask, divide):
    """One image after another, one position after another."""
    grams = []
    for image, weight in zip(features, mask.expand(features.shape[0], -1, -1, -1), strict=True):
        columns = image.flatten(1).T
        gram = sum(w * torch.outer(f, f) for f, w in zip(columns, weight.flatten(), strict=True))
        grams.append(gram / weight.sum() if divide else gram)
    return torch.stack(grams)


def check(value, gradient, plain, x):
    torch.testing.assert_close(value, plain.detach(), rtol=1e-12, atol=1e-12)
    (expected,) = torch.autograd.grad(plain.sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gram", ["sum", "matched", "mean"])
def test_style_loss(gram, masked):
    x, target = randn(*SHAPE).requires_grad_(), randn(1, 5, 5, seed=1)
    target = target + target.transpose(1, 2)
    mask = weights_at() if masked else torch.ones(1, 1, *SHAPE[2:], dtype=torch.float64)
    value, gradient = style_loss(x.detach(), target, gram, mask if masked else None)
    plain = ((plain_gram(x, mask, gram == "mean") - target) ** 2).mean((1, 2))
    check(value, gradient, plain, x)


@pytest.mark.parametrize("masked", [False, True])
def test_content_loss(masked):
    x, target = randn(*SHAPE).requires_grad_(), randn(*SHAPE, seed=1)
    mask = weights_at() if masked else torch.ones(1, 1, *SHAPE[2:], dtype=torch.float64)
    value, (residual, factor) = content_loss(x.detach(), target, mask if masked else None)
    gradient = residual * factor
    plain = ((x - target) ** 2 * mask).sum((1, 2, 3)) / (mask.sum() * SHAPE[1])
    check(value, gradient, plain, x)
    if not masked:
        torch.testing.assert_close(value[0], F.mse_loss(x[0], target[0]).detach())


@pytest.mark.parametrize("size", [(7, 6), (1, 6), (7, 1)])
def test_total_variation(size):
    x = randn(2, 3, *size).requires_grad_()
    value, gradient = total_variation(x.detach())
    down, right = x.diff(dim=2), x.diff(dim=3)
    plain = sum(
        (d**2).sum((1, 2, 3)) / max(1, d[0].numel()) for d in (down, right)
    )  # means; a single row or column has no neighbours
    check(value, gradient, plain, x)


@pytest.mark.parametrize("masked", [False, True])
def test_gram_sums_over_tiles_are_those_of_the_whole(masked):
    x, mask = randn(*SHAPE), weights_at()
    whole = GramStatistics().update(x, mask if masked else None)
    tiled = GramStatistics()
    for rows in (slice(0, 2), slice(2, 7)):
        for columns in (slice(0, 5), slice(5, 6)):
            tiled.update(x[..., rows, columns], mask[..., rows, columns] if masked else None)
    torch.testing.assert_close(tiled.total, whole.total, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(tiled.positions, whole.positions)
    with pytest.raises(ValueError, match="before update"):
        GramStatistics().compute(torch.ones(1))


def test_matched_scales_the_style_to_the_targets_area():
    positions, reference = torch.tensor([20.0]), torch.tensor([5.0])
    assert gram_scale("matched", positions, reference).item() == 0.25
    assert gram_scale("mean", positions).item() == pytest.approx(0.05)
    assert gram_scale("sum", positions, reference).item() == 1.0


def test_a_mask_at_a_layer_is_the_share_of_used_pixels():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :3, :2] = 1
    assert mask_at(mask, (2, 2)).tolist() == [[[[1.0, 0.0], [0.5, 0.0]]]]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gram", ["sum", "matched", "mean"])
def test_the_whole_objective_equals_autograd_of_the_formulas(gram, masked):
    p = StyleTransferParameters(
        alpha=2.0, beta=0.3, tv_weight=5.0, gram=gram, padding="reflect",
        content_layers=("relu2_1", "conv3_1"), content_layer_weights=(0.5, 2.0),
        style_layers=("relu1_1", "relu2_1"), style_layer_weights=(3.0, 0.0),
    )  # fmt: skip
    network = VGG("embedded", ("relu1_1", "relu2_1", "conv3_1"), channels=1, padding="reflect", dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    target, style, x = (
        torch.rand(1, 1, *s, generator=generator, dtype=torch.float64) for s in ((20, 24), (28, 16), (20, 24))
    )
    masks = [(torch.rand(1, 1, *s, generator=generator) > 0.3).double() for s in ((20, 24), (28, 16))]
    objective = Objective(network, target, style, p, *(masks if masked else ()))
    got = objective.evaluate(x)

    def at(mask, features):
        weight = F.adaptive_avg_pool2d(mask, features.shape[-2:]) if masked else torch.ones_like(features[:, :1])
        return weight

    x.requires_grad_()
    features, content, styles = (dict(zip(network.layers, network(v), strict=True)) for v in (x, target, style))
    content_loss_ = style_loss_ = 0.0
    for name, weight in zip(p.content_layers, p.content_layer_weights, strict=True):
        mask = at(masks[0], features[name])
        difference = (features[name] - content[name]) ** 2 * mask
        content_loss_ = content_loss_ + weight * difference.sum() / (mask.sum() * features[name].shape[1])
    for name, weight in zip(p.style_layers, p.style_layer_weights, strict=True):
        mine, theirs = at(masks[0], features[name]), at(masks[1], styles[name])
        grams = [plain_gram(f, m, gram == "mean") for f, m in ((features[name], mine), (styles[name], theirs))]
        if gram == "matched":
            grams[1] = grams[1] * mine.sum() / theirs.sum()
        style_loss_ = style_loss_ + weight * ((grams[0] - grams[1]) ** 2).mean()
    smooth = x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean()
    total = p.alpha * content_loss_ + p.beta * style_loss_ + p.tv_weight * smooth
    (gradient,) = torch.autograd.grad(total, x)
    expected = torch.stack([style_loss_, content_loss_, total]).detach()
    torch.testing.assert_close(got.losses[0], expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(got.gradient, gradient, rtol=1e-9, atol=1e-12 * float(gradient.abs().max()))


def test_a_mask_that_leaves_nothing_of_the_style_is_refused():
    p = StyleTransferParameters(preset="texture")
    network = VGG("embedded", ("relu1_1", "relu2_1", "relu3_1"), channels=1)
    x = torch.rand(1, 1, 16, 16)
    with pytest.raises(ImageError, match="leaves no position of the style"):
        Objective(network, x, x, p, None, torch.zeros(1, 1, 16, 16))
