"""The search for the first touch of a level along the market's path."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.simulator.account.triggers import Levels, Touch, first_touch, touch_in_minute
from trading_assets.simulator.market.base import PathPoint
from trading_assets_tests.simulator.fake_market import HOUR, MINUTE, T0, FakeMarket

SLACK = 1e-9


def path(*points: tuple[int, float]) -> tuple[PathPoint, ...]:
    return tuple(PathPoint(T0 + at, price) for at, price in points)


DOWN_UP = path((0, 100.0), (10_000, 90.0), (30_000, 110.0), (59_000, 105.0))


@pytest.mark.parametrize(
    ("below", "above", "after", "expected"),
    [
        (95.0, None, -1, Touch(T0 + 5_000, True)),
        (None, 105.0, -1, Touch(T0 + 25_000, False)),
        (95.0, 105.0, -1, Touch(T0 + 5_000, True)),
        (89.9, 105.0, -1, Touch(T0 + 25_000, False)),
        (90.0, None, -1, Touch(T0 + 10_000, True)),
        (100.0, None, -1, Touch(T0, True)),
        (95.0, None, 7_000, Touch(T0 + 7_001, True)),
        (95.0, None, 14_998, Touch(T0 + 14_999, True)),
        (95.0, None, 15_000, None),
        (None, 110.0, 30_000, None),
        (None, 110.0, 29_999, Touch(T0 + 30_000, False)),
        (None, 105.0, 59_500, Touch(T0 + 59_501, False)),
        (None, 105.1, 59_500, None),
        (80.0, 120.0, -1, None),
        (None, None, -1, None),
    ],
)
def test_the_first_level_on_the_path_is_touched_at_the_millisecond_of_crossing(
    below: float | None, above: float | None, after: int, expected: Touch | None
) -> None:
    assert touch_in_minute(DOWN_UP, Levels(below, above, SLACK), T0 + after, T0) == expected


@settings(max_examples=60)
@given(st.data())
def test_the_search_agrees_with_looking_at_every_millisecond(data: st.DataObject) -> None:
    ticks = st.integers(90, 110)
    times = sorted(data.draw(st.lists(st.integers(1, 59_998), min_size=2, max_size=2, unique=True)))
    prices = [float(data.draw(ticks)) for _ in range(4)]
    points = path(*zip((0, *times, 59_999), prices, strict=True))
    below, above = float(data.draw(ticks)) - 0.5, float(data.draw(ticks)) + 0.5
    after = data.draw(st.integers(-1, 59_998))
    found = touch_in_minute(points, Levels(below, above, SLACK), T0 + after, T0)
    moments = np.arange(60_000)
    walked = np.interp(moments, [0, *times, 59_999], prices)
    hits = moments[(moments > after) & ((walked <= below + SLACK) | (walked >= above - SLACK))]
    if found is None:
        # A level that lies within a rounding error of a point may be seen by one and not by the other.
        assert not len(hits) or abs(walked[hits[0]] - below) < 1e-6 or abs(walked[hits[0]] - above) < 1e-6
    else:
        assert len(hits) and abs(int(hits[0]) + T0 - found.time_ms) <= 1


@settings(max_examples=40)
@given(
    st.integers(0, 400 * MINUTE),
    st.integers(1, 500 * MINUTE),
    st.lists(st.integers(1, 500 * MINUTE), max_size=6),
    st.floats(0.002, 0.02),
)
def test_cutting_the_search_into_pieces_changes_nothing(
    start: int, length: int, cuts: list[int], distance: float
) -> None:
    market = FakeMarket()
    base = market.base["ALTUSDT"]
    levels = Levels(base * (1 - distance), base * (1 + distance), 1e-8)
    after, end = T0 + start, T0 + start + length
    whole = first_touch(market, "ALTUSDT", levels, after, end)
    edges = [after, *sorted(after + cut for cut in cuts if cut < length), end]
    pieces = (first_touch(market, "ALTUSDT", levels, here, there) for here, there in pairwise(edges))
    assert next((touch for touch in pieces if touch is not None), None) == whole


def test_a_touch_far_away_is_found_by_candles_first() -> None:
    class CountingMarket(FakeMarket):
        paths = 0

        def path(self, symbol: str, minute_ms: int) -> tuple[PathPoint, ...]:
            self.paths += 1
            return super().path(symbol, minute_ms)

    market = CountingMarket()
    assert first_touch(market, "ALTUSDT", Levels(0.01, 0.09, 1e-8), T0, T0 + 10 * HOUR) is None
    assert market.paths < 5
