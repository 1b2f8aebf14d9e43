"""States of the market are those known at the entry, and what is not held is unknown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe
from trading_assets.reporting.regimes import regimes
from trading_assets_tests.reporting.made_reports import START, WavesReader, drawn_trades


def by_state(trades: pd.DataFrame, reader: WavesReader | None = None) -> dict[tuple[str, str], tuple[int, float]]:
    return {
        (one.dimension, one.value): (one.mean_r.trades, one.pnl) for one in regimes(reader or WavesReader(), trades)
    }


def at(*days: float) -> pd.DataFrame:
    """A trade of 1 USD more than the last one at each of these days after the start."""
    entry_ms = [START + int(day * DAY_MS) for day in days]
    frame = drawn_trades(3, 0.0, 1).head(len(days))
    return frame.assign(entry_ms=entry_ms, pnl=np.arange(1.0, len(days) + 1), r=1.0, reason="stop")


def test_trend_funding_and_hour_are_those_at_the_entry() -> None:
    """The price rises until day 15 and falls until day 45. Thirty days before day 20 it stood lower, before 40 higher.
    Longs pay on even days, counted from 1970; day 20 is 20,534."""
    found = by_state(at(20.1, 40.6, 41.8))
    assert found["BTC, 30 days", "rises"] == (1, 1.0) and found["BTC, 30 days", "falls"] == (2, 5.0)
    assert found["funding", "longs pay"] == (2, 3.0) and found["funding", "shorts pay"] == (1, 3.0)
    assert found["hour of the entry, UTC", "00 to 06"] == (1, 1.0)
    assert found["hour of the entry, UTC", "12 to 18"][0] == found["hour of the entry, UTC", "18 to 24"][0] == 1


def test_every_closed_trade_is_in_one_state_of_each_kind_and_open_ones_in_none() -> None:
    trades = drawn_trades(10, 0.0, 2)
    trades.loc[trades.index[-3:], "reason"] = "open"
    sums: dict[str, int] = {}
    for (dimension, _), (count, _) in by_state(trades).items():
        sums[dimension] = sums.get(dimension, 0) + count
    assert set(sums.values()) == {len(trades) - 3} and len(sums) == 4
    assert regimes(WavesReader(), trades.iloc[:0]) == []


class Changed(WavesReader):
    """From a moment on everything is other, and before another moment nothing is held."""

    def __init__(self, from_ms: int, since_ms: int = 0) -> None:
        self.from_ms, self.since_ms = from_ms, since_ms

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        candles = super().read(symbol, timeframe, max(start_ms, self.since_ms), max(end_ms, self.since_ms))
        return replace(candles, close=candles.close * np.where(candles.end_ms > self.from_ms, 9.0, 1.0))


def test_nothing_after_an_entry_changes_its_state_and_what_is_not_held_is_unknown() -> None:
    moment = START + 20 * DAY_MS
    trades = at(18.0, 19.5, 20.0)
    assert by_state(trades, Changed(moment)) == by_state(trades)
    assert by_state(trades, Changed(moment - HOUR_MS)) != by_state(trades), "the hour before is known"
    late = by_state(trades, Changed(moment, since_ms=START))
    assert late["BTC, 30 days", "unknown"][0] == late["BTC's volatility, 24 hours", "unknown"][0] == 3
