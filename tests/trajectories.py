"""Random trajectories, and the comparison of a transformation with its NumPy reference along them.

How close must they be? In float32 a rounding is 6e-8 and a step makes some twenty of them, so 2e-6 of the update's
`size` times its `condition`, both of which the reference says. In float64 1e-12 of that, of which 5e-15 would do.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import jax
import numpy as np
from hypothesis import strategies as st

import gradtx
from tests.conftest import x64_mode
from tests.effort import exhaustive

STEPS = 12

SETTINGS = hypothesis.settings(max_examples=200 if exhaustive() else 15, deadline=None)

decays = st.just(0.0) | st.floats(0.1, 0.999)
"""Decay factors. Below 0.1, AdaBelief's g - m is mere rounding."""

epsilons = st.sampled_from([0.0, 1e-8, 1e-3])
rates = st.floats(1e-3, 1.0)
booleans = st.booleans()


class Precision(NamedTuple):
    """A number format, and how close to the reference a trajectory in it must be."""

    x64: bool
    real: Any
    complex: Any
    tolerance: float


SINGLE = Precision(False, np.float32, np.complex64, 2e-6)
DOUBLE = Precision(True, np.float64, np.complex128, 1e-12)


def x64(enabled: bool = True) -> Any:
    """A context in which JAX computes in float64, or as it does by default."""
    return x64_mode() if enabled else contextlib.nullcontext()


class Problem(NamedTuple):
    """Shapes of a tree's leaves (under names that begin with z: complex), and the seed of its numbers."""

    shapes: Any
    seed: int

    def draw(self, precision: Precision, steps: int = STEPS) -> tuple[Any, Any]:
        """Parameters, and gradients with a leading axis of steps: of all magnitudes, one in ten exactly zero."""
        generator = np.random.default_rng(self.seed)

        def numbers(shape: tuple[int, ...], name: str) -> Any:
            magnitude = 10 ** generator.uniform(-2, 2)
            x = magnitude * generator.normal(size=shape) * (generator.uniform(size=shape) > 0.1)
            if not name.startswith("z"):
                return x.astype(precision.real)
            return (x + 1j * magnitude * generator.normal(size=shape)).astype(precision.complex)

        def tree(leading: tuple[int, ...]) -> Any:
            return {k: numbers((*leading, *shape), k) for k, shape in self.shapes.items()}

        return tree(()), tree((steps,))


SHAPES = ({"kernel": (2, 3), "bias": (3,), "zeta": (2,)}, {"scalar": (), "stack": (2, 1, 2), "none": (0,)})

problems = st.builds(Problem, st.sampled_from(SHAPES), st.integers(0, 2**32 - 1))


def run(tx: Any, params: Any, grads: Any) -> tuple[Any, Any, Any]:
    """The updates of every step, and the last params and state. `tx` is traced: new numbers need no new compilation."""
    return jax.device_get(_run(tx, params, grads))


def run_compiled(tx: Any, params: Any, grads: Any) -> tuple[Any, Any, Any]:
    """`run` with the numbers of `tx` written into the program, as a user's step has them."""
    return jax.device_get(jax.jit(functools.partial(_steps, tx))(params, grads))


def _steps(tx: Any, params: Any, grads: Any) -> tuple[Any, Any, Any]:
    def step(carry: Any, g: Any) -> tuple[Any, Any]:
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (gradtx.apply_updates(params, updates), state), updates

    (params, state), updates = jax.lax.scan(step, (params, tx.init(params)), grads)
    return updates, params, state


_run = jax.jit(_steps)


def run_eagerly(tx: Any, params: Any, grads: Any) -> tuple[Any, Any, Any]:
    """`run` without compilation, one operation after another, and with the numbers of `tx` as Python has them."""
    state, history = tx.init(params), []
    for t in range(len(jax.tree.leaves(grads)[0])):
        updates, state = tx.update(jax.tree.map(lambda g, t=t: g[t], grads), state, params)
        params = gradtx.apply_updates(params, updates)
        history.append(updates)
    return jax.device_get((jax.tree.map(lambda *u: np.stack(u), *history), params, state))


def follow(rule: Any, p: Any, grads: Any, reads_params: bool = False) -> tuple[Any, Any]:
    """The updates a reference rule makes on one leaf, and the error that one unit of tolerance allows each of them.

    A rule that reads the parameters sees the errors of all steps before, in which they were rounded too.
    """
    wide = np.complex128 if np.iscomplexobj(p) else np.float64
    p, updates, units = p.astype(wide), [], []
    for g in grads.astype(wide):
        u = np.asarray(rule(g, p))
        p = p + u
        updates.append(u)
        units.append(rule.size * rule.condition + (np.abs(p) if reads_params else 0))
    return np.stack(updates), np.cumsum(units, axis=0) if reads_params else np.stack(units)


def compare(
    precision: Precision, tx: Any, make_rule: Callable[[], Any], problem: Problem, runner: Any, **options: Any
) -> None:
    """Assert that a transformation makes the updates of its reference."""
    params, grads = problem.draw(precision)
    with x64(precision.x64):
        actual = runner(tx, params, grads)[0]
    for name in params:
        expected, unit = follow(make_rule(), params[name], grads[name], **options)
        assert actual[name].dtype == params[name].dtype
        error = np.abs(actual[name] - expected)
        assert np.all(error <= precision.tolerance * unit), (
            f"{tx} at {name}: off by up to {np.max(error / np.where(unit > 0, unit, 1)):.1e}"
        )


def assert_close(actual: Any, expected: Any, rtol: float, atol: float = 0.0) -> None:
    """Assert that two trees of one structure hold nearly the same numbers."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol, atol), actual, expected)


def check(
    factory: Callable[..., Any], rule: Callable[..., Any], problem: Problem, arguments: dict[str, Any], **options: Any
) -> None:
    """Assert that ``factory(**arguments)`` follows ``rule(**arguments)`` in float64 and in float32.

    In float32 the arguments are rounded to float32 first: as traced leaves of the transformation, that they will be.
    """
    compare(DOUBLE, factory(**arguments), lambda: rule(**arguments), problem, run, **options)
    rounded = {k: float(np.float32(v)) if type(v) is float else v for k, v in arguments.items()}
    compare(SINGLE, factory(**rounded), lambda: rule(**rounded), problem, run, **options)


def check_all(factory: Callable[..., Any], rule: Callable[..., Any], arguments: Any, **options: Any) -> None:
    """`check` on random problems, with arguments drawn from a dictionary of strategies."""

    @SETTINGS
    @hypothesis.given(problems, st.fixed_dictionaries(arguments))
    def holds(problem: Problem, drawn: dict[str, Any]) -> None:
        check(factory, rule, problem, drawn, **options)

    holds()


def check_numbers(
    factory: Callable[..., Any], rule: Callable[..., Any], arguments: dict[str, Any], **options: Any
) -> None:
    """Assert the same with arguments that are Python numbers of full precision, eagerly and compiled."""
    for precision in (DOUBLE, SINGLE):
        for runner in (run_eagerly, run_compiled):
            compare(
                precision, factory(**arguments), lambda: rule(**arguments), Problem(SHAPES[0], 0), runner, **options
            )
