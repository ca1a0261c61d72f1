"""See an optimizer: its parts and its cost, its state as numbers to log, pictures, and what to cite."""

from gradtx.inspect.describe import Description, describe
from gradtx.inspect.metrics import metrics

__all__ = ["Description", "describe", "metrics"]
