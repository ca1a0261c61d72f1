"""``optax.tree``: arithmetic on trees, and values in states by name."""

import dataclasses
import functools
import inspect
import operator
import typing
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp

import gradtx
from gradtx.core import abs_sq, complement_of_power
from gradtx.tree.fields import is_named_tuple
from gradtx.tree.paths import is_none
from gradtx.typing import Params, State

# The names are Optax's; inside this module `set`, `sum`, `max` and `min` are those below.
# ruff: noqa: A001, A002

# --- arithmetic -------------------------------------------------------------------------------------------------------


def add(tree_x: Any, tree_y: Any, *other_trees: Any) -> Any:
    """The sum of trees."""
    return jax.tree.map(lambda *leaves: functools.reduce(operator.add, leaves), tree_x, tree_y, *other_trees)


def sub(tree_x: Any, tree_y: Any) -> Any:
    """The difference of two trees."""
    return jax.tree.map(operator.sub, tree_x, tree_y)


def mul(tree_x: Any, tree_y: Any) -> Any:
    """The product of two trees, leaf by leaf."""
    return jax.tree.map(operator.mul, tree_x, tree_y)


def div(tree_x: Any, tree_y: Any) -> Any:
    """The quotient of two trees, leaf by leaf."""
    return jax.tree.map(operator.truediv, tree_x, tree_y)


def scale(scalar: Any, tree: Any) -> Any:
    """A tree times a number."""
    return jax.tree.map(lambda x: scalar * x, tree)


def add_scale(tree_x: Any, scalar: Any, tree_y: Any) -> Any:
    """``tree_x + scalar * tree_y``; None stays."""
    scalar = jnp.asarray(scalar)
    return jax.tree.map(lambda x, y: None if x is None else x + scalar * y, tree_x, tree_y, is_leaf=is_none)


def vdot(tree_x: Any, tree_y: Any) -> Any:
    """The inner product, of the conjugate of the first."""
    products = jax.tree.map(lambda x, y: jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST), tree_x, tree_y)
    return jax.tree.reduce(operator.add, products, 0)


def sum(tree: Any, associative_reduction: bool = False) -> Any:
    """The sum of all elements."""
    sums = jax.tree.map(jnp.sum, tree)
    if associative_reduction:
        return jax.tree.reduce_associative(operator.add, sums, identity=0)
    return jax.tree.reduce(operator.add, sums, 0)


def max(tree: Any) -> Any:
    """The largest element."""
    largest: list[Any] = [jnp.max(x) for x in jax.tree.leaves(tree) if jnp.size(x)]
    least: Any = -jnp.inf
    return functools.reduce(jnp.maximum, largest, least)


def min(tree: Any) -> Any:
    """The smallest element."""
    smallest: list[Any] = [jnp.min(x) for x in jax.tree.leaves(tree) if jnp.size(x)]
    most: Any = jnp.inf
    return functools.reduce(jnp.minimum, smallest, most)


def size(tree: Any) -> int:
    """The number of elements."""
    total: int = functools.reduce(operator.add, map(jnp.size, jax.tree.leaves(tree)), 0)
    return total


def conj(tree: Any) -> Any:
    """The complex conjugate."""
    return jax.tree.map(jnp.conj, tree)


def real(tree: Any) -> Any:
    """The real part."""
    return jax.tree.map(jnp.real, tree)


def norm(tree: Any, ord: int | str | float | None = None, squared: bool = False) -> jax.Array:
    """The norm of all elements together, in at least float32: of order 2, 1, or infinity."""
    if ord is None or ord == 2:
        return gradtx.tree.squared_norm(tree) if squared else gradtx.tree.global_norm(tree)
    absolute = jax.tree.map(jnp.abs, tree)
    if ord == 1:
        found = jnp.asarray(sum(absolute))
    elif ord in (jnp.inf, "inf", "infinity"):
        found = jnp.asarray(max(absolute))
    else:
        raise ValueError(f"expected ord to be 1, 2 or inf, got {ord!r}")
    return found**2 if squared else found


def batch_shape(tree: Any, shape: tuple[int, ...] = ()) -> Any:
    """Leaves repeated along leading axes."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *jnp.shape(x))), tree)


def zeros_like(tree: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of a tree."""
    return jax.tree.map(lambda x: jnp.zeros_like(x, dtype=dtype), tree)


def ones_like(tree: Any, dtype: Any = None) -> Any:
    """Ones in the shape of a tree."""
    return jax.tree.map(lambda x: jnp.ones_like(x, dtype=dtype), tree)


def full_like(tree: Any, fill_value: Any, dtype: Any = None) -> Any:
    """One number in the shape of a tree."""
    return jax.tree.map(lambda x: jnp.full_like(x, fill_value, dtype=dtype), tree)


def clip(tree: Any, min_value: Any = None, max_value: Any = None) -> Any:
    """Elements bounded."""
    return jax.tree.map(lambda x: jnp.clip(x, min_value, max_value), tree)


def where(condition: Any, tree_x: Any, tree_y: Any) -> Any:
    """One tree or the other."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), tree_x, tree_y)


def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether all elements of two trees are close."""
    close = jax.tree.map(lambda x, y: jnp.allclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan), a, b)
    return functools.reduce(operator.and_, jax.tree.leaves(close), True)


# --- moments ----------------------------------------------------------------------------------------------------------


def _moment(function: Callable[[Any], Any], updates: Any, moments: Any, decay: Any) -> Any:
    def leaf(g: Any, m: Any) -> Any:
        return None if g is None else (1 - decay) * function(g) + decay * m

    return jax.tree.map(leaf, updates, moments, is_leaf=is_none)


def update_moment(updates: Any, moments: Any, decay: Any, order: Any) -> Any:
    """The moving average of a power of the updates."""
    return _moment(lambda g: g**order, updates, moments, decay)


def update_moment_per_elem_norm(updates: Any, moments: Any, decay: Any, order: Any) -> Any:
    """The moving average of a power of the updates; of complex ones, of their absolute value."""
    half = order // 2 if order % 2 == 0 else order / 2
    return _moment(lambda g: abs_sq(g) ** half if jnp.iscomplexobj(g) else g**order, updates, moments, decay)


def update_infinity_moment(updates: Any, moments: Any, decay: Any, eps: Any) -> Any:
    """The decaying maximum of the updates."""

    def leaf(g: Any, m: Any) -> Any:
        return None if g is None else jnp.maximum(jnp.abs(g) + eps, decay * m)

    return jax.tree.map(leaf, updates, moments, is_leaf=is_none)


def bias_correction(moment: Any, decay: Any, count: Any) -> Any:
    """A moving average that began at zero, divided by the sum of its weights."""
    weight = complement_of_power(decay, count)
    return jax.tree.map(lambda m: m / weight.astype(m.dtype), moment)


# --- dtypes and random numbers ----------------------------------------------------------------------------------------


def cast(tree: Any, dtype: Any) -> Any:
    """A tree in another dtype; None is its own."""
    return tree if dtype is None else jax.tree.map(lambda x: x.astype(dtype), tree)


def cast_like(tree: Any, other_tree: Any) -> Any:
    """A tree in the dtypes of another."""
    return jax.tree.map(lambda x, y: x.astype(y.dtype) if hasattr(y, "dtype") else x, tree, other_tree)


def dtype(tree: Any, mixed_dtype_handler: str | None = None) -> Any:
    """The dtype of a tree; of a mixed one, the promoted, the highest or the lowest."""
    found = [jnp.result_type(x) for x in jax.tree.leaves(tree)] or [jnp.result_type(float)]
    if mixed_dtype_handler is None:
        if any(d != found[0] for d in found):
            raise ValueError(f"expected leaves of one dtype, got {[str(d) for d in found]}")
        return found[0]
    if mixed_dtype_handler == "promote":
        return functools.reduce(jnp.promote_types, found)
    if mixed_dtype_handler not in ("highest", "lowest"):
        raise ValueError(f"expected None, 'promote', 'highest' or 'lowest', got {mixed_dtype_handler!r}")
    return functools.reduce(functools.partial(_one_of, higher=mixed_dtype_handler == "highest"), found)


def _one_of(a: Any, b: Any, higher: bool) -> Any:
    top = jnp.promote_types(a, b)
    if top not in (a, b):
        raise ValueError(f"expected dtypes of which one holds the other, got {a} and {b}")
    return top if higher else (b if top == a else a)


def split_key_like(rng_key: Any, target_tree: Any) -> Any:
    """A key for each leaf."""
    structure: Any = jax.tree.structure(target_tree)
    return structure.unflatten(list(jax.random.split(rng_key, structure.num_leaves)))


def random_like(
    rng_key: Any, target_tree: Any, sampler: Callable[..., Any] = jax.random.normal, dtype: Any = None
) -> Any:
    """Random numbers in the shape of a tree."""
    placed = "out_sharding" in inspect.signature(sampler).parameters

    def leaf(x: Any, key: Any) -> Any:
        where_to = {"out_sharding": jax.typeof(x).sharding} if placed else {}
        return sampler(key, x.shape, dtype or x.dtype, **where_to)

    return jax.tree.map(leaf, target_tree, split_key_like(rng_key, target_tree))


def unwrap_random_key_data(input_tree: Any) -> Any:
    """The tree with the numbers of its PRNG keys."""

    def leaf(x: Any) -> Any:
        is_key = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return jax.tree.map(leaf, input_tree)


# --- values by name ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class NamedTupleKey:
    """An entry of a path: a field of a named tuple, with the name of its class."""

    tuple_name: str
    name: str

    def __str__(self) -> str:
        return f"{self.tuple_name}.{self.name}"


_Path = tuple[Any, ...]
_Filter = Callable[[_Path, Any], bool]


def _children(node: Any) -> Iterator[tuple[Any, str | int | None, Any]]:
    """The children of a node: the entry of the path, the name if it has one, and the child."""
    if is_named_tuple(node):
        for name in node._fields:
            yield NamedTupleKey(type(node).__name__, name), name, getattr(node, name)
    elif isinstance(node, dict):
        for key, child in node.items():
            yield jax.tree_util.DictKey(key), key, child
    else:
        for (entry, *_), child in jax.tree_util.tree_leaves_with_path(node, is_leaf=lambda x: x is not node):
            yield entry, None, child


def _is_inner(node: Any) -> bool:
    return not jax.tree_util.all_leaves([node])


def _found(node: Any, key: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    if is_named_tuple(node) and type(node).__name__ == key:
        yield path, node
    if node is None or not _is_inner(node):
        return
    children = [((*path, entry), name, child) for entry, name, child in _children(node)]
    yield from ((here, child) for here, name, child in children if name is not None and name == key)
    for here, _, child in children:
        yield from _found(child, key, here)


def get_all_with_path(tree: Any, key: Any, filtering: _Filter | None = None) -> list[tuple[_Path, Any]]:
    """Every value in a state under a name: of a field, of a key of a dict, or of a class of named tuples."""
    return [(path, x) for path, x in _found(tree, key, ()) if filtering is None or filtering(path, x)]


def get(tree: Any, key: Any, default: Any = None, filtering: _Filter | None = None) -> Any:
    """The value in a state under a name, or a default; a KeyError if there are several."""
    found = get_all_with_path(tree, key, filtering)
    if len(found) > 1:
        raise KeyError(f"expected one value of {key!r}, found multiple values: {[path for path, _ in found]}")
    return found[0][1] if found else default


def set(tree: Any, filtering: _Filter | None = None, /, **kwargs: Any) -> Any:
    """The state with values replaced by name."""
    for key in kwargs:
        if not get_all_with_path(tree, key, filtering):
            raise KeyError(f"found no values matching {key!r} in {tree}")

    def chosen(path: _Path, node: Any) -> bool:
        return filtering is None or filtering(path, node)

    def visit(path: _Path, node: Any) -> Any:
        if is_named_tuple(node) and type(node).__name__ in kwargs and chosen(path, node):
            return kwargs[type(node).__name__]
        if node is None or not _is_inner(node):
            return node
        new = []
        for entry, name, child in _children(node):
            here = (*path, entry)
            replaced = name in kwargs and chosen(here, child)
            new.append(kwargs[typing.cast(str, name)] if replaced else visit(here, child))
        if is_named_tuple(node):
            return type(node)(*new)
        if isinstance(node, dict):
            made = node.copy()
            made.update(zip(node, new, strict=True))
            return made
        structure: Any = jax.tree.structure(node, is_leaf=lambda x: x is not node)
        return structure.unflatten(new)

    return visit((), tree)


# --- what belongs to the params ---------------------------------------------------------------------------------------


@jax.tree_util.register_pytree_node_class
class ParamsPlaceholder:
    """Stands for params where their structure does not matter: a tree without leaves."""

    def tree_flatten(self) -> tuple[tuple[()], None]:
        """Nothing."""
        return (), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[()]) -> "ParamsPlaceholder":
        """Another."""
        del aux, children
        return cls()


@typing.runtime_checkable
class Initable(Protocol):
    """What has an ``init(params)``."""

    def init(self, params: Params) -> State:
        """The first state."""


def map_params(
    initable: Any, f: Callable[..., Any], state: Any, /, *rest: Any,
    transform_non_params: Callable[..., Any] | None = None, is_leaf: Callable[[Any], bool] | None = None,
) -> Any:  # fmt: skip
    """Map a function over those parts of a state that are like the params.

    Args:
      initable: the transformation, or its ``init``.
      f: the function.
      state: the state.
      *rest: further trees like the params, whose leaves `f` gets too.
      transform_non_params: a function for the other leaves.
      is_leaf: what is a leaf to `f`.
    """
    init = initable.init if isinstance(initable, Initable) else initable

    def part(like: Any, value: Any) -> Any:
        if isinstance(like, ParamsPlaceholder):
            return jax.tree.map(f, value, *rest, is_leaf=is_leaf)
        return value if transform_non_params is None else transform_non_params(value)

    return jax.tree.map(part, init(ParamsPlaceholder()), state, is_leaf=lambda x: isinstance(x, ParamsPlaceholder))


__all__ = [
    "add",
    "add_scale",
    "allclose",
    "batch_shape",
    "bias_correction",
    "cast",
    "cast_like",
    "clip",
    "conj",
    "div",
    "dtype",
    "full_like",
    "get",
    "get_all_with_path",
    "map_params",
    "max",
    "min",
    "mul",
    "norm",
    "ones_like",
    "random_like",
    "real",
    "scale",
    "set",
    "size",
    "split_key_like",
    "sub",
    "sum",
    "unwrap_random_key_data",
    "update_infinity_moment",
    "update_moment",
    "update_moment_per_elem_norm",
    "vdot",
    "where",
    "zeros_like",
]
