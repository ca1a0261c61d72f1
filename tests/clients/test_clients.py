"""Programs of other libraries give the same numbers with gradtx.optax in Optax's place, up to float32's rounding."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clients.programs import PROGRAMS, Numbers, is_installed

TOLERANCE = {"ppo": 2e-3, "numpyro": 2e-3, "optimistix": 1e-3}
"""Where more than the rounding of the steps is in the numbers: choices, draws, the step at which a solver stops."""


def run(name: str, whose: str) -> Numbers:
    command = [sys.executable, "-m", "tests.clients.run", name, whose]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr[-2000:]
    numbers: Numbers = json.loads(done.stdout.strip().splitlines()[-1])
    return numbers


@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_are_those_under_optax(name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"{PROGRAMS[name][1]} is not installed")
    mine, expected = run(name, "ours"), run(name, "theirs")
    assert mine.keys() == expected.keys()
    for key, numbers in expected.items():
        np.testing.assert_allclose(mine[key], numbers, rtol=TOLERANCE.get(name, 2e-4), atol=1e-5, err_msg=key)
