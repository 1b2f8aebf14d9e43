"""The random numbers and recursions under the seeded market."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.simulator.market.noise import (
    autoregressive,
    drift_at,
    exponentials,
    heavy_tailed,
    normal_at,
    normals,
    reverting_bridge,
    stream,
    uniform_at,
    uniforms,
    words_at,
)

WORDS = words_at(stream(7, "test"), 1, 400_000)


def test_a_stream_depends_on_the_seed_and_on_every_word() -> None:
    streams = {
        stream(1, "a", "b"),
        stream(2, "a", "b"),
        stream(1, "a"),
        stream(1, "ab"),
        stream(1, "b", "a"),
        stream(11, "a"),
    }
    assert len(streams) == 6
    assert stream(1, "a", "b") == stream(1, "a", "b")


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 50))
def test_a_shorter_array_is_the_beginning_of_a_longer_one(counter: int, one: int, other: int) -> None:
    short, long = sorted((4 * one, 4 * other))
    assert np.array_equal(words_at(5, counter, short), words_at(5, counter, long)[:short])


def test_neighbouring_counters_and_streams_are_unrelated() -> None:
    for other in (words_at(stream(7, "test"), 2, 400_000), words_at(stream(8, "test"), 1, 400_000)):
        assert abs(np.corrcoef(WORDS, other)[0, 1]) < 0.01


@pytest.mark.parametrize(
    ("variates", "mean", "variance", "kurtosis"),
    [(uniforms, 0.5, 1 / 12, (1.7, 1.9)), (normals, 0.0, 1.0, (2.9, 3.1)), (heavy_tailed, 0.0, 1.0, (5.0, 15.0))],
)
def test_variates_have_their_moments(variates, mean: float, variance: float, kurtosis: tuple[float, float]) -> None:  # type: ignore[no-untyped-def]
    values = variates(WORDS)
    assert values.mean() == pytest.approx(mean, abs=0.01)
    assert values.var() == pytest.approx(variance, rel=0.02)
    assert kurtosis[0] < ((values - values.mean()) ** 4).mean() / values.var() ** 2 < kurtosis[1]


def test_exponentials_have_mean_and_deviation_one() -> None:
    values = exponentials(WORDS)
    assert values.min() > 0
    assert values.mean() == pytest.approx(1.0, abs=0.01)
    assert values.std() == pytest.approx(1.0, abs=0.02)


def test_single_numbers_have_their_moments() -> None:
    found = np.array([normal_at(3, i) for i in range(-2000, 2000)])
    assert abs(found.mean()) < 0.06
    assert 0.95 < found.std() < 1.05
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.06
    assert all(0 <= uniform_at(3, i) < 1 for i in range(1000))


@given(st.integers(-50, 50), st.floats(0, 1))
def test_a_drift_runs_straight_between_its_knots(knot: int, share: float) -> None:
    expected = (1 - share) * normal_at(9, knot) + share * normal_at(9, knot + 1)
    assert drift_at(9, knot + share) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(st.floats(0.9, 0.9999), st.integers(1, 1500), st.integers(0, 1000))
def test_the_recursion_is_the_plain_loop(phi: float, count: int, seed: int) -> None:
    shocks = np.random.default_rng(seed).normal(size=count)
    state, expected = 0.0, []
    for shock in shocks:
        state = phi * state + shock
        expected.append(state)
    assert autoregressive(shocks, phi) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)


@settings(max_examples=30)
@given(st.floats(-4, 4), st.floats(-4, 4), st.sampled_from([20.0, 90.0, 360.0]))
def test_a_bridge_leaves_its_start_and_arrives_at_its_end(start: float, end: float, half_life: float) -> None:
    phi = 0.5 ** (1 / half_life)
    path = reverting_bridge(normals(words_at(4, 4, 1440)), phi, start, end)
    assert path[-1] == end
    step = (1 - phi * phi) ** 0.5
    assert abs(path[0] - phi * start) < 6 * step
    assert abs(path[-2] - end) < 6 * step + abs(end) * (1 - phi)


def test_bridges_between_stationary_ends_are_stationary() -> None:
    rng = np.random.default_rng(1)
    phi = 0.5 ** (1 / 200)
    ends = rng.normal(size=(1500, 2))
    paths = np.array([reverting_bridge(rng.normal(size=400), phi, *pair) for pair in ends])
    assert paths.var(axis=0) == pytest.approx(np.ones(400), abs=0.17)
