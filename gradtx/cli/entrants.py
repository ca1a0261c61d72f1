"""Who takes part in a comparison: the default optimizers of each task, or those given as text."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

import gradtx
from gradtx.cli.failure import CommandError
from gradtx.cli.program import Transformation
from gradtx.cli.race import Entrant

CONSTANT = "constant"

DIGITS: dict[str, tuple[Callable[[Any], Transformation], float]] = {
    "sgd": (gradtx.sgd, 1.0),
    "momentum": (lambda rate: gradtx.sgd(rate, momentum=0.9), 0.3),
    "nesterov": (lambda rate: gradtx.sgd(rate, momentum=0.9, nesterov=True), 0.3),
    "adagrad": (gradtx.adagrad, 0.3),
    "rmsprop": (gradtx.rmsprop, 0.03),
    "adadelta": (gradtx.adadelta, 10.0),
    "adam": (gradtx.adam, 0.03),
    "adamw": (lambda rate: gradtx.adamw(rate, weight_decay=0.01), 0.03),
    "nadam": (gradtx.nadam, 0.03),
    "amsgrad": (gradtx.amsgrad, 0.1),
    "adabelief": (gradtx.adabelief, 0.03),
    "yogi": (gradtx.yogi, 0.03),
    "radam": (gradtx.radam, 0.1),
    "lion": (gradtx.lion, 0.003),
    "ranger": (gradtx.ranger, 0.3),
}
"""By label, the optimizer as a function of its rate, and the rate.

Each rate is the one of the grid ..., 0.03, 0.1, 0.3, 1, ... that ends lowest after 600 steps, over five seeds and over
the constant and the falling rate; a compromise where these two disagree.
"""


def of_digits(steps: int) -> list[Entrant]:
    """Every optimizer at a constant rate and at one that falls to zero along a cosine.

    The constant rate is written as a cosine that falls to the whole rate: the two then differ in one number, and
    share a program.
    """
    return [
        Entrant(label, make(gradtx.cosine_decay_schedule(rate, steps, alpha)), f"{rate:g}", schedule)
        for label, (make, rate) in DIGITS.items()
        for schedule, alpha in ((CONSTANT, 1.0), ("cosine", 0.0))
    ]


def of_airfoil(steps: int) -> list[Entrant]:
    """The optimizers of the d2l chapters, with the conventions of their text."""
    txs = {
        "sgd": gradtx.sgd(0.03),
        "momentum": gradtx.sgd(0.004, momentum=0.9),
        "adagrad": gradtx.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-6),
        "rmsprop": gradtx.rmsprop(0.01, eps=1e-6),
        "adadelta": gradtx.adadelta(1.0, eps=1e-5),
        "adam": gradtx.adam(0.01, eps=1e-6),
        "yogi": gradtx.yogi(0.01, initial_accumulator_value=0.0),
    }
    return [Entrant(label, tx, f"{tx.learning_rate:g}") for label, tx in txs.items()]


def of_cifar10(steps: int) -> list[Entrant]:
    """Adam at a constant rate, and at one that falls to a tenth on a plateau of the validation loss."""
    plateau = gradtx.plateau_schedule(1e-3, factor=0.1, patience=5)
    return [
        Entrant("adam", gradtx.adam(1e-3), "0.001", CONSTANT),
        Entrant("adam", gradtx.adam(plateau), "0.001", "plateau"),
    ]


def from_texts(texts: Iterable[str]) -> list[Entrant]:
    """Entrants from constructor texts; a text with arrays of numbers is a sweep, and makes one entrant of each.

    Raises:
      CommandError: a text describes something else than a transformation, or arrays of different lengths.
      GradtxError: a text is not one that `gradtx.parse` reads.
    """
    return [entrant for text in texts for entrant in _from_text(text)]


def _from_text(text: str) -> list[Entrant]:
    tx = gradtx.parse(text)
    if not isinstance(tx, Transformation):
        raise CommandError(f"--optimizer {text!r} is a schedule; give it to an optimizer, as in sgd({text})")
    shapes = {np.shape(number) for number in jax.tree.leaves(tx)} - {()}
    if not shapes:
        return [Entrant(re.sub(r"\s*,\s*", ", ", " ".join(text.split())), tx)]
    if len(shapes) > 1 or len(shape := shapes.pop()) > 1 or shape == (0,):
        raise CommandError(f"--optimizer {text!r}: the arrays of a sweep must have one axis and the same length")
    swept = [jax.tree.map(lambda x, i=i: _plain(x[i]) if np.ndim(x) else x, tx) for i in range(shape[0])]
    return [Entrant(repr(one), one) for one in swept]


def _plain(x: Any) -> float:
    """A number of an array as a Python number with the same short text: 0.001, not 0.0010000000474974513."""
    return float(str(np.asarray(x)[()]))
