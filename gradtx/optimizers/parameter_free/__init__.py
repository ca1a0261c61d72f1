"""Step sizes that follow from values and distances, not from a learning rate."""

from gradtx.optimizers.parameter_free.polyak import ScaleByPolyakState, polyak_sgd, scale_by_polyak

__all__ = [
    "ScaleByPolyakState",
    "polyak_sgd",
    "scale_by_polyak",
]
