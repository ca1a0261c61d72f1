"""Scalars of a state by name."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx
from tests.conformance.cases import TRANSFORMATIONS

PARAMS = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}


def test_names_and_values():
    tx = gradtx.apply_if_finite(
        gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(gradtx.linear_schedule(0.1, 0.0, 10)))
    )
    state = tx.init(PARAMS)
    for factor in (2.0, jnp.nan, 3.0):
        grads = jax.tree.map(lambda p: jnp.full_like(p, factor), PARAMS)  # noqa: B023
        _, state = tx.update(grads, state, PARAMS)
    found = gradtx.metrics(state)
    assert {name: round(float(x), 4) for name, x in found.items()} == {
        "apply_if_finite/consecutive": 0,
        "apply_if_finite/skipped": 1,
        "apply_if_finite/last_finite": 1,
        "clip_by_global_norm/norm": 9.0,
        "clip_by_global_norm/clipped": 2,
        "learning_rate": 0.09,
        "scheduled/count": 2,
        "scale_by_adam/count": 2,
    }


def test_names_that_occur_twice_have_their_place():
    clip = gradtx.clip_by_global_norm(1.0)
    tx = gradtx.named_chain(("before", clip), ("step", gradtx.adam(lambda n: 0.1)), ("after", gradtx.chain(clip, clip)))
    assert [name for name in gradtx.metrics(tx.init(PARAMS)) if name.endswith("/norm")] == [
        "after/0/clip_by_global_norm/norm",
        "after/1/clip_by_global_norm/norm",
        "before/clip_by_global_norm/norm",
    ]
    rates = gradtx.chain(gradtx.sgd(lambda n: 0.1), gradtx.sgd(lambda n: 0.2))
    assert {k: float(x) for k, x in gradtx.metrics(rates.init(PARAMS)).items() if "rate" in k} == pytest.approx(
        {"0/learning_rate": 0.1, "1/learning_rate": 0.2}
    )


def test_a_plateau_shows_its_status_and_not_its_arguments():
    tx = gradtx.sgd(gradtx.plateau_schedule(0.1, patience=2))
    state = gradtx.observe(gradtx.observe(tx.init(PARAMS), value=1.0), value=2.0)
    found = gradtx.metrics(state)
    assert found["plateau/plateau_count"] == 1
    assert found["plateau/best_value"] == 1.0
    assert not any("settings" in name or "patience" in name for name in found)


def test_tunable_numbers_have_their_names():
    tx = gradtx.tunable(gradtx.chain(gradtx.clip(1.0), gradtx.sgd(0.1)))
    assert list(gradtx.metrics(tx.init(PARAMS))) == ["transforms[0].max_delta", "transforms[1].learning_rate"]


def test_it_works_inside_jit_and_on_shapes():
    tx = gradtx.chain(gradtx.monitor({"k": "kernel"}), gradtx.sgd(lambda n: 0.1 / (n + 1)))
    jitted = jax.jit(lambda p: gradtx.metrics(tx.update(p, tx.init(p), p)[1]))(PARAMS)
    assert set(jitted) == set(gradtx.metrics(jax.eval_shape(tx.init, PARAMS)))
    assert jitted["monitor/ratio/k"] == 1.0


def test_optaxs_states_are_read_too():
    tx = gradtx.chain(optax.adam(1e-3), optax.apply_if_finite(optax.sgd(0.1), 3))
    assert list(gradtx.metrics(tx.init(PARAMS))) == [
        "scale_by_adam/count",
        "apply_if_finite/notfinite_count",
        "apply_if_finite/last_finite",
        "apply_if_finite/total_notfinite",
    ]


def test_states_of_nnx_optimizers_give_plain_arrays():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, gradtx.adam(lambda n: 0.1), wrt=nnx.Param)
    found = gradtx.metrics(optimizer.opt_state)
    assert list(found) == ["learning_rate", "scheduled/count", "scale_by_adam/count"]
    assert all(isinstance(x, jax.Array) for x in found.values())


def test_random_keys_and_bare_trees_are_no_metrics():
    assert gradtx.metrics({"count": jnp.zeros((), int), "key": jax.random.key(0)}) == {}
    assert gradtx.metrics(()) == {}


class Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


class Kernel(NamedTuple):
    kernel: jax.Array


def takes_matrices(tx):
    """Whether a transformation, or the one inside it, is of matrices: their moments have three axes."""
    return any("matrices" in part.factory.arguments for part in (tx, tx.arguments.get("inner", tx)))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_names_are_fixed_and_moments_left_out(name):
    """Of scalar params in a named tuple, every moment is one, too: a field without its annotation shows more names."""
    tx = TRANSFORMATIONS[name]
    trees = [Layer(jnp.ones(shape), jnp.ones(shape)) for shape in ((), (2, 3))]
    if takes_matrices(tx):
        trees = [Kernel(jnp.ones(shape)) for shape in ((1, 1), (2, 3))]
    scalars, arrays = (gradtx.metrics(jax.eval_shape(tx.init, tree)) for tree in trees)
    assert list(scalars) == list(arrays)
    assert all(x.shape == () for x in arrays.values())
