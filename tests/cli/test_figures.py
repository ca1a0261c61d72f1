"""Figures: where they may go, and that names do not overlap."""

import os

import numpy as np
import pytest
from matplotlib.figure import Figure

from gradtx.cli import figures
from gradtx.cli.failure import CommandError


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
