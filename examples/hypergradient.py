"""Learn a learning-rate schedule and a momentum: gradient descent on the validation loss at the end of training."""

import itertools

import jax
import jax.numpy as jnp
from digits import BATCH, accuracy, init_params, load, loss_fn, model

import gradtx

STEPS, OUTER_STEPS = 60, 20


def main():
    (x, y), test = load()
    validation = x[1152:], y[1152:]

    def make(raw):
        """An optimizer from numbers without bounds."""
        rates = tuple(jnp.exp(raw["log_rates"]))
        thirds = [gradtx.linear_schedule(a, b, STEPS // 3) for a, b in itertools.pairwise(rates)]
        rate = gradtx.join_schedules(thirds, [STEPS // 3, 2 * STEPS // 3])
        return gradtx.sgd(rate, momentum=jax.nn.sigmoid(raw["momentum"]))

    def train(tx, key):
        params = init_params(jax.random.key(1))

        def step(carry, key):
            params, state = carry
            batch = jax.random.choice(key, 1152, (BATCH,))
            updates, state = tx.update(jax.grad(loss_fn)(params, (x[batch], y[batch])), state, params)
            return (gradtx.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(key, STEPS))
        return params

    outer_loss = jax.jit(jax.value_and_grad(lambda raw, key: loss_fn(train(make(raw), key), validation)))
    raw = {"log_rates": jnp.log(jnp.full(4, 0.03)), "momentum": jnp.array(0.0)}
    outer = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adam(0.1))
    state = outer.init(raw)
    for i in range(OUTER_STEPS):
        loss, hypergradients = outer_loss(raw, jax.random.key(i))
        updates, state = outer.update(hypergradients, state, raw)
        raw = gradtx.apply_updates(raw, updates)
        if i % 5 == 0:
            rates = "  ".join(f"{rate:.3f}" for rate in jnp.exp(raw["log_rates"]))
            momentum = jax.nn.sigmoid(raw["momentum"])
            print(f"validation loss after {STEPS} steps {loss:.3f}  rates {rates}  momentum {momentum:.2f}")

    params = jax.jit(lambda raw, key: train(make(raw), key))(raw, jax.random.key(OUTER_STEPS))
    print(f"test accuracy {accuracy(model(params, test[0]), test[1]):.3f}")


if __name__ == "__main__":
    main()
