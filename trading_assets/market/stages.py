"""The stages from exchange to candle store and coverage, for one hour or a range: what the market assets compute.

Each hour is computed apart from closed candles before its own as-of; only the fetching is shared. Strategies and
backtests are not the business of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trading_assets.exchange.base import MarketData
from trading_assets.market import depth, universe
from trading_assets.market.candles import Candles
from trading_assets.market.store import CandleStore, content_hash
from trading_assets.market.timeframes import DAY_MS, Timeframe, as_of_ms
from trading_assets.schemas.tables import CANDLE_COVERAGE, FUNDING_COVERAGE, MARKET_SCAN
from trading_assets.settings import Settings

Progress = Callable[[int, int], None]

BTC = "BTCUSDT"
FETCH_WORKERS = 4


@dataclass(frozen=True)
class ScanOfHours:
    """Rows of `market_scan`, and for each hour the symbols dropped by reason."""

    rows: pd.DataFrame
    dropped: dict[int, dict[str, list[str]]]


def scan_hours(
    source: MarketData,
    store: CandleStore,
    hours_ms: Sequence[int],
    settings: Settings,
    progress: Progress | None = None,
) -> ScanOfHours:
    """Scan each hour from the hourly candles of the 24 hours before its as-of.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.
        StorageError: the candle store cannot be read or written.
    """
    instruments = list(source.instruments())
    eligible = {hour: universe.eligible(instruments, as_of_ms(hour)) for hour in hours_ms}
    symbols = sorted({i.symbol for kept, _ in eligible.values() for i in kept})
    start, end = as_of_ms(min(hours_ms)) - DAY_MS, as_of_ms(max(hours_ms))
    store.fill_many(
        source,
        [(symbol, Timeframe.M60, start, end) for symbol in symbols],
        workers=FETCH_WORKERS,
        progress=progress,
    )
    frames, dropped = [], {}
    for hour in hours_ms:
        kept, reasons = eligible[hour]
        as_of = as_of_ms(hour)
        hourly = {i.symbol: store.read(i.symbol, Timeframe.M60, as_of - DAY_MS, as_of) for i in kept}
        result = universe.scan(hour, hourly, kept, settings)
        frames.append(result.rows)
        dropped[hour] = {**reasons, **result.dropped}
    return ScanOfHours(pd.concat(frames, ignore_index=True) if frames else MARKET_SCAN.empty(), dropped)


def timeframes_read(timeframe: Timeframe, strategies: Sequence[depth.HasNeeds]) -> list[Timeframe]:
    """Stored timeframes that a backtest on `timeframe` reads: its own and those its strategies ask for."""
    asked = {timeframe}
    for strategy in strategies:
        needs = strategy.needs()
        asked.update(depth.stored_timeframe(other) for other in (*needs.candles, *needs.btc))
    return sorted(asked, key=lambda other: other.ms)


def fill_candles(
    source: MarketData,
    store: CandleStore,
    timeframe: Timeframe,
    symbols_by_hour: Mapping[int, Sequence[str]],
    strategies: Sequence[depth.HasNeeds],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fetch what the store lacks of each hour's symbols (and BTCUSDT) and tell what it holds.

    Returns:
        Rows of `candle_coverage`, one per hour and symbol.
    """
    with_btc = {hour: sorted({*symbols, BTC}) for hour, symbols in symbols_by_hour.items()}
    reach = depth.reach_ms(timeframe, strategies)
    spans: dict[str, tuple[int, int]] = {}
    for hour, symbols in with_btc.items():
        end = as_of_ms(hour)
        for symbol in symbols:
            low, high = spans.get(symbol, (end - reach, end))
            spans[symbol] = (min(low, end - reach), max(high, end))
    store.fill_many(
        source,
        [(symbol, timeframe, low, high) for symbol, (low, high) in sorted(spans.items())],
        workers=FETCH_WORKERS,
        progress=progress,
    )
    rows = []
    for hour, symbols in sorted(with_btc.items()):
        end = as_of_ms(hour)
        for symbol in symbols:
            held = store.read(symbol, timeframe, end - reach, end).closed_by(end)
            rows.append(
                {
                    "hour_ms": hour,
                    "timeframe": timeframe.value,
                    "symbol": symbol,
                    **_coverage(held, reach, end),
                }
            )
    return CANDLE_COVERAGE.conform(pd.DataFrame(rows, columns=CANDLE_COVERAGE.columns))


def _coverage(held: Candles, reach_ms: int, end_ms: int) -> dict[str, object]:
    step = held.timeframe.ms
    first = int(held.start_ms[0]) if len(held) else end_ms
    # A young listing is not a gap: expect candles from the first one held, or from the start of the reach.
    expected = max((end_ms - max(first, end_ms - reach_ms)) // step, 1)
    return {
        "first_ms": first,
        "last_ms": int(held.start_ms[-1]) if len(held) else first,
        "bars": len(held),
        "expected_bars": expected,
        "missing_bars": max(expected - len(held), 0),
        "coverage_pct": min(100.0 * len(held) / expected, 100.0),
        "content_hash": content_hash(held),
    }


def fill_funding(
    source: MarketData,
    store: CandleStore,
    symbols_by_hour: Mapping[int, Sequence[str]],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fetch missing funding payments of each hour's symbols and tell what the store holds: `funding_coverage`."""
    reach = depth.FUNDING_REACH_MS
    spans: dict[str, tuple[int, int]] = {}
    for hour, symbols in symbols_by_hour.items():
        end = as_of_ms(hour)
        for symbol in symbols:
            low, high = spans.get(symbol, (end - reach, end))
            spans[symbol] = (min(low, end - reach), max(high, end))
    store.fill_funding_many(
        source,
        [(symbol, low, high) for symbol, (low, high) in sorted(spans.items())],
        workers=FETCH_WORKERS,
        progress=progress,
    )
    rows = []
    for hour, symbols in sorted(symbols_by_hour.items()):
        end = as_of_ms(hour)
        for symbol in symbols:
            held = store.read_funding(symbol, end - reach, end)
            rows.append(
                {
                    "hour_ms": hour,
                    "symbol": symbol,
                    "first_ms": int(held.time_ms[0]) if len(held) else 0,
                    "last_ms": int(held.time_ms[-1]) if len(held) else 0,
                    "payments": len(held),
                    "last_rate": float(held.rate[-1]) if len(held) else np.nan,
                    "content_hash": content_hash(held),
                }
            )
    return FUNDING_COVERAGE.conform(pd.DataFrame(rows, columns=FUNDING_COVERAGE.columns))
