from typing import NamedTuple

from gradtx import tree
from gradtx.core import *
from gradtx.typing import *


class ScaleByAdamState(NamedTuple):
    count: Count
    mu: Updates
    nu: Updates


@transformation
def scale_by_adam(b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-8, eps_root: NonNegative = 0.0):
    """Rescale updates by the Adam rule."""

    def init(params):
        return ScaleByAdamState(zero_count(), tree.zeros_accumulator(params), tree.zeros_accumulator(params, real=True))

    def update(updates, state, params=None, **extra):
        count = increment(state.count)
        correct_mu = 1 / complement_of_power(b1, count)
        correct_nu = 1 / complement_of_power(b2, count)

        def leaf(g, m, v):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * abs_sq(g)
            return correct_mu * m / nonzero(safe_sqrt(correct_nu * v + eps_root) + eps), m, v

        updates, mu, nu = tree.map_leaves(leaf, updates, state.mu, state.nu)
        return updates, ScaleByAdamState(count, mu, nu)

    return init, update


@transformation
def scale_by_learning_rate(learning_rate: NonNegative, flip_sign: bool = True):
    """Scale."""

    def update(updates, state, params=None, **extra):
        f = -learning_rate if flip_sign else learning_rate
        return tree.map_leaves(lambda g: f * g, updates), state

    return lambda params: EmptyState(), update
