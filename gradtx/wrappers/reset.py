"""A part of a state put back to where it began."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.conditional import holds_at_step
from gradtx.core import (
    GradientTransformation,
    Pair,
    increment,
    transformation,
    zero_count,
)
from gradtx.errors import ArgumentTypeError, ArgumentValueError, require_extra
from gradtx.tree.select import matches
from gradtx.typing import Count, Params, State, Updates

Where = str | tuple[str, ...]
"""Parts of a state: names of fields, such as ``"mu"``, or globs on paths, such as ``"*/mu/dense/*"``."""


class WithStateResetState(NamedTuple):
    """The state of `with_state_reset`.

    Attributes:
      step: how often `update` was called, int32 [].
      resets: how often the inner state was reset, int32 [].
      inner_state: the state of the inner transformation.
    """

    step: Count
    resets: Count
    inner_state: State


@transformation
def with_state_reset(inner: GradientTransformation, where: Where, when: int | Callable[..., Any]) -> Pair:
    r"""Put a part of the inner state back to what ``init(params)`` gives, at some steps, and go on from there.

    .. math::
        s'_t = \begin{cases} \text{init}(p_t) & \text{in the chosen part, if } c(t) \\
            s_t & \text{otherwise} \end{cases}
        \qquad u_t, s_{t+1} = \text{inner}(g_t, s'_t, p_t)

    The reset comes before the update of its step, which thus begins with a fresh part; the params are those of that
    step. The rest of the state stays bit for bit as it is: if ``mu`` is reset and ``count`` is not, Adam's bias
    correction takes the moment for an old one, and the next steps are short. Counters are fields like any other, and
    the counts of schedules inside are among those that ``"count"`` names. A reset is a selection, not a
    multiplication: it clears a NaN.

    Args:
      inner: the transformation.
      where: what to reset: the name of a field as `tree.get_field` finds it (``"mu"``, ``"count"``), a glob on the
        paths of the inner state's leaves or of what holds them (``"*/mu"``, ``"0/nu/dense/*"``, ``"*"`` for
        everything), or a tuple of such.
      when: :math:`c`. An integer k, at least 1: every k-th step, that is at the steps k, 2k, ... (the first is step
        0). Or a function of the step, int32 [], and of the extras it has parameters for, that returns a boolean []
        or a number that is not 0; it is traced. A schedule will do; a plain function has no text.

    State:
      `WithStateResetState`: two counters, and the inner state.

    Raises:
      ArgumentTypeError: `where` is not text, or `when` neither an integer nor a function.
      ArgumentValueError: `when` is less than 1; or, from ``init``, an entry of `where` matches nothing in the state.
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.with_state_reset(gradtx.trace(decay=0.5), "trace", when=2)
      >>> params = jnp.zeros(1)
      >>> state = tx.init(params)
      >>> for _ in range(4):
      ...     updates, state = tx.update(jnp.array([1.0]), state, params)
      ...     print(updates)
      [1.]
      [1.5]
      [1.]
      [1.5]
    """
    parts, condition = _parts(where), _condition(when)

    def init(params: Params) -> WithStateResetState:
        inner_state = inner.init(params)
        _chosen(inner_state, parts, params)
        return WithStateResetState(zero_count(), zero_count(), inner_state)

    def update(
        updates: Updates, state: WithStateResetState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "a reset begins from them: tx.update(grads, state, params)")
        due = holds_at_step(condition, "when", state.step, extra)
        inner_state = _replace(state.inner_state, inner.init(params), parts, params, due)
        changed, inner_state = inner.update(updates, inner_state, params, **extra)
        resets = jnp.where(due, increment(state.resets), state.resets)
        return changed, WithStateResetState(increment(state.step), resets, inner_state)

    return init, update


def reset_state(tx: GradientTransformation, state: State, params: Params, where: Where = "*") -> State:
    """The state with a part put back to what ``tx.init(params)`` gives: by hand, what `with_state_reset` does.

    Args:
      tx: the transformation the state belongs to.
      state: its state.
      params: the params to begin from.
      where: what to reset, as in `with_state_reset`; by default everything.

    Raises:
      ArgumentValueError: an entry of `where` matches nothing in the state.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx, params = gradtx.sgd(0.1, momentum=0.9), jnp.zeros(1)
      >>> _, state = tx.update(jnp.array([1.0]), tx.init(params), params)
      >>> gradtx.reset_state(tx, state, params, "trace")[0]
      TraceState(trace=Array([0.], dtype=float32))
    """
    return _replace(state, tx.init(params), _parts(where), params, True)


def _parts(where: Any) -> tuple[str, ...]:
    parts = (where,) if isinstance(where, str) else where
    if not (isinstance(parts, tuple | list) and parts and all(isinstance(part, str) for part in parts)):
        raise ArgumentTypeError("where to be the name of a field, a glob, or a tuple of such", got=repr(where))
    return tuple(parts)


def _condition(when: Any) -> Callable[..., Any]:
    """The function of step and extras that `when` means."""
    if callable(when):
        function: Callable[..., Any] = when
        return function
    if not isinstance(when, int) or isinstance(when, bool):
        raise ArgumentTypeError("when to be a number of steps or a function of the step", got=repr(when))
    if when < 1:
        raise ArgumentValueError("when to be at least 1", got=repr(when))
    return lambda step: (step > 0) & (step % when == 0)


def _replace(state: State, fresh: State, parts: tuple[str, ...], params: Params, due: Any) -> State:
    """The state with the leaves of its parts taken from a fresh one, if due."""
    treedef: Any
    leaves, treedef = jax.tree.flatten(state)
    chosen = _chosen(state, parts, params)
    rows = zip(leaves, treedef.flatten_up_to(fresh), chosen, strict=True)
    return treedef.unflatten([jnp.where(due, new, old) if choose else old for old, new, choose in rows])


def _chosen(state: State, parts: tuple[str, ...], params: Params) -> list[bool]:
    """Which leaves of a state lie in its parts; a part without any is taken for a mistake, if there are params."""
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(state)
    ]
    columns = [_matching(state, names, part) for part in parts]
    for part, column in zip(parts, columns, strict=True):
        if not any(column) and jax.tree.leaves(params):
            shown = ", ".join(map(repr, names[:6])) + (", ..." if len(names) > 6 else "")
            raise ArgumentValueError(
                f"where to name a field, or to be a glob that matches a path, of {shown or 'a state without leaves'}",
                got=repr(part),
                hint="'*' matches '/' too, but '*/mu' does not match a field 'mu' at the top",
            )
    return [any(row) for row in zip(*columns, strict=True)]


def _matching(state: State, names: list[str], part: str) -> list[bool]:
    """Which leaves lie in a field of that name or, at any depth, below a path that matches a glob."""
    fields = [path for path, _ in tree.get_all_fields(state, part)]
    return [
        any(name == path or name.startswith(f"{path}/") for path in fields)
        or any(matches("/".join(name.split("/")[:depth]), part) for depth in range(1, name.count("/") + 2))
        for name in names
    ]
