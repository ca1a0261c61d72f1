"""What the tests of schedules share: steps, strategies, and comparison with a plain float64 formula."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

drawn = settings(max_examples=25, deadline=None)

STEPS = np.array([*range(25), 31, 50, 99, 100, 101, 1000, 100_000])

# Multiples of 0.001: subnormal numbers, which XLA flushes to zero, are not the subject.
values = st.integers(-10_000, 10_000).map(lambda n: n / 1000)
positive = st.integers(1, 10_000).map(lambda n: n / 1000)
lengths = st.integers(0, 40)


def x64():
    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    return enable(True)


def check_formula(make, formula, scale=1.0, rtol=2e-6):
    """The schedule that `make` returns follows a float64 formula of the step, in float32 and to 1e-12 in x64 mode.

    Made inside and called inside: `scale` is the size of the numbers that are added up.
    """
    expected = np.array([formula(int(n)) for n in STEPS], np.float64)
    for mode, dtype, tolerance in ((contextlib.nullcontext, np.float32, rtol), (x64, np.float64, 1e-12)):
        with mode():
            actual = make()(STEPS)
            assert actual.dtype == dtype
            assert not actual.weak_type
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale / 4)


def check_few_steps(make, expected):
    """``make(n)`` has the expected first values for n = 0, 1 and 2, also where n is an array or traced."""
    traced = jax.jit(lambda n: make(n)(STEPS))
    for n, wanted in expected.items():
        for values in (make(n)(STEPS), make(jnp.array(n))(STEPS), traced(n)):
            np.testing.assert_allclose(values[: len(wanted)], wanted, rtol=1e-6)
            assert np.all(np.isfinite(values))
