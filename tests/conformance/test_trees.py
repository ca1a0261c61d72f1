"""Law 5: whatever the tree of parameters is made of, its leaves get what they would get anywhere else."""

import dataclasses
from typing import Any, NamedTuple

import chex
import equinox
import flax.core
import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from tests.conformance.cases import CASES, at, gradients, params_like, problem, step_once
from tests.conformance.laws import close, describe, finite, law, programs


class Layer(NamedTuple):
    kernel: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Block:
    kernel: Any
    bias: Any


class Linear(equinox.Module):
    kernel: jax.Array
    bias: jax.Array


CONTAINERS = {
    "dict": lambda kernel, bias: {"kernel": kernel, "bias": bias},
    "list": lambda kernel, bias: [{"kernel": kernel}, bias],
    "tuple": lambda kernel, bias: ({"kernel": kernel}, (), bias),
    "named_tuple": Layer,
    "dataclass": Block,
    "equinox": Linear,
    "frozen_dict": lambda kernel, bias: flax.core.FrozenDict(kernel=kernel, bias=bias),
    "surrounded": lambda kernel, bias: {"kernel": kernel, "none": None, "empty": {}, "bias": bias, "pair": (None, [])},
}
"""What can hold a kernel and a bias; a partition of the cases looks for the kernel by its name."""


def nested(kernel, bias):
    """All of them, one in another."""
    inner = Block(kernel=Linear(kernel=flax.core.FrozenDict(kernel=kernel), bias=None), bias=[None, {}])
    return {"layer": Layer(kernel=inner, bias=(bias, ())), "empty": {}}


NOISY = {
    "differentially_private_aggregate": "each leaf has noise of its own, by its place in the tree",
    "add_noise": "each leaf has noise of its own, by its place in the tree",
    "dpsgd": "each leaf has noise of its own, by its place in the tree",
    "noisy_sgd": "each leaf has noise of its own, by its place in the tree",
}


@law(5, weaker=NOISY)
def test_every_container_is_as_good_as_a_dict(name):
    tx, (whole, whole_grads) = CASES[name], problem()
    params, grads = whole["dense"], at(whole_grads, 0)["dense"]
    for make in CONTAINERS.values():
        held, held_grads = make(**params), make(**grads)
        state = jax.eval_shape(tx.init, held)
        after, after_state = jax.eval_shape(lambda *a: step_once(tx, *a, 0), held, state, held_grads)
        assert jax.tree.structure(after) == jax.tree.structure(held)
        assert jax.tree.structure(after_state) == jax.tree.structure(state)
    held, held_grads = (nested(**tree) for tree in (params, grads))
    got = step_once(tx, held, tx.init(held), held_grads, 0)[0]
    assert jax.tree.structure(got) == jax.tree.structure(held)
    expected = programs(name).step(*programs(name).start(whole), at(whole_grads, 0), 0)[0]["dense"]
    if name not in NOISY:
        close(got, nested(**expected))


@law(5)
def test_scalar_and_zero_size_leaves(name):
    tx = CASES[name]
    params = {
        "kernel": jnp.ones((4, 3)),
        "scalar": jnp.float32(2.0),
        "none": jnp.zeros((0, 2)),
        "one": jnp.ones((1, 1)),
    }
    state = tx.init(params)
    after, new_state = step_once(tx, params, state, at(gradients(params, 1), 0), 0)
    assert describe(after) == describe(params)
    assert describe(new_state) == describe(state)
    assert finite((after, new_state))


@law(5)
def test_a_leaf_may_be_the_whole_tree(name):
    tx = CASES[name]
    if "*kernel" in repr(tx):  # a glob that matches nothing is an error, and the leaf here has no name
        tx = gradtx.parse(repr(tx).replace("*kernel", "*"))
    for params in (jnp.float32(2.0), jnp.ones(3), jnp.zeros((0,))):
        state = jax.eval_shape(tx.init, params)
        after, new_state = jax.eval_shape(lambda *a: step_once(tx, *a, 0), params, state, params)
        assert (after.shape, after.dtype) == (params.shape, params.dtype)
        assert jax.tree.structure(new_state) == jax.tree.structure(state)


@law(5)
def test_empty_trees(name):
    tx = CASES[name]
    for params in ({}, (), [], {"a": None}, {"a": {}, "b": ()}):
        state = tx.init(params)
        after, new_state = step_once(tx, params, state, params, 0)
        assert after == params
        assert describe(new_state) == describe(state)


@law(5)
def test_absent_gradients_leave_parameters_and_state(name):
    tx, params = CASES[name], params_like()
    state = tx.init(params)
    after, new_state = step_once(tx, params, state, {**params, "dense": {**params["dense"], "bias": None}}, 0)
    np.testing.assert_array_equal(after["dense"]["bias"], params["dense"]["bias"])
    assert describe(new_state) == describe(state)


@law(5)
def test_integer_parameters_are_passed_over(name):
    tx, params = CASES[name], {"kernel": jnp.ones((4, 3)), "table": jnp.arange(3)}
    grads = jax.grad(lambda p: jnp.sum(p["kernel"] ** 2), allow_int=True)(params)
    assert grads["table"].dtype == jax.dtypes.float0
    after, state = step_once(tx, params, tx.init(params), grads, 0)
    chex.assert_trees_all_equal(after["table"], params["table"])
    assert describe(state) == describe(tx.init(params))
