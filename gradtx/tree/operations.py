"""Operations on arrays that cost little, both to trace and in an eager update."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

F = TypeVar("F", bound=Callable[..., Any])


def compiled(*static: int) -> Callable[[F], F]:
    """Make a function of arrays one dispatch in an eager update; where something is traced, it is what is written.

    An eager update of ten leaves with Adam takes 0.4 of the time.

    Args:
      *static: the places of arguments that are switches. All others are operands: new numbers compile nothing.
    """

    def decorate(function: F) -> F:
        at_once = jax.jit(function, static_argnums=static)

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            for x in args:
                if isinstance(x, jax.core.Tracer):
                    return function(*args)
            return at_once(*args)

        return cast(F, call)

    return decorate


# Two forms of an operation: traced, one of `jax.lax` takes a quarter to half of the time; eagerly, twice as long.


def add(x: jax.Array, y: jax.Array) -> jax.Array:
    """The sum."""
    return jax.lax.add(x, y) if _traced_alike(x, y) else x + y


def multiply(x: jax.Array, y: jax.Array) -> jax.Array:
    """The product."""
    return jax.lax.mul(x, y) if _traced_alike(x, y) else x * y


def divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """The quotient."""
    return jax.lax.div(x, y) if _traced_alike(x, y) else x / y


def sum_elements(x: jax.Array) -> jax.Array:
    """The sum of all elements."""
    return jax.lax.reduce_sum(x, range(x.ndim)) if isinstance(x, jax.core.Tracer) else jnp.sum(x)


def _traced_alike(x: Any, y: Any) -> bool:
    """Whether one is traced and both are of one dtype, and of one shape or one of them a scalar."""
    if not (isinstance(x, jax.core.Tracer) or isinstance(y, jax.core.Tracer)):
        return False
    if not (hasattr(x, "dtype") and hasattr(y, "dtype")) or x.dtype != y.dtype:
        return False
    return bool(x.shape == y.shape or not x.shape or not y.shape)
