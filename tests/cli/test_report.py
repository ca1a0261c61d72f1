"""Tables: what is in a cell, and what fits in a terminal."""

import io

import numpy as np
import pytest
from rich.console import Console

import gradtx
from gradtx.cli import report
from gradtx.cli.data import Dataset, Rows
from gradtx.cli.models import linear
from gradtx.cli.race import Entrant, Outcome, Plan
from gradtx.cli.ranking import rank
from gradtx.cli.tasks import Task, TaskName

ROWS = Rows(np.zeros((4, 1)), np.zeros(4))


def outcome(label="adam", losses=((2.0, 1.0), (4.0, 3.0)), schedule="", **changes) -> Outcome:
    usual = {
        "entrant": Entrant(label, gradtx.adam(0.1), "0.1", schedule),
        "steps": np.array([0, 10]),
        "losses": np.array(losses),
        "hyperparams": {},
        "accuracy": np.array([0.9, 0.92]),
        "step_seconds": 1e-5,
    }
    return Outcome(**(usual | changes))


def task(name=TaskName.DIGITS, **changes) -> Task:
    usual = {"dataset": Dataset(ROWS, ROWS, ROWS, "story"), "model": linear(1), "batch": 2, "steps": 10, "seeds": 2}
    more = {"target": 1.0, "loss": "loss", "step_seconds": 1e-5, "entrants": lambda steps: []}
    return Task(name, **(usual | more | changes))


def printed(task: Task, outcomes, width=120) -> str:
    out = Console(file=io.StringIO(), width=width)
    report.report(out, task, rank(outcomes, 2.0), 2.0)
    return out.file.getvalue()


def announced(task: Task, labels, seconds: float) -> str:
    out = Console(file=io.StringIO(), width=120)
    field = [Entrant(label, gradtx.adam(0.1)) for label in labels]
    report.announce(out, task, Plan(task.model, task.dataset, 2, 1, 10, 2), field, seconds)
    return out.file.getvalue()


def test_what_will_be_done_is_said_before():
    text = announced(task(), ["adam", "adam", "lion"], 22)
    assert "story; 10 steps of 2 rows, 2 seeds" in text
    assert "2 optimizers: adam, lion; about 20 seconds on two idle cores" in text
    assert "20 optimizers; about 3 minutes on" in announced(task(), map(str, range(20)), 170)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "5 seconds"), (88, "90 seconds"), (100, "2 minutes"), (5000, "83 minutes"), (7300, "2 hours")],
)
def test_times_as_one_says_them(seconds, words):
    assert report.duration(seconds) == words


def test_who_reaches_the_target_first_is_on_top():
    late = outcome("late", losses=((9.0, 2.0), (4.0, 2.0)))
    text = printed(
        task(), [late, outcome("never", losses=((9.0, 9.0), (9.0, 9.0))), outcome("early", ((1.0, 5.0),) * 2)]
    )
    rows = [line.split()[:2] for line in text.splitlines() if line.rstrip().endswith("%")]
    assert rows == [["1", "late"], ["2", "never"], ["-", "early"]]


def test_cells():
    text = printed(task(), [outcome(schedule="cosine")])
    cells = next(line for line in text.splitlines() if "adam" in line).split("  ")
    assert [cell.strip() for cell in cells if cell.strip()] == [
        "1", "adam", "0.1", "cosine", "0 (1/2)", "2.0000", "91.0 ± 1.4 %"
    ]  # fmt: skip


@pytest.mark.parametrize("width", [50, 60, 70, 75, 80, 100])
def test_narrow_terminals_lose_columns_before_cells_and_say_so(width):
    text = printed(task(), [outcome(label="adam" * 20, schedule="constant")], width)
    assert max(map(len, text.splitlines())) <= width
    lost = ["rate", "schedule"][: 2 if width <= 70 else 1 if width < 80 else 0]
    header = " ".join(text.splitlines()[:4]).split()
    assert [word for word in ("rate", "schedule") if word not in header] == lost
    told = " ".join(text.split())
    assert (f"too narrow for: {', '.join(lost)}." in told) == bool(lost)
    row = next(line for line in text.splitlines() if "2.0000" in line)
    assert "0 (1/2)  2.0000  91.0 ± 1.4 %" in row


def test_airfoil_says_whether_every_seed_is_where_it_should_be():
    inside, outside = outcome("in", ((1.0, 0.2417), (1.0, 0.2599))), outcome("out", ((1.0, 0.2417), (1.0, 0.2601)))
    text = printed(task(TaskName.AIRFOIL, optimum=0.24, baseline=0.5), [inside, outside])
    lines = {line.split()[1]: line.split() for line in text.splitlines() if line.split()[1:]}
    assert lines["in"][6:10] == ["0.2417", "0.2508", "0.2599", "yes"]
    assert lines["out"][6:10] == ["0.2417", "0.2509", "0.2601", "no"]
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


def test_a_loss_that_went_uphill_takes_no_room():
    assert report.mean(np.array([2e8, 4e8]), 4) == "3e+08"
    assert report.mean(np.array([0.25, 0.75]), 4) == "0.5000"


def test_one_seed_has_no_spread():
    assert report.percent(np.array([0.5])) == "50.0 %"
    assert report.percent(None) == ""


def test_without_a_terminal_lines_are_long(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert report.console().width == report.PLAIN_WIDTH
    monkeypatch.setenv("COLUMNS", "50")
    assert report.console().width == 50
