"""Who takes part in a comparison: the default optimizers of each task, or those given as text."""

import dataclasses
import enum
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

import gradtx
from gradtx.cli.failure import CommandError
from gradtx.cli.program import Transformation
from gradtx.cli.race import Entrant

CONSTANT, COSINE = "constant", "cosine"


@dataclasses.dataclass(frozen=True)
class Contender:
    """An optimizer that takes part in the race on the digits.

    Attributes:
      make: the optimizer as a function of its rate.
      rate: the rate; ``None`` if it finds one by itself, and is given the factor 1.
      falls: whether it is meant for a rate that falls.
    """

    make: Callable[[Any], Transformation]
    rate: float | None
    falls: bool = True

    def entrant(self, label: str, schedule: str, steps: int, rate: float | None = None) -> Entrant:
        """The contender at its rate, or at another one, constant or falling to zero along a cosine.

        A constant rate is written as a cosine that falls to the whole rate: the two then differ in one number, and
        share a program.
        """
        rate = self.rate if rate is None else rate
        factor = 1.0 if rate is None else rate
        course = gradtx.cosine_decay_schedule(factor, steps, float(schedule == CONSTANT))
        return Entrant(label, self.make(course), "" if rate is None else f"{rate:g}", schedule)


def _given(factory: Callable[..., Transformation], **arguments: Any) -> Callable[[Any], Transformation]:
    return lambda rate: factory(rate, **arguments)


DIGITS: dict[str, Contender] = {
    "acprop": Contender(gradtx.acprop, 0.01),
    "adabelief": Contender(gradtx.adabelief, 0.03),
    "adabound": Contender(gradtx.adabound, 0.03),
    "adadelta": Contender(gradtx.adadelta, 10.0),
    "adafactor": Contender(gradtx.adafactor, 0.1),
    "adagrad": Contender(gradtx.adagrad, 0.3),
    "adam": Contender(gradtx.adam, 0.03),
    "adam_mini": Contender(_given(gradtx.adam_mini, blocks={"*kernel": -1}), 0.03),
    "adamax": Contender(gradtx.adamax, 0.1),
    "adamaxw": Contender(gradtx.adamaxw, 0.1),
    "adamod": Contender(gradtx.adamod, 0.1),
    "adamp": Contender(gradtx.adamp, 0.03),
    "adamuon": Contender(gradtx.adamuon, 0.03),
    "adamw": Contender(_given(gradtx.adamw, weight_decay=0.01), 0.03),
    "adan": Contender(gradtx.adan, 0.1),
    "ademamix": Contender(gradtx.ademamix, 0.03),
    "adopt": Contender(gradtx.adopt, 0.03),
    "aggmo": Contender(gradtx.aggmo, 0.1),
    "amsbound": Contender(gradtx.amsbound, 0.03),
    "amsgrad": Contender(gradtx.amsgrad, 0.1),
    "apollo": Contender(gradtx.apollo, 0.1),
    "apollo_mini": Contender(gradtx.apollo_mini, 0.03),
    "asgd": Contender(gradtx.asgd, 1.0),
    "came": Contender(gradtx.came, 0.003),
    "cocob": Contender(gradtx.cocob, None),
    "dadapt_adagrad": Contender(gradtx.dadapt_adagrad, None),
    "dadapt_adamw": Contender(gradtx.dadapt_adamw, None),
    "dadapt_adan": Contender(gradtx.dadapt_adan, None),
    "dadapt_lion": Contender(_given(gradtx.dadapt_lion, growth_rate=1.02), None),
    "dadapt_sgd": Contender(gradtx.dadapt_sgd, None),
    "diffgrad": Contender(gradtx.diffgrad, 0.1),
    "dion": Contender(gradtx.dion, 0.1),
    "dog": Contender(gradtx.dog, None),
    "dowg": Contender(gradtx.dowg, None),
    "fromage": Contender(gradtx.fromage, 0.1),
    "galore": Contender(gradtx.galore, 0.1),
    "kt": Contender(lambda _: gradtx.kt(), None, falls=False),
    "lamb": Contender(gradtx.lamb, 0.01),
    "laprop": Contender(gradtx.laprop, 0.03),
    "lars": Contender(gradtx.lars, 3.0),
    "lion": Contender(gradtx.lion, 0.003),
    "madgrad": Contender(gradtx.madgrad, 0.1),
    "mars": Contender(gradtx.mars, 0.1),
    "mars_lion": Contender(gradtx.mars_lion, 0.01),
    "momentum": Contender(_given(gradtx.sgd, momentum=0.9), 0.3),
    "momo": Contender(gradtx.momo, 10.0),
    "momo_adam": Contender(gradtx.momo_adam, 10.0),
    "muon": Contender(gradtx.muon, 0.03),
    "nadam": Contender(gradtx.nadam, 0.03),
    "nesterov": Contender(_given(gradtx.sgd, momentum=0.9, nesterov=True), 0.3),
    "noisy_sgd": Contender(gradtx.noisy_sgd, 1.0),
    "normuon": Contender(gradtx.normuon, 0.03),
    "novograd": Contender(gradtx.novograd, 0.1),
    "optimistic_adam": Contender(gradtx.optimistic_adam, 0.03),
    "optimistic_gradient_descent": Contender(gradtx.optimistic_gradient_descent, 0.3),
    "polyak_sgd": Contender(gradtx.polyak_sgd, None),
    "prodigy": Contender(gradtx.prodigy, None),
    "qhadam": Contender(gradtx.qhadam, 0.1),
    "qhm": Contender(gradtx.qhm, 3.0),
    "radam": Contender(gradtx.radam, 0.1),
    "ranger": Contender(gradtx.ranger, 0.3),
    "rmsprop": Contender(gradtx.rmsprop, 0.03),
    "rprop": Contender(gradtx.rprop, 0.01),
    "schedule_free_adamw": Contender(gradtx.schedule_free_adamw, 0.1, falls=False),
    "schedule_free_radam": Contender(gradtx.schedule_free_radam, 0.3, falls=False),
    "schedule_free_sgd": Contender(gradtx.schedule_free_sgd, 3.0, falls=False),
    "scion": Contender(gradtx.scion, 0.003),
    "sgd": Contender(gradtx.sgd, 1.0),
    "sgdp": Contender(gradtx.sgdp, 0.3),
    "sgdw": Contender(gradtx.sgdw, 0.3),
    "shampoo": Contender(gradtx.shampoo, 0.03),
    "sign_sgd": Contender(gradtx.sign_sgd, 0.01),
    "signum": Contender(gradtx.signum, 0.01),
    "simplified_ademamix": Contender(gradtx.simplified_ademamix, 0.0003),
    "sm3": Contender(gradtx.sm3, 0.3),
    "soap": Contender(gradtx.soap, 0.03),
    "sophia": Contender(gradtx.sophia, 0.01),
    "stable_adamw": Contender(gradtx.stable_adamw, 0.03),
    "tiger": Contender(gradtx.tiger, 0.01),
    "yogi": Contender(gradtx.yogi, 0.03),
}
"""By label, who can take part on the digits.

Each rate is the one of the grid ..., 0.03, 0.1, 0.3, 1, ... that ends lowest after 600 steps, over five seeds and over
the constant and the falling rate: ``python -m benchmarks.rates`` finds it. All else is at its default, except what is
said here.
"""

FIRST = ("momentum", "adamw", "lion", "muon", "schedule_free_adamw")
"""Those that take part unless all are asked for: the ones that people choose between."""


class Schedules(enum.StrEnum):
    """Which courses of the rate take part."""

    COSINE = "cosine"
    CONSTANT = "constant"
    BOTH = "both"


def of_digits(steps: int, *, everyone: bool = False, schedules: Schedules = Schedules.COSINE) -> list[Entrant]:
    """The optimizers that people choose between, or everyone, at a rate that falls, that stays, or at both.

    An optimizer that is meant for a rate that stays has no other.
    """
    return [
        contender.entrant(label, schedule, steps)
        for label in (DIGITS if everyone else FIRST)
        for contender in (DIGITS[label],)
        for schedule in _courses(contender, schedules)
    ]


def _courses(contender: Contender, schedules: Schedules) -> tuple[str, ...]:
    if not contender.falls:
        return (CONSTANT,)
    return (CONSTANT, COSINE) if schedules is Schedules.BOTH else (schedules.value,)


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
