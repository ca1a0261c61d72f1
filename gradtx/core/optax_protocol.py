"""What Optax asks of a transformation: to be an instance of one of its classes."""

import functools
import sys
from typing import Any


def class_for_optax(own: type) -> type:
    """The class that a transformation gives as its ``__class__``: its own, and Optax's too once Optax is imported.

    Optax's wrappers (`chain`, `masked`, `partition`, `MultiSteps`, `apply_if_finite`, ...) hand extras to instances of
    ``optax.GradientTransformationExtraArgs`` only, and drop them for anything else without a word: a plateau would see
    no loss. A library that does not import Optax cannot derive from that class. But where the type of an object will
    not do, `isinstance` asks for its ``__class__``, and this one does for both. JAX's trees, copies and pickles go by
    the type, and see gradtx's class alone.
    """
    # Only looked up: gradtx works without Optax. While Optax is being imported, the name may not be there yet.
    theirs: Any = getattr(sys.modules.get("optax"), "GradientTransformationExtraArgs", None)
    # Under Optax's name may be gradtx.optax, whose class is this one.
    another = isinstance(theirs, type) and not issubclass(own, theirs)
    return _both(own, theirs) if another else own


class _NoTuple(type):
    """The class of a class that inherits from `tuple`, and does not say so.

    Optax's class is a named tuple. Printers and loggers take what is an instance of `tuple` apart, by its length and
    its indices: a transformation has neither, and Equinox could not print one.
    """

    def mro(cls) -> list[type]:
        return [kind for kind in super().mro() if kind is not tuple]


@functools.cache
def _both(own: type, theirs: type) -> type:
    """A class for `isinstance`, of which there are no instances."""
    return _NoTuple(own.__name__, (own, theirs), {"__module__": own.__module__, "__doc__": own.__doc__})
