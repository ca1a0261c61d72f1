"""Counters, bias corrections, moving averages, squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx.core import (
    abs_sq,
    complement_of_power,
    increment,
    moving_average,
    moving_average_sq,
    numerics,
    zero_count,
)

LARGEST = np.iinfo(np.int32).max
DECAYS = [0.0, 1e-9, 0.1, 0.5, 0.9, 0.999, 0.999999]


def test_counters():
    count = zero_count()
    assert (count.dtype, count.shape, count.item()) == (jnp.int32, (), 0)
    assert increment(count).item() == 1
    assert increment(jnp.array(LARGEST - 1)).item() == LARGEST
    assert increment(jnp.array(LARGEST)).item() == LARGEST
    assert increment(count).dtype == jnp.int32
    assert not increment(count).weak_type
    counts = [zero_count() for _ in range(3)]  # counters share no buffer: all may be donated
    assert len({count.unsafe_buffer_pointer() for count in counts}) == 3


def test_counters_in_x64_mode(x64):
    assert increment(zero_count()).dtype == jnp.int32


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("kind", [float, np.float64, np.float32, jnp.float32, "traced"])
def test_bias_corrections_are_exact_to_the_last_bits(decay, kind):
    counts = [1, 2, 10, 1000, 10**6]
    given = decay if kind == "traced" else kind(decay)
    correction = jax.jit(complement_of_power) if kind == "traced" else complement_of_power
    # What was given may be a float32 already: the correction is right for the number it got.
    exact = decay if kind in (float, np.float64) else float(np.float32(decay))
    for count in counts:
        result = correction(given, jnp.array(count, jnp.int32))
        expected = -np.expm1(count * np.log(exact)) if exact else 1.0
        np.testing.assert_allclose(result, expected, rtol=4e-7)


def test_the_plain_form_is_worse():
    plain = 1 - jnp.float32(0.999) ** jnp.array(1)
    assert abs(plain / 0.001 - 1) > 1e-5
    assert abs(complement_of_power(0.999, jnp.array(1)) / 0.001 - 1) < 4e-7


def test_bias_corrections_in_double_precision(x64):
    for decay in DECAYS:
        for count in (1, 3, 10**6):
            expected = -np.expm1(count * np.log(decay)) if decay else 1.0
            for given in (decay, jnp.array(decay)):
                np.testing.assert_allclose(complement_of_power(given, jnp.array(count)), expected, rtol=1e-14)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_bias_corrections_can_be_differentiated(decay, count, x64):
    slope = jax.grad(complement_of_power)(decay, jnp.array(count, jnp.int32))
    np.testing.assert_allclose(slope, -count * decay ** (count - 1.0), rtol=1e-10, atol=1e-15 / max(decay, 1e-9))


def test_abs_sq():
    assert abs_sq(jnp.array([3 + 4j])).tolist() == [25.0]
    assert abs_sq(jnp.array([3 + 4j])).dtype == jnp.float32
    assert abs_sq(jnp.array([-3.0])).tolist() == [9.0]


def test_abs_sq_with_a_weight():
    assert abs_sq(jnp.array([-3.0]), 0.5).tolist() == [4.5]
    assert abs_sq(jnp.array([3 + 4j]), jnp.float32(0.5)).tolist() == [12.5]
    # No product of x and x: a program that takes the norm of x has that one too, and would write it for both.
    products = [eqn for eqn in jax.make_jaxpr(abs_sq)(jnp.ones(2), 0.5).eqns if eqn.primitive.name == "mul"]
    assert [len(set(map(id, eqn.invars))) for eqn in products] == [2, 2]


@pytest.mark.parametrize("decay", [0.9, jnp.float32(0.9)], ids=["number", "array"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_moving_averages(decay, dtype):
    m, x = jnp.array([1.0, -2.0], dtype), jnp.array([3.0, 0.5], dtype) * (2 + 1j if dtype == jnp.complex64 else 1)
    mean = 0.9 * np.asarray(m) + 0.1 * np.asarray(x)
    squares = 0.9 + 0.1 * np.abs(np.asarray(x)) ** 2
    for run in (lambda f: f, jax.jit):
        result = run(moving_average)(decay, m, x)
        assert result.dtype == dtype
        np.testing.assert_allclose(result, mean, rtol=1e-6)
        result = run(moving_average_sq)(decay, jnp.ones(2), x)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, squares, rtol=1e-6)


def test_what_a_python_number_leaves_over_is_exact():
    # 1 - 0.999 in float32 would have three digits fewer.
    assert moving_average(0.999, jnp.zeros(1), jnp.ones(1)).item() == np.float32(1 - 0.999)
    assert moving_average_sq(0.999, jnp.zeros(1), jnp.ones(1)).item() == np.float32(1 - 0.999)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_is_the_cast_of_numpy_and_is_not_left_out(dtype):
    random = np.random.default_rng(0)
    x = (random.normal(size=4000) * 10.0 ** random.uniform(-9, 6, 4000)).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = x.astype(jnp.dtype(dtype))
    np.testing.assert_array_equal(jax.jit(lambda x: numerics.rounded(x, dtype))(x), expected)
    again = jax.jit(lambda x: numerics.as_stored(x, dtype))(x)
    np.testing.assert_array_equal(again, expected.astype(np.float32))
