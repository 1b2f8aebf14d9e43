"""The connector: `MarketData` and `Exchange` over Bybit v5, category linear, one-way mode.

Endpoints, paging and time windows are here; one call and its errors are in `transport`, words and JSON in `parsing`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import ExchangeUnavailableError, OrderRejectedError, SymbolUnavailableError
from trading_assets.core.models import (
    ApiKeyInfo,
    ClosedPnl,
    Execution,
    Instrument,
    Order,
    OrderAck,
    OrderBook,
    OrderRequest,
    Position,
    Ticker,
    Wallet,
)
from trading_assets.core.ports import ENTRY
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.exchange import SETTLE_COIN, parsing
from trading_assets.exchange.clock import ExchangeClock
from trading_assets.exchange.error_mapping import NO_SUCH_ORDER, NOT_ON_DEMO
from trading_assets.exchange.transport import Transport

_LINEAR = "linear"
_ONE_WAY = 0
_KLINE_LIMIT = 1000
_FUNDING_LIMIT = 200
_LONGEST_QUERY_MS = 7 * DAY_MS - 1
_UNSET = "0"

_Model = TypeVar("_Model")


class BybitOrderIds:
    """Ids of our orders: at most 36 characters of [A-Za-z0-9_-]. Open orders carry them: the form never changes."""

    _MARK = "ta"

    def encode(self, signal_id: str, kind: str = ENTRY) -> str:
        digest = hashlib.blake2b(signal_id.encode(), digest_size=18).digest()
        return f"{self._MARK}-{kind}-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"

    def is_entry(self, order_link_id: str) -> bool:
        return order_link_id.startswith(f"{self._MARK}-{ENTRY}-")


class BybitMarketData:
    """Public data; needs no key. See `trading_assets.core.ports.MarketData`."""

    def __init__(self, transport: Transport, *, virtual_clock: bool, max_clock_offset_ms: int = 1000) -> None:
        self._transport = transport
        self._clock = ExchangeClock(self._server_ms, virtual=virtual_clock, max_offset_ms=max_clock_offset_ms)
        transport.when_clock_is_refused(self._clock.forget)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def instruments(self) -> Sequence[Instrument]:
        rows = self._pages("get_instruments_info", limit=1000, category=_LINEAR)
        return [parsing.instrument(row) for row in rows]

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """Read page by page from `start_ms` forward; each page asks for as many candles as one answer can hold.

        Bybit does not mark an unfinished candle: the time of the answer tells which have closed.
        """
        pages = []
        step = timeframe.ms
        start = -(-start_ms // step) * step
        closed_by = start_ms
        while start < end_ms:
            until = min(start + (_KLINE_LIMIT - 1) * step, end_ms - 1)
            result, closed_by = self._transport.read_at(
                "get_kline",
                category=_LINEAR,
                symbol=symbol,
                interval=parsing.INTERVALS[timeframe],
                start=start,
                end=until,
                limit=_KLINE_LIMIT,
            )
            if not closed_by:
                raise ExchangeUnavailableError(
                    "the answer to get_kline does not tell its time, so the unfinished candle cannot be told from "
                    "the closed ones; nothing was taken from it"
                )
            self._clock.require_not_ahead(closed_by)
            pages.append(parsing.candles(timeframe, result.get("list", [])))
            start = until - until % step + step
            if start > closed_by:
                break
        return _joined(timeframe, pages).between(start_ms, end_ms).closed_by(closed_by)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Read page by page from the end backwards, as the endpoint gives the newest first."""
        times: list[np.ndarray] = []
        rates: list[np.ndarray] = []
        until = end_ms - 1
        while until >= start_ms:
            result = self._transport.read(
                "get_funding_rate_history",
                category=_LINEAR,
                symbol=symbol,
                startTime=start_ms,
                endTime=until,
                limit=_FUNDING_LIMIT,
            )
            page = parsing.funding(result.get("list", []))
            if not len(page):
                break
            times.insert(0, page.time_ms)
            rates.insert(0, page.rate)
            if len(page) < _FUNDING_LIMIT:
                break
            until = int(page.time_ms[0]) - 1
        if not times:
            return Funding.empty()
        return Funding(np.concatenate(times), np.concatenate(rates)).between(start_ms, end_ms)

    def tickers(self) -> dict[str, Ticker]:
        result = self._transport.read("get_tickers", category=_LINEAR)
        found = map(parsing.ticker, result.get("list", []))
        return {ticker.symbol: ticker for ticker in found}

    def ticker(self, symbol: str) -> Ticker:
        rows = self._transport.read("get_tickers", category=_LINEAR, symbol=symbol).get("list", [])
        if not rows:
            raise ExchangeUnavailableError(f"the exchange has no ticker of {symbol}")
        return parsing.ticker(rows[0])

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook:
        return parsing.order_book(self._transport.read("get_orderbook", category=_LINEAR, symbol=symbol, limit=depth))

    def close(self) -> None:
        """Release connections."""
        self._transport.close()

    def _server_ms(self) -> int:
        return parsing.server_ms(self._transport.read("get_server_time"))

    def _pages(self, method: str, *, limit: int, **params: object) -> Iterator[dict[str, Any]]:
        """Rows of every page. The last page has a cursor too: a short page, or an empty or repeated cursor, ends."""
        cursor, seen = "", set[str]()
        while True:
            paging = {"cursor": cursor} if cursor else {}
            result = self._transport.read(method, limit=limit, **params, **paging)
            rows = result.get("list", [])
            yield from rows
            cursor = str(result.get("nextPageCursor") or "")
            if len(rows) < limit or not cursor or cursor in seen:
                return
            seen.add(cursor)


class BybitExchange(BybitMarketData):
    """Public data and one account. See `trading_assets.core.ports.Exchange`."""

    order_ids = BybitOrderIds()

    def api_key(self) -> ApiKeyInfo | None:
        try:
            return parsing.api_key(self._transport.read("get_api_key_information"))
        except SymbolUnavailableError as error:
            if error.code != NOT_ON_DEMO:
                raise
            return None

    def wallet(self) -> Wallet:
        rows = self._transport.read("get_wallet_balance", accountType="UNIFIED").get("list", [])
        if not rows:
            raise ExchangeUnavailableError("the exchange sent no unified account; is the key of a unified account?")
        return parsing.wallet(rows[0])

    def positions(self) -> Sequence[Position]:
        rows = self._pages("get_positions", limit=200, category=_LINEAR, settleCoin=SETTLE_COIN)
        return [parsing.position(row) for row in rows if parsing.decimal(row, "size") > 0]

    def position(self, symbol: str) -> Position | None:
        rows = self._transport.read("get_positions", category=_LINEAR, symbol=symbol).get("list", [])
        if not rows:
            raise ExchangeUnavailableError(f"the exchange sent no position row of {symbol}, not even a flat one")
        held = [row for row in rows if parsing.decimal(row, "size") > 0]
        if len(held) > 1:
            raise ExchangeUnavailableError(
                f"{symbol} has {len(held)} positions: the account is in hedge mode, expected one-way mode"
            )
        return parsing.position(held[0]) if held else None

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        value = parsing.number(leverage)
        self._transport.write_idempotent(
            "set_leverage", category=_LINEAR, symbol=symbol, buyLeverage=value, sellLeverage=value
        )

    def place_order(self, request: OrderRequest) -> OrderAck:
        self._clock.require_close()
        stops: dict[str, object] = {}
        if request.stop_loss is not None:
            stops |= {"stopLoss": parsing.number(request.stop_loss), "slTriggerBy": "LastPrice"}
        if request.take_profit is not None:
            stops |= {"takeProfit": parsing.number(request.take_profit), "tpTriggerBy": "LastPrice"}
        if stops:
            stops["tpslMode"] = "Full"
        result = self._transport.write(
            "place_order",
            category=_LINEAR,
            symbol=request.symbol,
            side=request.side.value,
            orderType="Market",
            qty=parsing.number(request.qty),
            positionIdx=_ONE_WAY,
            orderLinkId=request.order_link_id,
            reduceOnly=request.reduce_only,
            **stops,
        )
        return OrderAck(str(result.get("orderId", "")), request.order_link_id)

    def find_order(self, symbol: str, order_link_id: str) -> Order | None:
        return self._find(symbol, "orderLinkId", order_link_id)

    def order(self, symbol: str, order_id: str) -> Order | None:
        return self._find(symbol, "orderId", order_id)

    def _find(self, symbol: str, key: str, value: str) -> Order | None:
        """Open and recent orders first, as the history may lag."""
        for method in ("get_open_orders", "get_order_history"):
            try:
                result = self._transport.read(method, category=_LINEAR, symbol=symbol, **{key: value})
            except OrderRejectedError as error:
                if error.code != NO_SUCH_ORDER:
                    raise
                continue
            for row in result.get("list", []):
                if row.get(key) == value:
                    return parsing.order(row)
        return None

    def open_orders(self, symbol: str | None = None) -> Sequence[Order]:
        scope: dict[str, object] = {"symbol": symbol} if symbol else {"settleCoin": SETTLE_COIN}
        rows = self._pages("get_open_orders", limit=50, category=_LINEAR, **scope)
        return [parsing.order(row) for row in rows]

    def set_stops(self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None) -> None:
        self._transport.write_idempotent(
            "set_trading_stop",
            category=_LINEAR,
            symbol=symbol,
            positionIdx=_ONE_WAY,
            tpslMode="Full",
            stopLoss=parsing.number(stop_loss) if stop_loss is not None else _UNSET,
            takeProfit=parsing.number(take_profit) if take_profit is not None else _UNSET,
            slTriggerBy="LastPrice",
            tpTriggerBy="LastPrice",
        )

    def executions(self, start_ms: int, end_ms: int) -> Sequence[Execution]:
        rows = self._windows("get_executions", 100, start_ms, end_ms)
        return _sorted((parsing.execution(row) for row in rows), lambda e: (e.time_ms, e.exec_id))

    def closed_pnl(self, start_ms: int, end_ms: int) -> Sequence[ClosedPnl]:
        rows = self._windows("get_closed_pnl", 100, start_ms, end_ms)
        return _sorted((parsing.closed_pnl(row) for row in rows), lambda c: (c.updated_ms, c.order_id))

    def _windows(self, method: str, limit: int, start_ms: int, end_ms: int) -> Iterator[dict[str, Any]]:
        """Rows of [start_ms, end_ms) in queries of at most seven days."""
        low = start_ms
        while low < end_ms:
            high = min(low + _LONGEST_QUERY_MS, end_ms - 1)
            yield from self._pages(method, limit=limit, category=_LINEAR, startTime=low, endTime=high)
            low = high + 1


def _joined(timeframe: Timeframe, pages: Sequence[Candles]) -> Candles:
    filled = [page for page in pages if len(page)]
    if not filled:
        return Candles.empty(timeframe)
    if len(filled) == 1:
        return filled[0]
    names = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
    return Candles(timeframe, *(np.concatenate([getattr(page, name) for page in filled]) for name in names))


def _sorted(models: Iterator[_Model], key: Callable[[_Model], Any]) -> list[_Model]:
    return sorted(models, key=key)
