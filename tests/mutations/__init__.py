"""Small faults, put into a copy of the sources one at a time, and the tests that must notice them.

``python -m tests.mutations`` runs them all; the list is `faults.toml`.
"""

import ast
import concurrent.futures
import dataclasses
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("gradtx", "tests", "pyproject.toml")

CAUGHT, SURVIVED, BROKEN = "caught", "survived", "broken"
"""A test failed; all passed; or the tests did not run, which shows nothing."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
      name: unique, in a few words.
      file: the file it is in, relative to the root.
      within: the function or class at the top level of the file that it is in.
      before: the text to replace; it occurs there exactly once.
      after: what to put in its place.
      tests: node ids, of which at least one must fail.
    """

    name: str
    file: str
    within: str
    before: str
    after: str
    tests: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tests", tuple(self.tests))

    def applied(self, source: str) -> str:
        """The source with the fault in it."""
        begin, end = _extent(source, self.within)
        lines = source.splitlines(keepends=True)
        part = "".join(lines[begin:end])
        if part.count(self.before) != 1:
            raise ValueError(f"{self.name}: {self.before!r} occurs {part.count(self.before)} times in {self.within}")
        return "".join([*lines[:begin], part.replace(self.before, self.after), *lines[end:]])


def _extent(source: str, name: str) -> tuple[int, int]:
    """The first line of a definition at the top level, and the line after its last."""
    for node in ast.parse(source).body:
        targets = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        if name == getattr(node, "name", None) or name in targets:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            return first - 1, node.end_lineno or first
    raise ValueError(f"there is no {name} at the top level")


def load() -> list[Fault]:
    """The faults of the list."""
    with (Path(__file__).parent / "faults.toml").open("rb") as file:
        return [Fault(**entry) for entry in tomllib.load(file)["fault"]]


class Copy:
    """A copy of the tree, to break."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source, target = root / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            elif source.exists():
                shutil.copy(source, target)

    def outcome(self, fault: Fault) -> str:
        """What the tests say of one fault; the copy is whole again afterwards."""
        path = self.folder / fault.file
        source = path.read_text(encoding="utf-8")
        path.write_text(fault.applied(source), encoding="utf-8")
        try:
            return self.run(fault.tests)[0]
        finally:
            path.write_text(source, encoding="utf-8")

    def run(self, tests: Iterable[str]) -> tuple[str, str]:
        """What some tests say of the copy as it is, and what they print."""
        # No bytecode: a file that is changed twice in a second and keeps its length looks the same to Python.
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        options = ["-x", "-q", "-n", "0", "-p", "tests.mutations.profile"]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        failed = re.search(r"\b[1-9]\d* failed\b", done.stdout)
        outcome = SURVIVED if done.returncode == 0 else CAUGHT if done.returncode == 1 and failed else BROKEN
        return outcome, done.stdout


def check(faults: list[Fault], jobs: int = 1, root: Path = ROOT) -> Iterator[tuple[Fault, str]]:
    """Every fault with its outcome, as they come; first the tests must pass without any."""
    with tempfile.TemporaryDirectory(prefix="mutations") as folder:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for i in range(jobs):
            copies.put(Copy(root, Path(folder) / str(i)))
        copy = copies.get()
        outcome, report = copy.run(dict.fromkeys(test for fault in faults for test in fault.tests))
        if outcome != SURVIVED:
            raise RuntimeError(f"the tests fail without a fault, or cannot be run:\n{report}")
        copies.put(copy)

        def outcome_of(fault: Fault) -> str:
            copy = copies.get()
            try:
                return copy.outcome(fault)
            finally:
                copies.put(copy)

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            yield from zip(faults, pool.map(outcome_of, faults), strict=True)
