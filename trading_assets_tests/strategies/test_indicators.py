"""Indicators against their definitions as loops, tables computed by hand, and laws."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.strategies import indicators
from trading_assets_tests.strategies.markets import walk

PRICES = st.lists(st.floats(0.01, 1e5, allow_nan=False), min_size=0, max_size=400).map(np.array)
PERIODS = st.integers(2, 30)


def wilder_loop(values: list[float], period: int) -> list[float]:
    out = [math.nan] * len(values)
    if len(values) >= period:
        out[period - 1] = sum(values[:period]) / period
        for i in range(period, len(values)):
            out[i] = (out[i - 1] * (period - 1) + values[i]) / period
    return out


def rsi_loop(close: list[float], period: int) -> list[float]:
    changes = [after - before for before, after in itertools.pairwise(close)]
    gains = wilder_loop([max(change, 0.0) for change in changes], period)
    losses = wilder_loop([max(-change, 0.0) for change in changes], period)
    out = [math.nan] * len(close)
    for i, (gain, loss) in enumerate(zip(gains, losses, strict=True), start=1):
        if not math.isnan(gain):
            out[i] = 100 - 100 / (1 + gain / loss) if loss > 0 else (100.0 if gain > 0 else 50.0)
    return out


@settings(max_examples=60)
@given(values=PRICES, period=PERIODS)
def test_wilder_smoothing_equals_its_recursion(values: np.ndarray, period: int) -> None:
    found = indicators.wilder(values, period)
    np.testing.assert_allclose(found, wilder_loop(values.tolist(), period), rtol=1e-9)


@settings(max_examples=60)
@given(close=PRICES, period=PERIODS)
def test_rsi_equals_its_definition(close: np.ndarray, period: int) -> None:
    np.testing.assert_allclose(indicators.rsi(close, period), rsi_loop(close.tolist(), period), rtol=1e-7, atol=1e-7)


def test_rsi_of_two_bars_by_hand() -> None:
    # Changes +1 -1 +2 -1; averages over 2: gains .5, 1.25, .625; losses .5, .25, .625.
    found = indicators.rsi(np.array([10.0, 11.0, 10.0, 12.0, 11.0]), 2)
    np.testing.assert_allclose(found, [np.nan, np.nan, 50.0, 100 * 1.25 / 1.5, 50.0])


def test_atr_of_two_bars_by_hand() -> None:
    high, low, close = np.array([11.0, 12, 15]), np.array([9.0, 11, 14]), np.array([10.0, 11.5, 14.5])
    # True ranges: 2; max(1, 12-10, 11-10) = 2; max(1, 15-11.5, 14-11.5) = 3.5. Mean 2, then (2 + 3.5) / 2.
    np.testing.assert_allclose(indicators.true_range(high, low, close), [2, 2, 3.5])
    np.testing.assert_allclose(indicators.atr(high, low, close, 2), [np.nan, 2, 2.75])


def test_a_gap_below_counts_in_the_true_range() -> None:
    high, low, close = np.array([11.0, 8]), np.array([9.0, 7]), np.array([10.0, 7.5])
    assert indicators.true_range(high, low, close)[1] == 3.0


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        (np.full(60, 100.0), 50.0),
        (np.arange(1.0, 61.0), 100.0),
        (np.arange(60.0, 0.0, -1.0), 0.0),
        (np.concatenate([np.arange(1.0, 31.0), np.full(30, 30.0)]), 100.0),
    ],
    ids=["flat", "only gains", "only losses", "gains, then flat"],
)
def test_rsi_is_defined_where_prices_do_not_fall_or_do_not_rise(close: np.ndarray, expected: float) -> None:
    found = indicators.rsi(close)
    assert np.isnan(found[:14]).all()
    assert (found[14:] == expected).all()


def test_bollinger_uses_the_population_deviation() -> None:
    close = np.array([1.0, 2.0, 3.0, 4.0])
    lower, middle, upper = indicators.bollinger(close, 4, 2.0)
    deviation = math.sqrt((1.5**2 + 0.5**2 + 0.5**2 + 1.5**2) / 4)
    assert np.isnan(middle[:3]).all()
    assert (lower[3], middle[3], upper[3]) == pytest.approx((2.5 - 2 * deviation, 2.5, 2.5 + 2 * deviation))
    assert indicators.bollinger_position(close, 4)[3] == pytest.approx(1.5 / (2 * deviation))


@settings(max_examples=60)
@given(close=PRICES, period=PERIODS)
def test_bollinger_equals_numpy_window_by_window(close: np.ndarray, period: int) -> None:
    lower, middle, upper = indicators.bollinger(close, period, 2.0)
    for i in range(len(close)):
        window = close[i - period + 1 : i + 1] if i >= period - 1 else np.full(1, np.nan)
        assert middle[i] == pytest.approx(window.mean(), rel=1e-12, nan_ok=True)
        assert upper[i] - lower[i] == pytest.approx(4 * window.std(), rel=1e-6, abs=1e-9 * close[i], nan_ok=True)


@pytest.mark.parametrize("price", [100.0, 0.1, 1e-7, 3e4 / 7])
def test_bands_without_width_have_no_position(price: float) -> None:
    assert np.isnan(indicators.bollinger_position(np.full(50, price))).all()


@settings(max_examples=60)
@given(values=PRICES, period=st.integers(1, 40))
def test_rolling_extremes_equal_those_of_each_window(values: np.ndarray, period: int) -> None:
    highest, lowest = indicators.rolling_max(values, period), indicators.rolling_min(values, period)
    assert np.isnan(highest[: period - 1]).all()
    for i in range(period - 1, len(values)):
        window = values[i - period + 1 : i + 1]
        assert (highest[i], lowest[i]) == (window.max(), window.min())


def test_change_is_in_percent_of_the_older_close() -> None:
    found = indicators.change_pct(np.array([100.0, 50.0, 110.0]), 2)
    np.testing.assert_allclose(found, [np.nan, np.nan, 10.0])


@pytest.mark.parametrize("percent", [-50, -25, -2, 0, 2, 25, 50])
def test_a_change_of_a_trend_limit_is_exact(percent: int) -> None:
    assert indicators.change_pct(np.array([50_000.0, 50_000.0 + 500 * percent]), 1)[1] == percent


def test_previous_is_the_bar_before() -> None:
    np.testing.assert_array_equal(indicators.previous(np.array([1.0, 2.0, 3.0])), [np.nan, 1.0, 2.0])
    assert indicators.previous(np.empty(0)).shape == (0,)


ALL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rsi": indicators.rsi,
    "atr": lambda close: indicators.atr(close * 1.01, close * 0.99, close),
    "bollinger_position": indicators.bollinger_position,
    "lower band": lambda close: indicators.bollinger(close)[0],
    "rolling_max": lambda close: indicators.rolling_max(close, 30),
    "change_pct": lambda close: indicators.change_pct(close, 20),
    "previous": indicators.previous,
    "sma": lambda close: indicators.sma(close, 19),
    "wma": lambda close: indicators.wma(close, 30),
    "ema": lambda close: indicators.ema(close, 21),
    "macd": lambda close: indicators.macd(close)[2],
    "stochastic": lambda close: indicators.stochastic(close * 1.01, close * 0.99, close)[1],
    "adx": lambda close: indicators.adx(close * 1.01, close * 0.99, close)[2],
    "donchian": lambda close: indicators.donchian(close * 1.01, close * 0.99)[1],
    "keltner": lambda close: indicators.keltner(close * 1.01, close * 0.99, close)[0],
    "obv": lambda close: indicators.obv(close, close * 3),
    "vwap": lambda close: indicators.vwap(some_candles(close)),
    "rolling_vwap": lambda close: indicators.rolling_vwap(some_candles(close), 20),
    "supertrend": lambda close: indicators.supertrend(close * 1.01, close * 0.99, close)[0],
}
BAR_BY_BAR = {"supertrend"}


def some_candles(close: np.ndarray) -> Candles:
    """15m candles that begin with a day, each as wide as 2 %."""
    start = DAY_MS + Timeframe.M15.ms * np.arange(close.shape[-1], dtype=np.int64)
    high, low, volume = close * 1.01, close * 0.99, np.abs(np.sin(close)) + 1
    return Candles(Timeframe.M15, start, close, high, low, close, volume, close * volume)


@pytest.mark.parametrize("name", ALL)
def test_several_coins_at_once_have_what_each_has_alone(name: str) -> None:
    coins = np.array([walk(seed, 300).close for seed in (7, 8)])
    together = ALL[name](coins)
    np.testing.assert_array_equal(together, [ALL[name](one) for one in coins])
    assert np.isfinite(together[:, -1]).all()


def test_supertrend_is_its_definition_bar_by_bar() -> None:
    candles = walk(11, 1500)
    high, low, close = candles.high, candles.low, candles.close
    line, direction = indicators.supertrend(high, low, close, 10, 2.0)
    middle, wide = (high + low) / 2, 2.0 * indicators.atr(high, low, close, 10)
    assert np.isnan(line[:9]).all() and np.isnan(direction[:9]).all()
    lower, upper, up = middle[9] - wide[9], middle[9] + wide[9], False
    for bar in range(9, len(close)):
        if bar > 9:
            lower = max(middle[bar] - wide[bar], lower) if close[bar - 1] >= lower else middle[bar] - wide[bar]
            upper = min(middle[bar] + wide[bar], upper) if close[bar - 1] <= upper else middle[bar] + wide[bar]
        up = close[bar] >= lower if up else close[bar] > upper
        assert (line[bar], direction[bar]) == ((lower, 1) if up else (upper, -1))
    assert 20 < np.count_nonzero(np.diff(direction[9:])) < 200


def test_the_average_price_of_some_bars_is_weighted_by_their_volume() -> None:
    candles = some_candles(walk(12, 100).close)
    found = indicators.rolling_vwap(candles, 7)
    typical = (candles.high + candles.low + candles.close) / 3
    assert np.isnan(found[:6]).all()
    assert found[40] == pytest.approx(np.average(typical[34:41], weights=candles.volume[34:41]), rel=1e-12)


def test_the_average_price_of_a_day_begins_at_midnight_and_counts_only_whole_days() -> None:
    candles = some_candles(walk(9, 200).close)
    found = indicators.vwap(candles)
    typical = (candles.high + candles.low + candles.close) / 3
    for first, bar in ((0, 0), (0, 95), (96, 96), (96, 150)):
        expected = np.average(typical[first : bar + 1], weights=candles.volume[first : bar + 1])
        assert found[bar] == pytest.approx(expected, rel=1e-12)
    late = indicators.vwap(candles.select(slice(10, None)))
    assert np.isnan(late[:86]).all()
    np.testing.assert_array_equal(late[86:], found[96:])


@pytest.mark.parametrize("name", ALL)
def test_a_value_is_the_same_to_the_last_bit_whatever_follows(name: str) -> None:
    close = walk(3, 600).close
    whole = ALL[name](close)
    for bars in (0, 1, 14, 15, 20, 127, 128, 129, 142, 143, 300, 599):
        np.testing.assert_array_equal(ALL[name](close[:bars]), whole[:bars])


@pytest.mark.parametrize("name", ALL)
def test_nan_never_turns_into_a_number(name: str) -> None:
    close = walk(4, 300).close.copy()
    close[100] = np.nan
    with np.errstate(invalid="ignore"):
        found = ALL[name](close)
    assert np.isnan(found[100:102]).any()
    assert np.isfinite(found[99])


def test_the_warm_up_of_200_bars_makes_the_start_of_the_data_irrelevant() -> None:
    close = walk(5, 1000).close
    late = indicators.rsi(close[500:])
    np.testing.assert_allclose(late[200:], indicators.rsi(close)[700:], atol=1e-4)


@pytest.mark.parametrize("name", sorted(ALL.keys() - BAR_BY_BAR))
def test_an_indicator_has_no_loop_over_bars_in_python(name: str) -> None:
    close, lines = walk(6, 6000).close, 0

    def count(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        ALL[name](close)
    finally:
        sys.settrace(before)
    assert 0 < lines < 2000
