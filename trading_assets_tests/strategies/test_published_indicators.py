"""Indicators give the numbers that others have published for the same prices, and those of pandas' own averages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.strategies import indicators
from trading_assets_tests.strategies.markets import walk

# ChartSchool of StockCharts, worked example of "Relative Strength Index": 33 closes of QQQQ, and RSI 14 of the last 19.
RSI_CLOSES = [
    *(44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931),
    *(46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521),
    *(45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314),
]
RSI_14 = [
    *(70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38),
    *(54.71, 50.42, 39.99, 41.46, 41.87, 45.46, 37.30, 33.08, 37.77),
]

# The same, "Average True Range": high, low and close of 30 days (printed to cents), and ATR 14 of the last 17.
ATR_BARS = [
    *(
        (48.70, 47.79, 48.16),
        (48.72, 48.14, 48.61),
        (48.90, 48.39, 48.75),
        (48.87, 48.37, 48.63),
        (48.82, 48.24, 48.74),
    ),
    *(
        (49.05, 48.64, 49.03),
        (49.20, 48.94, 49.07),
        (49.35, 48.86, 49.32),
        (49.92, 49.50, 49.91),
        (50.19, 49.87, 50.13),
    ),
    *(
        (50.12, 49.20, 49.53),
        (49.66, 48.90, 49.50),
        (49.88, 49.43, 49.75),
        (50.19, 49.73, 50.03),
        (50.36, 49.26, 50.31),
    ),
    *(
        (50.57, 50.09, 50.52),
        (50.65, 50.30, 50.41),
        (50.43, 49.21, 49.34),
        (49.63, 48.98, 49.37),
        (50.33, 49.61, 50.23),
    ),
    *(
        (50.29, 49.20, 49.24),
        (50.17, 49.43, 49.93),
        (49.32, 48.08, 48.43),
        (48.50, 47.64, 48.18),
        (48.32, 41.55, 46.57),
    ),
    *(
        (46.80, 44.28, 45.41),
        (47.80, 47.31, 47.77),
        (48.39, 47.20, 47.72),
        (48.66, 47.90, 48.62),
        (48.79, 47.73, 47.85),
    ),
]
ATR_14 = [0.56, 0.59, 0.59, 0.57, 0.62, 0.62, 0.64, 0.67, 0.69, 0.78, 0.78, 1.21, 1.30, 1.38, 1.37, 1.34, 1.32]

# The same, "Bollinger Bands": 42 closes, and the bands of 20 closes and 2 deviations of the last 23.
BAND_CLOSES = [
    *(86.1557, 89.0867, 88.7829, 90.3228, 89.0671, 91.1453, 89.4397, 89.1750, 86.9302, 87.6752, 86.9596),
    *(89.4299, 89.3221, 88.7241, 87.4497, 87.2634, 89.4985, 87.9006, 89.1260, 90.7043, 92.9001, 92.9784),
    *(91.8021, 92.6647, 92.6843, 92.3021, 92.7725, 92.5373, 92.9490, 93.2039, 91.0669, 89.8318, 89.7435),
    *(90.3994, 90.7387, 88.0177, 88.0867, 88.8439, 90.7781, 90.5416, 91.3894, 90.6500),
]
MIDDLE = [
    *(88.71, 89.05, 89.24, 89.39, 89.51, 89.69, 89.75, 89.91, 90.08, 90.38, 90.66, 90.86),
    *(90.88, 90.91, 90.99, 91.15, 91.19, 91.12, 91.17, 91.25, 91.24, 91.17, 91.05),
]
UPPER = [
    *(91.29, 91.95, 92.61, 92.93, 93.31, 93.73, 93.90, 94.27, 94.57, 94.79, 95.04, 94.91),
    *(94.90, 94.90, 94.86, 94.67, 94.56, 94.68, 94.58, 94.53, 94.53, 94.37, 94.15),
]
LOWER = [
    *(86.12, 86.14, 85.87, 85.85, 85.70, 85.65, 85.59, 85.56, 85.60, 85.98, 86.27, 86.82),
    *(86.87, 86.91, 87.12, 87.63, 87.83, 87.56, 87.76, 87.97, 87.95, 87.96, 87.95),
]


def test_rsi_is_the_published_one() -> None:
    found = indicators.rsi(np.array(RSI_CLOSES), 14)
    assert np.isnan(found[:14]).all()
    np.testing.assert_allclose(found[14:], RSI_14, atol=0.005)


def test_atr_is_the_published_one() -> None:
    high, low, close = np.array(ATR_BARS).T
    found = indicators.atr(high, low, close, 14)
    assert np.isnan(found[:13]).all()
    np.testing.assert_allclose(found[13:], ATR_14, atol=0.011)  # prices and results are printed to cents


def test_bollinger_bands_are_the_published_ones() -> None:
    bands = indicators.bollinger(np.array(BAND_CLOSES), 20, 2.0)
    for found, published in zip(bands, (LOWER, MIDDLE, UPPER), strict=True):
        assert np.isnan(found[:19]).all()
        np.testing.assert_allclose(found[19:], published, atol=0.0055)
    position = indicators.bollinger_position(np.array(BAND_CLOSES), 20, 2.0)
    by_hand = [
        (close - low) / (up - low) * 2 - 1 for close, low, up in zip(BAND_CLOSES[19:], LOWER, UPPER, strict=True)
    ]
    np.testing.assert_allclose(position[19:], by_hand, atol=0.01)


@pytest.mark.parametrize("period", [2, 14, 27])
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_rsi_and_atr_forget_their_seed_and_become_the_averages_of_pandas(period: int, seed: int) -> None:
    """pandas weights by 1/n from the first value on; Wilder starts with a mean. Long after, both are the same."""
    candles = walk(seed, 1500)

    def smoothed(values: np.ndarray) -> pd.Series:
        return pd.Series(values).ewm(alpha=1 / period, adjust=False).mean()

    change = np.diff(candles.close)
    gain, loss = smoothed(np.maximum(change, 0)), smoothed(np.maximum(-change, 0))
    later = slice(1000, None)
    np.testing.assert_allclose(
        indicators.rsi(candles.close, period)[1:][later], (100 - 100 / (1 + gain / loss))[later], rtol=1e-9, atol=1e-11
    )
    previous = pd.Series(candles.close).shift()
    ranges = pd.concat(
        [pd.Series(candles.high - candles.low), (candles.high - previous).abs(), (candles.low - previous).abs()], axis=1
    )
    np.testing.assert_allclose(
        indicators.atr(candles.high, candles.low, candles.close, period)[later],
        smoothed(ranges.max(axis=1).to_numpy())[later],
        rtol=1e-9,
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), period=st.integers(2, 60), deviations=st.floats(0.5, 4.0))
def test_bollinger_bands_are_those_of_pandas(seed: int, period: int, deviations: float) -> None:
    close = walk(seed, 400).close
    lower, middle, upper = indicators.bollinger(close, period, deviations)
    rolling = pd.Series(close).rolling(period)
    np.testing.assert_allclose(middle, rolling.mean(), rtol=1e-10)
    np.testing.assert_allclose(upper, rolling.mean() + deviations * rolling.std(ddof=0), rtol=1e-8)
    np.testing.assert_allclose(lower, rolling.mean() - deviations * rolling.std(ddof=0), rtol=1e-8)
