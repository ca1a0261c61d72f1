"""The data sets: where they are found, and what a file must look like."""

import dataclasses
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gradtx.cli.failure import CommandError

Array = NDArray[Any]

AIRFOIL_FILE = "airfoil/airfoil_self_noise.dat"
AIRFOIL_COLUMNS = 6
AIRFOIL_ROWS = 1500
CIFAR10_FILE = "cifar10/cifar10_10k_2k.npz"
CIFAR10_SHAPE = (32, 32, 3)
CIFAR10_VALIDATION = 1000
CLASSES = 10
DIGITS_TEST = 360
SPLIT_SEED = 0


@dataclasses.dataclass(frozen=True)
class Rows:
    """Inputs and targets, row by row."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Any) -> "Rows":
        return Rows(self.x[rows], self.y[rows])


jax.tree_util.register_dataclass(Rows, ["x", "y"], [])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What a model learns from, and what it is judged on.

    Attributes:
      train: the rows batches are drawn from.
      watched: the rows whose mean loss is recorded during training.
      test: the rows of the final accuracy, if the task has one.
      story: one sentence on where the numbers come from, printed above the table.
    """

    train: Rows
    watched: Rows
    test: Rows | None
    story: str


def load_digits() -> Dataset:
    """scikit-learn's bundled handwritten digits: 1797 images of 8x8, 360 of them (20%) for the test."""
    import sklearn.datasets

    x, y = sklearn.datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(y))
    rows = Rows((x / 16).astype(np.float32), y.astype(np.int32))[order]
    train, test = rows[DIGITS_TEST:], rows[:DIGITS_TEST]
    story = f"handwritten digits of 8x8 pixels: {len(train)} to train on, {len(test)} to test on"
    return Dataset(train, train, test, story)


def load_airfoil(given: Path | None) -> Dataset:
    """The NASA airfoil self-noise measurements, standardised: 5 features, 1 target, the first 1500 rows.

    Mean and population standard deviation are those of all rows of the file.

    Raises:
      CommandError: the file cannot be read, or a line is not six numbers.
    """
    path = locate(given, AIRFOIL_FILE, "airfoil")
    table = _read_table(path)
    spread = table.std(axis=0)
    if not spread.all():
        raise CommandError(f"{path}: column {int(np.argmin(spread)) + 1} is constant; nothing to learn from")
    standard = ((table - table.mean(axis=0)) / spread)[:AIRFOIL_ROWS].astype(np.float32)
    train = Rows(standard[:, :-1], standard[:, -1])
    story = f"airfoil self-noise, standardised: {len(train)} of {len(table)} rows, 5 features, linear regression"
    return Dataset(train, train, None, story)


def load_cifar10(given: Path | None) -> Dataset:
    """CIFAR-10 images from an ``.npz`` with uint8 ``x_train``, ``y_train``, ``x_test``, ``y_test``, channels last.

    The last 1000 training images (a tenth, if there are fewer than 10000) are held back for the validation loss.

    Raises:
      CommandError: the file cannot be read, lacks an array, or an array has the wrong shape or type.
    """
    path = locate(given, CIFAR10_FILE, "cifar10")
    arrays = _read_npz(path)
    train, test = (_images(path, arrays, part) for part in ("train", "test"))
    held = min(CIFAR10_VALIDATION, len(train) // 10)
    if not held:
        raise CommandError(f"{path}: {len(train)} training images are too few; need at least 10")
    story = f"CIFAR-10: {len(train) - held} images to train on, {held} to validate on, {len(test)} to test on"
    return Dataset(train[:-held], train[-held:], test, story)


def locate(given: Path | None, inside: str, task: str) -> Path:
    """The file of a task: the path given, or its place in the directory given or in ``$GRADTX_DATA``.

    Raises:
      CommandError: no path was given, or there is no such file.
    """
    root = given or (Path(os.environ["GRADTX_DATA"]) if os.environ.get("GRADTX_DATA") else None)
    if root is None:
        raise CommandError(f"--task {task} needs --data PATH, or GRADTX_DATA set to a directory that holds {inside}")
    try:
        path = root / inside if root.is_dir() else root
        found = path.exists() and not path.is_dir()
    except OSError as error:
        raise CommandError(f"{root}: cannot be read ({error.strerror or error})") from None
    if not found:
        raise CommandError(f"{path}: no such file")
    return path


# --- airfoil: a table of text -----------------------------------------------------------------------------------------


def _read_table(path: Path) -> Array:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError:
        raise CommandError(f"{path}: not a text file of numbers") from None
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror or error})") from None
    rows = [_read_row(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(rows) < AIRFOIL_ROWS:
        raise CommandError(f"{path}: expected at least {AIRFOIL_ROWS} rows, got {len(rows)}")
    return np.array(rows)


def _read_row(path: Path, number: int, line: str) -> list[float]:
    cells = line.split()
    if len(cells) != AIRFOIL_COLUMNS:
        raise CommandError(f"{path}:{number}: expected {AIRFOIL_COLUMNS} columns, got {len(cells)}")
    return [_read_cell(path, number, column, cell) for column, cell in enumerate(cells, start=1)]


def _read_cell(path: Path, number: int, column: int, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise CommandError(f"{path}:{number}: column {column} is not a finite number: {cell[:40]!r}")
    return value


# --- cifar10: arrays --------------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> dict[str, Array]:
    names = [f"{axis}_{part}" for part in ("train", "test") for axis in "xy"]
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise CommandError(f"{path}: expected an .npz archive, got a single array")
        with archive:
            if not set(names) <= set(archive.files):
                found = ", ".join(archive.files) or "nothing"
                raise CommandError(f"{path}: expected the arrays {', '.join(names)}, got {found}")
            return {name: archive[name] for name in names}
    except OSError as error:
        raise CommandError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise CommandError(f"{path}: not an .npz archive of plain arrays") from None


def _images(path: Path, arrays: dict[str, Array], part: str) -> Rows:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.dtype != np.uint8 or x.shape[1:] != CIFAR10_SHAPE:
        want = ", ".join(map(str, CIFAR10_SHAPE))
        raise CommandError(f"{path}: expected x_{part} as uint8 [n, {want}], got {x.dtype} {list(x.shape)}")
    if not np.issubdtype(y.dtype, np.integer) or y.shape != x.shape[:1]:
        raise CommandError(f"{path}: expected y_{part} as integers [{len(x)}], got {y.dtype} {list(y.shape)}")
    if not len(y):
        raise CommandError(f"{path}: x_{part} is empty")
    if y.min() < 0 or y.max() >= CLASSES:
        raise CommandError(f"{path}: labels in y_{part} must lie in 0..{CLASSES - 1}, got {y.min()}..{y.max()}")
    return Rows(x, y.astype(np.int32))
