"""What the methods are known for: where they lead on problems small enough to know the answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from tests import references
from tests.trajectories import assert_close, run, x64

# --- x1^2 + 10 x2^2 from (4, 3) ---------------------------------------------------------------------------------------

SLOPE = np.array([2.0, 20.0])
START = np.array([4.0, 3.0])


def walk(tx, steps=100, start=START, slope=SLOPE):
    """The path down the valley, with its beginning."""

    @jax.jit
    def path(start):
        def step(carry, _):
            p, state = carry
            updates, state = tx.update(slope * p, state, p)
            p = gradtx.apply_updates(p, updates)
            return (p, state), p

        return jax.lax.scan(step, (start, tx.init(start)), None, length=steps)[1]

    with x64():
        return np.vstack([start, path(jnp.asarray(start))])


def reference_walk(rule, learning_rate, steps=100):
    p, path = START, [START]
    for _ in range(steps):
        p = p - learning_rate * rule(SLOPE * p)
        path.append(p)
    return np.array(path)


class Gradient(references.Rule):
    def step(self, g, p):
        return g


PANELS = {
    "gradient descent, 0.01": (gradtx.sgd(0.01), Gradient(), 0.01),
    "momentum, 0.01": (gradtx.sgd(0.01, 0.9), references.Trace(0.9), 0.01),
    "Nesterov, 0.01": (gradtx.sgd(0.01, 0.9, nesterov=True), references.Trace(0.9, True), 0.01),
    "gradient descent, 0.1": (gradtx.sgd(0.1), Gradient(), 0.1),
    "AdaGrad, 0.1": (gradtx.adagrad(0.1, 0.0, 1e-8), references.Rss(0.0, 1e-8), 0.1),
    "RMSProp, 0.1": (gradtx.rmsprop(0.1), references.Rms(), 0.1),
    "Adam, 0.1": (gradtx.adam(0.1), references.Adam(), 0.1),
}


@pytest.mark.parametrize("name", PANELS)
def test_paths_down_a_valley_equal_the_references(name):
    tx, rule, learning_rate = PANELS[name]
    np.testing.assert_allclose(walk(tx), reference_walk(rule, learning_rate), rtol=0, atol=1e-10)


def test_gradient_descent_at_a_tenth_bounces_for_ever():
    """The factor in x2 is 1 - 0.1 * 20 = -1: exactly so step by step; compiled, 0.1 * 60 is not rounded to 6."""
    np.testing.assert_allclose(walk(gradtx.sgd(0.1)), START * [[0.8**t, (-1.0) ** t] for t in range(101)], rtol=1e-13)
    with x64():
        tx, p = gradtx.sgd(0.1), jnp.asarray(START)
        for t in range(1, 101):
            p = gradtx.apply_updates(p, tx.update(SLOPE * p, tx.init(p), p)[0])
            assert p[1] == 3 * (-1) ** t


@pytest.mark.parametrize("name", ["momentum, 0.01", "Nesterov, 0.01", "RMSProp, 0.1", "Adam, 0.1"])
def test_the_others_arrive(name):
    assert np.max(np.abs(walk(PANELS[name][0])[-1])) < 0.15


# --- where Adam fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("large", "period", "b1", "b2"), [(3, 3, 0.0, 0.1), (6, 5, 0.0, 0.5), (101, 101, 0.9, 0.9)])
def test_adam_diverges_where_yogi_and_amsgrad_converge(large, period, b1, b2):
    """Reddi et al.: a large gradient every few steps, -1 otherwise, over [-1, 1]; the average gradient is positive.

    So -1 is best. Adam has forgotten how large the large gradient was by the time the others come, and goes to 1, the
    worst point there is. Yogi and AMSGrad remember.
    """
    assert large > period - 1

    def end(optimizer, steps=3000):
        tx = optimizer(lambda t: 0.1 / jnp.sqrt(t + 1), b1=b1, b2=b2)

        def step(carry, t):
            x, state = carry
            updates, state = tx.update(jnp.where(t % period == 0, float(large), -1.0), state, x)
            return (jnp.clip(gradtx.apply_updates(x, updates), -1, 1), state), None

        x = jnp.zeros(())
        return float(jax.lax.scan(step, (x, tx.init(x)), jnp.arange(steps))[0][0])

    assert end(gradtx.adam) > 0.99
    assert end(gradtx.yogi) < -0.05
    assert end(gradtx.amsgrad) < -0.05


# --- decaying rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["adam", "yogi", "radam", "adagrad", "rmsprop", "adabelief", "amsgrad"])
def test_decaying_the_rate_or_the_whole_step_is_the_same(method):
    """Eta times the decay, or the whole of eta / (sqrt(vhat) + eps) times the decay."""
    optimizer, grads = getattr(gradtx, method), np.random.default_rng(0).normal(size=(30, 5))
    with x64():
        decay = gradtx.exponential_decay(1.0, 10, 0.5)
        of_the_rate = run(optimizer(0.05 * decay), np.zeros(5), grads)
        of_the_step = run(gradtx.chain(optimizer(0.05), gradtx.scale_by_schedule(decay)), np.zeros(5), grads)
        constant = run(optimizer(0.05), np.zeros(5), grads)
    assert_close(of_the_rate[:2], of_the_step[:2], rtol=1e-13)
    np.testing.assert_allclose(of_the_rate[0][10], 0.5 * constant[0][10], rtol=1e-13)


def test_lower_rates_late_settle_what_noise_stirs():
    """Why lower the rate at the end: with noisy gradients Adam stays as far from the optimum as its rate lets it."""
    noise = np.random.default_rng(1).normal(size=(2000, 50))

    def distance(learning_rate):
        tx = gradtx.adam(learning_rate)

        def step(carry, noise):
            p, state = carry
            updates, state = tx.update(p + noise, state, p)
            p = gradtx.apply_updates(p, updates)
            return (p, state), p

        p = jnp.ones(50)
        path = jax.lax.scan(step, (p, tx.init(p)), noise)[1]
        return float(jnp.sqrt(jnp.mean(path[-200:] ** 2)))

    assert distance(gradtx.exponential_decay(0.1, 400, 0.4)) < 0.5 * distance(0.1)
