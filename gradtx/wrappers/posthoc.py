"""Averages of the parameters with profiles that were not kept, made after the run from those that were."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gradtx import tree
from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import Params


class SavedAverage(NamedTuple):
    """An average of the parameters that was saved during a run, for `posthoc_average`.

    Attributes:
      params: the average, from `averaged_params`.
      steps: the number of updates it is made of.
      gamma: the exponent of its profile.
    """

    params: Params
    steps: Any
    gamma: Any


def power_function_gamma(relative_std: float) -> float:
    r"""The exponent of the profile :math:`k^\gamma` that has a given width.

    .. math:: \sigma_{\mathrm{rel}} = \frac{\sqrt{\gamma + 1}}{(\gamma + 2) \sqrt{\gamma + 3}}

    is the standard deviation of the steps, weighted by the profile, as a fraction of their number.

    Args:
      relative_std: :math:`\sigma_{\mathrm{rel}}`, above 0 and at most :math:`1/\sqrt{12} = 0.2887`, where all steps
        weigh the same.

    Returns:
      :math:`\gamma`, at least 0.

    Raises:
      ArgumentValueError: the width is out of range.

    Example:
      >>> import gradtx
      >>> round(gradtx.power_function_gamma(0.1), 2), round(gradtx.power_function_gamma(0.05), 2)
      (6.94, 16.97)

    References:
      - Karras et al., Analyzing and improving the training dynamics of diffusion models, 2023, arXiv:2312.02696.
    """
    if not 0 < relative_std <= 12**-0.5 * (1 + 1e-6):
        bounds, origin = "relative_std in (0, 0.288675]", "power_function_gamma"
        raise ArgumentValueError(bounds, got=repr(relative_std), origin=origin)
    ratio = float(relative_std) ** -2
    roots = np.roots([1.0, 7.0, 16.0 - ratio, 12.0 - ratio])
    return max(float(roots.real.max()), 0.0)


def posthoc_average(saved: Sequence[SavedAverage], gamma: float, steps: int | None = None) -> Params:
    r"""The average with another profile, as the combination of saved ones that comes nearest to it.

    .. math::
        \bar p = \sum_i x_i\, \bar p_i, \qquad
        x = \arg\min_x \int_0^1 \Bigl(\sum_i x_i\, f_i(\tau) - f(\tau)\Bigr)^2 d\tau, \qquad
        f(\tau) = \frac{\gamma + 1}{t} \left(\frac{\tau}{t}\right)^\gamma \text{ for } \tau \le t

    So the best length of an average is found after the run. Keep two averages of different profiles, and save both now
    and then: some ten times are enough.

    Args:
      saved: averages kept with `power_function_decay`, and when and with which exponent.
      gamma: the exponent wanted, at least 0: best between those that were kept, and not far below.
      steps: the number of updates after which the average is wanted; the last at which one was saved by default.

    Returns:
      The average, in at least float32.

    Raises:
      ArgumentTypeError: there is nothing in `saved`.
      ArgumentValueError: `steps` is later than the last that was saved, or a number is out of range.
      TreeMismatchError: the averages are not of the same params.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> short, long = (gradtx.power_function_gamma(width) for width in (0.05, 0.1))
      >>> tx = gradtx.ema_params(gradtx.sgd(0.01), gradtx.power_function_decay(short))
      >>> tx = gradtx.ema_params(tx, gradtx.power_function_decay(long))
      >>> params = jnp.array([1.0])
      >>> state, saved = tx.init(params), []
      >>> for step in range(1, 201):
      ...     updates, state = tx.update(params, state, params)
      ...     params = gradtx.apply_updates(params, updates)
      ...     if step % 25 == 0:
      ...         averages = [gradtx.averaged_params(state, index=i) for i in (0, 1)]
      ...         saved += [gradtx.SavedAverage(p, step, g) for p, g in zip(averages, (short, long))]
      >>> made = gradtx.posthoc_average(saved, gradtx.power_function_gamma(0.07))
      >>> bool(averages[0] < made < averages[1])
      True

    References:
      - Karras et al., Analyzing and improving the training dynamics of diffusion models, 2023, arXiv:2312.02696.
    """
    if not saved:
        hint = "save averages during the run: SavedAverage(averaged_params(state), steps, gamma)"
        raise ArgumentTypeError("averages that were saved", got="none", hint=hint, origin="posthoc_average")
    times = np.array([float(x.steps) for x in saved])
    gammas = np.array([float(x.gamma) for x in saved])
    wanted = float(times.max() if steps is None else steps)
    _check(times, gammas, wanted, float(gamma))
    products = _product(times[:, None], gammas[:, None], times, gammas)
    weights = np.linalg.lstsq(products, _product(times, gammas, wanted, float(gamma)), rcond=None)[0]

    def leaf(first: jax.Array, *others: jax.Array) -> Any:
        return sum((float(w) * x for w, x in zip(weights[1:], others, strict=True)), start=float(weights[0]) * first)

    first, *others = (tree.copy_accumulator(x.params) for x in saved)
    return tree.map_leaves(leaf, first, read=others)


def _product(t: Any, gamma: Any, other_t: Any, other_gamma: Any) -> Any:
    """The integral of the product of two profiles: each a power up to its time, zero after it, of integral 1."""
    earlier, later = np.minimum(t, other_t), np.maximum(t, other_t)
    exponent = np.where(t > other_t, gamma, other_gamma)  # that of the later one, which goes on
    scale = (gamma + 1) * (other_gamma + 1) / (gamma + other_gamma + 1)
    return scale * (earlier / later) ** exponent / later


def _check(times: Any, gammas: Any, wanted: float, gamma: float) -> None:
    origin = "posthoc_average"
    if not 1 <= wanted <= times.max():
        raise ArgumentValueError(f"steps in [1, {times.max():g}]", got=f"{wanted:g}", origin=origin)
    if times.min() < 1:
        raise ArgumentValueError("averages of at least one step", got=f"{times.min():g}", origin=origin)
    if min(gamma, gammas.min()) < 0:
        raise ArgumentValueError("gamma in [0, inf)", got=f"{min(gamma, gammas.min()):g}", origin=origin)
