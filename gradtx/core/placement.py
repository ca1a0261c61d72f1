"""Where the arrays of a state are put."""

from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from gradtx.typing import Params, State


def placed_with(params: Params, state: State) -> State:
    """The state with its loose arrays where the params are: on their device, or on all devices of their mesh.

    Loose are arrays that JAX may still move, such as new counters. A step returns them tied to the params' devices; had
    they begun loose, its second call would compile a second program. Nothing moves if the params are loose or traced
    themselves, or on several devices without a mesh.
    """
    place = _common_place(params)
    if place is None:
        return state
    return jax.tree.map(lambda x: jax.device_put(x, place) if _is_loose(x) else x, state)


def placed_like(new: jax.Array, old: Any) -> jax.Array:
    """The array where the one is that it replaces. Elsewhere, it would make the next step compile another program.

    Nothing moves if the old one is loose, or either is traced.
    """
    if isinstance(new, jax.core.Tracer) or not _is_array(old) or not old.committed:
        return new
    moved: jax.Array = jax.device_put(new, old.sharding)
    return moved


def _is_array(x: Any) -> bool:
    """Whether it is an array of JAX that has a place, as no traced one has."""
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)


def _is_loose(x: Any) -> bool:
    return _is_array(x) and not x.committed


def _common_place(params: Params) -> Any:
    """The place for scalars beside some params; None if they have none in common."""
    places: set[Any] = set()
    for x in jax.tree.leaves(params):
        if not _is_array(x) or not x.committed:
            continue
        if isinstance(x.sharding, NamedSharding):
            places.add(NamedSharding(x.sharding.mesh, PartitionSpec()))  # type: ignore[no-untyped-call]
        elif isinstance(x.sharding, SingleDeviceSharding):
            (device,) = x.sharding.device_set
            # Not the sharding itself: of params in host memory, it would put what is computed with there too.
            places.add(SingleDeviceSharding(device))
        else:
            return None
    return places.pop() if len(places) == 1 else None
