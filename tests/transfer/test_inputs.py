"""From arrays to tensors and back, without a network."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nst import StyleTransferParameters
from napari_nst.errors import ParameterError
from napari_nst.imaging.planes import Planes
from napari_nst.transfer.inputs import Preparer, resampling
from napari_nst.transfer.options import TransferOptions


def preparer(target, style, **given_):
    options = {name: given_.pop(name, None) for name in ("mask", "style_mask", "style_value_range")}
    p = StyleTransferParameters(**{"device": "cpu", **given_})
    warned = []
    planes = Planes.of(target, "target"), Planes.of(style, "style")
    made = Preparer(p, *planes, TransferOptions(**options), factors=(1.0, 1.0), warn=warned.append)
    return made, warned


SHAPES = st.sampled_from([(16, 16), (17, 19), (16, 18, 3), (19, 16, 4)])


@settings(max_examples=20)
@given(data=st.data(), shape=SHAPES)
@pytest.mark.parametrize("fit_pools", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_there_and_back_is_the_identity(dtype, fit_pools, data, shape):
    finite = {"min_value": -(2.0**100), "max_value": 2.0**100} if dtype.startswith("f") else {}
    target = data.draw(arrays(dtype, shape, elements=finite))
    target[0, 0], target[0, 1] = 0, 1
    made, _ = preparer(
        target, target, fit_pools=fit_pools, value_range=data.draw(st.sampled_from(["auto", "percentiles"]))
    )
    prepared = made.prepare(target, target)
    multiple = 16 if fit_pools else 1
    assert all(n % multiple == 0 for n in prepared.problem.target.shape[-2:])
    out = prepared.render(prepared.problem.target)
    assert out.dtype == target.dtype
    assert np.array_equal(out, target)


def test_a_change_lands_on_its_pixel(rng):
    target = rng.integers(0, 200, (17, 21), dtype=np.uint8)
    made, _ = preparer(target, target, fit_pools=True)
    prepared = made.prepare(target, target)
    top, left = prepared.crop[0].start, prepared.crop[1].start
    image = prepared.problem.target.clone()
    image[0, 0, top + 3, left + 4] += 10 / 255
    image[0, 0, 0, 0] += 1  # in the padding
    out = prepared.render(image)
    expected = target.copy()
    expected[3, 4] += 10
    assert np.array_equal(out, expected)


def test_the_engine_gets_zero_to_one(rng):
    target = rng.integers(3000, 4096, (20, 20), dtype=np.uint16)
    style = rng.random((20, 20)) * 7 - 3
    prepared = preparer(target, style)[0].prepare(target, style)
    for tensor in (prepared.problem.target, prepared.problem.style):
        assert (float(tensor.min()), float(tensor.max())) == (0.0, 1.0)
    expected = (target - float(target.min())) / (float(target.max()) - target.min())
    np.testing.assert_allclose(prepared.problem.target[0, 0], expected, atol=1e-15)


def test_channels(rng):
    gray, color = rng.random((20, 20)), rng.random((20, 20, 3))
    cases = [(gray, gray, "auto", 1), (gray, color, "auto", 1), (color, gray, "auto", 3), (gray, gray, "rgb", 3)]
    for target, style, channels, expected in cases:
        problem = preparer(target, style, channels=channels)[0].prepare(target, style).problem
        assert problem.target.shape[1] == problem.style.shape[1] == expected


def test_a_warning_comes_where_sums_are_compared_over_other_areas(rng):
    target, style = rng.random((20, 20)), rng.random((30, 20))
    for gram, warns in (("sum", True), ("matched", False), ("mean", False)):
        made, warned = preparer(target, style, gram=gram)
        made.prepare(target, style)
        assert bool(warned) is warns
    made, warned = preparer(target, target, mask=np.tri(20, dtype=bool))
    made.prepare(target, target)
    assert "1.9 times" in warned[0]


@pytest.mark.parametrize(
    ("target", "style", "expected"),
    [
        (None, None, (1, 1)),
        (0.5, None, (1, 1)),
        (0.5, 1.0, (2, 2)),
        ((0.5, 1.0), (1.0, 0.5), (2, 0.5)),
        ([0.5, 0.5], np.array([0.5, 0.25]), (1, 0.5)),
        (1.0, 1.0004, (1, 1)),
    ],
)
def test_factors_between_pixel_sizes(target, style, expected):
    assert resampling(target, style, True) == expected
    assert resampling(target, style, False) == (1, 1)


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf, (1, 2, 3), (), "x", [1, None], object()])
@pytest.mark.parametrize("match", [True, False])
def test_pixel_sizes_are_checked_even_when_they_are_not_used(bad, match):
    with pytest.raises(ParameterError, match="style_pixel_size: "):
        resampling(1.0, bad, match)
