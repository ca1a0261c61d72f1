"""One training for optimizers that look twice: each differs from Adam's in the line that makes the optimizer.

`python examples/look_twice.py sam` trains with one of them; without a name, with each in turn. A line search compares
values of one function, so every step has all rows for its batch.
"""

import sys

import jax
from digits import accuracy, init_params, load, loss_fn, model

import gradtx

OPTIMIZERS = {
    "adam": gradtx.adam(1e-2),
    "sam": gradtx.sam(gradtx.adam(1e-2)),
    "heun": gradtx.chain(gradtx.heun(0.5), gradtx.scale_by_learning_rate(0.5)),
    "lbfgs": gradtx.lbfgs(),
}
STEPS = 100


def train(tx):
    batch, (x, y) = load()
    step = gradtx.build_step(loss_fn, tx)
    params = init_params(jax.random.key(0))
    state = tx.init(params)
    for _ in range(STEPS):
        params, state, metrics = step(params, state, batch)
    return metrics.loss, accuracy(model(params, x), y)


def main():
    for name in sys.argv[1:] or OPTIMIZERS:
        loss, score = train(OPTIMIZERS[name])
        print(f"{name}: training loss {loss:.4f}, test accuracy {score:.3f}")


if __name__ == "__main__":
    main()
