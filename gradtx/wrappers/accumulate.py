"""One update from several gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, cond, increment, transformation, zero_count
from gradtx.typing import AtLeastOne, Count, Params, State, Updates


class AccumulateState(NamedTuple):
    """The state of `accumulate`.

    Attributes:
      mini_step: gradients taken in since the last update, int32 [].
      gradient_step: updates made, int32 [].
      acc_grads: the sum of the gradients since then, like the params, in accumulator dtype.
      inner_state: the state of the inner transformation.
    """

    mini_step: Count
    gradient_step: Count
    acc_grads: Updates
    inner_state: State


@transformation
def accumulate(inner: GradientTransformation, every: AtLeastOne) -> Pair:
    r"""Average several gradients in a row before the inner transformation sees them.

    .. math::
        \bar g = \frac1k \sum_{i=1}^{k} g_i, \qquad
        u = \begin{cases} \text{inner}(\bar g) & \text{at the k-th gradient} \\ 0 & \text{otherwise} \end{cases}

    The inner transformation is not computed in between; its schedules count its own updates. A gradient that is NaN
    spoils the average it is part of, and nothing after it.

    Args:
      inner: the transformation that makes the updates; at the k-th gradient it gets that call's params and extras.
      every: :math:`k`, at least 1; a number, or a schedule over all calls.

    State:
      `AccumulateState`: 4 bytes per float32 parameter and two counters, and the inner state.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.accumulate(gradtx.sgd(1.0), every=2)
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in [1.0, 3.0]:
      ...     updates, state = tx.update(jnp.array([g]), state)
      ...     print(updates)
      [0.]
      [-2.]

    Differences from Optax's ``MultiSteps``: a transformation like any other; sums in at least float32, whatever the
    gradients' dtype; after an update the sum starts from zero, not from a multiple of the old one.
    """

    def init(params: Params) -> AccumulateState:
        return AccumulateState(zero_count(), zero_count(), tree.zeros_accumulator(params), inner.init(params))

    def update(
        updates: Updates, state: AccumulateState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        mini_step = increment(state.mini_step)
        due = mini_step >= every

        def make_update() -> tuple[Updates, State, jax.Array]:
            def leaf(g: jax.Array, total: jax.Array, *, share: Any) -> Any:
                return (total + g) * share

            mean = tree.map_leaves(leaf, updates, read=(state.acc_grads,), share=1 / mini_step)
            return *inner.update(mean, state.inner_state, params, **extra), jnp.ones((), bool)

        def wait() -> tuple[Updates, State, jax.Array]:
            return tree.zeros_like(updates), state.inner_state, jnp.zeros((), bool)

        # The sum is stored outside of the branches, and depends on what they return: so XLA stores it after they have
        # read the old one. Passed through them it is copied: 38 bytes per parameter while waiting with Adam, not 30.
        changed, inner_state, made = cond(due, make_update, wait)
        total = lambda g, total: (g, jnp.where(made, 0, total + g))  # noqa: E731
        _, acc_grads = tree.map_leaves(total, updates, state.acc_grads)
        gradient_step = jnp.where(due, increment(state.gradient_step), state.gradient_step)
        return changed, AccumulateState(jnp.where(due, 0, mini_step), gradient_step, acc_grads, inner_state)

    return init, update
