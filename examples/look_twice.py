"""One training for optimizers that look twice: each differs from Adam's in the line that makes the optimizer.

`python examples/look_twice.py sam` trains with one of them; without a name, with each in turn. A line search compares
values of one function, so every step has all rows for its batch.
"""

import sys

import jax
import jax.numpy as jnp
from digits import init_params, load, logits, loss_fn

import gradtx

OPTIMIZERS = {
    "adam": gradtx.adam(1e-2),
    "sam": gradtx.sam(gradtx.adam(1e-2)),
    "heun": gradtx.chain(gradtx.heun(0.5), gradtx.scale_by_learning_rate(0.5)),
    "lbfgs": gradtx.lbfgs(),
}
STEPS = 100


def train(tx):
    batch, (x_test, y_test) = load()
    step = gradtx.build_step(lambda params, batch: loss_fn(params, *batch), tx)
    params = init_params(jax.random.key(0))
    state = tx.init(params)
    for _ in range(STEPS):
        params, state, metrics = step(params, state, batch)
    return metrics.loss, jnp.mean(jnp.argmax(logits(params, x_test), axis=1) == y_test)


def main():
    for name in sys.argv[1:] or OPTIMIZERS:
        loss, accuracy = train(OPTIMIZERS[name])
        print(f"{name}: training loss {loss:.4f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
