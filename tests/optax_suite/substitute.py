"""One of Optax's test files, run with gradtx.optax in Optax's place: ``python -m tests.optax_suite.substitute FILE``.

The file is executed as it is installed. Only its import statements see something else: whatever it imports from
Optax is a stand-in, which gives a name from `gradtx.optax` if that has it, and Optax's own otherwise: its test
utilities, its losses. Optax itself stays as it is.
"""

import builtins
import importlib
import json
import sys
import traceback
import types
import unittest
from pathlib import Path
from typing import Any

PLACES = {
    "optax.contrib": "gradtx.optax.contrib",
    "optax.schedules": "gradtx.optax.schedules",
    "optax.transforms": "gradtx.optax.transforms",
    "optax.tree_utils": "gradtx.optax.tree_utils",
    "optax.tree": "gradtx.optax.tree",
    "optax": "gradtx.optax",
}
"""Where gradtx has the names of a package of Optax's: the first that fits."""

SELF = ("optax.losses", "optax._src.test_utils", "optax._src.utils", "optax._src.linear_algebra")
"""Modules of Optax's that are no part of the subject, or of which no names are public."""


class StandIn(types.ModuleType):
    """A module of Optax's, with gradtx's names in it."""

    def __init__(self, real: types.ModuleType) -> None:
        super().__init__(real.__name__)
        self.__dict__["_real"] = real

    def __getattr__(self, name: str) -> Any:
        real = self.__dict__["_real"]
        value = getattr(real, name)
        if isinstance(value, types.ModuleType):
            return StandIn(value) if value.__name__.partition(".")[0] == "optax" else value
        if real.__name__.startswith(SELF):
            return value
        place = next(ours for theirs, ours in PLACES.items() if f"{real.__name__}.".startswith(f"{theirs}."))
        return vars(importlib.import_module(place)).get(name, value)


def importing(name: str, *args: Any, **kwargs: Any) -> Any:
    """`__import__` for a test module."""
    module = builtins.__import__(name, *args, **kwargs)
    return StandIn(module) if name.partition(".")[0] == "optax" else module


def load(path: Path) -> types.ModuleType:
    """The test module in a file, executed with stand-ins for what it imports of Optax."""
    module = types.ModuleType(path.stem)
    module.__dict__.update(__file__=str(path), __builtins__=vars(builtins) | {"__import__": importing})
    sys.modules[path.stem] = module
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))  # noqa: S102  an installed file
    return module


class Outcomes(unittest.TestResult):
    """What became of each test, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, str] = {}

    def addSuccess(self, test: Any) -> None:
        self.of.setdefault(_name(test), "passed")

    def addSkip(self, test: Any, reason: str) -> None:
        if self.of.get(_name(test)) in (None, "passed"):
            self.of[_name(test)] = "skipped"

    def addFailure(self, test: Any, err: Any) -> None:
        self.of[_name(test)] = _message(err)

    def addError(self, test: Any, err: Any) -> None:
        self.of[_name(test)] = _message(err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.of[_name(test)] = _message(err)


def _name(test: Any) -> str:
    """The class and the method with its parameters; of a part of a test, those of the test."""
    whole = getattr(test, "test_case", test)
    return str(whole.id()).partition(".")[2]


def _message(err: Any) -> str:
    line = " ".join(traceback.format_exception_only(err[0], err[1])).split()
    frame = traceback.extract_tb(err[2])[-1]
    return f"{' '.join(line)[:600]} @{Path(frame.filename).name}:{frame.lineno}"


def _chosen(suite: Any, chosen: str) -> Any:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _chosen(test, chosen)
        elif chosen in _name(test):
            yield test


def main(path: str, chosen: str = "") -> None:
    """Run a file, or the tests in it whose names contain a text, and write the outcomes as JSON."""
    from absl import flags

    flags.FLAGS(sys.argv[:1])
    module = load(Path(path))
    outcomes = Outcomes()
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    unittest.TestSuite(_chosen(suite, chosen)).run(outcomes)
    print("\n" + json.dumps(outcomes.of))


if __name__ == "__main__":
    main(*sys.argv[1:])
