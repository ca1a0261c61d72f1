"""Values and gradients at other points: the extras ``value_fn``, ``grad_fn`` and ``value_and_grad_fn``.

A caller passes whichever it has, closed over the batch and the key of the step; the others are derived. The gradient
of a complex leaf is the direction of steepest ascent, the conjugate of what `jax.grad` returns.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import ArgumentTypeError, MissingExtraError
from gradtx.typing import Params, Updates

_ValueFn = Callable[[Params], jax.Array]
_GradFn = Callable[[Params], Updates]
_ValueAndGradFn = Callable[[Params], tuple[jax.Array, Updates]]

_FUNCTIONS = ("value_fn", "grad_fn", "value_and_grad_fn")
"""The extras that are functions of the parameters."""


def value_function(extra: Mapping[str, Any]) -> _ValueFn:
    """``value_fn`` of the extras, or one made of ``value_and_grad_fn``.

    Raises:
      MissingExtraError: neither was passed.
    """
    value_fn, _, value_and_grad_fn = _functions(extra)
    if value_fn is not None:
        return value_fn  # type: ignore[no-any-return]
    if value_and_grad_fn is not None:
        return lambda params: value_and_grad_fn(params)[0]
    raise _missing("value_fn")


def grad_function(extra: Mapping[str, Any]) -> _GradFn:
    """``grad_fn`` of the extras, or one made of ``value_and_grad_fn`` or of ``value_fn``.

    Raises:
      MissingExtraError: none was passed.
    """
    functions = _functions(extra)
    if functions[1] is not None:
        return functions[1]  # type: ignore[no-any-return]
    if all(function is None for function in functions):
        raise _missing("grad_fn")
    value_and_grad_fn = value_and_grad_function(extra)
    return lambda params: value_and_grad_fn(params)[1]


def value_and_grad_function(extra: Mapping[str, Any]) -> _ValueAndGradFn:
    """``value_and_grad_fn`` of the extras, or one made of ``value_fn``, with ``grad_fn`` if that was passed too.

    Raises:
      MissingExtraError: neither ``value_and_grad_fn`` nor ``value_fn`` was passed.
    """
    value_fn, grad_fn, both = _functions(extra)
    if both is not None:
        return both  # type: ignore[no-any-return]
    if value_fn is None:
        raise _missing("value_and_grad_fn")
    if grad_fn is None:
        return value_and_ascent(value_fn)
    return lambda params: (value_fn(params), grad_fn(params))


def value_and_ascent(
    value_fn: Callable[[Params], Any], has_aux: bool = False
) -> Callable[[Params], tuple[Any, Updates]]:
    """`jax.value_and_grad`, with directions of steepest ascent at complex leaves and no gradient at integer ones."""
    differentiate = jax.value_and_grad(value_fn, has_aux=has_aux, allow_int=True)

    def value_and_grad_fn(params: Params) -> tuple[Any, Updates]:
        value, grads = differentiate(params)
        return value, jax.tree.map(lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g, grads)

    return value_and_grad_fn


def _functions(extra: Mapping[str, Any]) -> list[Any]:
    """The extras that are functions, which may want nothing but the params."""
    functions = [extra.get(name) for name in _FUNCTIONS]
    for name, function in zip(_FUNCTIONS, functions, strict=True):
        wanted = () if function is None else _further_arguments(function)
        if wanted:
            got, call = f"one that wants {', '.join(wanted)} too", f"lambda params: f(params, {', '.join(wanted)})"
            hint = f"close over the batch: {name}={call}"
            raise ArgumentTypeError(f"{name} to be a function of the params alone", got=got, hint=hint)
    return functions


def _further_arguments(function: Callable[..., Any]) -> list[str]:
    """The arguments of a function beside its first that have to be given."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable without a signature
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters[1:] if p.default is p.empty and p.kind not in variadic]


def _missing(keyword: str) -> MissingExtraError:
    hint = f"build_step passes it; by hand, pass {keyword}, a function of the params for this step's batch"
    return MissingExtraError(
        f"update(..., {keyword}=...)", got="neither it nor a function it can be made of", hint=hint
    )
