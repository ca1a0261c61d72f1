"""Accumulators: dtype, realness, buffers of their own; casts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx import tree

ACCUMULATORS = [tree.zeros_accumulator, tree.copy_accumulator, lambda t: tree.full_accumulator(t, 2.0)]


@pytest.mark.parametrize(
    ("dtype", "wide", "real"),
    [
        ("float8_e4m3fn", "float32", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float16", "float32", "float32"),
        ("float32", "float32", "float32"),
        ("complex64", "complex64", "float32"),
        ("int8", "float32", "float32"),
        ("bool", "float32", "float32"),
    ],
)
def test_accumulator_dtype(dtype, wide, real):
    assert tree.accumulator_dtype(jnp.dtype(dtype)) == wide
    assert tree.accumulator_dtype(jnp.dtype(dtype), real=True) == real
    x = jnp.ones(2, dtype)
    assert tree.zeros_accumulator(x).dtype == wide
    assert tree.zeros_accumulator(x, real=True).dtype == real
    assert tree.copy_accumulator(x).dtype == wide


def test_accumulator_dtype_in_double_precision(x64):
    assert tree.accumulator_dtype(jnp.float64) == jnp.float64
    assert tree.accumulator_dtype(jnp.float32) == jnp.float32
    assert tree.accumulator_dtype(jnp.complex128, real=True) == jnp.float64


def test_values():
    params = {"a": jnp.full((2, 3), 7.0, jnp.bfloat16), "b": jnp.array(3.0), "c": jnp.zeros((0, 2)), "d": None}
    zeros = tree.zeros_accumulator(params)
    chex.assert_trees_all_equal(zeros, {"a": jnp.zeros((2, 3)), "b": jnp.array(0.0), "c": jnp.zeros((0, 2)), "d": None})
    full = tree.full_accumulator(params, 0.1)
    chex.assert_trees_all_equal(full["a"], jnp.full((2, 3), 0.1, jnp.float32))
    chex.assert_trees_all_equal(tree.copy_accumulator(params)["a"], jnp.full((2, 3), 7.0))
    assert tree.zeros_accumulator({}) == {}


def test_a_narrow_dtype_on_purpose():
    params = {"r": jnp.ones(2), "z": jnp.ones(2, jnp.complex64)}
    stored = tree.zeros_accumulator(params, dtype="bfloat16")
    assert (stored["r"].dtype, stored["z"].dtype) == (jnp.bfloat16, jnp.complex64)
    assert tree.zeros_accumulator(params, dtype="bfloat16", real=True)["z"].dtype == jnp.bfloat16


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
def test_no_weak_types(accumulate):
    weak = jnp.asarray(1.0)
    assert weak.weak_type
    assert not accumulate(weak).weak_type
    assert not jax.jit(accumulate)(weak).weak_type


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_no_buffer_is_shared_with_the_parameters(accumulate, jit):
    params = {"w": jnp.ones(1000), "b": jnp.zeros(1000)}
    first, second = jit(accumulate)(params), jit(accumulate)(params)
    buffers = [x.unsafe_buffer_pointer() for t in (params, first, second) for x in jax.tree.leaves(t)]
    assert len(set(buffers)) == len(buffers)


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
def test_no_buffer_is_shared_with_numpy(accumulate):
    params = np.zeros(1024, np.float32)
    state = accumulate(params)
    before = np.array(state)
    params += 1
    np.testing.assert_array_equal(state, before)


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
def test_accumulators_are_made_without_data(accumulate):
    shape = jax.eval_shape(accumulate, {"w": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)})
    assert shape["w"] == jax.ShapeDtypeStruct((2, 3), jnp.float32)


def test_zeros_like_keeps_the_dtype():
    chex.assert_trees_all_equal(tree.zeros_like({"w": jnp.ones(2, jnp.bfloat16)}), {"w": jnp.zeros(2, jnp.bfloat16)})


def test_cast_like():
    cast = tree.cast_like({"w": jnp.array([1.7]), "n": None}, {"w": jnp.zeros(1, jnp.bfloat16), "n": None})
    chex.assert_trees_all_equal(cast, {"w": jnp.array([1.7], jnp.bfloat16), "n": None})
