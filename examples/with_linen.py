"""The same training with Flax Linen: `TrainState` takes a gradtx transformation."""

import flax.linen as nn
import jax
from digits import accuracy, batches, cross_entropy, load
from flax.training.train_state import TrainState

import gradtx

STEPS = 300


class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


@jax.jit
def step(train_state, batch):
    x, y = batch
    loss, grads = jax.value_and_grad(lambda params: cross_entropy(train_state.apply_fn(params, x), y))(
        train_state.params
    )
    return train_state.apply_gradients(grads=grads), loss


def main():
    train, (x, y) = load()
    network = Perceptron()
    tx = gradtx.adamw(gradtx.cosine_decay_schedule(1e-2, STEPS), weight_decay=1e-2, mask="*/kernel")
    params = network.init(jax.random.key(0), x)
    train_state = TrainState.create(apply_fn=network.apply, params=params, tx=tx)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        train_state, loss = step(train_state, batch)
        if i % 100 == 0:
            rate = gradtx.get_hyperparams(train_state.opt_state)["learning_rate"]
            print(f"step {i:4}  loss {loss:.4f}  learning rate {rate:.5f}")
    print(f"test accuracy {accuracy(network.apply(train_state.params, x), y):.3f}")


if __name__ == "__main__":
    main()
