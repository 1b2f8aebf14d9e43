"""Candles of the seeded market: exact sums, half-open ranges, launch, delivery, and days that join."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import DataError
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from trading_assets.simulator.market.base import CLOSE, HIGH, LOW, OPEN, START, TURNOVER, VOLUME, Bars
from trading_assets.simulator.market.calendar import INTERVALS, edges_of
from trading_assets.simulator.market.seeded import SeededMarket

T0 = 1_769_904_000_000  # 2026-02-01T00:00:00Z, a Sunday
LATER = T0 + 1000 * DAY_MS
MARKET = SeededMarket(11, 40)
FUTURE = "BTCUSDT-26MAR27"
symbols = st.sampled_from(["BTCUSDT", "XRPUSDT", "1000PEPEUSDT", "SOLPERP", FUTURE, "DAIUSDT"])
moments = st.integers(T0, T0 + 40 * DAY_MS)


def grouped(rows: Bars, edges: np.ndarray, scale: int) -> Bars:
    """The candles between `edges`, one by one."""
    found = []
    for low, high in pairwise(edges):
        inside = rows[(rows[:, START] >= low) & (rows[:, START] < high)]
        if len(inside):
            volume = sum((Decimal(repr(float(v))) for v in inside[:, VOLUME]), Decimal(0))
            turnover = sum((Decimal(repr(float(v))) for v in inside[:, TURNOVER]), Decimal(0))
            row = [low, inside[0, OPEN], inside[:, HIGH].max(), inside[:, LOW].min(), inside[-1, CLOSE]]
            found.append([*row, float(round(volume, scale)), float(turnover)])
    return np.array(found, dtype=np.float64).reshape(-1, 7)


@pytest.mark.slow
@settings(max_examples=40)
@given(symbols, st.sampled_from(INTERVALS), moments, st.integers(1, 12), st.integers(-HOUR_MS, 3 * DAY_MS))
def test_every_candle_is_its_minutes_to_the_last_digit(
    symbol: str, interval: str, start: int, most: int, beyond: int
) -> None:
    length = {"D": 1440, "W": 7 * 1440, "M": 31 * 1440}.get(interval) or int(interval)
    end = start + min(most * length * MINUTE_MS, 50 * DAY_MS)
    now = max(end - beyond, start)
    bars = MARKET.bars(symbol, interval, start, end, now)
    edges = edges_of(interval, start, min(end - 1, now))
    minutes = MARKET.bars(symbol, "1", int(edges[0]), int(edges[-1]), now) if len(edges) else np.empty((0, 7))
    scale = max(-int(MARKET.contracts[symbol].qty_step.as_tuple().exponent), 0)
    assert np.array_equal(bars, grouped(minutes, edges, scale))


@settings(max_examples=60)
@given(symbols, st.sampled_from(INTERVALS[:-1]), moments, st.tuples(*[st.integers(0, 30 * HOUR_MS)] * 2), moments)
def test_two_neighbouring_ranges_are_the_whole_range(
    symbol: str, interval: str, start: int, lengths: tuple[int, int], now: int
) -> None:
    middle = start + lengths[0]
    end = middle + lengths[1]
    parts = [MARKET.bars(symbol, interval, *pair, now) for pair in ((start, middle), (middle, end))]
    whole = MARKET.bars(symbol, interval, start, end, now)
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.all((whole[:, START] >= start) & (whole[:, START] < end) & (whole[:, START] <= now))


def test_a_range_holds_its_start_and_not_its_end() -> None:
    bars = MARKET.bars("BTCUSDT", "15", T0, T0 + HOUR_MS, LATER)
    assert (bars[:, START] - T0).tolist() == [0, 900_000, 1_800_000, 2_700_000]
    assert len(MARKET.bars("BTCUSDT", "15", T0 + 1, T0 + 900_000, LATER)) == 0
    assert len(MARKET.bars("BTCUSDT", "15", T0, T0, LATER)) == 0


@pytest.mark.parametrize("interval", ["1", "60", "W"])
def test_a_candle_that_starts_now_is_its_first_trade(interval: str) -> None:
    monday = T0 + DAY_MS
    [bar] = MARKET.bars("XRPUSDT", interval, monday, monday + 1, monday)
    price = MARKET.last_price("XRPUSDT", monday)
    assert bar[:VOLUME].tolist() == [monday, price, price, price, price]
    [minute] = MARKET.bars("XRPUSDT", "1", monday, monday + 1, monday + HOUR_MS)
    assert 0 < bar[VOLUME] <= minute[VOLUME] / 1000
    assert bar[TURNOVER] == pytest.approx(bar[VOLUME] * price, rel=0.01)


@settings(max_examples=60)
@given(symbols, moments, st.integers(0, 59_999))
def test_an_open_minute_is_the_path_so_far(symbol: str, moment: int, elapsed: int) -> None:
    minute = moment // MINUTE_MS * MINUTE_MS
    now = minute + elapsed
    [bar] = MARKET.bars(symbol, "1", minute, now + 1, now)
    points = [point.price for point in MARKET.path(symbol, minute) if point.time_ms <= now]
    last = MARKET.last_price(symbol, now)
    assert bar[[OPEN, HIGH, LOW, CLOSE]].tolist() == [points[0], max(*points, last), min(*points, last), last]


@settings(max_examples=40)
@given(symbols, moments, st.integers(0, 59_999))
def test_between_two_points_the_price_runs_on_a_straight_line(symbol: str, moment: int, elapsed: int) -> None:
    path = MARKET.path(symbol, moment // MINUTE_MS * MINUTE_MS)
    now = path[0].time_ms + elapsed
    expected = np.interp(now, [p.time_ms for p in path], [p.price for p in path])
    tick = float(MARKET.contracts[symbol].tick_size)
    assert abs(MARKET.last_price(symbol, now) - expected) <= 0.5001 * tick


def test_extremes_come_between_open_and_close() -> None:
    low_first = 0
    for index in range(300):
        minute = T0 + index * MINUTE_MS
        path = MARKET.path("SOLUSDT", minute)
        times = [point.time_ms - minute for point in path]
        assert (times[0], times[3]) == (0, 59_999)
        assert 10_000 <= times[1] <= 25_000
        assert 30_000 <= times[2] <= 50_000
        low_first += path[1].price <= path[2].price
    assert 90 < low_first < 210


@pytest.mark.parametrize("symbol", list(MARKET.contracts))
def test_a_minute_opens_where_the_one_before_closed_at_midnight_too(symbol: str) -> None:
    begin = max(T0, MARKET.contracts[symbol].launch_ms)
    rows = MARKET.bars(symbol, "1", begin, begin + 3 * DAY_MS, LATER)
    assert len(rows) == 3 * 1440
    assert np.array_equal(rows[1:, OPEN], rows[:-1, CLOSE])


@pytest.mark.parametrize("symbol", list(MARKET.contracts))
def test_every_number_prints_as_its_decimal(symbol: str) -> None:
    contract = MARKET.contracts[symbol]
    begin = max(T0, contract.launch_ms)
    for row in MARKET.bars(symbol, "30", begin, begin + 12 * HOUR_MS, LATER).tolist():
        for price in row[OPEN : CLOSE + 1]:
            assert Decimal(json.dumps(price)) % contract.tick_size == 0
        assert Decimal(json.dumps(row[VOLUME])) % contract.qty_step == 0
        assert round(Decimal(json.dumps(row[TURNOVER])), 4) == Decimal(json.dumps(row[TURNOVER]))


def test_a_dated_contract_trades_until_its_delivery_and_its_premium_melts() -> None:
    contract = MARKET.contracts[FUTURE]
    delivery = contract.delivery_ms
    assert len(MARKET.bars(FUTURE, "1", delivery - HOUR_MS, delivery + HOUR_MS, delivery + DAY_MS)) == 60
    [day] = MARKET.bars(FUTURE, "D", delivery - 8 * HOUR_MS, delivery + DAY_MS, delivery + DAY_MS)
    minutes = MARKET.bars(FUTURE, "1", delivery - 8 * HOUR_MS, delivery + DAY_MS, delivery + DAY_MS)
    assert len(minutes) == 480
    assert day[HIGH] == minutes[:, HIGH].max()
    assert day[CLOSE] == minutes[-1, CLOSE] == MARKET.last_price(FUTURE, delivery + DAY_MS)
    premiums = [
        MARKET.last_price(FUTURE, t) / MARKET.index_price(FUTURE, t) - 1
        for t in (T0, T0 + 200 * DAY_MS, delivery - MINUTE_MS)
    ]
    assert 0.04 < premiums[0] < 0.08
    assert premiums[0] > premiums[1] > premiums[2]
    assert abs(premiums[2]) < 0.005


def test_the_week_of_the_launch_holds_what_was_traded_since() -> None:
    market = SeededMarket(11, 80)
    launch = market.contracts["PENDLEUSDT"].launch_ms
    whole = market.bars("PENDLEUSDT", "1", 0, LATER, launch + 8 * DAY_MS)
    week = market.bars("PENDLEUSDT", "W", 0, LATER, launch + 8 * DAY_MS)[0]
    inside = whole[whole[:, START] < week[START] + 7 * DAY_MS]
    assert week[START] < whole[0, START] == launch
    assert (week[OPEN], week[HIGH], week[CLOSE]) == (whole[0, OPEN], inside[:, HIGH].max(), inside[-1, CLOSE])


def test_the_first_candle_is_there_from_the_millisecond_of_the_launch() -> None:
    launch = MARKET.contracts["ONDOUSDT"].launch_ms
    for interval in ("1", "60", "D", "W"):
        assert len(MARKET.bars("ONDOUSDT", interval, 0, LATER, launch - 1)) == 0
        assert len(MARKET.bars("ONDOUSDT", interval, 0, LATER, launch)) == 1
    assert MARKET.last_price("ONDOUSDT", launch - DAY_MS) == MARKET.last_price("ONDOUSDT", launch)


def test_a_young_contracts_24_hours_begin_with_its_launch() -> None:
    launch = MARKET.contracts["ONDOUSDT"].launch_ms
    now = launch + 3 * HOUR_MS
    stats = MARKET.stats_24h("ONDOUSDT", now)
    rows = MARKET.bars("ONDOUSDT", "1", 0, now, now)
    assert len(rows) == 180
    assert (stats.high, stats.low, stats.prev_price_24h) == (rows[:, HIGH].max(), rows[:, LOW].min(), rows[0, OPEN])
    assert stats.volume == pytest.approx(rows[:, VOLUME].sum())


@pytest.mark.parametrize("moment", [1_500_000_000_000, 2_100_000_000_000])
def test_a_time_outside_its_years_is_a_data_error(moment: int) -> None:
    with pytest.raises(DataError, match="2019 to 2035"):
        MARKET.funding_rate("BTCUSDT", moment)
    if moment > LATER:
        with pytest.raises(DataError, match="2019 to 2035"):
            MARKET.bars("BTCUSDT", "1", moment, moment + HOUR_MS, moment + DAY_MS)
