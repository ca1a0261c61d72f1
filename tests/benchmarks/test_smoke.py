"""Every benchmark runs on something small, prints its table, and writes its files."""

import json

import jax
import numpy as np
import pytest

from benchmarks import convergence, libraries, lists, memory, report, step_time, tasks


def test_lists_of_leaves_are_what_they_say():
    counts = {name: (len(jax.tree.leaves(make())), lists.size(make())) for name, make in lists.LISTS.items()}
    assert counts == {
        "big": (2, 33_554_432),
        "many": (1000, 4_096_000),
        "transformer": (148, 124_439_808),
        "resnet50": (161, 25_557_032),
    }
    drawn = lists.draw(lists.alike(3))
    assert {name: x.shape for name, x in drawn.items()} == {f"w{i}": (64, 64) for i in range(3)}
    assert not np.array_equal(drawn["w0"], drawn["w1"])


def test_step_time(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(lists.LISTS, "big", lambda: lists.alike(2))
    monkeypatch.setattr(libraries, "copy_bandwidth", lambda: 1e9)
    monkeypatch.setattr(step_time, "copy_bandwidth", lambda: 1e9)
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("json", "png")}
    files = [word for kind, path in paths.items() for word in (f"--{kind}", str(path))]
    arguments = ["--optimizers", "sgd", "lion", "--libraries", "optax", "--rounds", "2", "--seconds", "0.001"]
    assert step_time.main([*arguments, *files]) == 0
    assert "2 leaves" in capsys.readouterr().out
    (rows,) = json.loads(paths["json"].read_text())["results"]["rows"].values()
    assert [row["optimizer"] for row in rows] == ["sgd", "lion"]
    for row in rows:
        assert {library: len(times) for library, times in row["times"].items()} == {"gradtx": 2, "optax": 2}
        assert row["ratios"]["optax"][1] <= row["ratios"]["optax"][0] <= row["ratios"]["optax"][2]
    assert rows[1]["bytes"]["gradtx"] < rows[1]["bytes"]["optax"]
    assert paths["png"].stat().st_size > 1000


def test_a_ratio_over_its_bound_is_named():
    rows = [{"optimizer": name, "ratios": {"optax": (ratio, 0, 9)}} for name, ratio in (("lion", 0.6), ("adam", 1.0))]
    assert step_time.exceeded({"big": rows}) == ["lion: at most 0.5 of Optax's time, found 0.600"]
    assert step_time.exceeded({"many": rows}) == []


def test_a_library_without_the_optimizer_is_left_out():
    worker = libraries.Worker("gradtx")
    try:
        assert worker.ask("build", "no such optimizer", lists.alike(1)) is None
        assert worker.ask("build", "sgd", lists.alike(1)) == pytest.approx(12 * 4096, rel=0.01)
        assert worker.ask("run", 3) > 0
    finally:
        worker.close()


def test_convergence(tmp_path, capsys):
    path = tmp_path / "out.json"
    arguments = ["--tasks", "digits", "--optimizers", "sgd", "adam", "--seeds", "2", "--rates", "1e-4", "0.03"]
    assert convergence.main([*arguments, "--steps", "200", "--json", str(path)]) == 0
    assert "digits" in capsys.readouterr().out
    rows = {row["optimizer"]: row for row in json.loads(path.read_text())["results"]["digits"]}
    assert rows["adam"]["rate"] == rows["sgd"]["rate"] == 0.03
    assert rows["adam"]["final loss"] < rows["sgd"]["final loss"]
    assert rows["adam"]["accuracy"] > 0.9


def test_missing_data_is_said(capsys, monkeypatch):
    monkeypatch.delenv("GRADTX_DATA", raising=False)
    assert convergence.main(["--tasks", "mnist"]) == 0
    assert "mnist: left out; set GRADTX_DATA" in capsys.readouterr().out


def test_a_transformer_sees_the_past_only():
    model = tasks.transformer(alphabet=5, context=6, width=8, layers=1)
    params = model.init(np.random.default_rng(0))
    x, y = np.zeros((1, 6), np.int32), np.zeros((1, 6), np.int32)
    changed = x.copy()
    changed[0, -1] = 3
    # A change of the last input changes the loss at the last place only.
    whole, other = float(model.loss(params, x, y)), float(model.loss(params, changed, y))
    cut = {**params, "positions": params["positions"][:5]}
    short = tasks.transformer(alphabet=5, context=5, width=8, layers=1)
    first = float(short.loss(cut, x[:, :5], y[:, :5]))
    assert whole != other
    last = 6 * whole - 5 * first
    assert 6 * other - 5 * first != pytest.approx(last)
    assert float(short.loss(cut, changed[:, :5], y[:, :5])) == pytest.approx(first)


def test_memory(monkeypatch, capsys):
    makers = {
        "adam": lambda m: m.adam(0.1),
        "lookahead": lambda m: m.lookahead(m.adam(0.1)) if m.__name__ == "gradtx" else None,
    }
    monkeypatch.setattr(memory, "optimizers", lambda: makers)
    monkeypatch.setattr(memory, "CHAINS", {})
    assert memory.main([]) == 0
    assert "lookahead" in capsys.readouterr().out
    rows = {name: memory.measure(make, "float32", (64, 64)) for name, make in makers.items()}
    assert rows["adam"]["gradtx"]["state"] == pytest.approx(8, abs=0.01)
    assert rows["adam"]["gradtx"]["peak"] == pytest.approx(16, abs=0.1)
    assert set(rows["lookahead"]) == {"gradtx"}
    assert memory.measure(makers["adam"], "bfloat16", (64, 64))["gradtx"]["state"] == pytest.approx(8, abs=0.01)


def test_the_machine_in_one_line():
    line = report.describe(report.machine())
    assert "jax" in line
    assert "cores" in line
