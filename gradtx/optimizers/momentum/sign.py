"""Signs of gradients, and of their averages."""

import jax.numpy as jnp

from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.gradients import scale_by_learning_rate
from gradtx.optimizers.momentum.ema import ema
from gradtx.typing import Decay, DTypeName, NonNegative


@transformation
def scale_by_sign() -> Form:
    r"""Replace each element by its sign: :math:`u = \operatorname{sign}(g)`, with :math:`\operatorname{sign}(0) = 0`.

    A complex element becomes :math:`g/|g|`.

    State:
      `EmptyState`: nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.scale_by_sign().update(jnp.array([2.0, 0.0, -3.0]), gradtx.EmptyState())[0]
      Array([ 1.,  0., -1.], dtype=float32)

    References:
      - Bernstein et al., signSGD: compressed optimisation for non-convex problems, 2018, arXiv:1802.04434.
    """
    return leafwise(lambda g: jnp.sign(g))


@optimizer
def sign_sgd(learning_rate: NonNegative) -> GradientTransformation:
    r"""Gradient descent by signs: :math:`p \leftarrow p - \eta \operatorname{sign}(g)`.

    Composition: `scale_by_sign`, `scale_by_learning_rate`.

    Every element whose gradient is not 0 moves by the whole learning rate, however small the gradient: the rate has to
    decay for it to arrive.

    Args:
      learning_rate: :math:`\eta`, at least 0.

    State:
      Nothing.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.sign_sgd(0.1)
      >>> tx.update(jnp.array([2.0, 0.0, -0.001]), tx.init(jnp.zeros(3)))[0]
      Array([-0.1, -0. ,  0.1], dtype=float32)

    References:
      - Bernstein et al., signSGD: compressed optimisation for non-convex problems, 2018, arXiv:1802.04434.
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


@optimizer
def signum(
    learning_rate: NonNegative, beta: Decay = 0.9, accumulator_dtype: DTypeName | None = None
) -> GradientTransformation:
    r"""Gradient descent by signs of momenta.

    .. math:: m \leftarrow \beta m + (1-\beta)\, g, \qquad p \leftarrow p - \eta \operatorname{sign}(m)

    Composition: `ema` without bias correction, which changes no sign, `scale_by_sign`, `scale_by_learning_rate`.

    An average or a sum of gradients is the same here. `lion` takes the sign between this average and the gradient;
    ``lion(rate, b1=b, b2=b)`` is signum with weight decay (Tiger).

    Args:
      learning_rate: :math:`\eta`, at least 0.
      beta: :math:`\beta`, in [0, 1).
      accumulator_dtype: the dtype of the average; at least float32 by default.

    State:
      4 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.signum(0.01)).transforms[0]
      ema(decay=0.9, debias=False)

    References:
      - Bernstein et al., signSGD: compressed optimisation for non-convex problems, 2018, arXiv:1802.04434.
    """
    return chain(
        ema(beta, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )
