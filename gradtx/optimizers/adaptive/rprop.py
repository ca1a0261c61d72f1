"""Rprop: each coordinate has a step size of its own, which the signs of its gradients change."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators import chain
from gradtx.core import Form, GradientTransformation, leafwise, optimizer, transformation
from gradtx.gradients import scale
from gradtx.typing import AtLeastOne, Fraction, NonNegative, Updates


class ScaleByRpropState(NamedTuple):
    """The state of `scale_by_rprop`.

    Attributes:
      step_sizes: the size of the last step of each element, like the params, in accumulator dtype; of a complex number
        those of its parts.
      prev_updates: the last updates, likewise; only their signs are read.
    """

    step_sizes: Updates
    prev_updates: Updates


@transformation
def scale_by_rprop(
    learning_rate: NonNegative,
    eta_minus: Fraction = 0.5,
    eta_plus: AtLeastOne = 1.2,
    min_step_size: NonNegative = 1e-6,
    max_step_size: NonNegative = 50.0,
) -> Form:
    r"""Replace updates by their signs times step sizes, which grow until a sign changes (Rprop).

    .. math::
        \Delta_t = \operatorname{clip}\bigl(\Delta_{t-1} \cdot \{\eta^+ \text{ if } g_t g_{t-1} > 0,\;
        \eta^- \text{ if } g_t g_{t-1} < 0,\; 1 \text{ if } 0\},\; \Delta_{\min}, \Delta_{\max}\bigr)

    .. math::
        g_t \leftarrow 0 \text{ where } g_t g_{t-1} < 0, \qquad u_t = \operatorname{sign}(g_t)\, \Delta_t

    An element whose gradient changed its sign has gone too far: it stays for a step, and goes on with a smaller one.
    The method is for gradients of the whole data set: the signs of noisy ones say nothing of distances.

    Args:
      learning_rate: :math:`\Delta_0`, the size of the first step, at least 0. Nothing else reads it: of a schedule, the
        first value counts. A schedule of all steps is ``chain(scale_by_rprop(0.1), scale_by_schedule(...))``.
      eta_minus: :math:`\eta^-`, in [0, 1].
      eta_plus: :math:`\eta^+`, at least 1.
      min_step_size: :math:`\Delta_{\min}`, at least 0.
      max_step_size: :math:`\Delta_{\max}`, at least 0; also of the first step.

    State:
      `ScaleByRpropState`: 8 bytes per float32 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.scale_by_rprop(0.1)
      >>> u, state = tx.update(jnp.array([5.0, -0.3, 0.0]), tx.init(jnp.zeros(3)))
      >>> u, tx.update(jnp.array([4.0, 0.2, 0.0]), state)[0]
      (Array([ 0.1, -0.1,  0. ], dtype=float32), Array([0.12, 0.  , 0.  ], dtype=float32))

    References:
      - Riedmiller, Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.
      - Igel, Hüsken, Improving the Rprop learning algorithm, 2000 (this form is their iRprop-).

    Differences from Optax: Optax 0.2.8 returns each update one call late, the first as zero; this is torch's ``Rprop``.
    Signs are multiplied, not gradients, whose product may vanish; real and imaginary parts have steps of their own.
    """

    def init_leaf(p: jax.Array) -> tuple[jax.Array, jax.Array]:
        both = 1 + 1j if jnp.iscomplexobj(p) else 1
        return tree.full_accumulator(p, both * learning_rate), tree.zeros_accumulator(p)

    def move(g: jax.Array, size: jax.Array, u: jax.Array) -> tuple[jax.Array, ...]:
        agreement = jnp.sign(g) * jnp.sign(u)
        size = jnp.where(agreement > 0, eta_plus * size, jnp.where(agreement < 0, eta_minus * size, size))
        size = jnp.clip(size, min_step_size, max_step_size)
        u = jnp.where(agreement < 0, 0, jnp.sign(g) * size)
        return u, size, u

    def leaf(g: jax.Array, size: jax.Array, u: jax.Array) -> tuple[jax.Array, ...]:
        if not jnp.iscomplexobj(g):
            return move(g, size, u)
        parts = move(g.real, size.real, u.real), move(g.imag, size.imag, u.imag)
        return tuple(jax.lax.complex(x, y) for x, y in zip(*parts, strict=True))

    return leafwise(leaf, state=ScaleByRpropState, init_leaf=init_leaf)


@optimizer
def rprop(
    learning_rate: NonNegative,
    eta_minus: Fraction = 0.5,
    eta_plus: AtLeastOne = 1.2,
    min_step_size: NonNegative = 1e-6,
    max_step_size: NonNegative = 50.0,
) -> GradientTransformation:
    """Rprop: each coordinate has a step size of its own, which the signs of its gradients change.

    Composition: `scale_by_rprop`, `scale`.

    Args:
      learning_rate: the size of the first step, at least 0; of a schedule, the first value. 0.01 in torch.
      eta_minus: the factor of a step size where the sign of the gradient has changed, in [0, 1].
      eta_plus: the factor where it has not, at least 1.
      min_step_size: the bound from below, at least 0.
      max_step_size: the bound from above, at least 0.

    State:
      8 bytes per float32 parameter.

    Example:
      >>> import gradtx
      >>> gradtx.expand(gradtx.rprop(0.1))
      chain(scale_by_rprop(learning_rate=0.1), scale(step_size=-1.0))

    References:
      - Riedmiller, Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993.
    """
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), scale(-1.0))
