"""Train with nine learning rates and three seeds at once: the optimizer is mapped over like any other array."""

import jax
import jax.numpy as jnp
from digits import BATCH, accuracy, init_params, load, loss_fn, model

import gradtx

STEPS = 200
RATES = jnp.logspace(-4, 0, 9)


def main():
    (x, y), (x_test, y_test) = load()

    def train(tx, key):
        """The test accuracy after training with an optimizer; its numbers may be traced."""
        params = init_params(key)

        def step(carry, key):
            params, state = carry
            batch = jax.random.choice(key, len(y), (BATCH,))
            updates, state = tx.update(jax.grad(loss_fn)(params, (x[batch], y[batch])), state, params)
            return (gradtx.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, STEPS))
        return accuracy(model(params, x_test), y_test)

    sweep = gradtx.adam(RATES)  # one optimizer that holds nine learning rates
    over_rates = jax.vmap(train, in_axes=(gradtx.sweep_axes(sweep), None))
    over_seeds = jax.jit(jax.vmap(over_rates, in_axes=(None, 0)))
    scores = over_seeds(sweep, jax.random.split(jax.random.key(0), 3))  # [3 seeds, 9 rates]

    for rate, mean, spread in zip(RATES, scores.mean(axis=0), scores.std(axis=0), strict=True):
        print(f"adam({rate:.4f})  test accuracy {mean:.3f} ± {spread:.3f}")
    best = jnp.argmax(scores.mean(axis=0))
    print(f"best: {gradtx.adam(round(float(RATES[best]), 4))}, test accuracy {scores.mean(axis=0)[best]:.3f}")


if __name__ == "__main__":
    main()
