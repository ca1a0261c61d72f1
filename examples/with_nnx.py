"""The same training with Flax NNX: `nnx.Optimizer` takes a gradtx transformation."""

import jax
from digits import accuracy, batches, cross_entropy, load
from flax import nnx

import gradtx

STEPS = 300


class Perceptron(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(jax.nn.relu(self.hidden(x)))


@nnx.jit
def step(model, optimizer, batch):
    x, y = batch
    loss, grads = nnx.value_and_grad(lambda model: cross_entropy(model(x), y))(model)
    optimizer.update(model, grads)
    return loss


def main():
    train, (x, y) = load()
    model = Perceptron(nnx.Rngs(0))
    tx = gradtx.adamw(gradtx.cosine_decay_schedule(1e-2, STEPS), weight_decay=1e-2, mask="*/kernel")
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    for i, batch in enumerate(batches(train, STEPS), start=1):
        loss = step(model, optimizer, batch)
        if i % 100 == 0:
            rate = gradtx.get_hyperparams(optimizer.opt_state)["learning_rate"]
            print(f"step {i:4}  loss {loss:.4f}  learning rate {rate[...]:.5f}")
    print(f"test accuracy {accuracy(model(x), y):.3f}")


if __name__ == "__main__":
    main()
