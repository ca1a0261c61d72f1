"""D-Adaptation of Adan: its learning rate is an estimate of the distance to the solution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    divide_by_root,
    increment,
    leafwise,
    moving_average,
    moving_average_sq,
    optimizer,
    transformation,
)
from gradtx.gradients import scale
from gradtx.optimizers.parameter_free.distance import beside, decayed, decays, raised, scalar, sum_of_absolutes
from gradtx.typing import AtLeastOne, Count, Decay, Mask, NonNegative, Params, Positive, SecondMoments, Updates


class ScaleByDadaptAdanState(NamedTuple):
    """The state of `scale_by_dadapt_adan`.

    Attributes:
      count: the number of updates, int32 [].
      estim_lr: the estimate :math:`d` for the next step, float [].
      gsq_weighted: the average of the squared lengths of the steps, float [].
      mu: the average of gradients times their rates, like the params, in accumulator dtype.
      delta: the average of differences of gradients times their rates, like the params, in accumulator dtype.
      nu: the average of squares, like the params, real, in accumulator dtype.
      previous: the last gradient, like the params, in accumulator dtype.
      grad_sum: the average :math:`s`, like the params, in accumulator dtype.
    """

    count: Count
    estim_lr: jax.Array
    gsq_weighted: jax.Array
    mu: Updates
    delta: Updates
    nu: SecondMoments
    previous: Updates
    grad_sum: Updates


@transformation
def scale_by_dadapt_adan(
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.98,
    b2: Decay = 0.92,
    b3: Decay = 0.99,
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
) -> Form:
    r"""Rescale updates by Adan's rule with the rate of D-Adaptation.

    .. math::
        \eta_t &= \eta\, d_t, \qquad \delta_t = g_t - g_{t-1}, \qquad
        n_t = \beta_3 n_{t-1} + (1-\beta_3)\, |g_t + \beta_2 \delta_t|^2, \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, \eta_t\, g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, \eta_t\, \delta_t, \qquad
        s_t = \beta_3 s_{t-1} + (1-\beta_3)\, \eta_t\, g_t, \\
        q_t &= \beta_3 q_{t-1}
        + (1-\beta_3)\, \eta_t^2 \Bigl\langle g_t, \frac{g_t}{\sqrt{n_t}+\epsilon} \Bigr\rangle, \\
        d_{t+1} &= \max\left(d_t, \frac{1}{\lVert s_t \rVert_1} \left(\frac{1}{1-\beta_3}
        \Bigl\langle s_t, \frac{s_t}{\sqrt{n_t}+\epsilon} \Bigr\rangle - q_t\right)\right), \qquad
        u_t = \frac{m_t + \beta_2 v_t}{\sqrt{n_t}+\epsilon} + \eta_t \lambda p

    with :math:`\delta_1 = 0`. Nothing is corrected for averages that begin at zero. The inner products and the norm are
    over all leaves: there is one :math:`d`. It never falls, and stays while all gradients are zero. The updates have
    the size of steps, and not yet their sign.

    Args:
      learning_rate: :math:`\eta`, at least 0: a factor of the estimate, such as a schedule that ends at 0.
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      b3: :math:`\beta_3`, in [0, 1).
      eps: :math:`\epsilon`, at least 0.
      estim_lr0: :math:`d_0`, above 0, and well below the distance to go.
      weight_decay: :math:`\lambda`, at least 0. With 0, ``params`` are not needed.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of :math:`d` in a step, at least 1; no bound by default.

    State:
      `ScaleByDadaptAdanState`: 20 bytes per float32 parameter, a counter and two scalars.

    Raises:
      MissingExtraError: there is a decay, and `update` was called without ``params``.
      ArgumentValueError: a glob of the mask matches no leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_dadapt_adan(estim_lr0=0.5)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 0.1, -0.1], dtype=float32)

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
      - Xie et al., Adan: adaptive Nesterov momentum algorithm for faster optimizing deep models, 2022,
        arXiv:2208.06677.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        m, v, previous, s = (tree.zeros_accumulator(p) for _ in range(4))
        return m, v, tree.zeros_accumulator(p, real=True), previous, s

    def init_shared(params: Params) -> dict[str, Any]:
        return {"estim_lr": scalar(estim_lr0), "gsq_weighted": scalar(0)}

    def prepare(state: ScaleByDadaptAdanState, updates: Updates) -> tuple[ScaleByDadaptAdanState, dict[str, Any]]:
        count, d = increment(state.count), state.estim_lr
        step, first = learning_rate * d, count == 1
        numbers = {"b2": b2, "b3": b3, "eps": eps, "step": step, "first": first}
        trees = [state.grad_sum] * 3
        s, z, scaled = beside(updates, moved, *trees, read=(state.nu, state.previous), **numbers)
        lengths = b3 * state.gsq_weighted + (1 - b3) * step**2 * tree.inner(updates, scaled)
        state = state._replace(
            count=count,
            estim_lr=raised(d, tree.inner(s, z) / (1 - b3) - lengths, sum_of_absolutes(s), growth_rate),
            gsq_weighted=lengths.astype(d.dtype),
        )
        return state, {"step": step, "first": first}

    def moved(
        g: jax.Array,
        s: jax.Array,
        _: Any,
        __: Any,
        n: jax.Array,
        previous: jax.Array,
        *,
        b2: Any,
        b3: Any,
        eps: Any,
        step: Any,
        first: Any,
    ) -> tuple[Any, ...]:
        n = moving_average_sq(b3, n, g + b2 * jnp.where(first, 0, g - previous))
        s = moving_average(b3, s, step * g)
        return s, divide_by_root(eps)(s, n), divide_by_root(eps)(g, n)

    def leaf(
        g: jax.Array,
        m: jax.Array,
        v: jax.Array,
        n: jax.Array,
        previous: jax.Array,
        s: jax.Array,
        *,
        step: Any,
        first: Any,
    ) -> tuple[jax.Array, ...]:
        change = jnp.where(first, 0, g - previous)
        m = moving_average(b1, m, step * g)
        v = moving_average(b2, v, step * change)
        n = moving_average_sq(b3, n, g + b2 * change)
        return divide_by_root(eps)(m + b2 * v, n), m, v, n, g, moving_average(b3, s, step * g)

    form = leafwise(leaf, state=ScaleByDadaptAdanState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare)
    return decayed(form, weight_decay, mask)


@optimizer
def dadapt_adan(
    learning_rate: NonNegative = 1.0,
    betas: tuple[Decay, Decay, Decay] = (0.98, 0.92, 0.99),
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
) -> GradientTransformation:
    r"""Adan with D-Adaptation: its learning rate is an estimate of the distance to the solution.

    Composition: `scale_by_dadapt_adan`, `scale`.

    Leave the rate at 1, or give a schedule of which 1 is the peak. The authors call it experimental. With
    ``no_prox=True`` their code decays as here; by default it divides the params by :math:`1 + \eta d \lambda`.

    Args:
      learning_rate: a factor of the estimate, at least 0; a number or a schedule.
      betas: decays of the averages of gradients, of differences and of squares, in [0, 1). For schedules of them, see
        `scale_by_dadapt_adan`.
      eps: at least 0.
      estim_lr0: the estimate to begin with, above 0.
      weight_decay: decoupled, at least 0, 0.02 in the authors' code; it is multiplied by the rate and the estimate.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of the estimate in a step, at least 1; no bound by default.

    State:
      20 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.dadapt_adan(weight_decay=0.02))
      chain(scale_by_dadapt_adan(weight_decay=0.02), scale(step_size=-1.0))

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """
    b1, b2, b3 = decays(betas, 3)
    return chain(
        scale_by_dadapt_adan(
            learning_rate, b1, b2, b3, eps, estim_lr0, weight_decay, mask=mask, growth_rate=growth_rate
        ),
        scale(-1.0),
    )
