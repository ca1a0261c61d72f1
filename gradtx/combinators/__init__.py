"""Transformations made of transformations: one after another, each on its own leaves, or at some steps only."""

from gradtx.combinators.chain import chain, named_chain
from gradtx.combinators.conditional import ConditionalState, conditionally_mask, conditionally_transform
from gradtx.combinators.mask import MaskedState, freeze, masked, selective_transform
from gradtx.combinators.partition import PartitionState, multi_transform, partition

__all__ = [
    "ConditionalState",
    "MaskedState",
    "PartitionState",
    "chain",
    "conditionally_mask",
    "conditionally_transform",
    "freeze",
    "masked",
    "multi_transform",
    "named_chain",
    "partition",
    "selective_transform",
]
