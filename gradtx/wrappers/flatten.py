"""All leaves of a dtype as one vector, for the inner transformation alone."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, transformation
from gradtx.errors import TreeMismatchError
from gradtx.tree.arithmetic import cast
from gradtx.tree.paths import flatten_like, is_inert, is_none, leaf_paths
from gradtx.typing import Params, State, Updates

Vectors = dict[str, Any]
"""By the name of a dtype, the leaves of that dtype one after another."""


@transformation
def flatten(inner: GradientTransformation) -> Pair:
    """Let a transformation see one vector for each dtype in place of the leaves.

    With very many small leaves, a step is as many small kernels; on vectors it is a few large ones, and two copies of
    the gradients. To be without the copies too, train on the vectors: `ravel_params`.

    What looks at leaves sees vectors, ``{"float32": ...}``: globs, masks and labels have only the names of dtypes to
    choose from, and what is done leaf by leaf (norms of layers, factored moments) is done to the whole. The functions
    among the extras are those of vectors, too. A gradient that is absent is zero in its vector, and stays absent.
    Without params, the gradients must have their dtypes.

    Args:
      inner: the transformation.

    State:
      That of the inner transformation, of vectors.

    Raises:
      TreeMismatchError: the gradients are not like the params.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.flatten(gradtx.adam(0.1))
      >>> params = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
      >>> gradtx.tree.get_field(tx.init(params), "mu")
      {'float32': Array([0., 0., 0., 0., 0., 0.], dtype=float32)}

    Differences from Optax: a vector for each dtype, so that none is promoted; integers are left alone; functions among
    the extras.
    """

    def init(params: Params) -> State:
        return inner.init(tree.ravel_params(_floats(params))[0])

    def update(updates: Updates, state: State, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        like = updates if params is None else params
        vectors, whole = _ways(like)
        flat_params = None if params is None else vectors(params)
        extra = extra if params is None else _of_vectors(extra, vectors, whole)
        changed, state = inner.update(vectors(updates), state, flat_params, **extra)
        return jax.tree.map(_as_given, updates, whole(changed), is_leaf=is_none), state

    return init, update


def _floats(params: Params) -> Params:
    """The tree with ``None`` where there is no number that could move."""

    def visit(x: Any) -> Any:
        return x if not is_inert(x) and jnp.issubdtype(jnp.result_type(x), jnp.inexact) else None

    return jax.tree.map(visit, params, is_leaf=is_none)


def _ways(like: Params) -> tuple[Callable[[Any], Vectors], Callable[[Vectors], Any]]:
    """The functions from trees like a given one to vectors and back; what is in no vector is as it is there."""
    floats = _floats(like)
    treedef: Any
    leaves, treedef = jax.tree.flatten(floats, is_leaf=is_none)
    unravel = tree.ravel_params(floats)[1]
    places = [i for i, x in enumerate(leaves) if x is not None]

    def vectors(other: Any) -> Vectors:
        given = flatten_like(floats, treedef, other, "params")
        parts: dict[str, list[Any]] = {}
        for i, (dtype, shape) in zip(places, unravel.layout, strict=True):
            x = jnp.zeros(shape, dtype) if is_inert(given[i]) else jnp.asarray(given[i])
            if x.shape != shape:
                got = f"{list(x.shape)} and {list(shape)}"
                raise TreeMismatchError("updates and params of one shape", got=got, at=leaf_paths(floats)[i])
            parts.setdefault(dtype, []).append(x.reshape(-1))
        return {dtype: jnp.concatenate(part) for dtype, part in parts.items()}

    def whole(flat: Vectors) -> Any:
        return jax.tree.map(lambda x, y: y if x is None else x, unravel(flat), like, is_leaf=is_none)

    return vectors, whole


def _as_given(g: Any, u: Any) -> Any:
    """An update in the dtype of the gradient; none where there is none."""
    return g if is_inert(g) or not hasattr(u, "dtype") else cast(u, jnp.result_type(g))


def _of_vectors(
    extra: dict[str, Any], vectors: Callable[[Any], Vectors], whole: Callable[[Vectors], Any]
) -> dict[str, Any]:
    """The extras for a transformation that sees vectors."""
    value_fn, grad_fn, both = (extra.get(name) for name in ("value_fn", "grad_fn", "value_and_grad_fn"))
    made = dict(extra)
    if extra.get("grad") is not None:
        made["grad"] = vectors(extra["grad"])
    if value_fn is not None:
        made["value_fn"] = lambda flat: value_fn(whole(flat))
    if grad_fn is not None:
        made["grad_fn"] = lambda flat: vectors(grad_fn(whole(flat)))
    if both is not None:

        def value_and_grad_fn(flat: Vectors) -> tuple[jax.Array, Vectors]:
            value, grads = both(whole(flat))
            return value, vectors(grads)

        made["value_and_grad_fn"] = value_and_grad_fn
    return made
