"""Names of Optax's that are not about gradient transformations: those of an installed Optax."""

import importlib
import importlib.util
import sys
import types
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


class HandedOn(types.ModuleType):
    """``gradtx.optax.losses`` and the like, for ``from gradtx.optax.losses import ...``: the names of Optax's."""

    def __getattr__(self, name: str) -> Any:
        return of_optax(self.__name__.removeprefix("gradtx."), name)


def hand_on() -> None:
    """Let Python's import statement find Optax's packages inside of gradtx.optax."""
    for part in PARTS - {"_src"}:
        sys.modules.setdefault(f"gradtx.optax.{part}", HandedOn(f"gradtx.optax.{part}"))


def is_known(name: str) -> bool:
    """Whether `gradtx.optax` has a name, or hands it on."""
    if name in PARTS or hasattr(importlib.import_module("gradtx.optax.contrib"), name):
        return True
    ours = importlib.import_module("gradtx.optax")
    return name in ours.__all__ or (importlib.util.find_spec("optax") is not None and hasattr(ours, name))
