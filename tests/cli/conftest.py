"""Fixtures of the command's tests: running it in process, and made-up data files."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradtx.cli.app import run


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run of the command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command with some words, in process, without data from the environment."""
    monkeypatch.delenv("GRADTX_DATA", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*words: object) -> Result:
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def airfoil_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up file of the right shape: 1503 rows of 6 columns, separated by tabs, lines ending in CRLF."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1503, 5)) * [3000, 6, 0.1, 15, 0.01] + [2900, 7, 0.1, 50, 0.01]
    y = 125 - 0.001 * x[:, 0] - 0.4 * x[:, 1] + rng.normal(size=1503)
    path = tmp_path_factory.mktemp("data") / "airfoil.dat"
    lines = ["\t".join(f"{cell:.6g}" for cell in row) for row in np.column_stack([x, y])]
    path.write_bytes("\r\n".join([*lines, ""]).encode())
    return path


@pytest.fixture(scope="session")
def cifar_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up archive of the right form: 40 images to train on and 20 to test on."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 40), ("test", 20)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = (np.arange(n) % 10).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def real_data() -> Path:
    """The directory of the real data sets, if there is one."""
    directory = os.environ.get("GRADTX_DATA")
    if not directory or not Path(directory).is_dir():
        pytest.skip("set GRADTX_DATA to the directory of the real data sets")
    return Path(directory)
