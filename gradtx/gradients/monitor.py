"""A look at the updates on their way through a chain."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Pair, one_for_zero, transformation
from gradtx.errors import ArgumentTypeError, require_extra
from gradtx.tree.select import is_glob, matches, no_match
from gradtx.typing import Params, State, Updates

Globs: TypeAlias = str | tuple[str, ...]
Scalars: TypeAlias = dict[str, jax.Array]


class MonitorState(NamedTuple):
    """The state of `monitor`: of the last update, by group, a float32 [] each (float64 for float64 params).

    Attributes:
      update_norm: the norm of the updates as they arrived.
      param_norm: the norm of the params.
      ratio: the one divided by the other; 0 where the params are zero.
    """

    update_norm: Scalars
    param_norm: Scalars
    ratio: Scalars


@transformation
def monitor(groups: Globs | Mapping[str, Globs] | None = None) -> Pair:
    r"""Record the norms of updates and parameters, and their ratio, by group of leaves; the updates pass unchanged.

    .. math::
        \lVert u_k \rVert_2, \qquad \lVert p_k \rVert_2, \qquad r_k = \frac{\lVert u_k \rVert_2}{\lVert p_k \rVert_2}

    Put it last in a `chain` to see the steps that are taken, elsewhere to see what comes that far; `metrics` reads what
    it has seen. A ratio near 0.001 is usual for a well chosen learning rate.

    Args:
      groups: globs on leaf paths by the name of a group, ``{"kernels": "*/kernel", "rest": "*"}``, or a tuple of them
        instead of one. As in `partition`, a leaf belongs to the first group that matches it, and ``*`` also matches
        ``/``; one that matches none is left out. Globs without names go by themselves; ``None`` is one group, "all".

    State:
      `MonitorState`: three scalars a group; 0 bytes per parameter. The norms read updates and params once more.

    Raises:
      ArgumentTypeError: `groups` is something else.
      ArgumentValueError: a group other than ``"*"`` is left without a leaf.
      MissingExtraError: `update` was called without ``params``.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(0.1), gradtx.monitor({"weights": "w*", "rest": "*"}))
      >>> params = {"w": jnp.array([3.0, 4.0]), "b": jnp.zeros(1)}
      >>> updates, state = tx.update({"w": jnp.array([0.0, 1.0]), "b": jnp.ones(1)}, tx.init(params), params)
      >>> gradtx.metrics(state)["monitor/ratio/weights"]
      Array(0.02, dtype=float32)

    Differences from Optax's ``monitor``: that one takes functions of the updates to record; this one knows what to
    measure, and does so by group.
    """
    globs = _by_name(groups)

    def members(whole: Any) -> dict[str, Any]:
        """For each group, the tree with the leaves of others masked."""
        names = tree.leaf_names(whole)

        def part(group: str) -> Any:
            return tree.keep_selected(whole, jax.tree.map(lambda name: _is_first_match(name, group, globs), names))

        return {group: part(group) for group in globs}

    def init(params: Params) -> MonitorState:
        parts = members(params)
        for name, part in parts.items():
            if globs[name] != "*" and jax.tree.leaves(params) and not jax.tree.leaves(part):
                raise no_match(globs[name], params)
            tree.require_matches(globs[name], params)  # each glob of several

        def zeros() -> Scalars:
            return {k: jnp.zeros_like(tree.global_norm(part)) for k, part in parts.items()}

        return MonitorState(zeros(), zeros(), zeros())

    def update(
        updates: Updates, state: MonitorState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        require_extra(params, "params", "their norms are recorded: tx.update(grads, state, params)")
        sizes = {k: tree.global_norm(part) for k, part in members(updates).items()}
        weights = {k: tree.global_norm(part) for k, part in members(params).items()}
        ratios = {k: jnp.where(weights[k] == 0, 0, sizes[k] / one_for_zero(weights[k])) for k in globs}
        seen: MonitorState = jax.tree.map(lambda x, s: x.astype(s.dtype), MonitorState(sizes, weights, ratios), state)
        return updates, seen

    return init, update


def _by_name(groups: Any) -> dict[str, Globs]:
    """The globs of each group."""
    if groups is None:
        groups = {"all": "*"}
    if isinstance(groups, str):
        groups = (groups,)
    entries = dict(groups) if isinstance(groups, Mapping) else groups
    named = {glob: glob for glob in entries} if isinstance(entries, tuple | list) else entries
    if not isinstance(named, dict) or not all(isinstance(k, str) and is_glob(globs) for k, globs in named.items()):
        raise ArgumentTypeError("groups to be globs on leaf paths, by name or without", got=repr(groups))
    return named


def _is_first_match(name: str, group: str, groups: dict[str, Globs]) -> bool:
    return group == next((other for other, globs in groups.items() if matches(name, globs)), None)
