"""Fixtures shared by all tests."""

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator

import jax
import jaxlib
import pytest

from tests import effort


def pytest_addoption(parser: pytest.Parser) -> None:
    """The switch."""
    parser.addoption(
        "--exhaustive", action="store_true", help="more examples, all dtypes, and programs compiled as users' are"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Decide how much is done, before a test is imported; processes that this one starts inherit it."""
    gc.set_threshold(200_000, 50, 100)  # traces are many small objects, looked at again and again: a tenth of the time
    jax.config.update("jax_traceback_in_locations_limit", 0)  # and another into writing down which line made which
    if config.getoption("--exhaustive"):
        os.environ[effort.EXHAUSTIVE] = "1"
    if effort.exhaustive() or effort.QUICK_FLAGS in os.environ.get("XLA_FLAGS", ""):
        return
    key, cache = f"gradtx/quick_flags_of_jaxlib_{jaxlib.__version__}", getattr(config, "cache", None)
    known = cache.get(key, None) if cache else None
    if known is None:
        known = effort.flags_are_known()
        if cache:
            cache.set(key, known)
    if known:
        effort.add_flags(effort.QUICK_FLAGS)


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
