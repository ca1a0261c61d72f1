"""What a law is: a test that runs over every case, and the exceptions it writes down."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import pytest

from tests.conformance.cases import CASES, advance, full_step, mixed


class Law(NamedTuple):
    """A test of a law, as the meta-test sees it.

    Attributes:
      number: the law it is part of; `docs/testing.md` lists them.
      cases: the names it runs over, the exempt ones among them.
      exempt: by name, why the test does not run over it.
      weaker: by name, why the test asks less of it.
    """

    number: int
    cases: tuple[str, ...]
    exempt: Mapping[str, str]
    weaker: Mapping[str, str]


LAWS: dict[str, Law] = {}
"""Every law that has been imported, by module and name of its test."""


def law(
    number: int,
    cases: Iterable[str] = CASES,
    *,
    exempt: Mapping[str, str] | None = None,
    weaker: Mapping[str, str] | None = None,
) -> Callable[[Any], Any]:
    """Run a test over all cases but the exempt ones, and enter it in `LAWS`."""
    names, exempt = tuple(cases), exempt or {}

    def decorate(test: Any) -> Any:
        LAWS[f"{test.__module__}.{test.__name__}"] = Law(number, names, exempt, weaker or {})
        return pytest.mark.parametrize("name", [name for name in names if name not in exempt])(test)

    return decorate


def law_of_all(
    number: int, *, exempt: Mapping[str, str] | None = None, weaker: Mapping[str, str] | None = None
) -> Callable[[Any], Any]:
    """Enter a test that goes over all cases itself in `LAWS`."""

    def decorate(test: Any) -> Any:
        LAWS[f"{test.__module__}.{test.__name__}:{number}"] = Law(number, tuple(CASES), exempt or {}, weaker or {})
        return test

    return decorate


class Counting:
    """A function that remembers how often it was traced."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.traces = function, 0

    def __call__(self, *args: Any) -> Any:
        self.traces += 1
        return self.function(*args)


class Programs:
    """The compiled programs of a case, made when first asked for and shared between laws."""

    def __init__(self, name: str) -> None:
        self.tx = CASES[name]

    def start(self, params: Any) -> tuple[Any, Any]:
        """Copies of the params, which a step may eat, and their state."""
        return jax.tree.map(jnp.copy, params), self.tx.init(params)

    @functools.cached_property
    def counted(self) -> Counting:
        return Counting(functools.partial(full_step, self.tx))

    @functools.cached_property
    def donating(self) -> Any:
        """One step to which params, state and gradients are donated."""
        return jax.jit(self.counted, donate_argnums=(0, 1, 2), keep_unused=True)

    def step(self, params: Any, state: Any, grads: Any, index: int) -> tuple[Any, Any]:
        """One compiled step; the gradients are kept."""
        params, state, _ = self.donating(params, state, jax.tree.map(jnp.copy, grads), index)
        return params, state

    @functools.cached_property
    def advance(self) -> Any:
        """All the steps whose gradients are given, in one program."""
        return jax.jit(functools.partial(advance, self.tx))

    @functools.cached_property
    def of_every_dtype(self) -> "Traced":
        """One step on a leaf of each dtype, in x64 mode."""
        return trace_step(self.tx, mixed())

    @functools.cached_property
    def of_any(self) -> Any:
        """One step of a transformation that is itself an argument."""
        return jax.jit(lambda tx, *args: full_step(tx, *args)[:2])


class Traced(NamedTuple):
    """A step that was traced: its program, and what it takes and returns."""

    program: Any
    params: Any
    state: Any
    after: Any
    next_state: Any
    updates: Any


def trace_step(tx: Any, params: Any, *numbers: Any) -> Traced:
    """Trace the first step. If there are `numbers`, they are those of the transformation, as arguments."""
    treedef = jax.tree.structure(tx)

    def first(params: Any, grads: Any, *numbers: Any) -> Any:
        own = treedef.unflatten(numbers) if numbers else tx
        state = own.init(params)
        return state, *full_step(own, params, state, grads, 0)

    program, (state, after, next_state, updates) = jax.make_jaxpr(first, return_shape=True)(params, params, *numbers)
    return Traced(program, params, state, after, next_state, updates)


@functools.lru_cache(maxsize=2)
def programs(name: str) -> Programs:
    """The programs of a case; the tests of the folder run case by case, so that two are enough to remember."""
    return Programs(name)


def arrays(jaxpr: Any) -> Iterator[Any]:
    """The shape and dtype of everything that a traced program computes, within its calls, loops and branches too."""
    for equation in jaxpr.eqns:
        yield from (x.aval for x in equation.outvars)
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from arrays(inner)


def describe(tree: Any) -> Any:
    """The structure of a tree, and shape, dtype and weakness of its leaves."""
    return jax.tree.structure(tree), [(x.shape, x.dtype, x.weak_type) for x in map(jnp.asarray, jax.tree.leaves(tree))]


def close(a: Any, b: Any, rtol: float = 2e-5, atol: float = 2e-6) -> None:
    chex.assert_trees_all_close(a, b, rtol=rtol, atol=atol)


def finite(tree: Any) -> bool:
    """Whether every number in a tree is."""
    return all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(tree))
