"""The class of a transformation to `isinstance`: Optax's too, and no tuple."""

import copy
import functools
import pickle
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx


def test_a_transformation_is_an_instance_of_optax_class_and_no_tuple():
    optax = pytest.importorskip("optax")
    tx = gradtx.adam(0.1)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    assert isinstance(tx, optax.GradientTransformation)
    assert isinstance(tx, gradtx.GradientTransformation)
    assert issubclass(tx.__class__, gradtx.GradientTransformation)
    assert not isinstance(tx, tuple)
    assert not isinstance(tx, gradtx.Schedule)
    assert not isinstance(gradtx.constant_schedule(0.1), optax.GradientTransformation)
    assert type(tx) is gradtx.GradientTransformation
    assert optax.with_extra_args_support(tx) is tx
    init, update = tx
    assert (init, update) == (tx.init, tx.update)


def test_values_are_what_they_were_beside_optax():
    pytest.importorskip("optax")
    tx = gradtx.chain(gradtx.clip(1.0), gradtx.adam(0.1))
    pickled = pickle.loads(pickle.dumps(tx))  # noqa: S301
    for other in (copy.copy(tx), copy.deepcopy(tx), pickled, jax.tree.map(lambda x: x, tx)):
        assert type(other) is type(tx)
        assert other == tx
        assert hash(other) == hash(tx)
    assert jax.tree.structure((tx, 1)) == jax.tree.structure((tx, 2))
    assert jax.tree.leaves({"tx": tx}) == jax.tree.leaves(tx)
    assert gradtx.chain(tx, gradtx.scale(2.0)).transforms[0] is tx
    assert gradtx.parse(repr(tx)) == tx
    assert gradtx.from_config(gradtx.to_config(tx)) == tx
    chex.assert_trees_all_close(tx, copy.deepcopy(tx))

    @functools.singledispatch
    def kind(x):
        return type(x)

    kind.register(tuple, lambda x: "a tuple")
    kind.register(gradtx.GradientTransformation, lambda x: "a transformation")
    assert kind(tx) == "a transformation"
    match tx:
        case (_, _):
            pytest.fail("taken for a sequence")


def test_equinox_takes_a_transformation_for_a_tree():
    pytest.importorskip("optax")
    eqx = pytest.importorskip("equinox")
    tx = gradtx.adam(jnp.array(0.1))
    assert eqx.tree_pformat({"tx": gradtx.adam(0.1)}) == "{'tx': adam(learning_rate=0.1)}"
    numbers, rest = eqx.partition(tx, eqx.is_array)
    assert [float(x) for x in jax.tree.leaves(numbers)] == [np.float32(0.1)]
    assert eqx.combine(numbers, rest) == tx


def printed(code):
    """What a program prints, errors too, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout + done.stderr


WITHOUT_OPTAX = """
import sys
sys.modules["optax"] = None
import jax, jax.numpy as jnp, gradtx
tx = gradtx.chain(gradtx.sgd(0.1), gradtx.reduce_on_plateau(factor=0.5, patience=1))
assert tx.__class__ is type(tx) is gradtx.GradientTransformation
assert isinstance(tx, gradtx.GradientTransformation) and not isinstance(tx, tuple)
state = tx.init(jnp.ones(2))
for _ in range(3):
    updates, state = tx.update(jnp.ones(2), state, value=1.0)
print(updates.tolist())
"""


def test_all_the_same_without_optax():
    assert printed(WITHOUT_OPTAX) == "[-0.02500000037252903, -0.02500000037252903]\n"


def test_optax_imported_after_a_transformation_was_made():
    # As a program does that makes its optimizer first, and imports Flax (and with it Optax) later.
    pytest.importorskip("optax")
    code = (
        "import gradtx; tx = gradtx.adam(0.1); before = tx.__class__; import optax; "
        "print(before is type(tx), isinstance(tx, optax.GradientTransformationExtraArgs))"
    )
    assert printed(code) == "True True\n"
