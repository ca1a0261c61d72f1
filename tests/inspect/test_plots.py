"""Pictures: what is drawn is what there is."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import gradtx
from gradtx.errors import ArgumentTypeError, ArgumentValueError, MissingPackageError
from gradtx.inspect import plots


def bowl(x):
    return x[0] ** 2 + 10 * x[1] ** 2


def saved(ax, tmp_path):
    ax.figure.savefig(tmp_path / "a.png", dpi=50)
    return (tmp_path / "a.png").stat().st_size


# --- schedules --------------------------------------------------------------------------------------------------------


def test_a_schedule_is_drawn_point_by_point(tmp_path):
    s = gradtx.warmup_cosine_decay_schedule(0.0, 1e-3, 10, 100)
    ax = gradtx.plot_schedule(s, 120)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), s.sample(120), rtol=1e-6)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.arange(120))
    assert (ax.get_ylabel(), ax.get_legend()) == ("warmup_cosine_decay_schedule", None)
    assert saved(ax, tmp_path) > 5000


def test_long_schedules_are_thinned_and_keep_their_ends():
    (x, y) = plots.sampled(gradtx.linear_schedule(0.0, 1.0, 10**6), 10**6 + 1)["linear_schedule"]
    assert (len(x), x[0], x[-1], y[-1]) == (plots.POINTS, 0, 10**6, 1.0)


def test_schedules_of_a_transformation_are_drawn_once_each_by_name():
    rate, b1 = gradtx.linear_schedule(0.1, 0.0, 10), gradtx.constant_schedule(0.5)
    tx = gradtx.chain(gradtx.clip(rate), gradtx.lookahead(gradtx.adamw(rate, b1=b1)))
    ax = gradtx.plot_schedule(tx, 5)
    assert [line.get_label() for line in ax.lines] == ["clip.max_delta", "adamw.learning_rate", "adamw.b1"]
    assert len(ax.get_legend().get_texts()) == 3


def test_a_plateau_is_drawn_as_if_it_saw_nothing():
    ax = gradtx.plot_schedule(gradtx.sgd(gradtx.plateau_schedule(0.5) * gradtx.linear_schedule(1.0, 0.0, 2)), 3)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.5, 0.25, 0.0])


# --- trajectories -----------------------------------------------------------------------------------------------------


def test_a_path_is_the_one_the_optimizer_takes():
    tx, x, points = gradtx.adam(0.1), jnp.array([1.0, 2.0]), [[1.0, 2.0]]
    state = tx.init(x)
    for _ in range(5):
        updates, state = tx.update(jax.grad(bowl)(x), state, x)
        x = gradtx.apply_updates(x, updates)
        points.append(np.asarray(x))
    np.testing.assert_allclose(plots.follow(bowl, tx, (1.0, 2.0), 5), points, rtol=1e-6)


def test_optimizers_get_what_they_ask_for():
    for tx in (gradtx.sam(gradtx.sgd(0.01)), gradtx.sophia(0.01), gradtx.sgd(gradtx.plateau_schedule(0.01))):
        assert np.isfinite(plots.follow(bowl, tx, (1.0, 1.0), 3)).all()


def test_several_optimizers_have_a_line_and_a_name_each(tmp_path):
    ax = gradtx.plot_trajectories(bowl, [gradtx.sgd(0.01), gradtx.sgd(1e30)], start=(1.0, 1.0), steps=4)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "sgd(learning_rate=0.01)",
        "sgd(learning_rate=1e+30)",
    ]
    assert len(ax.lines[1].get_xdata()) < 4, "it leaves the finite numbers"
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert low < 0.9 < 1.0 < high < 2
    assert bottom < 0.8**4 < 1.0 < top < 2
    assert saved(ax, tmp_path) > 5000


def test_one_optimizer_is_coloured_by_the_step(tmp_path):
    ax = gradtx.plot_trajectories(bowl, gradtx.sgd(0.01), steps=7, limits=((-2, 2), (-3, 3)))
    assert ax.get_legend() is None
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 2), (-3, 3))
    assert saved(ax, tmp_path) > 5000


def test_an_optimizer_that_stands_still_and_a_function_with_holes(tmp_path):
    assert saved(gradtx.plot_trajectories(bowl, gradtx.sgd(0.0), steps=3), tmp_path)
    assert saved(gradtx.plot_trajectories(lambda x: jnp.log(x[0]) + x[1], gradtx.sgd(0.1), start=(1.0, 1.0)), tmp_path)


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_histories_as_lists_and_as_arrays_are_the_same():
    steps = [{"a": jnp.asarray(1.0), "b/c": jnp.asarray(i)} for i in range(3)]
    stacked = {"a": jnp.ones(3), "b/c": jnp.arange(3)}
    for history in (steps, stacked):
        ax = gradtx.plot_metrics(history)
        assert [line.get_label() for line in ax.lines] == ["a", "b/c"]
        assert ax.lines[1].get_ydata().tolist() == [0, 1, 2]
    assert gradtx.plot_metrics(steps, ("b/*",)).get_ylabel() == "b/c"


def test_a_name_that_comes_later_has_a_gap_and_large_ratios_a_logarithmic_axis(tmp_path):
    ax = gradtx.plot_metrics([{"a": 1.0}, {"a": 1e-3, "late$": jnp.nan}, {"a": 1e-6, "late$": 2.0}])
    assert np.isnan(ax.lines[1].get_ydata()).tolist() == [True, True, False]
    assert ax.get_yscale() == "log"
    assert gradtx.plot_metrics({"a": [0.0, 1e6]}).get_yscale() == "linear"
    assert saved(ax, tmp_path)


# --- axes and mistakes ------------------------------------------------------------------------------------------------


def test_axes_in_axes_out():
    given = Figure().add_subplot()
    assert gradtx.plot_schedule(gradtx.constant_schedule(1.0), 3, given) is given
    assert gradtx.plot_metrics({"a": [1.0]}, ax=given) is given
    assert gradtx.plot_trajectories(bowl, gradtx.sgd(0.1), ax=given) is given


def test_global_state_is_left_alone():
    before = dict(mpl.rcParams)
    gradtx.plot_schedule(gradtx.constant_schedule(1.0), 3)
    assert dict(mpl.rcParams) == before
    code = "import sys, gradtx; gradtx.plot_metrics({'a': [1.0, 2.0]}); print('matplotlib.pyplot' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert shown.stdout == "False\n"


def test_mistakes_are_named():
    with pytest.raises(ArgumentValueError, match=r"gradtx\.plot_schedule: expected a schedule, or a transformation"):
        gradtx.plot_schedule(gradtx.adam(1e-3), 10)
    with pytest.raises(ArgumentValueError, match=r"gradtx\.plot_schedule: expected steps to be a whole number in \[1,"):
        gradtx.plot_schedule(gradtx.constant_schedule(1.0), 0)
    with pytest.raises(ArgumentValueError, match=r"gradtx\.plot_metrics: expected metrics named 'b', got 'a'"):
        gradtx.plot_metrics({"a": [1.0]}, "b")
    with pytest.raises(ArgumentTypeError, match=r"gradtx\.plot_metrics: expected history to be a list of dicts"):
        gradtx.plot_metrics([1.0])
    with pytest.raises(ArgumentTypeError, match=r"gradtx: expected optimizers to be transformations"):
        gradtx.plot_trajectories(bowl, gradtx.sgd)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"install it with: pip install 'gradtx\[plot\]'"):
        gradtx.plot_schedule(gradtx.constant_schedule(1.0), 3)
