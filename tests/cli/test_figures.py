"""Figures: where they may go, and that names do not overlap."""

import os

import numpy as np
import pytest
from matplotlib.figure import Figure

import gradtx
from gradtx.cli import figures
from gradtx.cli.data import Dataset, Rows
from gradtx.cli.failure import CommandError
from gradtx.cli.models import linear
from gradtx.cli.race import Entrant, Outcome
from gradtx.cli.ranking import rank
from gradtx.cli.tasks import Task, TaskName


def drawn(count: int, target: float | None = 1.0, seeds: int = 3) -> Figure:
    """The figure of a comparison in which the optimizers arrive one after another."""
    steps, rng = np.arange(0, 10 * count + 20, 10), np.random.default_rng(0)
    scale = rng.uniform(1, 1.1, (seeds, 1))
    losses = [scale * np.where(steps > 10 * i, 0.5, 2) for i in range(count)]
    outcomes = [Outcome(Entrant(f"o{i}", gradtx.sgd(0.1)), steps, y, {}, None, 0.0) for i, y in enumerate(losses)]
    for outcome in outcomes:
        outcome.losses[:, 0] = 3
    rows = Rows(np.zeros((1, 1)), np.zeros(1))
    task = Task(
        TaskName.DIGITS, Dataset(rows, rows, None, ""), linear(1), 1, 1, seeds, target, "loss", 1.0, lambda _: []
    )
    return figures.curves(task, rank(outcomes, target), target)


def test_the_figure_has_the_best_six_with_bands_and_says_what_it_shows():
    (axis,) = drawn(9).axes
    curves = [line for line in axis.lines if len(line.get_xdata()) > 2]
    assert len(curves) == len({line.get_color() for line in curves}) == figures.MOST
    assert len(axis.collections) == figures.MOST
    assert [text.get_text() for text in axis.texts][:6] == [f"o{i}" for i in range(6)]
    title = " ".join(axis.get_title(loc="left").split())
    assert title == "o0 gets to a loss of 1 first, in 10 steps; o1 comes next, with 2 times as many. The best 6 of 9."
    dots = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    assert dots == [10, 20, 30, 40, 50, 60]


def test_a_figure_without_a_target_has_no_line_for_it():
    (axis,) = drawn(2, None).axes
    assert len(axis.lines) == 2


def test_places_are_moved_apart_in_order():
    places = np.array([0.5, 0.1, 0.5, 0.51, 1.0])
    apart = figures.spread(places, gap=0.1)
    assert np.diff(np.sort(apart)).min() > 0.099
    assert np.argsort(apart, kind="stable").tolist() == [1, 0, 2, 3, 4]
    assert apart.min() >= 0
    assert apart.max() <= 1


def test_places_far_apart_stay():
    assert figures.spread(np.array([0.9, 0.1])).tolist() == [0.9, 0.1]
    assert figures.spread(np.array([0.3])).tolist() == [0.3]


def test_too_many_places_share_the_room():
    apart = np.sort(figures.spread(np.full(101, 0.5)))
    assert np.diff(apart).min() > 0.0099
    assert (apart[0], apart[-1]) == (pytest.approx(0), pytest.approx(1))


@pytest.mark.parametrize("name", ["a.png", "a.PDF", "a.svg"])
def test_a_good_place(name, tmp_path):
    figures.check(tmp_path / name)
    figures.save(Figure(), tmp_path / name)
    figures.check(tmp_path / name)


@pytest.mark.parametrize("name", ["a", "a.jpeg", "missing/a.png", "folder.png"])
def test_a_bad_place(name, tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(CommandError):
        figures.check(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_forbidden_place(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CommandError, match="cannot be written"):
        figures.check(tmp_path / "a.png")


def test_a_place_that_fails_later(tmp_path):
    with pytest.raises(CommandError, match="cannot be written"):
        figures.save(Figure(), tmp_path / "missing" / "a.png")


def test_dollars_are_no_formula():
    assert figures.title("masked(sgd(1), '$x$')", 80) == r"masked(sgd(1), '\$x\$')"
