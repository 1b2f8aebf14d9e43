"""A compiled indicator gives the original's numbers to the last bit, on any candles; results are shared in a sweep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.backtesting.kernel.indicators import COMPILED_INDICATORS
from trading_assets.core.candles import Funding
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import alignment, indicators
from trading_assets.strategies.indicator_cache import sharing
from trading_assets_tests.backtesting.columns import random_column
from trading_assets_tests.strategies.series import START_MS, walk

PERIODS = st.sampled_from([2, 3, 7, 14, 20, 30, 130])


def series(seed: int, bars: int, spoil: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """High, low and close of a random walk: as it is, with a flat stretch, or with a hole."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
    if spoil == "flat":
        close[bars // 3 :] = close[bars // 3]
    if spoil == "hole":
        close[bars // 2] = np.nan
    return close * (1 + rng.uniform(0, 0.01, bars)), close * (1 - rng.uniform(0, 0.01, bars)), close


CALLS: dict[str, Callable[[object, np.ndarray, np.ndarray, np.ndarray, int], object]] = {
    "rsi": lambda of, high, low, close, period: of.rsi(close, period),
    "atr": lambda of, high, low, close, period: of.atr(high, low, close, period),
    "bollinger_moments": lambda of, high, low, close, period: of.bollinger_moments(close, period),
    "bollinger_position": lambda of, high, low, close, period: of.bollinger_position(close, period, period / 10),
    "near_level": lambda of, high, low, close, period: of.near_level(
        close, of.rolling_min(low, period), of.rolling_max(high, period), (0.0, 0.236, 0.5, 1.0), period / 20
    ),
}


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    bars=st.integers(1, 420),
    period=PERIODS,
    spoil=st.sampled_from(["", "flat", "hole"]),
)
def test_every_number_of_a_compiled_indicator_is_the_originals(
    name: str, seed: int, bars: int, period: int, spoil: str
) -> None:
    values = series(seed, bars, spoil)
    expected = CALLS[name](indicators, *values, period)
    with sharing(COMPILED_INDICATORS):
        found = CALLS[name](indicators, *values, period)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(1, 200), behind=st.integers(-30, 30))
def test_alignment_is_the_same_inside_and_outside_of_a_sweep(seed: int, bars: int, behind: int) -> None:
    rng = np.random.default_rng(seed)
    end = START_MS + bars * Timeframe.M15.ms
    own = walk(rng, Timeframe.M15, START_MS, end, 0.01)
    other = walk(rng, Timeframe.M60, START_MS + behind * Timeframe.M60.ms, end, 0.01)
    funding = random_column(seed, bars).funding
    shifted = Funding(funding.time_ms - funding.time_ms[0] + START_MS + behind * Timeframe.M60.ms, funding.rate)
    for call in (
        lambda: alignment.as_of_open(own, other, other.close),
        lambda: alignment.as_of_close(own, other, other.close),
        lambda: alignment.funding_as_of_close(own, shifted),
        lambda: alignment.funding_as_of_close(own, Funding.empty()),
    ):
        expected = call()
        with sharing(COMPILED_INDICATORS):
            np.testing.assert_array_equal(call(), expected)


PANEL_CALLS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "bollinger_moments": lambda high, low, close: indicators.bollinger_moments(close, 20)[1],
    "bollinger_position": lambda high, low, close: indicators.bollinger_position(close, 20, 1.7),
    "rolling_max": lambda high, low, close: indicators.rolling_max(close, 30),
    "rolling_min": lambda high, low, close: indicators.rolling_min(close, 30),
    "near_level": lambda high, low, close: indicators.near_level(close, low, high, (0.0, 0.382, 1.0), 0.3),
}


@pytest.mark.parametrize("name", PANEL_CALLS)
@pytest.mark.parametrize("bars", [1, 25, 400])
def test_an_indicator_of_several_coins_is_that_of_each(name: str, bars: int) -> None:
    coins = [series(seed, bars, spoil) for seed, spoil in enumerate(("", "flat", "hole"))]
    together = PANEL_CALLS[name](*(np.array(arrays) for arrays in zip(*coins, strict=True)))
    np.testing.assert_array_equal(together, [PANEL_CALLS[name](*coin) for coin in coins])


def test_levels_of_one_range_serve_several_coins() -> None:
    high, low, close = series(1, 60, "")
    coins = np.array([close, close * 1.01])
    with sharing(COMPILED_INDICATORS):
        together = indicators.near_level(coins, low, high, (0.0, 0.5, 1.0), 0.2)
        alone = [indicators.near_level(coin, low, high, (0.0, 0.5, 1.0), 0.2) for coin in coins]
    np.testing.assert_array_equal(together, alone)
    assert 0 < together.sum() < together.size


def test_compiled_indicators_are_those_that_are_compared() -> None:
    assert set(COMPILED_INDICATORS) == set(CALLS)


def test_a_result_is_computed_once_shared_read_only_and_forgotten() -> None:
    *_, close = series(1, 100, "")
    with sharing(COMPILED_INDICATORS):
        first = indicators.rsi(close, 14)
        assert indicators.rsi(close, 14) is first
        assert indicators.rsi(close, 15) is not first
        assert indicators.rsi(close.copy(), 14) is not first
        with pytest.raises(ValueError, match="read-only"):
            first -= 50
    assert indicators.rsi(close, 14) is not first
    assert indicators.rsi(close, 14).flags.writeable
