"""Who takes part by default, and from texts."""

import pytest

import gradtx
from gradtx.cli import entrants
from gradtx.cli.entrants import Schedules
from gradtx.cli.failure import CommandError
from gradtx.cli.race import Entrant, group

ELSEWHERE = {
    **dict.fromkeys(
        ["splus"],
        "no rate has been searched for it on the digits yet",
    ),
    "dpsgd": "it takes the gradient of each example, which the race does not compute",
    "kron": "a step of it on a CPU costs hundreds of the others'",
    "lbfgs": "it is for functions that stay the same from step to step, and its steps cost several of the others'",
}
"""Optimizers that do not take part, with the reason. ``python -m benchmarks.rates`` searches a rate for `DIGITS`."""

UNSCHEDULED = {"kt", "schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd"}
"""Optimizers that are meant for a rate that stays."""


def of_everyone(schedules: Schedules = Schedules.BOTH) -> list[Entrant]:
    return entrants.of_digits(600, everyone=True, schedules=schedules)


def test_every_registered_optimizer_takes_part_or_has_a_reason():
    registered = {name for name, f in gradtx.registry().items() if f.kind == "optimizer" and "." not in name}
    assert {e.tx.factory.name for e in of_everyone()} == registered - set(ELSEWHERE)
    assert set(ELSEWHERE) <= registered


def test_a_falling_rate_shares_the_program_of_the_constant_one():
    for pair in group(of_everyone()):
        label = pair[0].label
        assert [e.schedule for e in pair] == (["constant"] if label in UNSCHEDULED else ["constant", "cosine"]), label
    for e in of_everyone():
        rate = next((p for n, p in e.tx.arguments.items() if n in ("learning_rate", "max_learning_rate")), None)
        if rate is not None:
            first = float(e.rate or 1)
            assert rate(0) == pytest.approx(first)
            assert rate(600) == pytest.approx(first if e.schedule == "constant" else 0, abs=1e-6)


def test_who_takes_part_by_default():
    field = entrants.of_digits(600)
    assert [e.label for e in field] == ["momentum", "adamw", "lion", "muon", "schedule_free_adamw"]
    assert [e.schedule for e in field] == ["cosine"] * 4 + ["constant"]
    assert {e.schedule for e in of_everyone(Schedules.CONSTANT)} == {"constant"}
    falling = of_everyone(Schedules.COSINE)
    assert {e.label for e in falling if e.schedule == "constant"} == UNSCHEDULED
    assert len({e.label for e in falling}) == len(falling) == len(entrants.DIGITS)


def test_airfoil_follows_the_textbook():
    field = {entrant.label: entrant.tx for entrant in entrants.of_airfoil(300)}
    assert field["adam"] == gradtx.adam(0.01, eps=1e-6)
    assert field["yogi"] == gradtx.yogi(0.01, eps=1e-3, initial_accumulator_value=0.0)
    assert field["adagrad"].eps == field["rmsprop"].eps == 1e-6
    assert field["adagrad"].initial_accumulator_value == 0
    assert field["adagrad"].eps_in_sqrt
    assert field["rmsprop"].eps_in_sqrt
    assert (field["adadelta"].rho, field["adadelta"].eps) == (0.9, 1e-5)


def test_cifar10_has_two_arms():
    constant, plateau = entrants.of_cifar10(100)
    assert constant.tx == gradtx.adam(1e-3)
    assert plateau.tx == gradtx.adam(gradtx.plateau_schedule(1e-3, factor=0.1, patience=5))


def test_texts_are_read_and_named():
    chained, adam = entrants.from_texts([" chain( clip(1.0),sgd(0.1) )", "adam(1e-3)"])
    assert (chained.label, chained.tx) == (
        "chain( clip(1.0), sgd(0.1) )",
        gradtx.chain(gradtx.clip(1.0), gradtx.sgd(0.1)),
    )
    assert (adam.label, adam.tx) == ("adam(1e-3)", gradtx.adam(1e-3))


def test_arrays_make_a_sweep():
    swept = entrants.from_texts(["sgd(array([0.1, 0.2]), array([0.5, 0.9]), nesterov=True)"])
    assert [e.tx for e in swept] == [gradtx.sgd(0.1, 0.5, nesterov=True), gradtx.sgd(0.2, 0.9, nesterov=True)]
    assert swept[0].label == "sgd(learning_rate=0.1, momentum=0.5, nesterov=True)"
    assert len(group(swept)) == 1


@pytest.mark.parametrize("text", ["linear_schedule(1.0, 0.0, 5)", "adam(array([]))", "adam(array([[1.0, 2.0]]))"])
def test_texts_that_are_no_entrants(text):
    with pytest.raises(CommandError):
        entrants.from_texts([text])
