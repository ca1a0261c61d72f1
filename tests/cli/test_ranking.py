"""Places, ties, and what is said about them."""

import numpy as np
import pytest

import gradtx
from gradtx.cli import ranking
from gradtx.cli.race import Entrant, Outcome
from gradtx.cli.ranking import climbed, finding, rank

STEPS = np.array([0, 10, 20, 30, 40])


def run(label: str, *arrivals: int, end: float = 0.1, schedule: str = "") -> Outcome:
    """One that gets below 1 at some step of each seed (never, if it is 50), and ends somewhere."""
    losses = np.stack([np.where(arrival <= STEPS, 0.5, 2.0) for arrival in arrivals])
    losses[:, 0], losses[:, -1] = 3.0, np.where(np.array(arrivals) <= 40, end, 1.5 + end)
    return Outcome(Entrant(label, gradtx.sgd(0.1), "0.1", schedule), STEPS, losses, {}, None, 0.0)


def places(*outcomes: Outcome, target: float | None = 1.0) -> list[tuple[str, int | None, bool]]:
    return [(placed.name, placed.place, placed.tied) for placed in rank(outcomes, target)]


def test_the_fewest_steps_are_best():
    field = run("slow", 30, 30), run("fast", 10, 10), run("slower", 40, 40)
    assert places(*field) == [("fast", 1, False), ("slow", 2, False), ("slower", 3, False)]
    assert finding(rank(field, 1.0), 1.0) == (
        "fast gets to a loss of 1 first, in 10 steps; slow comes next, with 3 times as many."
    )


def test_differences_within_the_spread_of_the_seeds_are_ties():
    field = run("a", 10, 20), run("b", 20, 20), run("c", 30, 30)
    assert places(*field) == [("a", 1, True), ("b", 1, True), ("c", 3, False)]
    assert finding(rank(field, 1.0), 1.0) == (
        "a and b get to a loss of 1 first, in 15 to 20 steps: too close for 2 seeds to tell apart; "
        "c comes next, with 2 times as many."
    )


def test_a_tie_is_one_with_the_best_of_the_place():
    # Each is within the spread of the one before; the last is not within that of the first.
    assert places(run("a", 10, 10), run("b", 10, 20), run("c", 20, 20)) == [
        ("a", 1, True),
        ("b", 1, True),
        ("c", 3, False),
    ]


def test_those_that_do_not_always_arrive_come_after_and_by_their_loss():
    field = run("worse", 10, 50, end=0.4), run("better", 50, 50, end=0.1), run("there", 40, 40)
    assert [name for name, *_ in places(*field)] == ["there", "worse", "better"]
    assert finding(rank(field, 1.0), 1.0) == (
        "there gets to a loss of 1 first, in 40 steps; no other always gets there."
    )
    assert finding(rank(field[:2], 1.0), 1.0).startswith("None always gets to a loss of 1; worse")


def test_without_a_target_the_loss_decides():
    field = run("a", 40, 40, end=0.2), run("b", 10, 10, end=0.4)
    assert places(*field, target=None) == [("a", 1, False), ("b", 2, False)]
    assert finding(rank(field, None), None) == "a ends lowest, at 0.2; b follows at 0.4."


def test_what_goes_uphill_has_no_place_and_is_named():
    up = run("up", 50, 50, end=100.0)
    gone = run("gone", 50, 50, end=np.nan)
    field = up, run("a", 40, 40), gone
    assert places(*field) == [("a", 1, False), ("up", None, False), ("gone", None, False)]
    told = climbed(rank(field, 1.0))
    assert told.startswith("Went uphill, and has no place: up (loss 3 to 102) and gone (diverged). ")
    assert climbed(rank([field[1]], 1.0)) is None
    assert finding(rank([up, gone], 1.0), 1.0) == "Nothing learned: the loss rose with every one."


def test_schedules_are_named_where_there_are_several():
    field = run("a", 10, schedule="constant"), run("a", 20, schedule="cosine"), run("b", 30, schedule="cosine")
    assert [name for name, *_ in places(*field)] == ["a, constant", "a, cosine", "b"]


def test_one_seed_has_no_spread():
    assert places(run("a", 10), run("b", 20)) == [("a", 1, False), ("b", 2, False)]
    assert places(run("a", 10), run("b", 10)) == [("a", 1, True), ("b", 1, True)]
    assert ranking.spread(np.array([1.0])) == 0


@pytest.mark.parametrize(
    ("count", "words"), [(1, "0"), (2, "0 and 1"), (3, "0, 1 and 2"), (6, "0, 1, 2, 3 and 2 others")]
)
def test_names_in_a_sentence(count, words):
    field = [run(str(i), 10) for i in range(count)]
    assert finding(rank(field, 1.0), 1.0).partition(" get")[0] == words
