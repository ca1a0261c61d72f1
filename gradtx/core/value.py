"""Values: objects that remember which factory made them, and with which arguments."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import arguments as argument_rules
from gradtx.core.registry import Factory
from gradtx.errors import GradtxError


class Value:
    """The base of `GradientTransformation` and `Schedule`.

    A value prints as the constructor call that makes it, compares by factory and arguments, and is a pytree: its
    numeric arguments and those of the values nested in it are leaves, everything else is static. `replace` makes a
    changed copy. Arguments are read as attributes: ``adam(1e-3).b1``.
    """

    factory: Factory
    arguments: dict[str, Any]

    __array_ufunc__ = None  # NumPy numbers and arrays leave ``number * schedule`` to the schedule

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, functools.partial(unflatten, cls), flatten)

    @classmethod
    def of(cls, factory: Factory, arguments: dict[str, Any]) -> Self:
        """A value without any check of its arguments (they may be traced, or placeholders of a tree function)."""
        value = object.__new__(cls)
        value.__dict__.update(factory=factory, arguments=arguments)
        return value

    def replace(self, **changes: Any) -> Self:
        """A copy with some arguments changed: ``adam(1e-3).replace(b1=0.95)``. Arguments are checked as in a call."""
        try:
            made: Self = self.factory.call(self.factory.make, self.arguments | changes)
        except GradtxError as error:
            error.locate(self.factory.name)
            raise
        return made

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):
            # A property failed with an AttributeError of its own; Python hides it unless it is raised again here.
            return object.__getattribute__(self, name)
        arguments = self.__dict__.get("arguments", {})
        if name in arguments:
            return arguments[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or argument {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is a value and never changes; make another: .replace({name}=...)")

    def __repr__(self) -> str:
        shown = []
        for name, argument in self.factory.arguments.items():
            value = self.arguments[name]
            if argument.variadic:
                shown += [show(x) for x in value]
            elif name in self.factory.positional:
                shown.append(show(value))
            elif not same(value, argument.default):
                shown.append(f"{name}={show(value)}")
        return f"{self.factory.name}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value):
            return NotImplemented
        return self.factory is other.factory and same(self.arguments, other.arguments)

    def __hash__(self) -> int:
        return hash(flatten(self)[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.factory.make, self.arguments)


def _rebuild(cls: type[Value], make: Any, arguments: dict[str, Any]) -> Value:
    return cls.of(make.factory, arguments)


def nested_values(argument: Any) -> Iterator[Value]:
    """The values in an argument, in containers too, but not those inside of them."""
    if isinstance(argument, Value):
        yield argument
    elif isinstance(argument, dict | tuple | list):
        for x in argument.values() if isinstance(argument, dict) else argument:
            yield from nested_values(x)


def check_arguments(factory: Factory, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of a factory, complete and checked; errors carry the factory's name.

    A callable given for a number stays as it is: the caller turns it into a schedule.
    """
    try:
        bound = argument_rules.bind(factory.signature, factory.arguments, args, kwargs)
        return {
            name: value if argument.numeric and callable(value) else argument_rules.check(argument, value)
            for name, value in bound.items()
            for argument in [factory.arguments[name]]
        }
    except GradtxError as error:
        error.locate(factory.name)
        raise


# --- pytree -----------------------------------------------------------------------------------------------------------


class _Leaf:
    """Marks, in the static part, where a child was."""

    def __repr__(self) -> str:
        return "*"


_LEAF = _Leaf()


class Structure:
    """The static part of a value: its factory, and its arguments with a mark where each child was."""

    def __init__(self, factory: Factory, skeleton: tuple[Any, ...]) -> None:
        self.factory, self.skeleton = factory, skeleton

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure):
            return NotImplemented
        return self.factory is other.factory and same(self.skeleton, other.skeleton)

    def __hash__(self) -> int:
        return hash((self.factory.name, _hash(self.skeleton)))

    def __repr__(self) -> str:
        return f"{self.factory.name}{self.skeleton!r}"


def flatten_with_keys(value: Value) -> tuple[list[tuple[Any, Any]], Structure]:
    """The children of a value with their keys, and its static part."""
    children: list[tuple[Any, Any]] = []
    skeleton = tuple(
        _separate(value.arguments[name], name, argument.range is not None, children)
        for name, argument in value.factory.arguments.items()
    )
    if "_unflattened" not in value.__dict__:
        # A whole number is a leaf like any other, and only floats can be differentiated.
        children = [(key, float(x) if isinstance(x, int) else x) for key, x in children]
    return children, Structure(value.factory, skeleton)


def flatten(value: Value) -> tuple[list[Any], Structure]:
    """The children of a value, and its static part."""
    children, structure = flatten_with_keys(value)
    return [child for _, child in children], structure


def unflatten(cls: type[Value], structure: Structure, children: Iterable[Any]) -> Value:
    """The value with the given children."""
    remaining = iter(children)
    arguments = {
        name: _merge(part, remaining)
        for name, part in zip(structure.factory.arguments, structure.skeleton, strict=True)
    }
    value = cls.of(structure.factory, arguments)
    value.__dict__["_unflattened"] = True
    return value


def _separate(argument: Any, key: str, numeric: bool, children: list[tuple[Any, Any]]) -> Any:
    """Move the numbers and values inside an argument to `children`, leaving marks."""
    if isinstance(argument, tuple | list) and type(argument) in (tuple, list):
        parts = [_separate(x, f"{key}[{i}]", numeric, children) for i, x in enumerate(argument)]
        return type(argument)(parts)
    if type(argument) is dict:
        return {k: _separate(x, f"{key}[{k!r}]", numeric, children) for k, x in argument.items()}
    if isinstance(argument, Value) or numeric:
        children.append((jax.tree_util.GetAttrKey(key), argument))
        return _LEAF
    return argument


def _merge(part: Any, children: Any) -> Any:
    if part is _LEAF:
        return next(children)
    if type(part) in (tuple, list):
        return type(part)(_merge(x, children) for x in part)
    if type(part) is dict:
        return {k: _merge(x, children) for k, x in part.items()}
    return part


# --- comparison and printing ------------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    """Whether two arguments are equal: numbers by value, containers by content, the rest by ``==``."""
    if a is b:
        return True
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    if type(a) is type(b) and isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict and type(b) is dict:
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if hasattr(a, "dtype") or hasattr(b, "dtype"):
        return _same_numbers(a, b)
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return False


def _same_numbers(a: Any, b: Any) -> bool:
    if not all(hasattr(x, "dtype") or isinstance(x, int | float) for x in (a, b)):
        return False
    # A Python number (np.float64 is one) has no precision of its own: it is compared in the precision of the array.
    dtype = next((x.dtype for x in (a, b) if not isinstance(x, int | float)), None)
    dtype = dtype if dtype is not None and jnp.issubdtype(dtype, jnp.floating) else None
    x, y = (np.asarray(n, dtype if isinstance(n, int | float) else None) for n in (a, b))
    return x.shape == y.shape and bool(np.all(x == y))


def _hash(x: Any) -> int:
    if isinstance(x, tuple | list):
        return hash(tuple(map(_hash, x)))
    if type(x) is dict:
        return hash(tuple((k, _hash(v)) for k, v in x.items()))
    try:
        return hash(x)
    except TypeError:
        return hash(type(x))


def show(x: Any) -> str:
    """An argument as constructor text; what has no text is shown in angle brackets."""
    if type(x) is tuple:
        return f"({', '.join(map(show, x))}{',' if len(x) == 1 else ''})"
    if type(x) is list:
        return f"[{', '.join(map(show, x))}]"
    if type(x) is dict:
        return f"{{{', '.join(f'{show(k)}: {show(v)}' for k, v in x.items())}}}"
    if isinstance(x, float):
        return repr(float(x))
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        concrete = isinstance(x, jax.Array | np.ndarray | np.generic) and not isinstance(x, jax.core.Tracer)
        if not concrete or x.size > 64:
            return f"<{x.dtype}{list(x.shape)}>"
        return f"array({np.asarray(x).tolist()!r}, {str(x.dtype)!r})"
    if hasattr(x, "init") and hasattr(x, "update") and not isinstance(x, Value):
        return f"<{type(x).__module__.partition('.')[0]}.{type(x).__name__}>"
    if callable(x) and not isinstance(x, Value):
        return f"<function {getattr(x, '__qualname__', type(x).__name__)}>"
    return repr(x)
