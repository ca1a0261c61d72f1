"""DoG and L-DoG against their reference, Optax's, and what a first gradient of zero must not do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st
from optax import contrib

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from tests.optimizers.layerwise.scalars import path
from tests.optimizers.parameter_free.whole import (
    Descending,
    assert_follows,
    assert_optaxs,
    descend,
    problem,
)
from tests.references import Rule, square
from tests.trajectories import DOUBLE, SINGLE, Problem, assert_close, check_all, epsilons, run, run_eagerly, x64


@dataclasses.dataclass
class Dog(Rule):
    """Ivgi et al., equations 2 and 3: the largest distance so far over the root of the sum of squared norms."""

    init_step: str = "heuristic"
    init_value: float = 1e-6
    eps: float = 1e-8
    start: Any = None
    distance: float = 0.0

    def step(self, g, p):
        if self.start is None:
            size = {"heuristic": 1 + np.linalg.norm(p), "distance": 1.0, "learning_rate": 0.0}[self.init_step]
            self.start, self.distance = p, self.init_value * size
        self.distance = max(self.distance, np.linalg.norm(p - self.start))
        self.total = self.total + np.sum(square(g))
        if self.init_step == "learning_rate" and self.distance == 0:
            return self.init_value * g
        self.condition = 1 + np.linalg.norm(p) / (self.distance or 1)  # it is a difference of params
        root = np.sqrt(self.total + self.eps)
        return self.distance / (root if root else 1) * g


@pytest.mark.parametrize("init_step", ["heuristic", "distance", "learning_rate"])
@pytest.mark.parametrize("eps", [1e-8, 0.0, 1.0])
def test_equals_the_reference(init_step, eps):
    tx = gradtx.chain(gradtx.scale_by_dog(init_step, 0.03, eps), gradtx.scale(-1.0))
    assert_follows(tx, lambda: Descending(Dog(init_step, 0.03, eps)))


@pytest.mark.parametrize("init_step", [("heuristic", 1e-3), ("distance", 0.02), ("learning_rate", 0.01)], ids=str)
def test_equals_optax(init_step):
    assert_optaxs(*(lib.dog(0.7, init_step, 1e-6, 0.1, {"kernel": True, "scalar": False, "zeta": True})
                    for lib in (gradtx, contrib)))  # fmt: skip
    assert_optaxs(gradtx.dog(init_step=init_step), contrib.dog(init_step=init_step))
    assert_optaxs(gradtx.dog(), contrib.dog(), steps=10, rtol=1e-9)


@pytest.mark.parametrize(
    ("init_step", "points"),
    [
        (("heuristic", 1e-2), (0.98, 0.9902899, 0.9838011, 0.9734335)),
        (("learning_rate", 1e-2), (0.995, 0.9975725, 0.9959503, 0.9933584)),
    ],
)
def test_the_golden_steps_of_one_number(init_step, points):
    np.testing.assert_allclose(path(gradtx.dog(init_step=init_step)), points, atol=6e-8)


def test_layers_equal_the_reference():
    def rule(reps_rel, eps):
        return Dog("heuristic", reps_rel, eps)

    arguments = {"reps_rel": st.sampled_from([0.0, 0.01, 1.0]), "eps": epsilons}
    check_all(gradtx.scale_by_distance_over_gradients, rule, arguments, reads_params=True)


@pytest.mark.parametrize("ours", [{}, {"param_dtype": "float64"}], ids=str)
def test_layers_equal_optax(ours):
    params, grads = Problem({"w": (2, 3), "b": (3,)}, 11).draw(DOUBLE, steps=20)
    with x64():
        paths = [
            run_eagerly(tx, params, grads)[0]
            for tx in (
                gradtx.scale_by_distance_over_gradients(0.01, 1e-6, **ours, global_scale=-0.5),
                optax.scale_by_distance_over_gradients(0.01, 1e-6, jnp.float64, -0.5),
            )
        ]
    assert_close(*paths, rtol=1e-10, atol=1e-12)


def test_a_scalar_stays_one():
    """Optax's update of it is a vector."""
    p = jnp.ones(())
    ours, theirs = (lib.scale_by_distance_over_gradients() for lib in (gradtx, optax))
    assert [tx.update(p, tx.init(p), p)[0].shape for tx in (ours, theirs)] == [(), (1,)]


def test_each_layer_has_a_step_size_of_its_own():
    params, grads = Problem({"a": (3,), "b": (2, 2)}, 0).draw(SINGLE)
    tx = gradtx.scale_by_distance_over_gradients(0.01)
    together = run(tx, params, grads)[0]
    alone = run(tx, {"a": params["a"]}, {"a": grads["a"]})[0]
    np.testing.assert_allclose(together["a"], alone["a"], rtol=1e-5)
    whole = run(gradtx.scale_by_dog("heuristic", 0.01), params, grads)[0]
    assert not np.allclose(together["a"], whole["a"], rtol=0.1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_zero_gradients_before_the_first_one_change_nothing(dtype):
    for init_step in ("heuristic", "distance", "learning_rate"):
        tx = gradtx.chain(gradtx.scale_by_dog(init_step, 0.1), gradtx.scale(-1.0))
        p, state = descend(tx, 20, zeros=5, dtype=dtype)
        q, expected = descend(tx, 15, dtype=dtype)
        jax.tree.map(np.testing.assert_array_equal, (p, state), (q, expected))
        assert float(state[0].max_dist) > 1


def test_no_gradient_is_too_long_or_too_short():
    params, grads = problem(SINGLE)
    params, grads = ({name: x for name, x in tree.items() if name != "zeta"} for tree in (params, grads))
    tx = gradtx.dog(init_step=("heuristic", 1e-3), eps=0.0)
    expected = run(tx, params, grads)[0]
    for size in (1e-25, 1e25):
        got = run(tx, params, {name: np.float32(size) * g for name, g in grads.items()})[0]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-7), got, expected)


def test_a_gradient_that_is_not_finite_is_not_counted():
    p = {"a": jnp.ones(2), "b": jnp.ones(3)}
    tx = gradtx.scale_by_dog()
    _, state = tx.update(p, tx.init(p), p)
    for bad in (jnp.nan, jnp.inf):
        updates, after = tx.update({"a": jnp.full(2, bad), "b": jnp.ones(3)}, state, p)
        np.testing.assert_array_equal(updates["b"], 0)
        np.testing.assert_array_equal(after.grad_norm, state.grad_norm)


def test_the_first_params_are_a_copy():
    p = {"a": jnp.ones(3)}
    state = gradtx.dog().init(p)
    kept = state[0].init_params["a"]
    assert kept.unsafe_buffer_pointer() != p["a"].unsafe_buffer_pointer()
    low = gradtx.scale_by_distance_over_gradients(param_dtype="bfloat16").init(p).init_params["a"]
    assert low.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("init_step", "error"),
    [
        (None, ArgumentTypeError),
        (1e-6, ArgumentTypeError),
        (("heuristic",), ArgumentTypeError),
        (("heuristic", "x"), ArgumentTypeError),
        (("heuristic", gradtx.constant_schedule(0.1)), ArgumentTypeError),
        (("size", 1e-6), ArgumentValueError),
        (("distance", -1.0), ArgumentValueError),
        (("distance", np.nan), ArgumentValueError),
    ],
    ids=str,
)
def test_a_first_step_that_is_none_is_refused(init_step, error):
    with pytest.raises(error, match=r"gradtx\.dog: expected .*init_step.*, got "):
        gradtx.dog(init_step=init_step)


def test_it_finds_the_way_by_itself():
    for factor in (gradtx.power_function_decay(8.0), 1 - gradtx.inverse_time_decay(1.0, 9, 1.0)):
        p, state = descend(gradtx.ema_params(gradtx.dog(), factor), 2000)
        for leaf in jax.tree.leaves((p, gradtx.averaged_params(state))):
            np.testing.assert_allclose(leaf, 3.0, atol=0.01)


def test_the_authors_average():
    """Their avg <- (1 - w) avg + w p with w = (1 + gamma) / (t + gamma), t = 1, 2, ..."""
    points, average = np.array([1.0, -2.0, 5.0, 3.0, 4.0]), 0.0
    for t, p in enumerate(points, 1):
        average = average + (p - average) * 9 / (t + 8)
    tx = gradtx.ema_params(gradtx.sgd(1.0), 1 - gradtx.inverse_time_decay(1.0, 9, 1.0))
    p = jnp.zeros(())
    state = tx.init(p)
    for point in points:
        updates, state = tx.update(p - point, state, p)
        p = p + updates
    np.testing.assert_allclose(gradtx.averaged_params(state), average, rtol=1e-6)


def test_layers_find_their_ways_by_themselves():
    tx = gradtx.chain(gradtx.scale_by_distance_over_gradients(), gradtx.scale(-1.0))
    p = {"a": jnp.zeros(3), "b": jnp.ones(())}
    state, update = tx.init(p), jax.jit(tx.update)
    for _ in range(500):
        updates, state = update(jax.tree.map(lambda x: x - 3, p), state, p)
        p = gradtx.apply_updates(p, updates)
    for leaf in jax.tree.leaves(p):
        np.testing.assert_allclose(leaf, 3.0, atol=0.01)
