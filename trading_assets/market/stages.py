"""The stages from exchange to candle store and coverage, for one hour or a range: what the market assets compute.

Each hour is computed apart from closed candles before its own as-of; only the fetching is shared. Strategies and
backtests are not the business of this module.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from trading_assets.core.candles import Candles, Funding, IntArray
from trading_assets.core.models import Announcement, Instrument
from trading_assets.core.ports import MarketData, PastMarket
from trading_assets.core.schemas import CANDLE_COVERAGE, FUNDING_COVERAGE, MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, Timeframe, as_of_ms, floor_ms
from trading_assets.market import lookback as depth
from trading_assets.market import universe
from trading_assets.market.fingerprint import window_hashes
from trading_assets.market.quality import QualityLimits, expected_bars, faults
from trading_assets.market.spans import Span, union
from trading_assets.market.store import CandleStore, Progress

FETCH_WORKERS = 4

_Columns = dict[str, np.ndarray | list[Any]]
"""Columns of one symbol's hours."""

FINER = "finer than the source"
"""The fault of every coin on a timeframe of which the source has no candles."""


@dataclass(frozen=True)
class HourlyScans:
    """Rows of `market_scan`, for each hour the symbols dropped by reason, why some could not be fetched, and the
    exchange's time."""

    rows: pd.DataFrame
    dropped: dict[int, dict[str, list[str]]]
    not_fetched: Mapping[str, str]
    now_ms: int


def scan_hours(
    source: MarketData,
    store: CandleStore,
    hours_ms: Sequence[int],
    settings: Settings,
    progress: Progress | None = None,
    announce: Callable[[Sequence[Instrument]], Iterable[Announcement]] = lambda _: (),
    known_rules: Mapping[tuple[int, str], str] = MappingProxyType({}),
) -> HourlyScans:
    """Scan each hour from the hourly candles of the 24 hours before its as-of.

    Args:
        announce: given the contracts of today, the announced ends of contracts and since when each was known.
        known_rules: see `universe.scan`.

    Raises:
        ExchangeUnavailableError: the exchange did not answer.
        StorageError: the candle store cannot be read or written.
    """
    instruments = list(source.instruments())
    if not hours_ms:
        return HourlyScans(MARKET_SCAN.empty(), {}, {}, source.now_ms())
    announced = list(announce(instruments))
    if isinstance(source, PastMarket):
        announced += source.announcements()
    start, end = as_of_ms(min(hours_ms)) - DAY_MS, as_of_ms(max(hours_ms))
    # What is eligible at the last hour was so before, or was not yet listed; what has ended in between was so, too.
    first = as_of_ms(min(hours_ms))
    symbols = [
        coin.symbol for coin in universe.eligible(instruments, end, settings.symbols.settle_coin, since=first)[0]
    ]
    filled = store.fill_many(
        source,
        [(symbol, Timeframe.M60, start, end) for symbol in symbols],
        workers=FETCH_WORKERS,
        progress=progress,
    )
    hourly = {symbol: store.read(symbol, Timeframe.M60, start, end) for symbol in symbols}
    now_ms = source.now_ms()
    results = universe.scan(
        hours_ms,
        hourly,
        instruments,
        settings,
        announced,
        now_ms=now_ms,
        not_fetched=filled.failed,
        known_rules=known_rules,
        rules_known=source.rules_known if isinstance(source, PastMarket) else None,
    )
    rows = pd.DataFrame([row for result in results for row in result.rows], columns=MARKET_SCAN.columns)
    dropped = {hour: result.dropped for hour, result in zip(hours_ms, results, strict=True)}
    return HourlyScans(MARKET_SCAN.conform(rows), dropped, filled.failed, now_ms)


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
    limits: QualityLimits,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fetch what the store lacks of each hour's symbols (and BTC's) and tell what it holds and what is wrong with it.

    Returns:
        Rows of `candle_coverage`, one per hour and symbol.
    """
    with_btc = {hour: {*symbols, store.btc} for hour, symbols in symbols_by_hour.items()}
    hours_of = _hours_of(with_btc)
    reach = depth.reach_ms(timeframe, strategies)
    finest = source.finest_timeframe()
    if timeframe.ms < finest.ms:
        return _not_offered(hours_of, timeframe, reach, finest)
    reaches = depth.reaches_ms(timeframe, strategies)
    held_by = _HeldCandles(source, store, timeframe, hours_of, reaches, limits)
    filled = store.fill_many(
        source,
        [(symbol, timeframe, *span) for symbol, hours in hours_of.items() for span in _spans(hours, reach)],
        workers=FETCH_WORKERS,
        progress=progress,
        then=held_by.cover,
    )
    for symbol, why in filled.failed.items():
        held_by.cover(symbol, f"not fetched: {why.replace('; ', ', ')}")
    return _coverage_rows(list(hours_of), [held_by.columns[symbol] for symbol in hours_of], timeframe)


class _HeldCandles:
    """What the store holds of each symbol, and what is wrong with it; several threads may ask.

    Attributes:
        columns: those of `candle_coverage`, of each symbol that was covered.
    """

    def __init__(
        self,
        source: MarketData,
        store: CandleStore,
        timeframe: Timeframe,
        hours_of: Mapping[str, Sequence[int]],
        reaches: Sequence[int],
        limits: QualityLimits,
    ) -> None:
        self._source, self._store, self._timeframe, self._hours_of = source, store, timeframe, hours_of
        self._reaches, self._limits = reaches, limits
        self._now_ms = 0
        self._listed: dict[str, int] | None = None
        self._lock = threading.Lock()
        self.columns: dict[str, _Columns] = {}

    def cover(self, symbol: str, not_fetched: str | None = None) -> None:
        """Look at what is held of a symbol.

        Args:
            not_fetched: the fault of hours of which something was not fetched, and why.
        """
        hours, reach = self._hours_of[symbol], self._reaches[-1]
        first_ms = as_of_ms(hours[0]) - reach
        held = self._store.read(symbol, self._timeframe, first_ms, as_of_ms(hours[-1]))
        exists = self._exists_since_ms(symbol, held, first_ms)
        at = np.array(hours)
        by_reach = _faults_by_reach(held, at, self._reaches, self._now_after(held), self._limits, exists)
        if not_fetched is not None:
            for of_reach, found in by_reach.items():
                is_whole = [self._is_whole(symbol, hour, of_reach) for hour in hours]
                by_reach[of_reach] = [
                    fault if whole else not_fetched for whole, fault in zip(is_whole, found, strict=True)
                ]
        faults = {"fault": by_reach[self._reaches[0]], "deep_faults": _deep_faults(by_reach)}
        self.columns[symbol] = {**_coverage(held, at, reach, exists), **faults}

    def _is_whole(self, symbol: str, hour_ms: int, reach_ms: int) -> bool:
        end = as_of_ms(hour_ms)
        return not self._store.missing(symbol, self._timeframe, end - reach_ms, floor_ms(end, self._timeframe.ms))

    def _now_after(self, held: Candles) -> int:
        """The exchange's time, asked anew where a candle ends later than what was told before."""
        with self._lock:
            if not self._now_ms or (len(held) and held.end_ms[-1] > self._now_ms):
                self._now_ms = self._source.now_ms()
            return self._now_ms

    def _exists_since_ms(self, symbol: str, held: Candles, first_ms: int) -> int | None:
        """Since when candles of a symbol can be expected: its listing, or the first candle that was ever seen of it.

        `held` that begins at `first_ms` needs no such question: since then at the latest, so that a gap at the start of
        a later window is one.
        """
        if len(held) and held.start_ms[0] <= first_ms:
            return int(held.start_ms[0])
        with self._lock:
            if self._listed is None:
                self._listed = {one.symbol: one.listed_ms for one in self._source.instruments()}
        seen = self._store.first_ms(symbol, self._timeframe)
        known = [time_ms for time_ms in (seen, self._listed.get(symbol)) if time_ms is not None]
        return min(known, default=None)


def _not_offered(
    hours_of: Mapping[str, Sequence[int]], timeframe: Timeframe, reach_ms: int, finest: Timeframe
) -> pd.DataFrame:
    """Rows of a timeframe of which the source has no candles: each coin is left out, whatever the store holds."""
    fault = f"{FINER}: it has no candles shorter than {finest.value}"
    parts = []
    for hours in hours_of.values():
        columns = _coverage(Candles.empty(timeframe), np.array(hours), reach_ms, None)
        parts.append({**columns, "fault": [fault] * len(hours), "deep_faults": [None] * len(hours)})
    return _coverage_rows(list(hours_of), parts, timeframe)


def _coverage_rows(symbols: Sequence[str], parts: Sequence[_Columns], timeframe: Timeframe) -> pd.DataFrame:
    """Rows of `candle_coverage` of the columns of each symbol's hours."""
    if not parts:
        return CANDLE_COVERAGE.empty()
    return CANDLE_COVERAGE.conform(_joined(symbols, parts).assign(timeframe=timeframe.value))


def _joined(symbols: Sequence[str], parts: Sequence[_Columns]) -> pd.DataFrame:
    """One frame of the columns of each symbol, below each other: a frame for each would cost more than its figures."""
    hours = [len(part["hour_ms"]) for part in parts]
    columns: _Columns = {"symbol": list(chain.from_iterable(map(repeat, symbols, hours)))}
    for name in parts[0]:
        values = [part[name] for part in parts]
        is_array = isinstance(values[0], np.ndarray)
        columns[name] = np.concatenate(values) if is_array else list(chain.from_iterable(values))
    return pd.DataFrame(columns)


def _hours_of(symbols_by_hour: Mapping[int, Collection[str]]) -> dict[str, list[int]]:
    """The ascending hours of each symbol, by symbol."""
    found: dict[str, list[int]] = {}
    for hour, symbols in sorted(symbols_by_hour.items()):
        for symbol in symbols:
            found.setdefault(symbol, []).append(hour)
    return dict(sorted(found.items()))


def _spans(hours_ms: Sequence[int], reach_ms: int) -> list[Span]:
    """What is needed of a symbol: a coin that comes and goes in a range is not fetched in between."""
    return union([(as_of_ms(hour) - reach_ms, as_of_ms(hour)) for hour in hours_ms])


def _windows(held: Candles, ends: IntArray, reach_ms: int) -> tuple[IntArray, IntArray]:
    """Where the candles of each window begin and end that reaches so far back of its end."""
    low = np.searchsorted(held.start_ms, ends - reach_ms)
    return low, np.maximum(np.searchsorted(held.start_ms, ends - held.timeframe.ms, "right"), low)


def _faults_by_reach(
    held: Candles,
    hours_ms: IntArray,
    reaches: Sequence[int],
    now_ms: int,
    limits: QualityLimits,
    exists_ms: int | None,
) -> dict[int, list[str | None]]:
    """What is wrong with each hour's candles, as far back as each of the ascending reaches; see `quality.faults`."""
    ends = hours_ms + HOUR_MS
    found: dict[int, list[str | None]] = {}
    for reach in reversed(reaches):
        low, high = _windows(held, ends, reach)
        found[reach] = faults(held, low, high, ends, reach, now_ms, limits, exists_ms)
        whole = expected_bars(ends, reach, held.timeframe.ms, 0 if exists_ms is None else exists_ms)
        if not any(found[reach]) and bool(np.all(high - low >= whole)):
            # Whole and good: so is every part of it.
            return {one: found.get(one, found[reach]) for one in reaches}
    return {reach: found[reach] for reach in reaches}


def _deep_faults(by_reach: Mapping[int, Sequence[str | None]]) -> list[str | None]:
    """The column of that name, of the faults of each hour by ascending reach."""
    least, *deeper = by_reach.values()
    if not any(map(any, deeper)):
        return [None] * len(least)
    reaches = list(by_reach)[1:]
    return [
        json.dumps(dict(zip(reaches, found, strict=True))) if fault is None and any(found) else None
        for fault, found in zip(least, zip(*deeper, strict=True), strict=True)
    ]


def _coverage(held: Candles, hours_ms: IntArray, reach_ms: int, exists_ms: int | None) -> _Columns:
    """Columns of `candle_coverage` for each hour but those of faults, from candles of all of them."""
    step, ends = held.timeframe.ms, hours_ms + HOUR_MS
    low, high = _windows(held, ends, reach_ms)
    bars = high - low
    # One more, so that an index of nothing held is one.
    starts = np.append(held.start_ms, 0)
    first = np.where(bars > 0, starts[low], ends)
    expected = expected_bars(ends, reach_ms, step, first if exists_ms is None else exists_ms)
    return {
        "hour_ms": hours_ms,
        "first_ms": first,
        "last_ms": np.where(bars > 0, starts[high - 1], first),
        "bars": bars,
        "expected_bars": expected,
        "missing_bars": np.maximum(expected - bars, 0),
        "coverage_pct": np.minimum(100.0 * bars / expected, 100.0),
        "history_pct": np.minimum(100.0 * bars / (reach_ms // step), 100.0),
        "content_hash": window_hashes(held, low, high),
    }


def fill_funding(
    source: MarketData,
    store: CandleStore,
    symbols_by_hour: Mapping[int, Sequence[str]],
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Fetch missing funding payments of each hour's symbols and tell what the store holds: `funding_coverage`."""
    hours_of = _hours_of(symbols_by_hour)
    reach = depth.FUNDING_REACH_MS
    filled = store.fill_funding_many(
        source,
        [(symbol, *span) for symbol, hours in hours_of.items() for span in _spans(hours, reach)],
        workers=FETCH_WORKERS,
        progress=progress,
    )
    parts = []
    for symbol, hours in hours_of.items():
        held = store.read_funding(symbol, as_of_ms(hours[0]) - reach, as_of_ms(hours[-1]))
        fault = [
            f"not fetched: {filled.failed[symbol].replace('; ', ', ')}"
            if symbol in filled.failed and store.missing_funding(symbol, as_of_ms(hour) - reach, as_of_ms(hour))
            else None
            for hour in hours
        ]
        parts.append({**_funding_coverage(held, np.array(hours), reach), "fault": fault})
    return FUNDING_COVERAGE.conform(_joined(list(hours_of), parts)) if parts else FUNDING_COVERAGE.empty()


def _funding_coverage(held: Funding, hours_ms: IntArray, reach_ms: int) -> _Columns:
    """Columns of `funding_coverage` for each hour, from payments of all of them."""
    ends = hours_ms + HOUR_MS
    low, high = np.searchsorted(held.time_ms, ends - reach_ms), np.searchsorted(held.time_ms, ends)
    some = high > low
    times, rates = np.append(held.time_ms, 0), np.append(held.rate, np.nan)
    return {
        "hour_ms": hours_ms,
        "first_ms": np.where(some, times[low], 0),
        "last_ms": np.where(some, times[high - 1], 0),
        "payments": high - low,
        "last_rate": np.where(some, rates[high - 1], np.nan),
        "content_hash": window_hashes(held, low, high),
    }
