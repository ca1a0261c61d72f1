"""A guard against updates that are not finite."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, increment, transformation, zero_count
from gradtx.tree.norms import all_finite
from gradtx.tree.paths import is_function
from gradtx.typing import Count, NonNegative, Params, State, Updates
from gradtx.wrappers.skip import update_unless


def _watched(extra: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The functions among the extras, and a list in which those that are called enter their names."""
    called: list[str] = []

    def watched(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return function(*args, **kwargs)

        return call

    return {name: watched(name, x) for name, x in extra.items() if is_function(x)}, called


class ApplyIfFiniteState(NamedTuple):
    """The state of `apply_if_finite`.

    Attributes:
      consecutive: how many updates in a row were not finite, int32 [].
      skipped: how many updates were skipped in all, int32 [].
      last_finite: whether the last update was finite, bool [].
      inner_state: the state of the inner transformation.
    """

    consecutive: Count
    skipped: Count
    last_finite: jax.Array
    inner_state: State


@transformation
def apply_if_finite(
    inner: GradientTransformation,
    max_consecutive_errors: NonNegative = 5,
    *,
    past_limit: Literal["apply", "skip"] = "apply",
) -> Pair:
    r"""Skip updates that are not finite.

    An update is skipped if a gradient, or the inner transformation's result, has a NaN or an infinity: the updates are
    then zero, and the inner state stays bit for bit as it was, counters and all.

    In a program the inner update is computed twice, to be looked at and, if it is finite, to be kept: that takes less
    memory and time than to hold it. One that calls a function among the extras, such as `sam`, is computed once.

    Args:
      inner: the transformation to guard.
      max_consecutive_errors: :math:`n`, at least 0: how many such updates in a row are skipped.
      past_limit: what happens from the next one on, until a finite one comes: ``"apply"`` it, as Optax does, so that
        the trouble shows in the parameters; or ``"skip"`` on and on.

    State:
      `ApplyIfFiniteState`: three scalars, and the inner state.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.apply_if_finite(gradtx.sgd(0.1))
      >>> updates, state = tx.update(jnp.array([jnp.nan, 1.0]), tx.init(jnp.zeros(2)))
      >>> updates, state.skipped
      (Array([0., 0.], dtype=float32), Array(1, dtype=int32))
    """

    def init(params: Params) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(zero_count(), zero_count(), jnp.ones((), bool), inner.init(params))

    def update(
        updates: Updates, state: ApplyIfFiniteState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        functions, called = _watched(extra)

        def run() -> tuple[Updates, State]:
            return inner.update(updates, state.inner_state, params, **extra | functions)

        changed, inner_state = run()
        finite = all_finite(updates, changed)
        tolerated = (state.consecutive < max_consecutive_errors) | (past_limit == "skip")
        skip = ~finite & tolerated
        # In a program, what was looked at is computed again rather than held: Adam's step is then 62 bytes per
        # parameter, not 92, and has 4 bytes of temporaries, not 14. What took calls of functions is held.
        again = run if isinstance(skip, jax.core.Tracer) and not called else lambda: (changed, inner_state)
        changed, inner_state = update_unless(skip, again, lambda: tree.zeros_like(changed), state.inner_state)
        consecutive = jnp.where(finite, 0, increment(state.consecutive))
        skipped = jnp.where(skip, increment(state.skipped), state.skipped)
        return changed, ApplyIfFiniteState(consecutive, skipped, finite, inner_state)

    return init, update
