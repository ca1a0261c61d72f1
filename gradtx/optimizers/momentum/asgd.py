"""Averaged gradient descent: a falling rate, and the mean of where it leads."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, increment, leafwise, optimizer, transformation
from gradtx.errors import UnknownNameError
from gradtx.gradients import add_decayed_weights
from gradtx.typing import Count, NonNegative, Params, State


class ScaleByAsgdState(NamedTuple):
    """The state of `scale_by_asgd`.

    Attributes:
      count: the number of updates, int32 [].
      average: the mean of the params since averaging began, like them, in accumulator dtype; before that the last ones.
    """

    count: Count
    average: Params


@transformation
def scale_by_asgd(
    learning_rate: NonNegative, lambd: NonNegative = 1e-4, alpha: NonNegative = 0.75, t0: NonNegative = 1e6
) -> Form:
    r"""Turn gradients into steps of a falling rate, and keep the mean of the parameters (averaged gradient descent).

    .. math::
        u_t = -\frac{\eta}{(1 + \lambda \eta\, (t-1))^\alpha}\, g_t, \qquad
        a_t = a_{t-1} + \frac{p_t - a_{t-1}}{\max(1, t - 1 - t_0)}, \qquad p_t = p_{t-1} + u_t

    Evaluate with `asgd_params`: that is :math:`p_t` up to :math:`t = t_0 + 2`, and from there on the mean of all since.
    Nothing after this in a chain may change the updates.

    Args:
      learning_rate: :math:`\eta`, at least 0; that of the first step.
      lambd: :math:`\lambda`, at least 0: how fast the rate falls. With 0 it does not.
      alpha: :math:`\alpha`, at least 0.
      t0: :math:`t_0`, at least 0: the number of updates before averaging begins; a million as in torch, which is to be
        set.

    State:
      `ScaleByAsgdState`: 4 bytes per float32 parameter, and a counter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_asgd(1.0, lambd=0.0, t0=0), jnp.array([0.0])
      >>> state = tx.init(p)
      >>> for _ in range(4):
      ...     u, state = tx.update(jnp.array([-1.0]), state, p)
      ...     p = gradtx.apply_updates(p, u)
      >>> p, gradtx.asgd_params(state)  # the mean of 2, 3 and 4
      (Array([4.], dtype=float32), Array([3.], dtype=float32))

    References:
      - Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992.
      - Xu, Towards optimal one pass large scale learning with averaged stochastic gradient descent, 2011,
        arXiv:1107.2490.

    Differences from torch's ``ASGD``: a scheduler of torch changes the rate one step late, since it has been computed
    at the end of the step before.
    """

    def prepare(state: ScaleByAsgdState) -> tuple[ScaleByAsgdState, dict[str, Any]]:
        count = increment(state.count)
        past = jnp.asarray(count, jnp.result_type(float)) - 1
        rate = learning_rate * jnp.exp(-alpha * jnp.log1p(lambd * learning_rate * past))
        return state._replace(count=count), {"rate": rate, "averaged": jnp.maximum(past - t0, 1)}

    def leaf(g: jax.Array, a: jax.Array, *, rate: Any, averaged: Any, p: jax.Array) -> tuple[jax.Array, jax.Array]:
        u = -rate * g
        return u, jnp.where(averaged > 1, a + (p + u - a) / averaged, p + u)

    return leafwise(leaf, state=ScaleByAsgdState, init_leaf=tree.copy_accumulator, prepare=prepare)


def asgd_params(state: State, params: Params | None = None) -> Params:
    """The mean of the parameters that `scale_by_asgd` keeps, to evaluate and save.

    Args:
      state: the state of an optimizer with a `scale_by_asgd` anywhere in it.
      params: if given, the mean is cast to the dtypes of these.

    Raises:
      UnknownNameError: the state has no such mean, or several.
    """
    found = tree.find_nodes(state, ScaleByAsgdState)
    if len(found) != 1:
        raise UnknownNameError("one ScaleByAsgdState in the state", got=str(len(found)), origin="asgd_params")
    return found[0].average if params is None else tree.cast_like(found[0].average, params)


@optimizer
def asgd(
    learning_rate: NonNegative, lambd: NonNegative = 1e-4, alpha: NonNegative = 0.75, t0: NonNegative = 1e6
) -> GradientTransformation:
    r"""Averaged gradient descent, as in torch: a rate that falls, a decay, and the mean of the parameters.

    .. math:: p \leftarrow p - \eta_t\,(g + \lambda p), \qquad \eta_t = \frac{\eta}{(1 + \lambda \eta\, (t-1))^\alpha}

    Composition: `add_decayed_weights`, `scale_by_asgd`.

    Evaluate with `asgd_params`. For a mean of another optimizer's parameters see `swa` and `ema_params`.

    Args:
      learning_rate: :math:`\eta`, at least 0; 0.01 in torch.
      lambd: :math:`\lambda`, at least 0: the decay, and how fast the rate falls.
      alpha: :math:`\alpha`, at least 0.
      t0: the number of updates before averaging begins, at least 0; to be set.

    State:
      4 bytes per float32 parameter.

    Raises:
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.asgd(0.1, t0=1000))
      chain(add_decayed_weights(weight_decay=0.0001), scale_by_asgd(learning_rate=0.1, t0=1000))

    References:
      - Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992.
      - Xu, Towards optimal one pass large scale learning with averaged stochastic gradient descent, 2011,
        arXiv:1107.2490.
    """
    return chain(add_decayed_weights(lambd), scale_by_asgd(learning_rate, lambd, alpha, t0))
