"""D-Adaptation of AdaGrad: its learning rate is an estimate of the distance to the solution."""

from typing import Any, NamedTuple

import jax

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, abs_sq, divide_by_root, leafwise, optimizer, transformation
from gradtx.gradients import add_decayed_weights, scale
from gradtx.optimizers.momentum.ema import ema
from gradtx.optimizers.parameter_free.distance import beside, raised, scalar, sum_of_absolutes
from gradtx.typing import AtLeastOne, Decay, Mask, NonNegative, Params, Positive, SecondMoments, Updates


class ScaleByDadaptAdagradState(NamedTuple):
    """The state of `scale_by_dadapt_adagrad`.

    Attributes:
      estim_lr: the estimate :math:`d` for the next step, float [].
      gsq_weighted: the sum of the squared lengths of the steps, float [].
      sum_of_squares: the sum of squared gradients, like the params, real, in accumulator dtype.
      grad_sum: the sum of gradients times their rates :math:`s`, like the params, in accumulator dtype.
    """

    estim_lr: jax.Array
    gsq_weighted: jax.Array
    sum_of_squares: SecondMoments
    grad_sum: Updates


@transformation
def scale_by_dadapt_adagrad(
    learning_rate: NonNegative = 1.0,
    eps: NonNegative = 0.0,
    estim_lr0: Positive = 1e-6,
    initial_accumulator_value: NonNegative = 1e-6,
    *,
    growth_rate: AtLeastOne | None = None,
) -> Form:
    r"""Rescale updates by AdaGrad's rule, in its form with averages of gradients, with the rate of D-Adaptation.

    .. math::
        \eta_t &= \eta\, d_t, \qquad a_t = a_{t-1} + |g_t|^2, \qquad s_t = s_{t-1} + \eta_t\, g_t, \qquad
        z_t = \frac{s_t}{\sqrt{a_t}+\epsilon}, \\
        q_t &= q_{t-1} + \eta_t^2 \Bigl\langle g_t, \frac{g_t}{\sqrt{a_t}+\epsilon} \Bigr\rangle, \qquad
        d_{t+1} = \max\left(d_t, \frac{\langle s_t, z_t \rangle - q_t}{\lVert s_t \rVert_1}\right), \qquad
        u_t = z_t - z_{t-1}

    The params are :math:`x_0 - z_t`, and a later :math:`a_t` shrinks the steps of before as well. The inner products
    and the norm are over all leaves: there is one :math:`d`. It never falls, and stays while all gradients are zero.
    The updates have the size of steps, and not yet their sign.

    Args:
      learning_rate: :math:`\eta`, at least 0: a factor of the estimate, such as a schedule that ends at 0.
      eps: :math:`\epsilon`, at least 0.
      estim_lr0: :math:`d_0`, above 0, and well below the distance to go.
      initial_accumulator_value: :math:`a_0`, at least 0.
      growth_rate: the largest factor of :math:`d` in a step, at least 1; no bound by default.

    State:
      `ScaleByDadaptAdagradState`: 8 bytes per float32 parameter, and two scalars.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_dadapt_adagrad(estim_lr0=0.5, initial_accumulator_value=0.0)
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([ 0.5, -0.5], dtype=float32)

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tree.full_accumulator(p, initial_accumulator_value, real=True), tree.zeros_accumulator(p)

    def init_shared(params: Params) -> dict[str, Any]:
        return {"estim_lr": scalar(estim_lr0), "gsq_weighted": scalar(0)}

    def prepare(state: ScaleByDadaptAdagradState, updates: Updates) -> tuple[ScaleByDadaptAdagradState, dict[str, Any]]:
        d = state.estim_lr
        step = learning_rate * d
        trees = [state.grad_sum] * 3
        s, z, scaled = beside(updates, moved, *trees, read=(state.sum_of_squares,), step=step, eps=eps)
        lengths = state.gsq_weighted + step**2 * tree.inner(updates, scaled)
        state = state._replace(
            estim_lr=raised(d, tree.inner(s, z) - lengths, sum_of_absolutes(s), growth_rate),
            gsq_weighted=lengths.astype(d.dtype),
        )
        return state, {"step": step}

    def moved(g: jax.Array, s: jax.Array, _: Any, __: Any, a: jax.Array, *, step: Any, eps: Any) -> tuple[Any, ...]:
        a, s = a + abs_sq(g), s + step * g
        return s, divide_by_root(eps)(s, a), divide_by_root(eps)(g, a)

    def leaf(g: jax.Array, a: jax.Array, s: jax.Array, *, step: Any) -> tuple[jax.Array, ...]:
        before = divide_by_root(eps)(s, a)
        a, s = a + abs_sq(g), s + step * g
        return divide_by_root(eps)(s, a) - before, a, s

    return leafwise(
        leaf, state=ScaleByDadaptAdagradState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare
    )


@optimizer
def dadapt_adagrad(
    learning_rate: NonNegative = 1.0,
    momentum: Decay | None = None,
    eps: NonNegative = 0.0,
    estim_lr0: Positive = 1e-6,
    initial_accumulator_value: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
) -> GradientTransformation:
    r"""AdaGrad with D-Adaptation: its learning rate is an estimate of the distance to the solution.

    Composition: `add_decayed_weights`, `scale_by_dadapt_adagrad`, `ema` if there is a `momentum`, `scale`.

    The authors advise `dadapt_adamw` or `dadapt_sgd` instead, whose estimates grow faster. In their code :math:`p` is
    an average, :math:`p \leftarrow \mu p + (1-\mu)(x_0 - z)`; the steps are the same here, without an :math:`x_0`.

    Args:
      learning_rate: a factor of the estimate, at least 0; a number or a schedule.
      momentum: :math:`\mu`, in [0, 1); none by default.
      eps: outside the root, at least 0.
      estim_lr0: the estimate to begin with, above 0.
      initial_accumulator_value: where the sums of squares begin, at least 0.
      weight_decay: at least 0; a multiple of the params that is added to the gradients.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of the estimate in a step, at least 1; no bound by default.

    State:
      8 bytes per float32 parameter, 12 with a `momentum`.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.dadapt_adagrad(momentum=0.9)).transforms[2]
      ema(decay=0.9, debias=False)

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """
    average = [] if momentum is None else [ema(momentum, debias=False)]
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_dadapt_adagrad(learning_rate, eps, estim_lr0, initial_accumulator_value, growth_rate=growth_rate),
        *average,
        scale(-1.0),
    )
