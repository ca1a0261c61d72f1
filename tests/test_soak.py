"""A short soak; the long one is `python -m tests.soak`."""

from tests.soak import counters, soak, transformation


def test_counters_saturate_and_nothing_drifts():
    result = soak(steps=2400, chunk=400)
    assert list(result["full"].values()) == [True, True, True]
    assert len(set(result["arrays"])) == 1
    assert result["losses"][-1] < result["losses"][0]


def test_the_counters_are_those_of_updates():
    state = transformation().init({"w": 1.0})
    assert list(counters(state)) == [".gradient_step", ".inner_state.count", ".inner_state.inner[0].count"]
