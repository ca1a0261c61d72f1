"""QK-Clip: logits beyond the threshold come down to it, whatever the optimizer and wherever the heads are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingExtraError
from tests.trajectories import x64

HEADS, SIZE, WIDTH = 4, 3, 5


def attention(*leading, random=None):
    random = random or np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=(*leading, *shape)))  # noqa: E731
    return {
        "query": {"kernel": draw(WIDTH, HEADS, SIZE), "bias": draw(HEADS, SIZE)},
        "key": {"kernel": draw(WIDTH, HEADS, SIZE), "bias": draw(HEADS, SIZE)},
        "value": {"kernel": draw(WIDTH, HEADS, SIZE)},
    }


def logits(params, x):
    """The largest attention logit of each head."""
    q, k = (jnp.einsum("ti,ihs->ths", x, params[n]["kernel"]) + params[n]["bias"] for n in ("query", "key"))
    return jnp.einsum("ths,uhs->htu", q, k).max((1, 2))


@pytest.mark.parametrize("optimizer", [gradtx.sgd(0.01), gradtx.adamw(0.01), gradtx.muon(0.01)])
def test_logits_that_were_too_large_are_at_the_threshold(optimizer):
    """Exactly, of the parameters that the optimizer makes."""
    with x64():
        params, grads = attention(), attention(random=np.random.default_rng(1))
        x = jnp.asarray(np.random.default_rng(2).normal(size=(7, WIDTH)))
        plain = gradtx.apply_updates(params, optimizer.update(grads, optimizer.init(params), params)[0])
        before = logits(plain, x)
        threshold = float(np.sort(before)[1])
        tx = gradtx.chain(optimizer, gradtx.qk_clip(threshold))
        updates, _ = jax.jit(tx.update)(grads, tx.init(params), params, max_logits=before)
        clipped = gradtx.apply_updates(params, updates)
        np.testing.assert_allclose(logits(clipped, x), np.minimum(before, threshold), rtol=1e-12)
        np.testing.assert_allclose(clipped["value"]["kernel"], plain["value"]["kernel"])
        gamma = np.minimum(1, threshold / before)
        for name in ("query", "key"):
            np.testing.assert_allclose(clipped[name]["kernel"], np.sqrt(gamma)[:, None] * plain[name]["kernel"])


def test_layers_have_their_own_logits_by_globs_or_in_a_stack():
    with x64():
        size = jnp.array([[50.0, 200.0, 400.0, 100.0], [800.0, 1.0, 1.0, 1.0]])
        layers = {f"layer_{i}": attention(random=np.random.default_rng(i)) for i in range(2)}
        stack = jax.tree.map(lambda *xs: jnp.stack(xs), *layers.values())
        tx, zeros = gradtx.qk_clip(), lambda tree: jax.tree.map(jnp.zeros_like, tree)
        by_glob = {"layer_0/*": size[0], "layer_1/*": size[1]}
        apart, _ = tx.update(zeros(layers), tx.init(layers), layers, max_logits=by_glob)
        together, _ = tx.update(zeros(stack), tx.init(stack), stack, max_logits=size)
        for i in range(2):
            jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a, b[i]), apart[f"layer_{i}"], together)
        shrunk = together["query"]["kernel"] / stack["query"]["kernel"] + 1
        np.testing.assert_allclose(shrunk[:, 0, :, 0], np.sqrt(np.minimum(1, 100 / size)))


def test_heads_one_after_another_and_other_exponents():
    """Equinox has [heads x size, inputs]; of latent attention the rotated queries take all of it."""
    with x64():
        params = {"q": jnp.ones((6, 2)), "rotated": jnp.ones((6, 2)), "k_rotated": jnp.ones((3, 2))}
        tx = gradtx.qk_clip(10.0, {"q": 0.5, "rotated": 1.0}, head_axis=0)
        zero = jax.tree.map(jnp.zeros_like, params)
        u, _ = tx.update(zero, tx.init(params), params, max_logits=jnp.array([40.0, 5.0]))
        after = gradtx.apply_updates(params, u)
        np.testing.assert_allclose(after["q"][:, 0], [0.5] * 3 + [1.0] * 3)
        np.testing.assert_allclose(after["rotated"][:, 0], [0.25] * 3 + [1.0] * 3)
        np.testing.assert_array_equal(after["k_rotated"], 1)


@pytest.mark.parametrize("value", [0.0, -5.0, np.nan, np.inf, 99.0])
def test_logits_below_the_threshold_change_no_bit(value):
    params, grads = {"query": jnp.full((2, 1, 3), 0.1)}, {"query": jnp.full((2, 1, 3), 0.3, jnp.bfloat16)}
    tx = gradtx.qk_clip()
    u, _ = tx.update(grads, tx.init(params), params, max_logits=jnp.array([value]))
    assert u["query"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(u["query"], grads["query"])


def test_what_is_missing_or_wrong_is_named():
    params = {"query": jnp.ones((5, 4, 3)), "key": None}
    tx = gradtx.qk_clip()
    state = tx.init(params)
    with pytest.raises(MissingExtraError, match=r"qk_clip: expected update\(..., max_logits=...\), got no max_logits"):
        tx.update(params, state, params)
    with pytest.raises(MissingExtraError, match="params"):
        tx.update(params, state, max_logits=jnp.ones(4))
    message = (
        r"max_logits \[..., heads\] for a leaf of shape \[5, 4, 3\] with its heads on axis 1, got the shape \[3\] at"
    )
    with pytest.raises(ArgumentValueError, match=message):
        tx.update(params, state, params, max_logits=jnp.ones(3))
    with pytest.raises(ArgumentValueError, match=r"max_logits for 'query', got those of \['layer/\*'\] at \['query'\]"):
        tx.update(params, state, params, max_logits={"layer/*": jnp.ones(4)})
    with pytest.raises(
        ArgumentValueError, match=r"a glob that is the first to match some leaf of 'dense', got '.query.'"
    ):
        tx.init({"dense": jnp.ones((2, 2))})
    with pytest.raises(ArgumentTypeError, match="exponents"):
        gradtx.qk_clip(exponents={"*": "x"})
    with pytest.raises(ArgumentTypeError, match="globs on leaf paths as keys of exponents, got 0"):
        gradtx.qk_clip(exponents={0: 0.5})
    with pytest.raises(ArgumentValueError, match="a leaf with axis -4 for its heads"):
        gradtx.qk_clip(head_axis=-4).update(params, state, params, max_logits=jnp.ones(4))
