"""Prodigy: Adam whose learning rate is an estimate of the distance to the solution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import (
    Form,
    GradientTransformation,
    complement_of_power,
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


class ScaleByProdigyState(NamedTuple):
    r"""The state of `scale_by_prodigy`.

    Attributes:
      count: the number of updates, int32 [].
      estim_lr: the estimate :math:`d` for the next step, float [].
      estim_lr_max: the largest quotient so far, float []; with no bound on the growth it is :math:`d`.
      numerator_weighted: the numerator of the quotient, float [].
      mu: the first moment, like the params, in accumulator dtype.
      nu: the second moment, like the params, real, in accumulator dtype.
      grad_sum: the sum of gradients :math:`s`, like the params, in accumulator dtype.
      params0: the params at the start, in accumulator dtype. A run that goes on must go on with these.
    """

    count: Count
    estim_lr: jax.Array
    estim_lr_max: jax.Array
    numerator_weighted: jax.Array
    mu: Updates
    nu: SecondMoments
    grad_sum: Updates
    params0: Params


@transformation
def scale_by_prodigy(
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay | None = None,
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    estim_lr_coef: NonNegative = 1.0,
    weight_decay: NonNegative = 0.0,
    safeguard_warmup: bool = False,
    *,
    weight_decay_mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
    bias_correction: bool = True,
) -> Form:
    r"""Rescale updates by the Prodigy rule, which finds the size of its steps.

    .. math::
        \eta_t &= \eta\, d_t \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}, \\
        r_t &= \beta_3 r_{t-1} + \tfrac{d_t}{d_0} \eta_t \langle g_t, x_0 - x_t \rangle, \qquad
        s_t = \beta_3 s_{t-1} + \tfrac{d_t}{d_0} \eta_t\, g_t, \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, d_t g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |d_t g_t|^2, \\
        d_{t+1} &= \max\left(d_t, c\, \frac{r_t}{\lVert s_t \rVert_1}\right), \qquad
        u_t = \eta_t \left( \frac{m_t}{\sqrt{v_t} + d_{t+1}\epsilon} + \lambda p \right)

    The inner product and the norm are over all leaves: there is one :math:`d`. It never falls, and stays while all
    gradients are zero. The updates have the size of steps, and not yet their sign: :func:`prodigy` is this and
    ``scale(-1.0)``.

    *Growth.* With a `growth_rate` the first estimate above :math:`d_0` counts as it is; from then on :math:`d` follows
    the largest quotient so far, by that factor a step at most.

    Args:
      learning_rate: :math:`\eta`, at least 0: a factor of the estimate, such as a schedule that ends at 0.
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      b3: :math:`\beta_3`, in [0, 1); :math:`\sqrt{\beta_2}` by default.
      eps: :math:`\epsilon`, at least 0.
      estim_lr0: :math:`d_0`, above 0, and well below the distance to go. Its size does not matter much: it is left
        within a few steps.
      estim_lr_coef: :math:`c`, at least 0; 0.5 and 2 are the numbers to try if steps are too long or too short.
      weight_decay: :math:`\lambda`, at least 0.
      safeguard_warmup: sum gradients with the weight :math:`d_t^2/d_0`. Otherwise a warm-up, whose :math:`\eta_t` is
        small, leaves the early gradients out of :math:`s`, and :math:`d` grows too much.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of :math:`d` in a step, at least 1; no bound by default.
      bias_correction: ``False`` leaves out the fraction in :math:`\eta_t`, as the authors' code does by default. Its
        first steps are then 3.2 times as long.

    State:
      `ScaleByProdigyState`: 16 bytes per float32 parameter, a counter and three scalars.

    Raises:
      MissingExtraError: `update` was called without ``params``.
      ArgumentValueError: a glob of the mask matches no leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.scale_by_prodigy(estim_lr0=0.25), jnp.array([1.0, 2.0])
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(p), p)[0].round(3)
      Array([ 0.25, -0.25], dtype=float32)

    References:
      - Mishchenko, Defazio, Prodigy: an expeditiously adaptive parameter-free learner, 2023, arXiv:2306.06101.

    Differences from Optax: gradients that are all zero give updates of zero, where Optax's become NaN; the state is at
    least float32, where a :math:`d` in bfloat16 would grow by jumps; ``growth_rate``, ``bias_correction``.
    """
    third = b2**0.5 if b3 is None else b3

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        m, s = tree.zeros_accumulator(p), tree.zeros_accumulator(p)
        return m, tree.zeros_accumulator(p, real=True), s, tree.copy_accumulator(p)

    def init_shared(params: Params) -> dict[str, Any]:
        start = {"estim_lr": scalar(estim_lr0), "estim_lr_max": scalar(estim_lr0)}
        return start | {"numerator_weighted": scalar(0)}

    def summed(g: jax.Array, s: jax.Array, *, memory: Any, weight: Any) -> Any:
        return memory * s + weight * g

    def prepare(
        state: ScaleByProdigyState, updates: Updates, params: Params
    ) -> tuple[ScaleByProdigyState, dict[str, Any]]:
        count, d = increment(state.count), state.estim_lr
        correction = complement_of_power(b2, count) ** 0.5 / complement_of_power(b1, count) if bias_correction else 1.0
        step = learning_rate * d * correction
        # In units of the first estimate: otherwise the sums would begin at a square of 1e-6.
        weight = d / estim_lr0 * (d if safeguard_warmup else step)
        way = tree.map_leaves(lambda x0, p: x0 - p, state.params0, read=(params,))
        numerator = third * state.numerator_weighted + d / estim_lr0 * step * tree.inner(updates, way)
        sums = {"memory": third, "weight": weight}
        (s,) = beside(updates, summed, state.grad_sum, **sums)
        top, now = highest(state, estim_lr_coef * numerator, sum_of_absolutes(s))
        state = state._replace(
            count=count,
            estim_lr=now,
            estim_lr_max=top,
            numerator_weighted=numerator.astype(d.dtype),
        )
        return state, {"d": d, "step": step, "ratio": divide_by_root(eps * now), **sums}

    def highest(state: ScaleByProdigyState, numerator: Any, denominator: Any) -> tuple[jax.Array, jax.Array]:
        """The largest quotient so far, and the next estimate."""
        d, top = state.estim_lr, raised(state.estim_lr_max, numerator, denominator)
        if growth_rate is None:
            return top, top
        reached = jnp.where(d == scalar(estim_lr0), raised(d, numerator, denominator), d)
        return top, jnp.minimum(top, growth_rate * reached).astype(d.dtype)

    def leaf(
        g: jax.Array,
        m: jax.Array,
        v: jax.Array,
        s: jax.Array,
        x0: jax.Array,
        *,
        d: Any,
        step: Any,
        ratio: Any,
        memory: Any,
        weight: Any,
    ) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, d * g)
        v = moving_average_sq(b2, v, d * g)
        return step * ratio(m, v), m, v, summed(g, s, memory=memory, weight=weight), x0

    form = leafwise(leaf, state=ScaleByProdigyState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare)
    return decayed(form, weight_decay, weight_decay_mask)


@optimizer
def prodigy(
    learning_rate: NonNegative = 1.0,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    beta3: Decay | None = None,
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    estim_lr_coef: NonNegative = 1.0,
    weight_decay: NonNegative = 0.0,
    safeguard_warmup: bool = False,
    *,
    weight_decay_mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
    bias_correction: bool = True,
) -> GradientTransformation:
    r"""Prodigy: AdamW whose learning rate is an estimate of the distance to the solution.

    Composition: `scale_by_prodigy`, `scale`.

    Leave the rate at 1, or give a schedule of which 1 is the peak, such as ``cosine_decay_schedule(1.0, steps)``; with
    a warm-up, set `safeguard_warmup`. The estimate is ``tree.get_field(state, "estim_lr")``, which `metrics` logs too.

    Args:
      learning_rate: a factor of the estimate, at least 0; a number or a schedule.
      betas: decays of the first and the second moment, in [0, 1). For schedules of them, see `scale_by_prodigy`.
      beta3: decay of the sums the estimate is made of, in [0, 1); the root of the second of `betas` by default.
      eps: at least 0; it is multiplied by the estimate.
      estim_lr0: the estimate to begin with, above 0.
      estim_lr_coef: a factor of all later ones, at least 0.
      weight_decay: decoupled, at least 0; it is multiplied by the rate and the estimate.
      safeguard_warmup: leave the rate out of the denominator of the estimate.
      weight_decay_mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of the estimate in a step, at least 1; no bound by default.
      bias_correction: correct for moments from zero, as Optax does; the authors' code does not by default.

    State:
      16 bytes per float32 parameter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.prodigy(), jnp.array([3.0, -2.0])
      >>> state = tx.init(p)
      >>> for _ in range(100):
      ...     updates, state = tx.update(jax.grad(lambda p: jnp.sum(p**2))(p), state, p)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(1 < gradtx.tree.get_field(state, "estim_lr") < 5)
      True

    References:
      - Mishchenko, Defazio, Prodigy: an expeditiously adaptive parameter-free learner, 2023, arXiv:2306.06101.
    """
    b1, b2 = decays(betas, 2)
    return chain(
        scale_by_prodigy(
            learning_rate, b1, b2, beta3, eps, estim_lr0, estim_lr_coef, weight_decay, safeguard_warmup,
            weight_decay_mask=weight_decay_mask, growth_rate=growth_rate, bias_correction=bias_correction,
        ),
        scale(-1.0),
    )  # fmt: skip
