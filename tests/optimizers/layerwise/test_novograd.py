"""NovoGrad against its reference, Optax, and recorded numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests import references
from tests.optimizers.layerwise.scalars import path
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    decays,
    epsilons,
    run,
    run_eagerly,
    x64,
)

NUMBERS = {"b1": decays, "b2": decays, "eps": epsilons, "eps_root": epsilons}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_the_reference(weight_decay):
    arguments = NUMBERS | {"weight_decay": st.just(weight_decay)}
    check_all(gradtx.scale_by_novograd, references.Novograd, arguments, reads_params=weight_decay > 0)


@pytest.mark.parametrize("arguments", [{}, {"weight_decay": 0.01, "eps_root": 1e-3}, {"b2": 0.98, "eps": 0.0}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_novograd, references.Novograd, arguments, reads_params="weight_decay" in arguments)


@pytest.mark.parametrize("arguments", [{}, {"b1": 0.95, "b2": 0.98, "weight_decay": 0.1, "eps_root": 1e-3}], ids=str)
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        ours = run(gradtx.novograd(0.1, **arguments), params, grads)
        theirs = run_eagerly(optax.novograd(0.1, **arguments), params, grads)
    assert_close(ours[:2], theirs[:2], rtol=1e-11, atol=1e-11)


def test_equals_recorded_numbers():
    np.testing.assert_allclose(path(gradtx.novograd(0.1)), [0.9000002, 0.8932052, 0.8070900, 0.3409160], rtol=2e-7)
    tx = gradtx.novograd(0.1, b1=0.95, b2=0.0, eps=1e-8)  # torch_optimizer
    np.testing.assert_allclose(path(tx), [0.9, 0.905, 0.80975, 0.0933152], atol=1e-7)


def test_the_first_mean_square_is_that_of_the_first_gradient():
    tx = gradtx.scale_by_novograd(b2=0.75)
    _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
    assert float(state.nu) == 25.0
    _, state = tx.update(jnp.array([1.0, 0.0]), state)
    assert float(state.nu) == 0.75 * 25 + 0.25


def test_a_leaf_keeps_one_real_number_beside_its_momentum():
    params, grads = Problem(SHAPES[0], 0).draw(SINGLE)
    state = run(gradtx.scale_by_novograd(mu_dtype="bfloat16"), params, grads)[2]
    assert {k: (x.shape, str(x.dtype)) for k, x in state.nu.items()} == dict.fromkeys(params, ((), "float32"))
    assert str(state.mu["kernel"].dtype) == "bfloat16"
    half = gradtx.scale_by_novograd().init(jnp.ones(3, jnp.bfloat16))
    assert (half.mu.dtype, half.nu.dtype) == (jnp.float32, jnp.float32)


def test_the_decay_is_inside_the_momentum():
    tx, p = gradtx.scale_by_novograd(b1=0.5, weight_decay=0.1), jnp.array([2.0])
    state = tx.init(p)
    for expected in (0.2, 0.3, 0.35):
        u, state = tx.update(jnp.zeros(1), state, p)
        np.testing.assert_allclose(u, [expected], rtol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_zero_gradients_are_no_update_and_their_derivatives_are_finite(eps):
    tx, p = gradtx.scale_by_novograd(eps=eps), jnp.zeros(2)

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p))[1])[0]

    np.testing.assert_array_equal(second(jnp.zeros(2)), [0.0, 0.0])
    assert np.all(np.isfinite(jax.jacobian(second)(jnp.zeros(2))))


def test_params_are_needed_for_the_decay_alone():
    tx = gradtx.scale_by_novograd(weight_decay=0.1)
    state = tx.init(jnp.ones(2))
    with pytest.raises(gradtx.errors.MissingExtraError, match="scale_by_novograd"):
        tx.update(jnp.ones(2), state)
