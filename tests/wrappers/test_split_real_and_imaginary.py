"""Complex parameters as pairs of real ones."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, run_eagerly, x64


@pytest.mark.parametrize("shapes", SHAPES, ids=["some", "others"])
def test_equals_optax(shapes):
    params, grads = Problem({**shapes, "zz": (3, 2), "zn": (0,), "z": ()}, 5).draw(DOUBLE, steps=5)
    with x64():
        ours = run_eagerly(gradtx.split_real_and_imaginary(gradtx.adamw(0.1)), params, grads)[:2]
        theirs = run_eagerly(optax.contrib.split_real_and_imaginary(optax.adamw(0.1)), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-10)


def test_the_parts_are_what_two_real_leaves_are():
    z, real = jnp.array([1 + 2j, -3j]), jnp.array([5.0])
    pair = {"x": z.real, "y": z.imag, "real": real}
    tx = gradtx.chain(gradtx.clip_by_block_rms(0.5), gradtx.adafactor(0.1))
    split, state, apart = gradtx.split_real_and_imaginary(tx), None, tx.init(pair)
    params = {"z": z, "real": real, "none": None}
    state = split.init(params)
    assert type(state.inner_state) is type(apart)
    for _ in range(3):
        expected, apart = tx.update(pair, apart, pair)
        got, state = split.update(params, state, params)
        np.testing.assert_array_equal(got["z"], expected["x"] + 1j * expected["y"])
        np.testing.assert_array_equal(got["real"], expected["real"])
        assert got["none"] is None


def test_a_rotated_axis_makes_a_difference_that_it_does_not_make_without():
    g, turn = jnp.array([3 - 4j]), jnp.exp(0.3j)
    step = lambda tx, g: tx.update(g, tx.init(g), g)[0]  # noqa: E731
    plain, split = gradtx.adam(0.1), gradtx.split_real_and_imaginary(gradtx.adam(0.1))
    np.testing.assert_allclose(step(plain, turn * g), turn * step(plain, g), rtol=1e-5)
    np.testing.assert_allclose(step(split, g), [-0.1 + 0.1j], rtol=1e-5)
    assert abs(step(split, turn * g) - turn * step(split, g)).max() > 0.01


def test_functions_of_the_params_are_functions_of_the_parts():
    """A line search and a second gradient; both look at the loss elsewhere."""
    target = {"z": jnp.array([1 - 2j, 0.5j]), "x": jnp.array([2.0])}

    def value_fn(p):
        return sum(jnp.sum(jnp.abs(p[k] - target[k]) ** 2) for k in target)

    def grad_fn(p):
        return jax.tree.map(lambda x, y: 2 * (x - y), p, target)

    params = jax.tree.map(jnp.zeros_like, target)
    for inner in (gradtx.lbfgs(), gradtx.extragradient(gradtx.sgd(0.1)), gradtx.sam(gradtx.sgd(0.1), 0.05)):
        tx, p = gradtx.split_real_and_imaginary(inner), params
        state = tx.init(p)
        for _ in range(60):
            value, grads = value_fn(p), grad_fn(p)
            given = {"value": value, "grad": grads, "value_fn": value_fn, "grad_fn": grad_fn}
            both = {"value_and_grad_fn": lambda q: (value_fn(q), grad_fn(q))}
            updates, state = tx.update(grads, state, p, **given, **both)
            p = gradtx.apply_updates(p, updates)
        assert float(value_fn(p)) < 0.02, inner


def test_a_clip_in_a_partition_takes_the_norm_of_the_whole_tree():
    group = gradtx.split_real_and_imaginary(gradtx.clip_by_global_norm(1.0))
    tx = gradtx.partition({"z": group, "x": gradtx.identity()})
    grads = {"z": jnp.array([3j]), "x": jnp.array([4.0])}
    updates, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_allclose(updates["z"], [0.6j], rtol=1e-6)


def test_names_of_parts():
    tx = gradtx.split_real_and_imaginary(gradtx.freeze("*/imaginary"))
    updates, _ = tx.update({"z": jnp.array([3 - 4j])}, tx.init({"z": jnp.zeros(1, complex)}))
    np.testing.assert_array_equal(updates["z"], [3 + 0j])
