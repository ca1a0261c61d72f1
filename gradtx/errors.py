"""Errors that say what was expected, what came, where, and what to do.

Every message reads ``gradtx.<name>: expected ..., got ... at <leaf path>; <what to do>``. Code deep inside a
transformation does not know the transformation's name: it raises without one, and `core` adds it on the way up.
"""


class GradtxError(Exception):
    """Base of all errors raised by gradtx; each subclass is also the built-in error a Python user expects.

    Args:
      expected: what was needed, as a noun phrase.
      got: what came instead.
      at: where: a leaf path such as ``['dense']['kernel']``, or an argument's name.
      hint: what to do about it, as an imperative.
      origin: the name of the factory that complains; filled in by `core` if empty.
    """

    def __init__(self, expected: str, *, got: str = "", at: str = "", hint: str = "", origin: str = "") -> None:
        super().__init__(expected)
        self.expected, self.got, self.at, self.hint, self.origin = expected, got, at, hint, origin

    def __str__(self) -> str:
        where = f"gradtx.{self.origin}" if self.origin else "gradtx"
        got = f", got {self.got}" if self.got else ""
        at = f" at {self.at}" if self.at else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}: expected {self.expected}{got}{at}{hint}"

    def locate(self, origin: str) -> None:
        """Name the factory that complains, unless an inner one is named already."""
        self.origin = self.origin or origin


class ArgumentValueError(GradtxError, ValueError):
    """An argument outside its range, or one that contradicts another."""


class ArgumentTypeError(GradtxError, TypeError):
    """An argument of the wrong type, a missing or an unknown argument."""


class TreeMismatchError(GradtxError, ValueError):
    """Two trees that should match do not: structure, shape or dtype."""


class MissingExtraError(GradtxError, TypeError, ValueError):
    """`update` needs ``params`` or an extra keyword that was not passed."""


class UnknownNameError(GradtxError, KeyError):
    """A name that is not registered, or not in a state."""


class MissingPackageError(GradtxError, ImportError):
    """Something optional wants a package that is not installed."""


def require_extra(value: object, keyword: str, hint: str) -> object:
    """Return `value`, or raise `MissingExtraError` naming the keyword `update` was not given."""
    if value is None:
        raise MissingExtraError(f"update(..., {keyword}=...)", got=f"no {keyword}", hint=hint)
    return value
