"""The account engine: commands of the client and the passing of time, applied to the account's state.

Commands check everything first and change afterwards, so a refused one changes nothing. Time is an argument;
every command needs the account settled up to it. No HTTP and no storage.
"""

from __future__ import annotations

from decimal import Decimal

from trading_assets.exchange.models import OrderStatus, Side
from trading_assets.simulator.account import rules
from trading_assets.simulator.account.booking import book_fills, book_funding, new_stop
from trading_assets.simulator.account.margin import AccountFigures, account_figures
from trading_assets.simulator.account.models import (
    STOP_LOSS,
    TAKE_PROFIT,
    ZERO,
    Order,
    OrderCommand,
    Position,
)
from trading_assets.simulator.account.pricing import (
    Fill,
    best_price,
    contract_of,
    hidden_limit,
    is_tradable,
    last_price,
    mark_price,
    snapped,
    walk_book,
)
from trading_assets.simulator.account.settlement import Event, EventFinder, EventKind
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.market.base import Contract, Market
from trading_assets.simulator.wire import Refusal

CLEARED = "CancelByTpSlTsClear"


class AccountEngine:
    """One account on one market."""

    def __init__(self, market: Market, state: AccountState) -> None:
        self.market = market
        self.state = state
        self._finder = EventFinder(market)

    def settle(self, now_ms: int) -> None:
        """Let everything happen that the account lives through up to and including `now_ms`."""
        header = self.state.header
        while events := self._finder.next_events(self.state, now_ms):
            header.settled_ms = events[0].time_ms
            for event in events:
                self._happen(event)
            self.state.close_batch(header.settled_ms)
        header.settled_ms = max(header.settled_ms, now_ms)

    def figures(self, now_ms: int) -> AccountFigures:
        """Wallet, margins and valued positions."""
        return account_figures(self.state, self.market, now_ms)

    def place_order(self, command: OrderCommand, now_ms: int) -> Order:
        """A market order: checked, filled from the book at once, its rest cancelled, its stops attached.

        Raises:
            Refusal: nothing was placed.
        """
        contract = self._tradable(command.symbol, now_ms)
        rules.check_link(command.order_link_id, command.order_link_id in self.state.links)
        position = self._position(command.symbol)
        mark = mark_price(self.market, contract, now_ms)
        last = last_price(self.market, contract, now_ms)
        qty = self._quantity(contract, position, command)
        best = best_price(self.market, contract, command.side, now_ms)
        rules.check_stops(contract, command.side, last, command.stop_loss, command.take_profit)
        closing = min(qty, abs(position.size)) if position.side is command.side.opposite else ZERO
        estimate = max(mark, best or mark)
        rules.check_notional(contract, (qty - closing) * (best or mark))
        rules.check_margin(self.figures(now_ms), position, command.side, qty, estimate)
        limit = hidden_limit(contract, command.side, mark)
        limit = snapped(contract, command.side, rules.market_limit(command, limit, best, contract.tick_size))
        order = Order(
            order_id=self.state.new_id("order"),
            order_link_id=command.order_link_id,
            symbol=command.symbol,
            side=command.side,
            qty=qty,
            created_ms=now_ms,
            updated_ms=now_ms,
            sequence=self.state.header.sequence,
            price=limit,
            reduce_only=command.reduce_only,
            close_on_trigger=command.close_on_trigger,
            create_type="CreateByClosing" if command.close_on_trigger else "CreateByUser",
            take_profit=command.take_profit,
            stop_loss=command.stop_loss,
            last_price_on_created=last,
        )
        self.state.add_order(order)
        self._take(contract, order, mark, now_ms)
        position = self.state.position(command.symbol)
        if position.side is command.side and order.filled_qty:
            for kind, price in ((STOP_LOSS, command.stop_loss), (TAKE_PROFIT, command.take_profit)):
                if price is not None:
                    self._attach(position, kind, price, order.order_link_id, now_ms)
        return order

    def cancel(self, symbol: str, order_id: str, order_link_id: str, now_ms: int) -> Order:
        """Cancel a waiting order.

        Raises:
            Refusal: 110001 unknown, 110008 or 110010 already final.
        """
        order = self.state.order_by(order_id, order_link_id)
        if order is None or order.symbol != symbol:
            raise Refusal(110001, "order not exists or too late to cancel")
        if order.status is OrderStatus.FILLED:
            raise Refusal(110008, "Order has been completed or cancelled.")
        if not order.is_open:
            raise Refusal(110010, "Order has been cancelled.")
        self._deactivate(order, "CancelByUser", now_ms)
        return order

    def cancel_all(self, symbols: set[str], now_ms: int) -> list[Order]:
        """Cancel every waiting order of these symbols, newest first; stops and targets too."""
        waiting = [order for order in self.open_orders() if order.symbol in symbols]
        for order in waiting:
            self._deactivate(order, "CancelByUser", now_ms)
        return waiting

    def open_orders(self) -> list[Order]:
        """Waiting orders, newest first."""
        ids = (
            order_id
            for position in self.state.positions.values()
            for order_id in (position.stop_loss_id, position.take_profit_id)
            if order_id
        )
        return sorted((self.state.orders[i] for i in ids), key=lambda order: order.sequence, reverse=True)

    def set_leverage(self, symbol: str, leverage: Decimal, now_ms: int) -> None:
        """Leverage of the present and future position of a symbol.

        Raises:
            Refusal: 110043 unchanged, 110013 above the maximum, 110012 margin missing, 10001 malformed.
        """
        contract = contract_of(self.market, symbol)
        position = self._position(symbol)
        rules.check_leverage(contract, position.leverage, leverage)
        if position.size:
            rules.check_leverage_margin(self.figures(now_ms), position, leverage)
        position = self.state.position(symbol)
        position.leverage = leverage
        position.updated_ms = now_ms
        self.state.touch(position)

    def set_stops(self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None, now_ms: int) -> None:
        """Set, change or (with zero) cancel stop and target of the open position; None leaves one as it is.

        Raises:
            Refusal: 34040 nothing would change, 10001 no position, or a level on the wrong side.
        """
        contract = contract_of(self.market, symbol)
        position = self._position(symbol)
        side = position.side
        if side is None:
            raise Refusal(10001, "can not set tp/sl/ts for zero position")
        wanted = {STOP_LOSS: stop_loss, TAKE_PROFIT: take_profit}
        changes = {
            kind: price
            for kind, price in wanted.items()
            if price is not None and price != (self.stop_price(position, kind) or ZERO)
        }
        if not changes:
            raise Refusal(34040, "not modified")
        last = last_price(self.market, contract, now_ms)
        rules.check_stops(contract, side, last, changes.get(STOP_LOSS) or None, changes.get(TAKE_PROFIT) or None)
        for kind, price in changes.items():
            if price == 0:
                self._deactivate(self.state.orders[self._stop_id(position, kind)], "CancelByUser", now_ms)
            else:
                self._attach(position, kind, price, "", now_ms)

    def stop_price(self, position: Position, kind: str) -> Decimal | None:
        """Trigger price of the position's stop or target, or None."""
        order = self.state.orders.get(self._stop_id(position, kind))
        return order.trigger_price if order is not None else None

    def _position(self, symbol: str) -> Position:
        """The position for looking at; asking leaves no trace."""
        return self.state.positions.get(symbol) or Position(symbol)

    def _tradable(self, symbol: str, now_ms: int) -> Contract:
        contract = contract_of(self.market, symbol)
        if not is_tradable(contract, now_ms):
            raise Refusal(110074, "This contract is not live")
        return contract

    def _quantity(self, contract: Contract, position: Position, command: OrderCommand) -> Decimal:
        close_all = command.qty == 0 and command.reduce_only and command.close_on_trigger
        if command.reduce_only:
            if command.stop_loss is not None or command.take_profit is not None:
                raise Refusal(10001, "params error: a reduce-only order cannot have takeProfit or stopLoss")
            if not close_all:
                rules.check_quantity(contract, command.qty)
            return rules.reduced_quantity(position, command.side, abs(position.size) if close_all else command.qty)
        rules.check_quantity(contract, command.qty)
        return command.qty

    def _take(self, contract: Contract, order: Order, mark: Decimal, time_ms: int) -> None:
        """Fill what the book gives up to the hidden limit; the rest is cancelled."""
        fills = walk_book(self.market, contract, order.side, order.qty, limit=order.price, time_ms=time_ms)
        before = self.state.position(order.symbol).side
        book_fills(self.state, contract, order, fills, mark=mark, time_ms=time_ms)
        self._follow(self.state.position(order.symbol), before, time_ms)
        if order.filled_qty == order.qty:
            order.status = OrderStatus.FILLED
        else:
            order.status = OrderStatus.CANCELLED
            order.reject_reason = "EC_CancelForNoFullFill" if fills else "EC_NoImmediateQtyToFill"

    def _follow(self, position: Position, before: Side | None, time_ms: int) -> None:
        """Stops follow the position: cleared when it is closed or turned, else of its whole size."""
        for order_id in (position.stop_loss_id, position.take_profit_id):
            order = self.state.orders.get(order_id)
            if order is None:
                continue
            if position.side is not before:
                self._deactivate(order, CLEARED, time_ms)
            elif order.qty != abs(position.size):
                order.qty = abs(position.size)
                order.updated_ms = time_ms
                self.state.touch(order)

    def _attach(self, position: Position, kind: str, price: Decimal, parent_link: str, now_ms: int) -> None:
        existing = self.state.orders.get(self._stop_id(position, kind))
        if existing is not None:
            existing.trigger_price = price
            existing.updated_ms = now_ms
            existing.parent_order_link_id = parent_link or existing.parent_order_link_id
            self.state.touch(existing)
            return
        contract = contract_of(self.market, position.symbol)
        last = last_price(self.market, contract, now_ms)
        order = new_stop(self.state, position, kind, price, parent_link=parent_link, last=last, time_ms=now_ms)
        if kind == STOP_LOSS:
            position.stop_loss_id = order.order_id
        else:
            position.take_profit_id = order.order_id
        self.state.touch(position)

    def _detach(self, order: Order) -> None:
        position = self.state.position(order.symbol)
        if position.stop_loss_id == order.order_id:
            position.stop_loss_id = ""
        if position.take_profit_id == order.order_id:
            position.take_profit_id = ""
        self.state.touch(position)

    def _deactivate(self, order: Order, cancel_type: str, time_ms: int) -> None:
        self._detach(order)
        order.status = OrderStatus.DEACTIVATED
        order.cancel_type = cancel_type
        order.updated_ms = time_ms
        self.state.touch(order)

    @staticmethod
    def _stop_id(position: Position, kind: str) -> str:
        return position.stop_loss_id if kind == STOP_LOSS else position.take_profit_id

    def _happen(self, event: Event) -> None:
        contract = self.market.contracts[event.symbol]
        mark = mark_price(self.market, contract, event.time_ms)
        position = self.state.position(event.symbol)
        match event.kind:
            case EventKind.FUNDING:
                rate = Decimal(f"{self.market.funding_rate(event.symbol, event.time_ms):.8f}")
                book_funding(self.state, contract, rate=rate, mark=mark, time_ms=event.time_ms)
            case EventKind.STOP:
                order = self.state.orders[event.order_id]
                self._detach(order)
                order.qty = abs(position.size)
                order.price = hidden_limit(contract, order.side, mark)
                self._take(contract, order, mark, event.time_ms)
            case EventKind.DELIVERY:
                self._deliver(contract, position, mark, event.time_ms)

    def _deliver(self, contract: Contract, position: Position, mark: Decimal, time_ms: int) -> None:
        """A dated future ends: the position is closed at the mark price, without a fee."""
        side = position.side
        if side is None:
            return
        order = Order(
            order_id=self.state.new_id("order"),
            order_link_id="",
            symbol=position.symbol,
            side=side.opposite,
            qty=abs(position.size),
            created_ms=time_ms,
            updated_ms=time_ms,
            sequence=self.state.header.sequence,
            status=OrderStatus.FILLED,
            price=mark,
            reduce_only=True,
            close_on_trigger=True,
            create_type="CreateBySettle",
        )
        self.state.add_order(order)
        fills = [Fill(mark, order.qty)]
        book_fills(self.state, contract, order, fills, mark=mark, time_ms=time_ms, exec_type="Settle", fee_rate=ZERO)
        self._follow(position, side, time_ms)
