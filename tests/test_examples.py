"""The examples run as their README says, and learn something."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_learns(name: str) -> None:
    command = [sys.executable, f"examples/{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    accuracies = re.findall(r"test accuracy (\d\.\d+)$", done.stdout, re.MULTILINE)
    assert accuracies, done.stdout
    assert min(map(float, accuracies)) > 0.93
    if name == "look_twice.py":
        assert len(accuracies) == 4
    if name == "plateau.py":
        assert done.stdout.count("learning rate now") >= 3


def test_the_readme_of_the_examples_lists_them() -> None:
    listed = re.findall(r"^\| `(\w+\.py)`", (ROOT / "examples" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == EXAMPLES
