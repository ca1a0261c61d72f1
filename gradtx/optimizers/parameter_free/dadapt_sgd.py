"""D-Adaptation of gradient descent: its learning rate is an estimate of the distance to the solution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, one_for_zero, optimizer, transformation
from gradtx.gradients import add_decayed_weights, scale
from gradtx.optimizers.momentum.ema import ema
from gradtx.optimizers.parameter_free.distance import beside, raised, scalar
from gradtx.typing import AtLeastOne, Decay, Mask, NonNegative, Params, Positive, Updates


class ScaleByDadaptSgdState(NamedTuple):
    r"""The state of `scale_by_dadapt_sgd`.

    Attributes:
      estim_lr: the estimate :math:`d` for the next step, float [].
      numerator_weighted: the numerator of its quotient, float [].
      first_norm: the norm of the first gradients that are not all zero, float []; 0 before.
      grad_sum: the sum of steps :math:`s`, like the params, in accumulator dtype.
    """

    estim_lr: jax.Array
    numerator_weighted: jax.Array
    first_norm: jax.Array
    grad_sum: Updates


@transformation
def scale_by_dadapt_sgd(
    learning_rate: NonNegative = 1.0, estim_lr0: Positive = 1e-6, *, growth_rate: AtLeastOne | None = None
) -> Form:
    r"""Scale updates by the rate of D-Adaptation for gradient descent.

    .. math::
        \eta_t = \frac{\eta\, d_t}{\lVert g_1 \rVert_2}, \qquad
        r_t = r_{t-1} + \eta_t \langle g_t, s_{t-1} \rangle, \qquad
        u_t = \eta_t\, g_t, \qquad s_t = s_{t-1} + u_t, \qquad
        d_{t+1} = \max\left(d_t, \frac{2 r_t}{\lVert s_t \rVert_2}\right)

    The inner product and the norms are over all leaves: there is one :math:`d`. It never falls, and stays while all
    gradients are zero; the first that are not are :math:`g_1`. The updates have the size of steps, and not yet their
    sign.

    Args:
      learning_rate: :math:`\eta`, at least 0: a factor of the estimate, such as a schedule that ends at 0.
      estim_lr0: :math:`d_0`, above 0, and well below the distance to go.
      growth_rate: the largest factor of :math:`d` in a step, at least 1; no bound by default.

    State:
      `ScaleByDadaptSgdState`: 4 bytes per float32 parameter, and three scalars.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_dadapt_sgd(estim_lr0=0.5)
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 0.3, -0.4], dtype=float32)

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """

    def init_shared(params: Params) -> dict[str, Any]:
        return {"estim_lr": scalar(estim_lr0), "numerator_weighted": scalar(0), "first_norm": scalar(0)}

    def prepare(state: ScaleByDadaptSgdState, updates: Updates) -> tuple[ScaleByDadaptSgdState, dict[str, Any]]:
        d, norm = state.estim_lr, state.first_norm
        norm = jnp.where(norm > 0, norm, tree.global_norm(updates)).astype(norm.dtype)
        step = learning_rate * d / one_for_zero(norm)
        numerator = state.numerator_weighted + step * tree.inner(updates, state.grad_sum)
        (s,) = beside(updates, added, state.grad_sum, step=step)
        state = state._replace(
            estim_lr=raised(d, 2 * numerator, tree.global_norm(s), growth_rate),
            numerator_weighted=numerator.astype(d.dtype),
            first_norm=norm,
        )
        return state, {"step": step}

    def added(g: jax.Array, s: jax.Array, *, step: Any) -> Any:
        return s + step * g

    def leaf(g: jax.Array, s: jax.Array, *, step: Any) -> tuple[jax.Array, jax.Array]:
        return step * g, added(g, s, step=step)

    return leafwise(
        leaf,
        state=ScaleByDadaptSgdState,
        init_leaf=tree.zeros_accumulator,
        init_shared=init_shared,
        prepare=prepare,
    )


@optimizer
def dadapt_sgd(
    learning_rate: NonNegative = 1.0,
    momentum: Decay | None = None,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
) -> GradientTransformation:
    r"""Gradient descent with D-Adaptation: its learning rate is an estimate of the distance to the solution.

    Composition: `add_decayed_weights`, `scale_by_dadapt_sgd`, `ema` if there is a `momentum`, `scale`.

    Leave the rate at 1, or give a schedule of which 1 is the peak. The estimate is
    ``tree.get_field(state, "estim_lr")``, which `metrics` logs too.

    In the authors' code :math:`p` is an average, :math:`p \leftarrow \mu p + (1-\mu)(x_0 - s)`. Its steps are the
    moving average of those of :math:`x_0 - s`, which needs no :math:`x_0`: they are computed so here.

    Args:
      learning_rate: a factor of the estimate, at least 0; a number or a schedule.
      momentum: :math:`\mu`, in [0, 1); none by default.
      estim_lr0: the estimate to begin with, above 0.
      weight_decay: at least 0; a multiple of the params that is added to the gradients.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of the estimate in a step, at least 1; no bound by default.

    State:
      4 bytes per float32 parameter, 8 with a `momentum`.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.dadapt_sgd(), jnp.array([3.0, -2.0])
      >>> state = tx.init(p)
      >>> for _ in range(100):
      ...     updates, state = tx.update(jax.grad(lambda p: jnp.sum(p**2))(p), state, p)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(1 < gradtx.tree.get_field(state, "estim_lr") < 5)
      True

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """
    average = [] if momentum is None else [ema(momentum, debias=False)]
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_dadapt_sgd(learning_rate, estim_lr0, growth_rate=growth_rate),
        *average,
        scale(-1.0),
    )
