"""Calls of leaf functions put off until a chain is done: those that follow one another on a leaf become one call.

A chain of four members that each call a function for each of a thousand leaves would trace and lower four thousand
calls. Tracing and lowering a call costs as much as three to five operations, and that is most of what they cost.
"""

import collections
import contextvars
import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax

F = TypeVar("F", bound=Callable[..., Any])
Row = tuple[Any, ...]
Operand = tuple[int, int]
"""The number of an earlier call and that of its output; or _ARRAY and the place of an array."""


class LeafCall(Protocol):
    """A leaf function made ready: it takes the leaf's index and an array of each tree, and checks what it returns."""

    __name__: str

    def __call__(self, index: int, row: Row) -> Row:
        """The arrays that replace the first ones."""


_ARRAY = -1
_SEPARATE_OPERATIONS = 2  # so many calls of `share=False` cost less than one that is shared


class _Fusion:
    """While one is in force, calls are put off; it remembers whether any were."""

    used = False


_fusion: contextvars.ContextVar[_Fusion | None] = contextvars.ContextVar("fusion", default=None)


class Deferred:
    """One output of a call that was put off: the shape and the dtype of an array, until `settle` gives the array."""

    __slots__ = ("array", "bundle", "dtype", "output", "shape")

    def __init__(self, bundle: "_Bundle", output: Operand, shape: tuple[int, ...], dtype: Any) -> None:
        self.bundle, self.output, self.shape, self.dtype = bundle, output, shape, dtype
        self.array: Any = None

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class _Bundle:
    """The calls that wait on one leaf, in order, and the arrays they are of."""

    __slots__ = ("arrays", "calls", "index", "made", "outputs", "places")

    def __init__(self, index: int) -> None:
        self.index, self.made = index, False
        self.calls: list[tuple[LeafCall, bool, tuple[Operand, ...]]] = []
        self.arrays: list[Any] = []
        self.places: dict[int, int] = {}
        self.outputs: list[Deferred] = []

    def operand(self, x: Any) -> Operand:
        """How a call of this bundle refers to a value."""
        if isinstance(x, Deferred):
            if x.bundle is self and x.array is None:
                return x.output
            x = settle(x)
        place = self.places.setdefault(id(x), len(self.arrays))
        if place == len(self.arrays):
            self.arrays.append(x)
        return _ARRAY, place


def defer(call: LeafCall, index: int, row: Row, dtypes: tuple[Any, ...], share: bool) -> Row:
    """Put off a call on a row of arrays, some of which may be put off themselves; what it will return."""
    waiting = (x.bundle for x in row if isinstance(x, Deferred) and not x.bundle.made)
    bundle = next(waiting, None) or _Bundle(index)
    operands = tuple([bundle.operand(x) for x in row])
    number, shape = len(bundle.calls), row[0].shape
    outputs = tuple([Deferred(bundle, (number, k), shape, dtype) for k, dtype in enumerate(dtypes)])
    bundle.calls.append((call, share, operands))
    bundle.outputs += outputs
    return outputs


def settle_unless_fusing(tree: Any) -> Any:
    """What `map_leaves` returns of calls put off: to an update of a chain as they are, to anyone else as arrays."""
    fusion = _fusion.get()
    if fusion is None:
        return settle(tree)
    fusion.used = True
    return tree


def settle(tree: Any) -> Any:
    """The tree with arrays for what was put off; the calls are made now, one for each leaf."""
    leaves = jax.tree.leaves(tree)
    wanted = [x for x in leaves if isinstance(x, Deferred) and x.array is None]
    if wanted:
        _make(wanted)
    return jax.tree.map(lambda x: x.array if isinstance(x, Deferred) else x, tree)


def _make(wanted: list[Deferred]) -> None:
    """Make the calls that some outputs depend on, through one shared trace where leaves are alike."""
    bundles: dict[_Bundle, set[Operand]] = {}
    for x in wanted:
        bundles.setdefault(x.bundle, set()).add(x.output)
    alike: dict[Any, list[tuple[_Bundle, list[Deferred]]]] = {}
    for bundle, asked in bundles.items():
        # The state is asked for sooner or later: all outputs but the first of each call belong to it.
        outputs = [x for x in bundle.outputs if x.output in asked or (x.output[1] and not bundle.made)]
        alike.setdefault(_signature(bundle, outputs), []).append((bundle, outputs))
    for group in alike.values():
        function = _joined(group[0][0], [x.output for x in group[0][1]])
        if len(group) > 1:
            function = jax.jit(function)
        for bundle, outputs in group:
            for x, array in zip(outputs, function(*bundle.arrays), strict=True):
                x.array = array
            bundle.made = True


def _signature(bundle: _Bundle, outputs: list[Deferred]) -> Any:
    """What bundles have in common that share a trace; itself alone for one that is cheaper to repeat than to share."""
    if len(bundle.calls) <= _SEPARATE_OPERATIONS and not any([share for _, share, _ in bundle.calls]):
        return bundle
    calls = tuple([(id(call), operands) for call, _, operands in bundle.calls])
    return calls, tuple(map(jax.typeof, bundle.arrays)), tuple([x.output for x in outputs])


def _joined(bundle: _Bundle, outputs: list[Operand]) -> Callable[..., Row]:
    """One function of the bundle's arrays for all its calls."""

    def joined(*arrays: Any) -> Row:
        rows = []
        for call, _, operands in bundle.calls:
            values = tuple([arrays[k] if number == _ARRAY else rows[number][k] for number, k in operands])
            with jax.named_scope(call.__name__):
                rows.append(call(bundle.index, values))
        return tuple([rows[number][k] for number, k in outputs])

    joined.__name__ = joined.__qualname__ = "_and_".join(dict.fromkeys(call.__name__ for call, _, _ in bundle.calls))
    return joined


def fusible(update: F) -> F:
    """Declare that an update function reads and writes leaves through `map_leaves` alone.

    A chain then joins its leaf function with those of its neighbours. Such a function may look at the shapes and
    dtypes of the updates it is given, but not compute with them by other means, before it has called `settle`.
    """
    update.fusible = True  # type: ignore[attr-defined]
    return update


def run(update: Callable[..., tuple[Any, Any]], updates: Any, *args: Any, **extra: Any) -> tuple[Any, Any]:
    """Call an update function; if it is `fusible`, with the calls of its leaf functions put off till the outermost."""
    outer, fusing = _fusion.get(), getattr(update, "fusible", False)
    if outer and fusing:
        return update(updates, *args, **extra)
    inner = _Fusion() if fusing else None
    token = _fusion.set(inner)
    try:
        results = update(settle(updates) if outer and outer.used else updates, *args, **extra)
        return settle(results) if inner and inner.used else results
    finally:
        _fusion.reset(token)
