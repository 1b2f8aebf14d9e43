"""What the public topics say: candles, tickers and trades, computed once a push. No connections here.

The order book is in `book.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from trading_assets.core.timeframes import MINUTE_MS, floor_ms, iso
from trading_assets.simulator.codec import candle_rows, fixed, places_of, short
from trading_assets.simulator.market.base import START, Contract
from trading_assets.simulator.market.calendar import edges_of, start_of
from trading_assets.simulator.market.trades import Trade, trades_of_minute
from trading_assets.simulator.rest.market import ticker_row
from trading_assets.simulator.venue import Venue

CLOSED_KEPT = 1500
"""When the clock leaps, so many of the newest closed candles are told: a day of minutes."""

CANDLE_EVERY_S = 1.0
TRADES_KEPT_MS = MINUTE_MS
"""When the clock leaps, trades of so long a time before now are told."""

_TICKER_COMMON = (
    "symbol",
    "price24hPcnt",
    "lastPrice",
    "prevPrice24h",
    "highPrice24h",
    "lowPrice24h",
    "prevPrice1h",
    "markPrice",
    "indexPrice",
    "openInterest",
    "openInterestValue",
    "turnover24h",
    "volume24h",
    "nextFundingTime",
    "fundingRate",
    "bid1Price",
    "bid1Size",
    "ask1Price",
    "ask1Size",
)
_TICKER_PERPETUAL = ("fundingIntervalHour", "fundingCap", "preOpenPrice", "preQty", "curPreListingPhase")
_TICKER_FUTURE = ("basisRate", "deliveryFeeRate", "predictedDeliveryPrice", "basis", "basisRateYear")


class Feed(Protocol):
    """One topic's data.

    `every_s` is how often, in real seconds, it may have something new; `closes_ms` when it will have, by the
    exchange's clock, where that is known.
    """

    topic: str
    every_s: float

    @property
    def closes_ms(self) -> int | None: ...

    def advance(self, now_ms: int, wall_s: float, room: int) -> Sequence[str]:
        """Messages about what has happened since the last call, at most about `room`; the rest comes later."""
        ...

    def snapshot(self) -> Sequence[str]:
        """What one who has just subscribed is told first: the state after the last `advance`."""
        ...


class LiquidationFeed:
    """`allLiquidation.{symbol}`: clients ask for it together with other topics, but nobody else trades here."""

    every_s = 60.0
    closes_ms = None

    def __init__(self, contract: Contract) -> None:
        self.topic = f"allLiquidation.{contract.symbol}"

    def advance(self, now_ms: int, wall_s: float, room: int) -> Sequence[str]:
        return ()

    def snapshot(self) -> Sequence[str]:
        return ()


class CandleFeed:
    """`kline.{interval}.{symbol}`: the open candle about once a second while it changes, each closed one once."""

    every_s = 0.1

    def __init__(self, venue: Venue, contract: Contract, interval: str, now_ms: int) -> None:
        self.topic = f"kline.{interval}.{contract.symbol}"
        self._venue, self._contract, self._interval = venue, contract, interval
        self._start_ms = start_of(interval, now_ms)
        self._now_ms = now_ms
        self._told_at_s = 0.0
        self._open: list[str] = []
        self._look(self._start_ms, now_ms, 1)

    @property
    def closes_ms(self) -> int:
        """When the candle that is open ends."""
        return int(edges_of(self._interval, self._start_ms, self._start_ms)[1])

    def advance(self, now_ms: int, wall_s: float, room: int) -> Sequence[str]:
        starts = edges_of(self._interval, self._start_ms, now_ms)[-CLOSED_KEPT - 2 : -1].tolist()
        closed = min(len(starts) - 1, room)
        is_behind = closed < len(starts) - 1
        if not closed and (is_behind or now_ms <= self._now_ms or wall_s < self._told_at_s + CANDLE_EVERY_S):
            return ()
        before = self._open
        messages = self._look(starts[0], now_ms, closed + (not is_behind))
        self._start_ms = starts[closed]
        if is_behind or self._open in ([], before):
            return messages
        self._told_at_s = wall_s
        return [*messages, *self.snapshot()]

    def snapshot(self) -> Sequence[str]:
        if not self._open:
            return ()
        return (self._message(self._open, self.closes_ms, self._now_ms),)

    def _look(self, first_ms: int, now_ms: int, count: int) -> list[str]:
        """Messages of the closed ones of `count` candles from the one that starts at `first_ms`."""
        edges = edges_of(self._interval, first_ms, now_ms)[: count + 1].tolist()
        before = min(edges[-1], now_ms + 1)
        bars = self._venue.market.candles(self._contract.symbol, self._interval, first_ms, before, now_ms)
        text = candle_rows(bars, places_of(self._contract.tick_size), places_of(self._contract.qty_step))
        rows: list[list[str]] = json.loads(text)[::-1]
        ends = dict(pairwise(edges))
        closed = [row for row in rows if ends[int(row[START])] <= now_ms]
        self._open = rows[-1] if len(closed) < len(rows) else []
        self._now_ms = now_ms
        return [self._message(row, ends[int(row[START])], now_ms) for row in closed]

    def _message(self, row: list[str], end_ms: int, now_ms: int) -> str:
        start, opened, high, low, close, volume, turnover = row
        confirmed = "true" if end_ms <= now_ms else "false"
        return (
            f'{{"topic":"{self.topic}","data":[{{"start":{start},"end":{end_ms - 1},"interval":"{self._interval}",'
            f'"open":"{opened}","close":"{close}","high":"{high}","low":"{low}","volume":"{volume}",'
            f'"turnover":"{turnover}","confirm":{confirmed},"timestamp":{min(now_ms, end_ms - 1)}}}],'
            f'"ts":{now_ms},"type":"snapshot"}}'
        )


class TickerFeed:
    """`tickers.{symbol}`: everything once, then what has changed."""

    every_s = 0.1
    closes_ms = None

    def __init__(self, venue: Venue, contract: Contract, now_ms: int) -> None:
        self.topic = f"tickers.{contract.symbol}"
        self._venue, self._contract = venue, contract
        self._now_ms = now_ms
        self._row = self._look(now_ms)

    def advance(self, now_ms: int, wall_s: float, room: int) -> Sequence[str]:
        if now_ms <= self._now_ms:
            return ()
        row, before = self._look(now_ms), self._row
        changed = {name: value for name, value in row.items() if value != before[name]}
        self._now_ms, self._row = now_ms, row
        return (self._message("delta", {"symbol": self._contract.symbol} | changed),) if changed else ()

    def snapshot(self) -> Sequence[str]:
        return (self._message("snapshot", self._row),)

    def _look(self, now_ms: int) -> dict[str, str]:
        every = ticker_row(self._venue, self._contract, now_ms)
        row = {name: every[name] for name in _TICKER_COMMON} | {"tickDirection": self._direction(now_ms)}
        if self._contract.contract_type == "LinearPerpetual":
            return row | {name: every[name] for name in _TICKER_PERPETUAL}
        return row | {name: every[name] for name in _TICKER_FUTURE} | {"deliveryTime": iso(self._contract.delivery_ms)}

    def _direction(self, now_ms: int) -> str:
        """Of the last second's move, else of the last minute's."""
        now, second, minute = (
            self._venue.market.last_price(self._contract.symbol, now_ms - ago) for ago in (0, 1000, MINUTE_MS)
        )
        if now != second:
            return "PlusTick" if now > second else "MinusTick"
        return "ZeroPlusTick" if now >= minute else "ZeroMinusTick"

    def _message(self, kind: str, row: dict[str, str]) -> str:
        data = json.dumps(row, separators=(",", ":"))
        return f'{{"topic":"{self.topic}","type":"{kind}","data":{data},"cs":{self._now_ms},"ts":{self._now_ms}}}'


class TradeFeed:
    """`publicTrade.{symbol}`: the trades since the last push, oldest first."""

    every_s = 0.1
    closes_ms = None

    def __init__(self, venue: Venue, contract: Contract, now_ms: int) -> None:
        self.topic = f"publicTrade.{contract.symbol}"
        self._venue, self._contract = venue, contract
        self._now_ms = now_ms
        self._minutes: dict[int, tuple[Trade, ...]] = {}

    def advance(self, now_ms: int, wall_s: float, room: int) -> Sequence[str]:
        if now_ms <= self._now_ms:
            return ()
        since = max(self._now_ms, now_ms - TRADES_KEPT_MS)
        minutes = range(floor_ms(since, MINUTE_MS), now_ms + 1, MINUTE_MS)
        self._minutes = {
            minute: self._minutes.get(minute) or trades_of_minute(self._venue.market, self._contract.symbol, minute)
            for minute in minutes
        }
        trades = [trade for of in self._minutes.values() for trade in of if since < trade.time_ms <= now_ms]
        self._now_ms = now_ms
        return (self._message(trades),) if trades else ()

    def snapshot(self) -> Sequence[str]:
        return ()

    def _message(self, trades: list[Trade]) -> str:
        places, qty_places = places_of(self._contract.tick_size), places_of(self._contract.qty_step)
        rows = [
            {
                "T": trade.time_ms,
                "s": self._contract.symbol,
                "S": trade.side,
                "v": short(trade.qty, qty_places),
                "p": fixed(trade.price, places),
                "L": trade.direction,
                "i": trade.trade_id,
                "BT": False,
                "seq": trade.time_ms,
            }
            for trade in trades
        ]
        data = json.dumps(rows, separators=(",", ":"))
        return f'{{"topic":"{self.topic}","type":"snapshot","ts":{self._now_ms},"data":{data}}}'
