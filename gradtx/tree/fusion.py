"""Calls of leaf functions put off until a chain is done, so that those which follow one another become one.

To trace and lower a call costs as much as three to five operations. A chain of four members that each call a function
of their own for each of a thousand leaves would spend most of its trace on calls; joined, there is one for each leaf,
and one for all leaves of a block that occurs several times.
"""

import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import numpy as np

from gradtx.errors import GradtxError

F = TypeVar("F", bound=Callable[..., Any])
Row = tuple[Any, ...]
Operand = tuple[int, int]
"""The number of an earlier call and that of its output; or _ARRAY and the place of an array."""

_ARRAY = -1
_CHEAP = 2  # up to so many calls of functions not worth sharing are repeated for every leaf
_CALLS_FOR_A_TRACE = 6  # to trace and lower Adam's leaf function takes as long as that many calls


class LeafCall(Protocol):
    """A leaf function made ready: it takes the leaf's index and an array of each tree, and checks what it returns."""

    __name__: str

    def __call__(self, index: int, row: Row) -> Row:
        """The arrays that replace the first ones."""


class Deferred:
    """One output of a call that was put off: the shape and the dtype of an array, and after `settle` the array."""

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


class _Work(NamedTuple):
    """What is put off for every leaf: a function, by which transformation, and whether to share its trace."""

    function: LeafCall
    origin: str
    share: bool

    @property
    def name(self) -> str:
        return self.origin or self.function.__name__


class _Bundle:
    """The calls that wait on one leaf, in order, and the arrays they are of."""

    __slots__ = ("arrays", "calls", "index", "made", "outputs", "places")

    def __init__(self, index: int) -> None:
        self.index, self.made = index, False
        self.calls: list[tuple[_Work, tuple[Operand, ...]]] = []
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

    def put_off(self, work: _Work, row: Row, dtypes: Sequence[Any]) -> tuple[Deferred, ...]:
        """What a call of this bundle will return: an output of each dtype, of the shape of the row's arrays."""
        number, shape = len(self.calls), row[0].shape
        self.calls.append((work, tuple([self.operand(x) for x in row])))
        outputs = tuple([Deferred(self, (number, k), shape, dtype) for k, dtype in enumerate(dtypes)])
        self.outputs += outputs
        return outputs


class _Fusion:
    """While one is in force, calls are put off."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.used = False

    @functools.cached_property
    def staged(self) -> bool:
        """Whether there is a program to be compiled, in which calls can be joined."""
        return _staged()


_fusion: contextvars.ContextVar[_Fusion | None] = contextvars.ContextVar("fusion", default=None)


def fusing() -> bool:
    """Whether calls wait for the end of a chain now."""
    return _fusion.get() is not None


def joins(share: bool) -> bool:
    """Whether calls on traced arrays should be put off: all of a chain's, others if they are to be shared."""
    fusion = _fusion.get()
    return fusion.staged if fusion else share and _staged()


def _staged() -> bool:
    """Whether operations are recorded for a program to be compiled.

    Under a `vmap` or `grad` that is not inside a `jit` they are not, but done one by one. What is shared there would be
    compiled anew at each update, in five times as long as the operations take.
    """
    return isinstance(jax.lax.add(np.float32(0), np.float32(0)), jax.core.Tracer)


def fusible(update: F) -> F:
    """Declare that an update function reads and writes leaves through the functions of `tree` alone.

    A chain then joins its leaf function with those of its neighbours. The updates it is given may have no numbers yet:
    whatever else it computes from them, it computes from ``tree.settle(updates)``. Its leaf functions are called when
    the chain is done: variables of the enclosing function that they use must not be assigned to afterwards.
    """
    # The mark says whose it is: what wraps the function, such as jax.jit, copies its attributes.
    update.fusible = update  # type: ignore[attr-defined]
    return update


def run(origin: str, update: Callable[..., tuple[Any, Any]], updates: Any, *args: Any, **extra: Any) -> tuple[Any, Any]:
    """Call the update function of a transformation; if it is `fusible`, calls are put off till the outermost ends."""
    outer, joining = _fusion.get(), getattr(update, "fusible", None) is update
    if outer and joining:
        before, outer.origin = outer.origin, origin
        results = update(updates, *args, **extra)
        outer.origin = before
        return results
    fusion = _Fusion(origin) if joining else None
    token = _fusion.set(fusion)
    try:
        results = update(settle(updates) if outer and outer.used else updates, *args, **extra)
        return settle(results) if fusion and fusion.used else results
    finally:
        _fusion.reset(token)


def deferring(
    function: LeafCall, kept: int, stored: Callable[[Any], Any], share: bool
) -> Callable[[int, Row], tuple[Deferred, ...]]:
    """A function whose calls on rows of arrays are put off; some of the arrays may be put off themselves.

    Args:
      function: what is to be called, on the number of the leaf (for messages) and an array of each tree, all of one
        shape.
      kept: how many outputs it has, which take the places of the first arrays.
      stored: the dtype of an output that replaces an array of a dtype.
      share: whether leaves that are alike should share one traced call, however short the function.
    """
    fusion = _fusion.get()
    if fusion:
        fusion.used = True
    work = _Work(function, fusion.origin if fusion else "", share)

    def defer(index: int, row: Row) -> tuple[Deferred, ...]:
        bundle = None
        for x in row:
            if isinstance(x, Deferred) and not x.bundle.made:
                bundle = x.bundle
                break
        return (bundle or _Bundle(index)).put_off(work, row, [stored(x.dtype) for x in row[:kept]])

    return defer


def settle(tree: Any) -> Any:
    """The tree with arrays for all outputs of calls put off; these calls are made now."""
    leaves, treedef = jax.tree.flatten(tree)
    wanted = [x for x in leaves if isinstance(x, Deferred) and x.array is None]
    if wanted:
        _make(wanted)
    return jax.tree.unflatten(treedef, [x.array if isinstance(x, Deferred) else x for x in leaves])


def _make(wanted: list[Deferred]) -> None:
    """Make the calls that some outputs depend on.

    Leaves that are alike share a trace, and kinds of leaves of which there are equally many (those of a layer that is
    repeated) share a call.
    """
    for times, kinds in _by_count(_by_kind(wanted)):
        together = _side_by_side([_joined(*kind[0]) for kind in kinds])
        call = jax.jit(together) if times > 1 else together
        for bundles in zip(*kinds, strict=True):
            for (bundle, outputs), arrays in zip(bundles, call([b.arrays for b, _ in bundles]), strict=True):
                bundle.made = True
                for x, array in zip(outputs, arrays, strict=True):
                    x.array = array


_Leaf = tuple[_Bundle, list[Deferred]]


def _by_kind(wanted: list[Deferred]) -> list[list[_Leaf]]:
    """The bundles of some outputs, with all they should return now, those that are alike together."""
    asked: dict[_Bundle, set[Operand]] = {}
    for x in wanted:
        asked.setdefault(x.bundle, set()).add(x.output)
    kinds: dict[Any, list[_Leaf]] = {}
    for bundle, ours in asked.items():
        # The state is asked for sooner or later: all outputs but the first of each call belong to it.
        outputs = [x for x in bundle.outputs if x.output in ours or (x.output[1] and not bundle.made)]
        kinds.setdefault(_kind(bundle, outputs), []).append((bundle, outputs))
    return list(kinds.values())


def _kind(bundle: _Bundle, outputs: list[Deferred]) -> Any:
    """What bundles have in common that share a trace; one that is cheaper to repeat is alone of its kind."""
    if len(bundle.calls) <= _CHEAP and not any(work.share for work, _ in bundle.calls):
        return bundle
    calls = tuple([(id(work), operands) for work, operands in bundle.calls])
    return calls, tuple(map(jax.typeof, bundle.arrays)), tuple([x.output for x in outputs])


def _by_count(kinds: list[list[_Leaf]]) -> Iterator[tuple[int, list[list[_Leaf]]]]:
    """The kinds of which there are equally many, together.

    A kind of which there are as many as of two others together is divided between them, if that saves calls enough.
    """
    groups: dict[int, list[list[_Leaf]]] = {}
    for kind in kinds:
        groups.setdefault(len(kind), []).append(kind)
    for times in sorted(groups, reverse=True):
        first = next((n for n in groups if n < times and times - n in groups), None)
        if first and times > _CALLS_FOR_A_TRACE * len(groups[times]):
            for kind in groups.pop(times):
                groups[first].append(kind[:first])
                groups[times - first].append(kind[first:])
    yield from groups.items()


def _joined(bundle: _Bundle, outputs: list[Deferred]) -> Callable[..., Row]:
    """One function of the bundle's arrays for all its calls."""

    def joined(*arrays: Any) -> Row:
        rows: list[Row] = []
        for work, operands in bundle.calls:
            row = tuple([arrays[k] if number == _ARRAY else rows[number][k] for number, k in operands])
            try:
                with jax.named_scope(work.name):
                    rows.append(work.function(bundle.index, row))
            except GradtxError as error:
                error.locate(work.origin)
                raise
        return tuple([rows[x.output[0]][x.output[1]] for x in outputs])

    joined.__name__ = "_and_".join(dict.fromkeys(work.name for work, _ in bundle.calls))
    return joined


def _side_by_side(functions: list[Callable[..., Row]]) -> Callable[[list[list[Any]]], list[Row]]:
    """One function of several rows of arrays."""

    def together(rows: list[list[Any]]) -> list[Row]:
        return [function(*row) for function, row in zip(functions, rows, strict=True)]

    together.__name__ = together.__qualname__ = "_or_".join(dict.fromkeys(f.__name__ for f in functions))
    return together
