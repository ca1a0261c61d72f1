"""Tiger, which is Lion with one average and signum with a decay."""

import jax.numpy as jnp
import numpy as np

import gradtx
from tests.trajectories import DOUBLE, SHAPES, SINGLE, Problem, assert_close, run, x64


def test_it_is_lion_with_one_average():
    params, grads = Problem(SHAPES[0], 1).draw(DOUBLE)
    with x64():
        ours = run(gradtx.tiger(0.1, beta=0.8, weight_decay=0.1, mask="kernel"), params, grads)[:2]
        theirs = run(gradtx.lion(0.1, b1=0.8, b2=0.8, weight_decay=0.1, mask="kernel"), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-12)


def test_without_a_decay_it_is_signum():
    params, grads = Problem(SHAPES[1], 2).draw(SINGLE)
    ours, theirs = (
        run(tx, params, grads)[0] for tx in (gradtx.tiger(0.1, weight_decay=0.0), gradtx.signum(0.1, beta=0.965))
    )
    assert_close(ours, theirs, rtol=1e-6)


def test_what_has_no_gradient_only_decays():
    tx, p = gradtx.tiger(0.1, accumulator_dtype="bfloat16"), jnp.array([2.0, 0.0])
    state = tx.init(p)
    np.testing.assert_allclose(tx.update(jnp.zeros(2), state, p)[0], [-0.002, 0.0], rtol=1e-6)
    assert gradtx.tree.get_field(state, "ema").dtype == jnp.bfloat16
