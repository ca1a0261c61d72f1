"""Normal noise on updates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import Form, increment, leafwise, member_key, safe_sqrt, transformation
from gradtx.typing import Count, NonNegative


class AddNoiseState(NamedTuple):
    """The state of `add_noise`.

    Attributes:
      count: the number of updates made, int32 [].
    """

    count: Count


@transformation
def add_noise(eta: NonNegative, gamma: NonNegative) -> Form:
    r"""Add normal noise whose variance falls with the step.

    .. math::
        u_t = g_t + \mathcal{N}\!\left(0, \sigma_t^2 I\right), \qquad \sigma_t^2 = \frac{\eta}{t^\gamma}

    `update` takes a ``key`` that must be a new one at every step. Each leaf has noise of its own, drawn in at least
    float32. The real and the imaginary part of a complex element get their own, of variance :math:`\sigma_t^2` each.

    Args:
      eta: :math:`\eta`, the variance at the first step, at least 0. The paper takes 0.01, 0.3 or 1.
      gamma: :math:`\gamma`, at least 0: how fast the variance falls. 0.55 in the paper; 0 keeps it.

    State:
      `AddNoiseState`: a counter.

    Raises:
      MissingExtraError: `update` was called without ``key``.
      ArgumentTypeError: ``key`` is not a key.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> tx, grads = gradtx.add_noise(eta=0.01, gamma=0.55), jnp.ones(10_000)
      >>> state = tx.init(grads)
      >>> for step in range(2):
      ...     updates, state = tx.update(grads, state, key=jax.random.key(step))
      >>> round(float(jnp.std(updates)), 3), round((0.01 / 2**0.55) ** 0.5, 3)
      (0.083, 0.083)

    References:
      - Neelakantan et al., Adding gradient noise improves learning for very deep networks, 2015, arXiv:1511.06807.

    Differences from Optax: no key or seed; the key comes with each update and is not kept in the state. Of a complex
    element, Optax's noise has the variance in both parts together.
    """

    def prepare(state: AddNoiseState, **extra: Any) -> tuple[AddNoiseState, dict[str, Any]]:
        key, count = member_key(extra, "add_noise"), increment(state.count)
        # A variance of zero has a derivative: that of the plain root is infinite there.
        return AddNoiseState(count), {"deviation": safe_sqrt(eta / count**gamma), "key": key}

    def leaf(g: jax.Array, *, deviation: Any, key: Any, index: Any) -> Any:
        return g + deviation * normal_like(jax.random.fold_in(key, index), g)

    return leafwise(leaf, state=AddNoiseState, prepare=prepare)


def normal_like(key: Any, x: jax.Array) -> jax.Array:
    """Standard normal numbers like `x`; real and imaginary parts of variance 1 each."""
    if jnp.iscomplexobj(x):
        real, imag = jax.random.normal(key, (2, *x.shape), x.real.dtype)
        return jax.lax.complex(real, imag)
    return jax.random.normal(key, x.shape, x.dtype)
