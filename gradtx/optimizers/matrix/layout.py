"""What a matrix is: which leaves are matrices, and which of their axes are inputs, outputs and batch."""

import dataclasses
import functools
import math
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.combinators import chain, partition
from gradtx.core import GradientTransformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.gradients import add_decayed_weights, scale_by_learning_rate
from gradtx.optimizers.adam import adamw
from gradtx.tree.arithmetic import cast as cast_array
from gradtx.tree.arithmetic import widen
from gradtx.tree.paths import flatten_like, is_function, is_inert, is_none, leaf_paths
from gradtx.tree.select import broadcast_prefix, is_glob, matches, no_match, require_matches, resolve_mask
from gradtx.typing import Mask, Params

Matrices: TypeAlias = Any
"""Which leaves are matrices, and which of their axes are what. One of

- ``None``: leaves of two or more axes, without embeddings, output heads, biases and scales by the names that Flax,
  Equinox and Haiku give them;
- layouts by globs, tried in order before that rule: ``{"layers/*": "batch in out", "*/qkv/kernel": "in out/3",
  "*/embed/*": False}``. ``False`` and ``None`` are no matrix; ``True`` is a matrix whose axes are known
  from its name and rank;
- a function ``f(name, shape)`` that returns one of these values, or ``None`` for the rule;
- a tree (or prefix of one) of such values, or of Optax's ``MuonDimensionNumbers``; ``None`` in it is no matrix.

A layout is a word for each axis: ``in``, ``out`` or ``batch``; ``...`` are any number of axes of a batch. Several
inputs are one axis of the matrix, and so are several outputs: ``"in in in out"`` is a convolution of Flax. A slash
cuts an axis into parts that are matrices of their own: ``"in out/3"`` into equal ones, ``"in out/64+16+16"`` into
those sizes.
"""

Word = Literal["in", "out", "batch"]


# --- one leaf ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MatrixLayout:
    """How one leaf is made of matrices.

    Attributes:
      words: what each axis is.
      shape: the shape of the leaf.
      axis: the axis that is cut into parts.
      sizes: the sizes of the parts, which are matrices of their own; empty if no axis is cut.
    """

    words: tuple[Word, ...]
    shape: tuple[int, ...]
    axis: int = 0
    sizes: tuple[int, ...] = ()

    @classmethod
    def read(cls, text: str, shape: tuple[int, ...]) -> "MatrixLayout":
        """The layout that a text means for a shape.

        Raises:
          ArgumentValueError: the text is no layout, or none of a leaf of this shape.
        """
        axes = _words(text)
        words = [word for word, _ in axes]
        if "..." in words:
            at, missing = words.index("..."), len(shape) - len(words) + 1
            axes[at : at + 1] = [("batch", None)] * max(missing, 0)
        if len(axes) != len(shape):
            raise ArgumentValueError(f"a layout with a word for each axis of {list(shape)}", got=repr(text))
        final = tuple(cast(Word, word) for word, _ in axes)
        for axis, (_, parts) in enumerate(axes):
            if parts:
                return cls(final, shape, axis, _sizes(parts, shape[axis], text))
        return cls(final, shape)

    @property
    def _order(self) -> list[int]:
        """The axes, those of the batch first, then inputs, then outputs."""
        return [i for word in ("batch", "in", "out") for i, own in enumerate(self.words) if own == word]

    def matrices(self, x: jax.Array) -> list[jax.Array]:
        """The matrices of a leaf, as arrays [batch, inputs, outputs]: one, or one for each part."""
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), self.axis) if self.sizes else [x]
        return [part.transpose(self._order).reshape(self._flat(part.shape)) for part in parts]

    def leaf(self, matrices: list[jax.Array]) -> jax.Array:
        """The leaf that is made of matrices; it undoes `matrices`."""
        order = self._order
        back = [order.index(i) for i in range(len(order))]
        parts = []
        for k, x in enumerate(matrices):
            shape = self.part_shape(k)
            parts.append(x.reshape([shape[i] for i in order]).transpose(back))
        return jnp.concatenate(parts, self.axis) if self.sizes else parts[0]

    def part_shape(self, k: int) -> tuple[int, ...]:
        """The shape of a part of the leaf."""
        if not self.sizes:
            return self.shape
        return (*self.shape[: self.axis], self.sizes[k], *self.shape[self.axis + 1 :])

    def _flat(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The numbers of matrices, inputs and outputs."""
        batch, inputs, outputs = (
            math.prod(n for n, own in zip(shape, self.words, strict=True) if own == word)
            for word in ("batch", "in", "out")
        )
        return batch, inputs, outputs

    @property
    def flat_shapes(self) -> list[tuple[int, int, int]]:
        """The shapes [batch, inputs, outputs] of `matrices`."""
        return [self._flat(self.part_shape(k)) for k in range(max(len(self.sizes), 1))]


def _words(text: str) -> list[tuple[str, str | None]]:
    """The words of a layout, each with the parts that its axis is cut into.

    Raises:
      ArgumentValueError: the text is no layout.
    """
    found = [re.fullmatch(r"(in|out|batch|\.\.\.)(?:/(\d+(?:\+\d+)*))?", word) for word in text.split()]
    axes = [(match[1], match[2]) for match in found if match]
    words = [word for word, _ in axes]
    cut = [word for word, parts in axes if parts]
    if len(axes) < len(found) or not {"in", "out"} <= set(words) or words.count("...") > 1:
        wanted = 'matrices to say layouts such as "in out", "batch in out" or "in out/3"'
        raise ArgumentValueError(wanted, got=repr(text))
    if len(cut) > 1 or set(cut) & {"batch", "..."}:
        raise ArgumentValueError("matrices to cut one axis of inputs or outputs at most", got=repr(text))
    return axes


def _sizes(parts: str, size: int, text: str) -> tuple[int, ...]:
    """The sizes of the parts of an axis: a number of equal ones, or the sizes themselves."""
    numbers = [int(number) for number in parts.split("+")]
    if len(numbers) == 1 and numbers[0] > 0 and size % numbers[0] == 0:
        return (size // numbers[0],) * numbers[0]
    if len(numbers) == 1 or sum(numbers) != size or 0 in numbers:
        raise ArgumentValueError(f"parts that make up an axis of {size}", got=f"{parts} in {text!r}")
    return tuple(numbers)


# --- which leaves -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MatrixChoice:
    """What a leaf was taken for.

    Attributes:
      name: the name of the leaf, such as ``"dense/kernel"``.
      layout: its layout, or ``None`` if it is no matrix.
      why: the reason, in words.
    """

    name: str
    layout: MatrixLayout | None
    why: str


def check_matrices(matrices: Matrices) -> None:
    """Raise an error for what is no declaration, whatever the params."""
    entries = [] if is_function(matrices) else jax.tree.leaves(matrices, is_leaf=_is_entry)
    for entry in entries:
        if isinstance(entry, str):
            _words(entry)
        elif not _is_entry(entry):
            raise ArgumentTypeError("matrices to say a layout, True or False of each leaf", got=repr(entry))


def choose_matrices(matrices: Matrices, params: Params) -> Any:
    """What each leaf is taken for, a tree of `MatrixChoice` like the params; ``None`` where a leaf is absent.

    Args:
      matrices: the declaration, `Matrices`.
      params: arrays or shapes.

    Raises:
      ArgumentValueError: a layout does not fit its leaf, or the axes of a leaf are not known; the message names it.
      ArgumentTypeError: a leaf is declared to be something else.
      TreeMismatchError: a tree of layouts is no prefix of the params.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> params = {"embed": {"embedding": jnp.ones((9, 4))}, "dense": {"kernel": jnp.ones((4, 8))}}
      >>> for name, choice in gradtx.choose_matrices(None, params).items():
      ...     print(name, jax.tree.leaves(choice)[0].why)
      dense in out: a matrix by its rank
      embed no matrix: an embedding by its name 'embed'
    """
    treedef: Any = jax.tree.structure(params, is_leaf=is_none)
    names = treedef.flatten_up_to(tree.leaf_names(params))
    leaves = treedef.flatten_up_to(params)
    declared = _declared(matrices, params, treedef, names, leaves)
    chosen = []
    for i, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
        try:
            chosen.append(None if leaf is None else _choice(name, leaf, *declared[i]))
        except ArgumentValueError as error:
            error.at = error.at or leaf_paths(params)[i]
            raise
    return treedef.unflatten(chosen)


def layouts_of(matrices: Matrices, updates: Any, treedef: Any) -> list[MatrixLayout | None]:
    """The layouts of the leaves of a tree that holds nothing but matrices, in order; None where a leaf is absent.

    Raises:
      TreeMismatchError: a leaf is no matrix; the message names it.
    """
    choices = flatten_like(updates, treedef, choose_matrices(matrices, updates), "the layouts")
    for i, (leaf, choice) in enumerate(zip(treedef.flatten_up_to(updates), choices, strict=True)):
        if not is_inert(leaf) and choice.layout is None:
            hint = (
                "declare it by matrices={...}, or give other leaves to another optimizer, as muon does: "
                'partition({"*/kernel": ..., "*": adamw(1e-3)})'
            )
            raise TreeMismatchError("a matrix", got=choice.why, at=leaf_paths(updates)[i], hint=hint)
    return [choice and choice.layout for choice in choices]


def matrix_labels(matrices: Matrices, params: Params) -> Any:
    """A tree with ``"matrix"`` at each leaf that is one, and ``"rest"`` at the others, for `partition`.

    A leaf that nobody declared and that has the shape of an embedding is warned of.

    Raises:
      ArgumentValueError: a glob matches no leaf, or as `choose_matrices`.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> gradtx.matrix_labels(None, {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
      {'bias': 'rest', 'kernel': 'matrix'}
    """
    choices = choose_matrices(matrices, params)
    found = jax.tree.leaves(choices)
    for glob in matrices if found and _is_by_glob(matrices) else ():
        if glob != "*" and not any(matches(choice.name, glob) for choice in found):
            raise no_match(glob, params)
    for choice in found:
        if choice.why.endswith(_BY_RANK) and _like_an_embedding(choice.layout):
            warnings.warn(
                f"{choice.name!r} has the shape of an embedding, {list(choice.layout.shape)}, and is taken for a "
                f'matrix; if it is an embedding or a head, say matrices={{"{choice.name}": False}}, else True',
                stacklevel=2,
            )
    return jax.tree.map(lambda choice: "matrix" if choice.layout else "rest", choices)


def matrices_and_rest(
    direction: GradientTransformation,
    rest: GradientTransformation | None,
    learning_rate: Any,
    weight_decay: Any,
    weight_decay_mask: Mask,
    matrices: Matrices,
) -> GradientTransformation:
    """An optimizer of matrices by a direction, with decoupled decay; of other leaves by `rest`, or `adamw`."""
    mask: Mask = weight_decay_mask
    if is_glob(mask):  # that has to match among all leaves, and not in each of the two groups
        mask = functools.partial(resolve_mask, weight_decay_mask)

    def labels(params: Params) -> Any:
        require_matches(weight_decay_mask, params)
        return matrix_labels(matrices, params)

    of_matrices = chain(direction, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))
    others = rest or adamw(learning_rate, b2=0.95, weight_decay=weight_decay, mask=mask)
    return partition({"matrix": of_matrices, "rest": others}, labels)


def _like_an_embedding(layout: MatrixLayout) -> bool:
    """Whether one side is as long as a vocabulary, and many times the other."""
    short, long = sorted(layout.flat_shapes[0][1:])
    return (long >= 30_000 and long >= 5 * short) or (long >= 1_000 and long >= 16 * short)


def _declared(matrices: Matrices, params: Params, treedef: Any, names: list[str], leaves: list[Any]) -> list[Any]:
    """For each leaf what was declared, and by what; ``(None, "")`` is nothing."""
    if matrices is None:
        return [(None, "")] * len(names)
    if is_function(matrices):
        return [(matrices(name, jnp.shape(x)), "the function") for name, x in zip(names, leaves, strict=True)]
    if _is_by_glob(matrices):
        found = [next((glob for glob in matrices if matches(str(name), glob)), None) for name in names]
        return [(None, "") if glob is None else (matrices[glob] or False, repr(glob)) for glob in found]
    entries = jax.tree.map(lambda x: _Entry(x), matrices, is_leaf=_is_entry)
    whole = flatten_like(params, treedef, broadcast_prefix(entries, params, "the layouts"), "the layouts")
    return [(entry.value or False, "the tree") for entry in whole]


def _is_by_glob(matrices: Matrices) -> bool:
    """Whether layouts are declared by globs, and not by a tree."""
    return isinstance(matrices, Mapping) and all(isinstance(key, str) and _is_entry(x) for key, x in matrices.items())


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A value of a tree of layouts, as one leaf: ``None`` and Optax's tuples are none to JAX."""

    value: Any


def _is_entry(x: Any) -> bool:
    return x is None or isinstance(x, str | bool | np.bool_) or hasattr(x, "reduction_axis")


def _choice(name: str, leaf: Any, declared: Any, by: str) -> MatrixChoice:
    """What a leaf is, if that was declared of it."""
    if is_inert(leaf):
        return MatrixChoice(name, None, "no matrix: it holds no number")
    return _choice_of_shape(name, jnp.shape(leaf), declared, by)


def _choice_of_shape(name: str, shape: tuple[int, ...], declared: Any, by: str) -> MatrixChoice:
    """What a leaf of this name and shape is, if that was declared of it."""
    if declared is None:
        return _by_rule(name, shape)
    if hasattr(declared, "reduction_axis"):
        declared = _in_words(declared, len(shape))
    if isinstance(declared, str):
        layout = MatrixLayout.read(declared, shape)
        return MatrixChoice(name, layout, f"{declared}: declared by {by}")
    if not isinstance(declared, bool | np.bool_):
        raise ArgumentTypeError("matrices to say a layout, True or False of each leaf", got=repr(declared), at=name)
    if not declared:
        return MatrixChoice(name, None, f"no matrix: declared by {by}")
    words = _axes(name, shape)
    return MatrixChoice(name, MatrixLayout.read(words, shape), f"{words}: declared by {by}")


def _in_words(numbers: Any, rank: int) -> str:
    """The layout that Optax's ``MuonDimensionNumbers`` say."""
    inputs, outputs = (
        {axis % rank for axis in (axes if isinstance(axes, tuple | list) else [axes])}
        for axes in (numbers.reduction_axis, numbers.output_axis)
    )
    return " ".join("in" if i in inputs else "out" if i in outputs else "batch" for i in range(rank))


_BY_RANK = "a matrix by its rank"

_NO_MATRIX = {
    "an embedding": re.compile(
        r"(.*_)?(embed|embeds|embedding|embeddings|embedder|emb|wte|wpe)(_tokens|_positions|_layer|_table)?(_?\d+)?"
    ),
    "an output head": re.compile(
        r"(.*_)?(unembed|unembedding|lm_head|head|logits|classifier|readout)(_layer|_table)?(_?\d+)?"
    ),
    "a bias or a scale": re.compile(r"((.*_)?(bias|biases|scale|scales|gamma|beta|offset|norm|layernorm)|b)(_?\d+)?"),
}
"""What is no matrix, however many axes it has, by a part of its path. A bias of an attention has two axes in Flax."""

_FUSED = re.compile(r"(.*_)?(qkv|wqkv|c_attn|in_proj|qkv_proj)(_?\d+)?")


def _by_rule(name: str, shape: tuple[int, ...]) -> MatrixChoice:
    if len(shape) < 2:
        return MatrixChoice(name, None, f"no matrix: {len(shape)} axes")
    named = _named_kind(name)
    if named:
        kind, part = named
        return MatrixChoice(name, None, f"no matrix: {kind} by its name {part!r}")
    words = _axes(name, shape)
    return MatrixChoice(name, MatrixLayout.read(words, shape), f"{words}: {_BY_RANK}")


def _named_kind(name: str) -> tuple[str, str] | None:
    """What is no matrix, and the part of its name that says so."""
    parts = name.lower().split("/")
    return next(((kind, part) for part in parts for kind, names in _NO_MATRIX.items() if names.fullmatch(part)), None)


def is_head(name: str) -> bool:
    """Whether a leaf belongs to an output head, by its name."""
    named = _named_kind(name)
    return named is not None and named[0] == "an output head"


def inputs_of(name: str, shape: tuple[int, ...]) -> int:
    """The number of inputs of a layer that is no matrix by its name: of a table of embeddings, its width."""
    if len(shape) < 2:
        return 1
    named = _named_kind(name)
    if named is not None and named[0] == "an embedding":
        return shape[-1]
    return MatrixLayout.read(_axes(name, shape), shape).flat_shapes[0][1]


def _axes(name: str, shape: tuple[int, ...]) -> str:
    """The layout that is known from a name and a rank.

    Raises:
      ArgumentValueError: there are three axes, and nothing tells a stack of layers from a convolution.
    """
    rank, parts = len(shape), name.lower().split("/")
    if parts[-1] == "weight":  # Equinox
        return " ".join(["out", *["in"] * (rank - 1)])
    fused = rank == 2 and shape[1] == 3 * shape[0] and any(_FUSED.fullmatch(part) for part in parts)
    if fused:
        return "in out/3"
    if rank == 3 and not any("conv" in part for part in parts):
        parents = set(parts[-2:])
        if parents & {"query", "key", "value"}:
            return "in out out"
        if "out" not in parents:
            raise ArgumentValueError(
                "a leaf of two axes, or one whose axes are declared",
                got=f"the shape {list(shape)}",
                hint=f'say matrices={{"{name}": "batch in out"}} for a stack, or "in in out" for a convolution',
            )
    return " ".join([*["in"] * (rank - 1), "out"])


# --- together ---------------------------------------------------------------------------------------------------------


def map_matrices(
    function: Callable[[list[jax.Array]], list[jax.Array]], updates: Any, matrices: Matrices, dtype: Any = None
) -> Any:
    """Apply a function to all matrices of a tree.

    Args:
      function: takes and returns arrays [batch, inputs, outputs].
      updates: a tree of matrices; absent leaves stay absent.
      matrices: the declaration, `Matrices`.
      dtype: that of the arrays; by default their accumulator's. The results have the dtypes of the leaves.

    Raises:
      TreeMismatchError: a leaf is no matrix.
    """
    treedef: Any = jax.tree.structure(updates, is_leaf=is_none)
    leaves = treedef.flatten_up_to(updates)
    layouts = layouts_of(matrices, updates, treedef)
    wide = [
        layout.matrices(widen(x) if dtype is None else cast_array(x, dtype))
        for x, layout in zip(leaves, layouts, strict=True)
        if layout
    ]
    made = iter(function([x for group in wide for x in group]))
    counts = iter(len(group) for group in wide)
    new = [
        cast_array(layout.leaf([next(made) for _ in range(next(counts))]), x.dtype) if layout else x
        for x, layout in zip(map(_as_array, leaves), layouts, strict=True)
    ]
    return treedef.unflatten(new)


def init_matrices(init: Callable[[jax.Array], Any], params: Params, matrices: Matrices) -> Any:
    """A tree like the params, with a tuple of what a function makes of each matrix of a leaf; ``None`` stays.

    Args:
      init: takes an array [batch, inputs, outputs] in accumulator dtype.
      params: a tree of matrices.
      matrices: the declaration, `Matrices`.
    """
    treedef: Any = jax.tree.structure(params, is_leaf=is_none)
    layouts = layouts_of(matrices, params, treedef)
    leaves = treedef.flatten_up_to(params)
    return treedef.unflatten(
        [
            tuple(init(m) for m in layout.matrices(widen(x))) if layout else None
            for x, layout in zip(leaves, layouts, strict=True)
        ]
    )


def join_matrices(entries: Any, updates: Any, matrices: Matrices) -> Any:
    """The leaves that are made of matrices, in the dtypes of those of `updates`; it undoes ``init_matrices(identity)``.

    Args:
      entries: a tree like `updates`, with a tuple of matrices for each leaf.
      updates: a tree of matrices; absent leaves stay absent.
      matrices: the declaration, `Matrices`.
    """
    flat = iter(jax.tree.leaves(entries))
    return map_matrices(lambda xs: [next(flat) for _ in xs], updates, matrices)


def map_matrices_with(
    function: Callable[..., list[list[jax.Array]]], updates: Any, states: tuple[Any, ...], matrices: Matrices
) -> tuple[Any, ...]:
    """Apply a function to all matrices of a tree, and to what belongs to each of them.

    Args:
      function: takes a list of arrays [batch, inputs, outputs] and one of entries for each state, and returns such
        lists, with other entries of the same dtypes.
      updates: a tree of matrices; absent leaves stay absent.
      states: trees as `init_matrices` makes them.
      matrices: the declaration, `Matrices`.

    Returns:
      The updates in the dtypes of the leaves, and the states.
    """
    treedef: Any = jax.tree.structure(updates, is_leaf=is_none)
    present = [not is_inert(x) for x in treedef.flatten_up_to(updates)]  # what belongs to the others stays as it is
    old = [flatten_like(updates, treedef, state, "the state") for state in states]
    entries = [[x for entry, used in zip(column, present, strict=True) if used for x in entry] for column in old]
    made: list[Any] = []

    def with_entries(xs: list[jax.Array]) -> list[jax.Array]:
        new, *rest = function(xs, *entries)
        made.extend(rest)
        return new

    updates = map_matrices(with_entries, updates, matrices)
    new_states = []
    for column, new in zip(old, made, strict=True):
        rest = iter(new)
        filled = [
            tuple(jax.tree.map(_stored_like, next(rest), x) for x in entry) if used else entry
            for entry, used in zip(column, present, strict=True)
        ]
        new_states.append(treedef.unflatten(filled))
    return updates, *new_states


def _stored_like(new: jax.Array, old: jax.Array) -> jax.Array:
    return cast_array(new, old.dtype)


def _as_array(x: Any) -> Any:
    return x if is_inert(x) else jnp.asarray(x)


STACK = 4
"""How many matrices of one shape are in one batch, at most. Each place of a stack is cut out by a program of its own,
which XLA's CPU backend compiles in 15 ms; with batches of equal lengths these are shared. And the temporaries of all
batches need not exist at once. A batch of four was as fast as one of 48."""


def in_batches(function: Callable[[jax.Array], jax.Array], matrices: list[jax.Array]) -> list[jax.Array]:
    r"""Apply a function to matrices, those of one shape in one batch, with the short side first.

    Of a matrix with more rows than columns the function sees the transpose, so it must satisfy
    :math:`f(X^\top) = f(X)^\top`.

    Args:
      function: takes and returns arrays [batch, m, n] with :math:`m \le n`.
      matrices: arrays [batch, inputs, outputs].
    """
    (made,) = in_equal_batches(lambda x: (function(x),), list(map(_short_side_first, matrices)))
    return [y.swapaxes(1, 2) if x.shape[1] > x.shape[2] else y for x, y in zip(matrices, made, strict=True)]


def in_equal_batches(
    function: Callable[..., tuple[jax.Array, ...]], *columns: list[jax.Array]
) -> list[list[jax.Array]]:
    """Apply a function to rows of arrays, those of equal shapes in one batch.

    Args:
      function: takes an array [batch, ...] of each column, and returns a tuple of arrays [batch, ...].
      *columns: lists of arrays [batch, ...], all of one length: matrices, and what belongs to each.

    Returns:
      A list of arrays for each array that the function returns; one empty list of no rows.
    """
    rows = list(zip(*columns, strict=True))
    alike: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        alike.setdefault(tuple((x.shape[1:], x.dtype) for x in row), []).append(i)
    made: list[Any] = [()] * len(rows)
    for places in (kind[i : i + STACK] for kind in alike.values() for i in range(0, len(kind), STACK)):
        if len(places) == 1:
            made[places[0]] = function(*rows[places[0]])
            continue
        stacks = function(*(jnp.concatenate(xs) for xs in zip(*(rows[i] for i in places), strict=True)))
        start = 0
        for i in places:
            length = len(rows[i][0])
            made[i] = tuple(y[start : start + length] for y in stacks)
            start += length
    return [list(column) for column in zip(*made, strict=True)] if rows else [[]]


def _short_side_first(x: jax.Array) -> jax.Array:
    return x if x.shape[1] <= x.shape[2] else x.swapaxes(1, 2)
