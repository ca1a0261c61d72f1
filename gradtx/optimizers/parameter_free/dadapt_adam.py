"""D-Adaptation of Adam: its learning rate is an estimate of the distance to the solution."""

from typing import Any, NamedTuple

import jax

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


class ScaleByDadaptAdamState(NamedTuple):
    """The state of `scale_by_dadapt_adam`.

    Attributes:
      count: the number of updates, int32 [].
      estim_lr: the estimate :math:`d` for the next step, float [].
      numerator_weighted: the numerator of its quotient, float [].
      mu: the average of steps, like the params, in accumulator dtype.
      nu: the second moment, like the params, real, in accumulator dtype.
      grad_sum: the average of gradients times their rates :math:`s`, like the params, in accumulator dtype.
    """

    count: Count
    estim_lr: jax.Array
    numerator_weighted: jax.Array
    mu: Updates
    nu: SecondMoments
    grad_sum: Updates


@transformation
def scale_by_dadapt_adam(
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
    bias_correction: bool = True,
) -> Form:
    r"""Rescale updates by Adam's rule with the rate of D-Adaptation.

    .. math::
        \eta_t &= \eta\, d_t \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}, \qquad b = \sqrt{\beta_2}, \\
        r_t &= b\, r_{t-1} + (1-b)\, \eta_t \Bigl\langle g_t, \frac{s_{t-1}}{\sqrt{v_{t-1}}+\epsilon} \Bigr\rangle,
        \qquad s_t = b\, s_{t-1} + (1-b)\, \eta_t\, g_t, \\
        m_t &= \beta_1 m_{t-1} + (1-\beta_1)\, \eta_t\, g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1-\beta_2)\, |g_t|^2, \\
        d_{t+1} &= \max\left(d_t, \frac{r_t}{(1-b)\lVert s_t \rVert_1}\right), \qquad
        u_t = \frac{m_t}{\sqrt{v_t}+\epsilon} + \eta_t \lambda p

    The inner product and the norm are over all leaves: there is one :math:`d`. It never falls, and stays while all
    gradients are zero. The updates have the size of steps, and not yet their sign: :func:`dadapt_adamw` is this and
    ``scale(-1.0)``.

    Args:
      learning_rate: :math:`\eta`, at least 0: a factor of the estimate, such as a schedule that ends at 0.
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      eps: :math:`\epsilon`, at least 0.
      estim_lr0: :math:`d_0`, above 0, and well below the distance to go.
      weight_decay: :math:`\lambda`, at least 0. With 0, ``params`` are not needed.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of :math:`d` in a step, at least 1; no bound by default.
      bias_correction: ``False`` leaves out the fraction in :math:`\eta_t`, as the authors' code does by default. Its
        first steps are then 3.2 times as long.

    State:
      `ScaleByDadaptAdamState`: 12 bytes per float32 parameter, a counter and two scalars.

    Raises:
      MissingExtraError: there is a decay, and `update` was called without ``params``.
      ArgumentValueError: a glob of the mask matches no leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_dadapt_adam(estim_lr0=0.25)
      >>> tx.update(jnp.array([0.5, -3.0]), tx.init(jnp.zeros(2)))[0].round(3)
      Array([ 0.25, -0.25], dtype=float32)

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.

    Differences from Optax: gradients that are all zero give updates of zero, where Optax's become NaN; the state is at
    least float32, where a :math:`d` in bfloat16 would grow by jumps; ``mask``, ``growth_rate``, ``bias_correction``.
    """
    root = b2**0.5

    def init_leaf(p: jax.Array) -> tuple[jax.Array, ...]:
        m, s = tree.zeros_accumulator(p), tree.zeros_accumulator(p)
        return m, tree.zeros_accumulator(p, real=True), s

    def init_shared(params: Params) -> dict[str, Any]:
        return {"estim_lr": scalar(estim_lr0), "numerator_weighted": scalar(0)}

    def prepare(state: ScaleByDadaptAdamState, updates: Updates) -> tuple[ScaleByDadaptAdamState, dict[str, Any]]:
        count, d = increment(state.count), state.estim_lr
        correction = complement_of_power(b2, count) ** 0.5 / complement_of_power(b1, count) if bias_correction else 1.0
        step = learning_rate * d * correction
        numbers = {"root": root, "step": step, "eps": eps}
        way, s = beside(updates, sums, state.grad_sum, state.grad_sum, read=(state.nu,), **numbers)
        numerator = root * state.numerator_weighted + (1 - root) * step * tree.inner(updates, way)
        state = state._replace(
            count=count,
            estim_lr=raised(d, numerator, (1 - root) * sum_of_absolutes(s), growth_rate),
            numerator_weighted=numerator.astype(d.dtype),
        )
        return state, {"step": step}

    def sums(g: jax.Array, s: jax.Array, _: jax.Array, v: jax.Array, *, root: Any, step: Any, eps: Any) -> Any:
        return divide_by_root(eps)(s, v), moving_average(root, s, step * g)

    def leaf(g: jax.Array, m: jax.Array, v: jax.Array, s: jax.Array, *, step: Any) -> tuple[jax.Array, ...]:
        m = moving_average(b1, m, step * g)
        v = moving_average_sq(b2, v, g)
        return divide_by_root(eps)(m, v), m, v, moving_average(root, s, step * g)

    form = leafwise(leaf, state=ScaleByDadaptAdamState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare)
    return decayed(form, weight_decay, mask)


@optimizer
def dadapt_adamw(
    learning_rate: NonNegative = 1.0,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
    bias_correction: bool = True,
) -> GradientTransformation:
    r"""AdamW with D-Adaptation: its learning rate is an estimate of the distance to the solution.

    Composition: `scale_by_dadapt_adam`, `scale`.

    Leave the rate at 1, or give a schedule of which 1 is the peak, such as ``cosine_decay_schedule(1.0, steps)``. The
    estimate is ``tree.get_field(state, "estim_lr")``, which `metrics` logs too. `prodigy` finds it in fewer steps.

    Args:
      learning_rate: a factor of the estimate, at least 0; a number or a schedule.
      betas: decays of the first and the second moment, in [0, 1). For schedules of them, see `scale_by_dadapt_adam`.
      eps: at least 0.
      estim_lr0: the estimate to begin with, above 0.
      weight_decay: decoupled, at least 0; it is multiplied by the rate and the estimate.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of the estimate in a step, at least 1; no bound by default. 1.02 is a warm-up.
      bias_correction: correct for moments from zero, as Optax does; the authors' code does not by default.

    State:
      12 bytes per float32 parameter.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, p = gradtx.dadapt_adamw(), jnp.array([3.0, -2.0])
      >>> state = tx.init(p)
      >>> for _ in range(100):
      ...     updates, state = tx.update(jax.grad(lambda p: jnp.sum(p**2))(p), state, p)
      ...     p = gradtx.apply_updates(p, updates)
      >>> bool(1 < gradtx.tree.get_field(state, "estim_lr") < 5)
      True

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """
    b1, b2 = decays(betas, 2)
    return chain(
        scale_by_dadapt_adam(
            learning_rate, b1, b2, eps, estim_lr0, weight_decay,
            mask=mask, growth_rate=growth_rate, bias_correction=bias_correction,
        ),
        scale(-1.0),
    )  # fmt: skip
