"""Learning rates by layer and weight decay by kind of parameter, both with globs on the names."""

import jax
from digits import accuracy, batches, init_params, load, loss_fn, model

import gradtx

STEPS = 300


def main():
    train, (x, y) = load()
    params = init_params(jax.random.key(1))
    tx = gradtx.chain(
        gradtx.scale_by_adam(),
        gradtx.add_decayed_weights(1e-2, mask="*/kernel"),  # biases do not decay
        gradtx.partition(
            {
                "hidden/*": gradtx.scale_by_learning_rate(gradtx.cosine_decay_schedule(2e-2, STEPS)),
                "out/bias": gradtx.scale_by_learning_rate(1e-3),
                "*": gradtx.scale_by_learning_rate(gradtx.linear_schedule(1e-2, 1e-4, STEPS)),
            }
        ),
    )
    step, state = gradtx.build_step(loss_fn, tx), tx.init(params)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        params, state, metrics = step(params, state, batch)
        if i % 100 == 0:
            rates = {name: f"{rate:.5f}" for name, rate in metrics.hyperparams.items()}
            print(f"step {i:4}  loss {metrics.loss:.4f}  {rates}")
    print(f"test accuracy {accuracy(model(params, x), y):.3f}")


if __name__ == "__main__":
    main()
