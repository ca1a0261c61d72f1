"""One update from several gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import (
    GradientTransformation,
    Pair,
    ScheduledState,
    as_transformation,
    cond,
    increment,
    transformation,
    zero_count,
)
from gradtx.errors import ArgumentTypeError, TreeMismatchError
from gradtx.tree.paths import flatten_like, is_inert, is_none, leaf_paths, type_name
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
    spoils the average it is part of, and nothing after it. At the end of a run, `finish_accumulation` makes an update
    of the gradients that are left over.

    *Privacy.* The examples of `dpsgd` are not accumulated: noise belongs to the whole window, once. Clip and sum them
    outside, and add the noise inside, for k batches of B examples::

        chain(
            differentially_private_aggregate(C, 0.0),
            accumulate(chain(add_noise((sigma * C / (k * B)) ** 2, gamma=0.0), sgd(learning_rate)), k),
        )

    Args:
      inner: the transformation that makes the updates; at the k-th gradient it gets that call's params and extras.
      every: :math:`k`, at least 1; a number, or a schedule over all calls.

    State:
      `AccumulateState`: 4 bytes per float32 parameter and two counters, and the inner state.

    Raises:
      TreeMismatchError: the gradients are not like the params, but those of single examples, say.

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
        _refuse_examples(updates, state.acc_grads)
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


_PRIVATE = (
    "clip and sum examples outside of accumulate, and add the noise inside, once a window: chain("
    "differentially_private_aggregate(C, 0.0), "
    "accumulate(chain(add_noise((sigma * C / (every * B)) ** 2, 0.0), ...), every))"
)


def _refuse_examples(updates: Updates, acc_grads: Updates) -> None:
    """Refuse gradients of single examples: noise for each batch of a window would be too much, or too little."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(updates, is_leaf=is_none)
    for i, (g, total) in enumerate(zip(leaves, flatten_like(updates, treedef, acc_grads, "the state"), strict=True)):
        if not is_inert(g) and jnp.ndim(g) == jnp.ndim(total) + 1 and jnp.shape(g)[1:] == jnp.shape(total):
            got = f"{list(jnp.shape(g))} for {list(jnp.shape(total))}, as of single examples"
            at = leaf_paths(updates)[i]
            raise TreeMismatchError("gradients like the params", got=got, at=at, hint=_PRIVATE)


def finish_accumulation(
    tx: GradientTransformation, state: State, params: Params | None = None, **extra: Any
) -> tuple[Updates, State]:
    """The update of the gradients that `accumulate` has gathered so far: their mean, over as many as there are.

    For the end of an epoch or of a run whose number of batches `every` does not divide. The next window begins anew. If
    nothing was gathered, the updates are zero, and the state stays as it is.

    Args:
      tx: the `accumulate` itself.
      state: its state; of one inside of a chain, the member's.
      params: the parameters, for the inner transformation, and for the dtypes of the mean.
      **extra: the extras for the inner transformation.

    Returns:
      The updates and the next state, as from ``tx.update``.

    Raises:
      ArgumentTypeError: `tx` or `state` is not that of an `accumulate`.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.accumulate(gradtx.sgd(1.0), every=4), jnp.zeros(1)
      >>> state = tx.init(params)
      >>> for g in [1.0, 3.0]:
      ...     _, state = tx.update(jnp.array([g]), state, params)
      >>> gradtx.finish_accumulation(tx, state, params)[0]
      Array([-2.], dtype=float32)
    """
    own = state.inner if isinstance(state, ScheduledState) else state
    if not isinstance(tx, GradientTransformation) or tx.factory.key != "accumulate":
        _refuse("tx to be an accumulate(...)", repr(tx))
    if not isinstance(own, AccumulateState):
        _refuse("the state to be an AccumulateState", type_name(state))
    inner = as_transformation(tx.inner)

    def mean() -> Updates:
        total = tree.map_leaves(lambda total, *, share: total * share, own.acc_grads, share=1 / own.mini_step)
        return total if params is None else jax.tree.map(_gradient_like, params, total, is_leaf=is_none)

    def make_update() -> tuple[Updates, State]:
        return inner.update(mean(), own.inner_state, params, **extra)

    some = own.mini_step > 0
    updates, inner_state = cond(some, make_update, lambda: (tree.zeros_like(mean()), own.inner_state))
    gradient_step = jnp.where(some, increment(own.gradient_step), own.gradient_step)
    own = AccumulateState(zero_count(), gradient_step, tree.zeros_like(own.acc_grads), inner_state)
    return updates, state._replace(inner=own) if isinstance(state, ScheduledState) else own


def _refuse(expected: str, got: str) -> None:
    hint = "of a chain, take the member and its part of the state"
    raise ArgumentTypeError(expected, got=got, hint=hint, origin="finish_accumulation")


def _gradient_like(p: Any, g: Any) -> Any:
    """The mean in the dtype of the parameter; none of an integer."""
    inexact = not is_inert(p) and jnp.issubdtype(jnp.result_type(p), jnp.inexact)
    return jnp.asarray(g, jnp.result_type(p)) if inexact else None
