"""What counts as a function, and the names of leaves in Flax's boxes, wherever masks, labels and globs are taken."""

import functools

import equinox
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradtx
from gradtx import tree
from gradtx.errors import ArgumentValueError
from gradtx.tree.paths import is_function
from tests.conformance.cases import REGISTRY, make
from tests.conformance.laws import close


class Layer(equinox.Module):
    """A model that is a tree and can be called, as models of Equinox are."""

    kernel: object
    bias: object

    def __call__(self, x):
        pytest.fail("called instead of used")

    def method(self):
        return self.kernel


def test_a_module_that_can_be_called_is_a_tree():
    assert not is_function(Layer(1, 2))
    for function in (len, lambda x: x, jnp.sin, Layer, functools.partial(max, 1), Layer(1, 2).method, np.mean):
        assert is_function(function)
    assert not is_function(None)


PARAMS = Layer({"w": jnp.ones((2, 2)), "v": jnp.ones(2)}, jnp.ones(2))
MASKS = [(name, key) for name, factory in REGISTRY.items() for key in factory.signature.parameters if "mask" in key]


def one_update(tx, params=PARAMS):
    """The updates and the state after a step with every extra."""
    grads = jax.tree.map(jnp.ones_like, params)
    value_fn = lambda p: sum(map(jnp.sum, jax.tree.leaves(p)))  # noqa: E731
    extra = {"value": value_fn(params), "grad": grads, "value_fn": value_fn, "grad_fn": lambda p: grads}
    extra["key"] = jax.random.key(0)
    return tx.update(grads, tx.init(params), params, **extra)


@pytest.mark.parametrize(("name", "key"), MASKS)
@pytest.mark.parametrize("wrap", [lambda tx: tx, gradtx.tunable], ids=["plain", "tunable"])
def test_a_mask_may_be_a_module_that_can_be_called(name, key, wrap):
    tx = make(name, REGISTRY[name])
    got = one_update(wrap(tx.replace(**{key: Layer(True, False)})))
    expected = one_update(wrap(tx.replace(**{key: lambda params: Layer(True, False)})))
    close(jax.tree.leaves(got), jax.tree.leaves(expected))


def test_every_factory_with_a_mask_is_tested():
    assert {name for name, _ in MASKS} >= {"adamw", "lion", "adadelta", "ranger", "sophia", "masked", "freeze"}


def test_labels_and_fields_may_be_modules_that_can_be_called():
    tx = gradtx.partition({"a": gradtx.scale(2.0), "b": gradtx.scale(3.0)}, Layer("a", "b"))
    updates, _ = one_update(tx)
    assert (updates.kernel["v"].tolist(), updates.bias.tolist()) == ([2.0, 2.0], [3.0, 3.0])
    moments = jax.tree.map(lambda x: 5 * x, PARAMS)
    assert tree.set_field(gradtx.adam(0.1).init(PARAMS), "mu", moments)[0].mu is moments


@pytest.mark.parametrize("tx", [gradtx.lbfgs(), gradtx.apply_if_finite(gradtx.lbfgs())], ids=["plain", "guarded"])
def test_a_gradient_among_the_extras_may_be_a_module_that_can_be_called(tx):
    updates, _ = one_update(tx)
    assert float(updates.bias[0]) < 0


# --- Flax's boxes -----------------------------------------------------------------------------------------------------


def linen(box):
    """The params of a dense layer in boxes."""
    inits = {"kernel_init": nn.initializers.ones, "bias_init": nn.initializers.ones}
    names = {"kernel_init": ("in", "out"), "bias_init": ("out",)}
    dense = nn.Dense(2, **{key: box(init, names[key]) for key, init in inits.items()})
    return {"dense": dense.init(jax.random.key(0), jnp.ones((1, 2)))["params"]}


class Model(nnx.Module):
    """The same in NNX."""

    def __init__(self):
        self.dense = nnx.Linear(2, 2, bias_init=nnx.initializers.ones, rngs=nnx.Rngs(0))


BOXED = {
    "Partitioned": lambda: linen(nn.with_partitioning),
    "LogicallyPartitioned": lambda: linen(nn.with_logical_partitioning),
    "nnx": lambda: nnx.state(Model(), nnx.Param),
}
boxed = pytest.mark.parametrize("params", [pytest.param(make(), id=name) for name, make in BOXED.items()])


@boxed
def test_globs_see_through_boxes(params):
    assert jax.tree.leaves(tree.leaf_names(params)) == ["dense/bias", "dense/kernel"]
    chosen = {
        "mask": gradtx.masked(gradtx.scale(2.0), "*/kernel"),
        "globs": gradtx.masked(gradtx.scale(2.0), ("dense/kern*", "*/kernel")),
        "partition": gradtx.partition({"*/kernel": gradtx.scale(2.0), "*": gradtx.identity()}),
    }
    for tx in chosen.values():
        assert [float(u.ravel()[0]) for u in jax.tree.leaves(one_update(tx, params)[0])] == [1.0, 2.0]
    _, seen = one_update(gradtx.monitor({"kernels": "*/kernel", "rest": "*"}), params)
    np.testing.assert_allclose([seen.update_norm["kernels"], seen.update_norm["rest"]], [2.0, 2**0.5], rtol=1e-6)
    assert str(gradtx.describe(chosen["partition"], params)).count("1 of 2") == 2


@boxed
def test_each_glob_must_match_a_leaf(params):
    for tx in (
        gradtx.masked(gradtx.sgd(0.1), ("*/kernel", "*/absent")),
        gradtx.freeze(["*/kernel", "*/absent"]),
        gradtx.adamw(0.1, mask=("*/kernel", "*/absent")),
        gradtx.partition({"*/kernel": gradtx.sgd(0.1), "*/absent": gradtx.sgd(0.1), "*": gradtx.sgd(0.1)}),
        gradtx.monitor({"kernels": ("*/kernel", "*/absent")}),
        gradtx.monitor(("*/kernel", "*/absent")),
    ):
        with pytest.raises(ArgumentValueError, match=r"got '\*/absent'"):
            tx.init(params)
