"""One vector for each dtype, and back."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import TreeMismatchError

PARAMS = {
    "dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.full(3, 7.0)},
    "half": jnp.arange(4, dtype=jnp.bfloat16).reshape(2, 2),
    "scalar": jnp.float32(9.0),
    "empty": jnp.zeros((0, 2)),
    "absent": None,
    "table": jnp.arange(3),
}


def test_a_vector_for_each_dtype_and_back():
    flat, unravel = gradtx.ravel_params(PARAMS)
    assert {k: (str(x.dtype), x.shape) for k, x in flat.items()} == {
        "float32": ("float32", (10,)), "bfloat16": ("bfloat16", (4,)), "int32": ("int32", (3,))
    }  # fmt: skip
    chex.assert_trees_all_equal(unravel(flat), PARAMS)
    assert jax.tree.structure(unravel(flat)) == jax.tree.structure(PARAMS)
    assert jax.tree.map(lambda x: x.dtype, unravel(flat)) == jax.tree.map(lambda x: x.dtype, PARAMS)


@pytest.mark.parametrize("params", [jnp.arange(3.0), {"a": jnp.ones(4)}, [jnp.float32(2.0)]], ids=str)
def test_vectors_share_no_buffer_with_the_params(params):
    flat, unravel = gradtx.ravel_params(params)
    ours, theirs = ({x.unsafe_buffer_pointer() for x in jax.tree.leaves(t)} for t in (flat, params))
    assert not ours & theirs
    chex.assert_trees_all_equal(unravel(flat), params)


@pytest.mark.parametrize("params", [{}, None, {"a": None}, ()])
def test_no_leaves(params):
    flat, unravel = gradtx.ravel_params(params)
    assert flat == {}
    assert unravel(flat) == params


def test_gradients_arrive_flat_and_are_one_concatenation():
    params = [jnp.full((2, 2), float(i)) for i in range(5)]
    flat, unravel = gradtx.ravel_params(params)

    def loss(flat):
        return sum(i * jnp.sum(x**2) for i, x in enumerate(unravel(flat)))

    grads = jax.grad(loss)(flat)
    expected = gradtx.ravel_params(jax.grad(lambda p: sum(i * jnp.sum(x**2) for i, x in enumerate(p)))(params))[0]
    chex.assert_trees_all_equal(grads, expected)
    operations = [str(e.primitive) for e in jax.make_jaxpr(jax.grad(loss))(flat).eqns]
    assert operations.count("concatenate") == 1
    assert "pad" not in operations


def test_training_on_vectors_is_training():
    params = {"w": jnp.array([[1.0, -2.0]]), "b": jnp.array([0.5])}
    tx = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(0.1))
    flat, unravel = gradtx.ravel_params(params)

    def loss(p):
        return jnp.sum((p["w"] - 3.0) ** 2) + jnp.sum(p["b"] ** 2)

    state, flat_state = tx.init(params), tx.init(flat)
    for _ in range(5):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        params = gradtx.apply_updates(params, updates)
        updates, flat_state = tx.update(jax.grad(lambda f: loss(unravel(f)))(flat), flat_state, flat)
        flat = gradtx.apply_updates(flat, updates)
    chex.assert_trees_all_close(unravel(flat), params, rtol=1e-6)
    chex.assert_trees_all_close(
        unravel(gradtx.tree.get_field(flat_state, "mu")), gradtx.tree.get_field(state, "mu"), rtol=1e-5
    )


def test_unravel_is_a_value():
    flat, unravel = gradtx.ravel_params(PARAMS)
    same, other = gradtx.ravel_params(PARAMS)[1], gradtx.ravel_params({"a": jnp.ones(2)})[1]
    assert unravel == same
    assert hash(unravel) == hash(same)
    assert unravel != other
    simple = gradtx.ravel_params({"a": jnp.ones(2)})
    chex.assert_trees_all_equal(pickle.loads(pickle.dumps(simple[1].layout)), simple[1].layout)  # noqa: S301
    assert jax.jit(lambda f, u: u(f)["scalar"], static_argnums=1)(flat, unravel) == 9.0


def test_vectors_of_another_dtype_unravel_as_they_are():
    flat, unravel = gradtx.ravel_params({"half": jnp.ones(2, jnp.bfloat16)})
    state = gradtx.adam(0.1).init(flat)
    assert unravel(gradtx.tree.get_field(state, "mu"))["half"].dtype == jnp.float32


def test_under_eval_shape_and_jit():
    flat, unravel = gradtx.ravel_params(PARAMS)
    abstract = jax.eval_shape(lambda p: gradtx.ravel_params(p)[0], PARAMS)
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, flat)
    np.testing.assert_array_equal(jax.jit(unravel)(flat)["dense"]["kernel"], PARAMS["dense"]["kernel"])


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({}, "expected a dict of vectors {'float32': 2}, got a dict with []"),
        (jnp.ones(2), "expected a dict of vectors {'float32': 2}, got ArrayImpl"),
        ({"float32": jnp.ones(3)}, "expected a dict of vectors {'float32': 2}, got shape [3] at ['float32']"),
    ],
    ids=["empty", "array", "size"],
)
def test_what_is_not_such_a_dict_is_refused(flat, message):
    _, unravel = gradtx.ravel_params({"a": jnp.ones(2)})
    with pytest.raises(TreeMismatchError) as error:
        unravel(flat)
    hint = "pass what ravel_params returned, or a tree like it, such as its moments"
    assert str(error.value) == f"gradtx.ravel_params: {message}; {hint}"
