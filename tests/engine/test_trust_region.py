"""The trust region: no pixel leaves it, in any way of running, and nothing else is limited by it."""

import numpy as np
import pytest
import torch

from napari_nst import StyleTransferParameters
from napari_nst.engine.run import Outcome, Problem
from napari_nst.engine.run import run as run_engine
from napari_nst.errors import ParameterError

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = {
    "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "device": "cpu",
    "threads": 1, "tolerance": 0.0, "precision": "float64", "epoch": 6, "lr": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def units(pair):
    return [torch.from_numpy(p[:48, :64] / 255.0)[None, None] for p in (pair.target, pair.style)]


@pytest.fixture(scope="module")
def reach():
    # Nothing on the left, far on the right.
    return torch.linspace(0, 0.06, 64, dtype=torch.float64).expand(1, 1, 48, 64)


def run(problem, **given):
    *steps, outcome = run_engine([problem], StyleTransferParameters(**{**BASE, **given}))
    return outcome, steps


def images_of(problem, **given):
    """The image after every step."""
    steps = run_engine([problem], StyleTransferParameters(**{**BASE, **given}))
    return [now.image.clone() for now in steps if not isinstance(now, Outcome)]


@pytest.mark.parametrize("given", [{}, {"tile": 128}, {"clip": False}])
def test_no_pixel_leaves_it(units, reach, given):
    target, style = units
    outcome, _ = run(Problem(target, style, max_change=reach), **given)
    change = (outcome.image - target).abs()
    assert (change <= reach + 1e-9).all()
    assert torch.equal(outcome.image[..., 0], target[..., 0])
    # It is the region that stopped them, and it lets them move.
    assert (change[..., 5:] >= reach[..., 5:] - 1e-6).double().mean() > 0.1
    free, _ = run(Problem(target, style), **given)
    assert ((free.image - target).abs() > reach).double().mean() > 0.1


def test_every_step_of_adam_stays_within(units, reach):
    seen = images_of(Problem(units[0], units[1], max_change=reach))
    assert len(seen) == 6
    assert all(((x - units[0]).abs() <= reach + 1e-12).all() for x in seen)


def test_it_lies_around_the_start_and_not_around_the_target(units, reach):
    target, style = units
    start = (target * 0.5 + 0.2).clone()
    outcome, _ = run(Problem(target, style, start=start, max_change=reach))
    assert ((outcome.image - start).abs() <= reach + 1e-9).all()


def test_values_beyond_the_range_are_let_alone_unless_it_is_to_be_kept(units):
    target, style = units
    reach = torch.full((1, 1, 48, 64), 0.5, dtype=torch.float64)
    seen = images_of(Problem(target, style, max_change=reach), clip=False, lr=0.1)
    assert seen[-1].min() < 0 or seen[-1].max() > 1
    kept = images_of(Problem(target, style, max_change=reach), clip=True, lr=0.1)
    assert kept[-1].min() >= 0
    assert kept[-1].max() <= 1


def test_in_a_batch_each_image_has_its_own(units, reach):
    target, style = units
    problems = [
        Problem(target, style, max_change=reach),
        Problem(target, style),
        Problem(target.flip(-1), style, max_change=reach),
    ]
    p = StyleTransferParameters(**BASE, batch=3)
    outcomes = [now for now in run_engine(problems, p) if isinstance(now, Outcome)]
    ended = [outcome.image for outcome in sorted(outcomes, key=lambda outcome: outcome.place)]
    alone = [run(problem)[0].image for problem in problems]
    for mine, other in zip(ended, alone, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)
    assert ((ended[1] - target).abs() > reach).any()


@pytest.mark.parametrize("given", [{}, {"tile": 128}])
def test_the_content_may_be_that_of_the_start(units, given):
    target, style = units
    start = (target * 0.8 + 0.05).clone()
    own, _ = run(Problem(target, style, start=start), content_from="start", epoch=2, **given)
    of_target, _ = run(Problem(target, style, start=start), content_from="target", epoch=2, **given)
    assert float(own.losses[0, 1]) == pytest.approx(0, abs=1e-20)
    assert float(of_target.losses[0, 1]) > 1e-6
    assert np.isclose(float(own.losses[0, 0]), float(of_target.losses[0, 0]))


def test_what_it_does_not_go_with_is_refused():
    with pytest.raises(ParameterError, match=r"`max_change` must be 0 with the optimizer lbfgs, got 0\.02"):
        StyleTransferParameters(**BASE, max_change=0.02, optimizer="lbfgs")
    for given in ({"max_change": 0.02}, {"content_from": "start"}):
        with pytest.raises(ParameterError, match="`init`='noise' needs"):
            StyleTransferParameters(**BASE, init="noise", **given)
    assert StyleTransferParameters(preset="microscopy", optimizer="lbfgs").max_change == 0
