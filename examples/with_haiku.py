"""The same training with Haiku: its parameters are a dict of dicts, as any other."""

import haiku as hk
import jax
from digits import accuracy, batches, cross_entropy, load

import gradtx

STEPS = 300


def main():
    train, (x, y) = load()
    network = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([64, 10])(x)))
    params = network.init(jax.random.key(0), x)  # {"mlp/~/linear_0": {"w": ..., "b": ...}, ...}

    def loss_fn(params, batch):
        return cross_entropy(network.apply(params, batch[0]), batch[1])

    tx = gradtx.adamw(gradtx.cosine_decay_schedule(1e-2, STEPS), weight_decay=1e-2, mask="*/w")
    step, state = gradtx.build_step(loss_fn, tx), tx.init(params)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        params, state, metrics = step(params, state, batch)
        if i % 100 == 0:
            rate = metrics.hyperparams["learning_rate"]
            print(f"step {i:4}  loss {metrics.loss:.4f}  learning rate {rate:.5f}")
    print(f"test accuracy {accuracy(network.apply(params, x), y):.3f}")


if __name__ == "__main__":
    main()
