"""Tasks and plans."""

import numpy as np
import pytest

from gradtx.cli import tasks
from gradtx.cli.failure import CommandError
from gradtx.cli.tasks import TaskName


@pytest.mark.parametrize(("steps", "every"), [(600, 10), (300, 5), (60, 1), (1, 1), (7, 1), (601, 1), (1000, 20)])
def test_the_stride_divides_the_steps(steps, every):
    assert tasks.stride(steps) == every


def test_the_length_in_steps_or_epochs():
    digits = tasks.load(TaskName.DIGITS, None)
    assert tasks.plan(digits, None, None, None, 0).steps == 600
    assert tasks.plan(digits, 30, None, None, 0).steps == 30
    assert tasks.plan(digits, None, 2, 3, 0).steps == 2 * (1437 // 64)


def test_airfoil_is_two_epochs_of_tens(airfoil_file):
    airfoil = tasks.load(TaskName.AIRFOIL, airfoil_file)
    plan = tasks.plan(airfoil, None, None, None, 0)
    assert (plan.steps, plan.batch, plan.seeds) == (300, 10, 20)
    x, y = airfoil.dataset.train.x.astype(float), airfoil.dataset.train.y.astype(float)
    assert airfoil.baseline == pytest.approx(np.mean(y**2) / 2)
    grid = [
        np.mean((x @ np.linalg.lstsq(x, y - b, rcond=None)[0] + b - y) ** 2) / 2 for b in np.linspace(-0.01, 0.01, 201)
    ]
    assert airfoil.optimum == pytest.approx(min(grid), rel=1e-5)


def test_cifar10_counts_in_epochs(cifar_file):
    cifar = tasks.load(TaskName.CIFAR10, cifar_file)
    plan = tasks.plan(cifar, None, 3, None, 0)
    assert (plan.legs, plan.every, plan.batch) == (3, 1, 36)
    with pytest.raises(CommandError, match="counted in epochs"):
        tasks.plan(cifar, 10, None, None, 0)
