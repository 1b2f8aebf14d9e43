"""The connector: `MarketData` and `Exchange` over Bybit v5, category linear, one-way mode.

Endpoints, paging and time windows are here; one call and its errors are in `transport`. What is asked of
the market is read by `market_rows`, what of the account by `account_rows`, with `fields`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from decimal import Decimal
from typing import Any

import numpy as np

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import (
    AccountShapeError,
    ExchangeError,
    ExchangeUnavailableError,
    OrderEndedError,
    OrderRejectedError,
    SymbolUnavailableError,
    UnreadableAnswerError,
)
from trading_assets.core.models import (
    AccountShape,
    ApiKeyInfo,
    ClosedPnl,
    Execution,
    FeeRate,
    Instrument,
    Order,
    OrderAck,
    OrderBook,
    OrderChange,
    OrderRequest,
    Position,
    PositionMode,
    Rows,
    SendBy,
    Side,
    Ticker,
    Tickers,
    Transaction,
    Wallet,
)
from trading_assets.core.ports import ENTRY
from trading_assets.core.side_by_side import begin
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.exchange import SETTLE_COIN, SETTLE_COINS, account_rows, fields, market_rows
from trading_assets.exchange.clock import REFRESH_S, ExchangeClock
from trading_assets.exchange.error_mapping import ENDED, NO_SUCH_ORDER, NOT_ON_DEMO
from trading_assets.exchange.transport import Transport

_LINEAR = "linear"
_ONE_WAY = 0
_RISES, _FALLS = 1, 2
_KLINE_LIMIT = 1000
_FUNDING_LIMIT = 200
_LONGEST_QUERY_MS = 7 * DAY_MS - 1
_UNSET = "0"

BYBIT, BYBIT_TESTNET = "Bybit", "Bybit testnet"
"""Names of Bybit's markets. Demo trading has no prices of its own."""


class BybitOrderIds:
    """Ids of our orders: at most 36 characters of [A-Za-z0-9_-]. Open orders carry them: the form never changes."""

    _MARK = "ta"

    def encode(self, signal_id: str, kind: str = ENTRY) -> str:
        digest = hashlib.blake2b(signal_id.encode(), digest_size=18).digest()
        return f"{self._MARK}-{kind}-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"

    def is_ours(self, order_link_id: str) -> bool:
        return order_link_id.startswith(f"{self._MARK}-")

    def is_of(self, order_link_id: str, kind: str) -> bool:
        return order_link_id.startswith(f"{self._MARK}-{kind}-")

    def is_entry(self, order_link_id: str) -> bool:
        return self.is_of(order_link_id, ENTRY)


class BybitMarketData:
    """Public data; needs no key. See `trading_assets.core.ports.MarketData`.

    Args:
        market: tells the market's name, see `market`.
        finest: tells the timeframe of its shortest candles, see `finest_timeframe`.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        virtual_clock: bool,
        max_clock_offset_ms: int = 1000,
        market: Callable[[], str] = lambda: BYBIT,
        finest: Callable[[], Timeframe] = lambda: Timeframe.M1,
    ) -> None:
        self._transport, self._market, self._finest = transport, market, finest
        self._clock = ExchangeClock(self._server_ms, virtual=virtual_clock, max_offset_ms=max_clock_offset_ms)
        transport.when_clock_is_refused(self._clock.forget)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def clock_offset_ms(self) -> int:
        return self._clock.offset_ms(REFRESH_S / 2)  # so that an order that follows soon need not measure it

    def market(self) -> str:
        return self._market()

    def finest_timeframe(self) -> Timeframe:
        return self._finest()

    def instruments(self) -> Rows[Instrument]:
        raw = self._pages("get_instruments_info", limit=1000, category=_LINEAR)
        return fields.rows(raw, market_rows.instrument, lambda one: one.symbol)

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
                interval=market_rows.INTERVALS[timeframe],
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
            pages.append(market_rows.candles(timeframe, _listed("get_kline", result)))
            start = until - until % step + step
            if start > closed_by:
                break
        return _joined(timeframe, pages).between(start_ms, end_ms).closed_by(closed_by)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """Read page by page from the end backwards, as the endpoint gives the newest first.

        A payment that is yet to come at the time of the answer is none, as with candles.
        """
        times: list[np.ndarray] = []
        rates: list[np.ndarray] = []
        until, told_ms = end_ms - 1, end_ms
        while until >= start_ms:
            result, told_ms = self._transport.read_at(
                "get_funding_rate_history",
                category=_LINEAR,
                symbol=symbol,
                startTime=start_ms,
                endTime=until,
                limit=_FUNDING_LIMIT,
            )
            if not told_ms:
                raise ExchangeUnavailableError(
                    "the answer to get_funding_rate_history does not tell its time, so payments that are yet to come "
                    "cannot be told from past ones; nothing was taken from it"
                )
            self._clock.require_not_ahead(told_ms)
            page = market_rows.funding(_listed("get_funding_rate_history", result))
            if not len(page):
                break
            times.insert(0, page.time_ms)
            rates.insert(0, page.rate)
            if len(page) < _FUNDING_LIMIT:
                break
            until = int(page.time_ms[0]) - 1
        if not times:
            return Funding.empty()
        return Funding(np.concatenate(times), np.concatenate(rates)).between(start_ms, min(end_ms, told_ms + 1))

    def tickers(self) -> Tickers:
        raw = self._list("get_tickers", category=_LINEAR)
        return Tickers(fields.rows(raw, market_rows.ticker, lambda one: one.symbol))

    def ticker(self, symbol: str) -> Ticker:
        rows = _of(symbol, self._list("get_tickers", category=_LINEAR, symbol=symbol))
        if not rows:
            raise UnreadableAnswerError(f"the exchange has no ticker of {symbol}")
        return market_rows.ticker(rows[0])

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook:
        return market_rows.order_book(
            self._transport.read("get_orderbook", category=_LINEAR, symbol=symbol, limit=depth)
        )

    def close(self) -> None:
        """Release connections."""
        self._transport.close()

    def _server_ms(self) -> int:
        return market_rows.server_ms(self._transport.read("get_server_time"))

    def _list(self, method: str, **params: object) -> list[Any]:
        return _listed(method, self._transport.read(method, **params))

    def _pages(self, method: str, *, limit: int, **params: object) -> list[Any]:
        """Rows of every page. Bybit gives a cursor on the last page too: a short, empty or repeated one ends."""
        found: list[Any] = []
        cursor, seen = "", set[str]()
        while True:
            paging = {"cursor": cursor} if cursor else {}
            result = self._transport.read(method, limit=limit, **params, **paging)
            rows = _listed(method, result)
            found += rows
            cursor = str(result.get("nextPageCursor") or "")
            if len(rows) < limit or not cursor or cursor in seen:
                return found
            seen.add(cursor)


class BybitExchange(BybitMarketData):
    """Public data and one account. See `trading_assets.core.ports.Exchange`."""

    order_ids = BybitOrderIds()

    def repeat_reads(self, older_than: float) -> None:
        self._transport.repeat_reads(older_than)

    def can_connect(self, within_s: float) -> bool:
        return self._transport.can_connect(within_s)

    def api_key(self) -> ApiKeyInfo | None:
        try:
            return account_rows.api_key(self._transport.read("get_api_key_information"))
        except SymbolUnavailableError as error:
            if error.code != NOT_ON_DEMO:
                raise
            return None

    def account_shape(self, symbol: str) -> AccountShape:
        info = self._transport.read("get_account_info")
        legs = self._rows_of(symbol)  # an empty list for a moment does not tell the mode, and hides nothing else
        try:
            user = account_rows.user_id(self._transport.read("get_api_key_information"))
        except SymbolUnavailableError as error:
            if error.code != NOT_ON_DEMO:
                raise
            user = None
        return account_rows.account_shape(info, user, legs)

    def fee_rates(self) -> Sequence[FeeRate]:
        return [account_rows.fee_rate(row) for row in self._list("get_fee_rates", category=_LINEAR)]

    def set_one_way(self) -> None:
        self._transport.write_idempotent("switch_position_mode", category=_LINEAR, coin=SETTLE_COIN, mode=_ONE_WAY)

    def set_cross_margin(self) -> None:
        self._transport.write_idempotent("set_margin_mode", setMarginMode="REGULAR_MARGIN")

    def wallet(self) -> Wallet:
        rows = self._list("get_wallet_balance", accountType="UNIFIED")
        if not rows:
            raise UnreadableAnswerError("the exchange sent no unified account; is the key of a unified account?")
        return account_rows.wallet(rows[0])

    def positions(self) -> Rows[Position]:
        raw = [row for row in self._of_every_coin("get_positions", 200) if not _is_flat(row)]
        return fields.rows(
            raw, account_rows.position, lambda one: (one.symbol, one.position_idx), lambda one: one.updated_ms
        )

    def position(self, symbol: str) -> Position | None:
        rows = self._legs(symbol)
        if account_rows.position_mode(rows) is PositionMode.HEDGE:
            raise AccountShapeError(
                f"{symbol} is in hedge mode, and this system trades in one-way mode: close both legs and its orders, "
                "then trading-assets accounts prepare"
            )
        held = [row for row in rows if not account_rows.is_flat(row)]
        return account_rows.position(held[-1]) if held else None

    def _of_every_coin(self, method: str, limit: int) -> list[Any]:
        """Rows of every settle coin, asked for side by side. No request of it goes on when this returns or raises."""
        begun = [
            begin(functools.partial(self._pages, method, limit=limit, category=_LINEAR, settleCoin=coin))
            for coin in SETTLE_COINS
        ]
        wait(begun)
        return [row for one in begun for row in one.result()]

    def _legs(self, symbol: str) -> list[fields.Row]:
        """The rows of a symbol; a flat one is told as well."""
        rows = self._rows_of(symbol)
        if not rows:
            raise UnreadableAnswerError(f"the exchange sent no position row of {symbol}, not even a flat one")
        return rows

    def _rows_of(self, symbol: str) -> list[fields.Row]:
        return _of(symbol, self._list("get_positions", category=_LINEAR, symbol=symbol))

    def leverage(self, symbol: str) -> Decimal | None:
        return account_rows.leverage(self._legs(symbol)[-1])

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        value = fields.number(leverage)
        self._transport.write_idempotent(
            "set_leverage", category=_LINEAR, symbol=symbol, buyLeverage=value, sellLeverage=value
        )

    def place_order(self, request: OrderRequest) -> OrderAck:
        self._clock.require_close()
        result = self._transport.write("place_order", request.send_by, category=_LINEAR, **_placed(request))
        return OrderAck(str(result.get("orderId", "")), request.order_link_id)

    def orders_at_once(self) -> int:
        return self._transport.room("place_batch_order")

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        try:
            self._clock.require_close()
        except ExchangeError as error:
            return [error] * len(requests)
        limits = [one.send_by for one in requests if one.send_by is not None]
        found = self._transport.write_batch(
            "place_batch_order",
            [_placed(one) for one in requests],
            sets_state=False,
            send_by=min(limits, key=lambda one: one.time_ms, default=None),
            category=_LINEAR,
        )
        return [
            one if isinstance(one, ExchangeError) else OrderAck(str(one.get("orderId", "")), request.order_link_id)
            for request, one in zip(requests, found, strict=True)
        ]

    def amend_order(self, change: OrderChange) -> None:
        try:
            self._transport.write_idempotent("amend_order", None, category=_LINEAR, **_changed(change))
        except OrderRejectedError as error:
            raise _of_ended(error) from error

    def amend_orders(self, changes: Sequence[OrderChange]) -> list[ExchangeError | None]:
        found = self._transport.write_batch(
            "amend_batch_order", [_changed(one) for one in changes], sets_state=True, category=_LINEAR
        )
        return [_of_ended(one) if isinstance(one, ExchangeError) else None for one in found]

    def cancel_orders(self, orders: Sequence[tuple[str, str]]) -> list[ExchangeError | None]:
        found = self._transport.write_batch(
            "cancel_batch_order",
            [{"symbol": symbol, "orderLinkId": link} for symbol, link in orders],
            sets_state=True,
            category=_LINEAR,
        )
        return [
            one if isinstance(one, ExchangeError) and not isinstance(_of_ended(one), OrderEndedError) else None
            for one in found
        ]

    def find_order(self, symbol: str, order_link_id: str) -> Order | None:
        return self._find(symbol, "orderLinkId", order_link_id)

    def order(self, symbol: str, order_id: str) -> Order | None:
        return self._find(symbol, "orderId", order_id)

    def _find(self, symbol: str, key: str, value: str) -> Order | None:
        """Open and recent orders first, as the history may lag."""
        for method in ("get_open_orders", "get_order_history"):
            try:
                rows = self._list(method, category=_LINEAR, symbol=symbol, **{key: value})
            except OrderRejectedError as error:
                if error.code != NO_SUCH_ORDER:
                    raise
                continue
            told = [row.get(key) if isinstance(row, dict) else None for row in rows]
            if value in told:
                return account_rows.order(rows[told.index(value)])
            if not all(isinstance(name, str) for name in told):
                raise UnreadableAnswerError(f"the answer to {method} has a row without {key}: it may be {value}")
        return None

    def cancel_order(self, symbol: str, order_link_id: str) -> None:
        try:
            self._transport.write_idempotent("cancel_order", category=_LINEAR, symbol=symbol, orderLinkId=order_link_id)
        except OrderRejectedError as error:
            if not isinstance(_of_ended(error), OrderEndedError):
                raise

    def open_orders(self, symbol: str | None = None) -> Rows[Order]:
        method, limit = "get_open_orders", 50
        if symbol:
            raw = self._pages(method, limit=limit, category=_LINEAR, symbol=symbol)
        else:
            raw = self._of_every_coin(method, limit)
        return fields.rows(
            raw, account_rows.order, lambda one: one.order_id, lambda one: (one.filled_qty, one.updated_ms)
        )

    def set_stops(
        self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None, send_by: SendBy | None = None
    ) -> None:
        self._transport.write_idempotent(
            "set_trading_stop",
            send_by,
            category=_LINEAR,
            symbol=symbol,
            positionIdx=_ONE_WAY,
            tpslMode="Full",
            stopLoss=fields.number(stop_loss) if stop_loss is not None else _UNSET,
            takeProfit=fields.number(take_profit) if take_profit is not None else _UNSET,
            slTriggerBy="LastPrice",
            tpTriggerBy="LastPrice",
        )

    def executions(self, start_ms: int, end_ms: int) -> Rows[Execution]:
        raw = self._windows("get_executions", 100, start_ms, end_ms, category=_LINEAR)
        found = fields.rows(raw, account_rows.execution, lambda one: one.exec_id)
        oldest_first = found[::-1]  # so those of one millisecond stay in the order in which they happened
        return Rows(sorted(oldest_first, key=lambda one: one.time_ms), found.unreadable)

    def closed_pnl(self, start_ms: int, end_ms: int) -> Rows[ClosedPnl]:
        raw = self._windows("get_closed_pnl", 100, start_ms, end_ms, category=_LINEAR)
        found = fields.rows(
            raw, account_rows.closed_pnl, lambda one: one.order_id, lambda one: (one.qty, one.updated_ms)
        )
        return Rows(sorted(found, key=lambda one: (one.updated_ms, one.order_id)), found.unreadable)

    def transactions(self, start_ms: int, end_ms: int) -> Rows[Transaction]:
        raw = self._windows("get_transaction_log", 50, start_ms, end_ms, accountType="UNIFIED")
        found = fields.rows(raw, account_rows.transaction, lambda one: one.transaction_id)
        return Rows(sorted(found, key=lambda one: (one.time_ms, one.transaction_id)), found.unreadable)

    def _windows(self, method: str, limit: int, start_ms: int, end_ms: int, **params: object) -> list[Any]:
        """Rows of [start_ms, end_ms) in queries of at most seven days."""
        found: list[Any] = []
        low = start_ms
        while low < end_ms:
            high = min(low + _LONGEST_QUERY_MS, end_ms - 1)
            found += self._pages(method, limit=limit, startTime=low, endTime=high, **params)
            low = high + 1
        return found


def _placed(request: OrderRequest) -> dict[str, object]:
    """An order in the words of the exchange.

    One that only reduces lets an own order that it would meet be cancelled; another one is cancelled itself.
    """
    words: dict[str, object] = {
        "symbol": request.symbol,
        "side": request.side.value,
        "orderType": "Market" if request.price is None else "Limit",
        "qty": fields.number(request.qty),
        "positionIdx": request.position_idx,
        "orderLinkId": request.order_link_id,
        "reduceOnly": request.reduce_only,
        "smpType": "CancelMaker" if request.reduce_only else "CancelTaker",
    }
    if request.price is not None:
        words |= {"price": fields.number(request.price), "timeInForce": "PostOnly" if request.post_only else "GTC"}
    if request.stop_loss is not None:
        words |= {"stopLoss": fields.number(request.stop_loss), "slTriggerBy": "LastPrice", "tpslMode": "Full"}
    if request.take_profit is not None:
        words |= {"takeProfit": fields.number(request.take_profit), "tpTriggerBy": "LastPrice", "tpslMode": "Full"}
    if request.trigger_price is not None:
        # A selling order waits for the price to fall to it, a buying one for it to rise.
        direction = _RISES if request.side is Side.BUY else _FALLS
        words |= {"triggerPrice": fields.number(request.trigger_price), "triggerDirection": direction}
        words["triggerBy"] = "LastPrice"
    return words


def _changed(change: OrderChange) -> dict[str, object]:
    words: dict[str, object] = {"symbol": change.symbol, "orderLinkId": change.order_link_id}
    if change.qty is not None:
        words["qty"] = fields.number(change.qty)
    if change.price is not None:
        words["price"] = fields.number(change.price)
    return words


def _of_ended(error: ExchangeError) -> ExchangeError:
    """The same refusal, as one of an order that waits no longer where the code says so."""
    if isinstance(error, OrderRejectedError) and error.code in (NO_SUCH_ORDER, *ENDED):
        return OrderEndedError(str(error), code=error.code)
    return error


def _listed(method: str, result: Mapping[str, Any]) -> list[Any]:
    """The rows of an answer. One without a list is no empty list.

    Raises:
        UnreadableAnswerError: there is none.
    """
    rows = result.get("list")
    if not isinstance(rows, list):
        raise UnreadableAnswerError(f"the answer to {method} has no list of rows")
    return rows


def _of(symbol: str, rows: Sequence[object]) -> list[fields.Row]:
    """The rows of a symbol, of which alone was asked.

    Raises:
        UnreadableAnswerError: there is none, and a row that names no symbol may be one.
    """
    found: list[fields.Row] = [row for row in rows if isinstance(row, dict) and row.get("symbol") == symbol]
    if not found and not all(isinstance(row, dict) and isinstance(row.get("symbol"), str) for row in rows):
        raise UnreadableAnswerError(f"the exchange sent a row that cannot be read when it was asked about {symbol}")
    return found


def _is_flat(row: object) -> bool:
    """Whether a row is readable and says that nothing is open."""
    try:
        return isinstance(row, dict) and account_rows.is_flat(row)
    except ExchangeUnavailableError:
        return False


def _joined(timeframe: Timeframe, pages: Sequence[Candles]) -> Candles:
    filled = [page for page in pages if len(page)]
    if not filled:
        return Candles.empty(timeframe)
    if len(filled) == 1:
        return filled[0]
    names = ("start_ms", "open", "high", "low", "close", "volume", "turnover")
    return Candles(timeframe, *(np.concatenate([getattr(page, name) for page in filled]) for name in names))
