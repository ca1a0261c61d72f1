"""Schedule-free: the params in the user's hands are not those that the method iterates on, nor those it ends with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx
from gradtx import tree
from gradtx.typing import Fraction, NonNegative, Params
from tests.proofs.runs import CLIP, DECAY, check, falling

# --- the sketch -------------------------------------------------------------------------------------------------------


class AveragingState(NamedTuple):
    """The sum of the weights, the largest learning rate, and the iterate z."""

    weight: jax.Array
    largest: jax.Array
    z: Params


@gradtx.transformation
def averaging_steps(learning_rate: NonNegative, b1: Fraction = 0.9, power: NonNegative = 2.0):
    r"""Turn directions into steps of y, between the iterate z and its average x.

    .. math::
        c_t = \frac{\eta_{max}^r}{\sum \eta_{max}^r}, \quad
        z \leftarrow z - \eta n, \quad x \leftarrow (1 - c_t) x + c_t z, \quad y = (1-\beta_1) z + \beta_1 x
    """

    def init_shared(params):
        return {name: jnp.zeros((), jnp.result_type(float)) for name in ("weight", "largest")}

    def prepare(state):
        largest = jnp.maximum(state.largest, learning_rate)
        total = state.weight + largest**power
        c = jnp.where(total > 0, largest**power / jnp.where(total > 0, total, 1), 1)
        return state._replace(weight=total, largest=largest), {"c": c}

    def leaf(n, z, *, p, c):
        u = -learning_rate * n
        return c * (z - p) + (1 - b1 * (1 - c)) * u, z + u

    return gradtx.leafwise(
        leaf, state=AveragingState, init_leaf=tree.copy_accumulator, init_shared=init_shared, prepare=prepare
    )


@gradtx.optimizer
def without_schedule(inner: gradtx.GradientTransformation, learning_rate: NonNegative, b1: Fraction = 0.9):
    """A direction of ascent, followed by the steps of an average."""
    return gradtx.chain(inner, averaging_steps(learning_rate, b1))


@gradtx.transformation
def from_iterate(inner: gradtx.GradientTransformation, learning_rate: NonNegative, b1: Fraction = 0.9):
    """The same around a direction whose parameter is z, not y: where the decay is that of the iterate."""
    form = inner.leafwise
    steps = averaging_steps(learning_rate, b1).leafwise

    def init(params):
        return steps.init(params), form.init(params)

    def prepare(updates, state, params, extra):
        outer, c = steps.prepare(updates, state[0], params, extra)
        within, scalars = form.prepare(updates, state[1], state[0].z, extra)
        return (outer, within), (c, scalars)

    def split(state, outline):
        return list(zip(steps.split(state[0], outline), form.split(state[1], outline), strict=True))

    def leaf(scalars, index, g, s, p):
        (z,) = s[0]
        n, within = form.leaf(scalars[1], index, g, s[1], z)
        u, outer = steps.leaf(scalars[0], index, n, s[0], p)
        return u, (outer, within)

    def merge(state, outline, rows):
        outer, within = ([row[k] for row in rows] for k in (0, 1))
        return steps.merge(state[0], outline, outer), form.merge(state[1], outline, within)

    return gradtx.Leafwise(init, prepare, split, leaf, merge, needs_updates=form.needs_updates, needs_params=True)


def average(state: Any, y: Any, b1: float = 0.9) -> Any:
    """The params to evaluate, x, of those in hand."""
    return tree.map_leaves(lambda y, z: y + (1 - 1 / b1) * (z - y), y, read=(tree.get_field(state, "z"),))


# --- the reference ----------------------------------------------------------------------------------------------------


class Reference:
    """Defazio et al. 2024, algorithm 1 with Adam, a leaf: x, y and z as they are."""

    def __init__(self, *, decay_of_iterate: bool = False) -> None:
        self.decay_of_iterate = decay_of_iterate
        self.t, self.v, self.weight, self.largest, self.z, self.x = 0, 0.0, 0.0, 0.0, None, None

    def __call__(self, g: Any, y: Any, rate: float) -> Any:
        self.z, self.x = (y, y) if self.t == 0 else (self.z, self.x)
        self.t += 1
        self.v = 0.999 * self.v + 0.001 * g**2
        n = g / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8) + DECAY * (self.z if self.decay_of_iterate else y)
        self.largest = max(self.largest, rate)
        self.weight += self.largest**2
        c = self.largest**2 / self.weight
        self.z = self.z - rate * n
        self.x = (1 - c) * self.x + c * self.z
        return 0.1 * self.z + 0.9 * self.x - y


def adam_direction() -> Any:
    return gradtx.chain(gradtx.scale_by_adam(b1=0.0), gradtx.add_decayed_weights(DECAY))


# --- the tests --------------------------------------------------------------------------------------------------------

YS = [0.900000002, 0.940023090, 0.928454203, 0.890224773], [0.975000001, 1.004835394, 0.980438390, 0.931882140]
XS = [0.900000002, 0.936384628, 0.929775941, 0.902022384], [0.975000001, 1.004107701, 0.981684143, 0.942456343]


@pytest.mark.parametrize(
    ("rate", "ys", "xs"),
    [(0.1, YS[0], XS[0]), (lambda step: 0.1 * jnp.minimum((step + 1) / 4, 1), YS[1], XS[1])],
)
def test_it_is_schedule_free(rate, ys, xs):
    tx, y, seen = without_schedule(gradtx.scale_by_adam(b1=0.0), rate), jnp.float32(1), []
    state = tx.init(y)
    for g in (0.5, -0.3, 0.2, 0.1, -0.4, 0.6, 0.25):
        updates, state = tx.update(jnp.float32(g), state, y)
        y = gradtx.apply_updates(y, updates)
        seen.append((float(y), float(average(state, y))))
    np.testing.assert_allclose([seen[i] for i in (0, 1, 2, 6)], list(zip(ys, xs, strict=True)), rtol=1e-6)


def test_it_runs_everywhere():
    def make(rate):
        return gradtx.chain(gradtx.clip_by_global_norm(CLIP), without_schedule(adam_direction(), falling(rate)))

    assert make(0.1).leafwise is not None
    check(make, Reference)


def test_the_inner_transformation_may_see_other_params_than_the_user_s():
    def make(rate):
        return gradtx.chain(gradtx.clip_by_global_norm(CLIP), from_iterate(adam_direction(), falling(rate)))

    assert make(0.1).leafwise is not None
    check(make, lambda: Reference(decay_of_iterate=True))


def test_a_direction_that_is_not_leafwise_will_do():
    params = {"w": jnp.linspace(-1.0, 1.0, 6)}
    plain = optax.scale_by_adam(b1=0.0)
    updates = [
        tx.update(params, tx.init(params), params)[0]["w"]
        for tx in (without_schedule(plain, 0.1), without_schedule(gradtx.scale_by_adam(b1=0.0), 0.1))
    ]
    np.testing.assert_allclose(*updates, rtol=1e-5)
