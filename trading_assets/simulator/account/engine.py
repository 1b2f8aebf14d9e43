"""The account engine: commands of the client and the passing of time, applied to the account's state.

Commands check everything first and change afterwards, so a refused one changes nothing. Time is an argument;
every command needs the account settled up to it. No HTTP and no storage.
"""

from __future__ import annotations

from copy import copy
from decimal import Decimal

from trading_assets.exchange.models import OrderStatus, Side
from trading_assets.simulator.account import rules, stops
from trading_assets.simulator.account.booking import book_funding
from trading_assets.simulator.account.liquidation import taken_over
from trading_assets.simulator.account.margin import (
    AccountFigures,
    account_figures,
    exposure_of,
    opening_side,
)
from trading_assets.simulator.account.matching import Matching
from trading_assets.simulator.account.models import (
    CONDITIONAL,
    LAST_PRICE,
    LONG_LEG,
    ONE_WAY,
    SHORT_LEG,
    STOP_LOSS,
    TAKE_PROFIT,
    ZERO,
    Amendment,
    Order,
    OrderCommand,
    Position,
    StopCommand,
)
from trading_assets.simulator.account.pricing import (
    best_price,
    contract_of,
    hidden_limit,
    is_tradable,
    last_price,
    mark_price,
    on_tick,
    price_band,
    snapped,
)
from trading_assets.simulator.account.settlement import Event, EventFinder, EventKind
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.market.base import Contract, Market
from trading_assets.simulator.wire import Refusal

BEFORE_LIQUIDATION = "CancelAllBeforeLiq"
AT_DELIVERY = "CancelBySettle"
MODE_MISMATCH = "position idx not match position mode"


class AccountEngine:
    """One account on one market."""

    def __init__(self, market: Market, state: AccountState) -> None:
        self.market = market
        self.state = state
        self._matching = Matching(market, state)
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
        """A new order: checked, then matched, put into the book, or left to wait for its trigger.

        Raises:
            Refusal: nothing was placed.
        """
        contract = self._tradable(command.symbol, now_ms)
        rules.check_link(command.order_link_id, command.order_link_id in self.state.links)
        self._check_mode(contract, command.position_idx)
        position = self.state.look_up(command.symbol, command.position_idx)
        closes = command.position_idx != ONE_WAY and command.side is not opening_side(command.position_idx)
        reduce_only = command.reduce_only or closes
        at_market = command.order_type == "Market"
        conditional = command.trigger_price is not None
        waiting = [order for order in self.state.open_orders.values() if order.symbol == command.symbol]
        rules.check_room(waiting, conditional=conditional)
        mark, last = mark_price(self.market, contract, now_ms), last_price(self.market, contract, now_ms)
        price = ZERO if at_market else rules.check_price(contract, "price", command.price)
        if command.trigger_price is not None:
            current = self._watched_price(contract, command.trigger_by, now_ms)
            rules.check_trigger(contract, command.trigger_price, command.trigger_direction, current, command.trigger_by)
        elif not at_market:
            highest, lowest = price_band(self.market, contract, now_ms)
            price = min(price, highest) if command.side is Side.BUY else max(price, lowest)
        qty = self._quantity(contract, position, command, reduce_only=reduce_only)
        base = price or command.trigger_price or last
        rules.check_stops(contract, command.side, base, command.stop_loss, command.take_profit)
        rules.check_exit_limits(contract, command)
        if command.tpsl_mode == "Partial":
            parts = (command.stop_loss is not None) + (command.take_profit is not None)
            rules.check_parts(self.state.orders_of(position), parts)
        if not conditional:
            best = best_price(self.market, contract, command.side, now_ms)
            estimate = price or max(mark, best or mark)
            opening = ZERO if reduce_only else qty
            opening -= min(opening, rules.closable(position, command.side))
            rules.check_notional(contract, opening * (price or best or mark))
            if not reduce_only:
                account = self.figures(now_ms)
                rules.check_margin(self.state, account, contract, position, command.side, qty, estimate, mark)
            if at_market:
                limit = hidden_limit(contract, command.side, mark)
                limit = rules.market_limit(command, limit, best, contract.tick_size)
                price = snapped(contract, command.side, limit)
        order = Order(
            order_id=self.state.new_id("order"),
            order_link_id=command.order_link_id,
            symbol=command.symbol,
            side=command.side,
            qty=qty,
            created_ms=now_ms,
            updated_ms=now_ms,
            sequence=self.state.header.sequence,
            status=OrderStatus.UNTRIGGERED if conditional else OrderStatus.NEW,
            order_type=command.order_type,
            time_in_force="IOC" if at_market else command.time_in_force or "GTC",
            price=price,
            reduce_only=reduce_only,
            close_on_trigger=command.close_on_trigger,
            create_type="CreateByClosing" if command.close_on_trigger else "CreateByUser",
            stop_order_type=CONDITIONAL if conditional else "",
            trigger_price=command.trigger_price,
            trigger_direction=command.trigger_direction if conditional else 0,
            trigger_by=command.trigger_by,
            position_idx=command.position_idx,
            tpsl_mode=command.tpsl_mode or ("Full" if command.stop_loss or command.take_profit else ""),
            tp_trigger_by=command.tp_trigger_by,
            sl_trigger_by=command.sl_trigger_by,
            tp_limit_price=command.tp_limit_price,
            sl_limit_price=command.sl_limit_price,
            take_profit=command.take_profit,
            stop_loss=command.stop_loss,
            last_price_on_created=last,
        )
        self.state.add_order(order)
        if not conditional:
            self._matching.enter(order, now_ms)
        return order

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
        contract = contract_of(self.market, symbol)
        new = copy(order)
        new.qty = order.qty if change.qty is None else self._amended_quantity(order, change.qty)
        new.price = order.price if change.price is None else change.price
        new.trigger_price = order.trigger_price if change.trigger_price is None else change.trigger_price
        new.take_profit = order.take_profit if change.take_profit is None else change.take_profit or None
        new.stop_loss = order.stop_loss if change.stop_loss is None else change.stop_loss or None
        if new == order:
            raise Refusal(10001, "The order remains unchanged as the parameters entered match the existing ones.")
        self._check_amendment(contract, order, new, now_ms)
        new.updated_ms = now_ms
        if new.stop_loss is not None or new.take_profit is not None:
            new.tpsl_mode = new.tpsl_mode or "Full"
        self.state.add_order(new)
        if new.is_active and (new.price, new.qty) != (order.price, order.qty):
            self._matching.enter(new, now_ms)
        return new

    def cancel(self, symbol: str, order_id: str, order_link_id: str, now_ms: int) -> Order:
        """Cancel a waiting order.

        Raises:
            Refusal: 110001 unknown, 110008 or 110010 already final.
        """
        order = self._open_order(symbol, order_id, order_link_id)
        stops.end(self.state, order, stops.BY_USER, now_ms)
        return order

    def cancel_all(self, orders: list[Order], now_ms: int) -> None:
        """Cancel these waiting orders."""
        for order in orders:
            if order.is_open:
                stops.end(self.state, order, stops.BY_USER, now_ms)

    def open_orders(self) -> list[Order]:
        """Waiting orders, newest first."""
        return sorted(self.state.open_orders.values(), key=lambda order: order.sequence, reverse=True)

    def set_leverage(self, symbol: str, leverage: Decimal, now_ms: int) -> None:
        """Leverage of the present and future positions of a symbol.

        Raises:
            Refusal: 110043 unchanged, 110013 above the maximum, 110012 margin missing, 10001 malformed.
        """
        contract = contract_of(self.market, symbol)
        mark = mark_price(self.market, contract, now_ms)
        state = self.state
        indexes = (LONG_LEG, SHORT_LEG) if state.is_hedged(symbol, contract.settle_coin) else (ONE_WAY,)
        new = [leg for index in indexes if (leg := state.look_up(symbol, index)).key not in state.positions]
        legs = [*state.legs(symbol), *new]
        largest = max(exposure_of(self.state, leg, mark).largest for leg in legs)
        rules.check_leverage(contract, legs, leverage, largest)
        before = self.figures(now_ms)
        old = {leg.key: leg.leverage for leg in legs}
        for leg in legs:
            state.positions[leg.key] = leg
            leg.leverage = leverage
        try:
            rules.check_leverage_margin(before, self.figures(now_ms))
        except Refusal:
            for leg in legs:
                leg.leverage = old[leg.key]
            for leg in new:
                del state.positions[leg.key]
            raise
        for leg in legs:
            leg.updated_ms = now_ms
            self.state.touch(leg)
        self.state.next_sequence()

    def switch_mode(self, symbol: str, coin: str, *, hedge: bool) -> None:
        """One-way or hedge mode, of a symbol or of all of a settle coin.

        Raises:
            Refusal: 110025 unchanged, 110024 a position and 110028 an order is open.
        """
        header = self.state.header
        if symbol:
            contract = contract_of(self.market, symbol)
            symbols, unchanged = {symbol}, self.state.is_hedged(symbol, contract.settle_coin) is hedge
        else:
            symbols = {name for name, contract in self.market.contracts.items() if contract.settle_coin == coin}
            exceptions = set(header.one_way) | set(header.hedged) & symbols
            unchanged = (coin in header.hedged) is hedge and not exceptions & symbols
        if unchanged:
            raise Refusal(110025, "Position mode is not modified")
        if any(position.symbol in symbols for position in self.state.open_positions()):
            raise Refusal(110024, "You have an existing position, so the position mode cannot be switched")
        if any(order.symbol in symbols for order in self.state.open_orders.values()):
            raise Refusal(110028, "You have existing open orders, so the position mode cannot be switched")
        header.hedged = [name for name in header.hedged if name not in symbols and (symbol or name != coin)]
        header.one_way = [name for name in header.one_way if name not in symbols]
        (header.hedged if hedge else header.one_way).append(symbol or coin)
        if not symbol and not hedge:
            header.one_way.remove(coin)
        self.state.touch(header)
        for name in symbols & {position.symbol for position in self.state.positions.values()}:
            for index in (LONG_LEG, SHORT_LEG) if hedge else (ONE_WAY,):
                self.state.touch(self.state.position(name, index))

    def set_stops(self, symbol: str, stop_loss: Decimal | None, take_profit: Decimal | None, now_ms: int) -> None:
        """`change_stops` of a one-way position, Full and by last price."""
        self.change_stops(StopCommand(symbol, stop_loss=stop_loss, take_profit=take_profit), now_ms)

    def change_stops(self, command: StopCommand, now_ms: int) -> None:
        """Set, change or (with zero) cancel stop and target of an open position; None leaves one as it is.

        In Partial mode a pair is added.

        Raises:
            Refusal: 34040 nothing would change, 10001 no position, or a level on the wrong side.
        """
        contract = contract_of(self.market, command.symbol)
        self._check_mode(contract, command.position_idx)
        position = self.state.look_up(command.symbol, command.position_idx)
        side = position.side
        if side is None:
            raise Refusal(10001, "can not set tp/sl/ts for zero position")
        partial = command.tpsl_mode == "Partial"
        wanted = (
            stops.Level(STOP_LOSS, command.stop_loss, command.sl_trigger_by, command.sl_limit_price)
            if command.stop_loss is not None
            else None,
            stops.Level(TAKE_PROFIT, command.take_profit, command.tp_trigger_by, command.tp_limit_price)
            if command.take_profit is not None
            else None,
        )
        levels = [level for level in wanted if level is not None and (partial or self._changes(position, level))]
        if not levels or (partial and not any(level.price for level in levels)):
            raise Refusal(34040, "not modified")
        prices = {level.kind: level.price or None for level in levels}
        last = last_price(self.market, contract, now_ms)
        rules.check_stops(contract, side, last, prices.get(STOP_LOSS), prices.get(TAKE_PROFIT))
        rules.check_exit_limits(contract, command)
        if partial:
            levels = [level for level in levels if level.price]
            qty = abs(position.size) if command.size is None else command.size
            rules.check_quantity(contract, qty, at_market=True)
            rules.check_parts(self.state.orders_of(position), len(levels))
            size = min(qty, abs(position.size))
            stops.attach_part(self.market, self.state, position, levels, size, None, now_ms)
            return
        for level in levels:
            existing = stops.stop_order(self.state, position, level.kind)
            if level.price:
                stops.attach(self.market, self.state, position, level, "", now_ms)
            elif existing is not None:
                stops.end(self.state, existing, stops.BY_USER, now_ms)

    def stop_price(self, position: Position, kind: str) -> Decimal | None:
        """Trigger price of the position's Full stop or target, or None."""
        order = stops.stop_order(self.state, position, kind)
        return order.trigger_price if order is not None else None

    def _changes(self, position: Position, level: stops.Level) -> bool:
        existing = stops.stop_order(self.state, position, level.kind)
        if existing is None:
            return level.price != 0
        return (level.price, level.trigger_by) != (existing.trigger_price, existing.trigger_by)

    def _watched_price(self, contract: Contract, trigger_by: str, now_ms: int) -> Decimal:
        if trigger_by == LAST_PRICE:
            return last_price(self.market, contract, now_ms)
        if trigger_by == "MarkPrice":
            return mark_price(self.market, contract, now_ms)
        return on_tick(contract, self.market.index_price(contract.symbol, now_ms))

    def _check_mode(self, contract: Contract, position_idx: int) -> None:
        hedged = self.state.is_hedged(contract.symbol, contract.settle_coin)
        if (position_idx == ONE_WAY) is hedged:
            raise Refusal(10001, MODE_MISMATCH)

    def _open_order(self, symbol: str, order_id: str, order_link_id: str) -> Order:
        order = self.state.order_by(order_id, order_link_id)
        if order is None or order.symbol != symbol:
            raise Refusal(110001, "order not exists or too late to cancel")
        if order.status is OrderStatus.FILLED:
            raise Refusal(110008, "Order has been completed or cancelled.")
        if not order.is_open:
            raise Refusal(110010, "Order has been cancelled.")
        return order

    def _tradable(self, symbol: str, now_ms: int) -> Contract:
        contract = contract_of(self.market, symbol)
        if not is_tradable(contract, now_ms):
            raise Refusal(110074, "This contract is not live")
        return contract

    def _quantity(self, contract: Contract, position: Position, command: OrderCommand, *, reduce_only: bool) -> Decimal:
        at_market = command.order_type == "Market"
        close_all = command.qty == 0 and command.reduce_only and command.close_on_trigger
        if not reduce_only:
            rules.check_quantity(contract, command.qty, at_market=at_market)
            return command.qty
        if command.stop_loss is not None or command.take_profit is not None:
            raise Refusal(10001, "params error: a reduce-only order cannot have takeProfit or stopLoss")
        if not close_all:
            rules.check_quantity(contract, command.qty, at_market=at_market)
        if command.trigger_price is not None and not close_all:
            return command.qty  # cut to the position when it is triggered
        return rules.reduced_quantity(position, command.side, abs(position.size) if close_all else command.qty)

    def _amended_quantity(self, order: Order, qty: Decimal) -> Decimal:
        """What follows the position cannot be made larger than it."""
        parts = order.is_exit and order.tpsl_mode == "Partial"
        if not parts and not (order.reduce_only and order.is_active):
            return qty
        position = self.state.look_up(order.symbol, order.position_idx)
        return min(qty, order.filled_qty + rules.closable(position, order.side))

    def _check_amendment(self, contract: Contract, order: Order, new: Order, now_ms: int) -> None:
        at_market = order.order_type == "Market"
        if new.qty != order.qty:
            if order.is_exit and order.tpsl_mode == "Full":
                raise Refusal(10001, "params error: a stop of the whole position has no quantity of its own")
            rules.check_quantity(contract, new.qty, at_market=at_market)
            if new.qty <= order.filled_qty:
                raise Refusal(10001, "params error: qty must be above what is filled")
        if new.price != order.price:
            if at_market:
                raise Refusal(10001, "params error: a market order has no price")
            rules.check_price(contract, "price", new.price)
            if order.is_active:
                highest, lowest = price_band(self.market, contract, now_ms)
                new.price = min(new.price, highest) if order.side is Side.BUY else max(new.price, lowest)
        if new.trigger_price != order.trigger_price:
            if order.status is not OrderStatus.UNTRIGGERED or new.trigger_price is None:
                raise Refusal(10001, "params error: the order does not wait for a trigger")
            current = self._watched_price(contract, order.trigger_by, now_ms)
            rules.check_trigger(contract, new.trigger_price, order.trigger_direction, current, order.trigger_by)
        if (new.stop_loss, new.take_profit) != (order.stop_loss, order.take_profit):
            if order.reduce_only:
                raise Refusal(10001, "params error: a reduce-only order cannot have takeProfit or stopLoss")
            base = new.price if not at_market else new.trigger_price or last_price(self.market, contract, now_ms)
            rules.check_stops(contract, order.side, base, new.stop_loss, new.take_profit)
        if new.is_active and not new.reduce_only:
            position = self.state.look_up(order.symbol, order.position_idx)
            mark = mark_price(self.market, contract, now_ms)
            price = new.price if order.side is Side.BUY else max(new.price, mark)
            more = new.left_qty * price - order.left_qty * order.price
            if more > 0:
                account = self.figures(now_ms)
                rules.check_margin(self.state, account, contract, position, order.side, more / price, price, mark)

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
            case EventKind.LIQUIDATION:
                self._liquidate(now)
            case EventKind.DELIVERY:
                self._deliver(event.subject, now)

    def _liquidate(self, now_ms: int) -> None:
        """First orders go, then one position after the other is taken over, until the margin suffices.

        What happened earlier in the same millisecond, a stop perhaps, may have saved the account.
        """
        if not self.figures(now_ms).must_be_liquidated:
            return
        for order in self.open_orders():
            if order.is_active:
                stops.end(self.state, order, BEFORE_LIQUIDATION, now_ms)
        while (account := self.figures(now_ms)).must_be_liquidated:
            item, qty, price = taken_over(account)
            self._matching.settle_order(
                item.position, qty, price, now_ms, create_type="CreateByTakeOver_PassThrough", exec_type="BustTrade"
            )

    def _deliver(self, symbol: str, now_ms: int) -> None:
        """A dated future ends: its orders are cancelled, its positions closed at the mark price without a fee."""
        mark = mark_price(self.market, self.market.contracts[symbol], now_ms)
        for position in self.state.legs(symbol):
            self._matching.settle_order(
                position, abs(position.size), mark, now_ms, create_type="CreateBySettle", exec_type="Settle"
            )
        for order in self.open_orders():
            if order.symbol == symbol:
                stops.end(self.state, order, AT_DELIVERY, now_ms)
