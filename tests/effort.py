"""How much the tests do: every law by default, and with ``pytest --exhaustive`` with more examples of each.

Compiling is most of what tests do, and their programs run for no time at all. So by default XLA is told to compile as
fast as it can; the exhaustive run compiles what users run.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TypeVar

EXHAUSTIVE = "GRADTX_EXHAUSTIVE"
"""The environment variable by which the processes of a run know that it is exhaustive."""

QUICK_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
"""A fifth of the time to compile: no optimization, and kernels from the plainest of XLA's code generators."""

T = TypeVar("T")


def exhaustive() -> bool:
    """Whether this is the exhaustive run."""
    return os.environ.get(EXHAUSTIVE) == "1"


def some(few: Sequence[T], further: Sequence[T]) -> list[T]:
    """What a test is run with: the further ones in the exhaustive run only."""
    return [*few, *further] if exhaustive() else [*few]


def flags_are_known() -> bool:
    """Whether XLA knows the quick flags: one that it does not know ends the process."""
    environment = {**os.environ, "XLA_FLAGS": QUICK_FLAGS, "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-c", "import jax; jax.numpy.zeros(1)"]
    return subprocess.run(program, env=environment, capture_output=True, check=False).returncode == 0  # noqa: S603


def add_flags(flags: str) -> None:
    """Put flags before those of the environment, which win. It must be done before JAX compiles anything."""
    os.environ["XLA_FLAGS"] = f"{flags} {os.environ.get('XLA_FLAGS', '')}".strip()


def on_devices(count: int) -> dict[str, str]:
    """The environment of a process that has so many devices, and otherwise is like this one."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}".strip()
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
