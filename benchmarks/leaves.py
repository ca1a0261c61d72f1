"""Lists of parameters, as shapes: a few large leaves, many small ones, and those of two real models."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Leaves = dict[str, jax.ShapeDtypeStruct]


def _leaves(shapes: dict[str, tuple[int, ...]]) -> Leaves:
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def big() -> Leaves:
    """Two leaves of 4096x4096: 34 million parameters."""
    return _leaves({f"w{i}": (4096, 4096) for i in range(2)})


def many(count: int = 1000) -> Leaves:
    """Leaves of 64x64: 4 million parameters in a thousand."""
    return _leaves({f"w{i:04}": (64, 64) for i in range(count)})


def transformer(layers: int = 12, width: int = 768, vocabulary: int = 50257, context: int = 1024) -> Leaves:
    """A decoder of the size of GPT-2 small: 124 million parameters in 148 leaves."""
    shapes: dict[str, tuple[int, ...]] = {"tokens": (vocabulary, width), "positions": (context, width)}
    for i in range(layers):
        for norm in ("norm1", "norm2"):
            shapes |= {f"{i}/{norm}/scale": (width,), f"{i}/{norm}/bias": (width,)}
        for name, inputs, outputs in (
            ("qkv", width, 3 * width),
            ("out", width, width),
            ("up", width, 4 * width),
            ("down", 4 * width, width),
        ):
            shapes |= {f"{i}/{name}/kernel": (inputs, outputs), f"{i}/{name}/bias": (outputs,)}
    return _leaves(shapes | {"norm/scale": (width,), "norm/bias": (width,)})


def resnet50(classes: int = 1000) -> Leaves:
    """ResNet-50: 26 million parameters in 161 leaves, most of them the scales and biases of its normalisations."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, size: int, inputs: int, outputs: int) -> None:
        shapes[f"{name}/kernel"] = (size, size, inputs, outputs)
        shapes.update({f"{name}/scale": (outputs,), f"{name}/bias": (outputs,)})

    convolution("stem", 7, 3, 64)
    channels = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            name = f"{stage}/{block}"
            if block == 0:
                convolution(f"{name}/shortcut", 1, channels, 4 * width)
            convolution(f"{name}/reduce", 1, channels, width)
            convolution(f"{name}/middle", 3, width, width)
            convolution(f"{name}/expand", 1, width, 4 * width)
            channels = 4 * width
    return _leaves(shapes | {"head/kernel": (channels, classes), "head/bias": (classes,)})


LISTS: dict[str, Callable[[], Leaves]] = {"big": big, "many": many, "transformer": transformer, "resnet50": resnet50}
"""The lists by name."""


def size(leaves: Leaves) -> int:
    """The number of parameters."""
    return sum(x.size for x in leaves.values())


def draw(leaves: Leaves, seed: int = 0) -> dict[str, Any]:
    """Arrays of these shapes, normally distributed."""

    @jax.jit
    def make(key: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, len(leaves))
        return {name: jax.random.normal(k, x.shape, x.dtype) for k, (name, x) in zip(keys, leaves.items(), strict=True)}

    return make(jax.random.key(seed))
