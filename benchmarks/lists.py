"""Lists of leaves to measure on: a few large ones, many alike, those of two real models; as shapes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def _shape(*dims: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(dims, jnp.float32)


def alike(count: int, side: int = 64) -> dict[str, Any]:
    """So many square leaves."""
    return {f"w{i}": _shape(side, side) for i in range(count)}


def transformer(layers: int = 12, width: int = 768, tokens: int = 50257, positions: int = 1024) -> dict[str, Any]:
    """A decoder of the size of GPT-2: 148 leaves of 9 shapes."""

    def norm() -> dict[str, Any]:
        return {"scale": _shape(width), "bias": _shape(width)}

    def dense(rows: int, columns: int) -> dict[str, Any]:
        return {"kernel": _shape(rows, columns), "bias": _shape(columns)}

    def block() -> dict[str, Any]:
        attention = {"qkv": dense(width, 3 * width), "out": dense(width, width)}
        mlp = {"up": dense(width, 4 * width), "down": dense(4 * width, width)}
        return {"norm1": norm(), "attention": attention, "norm2": norm(), "mlp": mlp}

    embeddings = {"tokens": _shape(tokens, width), "positions": _shape(positions, width)}
    return {"embeddings": embeddings, **{f"block{i}": block() for i in range(layers)}, "norm": norm()}


def resnet(blocks: tuple[int, ...] = (3, 4, 6, 3), classes: int = 1000) -> dict[str, Any]:
    """A ResNet-50: 161 leaves of 28 shapes."""

    def convolution(side: int, inputs: int, outputs: int) -> dict[str, Any]:
        return {"kernel": _shape(side, side, inputs, outputs), "scale": _shape(outputs), "bias": _shape(outputs)}

    params, inputs = {"stem": convolution(7, 3, 64)}, 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for i in range(count):
            sides = ((1, inputs, width), (3, width, width), (1, width, 4 * width))
            block = {f"conv{k}": convolution(*side) for k, side in enumerate(sides)}
            if i == 0:
                block["shortcut"] = convolution(1, inputs, 4 * width)
            params[f"stage{stage}block{i}"], inputs = block, 4 * width
    return {**params, "head": {"kernel": _shape(inputs, classes), "bias": _shape(classes)}}


LISTS: dict[str, Callable[[], dict[str, Any]]] = {
    "big": lambda: alike(2, side=4096),
    "many": lambda: alike(1000),
    "transformer": transformer,
    "resnet50": resnet,
}
"""The lists by name."""


def size(leaves: dict[str, Any]) -> int:
    """The number of parameters."""
    return sum(x.size for x in jax.tree.leaves(leaves))


def draw(leaves: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Arrays of these shapes, normally distributed."""

    @jax.jit
    def make(key: jax.Array) -> Any:
        shapes, treedef = jax.tree.flatten(leaves)
        keys = jax.random.split(key, len(shapes))
        return treedef.unflatten(jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, shapes, strict=True))

    return make(jax.random.key(seed))
