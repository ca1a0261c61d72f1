"""`describe` of methods of matrices: what each leaf was taken for, and what a step costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.inspect.matrices import cost_of


def leaf(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def transformer(layers=12):
    block = lambda: {  # noqa: E731
        "qkv": {"kernel": leaf(32, 96)},
        "up": {"kernel": leaf(32, 64), "bias": leaf(64)},
        "down": {"kernel": leaf(64, 32)},
    }
    return {"embed": leaf(100, 32), "absent": None} | {f"layer_{i}": block() for i in range(layers)}


REASONS = """\
muon: 1 leaf embed: no matrix: an embedding by its name 'embed'
muon: 24 leaves layer_*/down/kernel, layer_*/up/kernel: in out: a matrix by its rank
muon: 12 leaves layer_*/qkv/kernel: in out/3: a matrix by its rank
muon: 12 leaves layer_*/up/bias: no matrix: 1 axes"""


@pytest.mark.parametrize("tx", [gradtx.muon(0.1), gradtx.chain(gradtx.clip(1.0), gradtx.muon(0.1))])
def test_equal_reasons_are_one_line(tx):
    assert str(gradtx.describe(tx, transformer())).endswith("\n\n" + REASONS)


def test_a_member_says_it_of_the_leaves_that_it_sees():
    tx = gradtx.partition({"*/kernel": gradtx.scale_by_muon(), "*": gradtx.adam(0.1)})
    below = gradtx.describe(tx, transformer(2)).below
    assert below[0] == "scale_by_muon: 4 leaves layer_*/down/kernel, layer_*/up/kernel: in out: a matrix by its rank"
    assert len(below) == 2


def test_one_leaf_has_its_own_name_and_many_names_are_counted():
    params = {f"layer_{name}": leaf(2, 3) for name in ("a", "b", "c", "d", "e", "f")}
    text = "muon: 6 leaves layer_a, layer_b, layer_c, layer_d and 2 more: in out: a matrix by its rank"
    assert gradtx.describe(gradtx.muon(0.1), params).below == (text,)
    assert gradtx.describe(gradtx.muon(0.1), {"w1": leaf(2, 3)}).below == (
        "muon: 1 leaf w1: in out: a matrix by its rank",
    )


def test_other_methods_say_nothing_of_matrices():
    assert gradtx.describe(gradtx.adam(0.1), transformer(1)).below == ()


@pytest.mark.parametrize("shape", [(64, 128), (128, 64), (96, 96)])
def test_operations_are_those_of_the_products(shape):
    m, n = sorted(shape)
    cost = cost_of(gradtx.orthogonalize_updates(), leaf(*shape))
    np.testing.assert_allclose(cost.operations, 5 * (4 * m * m * n + 2 * m**3), rtol=0.1)
    assert cost.moved > 4 * 2 * m * n


def test_the_cost_is_above_and_by_shape_below():
    tx = gradtx.muon(0.1, weight_decay_mask="*/kernel", matrices={"*/qkv/kernel": "in out/64+16+16"})
    params = transformer(2) | {"head": {"kernel": leaf(32, 100)}}
    found = gradtx.describe(tx, params, cost=True)
    assert found.above[-1].startswith("a step: ")
    assert found.above[-1].endswith(" moved")
    shapes = [line.partition(": ")[2].rpartition(":")[0] for line in found.below if " of [" in line]
    assert shapes == ["2 of [64, 32], in out", "2 of [32, 96], in out/64+16+16", "2 of [32, 64], in out"]
    whole = cost_of(tx, params).operations
    assert whole < 1.2 * 2 * sum(
        cost_of(gradtx.scale_by_muon(matrices={"": text}), leaf(*shape)).operations
        for shape, text in [((64, 32), "in out"), ((32, 96), "in out/64+16+16"), ((32, 64), "in out")]
    )


def test_a_step_that_needs_extras_says_so():
    above = gradtx.describe(gradtx.polyak_sgd(1.0), transformer(1), cost=True).above
    assert above[-1].startswith("a step: its cost is not known without the extras: gradtx.scale_by_polyak: expected")


def test_the_cost_of_leaves_of_two_dtypes_is_apart():
    params = {"a": leaf(8, 16), "c": jax.ShapeDtypeStruct((8, 16), jnp.bfloat16)}
    lines = [line for line in gradtx.describe(gradtx.scale_by_muon(), params, cost=True).below if " of [" in line]
    assert [line.partition(",")[0] for line in lines] == ["scale_by_muon: 1 of [8"] * 2
