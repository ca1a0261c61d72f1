"""Values: objects that remember which factory made them, and with which arguments."""

import copy
import functools
import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core import arguments as argument_rules
from gradtx.core.arguments import ARRAYS, PLAIN
from gradtx.core.registry import Factory, is_registered, lookup, shown_name
from gradtx.errors import ArgumentTypeError, GradtxError
from gradtx.tree.fields import one_level
from gradtx.tree.paths import is_function

_classes: dict[str, type["Value"]] = {}
"""The classes of values by name, for pickles."""


_AnyValue = TypeVar("_AnyValue", bound="Value")


class Value:
    """The base of `GradientTransformation` and `Schedule`.

    A value prints as the constructor call that makes it, compares by factory and arguments, and is a pytree: its
    numeric arguments and those of the values nested in it are leaves, everything else is static. `replace` makes a
    changed copy. Arguments are read as attributes: ``adam(1e-3).b1``.
    """

    factory: Factory
    arguments: dict[str, Any]
    _unflattened = False

    __array_ufunc__ = None  # NumPy numbers and arrays leave ``number * schedule`` to the schedule

    def __init_subclass__(cls) -> None:
        _classes.setdefault(cls.__name__, cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, functools.partial(unflatten, cls), flatten)

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
        return f"{shown_name(self.factory)}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value):
            return NotImplemented
        return self.factory is other.factory and same(self.arguments, other.arguments)

    def __hash__(self) -> int:
        return hash(flatten(self)[1])

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        # JAX's arrays are copied: they may be donated. Functions are not: the copy of a compiled one is another one.
        children, structure = _split(self)
        copies = [x if isinstance(x, np.ndarray) else copy.deepcopy(x, memo) for _, x in children]
        copied = unflatten(type(self), structure, copies)
        copied.__dict__["_unflattened"] = self._unflattened
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self).__name__ if _classes[type(self).__name__] is type(self) else type(self)
        return _rebuild, (kind, reference(self.factory), self.arguments, _names_at_default(self), self._unflattened)


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


# --- copies and pickles -----------------------------------------------------------------------------------------------


def reference(factory: Factory) -> Any:
    """What a pickle holds for a factory: the name of gradtx's own, so that its module may move; else the function.

    A function goes by its module, which loading a pickle imports: what it registers is then there.
    """
    return factory.name if factory.key == factory.name and is_registered(factory) else factory.make


def _rebuild(
    kind: Any, reference: Any, arguments: dict[str, Any], at_default: Sequence[str] = (), unflattened: bool = False
) -> Value:
    """The value in a pickle, perhaps of an older version. Pickles name this function: it keeps its place and arguments.

    The first versions wrote three of them, with the class itself and the function of the factory.
    """
    factory = _referred(reference)
    current = _current(factory, arguments, at_default)
    kept = {name: argument_rules.keep(factory.arguments[name], x) for name, x in current.items()}
    value = (_classes[kind] if isinstance(kind, str) else kind).of(factory, kept)
    value.__dict__["_unflattened"] = unflattened
    return value


def _referred(reference: Any) -> Factory:
    factory: Factory = lookup(reference) if isinstance(reference, str) else reference.factory
    return factory


def _names_at_default(value: Value) -> tuple[str, ...]:
    """The arguments at their defaults, which may be dropped when a pickle is loaded that has no such arguments."""
    return tuple(k for k, argument in value.factory.arguments.items() if same(value.arguments[k], argument.default))


def _current(factory: Factory, arguments: dict[str, Any], at_default: Sequence[str]) -> dict[str, Any]:
    """The arguments in a pickle as the factory has them now: new ones at their defaults, and without those that went.

    An argument that went and was not at its default made a difference, which is not to be lost in silence.
    """
    gone = [name for name in arguments if name not in factory.arguments and name not in at_default]
    if gone:
        expected, got = f"arguments among ({', '.join(factory.names)})", f"a pickle with {', '.join(map(repr, gone))}"
        hint = "load it with the version of the code that wrote it, and make it again without"
        raise ArgumentTypeError(expected, got=got, hint=hint, origin=factory.name)
    return {name: arguments[name] if name in arguments else _default(factory, name) for name in factory.names}


def _default(factory: Factory, name: str) -> Any:
    argument = factory.arguments[name]
    if argument.variadic:
        return ()
    if argument.default is inspect.Parameter.empty:
        hint = "load it with the version of the code that wrote it, and make it again with a value"
        raise ArgumentTypeError(f"an argument {name}", got="a pickle without", hint=hint, origin=factory.name)
    return argument_rules.check(argument, argument.default)


# --- pytree -----------------------------------------------------------------------------------------------------------


class _Leaf:
    """Marks, in the static part, where a child was. There is one: copies and pickles give it back."""

    def __repr__(self) -> str:
        return "*"

    def __reduce__(self) -> str:
        return "_LEAF"


_LEAF = _Leaf()


class _Structure:
    """The static part of a value: its factory, and its arguments with a mark where each child was.

    `names` are those of the arguments in the order of the children: in a pickle, that of the version that wrote it.
    """

    def __init__(self, factory: Factory, skeleton: tuple[Any, ...], names: tuple[str, ...] | None = None) -> None:
        self.factory, self.skeleton, self.names = factory, skeleton, names or factory.names

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Structure):
            return NotImplemented
        return self.factory is other.factory and self.names == other.names and same(self.skeleton, other.skeleton)

    def __hash__(self) -> int:
        return hash((self.factory.name, _hash(self.skeleton)))

    def __repr__(self) -> str:
        return f"{self.factory.name}{self.skeleton!r}"

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        parts = dict(zip(self.names, self.skeleton, strict=True))
        unchanged = [k for k, x in parts.items() if same(x, self.factory.arguments[k].default)]
        return _rebuild_structure, (reference(self.factory), parts, unchanged)


def _rebuild_structure(reference: Any, parts: dict[str, Any], at_default: Sequence[str]) -> _Structure:
    """The static part in a pickle. An argument of which it knows nothing is no child: it is at its default."""
    factory = _referred(reference)
    current = _current(factory, parts, at_default)
    names = [name for name in parts if name in current] + [name for name in current if name not in parts]
    return _Structure(factory, tuple(current[name] for name in names), tuple(names))


def _flatten_with_keys(value: Value) -> tuple[list[tuple[Any, Any]], _Structure]:
    """The children of a value with their keys, and its static part."""
    children, structure = _split(value)
    if not value._unflattened:
        # A whole number is a leaf like any other, and only floats can be differentiated.
        children = [(key, float(x) if isinstance(x, int) else x) for key, x in children]
    return children, structure


def _split(value: Value) -> tuple[list[tuple[Any, Any]], _Structure]:
    """The children of a value as they are, with their keys, and its static part."""
    children: list[tuple[Any, Any]] = []
    skeleton = tuple(
        _separate(value.arguments[name], name, argument.range is not None, children)
        for name, argument in value.factory.arguments.items()
    )
    return children, _Structure(value.factory, skeleton)


def flatten(value: Value) -> tuple[list[Any], _Structure]:
    """The children of a value, and its static part."""
    children, structure = _flatten_with_keys(value)
    return [child for _, child in children], structure


def unflatten(cls: type[_AnyValue], structure: _Structure, children: Iterable[Any]) -> _AnyValue:
    """The value with the given children."""
    remaining = iter(children)
    parts = {name: _merge(part, remaining) for name, part in zip(structure.names, structure.skeleton, strict=True)}
    arguments = {name: parts[name] for name in structure.factory.arguments}
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
    """Whether two arguments are equal: numbers by value, containers and trees by content, the rest by ``==``."""
    if a is b:
        return True
    if type(a) is type(b) and type(a) in PLAIN:
        return bool(a == b)
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    if isinstance(a, Value) or isinstance(b, Value):
        return bool(a == b)
    if type(a) is type(b) and isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict and type(b) is dict:
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if _is_boolean(a) != _is_boolean(b):
        return False
    try:
        if isinstance(a, ARRAYS) or isinstance(b, ARRAYS):
            return _same_numbers(a, b)
        if type(a) is type(b) and _is_node(a):
            (ours, structure), (theirs, other) = one_level(a), one_level(b)
            return bool(structure == other) and all(same(x, y) for (_, x), (_, y) in zip(ours, theirs, strict=True))
        # Python finds a named tuple and a tuple equal, or a dtype and its name; here, what is equal has one hash.
        return bool(a == b) and _hash(a) == _hash(b)
    except (TypeError, ValueError):
        return False


def _is_boolean(x: Any) -> bool:
    return isinstance(x, bool) or (isinstance(x, ARRAYS) and x.dtype == np.bool_)


def _is_node(x: Any) -> bool:
    """Whether it is a tree of a user's type."""
    return x is not None and not jax.tree_util.all_leaves([x]) and not is_function(x)


def _same_numbers(a: Any, b: Any) -> bool:
    if not all(isinstance(x, (*ARRAYS, int, float)) for x in (a, b)):
        return False
    # A Python number (np.float64 is one) has no precision of its own: it is compared in the precision of the array.
    dtype = next((x.dtype for x in (a, b) if not isinstance(x, int | float)), None)
    dtype = dtype if dtype is not None and jnp.issubdtype(dtype, jnp.floating) else None
    x, y = (np.asarray(n, dtype if isinstance(n, int | float) else None) for n in (a, b))
    return x.shape == y.shape and bool(np.all(x == y))


def _hash(x: Any) -> int:
    """A hash of an argument; what `same` finds equal has the same."""
    if x is _LEAF or type(x) in PLAIN:
        return hash(x)
    if isinstance(x, tuple | list):
        return hash((type(x), *map(_hash, x)))
    if type(x) is dict:
        return hash(tuple((k, _hash(v)) for k, v in x.items()))
    if isinstance(x, np.ndarray | jax.Array):
        return hash(x.shape)
    try:
        if not isinstance(x, Value) and _is_node(x):
            return hash((type(x), *(_hash(child) for _, child in one_level(x)[0])))
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
