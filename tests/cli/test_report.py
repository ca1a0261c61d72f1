"""Tables: what is in a cell, and what fits in a terminal."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

import gradtx
from gradtx.cli import report
from gradtx.cli.data import Dataset, Rows
from gradtx.cli.models import linear
from gradtx.cli.race import Entrant, Outcome, Plan
from gradtx.cli.tasks import Task, TaskName

ROWS = Rows(np.zeros((4, 1)), np.zeros(4))


def outcome(label="adam", losses=((2.0, 1.0), (4.0, 3.0)), schedule="", shared=False, **changes) -> Outcome:
    usual = {
        "entrant": Entrant(label, gradtx.adam(0.1), "0.1", schedule),
        "steps": np.array([0, 10]),
        "losses": np.array(losses),
        "hyperparams": {},
        "accuracy": np.array([0.9, 0.92]),
        "step_seconds": 1e-5,
        "compile_seconds": 2.0,
        "shared": shared,
    }
    return Outcome(**(usual | changes))


def task(name=TaskName.DIGITS, **changes) -> Task:
    usual = {"dataset": Dataset(ROWS, ROWS, ROWS, "story"), "model": linear(1), "batch": 2, "steps": 10, "seeds": 2}
    more = {"target": 1.0, "loss": "loss", "entrants": lambda steps: []}
    return Task(name, **(usual | more | changes))


def printed(task: Task, outcomes, width=120) -> str:
    out = Console(file=io.StringIO(), width=width)
    report.report(out, task, Plan(task.model, task.dataset, 2, 1, 10, 2), outcomes, 2.0)
    return out.file.getvalue()


def test_who_reaches_the_target_first_is_on_top():
    text = printed(
        task(),
        [outcome("late"), outcome("never", losses=((9.0, 9.0), (9.0, 9.0))), outcome("early", ((1.0, 5.0),) * 2)],
    )
    assert text.index("early") < text.index("late") < text.index("never")
    assert "story; 10 steps of 2 rows, 2 seeds" in text


def test_cells():
    text = printed(task(), [outcome(schedule="cosine", shared=True)])
    cells = next(line for line in text.splitlines() if "adam" in line).split("  ")
    assert [cell.strip() for cell in cells if cell.strip()] == [
        "adam", "0.1", "cosine", "2.0000", "91.0 ± 1.4 %", "0 (1/2)", "10", "shared"
    ]  # fmt: skip


@pytest.mark.parametrize("width", [50, 60, 70, 80, 100])
def test_narrow_terminals_lose_columns_before_cells(width):
    lines = printed(task(), [outcome(label="adam" * 20, schedule="constant")], width).splitlines()
    assert max(map(len, lines)) <= width
    header = next(line for line in lines if "optimizer" in line).split()
    row = next(line for line in lines if "constant" in line)
    lost = [word for word in ("compile", "µs/step", "rate", "to") if word not in header]
    assert lost == ["compile", "µs/step", "rate", "to"][: {50: 4, 60: 4, 70: 3, 80: 2, 100: 0}[width]]
    assert "constant  2.0000  91.0 ± 1.4 %" in row
    names = [match[1] for line in lines if (match := re.match(r" ([adm]+)( |$)", line))]
    assert "".join(names) == "adam" * 20


def test_airfoil_says_whether_every_seed_is_where_it_should_be():
    inside, outside = outcome("in", ((1.0, 0.2417), (1.0, 0.2599))), outcome("out", ((1.0, 0.2417), (1.0, 0.2601)))
    text = printed(task(TaskName.AIRFOIL, optimum=0.24, baseline=0.5), [inside, outside])
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert lines["in"][2:6] == ["0.2417", "0.2508", "0.2599", "yes"]
    assert lines["out"][2:6] == ["0.2417", "0.2509", "0.2601", "no"]
    assert "least-squares optimum 0.240000; loss at zero weights 0.5000" in text


def test_rates_that_changed_are_told_by_epoch():
    rates = np.array([[1e-3, 1e-3, 1e-4], [1e-3, 1e-4, 1e-5]])
    text = printed(
        task(TaskName.CIFAR10, per_epoch=True), [outcome(schedule="plateau", hyperparams={"learning_rate": rates})]
    )
    assert "adam (plateau), seed 0: 0.001, 0.0001 from epoch 3" in text
    assert "adam (plateau), seed 1: 0.001, 0.0001 from epoch 2, 1e-05 from epoch 3" in text
    assert "90.0  92.0" in text


def test_divergence_is_named():
    text = printed(task(TaskName.CIFAR10, per_epoch=True), [outcome(losses=((np.nan, np.nan), (1.0, np.inf)))])
    assert text.count("diverged") == 2


def test_one_seed_has_no_spread():
    assert report.percent(np.array([0.5])) == "50.0 %"
    assert report.percent(None) == ""


def test_without_a_terminal_lines_are_long(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert report.console().width == report.PLAIN_WIDTH
    monkeypatch.setenv("COLUMNS", "50")
    assert report.console().width == 50
