"""Corrections for luck against the published examples, and on simulated strategies that have no edge at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trading_assets.backtesting.metrics import moments
from trading_assets.backtesting.significance import (
    MIN_TRADES,
    RESAMPLES,
    bootstrap_p_value,
    deflated_sharpe,
    expected_maximum,
    probabilistic_sharpe,
    seed_from,
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


def test_p_values_of_strategies_without_an_edge_are_about_uniform() -> None:
    rng = np.random.default_rng(4)
    found = np.array([bootstrap_p_value(fair_trades(rng, 60), seed) for seed in range(1000)])
    assert stats.kstest(found, "uniform").statistic < 0.05
    for level in (0.01, 0.05, 0.2):
        assert np.mean(found <= level) == pytest.approx(level, abs=3 * math.sqrt(level / 1000) + 0.005)


def test_p_values_of_strategies_with_an_edge_are_small_and_of_losing_ones_large() -> None:
    rng = np.random.default_rng(5)
    assert np.median([bootstrap_p_value(fair_trades(rng, 60) + 0.6, seed) for seed in range(50)]) < 0.01
    assert np.median([bootstrap_p_value(fair_trades(rng, 60) - 0.6, seed) for seed in range(50)]) > 0.97


def test_trades_that_only_won_are_no_more_certain_than_a_fair_coin_allows() -> None:
    for count in (MIN_TRADES, 8):
        assert bootstrap_p_value(np.full(count, 2.0), 1) == 0.5**count
    assert bootstrap_p_value(np.full(20, 2.0), 1) == 1 / (1 + RESAMPLES)
    assert bootstrap_p_value(np.full(20, 0.1), 1) == 1 / (1 + RESAMPLES)
    assert bootstrap_p_value(np.full(20, -0.1), 1) == 1.0
    assert bootstrap_p_value(np.zeros(20), 1) == 1.0


def test_a_p_value_needs_some_trades_and_depends_on_nothing_but_trades_and_seed() -> None:
    trades = fair_trades(np.random.default_rng(6), 30)
    assert math.isnan(bootstrap_p_value(trades[: MIN_TRADES - 1], 1))
    assert math.isfinite(bootstrap_p_value(trades[:MIN_TRADES], 1))
    assert bootstrap_p_value(trades, 1) == bootstrap_p_value(trades.copy(), 1)
    assert len({bootstrap_p_value(trades, seed) for seed in range(5)}) > 1
    assert bootstrap_p_value(trades * 1e-9, 1) == bootstrap_p_value(trades, 1)


def test_a_seed_comes_from_the_key_and_is_the_same_on_every_machine() -> None:
    assert seed_from(("AUSDT", 1)) == 0x3E6D93EF37D29348
    assert seed_from(("AUSDT", 1)) != seed_from(("AUSDT", 2))
    assert seed_from(("A", "B1")) != seed_from(("AB", "1"))
