"""The account engine: commands of the client and the passing of time, applied to the account's state.

Commands check everything first and change afterwards, so a refused one changes nothing. Time is an argument;
every command needs the account settled up to it. No HTTP and no storage.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from decimal import Decimal

from trading_assets.simulator.account import holding, placing, stops
from trading_assets.simulator.account.booking import book_funding
from trading_assets.simulator.account.liquidation import taken_over
from trading_assets.simulator.account.margin import (
    AccountFigures,
    account_figures,
)
from trading_assets.simulator.account.matching import Matching
from trading_assets.simulator.account.models import (
    CROSS,
    NO_ORDER_FAULT,
    Amendment,
    Order,
    OrderCommand,
    Position,
    StopCommand,
)
from trading_assets.simulator.account.pricing import (
    mark_price,
)
from trading_assets.simulator.account.settlement import Event, EventFinder, EventKind
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.market.base import Market, UnknownPriceError

NO_PRICE = 110118
"""An order was refused since there is no price: low liquidity."""

BUSY = 10016
"""The venue cannot do it now."""

BEFORE_LIQUIDATION = "CancelAllBeforeLiq"
AT_DELIVERY = "CancelBySettle"
DCP_PRODUCT = "DERIVATIVES"
MODE_MISMATCH = "position idx not match position mode"


class AccountEngine:
    """One account on one market. `order_fault` meets the orders that are placed while it is set."""

    def __init__(self, market: Market, state: AccountState) -> None:
        self.market = market
        self.state = state
        self._matching = Matching(market, state)
        self._finder = EventFinder(market)
        self.order_fault = NO_ORDER_FAULT

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
        """A new order: checked, then matched, put into the book, or left to wait for its trigger.

        Raises:
            Refusal: nothing was placed.
        """
        self._require_price(command.symbol, now_ms, NO_PRICE)
        return placing.place(self.market, self.state, self._matching, command, now_ms, self.order_fault)

    def preview(self, command: OrderCommand, now_ms: int) -> tuple[AccountFigures, AccountFigures]:
        """The account before and after an order, which is not placed.

        Raises:
            Refusal: it would be refused.
        """
        state = AccountState(copy(self.state.header))
        state.links = dict(self.state.links)
        state.positions = {key: copy(position) for key, position in self.state.positions.items()}
        state.balances = {coin: copy(balance) for coin, balance in self.state.balances.items()}
        state.open_orders = {key: copy(order) for key, order in self.state.open_orders.items()}
        state.orders = dict(state.open_orders)
        other = AccountEngine(self.market, state)
        other.place_order(command, now_ms)
        return self.figures(now_ms), other.figures(now_ms)

    def amend(self, symbol: str, order_id: str, order_link_id: str, change: Amendment, now_ms: int) -> Order:
        """Change a waiting order. One in the book meets the market again.

        Raises:
            Refusal: 110001, 110008, 110010 as for `cancel`; 10001 nothing would change, or a value is invalid.
        """
        order = self._open_order(symbol, order_id, order_link_id)
        self._require_price(symbol, now_ms, NO_PRICE)
        if self.order_fault.act_after_ms:
            self._put_off(order, change, now_ms)
            return order
        return placing.amend(self.market, self.state, self._matching, order, change, now_ms)

    def cancel(self, symbol: str, order_id: str, order_link_id: str, now_ms: int) -> Order:
        """Cancel a waiting order.

        Raises:
            Refusal: 110001 unknown, 110008 or 110010 already final.
        """
        order = self._open_order(symbol, order_id, order_link_id)
        if self.order_fault.act_after_ms:
            self._put_off(order, None, now_ms)
        else:
            stops.end(self.state, order, stops.BY_USER, now_ms)
        return order

    def cancel_all(self, orders: list[Order], now_ms: int) -> None:
        """Cancel these waiting orders."""
        for order in orders:
            if order.is_open and self.order_fault.act_after_ms:
                self._put_off(order, None, now_ms)
            elif order.is_open:
                stops.end(self.state, order, stops.BY_USER, now_ms)

    def cancel_by_venue(self, orders: list[Order], cancel_type: str, now_ms: int) -> None:
        """The venue cancels these waiting orders, for a reason of its own."""
        for order in orders:
            if order.is_open:
                stops.end(self.state, order, cancel_type, now_ms)

    def _put_off(self, order: Order, change: Amendment | None, now_ms: int) -> None:
        """A command that is accepted now takes effect later, where the order is still open then."""
        order.due_ms, order.due_change = now_ms + self.order_fault.act_after_ms, change
        self.state.touch(order)

    def _act(self, order: Order, now_ms: int) -> None:
        change, order.due_change, order.due_ms = order.due_change, None, 0
        if change is None:
            stops.end(self.state, order, stops.BY_USER, now_ms)
            return
        self.state.touch(order)
        with suppress(Refusal):  # it was accepted before: what it can no longer be, nobody is told
            placing.amend(self.market, self.state, self._matching, order, change, now_ms)

    def watch_connection(self, *, is_connected: bool, now_ms: int) -> None:
        """Protection against disconnection: whether a client that asked for it is connected."""
        header, window = self.state.header, self.state.header.dcp_windows.get(DCP_PRODUCT, 0)
        due_ms = now_ms + window * 1000 if window and not is_connected else 0
        if header.dcp_due_ms != due_ms:
            header.dcp_due_ms = due_ms
            self.state.touch(header)

    def open_orders(self) -> list[Order]:
        """Waiting orders, newest first."""
        return sorted(self.state.open_orders.values(), key=lambda order: order.sequence, reverse=True)

    def set_leverage(self, symbol: str, leverage: Decimal, now_ms: int) -> None:
        """Leverage of the present and future positions of a symbol.

        Raises:
            Refusal: 110043 unchanged, 110013 above the maximum, 110012 margin missing, 10001 malformed.
        """
        holding.set_leverage(self.market, self.state, symbol, leverage, now_ms)

    def switch_mode(self, symbol: str, coin: str, *, hedge: bool) -> None:
        """One-way or hedge mode, of a symbol or of those of a settle coin that have neither position nor order.

        Raises:
            Refusal: of a symbol: 110025 unchanged, 110024 a position and 110028 an order is open.
        """
        holding.switch_mode(self.market, self.state, symbol, coin, hedge=hedge)

    def set_margin_mode(self, mode: str, now_ms: int) -> None:
        """Cross or isolated margin, for all of the account; asking for what is so already is no error.

        Raises:
            Refusal: 110073 what is open would lack margin.
        """
        holding.set_margin_mode(self.market, self.state, mode, now_ms)

    def change_stops(self, command: StopCommand, now_ms: int) -> None:
        """Set, change or (with zero) cancel stop and target of an open position; None leaves one as it is.

        In Partial mode a pair is added.

        Raises:
            Refusal: 34040 nothing would change, 10001 no position, or a level on the wrong side.
        """
        self._require_price(command.symbol, now_ms, BUSY)
        if command.trailing_stop and not self.market.keeps_paths:
            raise Refusal(10001, "params error: this market has no trailing stops")
        holding.change_stops(self.market, self.state, command, now_ms)

    def add_margin(self, symbol: str, position_idx: int, amount: Decimal, now_ms: int) -> Position:
        """Add margin to an isolated position, or with an `amount` below zero take back what was added.

        Raises:
            Refusal: 10001 cross margin or no position, 110014 the wallet has not so much, 110027 nothing would change.
        """
        return holding.add_margin(self.market, self.state, symbol, position_idx, amount, now_ms)

    def set_auto_add_margin(self, symbol: str, position_idx: int, on: bool, now_ms: int) -> None:
        """Note the client's wish; nothing is added by itself here.

        Raises:
            Refusal: 10001 cross margin or the wrong leg, 110027 nothing would change.
        """
        holding.set_auto_add_margin(self.market, self.state, symbol, position_idx, on, now_ms)

    def close_by_venue(self, position: Position, qty: Decimal, exec_type: str, create_type: str, now_ms: int) -> None:
        """The venue closes `qty` of a position at the mark price, as auto-deleveraging or a settlement does."""
        mark = mark_price(self.market, self.market.contracts[position.symbol], now_ms)
        self._matching.settle_order(position, qty, mark, now_ms, create_type=create_type, exec_type=exec_type)

    def stop_price(self, position: Position, kind: str) -> Decimal | None:
        """Trigger price of the position's Full stop or target, or None."""
        order = stops.stop_order(self.state, position, kind)
        return order.trigger_price if order is not None else None

    def _require_price(self, symbol: str, now_ms: int, code: int) -> None:
        if symbol not in self.market.contracts:
            return  # refused by its own name
        try:
            self.market.require_price(symbol, now_ms)
        except UnknownPriceError as error:
            raise Refusal(code, str(error)) from None

    def _open_order(self, symbol: str, order_id: str, order_link_id: str) -> Order:
        order = self.state.order_by(order_id, order_link_id)
        if order is None or order.symbol != symbol:
            raise Refusal(110001, "order not exists or too late to cancel")
        if order.status is OrderStatus.FILLED:
            raise Refusal(110008, "Order has been completed or cancelled.")
        if not order.is_open:
            raise Refusal(110010, "Order has been cancelled.")
        if order.due_ms:
            raise Refusal(110079, "The order is processing and can not be operated, please try again later")
        return order

    def _happen(self, event: Event) -> None:
        now = event.time_ms
        match event.kind:
            case EventKind.FUNDING:
                contract = self.market.contracts[event.subject]
                mark = mark_price(self.market, contract, now)
                rate = Decimal(f"{self.market.funding_rate(event.subject, now):.8f}")
                for position in self.state.legs(event.subject):
                    book_funding(self.state, contract, position, rate=rate, mark=mark, time_ms=now)
            case EventKind.ORDER:
                order = self.state.open_orders.get(event.subject)
                if order is not None:
                    self._matching.happen(order, now)
            case EventKind.COMMAND:
                order = self.state.open_orders.get(event.subject)
                if order is not None and order.due_ms == now:
                    self._act(order, now)
            case EventKind.DISCONNECTION:
                self.state.header.dcp_due_ms = 0
                self.state.touch(self.state.header)
                self.cancel_by_venue([o for o in self.open_orders() if not o.is_exit], stops.BY_DISCONNECTION, now)
            case EventKind.LIQUIDATION:
                self._liquidate(now)
            case EventKind.DELIVERY:
                self._deliver(event.subject, now)

    def _liquidate(self, now_ms: int) -> None:
        """First orders go, then one position after the other is taken over, until the margin suffices.

        What happened earlier in the same millisecond, a stop perhaps, may have saved the account. Isolated, only the
        orders of what is taken over go.
        """
        doomed = {item.position.symbol for item in self.figures(now_ms).uncovered}
        if not doomed:
            return
        cross = self.state.header.margin_mode == CROSS
        for order in self.open_orders():
            if order.is_active and (cross or order.symbol in doomed):
                stops.end(self.state, order, BEFORE_LIQUIDATION, now_ms)
        while (account := self.figures(now_ms)).must_be_liquidated:
            item, qty, price = taken_over(account)
            self._matching.settle_order(
                item.position, qty, price, now_ms, create_type="CreateByTakeOver_PassThrough", exec_type="BustTrade"
            )

    def _deliver(self, symbol: str, now_ms: int) -> None:
        """A contract ends: its orders are cancelled, its positions closed at the mark price, without order or fee."""
        mark = mark_price(self.market, self.market.contracts[symbol], now_ms)
        for position in self.state.legs(symbol):
            self._matching.settle_order(
                position, abs(position.size), mark, now_ms, create_type="CreateBySettle", exec_type="Delivery"
            )
        for order in self.open_orders():
            if order.symbol == symbol:
                stops.end(self.state, order, AT_DELIVERY, now_ms)
