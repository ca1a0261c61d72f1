"""One transformation after another."""

from typing import Any

from gradtx import tree
from gradtx.core import GradientTransformation, Pair, as_transformation, transformation
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.tree.paths import type_name
from gradtx.typing import Params, State, Updates

_HINT = "make it with init(params), and pass it second: tx.update(grads, state, params)"


@transformation
def chain(*transforms: GradientTransformation) -> Pair:
    r"""Apply transformations in order, each to the updates of the one before.

    .. math:: u_0 = g, \qquad u_k = T_k(u_{k-1}), \qquad \text{updates} = u_n

    Every member gets the parameters and all extra keywords. Members may come from Optax; those get the extras their
    ``update`` has parameters for. An empty chain is the identity.

    Args:
      *transforms: the members, in order.

    State:
      A tuple of the members' states.

    Raises:
      ArgumentTypeError: a member is not a transformation.
      TreeMismatchError: the state is not one of this chain.

    Example:
      >>> import gradtx
      >>> gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(1e-3))
      chain(clip_by_global_norm(max_norm=1.0), adamw(learning_rate=0.001))
    """
    members = [as_transformation(tx, f"argument {i} to be a transformation") for i, tx in enumerate(transforms)]

    def init(params: Params) -> tuple[State, ...]:
        return tuple(tx.init(params) for tx in members)

    @tree.fusible
    def update(
        updates: Updates, state: tuple[State, ...], params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        if not isinstance(state, tuple | list) or len(state) != len(members):
            got = type_name(state)
            raise TreeMismatchError(f"a state with {len(members)} members", got=got, hint=_HINT)
        states = []
        for tx, member_state in zip(members, state, strict=True):
            updates, member_state = tx.update(updates, member_state, params, **extra)
            states.append(member_state)
        return updates, tuple(states)

    return init, update


@transformation
def named_chain(*transforms: tuple[str, GradientTransformation]) -> Pair:
    """A `chain` whose members have names: its state is a dict.

    Args:
      *transforms: pairs of a name and a transformation, in order.

    State:
      A dict of the members' states by name.

    Raises:
      ArgumentTypeError: a member is not a pair of a name and a transformation.
      ArgumentValueError: two members have one name.
      TreeMismatchError: the state is not one of this chain.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.named_chain(("clip", gradtx.clip(1.0)), ("sgd", gradtx.sgd(0.1)))
      >>> list(tx.init(jnp.ones(2)))
      ['clip', 'sgd']
    """
    for i, pair in enumerate(transforms):
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ArgumentTypeError(f"argument {i} to be a pair of a name and a transformation", got=repr(pair))
    members = {name: as_transformation(tx, f"member {name!r} to be a transformation") for name, tx in transforms}
    if len(members) < len(transforms):
        names = [name for name, _ in transforms]
        twice = next(name for name in names if names.count(name) > 1)
        raise ArgumentValueError("different names", got=f"{twice!r} twice")

    def init(params: Params) -> dict[str, State]:
        return {name: tx.init(params) for name, tx in members.items()}

    @tree.fusible
    def update(
        updates: Updates, state: dict[str, State], params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        if not isinstance(state, dict) or set(state) != set(members):
            got = type_name(state)
            raise TreeMismatchError(f"a state with members {list(members)}", got=got, hint=_HINT)
        states = {}
        for name, tx in members.items():
            updates, states[name] = tx.update(updates, state[name], params, **extra)
        return updates, states

    return init, update
