"""What Prodigy and D-Adaptation share: an estimate, from below, of how far the params have to go.

Sums over all leaves go through `tree.inner`, one reduction for each kind of leaf.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.combinators.selection import selected
from gradtx.core import Leafwise, leafwise, one_for_zero
from gradtx.core.leafwise import LeafState, Outline, Scalars
from gradtx.errors import ArgumentValueError
from gradtx.tree.paths import is_inert, is_none
from gradtx.typing import EmptyState, Mask, Params, State, Updates


def scalar(value: Any) -> jax.Array:
    """A number for the shared part of a state; a copy, since the state may be donated."""
    return jnp.array(value, jnp.result_type(float))


def decays(betas: Any, count: int) -> tuple[Any, ...]:
    """The decay factors that are given as one argument, as in Optax and the authors' code, or an error."""
    if len(betas) != count:
        raise ArgumentValueError(f"betas to be {count} numbers in [0, 1)", got=f"{len(betas)}")
    return tuple(betas)


def beside(
    updates: Updates, function: Callable[..., Any], *trees: Any, read: Sequence[Any] = (), **numbers: Any
) -> list[Any]:
    """`tree.map_leaves` of the trees with ``function(g, ...)``, for the sums of `prepare`.

    There is nothing where there is no gradient: such a leaf has no part in the sums of a step, as in the authors' code.
    The leaf function computes the same again, from the same arrays and in one loop with the update.
    """

    def leaf(g: jax.Array, *row: jax.Array, **numbers: Any) -> tuple[jax.Array, ...]:
        made = function(g, *row, **numbers)
        return (g, *made) if isinstance(made, tuple) else (g, made)

    _, *made = tree.map_leaves(leaf, updates, *trees, read=read, **numbers)
    return [jax.tree.map(lambda g, x: None if is_inert(g) else x, updates, x, is_leaf=is_none) for x in made]


def sum_of_absolutes(x: Any) -> jax.Array:
    r""":math:`\lVert x \rVert_1` of a tree, at least float32; of complex numbers, the sum of their absolute values."""
    return tree.inner(tree.map_leaves(jnp.sign, x), x)


def raised(d: jax.Array, numerator: Any, denominator: Any, growth_rate: Any = None) -> jax.Array:
    r""":math:`\max(d, \min(\hat d, \gamma d))` with the quotient for :math:`\hat d`.

    Without a gradient so far, both are zero and say nothing; nor does a quotient that is not finite.
    """
    estimate = numerator / one_for_zero(denominator)
    usable = (denominator > 0) & jnp.isfinite(estimate)
    if growth_rate is not None:
        estimate = jnp.minimum(estimate, growth_rate * d)
    return jnp.where(usable & (estimate > d), estimate, d).astype(d.dtype)


def decayed(form: Leafwise, weight_decay: Any, mask: Mask) -> Leafwise:
    r"""The form with :math:`\eta d \lambda p` added to its updates, where :math:`\eta d` is its scalar ``step``.

    The decay follows the estimate, which no other member of a chain knows: it must be added here.
    """
    if isinstance(weight_decay, float | int) and weight_decay == 0:  # then the leaves must not read the params
        return form

    def pull(u: jax.Array, *, rate: Any, p: jax.Array) -> Any:
        return u + rate * p

    choose, at_init = functools.partial(tree.resolve_mask, mask), functools.partial(tree.require_matches, mask)
    decay = leafwise(pull) if mask is None else selected(leafwise(pull), choose, choose_at_init=at_init)

    def init(params: Params) -> State:
        decay.init(params)  # a mask that fits no leaf is refused here
        return form.init(params)

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Scalars]:
        decay.prepare(updates, EmptyState(), params, extra)
        return form.prepare(updates, state, params, extra)

    def split(state: State, outline: Outline) -> list[LeafState]:
        return list(zip(form.split(state, outline), decay.split(EmptyState(), outline), strict=True))

    def leaf(scalars: Scalars, index: Any, g: Any, s: LeafState, p: Any) -> tuple[Any, LeafState]:
        u, own = form.leaf(scalars, index, g, s[0], p)
        u, mark = decay.leaf({"rate": weight_decay * scalars["step"]}, index, u, s[1], p)
        return u, (own, mark)

    def merge(state: State, outline: Outline, rows: list[LeafState]) -> State:
        return form.merge(state, outline, [own for own, _ in rows])

    return dataclasses.replace(form, init=init, prepare=prepare, split=split, leaf=leaf, merge=merge, needs_params=True)
