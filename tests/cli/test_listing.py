"""The registry in print."""

import importlib

import pytest

import gradtx
from gradtx.cli.listing import plain


@pytest.mark.usefixtures("scratch_registry")
def test_every_name_is_listed_once_with_its_summary(command):
    for name in [name for name in gradtx.registry() if "." in name]:  # what other tests have registered
        del importlib.import_module("gradtx.core.registry")._factories[name]
    result = command("list")
    assert (result.code, result.err) == (0, "")
    names = [line.split()[0] for line in result.out.splitlines() if line.startswith("    ")]
    assert sorted(names) == list(gradtx.registry())
    assert "AMSGrad: Adam with a second moment that never falls" in result.out


@pytest.mark.parametrize("name", list(gradtx.registry()))
def test_every_entry_can_be_shown(name, command):
    result = command("list", name)
    assert (result.code, result.err) == (0, "")
    factory = gradtx.registry()[name]
    assert result.out.startswith(f"{name}(")
    assert all(argument in result.out for argument in factory.arguments)


def test_an_entry_in_full(command):
    shown = command("list", "adam").out
    assert "optimizer, family adam" in shown
    assert "b1             a number or a schedule in [0, 1)    0.9" in shown
    assert "mu_dtype       a floating dtype, or None           None" in shown
    assert "arXiv:1412.6980" in shown


def test_a_second_name_finds_the_first(command):
    for second, first in gradtx.aliases().items():
        shown = command("list", second).out
        assert shown.startswith(f"{first}(")
        assert second in shown.rpartition("Also known as")[2]


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (r"rate :math:`\eta\, g` in ``float32``", "rate η g in float32"),
        (r":math:`u_\text{Adam} + \lambda p`", "u_Adam + λ p"),
        (r":math:`\min(\max(g, -\delta), \delta)`", "min(max(g, -δ), δ)"),
        (r":math:`\tfrac{a}{b} \le \operatorname{sign} x`", "a / b ≤ sign x"),
        ("no marks, `code`", "no marks, `code`"),
    ],
)
def test_formulas_become_text(marked, expected):
    assert plain(marked) == expected
