"""Transformations that remember nothing, from one function."""

from collections.abc import Callable
from typing import Any

import jax

from gradtx import tree
from gradtx.core import Pair, accepting_extras, require_function, transformation
from gradtx.typing import EmptyState, Params, State, Updates


@transformation
def stateless(f: Callable[..., Updates]) -> Pair:
    """A transformation from one function of the updates and the params, which remembers nothing. It has no text.

    Args:
      f: ``f(updates, params, **extra) -> updates``: the params are ``None`` if none were passed; of the extras, those
        it has parameters for are passed on.

    State:
      `EmptyState`: nothing.

    Raises:
      ArgumentTypeError: `f` is not a function of both.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> signs = gradtx.stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))
      >>> tx = gradtx.chain(signs, gradtx.sgd(0.1))
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([-0.1,  0.1], dtype=float32)

    Differences from Optax: the extras.
    """
    require_function(f, "f", "updates", "params")
    function = accepting_extras(f)

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        return function(updates, params, **extra), state

    return lambda _: EmptyState(), update


@transformation
def stateless_with_tree_map(f: Callable[..., Any]) -> Pair:
    """A transformation from one function of each update and its parameter, which remembers nothing. It has no text.

    The function sees arrays in at least float32, and its result has the dtype of the update it replaces; an absent
    gradient stays absent. In a factory of your own, `leafwise` does the same and more.

    Args:
      f: ``f(g, p) -> u``, an array like the update g of a leaf; the parameter p is ``None`` if no params were passed.

    State:
      `EmptyState`: nothing.

    Raises:
      ArgumentTypeError: `f` is not a function of both.
      TreeMismatchError: it returns something of another shape.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.stateless_with_tree_map(lambda g, p: jnp.sign(g)), gradtx.sgd(0.1))
      >>> tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))[0]
      Array([-0.1,  0.1], dtype=float32)
    """
    require_function(f, "f", "g", "p")

    def alone(g: jax.Array) -> Any:
        return f(g, None)

    def update(
        updates: Updates, state: EmptyState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        if params is None:
            return tree.map_leaves(alone, updates), state
        return tree.map_leaves(f, updates, read=(params,)), state

    return lambda _: EmptyState(), update
