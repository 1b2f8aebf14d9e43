"""Makes the ledger agree with the exchange: settles orders, sets missing stops again, and records fills, positions,
closings and the balance. Opens nothing.

A pass reads everything before it changes anything, so a failed read changes nothing. What it repairs is read again. All
records are written in one transaction. Orders and positions of others are reported and left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import ExchangeError
from trading_assets.core.models import Execution, FillKind, Side, close_reason
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.account import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.comparison import (
    ExchangeState,
    LedgerState,
    closed_quantities,
    differences,
    gone,
)
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga import recovery, steps, transitions

FIRST_LOOKBACK_MS = 7 * DAY_MS
OVERLAP_MS = HOUR_MS
"""Histories are read again this far back: the exchange may show rows late."""


@dataclass
class ReconcileReport:
    """What a pass changed and found. `differences` (symbol, text) are those that it did not repair."""

    recovered: int = 0
    new_fills: int = 0
    new_closings: list[Closing] = field(default_factory=list)
    open_positions: int = 0
    repaired: list[str] = field(default_factory=list)
    differences: list[tuple[str | None, str]] = field(default_factory=list)
    equity: Decimal = Decimal(0)


def reconcile(context: ExecutionContext) -> ReconcileReport:
    """Do one pass.

    Raises:
        ExchangeError: the account cannot be read. Nothing was changed, unless the first read succeeded and the read
            after a repair failed.
    """
    account = context.settings.account
    report = ReconcileReport()
    started_wall_ms = context.wall_ms()
    now_ms = context.exchange.now_ms()
    until = account_ledger.reconciled_until_ms(context.database, account)
    since = now_ms - FIRST_LOOKBACK_MS if until is None else min(until, now_ms) - OVERLAP_MS
    unsettled = recovery.look_up(context)
    found = _read(context, since, now_ms + 1)
    report.recovered = sum(recovery.settle(context, evidence) for evidence in unsettled)
    settled_now = {evidence.intent.order_link_id for evidence in unsettled} | _adopt(context, found, report)
    failed = _attach_missing_stops(context, found, report)
    if unsettled or report.repaired or failed:
        now_ms = context.exchange.now_ms()
        found = _read(context, since, now_ms + 1)
    report.open_positions, report.equity = len(found.positions), found.wallet.equity
    with context.database.write(one_at_a_time=f"books of {account}") as connection:
        held = _read_ledger(connection, account, found)
        texts = differences(found, held, failed)
        report.new_fills = account_ledger.add_fills(connection, account, found.executions)
        report.new_closings = _add_closings(connection, account, found)
        account_ledger.replace_positions(connection, account, found.positions)
        account_ledger.add_equity(connection, account, found.wallet, now_ms)
        for intent in gone(found, held):
            if intent.touched_wall_ms < started_wall_ms or intent.order_link_id in settled_now:
                transitions.advance_in(connection, intent, orders.CLOSED, now_ms=now_ms, wall_ms=context.wall_ms())
        report.differences = [(symbol, "; ".join(lines)) for symbol, lines in texts.items()]
        fresh = [
            text
            for symbol, text in report.differences
            if account_ledger.add_risk_event(connection, account, "difference", symbol, text, now_ms)
        ]
        account_ledger.add_reconciliation(
            connection,
            account,
            new_fills=report.new_fills,
            new_closings=len(report.new_closings),
            open_positions=len(found.positions),
            differences=len(report.differences),
            until_ms=now_ms,
        )
    risk_guard.watch(context, equity=found.wallet.equity, now_ms=now_ms)
    for text in [*fresh, *report.repaired]:
        context.notify("books differ", text)
    for closing in report.new_closings:
        context.notify(
            f"closed {closing.position_side} {closing.symbol} at its {closing.reason}",
            f"{closing.qty} at {closing.exit_price}, PnL {closing.pnl:+.2f} USD",
        )
    return report


def _read(context: ExecutionContext, since_ms: int, until_ms: int) -> ExchangeState:
    exchange = context.exchange
    closed = exchange.closed_pnl(since_ms, until_ms)
    with context.database.read() as connection:
        new = account_ledger.unknown_closings(connection, [row.order_id for row in closed])
    return ExchangeState(
        wallet=exchange.wallet(),
        positions=exchange.positions(),
        executions=exchange.executions(since_ms, until_ms),
        open_orders=exchange.open_orders(),
        closed=[row for row in closed if row.order_id in new],
        closing_orders={
            row.order_id: exchange.order(row.symbol, row.order_id) for row in closed if row.order_id in new
        },
        since_ms=since_ms,
        until_ms=until_ms,
        is_entry=exchange.order_ids.is_entry,
    )


def _read_ledger(connection: sa.Connection, account: str, found: ExchangeState) -> LedgerState:
    confirmed, occupying = orders.confirmed(connection, account), orders.occupying(connection, account)
    links = [*found.own_fills, *(order.order_link_id for order in found.waiting_orders)]
    return LedgerState(
        confirmed=confirmed,
        occupying=occupying,
        closed=_closed_quantities(connection, account, [*confirmed, *occupying], found),
        known=frozenset(orders.by_links(connection, account, links)),
        fill_ids=frozenset(account_ledger.fill_ids(connection, account, found.since_ms, found.until_ms)),
    )


def _closed_quantities(
    connection: sa.Connection, account: str, intents: Sequence[Intent], found: ExchangeState
) -> dict[str, Decimal]:
    recorded = account_ledger.closed_qty(connection, account, [intent.signal_id for intent in intents])
    # Asked again: another process may have added some since the exchange was read.
    unknown = account_ledger.unknown_closings(connection, [row.order_id for row in found.closed])
    return closed_quantities(intents, recorded, [row for row in found.closed if row.order_id in unknown])


def _adopt(context: ExecutionContext, found: ExchangeState, report: ReconcileReport) -> set[str]:
    """Confirm orders of ours that the ledger had given up and the exchange has filled after all. Return their ids."""
    taken = set()
    filled: dict[str, list[Execution]] = defaultdict(list)
    for execution in found.executions:
        if execution.kind is FillKind.TRADE and found.is_entry(execution.order_link_id):
            filled[execution.order_link_id].append(execution)
    account = context.settings.account
    with context.database.read() as connection:
        given_up = [
            intent
            for intent in orders.by_links(connection, account, filled).values()
            if intent.status in (orders.REJECTED, orders.ABANDONED)
        ]
        closed = _closed_quantities(connection, account, given_up, found)
    held = {position.symbol: position.side for position in found.positions}
    for intent in given_up:
        link = intent.order_link_id
        rows = filled[link]
        qty = sum((row.qty for row in rows), Decimal(0))
        is_open = held.get(intent.symbol) is intent.side and closed[link] < qty
        reason = f"{intent.status}, but the exchange filled it"
        adopted = steps.move(
            context,
            intent,
            orders.CONFIRMED if is_open else orders.CLOSED,
            reason=reason,
            order_id=rows[0].order_id,
            filled_qty=qty,
            average_price=sum((row.value for row in rows), Decimal(0)) / qty,
        )
        if adopted is not None:
            taken.add(link)
            report.repaired.append(f"{intent.symbol}: order {link} was {reason}: it is in the ledger now")
    return taken


def _attach_missing_stops(context: ExecutionContext, found: ExchangeState, report: ReconcileReport) -> dict[str, str]:
    """Protect our positions without a stop. Return what could not be repaired, by symbol."""
    failed: dict[str, str] = {}
    unprotected = {position.symbol: position for position in found.positions if position.stop_loss is None}
    if not unprotected:
        return failed
    with context.database.read() as connection:
        intents = orders.confirmed(connection, context.settings.account)
    for intent in intents:
        position = unprotected.get(intent.symbol)
        if position is None or intent.side is not position.side:
            continue
        try:
            acted = steps.protect(context, intent, intent.filled_qty or intent.qty)
        except ExchangeError as error:
            failed[intent.symbol] = f"{intent.symbol} has lost its stop and could not be given one: {error}"
            continue
        if acted:
            report.repaired.append(f"{intent.symbol} had lost its stop {intent.stop_loss}: it was set again or closed")
    return failed


def _add_closings(connection: sa.Connection, account: str, found: ExchangeState) -> list[Closing]:
    # Asked again inside the transaction: another process may have added some in between.
    new = account_ledger.unknown_closings(connection, [row.order_id for row in found.closed])
    added = []
    for row in found.closed:
        if row.order_id not in new:
            continue
        order = found.closing_orders[row.order_id]
        closing = Closing(
            order_id=row.order_id,
            symbol=row.symbol,
            position_side="LONG" if row.side is Side.SELL else "SHORT",
            reason=close_reason(row.kind, order.purpose if order is not None else None).value,
            qty=row.qty,
            entry_price=row.entry_price,
            exit_price=row.exit_price,
            pnl=row.pnl,
            fees=row.open_fee + row.close_fee,
            signal_id=orders.opened_by(connection, account, row.symbol, row.updated_ms),
            closed_ms=row.updated_ms,
        )
        account_ledger.add_closing(connection, account, closing)
        added.append(closing)
    return added
