"""What `convergence` trains: perceptron, LeNet-5 (MNIST, CIFAR-10), and a transformer on Shakespeare's characters.

The first comes with scikit-learn. The others are read from the folder that the environment variable GRADTX_DATA names:
``mnist/train-images-idx3-ubyte.gz`` and its three siblings, ``cifar10/cifar10_10k_2k.npz``,
``tinyshakespeare/input.txt``.
"""

import dataclasses
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradtx.cli import data, models
from gradtx.cli.data import Dataset, Rows
from gradtx.cli.models import Model
from gradtx.typing import Params


@dataclasses.dataclass(frozen=True)
class Task:
    """A model, its data, and how long it is trained.

    Attributes:
      target: the training loss to reach.
      vectorised: whether all runs advance together, which pays where one is little work.
    """

    model: Model
    dataset: Dataset
    batch: int
    steps: int
    target: float
    vectorised: bool = False


def digits() -> Task:
    """8x8 digits, one hidden layer."""
    return Task(models.mlp(64, 32, 10), data.load_digits(), batch=64, steps=400, target=0.05, vectorised=True)


def mnist() -> Task | None:
    """MNIST, LeNet-5; 20 thousand of its images."""
    folder = _folder("mnist")
    if folder is None:
        return None
    train = Rows(*(_idx(folder / f"train-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")))[:20000]
    test = Rows(*(_idx(folder / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")))[:2000]
    dataset = Dataset(train, train[:1000], test, "MNIST")
    return Task(models.lenet5(28, channels=1), dataset, batch=64, steps=300, target=0.2)


def cifar10() -> Task | None:
    """CIFAR-10, LeNet-5; nine thousand of its images, and a thousand for the loss."""
    folder = _folder("cifar10")
    if folder is None:
        return None
    return Task(models.lenet5(), data.load_cifar10(folder.parent), batch=64, steps=400, target=1.6)


def _idx(path: Path) -> Any:
    """The array in a gzipped file of MNIST's format: a header of two bytes, type, rank and sizes."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, offset=4)
    array = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
    return array[..., None] if rank == 3 else array.astype(np.int32)


def shakespeare(context: int = 32, width: int = 48, layers: int = 2) -> Task | None:
    """Tiny Shakespeare, character by character, a small decoder."""
    folder = _folder("tinyshakespeare")
    if folder is None:
        return None
    text = (folder / "input.txt").read_bytes()
    alphabet, codes = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)
    codes = codes[: len(codes) // (context + 1) * (context + 1)].reshape(-1, context + 1).astype(np.int32)
    rows = Rows(codes[:, :-1], codes[:, 1:])[np.random.default_rng(0).permutation(len(codes))]
    dataset = Dataset(rows[512:], rows[512:768], None, "tiny Shakespeare")
    return Task(transformer(len(alphabet), context, width, layers), dataset, batch=16, steps=400, target=2.4)


def transformer(alphabet: int, context: int, width: int, layers: int, heads: int = 4) -> Model:
    """A decoder with pre-normalisation: causal attention and a perceptron of four times the width in each layer."""

    def init(rng: np.random.Generator) -> Params:
        def matrix(rows: int, columns: int) -> Any:
            return np.float32(rows**-0.5) * rng.standard_normal((rows, columns), np.float32)

        blocks = [
            {
                "qkv": matrix(width, 3 * width),
                "out": matrix(width, width),
                "up": matrix(width, 4 * width),
                "down": matrix(4 * width, width),
                "scales": np.ones((2, width), np.float32),
            }
            for _ in range(layers)
        ]
        return {
            "tokens": matrix(alphabet, width),
            "positions": matrix(context, width),
            "blocks": blocks,
            "scale": np.ones(width, np.float32),
            "head": matrix(width, alphabet),
        }

    causal = np.tril(np.ones((context, context), bool))

    def normalise(x: jax.Array, scale: jax.Array) -> jax.Array:
        return scale * x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)

    def attend(x: jax.Array, block: Any) -> jax.Array:
        q, k, v = jnp.moveaxis((x @ block["qkv"]).reshape(*x.shape[:2], 3, heads, width // heads), 2, 0)
        scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) * (width // heads) ** -0.5
        weights = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
        return jnp.einsum("nhqk,nkhd->nqhd", weights, v).reshape(x.shape) @ block["out"]

    def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        h = params["tokens"][x] + params["positions"]
        for block in params["blocks"]:
            h = h + attend(normalise(h, block["scales"][0]), block)
            h = h + jax.nn.gelu(normalise(h, block["scales"][1]) @ block["up"]) @ block["down"]
        log_probabilities = jax.nn.log_softmax(normalise(h, params["scale"]) @ params["head"])
        return -jnp.mean(jnp.take_along_axis(log_probabilities, y[..., None], axis=-1))

    return Model(init, loss)


def _folder(name: str) -> Path | None:
    """A data set's folder, if there is one."""
    folder = Path(os.environ.get("GRADTX_DATA", "")) / name
    return folder if "GRADTX_DATA" in os.environ and folder.is_dir() else None


TASKS: dict[str, Callable[[], Task | None]] = {
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "shakespeare": shakespeare,
}
"""The tasks by name; None where the data is missing."""
