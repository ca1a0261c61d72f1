"""Random transformations, of every registered name, and random trees to run them on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import gradtx
from tests.conformance.cases import EXAMPLES, OF_MATRICES, REGISTRY, SCHEDULES, VALUES, are_matrices, two_axes

NOT_DRAWN = {
    "flatten": "what is inside sees vectors named by their dtypes, in which the globs of the cases match nothing",
    "lbfgs": "where its search stops is a matter of rounding, unless the loss is its own",
    "scale_by_backtracking_linesearch": "it takes a direction of descent, and where it stops is a matter of rounding",
    "scale_by_zoom_linesearch": "it takes a direction of descent, and where it stops is a matter of rounding",
}
"""Names that random chains do without, with the reason."""

LEAFWISE_ALONE = ("quantized", "tangential")
"""Wrappers of leafwise transformations alone."""

KIND = {name: factory.kind for name, factory in REGISTRY.items()}
WRAPPERS = [n for n, f in REGISTRY.items() if "inner" in f.arguments and n not in NOT_DRAWN]
COMBINATORS = ["chain", "named_chain", "partition", *WRAPPERS]
PLAIN = [n for n in REGISTRY if KIND[n] != "schedule" and n not in COMBINATORS and n not in (*NOT_DRAWN, *EXAMPLES)]
ROUND = {"bfloat16": 1e-2, "float32": 1e-4, "complex64": 1e-4}
"""By dtype, how far two executions of a few steps may be apart."""


def schedules() -> st.SearchStrategy[Any]:
    """Any registered schedule, sums, differences, products and quotients among them."""
    return st.sampled_from(list(SCHEDULES.values()))


@st.composite
def numbers(draw: Any, argument: Any) -> Any:
    """A value inside an argument's range: a number, or a schedule that stays inside."""
    low, high = max(argument.range.low, -2.0), min(argument.range.high, max(argument.range.low, 0.0) + 3.0)
    inside = low + (high - low) * draw(st.sampled_from([0.1, 0.5, 0.9]))
    kind = draw(st.sampled_from(["number", "number", "linear", "constant"]))
    if kind == "number":
        return inside
    if kind == "constant":
        return gradtx.constant_schedule(inside)
    return gradtx.linear_schedule(inside, (low + high) / 2, 3)


@st.composite
def members(draw: Any, depth: int) -> Any:
    """A transformation: a plain one, or one that holds others, `depth` deep at most."""
    if depth > 0 and draw(st.integers(0, 2)) > 0:
        return draw(compositions(depth))
    made = VALUES[draw(st.sampled_from(PLAIN))]
    free = [a for a in made.factory.arguments.values() if a.numeric and not a.operand]
    chosen = draw(st.lists(st.sampled_from(free), max_size=2, unique_by=lambda a: a.name)) if free else []
    changes = {a.name: draw(numbers(a)) for a in chosen}
    if made.factory.name == "freeze":  # a glob would have to match in every group of a partition
        changes["mask"] = draw(st.sampled_from([True, False, _large]))
    if made.factory.name == "selective_transform":
        changes["freeze_mask"] = draw(st.sampled_from([True, False, _large]))
    if made.factory.name == "clip_by_global_norm":  # that of a tree must see the updates as they came to a partition
        changes["scope"] = "group"
    if made.factory.name == "scale_by_schedule":
        changes["step_size_fn"] = draw(schedules())
    if "matrices" in made.factory.arguments:  # three axes would have to be declared
        changes["matrices"] = two_axes
    made = made.replace(**changes)
    return gradtx.masked(made, are_matrices) if made.factory.name in OF_MATRICES else made


@st.composite
def compositions(draw: Any, depth: int) -> Any:
    """A chain, a partition or a wrapper of further members."""
    name, inner = draw(st.sampled_from(COMBINATORS)), members(depth - 1)
    if name == "chain":
        return gradtx.chain(*draw(st.lists(inner, max_size=2)))
    if name == "named_chain":
        return gradtx.named_chain(*((f"m{i}", tx) for i, tx in enumerate(draw(st.lists(inner, max_size=2)))))
    if name == "partition":
        first, rest = draw(inner), draw(inner)
        by_size = draw(st.booleans())
        labels = (lambda tree: jax.tree.map(_label, tree)) if by_size else None
        return gradtx.partition({"large": first, "small": rest} if by_size else {"*": first}, labels)
    value = VALUES[name]
    if name == "masked":
        mask = draw(st.sampled_from([True, False, _large]))
        return value.replace(inner=draw(inner), mask=mask, unselected=draw(st.sampled_from(["pass_through", "freeze"])))
    if name == "with_state_reset":  # what it resets must be in every state
        return value.replace(inner=gradtx.chain(draw(inner), gradtx.trace(0.5)), where="trace")
    chosen = draw(inner)
    if name in LEAFWISE_ALONE and chosen.leafwise is None:
        chosen = gradtx.adam(0.1)
    return value.replace(inner=chosen)


def _label(leaf: Any) -> str:
    return "large" if np.size(leaf) > 2 else "small"


def _large(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: _label(leaf) == "large", tree)


def transformations() -> st.SearchStrategy[Any]:
    """A composition up to six deep; of some, the first member takes the gradient of each example."""
    plain = st.integers(0, 6).flatmap(members)
    private = st.builds(gradtx.chain, st.sampled_from([VALUES[name] for name in EXAMPLES]), plain)
    return st.one_of(plain, plain, plain, private)


SHAPES = ((), (2,), (2, 3), (0,), (1, 0, 2))


def trees() -> st.SearchStrategy[Any]:
    """A tree of shapes and dtypes, at least one leaf of which is an array."""
    leaf = st.tuples(st.sampled_from(SHAPES), st.sampled_from(list(ROUND))).map(_Leaf)
    nodes = st.recursive(
        st.one_of(leaf, leaf, st.none()),
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.lists(inner, max_size=2).map(tuple),
        ),
        max_leaves=3,
    )
    return nodes.map(lambda node: {"kernel": _Leaf(((2, 3), "float32")), "rest": node})


class _Leaf:
    """The shape and dtype of a leaf, which no tree function looks into."""

    def __init__(self, described: tuple[tuple[int, ...], str]) -> None:
        self.shape, self.dtype = described

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def fill(tree: Any, seed: int) -> Any:
    """The tree with numbers in its leaves."""
    random = np.random.default_rng(seed)

    def draw(leaf: Any) -> jax.Array:
        real, imag = random.normal(size=(2, *leaf.shape))
        return jnp.asarray(real + 1j * imag if leaf.dtype == "complex64" else real, leaf.dtype)

    return jax.tree.map(draw, tree)
