"""Fixtures shared by all tests."""

import contextlib
import importlib
from collections.abc import Iterator

import jax
import pytest


def x64_mode() -> contextlib.AbstractContextManager[None]:
    """Float64 inside a ``with`` block, in every version of JAX that gradtx supports."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return jax.experimental.enable_x64()


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 for the duration of a test."""
    with x64_mode():
        yield


@pytest.fixture
def scratch_registry() -> Iterator[None]:
    """A registry that forgets what the test registers."""
    registry = importlib.import_module("gradtx.core.registry")
    factories, aliases = dict(registry._factories), dict(registry._aliases)
    yield
    for kept, entries in ((registry._factories, factories), (registry._aliases, aliases)):
        kept.clear()
        kept.update(entries)
