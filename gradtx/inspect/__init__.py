"""See an optimizer: its parts and its cost, its state as numbers to log, pictures, and what to cite."""

from gradtx.inspect.metrics import metrics

__all__ = ["metrics"]
