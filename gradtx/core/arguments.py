"""What a factory's arguments are: read from its annotations once, checked at every call."""

import contextlib
import contextvars
import dataclasses
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.errors import ArgumentTypeError, ArgumentValueError
from gradtx.tree.fields import one_level
from gradtx.tree.paths import is_function
from gradtx.tree.select import check_flags, is_glob
from gradtx.typing import Range


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a factory.

    Attributes:
      name: its name.
      range: the interval its numbers lie in, if it is numeric; numbers are pytree leaves of the value.
      nested: whether the numbers sit inside a container (a mapping or sequence of numbers).
      mapping: whether it is a mapping; it is kept as a dict.
      operand: whether it takes schedules as they are, to combine them.
      choices: the permitted values of a `Literal`.
      kind: the plain type of a static argument (``bool``, ``int`` or ``str``), if it has one.
      dtype: whether it is a floating dtype, kept by name.
      mask: whether it selects leaves.
      transformation: whether it is a transformation; the factory is given one of Optax's wrapped.
      optional: whether ``None`` is permitted.
      default: its default, or `inspect.Parameter.empty`.
      variadic: whether it collects positional arguments (``*transforms``).
    """

    name: str
    range: Range | None = None
    nested: bool = False
    mapping: bool = False
    operand: bool = False
    choices: tuple[Any, ...] = ()
    kind: type | None = None
    dtype: bool = False
    mask: bool = False
    transformation: bool = False
    optional: bool = False
    default: Any = inspect.Parameter.empty
    variadic: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its value is one number (or a schedule)."""
        return self.range is not None and not self.nested


def read_arguments(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments of a factory, from its signature and annotations."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        hint = "import the name at the top of the module, and not under TYPE_CHECKING"
        raise ArgumentTypeError(
            "annotations that exist when the program runs", got=str(error), hint=hint, origin=function.__name__
        ) from error
    arguments = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            raise ArgumentTypeError(
                "a factory whose arguments all have names", got=f"**{parameter.name}", origin=function.__name__
            )
        argument = _read_annotation(parameter.name, hints.get(parameter.name, Any))
        variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
        nested = argument.nested or (variadic and argument.range is not None)
        arguments[parameter.name] = dataclasses.replace(
            argument, default=parameter.default, variadic=variadic, nested=nested
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
        if parts[1] == "mask":
            return Argument(name, mask=True)
        bounds = next((p for p in parts[1:] if isinstance(p, Range)), None)
        return Argument(name, range=bounds, operand="operand" in parts[1:])
    if origin is Literal:
        return Argument(name, choices=parts)
    if hint is float:
        return Argument(name, range=Range())
    if hint in (bool, int, str):
        return Argument(name, kind=hint)
    if isinstance(hint, type) and hasattr(hint, "leafwise"):
        return Argument(name, transformation=True)
    inner = [_read_annotation(name, part) for part in parts if part is not Ellipsis]
    number = next((argument.range for argument in inner if argument.range is not None), None)
    mapping = isinstance(origin, type) and issubclass(origin, Mapping)
    return Argument(name, range=number, nested=number is not None, mapping=mapping)


_FOREIGN_NAMES = {
    "lr": "learning_rate",
    "beta_1": "b1",
    "beta_2": "b2",
    "beta1": "b1",
    "beta2": "b2",
    "betas": "b1",
    "epsilon": "eps",
    "wd": "weight_decay",
    "lambda": "weight_decay",
    "alpha": "learning_rate",
    "fast_optimizer": "inner",
}
"""What torch, Keras and Optax call some arguments, for the hint of an error."""


def bind(
    signature: inspect.Signature, arguments: dict[str, Argument], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Match a call to a signature and fill in the defaults, or say which argument is wrong."""
    unknown = next((name for name in kwargs if name not in arguments), None)
    if unknown is not None:
        meant = _FOREIGN_NAMES.get(unknown.lower())
        near = [meant] if meant in arguments else difflib.get_close_matches(unknown, list(arguments), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else ""
        raise ArgumentTypeError(f"arguments among ({', '.join(arguments)})", got=f"{unknown!r}", hint=hint)
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError as error:  # too many positional arguments, or one that is given twice
        raise ArgumentTypeError(f"arguments ({', '.join(arguments)})", got=str(error)) from None
    bound.apply_defaults()
    missing = [name for name in arguments if name not in bound.arguments]
    if missing:
        raise ArgumentTypeError(f"arguments ({', '.join(arguments)})", got=f"no {' and no '.join(missing)}")
    return dict(bound.arguments)


_unchecked = contextvars.ContextVar("unchecked", default=False)


@contextlib.contextmanager
def unchecked_ranges() -> Iterator[None]:
    """While a factory is called again with the values of this step, ranges are not checked.

    They were when the user called it; a step must do the same with and without jit, and not wait for the device.
    """
    token = _unchecked.set(True)
    try:
        yield
    finally:
        _unchecked.reset(token)


def check(argument: Argument, value: Any) -> Any:
    """The value of an argument in the form it is kept in, or an error that names argument, bound and value."""
    return keep(argument, _check(argument, value))


def _check(argument: Argument, value: Any) -> Any:
    if value is None and (argument.optional or argument.default is None):
        return None
    if argument.mapping:
        if not isinstance(value, Mapping):
            raise ArgumentTypeError(f"{argument.name} to be a mapping", got=f"{value!r} ({type(value).__name__})")
        value = dict(value)
    if argument.nested:
        return _check_numbers(argument, value)
    if argument.range is not None:
        return _check_number(argument.name, argument.range, value, ", an array of such numbers or a schedule")
    if argument.choices:
        return _check_choice(argument.name, argument.choices, value)
    if argument.kind is not None:
        return _check_kind(argument.name, argument.kind, value)
    if argument.mask:
        return _check_mask(argument.name, value)
    return _check_dtype(argument.name, value) if argument.dtype else value


def _check_numbers(argument: Argument, value: Any) -> Any:
    """The numbers in a container."""

    def visit(name: str, x: Any) -> Any:
        if isinstance(x, Mapping):
            return {k: visit(f"{name}[{k!r}]", element) for k, element in x.items()}
        if type(x) in (tuple, list):
            return type(x)(visit(f"{name}[{i}]", element) for i, element in enumerate(x))
        if name == argument.name and not getattr(x, "ndim", 0):
            got = f"{x!r} ({type(x).__name__})"
            raise ArgumentTypeError(f"{name} to be a sequence of numbers in {argument.range}", got=got)
        return _check_number(name, argument.range, x, " or an array of such numbers")

    return visit(argument.name, value)


def _check_number(name: str, bounds: Range | None, value: Any, alternatives: str) -> Any:
    if isinstance(value, jax.core.Tracer) or _unchecked.get():
        return value
    if isinstance(value, str | bytes | bool | complex) or not isinstance(
        value, int | float | jax.Array | np.ndarray | np.generic
    ):
        wanted = f"{name} to be a number in {bounds}{alternatives}"
        hint = "write it without quotes, and in YAML with a point: 1.0e-3" if _is_numeral(value) else ""
        raise ArgumentTypeError(wanted, got=f"{brief(value)} ({type(value).__name__})", hint=hint)
    if hasattr(value, "dtype") and not (
        jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)
    ):
        raise ArgumentTypeError(f"{name} to be real", got=f"an array of {value.dtype}")
    for number in [value] if isinstance(value, int) else np.asarray(value).ravel().tolist():
        if bounds is not None and not _admits(bounds, number):
            raise ArgumentValueError(f"{name} in {bounds}", got=f"{number!r}")
    return value


def _is_numeral(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def brief(value: Any) -> str:
    """The repr on one line, cut where it is long: arguments in the wrong place may be whole trees."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _admits(bounds: Range, number: float) -> bool:
    try:
        return bounds.admits(float(number))
    except OverflowError:  # a whole number beyond the largest float
        return False


def _check_choice(name: str, choices: tuple[Any, ...], value: Any) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ArgumentValueError(f"{name} to be one of {', '.join(map(repr, choices))}", got=f"{value!r}")
    return value


def _check_kind(name: str, kind: type, value: Any) -> Any:
    if (kind is int and isinstance(value, np.integer)) or (kind is bool and isinstance(value, np.bool_)):
        return kind(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        article = "an" if kind is int else "a"
        hint = "it is a part of the program that is compiled, and no schedule can change it" if callable(value) else ""
        got = f"{value!r} ({type(value).__name__})"
        raise ArgumentTypeError(f"{name} to be {article} {kind.__name__}", got=got, hint=hint)
    return value


def _check_mask(name: str, value: Any) -> Any:
    if not is_function(value) and not is_glob(value):
        check_flags(value, f"{name} to be True or False at each leaf, a function or globs")
    return value


def _check_dtype(name: str, value: Any) -> str:
    wanted = f"{name} to be a floating dtype"
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        raise ArgumentTypeError(wanted, got=f"{value!r}", hint="pass its dtype")
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        raise ArgumentTypeError(wanted, got=f"{value!r}") from None
    if value is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ArgumentTypeError(wanted, got="None" if value is None else str(dtype))
    return str(dtype)


# --- keeping ----------------------------------------------------------------------------------------------------------


def keep(argument: Argument, value: Any) -> Any:
    """The argument as a value keeps it: the same, but nothing the caller may change later.

    Containers, trees and NumPy arrays are copied, with their types. Where it is no number of the transformation, a
    scalar array is a Python scalar: ``True`` and ``np.True_`` are equal, and without this their hashes would differ.
    """
    return _kept(value, scalars=argument.range is None)


PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types of arguments that are what they are."""

ARRAYS = (np.ndarray, np.generic, jax.Array)
"""Arrays and NumPy's scalars; other objects may have a dtype too, a Flax layer for one."""


def _kept(x: Any, scalars: bool) -> Any:
    if type(x) in PLAIN or is_value(x):
        return x
    if isinstance(x, ARRAYS):
        return _kept_array(x, scalars)
    if isinstance(x, set):
        return frozenset(x)
    if type(x) in (list, tuple):
        return type(x)(_kept(element, scalars) for element in x)
    if type(x) is dict:
        return {k: _kept(element, scalars) for k, element in x.items()}
    if is_function(x) or jax.tree_util.all_leaves([x]):
        return _kept_leaf(x, scalars)
    children, treedef = one_level(x)
    return treedef.unflatten([_kept(child, scalars) for _, child in children])


def _kept_array(x: Any, scalars: bool) -> Any:
    if isinstance(x, jax.core.Tracer):
        return x
    if scalars and x.ndim == 0 and (x.dtype == jnp.bool_ or jnp.issubdtype(x.dtype, np.number)):
        return x.item()
    if isinstance(x, np.ndarray):
        x = np.array(x)
        x.flags.writeable = False
    return x


def _kept_leaf(x: Any, scalars: bool) -> Any:
    """What is no tree to JAX: functions and objects as they are, mappings and lists of other classes as plain ones."""
    if isinstance(x, Mapping):
        return {k: _kept(element, scalars) for k, element in x.items()}
    return [_kept(element, scalars) for element in x] if isinstance(x, list) else x


def is_value(x: Any) -> bool:
    """Whether it is a transformation or a schedule, which never changes; a factory is none."""
    return hasattr(x, "factory") and hasattr(x, "arguments")
