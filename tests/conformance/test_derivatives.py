"""Law 6: derivatives through ten steps are finite, and those of finite differences.

Backwards in float32, as they are used, where gradients are zero and where they are not; forwards in float64, beside
finite differences. JAX makes the one of the other.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.conformance.cases import CASES, problem, step_once
from tests.conformance.laws import finite, law
from tests.conftest import x64_mode

STEPS = 10


def small_problem():
    """One leaf is enough: what is differentiated is the rule, and compiling takes its time for each."""
    params, grads = problem()
    return {"kernel": params["dense"]["kernel"]}, {"kernel": grads["dense"]["kernel"][:STEPS]}


def loss(tx, params, grads, curvature):
    """A function of the params after ten steps along given gradients, plus a multiple of the params themselves."""

    def body(carry, xs):
        index, g = xs
        g = jax.tree.map(lambda g, p: g + curvature * p, g, carry[0])
        return step_once(tx, *carry, g, index), None

    final, _ = jax.lax.scan(body, (params, tx.init(params)), (jnp.arange(STEPS), grads))[0]
    return sum(jnp.sum(x**2 + x) for x in jax.tree.leaves(final))


@law(6)
def test_derivatives_are_finite(name):
    tx, (params, grads) = CASES[name], small_problem()
    with jax.debug_nans(True):
        derivative = jax.jit(jax.grad(loss, argnums=(0, 1)))
        for sparse in (grads, jax.tree.map(lambda g: g.at[:, :1].set(0.0), grads)):
            by_tx, by_params = derivative(tx, params, sparse, 0.0)
            assert finite((by_tx, by_params))
    assert type(by_tx) is type(tx)


ROUNDED = dict.fromkeys(
    ("adam+bfloat16", "lion+bfloat16", "sophia+bfloat16"),
    "its first moment is rounded to bfloat16: a staircase, whose slope is not that of a step",
)
SEARCHED = dict.fromkeys(
    (
        "lbfgs",
        "lbfgs+backtracking",
        "scale_by_backtracking_linesearch",
        "scale_by_backtracking_linesearch+store_grad",
        "scale_by_zoom_linesearch",
    ),
    "what a search finds is a constant to derivatives: a loop with an open end has none backwards",
)


CONSTANT_BASES = dict.fromkeys(
    (
        "scale_by_apollo+svd",
        "dion",
        "kron",
        "scale_by_kron",
        "whiten_updates",
        "whiten_updates+diagonal",
        "scale_by_splus",
        "splus",
        "galore",
        "scale_by_dion",
        "scale_by_galore",
        "scale_by_galore+rotated",
        "scale_by_shampoo",
        "scale_by_shampoo+newton",
        "scale_by_soap",
        "scale_by_soap+skip",
        "shampoo",
        "soap",
    ),
    "the basis that it makes of gradients is a constant to derivatives: where singular values meet it has none",
)
GROWING = {
    "scale_by_param_block_norm": "steps of the size of the params, unscaled, square it ten times: no float can hold it",
    "quantized+small": "codes are constants to derivatives, and jump",
}


@law(6, exempt=GROWING, weaker=ROUNDED | SEARCHED | CONSTANT_BASES)
def test_derivatives_are_those_of_finite_differences(name):
    with x64_mode():
        params, grads = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), small_problem())
        # A little beside the defaults: no whole number of steps, and no number at the end of its range.
        numbers, treedef = jax.tree.flatten(CASES[name])
        numbers = [jnp.asarray(x, float) + 4e-4 for x in numbers]
        direction = jax.tree.map(lambda p: jnp.cos(3 * p + 1), params)

        def along(numbers, distance):
            p = jax.tree.map(lambda p, d: p + distance * d, params, direction)
            return loss(treedef.unflatten(numbers), p, grads, 0.3)

        here = [*numbers, jnp.float64(0.0)]

        @jax.jit
        def value_and_slope(here, tangents):
            return jax.jvp(lambda *here: along(here[:-1], here[-1]), here, tangents)

        h = 1e-7
        for i in range(len(here)):
            tangents = [jnp.float64(i == j) for j in range(len(here))]
            with jax.debug_nans(True):
                _, slope = value_and_slope(here, tangents)
            above, below = (
                value_and_slope([x + s * h * t for x, t in zip(here, tangents, strict=True)], tangents)[0]
                for s in (1, -1)
            )
            assert finite(slope)
            rounding = 1e-8 * abs(above)  # of the loss, in units of h
            if name not in ROUNDED | SEARCHED | CONSTANT_BASES:
                np.testing.assert_allclose(
                    slope, (above - below) / (2 * h), rtol=1e-5, atol=1e-6 + rounding, err_msg=f"number {i}"
                )
