"""Train with a transformation of your own, whose state of a matrix is the means of its rows and columns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from digits import accuracy, batches, init_params, load, loss_fn, model

import gradtx
from gradtx import tree

STEPS = 300


class FactoredState(NamedTuple):
    """The means of squared gradients: of rows and columns of a matrix, of the elements of another leaf."""

    rows: gradtx.Updates
    columns: gradtx.Updates
    elements: gradtx.Updates


@gradtx.transformation
def factored_rms(decay: gradtx.Decay = 0.95, eps: gradtx.Positive = 1e-8):
    """Divide by the root of the mean square, which for a matrix is the product of the means of its rows and columns."""

    def init_leaf(p):
        if p.ndim != 2:
            return None, None, tree.zeros_accumulator(p)
        return tree.zeros_accumulator(p.mean(axis=1)), tree.zeros_accumulator(p.mean(axis=0)), None

    def leaf(g, rows, columns, elements):
        square = g * g + eps
        if rows is None:
            elements = decay * elements + (1 - decay) * square
            return g / jnp.sqrt(elements), None, None, elements
        rows = decay * rows + (1 - decay) * square.mean(axis=1)
        columns = decay * columns + (1 - decay) * square.mean(axis=0)
        return g / jnp.sqrt(jnp.outer(rows, columns) / rows.mean()), rows, columns, None

    return gradtx.leafwise(leaf, state=FactoredState, init_leaf=init_leaf)


def main():
    train, (x, y) = load()
    params = init_params(jax.random.key(1))
    tx = gradtx.chain(
        gradtx.clip_by_global_norm(1.0),
        factored_rms(),
        gradtx.clip_by_block_rms(1.0),
        gradtx.add_decayed_weights(1e-2, "*/kernel"),
        gradtx.scale_by_learning_rate(gradtx.cosine_decay_schedule(1e-2, STEPS)),
    )
    print(tx)
    step, state = gradtx.build_step(loss_fn, tx), tx.init(params)
    numbers = [sum(x.size for x in jax.tree.leaves(t)) for t in (params, tree.find_nodes(state, FactoredState))]
    print(f"{numbers[0]} parameters, {numbers[1]} numbers of state")
    for batch in batches(train, STEPS):
        params, state, _ = step(params, state, batch)
    print(f"test accuracy {accuracy(model(params, x), y):.3f}")


if __name__ == "__main__":
    main()
