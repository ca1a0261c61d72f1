"""The paths on the narrow valley, against the equations written out in NumPy."""

import numpy as np
import pytest

import gradtx
from gradtx.cli import trajectories as paths

SLOPE = np.array([2.0, 20.0])


def descent(rate, momentum=0.0, nesterov=False):
    x, v = np.array(paths.START), np.zeros(2)
    while True:
        yield x
        g = SLOPE * x
        v = momentum * v + g
        x = x - rate * (g + momentum * v if nesterov else v)


def adagrad(rate, eps=1e-8):
    x, h = np.array(paths.START), np.zeros(2)
    while True:
        yield x
        g = SLOPE * x
        h = h + g**2
        x = x - rate * g / np.sqrt(h + eps)


def rmsprop(rate, decay=0.9, eps=1e-8):
    x, h = np.array(paths.START), np.zeros(2)
    while True:
        yield x
        g = SLOPE * x
        h = decay * h + (1 - decay) * g**2
        x = x - rate * g / np.sqrt(h + eps)


def adam(rate, b1=0.9, b2=0.999, eps=1e-8):
    x, m, v, t = np.array(paths.START), np.zeros(2), np.zeros(2), 0
    while True:
        yield x
        g, t = SLOPE * x, t + 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        x = x - rate * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


EQUATIONS = (
    descent(0.1),
    descent(0.01),
    descent(0.01, momentum=0.9),
    descent(0.01, momentum=0.9, nesterov=True),
    descent(0.1),
    adagrad(0.1),
    rmsprop(0.1),
    adam(0.1),
)


@pytest.mark.parametrize("index", range(8), ids=lambda i: f"{i} {paths.CLASSICS[i][0]}")
def test_each_panel_follows_its_equation(index):
    points = paths.walk(paths.CLASSICS[index][1])
    expected = np.array([next(EQUATIONS[index]) for _ in range(paths.STEPS + 1)])
    np.testing.assert_allclose(points, expected, atol=2e-4)


def test_descent_at_a_tenth_bounces_for_ever():
    points = paths.walk(gradtx.sgd(0.1))
    np.testing.assert_allclose(points[:, 1], 3.0 * (-1.0) ** np.arange(101), rtol=1e-5)
    assert abs(points[-1, 0]) < 1e-6


def test_the_eight_panels(command, tmp_path):
    out = tmp_path / "paths.png"
    result = command("trajectories", "--out", out)
    assert (result.code, result.err) == (0, "")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert result.out.count("gradient descent, rate 0.1 ") == 2
    titles = [axis.get_title(loc="left") for axis in paths.draw([paths.Track("a", np.zeros((101, 2)))] * 8).axes[:8]]
    assert titles == ["a"] * 8


def test_panels_of_ones_own(command, tmp_path):
    words = ("--optimizer", "adam(array([0.1, 0.2]))", "--optimizer", "sgd(0.2)", "--out", tmp_path / "own.svg")
    result = command("trajectories", *words)
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines() if "(" in line][1:]
    assert [line[0] for line in lines] == ["adam(learning_rate=0.1)", "adam(learning_rate=0.2)", "sgd(0.2)"]
    assert lines[2][1] == "diverged"
