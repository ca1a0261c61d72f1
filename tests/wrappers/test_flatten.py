"""Vectors in place of leaves."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array(0.5), "n": None, "e": jnp.zeros((0, 2))}


def run(tx, params, steps=4, **extra):
    state = tx.init(params)
    for t in range(steps):
        grads = jax.tree.map(lambda p, t=t: jnp.sin(p + t), params)
        updates, state = tx.update(grads, state, params, **extra)
        params = gradtx.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", ["adamw", "sgd", "clip_by_global_norm"])
def test_equals_optax_and_the_same_without(name):
    with jax.enable_x64():
        params = jax.tree.map(lambda p: jnp.asarray(p, float), PARAMS)
        ours, state = run(gradtx.flatten(getattr(gradtx, name)(0.1)), params)
        assert {x.shape for x in jax.tree.leaves(state)} <= {(), (5,)}
        chex.assert_trees_all_close(ours, run(getattr(gradtx, name)(0.1), params)[0], rtol=1e-12)
        given = {k: x for k, x in params.items() if k != "n"}
        theirs, _ = run(optax.flatten(getattr(optax, name)(0.1)), given)
        chex.assert_trees_all_close({k: x for k, x in ours.items() if k != "n"}, theirs, rtol=1e-10)


def test_there_is_a_vector_for_each_dtype_and_integers_are_in_none():
    params = {"a": jnp.ones(2), "b": jnp.ones(3, jnp.bfloat16), "c": 1j * jnp.ones(1), "table": jnp.arange(2)}
    params |= {"key": jax.random.key(0), "d": 2.0}
    tx = gradtx.flatten(gradtx.adam(0.1))
    state = tx.init(params)
    shapes = {k: x.shape for k, x in gradtx.tree.get_field(state, "mu").items()}
    assert shapes == {"float32": (3,), "bfloat16": (3,), "complex64": (1,)}
    none = np.zeros((), jax.dtypes.float0)
    grads = params | {"table": np.zeros(2, jax.dtypes.float0), "key": none, "b": jnp.ones(3)}
    updates, _ = jax.jit(lambda s: tx.update(grads, s, params))(state)
    assert updates["b"].dtype == jnp.float32
    assert updates["key"].dtype == updates["table"].dtype == jax.dtypes.float0
    np.testing.assert_allclose(updates["a"], [-0.1, -0.1], rtol=1e-5)
    after = gradtx.apply_updates(params, updates)
    assert after["key"] is params["key"]


def test_an_absent_gradient_is_zero_in_its_vector_and_stays_absent():
    tx = gradtx.flatten(gradtx.sgd(1.0, momentum=0.5))
    updates, state = tx.update(PARAMS | {"b": None}, tx.init(PARAMS), PARAMS)
    assert updates["b"] is None
    np.testing.assert_array_equal(gradtx.tree.get_field(state, "trace")["float32"], [0, 1, -2, 0.5, 3])
    updates, _ = tx.update(PARAMS, tx.init(PARAMS))
    np.testing.assert_array_equal(updates["w"], -PARAMS["w"])


def test_functions_among_the_extras_are_of_vectors():
    def loss(p):
        return jnp.sum((p["w"] - 1) ** 4) + p["b"] ** 2

    ends = []
    for tx in (gradtx.lbfgs(), gradtx.flatten(gradtx.lbfgs())):
        p, state = PARAMS, tx.init(PARAMS)
        for _ in range(5):
            value, grads = jax.value_and_grad(loss)(p)
            updates, state = tx.update(grads, state, p, value=value, grad=grads, value_fn=loss)
            p = gradtx.apply_updates(p, updates)
        ends.append(p)
    chex.assert_trees_all_close(*ends, rtol=1e-4, atol=1e-5)
    both = jax.value_and_grad(loss)
    for extra in ({"grad_fn": jax.grad(loss)}, {"value_and_grad_fn": both}):
        plain = gradtx.sam(gradtx.sgd(0.1)).update(PARAMS, gradtx.sam(gradtx.sgd(0.1)).init(PARAMS), PARAMS, **extra)
        tx = gradtx.flatten(gradtx.sam(gradtx.sgd(0.1)))
        chex.assert_trees_all_close(tx.update(PARAMS, tx.init(PARAMS), PARAMS, **extra)[0], plain[0], rtol=1e-5)


def test_errors_name_the_leaf():
    tx = gradtx.flatten(gradtx.sgd(0.1))
    with pytest.raises(gradtx.errors.TreeMismatchError, match=r"gradtx.flatten: .*got \[3\] and \[2, 2\] at \['w'\]"):
        tx.update(PARAMS | {"w": jnp.ones(3)}, tx.init(PARAMS), PARAMS)
