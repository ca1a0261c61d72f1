"""The benchmark of many leaves, on few."""

import json

import jax
import pytest

import gradtx
from benchmarks import many_leaves
from benchmarks.lists import alike, resnet, transformer


@pytest.fixture(autouse=True)
def _few_traces(monkeypatch):
    """The times are not looked at: two traces of each do, and no garbage is collected before them."""
    monkeypatch.setattr(many_leaves, "TRACES", 2)
    monkeypatch.setattr(many_leaves.gc, "collect", lambda: 0)


def test_lists_have_the_leaves_they_say():
    def describe(params):
        leaves = jax.tree.leaves(params)
        return len(leaves), len({x.shape for x in leaves}), sum(x.size for x in leaves)

    assert describe(alike(7, 4)) == (7, 1, 7 * 16)
    assert describe(transformer()) == (148, 9, 124_439_808)
    assert describe(resnet()) == (161, 28, 25_557_032)


def test_every_stage_is_timed_and_compared(monkeypatch, tmp_path, capsys):
    three = {name: c for name, c in many_leaves.CONTENDERS.items() if "clip" not in name}
    monkeypatch.setattr(many_leaves, "CONTENDERS", three)
    monkeypatch.setattr(many_leaves, "transformer", lambda: alike(3, 2))
    monkeypatch.setattr(many_leaves, "resnet", lambda: alike(2, 2))
    monkeypatch.setattr(many_leaves, "BOUNDS", {"gradtx adam": {"compile": 1e6}})
    monkeypatch.setattr(many_leaves, "measure_eager", lambda makers: ({"sgd": {"gradtx": 1.0, "optax": 2.0}}, []))
    results, figure = tmp_path / "results.json", tmp_path / "figure.png"
    arguments = ["--counts", "3", "5", "--side", "4", "--repeats", "2", "--compilations", "2", "--placements", "2"]
    assert many_leaves.main([*arguments, "--json", str(results), "--png", str(figure)]) == 0
    read = json.loads(results.read_text())
    assert set(read["counts"]) == {"3", "5"}
    for times in read["counts"].values():
        assert set(times) == set(many_leaves.CONTENDERS)
        assert all(set(t) == set(many_leaves.STAGES) and min(t.values()) > 0 for t in times.values())
    assert set(read["lists"]["resnet"]) == {name for name in many_leaves.CONTENDERS if "raveled" not in name}
    assert read["eager"] == {"sgd": {"gradtx": 1.0, "optax": 2.0}}
    assert figure.stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "5 leaves of 4x4" in printed
    assert "every bound is kept" in printed


def test_traces_alone_and_a_check_that_fails(monkeypatch, tmp_path, capsys):
    two = {name: c for name, c in many_leaves.CONTENDERS.items() if name.endswith("x adam")}
    monkeypatch.setattr(many_leaves, "CONTENDERS", two)
    monkeypatch.setattr(many_leaves, "transformer", lambda: alike(3, 2))
    monkeypatch.setattr(many_leaves, "resnet", lambda: alike(2, 2))
    monkeypatch.setattr(many_leaves, "BOUNDS", {"gradtx adam": {"trace + lower": 0.0}})
    monkeypatch.setattr(many_leaves, "MANY", 3)
    results = tmp_path / "results.json"
    arguments = ["--counts", "2", "3", "--side", "2", "--traces", "--check", "--json", str(results)]
    assert many_leaves.main(arguments) == 1
    read = json.loads(results.read_text())
    assert set(read["lists"]["transformer"]["gradtx adam"]) == {"trace", "lower"}
    measured = ["3 leaves of 2x2", "transformer, 3 leaves", "resnet, 2 leaves"]  # of two leaves alike nothing is asked
    assert [line.partition(":")[0] for line in read["missed"]] == measured
    assert "aimed at 0.0" in capsys.readouterr().out


def test_eager_updates_alone(monkeypatch, tmp_path, capsys):
    def asks_for_the_loss(library):
        return library.polyak_sgd()

    makers = {"sgd": lambda m: m.sgd(0.1), "ours": lambda m: gradtx.sgd(0.1) if m is gradtx else None}
    monkeypatch.setattr(many_leaves, "optimizers", lambda: makers | {"polyak": asks_for_the_loss})
    monkeypatch.setattr(many_leaves, "CHAINS", {})
    monkeypatch.setattr(many_leaves, "EAGER_SECONDS", 0.01)
    monkeypatch.setattr(many_leaves, "EAGER_BOUND", 0.0)
    results = tmp_path / "results.json"
    assert many_leaves.main(["--eager", "--check", "--json", str(results)]) == 1
    read = json.loads(results.read_text())
    assert list(read["eager"]) == ["sgd"]
    assert all(seconds > 0 for seconds in read["eager"]["sgd"].values())
    assert (read["counts"], read["lists"]) == ({}, {})
    assert [line.partition(": ")[0] for line in read["missed"]] == ["eager"]
    assert "An update without jit on 10 leaves" in capsys.readouterr().out


def test_the_lists_alone(monkeypatch, capsys):
    monkeypatch.setattr(many_leaves, "CONTENDERS", {n: c for n, c in many_leaves.CONTENDERS.items() if "clip" not in n})
    monkeypatch.setattr(many_leaves, "transformer", lambda: alike(3, 2))
    monkeypatch.setattr(many_leaves, "resnet", lambda: alike(2, 2))
    assert many_leaves.main(["--lists", "--fresh"]) == 0
    printed = capsys.readouterr().out
    assert "transformer, 3 leaves" in printed
    assert "of 64x64" not in printed


def test_contenders_turn_round(monkeypatch):
    prepared, names = [], [n for n in many_leaves.CONTENDERS if n.endswith("x adam")]
    actual = many_leaves.prepare
    monkeypatch.setattr(many_leaves, "prepare", lambda c, params: prepared.append(c) or actual(c, params))
    many_leaves.run(names, alike(2, 2), repeats=1, compilations=2, placements=2)
    (a, b), compiled = (many_leaves.CONTENDERS[n] for n in names), prepared[-4:]
    assert compiled == [a, b, b, a]


def test_missed_bounds_are_named():
    times = {
        "optax clip + adamw": {"trace": 2.0, "lower": 2.0, "compile": 1.0},
        "gradtx clip + adamw": {"trace": 1.0, "lower": 1.5, "compile": 0.95},
    }
    line = "few: gradtx clip + adamw, trace + lower: 0.62 of Optax's, aimed at 0.6"
    assert many_leaves.missed("few", times) == [line]
    times["gradtx clip + adamw"]["lower"] = 1.3
    assert many_leaves.missed("few", times) == []


def test_ratios_are_to_the_optimizer_of_the_same_kind():
    times = {"optax adam": {"trace": 2.0, "lower": 2.0}, "gradtx adam, raveled": {"trace": 1.0, "lower": 0.5}}
    assert many_leaves.ratios(times)["gradtx adam, raveled"] == {"trace": 0.5, "lower": 0.25, "trace + lower": 0.375}
    assert many_leaves.baseline("gradtx clip + adamw") == "optax clip + adamw"
