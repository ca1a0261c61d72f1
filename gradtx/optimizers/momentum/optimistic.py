"""Gradients extrapolated from the last one: for games, where plain descent circles."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, alias, increment, leafwise, optimizer, transformation
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.adam.adam import scale_by_adam
from gradtx.typing import Count, Decay, DTypeName, NonNegative, Numeric, Updates


class ScaleByOptimisticGradientState(NamedTuple):
    """The state of `scale_by_optimistic_gradient`.

    Attributes:
      count: the number of updates, int32 [].
      trace: the last gradient, like the params, in accumulator dtype.
    """

    count: Count
    trace: Updates


@transformation
def scale_by_optimistic_gradient(
    alpha: Numeric = 1.0, beta: Numeric = 1.0, first: Literal["repeat", "zero"] = "repeat"
) -> Form:
    r"""Extrapolate the gradient from the last one: an extragradient without a second evaluation.

    .. math:: u_t = (\alpha + \beta)\, g_t - \beta\, g_{t-1}

    Args:
      alpha: :math:`\alpha`, the weight of the gradient.
      beta: :math:`\beta`, the weight of its change.
      first: what the gradient before the first is taken to be: ``"repeat"`` the first, so that :math:`u_1 = \alpha
        g_1`, as in Optax; or ``"zero"``, so that :math:`u_1 = (\alpha + \beta) g_1`, as the authors write it.

    State:
      `ScaleByOptimisticGradientState`: 4 bytes per float32 parameter and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_optimistic_gradient()
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in [1.0, 0.5]:
      ...     updates, state = tx.update(jnp.array([g]), state)
      ...     print(updates)
      [1.]
      [0.]

    References:
      - Rakhlin, Sridharan, "Optimization, learning, and games with predictable sequences", 2013, arXiv:1311.1869.
      - Daskalakis et al., Training GANs with optimism, 2017, arXiv:1711.00141.
    """

    def prepare(
        state: ScaleByOptimisticGradientState,
    ) -> tuple[ScaleByOptimisticGradientState, dict[str, Any]]:
        # On the first step the change is that from zero; repeating the first gradient means not counting it.
        change = jnp.where(state.count == 0, 0.0, beta) if first == "repeat" else beta
        return state._replace(count=increment(state.count)), {"weight": alpha + change, "change": change}

    def leaf(g: jax.Array, last: jax.Array, *, weight: Any, change: Any) -> tuple[jax.Array, jax.Array]:
        return weight * g - change * last, g

    return leafwise(leaf, state=ScaleByOptimisticGradientState, init_leaf=tree.zeros_accumulator, prepare=prepare)


@optimizer
def optimistic_gradient_descent(
    learning_rate: NonNegative, alpha: Numeric = 1.0, beta: Numeric = 1.0
) -> GradientTransformation:
    """Optimistic gradient descent: where plain descent circles around the solution of a game, it converges.

    Composition: `scale_by_optimistic_gradient`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      alpha: the weight of the gradient.
      beta: the weight of its change since the last step.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.optimistic_gradient_descent(0.1)
      >>> tx.update(jnp.array([1.0]), tx.init(jnp.zeros(1)))[0]
      Array([-0.1], dtype=float32)

    References:
      - Daskalakis et al., Training GANs with optimism, 2017, arXiv:1711.00141.
      - Mokhtari, Ozdaglar, Pattathil, A unified analysis of extra-gradient and optimistic gradient methods for saddle
        point problems, 2019, arXiv:1901.08511.
    """
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@optimizer
def optimistic_adam(
    learning_rate: NonNegative,
    *,
    alpha: Numeric = 1.0,
    beta: Numeric = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: DTypeName | None = None,
    nesterov: bool = True,
) -> GradientTransformation:
    """Adam whose direction is extrapolated from the last one.

    Composition: `scale_by_adam`, `scale_by_optimistic_gradient`, `scale_by_learning_rate`.

    Args:
      learning_rate: at least 0.
      alpha: the weight of Adam's direction.
      beta: the weight of its change since the last step.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: outside the root, at least 0.
      eps_root: inside the root, at least 0.
      mu_dtype: the dtype of the first moment; at least float32 by default.
      nesterov: Nesterov's momentum, on by default as in Optax; the paper has none.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.optimistic_adam(0.1, nesterov=False)
      >>> tx.update(jnp.array([3.0]), tx.init(jnp.zeros(1)))[0]
      Array([-0.1], dtype=float32)

    References:
      - Daskalakis et al., Training GANs with optimism, 2017, arXiv:1711.00141.

    Differences from Optax: this is its ``optimistic_adam_v2``, a name that works here too; the ``optimistic_adam`` that
    is deprecated there has no counterpart.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )


optimistic_adam_v2 = alias("optimistic_adam_v2", optimistic_adam)
"""Optax's other name for `optimistic_adam`."""
