"""The models against plain definitions."""

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.cli.models import lenet5, linear, mlp


def test_linear_begins_near_zero_and_halves_the_square():
    model = linear(5)
    params = model.init(np.random.default_rng(0))
    assert params["kernel"].shape == (5,)
    assert 0 < np.abs(params["kernel"]).max() < 0.05
    assert params["bias"] == 0
    x, y = np.ones((2, 5), np.float32), np.array([1.0, 3.0], np.float32)
    assert model.loss({"kernel": jnp.zeros(5), "bias": 1.0}, x, y) == 1.0


def test_mlp_is_layers_with_rectifiers_between():
    model = mlp(4, 3, 2)
    one, two = model.init(np.random.default_rng(0))
    x, y = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.array([0, 1, 0, 1, 1, 0])
    logits = np.maximum(x @ one["kernel"] + one["bias"], 0) @ two["kernel"] + two["bias"]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(probabilities[np.arange(6), y]).mean()
    np.testing.assert_allclose(model.loss([one, two], x, y), loss, rtol=1e-5)
    assert model.accuracy([one, two], x, y) == np.mean(logits.argmax(1) == y)


def test_lenet5_is_the_classic_on_colour_images():
    model = lenet5()
    params = model.init(np.random.default_rng(1))
    assert sum(x.size for x in jax.tree.leaves(params)) == 456 + 2416 + 48120 + 10164 + 850
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    y = np.array([1, 2, 3])

    images = jnp.asarray(x, jnp.float32) / 127.5 - 1
    for layer, width in zip(params["convolutions"], (6, 16), strict=True):
        kernel = layer["kernel"].reshape(5, 5, -1, width)
        images = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images + layer["bias"])
        images = jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    # The dense layers read the features with the channel first.
    features = images.transpose(0, 3, 1, 2).reshape(3, 400)
    for index, layer in enumerate(params["dense"]):
        features = (jax.nn.relu(features) if index else features) @ layer["kernel"] + layer["bias"]
    expected = -jax.nn.log_softmax(features)[np.arange(3), y].mean()
    np.testing.assert_allclose(model.loss(params, x, y), expected, rtol=1e-4)
