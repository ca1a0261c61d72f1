"""Sophia: momentum divided by an estimate of the Hessian's diagonal, and clipped."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    GradientTransformation,
    Pair,
    complement_of_power,
    cond,
    increment,
    moving_average,
    one_for_zero,
    optimizer,
    transformation,
    zero_count,
)
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.second_order.hutchinson import hutchinson_diagonal
from gradtx.tree.arithmetic import widen
from gradtx.tree.mapping import numbers_beside
from gradtx.tree.paths import is_inert, is_none
from gradtx.typing import AtLeastOne, Count, Decay, DTypeName, Mask, NonNegative, Params, Positive, State, Updates


class ScaleBySophiaState(NamedTuple):
    """The state of `scale_by_sophia`.

    Attributes:
      count: the number of updates, int32 [].
      since: the number of updates since the Hessian was last estimated, that one included, int32 [].
      mu: the first moment, like the params, in accumulator dtype (or ``mu_dtype``).
      nu: the moving average of the Hessian's diagonal, like the params, real, in accumulator dtype.
      win_rate: the fraction of elements that the last update did not clip, float32 [].
      hessian_state: the state of ``hessian_diagonal_fn``.
    """

    count: Count
    since: Count
    mu: Updates
    nu: Updates
    win_rate: jax.Array
    hessian_state: State


@transformation
def scale_by_sophia(
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-8,
    gamma: NonNegative = 0.01,
    clip_threshold: Positive | None = 1.0,
    update_interval: AtLeastOne = 10,
    hessian_diagonal_fn: GradientTransformation = hutchinson_diagonal(),  # noqa: B008  a value, which never changes
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: bool = True,
) -> Pair:
    r"""Rescale updates by the Sophia rule: momentum divided by the Hessian's diagonal, and clipped.

    .. math::
        m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \qquad
        h_t = \beta_2 h_{t-1} + (1-\beta_2)\, \hat h_t, \qquad
        u_t = \operatorname{clip}\!\left(\frac{\hat m_t}{\max(\gamma h_t, \epsilon)},\, \pm c\right)

    with :math:`\hat m_t = m_t/(1-\beta_1^t)`. The average :math:`h` is not corrected; it takes in an estimate
    :math:`\hat h` at the first step and then every k steps, and stays in between. Where the curvature is negative or
    small the step is :math:`\pm c`, a sign step.

    The estimate :math:`\hat h_t` is only computed at the steps that use it (by all of them inside `jax.vmap`, which
    turns a condition into a selection). ``win_rate`` in the state is the fraction of elements that were not clipped;
    the authors tune :math:`\gamma` for 0.1 to 0.5.

    *Other estimates.* ``hessian_diagonal_fn`` is any transformation whose updates are an estimate of the diagonal; it
    gets the gradients, the params and all extras. Sophia-G, the authors' other estimate, squares gradients at labels
    drawn from the model's own predictions. Only the caller can draw them, and pass the function that does under a name
    of its own to an estimate made with `from_functions`.

    Args:
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1), for each estimate, not each step.
      eps: :math:`\epsilon`, at least 0.
      gamma: :math:`\gamma`, at least 0.
      clip_threshold: :math:`c`, more than 0; ``None`` does not clip. The parts of a complex element are clipped
        separately.
      update_interval: :math:`k`, at least 1. An estimate is made as soon as that many steps have passed since the last.
      hessian_diagonal_fn: makes the estimate.
      mu_dtype: the dtype :math:`m` is stored in; at least float32 by default.
      bias_correction: ``False`` uses :math:`m_t` as it is, as the paper's algorithm does.

    State:
      `ScaleBySophiaState`: 8 bytes per float32 parameter (6 with ``mu_dtype="bfloat16"``), three scalars, and the state
      of the estimate.

    Raises:
      MissingExtraError: the estimate lacks ``params`` or an extra; `hutchinson_diagonal` needs ``key`` and a function
        to take gradients with.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> def loss(p):
      ...     return p[0] ** 2 + 3 * p[1] ** 2 - p[0]
      >>> tx, params = gradtx.scale_by_sophia(b2=0.0, gamma=1.0), jnp.ones(2)
      >>> grads, state = jax.grad(loss)(params), tx.init(params)
      >>> updates, state = tx.update(grads, state, params, value_fn=loss, key=jax.random.key(0))
      >>> updates, state.nu, state.win_rate  # Newton's step, to the minimum, as far as it is not clipped
      (Array([0.5, 1. ], dtype=float32), Array([2., 6.], dtype=float32), Array(0.5, dtype=float32))

    References:
      - Liu et al., Sophia: a scalable stochastic second-order optimizer for language model pre-training, 2023,
        arXiv:2305.14342.

    Differences from Optax: an estimate is used at the step that makes it, as in the paper; there at the next one, so
    that the first step is a sign step and each estimate comes one step late. The win rate is in the state, not
    printed. ``bias_correction`` is an argument, with Optax's and not the paper's default.
    """

    def init(params: Params) -> ScaleBySophiaState:
        mu, nu = tree.zeros_accumulator(params, dtype=mu_dtype), tree.zeros_accumulator(params, real=True)
        return ScaleBySophiaState(
            zero_count(), zero_count(), mu, nu, jnp.zeros((), jnp.result_type(float)), hessian_diagonal_fn.init(params)
        )

    def update(
        updates: Updates, state: ScaleBySophiaState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        count = increment(state.count)
        due = (state.count == 0) | (state.since >= update_interval)

        def refresh() -> tuple[Updates, State]:
            hhat, hessian_state = hessian_diagonal_fn.update(updates, state.hessian_state, params, **extra)
            average = lambda hhat, h, *, b2: (hhat, moving_average(b2, h, jnp.real(hhat)))  # noqa: E731
            return tree.map_leaves(average, hhat, state.nu, b2=b2)[1], hessian_state

        nu, hessian_state = cond(due, refresh, lambda: (state.nu, state.hessian_state))
        correct_mu = 1 / complement_of_power(b1, count) if bias_correction else 1.0
        ratio = {"correct_mu": correct_mu, "gamma": gamma, "eps": eps, "clip": clip_threshold}

        def leaf(g: jax.Array, m: jax.Array, h: jax.Array, *, b1: Any, ratio: Any) -> tuple[jax.Array, jax.Array]:
            m = moving_average(b1, m, g)
            return _clipped_ratio(*_parts(m, h, **ratio)), m

        def won(u: Any, m: jax.Array, h: jax.Array) -> Any:
            if is_inert(u):
                return None
            m = widen(m)
            return _inside(*_parts(m, h, **numbers_beside((m, h), ratio)))

        updates, mu = tree.map_leaves(leaf, updates, state.mu, read=(nu,), b1=b1, ratio=ratio)
        # From the moments and not from the updates: a division with two readers is written and read again.
        win_rate = _fraction(jax.tree.map(won, updates, mu, nu, is_leaf=is_none)).astype(state.win_rate.dtype)
        since = jnp.where(due, 1, increment(state.since))
        return updates, ScaleBySophiaState(count, since, mu, nu, win_rate, hessian_state)

    return init, update


def _parts(m: jax.Array, h: jax.Array, *, correct_mu: Any, gamma: Any, eps: Any, clip: Any) -> tuple[Any, ...]:
    """The numerator, the denominator, and the bound of their ratio."""
    return correct_mu * m, jnp.maximum(gamma * h, eps), clip


def _clipped_ratio(m: jax.Array, h: jax.Array, c: Any) -> jax.Array:
    """The ratio m / h clipped to an interval; the division is made only where nothing is clipped."""
    if jnp.iscomplexobj(m):
        return jax.lax.complex(_clipped_ratio(m.real, h, c), _clipped_ratio(m.imag, h, c))
    if c is None:
        return m / one_for_zero(h)
    inside = _inside(m, h, c)
    return jnp.where(inside, m / one_for_zero(jnp.where(inside, h, 1)), c * jnp.sign(m))


def _inside(m: jax.Array, h: jax.Array, c: Any) -> jax.Array:
    """Whether m / h need not be clipped; of a complex number, whether both parts need not."""
    if jnp.iscomplexobj(m):
        return _inside(m.real, h, c) & _inside(m.imag, h, c)
    inside: jax.Array = jnp.ones_like(m, bool) if c is None else (jnp.abs(m) < c * h) | (m == 0)
    return inside


def _fraction(trues: Updates) -> jax.Array:
    """The fraction of elements that are true; 0 of none."""
    leaves = jax.tree.leaves(trues)
    total = max(sum(x.size for x in leaves), 1)
    counts = (jnp.sum(x, dtype=jnp.int32).astype(jnp.float32) for x in leaves)
    return sum((count * (1 / total) for count in counts), start=jnp.zeros((), jnp.float32))


@optimizer
def sophia(
    learning_rate: NonNegative,
    b1: Decay = 0.965,
    b2: Decay = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-4,
    weight_decay_mask: Mask = None,
    gamma: NonNegative = 0.01,
    clip_threshold: Positive | None = 1.0,
    update_interval: AtLeastOne = 10,
    hessian_diagonal_fn: GradientTransformation = hutchinson_diagonal(),  # noqa: B008  a value, which never changes
    mu_dtype: DTypeName | None = None,
    *,
    bias_correction: bool = True,
) -> GradientTransformation:
    r"""Sophia: momentum divided by an estimate of the Hessian's diagonal, clipped, with decoupled weight decay.

    Composition: `scale_by_sophia`, `add_decayed_weights`, `scale_by_learning_rate`.

    Its steps need ``key`` and one of ``grad_fn``, ``value_fn`` and ``value_and_grad_fn``.

    Args:
      learning_rate: at least 0; the authors advise about that of AdamW.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the Hessian's diagonal, in [0, 1), for each estimate.
      eps: the least denominator, at least 0.
      weight_decay: decoupled weight decay, at least 0; 0.2 in the authors' advice.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      gamma: the factor of the Hessian's diagonal, at least 0; to be tuned for a ``win_rate`` of 0.1 to 0.5.
      clip_threshold: the largest element of a step before the learning rate, more than 0; ``None`` does not clip.
      update_interval: the number of steps from one estimate to the next, at least 1.
      hessian_diagonal_fn: a transformation that makes the estimate.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      bias_correction: of the first moment; ``False`` is the paper's algorithm.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, loss, params = gradtx.sophia(0.1), lambda p: jnp.sum(p**2), jnp.array([1.0, -2.0])
      >>> state = tx.init(params)
      >>> updates, state = tx.update(jax.grad(loss)(params), state, params, value_fn=loss, key=jax.random.key(0))
      >>> gradtx.apply_updates(params, updates)
      Array([ 0.89999, -1.89998], dtype=float32)

    References:
      - Liu et al., Sophia: a scalable stochastic second-order optimizer for language model pre-training, 2023,
        arXiv:2305.14342.
    """
    return chain(
        scale_by_sophia(
            b1, b2, eps, gamma, clip_threshold, update_interval, hessian_diagonal_fn, mu_dtype,
            bias_correction=bias_correction,
        ),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )  # fmt: skip
