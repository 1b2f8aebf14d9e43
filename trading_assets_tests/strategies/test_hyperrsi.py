"""`hyperrsi`: the trend of the longer timeframe, and a tie that is none."""

from __future__ import annotations

import numpy as np
import pytest

from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies.hyperrsi import TREND_TIMEFRAME, HyperRsi
from trading_assets_tests.strategies.markets import candles_of_closes

PERIOD = 20
OWN, LONGER = Timeframe.M15, TREND_TIMEFRAME[Timeframe.M15]


def data_of(longer_closes: np.ndarray, own: np.ndarray | None = None) -> StrategyData:
    """The longer timeframe's closes, and own bars over the same time."""
    longer = candles_of_closes(longer_closes, LONGER)
    bars = len(longer_closes) * LONGER.ms // OWN.ms
    closes = own if own is not None else 100 + np.sin(np.arange(bars) / 5.0)
    return StrategyData("AUSDT", candles_of_closes(closes, OWN), {LONGER: longer})


def trend_at(longer_closes: np.ndarray) -> np.ndarray:
    """The trend that each longer close gives, from the first that has one on."""
    trend = HyperRsi({"trend_period": PERIOD}).indicators(data_of(longer_closes))["trend"]
    closed = np.arange(PERIOD, len(longer_closes)) * LONGER.ms // OWN.ms + LONGER.ms // OWN.ms - 1
    return trend[closed]


@pytest.mark.parametrize("price", [0.1, 0.3, 1 / 3, 0.0000123, 64_123.7, 1e-9])
def test_a_tie_is_a_tie_whatever_the_closes_between_are(price: float) -> None:
    """Means of closes differ by rounding where the closes are equal: of 1,053 exact ties 398 were decided by that."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        block = price * np.exp(np.cumsum(rng.normal(0, 0.01, PERIOD)))
        closes = np.tile(block, 3)  # each close equals the one that it replaces in the mean
        assert (trend_at(closes) == 0).all()


def test_the_trend_is_the_direction_of_the_mean() -> None:
    rng = np.random.default_rng(6)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 200)))
    means = np.convolve(closes, np.ones(PERIOD) / PERIOD, mode="valid")
    np.testing.assert_array_equal(trend_at(closes), np.sign(np.diff(means)))


def test_without_a_trend_there_is_no_entry_and_with_one_there_is() -> None:
    count = 12 * PERIOD
    own = 100 + 8 * np.sin(np.arange(count * LONGER.ms // OWN.ms) / 9.0)
    flat = np.full(count, 100.0)
    for longer, long, short in ((flat, False, False), (flat + np.arange(count), True, False)):
        signals = HyperRsi().signals(data_of(longer, own))
        assert (bool(signals.long.any()), bool(signals.short.any())) == (long, short)
    falling = HyperRsi().signals(data_of(1000.0 - np.arange(count), own))
    assert falling.short.any() and not falling.long.any()
