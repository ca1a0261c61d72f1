"""Adding updates to parameters."""

import chex
import jax
import jax.numpy as jnp
import pytest

from gradtx import apply_updates
from gradtx.errors import TreeMismatchError
from gradtx.typing import MaskedNode

HINT = "; pass the updates that update(...) returned for these params: updates, state = tx.update(...)"


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_sum(jit):
    params = {"w": jnp.array([1.0, 2.0]), "b": [jnp.array(3.0), jnp.zeros((0, 2))]}
    updates = {"w": jnp.array([0.5, -0.5]), "b": [jnp.array(-3.0), jnp.zeros((0, 2))]}
    expected = {"w": jnp.array([1.5, 1.5]), "b": [jnp.array(0.0), jnp.zeros((0, 2))]}
    chex.assert_trees_all_equal(jit(apply_updates)(params, updates), expected)


@pytest.mark.parametrize(
    ("dtype", "update"),
    [
        ("bfloat16", "float32"),
        ("float16", "bfloat16"),
        ("float32", "bfloat16"),
        ("complex64", "complex64"),
        ("float8_e4m3fn", "float32"),
    ],
)
def test_parameters_keep_their_dtype(dtype, update):
    moved = apply_updates(jnp.ones(2, dtype), jnp.full(2, 2.0, update))
    assert moved.dtype == jnp.dtype(dtype)
    assert moved.astype(jnp.complex64).tolist() == [3.0, 3.0]


def test_whole_numbers_and_keys_do_not_move():
    # Rounded, 10 would become 9 at the first step of -0.1, and 5 after five of them.
    params = {"steps": jnp.full(2, 10), "flag": jnp.array(True), "key": jax.random.key(0), "w": jnp.ones(2)}
    updates = {"steps": jnp.full(2, -0.1), "flag": jnp.ones(()), "key": None, "w": jnp.ones(2)}
    moved = apply_updates(params, updates)
    assert (moved["steps"].tolist(), moved["steps"].dtype) == ([10, 10], jnp.int32)
    assert moved["flag"].dtype == bool
    assert moved["key"] == params["key"]
    assert moved["w"].tolist() == [2.0, 2.0]


def test_double_precision(x64):
    assert apply_updates(jnp.array(1.0), jnp.array(1e-15)).item() == 1.0 + 1e-15
    mixed = apply_updates(jnp.array(1.0, jnp.float32), jnp.array(1e-15))
    assert (mixed.dtype, mixed.item()) == (jnp.float32, 1.0)


def test_the_sum_is_rounded_once():
    # 257 = 256 + 1 is half-way between two bfloat16 numbers; 0.01 more decides. Rounding the update loses it.
    moved = apply_updates(jnp.array(256.0, jnp.bfloat16), jnp.array(1.003, jnp.float32))
    assert moved.astype(jnp.float32).item() == 258.0


def test_absent_updates_leave_parameters_alone():
    params = {"a": jnp.array(1.0), "b": {"c": jnp.array(2.0)}, "d": None}
    moved = apply_updates(params, {"a": jnp.array(1.0), "b": None, "d": None})
    assert moved["a"].item() == 2.0
    assert moved["b"]["c"] is params["b"]["c"]
    assert moved["d"] is None


def test_an_absent_parameter_stays_absent():
    assert apply_updates({"a": None}, {"a": jnp.ones(2)}) == {"a": None}


def test_gradients_of_integers_leave_parameters_alone():
    params = {"n": jnp.array([1, 2]), "x": jnp.ones(2)}
    grads = jax.grad(lambda p: jnp.sum(p["x"] * p["n"]), allow_int=True)(params)
    moved = apply_updates(params, grads)
    assert moved["n"] is params["n"]
    assert moved["x"].tolist() == [2.0, 3.0]


def test_masked_nodes_pass_through():
    assert apply_updates({"a": MaskedNode()}, {"a": MaskedNode()}) == {"a": MaskedNode()}


@pytest.mark.parametrize("empty", [{}, (), None, {"a": {}}])
def test_nothing_to_add(empty):
    assert apply_updates(empty, empty) == empty


@pytest.mark.parametrize(
    ("updates", "text"),
    [
        (
            {"w": jnp.ones(3)},
            f"updates, state and params of one shape, got float32[2] and float32[3] at ['w']{HINT}",
        ),
        ({"w": jnp.ones(())}, f"updates, state and params of one shape, got float32[2] and float32[] at ['w']{HINT}"),
        ({"v": jnp.ones(2)}, f"updates with the structure of params, got an extra leaf at ['v']{HINT}"),
        ({}, f"updates with the structure of params, got no leaf at ['w']{HINT}"),
        (
            {"w": jnp.ones(2), "b": jnp.ones(1)},
            f"updates with the structure of params, got an extra leaf at ['b']{HINT}",
        ),
        ({"w": {"x": jnp.ones(2)}}, f"updates with the structure of params, got an extra leaf at ['w']['x']{HINT}"),
    ],
)
def test_trees_that_do_not_fit(updates, text):
    for function in (apply_updates, jax.jit(apply_updates)):
        with pytest.raises(TreeMismatchError) as error:
            function({"w": jnp.ones(2)}, updates)
        assert str(error.value) == f"gradtx.apply_updates: expected {text}"
