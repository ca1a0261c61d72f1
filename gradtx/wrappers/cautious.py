"""Cautious steps: only the elements that agree with the gradient of the moment."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, GradientTransformation, one_for_zero, transformation
from gradtx.core.value import nested_values
from gradtx.gradients.weight_decay import agreement
from gradtx.typing import NonNegative, Params, State, Updates


@transformation
def cautious(inner: GradientTransformation, xi: NonNegative = 1.0) -> Form:
    r"""Leave out the elements of an update whose sign is not that of the gradient, and enlarge the others for it.

    .. math::
        \phi = [\, u \odot g > 0 \,], \qquad
        u \leftarrow \frac{d}{\lVert\phi\rVert_0 + \xi}\; \phi \odot u

    for each leaf of d elements, with :math:`g` as it comes in. Momentum that goes up the gradient of the moment waits
    until both agree. Of complex numbers, the real part of :math:`\bar u\, g` decides.

    The decay of weights belongs outside, as the authors have it: ``chain(cautious(scale_by_adam()),
    add_decayed_weights(0.01), scale_by_learning_rate(0.001))`` is their C-AdamW. A whole optimizer is a step down, of
    which the elements with :math:`u \odot g < 0` stay. Taken for one is what has a gradtx optimizer or a
    `scale_by_learning_rate` in it; all else is a direction.

    Args:
      inner: a direction of ascent, such as `scale_by_adam` or `scale_by_lion`, or an optimizer.
      xi: :math:`\xi`, at least 0. With 1, the paper's number, a leaf that agrees altogether takes d/(d+1) of its step:
        of a scalar, half. With 0 the mean of the mask is made 1, as in the authors' later code for AdamW and in timm,
        which enlarge a step no more than 1000-fold.

    State:
      That of the inner transformation.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.cautious(gradtx.trace(0.5), xi=0.0)
      >>> _, state = tx.update(jnp.array([4.0, 1.0]), tx.init(jnp.zeros(2)))
      >>> tx.update(jnp.array([-1.0, 1.0]), state)[0]
      Array([0., 3.], dtype=float32)

    References:
      - Liang et al., Cautious optimizers: improving training with one line of code, 2024, arXiv:2411.16085.
    """
    sign = ascent(inner)

    def leaf(u: jax.Array, g: jax.Array, *, xi: Any) -> jax.Array:
        agrees = sign * agreement(u, g) > 0
        count = jnp.sum(agrees, dtype=u.real.dtype)
        return jnp.where(agrees, u * (u.size / one_for_zero(count + xi)), 0)

    return beside_gradients(inner, leaf, xi=xi)


def ascent(inner: GradientTransformation) -> int:
    """1 for a direction of ascent; -1 for a step of descent, which an optimizer or a learning rate in it tells."""
    rate = inner.factory.name == "scale_by_learning_rate" and inner.arguments["flip_sign"]
    if inner.factory.kind == "optimizer" or rate:
        return -1
    parts = [x for x in nested_values(inner.arguments) if isinstance(x, GradientTransformation)]
    return min(map(ascent, parts), default=1)


def beside_gradients(inner: GradientTransformation, leaf: Callable[..., jax.Array], **numbers: Any) -> Form:
    """The inner transformation with ``leaf(u, g, **numbers)`` of its update and of what came in for its update."""
    form = inner.leafwise
    if form is not None:
        inner_leaf = form.leaf

        def step(scalars: Any, index: Any, g: Any, s: Any, p: Any) -> tuple[Any, Any]:
            u, s = inner_leaf(scalars, index, g, s, p)
            return leaf(u, g, **numbers), s

        return dataclasses.replace(form, leaf=step)

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        made, state = inner.update(updates, state, params, **extra)
        return tree.map_leaves(leaf, made, read=(updates,), **numbers), state

    return inner.init, update
