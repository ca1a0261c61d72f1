"""What a factory's arguments are: read from its annotations once, checked at every call."""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.typing import Range


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a factory.

    Attributes:
      name: its name.
      range: the interval its numbers lie in, if it is numeric; numbers are pytree leaves of the value.
      nested: whether the numbers sit inside a container (a mapping or sequence of numbers).
      operand: whether it takes schedules as they are, to combine them.
      choices: the permitted values of a `Literal`.
      kind: the plain type of a static argument (``bool``, ``int`` or ``str``), if it has one.
      dtype: whether it is a floating dtype, kept by name.
      optional: whether ``None`` is permitted.
      default: its default, or `inspect.Parameter.empty`.
      variadic: whether it collects positional arguments (``*transforms``).
    """

    name: str
    range: Range | None = None
    nested: bool = False
    operand: bool = False
    choices: tuple[Any, ...] = ()
    kind: type | None = None
    dtype: bool = False
    optional: bool = False
    default: Any = inspect.Parameter.empty
    variadic: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its value is one number (or a schedule)."""
        return self.range is not None and not self.nested


def read_arguments(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a factory, from its signature and annotations."""
    hints = typing.get_type_hints(function, include_extras=True)
    arguments = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            raise ArgumentTypeError(
                "a factory whose arguments all have names", got=f"**{parameter.name}", origin=function.__name__
            )
        arguments[parameter.name] = dataclasses.replace(
            _read_annotation(parameter.name, hints.get(parameter.name, Any)),
            default=parameter.default,
            variadic=parameter.kind is inspect.Parameter.VAR_POSITIONAL,
        )
    return arguments


def _read_annotation(name: str, hint: Any) -> Argument:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        options = [part for part in parts if part is not type(None)]
        argument = _read_annotation(name, options[0]) if len(options) == 1 else Argument(name)
        return dataclasses.replace(argument, optional=type(None) in parts)
    if origin is typing.Annotated:
        if parts[1] == "dtype":
            return Argument(name, dtype=True)
        bounds = next((p for p in parts[1:] if isinstance(p, Range)), None)
        return Argument(name, range=bounds, operand="operand" in parts[1:])
    if origin is Literal:
        return Argument(name, choices=parts)
    if hint in (bool, int, str):
        return Argument(name, kind=hint)
    inner = [_read_annotation(name, part) for part in parts if part is not Ellipsis]
    number = next((argument.range for argument in inner if argument.range is not None), None)
    return Argument(name, range=number, nested=number is not None)


def bind(
    signature: inspect.Signature, arguments: dict[str, Argument], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Match a call to a signature and fill in the defaults, or say which argument is wrong."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = [name for name in kwargs if name not in arguments]
        if unknown:
            near = difflib.get_close_matches(unknown[0], list(arguments), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise ArgumentTypeError(
                f"arguments among ({', '.join(arguments)})", got=f"{unknown[0]!r}", hint=hint
            ) from None
        raise ArgumentTypeError(f"a call ({', '.join(arguments)})", got=f"one with {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def check(argument: Argument, value: Any) -> Any:
    """The value of an argument in the form it is kept in, or an error that names argument, bound and value."""
    if value is None:
        if argument.optional or argument.default is None or (argument.kind is None and argument.range is None):
            return None
        raise ArgumentTypeError(_wanted(argument), got="None")
    if argument.nested and argument.range is not None:
        return jax.tree.map(lambda x: _check_number(argument, argument.range, x), value)
    if argument.range is not None:
        return _check_number(argument, argument.range, value)
    if argument.choices and not any(type(value) is type(choice) and value == choice for choice in argument.choices):
        raise ArgumentValueError(_wanted(argument), got=f"{value!r}")
    if argument.kind is not None and (
        not isinstance(value, argument.kind) or (argument.kind is int and isinstance(value, bool))
    ):
        raise ArgumentTypeError(_wanted(argument), got=f"{value!r} ({type(value).__name__})")
    return _dtype_name(argument, value) if argument.dtype else value


def _wanted(argument: Argument) -> str:
    if argument.range is not None:
        return f"{argument.name} in {argument.range}"
    if argument.choices:
        return f"{argument.name} to be one of {', '.join(map(repr, argument.choices))}"
    kind = "a floating dtype" if argument.dtype else f"a {argument.kind.__name__}" if argument.kind else "a value"
    return f"{argument.name} to be {kind}"


def _check_number(argument: Argument, bounds: Range, value: Any) -> Any:
    if isinstance(value, jax.core.Tracer):
        return value
    if isinstance(value, str | bytes | bool | complex) or not (
        hasattr(value, "dtype") or isinstance(value, int | float)
    ):
        raise ArgumentTypeError(
            f"{argument.name} to be a number in {bounds}, an array of such numbers or a schedule",
            got=f"{value!r} ({type(value).__name__})",
        )
    if hasattr(value, "dtype") and not (
        jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
    ):
        raise ArgumentTypeError(f"{argument.name} to be real", got=f"an array of {value.dtype}")
    for number in np.asarray(value).ravel().tolist():
        if not bounds.admits(number):
            raise ArgumentValueError(_wanted(argument), got=f"{number!r}")
    return value


def _dtype_name(argument: Argument, value: Any) -> str:
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        raise ArgumentTypeError(_wanted(argument), got=f"{value!r}") from None
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ArgumentTypeError(_wanted(argument), got=str(dtype))
    return str(dtype)
