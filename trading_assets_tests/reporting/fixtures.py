"""Selections on the seeded market, and that market with nonsense from a moment on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from trading_assets.backtesting.engine import Costs, LimitEntry
from trading_assets.core.candles import Candles, Funding
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms
from trading_assets.market.loading import CandleReader
from trading_assets.reporting.forward_test import ForwardTestResult, run_forward_tests
from trading_assets.reporting.trades import SelectedStrategy
from trading_assets.simulator.market.reader import MarketReader
from trading_assets.simulator.market.seeded import SeededMarket

HOUR = 1_772_413_200_000
"""2026-03-02 01:00 UTC."""

COSTS = Costs(fee=0.00055, slippage=0.0002, notional=100.0, liquidation=0.095)

UNLIMITED = {
    **{"cooldown_after_stop_s": 0, "pause_after_stops_s": 0, "weak_symbol_hours": 0, "min_signal_interval_s": 0},
    **{"max_positions": 100, "max_daily_loss_pct": 100, "max_drawdown_pct": 100, "report_capital": 1_000_000},
}
"""Settings by which nothing but the coin's own position stands against an entry."""


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)  # type: ignore[call-arg, arg-type]


@lru_cache
def market() -> MarketReader:
    return MarketReader(SeededMarket(7, 12))


def selections(
    hours: int, *symbols: str, timeframe: str = "5m", strategy: str = "bollinger_rsi", **parameters: object
) -> list[SelectedStrategy]:
    """The same selection of each coin in so many hours from `HOUR` on."""
    text = json.dumps(parameters)
    return [
        SelectedStrategy(HOUR + number * HOUR_MS, symbol, timeframe, strategy, text)
        for number in range(hours)
        for symbol in symbols
    ]


def forward_tested(
    chosen: list[SelectedStrategy],
    reader: CandleReader | None = None,
    *,
    end_ms: int | None = None,
    together: bool = False,
    costs: Costs = COSTS,
    entered_by: Mapping[str, LimitEntry | None] | None = None,
) -> ForwardTestResult:
    """The trades of some selections, until an hour after the last as-of."""
    end_ms = as_of_ms(max(selection.hour_ms for selection in chosen)) + HOUR_MS if end_ms is None else end_ms
    return run_forward_tests(
        reader or market(),
        chosen,
        end_ms=end_ms,
        min_confidence=60.0,
        costs=costs,
        together=together,
        entered_by=entered_by or {},
    )


class SeededSource:
    """`MarketData` of a reader, as far as the candle store asks for it."""

    def __init__(self, now_ms: int, reader: CandleReader | None = None) -> None:
        self._now_ms, self._reader = now_ms, reader or market()

    def now_ms(self) -> int:
        return self._now_ms

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        return self._reader.read(symbol, timeframe, start_ms, end_ms).closed_by(self._now_ms)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return self._reader.read_funding(symbol, start_ms, min(end_ms, self._now_ms + 1))


class Poisoned:
    """A reader that tells nonsense about everything that closes after a moment."""

    def __init__(self, real: CandleReader, from_ms: int) -> None:
        self._real, self._from_ms, self.btc = real, from_ms, real.btc
        self.poisoned = 0

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        candles = self._real.read(symbol, timeframe, start_ms, end_ms)
        bad = candles.end_ms > self._from_ms
        self.poisoned += int(bad.sum())
        factor = np.where(bad, 1.7 + 0.5 * np.sin(np.arange(len(bad))), 1.0)
        return replace(
            candles,
            open=candles.open * factor,
            high=candles.high * factor * np.where(bad, 1.2, 1.0),
            low=candles.low * factor * np.where(bad, 0.8, 1.0),
            close=candles.close * factor,
        )

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        funding = self._real.read_funding(symbol, start_ms, end_ms)
        return Funding(funding.time_ms, np.where(funding.time_ms > self._from_ms, 0.05, funding.rate))
