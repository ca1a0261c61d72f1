"""Values as constructor text and as plain configs, and back. No code runs."""

import ast
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.core.arguments import brief, is_value
from gradtx.core.registry import is_registered, lookup
from gradtx.errors import ArgumentTypeError, ArgumentValueError, GradtxError

# --- constructor text -------------------------------------------------------------------------------------------------


def parse(text: str) -> Any:
    """The value that constructor text describes: ``parse(repr(tx)) == tx``. No code runs.

    Args:
      text: a call of a registered factory whose arguments are literals or such calls, for example
        ``"chain(clip_by_global_norm(1.0), adamw(exponential_decay(1e-3, 100, 0.9)))"``. ``array([...], 'float32')``,
        ``inf`` and ``nan`` are understood too. A factory of another package may be called ``package.module.name``.

    Returns:
      A `GradientTransformation` or a `Schedule`.

    Raises:
      ArgumentValueError: the text is not a call, or holds anything but registered names and literals.
      UnknownNameError: a name is not registered.
    """
    if not isinstance(text, str):
        raise ArgumentTypeError("constructor text", got=f"{type(text).__name__}", origin="parse")
    text = text.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ArgumentValueError("constructor text", got=_quote(text), hint=error.msg, origin="parse") from None
    except (ValueError, RecursionError, MemoryError) as error:
        hint = str(error) or "it is nested too deeply"
        raise ArgumentValueError("constructor text", got=_quote(text), hint=hint, origin="parse") from None
    try:
        if not isinstance(tree, ast.Call) or (isinstance(tree.func, ast.Name) and tree.func.id == "array"):
            raise _refused(text, tree, "a call such as adam(0.001)")
        return _evaluate(text, tree)
    except RecursionError:
        hint = "it is nested too deeply"
        raise ArgumentValueError("constructor text", got=_quote(text), hint=hint, origin="parse") from None
    except GradtxError as error:
        error.locate("parse")
        raise


def _quote(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _refused(text: str, node: ast.AST, wanted: str = "registered names and literals only") -> ArgumentValueError:
    return ArgumentValueError(wanted, got=_quote(ast.get_source_segment(text, node) or text))


def _evaluate(text: str, node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float()) | ast.Name()):
            operand = _evaluate(text, node.operand)
            if isinstance(operand, bool):
                raise _refused(text, node)
            return -operand if isinstance(sign, ast.USub) else operand
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
        case ast.Tuple(elts=elements):
            return tuple(_evaluate(text, element) for element in elements)
        case ast.List(elts=elements):
            return [_evaluate(text, element) for element in elements]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return _mapping((_evaluate(text, k), _evaluate(text, v)) for k, v in zip(keys, values, strict=True) if k)
        case ast.Call(func=called, args=args, keywords=keywords) if path := _dotted_name(called):
            return _call(text, node, path, args, keywords)
    raise _refused(text, node)


def _dotted_name(node: ast.AST) -> str:
    """The text of a name such as ``adam`` or ``package.module.name``; nothing of any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _call(text: str, node: ast.Call, name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
    if any(isinstance(a, ast.Starred) for a in args) or any(k.arg is None for k in keywords):
        raise _refused(text, node)
    make = None if name == "array" else lookup(name).make
    names = [k.arg for k in keywords]
    twice = next((k for k in names if names.count(k) > 1), None)
    if twice is not None:
        raise ArgumentValueError("each argument once", got=f"{twice!r} twice", at=_quote(text))
    positional = [_evaluate(text, a) for a in args]
    named = {k.arg: _evaluate(text, k.value) for k in keywords if k.arg is not None}
    if make is not None:
        return make(*positional, **named)
    if named or not 1 <= len(positional) <= 2:
        raise _refused(text, node, "array(values, dtype)")
    return _array(*positional)


def _array(values: Any, dtype: Any = "float32") -> Any:
    """An array of exactly these numbers: NumPy's where JAX is not set up to hold the dtype."""
    try:
        array = np.asarray(values, dtype=jnp.dtype(dtype))
        return jnp.asarray(array) if jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype else array
    except (TypeError, ValueError, OverflowError) as error:
        got = _quote(f"array({values!r}, {dtype!r})")
        raise ArgumentValueError("an array of numbers", got=got, hint=str(error)) from None


def _mapping(items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    try:
        return dict(items)
    except (TypeError, ValueError) as error:
        raise ArgumentValueError("a mapping with plain keys", got=str(error)) from None


# --- configs ----------------------------------------------------------------------------------------------------------


def from_config(config: dict[str, Any]) -> Any:
    """The value that a config describes: ``from_config(to_config(tx)) == tx``. No code runs.

    Args:
      config: what `to_config` returns, perhaps after a trip through JSON or YAML. Arguments may be left out.

    Raises:
      ArgumentTypeError: an entry has the wrong form; the message names it.
      UnknownNameError: a name is not registered.
    """
    try:
        if not isinstance(config, dict) or "name" not in config:
            raise ArgumentTypeError('a config {"name": ..., "arguments": {...}}', got=_quote(repr(config)))
        return _from_entry(config, "config")
    except RecursionError:
        raise _too_deep("a config", "from_config") from None
    except GradtxError as error:
        error.locate("from_config")
        raise


def _too_deep(expected: str, origin: str) -> ArgumentValueError:
    return ArgumentValueError(f"{expected} of some depth", got="one that is nested too deeply", origin=origin)


def _from_entry(entry: Any, at: str) -> Any:
    if not isinstance(entry, dict):
        if isinstance(entry, list):
            return [_from_entry(x, f"{at}[{i}]") for i, x in enumerate(entry)]
        return entry
    match entry:
        case {"name": str(name), **rest} if set(rest) <= {"arguments"}:
            return _from_call(name, rest.get("arguments", {}), at)
        case {"array": values, "dtype": str(dtype)} if len(entry) == 2:
            return _array(values, dtype)
        case {"tuple": [*items]} if len(entry) == 1:
            return tuple(_from_entry(x, f"{at}[{i}]") for i, x in enumerate(items))
        case {"dict": [*items]} if len(entry) == 1 and all(isinstance(x, list) and len(x) == 2 for x in items):
            return _mapping((_from_entry(k, at), _from_entry(v, f"{at}[{k!r}]")) for k, v in items)
        case {"float": "inf" | "-inf" | "nan" as text} if len(entry) == 1:
            return float(text)
    raise ArgumentTypeError(
        'an entry {"name": ..., "arguments": {...}} or one made by to_config',
        got=f"keys {sorted(map(str, entry))}",
        at=at,
    )


def _from_call(name: str, given: Any, at: str) -> Any:
    factory = lookup(name)
    if not isinstance(given, dict):
        raise ArgumentTypeError("arguments as a mapping", got=type(given).__name__, at=f"{at}.{name}")
    unnamed = [key for key in given if not isinstance(key, str)]
    if unnamed:
        raise ArgumentTypeError("arguments by name", got=f"the key {brief(unnamed[0])}", at=f"{at}.{name}")
    arguments = {key: _from_entry(value, f"{at}.{name}.{key}") for key, value in given.items()}
    return factory.call(factory.make, arguments)


def to_config(value: Any) -> dict[str, Any]:
    """A value as plain nested dicts fit for JSON and YAML, with every argument, defaults too.

    ``{"name": "adam", "arguments": {"learning_rate": 0.001, "b1": 0.9, ...}}``; arrays, tuples and dicts become
    ``{"array": ..., "dtype": ...}``, ``{"tuple": [...]}`` and ``{"dict": [[key, value], ...]}``. A factory that is
    defined outside of gradtx goes by ``package.module.name``: it stays the same one if gradtx adds another of its name.

    Raises:
      ArgumentTypeError: an argument is a traced value, a function or another object that no text describes.
    """
    if not is_value(value):
        raise ArgumentTypeError("a transformation or schedule", got=repr(value), origin="to_config")
    try:
        entry: dict[str, Any] = _to_entry(value, "config")
    except RecursionError:
        raise _too_deep("a value", "to_config") from None
    return entry


def _to_entry(value: Any, at: str) -> Any:
    if is_value(value):
        factory, name = value.factory, value.factory.name
        if not is_registered(factory):
            local = "<locals>" in factory.function.__qualname__
            got = f"the local {name!r}" if local else f"{name!r}, which its module has defined again since"
            raise ArgumentTypeError("a registered factory", got=got, at=at, origin="to_config")
        arguments = {key: _to_entry(x, f"{at}.{name}.{key}") for key, x in value.arguments.items()}
        return {"name": factory.key, "arguments": arguments}
    match value:
        case float() if not math.isfinite(value):
            return {"float": str(value)}
        case bool() | int() | str() | None:
            return value
        case float():
            return float(value)
        case list():
            return [_to_entry(x, f"{at}[{i}]") for i, x in enumerate(value)]
        case tuple() if type(value) is tuple:
            return {"tuple": [_to_entry(x, f"{at}[{i}]") for i, x in enumerate(value)]}
        case dict() if type(value) is dict:
            return {"dict": [[_to_entry(k, at), _to_entry(x, f"{at}[{k!r}]")] for k, x in value.items()]}
    if isinstance(value, jax.Array | np.ndarray | np.generic) and not isinstance(value, jax.core.Tracer):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    raise ArgumentTypeError(
        "numbers, strings, containers and registered values",
        got=f"{value!r}",
        at=at,
        hint="register a factory for it (@gradtx.schedule, @gradtx.transformation) to give it a name",
        origin="to_config",
    )
