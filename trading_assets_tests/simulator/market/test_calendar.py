"""Where candles begin and end, against the calendar of the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.simulator.market.calendar import INTERVALS, edges_of, start_of

moments = st.integers(1_546_300_800_000, 2_082_758_400_000)


def begin(interval: str, moment: datetime) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if interval == "M":
        return day.replace(day=1)
    if interval == "W":
        return day - timedelta(days=day.weekday())
    if interval == "D":
        return day
    return day + (moment - day) // timedelta(minutes=int(interval)) * timedelta(minutes=int(interval))


@given(st.sampled_from(INTERVALS), moments)
def test_a_candle_starts_where_the_calendar_says(interval: str, moment: int) -> None:
    expected = begin(interval, datetime.fromtimestamp(moment / 1000, UTC))
    assert start_of(interval, moment) == round(expected.timestamp() * 1000)


@given(st.sampled_from(INTERVALS), moments, st.integers(-5, 400 * 86_400_000), st.integers(1, 60))
def test_edges_are_every_start_in_the_range_and_one_end(interval: str, first: int, span: int, most: int) -> None:
    length = {"D": 1440, "W": 7 * 1440, "M": 31 * 1440}.get(interval) or int(interval)
    last = first + min(span, most * length * 60_000)
    edges = edges_of(interval, first, last).tolist()
    if not edges:
        assert last < first or start_of(interval, last) < first
        return
    assert len(edges) >= 2
    assert all(start_of(interval, edge) == edge for edge in edges)
    assert all(start_of(interval, following - 1) == edge for edge, following in pairwise(edges))
    assert first <= edges[0]
    assert start_of(interval, edges[0] - 1) < first
    assert edges[-2] <= last < edges[-1]


def test_an_unknown_interval_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        edges_of("7", 0, 10**12)
