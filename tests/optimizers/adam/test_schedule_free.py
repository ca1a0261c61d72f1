"""Schedule-free optimizers against recorded numbers, Optax, and the authors' equations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from tests.trajectories import DOUBLE, SHAPES, Problem, assert_close, run, run_eagerly, x64

GRADIENTS = (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25)


def path(tx):
    """The params and their averages after steps 1, 2, 3 and 7 of the golden problem."""
    with x64():
        y, seen = jnp.asarray(1.0), []
        state = tx.init(y)
        for g in GRADIENTS:
            updates, state = tx.update(jnp.asarray(g), state, y)
            y = gradtx.apply_updates(y, updates)
            seen.append((float(y), float(gradtx.schedule_free_eval_params(state, y))))
    return [seen[i] for i in (0, 1, 2, 6)]


def test_equals_recorded_numbers():
    y = [0.900000002, 0.940023090, 0.928454203, 0.890224773]
    x = [0.900000002, 0.936384628, 0.929775941, 0.902022384]
    np.testing.assert_allclose(path(gradtx.schedule_free_adamw(0.1)), list(zip(y, x, strict=True)), rtol=2e-9)


def test_the_warm_up_is_that_of_the_authors():
    y = [0.975000001, 1.004835394, 0.980438390, 0.931882140]
    x = [0.975000001, 1.004107701, 0.981684143, 0.942456343]
    expected = list(zip(y, x, strict=True))
    np.testing.assert_allclose(path(gradtx.schedule_free_adamw(0.1, warmup_steps=4)), expected, rtol=2e-9)
    rising = gradtx.linear_schedule(0.025, 0.1, 3)
    np.testing.assert_allclose(path(gradtx.schedule_free_adamw(rising)), expected, rtol=2e-9)
    scheduled = gradtx.schedule_free_adamw(gradtx.constant_schedule(0.1), warmup_steps=4)
    np.testing.assert_allclose(path(scheduled), expected, rtol=2e-9)


@pytest.mark.parametrize("arguments", [{}, {"b1": 0.7, "weight_decay": 0.1, "weight_lr_power": 1.0}], ids=str)
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_equals_optax(name, arguments):
    params, grads = Problem(SHAPES[0], 4).draw(DOUBLE)
    with x64():
        ours = run(getattr(gradtx, name)(0.1, **arguments), params, grads)[:2]
        theirs = run_eagerly(getattr(optax.contrib, name)(0.1, **arguments), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_no_decay_may_be_none():
    assert gradtx.schedule_free_sgd(0.1) == gradtx.schedule_free_sgd(0.1, weight_decay=None)
    params, grads = Problem(SHAPES[0], 1).draw(DOUBLE)
    with x64():
        none, zero = (run(gradtx.schedule_free_sgd(0.1, weight_decay=x), params, grads)[0] for x in (None, 0.0))
    assert_close(none, zero, rtol=0)


class RectifiedScheduleFree:
    """The authors' RAdamScheduleFree, x and z as they are; silent while rho is at most 4."""

    def __init__(self, b2, decay):
        self.b2, self.decay = b2, decay
        self.t, self.v, self.largest, self.weights, self.z, self.x = 0, 0.0, 0.0, 0.0, None, None

    def __call__(self, g, y):
        self.z, self.x = (y, y) if self.t == 0 else (self.z, self.x)
        self.t += 1
        power = self.b2**self.t
        longest = 2 / (1 - self.b2) - 1
        rho = longest - 2 * self.t * power / (1 - power)
        rect = 0.0
        if rho > 4:
            rect = np.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
        rate = 0.1 * rect
        self.v = self.b2 * self.v + (1 - self.b2) * g**2
        n = g / (np.sqrt(self.v / (1 - power)) + 1e-8) + self.decay * y
        self.largest = max(self.largest, rate)
        self.weights += self.largest**2
        c = self.largest**2 / self.weights if self.weights else 0.0
        self.z = self.z - rate * n
        self.x = (1 - c) * self.x + c * self.z
        return 0.1 * self.z + 0.9 * self.x - y


@pytest.mark.parametrize("b2", [0.9, 0.95, 0.999])
def test_rectified(b2):
    params, grads = Problem({"w": (4,)}, 5).draw(DOUBLE)
    with x64():
        updates, y, state = run(gradtx.schedule_free_radam(0.1, b2=b2, weight_decay=0.01), params, grads)
        x = gradtx.schedule_free_eval_params(state, y)["w"]
    rule, p, expected = RectifiedScheduleFree(b2, 0.01), params["w"], []
    for g in grads["w"]:
        expected.append(rule(g, p))
        p = p + expected[-1]
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(x, rule.x, rtol=1e-9, atol=1e-11)
    assert np.all(updates["w"][:4] == 0)
    assert np.all(updates["w"][5:] != 0)


def test_the_rectification_alone_makes_rectified_adam():
    params, grads = Problem({"w": (4,)}, 6).draw(DOUBLE)
    with x64():
        rate = 0.1 * gradtx.rectification_schedule(0.95, 5.0)
        ours = run(gradtx.adam(rate, b2=0.95), params, grads)[0]
        expected = run(gradtx.radam(0.1, b2=0.95, below_threshold="none"), params, grads)[0]
    assert_close(ours, expected, rtol=1e-10, atol=1e-14)


def test_the_rectification_is_zero_for_ever_where_the_variance_is_never_known():
    np.testing.assert_array_equal(gradtx.rectification_schedule(0.6).sample(20), np.zeros(20))
    np.testing.assert_allclose(gradtx.rectification_schedule(0.9)(10**6), 1.0, rtol=1e-5)


def test_zero_gradients_are_no_update_and_their_derivatives_are_finite():
    tx, p = gradtx.schedule_free_adamw(0.1, eps=0.0), jnp.zeros(2)

    def second(g):
        return tx.update(g, tx.update(g, tx.init(p), p)[1], p)[0]

    np.testing.assert_array_equal(second(jnp.zeros(2)), [0.0, 0.0])
    assert np.all(np.isfinite(jax.jacobian(second)(jnp.zeros(2))))
