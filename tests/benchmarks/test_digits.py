"""The page on the digits has a line for everyone who takes part, as the script writes it."""

import numpy as np

from benchmarks.digits import MADE, PAGE, field, markdown
from gradtx.cli.race import Entrant, Outcome

STALE = "docs/results/digits.md is out of date; run: python -m benchmarks.digits --write"


def cells(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]


def outcome(entrant: Entrant) -> Outcome:
    """Some outcome, of the right form."""
    losses = np.array([[2.5, 0.04]] * 5)
    return Outcome(entrant, np.array([0, 600]), losses, {}, np.full(5, 0.9), 0.0)


def test_the_page_is_as_the_script_writes_it():
    entrants = field(600)
    heading, _, *rows = cells(MADE.search(PAGE.read_text(encoding="utf-8"))[0])
    expected, _, *others = cells(markdown([outcome(entrant) for entrant in entrants]))
    assert heading == expected, STALE
    assert len(others) == len(entrants)

    def who(row: list[str]) -> tuple[str, ...]:
        return tuple(row[heading.index(column)] for column in ("optimizer", "rate", "schedule"))

    assert sorted(map(who, rows)) == sorted(map(who, others)), STALE


def test_everyone_descends():
    # At a constant rate, one may not.
    heading, _, *rows = cells(MADE.search(PAGE.read_text(encoding="utf-8"))[0])
    falling = [row for row in rows if row[heading.index("schedule")] == "cosine"]
    assert [row for row in falling if row[0] == "-"] == []
