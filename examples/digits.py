"""Train a perceptron on handwritten digits: AdamW, a warm-up with cosine decay, and decay of the kernels alone."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import gradtx

STEPS, BATCH = 600, 64


def load():
    """The digits, shuffled: 1437 images of 64 pixels in [0, 1] to train on, 360 to test on."""
    images, labels = load_digits(return_X_y=True)
    order = jax.random.permutation(jax.random.key(0), len(labels))
    x, y = jnp.asarray(images / 16, jnp.float32)[order], jnp.asarray(labels)[order]
    return (x[:1437], y[:1437]), (x[1437:], y[1437:])


def batches(data, steps, start=0):
    """Random batches; the one of a step is always the same."""
    for step in range(start, steps):
        batch = np.random.default_rng(step).choice(len(data[1]), BATCH, replace=False)
        yield data[0][batch], data[1][batch]


def init_params(key, sizes=(64, 64, 10)):
    """Two dense layers, as a tree: params["hidden"]["kernel"] and so on."""
    keys = jax.random.split(key, 2)
    return {
        name: {"kernel": jax.random.normal(key, (m, n)) * (2 / m) ** 0.5, "bias": jnp.zeros(n)}
        for name, key, m, n in zip(("hidden", "out"), keys, sizes[:-1], sizes[1:], strict=True)
    }


def model(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return hidden @ params["out"]["kernel"] + params["out"]["bias"]


def cross_entropy(logits, y):
    """The mean over a batch."""
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])


def loss_fn(params, batch):
    x, y = batch
    return cross_entropy(model(params, x), y)


def accuracy(logits, y):
    return jnp.mean(jnp.argmax(logits, axis=1) == y)


def main():
    train, (x, y) = load()
    params = init_params(jax.random.key(1))
    rate = gradtx.warmup_cosine_decay_schedule(0.0, 1e-2, warmup_steps=50, decay_steps=STEPS)
    tx = gradtx.chain(
        gradtx.clip_by_global_norm(1.0),
        gradtx.adamw(rate, weight_decay=1e-2, mask="*/kernel"),  # biases do not decay
    )
    print(tx)
    step, state = gradtx.build_step(loss_fn, tx), tx.init(params)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        params, state, metrics = step(params, state, batch)
        if i % 100 == 0:
            in_force = metrics.hyperparams["learning_rate"]
            print(f"step {i:4}  loss {metrics.loss:.4f}  learning rate {in_force:.5f}")
    print(f"test accuracy {accuracy(model(params, x), y):.3f}")


if __name__ == "__main__":
    main()
