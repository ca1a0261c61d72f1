"""Complex parameters as pairs of real ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import GradientTransformation, Pair, transformation
from gradtx.tree.paths import is_inert
from gradtx.typing import Params, State, Updates


class RealAndImaginary(NamedTuple):
    """Stands for a complex leaf inside of `split_real_and_imaginary`.

    Attributes:
      real: the real part.
      imaginary: the imaginary part.
    """

    real: Any
    imaginary: Any


class SplitRealAndImaginaryState(NamedTuple):
    """The state of `split_real_and_imaginary`.

    Attributes:
      inner_state: the state of the inner transformation, made for the parts.
    """

    inner_state: State


@transformation
def split_real_and_imaginary(inner: GradientTransformation) -> Pair:
    r"""Give the real and the imaginary part of each complex leaf to a transformation as two leaves.

    .. math:: z = x + i y: \qquad u_z = u_x + i\, u_y

    Without it, Adam and its kind keep one second moment :math:`|g|^2` for a complex number and move along its direction
    in the plane, which does not depend on how the axes lie. With it, each part has a second moment of its own, and a
    norm of a unit or a leaf is that of the part. Real leaves pass as they are. A glob of a mask inside sees the names
    ``phase/real`` and ``phase/imaginary``.

    The updates are the gradients of ascent, as everywhere: those of `jax.grad` by complex numbers have to be conjugated
    first, which `build_step` does.

    Args:
      inner: the transformation.

    State:
      `SplitRealAndImaginaryState` around the inner state; where the inner one keeps second moments, 4 bytes more per
      complex64 parameter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> params, grads = jnp.zeros(1, complex), jnp.array([3 - 4j])
      >>> for tx in (gradtx.adam(0.1), gradtx.split_real_and_imaginary(gradtx.adam(0.1))):
      ...     updates, _ = tx.update(grads, tx.init(params), params)
      ...     print(updates.real.round(2), updates.imag.round(2))
      [-0.06] [0.08]
      [-0.1] [0.1]
    """

    def init(params: Params) -> SplitRealAndImaginaryState:
        return SplitRealAndImaginaryState(inner.init(_split(params)))

    def update(
        updates: Updates, state: SplitRealAndImaginaryState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, State]:
        # Each leaf is split once: a clip in a group of a partition finds its updates among those of the whole tree.
        parts: dict[int, Any] = {}
        extra = _of_parts(extra, parts)
        split_updates, inner_state = inner.update(_split(updates, parts), state.inner_state, _split(params), **extra)
        return _join(split_updates), SplitRealAndImaginaryState(inner_state)

    return init, update


def _split(tree: Any, parts: dict[int, Any] | None = None) -> Any:
    """The tree with a pair of real arrays for each complex one; those that were split before are in `parts`."""
    known = {} if parts is None else parts

    def split(x: Any) -> Any:
        if is_inert(x) or not jnp.iscomplexobj(x):
            return x
        if id(x) not in known:
            known[id(x)] = RealAndImaginary(jnp.real(x), jnp.imag(x))
        return known[id(x)]

    return jax.tree.map(split, tree)


def _join(tree: Any) -> Any:
    """The tree with its pairs made complex numbers again."""

    def is_pair(node: Any) -> bool:
        return isinstance(node, RealAndImaginary)

    def join(x: Any) -> Any:
        return jax.lax.complex(x.real, x.imaginary) if is_pair(x) else x

    return jax.tree.map(join, tree, is_leaf=is_pair)


def _of_parts(extra: dict[str, Any], parts: dict[int, Any]) -> dict[str, Any]:
    """The extras that are trees or functions of the params, for the parts."""

    def after(name: str, then: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda params: then(extra[name](_join(params)))

    known: dict[str, Callable[[], Any]] = {
        "grad": lambda: _split(extra["grad"]),
        "whole_updates": lambda: _split(extra["whole_updates"], parts),
        "value_fn": lambda: after("value_fn", lambda value: value),
        "grad_fn": lambda: after("grad_fn", _split),
        "value_and_grad_fn": lambda: after("value_and_grad_fn", lambda both: (both[0], _split(both[1]))),
    }
    return extra | {name: make() for name, make in known.items() if extra.get(name) is not None}
