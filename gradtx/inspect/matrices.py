"""What methods of matrices take each leaf for, and what their steps cost."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from gradtx.core import GradientTransformation
from gradtx.inspect.parts import Member, Path, Seen
from gradtx.optimizers.matrix import MatrixChoice, MatrixLayout, choose_matrices
from gradtx.typing import Params

SHOWN = 4
"""So many names of leaves are shown for one reason."""


class Cost(NamedTuple):
    """What XLA's analysis says of a compiled update.

    Attributes:
      operations: floating point operations, without those of decompositions, which are calls of a library.
      moved: bytes read and written by its kernels.
    """

    operations: int
    moved: int


def cost_of(tx: Any, params: Params) -> Cost:
    """The cost of an update, compiled for this machine.

    Raises:
      MissingExtraError: it needs an extra.
    """
    state = jax.eval_shape(tx.init, params)
    compiled = jax.jit(tx.update).lower(params, state, params).compile()
    found: Any = compiled.cost_analysis() or {}
    return Cost(int(found.get("flops", 0)), int(found.get("bytes accessed", 0)))


def methods(rows: Sequence[Member], seen: dict[Path, Seen]) -> Iterator[tuple[GradientTransformation, Params]]:
    """The outermost members that say which leaves are matrices, with the params they see."""
    inside: list[Path] = []
    for member in rows:
        nested = any(member.path[: len(path)] == path for path in inside)
        if not nested and member.path in seen and "matrices" in getattr(member.tx, "arguments", {}):
            inside.append(member.path)
            yield member.tx, seen[member.path].params


def reasons(tx: GradientTransformation, params: Params) -> list[str]:
    """What the leaves are taken for, equal reasons in one line."""
    names: dict[str, list[str]] = {}
    for choice in jax.tree.leaves(choose_matrices(tx.arguments["matrices"], params)):
        names.setdefault(choice.why, []).append(choice.name)
    return [f"{tx.factory.name}: {_counted(leaves)}: {why}" for why, leaves in names.items()]


def _counted(names: list[str]) -> str:
    """How many leaves, and their names; names that differ in a number are shown as one."""
    alike = list(dict.fromkeys(re.sub(r"\d+", "*", name) for name in names))
    shown = ", ".join(names if len(names) == 1 else alike[:SHOWN])
    more = f" and {len(alike) - SHOWN} more" if len(alike) > SHOWN else ""
    return f"{len(names)} {'leaf' if len(names) == 1 else 'leaves'} {shown}{more}".replace("  ", " ")


def costs(tx: GradientTransformation, params: Params) -> Iterator[tuple[str, int, Cost]]:
    """For each shape of a matrix: it and its layout, how many leaves have it, and the cost of one of them."""
    treedef: Any = jax.tree.structure(params)
    choices = treedef.flatten_up_to(choose_matrices(tx.arguments["matrices"], params))
    alike: dict[tuple[str, Any, Any], list[Any]] = {}
    for leaf, choice in zip(jax.tree.leaves(params), choices, strict=True):
        if isinstance(choice, MatrixChoice) and choice.layout:
            alike.setdefault((_text(choice.layout), leaf.shape, leaf.dtype), []).append(leaf)
    masks = {name: None for name, argument in tx.factory.arguments.items() if argument.mask}
    for (text, shape, _), leaves in alike.items():
        yield f"{list(shape)}, {text}", len(leaves), cost_of(tx.replace(matrices=text, **masks), leaves[0])


def _text(layout: MatrixLayout) -> str:
    """The layout as it is declared."""
    words = list(layout.words)
    sizes = layout.sizes
    cut = f"/{'+'.join(map(str, sizes)) if len(set(sizes)) > 1 else len(sizes)}" if sizes else ""
    return " ".join(word + (cut if axis == layout.axis else "") for axis, word in enumerate(words))
