"""Orders as a client commands them: placed and amended. Everything is checked before anything changes."""

from __future__ import annotations

from copy import copy
from decimal import ROUND_CEILING, Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account import order_rules as rules
from trading_assets.simulator.account.margin import account_figures, opening_side
from trading_assets.simulator.account.matching import Matching
from trading_assets.simulator.account.models import (
    CONDITIONAL,
    LAST_PRICE,
    MARK_PRICE,
    NO_ORDER_FAULT,
    ONE_WAY,
    ZERO,
    Amendment,
    Order,
    OrderCommand,
    OrderFault,
    Position,
)
from trading_assets.simulator.account.pricing import (
    best_price,
    contract_of,
    hidden_limit,
    last_price,
    mark_price,
    on_tick,
    price_band,
    snapped,
    status_of,
)
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.codec import Refusal, plain
from trading_assets.simulator.market.base import Contract, Market


def place(
    market: Market,
    state: AccountState,
    matching: Matching,
    command: OrderCommand,
    now_ms: int,
    fault: OrderFault = NO_ORDER_FAULT,
) -> Order:
    """A new order: checked, then matched, put into the book, or left to wait for its trigger.

    Under a `fault` it may be taken and then rejected, or filled in parts.

    Raises:
        Refusal: nothing was placed.
    """
    contract = contract_of(market, command.symbol)
    rules.check_link(command.order_link_id, command.order_link_id in state.links)
    check_mode(state, contract, command.position_idx)
    position = state.look_up(command.symbol, command.position_idx)
    closes = command.position_idx != ONE_WAY and command.side is not opening_side(command.position_idx)
    reduce_only = command.reduce_only or closes
    check_status(contract, now_ms, reduce_only=reduce_only)
    at_market = command.order_type == "Market"
    conditional = command.trigger_price is not None
    waiting = [order for order in state.open_orders.values() if order.symbol == command.symbol]
    rules.check_room(contract, waiting, conditional=conditional)
    mark, last = mark_price(market, contract, now_ms), last_price(market, contract, now_ms)
    price = ZERO if at_market else rules.check_price(contract, "price", command.price)
    if command.trigger_price is not None:
        current = watched_price(market, contract, command.trigger_by, now_ms)
        rules.check_trigger(contract, command.trigger_price, command.trigger_direction, current, command.trigger_by)
    elif not at_market:
        price = _within_band(market, state, contract, command.side, price, now_ms)
    qty = _quantity(contract, position, command, reduce_only=reduce_only)
    base = price or command.trigger_price or last
    rules.check_stops(contract, command.side, base, command.stop_loss, command.take_profit)
    rules.check_exit_limits(contract, command)
    if command.tpsl_mode == "Partial":
        parts = (command.stop_loss is not None) + (command.take_profit is not None)
        rules.check_parts(state.orders_of(position), parts)
    if not conditional:
        best = best_price(market, contract, command.side, now_ms)
        estimate = price or max(mark, best or mark)
        opening = ZERO if reduce_only else qty
        opening -= min(opening, rules.closable(position, command.side))
        rules.check_notional(contract, opening * (price or best or mark))
        if not reduce_only:
            account = account_figures(state, market, now_ms)
            rules.check_margin(state, account, contract, position, command.side, qty, estimate, mark)
        if at_market:
            limit = hidden_limit(contract, command.side, mark)
            limit = rules.market_limit(command, limit, best, contract.tick_size)
            price = snapped(contract, command.side, limit)
    order = Order(
        order_id=state.new_id("order"),
        order_link_id=command.order_link_id,
        symbol=command.symbol,
        side=command.side,
        qty=qty,
        created_ms=now_ms,
        updated_ms=now_ms,
        sequence=state.header.sequence,
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
        smp_type=command.smp_type,
        last_price_on_created=last,
    )
    if fault.reject_reason:
        order.status, order.reject_reason = OrderStatus.REJECTED, fault.reject_reason
        state.add_order(order)
        return order
    if fault.fill_parts > 1:
        steps = (qty / fault.fill_parts / contract.qty_step).to_integral_value(ROUND_CEILING)
        order.part_qty = steps * contract.qty_step
    state.add_order(order)
    if not conditional:
        matching.enter(order, now_ms)
    return order


def amend(
    market: Market, state: AccountState, matching: Matching, order: Order, change: Amendment, now_ms: int
) -> Order:
    """Change a waiting order. One in the book meets the market again.

    Raises:
        Refusal: 10001 nothing would change, or a value is invalid.
    """
    contract = contract_of(market, order.symbol)
    new = copy(order)
    new.qty = order.qty if change.qty is None else _amended_quantity(state, order, change.qty)
    new.price = order.price if change.price is None else change.price
    new.trigger_price = order.trigger_price if change.trigger_price is None else change.trigger_price
    new.take_profit = order.take_profit if change.take_profit is None else change.take_profit or None
    new.stop_loss = order.stop_loss if change.stop_loss is None else change.stop_loss or None
    if new == order:
        raise Refusal(10001, "order not modified")
    _check_amendment(market, state, contract, order, new, now_ms)
    new.updated_ms = now_ms
    if new.stop_loss is not None or new.take_profit is not None:
        new.tpsl_mode = new.tpsl_mode or "Full"
    state.add_order(new)
    if new.is_active and (new.price, new.qty) != (order.price, order.qty):
        matching.enter(new, now_ms)
    return new


def _within_band(
    market: Market, state: AccountState, contract: Contract, side: Side, price: Decimal, now_ms: int
) -> Decimal:
    """A price that the band takes: moved to its edge, or refused, as the account has it."""
    highest, lowest = price_band(market, contract, now_ms)
    inside = min(price, highest) if side is Side.BUY else max(price, lowest)
    if inside != price and not state.header.moves_prices:
        if side is Side.BUY:
            raise Refusal(110120, f"Order price is above the upper price limit {plain(highest)}")
        raise Refusal(110121, f"Order price is below the lower price limit {plain(lowest)}")
    return inside


def watched_price(market: Market, contract: Contract, trigger_by: str, now_ms: int) -> Decimal:
    if trigger_by == LAST_PRICE:
        return last_price(market, contract, now_ms)
    if trigger_by == MARK_PRICE:
        return mark_price(market, contract, now_ms)
    return on_tick(contract, market.index_price(contract.symbol, now_ms))


def check_mode(state: AccountState, contract: Contract, position_idx: int) -> None:
    hedged = state.is_hedged(contract.symbol, contract.settle_coin)
    if (position_idx == ONE_WAY) is hedged:
        raise Refusal(10001, "position idx not match position mode")


def check_status(contract: Contract, now_ms: int, *, reduce_only: bool) -> None:
    """A contract that is being delivered can only be left."""
    match status_of(contract, now_ms):
        case "Trading":
            return
        case "Settling":
            raise Refusal(110063, "Settlement in progress! not available for trading.")
        case "Delivering":
            if not reduce_only:
                raise Refusal(30228, "No new positions during delisting.")
        case _:
            raise Refusal(110074, "This contract is not live")


def _quantity(contract: Contract, position: Position, command: OrderCommand, *, reduce_only: bool) -> Decimal:
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


def _amended_quantity(state: AccountState, order: Order, qty: Decimal) -> Decimal:
    """What follows the position cannot be made larger than it."""
    parts = order.is_exit and order.tpsl_mode == "Partial"
    if not parts and not (order.reduce_only and order.is_active):
        return qty
    position = state.look_up(order.symbol, order.position_idx)
    return min(qty, order.filled_qty + rules.closable(position, order.side))


def _check_amendment(
    market: Market, state: AccountState, contract: Contract, order: Order, new: Order, now_ms: int
) -> None:
    at_market = order.order_type == "Market"
    if new.qty != order.qty:
        if order.is_exit and order.tpsl_mode == "Full":
            raise Refusal(10001, "params error: a stop of the whole position has no quantity of its own")
        rules.check_quantity(contract, new.qty, at_market=at_market)
        if new.qty <= order.filled_qty:
            raise Refusal(110064, "The order amount is lower than the amount that is filled already")
    if new.price != order.price:
        if at_market:
            raise Refusal(10001, "params error: a market order has no price")
        rules.check_price(contract, "price", new.price)
        if order.is_active:
            new.price = _within_band(market, state, contract, order.side, new.price, now_ms)
    elif not at_market:
        rules.check_price(contract, "price", order.price)  # the tick may have changed since it was placed
    if new.trigger_price != order.trigger_price:
        if order.status is not OrderStatus.UNTRIGGERED or new.trigger_price is None:
            raise Refusal(10001, "params error: the order does not wait for a trigger")
        current = watched_price(market, contract, order.trigger_by, now_ms)
        rules.check_trigger(contract, new.trigger_price, order.trigger_direction, current, order.trigger_by)
    if (new.stop_loss, new.take_profit) != (order.stop_loss, order.take_profit):
        if order.reduce_only:
            raise Refusal(10001, "params error: a reduce-only order cannot have takeProfit or stopLoss")
        base = new.price if not at_market else new.trigger_price or last_price(market, contract, now_ms)
        rules.check_stops(contract, order.side, base, new.stop_loss, new.take_profit)
    if new.is_active and not new.reduce_only:
        position = state.look_up(order.symbol, order.position_idx)
        mark = mark_price(market, contract, now_ms)
        price = new.price if order.side is Side.BUY else max(new.price, mark)
        more = new.left_qty * price - order.left_qty * order.price
        if more > 0:
            account = account_figures(state, market, now_ms)
            rules.check_margin(state, account, contract, position, order.side, more / price, price, mark)
