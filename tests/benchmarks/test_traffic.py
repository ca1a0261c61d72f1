"""The traffic table: numbers of small programs, the floor, and the comparison with the committed table."""

import json

import jax
import jax.numpy as jnp
import pytest

import gradtx
from benchmarks import traffic
from benchmarks.floor import floor
from benchmarks.program import Loop, compile_step, counted_bytes, read_program

SMALL = (64, 64)
ELEMENTS = traffic.LEAVES * 64 * 64
SQUARES = 0 if jax.__version_info__ >= (0, 10, 2) else 8
"""Bytes for each norm: XLA used to write the squares before it read them to add them up."""


def compiled(tx):
    return compile_step(tx, gradtx.apply_updates, traffic.params(SMALL))


@pytest.mark.parametrize(
    ("tx", "expected", "squares"),
    [
        (gradtx.sgd(0.1), 12, 0),
        (gradtx.adam(0.1), 40, 0),
        (gradtx.lion(0.1), 28, 0),
        (gradtx.adabelief(0.1), 44, 0),
        (gradtx.adadelta(0.1), 48, 0),
        (gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(0.1)), 44, SQUARES),
    ],
    ids=repr,
)
def test_a_step_moves_what_the_floor_says_and_copies_nothing(tx, expected, squares):
    program = read_program(compiled(tx))
    assert program.quiet_bytes / ELEMENTS == pytest.approx(expected + squares, abs=0.1)
    assert program.temporaries <= traffic.SCALARS + squares / 2 * ELEMENTS
    assert program.copies == 0
    assert floor(tx, gradtx.apply_updates, branch=1).per_output == expected


def test_loops_add_up_to_xlas_count():
    for tx in (gradtx.adam(0.1), gradtx.lookahead(gradtx.adam(0.1)), gradtx.optimistic_gradient_descent(0.1)):
        program = compiled(tx)
        assert counted_bytes(program) == pytest.approx(read_program(program).bytes, rel=1e-3)


def test_a_temporary_and_a_copy_are_seen():
    """The direction of Lion by the old moment, and a state that is read after it was overwritten."""
    plain = gradtx.lion(0.1, b1=0.9, b2=0.5)
    program = read_program(compiled(plain))
    assert program.bytes / ELEMENTS == pytest.approx(36, abs=0.1)
    assert program.temporaries >= 4 * 64 * 64
    assert program.copies == traffic.LEAVES
    assert floor(plain, gradtx.apply_updates).per_output == 28


def test_a_step_of_lookahead_without_synchronisation_leaves_the_slow_weights_alone():
    program = read_program(compiled(gradtx.lookahead(gradtx.adam(0.1))))
    assert program.quiet_bytes / ELEMENTS == pytest.approx(48, abs=0.1)
    assert program.copies == 0


def test_floors():
    """By hand: one loop each for m (g, m, m), v (g, v, v) and p (p, m, v, p), or one for all."""
    assert floor(gradtx.adam(0.1), gradtx.apply_updates) == (40, 28)
    assert floor(gradtx.sgd(0.1, momentum=0.9, nesterov=True), gradtx.apply_updates) == (28, 20)
    # The update is that of the unrounded moment, so p is computed from the old one (2 bytes) and the gradient.
    assert floor(gradtx.adam(0.1, mu_dtype="bfloat16"), gradtx.apply_updates) == (38, 24)
    # The norm reads the gradients once more, and again if their squares are out of range.
    clipped = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.sgd(0.1))
    assert floor(clipped, gradtx.apply_updates, branch=1) == (16, 16)
    assert floor(clipped, gradtx.apply_updates, branch=0) == (20, 20)
    # Synchronised or not.
    assert floor(gradtx.lookahead(gradtx.sgd(0.1)), gradtx.apply_updates, branch=0) == (12, 12)
    assert floor(gradtx.lookahead(gradtx.sgd(0.1)), gradtx.apply_updates, branch=1).together == 20


def test_rows_stand_beside_optax_and_skip_what_needs_more_gradients():
    row = traffic.measure(traffic.CHAINS["clip + lion"], SMALL)
    assert row["optax"]["bytes"] > row["bytes"] == pytest.approx(row["floor"] + SQUARES, abs=0.1)
    assert traffic.measure(lambda m: m.heun(0.1), SMALL) is None


def test_every_optimizer_has_a_row():
    names = {name for name, f in gradtx.registry().items() if f.kind == "optimizer"}
    assert {"adam", "lion", "sgd"} <= set(traffic.optimizers()) <= names


RECORDED = {"adam": {"bytes": 40.0, "quiet bytes": 40.0, "temporaries": 68, "copies": 0, "loops": 6}}


def test_comparison_with_the_table():
    assert traffic.compare(RECORDED, RECORDED) == ([], [])
    grown = {"adam": RECORDED["adam"] | {"bytes": 44.0, "quiet bytes": 44.0, "copies": 2}}
    worse, notes = traffic.compare(grown, RECORDED)
    assert worse == [
        "adam: at most 40 bytes per parameter and no temporaries, found 44.0 and 68 bytes of temporaries",
        "adam: bytes grew from 40.0 to 44.0",
        "adam: quiet bytes grew from 40.0 to 44.0",
        "adam: copies grew from 0 to 2",
    ]
    assert notes == []
    assert traffic.compare(RECORDED, grown)[1] == [
        "adam: bytes fell from 44.0 to 40.0; record it with --write",
        "adam: quiet bytes fell from 44.0 to 40.0; record it with --write",
        "adam: copies fell from 2 to 0; record it with --write",
    ]
    assert traffic.compare(RECORDED, {}) == ([], ["adam: not in the table yet; add it with --write"])


def test_without_a_table_for_this_version_the_targets_count():
    assert traffic.compare({"sgd, momentum": RECORDED["adam"]}, None)[0]
    assert traffic.compare(RECORDED, None) == ([], [])
    heavy = {"adam": RECORDED["adam"] | {"temporaries": 4096}}
    assert len(traffic.compare(heavy, None)[0]) == 1


def test_the_command_checks_and_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(traffic, "optimizers", lambda: {"sgd": lambda m: m.sgd(0.1)})
    monkeypatch.setattr(traffic, "CHAINS", {})
    monkeypatch.setattr(traffic, "SHAPE", SMALL)
    monkeypatch.setattr(traffic, "measure", lambda make, original=traffic.measure: original(make, SMALL))
    monkeypatch.setattr(traffic, "TABLE", tmp_path / "traffic.json")
    assert traffic.main(["--check", "--png", str(tmp_path / "t.png"), "--json", str(tmp_path / "t.json")]) == 0
    assert "has no table" in capsys.readouterr().out
    traffic.write(json.loads((tmp_path / "t.json").read_text()), traffic.TABLE)
    assert traffic.main(["--check"]) == 0
    table = json.loads(traffic.TABLE.read_text())
    table[jax.__version__]["rows"]["sgd"]["bytes"] = 11.0
    traffic.TABLE.write_text(json.dumps(table))
    assert traffic.main(["--check"]) == 1
    assert "traffic: sgd: bytes grew from 11.0 to 12.0" in capsys.readouterr().err
    assert (tmp_path / "t.png").stat().st_size > 1000


def test_the_committed_table_meets_the_targets():
    for table in traffic.read_table().values():
        assert set(table["rows"]) >= set(traffic.TARGETS)
        assert traffic.compare(table["rows"], table["rows"])[0] == []


def test_tuples_comments_and_narrow_types_in_program_text():
    def cond(x, flag):
        return jax.lax.cond(flag, lambda x: (x * 2, x + 1, x * x), lambda x: (x, x, x * 3), x)

    lowered = jax.jit(cond).lower(jax.ShapeDtypeStruct((64, 64), jnp.bfloat16), jax.ShapeDtypeStruct((), jnp.bool_))
    program = read_program(lowered.compile())
    assert all(isinstance(loop, Loop) for loop in program.loops)
    assert program.quiet_bytes < program.bytes
