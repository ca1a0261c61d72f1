"""AggMo against its reference, and its buffers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, Trace
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    SINGLE,
    Problem,
    assert_close,
    check_all,
    check_numbers,
    run,
    run_compiled,
    x64,
)


@dataclasses.dataclass
class Aggmo(Rule):
    """Lucas et al.: the mean of the momenta of several decays."""

    decays: Any = (0.0, 0.9, 0.99)

    def __post_init__(self):
        self.rules = [Trace(b) for b in self.decays]

    def step(self, g, p):
        u = sum(rule(g) for rule in self.rules) / len(self.rules)
        self.size = sum(rule.size for rule in self.rules) / len(self.rules)
        return u


def test_equals_the_reference():
    several = st.sampled_from([(0.0, 0.5, 0.9), (0.75,), (0.9, 0.0), (1.0, 0.25)])
    check_all(gradtx.scale_by_aggmo, Aggmo, {"decays": several})


def test_python_numbers_lose_nothing():
    check_numbers(gradtx.scale_by_aggmo, Aggmo, {})


def test_one_decay_is_momentum():
    params, grads = Problem(SHAPES[0], 0).draw(DOUBLE)
    with x64():
        ours, theirs = (run(tx, params, grads)[0] for tx in (gradtx.aggmo(0.1, [0.9]), gradtx.sgd(0.1, 0.9)))
    assert_close(ours, theirs, rtol=1e-14)


def test_there_is_a_buffer_for_each_decay_but_zero():
    params, grads = Problem({"w": (3,)}, 0).draw(SINGLE)
    state = run_compiled(gradtx.scale_by_aggmo(accumulator_dtype="bfloat16"), params, grads)[2]
    assert state.traces["w"][0] is None
    assert [x.dtype.name for x in state.traces["w"][1:]] == ["bfloat16"] * 2
    tx = gradtx.scale_by_aggmo()
    state, p = tx.init(params), params
    traced = jax.jit(lambda tx, state: tx.update(p, state))(tx, state)
    assert_close(traced, tx.update(p, state), rtol=1e-6)


def test_zero_gradients_and_scalars():
    tx = gradtx.aggmo(0.1)
    p = {"scalar": jnp.zeros((), jnp.bfloat16), "none": None, "empty": jnp.zeros((0, 2))}
    updates, _ = tx.update(p, tx.init(p))
    assert float(updates["scalar"]) == 0
    assert updates["scalar"].dtype == jnp.bfloat16


def test_there_has_to_be_a_decay():
    for wrong in ((), (0.5, 1.5), (-0.1,), [float("nan")]):
        with pytest.raises(gradtx.errors.ArgumentValueError, match="decays to be at least one number"):
            gradtx.scale_by_aggmo(wrong)
    for wrong in (0.5, ("x",), (None,), np.array([0.5])):
        with pytest.raises(gradtx.errors.ArgumentTypeError, match="decays to be a sequence"):
            gradtx.aggmo(0.1, wrong)


def test_a_large_decay_is_damped():
    """On a parabola, momentum of 0.99 swings for long, and the mean with smaller ones does not."""

    def left(tx):
        p = jnp.array([1.0])
        state = tx.init(p)
        for _ in range(60):
            updates, state = tx.update(p, state, p)
            p = gradtx.apply_updates(p, updates)
        return abs(float(p[0]))

    assert left(gradtx.aggmo(0.5)) < 0.1 * left(gradtx.sgd(0.5, 0.99))
    assert np.isfinite(left(gradtx.aggmo(0.5)))
