"""Schedule-free learning: gradients between an iterate and its average, which is what one evaluates."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.chain import chain
from gradtx.core import Form, GradientTransformation, leafwise, one_for_zero, transformation
from gradtx.errors import UnknownNameError
from gradtx.typing import DTypeName, MaskedNode, NonNegative, Params, Range, State

Share = Annotated[Any, Range(low=0, high=1, open_low=True)]
"""A number in (0, 1]."""


class AverageIteratesState(NamedTuple):
    """The state of `average_iterates`.

    Attributes:
      b1: the share of the average in the params, real [].
      weight_sum: the sum of the weights of all iterates so far, real [].
      max_lr: the largest learning rate so far, real [].
      z: the iterate, like the params, in accumulator dtype (or ``state_dtype``).
    """

    b1: jax.Array
    weight_sum: jax.Array
    max_lr: jax.Array
    z: Params


@transformation
def average_iterates(
    learning_rate: NonNegative,
    b1: Share = 0.9,
    weight_lr_power: NonNegative = 2.0,
    state_dtype: DTypeName | None = None,
) -> Form:
    r"""Let the updates move an iterate, and the params stay between it and its average: the last member of a chain.

    .. math::
        z \leftarrow z + u, \qquad
        x \leftarrow (1 - c_t)\, x + c_t\, z, \qquad
        y = (1-\beta_1)\, z + \beta_1\, x, \qquad
        c_t = \frac{w_t}{\sum_{i \le t} w_i}, \quad w_t = \bigl(\max_{i \le t} \eta_i\bigr)^r

    The params are :math:`y`. The average :math:`x` is not kept: it follows from :math:`y` and :math:`z`, and
    `schedule_free_eval_params` computes it. Nothing after this in a chain may change the updates.

    Args:
      learning_rate: :math:`\eta_t`, at least 0: the rate that is in the updates already. It decides on the weights
        alone; if it is constant, all iterates weigh the same.
      b1: :math:`\beta_1`, in (0, 1].
      weight_lr_power: :math:`r`, at least 0; with 0 all iterates weigh the same whatever the rate.
      state_dtype: the dtype :math:`z` is stored in; at least float32 by default. In bfloat16 it begins rounded, so the
        params move a little without any gradient, and steps below half a unit in the last place are lost.

    State:
      `AverageIteratesState`: 4 bytes per float32 parameter (2 with ``state_dtype="bfloat16"``), and three scalars.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.average_iterates(1.0, b1=0.5))
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update(jnp.array([1.0]), state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> state[1].z, gradtx.schedule_free_eval_params(state, params), params
      (Array([2.], dtype=float32), Array([2.5], dtype=float32), Array([2.25], dtype=float32))

    References:
      - Defazio et al., The road less scheduled, 2024, arXiv:2405.15682.
    """

    def init_leaf(p: jax.Array) -> jax.Array:
        copy: jax.Array = tree.copy_accumulator(p)
        return copy if state_dtype is None or jnp.iscomplexobj(p) else copy.astype(state_dtype)

    def init_shared(params: Params) -> dict[str, Any]:
        real = jnp.result_type(float)
        return {"b1": jnp.array(b1, real), "weight_sum": jnp.zeros((), real), "max_lr": jnp.zeros((), real)}

    def prepare(state: AverageIteratesState) -> tuple[AverageIteratesState, dict[str, Any]]:
        real = state.weight_sum.dtype
        max_lr = jnp.maximum(state.max_lr, learning_rate).astype(real)
        weight = (max_lr**weight_lr_power).astype(real)
        total = state.weight_sum + weight
        c = weight / one_for_zero(total)  # 0 as long as the rate has been 0
        return AverageIteratesState(jnp.array(b1, real), total, max_lr, state.z), {"c": c, "before": state.b1}

    def leaf(u: jax.Array, z: jax.Array, *, p: jax.Array, c: Any, before: Any) -> tuple[jax.Array, jax.Array]:
        # What x was is (y - (1 - before) z) / before. Put into the new y, it leaves z - y with this weight, which is c
        # to the last digit where b1 has not changed: computed as 1 - (1 - c), it would have few digits late in a run.
        towards = c + (1 - c) * (before - b1) / before
        return towards * (z - p) + (1 - b1 * (1 - c)) * u, z + u

    return leafwise(leaf, state=AverageIteratesState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare)


@transformation
def schedule_free(
    inner: GradientTransformation,
    learning_rate: NonNegative,
    b1: Share = 0.9,
    weight_lr_power: NonNegative = 2.0,
    state_dtype: DTypeName | None = None,
) -> GradientTransformation:
    r"""Make an optimizer schedule-free: averaging takes the place of momentum and of a learning rate that falls.

    Composition: the inner optimizer, `average_iterates`.

    The inner optimizer moves an iterate :math:`z`. The params you hold, where gradients are taken, are :math:`y =
    (1-\beta_1) z + \beta_1 x` with the average :math:`x` of the iterates. Evaluate and save
    ``schedule_free_eval_params(state, params)``, which is :math:`x`; to go on, save the params and the state as they
    are. Statistics of batch normalisation belong to :math:`y`: estimate them again at :math:`x`.

    The inner optimizer should have no momentum of its own (``b1=0``), and its rate no decay; a warm-up helps. Weight
    decay inside it is that of :math:`y`. Usual rates are 1 to 10 times those for a falling schedule.

    Args:
      inner: a whole optimizer, learning rate and all, without momentum.
      learning_rate: the same rate once more, at least 0: steps that were made with a small one weigh less in the
        average. `schedule_free_sgd`, `schedule_free_adamw` and `schedule_free_radam` take it once.
      b1: :math:`\beta_1`, in (0, 1]; 0.9, or 0.95 to 0.98 for long runs.
      weight_lr_power: the power of the rate by which an iterate weighs, at least 0.
      state_dtype: the dtype :math:`z` is stored in; at least float32 by default.

    State:
      The inner state and an `AverageIteratesState`, of 4 bytes per float32 parameter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> rate = gradtx.linear_schedule(0.025, 0.1, 3)
      >>> tx = gradtx.schedule_free(gradtx.sgd(rate), rate)
      >>> params = jnp.array([4.0])
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = tx.update(params, state, params)
      ...     params = gradtx.apply_updates(params, updates)
      >>> gradtx.schedule_free_eval_params(state, params)
      Array([3.5386024], dtype=float32)

    References:
      - Defazio et al., The road less scheduled, 2024, arXiv:2405.15682.

    Differences from Optax: both rates are those of one step, as in the authors' package: in Optax 0.2.8 the weights are
    a step ahead of the inner optimizer. ``b1`` may be a schedule. The iterate of bfloat16 parameters is float32.
    """
    return chain(inner, average_iterates(learning_rate, b1, weight_lr_power, state_dtype))


def schedule_free_eval_params(state: State, params: Params) -> Params:
    r"""The average of the iterates of `schedule_free`, to evaluate and save: :math:`x = y + (1 - 1/\beta_1)(z - y)`.

    Args:
      state: the state of an optimizer with a `schedule_free` anywhere in it, also under a mask, or in several groups of
        a partition.
      params: the params that belong to it, :math:`y`. Those that no `schedule_free` moves are returned as they are.

    Returns:
      A tree like the params.

    Raises:
      UnknownNameError: the state has no average.
    """
    found = tree.find_nodes(state, AverageIteratesState)
    if not found:
        expected = "an AverageIteratesState in the state"
        raise UnknownNameError(expected, got="none", origin="schedule_free_eval_params")

    def average(y: jax.Array, z: jax.Array, *, b1: Any) -> Any:
        return y + (1 - 1 / b1) * (z - y)

    for averaged in found:
        moved = jax.tree.map(lambda z: not isinstance(z, MaskedNode), averaged.z, is_leaf=_is_masked)
        part = tree.map_leaves(average, tree.keep_selected(params, moved), read=(averaged.z,), b1=averaged.b1)
        params = tree.put_back(part, params)
    return params


def _is_masked(node: Any) -> bool:
    return node is None or isinstance(node, MaskedNode)
