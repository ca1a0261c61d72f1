"""Schedule-free: the average of the iterates, and the params between both."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule
from tests.trajectories import DOUBLE, SHAPES, SINGLE, Problem, assert_close, check_all, rates, run, run_eagerly, x64


@dataclasses.dataclass
class AverageIterates(Rule):
    """Defazio et al., algorithm 1, with x, y and z as they are; `rates` are those of the steps."""

    learning_rate: float
    b1: float = 0.9
    weight_lr_power: float = 2.0
    rates: tuple[float, ...] = ()
    z = x = None
    largest = weights = 0.0

    def step(self, u, y):
        self.z, self.x = (y, y) if self.t == 1 else (self.z, self.x)
        self.largest = max(self.largest, self.rates[self.t - 1] if self.rates else self.learning_rate)
        weight = self.largest**self.weight_lr_power
        self.weights += weight
        c = weight / self.weights if self.weights else 0.0
        self.z = self.z + u
        self.x = (1 - c) * self.x + c * self.z
        self.size = np.abs(self.z) + np.abs(self.x)
        return (1 - self.b1) * self.z + self.b1 * self.x - y


RATES = (0.0, 0.0, 0.1, 0.4, 0.2, 0.4, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1)
"""Of 12 steps: the first iterates weigh nothing, and the largest rate so far decides on the weights."""


def varying(step):
    return jnp.array(RATES)[step]


def test_equals_the_reference():
    arguments = {"learning_rate": rates, "b1": st.floats(0.3, 1.0), "weight_lr_power": st.floats(0, 3)}
    check_all(gradtx.average_iterates, AverageIterates, arguments, reads_params=True)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_iterates_weigh_by_the_largest_rate_so_far(power):
    params, grads = Problem({"w": (3,)}, 1).draw(DOUBLE)
    rule = AverageIterates(0.0, 0.8, power, RATES)
    with x64():
        updates, y, state = run(gradtx.average_iterates(varying, 0.8, power), params, grads)
        x = gradtx.schedule_free_eval_params(state, y)
    p, expected = params["w"], []
    for g in grads["w"]:
        expected.append(rule(g, p))
        p = p + expected[-1]
    np.testing.assert_allclose(updates["w"], expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(x["w"], rule.x, rtol=1e-10, atol=1e-10)


def test_a_share_that_changes_leaves_the_average_where_it_is():
    params, grads = Problem({"w": (3,)}, 2).draw(DOUBLE)
    with x64():
        shares = [0.9, lambda step: jnp.array([0.5, 0.9, 0.95])[jnp.minimum(step, 2)]]
        ends = [run(gradtx.average_iterates(0.1, b1), params, grads)[1:] for b1 in shares]
        averages = [gradtx.schedule_free_eval_params(state, y)["w"] for y, state in ends]
    np.testing.assert_allclose(*averages, rtol=1e-12)


@pytest.mark.parametrize("b1", [0.9, 0.6])
def test_equals_optax(b1):
    params, grads = Problem(SHAPES[0], 3).draw(DOUBLE)
    with x64():
        ours = gradtx.schedule_free(gradtx.sgd(0.1), 0.1, b1)
        theirs = optax.contrib.schedule_free(optax.sgd(0.1), 0.1, b1)
        (u, p, state), (v, q, other) = run(ours, params, grads), run_eagerly(theirs, params, grads)
        averages = gradtx.schedule_free_eval_params(state, p), optax.contrib.schedule_free_eval_params(other, q)
    assert_close((u, p), (v, q), rtol=1e-10, atol=1e-12)
    assert_close(*averages, rtol=1e-10, atol=1e-12)


def test_a_base_of_optax_will_do():
    params, grads = Problem(SHAPES[0], 4).draw(SINGLE)
    bases = gradtx.adam(0.1, b1=0.0), optax.adam(0.1, b1=0.0)
    ours, theirs = (run(gradtx.schedule_free(base, 0.1), params, grads)[1] for base in bases)
    assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_it_is_one_function_of_a_leaf():
    assert gradtx.schedule_free(gradtx.adamw(0.1, b1=0.0), 0.1).leafwise is not None


def test_late_in_a_run_the_params_still_go_towards_the_iterate():
    """After a million steps c is 1e-6: in float32, 1 - (1 - c) would be off by 5 percent."""
    tx = gradtx.average_iterates(1.0, b1=0.9)
    state = tx.init(jnp.array([1.0]))._replace(weight_sum=jnp.float32(999_999), max_lr=jnp.float32(1))
    u, _ = tx.update(jnp.zeros(1), state, jnp.zeros(1))
    np.testing.assert_allclose(u, [1e-6], rtol=1e-6)


def test_the_iterate_is_float32_or_as_asked_for():
    params = {"w": jnp.ones(3, jnp.bfloat16), "z": jnp.ones(2, jnp.complex64)}
    for dtype, stored in ((None, "float32"), ("bfloat16", "bfloat16")):
        z = gradtx.average_iterates(0.1, state_dtype=dtype).init(params).z
        assert (z["w"].dtype.name, z["z"].dtype.name) == (stored, "complex64")


def test_the_average_is_found_anywhere():
    """In a chain, under a mask, in several groups, beside leaves that are absent or not averaged."""
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "frozen": jnp.ones(1), "absent": None}
    free = gradtx.schedule_free(gradtx.sgd(0.1), 0.1)
    slower = gradtx.schedule_free(gradtx.sgd(0.01), 0.01, b1=0.5)
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.partition({"kernel": free, "bias": slower, "*": gradtx.freeze(True)}))
    state, p = tx.init(params), params
    for _ in range(3):
        updates, state = jax.jit(tx.update)(jax.tree.map(jnp.ones_like, p), state, p)
        p = gradtx.apply_updates(p, updates)
    x = gradtx.schedule_free_eval_params(state, p)
    np.testing.assert_allclose(x["kernel"], np.full((2, 2), 1 - 0.1 * 2), rtol=1e-6)
    np.testing.assert_allclose(x["bias"], np.full(2, 1 - 0.01 * 2), rtol=1e-6)
    assert x["absent"] is None
    assert float(x["frozen"][0]) == 1
    masked = gradtx.masked(free, {"kernel": True, "bias": False, "frozen": False, "absent": False})
    _, state = masked.update(params, masked.init(params), params)
    np.testing.assert_array_equal(gradtx.schedule_free_eval_params(state, params)["bias"], params["bias"])


def test_it_arrives_where_a_constant_rate_does_not():
    """Noisy gradients of a quadratic: the average is far nearer to the minimum than where the params go about."""
    target = jnp.array([1.0, -2.0])
    tx = gradtx.schedule_free(gradtx.sgd(0.5), 0.5)

    def body(carry, key):
        p, state = carry
        updates, state = tx.update(p - target + jax.random.normal(key, (2,)), state, p)
        return (gradtx.apply_updates(p, updates), state), None

    start = jnp.zeros(2), tx.init(jnp.zeros(2))
    (y, state), _ = jax.lax.scan(body, start, jax.random.split(jax.random.key(0), 4000))
    x = gradtx.schedule_free_eval_params(state, y)
    z = gradtx.tree.get_field(state, "z")
    assert float(jnp.linalg.norm(x - target)) < 0.1 < float(jnp.linalg.norm(z - target))


def test_errors():
    tx = gradtx.schedule_free(gradtx.sgd(0.1), 0.1)
    with pytest.raises(gradtx.errors.MissingExtraError, match="average_iterates: "):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    with pytest.raises(gradtx.errors.UnknownNameError, match=r"schedule_free_eval_params: .*AverageIteratesState"):
        gradtx.schedule_free_eval_params(gradtx.sgd(0.1).init(jnp.ones(2)), jnp.ones(2))
    with pytest.raises(gradtx.errors.ArgumentValueError, match=r"b1 in \(0, 1\]"):
        gradtx.schedule_free(gradtx.sgd(0.1), 0.1, b1=0.0)
