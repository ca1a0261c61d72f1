"""The same training with Equinox: a model is a tree, and its arrays are the parameters."""

import equinox as eqx
import jax
from digits import accuracy, batches, cross_entropy, load

import gradtx

STEPS = 300


def main():
    train, (x, y) = load()
    mlp = eqx.nn.MLP(64, 10, width_size=64, depth=1, key=jax.random.key(0))
    params, static = eqx.partition(mlp, eqx.is_inexact_array)

    def model(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    def loss_fn(params, batch):
        return cross_entropy(model(params, batch[0]), batch[1])

    tx = gradtx.adamw(gradtx.cosine_decay_schedule(1e-2, STEPS), weight_decay=1e-2, mask="*/weight")
    step, state = gradtx.build_step(loss_fn, tx), tx.init(params)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        params, state, metrics = step(params, state, batch)
        if i % 100 == 0:
            rate = metrics.hyperparams["learning_rate"]
            print(f"step {i:4}  loss {metrics.loss:.4f}  learning rate {rate:.5f}")
    print(f"test accuracy {accuracy(model(params, x), y):.3f}")


if __name__ == "__main__":
    main()
