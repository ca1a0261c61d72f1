"""A transformation in, a transformation out."""

from gradtx.wrappers.lookahead import LookaheadState, lookahead, lookahead_params

__all__ = ["LookaheadState", "lookahead", "lookahead_params"]
