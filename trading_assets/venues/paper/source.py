"""The exchange whose prices paper trading has: its public rows for the live market, its time, where it is."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading_assets.core.errors import ConfigurationError, ExchangeUnavailableError
from trading_assets.core.timeframes import MINUTE_MS, floor_ms
from trading_assets.exchange import fields
from trading_assets.exchange.bybit import BYBIT, BybitMarketData
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.simulator.clock import ClockMode
from trading_assets.simulator.launcher import health
from trading_assets.simulator.market.base import Contract, Stats24h
from trading_assets.simulator.market.quotes import DayRow, MissedCandle, Quote
from trading_assets.venues.bybit import PUBLIC_STREAM, REGIONS, stream_url

TIMEOUT_S = 5.0
_PAGE = 1000
_SAMPLES = 5


@dataclass(frozen=True)
class Source:
    """Where prices come from.

    Attributes:
        url: of an embedded exchange in the role of Bybit; None is Bybit itself.
        market: the name of its market.
        speed: milliseconds of its time in one of this machine's; 0 where its clock is moved by hand.
    """

    url: str | None
    region: str = "com"
    market: str = BYBIT
    speed: float = 1.0
    limits_dir: Path | None = None

    @property
    def stream(self) -> str:
        """URL of its public stream."""
        if self.url is not None:
            return self.url.replace("http", "ws", 1) + PUBLIC_STREAM
        return stream_url("stream", self.region, PUBLIC_STREAM)

    def open_rows(self) -> PublicRows:
        """Its public REST interface."""
        domain, tld = REGIONS[self.region]
        connection = Connection(url=self.url, domain=domain, tld=tld, timeout_s=TIMEOUT_S, limits_dir=self.limits_dir)
        return PublicRows(Transport(connection), virtual_clock=True)


def find_source(url: str | None, region: str, limits_dir: Path | None) -> Source:
    """Ask an exchange in the role of Bybit what it plays, and how fast.

    Raises:
        ExchangeUnavailableError: nothing answers at `url`.
        ConfigurationError: what answers there has prices of another exchange itself.
    """
    if url is None:
        return Source(None, region, limits_dir=limits_dir)
    answer = health(url.rstrip("/"))
    if answer is None:
        raise ExchangeUnavailableError(
            f"no embedded exchange answers at {url} (TRADING_ASSETS_PAPER_MARKET_URL): start it there with "
            "`trading-assets exchange serve`, or unset the variable to trade on Bybit's prices"
        )
    if answer.get("keeps_paths") is False:
        raise ConfigurationError(
            f"{url} is a paper exchange itself, and keeps no candles: name the one that it follows"
        )
    speed = float(answer.get("speed", 1.0))
    if answer.get("clock") == ClockMode.MANUAL.value:
        speed = 0.0
    return Source(url.rstrip("/"), region, str(answer.get("market")), speed, limits_dir)


class SourceTime:
    """The source's time, by what its answers tell and this machine's steady clock. One odd answer does not move it."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._offsets: deque[float] = deque(maxlen=_SAMPLES if speed else 1)
        self._latest_ms = 0
        self._lock = threading.Lock()

    def tell(self, source_ms: int) -> None:
        """An answer says that it is `source_ms`."""
        with self._lock:
            self._offsets.append(source_ms - self._steady_ms())

    def go_on(self, since_ms: int) -> None:
        """Nobody has told the time yet, and it was `since_ms` once: it is not earlier."""
        with self._lock:
            self._latest_ms = max(self._latest_ms, since_ms)

    def now_ms(self) -> int:
        """UTC ms, never backwards; 0 before anything was told, and nothing is known from before."""
        with self._lock:
            if self._offsets:
                self._latest_ms = max(self._latest_ms, int(self._steady_ms() + statistics.median(self._offsets)))
            return self._latest_ms

    def _steady_ms(self) -> float:
        return time.monotonic() * 1000 * self._speed


class PublicRows(BybitMarketData):
    """The source's rows, as the live market wants them."""

    def contracts(self) -> tuple[list[Contract], list[str]]:
        """Every listed contract, and what was wrong with rows that cannot be read.

        Raises:
            ExchangeError: no answer, or a refusal.
        """
        found = fields.rows(self._pages("get_instruments_info", limit=_PAGE, category="linear"), contract_of, _symbol)
        return list(found), [row.why for row in found.unreadable]

    def contract(self, symbol: str) -> Contract | None:
        """One contract, whatever its status; None where it is listed no more.

        Raises:
            ExchangeError: no answer, or a refusal.
        """
        rows = self._list("get_instruments_info", category="linear", symbol=symbol)
        named = [row for row in rows if isinstance(row, Mapping) and row.get("symbol") == symbol]
        return contract_of(named[0]) if named else None

    def quotes(self) -> tuple[list[tuple[str, Quote, DayRow]], int]:
        """The ticker of every contract, and the time of the answer.

        Raises:
            ExchangeError: no answer, a refusal, or an answer without its time.
        """
        result, told_ms = self._transport.read_at("get_tickers", category="linear")
        rows = result.get("list")
        if not isinstance(rows, list) or not told_ms:
            raise ExchangeUnavailableError("the answer to get_tickers has no rows, or does not tell its time")
        return list(fields.rows(rows, ticker_of, lambda one: one[0])), told_ms

    def missed(self, symbol: str, since_ms: int) -> tuple[list[MissedCandle], int]:
        """Candles of one minute from that of `since_ms` on, the open one too; and the time of the answer.

        Raises:
            ExchangeError: no answer, a refusal, or candles that do not reach to the time of the answer.
        """
        found: list[MissedCandle] = []
        start = floor_ms(since_ms, MINUTE_MS)
        while True:
            until = start + (_PAGE - 1) * MINUTE_MS
            result, told_ms = self._transport.read_at(
                "get_kline", category="linear", symbol=symbol, interval="1", start=start, end=until, limit=_PAGE
            )
            rows = result.get("list")
            if not isinstance(rows, list) or not told_ms:
                raise ExchangeUnavailableError("the answer to get_kline has no rows, or does not tell its time")
            page = [candle for candle in map(candle_of, reversed(rows)) if start <= candle.start_ms <= told_ms]
            found += page
            start = until + MINUTE_MS
            if start > told_ms:
                break
        if not found or found[-1].start_ms < floor_ms(told_ms, MINUTE_MS) - 2 * MINUTE_MS:
            raise ExchangeUnavailableError(f"the candles of {symbol} that get_kline gives are old")
        return found, told_ms

    def paid(self, symbol: str, funding_ms: int) -> float | None:
        """The rate that was paid then; None where it is not told (yet).

        Raises:
            ExchangeError: no answer, or a refusal.
        """
        found = self.funding(symbol, funding_ms, funding_ms + 1)
        return float(found.rate[0]) if len(found) else None


@fields.venue_errors
def contract_of(row: fields.Row) -> Contract:
    """A row of `instruments-info`."""
    lot, price, leverage = row["lotSizeFilter"], row["priceFilter"], row["leverageFilter"]
    limits = row.get("riskParameters") or {}
    step, least = fields.above_zero(lot, "qtyStep"), fields.above_zero(lot, "minOrderQty")
    tick = fields.above_zero(price, "tickSize")
    return Contract(
        symbol=fields.symbol_of(row),
        symbol_id=int(fields.decimal(row, "symbolId")),
        base_coin=fields.text(row, "baseCoin"),
        quote_coin=fields.text(row, "quoteCoin"),
        settle_coin=fields.text(row, "settleCoin"),
        contract_type=fields.text(row, "contractType"),
        status=fields.text(row, "status"),
        symbol_type=fields.text(row, "symbolType"),
        launch_ms=fields.milliseconds(row, "launchTime"),
        delivery_ms=fields.milliseconds(row, "deliveryTime"),
        price_scale=int(fields.decimal(row, "priceScale")),
        tick_size=tick,
        min_price=fields.positive(price, "minPrice") or tick,
        max_price=fields.above_zero(price, "maxPrice"),
        qty_step=step,
        min_qty=least,
        max_qty=fields.above_zero(lot, "maxOrderQty"),
        max_market_qty=fields.above_zero(lot, "maxMktOrderQty"),
        min_notional=fields.decimal(lot, "minNotionalValue"),
        max_leverage=fields.above_zero(leverage, "maxLeverage"),
        leverage_step=fields.above_zero(leverage, "leverageStep"),
        funding_interval_min=int(fields.decimal(row, "fundingInterval")),
        funding_cap=fields.decimal(row, "upperFundingRate"),
        price_limit_x=fields.positive(limits, "priceLimitRatioX") or Decimal("0.05"),
        price_limit_y=fields.positive(limits, "priceLimitRatioY") or Decimal("0.1"),
    )


@fields.venue_errors
def ticker_of(row: fields.Row) -> tuple[str, Quote, DayRow]:
    """A row of `tickers`, of REST or a whole one of the stream."""
    last, mark = fields.above_zero(row, "lastPrice"), fields.above_zero(row, "markPrice")
    bid, ask = fields.positive(row, "bid1Price"), fields.positive(row, "ask1Price")
    if bid is not None and ask is not None and bid > ask:
        raise ValueError(f"the bid {bid} is above the ask {ask}")
    quote = Quote(
        float(last),
        float(mark),
        float(fields.positive(row, "indexPrice") or mark),
        float(bid or 0),
        float(fields.decimal(row, "bid1Size")),
        float(ask or 0),
        float(fields.decimal(row, "ask1Size")),
    )
    before, high, low, hour_before = (
        float(fields.positive(row, name) or last)
        for name in ("prevPrice24h", "highPrice24h", "lowPrice24h", "prevPrice1h")
    )
    volume, turnover = float(fields.decimal(row, "volume24h")), float(fields.decimal(row, "turnover24h"))
    stats = Stats24h(before, high, low, volume, turnover, hour_before)
    rate, due_ms = fields.known(row, "fundingRate"), fields.milliseconds(row, "nextFundingTime")
    day = DayRow(
        stats,
        float(fields.decimal(row, "openInterest")),
        float(rate) if rate is not None and due_ms else None,
        due_ms,
    )
    return fields.symbol_of(row), quote, day


@fields.venue_errors
def candle_of(row: Sequence[Any]) -> MissedCandle:
    """A row of `kline`."""
    names = ("start", "open", "high", "low", "close", "volume")
    given = dict(zip(names, row[: len(names)], strict=True))
    opened, high, low, close = (float(fields.above_zero(given, name)) for name in names[1:5])
    return MissedCandle(fields.moment(given, "start"), opened, high, low, close, float(fields.decimal(given, "volume")))


def _symbol(contract: Contract) -> str:
    return contract.symbol
