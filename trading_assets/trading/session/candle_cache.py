"""Candles and funding of a session in memory. A strategy gets from here what `load_live` would give it.

The candle store and REST are the truth. A streamed candle only continues a series that is complete up to its start.
After a gap, and for late or repeated candles, the series is completed by the next catch-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ExchangeUnavailableError, TradingAssetsError
from trading_assets.core.ports import MarketData
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.streams import ClosedCandle, Topic
from trading_assets.core.timeframes import LIVE_BARS, Timeframe, floor_ms
from trading_assets.market import lookback as depth
from trading_assets.market.loading import live_requests, load_strategy_data
from trading_assets.market.store import CandleRequest, CandleStore

WORKERS = 4

FUNDING_LAG_MS = 5_000
"""Payments are asked for this long after the hour, and again until the answer is final: most hours have none."""
FUNDING_AGAIN_MS = 30_000

_SPARE_BARS = 16

_Of = TypeVar("_Of", Topic, str)

Failures = Mapping[Topic | str, TradingAssetsError]
"""What failed, by series or symbol."""


@dataclass
class _Series:
    """Candles of one symbol and timeframe; complete from `since_ms` (which moves with time) up to `until_ms`."""

    reach_ms: int
    candles: Candles
    until_ms: int = 0


@dataclass
class _Payments:
    """`asked_ms` is the venue's time of the last answer, `is_open` whether that may still change."""

    funding: Funding
    asked_ms: int = 0
    is_open: bool = True


@dataclass(frozen=True)
class DataRequest:
    """What a strategy on a symbol and timeframe reads."""

    symbol: str
    timeframe: Timeframe
    needs: DataNeeds
    btc: str
    """the venue's symbol of the BTC perpetual"""

    def series(self) -> list[CandleRequest]:
        """Return its candle series, each with its reach: as seen at time 0."""
        return live_requests(self.symbol, self.timeframe, self.needs, 0, self.btc)

    @property
    def topics(self) -> tuple[Topic, ...]:
        return tuple(dict.fromkeys((symbol, timeframe) for symbol, timeframe, _, _ in self.series()))


class CandleCache:
    """The series of some requests. Not safe for threads, but for those that it starts itself."""

    def __init__(self, source: MarketData, store: CandleStore, requests: Iterable[DataRequest]) -> None:
        self._source, self._store = source, store
        self.btc = store.btc
        self._series: dict[Topic, _Series] = {}
        self._payments: dict[str, _Payments] = {}
        for request in requests:
            self._follow(request)

    @property
    def topics(self) -> list[Topic]:
        """What has to be streamed."""
        return list(self._series)

    def add(self, candle: ClosedCandle) -> bool:
        """Continue a series; False where the candle does not begin where the series ends."""
        series = self._series.get((candle.symbol, candle.timeframe))
        if series is None or candle.start_ms != series.until_ms:
            return False
        held = series.candles
        first = max(len(held) - series.reach_ms // candle.timeframe.ms - _SPARE_BARS, 0)
        columns = (held.open, held.high, held.low, held.close, held.volume, held.turnover)
        series.candles = Candles(
            candle.timeframe,
            np.append(held.start_ms[first:], candle.start_ms),
            *(np.append(column[first:], value) for column, value in zip(columns, candle.values, strict=True)),
        )
        series.until_ms = candle.start_ms + candle.timeframe.ms
        return True

    def is_complete(self, topics: Iterable[Topic], now_ms: int) -> bool:
        """Whether the cache has every candle of these series that has closed by `now_ms`."""
        return all(self._series[topic].until_ms >= floor_ms(now_ms, topic[1].ms) for topic in topics)

    def behind(self, topics: Iterable[Topic], now_ms: int) -> list[Topic]:
        """Return the series that lack a candle that has closed by `now_ms`."""
        return [topic for topic in dict.fromkeys(topics) if not self.is_complete([topic], now_ms)]

    def catch_up(self, topics: Sequence[Topic], now_ms: int) -> Failures:
        """Read what these series lack by REST, through the candle store. Failures by series; the others are done.

        A candle that the exchange does not show yet leaves its series behind; one that it has jumped over does not.
        """
        return _failures(lambda topic: self._catch_up(topic, now_ms), topics)

    def is_funded(self, symbol: str, now_ms: int) -> bool:
        """Whether the payment of the newest hour was asked for, where payments of the symbol are needed."""
        payments = self._payments.get(symbol)
        hour = floor_ms(now_ms - FUNDING_LAG_MS, Timeframe.M60.ms)
        # An answer from the time to come was got while the venue's clock was wrong.
        return payments is None or hour + FUNDING_LAG_MS <= payments.asked_ms <= now_ms + FUNDING_AGAIN_MS

    def funding_due(self, now_ms: int) -> list[str]:
        """Symbols whose newest payment may be there by now, and has not been asked for."""
        return [
            symbol
            for symbol, payments in self._payments.items()
            if not self.is_funded(symbol, now_ms)
            or (payments.is_open and now_ms - payments.asked_ms >= FUNDING_AGAIN_MS)
        ]

    def refresh_funding(self, symbols: Sequence[str], now_ms: int) -> Failures:
        """Ask for payments by REST, through the candle store. Failures by symbol."""
        return _failures(lambda symbol: self._refresh(symbol, now_ms), symbols)

    def load(self, request: DataRequest, now_ms: int) -> StrategyData:
        """The newest `LIVE_BARS` closed bars, with warm-up before them: equal to `load_live` at the same moment."""
        start = floor_ms(now_ms, request.timeframe.ms) - LIVE_BARS * request.timeframe.ms
        return load_strategy_data(self, request.symbol, request.timeframe, request.needs, start, now_ms)

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """See `trading_assets.market.loading.CandleReader`."""
        return self._series[symbol, timeframe].candles.between(start_ms, end_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """See `trading_assets.market.loading.CandleReader`."""
        return self._payments[symbol].funding.between(start_ms, end_ms)

    def _follow(self, request: DataRequest) -> None:
        for symbol, timeframe, start_ms, end_ms in request.series():
            series = self._series.setdefault((symbol, timeframe), _Series(0, Candles.empty(timeframe)))
            series.reach_ms = max(series.reach_ms, end_ms - start_ms)
        if request.needs.funding:
            self._payments.setdefault(request.symbol, _Payments(Funding.empty()))

    def _catch_up(self, topic: Topic, now_ms: int) -> None:
        symbol, timeframe = topic
        series = self._series[topic]
        start, end = floor_ms(now_ms - series.reach_ms, timeframe.ms), floor_ms(now_ms, timeframe.ms)
        self._store.fill(self._source, symbol, timeframe, start, now_ms, now_ms=now_ms)
        candles = self._store.read(symbol, timeframe, start, now_ms).closed_by(now_ms)
        missing = self._store.missing(symbol, timeframe, start, end)
        self._series[topic] = replace(series, candles=candles, until_ms=missing[0][0] if missing else end)

    def _refresh(self, symbol: str, now_ms: int) -> None:
        start = now_ms - depth.FUNDING_REACH_MS
        self._store.fill_funding(self._source, symbol, start, now_ms, now_ms=now_ms)
        until = floor_ms(now_ms - FUNDING_LAG_MS, Timeframe.M60.ms) + 1
        is_open = bool(self._store.missing_funding(symbol, until - 1, until))
        self._payments[symbol] = _Payments(self._store.read_funding(symbol, start, now_ms), now_ms, is_open)


def _failures(work: Callable[[_Of], None], items: Sequence[_Of]) -> Failures:
    """Do all in a few threads; what failed, and how. Where the exchange does not answer, the rest is not tried."""
    failed: dict[Topic | str, TradingAssetsError] = {}
    gone: list[ExchangeUnavailableError] = []

    def attempt(item: _Of) -> None:
        if gone:
            failed[item] = gone[0]
            return
        try:
            work(item)
        except TradingAssetsError as error:
            failed[item] = error
            if isinstance(error, ExchangeUnavailableError):
                gone.append(error)

    if len(items) == 1:
        attempt(items[0])
    elif items:
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            list(pool.map(attempt, items))
    return failed
