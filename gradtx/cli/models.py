"""The models, in plain JAX: a linear regression, a small multilayer perceptron, and LeNet-5."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.typing import Params

Init = Callable[[np.random.Generator], Params]
Layer = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model and what it is trained for.

    Attributes:
      init: ``init(rng) -> params``; drawn by NumPy, which needs no compilation.
      loss: ``loss(params, x, y)``, the mean over the rows.
      accuracy: ``accuracy(params, x, y)``, the fraction of rows classified correctly, if it is a classifier.
    """

    init: Init
    loss: Callable[[Params, Any, Any], jax.Array]
    accuracy: Callable[[Params, Any, Any], jax.Array] | None = None


def linear(features: int, scale: float = 0.01) -> Model:
    """Linear regression with bias: weights from N(0, scale^2), bias 0, half the squared error."""

    def init(rng: np.random.Generator) -> Params:
        return {"kernel": np.float32(scale) * rng.standard_normal(features, np.float32), "bias": np.float32(0)}

    def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((x @ params["kernel"] + params["bias"] - y) ** 2) / 2

    return Model(init, loss)


def classifier(init: Init, logits: Callable[[Params, Any], jax.Array]) -> Model:
    """A model with softmax cross-entropy as its loss."""

    def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        log_probabilities = jax.nn.log_softmax(logits(params, x))
        return -jnp.mean(jnp.take_along_axis(log_probabilities, y[:, None], axis=1))

    def accuracy(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.argmax(logits(params, x), axis=1) == y)

    return Model(init, loss, accuracy)


def mlp(*widths: int) -> Model:
    """Fully connected layers with rectifiers between them: ``mlp(64, 32, 10)`` has one hidden layer of 32."""

    def init(rng: np.random.Generator) -> Params:
        return [_dense(rng, *shape) for shape in itertools.pairwise(widths)]

    return classifier(init, _forward)


def lenet5(side: int = 32, channels: int = 3, classes: int = 10) -> Model:
    """LeNet-5: convolution 6@5x5, pool, convolution 16@5x5, pool, 120, 84, `classes`; rectifiers and max pooling.

    Inputs are bytes, [n, side, side, channels].
    """
    flat = 16 * (((side - 4) // 2 - 4) // 2) ** 2

    def init(rng: np.random.Generator) -> Params:
        convolutions = [_dense(rng, 25 * channels, 6), _dense(rng, 25 * 6, 16)]
        dense = [_dense(rng, flat, 120), _dense(rng, 120, 84), _dense(rng, 84, classes)]
        return {"convolutions": convolutions, "dense": dense}

    def logits(params: Params, x: jax.Array) -> jax.Array:
        # Rows go last, where the images are contiguous in memory: on a CPU this halves the time of a step.
        images = jnp.transpose(x, (3, 1, 2, 0)).astype(jnp.float32) / 127.5 - 1
        for layer in params["convolutions"]:
            images = _max_pool(jax.nn.relu(_convolve(layer, images, 5)))
        return _forward(params["dense"], images.reshape(-1, images.shape[-1]).T)

    return classifier(init, logits)


def _dense(rng: np.random.Generator, n_in: int, n_out: int) -> Layer:
    """A layer with He's initialisation."""
    kernel = np.float32((2 / n_in) ** 0.5) * rng.standard_normal((n_in, n_out), np.float32)
    return {"kernel": kernel, "bias": np.zeros(n_out, np.float32)}


def _forward(layers: list[Layer], x: jax.Array) -> jax.Array:
    for index, layer in enumerate(layers):
        x = (jax.nn.relu(x) if index else x) @ layer["kernel"] + layer["bias"]
    return x


def _convolve(layer: Layer, x: jax.Array, size: int) -> jax.Array:
    """A valid convolution of ``x`` [channels, height, width, n], as one product with the shifted images."""
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    shifted = jnp.stack([x[:, i : i + height, j : j + width] for i in range(size) for j in range(size)])
    y = layer["kernel"].T @ shifted.reshape(layer["kernel"].shape[0], -1) + layer["bias"][:, None]
    images: jax.Array = y.reshape(-1, height, width, x.shape[3])
    return images


def _max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2x2 square."""
    channels, height, width, n = x.shape
    return x.reshape(channels, height // 2, 2, width // 2, 2, n).max(axis=(2, 4))
