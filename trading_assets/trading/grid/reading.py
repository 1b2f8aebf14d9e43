"""What the exchange shows of a grid's symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trading_assets.core.models import Execution, Instrument, Order, Position, SendBy
from trading_assets.ledger import grids
from trading_assets.ledger.grids import Grid, GridOrder
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.grid.levels import ZERO, GridError
from trading_assets.trading.grid.planning import Market
from trading_assets.trading.kept import FINEST_TICK, read_executions


@dataclass(frozen=True)
class Seen:
    """What the exchange shows of a grid's symbol, the orders read before what they have filled.

    Attributes:
        instrument: None where the contract is not listed any more.
        send_by: until when a stop may be set on the position.
    """

    market: Market
    instrument: Instrument | None
    orders: Mapping[str, Order]
    waiting: int
    executions: Sequence[Execution]
    position: Position | None
    send_by: SendBy
    now_ms: int


def read(context: ExecutionContext, grid: Grid, working: Sequence[GridOrder]) -> Seen:
    """Read the grid's orders that have not ended, then executions, then the position and the market.

    Raises:
        GridError: a row of the symbol cannot be read.
    """
    exchange = context.exchange
    now_ms = exchange.now_ms()
    rules = context.contracts.get(exchange, {grid.symbol}, context.wall_ms()).get(grid.symbol)
    if rules is None:
        return _read_unlisted(context, grid, now_ms)
    open_now = exchange.open_orders(grid.symbol)
    if open_now.may_hide(grid.symbol):
        raise GridError(f"an open order of {grid.symbol} cannot be read: nothing is done")
    found = {order.order_link_id: order for order in open_now if order.order_link_id}
    for order in working:
        if order.purpose != grids.EXIT and order.order_link_id not in found:
            looked_up = exchange.find_order(grid.symbol, order.order_link_id)
            if looked_up is not None:
                found[order.order_link_id] = looked_up
    sent_ms = {order.order_link_id: order.created_ms for order in working}
    executions = read_executions(context, grid.created_ms, grid.read_ms, found, sent_ms)
    if executions.may_hide(grid.symbol):
        raise GridError(f"an execution of {grid.symbol} cannot be read: nothing is done")
    send_by = context.send_by()
    position = exchange.position(grid.symbol)
    ticker = exchange.ticker(grid.symbol)
    market = Market(
        bid=ticker.bid,
        ask=ticker.ask,
        last=ticker.last,
        tick=rules.tick_size,
        min_qty=rules.min_qty,
        min_notional=rules.min_notional,
        qty_step=rules.qty_step,
    )
    mine = [row for row in executions if row.symbol == grid.symbol]
    return Seen(market, rules, found, len(open_now), mine, position, send_by, now_ms)


def _read_unlisted(context: ExecutionContext, grid: Grid, now_ms: int) -> Seen:
    """What is left of a contract that is gone: lists of the whole account still show it. A list of it alone, or its
    price, would be refused.
    """
    exchange = context.exchange
    open_now, send_by, held = exchange.open_orders(), context.send_by(), exchange.positions()
    executions = read_executions(context, grid.created_ms, grid.read_ms, {}, {})
    if open_now.may_hide(grid.symbol) or held.may_hide(grid.symbol) or executions.may_hide(grid.symbol):
        raise GridError(f"{grid.symbol} is not listed any more, and rows of it cannot be read: nothing is done")
    waiting = [order for order in open_now if order.symbol == grid.symbol]
    last = grid.mark_price or grid.low
    return Seen(
        market=Market(last, last, last, tick=FINEST_TICK, min_qty=ZERO, min_notional=ZERO),
        instrument=None,
        orders={order.order_link_id: order for order in waiting if order.order_link_id},
        waiting=len(waiting),
        executions=[row for row in executions if row.symbol == grid.symbol],
        position=next((one for one in held if one.symbol == grid.symbol and not one.position_idx), None),
        send_by=send_by,
        now_ms=now_ms,
    )
