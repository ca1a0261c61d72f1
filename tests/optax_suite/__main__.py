"""Optax's own tests with gradtx.optax in Optax's place: ``python -m tests.optax_suite [part of a file's name ...]``.

Optax's wheel has its tests. Each file runs in a process of its own, as installed; nothing of it is copied. The outcomes
are compared with ``expected.toml``, in which each test that does not pass has a reason.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.toml"

FOREIGN = ("assignment", "experimental", "losses", "microbatching", "perturbations", "projections", "second_order")
"""Packages of Optax's that gradtx.optax hands on: their tests would test Optax."""

FOREIGN_FILES = ("_src/linear_algebra_test.py", "_src/utils_test.py")


def optax_folder() -> Path:
    """Where Optax is installed."""
    spec = importlib.util.find_spec("optax")
    if spec is None or spec.origin is None:
        raise SystemExit("Optax is not installed")
    return Path(spec.origin).parent


def files_of_tests() -> list[str]:
    """Optax's test files on gradient transformations, by their paths in its package."""
    folder = optax_folder()
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*_test.py"))
    return [name for name in found if not name.startswith(FOREIGN) and name not in FOREIGN_FILES]


def run(name: str, chosen: str = "") -> dict[str, str]:
    """The outcome of each test of a file: ``passed``, ``skipped``, or the message of an error."""
    command = [sys.executable, "-m", "tests.optax_suite.substitute", str(optax_folder() / name), chosen]
    done = subprocess.run(  # noqa: S603
        command,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"the whole file": done.stderr.strip()[-600:]}
    outcomes: dict[str, str] = json.loads(lines[-1])
    return outcomes


def reasons() -> dict[str, list[dict[str, Any]]]:
    """By file, the entries of the committed table for tests that do not pass."""
    return {entry["file"]: entry.get("not_passed", []) for entry in tomllib.loads(EXPECTED.read_text())["files"]}


def differences(name: str, outcomes: dict[str, str]) -> list[str]:
    """What is not as the table says."""
    failed = {test: message for test, message in outcomes.items() if message not in ("passed", "skipped")}
    found = []
    for entry in reasons().get(name, []):
        matching = [test for test in failed if fnmatchcase(test, entry["tests"])]
        if len(matching) != entry["count"]:
            found.append(f"{entry['tests']}: {len(matching)} do not pass, not {entry['count']}")
        for test in matching:
            del failed[test]
    return found + [f"{test}: {message}" for test, message in failed.items()]


def main() -> None:
    """Run the files and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.optax_suite", description=__doc__)
    parser.add_argument("parts", nargs="*", help="parts of names of files; all if none")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("-o", "--output", type=Path, help="write the outcomes as JSON")
    arguments = parser.parse_args()
    names = [name for name in files_of_tests() if not arguments.parts or any(part in name for part in arguments.parts)]
    every, wrong = {}, 0
    names.sort(key=lambda name: -(optax_folder() / name).stat().st_size)  # the long ones first
    print(f"{'file':42} passed  skipped  not passed")
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for future in concurrent.futures.as_completed(futures := {pool.submit(run, name): name for name in names}):
            name, outcomes = futures[future], future.result()
            every[name], different = outcomes, differences(name, outcomes)
            wrong += len(different)
            print(f"{name:42} {row(outcomes)}", *[f"  ! {line}" for line in different], sep="\n", flush=True)
    total = {f"{name} {test}": x for name, outcomes in every.items() for test, x in outcomes.items()}
    print(f"{f'{len(total)} tests in {len(every)} files':42} {row(total)}")
    if arguments.output:
        arguments.output.write_text(json.dumps(every, indent=1))
    raise SystemExit(min(wrong, 1))


def row(outcomes: dict[str, str]) -> str:
    """The numbers of a row."""
    passed, skipped = (sum(x == word for x in outcomes.values()) for word in ("passed", "skipped"))
    return f"{passed:6}  {skipped:7}  {len(outcomes) - passed - skipped:10}"


if __name__ == "__main__":
    main()
