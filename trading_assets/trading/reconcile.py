"""Brings the exchange's books into the ledger: fills, positions, closings, balance. Opens nothing.

Everything is read before anything is written, so a failed read changes nothing; what is written is written in one
transaction, so a second pass over unchanged books does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.errors import ExchangeError
from trading_assets.exchange.models import ClosedPnl, Execution, Order, Position, Side, Wallet
from trading_assets.ledger import books, orders
from trading_assets.ledger.books import Closing
from trading_assets.ledger.orders import Intent
from trading_assets.market.timeframes import DAY_MS, HOUR_MS
from trading_assets.trading import risk_guard
from trading_assets.trading.executor import Desk, protect, recover

FIRST_LOOK_BACK_MS = 7 * DAY_MS
OVERLAP_MS = HOUR_MS
"""Books are read again this far back: Bybit's histories may lag."""

_LIQUIDATIONS = frozenset({"BustTrade", "AdlTrade", "SessionSettlePnL", "Settle"})


@dataclass
class ReconcileReport:
    """What a pass changed and found; `differences` (symbol, text) are those it
    could not, or need not, repair."""

    recovered: int = 0
    new_fills: int = 0
    new_closings: list[Closing] = field(default_factory=list)
    freed: int = 0
    open_positions: int = 0
    repaired: list[str] = field(default_factory=list)
    differences: list[tuple[str, str]] = field(default_factory=list)
    equity: Decimal = Decimal(0)


@dataclass(frozen=True)
class _Books:
    """The exchange's side, read at one time."""

    wallet: Wallet
    positions: Sequence[Position]
    executions: Sequence[Execution]
    closed: Sequence[ClosedPnl]
    """those that the ledger lacks"""
    closing_orders: dict[str, Order | None]


def reconcile(desk: Desk) -> ReconcileReport:
    """One pass.

    Raises:
        ExchangeError: the books cannot be read; nothing was changed.
    """
    account = desk.settings.account
    report = ReconcileReport(recovered=recover(desk))
    started_wall_ms = desk.wall_ms()
    now_ms = desk.exchange.now_ms()
    until = books.reconciled_until_ms(desk.database, account)
    since = now_ms - FIRST_LOOK_BACK_MS if until is None else min(until, now_ms) - OVERLAP_MS
    found = _read(desk, since, now_ms + 1)
    intents = {intent.symbol: intent for intent in orders.occupying(desk.database, account)}
    report.open_positions, report.equity = len(found.positions), found.wallet.equity
    _attach_missing_stops(desk, found.positions, intents, report)
    _compare(found.positions, intents, report)
    with desk.database.write(one_at_a_time=f"books of {account}") as connection:
        report.new_fills = books.add_fills(connection, account, found.executions)
        report.new_closings = _add_closings(connection, account, found)
        books.replace_positions(connection, account, found.positions)
        books.add_equity(connection, account, found.wallet, now_ms)
        held = {position.symbol for position in found.positions}
        report.freed = orders.free_slots(connection, account, held, started_wall_ms)
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
    risk_guard.watch(desk.database, desk.settings, desk.notify, equity=found.wallet.equity, now_ms=now_ms)
    for text in [*fresh, *report.repaired]:
        desk.notify("books differ", text)
    for closing in report.new_closings:
        desk.notify(
            f"closed {closing.position_side} {closing.symbol} at its {closing.reason}",
            f"{closing.qty} at {closing.exit_price}, PnL {closing.pnl:+.2f} USD",
        )
    return report


def _read(desk: Desk, since_ms: int, until_ms: int) -> _Books:
    exchange = desk.exchange
    closed = exchange.closed_pnl(since_ms, until_ms)
    with desk.database.read() as connection:
        new = books.unknown_closings(connection, [row.order_id for row in closed])
    return _Books(
        wallet=exchange.wallet(),
        positions=exchange.positions(),
        executions=exchange.executions(since_ms, until_ms),
        closed=[row for row in closed if row.order_id in new],
        closing_orders={
            row.order_id: exchange.order(row.symbol, row.order_id) for row in closed if row.order_id in new
        },
    )


def _attach_missing_stops(
    desk: Desk, held: Sequence[Position], intents: dict[str, Intent], report: ReconcileReport
) -> None:
    for position in held:
        intent = intents.get(position.symbol)
        if position.stop_loss is not None or intent is None or intent.side is not position.side:
            continue
        try:
            protect(desk, intent)
        except ExchangeError as error:
            text = f"{position.symbol} has lost its stop and could not be given one: {error}"
            report.differences.append((position.symbol, text))
        else:
            report.repaired.append(
                f"{position.symbol} had lost its stop {intent.stop_loss}: it was set again or closed"
            )


def _compare(held: Sequence[Position], intents: dict[str, Intent], report: ReconcileReport) -> None:
    for position in held:
        intent = intents.get(position.symbol)
        if intent is None:
            report.differences.append(
                (
                    position.symbol,
                    f"{position.symbol} {position.side.value} {position.size} is open at the exchange but not by this "
                    "system; it is left alone",
                )
            )
        elif intent.side is not position.side or position.size > intent.qty:
            report.differences.append(
                (
                    position.symbol,
                    f"{position.symbol}: the exchange holds {position.side.value} {position.size}, the ledger expected "
                    f"{intent.side.value} {intent.qty}",
                )
            )


def _add_closings(connection: sa.Connection, account: str, found: _Books) -> list[Closing]:
    # Again inside the transaction: another process may have added some in between.
    new = books.unknown_closings(connection, [row.order_id for row in found.closed])
    added = []
    for row in found.closed:
        if row.order_id not in new:
            continue
        closing = Closing(
            order_id=row.order_id,
            symbol=row.symbol,
            position_side="LONG" if row.side is Side.SELL else "SHORT",
            reason=closing_reason(row, found.closing_orders[row.order_id]),
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


def closing_reason(row: ClosedPnl, order: Order | None) -> str:
    """Why a position was closed: stop, target, liquidation or other."""
    if row.exec_type in _LIQUIDATIONS:
        return "liquidation"
    kind = f"{order.stop_order_type} {order.create_type}" if order is not None else ""
    if "StopLoss" in kind:
        return "stop"
    return "target" if "TakeProfit" in kind else "other"
