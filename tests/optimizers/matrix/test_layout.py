"""What is taken for a matrix, and how leaves are cut into matrices."""

import warnings

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradtx
from gradtx import MatrixLayout
from gradtx.errors import ArgumentTypeError, ArgumentValueError, TreeMismatchError
from gradtx.optimizers.matrix import in_batches, map_matrices
from gradtx.optimizers.matrix.batches import in_equal_batches, init_matrices, map_matrices_with


def layouts(params, matrices=None):
    """By name, the layout of each leaf that is a matrix."""
    return {
        choice.name: " ".join(choice.layout.words)
        for choice in jax.tree.leaves(gradtx.choose_matrices(matrices, params))
        if choice.layout
    }


def why(params, matrices=None):
    return {choice.name: choice.why for choice in jax.tree.leaves(gradtx.choose_matrices(matrices, params))}


# --- one leaf ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shape", "flat"),
    [
        ("in out", (2, 3), [(1, 2, 3)]),
        ("out in", (2, 3), [(1, 3, 2)]),
        ("batch in out", (4, 2, 3), [(4, 2, 3)]),
        ("... in out", (4, 5, 2, 3), [(20, 2, 3)]),
        ("... in out", (2, 3), [(1, 2, 3)]),
        ("in batch out", (2, 4, 3), [(4, 2, 3)]),
        ("in in in out", (3, 3, 2, 5), [(1, 18, 5)]),
        ("out in in in", (5, 2, 3, 3), [(1, 18, 5)]),
        ("in out out", (6, 2, 3), [(1, 6, 6)]),
        ("in out/3", (2, 9), [(1, 2, 3)] * 3),
        ("batch in out/4+1+1", (7, 2, 6), [(7, 2, 4), (7, 2, 1), (7, 2, 1)]),
        ("in/2 out", (4, 3), [(1, 2, 3)] * 2),
    ],
)
def test_a_leaf_is_cut_into_matrices_and_put_together_again(text, shape, flat):
    layout = MatrixLayout.read(text, shape)
    x = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    matrices = layout.matrices(x)
    assert [m.shape for m in matrices] == layout.flat_shapes == flat
    np.testing.assert_array_equal(layout.leaf(matrices), x)


def test_a_convolution_has_its_outputs_as_columns():
    x = jnp.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(MatrixLayout.read("in in out", x.shape).matrices(x)[0][0], x.reshape(6, 4))
    np.testing.assert_array_equal(MatrixLayout.read("out in in", x.shape).matrices(x)[0][0], x.reshape(2, 12).T)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("rows columns", (2, 3), "layouts such as"),
        ("in", (2,), "layouts such as"),
        ("in out ... ...", (2, 3), "layouts such as"),
        ("in out", (2, 3, 4), r"a word for each axis of \[2, 3, 4\]"),
        ("batch ... in out", (2, 3), r"a word for each axis of \[2, 3\]"),
        ("in/2 out/3", (2, 3), "cut one axis"),
        ("batch/2 in out", (2, 3, 4), "cut one axis"),
        ("in out/2", (2, 3), "parts that make up an axis of 3"),
        ("in out/1+1", (2, 3), "parts that make up an axis of 3"),
        ("in out/3+0", (2, 3), "parts that make up an axis of 3"),
    ],
)
def test_what_is_no_layout_is_refused(text, shape, message):
    with pytest.raises(ArgumentValueError, match=message):
        MatrixLayout.read(text, shape)


# --- which leaves -----------------------------------------------------------------------------------------------------


def test_flax_linen():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(11, 8)(tokens)
            x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
            x = nn.Conv(8, (3,))(x)
            return nn.Dense(11, name="lm_head")(nn.Dense(8)(x))

    params = Model().init(jax.random.key(0), jnp.zeros((1, 4), int))["params"]
    attention = "MultiHeadDotProductAttention_0"
    assert layouts(params) == {
        "Conv_0/kernel": "in in out",
        "Dense_0/kernel": "in out",
        f"{attention}/query/kernel": "in out out",
        f"{attention}/key/kernel": "in out out",
        f"{attention}/value/kernel": "in out out",
        f"{attention}/out/kernel": "in in out",
    }
    reasons = why(params)
    assert reasons["Embed_0/embedding"] == "no matrix: an embedding by its name 'embed_0'"
    assert reasons["lm_head/kernel"] == "no matrix: an output head by its name 'lm_head'"
    assert reasons[f"{attention}/query/bias"] == "no matrix: a bias or a scale by its name 'bias'"


def test_flax_nnx():
    class Model(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.embed = nnx.Embed(11, 8, rngs=rngs)
            self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs), nnx.Conv(8, 8, (3, 3), rngs=rngs)])

    assert layouts(nnx.state(Model(), nnx.Param)) == {
        "layers/0/kernel": "in out",
        "layers/1/kernel": "in in in out",
    }


def test_equinox_has_its_outputs_first():
    key = jax.random.key(0)
    model = {
        "embedding": eqx.nn.Embedding(11, 8, key=key),
        "layers": [eqx.nn.Linear(8, 4, key=key), eqx.nn.Conv2d(3, 5, 3, key=key), eqx.nn.LayerNorm(4)],
    }
    assert layouts(eqx.filter(model, eqx.is_array)) == {"layers/0/weight": "out in", "layers/1/weight": "out in in in"}


def test_haiku():
    def model(x):
        h = hk.Linear(3)(hk.Embed(11, 8)(x))
        return hk.Linear(11, name="logits")(hk.LayerNorm(-1, True, True)(h))

    params = hk.transform(model).init(jax.random.key(0), jnp.zeros((1, 4), int))
    assert layouts(params) == {"linear/w": "in out"}


def test_a_letter_at_the_end_of_a_name_is_no_bias():
    params = {"lora_a": jnp.ones((4, 2)), "lora_b": jnp.ones((2, 4)), "b": jnp.ones((2, 4)), "b_1": jnp.ones((2, 4))}
    assert layouts(params) == {"lora_a": "in out", "lora_b": "in out"}


def test_a_fused_query_key_value_is_three_matrices():
    params = {"attn": {"c_attn": {"kernel": jnp.ones((4, 12)), "bias": jnp.ones(12)}}}
    (choice,) = (c for c in jax.tree.leaves(gradtx.choose_matrices(None, params)) if c.layout)
    assert choice.layout.flat_shapes == [(1, 4, 4)] * 3


def test_three_axes_must_be_declared():
    params = {"layers": {"kernel": jnp.ones((2, 3, 4))}}
    message = r"axes are declared, got the shape \[2, 3, 4\] at \['layers'\]\['kernel'\]; .*batch in out.*stack"
    with pytest.raises(ArgumentValueError, match=message):
        gradtx.muon(0.1).init(params)
    assert layouts(params, {"layers/*": "batch in out"}) == {"layers/kernel": "batch in out"}


def test_declarations_come_before_the_rule():
    params = {"embed": jnp.ones((3, 4)), "a": jnp.ones((3, 4)), "b": jnp.ones((3, 4)), "c": jnp.ones(3)}
    assert layouts(params, {"embed": True, "a": False, "b": "out in"}) == {"embed": "in out", "b": "out in"}
    assert layouts(params, lambda name, shape: name == "a" if len(shape) == 2 else None) == {"a": "in out"}
    assert layouts(params | {"none": None}, lambda name, shape: len(shape) == 2) == {
        "embed": "in out", "a": "in out", "b": "in out",
    }  # fmt: skip
    tree = {"embed": None, "a": "out in", "b": optax.contrib.MuonDimensionNumbers(1, 0), "c": None}
    assert layouts(params, tree) == {"a": "out in", "b": "out in"}
    assert why(params, tree)["embed"] == "no matrix: declared by 'embed'"
    assert why({"layer": params}, {"layer": tree})["layer/embed"] == "no matrix: declared by the tree"
    assert layouts({"w": jnp.ones((2, 3, 4, 5))}, {"w": optax.contrib.MuonDimensionNumbers((-3, 2), 3)}) == {
        "w": "batch in in out"
    }


def test_bad_declarations_name_the_leaf():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((3, 4))}
    with pytest.raises(ArgumentValueError, match=r"a word for each axis of \[3, 4\], got 'batch in out' at \['b'\]"):
        gradtx.choose_matrices({"b": "batch in out"}, params)
    with pytest.raises(ArgumentTypeError, match="matrices to say a layout, True or False of each leaf, got 3 at a"):
        gradtx.choose_matrices(lambda name, shape: 3, params)
    with pytest.raises(TreeMismatchError, match=r"the layouts to be a tree like the params.*no entry at \['a'\]"):
        gradtx.choose_matrices({"a": {"c": {}}}, params)
    with pytest.raises(ArgumentValueError, match=r"expected a glob that is the first to match some leaf.*'kernel'"):
        gradtx.muon(0.1, matrices={"kernel": "in out"}).init(params)


def test_a_leaf_like_an_embedding_is_warned_of_once_it_is_known_by_its_shape_alone():
    params = {"table": jax.ShapeDtypeStruct((32_000, 4_096), jnp.float32)}
    with pytest.warns(UserWarning, match=r"'table' has the shape of an embedding, \[32000, 4096\].*\"table\": False"):
        jax.eval_shape(gradtx.muon(0.1).init, params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(gradtx.muon(0.1, matrices={"table": True}).init, params)
        jax.eval_shape(gradtx.muon(0.1).init, {"up": jax.ShapeDtypeStruct((4_096, 16_384), jnp.float32)})


# --- together ---------------------------------------------------------------------------------------------------------


def test_matrices_of_one_shape_are_one_batch_and_the_short_side_is_first():
    seen = []

    def double(x):
        seen.append(x.shape)
        return 2 * x

    shapes = [(1, 2, 3), (2, 3, 2), (1, 4, 4), (1, 2, 3)]
    xs = [jnp.arange(np.prod(shape), dtype=float).reshape(shape) for shape in shapes]
    for x, y in zip(xs, in_batches(double, xs), strict=True):
        np.testing.assert_array_equal(y, 2 * x)
    assert seen == [(4, 2, 3), (1, 4, 4)]
    seen.clear()
    in_batches(double, [jnp.ones((1, 2, 2))] * 10)
    assert seen == [(4, 2, 2), (4, 2, 2), (2, 2, 2)]


def test_what_belongs_to_matrices_goes_with_them_into_their_batches():
    seen = []

    def scaled(x, row):
        seen.append((x.shape, row.shape))
        return x * row[:, None, :], row + 1

    xs = [jnp.ones(shape) for shape in [(1, 2, 3), (2, 2, 3), (1, 3, 2)]]
    rows = [jnp.full((len(x), x.shape[2]), float(i)) for i, x in enumerate(xs)]
    made, after = in_equal_batches(scaled, xs, rows)
    for i, (x, y, row) in enumerate(zip(xs, made, after, strict=True)):
        np.testing.assert_array_equal(y, i * x)
        np.testing.assert_array_equal(row, rows[i] + 1)
    assert seen == [((3, 2, 3), (3, 3)), ((1, 3, 2), (1, 2))]


def test_states_are_tuples_of_the_matrices_of_a_leaf_and_stay_where_a_gradient_is_absent():
    params = {"a": jnp.ones((2, 3), jnp.bfloat16), "qkv": jnp.ones((2, 6)), "absent": None}
    state = init_matrices(lambda x: jnp.zeros((len(x), x.shape[2]), jnp.float32), params, None)
    assert jax.tree.map(jnp.shape, state) == {"a": ((1, 3),), "qkv": ((1, 2),) * 3, "absent": None}

    def add(xs, sums):
        return [[2 * x for x in xs], [s + x.sum(1) for x, s in zip(xs, sums, strict=True)]]

    updates, after = map_matrices_with(add, {**params, "a": None}, (state,), None)
    assert updates["a"] is updates["absent"] is after["absent"] is None
    np.testing.assert_array_equal(updates["qkv"], 2)
    np.testing.assert_array_equal(after["a"][0], 0)
    np.testing.assert_array_equal(after["qkv"][2], 2)


def test_leaves_keep_their_dtypes_and_absent_ones_stay():
    updates = {"a": jnp.ones((2, 3), jnp.bfloat16), "b": None, "c": jnp.ones((3, 2), jnp.float16)}
    made = map_matrices(lambda xs: [x + 1 for x in xs], updates, None)
    assert made["b"] is None
    assert (made["a"].dtype, made["c"].dtype) == (jnp.bfloat16, jnp.float16)
    np.testing.assert_array_equal(made["a"], 2)


def test_what_is_no_matrix_is_named():
    message = (
        r"expected a matrix, got no matrix: 1 axes at \['bias'\]; declare it by matrices=.*or give other leaves to"
    )
    with pytest.raises(TreeMismatchError, match=message):
        map_matrices(list, {"bias": jnp.ones(3)}, None)
