"""Who takes part by default, and from texts."""

import pytest

import gradtx
from gradtx.cli import entrants
from gradtx.cli.failure import CommandError
from gradtx.cli.race import group

ELSEWHERE = {
    **dict.fromkeys(
        [
            "acprop",
            "adabound",
            "adafactor",
            "adam_mini",
            "adamax",
            "adamaxw",
            "adamod",
            "adamuon",
            "adamp",
            "adan",
            "ademamix",
            "adopt",
            "aggmo",
            "amsbound",
            "apollo",
            "apollo_mini",
            "asgd",
            "came",
            "diffgrad",
            "fromage",
            "galore",
            "lamb",
            "laprop",
            "lars",
            "madgrad",
            "mars",
            "mars_lion",
            "muon",
            "normuon",
            "noisy_sgd",
            "novograd",
            "qhadam",
            "qhm",
            "rprop",
            "schedule_free_adamw",
            "schedule_free_radam",
            "schedule_free_sgd",
            "scion",
            "sgdp",
            "sgdw",
            "sign_sgd",
            "signum",
            "simplified_ademamix",
            "sm3",
            "soap",
            "stable_adamw",
            "tiger",
        ],
        "no rate has been searched for it on the digits yet",
    ),
    "dpsgd": "it takes the gradient of each example, which the race does not compute",
    "lbfgs": "it is for functions that stay the same from step to step, and its steps cost several of the others'",
    "optimistic_adam": "it is for games",
    "optimistic_gradient_descent": "it is for games",
    **dict.fromkeys(
        [
            "cocob",
            "dadapt_adagrad",
            "dadapt_adamw",
            "dadapt_adan",
            "dadapt_lion",
            "dadapt_sgd",
            "dog",
            "dowg",
            "kt",
            "prodigy",
        ],
        "it finds its learning rate by itself",
    ),
    "momo": "its largest learning rate is not the one it takes",
    "momo_adam": "its largest learning rate is not the one it takes",
    "polyak_sgd": "it has no learning rate to be given or scheduled",
    "sophia": "its steps cost several of the others'",
}
"""Optimizers that do not take part by default, with the reason."""


def test_digits_pair_every_optimizer_with_its_decay():
    field = entrants.of_digits(600)
    assert len(field) == 30
    assert {e.tx.factory.name for e in field} == {
        name for name, factory in gradtx.registry().items() if factory.kind == "optimizer" and "." not in name
    } - set(ELSEWHERE)
    assert set(ELSEWHERE) <= set(gradtx.registry())
    pairs = group(field)
    assert all([e.schedule for e in pair] == ["constant", "cosine"] for pair in pairs)
    assert len(pairs) == 15
    for constant, falling in pairs:
        rate = float(constant.rate)
        assert constant.tx.learning_rate(0) == constant.tx.learning_rate(600) == pytest.approx(rate)
        assert falling.tx.learning_rate(0) == pytest.approx(rate)
        assert falling.tx.learning_rate(600) == pytest.approx(0, abs=1e-6)


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
