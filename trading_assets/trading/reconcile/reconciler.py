"""Brings ledger and exchange to agree: orders settled, stops attached again, fills, positions, closings and balance
brought into the ledger. Opens nothing.

A pass reads everything before it changes anything, so a failed read changes nothing; what it repairs is read again; the
books are written in one transaction. What is not this system's is reported and left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import ExchangeError
from trading_assets.core.models import ClosedPnl, Execution, FillKind, Order, Position, Side, Wallet, close_reason
from trading_assets.core.timeframes import DAY_MS, HOUR_MS
from trading_assets.ledger import account as books
from trading_assets.ledger import orders
from trading_assets.ledger.account import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute import saga, steps
from trading_assets.trading.execute.recovery import conclude, look
from trading_assets.trading.risk import guard as risk_guard

FIRST_LOOK_BACK_MS = 7 * DAY_MS
OVERLAP_MS = HOUR_MS
"""Books are read again this far back: Bybit's histories may lag."""


@dataclass
class ReconcileReport:
    """What a pass changed and found; `differences` (symbol, text) are those it could not, or need not, repair."""

    recovered: int = 0
    new_fills: int = 0
    new_closings: list[Closing] = field(default_factory=list)
    freed: int = 0
    open_positions: int = 0
    repaired: list[str] = field(default_factory=list)
    differences: list[tuple[str | None, str]] = field(default_factory=list)
    equity: Decimal = Decimal(0)


@dataclass(frozen=True)
class _Books:
    """The exchange's side, read at one time."""

    wallet: Wallet
    positions: Sequence[Position]
    executions: Sequence[Execution]
    open_orders: Sequence[Order]
    closed: Sequence[ClosedPnl]
    """those that the ledger lacks"""
    closing_orders: dict[str, Order | None]
    since_ms: int
    until_ms: int
    is_entry: Callable[[str], bool]
    """whether an order id has the form of one of our entries"""


def reconcile(context: ExecutionContext) -> ReconcileReport:
    """One pass.

    Raises:
        ExchangeError: the books cannot be read. Nothing was changed, unless it was what had been repaired that could
            not be read again.
    """
    account = context.settings.account
    report = ReconcileReport()
    started_wall_ms = context.wall_ms()
    now_ms = context.exchange.now_ms()
    until = books.reconciled_until_ms(context.database, account)
    since = now_ms - FIRST_LOOK_BACK_MS if until is None else min(until, now_ms) - OVERLAP_MS
    unsettled = look(context)
    found = _read(context, since, now_ms + 1)
    report.recovered = sum(conclude(context, evidence) for evidence in unsettled)
    settled_now = {evidence.intent.order_link_id for evidence in unsettled} | _adopt(context, found, report)
    failed = _attach_missing_stops(context, found, report)
    if unsettled or report.repaired or failed:
        now_ms = context.exchange.now_ms()
        found = _read(context, since, now_ms + 1)
    report.open_positions, report.equity = len(found.positions), found.wallet.equity
    with context.database.write(one_at_a_time=f"books of {account}") as connection:
        texts = _differences(connection, account, found, failed)
        gone = _gone(connection, account, found)
        report.new_fills = books.add_fills(connection, account, found.executions)
        report.new_closings = _add_closings(connection, account, found)
        books.replace_positions(connection, account, found.positions)
        books.add_equity(connection, account, found.wallet, now_ms)
        for intent in gone:
            if intent.touched_wall_ms < started_wall_ms or intent.order_link_id in settled_now:
                closed = saga.advance_in(connection, intent, orders.CLOSED, now_ms=now_ms, wall_ms=context.wall_ms())
                report.freed += closed is not None
        report.differences = [(symbol, "; ".join(lines)) for symbol, lines in texts.items()]
        fresh = [
            text
            for symbol, text in report.differences
            if books.add_risk_event(connection, account, "difference", symbol, text, now_ms)
        ]
        books.add_reconciliation(
            connection,
            account,
            new_fills=report.new_fills,
            new_closings=len(report.new_closings),
            open_positions=len(found.positions),
            differences=len(report.differences),
            until_ms=now_ms,
        )
    risk_guard.watch(context.database, context.settings, context.notify, equity=found.wallet.equity, now_ms=now_ms)
    for text in [*fresh, *report.repaired]:
        context.notify("books differ", text)
    for closing in report.new_closings:
        context.notify(
            f"closed {closing.position_side} {closing.symbol} at its {closing.reason}",
            f"{closing.qty} at {closing.exit_price}, PnL {closing.pnl:+.2f} USD",
        )
    return report


def _read(context: ExecutionContext, since_ms: int, until_ms: int) -> _Books:
    exchange = context.exchange
    closed = exchange.closed_pnl(since_ms, until_ms)
    with context.database.read() as connection:
        new = books.unknown_closings(connection, [row.order_id for row in closed])
    return _Books(
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


def _adopt(context: ExecutionContext, found: _Books, report: ReconcileReport) -> set[str]:
    """Take up orders of ours that the ledger had given up, and that the exchange has filled after all; their ids."""
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
        closed = _closed(connection, account, given_up, found)
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


def _attach_missing_stops(context: ExecutionContext, found: _Books, report: ReconcileReport) -> dict[str, str]:
    """Repair our positions without a stop; what could not be repaired, by symbol."""
    failed: dict[str, str] = {}
    bare = {position.symbol: position for position in found.positions if position.stop_loss is None}
    if not bare:
        return failed
    with context.database.read() as connection:
        intents = orders.confirmed(connection, context.settings.account)
    for intent in intents:
        position = bare.get(intent.symbol)
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


def _gone(connection: sa.Connection, account: str, found: _Books) -> list[Intent]:
    """Confirmed intents whose positions are not there any more.

    One whose whole quantity was closed is gone, whatever is open in its symbol now: that is somebody else's.
    """
    sides = {position.symbol: position.side for position in found.positions}
    intents = orders.confirmed(connection, account)
    closed = _closed(connection, account, intents, found)
    return [
        intent
        for intent in intents
        if sides.get(intent.symbol) is not intent.side
        or (intent.filled_qty is not None and closed[intent.order_link_id] >= intent.filled_qty)
    ]


def _closed(connection: sa.Connection, account: str, intents: Sequence[Intent], found: _Books) -> dict[str, Decimal]:
    """How much of each intent's position was closed, by the ledger and by what it lacks yet; by link."""
    booked = books.closed_qty(connection, account, [intent.signal_id for intent in intents])
    unknown = books.unknown_closings(connection, [row.order_id for row in found.closed])
    new = [row for row in found.closed if row.order_id in unknown]
    return {
        intent.order_link_id: booked.get(intent.signal_id, Decimal(0))
        + sum((row.qty for row in new if _closes(row, intent)), Decimal(0))
        for intent in intents
    }


def _closes(row: ClosedPnl, intent: Intent) -> bool:
    return row.symbol == intent.symbol and row.side is not intent.side and row.updated_ms > intent.created_ms


def _differences(
    connection: sa.Connection, account: str, found: _Books, failed: Mapping[str, str]
) -> dict[str | None, list[str]]:
    """What ledger and exchange do not agree on, by symbol; None is the account."""
    texts: dict[str | None, list[str]] = defaultdict(list)
    for symbol, text in failed.items():
        texts[symbol].append(text)
    gone = {intent.order_link_id for intent in _gone(connection, account, found)}
    occupying = {intent.symbol: intent for intent in orders.occupying(connection, account)}
    closed = _closed(connection, account, list(occupying.values()), found)
    for position in found.positions:
        intent = occupying.get(position.symbol)
        text = f"{position.symbol} {position.side.value} {position.size} is open at the exchange"
        if intent is None or intent.order_link_id in gone:
            texts[position.symbol].append(f"{text} but not by this system; it is left alone")
        elif intent.status in orders.UNRESOLVED:
            if position.side is not intent.side or position.size > intent.qty:
                texts[position.symbol].append(f"{text}; what became of order {intent.order_link_id} is not known")
        else:
            left = (intent.filled_qty or intent.qty) - closed[intent.order_link_id]
            if position.size != left:
                texts[position.symbol].append(
                    f"{position.symbol}: the exchange holds {position.side.value} {position.size}, the ledger expected "
                    f"{intent.side.value} {left}"
                )
    _foreign_orders(connection, account, found, texts)
    missing = books.fill_ids(connection, account, found.since_ms, found.until_ms)
    missing -= {execution.exec_id for execution in found.executions}
    if missing:
        texts[None].append(f"{len(missing)} fills are in the ledger that the exchange does not show")
    return texts


def _foreign_orders(connection: sa.Connection, account: str, found: _Books, texts: dict[str | None, list[str]]) -> None:
    """Open orders that are nobody's position's, and fills under our mark that this ledger knows nothing of."""
    filled = {row.order_link_id: row.symbol for row in found.executions if found.is_entry(row.order_link_id)}
    waiting = [order for order in found.open_orders if not order.purpose.is_protective]
    known = orders.by_links(connection, account, [*filled, *(order.order_link_id for order in waiting)])
    counts = Counter(order.symbol for order in waiting if order.order_link_id not in known)
    for symbol, count in sorted(counts.items()):
        texts[symbol].append(f"{symbol}: {count} open orders are not of this system; they are left alone")
    for link, symbol in sorted(filled.items()):
        if link not in known:
            texts[symbol].append(
                f"{symbol}: order {link} has the mark of this program but is not in this ledger; is another one "
                "trading this account, or was the ledger replaced?"
            )


def _add_closings(connection: sa.Connection, account: str, found: _Books) -> list[Closing]:
    # Again inside the transaction: another process may have added some in between.
    new = books.unknown_closings(connection, [row.order_id for row in found.closed])
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
        books.add_closing(connection, account, closing)
        added.append(closing)
    return added
