"""Wilder's smoothing begins with the simple mean, and ATR equals its definition as a loop."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.timeframes import Timeframe
from trading_assets.strategies import indicators
from trading_assets_tests.strategies.series import START_MS, walk

NAN = np.nan


def atr_by_loop(high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int) -> list[float]:
    ranges: list[float] = []
    out: list[float] = []
    for bar in range(len(close)):
        candidates = [high[bar] - low[bar]]
        if bar:
            candidates += [abs(high[bar] - close[bar - 1]), abs(low[bar] - close[bar - 1])]
        ranges.append(max(candidates))
        if bar < period - 1:
            out.append(NAN)
        elif bar == period - 1:
            out.append(sum(ranges) / period)
        else:
            out.append((out[-1] * (period - 1) + ranges[-1]) / period)
    return out


@given(st.integers(0, 2**32 - 1), st.integers(0, 330), st.integers(2, 30))
@settings(max_examples=60)
def test_atr_equals_its_loop(seed: int, count: int, period: int) -> None:
    end = START_MS + count * Timeframe.M60.ms
    candles = walk(np.random.default_rng(seed), Timeframe.M60, START_MS, end, 0.02)
    high, low, close = candles.high, candles.low, candles.close
    expected = atr_by_loop(high.tolist(), low.tolist(), close.tolist(), period)
    np.testing.assert_allclose(indicators.atr(high, low, close, period), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("values", "period", "expected"),
    [
        # Seed: the mean of 1, 2, 6 is 3; then (3 * 2 + 9) / 3 = 5 and (5 * 2 + 2) / 3 = 4.
        ([1, 2, 6, 9, 2], 3, [NAN, NAN, 3, 5, 4]),
        ([NAN, 1, 2, 6, 9], 3, [NAN, NAN, NAN, 3, 5]),
        ([1, 2, 6, NAN, 9], 3, [NAN, NAN, 3, NAN, NAN]),
        ([1, NAN, 6, 9, 9], 3, [NAN, NAN, NAN, NAN, NAN]),
        ([1, 2], 3, [NAN, NAN]),
        ([NAN, NAN], 2, [NAN, NAN]),
        ([], 3, []),
    ],
)
def test_smoothing_is_seeded_by_the_simple_mean(values: list[float], period: int, expected: list[float]) -> None:
    np.testing.assert_allclose(indicators.wilder(np.array(values, dtype=float), period), expected)
