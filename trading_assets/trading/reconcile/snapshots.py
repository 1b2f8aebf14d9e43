"""What exchange and ledger hold, read before a pass changes anything. Nothing is written here.

The wallet and the transaction log may be missing. Every other read that fails ends the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TypeVar

import sqlalchemy as sa

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    OrderRejectedError,
    UnreadableAnswerError,
)
from trading_assets.core.models import ClosedPnl, Execution, FillKind, Order, Rows, Side, Wallet
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import dca, exit_decisions, grids, orders
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.executions import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.ownership.reading import recorded_trades
from trading_assets.trading.reconcile.comparison import ExchangeState, LedgerState
from trading_assets.trading.saga import closers

INTENTS_LOOKBACK_MS = 8 * DAY_MS
"""Closings of intents that ended so long ago may still grow, or be shown late."""

_Found = TypeVar("_Found")


def read_exchange(context: ExecutionContext, since_ms: int, until_ms: int) -> ExchangeState:
    """What the exchange tells now, and of the time from `since_ms` to before `until_ms` (UTC).

    Raises:
        ExchangeError: a list cannot be read, or an order that closes a position cannot be told.
    """
    exchange = context.exchange
    told, executions = exchange.closed_pnl(since_ms, until_ms), exchange.executions(since_ms, until_ms)
    with context.database.read() as connection:
        closed = _with_deliveries(connection, context.settings.account, told, executions)
        recorded = execution_ledger.recorded_closings(connection, [row.order_id for row in closed])
    orders_of = {row.order_id for row in told}
    changed = [row for row in closed if row.order_id in orders_of and _grown(row, recorded.get(row.order_id, []))]
    filled = {row.order_id for row in executions}
    return ExchangeState(
        wallet=_wallet(context),
        positions=exchange.positions(),
        executions=executions,
        open_orders=exchange.open_orders(),
        closed=closed,
        closing_orders={row.order_id: _closing_order(context, row, row.order_id in filled) for row in changed},
        transactions=or_none(lambda: exchange.transactions(since_ms, until_ms)),
        since_ms=since_ms,
        until_ms=until_ms,
        is_entry=exchange.order_ids.is_entry,
        is_ours=exchange.order_ids.is_ours,
    )


def read_ledger(context: ExecutionContext, connection: sa.Connection, found: ExchangeState) -> LedgerState:
    """What the ledger has of the orders, closings and fills that are compared with `found`."""
    account = context.settings.account
    confirmed, occupying = orders.confirmed(connection, account), orders.occupying(connection, account)
    links = [*found.own_fills, *(order.order_link_id for order in found.waiting_orders)]
    symbols = {intent.symbol for intent in confirmed} | {row.symbol for row in found.closed}
    intents = orders.of_symbols(connection, account, symbols, found.since_ms - INTENTS_LOOKBACK_MS)
    first_ms = min((held[0].created_ms for held in intents.values()), default=0)
    recorded = execution_ledger.recorded_closings(connection, [row.order_id for row in found.closed])
    if intents:
        recorded |= execution_ledger.closings_of(connection, account, intents, first_ms)
    return LedgerState(
        confirmed=confirmed,
        occupying=occupying,
        intents=intents,
        trades=recorded_trades(connection, account, set(intents), first_ms) if intents else {},
        recorded=recorded,
        known=frozenset(orders.by_links(connection, account, links)),
        fill_ids=frozenset(execution_ledger.fill_ids(connection, account, found.since_ms, found.until_ms)),
        of_plans=frozenset(grid.symbol for grid in grids.living(connection, account))
        | frozenset(plan.symbol for plan in dca.living(connection, account)),
        words=_words(context, connection, [intent for held in intents.values() for intent in held]),
    )


def or_none(read: Callable[[], _Found]) -> _Found | None:
    """What a read gives; None where it is refused or fails for itself, and not for the whole account."""
    try:
        return read()
    except ExchangeFatalError:
        raise
    except ExchangeError:
        return None


def _with_deliveries(
    connection: sa.Connection, account: str, closed: Rows[ClosedPnl], executions: Rows[Execution]
) -> Rows[ClosedPnl]:
    """The closings, and one for each delivery: an execution without an order, of which no closing may be told.

    A closing that is told of it takes the execution's id, so that both are one.
    """
    rows = list(closed)
    for execution in executions:
        if execution.kind is not FillKind.SETTLEMENT or execution.order_id or execution.qty <= 0:
            continue
        for at, row in enumerate(rows):
            is_it = (row.symbol, row.side, row.qty) == (execution.symbol, execution.side, execution.qty)
            if is_it and row.kind is FillKind.SETTLEMENT and abs(row.updated_ms - execution.time_ms) <= HOUR_MS:
                rows[at] = replace(row, order_id=execution.exec_id)
                break
        else:
            rows.append(_delivered(connection, account, execution))
    return Rows(rows, closed.unreadable)


def _delivered(connection: sa.Connection, account: str, execution: Execution) -> ClosedPnl:
    """The closing that a delivery is: as it was booked before, else from what was paid for the position."""
    booked = execution_ledger.recorded_closings(connection, [execution.exec_id]).get(execution.exec_id, [])
    opening = execution.side.opposite
    if booked:
        entry, fees = booked[0].entry_price, sum((one.fees for one in booked), Decimal(0)) - execution.fee
        pnl = sum((one.pnl for one in booked), Decimal(0))
    else:
        paid = execution_ledger.opened_at(connection, account, execution.symbol, opening, execution.qty)
        entry, fees = paid if paid is not None else (execution.price, Decimal(0))
        moved = (execution.price - entry) * (1 if opening is Side.BUY else -1)
        pnl = moved * execution.qty - fees - execution.fee
    return ClosedPnl(
        symbol=execution.symbol,
        order_id=execution.exec_id,
        side=execution.side,
        qty=execution.qty,
        entry_price=entry,
        exit_price=execution.price,
        pnl=round(pnl, 12),
        open_fee=round(fees, 12),
        close_fee=execution.fee,
        kind=FillKind.SETTLEMENT,
        created_ms=execution.time_ms,
        updated_ms=execution.time_ms,
    )


def _grown(row: ClosedPnl, recorded: list[Closing]) -> bool:
    """Whether the ledger lacks a closing, or holds an earlier state of it."""
    qty = sum((one.qty for one in recorded), Decimal(0))
    pnl = sum((one.pnl for one in recorded), Decimal(0))
    return (qty, pnl) != (row.qty, row.pnl)


def _wallet(context: ExecutionContext) -> Wallet | None:
    """The wallet; None where the exchange answers and leaves it empty."""
    try:
        return context.exchange.wallet()
    except UnreadableAnswerError:
        return None


def _closing_order(context: ExecutionContext, row: ClosedPnl, is_filled: bool) -> Order | None:
    """The order of a closing; None where the exchange refuses to tell it: one coin's refusal stops nobody else.

    Args:
        is_filled: its executions are shown. They tell its purpose too, so a refusal that nobody knows will do.

    Raises:
        ExchangeError: there was no answer, and nothing else tells why the order exists.
    """
    try:
        return context.exchange.order(row.symbol, row.order_id)
    except (OrderRejectedError, UnreadableAnswerError):
        return None
    except ExchangeFatalError:
        raise
    except ExchangeError as error:
        if not error.is_answered or not is_filled:
            raise
        return None


def _words(context: ExecutionContext, connection: sa.Connection, intents: Sequence[Intent]) -> dict[str, str]:
    """Why orders of exit plans close positions, by link."""
    decided = exit_decisions.of_intents(connection, [intent.order_link_id for intent in intents])
    words: dict[str, str] = {}
    for intent in intents:
        if intent.order_link_id in decided:
            words |= closers.closing_words(context, connection, intent, decided[intent.order_link_id])
    return words
