"""Nonsense after a moment, all the way from the exchange to the report: nothing that was before it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_assets.core.candles import Candles
from trading_assets.core.ports import MarketData
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, hour_key
from trading_assets.ledger.database import Database
from trading_assets.market.store import CandleStore
from trading_assets.reporting.build import Sources, make_walk_forward
from trading_assets.reporting.report import Report
from trading_assets.simulator.embedded import RunningExchange
from trading_assets.venues import open_market_data
from trading_assets_tests.defs.conftest import HOUR, HOUR_KEY, run_job, tables
from trading_assets_tests.defs.test_research import GivenMarket, PoisonedMarket, assert_same

HOURS = [HOUR, HOUR + HOUR_MS, HOUR + 2 * HOUR_MS]
MOMENT = as_of_ms(HOURS[1])

_FUTURE = ["exit_ms", "exit_price", "fees", "slippage", "funding", "pnl", "r", "bps", "reason"]
"""How a trade ends that is open at the moment is future, too."""


class Plausible(PoisonedMarket):
    """Nonsense that no check finds: prices that never were, and payments."""

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        candles = self._real.candles(symbol, timeframe, start_ms, end_ms)
        bad = candles.end_ms > self._from_ms
        self.poisoned += int(bad.sum())
        factor = np.where(bad, 1.1 + 0.1 * np.sin(np.arange(len(bad)) * 0.7), 1.0)
        return replace(
            candles,
            open=candles.open * factor,
            high=candles.high * factor * np.where(bad, 1.05, 1.0),
            low=candles.low * factor,
            close=candles.close * factor,
            turnover=candles.turnover * np.where(bad, 3.0, 1.0),
        )


def from_exchange_to_report(market: MarketData) -> tuple[dict[int, dict[str, pd.DataFrame]], Report]:
    """Rows of each hour, and the walk-forward of all: one backfill in the current home."""
    run_job("research", HOUR_KEY, until=hour_key(HOURS[-1]), exchange=GivenMarket.of(market))
    settings = load_settings()
    database = Database(settings.resolved_database_url)
    report = make_walk_forward(Sources(settings, database, CandleStore(settings.candle_store), market))
    database.close()
    return {hour: tables([hour]) for hour in HOURS}, report


@pytest.mark.slow
def test_nonsense_after_a_moment_changes_nothing_before_it_from_the_exchange_to_the_report(
    small: RunningExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which of several random choices ends in the middle, only the end tells.
    monkeypatch.setenv("TRADING_ASSETS_REPORT_RANDOM_CHOICES", "1")
    real = open_market_data(load_settings())
    poisoned = Plausible(real, MOMENT)
    found = []
    for name, market in (("honest", real), ("poisoned", poisoned)):
        monkeypatch.setenv("TRADING_ASSETS_HOME", str(tmp_path / name))
        found.append(from_exchange_to_report(market))
    (rows, honest), (changed_rows, changed) = found
    assert poisoned.poisoned > 100
    for hour in HOURS[:2]:
        assert_same(rows[hour], changed_rows[hour])
    for name, of_hour in rows[HOURS[2]].items():
        assert not of_hour.equals(changed_rows[HOURS[2]][name]), f"{name} of the hour after the moment is poisoned"
    known = int(np.searchsorted(honest.main.curve.times_ms, MOMENT, side="right"))
    assert 1 < known < len(honest.main.curve.times_ms)
    for left, right in zip(honest.curves, changed.curves, strict=True):
        np.testing.assert_array_equal(left.equity[:known], right.equity[:known])
    assert honest.holding is not None and changed.holding is not None
    assert not np.array_equal(honest.holding.equity[known:], changed.holding.equity[known:])
    before, after = 0, 0
    for one, other in zip((honest.main, *honest.beside), (changed.main, *changed.beside), strict=True):
        past = [track.trades[track.trades["entry_ms"] <= MOMENT] for track in (one, other)]
        pd.testing.assert_frame_equal(*(frame.drop(columns=_FUTURE) for frame in past), check_exact=True)
        pd.testing.assert_frame_equal(*(frame[frame["exit_ms"] <= MOMENT] for frame in past), check_exact=True)
        before, after = before + len(past[0]), after + len(one.trades) - len(past[0])
    assert before and after
