"""Programs of other libraries give the same numbers with gradtx.optax in Optax's place, up to float32's rounding."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clients.programs import PROGRAMS, Numbers, is_installed

TOLERANCE = {"flax nnx": 1e-3}
"""Its warm-up makes the most of Adam's first steps, whose bias corrections lose digits in Optax."""

INSTALLED = [name for name in PROGRAMS if is_installed(name)]


@pytest.fixture(scope="module")
def numbers() -> list[dict[str, Numbers]]:
    """What all programs return, with gradtx.optax and with Optax."""
    root = Path(__file__).parents[2]
    commands = [[sys.executable, "-m", "tests.clients.run", whose, *INSTALLED] for whose in ("ours", "theirs")]
    runs = [
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        for command in commands
    ]
    found = []
    for process in runs:
        output, errors = process.communicate()
        assert process.returncode == 0, errors[-2000:]
        found.append(json.loads(output.strip().splitlines()[-1]))
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_numbers_are_those_under_optax(name: str, numbers: list[dict[str, Numbers]]) -> None:
    if name not in INSTALLED:
        pytest.skip(f"{PROGRAMS[name][1]} is not installed")
    mine, expected = (side[name] for side in numbers)
    assert mine.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(mine[key], values, rtol=TOLERANCE.get(name, 2e-4), atol=1e-5, err_msg=key)
