"""Invariants of the minutes inside candles, for any candle at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.simulator.market.intrabar_path import minutes_of_day
from trading_assets.simulator.market.minutes import MINUTES, DayOfMinutes
from trading_assets.simulator.market.recorded_candles import RecordedCandles
from trading_assets.simulator.market.rows import Rows, minute_rows

DAY = 20_000
LENGTHS = (1, 3, 5, 15, 30, 60, 120, 240, 360, 720, 1440)


@st.composite
def candles(draw: st.DrawFn) -> RecordedCandles:
    """Some consecutive candles of one length in one day, however odd."""
    length = draw(st.sampled_from(LENGTHS))
    count = draw(st.integers(1, min(MINUTES // length, 12)))
    first = draw(st.integers(0, MINUTES // length - count))
    rows = []
    for _ in range(count):
        low = draw(st.integers(1, 10**6))
        high = low + draw(st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 10**6)))
        open_, close = draw(st.integers(low, high)), draw(st.integers(low, high))
        volume = draw(st.one_of(st.integers(0, 3 * length), st.integers(0, 10**12)))
        average = draw(st.integers(low, high))
        rows.append((open_, high, low, close, volume, volume * average))
    table = np.array(rows, dtype=np.int64).T
    start = DAY * MINUTES + length * np.arange(first, first + count)
    span = np.array([[start[0], start[-1] + length]])
    parts = Rows(table[:4].astype(np.int32), table[4:])
    return RecordedCandles(start, np.full(count, length, dtype=np.int16), parts, span, 1.0)


def minutes_of(recorded: RecordedCandles, day: DayOfMinutes) -> Rows:
    begin, end = (int(edge) - DAY * MINUTES for edge in recorded.spans[0])
    return minute_rows(day, begin, end)


@pytest.mark.slow
@settings(max_examples=120)
@given(candles(), st.integers(0, 2**63))
def test_minutes_add_up_to_their_candles_exactly(recorded: RecordedCandles, stream: int) -> None:
    day = minutes_of_day(recorded, stream, DAY)
    rows = minutes_of(recorded, day)
    made = rows.grouped(np.arange(0, len(rows), int(recorded.length[0])))
    assert np.array_equal(made.prices, recorded.rows.prices)
    assert np.array_equal(made.sums, recorded.rows.sums)


@pytest.mark.slow
@settings(max_examples=120)
@given(candles(), st.integers(0, 2**63))
def test_minutes_are_candles_themselves_and_join(recorded: RecordedCandles, stream: int) -> None:
    day = minutes_of_day(recorded, stream, DAY)
    rows = minutes_of(recorded, day)
    opens, highs, lows, closes = rows.prices
    assert (lows <= np.minimum(opens, closes)).all() and (highs >= np.maximum(opens, closes)).all()
    assert (rows.sums >= 0).all()
    assert not rows.sums[1][rows.sums[0] == 0].any()
    inside = np.arange(1, len(rows)) % int(recorded.length[0]) != 0
    assert np.array_equal(opens[1:][inside], closes[:-1][inside])
    enough = np.repeat(recorded.rows.sums[0] >= recorded.length, int(recorded.length[0]))
    assert (rows.sums[0][enough] > 0).all()


@pytest.mark.slow
@settings(max_examples=60)
@given(candles(), st.integers(0, 2**63))
def test_minutes_without_a_candle_are_flat(recorded: RecordedCandles, stream: int) -> None:
    day = minutes_of_day(recorded, stream, DAY)
    begin, end = (int(edge) - DAY * MINUTES for edge in recorded.spans[0])
    for of in (day.open, day.high, day.low, day.close):
        assert (of[:begin] == recorded.rows.prices[0, 0]).all()
        assert (of[end:] == recorded.rows.prices[3, -1]).all()
    assert day.volume.sum() == recorded.rows.sums[0].sum()


def test_most_is_traded_where_the_average_price_says() -> None:
    """A fall from 1000 to 500 at an average of 560: the minutes near the low carry the volume."""
    prices = np.tile(np.array([[1000], [1010], [490], [500]], dtype=np.int32), 40)
    volume = np.full(40, 90_000, dtype=np.int64)
    start = DAY * MINUTES + 15 * np.arange(40)
    recorded = RecordedCandles(
        start,
        np.full(40, 15, dtype=np.int16),
        Rows(prices, np.stack([volume, volume * 560])),
        np.array([[start[0], start[-1] + 15]]),
        1.0,
    )
    rows = minutes_of(recorded, minutes_of_day(recorded, 5, DAY))
    averages = rows.sums[1] / rows.sums[0]
    outside = (averages < rows.prices[2] * 0.97) | (averages > rows.prices[1] * 1.03)
    assert outside.mean() < 0.1
