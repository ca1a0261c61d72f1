"""A batch that is evaluated in four parts, one after another, with the result of the whole."""

import jax
import jax.numpy as jnp
from digits import accuracy, batches, init_params, load, loss_fn, model

import gradtx

STEPS = 300


def main():
    train, (x, y) = load()
    tx = gradtx.adamw(gradtx.cosine_decay_schedule(1e-2, STEPS))
    trained = {}
    for parts in (1, 4):
        params = init_params(jax.random.key(1))
        step, state = gradtx.build_step(loss_fn, tx, accumulate=parts), tx.init(params)
        for i, batch in enumerate(batches(train, STEPS)):
            params, state, metrics = step(params, state, batch)
            if i == 0:
                print(f"{parts} parts  loss {metrics.loss:.6f}  norm of the gradient {metrics.grad_norm:.6f}")
        trained[parts] = params

    apart = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), trained[1], trained[4])
    print(f"parameters after {STEPS} steps are {max(jax.tree.leaves(apart)):.0e} apart")
    print(f"test accuracy {accuracy(model(trained[4], x), y):.3f}")


if __name__ == "__main__":
    main()
