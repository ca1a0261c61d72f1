"""Bytes of state per parameter, of a large matrix of float32: what people choose some optimizers for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx

SIDE = 2048

SMALL = {
    "adafactor()": 0.1,
    "adafactor(1e-3)": 0.1,
    "sm3(0.1, momentum=None)": 0.1,
    "scale_by_factored_rms()": 0.1,
    "apollo_mini(0.01)": 0.1,
    "galore(0.01)": 1.0,
}
"""At most so much: for rows and columns, or a small rank."""

ABOUT = {
    "adam_mini(1e-3, {'*': 1})": 4,
    "adafactor(1e-3, momentum=0.9)": 4,
    "came(1e-3)": 4,
    "sm3(0.1)": 4,
    "novograd(1e-3)": 4,
    "normuon(0.02)": 4,
}
"""A momentum, and next to nothing."""

WHOLE = {
    0: "sgd(0.1) sign_sgd(0.1) noisy_sgd(0.1) fromage(0.1) polyak_sgd()",
    4: "sgd(0.1,0.9) signum(0.1) lion(1e-3) tiger(1e-3) lars(0.1) adagrad(0.1) rmsprop(0.1) muon(0.02) scion(0.02)"
    " dog() dowg() qhm(0.1) sgdp(0.1) sgdw(0.1,0.9) schedule_free_sgd(0.1) dadapt_sgd() momo()",
    6: "adam(1e-3,mu_dtype='bfloat16')",
    8: "adam(1e-3) adamw(1e-3) adamax(1e-3) nadam(1e-3) radam(1e-3) yogi(1e-3) lamb(1e-3) laprop(1e-3) adopt(1e-3)"
    " adabelief(1e-3) stable_adamw(1e-3) adamp(1e-3) qhadam(1e-3) adabound(1e-3) aggmo(0.1) rprop(0.1) adadelta()"
    " schedule_free_adamw(1e-3) simplified_ademamix(1e-3) adamuon(0.02)",
    12: "amsgrad(1e-3) ademamix(1e-3) mars(1e-3) adamod(1e-3) diffgrad(1e-3) madgrad(0.01) dadapt_adamw() ranger(1e-3)",
    16: "adan(1e-3) prodigy()",
    20: "cocob() dadapt_adan()",
}
"""Exactly so much: one buffer of float32 is 4."""


def bytes_per_parameter(text: str) -> float:
    """Nothing is allocated: the state is evaluated as shapes."""
    state = jax.eval_shape(gradtx.parse(text).init, {"kernel": jax.ShapeDtypeStruct((SIDE, SIDE), jnp.float32)})
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / SIDE**2


@pytest.mark.parametrize("text", SMALL)
def test_a_small_state(text: str) -> None:
    assert 0 < bytes_per_parameter(text) < SMALL[text]


@pytest.mark.parametrize("text", ABOUT)
def test_a_momentum_and_little_else(text: str) -> None:
    np.testing.assert_allclose(bytes_per_parameter(text), ABOUT[text], rtol=0.01)


@pytest.mark.parametrize(("wanted", "text"), [(n, text) for n, texts in WHOLE.items() for text in texts.split()])
def test_so_many_buffers(wanted: int, text: str) -> None:
    np.testing.assert_allclose(bytes_per_parameter(text), wanted, atol=1e-4)
