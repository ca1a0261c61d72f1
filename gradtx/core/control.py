"""Control flow that is Python's where there is no program to be compiled.

`jax.lax.cond` and its like compile their branches, wherever they are called. Apart from `jax.jit` that means: anew at
each update, as the functions are new ones each time; a guarded Adam then takes 70 times as long as a plain one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from gradtx.errors import ArgumentTypeError

T = TypeVar("T")


def cond(pred: Any, true_fun: Callable[..., T], false_fun: Callable[..., T], *operands: Any) -> T:
    """`jax.lax.cond`; of a known `pred`, one of the functions is called as it is."""
    if not isinstance(pred, jax.core.Tracer):
        return (true_fun if pred else false_fun)(*operands)
    result: T = jax.lax.cond(pred, true_fun, false_fun, *operands)
    return result


def as_boolean(answer: Any, argument: str) -> jax.Array:
    """What the function under the name of an argument returned, bool [].

    Raises:
      ArgumentTypeError: it is more than one boolean.
    """
    holds = jnp.asarray(answer)
    if holds.shape:
        raise ArgumentTypeError(f"{argument} to return a single boolean", got=f"{holds.dtype}{list(holds.shape)}")
    return holds.astype(bool)


def is_due(step: jax.Array, start: Any, period: Any) -> jax.Array:
    """Whether a step is one of `start`, `start` + `period`, ..., bool [].

    A period that is no whole number is kept to on average.
    """
    due: jax.Array = (step >= start) & (
        jnp.floor_divide(step - start, period) > jnp.floor_divide(step - 1 - start, period)
    )
    return due


def while_loop(cond_fun: Callable[[T], Any], body_fun: Callable[[T], T], init_val: T) -> T:
    """`jax.lax.while_loop`; as long as it is known whether to go on, the function is called as it is."""
    value = init_val
    while not isinstance(go_on := cond_fun(value), jax.core.Tracer):
        if not go_on:
            return value
        value = body_fun(value)
    result: T = jax.lax.while_loop(cond_fun, body_fun, value)
    return result


def scan_carry(function: Callable[[T, Any], T], init: T, xs: jax.Array) -> T:
    """`jax.lax.scan` over an array, without outputs; over a known one, the function is called as it is."""
    if isinstance(xs, jax.core.Tracer):
        result: T = jax.lax.scan(lambda carry, x: (function(carry, x), None), init, xs)[0]
        return result
    for x in xs:
        init = function(init, x)
    return init
