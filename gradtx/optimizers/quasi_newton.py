"""Quasi-Newton methods: a direction that knows the curvature, and a search along it."""

from gradtx.combinators import chain
from gradtx.core import GradientTransformation, as_transformation, optimizer
from gradtx.evaluations import scale_by_lbfgs, scale_by_zoom_linesearch
from gradtx.transforms import identity, scale, scale_by_learning_rate
from gradtx.typing import NonNegative


@optimizer
def lbfgs(
    learning_rate: NonNegative | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: GradientTransformation | None = scale_by_zoom_linesearch(  # noqa: B008  a value, which never changes
        max_linesearch_steps=20, initial_guess_strategy="one"
    ),
) -> GradientTransformation:
    r"""L-BFGS: for functions that do not change from step to step, such as a loss over a full batch.

    Composition: `scale_by_lbfgs`, ``scale(-1.0)`` (or `scale_by_learning_rate`), the line search.

    `update` needs ``value_fn`` or ``value_and_grad_fn``, and takes ``value`` and ``grad`` from
    `value_and_grad_from_state`: then each step calls the function as often as the line search tries a point, mostly
    once.

    Args:
      learning_rate: a factor for the direction, at least 0; the line search then scales what remains. By default 1.
      memory_size: how many pairs are remembered, at least 1.
      scale_init_precond: begin with the scaled identity of `scale_by_lbfgs`; otherwise with the identity.
      linesearch: what follows the direction; ``None`` for no search, and then `update` needs no function.

    State:
      :math:`8 (m + 1)` bytes per float32 parameter for the direction, 4 for the line search.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> def loss(p):
      ...     return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
      >>> tx, p = gradtx.lbfgs(), jnp.array([-1.2, 1.0])
      >>> state = tx.init(p)
      >>> for _ in range(40):
      ...     value, grad = gradtx.value_and_grad_from_state(loss)(p, state=state)
      ...     updates, state = tx.update(grad, state, p, value=value, grad=grad, value_fn=loss)
      ...     p = gradtx.apply_updates(p, updates)
      >>> p.round(2)
      Array([1., 1.], dtype=float32)

    References:
      - Liu, Nocedal, On the limited memory BFGS method for large scale optimization, 1989.
      - Nocedal, Wright, Numerical optimization, 2nd edition, 2006, chapters 3 and 7.
    """
    step = scale(-1.0) if learning_rate is None else scale_by_learning_rate(learning_rate)
    search = identity() if linesearch is None else as_transformation(linesearch, "linesearch to be a transformation")
    return chain(scale_by_lbfgs(memory_size, scale_init_precond), step, search)
