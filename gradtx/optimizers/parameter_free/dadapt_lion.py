"""D-Adaptation of Lion: the length of its steps is an estimate of the distance to the solution."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, moving_average, optimizer, transformation
from gradtx.gradients import scale
from gradtx.optimizers.parameter_free.distance import beside, decayed, decays, raised, scalar, sum_of_absolutes
from gradtx.typing import AtLeastOne, Decay, Mask, NonNegative, Params, Positive, Updates


class ScaleByDadaptLionState(NamedTuple):
    """The state of `scale_by_dadapt_lion`.

    Attributes:
      estim_lr: the estimate :math:`d` for the next step, float [].
      numerator_weighted: the numerator of its quotient, float [].
      mu: the average of gradients times their rates, like the params, in accumulator dtype.
      sign_sum: the average of steps :math:`s`, like the params, in accumulator dtype.
    """

    estim_lr: jax.Array
    numerator_weighted: jax.Array
    mu: Updates
    sign_sum: Updates


@transformation
def scale_by_dadapt_lion(
    learning_rate: NonNegative = 1.0,
    b1: Decay = 0.9,
    b2: Decay = 0.99,
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
) -> Form:
    r"""Replace updates by Lion's signs with the rate of D-Adaptation.

    .. math::
        \eta_t &= \eta\, d_t, \qquad b = \sqrt{\beta_2}, \qquad
        c_t = \operatorname{sign}\bigl(\beta_1 m_{t-1} + (1-\beta_1)\, g_t\bigr), \qquad
        m_t = \beta_2 m_{t-1} + (1-\beta_2)\, \eta_t\, g_t, \\
        r_t &= b\, r_{t-1} + (1-b)\, \eta_t \langle c_t, s_{t-1} \rangle, \qquad
        s_t = b\, s_{t-1} + (1-b)\, \eta_t\, c_t, \qquad
        d_{t+1} = \max\left(d_t, \frac{r_t}{(1-b) \lVert s_t \rVert_1}\right), \\
        u_t &= \eta_t\, (c_t + \lambda p)

    The average holds gradients times their rates, the sign is of that and of a whole gradient: as in the authors' code.
    While :math:`d` is small, the signs are those of the last gradient alone. The inner product and the norm are over
    all leaves: there is one :math:`d`. It never falls, and stays while all gradients are zero. The updates have the
    size of steps, and not yet their sign.

    Args:
      learning_rate: :math:`\eta`, at least 0: a factor of the estimate, such as a schedule that ends at 0.
      b1: :math:`\beta_1`, in [0, 1).
      b2: :math:`\beta_2`, in [0, 1).
      estim_lr0: :math:`d_0`, above 0, and well below the distance to go.
      weight_decay: :math:`\lambda`, at least 0. With 0, ``params`` are not needed.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of :math:`d` in a step, at least 1; no bound by default, and none in the authors'
        code.

    State:
      `ScaleByDadaptLionState`: 8 bytes per float32 parameter, and two scalars.

    Raises:
      MissingExtraError: there is a decay, and `update` was called without ``params``.
      ArgumentValueError: a glob of the mask matches no leaf.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_dadapt_lion(estim_lr0=0.5)
      >>> tx.update(jnp.array([0.5, 0.0, -3.0]), tx.init(jnp.zeros(3)))[0]
      Array([ 0.5,  0. , -0.5], dtype=float32)

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
      - Chen et al., Symbolic discovery of optimization algorithms, 2023, arXiv:2302.06675.
    """
    root = b2**0.5

    def init_leaf(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        return tree.zeros_accumulator(p), tree.zeros_accumulator(p)

    def init_shared(params: Params) -> dict[str, Any]:
        return {"estim_lr": scalar(estim_lr0), "numerator_weighted": scalar(0)}

    def prepare(state: ScaleByDadaptLionState, updates: Updates) -> tuple[ScaleByDadaptLionState, dict[str, Any]]:
        d = state.estim_lr
        step = learning_rate * d
        c, s = beside(updates, moved, state.mu, state.sign_sum, b1=b1, root=root, step=step)
        numerator = root * state.numerator_weighted + (1 - root) * step * tree.inner(c, state.sign_sum)
        state = state._replace(
            estim_lr=raised(d, numerator, (1 - root) * sum_of_absolutes(s), growth_rate),
            numerator_weighted=numerator.astype(d.dtype),
        )
        return state, {"step": step}

    def moved(g: jax.Array, m: jax.Array, s: jax.Array, *, b1: Any, root: Any, step: Any) -> tuple[Any, Any]:
        c = jnp.sign(moving_average(b1, m, g))
        return c, moving_average(root, s, step * c)

    def leaf(g: jax.Array, m: jax.Array, s: jax.Array, *, step: Any) -> tuple[jax.Array, ...]:
        c, s = moved(g, m, s, b1=b1, root=root, step=step)
        return step * c, moving_average(b2, m, step * g), s

    form = leafwise(leaf, state=ScaleByDadaptLionState, init_leaf=init_leaf, init_shared=init_shared, prepare=prepare)
    return decayed(form, weight_decay, mask)


@optimizer
def dadapt_lion(
    learning_rate: NonNegative = 1.0,
    betas: tuple[Decay, Decay] = (0.9, 0.99),
    estim_lr0: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
    *,
    mask: Mask = None,
    growth_rate: AtLeastOne | None = None,
) -> GradientTransformation:
    r"""Lion with D-Adaptation: the length of its steps is an estimate of the distance to the solution.

    Composition: `scale_by_dadapt_lion`, `scale`.

    Leave the rate at 1, or give a schedule of which 1 is the peak. The authors call it experimental.

    Args:
      learning_rate: a factor of the estimate, at least 0; a number or a schedule.
      betas: decays of the average whose sign is taken and of the one that is kept, in [0, 1). For schedules of them,
        see `scale_by_dadapt_lion`.
      estim_lr0: the estimate to begin with, above 0.
      weight_decay: decoupled, at least 0; it is multiplied by the rate and the estimate.
      mask: the leaves to decay, as in `add_decayed_weights`.
      growth_rate: the largest factor of the estimate in a step, at least 1; no bound by default.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.dadapt_lion(weight_decay=0.1))
      chain(scale_by_dadapt_lion(weight_decay=0.1), scale(step_size=-1.0))

    References:
      - Defazio, Mishchenko, Learning-rate-free learning by D-Adaptation, 2023, arXiv:2301.07733.
    """
    b1, b2 = decays(betas, 2)
    return chain(
        scale_by_dadapt_lion(learning_rate, b1, b2, estim_lr0, weight_decay, mask=mask, growth_rate=growth_rate),
        scale(-1.0),
    )
