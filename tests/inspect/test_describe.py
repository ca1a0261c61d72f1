"""Optimizers and states as tables: pinned texts, true sizes, nothing allocated."""

import gc
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import gradtx
from gradtx.inspect.describe import Member, _rows
from gradtx.inspect.parts import seen_by_members, tally
from tests.conformance.cases import TRANSFORMATIONS

PARAMS = {"dense": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}, "scale": jnp.ones(())}


def llama_70b():
    """The parameters of a decoder of 80 layers in bfloat16, as shapes."""

    def leaf(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.bfloat16)

    def layer():
        widths = {"q": (8192, 8192), "k": (8192, 1024), "v": (8192, 1024), "o": (8192, 8192)}
        sizes = {"gate": (8192, 28672), "up": (8192, 28672), "down": (28672, 8192)}
        attention = {name: {"kernel": leaf(*shape)} for name, shape in widths.items()}
        mlp = {name: {"kernel": leaf(*shape)} for name, shape in sizes.items()}
        norms = {"before": {"scale": leaf(8192)}, "after": {"scale": leaf(8192)}}
        return {"attention": attention, "mlp": mlp, "norms": norms}

    layers = {f"layer_{i}": layer() for i in range(80)}
    ends = {"embedding": leaf(128256, 8192), "head": {"kernel": leaf(8192, 128256)}, "norm": {"scale": leaf(8192)}}
    return layers | ends


LARGE = gradtx.chain(
    gradtx.clip_by_global_norm(1.0),
    gradtx.adamw(
        gradtx.warmup_cosine_decay_schedule(0.0, 3e-4, 2000, 100_000, 3e-5), b2=0.95, weight_decay=0.1, mask="*/kernel"
    ),
)

LARGE_TEXT = """\
70.6 billion parameters in 723 leaves: 141.1 GB (bfloat16 141.1 GB)
state: 564.4 GB (float32 564.4 GB, int32 12 B), 8 bytes per parameter

transformation                                                                  bytes/param     state      leaves
chain                                                                                                         723
├─ clip_by_global_norm(max_norm=1.0)                                                      0       8 B         723
└─ adamw(learning_rate=<schedule>, b2=0.95, weight_decay=0.1, mask='*/kernel')            0       8 B         723
   ├─ scale_by_adam(b1=0.9, b2=0.95, eps=1e-08, eps_root=0.0)                             8  564.4 GB         723
   ├─ add_decayed_weights(weight_decay=0.1, mask='*/kernel')                              0         0  561 of 723
   └─ scale_by_learning_rate(learning_rate=<schedule>)                                    0         0         723

adamw.learning_rate: warm-up from 0 to 0.0003 over 2000 steps, cosine to 3e-05 at 100000"""


def test_seventy_billion_parameters_take_no_memory_and_no_time():
    params = llama_70b()
    gradtx.describe(LARGE, {"kernel": jnp.ones(1), "a": {"kernel": jnp.ones(1)}})
    gc.collect()
    arrays = {id(x) for x in jax.live_arrays()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    description = gradtx.describe(LARGE, params)
    elapsed = time.perf_counter() - start
    assert sum(x.nbytes for x in jax.live_arrays() if id(x) not in arrays) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"
    assert elapsed < 2
    assert str(description) == repr(description) == LARGE_TEXT
    assert description.parameters == 70_553_706_496
    assert description.state == {"float32": 8 * description.parameters + 8, "int32": 12}


def test_partitions_masks_and_wrappers_are_opened():
    tx = gradtx.apply_if_finite(
        gradtx.lookahead(
            gradtx.partition(
                {"*/kernel": gradtx.masked(gradtx.adam(0.1), "dense*"), "*": gradtx.sgd(0.1, momentum=0.9)}
            ),
            sync_period=gradtx.piecewise_constant_schedule(5, {100: 2.0}),
        )
    )
    assert (
        str(gradtx.describe(tx, PARAMS))
        == """\
16 parameters in 3 leaves: 64 B (float32 64 B)
state: 201 B (float32 180 B, int32 20 B, bool 1 B), 12.6 bytes per parameter

transformation                                                           bytes/param  state  leaves
apply_if_finite(max_consecutive_errors=5)                                      0.562    9 B       3
└─ lookahead(sync_period=<schedule>, slow_step_size=0.5)                        4.75   76 B       3
   └─ partition                                                                                   3
      ├─ */kernel: masked(mask='dense*')                                                     1 of 3
      │  └─ adam(learning_rate=0.1)                                                          1 of 3
      │     ├─ scale_by_adam(b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0)         8.33  100 B  1 of 3
      │     └─ scale_by_learning_rate(learning_rate=0.1)                           0      0  1 of 3
      └─ *: sgd(learning_rate=0.1, momentum=0.9)                                             2 of 3
         ├─ trace(decay=0.9)                                                       4   16 B  2 of 3
         └─ scale_by_learning_rate(learning_rate=0.1)                              0      0  2 of 3

lookahead.sync_period: 5, 10 from 100"""
    )


def test_without_params_there_is_the_tree_alone():
    tx = gradtx.named_chain(("clip", gradtx.clip(1.0)), ("step", gradtx.sgd(gradtx.constant_schedule(0.1))))
    assert (
        str(gradtx.describe(tx))
        == """\
transformation
named_chain
├─ clip: clip(max_delta=1.0)
└─ step: sgd(learning_rate=<schedule>)
   └─ scale_by_learning_rate(learning_rate=<schedule>)

sgd.learning_rate: 0.1"""
    )


def test_foreign_transformations_are_counted_unopened():
    tx = gradtx.chain(optax.adam(1e-3), gradtx.scale(-1.0))
    lines = str(gradtx.describe(tx, PARAMS)).splitlines()
    assert lines[-2].split() == ["├─", "<optax.GradientTransformationExtraArgs>", "8.25", "132", "B", "3"]
    alone = gradtx.describe(optax.sgd(0.1, momentum=0.9), PARAMS)
    assert alone.state == {"float32": 64}


@pytest.mark.parametrize("name", [name for name in TRANSFORMATIONS if name != "quantized+small"])
def test_what_members_keep_adds_up_to_the_whole_state(name):
    tx = TRANSFORMATIONS[name]
    params = {"dense": PARAMS["dense"]}
    seen = seen_by_members(tx, params)
    assert seen[()].state == tally(jax.eval_shape(tx.init, params))
    for row in _rows(Member((), "", tx), "", ""):
        assert row.member.path in seen
        inside = sum((seen[inner.path].state for inner in row.inside), start=tally(()))
        assert inside <= seen[row.member.path].state
    assert str(gradtx.describe(tx, params))


def test_what_is_stored_in_eight_bits_takes_away_from_what_its_members_would_keep():
    params = {"w": jnp.ones((64, 256))}
    description = gradtx.describe(gradtx.quantized(gradtx.adam(0.1)), params)
    rows = {row[0].text.partition("(")[0]: row[2] for row in description.rows}
    assert (rows["quantized"], rows["scale_by_adam"]) == ("-97.8 kB", "131.1 kB")
    assert sum(description.state.values()) == 2 * 64 * (256 + 4) + 4


def test_a_schedule_of_an_optimizer_is_counted_where_it_is_kept():
    plateau = gradtx.plateau_schedule(0.1)
    rows = {row[0].text.partition("(")[0]: row[2] for row in gradtx.describe(gradtx.adam(plateau), PARAMS).rows}
    assert rows["adam"] == "72 B"  # a count, the value in force, and 16 scalars of the plateau
    assert rows["scale_by_learning_rate"] == "0"


def test_no_params_and_absent_leaves():
    assert "0 parameters in 0 leaves: nothing" in str(gradtx.describe(gradtx.adam(0.1), {}))
    assert "3 parameters in 1 leaf:" in str(gradtx.describe(gradtx.adam(0.1), {"a": jnp.ones(3), "b": None}))


def test_params_on_the_host_and_leaves_without_numbers():
    tx, host, device = gradtx.adamw(0.1), {"a": 1.0, "b": np.ones(3)}, {"a": jnp.ones(()), "b": jnp.ones(3)}
    assert str(gradtx.describe(tx, host)) == str(gradtx.describe(tx, device))
    with_key = gradtx.describe(tx, {"key": jax.random.key(0), "w": jnp.ones(3)})
    assert with_key.state == {"float32": 24, "int32": 4}


def test_long_arguments_are_cut():
    labels = {f"layer_{i}": "a" for i in range(50)}
    text = str(gradtx.describe(gradtx.partition({"a": gradtx.sgd(0.1)}, labels)))
    assert "partition(param_labels={'layer_0': 'a', 'layer_1': 'a', 'layer_2': '...)" in text


# --- ways to print ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 200])
def test_rich_fits_the_terminal(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(gradtx.describe(LARGE, llama_70b()))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= max(width, 79)
    assert "".join(LARGE_TEXT.split()).startswith("".join(text.partition("transformation")[0].split()))
    if width == 200:
        assert text.strip() == LARGE_TEXT


def test_broken_lines_keep_the_tree():
    assert (
        gradtx.describe(LARGE).text(50)
        == """\
transformation
chain
├─ clip_by_global_norm(max_norm=1.0)
└─ adamw(learning_rate=<schedule>, b2=0.95,
   │    weight_decay=0.1, mask='*/kernel')
   ├─ scale_by_adam(b1=0.9, b2=0.95, eps=1e-08,
   │       eps_root=0.0)
   ├─ add_decayed_weights(weight_decay=0.1,
   │       mask='*/kernel')
   └─ scale_by_learning_rate(
           learning_rate=<schedule>)

adamw.learning_rate: warm-up from 0 to 0.0003 over
  2000 steps, cosine to 3e-05 at 100000"""
    )


def test_html_is_escaped():
    assert "&lt;schedule&gt;" in gradtx.describe(LARGE)._repr_html_()


# --- states -----------------------------------------------------------------------------------------------------------


def test_a_state_shows_what_is_in_force():
    tx = gradtx.apply_if_finite(
        gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.sgd(gradtx.plateau_schedule(0.1, 0.5, patience=2)))
    )
    state = tx.init(PARAMS)
    _, state = tx.update(jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)
    for loss in (1.0, 2.0, 3.0, 4.0):
        state = gradtx.observe(state, value=loss)
    assert (
        str(gradtx.describe(state))
        == """\
in the state                 value
apply_if_finite/consecutive      0
apply_if_finite/skipped          0
apply_if_finite/last_finite   True
clip_by_global_norm/norm         4
clip_by_global_norm/clipped      1
learning_rate                 0.05
scheduled/count                  1
plateau/value                 0.05
plateau/scale                  0.5
plateau/best_value               1
plateau/plateau_count            1
plateau/cooldown_count           0
plateau/total                    0
plateau/count                    0

plateau: 1 of 2 observations without improvement on 1; reduced to 0.5 of the initial value"""
    )
    assert "in the state" in str(gradtx.describe(jax.eval_shape(tx.init, PARAMS)))
    assert str(gradtx.describe(gradtx.sgd(0.1).init(PARAMS))) == "in the state  value"


def test_numbers_are_numpy_free():
    tx = gradtx.sgd(np.float64(0.1))
    assert "learning_rate=0.1" in str(gradtx.describe(tx))
