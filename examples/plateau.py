"""Lower the learning rate when the validation loss stops improving, observed once an epoch."""

import jax
from digits import BATCH, accuracy, init_params, load, loss_fn, model

import gradtx

EPOCHS = 40


def main():
    (x, y), test = load()
    train, validation = (x[:1152], y[:1152]), (x[1152:], y[1152:])
    params = init_params(jax.random.key(1))
    tx = gradtx.adam(gradtx.plateau_schedule(3e-2, factor=0.3, patience=3, min_value=1e-3))
    state = tx.init(params)

    @jax.jit
    def epoch(params, state, key):
        """One pass over the training data. The updates do not mention the plateau."""
        order = jax.random.permutation(key, len(train[1])).reshape(-1, BATCH)

        def step(carry, batch):
            params, state = carry
            grads = jax.grad(loss_fn)(params, (train[0][batch], train[1][batch]))
            updates, state = tx.update(grads, state, params)
            return (gradtx.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(step, (params, state), order)
        return params, state, loss_fn(params, validation)

    rate = 0.0
    for i, key in enumerate(jax.random.split(jax.random.key(0), EPOCHS)):
        params, state, validation_loss = epoch(params, state, key)
        state = gradtx.observe(state, value=validation_loss)
        before, rate = rate, float(gradtx.get_hyperparams(state)["learning_rate"])
        if rate != before:
            print(f"epoch {i + 1:2}  validation loss {validation_loss:.4f}  learning rate now {rate:.5f}")

    print(f"test accuracy {accuracy(model(params, test[0]), test[1]):.3f}")


if __name__ == "__main__":
    main()
