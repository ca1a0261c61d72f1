"""What a matrix is: which leaves are matrices, by declaration or by name and rank."""

import dataclasses
import re
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gradtx import tree
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.optimizers.matrix.layout import MatrixLayout, read_words
from gradtx.tree.paths import flatten_like, is_function, is_inert, is_none, leaf_paths
from gradtx.tree.select import broadcast_prefix, matches, no_match
from gradtx.typing import Params

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
            read_words(entry)
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


def _like_an_embedding(layout: MatrixLayout) -> bool:
    """Whether one side is as long as a vocabulary, and many times the other."""
    short, long = sorted(layout.flat_shapes[0][1:])
    return (long >= 30_000 and long >= 5 * short) or (long >= 1_000 and long >= 16 * short)


def _declared(matrices: Matrices, params: Params, treedef: Any, names: list[str], leaves: list[Any]) -> list[Any]:
    """For each leaf what was declared, and by what; ``(None, "")`` is nothing."""
    if matrices is None:
        return [(None, "")] * len(names)
    if is_function(matrices):
        return [
            (None if is_inert(x) else matrices(name, jnp.shape(x)), "the function")
            for name, x in zip(names, leaves, strict=True)
        ]
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
