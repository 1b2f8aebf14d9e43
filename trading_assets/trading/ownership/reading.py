"""Asks ledger and exchange how much of one of our positions is left. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import ExchangeError
from trading_assets.core.models import Order, Side
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.ownership.attribution import ZERO, Trade
from trading_assets.trading.ownership.records import Records, attribution_of

OVERLAP_MS = HOUR_MS
"""Histories are read again this far back: the exchange may show rows late."""


def left_of(
    context: ExecutionContext, intent: Intent, filled_qty: Decimal, own_closings: Iterable[Order] = ()
) -> Decimal:
    """Return what is left of a position of ours, in coins; 0 where all of it was closed.

    Args:
        filled_qty: what its entry has filled.
        own_closings: closing orders of ours that were looked up: they count even where no list shows them yet.

    Raises:
        ExchangeError: the histories cannot be read.
    """
    database, account, symbol = context.database, intent.account, intent.symbol
    try:
        until_ms = context.exchange.now_ms() + 1
    except ExchangeError:  # only how far the histories are read depends on it
        until_ms = max(context.wall_ms(), intent.created_ms) + 2
    read_ms = account_ledger.reconciled_until_ms(database, account)
    since_ms = intent.created_ms + 1  # nothing closes a position in the millisecond in which its order was reserved
    if read_ms is not None:
        since_ms = max(since_ms, min(read_ms, until_ms) - OVERLAP_MS)
    executions = context.exchange.executions(since_ms, until_ms)
    closed = context.exchange.closed_pnl(since_ms, until_ms)
    with database.read() as connection:
        held = [
            replace(one, status=orders.CONFIRMED, filled_qty=filled_qty)
            if one.order_link_id == intent.order_link_id
            else one
            for one in orders.of_symbols(connection, account, [symbol], intent.created_ms)[symbol]
        ]
        first_ms = held[0].created_ms
        records = Records(
            symbol=symbol,
            intents=held,
            executions=executions,
            closed=closed,
            looked_up={order.order_id: order for order in own_closings},
            trades=recorded_trades(connection, account, {symbol}, first_ms).get(symbol, []),
            recorded=execution_ledger.closings_of(connection, account, [symbol], first_ms)
            | execution_ledger.recorded_closings(connection, [row.order_id for row in closed]),
            fill_ids=frozenset(execution_ledger.fill_ids(connection, account, since_ms, until_ms)),
            is_ours=context.exchange.order_ids.is_ours,
        )
    holding = attribution_of(records).holdings[intent.order_link_id]
    return max(filled_qty - sum(holding.closed_by.values(), ZERO), ZERO)


def recorded_trades(
    connection: sa.Connection, account: str, symbols: set[str], since_ms: int
) -> dict[str, list[Trade]]:
    """Return what moved the positions of these symbols since a time, as far as the ledger has it, by symbol."""
    rows = execution_ledger.trades(connection, account, symbols, since_ms)
    return {
        symbol: [
            Trade(
                row["order_id"] or row["exec_id"], row["order_link_id"], Side(row["side"]), row["qty"], row["time_ms"]
            )
            for row in of_symbol
        ]
        for symbol, of_symbol in rows.items()
    }
