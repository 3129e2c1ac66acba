"""Values to [0, 1] and back: exact where nothing changes, right and saturating where something does."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_nst.errors import ImageError
from napari_nst.imaging.values import ValueRange, apply_change, check_dtype, digest_of, find_range, to_unit

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64"]
SHAPES = array_shapes(min_dims=1, max_dims=2, max_side=6)


def ranges(low=-1e6, high=1e6):
    return st.tuples(st.floats(low, high), st.floats(1e-3, 1e6)).map(lambda p: ValueRange(p[0], p[0] + p[1]))


@settings(max_examples=30)
@given(data=st.data(), value_range=ranges())
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_no_change_is_no_change(dtype, data, value_range):
    values = data.draw(arrays(dtype, SHAPES))  # NaN and infinity included
    out = apply_change(values, np.zeros(values.shape), value_range)
    assert out.dtype == values.dtype
    assert out.tobytes() == values.tobytes() or np.array_equal(out, values, equal_nan=values.dtype.kind == "f")


@settings(max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_rounded_and_saturate(dtype, data):
    values = data.draw(arrays(dtype, (5,)))
    # Whole numbers of gray levels, up to beyond any type, that a double holds exactly.
    levels = data.draw(st.lists(st.integers(-(2**53), 2**53), min_size=5, max_size=5))
    scale = data.draw(st.sampled_from([1, 2**11]))
    change = np.array([float(level * scale) for level in levels])
    out = apply_change(values, change, ValueRange(0.0, 1.0))
    info = np.iinfo(dtype)
    expected = [min(max(int(v) + n * scale, int(info.min)), int(info.max)) for v, n in zip(values, levels, strict=True)]
    assert [int(v) for v in out] == expected


@settings(max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_stay_finite(dtype, data):
    limit = float(np.finfo(dtype).max)
    values = data.draw(arrays(dtype, (5,), elements={"allow_nan": False, "allow_infinity": False}))
    change = data.draw(arrays("float64", (5,), elements={"min_value": -1, "max_value": 1}))
    out = apply_change(values, change, ValueRange(0.0, 1e6))
    assert np.isfinite(out).all()
    expected = np.clip(values.astype(float) + change * 1e6, -limit, limit).astype(dtype)
    assert np.array_equal(out, expected)


@settings(max_examples=30)
@given(data=st.data())
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32"])
def test_unit_values_come_back(dtype, data):
    values = data.draw(arrays(dtype, (4, 4)))
    if values.min() == values.max():
        values[0, 0] = 0 if values.max() else 1
    value_range = find_range(values, "auto", "target")
    back = to_unit(values, value_range) * value_range.span + value_range.low
    assert np.array_equal(np.rint(back), values)


def test_half_a_gray_level_is_rounded_to_even_and_less_does_nothing():
    values = np.array([10, 10, 10, 10], np.uint8)
    out = apply_change(values, np.array([0.4, 0.6, -0.4, -0.6]) / 255, ValueRange(0, 255))
    assert out.tolist() == [10, 11, 10, 9]


def test_ranges_of_types():
    assert find_range(np.array([3, 9], np.uint8), "auto", "target") == (0, 255)
    assert find_range(np.array([3, 9], np.uint16), "auto", "target") == (3, 9)
    assert find_range(np.array([-3, 9], np.int8), "auto", "target") == (-3, 9)
    assert find_range(np.array([0.5, np.nan, 2.0, np.inf]), "auto", "target") == (0.5, 2.0)
    assert find_range(np.array([3, 9], np.uint16), (0.0, 4095), "target") == (0, 4095)
    assert find_range(np.array([3.0, 9.0]), "auto", "target", np.dtype(np.uint8)) == (0, 255)


def test_percentiles_leave_out_the_few():
    values = np.concatenate([np.arange(10_000.0), [1e9]])
    low, high = find_range(values, "percentiles", "target")
    assert low == pytest.approx(np.percentile(values, 0.1))
    assert high == pytest.approx(np.percentile(values, 99.9))
    flat = np.zeros(10_000)
    flat[0] = 5
    assert find_range(flat, "percentiles", "target") == (0, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([]), "no finite value"),
        (np.array([np.nan, np.inf]), "no finite value"),
        (np.array([7, 7]), "constant: every value that counts is 7"),
        (np.array([-1.7e308, 1.7e308]), "infinity"),
        (np.array([2**63 - 1, 2**63 - 2], np.uint64), "one value"),
    ],
)
def test_what_has_no_range_is_reported(values, message):
    with np.errstate(over="ignore"), pytest.raises(ImageError, match=f"style.*{message}"):
        find_range(values, "auto", "style")


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_images_may_be_of(dtype):
    values = np.array([[1, 3], [2, 1]], dtype)
    check_dtype(values.dtype, "target")
    found = find_range(values, "auto", "target")
    assert found == ((0, 255) if dtype == "uint8" else (1, 3))
    back = apply_change(values, 1 - to_unit(values, found), found)
    assert back.dtype == values.dtype
    assert np.array_equal(back, np.full((2, 2), found.high))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "U3", "O", "M8[s]", "S2", np.longdouble])
def test_images_may_not_be_of(dtype):
    if dtype is np.longdouble and np.dtype(dtype).itemsize == 8:
        pytest.skip("a long double is a double on this system")
    with pytest.raises(ImageError, match="target is of type"):
        check_dtype(np.dtype(dtype), "target")


@given(arrays("uint16", (6, 5)))
def test_a_digest_is_that_of_shape_type_and_bytes_however_they_come(values):
    expected = hashlib.sha256(b"(6, 5) <u2 " + values.astype("<u2").tobytes()).hexdigest()
    assert digest_of((6, 5), np.dtype("<u2"), [values]) == expected
    assert digest_of((6, 5), np.dtype("<u2"), list(values)) == expected
    assert digest_of((6, 5), np.dtype("<u2"), [values.T.copy().T]) == expected
    assert digest_of((5, 6), np.dtype("<u2"), [values]) != expected
    assert digest_of((6, 5), np.dtype("<i2"), [values]) != expected
