"""ADOPT against its reference and Optax's: a step that measures, and bounds that grow."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import gradtx
from tests.references import Rule, square
from tests.trajectories import (
    DOUBLE,
    SHAPES,
    Problem,
    assert_close,
    booleans,
    check_all,
    check_numbers,
    decays,
    run,
    run_eagerly,
    x64,
)


def bounded(x: Any, bound: float) -> Any:
    """Each real number into [-bound, bound]."""
    real = np.clip(np.real(x), -bound, bound)
    return real + 1j * np.clip(np.imag(x), -bound, bound) if np.iscomplexobj(x) else real


@dataclasses.dataclass
class Adopt(Rule):
    """Taniguchi et al.: at step 0 v = g^2 alone; then n = clip(g / max(sqrt v, eps)), m of n, and last v of g."""

    b1: float = 0.9
    b2: float = 0.9999
    eps: float = 1e-6
    nesterov: bool = False
    use_clipping: bool = True
    clip_value_fn: float | None = None

    def step(self, g, p):
        k = self.t - 1
        if k == 0:
            self.v = square(g)
            return 0 * g
        divisor = np.maximum(np.sqrt(self.v), self.eps)
        n = g / np.where(divisor == 0, 1, divisor)
        if self.use_clipping:
            n = bounded(n, k**0.25 if self.clip_value_fn is None else self.clip_value_fn)
        self.m = self.b1 * self.m + (1 - self.b1) * n
        self.total = self.b1 * self.total + (1 - self.b1) * np.abs(n)
        self.v = self.b2 * self.v + (1 - self.b2) * square(g)
        if not self.nesterov:
            self.size = self.total
            return self.m
        self.size = self.b1 * self.total + (1 - self.b1) * np.abs(n)
        return self.b1 * self.m + (1 - self.b1) * n


def test_equals_the_reference():
    arguments = {
        "b1": decays, "b2": decays, "eps": st.sampled_from([0.0, 1e-6, 1e-2]), "nesterov": booleans,
        "use_clipping": booleans, "clip_value_fn": st.none() | st.floats(0.1, 2.0),
    }  # fmt: skip
    check_all(gradtx.scale_by_adopt, Adopt, arguments)


@pytest.mark.parametrize("arguments", [{}, {"eps": 0.0, "nesterov": True}, {"clip_value_fn": 0.5}], ids=str)
def test_python_numbers_lose_nothing(arguments):
    check_numbers(gradtx.scale_by_adopt, Adopt, arguments)


@pytest.mark.parametrize("arguments", [{}, {"nesterov": True}, {"use_clipping": False, "b2": 0.9}], ids=str)
def test_equals_optax(arguments):
    params, grads = Problem(SHAPES[1], 4).draw(DOUBLE)  # real ones: Optax does not clip complex numbers
    with x64():
        ours = run(gradtx.adopt(0.1, **arguments), params, grads)[:2]
        theirs = run_eagerly(optax.contrib.adopt(0.1, **arguments), params, grads)[:2]
    assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_first_step_moves_nothing_and_measures():
    tx, g = gradtx.scale_by_adopt(use_clipping=False), jnp.array([2.0, 1e38])
    u, state = tx.update(g, tx.init(g))
    np.testing.assert_array_equal([u, state.mu], np.zeros((2, 2)))
    np.testing.assert_array_equal(state.nu, [4.0, np.inf])
    assert state.count == 1


def test_a_gradient_that_grows_tenfold_and_more_is_bounded_by_the_fourth_root_of_the_step():
    grads = np.full((18, 1), 100.0, np.float32)
    grads[0] = 1e-3
    n = run(gradtx.scale_by_adopt(b1=0.0, b2=0.9999), np.zeros(1, np.float32), grads)[0][:, 0]
    free = run(gradtx.scale_by_adopt(b1=0.0, use_clipping=False), np.zeros(1, np.float32), grads)[0][:, 0]
    np.testing.assert_allclose(free[1], 1e5, rtol=1e-5)
    np.testing.assert_allclose(n[1:], np.minimum(free[1:], np.arange(1, 18) ** 0.25), rtol=1e-6)


def test_the_bound_may_be_a_function_a_schedule_or_a_number():
    params, grads = Problem(SHAPES[0], 6).draw(DOUBLE)
    with x64():
        usual = run(gradtx.scale_by_adopt(), params, grads)[0]
        function = run(gradtx.scale_by_adopt(clip_value_fn=lambda k: k**0.25), params, grads)[0]
        assert_close(usual, function, rtol=1e-12)
        one, rising = (
            run(gradtx.scale_by_adopt(b1=0.0, clip_value_fn=c), params, grads)[0]["kernel"]
            for c in (1.0, gradtx.linear_schedule(0.0, 0.11, 11))
        )
    assert np.max(np.abs(one)) == 1.0
    np.testing.assert_allclose(rising, bounded(one, np.arange(12)[:, None, None] / 100), rtol=1e-12)


def test_the_parts_of_a_complex_element_are_clipped_apart():
    tx, g = gradtx.scale_by_adopt(b1=0.0), jnp.array([3 + 4j], jnp.complex64)
    _, state = tx.update(g, tx.init(g))
    assert state.nu.dtype == jnp.float32
    u, _ = tx.update(jnp.array([10 - 1j], jnp.complex64), state)
    np.testing.assert_allclose(u, [1 - 0.2j], rtol=1e-6)


def test_it_converges_where_adam_goes_to_the_worst_point():
    """Over [-1, 1], the gradient is 3 at every third step and -1 otherwise: -1 is best. b2 is small."""

    def end(tx, steps=3000):
        def step(carry, t):
            x, state = carry
            updates, state = tx.update(jnp.where(t % 3 == 0, 3.0, -1.0), state, x)
            return (jnp.clip(gradtx.apply_updates(x, updates), -1, 1), state), None

        return float(jax.lax.scan(step, (jnp.zeros(()), tx.init(jnp.zeros(()))), jnp.arange(steps))[0][0])

    assert end(gradtx.adam(0.01, b1=0.0, b2=0.1)) > 0.9
    assert end(gradtx.adopt(0.01, b1=0.0, b2=0.1, use_clipping=False)) < -0.9


def test_a_run_that_optax_began_goes_on():
    params, grads = Problem({"w": (3,)}, 1).draw(DOUBLE)
    with x64():
        theirs = optax.contrib.adopt(0.1)
        _, halfway, state = run_eagerly(theirs, params, {"w": grads["w"][:5]})
        rest = {"w": grads["w"][5:]}
        p, ours = halfway, gradtx.checkpoint.from_optax_state(gradtx.adopt(0.1), state, params)
        for g in rest["w"]:
            u, ours = gradtx.adopt(0.1).update({"w": g}, ours, p)
            p = gradtx.apply_updates(p, u)
        expected = run_eagerly(theirs, params, grads)[1]
    np.testing.assert_allclose(p["w"], expected["w"], rtol=1e-12)
