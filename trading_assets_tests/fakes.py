"""An exchange in memory for tests of what trades on one: `FakeExchange`, with failures on demand.

It fills market orders at once at the ticker's last price, keeps stops on the position as the venue does, refuses a
link id that it has seen, and counts every call.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from trading_assets.core.candles import Candles, Funding
from trading_assets.core.errors import (
    ExchangeError,
    InsufficientBalanceError,
    OrderEndedError,
    OrderRejectedError,
    PriceRefusedError,
)
from trading_assets.core.models import (
    AccountShape,
    ApiKeyInfo,
    CancelledBy,
    ClosedPnl,
    CloseReason,
    ContractKind,
    ContractStatus,
    Execution,
    FeeRate,
    FillKind,
    Instrument,
    MarginMode,
    Order,
    OrderAck,
    OrderBook,
    OrderChange,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    Position,
    PositionMode,
    RejectReason,
    Rows,
    SendBy,
    Side,
    Ticker,
    Tickers,
    Transaction,
    TransactionKind,
    UnreadableRow,
    Wallet,
)
from trading_assets.core.ports import ClientOrderIds
from trading_assets.core.timeframes import Timeframe
from trading_assets.exchange.bybit import BybitOrderIds

FEE_RATE = Decimal("0.00055")

_BY_THE_VENUE = (CloseReason.LIQUIDATION, CloseReason.ADL, CloseReason.SETTLEMENT)
_WORDS = {FillKind.TRADE: "Trade", FillKind.LIQUIDATION: "BustTrade"}

order_link_id = BybitOrderIds().encode
"""The id of a signal's order on the venues of the tests."""


def an_instrument(symbol: str, **changes: object) -> Instrument:
    """A contract with generous rules."""
    instrument = Instrument(
        symbol=symbol,
        base_coin=symbol.removesuffix("USDT"),
        quote_coin="USDT",
        settle_coin="USDT",
        kind=ContractKind.PERPETUAL,
        status=ContractStatus.TRADING,
        is_coin=True,
        listed_ms=0,
        tick_size=Decimal("0.01"),
        qty_step=Decimal("0.001"),
        min_qty=Decimal("0.001"),
        max_market_qty=Decimal(100_000),
        min_notional=Decimal(5),
        max_leverage=Decimal(50),
        leverage_step=Decimal("0.01"),
        funding_interval_min=480,
    )
    return replace(instrument, **changes)  # type: ignore[arg-type]


def a_ticker(symbol: str, last: Decimal | int | str = 100, **changes: object) -> Ticker:
    """A liquid symbol at a price."""
    price = Decimal(str(last))
    ticker = Ticker(
        symbol=symbol,
        last=price,
        mark=price,
        bid=price * Decimal("0.9999"),
        ask=price * Decimal("1.0001"),
        turnover_24h=Decimal(5_000_000),
        volume_24h=Decimal(50_000),
        change_24h_pct=Decimal(1),
        funding_rate=Decimal("0.0001"),
        next_funding_ms=0,
    )
    return replace(ticker, **changes)  # type: ignore[arg-type]


@dataclass
class Failure:
    """One scripted failure: raise instead of the call ("before") or instead of its answer ("after")."""

    error: BaseException
    processed: bool
    skip: int
    times: int


class FakeExchange:
    """The `Exchange` protocol in memory.

    Attributes:
        time_ms: the venue's clock; stands unless a test moves it.
        calls: number of calls by method; `creates` number of `place_order` calls by link id.
        accepted: link ids in the order in which the venue accepted them.
        attaches_stops: False: an entry's stops are silently lost.
        status_of_new: status of a new order; one that is not `FILLED` opens no position.
        most_at_once: so many orders may go by one request.
        thin_exits: so many reduce-only orders meet an empty book.
        mark: what its ids of orders and executions begin with: venues that share a ledger need one each.
        hidden_looks: `find_order` and `order` say "no such order" so many times first.
        unreadable: by the name of a list read, rows that it cannot tell.
        shape: how the account is set up.
    """

    order_ids: ClientOrderIds = BybitOrderIds()

    def __init__(self, *symbols: str, price: Decimal | int | str = 100, balance: int = 10_000) -> None:
        self.time_ms = 0
        self.mark = ""
        self.listed = {symbol: an_instrument(symbol) for symbol in symbols}
        self.prices = {symbol: a_ticker(symbol, price) for symbol in symbols}
        self.balance = Decimal(balance)
        self.leverages: dict[str, Decimal] = {}
        self.open: dict[str, Position] = {}
        self.book: dict[str, Order] = {}
        self.trades: list[Execution] = []
        self.closings: list[ClosedPnl] = []
        self.calls: Counter[str] = Counter()
        self.creates: Counter[str] = Counter()
        self.accepted: list[str] = []
        self.attaches_stops = True
        self.status_of_new = OrderStatus.FILLED
        self.hidden_looks = 0
        self.most_at_once = 8
        self.thin_exits = 0
        self.transfers: list[Transaction] = []
        self.unreadable: dict[str, list[UnreadableRow]] = {}
        self.shape = AccountShape("7", unified=True, margin_mode=MarginMode.CROSS, position_mode=PositionMode.ONE_WAY)
        self.on_call: Callable[[str], None] = lambda _name: None
        self._failures: dict[str, list[Failure]] = defaultdict(list)
        self._lock = threading.RLock()
        self._ids = 0

    # Scripts

    def fail(
        self, method: str, error: BaseException, *, processed: bool = False, skip: int = 0, times: int = 1
    ) -> None:
        """Let `method` raise, after `skip` good calls, `times` times; with or without its effect."""
        self._failures[method].append(Failure(error, processed, skip, times))

    def heal(self) -> None:
        """No failure is due any more."""
        self._failures.clear()

    def set_price(self, symbol: str, price: Decimal | int | str) -> None:
        """Move the price; conditional orders that have waited for it are filled, or cancelled where nothing is held."""
        with self._lock:
            self.prices[symbol] = a_ticker(symbol, price)
            for order in [order for order in self.book.values() if self._is_due(order)]:
                held = self.open.get(symbol)
                if held is None or held.side is order.side:
                    self.book[order.order_id] = replace(order, status=OrderStatus.CANCELLED)
                    continue
                qty, at = min(order.qty, held.size), self.prices[symbol].last
                done = replace(order, status=OrderStatus.FILLED, qty=qty, filled_qty=qty, average_price=at)
                self.book[order.order_id] = done
                self._book_trade(done, at, FillKind.TRADE)

    def _is_due(self, order: Order) -> bool:
        if order.status is not OrderStatus.UNTRIGGERED or order.trigger_price is None:
            return False
        sign = 1 if order.side is Side.BUY else -1
        return sign * (self.prices[order.symbol].last - order.trigger_price) >= 0

    def lose_stops(self, symbol: str) -> None:
        """The position is bare from now on."""
        self.open[symbol] = replace(self.open[symbol], stop_loss=None, take_profit=None)

    def open_foreign(self, symbol: str, side: Side = Side.BUY, qty: Decimal | int = 1) -> None:
        """A human opens a position at the venue, without stops and without a link id."""
        with self._lock:
            self._fill(OrderRequest(symbol, side, Decimal(qty), order_link_id=""))

    def close_position(self, symbol: str, reason: str = CloseReason.OTHER) -> None:
        """The position ends: at its stop or target, by the venue, or by hand (a `CloseReason`)."""
        with self._lock:
            held = self.open[symbol]
            exits = {CloseReason.STOP: held.stop_loss, CloseReason.TARGET: held.take_profit}
            purposes = {CloseReason.STOP: OrderPurpose.STOP, CloseReason.TARGET: OrderPurpose.TARGET}
            why = CloseReason(reason)
            self._fill(
                OrderRequest(symbol, held.side.opposite, held.size, "", reduce_only=True),
                purposes.get(why, OrderPurpose.ORDINARY),
                price=exits.get(why) or self.prices[symbol].last,
                kind=FillKind(why) if why in _BY_THE_VENUE else FillKind.TRADE,
            )

    def pay_funding(self, symbol: str, fee: Decimal) -> None:
        """The account pays funding of a symbol, or receives it where negative."""
        with self._lock:
            self.balance -= fee
            price = self.prices[symbol].mark
            self.trades.append(
                Execution(
                    exec_id=f"exec-{len(self.trades) + 1}",
                    symbol=symbol,
                    order_id=f"funding-{len(self.trades) + 1}",
                    order_link_id="",
                    side=Side.BUY,
                    kind=FillKind.FUNDING,
                    exec_type="Funding",
                    price=price,
                    qty=Decimal(1),
                    value=price,
                    fee=fee,
                    fee_rate=Decimal("0.0001"),
                    is_maker=False,
                    closed_size=Decimal(0),
                    purpose=OrderPurpose.ORDINARY,
                    time_ms=self.time_ms,
                )
            )

    def _called(self, name: str, act: Callable[[], object]) -> object:
        with self._lock:
            self.calls[name] += 1
            due = None
            for failure in self._failures[name]:
                if failure.skip > 0:
                    failure.skip -= 1
                    continue
                if failure.times > 0 and due is None:
                    failure.times -= 1
                    due = failure
        self.on_call(name)
        with self._lock:
            if due is not None and not due.processed:
                raise due.error
            answer = act()
            if due is not None:
                raise due.error
            return answer

    # Market data

    def repeat_reads(self, older_than: float) -> None:
        """Its answers come at once."""

    def can_connect(self, within_s: float) -> bool:
        return True

    def now_ms(self) -> int:
        return self._called("now_ms", lambda: self.time_ms)  # type: ignore[return-value]

    def _rows(self, name: str, rows: Callable[[], Iterable[object]]) -> Rows[Any]:
        """What a list read gives; rows that are named unreadable stand for those of their symbols."""

        def read() -> Rows[Any]:
            left_out = self.unreadable.get(name, [])
            hidden = {row.symbol for row in left_out}
            return Rows((row for row in rows() if row.symbol not in hidden), left_out)  # type: ignore[attr-defined]

        return self._called(name, read)  # type: ignore[return-value]

    def instruments(self) -> Rows[Instrument]:
        return self._rows("instruments", lambda: list(self.listed.values()))

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        return Candles.empty(timeframe)

    def funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        return Funding.empty()

    def market(self) -> str:
        return "Bybit"

    def finest_timeframe(self) -> Timeframe:
        return Timeframe.M1

    def tickers(self) -> Tickers:
        return Tickers(self._rows("tickers", lambda: list(self.prices.values())))

    def ticker(self, symbol: str) -> Ticker:
        return self._called("ticker", lambda: self.prices[symbol])  # type: ignore[return-value]

    def order_book(self, symbol: str, depth: int = 25) -> OrderBook:
        ticker = self.prices[symbol]
        one = Decimal(1)
        return OrderBook(symbol, ((ticker.bid, one),), ((ticker.ask, one),), self.time_ms)

    # Account

    def clock_offset_ms(self) -> int:
        return 0

    def api_key(self) -> ApiKeyInfo | None:
        return None

    def account_shape(self, symbol: str) -> AccountShape:
        return self._called("account_shape", lambda: self.shape)  # type: ignore[return-value]

    def set_one_way(self) -> None:
        self._called("set_one_way", lambda: self._reshape(position_mode=PositionMode.ONE_WAY))

    def set_cross_margin(self) -> None:
        self._called("set_cross_margin", lambda: self._reshape(margin_mode=MarginMode.CROSS))

    def _reshape(self, **changes: object) -> None:
        self.shape = replace(self.shape, **changes)  # type: ignore[arg-type]

    def wallet(self) -> Wallet:
        return self._called("wallet", self._wallet)  # type: ignore[return-value]

    def positions(self) -> Rows[Position]:
        return self._rows("positions", lambda: list(self.open.values()))

    def position(self, symbol: str) -> Position | None:
        return self._called("position", lambda: self.open.get(symbol))  # type: ignore[return-value]

    def leverage(self, symbol: str) -> Decimal | None:
        return self.leverages.get(symbol)

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        self._called("set_leverage", lambda: self.leverages.__setitem__(symbol, leverage))

    def place_order(self, request: OrderRequest) -> OrderAck:
        if request.send_by is not None:
            request.send_by.require()
        with self._lock:
            self.creates[request.order_link_id] += 1
        return self._called("place_order", lambda: self._place(request))  # type: ignore[return-value]

    def find_order(self, symbol: str, order_link_id: str) -> Order | None:
        return self._called(  # type: ignore[return-value]
            "find_order", lambda: self._look(lambda order: order.order_link_id == order_link_id)
        )

    def order(self, symbol: str, order_id: str) -> Order | None:
        return self._called("order", lambda: self._look(lambda order: order.order_id == order_id))  # type: ignore[return-value]

    def open_orders(self, symbol: str | None = None) -> Rows[Order]:
        return self._rows(
            "open_orders",
            lambda: [
                order for order in self.book.values() if not order.status.is_final and symbol in (None, order.symbol)
            ],
        )

    def cancel_order(self, symbol: str, order_link_id: str) -> None:
        self._called("cancel_order", lambda: self._cancel(order_link_id))

    def cancel_orders(self, orders: Sequence[tuple[str, str]]) -> list[ExchangeError | None]:
        return [self._outcome("cancel_orders", lambda link=link: self._cancel(link)) for _, link in orders]

    def amend_order(self, change: OrderChange) -> None:
        self._called("amend_order", lambda: self._amend(change))

    def amend_orders(self, changes: Sequence[OrderChange]) -> list[ExchangeError | None]:
        return [self._outcome("amend_orders", lambda one=one: self._amend(one)) for one in changes]

    def orders_at_once(self) -> int:
        return self.most_at_once

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        found = list[OrderAck | ExchangeError]()

        def place_each() -> None:
            for request in requests:
                try:
                    found.append(self.place_order(request))
                except ExchangeError as error:
                    found.append(error)

        try:
            self._called("place_orders", place_each)
        except ExchangeError as error:
            return [error] * len(requests)
        return found

    def _outcome(self, name: str, act: Callable[[], object]) -> ExchangeError | None:
        try:
            self._called(name, act)
        except ExchangeError as error:
            return error
        return None

    def _cancel(self, link: str, by: CancelledBy = CancelledBy.REQUEST) -> None:
        for order in list(self.book.values()):
            if order.order_link_id == link and not order.status.is_final:
                ended = {"cancelled_by": by, "updated_ms": self.time_ms}
                self.book[order.order_id] = replace(order, status=OrderStatus.CANCELLED, **ended)

    def _amend(self, change: OrderChange) -> None:
        order = self._resting(change.order_link_id)
        if order is None:
            raise OrderEndedError("order not exists or too late to replace", code=110001)
        if change.qty is not None and change.qty <= order.filled_qty:
            raise OrderRejectedError("the order amount is lower than what is filled", code=110064)
        new = {"qty": change.qty or order.qty, "price": change.price or order.price}
        changed = replace(order, **new, updated_ms=self.time_ms)
        self.book[order.order_id] = changed
        if self._would_take(changed):
            self.fill(change.order_link_id, changed.qty - changed.filled_qty, self.prices[order.symbol].last)

    def _resting(self, link: str) -> Order | None:
        found = (one for one in self.book.values() if one.order_link_id == link and not one.status.is_final)
        return next(found, None)

    def _would_take(self, order: Order | OrderRequest) -> bool:
        ticker = self.prices[order.symbol]
        if order.price is None:
            return True
        return order.price >= ticker.ask if order.side is Side.BUY else order.price <= ticker.bid

    def fill(self, link: str, qty: Decimal | int | str, price: Decimal | None = None) -> None:
        """So much of an order that rests is filled, at its own price."""
        with self._lock:
            order = self._resting(link)
            assert order is not None and order.price is not None
            more, at = Decimal(qty), order.price if price is None else price
            filled = order.filled_qty + more
            value = (order.average_price or Decimal(0)) * order.filled_qty + at * more
            status = OrderStatus.FILLED if filled == order.qty else OrderStatus.PARTIALLY_FILLED
            done = replace(
                order, status=status, filled_qty=filled, average_price=value / filled, updated_ms=self.time_ms
            )
            self.book[order.order_id] = done
            self._book_trade(replace(done, qty=more), at, FillKind.TRADE)

    def cancel_by(self, link: str, by: CancelledBy = CancelledBy.REQUEST) -> None:
        """Somebody else cancels an order that rests: a person, or the venue."""
        with self._lock:
            self._cancel(link, by)

    def fee_rates(self) -> list[FeeRate]:
        return [FeeRate(symbol, Decimal("0.0004"), Decimal("0.0001")) for symbol in ("BTCUSDT", "ETHUSDT")]

    def set_stops(
        self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None, send_by: SendBy | None = None
    ) -> None:
        if send_by is not None:
            send_by.require()
        self._called("set_stops", lambda: self._attach(symbol, stop_loss, take_profit))

    def executions(self, start_ms: int, end_ms: int) -> Rows[Execution]:
        return self._rows("executions", lambda: [row for row in self.trades if start_ms <= row.time_ms < end_ms])

    def closed_pnl(self, start_ms: int, end_ms: int) -> Rows[ClosedPnl]:
        return self._rows("closed_pnl", lambda: [row for row in self.closings if start_ms <= row.updated_ms < end_ms])

    def transactions(self, start_ms: int, end_ms: int) -> Rows[Transaction]:
        """The account's log: its executions and closings as they changed the balance, and `transfers`."""
        return self._rows("transactions", lambda: [row for row in self._logged() if start_ms <= row.time_ms < end_ms])

    def close(self) -> None:
        self.calls["close"] += 1

    # What happens at the venue

    def _logged(self) -> list[Transaction]:
        gross = {row.order_id: row.pnl + row.open_fee + row.close_fee for row in self.closings}
        kinds = {
            FillKind.FUNDING: TransactionKind.FUNDING,
            FillKind.LIQUIDATION: TransactionKind.LIQUIDATION,
            FillKind.ADL: TransactionKind.ADL,
            FillKind.SETTLEMENT: TransactionKind.SETTLEMENT,
        }
        trades = [
            Transaction(
                transaction_id=f"log-{row.exec_id}",
                kind=kinds.get(row.kind, TransactionKind.TRADE),
                word=row.exec_type,
                coin="USDT",
                symbol=row.symbol,
                change=gross.get(row.order_id, Decimal(0)) - row.fee,
                balance=self.balance,
                fee=Decimal(0) if row.kind is FillKind.FUNDING else row.fee,
                funding=-row.fee if row.kind is FillKind.FUNDING else Decimal(0),
                order_id=row.order_id,
                time_ms=row.time_ms,
            )
            for row in self.trades
        ]
        return sorted([*trades, *self.transfers], key=lambda row: row.time_ms)

    def _wallet(self) -> Wallet:
        margin = sum((p.size * p.entry_price / p.leverage for p in self.open.values()), Decimal(0))
        unrealised = sum((self._unrealised(p) for p in self.open.values()), Decimal(0))
        equity = self.balance + unrealised
        return Wallet(equity, self.balance, equity - margin, margin, margin / 10, unrealised)

    def _unrealised(self, position: Position) -> Decimal:
        sign = 1 if position.side is Side.BUY else -1
        return sign * position.size * (self.prices[position.symbol].mark - position.entry_price)

    def _look(self, wanted: Callable[[Order], bool]) -> Order | None:
        if self.hidden_looks > 0:
            self.hidden_looks -= 1
            return None
        return next((order for order in self.book.values() if wanted(order)), None)

    def _attach(self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None) -> None:
        held = self.open.get(symbol)
        if held is None:
            raise OrderRejectedError("can not set tp/sl/ts for zero position", code=10001)
        self._require_stop_side(symbol, held.side, stop_loss)
        self.open[symbol] = replace(held, stop_loss=stop_loss, take_profit=take_profit)

    def _require_stop_side(self, symbol: str, side: Side, stop_loss: Decimal | None) -> None:
        sign = 1 if side is Side.BUY else -1
        if stop_loss is not None and sign * (self.prices[symbol].last - stop_loss) <= 0:
            raise PriceRefusedError("StopLoss is on the wrong side of the price", code=10001)

    def _place(self, request: OrderRequest) -> OrderAck:
        if any(order.order_link_id == request.order_link_id for order in self.book.values()):
            raise OrderRejectedError("OrderLinkedID is duplicate", code=110072)
        if request.reduce_only and request.symbol not in self.open:
            raise OrderRejectedError("current position is zero, cannot fix reduce-only order qty", code=110017)
        if not request.reduce_only:
            self._require_stop_side(request.symbol, request.side, request.stop_loss)
            price, leverage = self.prices[request.symbol].last, self.leverages.get(request.symbol, Decimal(1))
            if request.qty * price / leverage > (self._wallet().available or 0):
                raise InsufficientBalanceError("ab not enough for new order", code=110007)
        self.accepted.append(request.order_link_id)
        if request.trigger_price is not None:
            order = self._wait(request)
        elif request.price is not None and (request.post_only or not self._would_take(request)):
            order = self._rest(request)
        else:
            order = self._fill(request)
        return OrderAck(order.order_id, request.order_link_id)

    def _rest(self, request: OrderRequest) -> Order:
        """Into the book, until `fill`; one that is post-only and would take ends at once."""
        refused = request.post_only and self._would_take(request)
        status = OrderStatus.CANCELLED if refused else OrderStatus.NEW
        order = self._order(request, status, OrderPurpose.ORDINARY, None)
        reason = RejectReason.POST_ONLY if refused else None
        order = replace(order, price=request.price, post_only=request.post_only, reject_reason=reason)
        self.book[order.order_id] = order
        return order

    def _wait(self, request: OrderRequest) -> Order:
        """Rest until the price comes to the trigger; see `set_price`."""
        sign = 1 if request.side is Side.BUY else -1
        trigger = request.trigger_price
        if trigger is None or sign * (self.prices[request.symbol].last - trigger) >= 0:
            raise PriceRefusedError("the price has come to the trigger already", code=110093)
        order = self._order(request, OrderStatus.UNTRIGGERED, OrderPurpose.CONDITIONAL, None)
        self.book[order.order_id] = order
        return order

    def _fill(
        self,
        request: OrderRequest,
        purpose: OrderPurpose = OrderPurpose.ORDINARY,
        *,
        price: Decimal | None = None,
        kind: FillKind = FillKind.TRADE,
    ) -> Order:
        price = self.prices[request.symbol].last if price is None else price
        status = OrderStatus.FILLED if request.reduce_only else self.status_of_new
        if request.reduce_only and self.thin_exits and purpose is OrderPurpose.ORDINARY:
            self.thin_exits -= 1
            status = OrderStatus.CANCELLED
        order = self._order(request, status, purpose, price)
        self.book[order.order_id] = order
        if status is OrderStatus.FILLED:
            self._book_trade(order, price, kind)
        return order

    def _order(self, request: OrderRequest, status: OrderStatus, purpose: OrderPurpose, price: Decimal | None) -> Order:
        self._ids += 1
        filled = status is OrderStatus.FILLED
        return Order(
            symbol=request.symbol,
            order_id=f"{self.mark}order-{self._ids}",
            order_link_id=request.order_link_id,
            side=request.side,
            status=status,
            purpose=purpose,
            qty=request.qty,
            filled_qty=request.qty if filled else Decimal(0),
            average_price=price if filled else None,
            fee=request.qty * price * FEE_RATE if filled and price is not None else Decimal(0),
            reduce_only=request.reduce_only,
            stop_loss=request.stop_loss,
            take_profit=request.take_profit,
            trigger_price=request.trigger_price,
            reject_reason=RejectReason.NO_LIQUIDITY if status is OrderStatus.CANCELLED else None,
            venue_reason="",
            created_ms=self.time_ms,
            updated_ms=self.time_ms,
        )

    def finish(self, link: str) -> None:
        """An order that was still open at the venue is filled now."""
        with self._lock:
            order = next(order for order in self.book.values() if order.order_link_id == link)
            price = self.prices[order.symbol].last
            done = replace(order, status=OrderStatus.FILLED, filled_qty=order.qty, average_price=price)
            self.book[order.order_id] = done
            self._book_trade(done, price, FillKind.TRADE)

    def _book_trade(self, order: Order, price: Decimal, kind: FillKind) -> None:
        fee = order.qty * price * FEE_RATE
        held = self.open.get(order.symbol)
        closes = held is not None and held.side is not order.side
        self.trades.append(
            Execution(
                exec_id=f"{self.mark}exec-{len(self.trades) + 1}",
                symbol=order.symbol,
                order_id=order.order_id,
                order_link_id=order.order_link_id,
                side=order.side,
                kind=kind,
                exec_type=_WORDS.get(kind, kind.value),
                price=price,
                qty=order.qty,
                value=order.qty * price,
                fee=fee,
                fee_rate=FEE_RATE,
                is_maker=False,
                closed_size=order.qty if closes else Decimal(0),
                purpose=order.purpose,
                time_ms=self.time_ms,
            )
        )
        self.balance -= fee
        if held is not None and closes:
            self._close(held, order, price, fee, kind)
            return
        size = order.qty + (held.size if held is not None else 0)
        self.open[order.symbol] = Position(
            symbol=order.symbol,
            side=order.side,
            size=size,
            entry_price=price,
            mark_price=self.prices[order.symbol].mark,
            leverage=self.leverages.get(order.symbol, Decimal(1)),
            unrealised_pnl=Decimal(0),
            realised_pnl=-fee,
            liquidation_price=None,
            stop_loss=order.stop_loss if self.attaches_stops else None,
            take_profit=order.take_profit if self.attaches_stops else None,
            position_idx=0,
            opened_ms=self.time_ms,
            updated_ms=self.time_ms,
        )

    def _close(self, held: Position, order: Order, price: Decimal, fee: Decimal, kind: FillKind) -> None:
        qty = min(held.size, order.qty)
        sign = 1 if held.side is Side.BUY else -1
        gross = sign * qty * (price - held.entry_price)
        open_fee = qty * held.entry_price * FEE_RATE
        self.balance += gross
        self.closings.append(
            ClosedPnl(
                symbol=order.symbol,
                order_id=order.order_id,
                side=order.side,
                qty=qty,
                entry_price=held.entry_price,
                exit_price=price,
                pnl=gross - open_fee - fee,
                open_fee=open_fee,
                close_fee=fee,
                kind=kind,
                created_ms=self.time_ms,
                updated_ms=self.time_ms,
            )
        )
        if qty == held.size:
            del self.open[order.symbol]
        else:
            self.open[order.symbol] = replace(held, size=held.size - qty)
