"""All parameters of a dtype in one vector, for trees of very many leaves."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.errors import TreeMismatchError
from gradtx.tree.paths import type_name


@dataclasses.dataclass(frozen=True)
class Unravel:
    """``unravel(flat)`` is the tree that `ravel_params` laid out. Its derivative concatenates gradients.

    A value: it compares, hashes and pickles by the layout, so it may be a static argument.

    Attributes:
      treedef: the structure of the tree.
      layout: for each leaf in order, the name of its dtype and its shape.
    """

    treedef: Any
    layout: tuple[tuple[str, tuple[int, ...]], ...]

    def __call__(self, flat: dict[str, Any]) -> Any:
        """The tree, of the dtypes of the vectors: moments may be wider than the parameters they belong to."""
        sizes: dict[str, list[int]] = {}
        for dtype, shape in self.layout:
            sizes.setdefault(dtype, []).append(math.prod(shape))
        expected = {dtype: sum(parts) for dtype, parts in sizes.items()}
        _check(expected, flat)
        # Slices would have a gradient that adds up as many padded vectors as there are leaves.
        parts = {dtype: iter(jax.lax.split(flat[dtype], pieces)) for dtype, pieces in sizes.items()}
        return self.treedef.unflatten([next(parts[dtype]).reshape(shape) for dtype, shape in self.layout])


def _check(expected: dict[str, int], flat: Any) -> None:
    wanted = f"a dict of vectors {expected}"
    hint = "pass what ravel_params returned, or a tree like it, such as its moments"
    if not isinstance(flat, dict) or set(flat) != set(expected):
        raise TreeMismatchError(wanted, got=type_name(flat), hint=hint, origin="ravel_params")
    for dtype, size in expected.items():
        if jnp.shape(flat[dtype]) != (size,):
            got = f"shape {list(jnp.shape(flat[dtype]))}"
            raise TreeMismatchError(wanted, got=got, at=f"[{dtype!r}]", hint=hint, origin="ravel_params")


def ravel_params(params: Any) -> tuple[dict[str, jax.Array], Unravel]:
    """The parameters as one vector for each dtype, and the function that makes the tree of them again.

    With a thousand leaves, a step is a thousand small kernels for each of its outputs, and most of its time is spent
    starting them. Train on the vectors instead: the loss unravels them, and the gradients arrive as vectors.

    What looks at leaves sees vectors: masks, globs and labels have only the names of dtypes to choose from, and what is
    done leaf by leaf (norms of blocks, `centralize`, factored moments) would be done to the whole. Ravel each group of
    leaves on its own, then. A gradient that is absent for one leaf alone becomes zero.

    Args:
      params: a tree of arrays, of any dtypes and shapes; ``None`` stays where it is.

    Returns:
      A dict from the name of a dtype to a vector that shares no buffer with `params`; and `Unravel`.

    Example:
      >>> import jax, jax.numpy as jnp, gradtx
      >>> params = {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}
      >>> flat, unravel = gradtx.ravel_params(params)
      >>> flat
      {'float32': Array([0., 0., 1., 1., 1., 1.], dtype=float32)}
      >>> grads = jax.grad(lambda flat: jnp.sum(unravel(flat)["w"] ** 2))(flat)
      >>> updates, state = gradtx.adam(0.5).update(grads, gradtx.adam(0.5).init(flat), flat)
      >>> unravel(gradtx.apply_updates(flat, updates))["w"]
      Array([[0.5, 0.5],
             [0.5, 0.5]], dtype=float32)
    """
    leaves, treedef = jax.tree.flatten(params)
    leaves = [jnp.asarray(x) for x in leaves]
    groups: dict[str, list[jax.Array]] = {}
    for x in leaves:
        groups.setdefault(str(x.dtype), []).append(x.reshape(-1))
    flat = {dtype: jnp.array(jnp.concatenate(parts), copy=len(parts) == 1) for dtype, parts in groups.items()}
    return flat, Unravel(treedef, tuple((str(x.dtype), x.shape) for x in leaves))
