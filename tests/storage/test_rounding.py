"""Rounding by chance, and with what is cut off kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx.core.numerics import rounded
from gradtx.storage.rounding import by_chance, join_float32, split_float32

LOW = ("bfloat16", "float16")
ODD = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3.4e38, -3.4e38, 1.0, 65504.0, 65520.0], np.float32)


def bits(x):
    return np.asarray(x).view(np.uint32)


def some(count=4096, seed=0):
    random = np.random.default_rng(seed)
    return (random.normal(size=count) * 10.0 ** random.uniform(-30, 30, count)).astype(np.float32)


@pytest.mark.parametrize("run", [lambda f: f, jax.jit])
def test_a_float32_number_is_taken_apart_and_joined_again(run):
    halves = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x3F80FFFF, 0x7F7FFFFF], np.uint32).view(np.float32)
    x = np.concatenate([some(), ODD, halves])
    near, low = run(split_float32)(x)
    assert (near.dtype, low.dtype) == (jnp.bfloat16, jnp.uint16)
    joined = run(join_float32)(near, low)
    finite = ~np.isnan(x)
    np.testing.assert_array_equal(bits(joined)[finite], bits(x)[finite])
    assert np.isnan(joined[~finite]).all()
    no_half = finite & ((bits(x) & 0xFFFF) != 0x8000)
    np.testing.assert_array_equal(near[no_half], jnp.asarray(x).astype(jnp.bfloat16)[no_half])


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("run", [lambda f: f, lambda f: jax.jit(f, static_argnums=1)])
def test_rounding_by_chance_is_right_in_the_mean_and_to_a_neighbour(run, dtype):
    x = np.float32([1.001, -1.001, 0.3, 1e-3, 1.0, 1023.3])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.vmap(lambda key: run(by_chance)(x, jnp.dtype(dtype), key))(keys), np.float64)
    near = np.asarray(x.astype(jnp.dtype(dtype)), np.float64)
    step = np.asarray(jnp.finfo(dtype).eps, np.float64) * 2.0 ** np.floor(np.log2(np.abs(x)))
    assert (np.abs(drawn - x) <= step * (1 + 1e-6)).all()
    assert all(len(np.unique(column)) == (1 if exact else 2) for column, exact in zip(drawn.T, near == x, strict=True))
    spread = drawn.std(axis=0) / np.sqrt(len(keys))
    assert (np.abs(drawn.mean(axis=0) - x) <= 4 * spread).all()


@pytest.mark.parametrize("dtype", LOW)
def test_infinities_and_nan_pass(dtype):
    x = jnp.asarray(ODD)
    for seed in range(20):
        rounded = by_chance(x, jnp.dtype(dtype), jax.random.key(seed)).astype(jnp.float32)
        same = np.asarray([0, 1, 2, 3, 9])
        np.testing.assert_array_equal(rounded[same], x[same])
        assert np.isnan(rounded[4])
        assert not np.isnan(np.delete(np.asarray(rounded), 4)).any()


def test_the_same_key_makes_the_same_choices():
    x = jnp.asarray(some())
    first, again, other = (by_chance(x, jnp.dtype(jnp.bfloat16), jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


@pytest.mark.parametrize("dtype", LOW)
def test_rounding_is_not_left_out_by_the_compiler(dtype):
    def there_and_back(x):
        return x - rounded(x, jnp.dtype(dtype)).astype(jnp.float32)

    x = jnp.float32(1.001)
    assert jax.jit(there_and_back)(x) == there_and_back(x) != 0
    # Whether a compiler leaves out a cast and its inverse depends on its version and on what stands around them.
    assert "reduce_precision" in str(jax.make_jaxpr(there_and_back)(x))
