"""Adafactor against its reference, against Optax, and by its memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.trajectories import (
    DOUBLE,
    SINGLE,
    Problem,
    assert_close,
    booleans,
    check_all,
    check_numbers,
    decays,
    rates,
    run,
    run_eagerly,
    x64,
)

MEANS = {
    "decay_rate": st.floats(0.0, 1.0),
    "min_dim_size_to_factor": st.sampled_from([1, 2, 128]),
    "factored": booleans,
}


def test_equals_the_reference():
    more = {"epsilon": st.sampled_from([0.0, 1e-30, 1e-3]), "step_offset": st.sampled_from([0.0, 3.0])}
    more |= {"max_decay": st.sampled_from([1.0, 0.5])}
    check_all(gradtx.scale_by_factored_rms, references.FactoredRms, MEANS | more)


class Adafactor(references.Rule):
    """The relative step, its average, and the decay, which no rate scales."""

    def __init__(self, learning_rate, momentum, weight_decay_rate, **means):
        self.learning_rate, self.weight_decay = learning_rate, weight_decay_rate
        self.rms, self.ema = references.FactoredRms(**means), references.Ema(momentum, debias=False)

    def step(self, g, p):
        u = references.clip_by_block_rms(self.rms(g), 1.0)
        size = max(1e-3, float(np.sqrt(np.mean(references.square(p))))) if np.size(p) else 0.0
        u = self.ema(self.learning_rate * size * u)
        self.size = self.ema.size + self.weight_decay * np.abs(p)
        return -(u + self.weight_decay * p)


def test_the_optimizer_equals_the_reference():
    more = {"learning_rate": rates, "momentum": decays, "weight_decay_rate": st.sampled_from([0.0, 0.1])}
    check_all(gradtx.adafactor, Adafactor, MEANS | more, reads_params=True)


@pytest.mark.parametrize("arguments", [{}, {"min_dim_size_to_factor": 2}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_factored_rms, references.FactoredRms, arguments)


REAL = {"kernel": (2, 3), "bias": (3,), "conv": (3, 2, 4, 2)}
"""Optax stores complex squares as real ones, and takes no NumPy scalars."""


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay_rate": 0.01},
        {"learning_rate": 0.1, "multiply_by_parameter_scale": False, "clipping_threshold": None, "eps": 1e-3},
        {"learning_rate": 0.1, "factored": False, "decay_rate": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("min_dim", [2, 128])
def test_equals_optax(min_dim, arguments, monkeypatch):
    module = optax._src.factorized
    in_double = functools.partial(optax.scale_by_factored_rms, decay_rate_fn=lambda i, c: 1 - (i + 1.0) ** -c)
    monkeypatch.setattr(module, "scale_by_factored_rms", in_double)  # Optax's own decay is float32
    params, grads = Problem(REAL, 11).draw(DOUBLE, steps=20)
    arguments = arguments | {"min_dim_size_to_factor": min_dim}
    with x64():
        ours = run(gradtx.adafactor(**arguments), params, grads)
        theirs = run_eagerly(optax.adafactor(**arguments, dtype_momentum="float64"), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-10, atol=1e-10)


THETA = np.array([[1, -2, 0.5], [0.25, 3, -1]])
GRADS = np.array([[[0.5, -0.3, 0.2], [0.1, -0.4, 0.6]], [[0.2, 0.1, -0.1], [-0.3, 0.5, 0.05]]])
GOLDEN = {
    1: [[0.62648488, -1.90983633, 0.49071499], [0.34570345, 2.97240552, -1.21994929]],
    128: [[0.75074987, -1.91693845, 0.44691942], [0.29440068, 2.98483014, -1.18021655]],
}


@pytest.mark.parametrize("min_dim", GOLDEN)
def test_two_steps_by_hand(min_dim):
    with x64():
        _, params, _ = run_eagerly(gradtx.adafactor(0.1, min_dim), THETA, GRADS)
    np.testing.assert_allclose(params, GOLDEN[min_dim], atol=1e-8)


def test_the_state_of_large_matrices_is_next_to_nothing():
    params = jax.ShapeDtypeStruct((2048, 2048), jnp.float32)
    state = jax.eval_shape(gradtx.adafactor(0.1).init, params)
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) < 0.005 * params.size


def test_a_leaf_has_the_means_of_its_two_largest_axes_or_its_own():
    params = {
        "kernel": jnp.zeros((3, 2)),
        "stack": jnp.zeros((5, 2, 4)),
        "square": jnp.zeros((3, 3)),
        "v": jnp.zeros(9),
    }
    state = gradtx.scale_by_factored_rms(min_dim_size_to_factor=2).init(params)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in state[1:]]
    assert shapes == [
        {"kernel": (2,), "stack": (2, 4), "square": (3,), "v": None},
        {"kernel": (3,), "stack": (5, 2), "square": (3,), "v": None},
        {"kernel": None, "stack": None, "square": None, "v": (9,)},
    ]


@pytest.mark.parametrize("size", [1e-30, 1e19, 1e30])
@pytest.mark.parametrize("min_dim", [2, 128])
def test_squares_that_vanish_or_overflow_make_no_nan(min_dim, size):
    """One infinite mean would make the quotient of means NaN, from the second step on."""
    grads = np.full((3, 2, 3), size, np.float32)
    grads[0, 1] = grads[1, :, 2] = 0
    tx = gradtx.scale_by_factored_rms(min_dim_size_to_factor=min_dim)
    updates, _, state = run_eagerly(tx, np.zeros((2, 3), np.float32), grads)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((updates, state)))
    updates, _, _ = run_eagerly(gradtx.adafactor(0.1, min_dim), np.ones((2, 3), np.float32), grads)
    assert np.abs(updates).max() < 0.3


@pytest.mark.parametrize("epsilon", [0.0, 1e-30])
@pytest.mark.parametrize("min_dim", [2, 128])
def test_zero_gradients_are_zero_updates_and_have_derivatives(min_dim, epsilon):
    tx = gradtx.scale_by_factored_rms(min_dim_size_to_factor=min_dim, epsilon=epsilon)
    zeros = jnp.zeros((2, 3))

    def total(g):
        return jnp.sum(tx.update(g, tx.init(zeros))[0] ** 2)

    updates, _, _ = run(tx, zeros, np.zeros((4, 2, 3), np.float32))
    assert not updates.any()
    for g in (zeros, zeros.at[0, 1].set(2.0)):
        assert jnp.isfinite(jax.grad(total)(g)).all()


def test_means_of_complex_gradients_are_real():
    params, grads = Problem({"z": (2, 3), "z1": (2,)}, 0).draw(SINGLE)
    state = run(gradtx.scale_by_factored_rms(min_dim_size_to_factor=2), params, grads)[2]
    assert {x.dtype.name for x in jax.tree.leaves(state[1:])} == {"float32"}


def test_without_an_offset_a_counter_that_goes_on_keeps_forgetting_little():
    """A state from another task: with the offset its memory is given up at the first step of the new one."""
    params = jnp.zeros(1)
    for offset, expected in ((0, 1 / (1 - 5**-0.8 + 9 * 5**-0.8) ** 0.5), (4, 1 / 3)):
        tx = gradtx.scale_by_factored_rms(step_offset=offset)
        state = tx.init(params)._replace(count=jnp.int32(4), v=jnp.ones(1))
        np.testing.assert_allclose(tx.update(jnp.full(1, 3.0), state)[0], 3 * expected, rtol=1e-5)


def test_the_least_size_is_at_least_one():
    for factory in (gradtx.scale_by_factored_rms, gradtx.adafactor):
        with pytest.raises(gradtx.errors.ArgumentValueError, match=r"min_dim_size_to_factor of at least 1, got 0"):
            factory(min_dim_size_to_factor=0)
