"""Names of Optax's that are not about gradient transformations: those of an installed Optax."""

import importlib
import importlib.util
from typing import Any

from gradtx.errors import MissingPackageError

PARTS = frozenset(
    {"assignment", "experimental", "losses", "microbatching", "perturbations", "projections", "second_order", "_src"}
)
"""Packages of Optax's that are handed on whole."""


def of_optax(module: str, name: str) -> Any:
    """A name of a module of the installed Optax.

    Raises:
      MissingPackageError: Optax is not installed.
      AttributeError: Optax has no such name.
    """
    if name.startswith("__"):  # what Python and its tools ask of a module
        raise AttributeError(f"module 'gradtx.{module}' has no attribute {name!r}")
    try:
        theirs = importlib.import_module(module)
    except ImportError as error:
        got, hint = f"no Optax, whose {name!r} this would be", "install it: pip install optax"
        raise MissingPackageError("the package optax", got=got, hint=hint, origin=f"{module}.{name}") from error
    if theirs.__name__.partition(".")[0] == "gradtx":  # a program has put it in Optax's place: Optax is not to be had
        raise AttributeError(f"module 'gradtx.{module}' has no attribute {name!r}, and stands in Optax's place")
    if name in PARTS and module == "optax":
        return importlib.import_module(f"{module}.{name}")
    return getattr(theirs, name)


def is_known(name: str) -> bool:
    """Whether `gradtx.optax` has a name, or hands it on."""
    if name in PARTS or hasattr(importlib.import_module("gradtx.optax.contrib"), name):
        return True
    ours = importlib.import_module("gradtx.optax")
    return name in ours.__all__ or (importlib.util.find_spec("optax") is not None and hasattr(ours, name))
