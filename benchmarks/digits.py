"""The table of docs/results/digits.md: every optimizer on the digits, at a rate that stays and at one that falls.

python -m benchmarks.digits             # print it: five minutes on two idle cores
python -m benchmarks.digits --write     # and put it into the page
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from gradtx.cli import tasks
from gradtx.cli.entrants import Schedules, of_digits
from gradtx.cli.race import Entrant, Outcome, race
from gradtx.cli.ranking import finding, rank
from gradtx.cli.report import columns
from gradtx.cli.tasks import TaskName

PAGE = Path(__file__).parents[1] / "docs" / "results" / "digits.md"
MADE = re.compile(r"(?<=<!-- made by python -m benchmarks.digits -->\n\n).*?(?=\n\n<!-- /made -->)", re.DOTALL)


def field(steps: int) -> list[Entrant]:
    """Who takes part: everyone, at both rates."""
    return of_digits(steps, everyone=True, schedules=Schedules.BOTH)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The machine, the finding and the table."""
    task = tasks.load(TaskName.DIGITS, None)
    ranked = rank(outcomes, task.target)
    found = columns(task, task.target, ranked)
    lines = [[column.header for column in found], ["---"] * len(found)]
    lines += [[column.cell(placed) for column in found] for placed in ranked]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{report.describe(report.machine())}. {finding(ranked, task.target)}\n\n{table}"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digits", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    options = parser.parse_args(arguments)
    plan = tasks.plan(tasks.load(TaskName.DIGITS, None), None, None, None, 0)
    made = markdown(race(field(plan.steps), plan, lambda *_: None))
    print(made)
    if options.write:
        PAGE.write_text(MADE.sub(lambda _: made, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
