"""The examples run as their README says, and learn something."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))

CLAIMS = {
    "accumulation.py": (r"after 300 steps are \de-0[5-9] apart", 1),
    "factored.py": (r"4810 parameters, 276 numbers of state", 1),
    "freezing.py": (r"step  150 .* moved by 0\.00 .*\nstep  400 .* moved by 0\.[1-9]", 1),
    "look_twice.py": (r"test accuracy", 4),
    "plateau.py": (r"learning rate now", 3),
    "resume.py": (r"the same bits as without the stop", 1),
}
"""What an example says of itself, and how many times at least."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_learns(name: str) -> None:
    command = [sys.executable, f"examples/{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    accuracies = re.findall(r"test accuracy (\d\.\d+)$", done.stdout, re.MULTILINE)
    assert accuracies, done.stdout
    assert min(map(float, accuracies)) > 0.93
    claim, times = CLAIMS.get(name, ("test accuracy", 1))
    assert len(re.findall(claim, done.stdout)) >= times


def test_the_readme_of_the_examples_lists_them() -> None:
    listed = re.findall(r"^\| `(\w+\.py)`", (ROOT / "examples" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == EXAMPLES
