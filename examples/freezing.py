"""Train the last layer alone, then all of them: a gradual unfreezing, with the state carried over."""

import jax
import jax.numpy as jnp
from digits import accuracy, batches, init_params, load, loss_fn, model

import gradtx

STEPS, UNFREEZE = 400, 150


def main():
    train, (x, y) = load()
    params = init_params(jax.random.key(1))
    hidden = params["hidden"]["kernel"].copy()
    tx = gradtx.partition(
        {
            "hidden/*": gradtx.conditionally_mask(gradtx.adam(3e-3), lambda step: step >= UNFREEZE),
            "*": gradtx.adam(gradtx.cosine_decay_schedule(1e-2, STEPS)),
        }
    )
    step, state = gradtx.build_step(loss_fn, tx), tx.init(params)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        params, state, metrics = step(params, state, batch)
        if i in (UNFREEZE, STEPS):
            moved = jnp.max(jnp.abs(params["hidden"]["kernel"] - hidden))
            print(f"step {i:4}  loss {metrics.loss:.4f}  first layer moved by {moved:.2f} at most")
    print(f"test accuracy {accuracy(model(params, x), y):.3f}")


if __name__ == "__main__":
    main()
