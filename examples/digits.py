"""Train a perceptron on handwritten digits: AdamW, a warm-up with cosine decay, and decay of the kernels alone."""

import jax
import jax.numpy as jnp
from sklearn.datasets import load_digits

import gradtx

STEPS, BATCH = 600, 64


def load():
    """The digits, shuffled: 1437 images of 64 pixels in [0, 1] to train on, 360 to test on."""
    images, labels = load_digits(return_X_y=True)
    order = jax.random.permutation(jax.random.key(0), len(labels))
    x, y = jnp.asarray(images / 16, jnp.float32)[order], jnp.asarray(labels)[order]
    return (x[:1437], y[:1437]), (x[1437:], y[1437:])


def init_params(key, sizes=(64, 64, 10)):
    """Two dense layers, as a tree: params["hidden"]["kernel"] and so on."""
    keys = jax.random.split(key, 2)
    return {
        name: {"kernel": jax.random.normal(key, (m, n)) * (2 / m) ** 0.5, "bias": jnp.zeros(n)}
        for name, key, m, n in zip(("hidden", "out"), keys, sizes[:-1], sizes[1:], strict=True)
    }


def logits(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return hidden @ params["out"]["kernel"] + params["out"]["bias"]


def loss_fn(params, x, y):
    """The mean cross-entropy."""
    return -jnp.mean(jax.nn.log_softmax(logits(params, x))[jnp.arange(len(y)), y])


def main():
    train, test = load()
    params = init_params(jax.random.key(1))
    rate = gradtx.warmup_cosine_decay_schedule(0.0, 1e-2, warmup_steps=50, decay_steps=STEPS)
    tx = gradtx.chain(
        gradtx.clip_by_global_norm(1.0),
        gradtx.adamw(rate, weight_decay=1e-2, mask="*/kernel"),  # biases do not decay
    )
    print(tx)
    state = tx.init(params)

    @jax.jit
    def step(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = tx.update(grads, state, params)
        return gradtx.apply_updates(params, updates), state, loss

    for i in range(STEPS):
        batch = jax.random.choice(jax.random.key(i), len(train[1]), (BATCH,), replace=False)
        params, state, loss = step(params, state, train[0][batch], train[1][batch])
        if (i + 1) % 100 == 0:
            in_force = gradtx.get_hyperparams(state)["learning_rate"]
            print(f"step {i + 1:4}  loss {loss:.4f}  learning rate {in_force:.5f}")

    accuracy = jnp.mean(jnp.argmax(logits(params, test[0]), axis=1) == test[1])
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
