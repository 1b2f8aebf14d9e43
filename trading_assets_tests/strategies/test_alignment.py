"""Alignment gives the last value that was known, found by a loop, and never a later one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, Timeframe
from trading_assets.strategies.alignment import as_of_close, as_of_open, funding_as_of_close
from trading_assets_tests.strategies.markets import START_MS, candles_of_closes

TIMEFRAMES = st.sampled_from([Timeframe.M15, Timeframe.M60, Timeframe.M240, Timeframe.D1])


def bars(timeframe: Timeframe, count: int, kept: np.ndarray | None = None) -> Candles:
    candles = candles_of_closes(100.0 + np.arange(count), timeframe)
    return candles if kept is None else candles.select(kept[:count])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Candles, Candles]:
    """Own and other candles over the same days, each with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    own, other = draw(TIMEFRAMES), draw(TIMEFRAMES)
    hours = draw(st.integers(1, 72))
    return tuple(
        bars(timeframe, -(-hours * HOUR_MS // timeframe.ms), rng.random(hours * 4 + 1) < 0.9)
        for timeframe in (own, other)
    )  # type: ignore[return-value]


def last_known(other: Candles, at_ms: int) -> float:
    found = math.nan
    for end, value in zip(other.end_ms, other.close, strict=True):
        if end <= at_ms:
            found = value
    return found


@settings(max_examples=60)
@given(pair=pairs())
def test_the_value_is_that_of_the_last_candle_that_had_ended(pair: tuple[Candles, Candles]) -> None:
    own, other = pair
    at_open = [last_known(other, start) for start in own.start_ms]
    at_close = [last_known(other, end) for end in own.end_ms]
    np.testing.assert_array_equal(as_of_open(own, other, other.close), at_open)
    np.testing.assert_array_equal(as_of_close(own, other, other.close), at_close)


@pytest.mark.parametrize(("align", "moment"), [(as_of_open, "start_ms"), (as_of_close, "end_ms")])
@settings(max_examples=40)
@given(pair=pairs(), data=st.data())
def test_candles_that_end_later_are_never_read(
    align: Callable[..., np.ndarray], moment: str, pair: tuple[Candles, Candles], data: st.DataObject
) -> None:
    own, other = pair
    if not len(own):
        return
    bar = data.draw(st.integers(0, len(own) - 1))
    poisoned = np.where(other.end_ms > getattr(own, moment)[bar], 1e9, other.close)
    np.testing.assert_array_equal(align(own, other, poisoned)[: bar + 1], align(own, other, other.close)[: bar + 1])


def test_an_hour_is_known_to_the_quarter_that_ends_with_it_but_not_at_that_quarters_open() -> None:
    own, hours = bars(Timeframe.M15, 8), bars(Timeframe.M60, 2)
    np.testing.assert_array_equal(as_of_close(own, hours, hours.close), [math.nan] * 3 + [100.0] * 4 + [101.0])
    np.testing.assert_array_equal(as_of_open(own, hours, hours.close), [math.nan] * 4 + [100.0] * 4)


def test_the_own_timeframe_is_known_one_bar_later_at_the_open() -> None:
    own = bars(Timeframe.M60, 3)
    np.testing.assert_array_equal(as_of_open(own, own, own.close), [math.nan, 100.0, 101.0])
    np.testing.assert_array_equal(as_of_close(own, own, own.close), own.close)


def test_funding_is_known_after_its_moment_and_not_at_a_close_in_that_moment() -> None:
    own = bars(Timeframe.M60, 3)
    funding = Funding(np.array([START_MS + HOUR_MS, START_MS + 2 * HOUR_MS + MINUTE_MS]), np.array([0.001, -0.002]))
    np.testing.assert_array_equal(funding_as_of_close(own, funding), [math.nan, 0.001, -0.002])


def test_nothing_known_is_nan() -> None:
    own = bars(Timeframe.M60, 2)
    nothing = Candles.empty(Timeframe.M240)
    assert np.isnan(as_of_open(own, nothing, nothing.close)).all()
    assert np.isnan(funding_as_of_close(own, Funding.empty())).all()
    assert as_of_close(Candles.empty(Timeframe.M60), own, own.close).shape == (0,)
