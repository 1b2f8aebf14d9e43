"""Each thing that can be wrong with candles is found, in the windows that hold it and in no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import HOUR_MS, Timeframe
from trading_assets.market.quality import QualityLimits, _has_jumped, fault_now, faults

LIMITS = QualityLimits(min_candle_coverage_pct=95.0, max_candle_age_bars=2, max_candle_jump_pct=50.0)
STEP = Timeframe.M15.ms
BARS = 96
PRICES = ("open", "high", "low", "close")
START = 480_000 * HOUR_MS
END = START + BARS * STEP


def walk(bars: int = BARS) -> Candles:
    """Good candles from `START` on."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.003, bars)))
    open_ = np.append(100.0, close[:-1])
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    return Candles(Timeframe.M15, START + np.arange(bars) * STEP, open_, high, low, close, close, close)


def changed(at: int, **values: float) -> Candles:
    """The walk with other values at one candle."""
    candles = walk()
    arrays = {name: getattr(candles, name).copy() for name in values}
    for name, value in values.items():
        arrays[name][at] = value
    return replace(candles, **arrays)


def scaled(by: float) -> Candles:
    """The walk of a coin that is worth so much."""
    candles = walk()
    return replace(candles, **{name: getattr(candles, name) * by for name in PRICES})


def twice(candles: Candles, at: int) -> Candles:
    return candles.select(np.sort(np.append(np.arange(len(candles)), at)))


def without(candles: Candles, *which: int) -> Candles:
    return candles.select(np.setdiff1d(np.arange(len(candles)), which))


@pytest.mark.parametrize(
    ("candles", "says"),
    [
        (walk(), None),
        (without(walk(), 40, 41, 42), None),
        (without(walk(), *range(40, 46)), "gap: 6 of 96 candles missing"),
        (walk(BARS - 2), None),
        (walk(BARS - 3), "age: newest closed at"),
        (Candles.empty(Timeframe.M15), "age: no candles"),
        (twice(walk(), 30), "duplicate: 1 candles"),
        (changed(30, start_ms=START + 30 * STEP + 1000), "out of grid: 1 candles"),
        (changed(30, high=1.0), "impossible prices: 1 candles"),
        (changed(30, low=1e6), "impossible prices: 1 candles"),
        (changed(30, low=-1.0), "impossible prices: 1 candles"),
        (changed(30, close=np.nan), "impossible prices: 1 candles"),
        (changed(30, high=np.inf), "impossible prices: 1 candles"),
        (changed(30, volume=-1.0), "impossible prices: 1 candles"),
        (changed(30, turnover=np.nan), "impossible prices: 1 candles"),
        (changed(30, volume=np.inf), "impossible prices: 1 candles"),
        (changed(30, turnover=1e300), "impossible prices: 1 candles"),
        (scaled(1e-310), "impossible prices: 96 candles"),
        (scaled(1e300), "impossible prices: 96 candles"),
        (scaled(1e-12), None),
        (scaled(1e12), None),
        (changed(30, open=0.0, high=0.0, low=0.0, close=0.0), "impossible prices: 1 candles"),
        (changed(30, high=1e12), "spike: 1 candles"),
        (changed(30, low=1e-9), "spike: 1 candles"),
        (changed(30, open=160.0, high=170.0), "jump: 1 candles"),
        (walk(BARS + 1), "unfinished: 1 candles"),
    ],
)
def test_each_fault_is_named(candles: Candles, says: str | None) -> None:
    found = fault_now(candles, END, LIMITS)
    assert found is None if says is None else found is not None and says in found


def test_the_first_candles_of_a_young_listing_are_no_gap() -> None:
    young = walk().select(slice(60, BARS))
    assert faults(young, np.array([0]), np.array([36]), np.array([END]), BARS * STEP, END, LIMITS) == [None]


@pytest.mark.parametrize("hole", [1, 2, 3])
@pytest.mark.parametrize(
    ("factor", "is_jump"), [(1.6, False), (0.6, False), (10.0, True), (1000.0, True), (0.001, True)]
)
def test_a_jump_is_one_over_a_hole_too_within_what_prices_move_in_so_many_candles(
    hole: int, factor: float, is_jump: bool
) -> None:
    """A contract is counted anew, a thousand for one, while candles are missing."""
    candles = walk()
    later = np.arange(BARS) >= 50
    scaled = {name: np.where(later, getattr(candles, name) * factor, getattr(candles, name)) for name in PRICES}
    found = fault_now(without(replace(candles, **scaled), *range(50 - hole, 50)), END, LIMITS)
    assert (found is not None and "jump: 1 candles" in found) is is_jump


@given(st.integers(1, 2000), st.floats(6.0, 1e6), st.booleans())
def test_no_hole_is_so_long_that_any_step_passes(hole: int, factor: float, down: bool) -> None:
    candles = walk(2)
    price = float(candles.close[0]) * (1 / factor**2 if down else factor)
    later = replace(candles, start_ms=candles.start_ms + np.array([0, hole * STEP]), open=np.array([100.0, price]))
    assert bool(_has_jumped(later, np.diff(later.start_ms) // STEP, 50.0)[0])


def test_a_candle_that_had_begun_but_not_ended_at_the_exchanges_time_is_seen_beyond_the_window() -> None:
    low, high, end = np.array([0]), np.array([BARS - 1]), np.array([END - 60_000])
    (found,) = faults(walk(), low, high, end, BARS * STEP, END - 60_000, LIMITS)
    assert found is not None
    assert found.startswith("unfinished: 1 candles, first at")
    assert faults(walk(), low, high, end, BARS * STEP, END, LIMITS) == [None]


BREAK: dict[str, Callable[[int], Candles]] = {
    "impossible prices": lambda at: changed(at, low=-1.0),
    "jump": lambda at: changed(at, open=160.0, high=170.0),
    "duplicate": lambda at: twice(walk(), at),
}


@given(
    st.sampled_from(sorted(BREAK)),
    st.integers(1, BARS - 1),
    st.lists(st.tuples(st.integers(0, BARS - 10), st.integers(10, BARS)), min_size=1, max_size=8),
)
def test_a_fault_is_in_those_windows_that_hold_it_and_no_other(
    name: str, at: int, windows: list[tuple[int, int]]
) -> None:
    candles = BREAK[name](at)
    spans = [(first, min(first + bars, BARS)) for first, bars in windows]
    ends = np.array([START + last * STEP for _, last in spans])
    low = np.searchsorted(candles.start_ms, [START + first * STEP for first, _ in spans])
    high = np.searchsorted(candles.start_ms, ends)
    found = faults(candles, low, high, ends, BARS * STEP, END, LIMITS)
    for (first, last), said in zip(spans, found, strict=True):
        # A jump is one from the candle before: the first of a window has none there.
        inside = first < at < last if name == "jump" else first <= at < last
        assert (said is not None and name in said) == inside
