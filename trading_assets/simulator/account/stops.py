"""Stops and targets of positions, and how orders end. Nothing is matched here.

Full: one stop and one target a position, always of its whole size. Partial: pairs of their own size, of which one
cancels the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading_assets.core.models import Side
from trading_assets.simulator.account.models import (
    LAST_PRICE,
    PARTIAL_STOP_LOSS,
    PARTIAL_TAKE_PROFIT,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING_STOP,
    ZERO,
    Order,
    Position,
)
from trading_assets.simulator.account.pricing import last_price
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.account.words import OrderStatus
from trading_assets.simulator.market.base import Market

CLEARED = "CancelByTpSlTsClear"
BY_USER = "CancelByUser"
BY_REDUCE_ONLY = "CancelByReduceOnly"
BY_SELF_MATCH = "CancelBySmp"
BY_DISCONNECTION = "CancelByDCP"
BY_SIBLING = {
    PARTIAL_STOP_LOSS: "CancelByOCOSlCanceledByTpTriggered",
    PARTIAL_TAKE_PROFIT: "CancelByOCOTpCanceledBySlTriggered",
}
PARTIAL_KIND = {STOP_LOSS: PARTIAL_STOP_LOSS, TAKE_PROFIT: PARTIAL_TAKE_PROFIT}


@dataclass(frozen=True)
class Level:
    """A stop or target that is wanted: `limit_price` None leaves at market."""

    kind: str
    price: Decimal
    trigger_by: str = LAST_PRICE
    limit_price: Decimal | None = None


def levels_of(order: Order) -> list[Level]:
    """Stop and target that an order carries for the position it opens."""
    levels = []
    if order.stop_loss is not None:
        levels.append(Level(STOP_LOSS, order.stop_loss, order.sl_trigger_by, order.sl_limit_price))
    if order.take_profit is not None:
        levels.append(Level(TAKE_PROFIT, order.take_profit, order.tp_trigger_by, order.tp_limit_price))
    return levels


def stop_order(state: AccountState, position: Position, kind: str) -> Order | None:
    """The Full stop, target or trailing stop of a position."""
    return state.orders.get(_ids(position)[kind])


def _ids(position: Position) -> dict[str, str]:
    return {
        STOP_LOSS: position.stop_loss_id,
        TAKE_PROFIT: position.take_profit_id,
        TRAILING_STOP: position.trailing_stop_id,
    }


def attach(market: Market, state: AccountState, position: Position, level: Level, parent: str, time_ms: int) -> None:
    """Set or change the Full stop or target of an open position."""
    existing = stop_order(state, position, level.kind)
    if existing is not None:
        existing.trigger_price = level.price
        existing.trigger_by = level.trigger_by
        existing.updated_ms = time_ms
        existing.parent_order_link_id = parent or existing.parent_order_link_id
        state.touch(existing)
        return
    order = _exit_order(market, state, position, level, level.kind, abs(position.size), parent, time_ms)
    order.tpsl_mode = "Full"
    state.add_order(order)
    if level.kind == STOP_LOSS:
        position.stop_loss_id = order.order_id
    else:
        position.take_profit_id = order.order_id
    state.touch(position)


def change_trailing(
    market: Market,
    state: AccountState,
    position: Position,
    distance: Decimal,
    active_price: Decimal | None,
    time_ms: int,
) -> None:
    """Set the trailing stop of an open position anew; a distance of zero takes it away."""
    existing = stop_order(state, position, TRAILING_STOP)
    if existing is not None:
        end(state, existing, BY_USER, time_ms)
    if not distance:
        return
    level = Level(TRAILING_STOP, ZERO)
    order = _exit_order(market, state, position, level, TRAILING_STOP, abs(position.size), "", time_ms)
    order.trigger_price = None
    order.tpsl_mode = "Full"
    order.trailing = distance
    order.active_price = active_price
    state.add_order(order)
    position.trailing_stop_id = order.order_id
    state.touch(position)
    if active_price is None:
        begin_trailing(market, state, order, time_ms)


def begin_trailing(market: Market, state: AccountState, order: Order, time_ms: int) -> None:
    """From now on the stop follows the best price."""
    order.active_price = None
    order.trail_ms = time_ms
    order.trail_price = last_price(market, market.contracts[order.symbol], time_ms)
    order.updated_ms = time_ms
    state.touch(order)


def attach_part(
    market: Market,
    state: AccountState,
    position: Position,
    levels: list[Level],
    qty: Decimal,
    parent: Order | None,
    time_ms: int,
) -> None:
    """Add a pair of Partial stop and target of `qty`; a later fill of the same parent makes its pair larger."""
    group = parent.order_id if parent is not None else state.new_id("pair")
    for level in levels:
        kind = PARTIAL_KIND[level.kind]
        existing = next(
            (o for o in state.orders_of(position) if o.exit_group == group and o.stop_order_type == kind), None
        )
        if existing is not None:
            existing.qty += qty
            existing.updated_ms = time_ms
            state.touch(existing)
            continue
        link = parent.order_link_id if parent is not None else ""
        order = _exit_order(market, state, position, level, kind, qty, link, time_ms)
        order.tpsl_mode = "Partial"
        order.exit_group = group
        state.add_order(order)


def _exit_order(
    market: Market,
    state: AccountState,
    position: Position,
    level: Level,
    kind: str,
    qty: Decimal,
    parent: str,
    time_ms: int,
) -> Order:
    long = position.size > 0
    return Order(
        order_id=state.new_id("order"),
        order_link_id="",
        symbol=position.symbol,
        position_idx=position.position_idx,
        side=Side.SELL if long else Side.BUY,
        qty=qty,
        created_ms=time_ms,
        updated_ms=time_ms,
        sequence=state.header.sequence,
        status=OrderStatus.UNTRIGGERED,
        order_type="Market" if level.limit_price is None else "Limit",
        time_in_force="IOC" if level.limit_price is None else "GTC",
        price=level.limit_price or ZERO,
        reduce_only=True,
        close_on_trigger=True,
        create_type=f"CreateBy{kind}",
        stop_order_type=kind,
        parent_order_link_id=parent,
        trigger_price=level.price,
        trigger_by=level.trigger_by,
        trigger_direction=1 if long is (level.kind == TAKE_PROFIT) else 2,
        last_price_on_created=last_price(market, market.contracts[position.symbol], time_ms),
    )


def detach(state: AccountState, order: Order) -> None:
    """The position no longer has this order as its stop or target."""
    position = state.look_up(order.symbol, order.position_idx)
    if order.order_id not in _ids(position).values():
        return
    if position.stop_loss_id == order.order_id:
        position.stop_loss_id = ""
    elif position.take_profit_id == order.order_id:
        position.take_profit_id = ""
    else:
        position.trailing_stop_id = ""
    state.touch(position)


def end(state: AccountState, order: Order, cancel_type: str, time_ms: int, *, reject_reason: str = "") -> None:
    """Cancel what is left of an order; one that still waited for its trigger is deactivated."""
    detach(state, order)
    waiting = order.status is OrderStatus.UNTRIGGERED
    order.status = OrderStatus.DEACTIVATED if waiting else OrderStatus.CANCELLED
    order.cancel_type = cancel_type
    order.reject_reason = reject_reason or order.reject_reason
    order.cross_price = None
    order.due_ms, order.due_change = 0, None
    order.updated_ms = time_ms
    state.touch(order)


def follow(state: AccountState, position: Position, before: Side | None, time_ms: int) -> None:
    """Orders that only close follow the position: they end with it, and never close more than it has."""
    gone = position.side is not before
    size = abs(position.size)
    for order in state.orders_of(position):
        if not order.is_exit and not (order.reduce_only and order.is_active):
            continue
        if gone and (order.is_exit or order.side is position.side or position.side is None):
            end(state, order, CLEARED if order.is_exit else BY_REDUCE_ONLY, time_ms)
        elif order.order_id in _ids(position).values():
            _resize(state, order, size, time_ms)
        elif order.left_qty > size and (order.is_active or order.is_exit):
            _resize(state, order, order.filled_qty + size, time_ms)


def _resize(state: AccountState, order: Order, qty: Decimal, time_ms: int) -> None:
    if order.qty != qty:
        order.qty = qty
        order.updated_ms = time_ms
        state.touch(order)
