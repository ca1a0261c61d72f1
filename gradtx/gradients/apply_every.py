"""The sum of several updates in place of each."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx import tree
from gradtx.core import Form, increment, leafwise, transformation
from gradtx.typing import AtLeastOne, Count, Updates


class ApplyEveryState(NamedTuple):
    """The state of `apply_every`.

    Attributes:
      count: updates taken in since the last sum was given out, int32 [].
      grad_acc: their sum, like the params, in accumulator dtype; of no meaning while `count` is 0.
    """

    count: Count
    grad_acc: Updates


@transformation
def apply_every(k: AtLeastOne = 1) -> Form:
    r"""Give out the sum of k updates at every k-th step, and zeros in between.

    .. math::
        u_t = \begin{cases} \sum_{i=0}^{k-1} g_{t-i} & \text{if } k \text{ divides } t \\ 0 & \text{otherwise}
        \end{cases}

    It is a member of a chain: those before it, and their states, move at every step. So
    ``chain(adam(1e-3), apply_every(4))`` adds up four steps of Adam, of four gradients. For one step of the mean of
    four gradients, wrap the optimizer: ``accumulate(adam(1e-3), 4)``. A NaN spoils the sum it is part of, and no other.

    Args:
      k: how many updates are added up, at least 1; a number or a schedule over all steps.

    State:
      `ApplyEveryState`: 4 bytes per float32 parameter, and a counter.

    Example:
      >>> import jax.numpy as jnp, gradtx
      >>> tx = gradtx.chain(gradtx.sgd(1.0), gradtx.apply_every(2))
      >>> state = tx.init(jnp.zeros(1))
      >>> for g in [1.0, 3.0]:
      ...     updates, state = tx.update(jnp.array([g]), state)
      ...     print(updates)
      [0.]
      [-4.]

    Differences from Optax: sums in at least float32; after a sum that is NaN, the next one is not.
    """

    def prepare(state: ApplyEveryState) -> tuple[ApplyEveryState, dict[str, Any]]:
        count = increment(state.count)
        due = count >= k
        return state._replace(count=jnp.where(due, 0, count)), {"first": state.count == 0, "due": due}

    def leaf(g: jax.Array, total: jax.Array, *, first: Any, due: Any) -> tuple[jax.Array, jax.Array]:
        # A selection: zero times the old sum would keep a NaN in it for ever.
        total = jnp.where(first, g, total + g)
        return jnp.where(due, total, 0), total

    return leafwise(leaf, state=ApplyEveryState, init_leaf=tree.zeros_accumulator, prepare=prepare)
