"""What a strategy sees, put together from the candle store. Nothing that closed after the as-of is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pandas as pd

from trading_assets.core.candles import FUNDING, CandleFaults, Candles, DeepFaults, Funding, data_name
from trading_assets.core.errors import DataError
from trading_assets.core.ports import MarketData
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import LIVE_BARS, Timeframe, as_of_ms, floor_ms
from trading_assets.market import lookback as depth
from trading_assets.market.store import CandleRequest, CandleStore

NONE_DEEP: DeepFaults = {}

Loader = Callable[[str, Timeframe, DataNeeds], StrategyData]

DataByHour = Callable[[int], StrategyData]
"""Gives a coin's data as of the end of an hour."""


@dataclass(frozen=True)
class OpenedData:
    """A coin's data of a range of hours: a `DataByHour`.

    Attributes:
        load: gives what an hour reads. The hours of a UTC day begin at the same candles, so that what an earlier one
            reads is the first part of what a later one does. Where it raises a DataError, it does so for all hours.
        max_prices: see `StrategyData.max_price`, by hour (UTC ms); where an hour has none, that of `load`.
        refused: why an hour (UTC ms) has no data, whatever `load` says.
    """

    load: DataByHour
    max_prices: Mapping[int, float] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)

    def __call__(self, hour_ms: int) -> StrategyData:
        if hour_ms in self.refused:
            raise DataError(self.refused[hour_ms])
        data = self.load(hour_ms)
        return replace(data, max_price=self.max_prices[hour_ms]) if hour_ms in self.max_prices else data


class CandleReader(Protocol):
    """A source of candles and funding: the candle store, or a market that computes them."""

    @property
    def btc(self) -> str:
        """The venue's symbol of the BTC perpetual."""
        ...

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles that start in [start_ms, end_ms)."""
        ...

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Payments in [start_ms, end_ms)."""
        ...


def load_strategy_data(
    store: CandleReader,
    symbol: str,
    timeframe: Timeframe,
    needs: DataNeeds,
    start_ms: int,
    end_ms: int,
    *,
    paid_since_ms: int | None = None,
) -> StrategyData:
    """Candles from the warm-up before `start_ms` (the first decided bar) on, and all other data that `needs` declares.

    Args:
        start_ms: start of the first bar on which the strategy decides.
        end_ms: the as-of; a candle that had not closed by it does not exist.
        paid_since_ms: the first funding payment; as far back of the as-of as they are stored where it is not given.

    Returns:
        Its arrays are read-only: a session's next decision, and other strategies, see the same ones.
    """

    def read(of: str, wanted: Mapping[Timeframe, int]) -> dict[Timeframe, Candles]:
        found = {}
        for other, bars in wanted.items():
            # Exactly what was asked for: other rows of the store must not change an indicator.
            first = floor_ms(start_ms, other.ms) - bars * other.ms
            found[other] = _read_closed(store, of, other, first, end_ms)
        return found

    own = _read_closed(store, symbol, timeframe, start_ms - needs.warm_up_bars(timeframe) * timeframe.ms, end_ms)
    funding = Funding.empty()
    if needs.funding:
        since = end_ms - depth.FUNDING_REACH_MS if paid_since_ms is None else paid_since_ms
        funding = store.read_funding(symbol, since, end_ms)
    data = StrategyData(symbol, own, read(symbol, needs.candles), read(store.btc, needs.btc), funding)
    for candles in (own, *data.other.values(), *data.btc.values()):
        candles.protect()
    funding.protect()
    return data


def _read_closed(store: CandleReader, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
    """Candles that start at `start_ms` (on the grid) or later and had ended at `end_ms`, of any timeframe."""
    if isinstance(store, CachedReader):
        return store.read_closed(symbol, timeframe, start_ms, end_ms)
    stored = depth.stored_timeframe(timeframe)
    held = store.read(symbol, stored, start_ms, end_ms)
    return held.closed_by(end_ms) if stored is timeframe else resample(held, timeframe, end_ms)


def resample(candles: Candles, timeframe: Timeframe, closed_by_ms: int) -> Candles:
    """Candles of `timeframe` that had ended at `closed_by_ms`; missing minutes of the input are not counted.

    Raises:
        DataError: `timeframe` is not a multiple of the input's.
    """
    if timeframe.ms % candles.timeframe.ms:
        raise DataError(f"{timeframe.value} is not a multiple of {candles.timeframe.value}")
    candles = candles.closed_by(closed_by_ms - closed_by_ms % timeframe.ms)
    if not len(candles):
        return Candles.empty(timeframe)
    slots = candles.start_ms // timeframe.ms
    starts = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    ends = np.append(starts[1:], len(slots)) - 1
    return Candles(
        timeframe,
        slots[starts] * timeframe.ms,
        candles.open[starts],
        np.maximum.reduceat(candles.high, starts),
        np.minimum.reduceat(candles.low, starts),
        candles.close[ends],
        np.add.reduceat(candles.volume, starts),
        np.add.reduceat(candles.turnover, starts),
    )


def stored_candles(symbol: str, timeframe: Timeframe, needs: DataNeeds, btc: str) -> list[tuple[str, str]]:
    """Stored candles that a backtest reads, as (timeframe's value, symbol): its own first.

    Args:
        btc: the venue's symbol of the BTC perpetual.
    """
    return list(stored_reaches(symbol, timeframe, needs, btc))


def stored_reaches(symbol: str, timeframe: Timeframe, needs: DataNeeds, btc: str) -> dict[tuple[str, str], int]:
    """The same, each with how far back of the as-of it is read, ms."""
    found: dict[tuple[str, str], int] = {}
    for stored, is_btc, reach in depth.stored_reaches(timeframe, needs):
        read = stored.value, btc if is_btc else symbol
        found[read] = max(reach, found.get(read, 0))
    return found


def exclusion_reason(
    symbol: str, timeframe: Timeframe, needs: DataNeeds, faults: CandleFaults, btc: str, deep: DeepFaults = NONE_DEEP
) -> str | None:
    """What is wrong with stored candles that a strategy reads; None where they are good.

    Args:
        deep: of older candles, which concern a strategy that reads so far back alone.
    """
    reads = {**stored_reaches(symbol, timeframe, needs, btc), (FUNDING, symbol): 0}
    found = {one: faults.get(one) or _deep_fault(deep.get(one, {}), reach, one[0]) for one, reach in reads.items()}
    return "; ".join(f"{data_name(*one)}: {fault}" for one, fault in found.items() if fault is not None) or None


def _deep_fault(by_reach: Mapping[int, str | None], reach_ms: int, timeframe: str) -> str | None:
    """What is wrong as far back as a strategy reads; of one that came since, as far back as was looked at."""
    if not by_reach or reach_ms <= depth.own_reach_ms(Timeframe(timeframe), DataNeeds()):
        return None
    return by_reach[min((one for one in by_reach if one >= reach_ms), default=max(by_reach))]


def hour_loader(store: CandleReader, hour_ms: int) -> Loader:
    """Loads the backtest window of an hour: its end is the hour's as-of.

    Warm-up and other timeframes begin where the first hour of its UTC day needs them: the hours of a day read the same
    first candles.
    """
    end, paid_since = as_of_ms(hour_ms), depth.anchor_ms(hour_ms) - depth.FUNDING_OF_DAY_MS

    def load(symbol: str, timeframe: Timeframe, needs: DataNeeds) -> StrategyData:
        start = depth.first_decided_ms(hour_ms, timeframe)
        return load_strategy_data(store, symbol, timeframe, needs, start, end, paid_since_ms=paid_since)

    return load


def open_strategy_data(
    store: CandleReader,
    symbol: str,
    timeframe: Timeframe,
    needs: DataNeeds,
    hours_ms: Sequence[int],
    btc: CachedReader | None = None,
) -> OpenedData:
    """What each of the ascending hours needs of one coin, read of the store once for all of them.

    Each hour gets what `hour_loader` would give it: the same candles, and none after its as-of.

    Args:
        btc: reads BTC's candles for several coins, until the last of their hours (`CachedReader`).
    """
    held = CachedReader(store, as_of_ms(hours_ms[-1]), btc)
    return OpenedData(lambda hour_ms: hour_loader(held, hour_ms)(symbol, timeframe, needs))


def max_prices_by_symbol(scan: pd.DataFrame) -> dict[str, dict[int, float]]:
    """`max_price` by symbol and hour of rows of `market_scan`; a row without one (an older version's) is left out."""
    found: dict[str, dict[int, float]] = {}
    known = scan[scan["max_price"].notna()]
    for hour, symbol, price in known[["hour_ms", "symbol", "max_price"]].itertuples(index=False):
        found.setdefault(symbol, {})[hour] = price
    return found


class CachedReader:
    """Reads of a range of hours, in memory. The first hour reads farthest back, so its reads serve the later ones.

    Several threads may call it.

    Args:
        end_ms: end of the range: nothing after it is read.
        btc: reads BTC's candles instead; coins that share it are given the same objects.
    """

    def __init__(self, store: CandleReader, end_ms: int, btc: CachedReader | None = None) -> None:
        self._store, self._end_ms = store, end_ms
        self.btc, self._of_btc = store.btc, btc
        self._candles: dict[tuple[str, Timeframe], tuple[int, Candles]] = {}
        self._given: dict[tuple[Timeframe, int, int], Candles] = {}
        self._funding: dict[str, tuple[int, Funding]] = {}

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """See `CandleStore.read`."""
        return self._held(symbol, timeframe, start_ms).between(start_ms, end_ms)

    def read_closed(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Candles that start at `start_ms` (on the timeframe's grid) or later and had ended at `end_ms`.

        Those of a timeframe that is not stored are put together once for the range.
        """
        if symbol == self.btc and self._of_btc is not None:
            given = self._of_btc._given
            key = timeframe, start_ms, end_ms
            if key not in given:
                given[key] = self._of_btc.read_closed(symbol, timeframe, start_ms, end_ms)
            return given[key]
        # One that starts later than this has not ended.
        return self._held(symbol, timeframe, start_ms).between(start_ms, end_ms - timeframe.ms + 1)

    def _held(self, symbol: str, timeframe: Timeframe, start_ms: int) -> Candles:
        since, candles = self._candles.get((symbol, timeframe), (start_ms + 1, None))
        if candles is None or start_ms < since:
            stored = depth.stored_timeframe(timeframe)
            candles = self._store.read(symbol, stored, start_ms, self._end_ms)
            if stored is not timeframe:
                candles = resample(candles, timeframe, self._end_ms)
            self._candles[symbol, timeframe] = (start_ms, candles)
        return candles

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """See `CandleStore.read_funding`."""
        since, funding = self._funding.get(symbol, (start_ms + 1, None))
        if funding is None or start_ms < since:
            funding = self._store.read_funding(symbol, start_ms, self._end_ms)
            self._funding[symbol] = (start_ms, funding)
        return funding.between(start_ms, end_ms)


def live_requests(symbol: str, timeframe: Timeframe, needs: DataNeeds, now_ms: int, btc: str) -> list[CandleRequest]:
    """What the store must hold before the live finder can decide on a symbol.

    Args:
        btc: the venue's symbol of the BTC perpetual.
    """
    requests: list[CandleRequest] = [
        (symbol, timeframe, now_ms - depth.own_reach_ms(timeframe, needs, live=True), now_ms)
    ]
    for of, wanted in ((symbol, needs.candles), (btc, needs.btc)):
        for other, bars in wanted.items():
            reach = depth.other_reach_ms(timeframe, other, bars, live=True)
            requests.append((of, depth.stored_timeframe(other), now_ms - reach - other.ms, now_ms))
    return requests


def load_live(
    source: MarketData, store: CandleStore, symbol: str, timeframe: Timeframe, needs: DataNeeds, now_ms: int
) -> StrategyData:
    """Fetch what is missing and load the newest `LIVE_BARS` closed bars, with warm-up before them."""
    for request in live_requests(symbol, timeframe, needs, now_ms, store.btc):
        store.fill(source, *request, now_ms=now_ms)
    if needs.funding:
        store.fill_funding(source, symbol, now_ms - depth.FUNDING_REACH_MS, now_ms, now_ms=now_ms)
    last = now_ms - now_ms % timeframe.ms
    return load_strategy_data(store, symbol, timeframe, needs, last - LIVE_BARS * timeframe.ms, now_ms)


def load_since(
    source: MarketData,
    store: CandleStore,
    symbol: str,
    timeframe: Timeframe,
    needs: DataNeeds,
    first_close_ms: int,
    end_ms: int,
) -> StrategyData:
    """Fetch what is missing and load what a strategy decides on from a close on, as deep as the live finder looks."""
    now_ms = source.now_ms()
    for whose, other, start_ms, _ in live_requests(symbol, timeframe, needs, first_close_ms, store.btc):
        store.fill(source, whose, other, start_ms, end_ms, now_ms=now_ms)
    if needs.funding:
        store.fill_funding(source, symbol, first_close_ms - depth.FUNDING_REACH_MS, end_ms, now_ms=now_ms)
    return load_strategy_data(store, symbol, timeframe, needs, first_close_ms - LIVE_BARS * timeframe.ms, end_ms)
