"""Methods with one number for the whole tree, against references on all leaves as one long vector."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from tests.references import Rule
from tests.trajectories import DOUBLE, SINGLE, follow, run, x64

SHAPES = {"kernel": (2, 3), "scalar": (), "zeta": (2,)}


def problem(precision=DOUBLE, steps=12, seed=0, real=False):
    """Params, and gradients that point the same way more often than not, so that an estimate of the way grows."""
    generator = np.random.default_rng(seed)

    def draw(name, shape, mean):
        x = mean + generator.normal(size=shape)
        if real or not name.startswith("z"):
            return x.astype(precision.real)
        return (x + 1j * generator.normal(size=shape)).astype(precision.complex)

    params = {name: draw(name, shape, 0.0) for name, shape in SHAPES.items()}
    return params, {name: draw(name, (steps, *shape), 1.0) for name, shape in SHAPES.items()}


def vector(tree, leading=0):
    """The leaves in one row, behind some leading axes."""
    leaves = [np.asarray(x).reshape(*np.shape(x)[:leading], -1) for x in jax.tree.leaves(tree)]
    return np.concatenate(leaves, axis=leading)


def assert_follows(tx, rule, steps=30, single=1e-4):
    """Assert that a transformation follows a reference: to ten digits in float64, to `single` in float32.

    Where steps of 1e-6 are taken back from params of size 1, a float32 has lost all but one digit of them.
    """
    for precision, tolerance in ((DOUBLE, 1e-10), (SINGLE, single)):
        params, grads = problem(precision, steps)
        with x64(precision.x64):
            updates = run(tx, params, grads)[0]
        expected = follow(rule(), vector(params), vector(grads, 1))[0]
        error = np.abs(vector(updates, 1) - expected)
        assert np.all(error <= tolerance * np.max(np.abs(expected), axis=1, keepdims=True))


def assert_optaxs(ours, theirs, steps=30, rtol=1e-10):
    """Assert that two transformations take the same steps in float64."""
    params, grads = problem(DOUBLE, steps, real=True)
    paths = []
    with x64():
        for tx in (ours, theirs):
            p, state, path = params, tx.init(params), []
            for t in range(steps):
                updates, state = jax.jit(tx.update)({k: g[t] for k, g in grads.items()}, state, p)
                p = gradtx.apply_updates(p, updates)
                path.append(vector(updates))
            paths.append(np.stack(path))
    np.testing.assert_allclose(*paths, rtol=rtol, atol=rtol * np.max(np.abs(paths[1])))


def descend(tx, steps, target=3.0, zeros=0, start=0.0, dtype=jnp.float32):
    """The params and the state after steps towards a point; the first few gradients are zero."""
    begin = {"a": jnp.full(3, start, dtype), "b": jnp.ones((), dtype)}

    def step(carry, t):
        p, state = carry
        grads = jax.tree.map(lambda x: jnp.where(t < zeros, 0, x - target).astype(dtype), p)
        updates, state = tx.update(grads, state, p)
        return (gradtx.apply_updates(p, updates), state), None

    (p, state), _ = jax.jit(lambda: jax.lax.scan(step, (begin, tx.init(begin)), jnp.arange(steps)))()
    return p, state


@dataclasses.dataclass
class Descending(Rule):
    """The step of another rule, downwards."""

    rule: Rule

    def step(self, g, p):
        return -self.rule(g, p)
