"""Arithmetic, norms, paths, selection and look-up on pytrees. Knows nothing of transformations."""

from gradtx.tree.arithmetic import (
    accumulator_dtype,
    cast_like,
    copy_accumulator,
    full_accumulator,
    zeros_accumulator,
    zeros_like,
)
from gradtx.tree.fields import find_nodes, get_all_fields, get_field, map_nodes, set_field
from gradtx.tree.mapping import map_leaves
from gradtx.tree.norms import global_norm, inner, squared_norm
from gradtx.tree.paths import leaf_names, leaf_paths
from gradtx.tree.ravel import Unravel, ravel_params
from gradtx.tree.select import keep_selected, put_back, require_matches, resolve_mask

__all__ = [
    "Unravel",
    "accumulator_dtype",
    "cast_like",
    "copy_accumulator",
    "find_nodes",
    "full_accumulator",
    "get_all_fields",
    "get_field",
    "global_norm",
    "inner",
    "keep_selected",
    "leaf_names",
    "leaf_paths",
    "map_leaves",
    "map_nodes",
    "put_back",
    "ravel_params",
    "require_matches",
    "resolve_mask",
    "set_field",
    "squared_norm",
    "zeros_accumulator",
    "zeros_like",
]
