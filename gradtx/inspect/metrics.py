"""The scalars in a state, to log."""

import collections
import functools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import ScheduledState, registry
from gradtx.schedules import PlateauSettings
from gradtx.tree.fields import is_named_tuple, leaf_fields, one_level
from gradtx.typing import State
from gradtx.wrappers import TunableState

Entry = tuple[str, str, Any]
"""The place of a node in the state, the name of a scalar in it, and the scalar."""


def metrics(state: State) -> dict[str, Any]:
    """The scalars in a state by name: the values in force, counts, norms, what was skipped. Pure, also inside jit.

    A hyperparameter that follows a schedule or is `tunable` goes by its own name, ``"learning_rate"``; any other scalar
    by the transformation whose state has it and the field, ``"clip_by_global_norm/norm"``. Scalars of one name are
    preceded by their place in the state, ``"0/clip_by_global_norm/norm"``. Which names there are depends on the
    transformation alone. Moments and other trees like the params are left out, also where they are scalars; so are
    arrays: of a state with an axis of runs (`jax.vmap`), take the metrics inside the mapped function.

    A state that several factories share has the name of one of them: ``"scale_by_adam/count"`` for Yogi, too.

    Args:
      state: the state of any transformation, however nested; of Optax's, the scalar fields of named tuples.

    Returns:
      A flat dict of arrays [], for TensorBoard, W&B or clu.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(gradtx.exponential_decay(0.1, 10, 0.5)))
      >>> for name, value in gradtx.metrics(tx.init(jnp.ones(2))).items():
      ...     print(name, value)
      clip_by_global_norm/norm 0.0
      clip_by_global_norm/clipped 0
      learning_rate 0.1
      scheduled/count 0
      scale_by_adam/count 0
    """
    entries = [*_entries(state, "")]
    occurrences = collections.Counter(name for _, name, _ in entries)
    return {name if occurrences[name] == 1 else _join(place, name): _bare(value) for place, name, value in entries}


def _entries(node: Any, place: str) -> Iterator[Entry]:
    """Every scalar in a part of a state."""
    if isinstance(node, PlateauSettings):
        return  # arguments, the same at every step
    if isinstance(node, ScheduledState | TunableState):
        yield from ((place, name, value) for name, value in node.hyperparams.items() if _scalar(value))
        node = node._replace(hyperparams={})
    node_type: type = type(node)
    owner, by_name = state_name(node_type), _scalars_by_name(node_type)
    for key, child in one_level(node)[0]:
        if child is node or key in leaf_fields(node_type):
            continue
        if key in by_name:
            yield from ((place, f"{owner}/{key}/{name}", value) for name, value in child.items() if _scalar(value))
        elif is_named_tuple(node) and _scalar(child):
            yield place, f"{owner}/{key}", child
        else:
            yield from _entries(child, _join(place, key))


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _scalar(x: Any) -> bool:
    """Whether a value is one number: no array, no random key."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and x.ndim == 0 and (jnp.issubdtype(dtype, jnp.number) or dtype == jnp.bool_)


def _bare(x: Any) -> Any:
    """An array out of what holds it: a variable of Flax NNX, in the state of an ``nnx.Optimizer``."""
    return jax.tree.leaves(x)[0]


def _scalars_by_name(state_type: type) -> set[str]:
    """The fields of a state class that hold scalars by name, as its annotations say."""
    return {name for name, hint in getattr(state_type, "__annotations__", {}).items() if hint == dict[str, jax.Array]}


@functools.cache
def state_name(state_type: type) -> str:
    """The name of the transformation that has a state: ``clip_by_global_norm`` for ``ClipByGlobalNormState``."""
    words = state_type.__name__.removesuffix("State")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", words).lower()
    plain = snake.replace("_", "")
    return next((f.name for f in registry().values() if f.name.replace("_", "") == plain), snake)
