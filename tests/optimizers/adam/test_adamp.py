"""AdamP, SGDP and what they share: steps without their part along the weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests.references import Adam, Rule, Trace, square
from tests.trajectories import DOUBLE, SINGLE, Problem, assert_close, compare, run, run_compiled, run_eagerly, x64


@dataclasses.dataclass
class Tangential(Rule):
    """Heo et al., algorithm 2, with outputs on the last axis."""

    rule: Rule
    delta: float = 0.1
    weight_decay: float = 0.0
    wd_ratio: float = 0.1
    eps: float = 1e-8

    def step(self, g, p):
        u, ratio = self.rule(g, p), 1.0
        for over in (tuple(range(g.ndim - 1)), tuple(range(g.ndim))) if g.ndim > 1 else ():
            lengths = [np.sqrt(square(x).sum(axis=over, keepdims=True)) + self.eps for x in (g, p)]
            product = np.real(np.conj(p) * g).sum(axis=over, keepdims=True)
            cosines = np.abs(product) / (lengths[0] * lengths[1])
            if cosines.max() < self.delta / np.sqrt(g.size / cosines.size):
                unit, ratio = p / lengths[1], self.wd_ratio
                u = u - unit * np.real(np.conj(unit) * u).sum(axis=over, keepdims=True)
                break
        self.size = np.sum(self.rule.size) + np.abs(p)
        return u + self.weight_decay * ratio * p


def at_right_angles(p, g, over):
    """The part of gradients, with a leading axis of steps, at a right angle to fixed weights over some axes."""
    along = np.real(np.conj(p) * g).sum(axis=over, keepdims=True) / square(p).sum(
        axis=tuple(a - 1 for a in over), keepdims=True
    )
    return (g - along * p).astype(g.dtype)


KINDS = {"outputs": (1,), "whole": (1, 2), "neither": None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leaf", ["w", "zeta"])
@pytest.mark.parametrize("precision", [SINGLE, DOUBLE], ids=["float32", "float64"])
def test_equals_the_reference(kind, leaf, precision):
    """The weights are where the gradients are; a wrapper does not move them."""
    params, grads = Problem({leaf: (6, 4)}, 3).draw(precision)
    p, g = params[leaf], grads[leaf]
    g = g if KINDS[kind] is None else at_right_angles(p, g, KINDS[kind])
    inner = gradtx.scale_by_adam(0.75, 0.875, 2.0**-10)
    tx = gradtx.tangential(inner, weight_decay=0.125, wd_ratio=0.25)
    rule = Tangential(Adam(0.75, 0.875, 2.0**-10), weight_decay=0.125, wd_ratio=0.25)
    moved = 0
    with x64(precision.x64):
        state = tx.init(p)
        for x in g:
            u, state = tx.update(x, state, p)
            expected = rule(x.astype(np.complex128 if leaf == "zeta" else np.float64), p)
            assert np.all(np.abs(u - expected) <= 4 * precision.tolerance * rule.size)
            moved += np.abs(np.sum(np.real(np.conj(p) * (expected - 0.125 * 0.25 * p))))
    assert (moved < 1e-3) == (kind != "neither")


def test_vectors_and_scalars_only_decay():
    params, grads = Problem({"bias": (3,), "scalar": ()}, 1).draw(DOUBLE)
    with x64():
        ours = run(gradtx.adamp(0.1, weight_decay=0.1), params, grads)[:2]
        theirs = run(gradtx.adamw(0.1, weight_decay=0.1), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-13)


def test_outputs_may_be_on_another_axis():
    params, grads = Problem({"w": (4, 6)}, 2).draw(DOUBLE)
    turned = [jax.tree.map(lambda x: np.swapaxes(x, -1, -2), x) for x in (params, grads)]
    for delta in (0.1, 10.0):
        with x64():
            first = run(gradtx.adamp(0.1, delta=delta, output_axis=0), params, grads)[0]["w"]
            last = run(gradtx.adamp(0.1, delta=delta), *turned)[0]["w"]
        np.testing.assert_allclose(first, np.swapaxes(last, 1, 2), rtol=1e-9)


def test_the_length_of_weights_stays_but_for_the_square_of_a_step():
    """The loss depends on the direction of each column alone; momentum makes weights longer, but not with SGDP."""

    def loss(p):
        return jnp.sum(jnp.square(p / jnp.linalg.norm(p, axis=0) - jnp.eye(4, 3)))

    lengths = []
    for tx in (gradtx.sgd(0.5, 0.9), gradtx.sgdp(0.5, 0.9)):
        p = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
        state = tx.init(p)
        begin = float(jnp.linalg.norm(p))
        for _ in range(20):
            updates, state = tx.update(jax.grad(loss)(p), state, p)
            p = gradtx.apply_updates(p, updates)
        lengths.append(float(jnp.linalg.norm(p)) / begin)
    assert lengths[1] < 1.0 + 0.5 * (lengths[0] - 1)


def test_sgdp_is_gradient_descent_where_no_cosine_is_small():
    params, grads = Problem({"w": (4, 6)}, 2).draw(DOUBLE)
    with x64():
        ours = run_compiled(gradtx.sgdp(0.1, 0.9, nesterov=True, weight_decay=0.1, delta=0.0), params, grads)[0]
        theirs = run_compiled(gradtx.sgdw(0.1, 0.9, nesterov=True, weight_decay=1.0), params, grads)[0]
    assert_close(ours, theirs, rtol=1e-10)


def test_a_trajectory_equals_the_reference():
    params = {"w": (4, 3)}
    tx = gradtx.tangential(gradtx.trace(0.75), delta=10.0, weight_decay=0.125)
    for precision in (SINGLE, DOUBLE):
        compare(
            precision,
            tx,
            lambda: Tangential(Trace(0.75), delta=10.0, weight_decay=0.125),
            Problem(params, 0),
            run_eagerly,
            reads_params=True,
        )


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("shape", [(2, 3), (0, 2), (3,), ()])
def test_zero_gradients_are_no_update_and_their_derivatives_are_finite(eps, shape):
    tx = gradtx.tangential(gradtx.trace(0.5), eps=eps)
    zero = jnp.zeros(shape)
    for p in (jnp.ones(shape), zero):
        np.testing.assert_array_equal(tx.update(zero, tx.init(p), p)[0], zero)
        for slopes in jax.jacobian(lambda g, p: tx.update(g, tx.init(p), p)[0], (0, 1))(zero, p):
            assert np.all(np.isfinite(slopes))


def test_what_is_refused():
    with pytest.raises(gradtx.errors.ArgumentTypeError, match="inner to be leafwise"):
        gradtx.tangential(
            gradtx.from_functions(lambda params: (), lambda updates, state, params=None: (updates, state))
        )
    tx = gradtx.adamp(0.1)
    with pytest.raises(gradtx.errors.MissingExtraError, match="params"):
        tx.update(jnp.ones((2, 2)), tx.init(jnp.ones((2, 2))))
