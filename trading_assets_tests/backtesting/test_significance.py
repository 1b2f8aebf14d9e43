"""Corrections for luck against the published examples, and on simulated strategies that have no edge at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.backtesting.metrics import moments
from trading_assets.backtesting.significance import (
    GAP_R,
    MIN_TRADES,
    SIGNIFICANT,
    corrected,
    deflated_sharpe,
    effective_trials,
    expected_maximum,
    least_trades,
    mean_p_value,
    probabilistic_sharpe,
    seed_from,
    trades_p_value,
)


@pytest.mark.parametrize(
    ("skewness", "kurtosis", "expected"), [(0.0, 3.0, 0.982), (-2.448, 10.164, 0.913)], ids=["normal", "as it was"]
)
def test_the_published_example_of_the_probabilistic_sharpe_ratio(
    skewness: float, kurtosis: float, expected: float
) -> None:
    """Bailey and Lopez de Prado 2012: two years of monthly returns with a Sharpe ratio of 0.458 a month."""
    assert probabilistic_sharpe(0.458, 24, skewness, kurtosis) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("trials", "skewness", "kurtosis", "expected"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_the_published_example_of_the_deflated_sharpe_ratio(
    trials: int, skewness: float, kurtosis: float, expected: float
) -> None:
    """Bailey and Lopez de Prado 2014: a Sharpe ratio of 2.5 a year over 1250 days, variance of the trials 1/2."""
    found = deflated_sharpe(
        2.5 / math.sqrt(250), 1250, skewness, kurtosis, trials=trials, spread_of_trials=math.sqrt(0.5 / 250)
    )
    assert found == pytest.approx(expected, abs=5e-5)


def test_the_expected_maximum_is_that_of_simulated_normal_values() -> None:
    rng = np.random.default_rng(1)
    assert expected_maximum(1) == 0.0
    for trials in (5, 20, 100):
        simulated = rng.normal(size=(20_000, trials)).max(axis=1).mean()
        assert expected_maximum(trials) == pytest.approx(simulated, rel=0.035)


def test_the_best_of_many_random_walks_is_no_discovery() -> None:
    rng = np.random.default_rng(2)
    deflated, naive = [], []
    for _ in range(200):
        returns = rng.standard_t(5, (40, 300))
        ratios = returns.mean(axis=1) / returns.std(axis=1)
        best = int(ratios.argmax())
        _, skewness, kurtosis = moments(returns[best])
        figures = (float(ratios[best]), 300, skewness, kurtosis)
        naive.append(probabilistic_sharpe(*figures))
        deflated.append(deflated_sharpe(*figures, trials=40, spread_of_trials=float(ratios.std(ddof=1))))
    assert np.mean(naive) > 0.97
    assert 0.4 < np.mean(deflated) < 0.55
    assert np.mean(np.array(naive) > 0.95) > 0.8
    assert np.mean(np.array(deflated) > 0.95) < 0.05


def test_a_true_edge_is_still_seen_among_many_trials() -> None:
    rng = np.random.default_rng(3)
    returns = rng.normal(size=(40, 1000))
    returns[7] += 0.2
    ratios = returns.mean(axis=1) / returns.std(axis=1)
    _, skewness, kurtosis = moments(returns[7])
    found = deflated_sharpe(
        float(ratios[7]), 1000, skewness, kurtosis, trials=40, spread_of_trials=float(ratios.std(ddof=1))
    )
    assert found > 0.98


def test_ratios_without_spread_or_length_are_decided_or_undefined() -> None:
    assert math.isnan(probabilistic_sharpe(1.0, 1, 0.0, 3.0))
    assert probabilistic_sharpe(1.0, 10, 2.0, 5.0) == 1.0  # 1 - 2 + 1 is no spread
    assert probabilistic_sharpe(1.0, 10, 2.0, 5.0, benchmark=1.5) == 0.0
    assert probabilistic_sharpe(0.0, 10, 0.0, 3.0) == 0.5


def fair_trades(rng: np.random.Generator, count: int) -> np.ndarray:
    """Trades of a strategy at 2:1 that wins every third time."""
    return np.where(rng.random(count) < 1 / 3, 2.0, -1.0) * rng.uniform(0.5, 1.5, count)


def by_drawing(results: np.ndarray, worst: float, draws: int = 40_000) -> float:
    """Gaffke's p-value as its authors describe it: random weights of sum one on the results and the bound."""
    values = np.append(np.sort(results), -worst)
    weights = np.random.default_rng(9).dirichlet(np.ones(len(values)), draws)
    return float(np.mean(weights @ values <= 0))


@pytest.mark.parametrize("count", [1, 5, 40, pytest.param(400, marks=pytest.mark.slow)])
def test_a_p_value_is_the_share_of_random_weights_that_leave_no_gain(count: int) -> None:
    results = fair_trades(np.random.default_rng(count), count) + 0.02
    worst = max(1.5, -float(results.min()))
    assert mean_p_value(results, worst) == pytest.approx(by_drawing(results, worst), abs=0.01)


@pytest.mark.parametrize("win", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 5, 12, 200, 1000])
def test_wins_alone_have_the_chance_of_so_many_in_a_row(count: int, win: float) -> None:
    chance = (1.5 / (1.5 + win)) ** count
    assert mean_p_value(np.full(count, win), 1.5) == pytest.approx(max(chance, 1e-12), abs=1e-9)


@given(
    st.lists(st.floats(-1.5, 5).filter(lambda one: abs(one) > 1e-3), min_size=1, max_size=60),
    st.integers(0, 59),
    st.floats(0.01, 3),
)
def test_a_larger_result_never_makes_the_p_value_larger(results: list[float], place: int, more: float) -> None:
    better = list(results)
    better[place % len(better)] += more
    least, most = (mean_p_value(np.array(one), 1.5) for one in (better, results))
    assert 0 < least <= most + 1e-7 <= 1 + 1e-7


@given(st.floats(1e-9, 1e9), st.integers(1, 50))
def test_a_p_value_knows_no_unit(unit: float, seed: int) -> None:
    trades = fair_trades(np.random.default_rng(seed), 20)
    assert mean_p_value(trades * unit, 1.5 * unit) == pytest.approx(mean_p_value(trades, 1.5), rel=1e-6)


def test_a_loss_beyond_the_bound_replaces_it_and_nothing_earned_is_no_edge() -> None:
    assert mean_p_value(np.array([1.0, -9.0]), 1.5) == mean_p_value(np.array([1.0, -9.0]), 9.0)
    assert mean_p_value(np.zeros(20), 1.5) == mean_p_value(np.full(20, -0.1), 1.5) == mean_p_value(np.empty(0), 1) == 1


def test_trades_are_judged_in_multiples_of_their_risk_with_their_costs_in_the_bound() -> None:
    pnl, risk = np.array([4.0, -1.0, 6.0, 2.0, -3.0]), np.array([2.0, 1.0, 3.0, 1.0, 3.0])
    p_value, break_even = trades_p_value(pnl, risk, 0.5)
    worst = GAP_R + 0.5
    assert p_value == mean_p_value(np.array([2.0, -1.0, 2.0, 2.0, -1.0]), worst)
    assert break_even == worst / (worst + 2)
    few = trades_p_value(pnl[: MIN_TRADES - 1], risk[: MIN_TRADES - 1], 0.5)
    assert all(map(math.isnan, few))
    lost = trades_p_value(-np.abs(pnl), risk, 0.5)
    assert lost[0] == pytest.approx(1) and math.isnan(lost[1])


def test_a_correction_for_many_tries_is_the_chance_that_one_of_them_is_so_good() -> None:
    assert corrected(0.03, 1) == pytest.approx(0.03)
    assert corrected(0.03, 50) == pytest.approx(1 - 0.97**50)
    assert corrected(1e-12, 1000) == pytest.approx(1e-9, rel=1e-6)
    assert corrected(1.0, 3) == 1.0
    assert np.isnan(corrected(np.array([math.nan]), 5)).all()


@pytest.mark.parametrize(("payoff", "tries", "expected"), [(1.0, 1, 5), (1.0, 7, 8), (1.0, 60, 11), (2.0, 1, 3)])
def test_the_least_number_of_trades_is_the_first_that_can_pass(payoff: float, tries: int, expected: int) -> None:
    found = int(least_trades(1 / (1 + payoff), tries))
    assert found == expected
    passes = [corrected(mean_p_value(np.full(count, payoff), 1.0), tries) <= SIGNIFICANT for count in range(1, 20)]
    assert passes.index(True) + 1 == expected


@pytest.mark.parametrize("break_even", [0.0, 1.0, 1e-17 / 1e-17, np.nan])
def test_where_no_number_of_trades_would_do_there_is_none(break_even: float) -> None:
    with np.errstate(all="raise"):
        assert np.isnan(least_trades(break_even, 10.0))


def test_gains_that_are_rounding_noise_beside_the_risk_are_nothing() -> None:
    """Ten ties, one of which is an ulp above: no p-value, no edge, and no figure that a table would refuse."""
    noise = np.zeros(10)
    noise[3] = 1e-17
    p_value, break_even = trades_p_value(noise, np.full(10, 0.01), costs=0.0)
    assert p_value == pytest.approx(1.0)
    assert not least_trades(break_even, 10.0) < 1


def test_alike_configurations_are_few_tries_and_different_ones_are_many() -> None:
    assert effective_trials(1, 0.0) == effective_trials(20, 0.0) == effective_trials(0, 0.0) == 1.0
    assert effective_trials(20, 1.0) == effective_trials(20, 50.0) == 20.0
    rng = np.random.default_rng(3)
    common, own = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 20))
    found = effective_trials(20, (math.sqrt(0.8) * common + math.sqrt(0.2) * own).var(axis=1, ddof=1))
    assert 1 + 0.2 * 19 <= np.mean(found) <= 1 + 0.2 * 19 * 1.8


def test_a_seed_comes_from_the_key_and_is_the_same_on_every_machine() -> None:
    assert seed_from(("AUSDT", 1)) == 0x3E6D93EF37D29348
    assert seed_from(("AUSDT", 1)) != seed_from(("AUSDT", 2))
    assert seed_from(("A", "B1")) != seed_from(("AB", "1"))
