"""The command: ``python -m tests.mutations [--list] [--only NAME] [--jobs N]``."""

import argparse
import collections
import sys

from tests.mutations import CAUGHT, Fault, check, load


def main(arguments: list[str] | None = None) -> int:
    """Check the faults; 1 if one is not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description="Do the tests notice small faults?")
    parser.add_argument("--list", action="store_true", help="show the faults, as a table, and run nothing")
    parser.add_argument("--only", action="append", metavar="NAME", help="those whose name contains this; repeatable")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many at a time")
    options = parser.parse_args(arguments)
    faults = [f for f in load() if not options.only or any(part in f.name for part in options.only)]
    if not faults:
        parser.error(f"no fault has a name with {options.only}")
    if options.list:
        print(table(faults))
        return 0
    outcomes: collections.Counter[str] = collections.Counter()
    for fault, outcome in check(faults, options.jobs):
        outcomes[outcome] += 1
        print(f"{outcome:9}{fault.name} ({fault.file})", flush=True)
    print(f"{outcomes[CAUGHT]} of {len(faults)} caught")
    return 0 if outcomes[CAUGHT] == len(faults) else 1


def table(faults: list[Fault]) -> str:
    """The faults in Markdown."""
    rows = ["| fault | where | caught by |", "|---|---|---|"]
    for fault in faults:
        where = f"`{fault.within}` in `{fault.file.removeprefix('gradtx/')}`"
        tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in fault.tests)
        rows.append(f"| {fault.name} | {where} | {tests} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
