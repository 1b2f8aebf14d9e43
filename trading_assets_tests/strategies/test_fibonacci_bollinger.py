"""Levels, gates and bonuses of `fibonacci_bollinger`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.strategies.base import Values
from trading_assets.strategies.fibonacci_bollinger import LEVEL_TIMEFRAMES, FibonacciBollinger
from trading_assets_tests.strategies.markets import START_MS, candles_of_closes, market, walk

LONG, SHORT, NONE = 1, -1, 0
PLAIN: dict[str, float] = {
    "rsi": 50.0,
    "volatility_pct": 10.0,
    "fib_strength": 0.0,
    "btc_trend": 0.0,
    "funding_rate": 0.0,
}
BUY, SELL = {"bb_position": -1.0}, {"bb_position": 1.0}
NAN = math.nan


@pytest.mark.parametrize(
    ("values", "side", "confidence"),
    [
        (BUY, LONG, 60),
        (SELL, SHORT, 60),
        ({**BUY, "rsi": 34.0}, LONG, 70),
        ({**SELL, "rsi": 66.0}, SHORT, 70),
        ({**BUY, "fib_strength": 1.0}, LONG, 70),
        ({**BUY, "fib_strength": 4.0}, LONG, 70),
        ({**BUY, "btc_trend": 1.0}, LONG, 70),
        ({**BUY, "btc_trend": -1.0}, NONE, 0),
        ({**SELL, "btc_trend": -1.0}, SHORT, 70),
        ({**SELL, "btc_trend": 1.0}, NONE, 0),
        ({**BUY, "funding_rate": -0.0001}, LONG, 65),
        ({**BUY, "funding_rate": 0.0001}, LONG, 60),
        ({**SELL, "funding_rate": 0.0001}, SHORT, 65),
        ({**SELL, "funding_rate": -0.0001}, SHORT, 60),
        ({**BUY, "rsi": 31.0, "fib_strength": 2.0, "btc_trend": 1.0, "funding_rate": -0.01}, LONG, 95),
        ({**SELL, "rsi": 69.0, "fib_strength": 2.0, "btc_trend": -1.0, "funding_rate": 0.01}, SHORT, 95),
        ({**BUY, "volatility_pct": 50.0}, LONG, 60),
        ({**BUY, "volatility_pct": 50.1}, NONE, 0),
        ({**BUY, "volatility_pct": NAN}, NONE, 0),
        ({**BUY, "btc_trend": NAN}, NONE, 0),
        ({**SELL, "btc_trend": NAN}, NONE, 0),
        ({**BUY, "funding_rate": NAN}, LONG, 60),
        ({**BUY, "rsi": NAN}, NONE, 0),
        ({"bb_position": NAN}, NONE, 0),
    ],
)
def test_entries_follow_the_table(values: dict[str, float], side: int, confidence: float) -> None:
    arrays = {name: np.array([value]) for name, value in {**PLAIN, **values}.items()}
    entries = FibonacciBollinger.entries(Values(walk(1, 1), arrays), FibonacciBollinger().parameters)
    assert int(entries.long[0]) - int(entries.short[0]) == side
    if side:
        assert entries.confidence[0] == confidence


def ranged(timeframe: Timeframe, bars: int, low: float, high: float) -> Candles:
    """Candles that all span the same range."""
    candles = candles_of_closes(np.full(bars, (low + high) / 2), timeframe)
    return replace(candles, high=np.full(bars, high), low=np.full(bars, low))


def quiet_market(price: float, ranges: dict[Timeframe, tuple[float, float]]) -> StrategyData:
    """40 days; the own quarters stand at `price`, each timeframe has its own range (20 to 20.1: levels far away)."""
    days = 40
    other = {
        timeframe: ranged(timeframe, days * DAY_MS // timeframe.ms, *ranges.get(timeframe, (20.0, 20.1)))
        for timeframe in LEVEL_TIMEFRAMES
    }
    own = candles_of_closes(np.full(days * 96, price))
    btc = candles_of_closes(np.full(days * 6, 50_000.0), Timeframe.M240)
    return StrategyData("COINUSDT", own, other, {Timeframe.M240: btc}, Funding.empty())


@pytest.mark.parametrize(
    ("price", "ranges", "strength"),
    [
        (100.0, {}, 0),
        (150.0, {Timeframe.D1: (100.0, 200.0)}, 1),  # .5
        (161.8, {Timeframe.D1: (100.0, 200.0)}, 1),
        (178.6, {Timeframe.D1: (100.0, 200.0)}, 1),
        (123.6, {Timeframe.D1: (100.0, 200.0)}, 1),
        (138.2, {Timeframe.D1: (100.0, 200.0)}, 1),
        (98.0, {Timeframe.D1: (100.0, 200.0)}, 1),  # 2 % of the level below it
        (97.99, {Timeframe.D1: (100.0, 200.0)}, 0),
        (102.0, {Timeframe.D1: (100.0, 200.0)}, 1),
        (102.03, {Timeframe.D1: (100.0, 200.0)}, 0),
        (204.0, {Timeframe.D1: (100.0, 200.0)}, 1),
        (204.01, {Timeframe.D1: (100.0, 200.0)}, 0),
        (111.0, {Timeframe.D1: (100.0, 200.0)}, 0),  # between 100 and 123.6
        (170.0, {Timeframe.D1: (100.0, 200.0)}, 0),
        (150.0, {Timeframe.D1: (100.0, 200.0), Timeframe.M240: (100.0, 150.0)}, 2),
        (150.0, dict.fromkeys(LEVEL_TIMEFRAMES, (100.0, 200.0)), 4),
        (100.0, {Timeframe.D1: (100.0, 100.0)}, 0),  # no range, no level
    ],
)
def test_strength_is_the_number_of_timeframes_with_a_level_within_two_percent(
    price: float, ranges: dict[Timeframe, tuple[float, float]], strength: int
) -> None:
    values = FibonacciBollinger().indicators(quiet_market(price, ranges))
    assert values["fib_strength"][-1] == strength


def test_levels_need_a_whole_window_of_candles_that_had_ended_when_the_bar_opened() -> None:
    data = quiet_market(150.0, {Timeframe.D1: (100.0, 200.0)})
    near = FibonacciBollinger().indicators(data)["fib_strength"]
    first = 30 * 96  # the bar that opens as the 30th day ends
    assert not near[:first].any()
    assert near[first:].all()


def test_the_current_candle_does_not_move_its_own_levels() -> None:
    strategy = FibonacciBollinger()
    data = market(3, Timeframe.M15, strategy.needs())
    own = data.candles
    quarters = data.other[Timeframe.M15]
    last = quarters.start_ms == own.start_ms[-1]
    poisoned = replace(quarters, high=np.where(last, 1e6, quarters.high), low=np.where(last, 1e-6, quarters.low))
    changed = replace(data, other={**data.other, Timeframe.M15: poisoned})
    np.testing.assert_array_equal(
        strategy.indicators(changed)["fib_strength"], strategy.indicators(data)["fib_strength"]
    )


@pytest.mark.parametrize(("change_pct", "trend"), [(2.1, 1.0), (2.0, 0.0), (0.0, 0.0), (-2.0, 0.0), (-2.1, -1.0)])
def test_the_btc_trend_is_the_change_over_20_closed_bars(change_pct: float, trend: float) -> None:
    data = quiet_market(100.0, {})
    btc = data.btc[Timeframe.M240]
    close = btc.close.copy()
    close[-1] = close[-21] + 500 * change_pct  # of 50,000
    changed = replace(data, btc={Timeframe.M240: replace(btc, close=close)})
    found = FibonacciBollinger().indicators(changed)["btc_trend"]
    assert found[-1] == trend  # the own bar that ends with BTC's candle knows it
    assert found[-2] == 0.0
    assert np.isnan(found[: 21 * 16 - 1]).all()
    assert found[21 * 16 - 1] == 0.0


def test_volatility_is_the_range_of_the_last_24_closed_hours_in_percent_of_the_low() -> None:
    data = quiet_market(100.0, {Timeframe.M60: (80.0, 100.0)})
    found = FibonacciBollinger().indicators(data)["volatility_pct"]
    assert np.isnan(found[: 24 * 4 - 1]).all()
    np.testing.assert_allclose(found[24 * 4 - 1 :], 25.0)


def test_funding_is_the_last_rate_paid_before_the_close() -> None:
    data = quiet_market(100.0, {})
    funding = Funding(np.array([START_MS + 8 * HOUR_MS, START_MS + 16 * HOUR_MS]), np.array([0.001, -0.002]))
    found = FibonacciBollinger().indicators(replace(data, funding=funding))["funding_rate"]
    # Bar 31 ends in the very moment of the first payment, bar 63 in that of the second.
    assert np.isnan(found[:32]).all()
    assert (found[32:64] == 0.001).all()
    assert (found[64:] == -0.002).all()


def test_every_gate_and_bonus_occurs_in_random_markets() -> None:
    strategy = FibonacciBollinger()
    found = [strategy.signals(market(seed, Timeframe.M15, strategy.needs(), bars=1000)) for seed in range(6)]
    confidences = {value for signals in found for value in signals.confidence[signals.long | signals.short]}
    assert len(confidences) >= 5
    assert any(signals.long.any() for signals in found)
    assert any(signals.short.any() for signals in found)
    for signals in found:
        assert {"rsi", "bb_position", "btc_trend", "funding_rate", "fib_strength"} <= set(signals.indicators)
        assert not (signals.long & (signals.indicators["btc_trend"] < 0)).any()
        assert not (signals.short & (signals.indicators["btc_trend"] > 0)).any()


def test_it_says_what_data_it_needs() -> None:
    needs = FibonacciBollinger({"level_window": 10, "btc_bars": 5}).needs()
    assert dict(needs.candles) == {Timeframe.D1: 10, Timeframe.M240: 10, Timeframe.M60: 24, Timeframe.M15: 10}
    assert dict(needs.btc) == {Timeframe.M240: 6}
    assert needs.funding
