"""One transformation after another."""

from collections.abc import Callable, Sequence
from typing import Any

from gradtx.combinators.keys import extras_of_members
from gradtx.core import Form, GradientTransformation, as_transformation, transformation
from gradtx.core.leafwise import LeafState, Leafwise, Outline, Scalars, update_leaves
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.tree.paths import type_name
from gradtx.typing import Params, State, Updates

_HINT = "make it with init(params), and pass it second: tx.update(grads, state, params)"


@transformation
def chain(*transforms: GradientTransformation) -> Form:
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

    def unpack(state: State) -> list[State]:
        if not isinstance(state, tuple | list) or len(state) != len(members):
            raise TreeMismatchError(f"a state with {len(members)} members", got=type_name(state), hint=_HINT)
        return list(state)

    return _in_order(members, tuple, unpack)


@transformation
def named_chain(*transforms: tuple[str, GradientTransformation]) -> Form:
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

    def unpack(state: State) -> list[State]:
        if not isinstance(state, dict) or set(state) != set(members):
            raise TreeMismatchError(f"a state with members {list(members)}", got=type_name(state), hint=_HINT)
        return [state[name] for name in members]

    def pack(states: Sequence[State]) -> State:
        return dict(zip(members, states, strict=True))

    return _in_order(list(members.values()), pack, unpack)


def _in_order(
    members: list[GradientTransformation],
    pack: Callable[[Sequence[State]], State],
    unpack: Callable[[State], list[State]],
) -> Form:
    """The members one after another. Neighbours that are leafwise are one function of a leaf, mapped once."""
    forms = [tx.leafwise for tx in members]
    places = groups(forms)
    extras_at = extras_of_members(members)
    if all(forms) and len(places) <= 1:
        return joined([form for form in forms if form], pack, unpack, extras_at)

    def steps(group: list[int]) -> Callable[..., tuple[Updates, Sequence[State]]]:
        """The update of a group: takes and returns the states of its members."""
        found = [form for i in group if (form := forms[i])]
        if not found:
            tx = members[group[0]]

            def step(updates: Updates, states: Sequence[State], params: Params, extra: Any) -> Any:
                updates, state = tx.update(updates, states[0], params, **extras_at(extra, group[0]))
                return updates, [state]

            return step
        form = joined(found, list, list, lambda extra, k: extras_at(extra, group[0] + k))
        return lambda updates, states, params, extra: update_leaves(form, updates, states, params, extra)

    sequence = [(group, steps(group)) for group in places]

    def init(params: Params) -> State:
        return pack([tx.init(params) for tx in members])

    def update(updates: Updates, state: Any, params: Params | None = None, **extra: Any) -> tuple[Updates, State]:
        states = unpack(state)
        for group, step in sequence:
            updates, states[group[0] : group[-1] + 1] = step(updates, [states[i] for i in group], params, extra)
        return updates, pack(states)

    return init, update


def joined(
    members: Sequence[Leafwise],
    pack: Callable[[Sequence[State]], State],
    unpack: Callable[[State], Sequence[State]],
    extras_at: Callable[[dict[str, Any], int], dict[str, Any]],
) -> Leafwise:
    """Leafwise transformations one after another as one, whose leaf function calls theirs.

    Only the first may look at the updates.

    Args:
      members: the transformations, in order.
      pack: makes the state of those of the members.
      unpack: the states of the members in order, or an error if it is the state of something else.
      extras_at: the extras for the member at an index.
    """

    def prepare(updates: Updates, state: State, params: Params, extra: dict[str, Any]) -> tuple[State, Scalars]:
        pairs = [
            m.prepare(updates, s, params, extras_at(extra, k))
            for k, (m, s) in enumerate(zip(members, unpack(state), strict=True))
        ]
        return pack([state for state, _ in pairs]), tuple(scalars for _, scalars in pairs)

    def split(state: State, outline: Outline) -> list[LeafState]:
        columns = [m.split(s, outline) for m, s in zip(members, unpack(state), strict=True)]
        return list(zip(*columns, strict=True)) if columns else [()] * outline.treedef.num_leaves

    def leaf(scalars: Scalars, index: Any, g: Any, s: LeafState, p: Any) -> tuple[Any, LeafState]:
        new = []
        for member, numbers, part in zip(members, scalars, s, strict=True):
            g, part = member.leaf(numbers, index, g, part, p)
            new.append(part)
        return g, tuple(new)

    def merge(state: State, outline: Outline, rows: list[LeafState]) -> State:
        pairs = enumerate(zip(members, unpack(state), strict=True))
        return pack([m.merge(s, outline, [row[k] for row in rows]) for k, (m, s) in pairs])

    return Leafwise(
        lambda params: pack([m.init(params) for m in members]), prepare, split, leaf, merge,
        needs_updates=any(m.needs_updates for m in members), needs_params=any(m.needs_params for m in members),
    )  # fmt: skip


def groups(members: Sequence[Leafwise | None]) -> list[list[int]]:
    """The places of a chain's members, those together that can be joined; ``None`` is a member that is not leafwise."""
    found: list[list[int]] = []
    for i, member in enumerate(members):
        before = members[found[-1][-1]] if found else None
        joins = member and before and not member.needs_updates
        if joins:
            found[-1].append(i)
        else:
            found.append([i])
    return found
