"""The fewest bytes a step can move, from which inputs each of its outputs needs.

A step is traced for one leaf, as equations between arrays. Its outputs are the new parameters and the new state; its
inputs the old ones and the gradient. An output that is computed by a loop of its own reads some of the old inputs that
are not overwritten yet, and some of the outputs that are there already: just so many that its equations can be followed
from them. `floor` tries every order of the outputs and every choice of what they read, and returns the cheapest.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from benchmarks.program import abstract_step

_BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")


class Floor(NamedTuple):
    """Bytes per element of a leaf.

    Attributes:
      per_output: with one loop for each output, as XLA's CPU backend makes them, and one for each reduction.
      together: with one loop for all outputs, as its GPU backend can, and one for each reduction.
    """

    per_output: float
    together: float


def floor(tx: Any, apply_updates: Any, branch: int = 0, dtype: Any = "float32") -> Floor:
    """The floor of a transformation's step; `branch` says which branch of every conditional is taken."""
    params = jax.ShapeDtypeStruct((8, 8), dtype)
    step, state = abstract_step(tx, apply_updates, params)
    graph = _Graph(jax.make_jaxpr(step)(params, state, params).jaxpr, params.size, branch)
    reductions = sum(graph.cheapest(r.inputs, graph.inputs) for r in graph.reductions)
    each = min(graph.one_loop_each(order) for order in itertools.permutations(graph.replaces))
    together = sum(v.bytes for v in graph.replaces) + graph.cheapest(graph.replaces, graph.inputs)
    return Floor((reductions + each) / params.size, (reductions + together) / params.size)


class _Array:
    """A value in a step; two with equal equations are one."""

    def __init__(self, aval: Any) -> None:
        self.size: int = aval.size
        self.bytes: int = aval.size * aval.dtype.itemsize


class _Equation(NamedTuple):
    inputs: frozenset[_Array]
    outputs: list[_Array]


class _Graph:
    """The equations of a step. Arrays smaller than a leaf cost nothing and are always there.

    Attributes:
      inputs: the large inputs.
      equations: all equations, in order, each once.
      reductions: those that make small arrays of large ones.
      replaces: for each large output that is not an input passed on, the input whose buffer it takes over.
    """

    def __init__(self, jaxpr: Any, size: int, branch: int) -> None:
        self.size, self.branch = size, branch
        self.equations: list[_Equation] = []
        self._known: dict[Any, list[_Array]] = {}
        inputs = [_Array(v.aval) for v in jaxpr.invars]
        outputs = self._follow(jaxpr, inputs)
        self.inputs = [v for v in inputs if v.size >= size]
        self.reductions = [e for e in self.equations if self._large(e.inputs) and not self._large(e.outputs)]
        results = zip(outputs, inputs, strict=False)
        self.replaces = {new: old for new, old in results if new is not old and self._large([new])}

    def _large(self, arrays: Iterable[_Array]) -> bool:
        return any(isinstance(v, _Array) and v.size >= self.size for v in arrays)

    def _follow(self, jaxpr: Any, arguments: Sequence[Any]) -> list[Any]:
        """Append the equations of a jaxpr and of all it calls; returns its results."""
        values = dict(zip(jaxpr.invars, arguments, strict=True))
        values |= {v: _Array(v.aval) for v in jaxpr.constvars}

        def read(v: Any) -> Any:
            return str(v) if isinstance(v, core.Literal) else values[v]

        for eqn in jaxpr.eqns:
            given = [read(v) for v in eqn.invars]
            body = next((eqn.params[key] for key in _BODIES if key in eqn.params), None)
            if eqn.primitive.name == "cond":
                branches, given = eqn.params["branches"], given[1:]
                body = branches[min(self.branch, len(branches) - 1)]
            if body is None or eqn.primitive.name in ("scan", "while"):
                results = self._equation(eqn, given)
            else:
                results = self._follow(getattr(body, "jaxpr", body), given)
            values |= dict(zip(eqn.outvars, results, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, given: list[Any]) -> list[_Array]:
        key = (eqn.primitive.name, str(eqn.params), tuple(given))
        if key not in self._known:
            self._known[key] = [_Array(v.aval) for v in eqn.outvars]
            self.equations.append(_Equation(frozenset(v for v in given if isinstance(v, _Array)), self._known[key]))
        return self._known[key]

    def cheapest(self, targets: Iterable[_Array], candidates: Sequence[_Array]) -> float:
        """The fewest bytes of candidates from which all targets follow; infinite if they do not follow from all."""
        wanted = {v for v in targets if v.size >= self.size}
        choices = (c for count in range(len(candidates) + 1) for c in itertools.combinations(candidates, count))
        costs = ((sum(v.bytes for v in chosen), chosen) for chosen in choices)
        ordered = sorted(costs, key=lambda c: c[0])
        return next((cost for cost, chosen in ordered if wanted <= self._follows_from(chosen)), math.inf)

    def _follows_from(self, chosen: Iterable[_Array]) -> set[_Array]:
        known = set(chosen)
        for equation in self.equations:
            if all(v in known or v.size < self.size for v in equation.inputs):
                known.update(equation.outputs)
        return known

    def one_loop_each(self, order: Sequence[_Array]) -> float:
        """The bytes of computing the outputs one after another, each in place of its input."""
        total, done = 0.0, []
        for output in order:
            kept = [v for v in self.inputs if v not in [self.replaces[d] for d in done]]
            total += output.bytes + self.cheapest([output], kept + done)
            done.append(output)
        return total
