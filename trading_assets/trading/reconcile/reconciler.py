"""Makes the ledger agree with the exchange: settles orders, sets missing stops again, and records fills, positions,
closings and the balance. Opens nothing. What is read is in `snapshots`, what is set right in `repairs`.

A pass reads everything before it changes anything, so a failed read changes nothing. What it repairs is read again. All
records are written in one transaction. Orders and positions of others are reported and left alone; a row that cannot be
read leaves out its own symbol alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.foreign_text import get_logger
from trading_assets.core.messages import Kind, Severity
from trading_assets.core.models import CloseReason, ContractKind
from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, exit_decisions, orders, risk_events
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger.balance import Unexplained
from trading_assets.ledger.executions import Closing
from trading_assets.trading import account_refusals, unreadable_rows
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.ownership.reading import OVERLAP_MS
from trading_assets.trading.reconcile import repairs, snapshots
from trading_assets.trading.reconcile.comparison import ExchangeState, compare, differences, growing_since
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga import exits, protection, recovery, transitions

FIRST_LOOKBACK_MS = 7 * DAY_MS

_log = get_logger(__name__)

_DELIVERY = "delivery"
"""Kind of the event that an open position is to be delivered."""


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
    """the last known where the exchange does not tell it"""


@account_refusals.told
def reconcile(context: ExecutionContext) -> ReconcileReport:
    """Do one pass.

    Raises:
        WrongBooksError: the ledger is not that of the key's account; nothing was read or changed.
        ExchangeError: the account cannot be read. Nothing was changed, unless the first read succeeded and the read
            after a repair failed.
        StorageError: the ledger refuses what the exchange tells; nothing was written.
    """
    context.require_bound()
    risk_guard.heed_file(context)
    account = context.settings.account
    report = ReconcileReport()
    started_wall_ms = context.wall_ms()
    now_ms = context.exchange.now_ms()
    until = account_ledger.reconciled_until_ms(context.database, account)
    since = now_ms - FIRST_LOOKBACK_MS if until is None else min(until, now_ms) - OVERLAP_MS
    growing_ms = account_ledger.growing_since_ms(context.database, account)
    if growing_ms is not None:
        since = min(since, growing_ms)
    protection.watch_bare(context)
    undone = exits.go_on(context)
    unsettled = recovery.look_up(context)
    found = snapshots.read_exchange(context, since, now_ms + 1)
    account_refusals.end(context)
    report.recovered = sum(recovery.settle(context, evidence) for evidence in unsettled)
    settled_now = {evidence.intent.order_link_id for evidence in unsettled}
    settled_now |= repairs.adopt(context, found, report.repaired)
    repairs.withdraw(context, found, report.repaired)
    with context.database.read() as connection:
        held = snapshots.read_ledger(context, connection, found)
    compared = compare(found, held)
    failed = undone | repairs.protect(context, found, compared, report.repaired)
    repairs.end_parts(context, compared, failed)
    growing_ms = growing_since(found, compared)
    is_older = growing_ms is not None and growing_ms < since
    if unsettled or report.repaired or failed or is_older:
        now_ms = context.exchange.now_ms()
        since = min(since, growing_ms) if growing_ms is not None else since
        found = snapshots.read_exchange(context, since, now_ms + 1)
    report.open_positions = len(found.positions)
    _record(context, found, failed, report, now_ms, started_wall_ms, settled_now)
    if found.wallet is not None:
        report.equity = found.wallet.equity
        risk_guard.watch(context, equity=found.wallet.equity, now_ms=now_ms)
    _tell_contracts(context, found, now_ms)
    return report


def _tell_contracts(context: ExecutionContext, found: ExchangeState, now_ms: int) -> None:
    """Tell which open positions are in contracts that are to be delivered, and which contracts cannot be read."""
    account, held = context.settings.account, sorted({position.symbol for position in found.positions})
    with context.database.read() as connection:
        told = risk_events.open_risk_events(connection, account, _DELIVERY)
    if not held and not told:
        return
    contracts = snapshots.or_none(lambda: context.contracts.get(context.exchange, set(), context.wall_ms()))
    if contracts is None:
        return
    unreadable_rows.tell(context, "instrument", context.contracts.unreadable, now_ms)
    texts: dict[str | None, str] = {
        symbol: f"{symbol} is to be delivered at {iso(contract.delivery_ms)}: its open position ends then, at the "
        "price of the settlement, unless it is closed before"
        for symbol in held
        if (contract := contracts.get(symbol)) is not None
        and contract.kind is not ContractKind.DATED
        and contract.delivery_ms is not None
    }
    if texts == told:
        return
    with context.database.write(one_at_a_time=f"events of {account}") as connection:
        messages = [
            context.keep(
                connection, "position is to be delivered", text, Kind.ACCOUNT, Severity.WARNING, time_ms=now_ms
            )
            for text in risk_events.record_episodes(connection, account, _DELIVERY, texts, now_ms)
        ]
    context.tell(*messages)


def _record(
    context: ExecutionContext,
    found: ExchangeState,
    failed: dict[str, str],
    report: ReconcileReport,
    now_ms: int,
    started_wall_ms: int,
    settled_now: set[str],
) -> None:
    """Write down what was found, and what is to be told of it, in one transaction."""
    account = context.settings.account
    with context.database.write(one_at_a_time=f"books of {account}") as connection:
        held = snapshots.read_ledger(context, connection, found)
        compared = compare(found, held)
        waiting = exit_decisions.waiting_parts(connection, account)
        report.new_fills = execution_ledger.add_fills(connection, account, found.executions)
        for closing in compared.bookings:
            execution_ledger.add_closing(connection, account, closing)
            report.new_closings.append(closing)
        for intent in compared.grown:
            qty, value = execution_ledger.filled_by(connection, account, intent.order_link_id)
            orders.set_filled(connection, intent, qty, value / qty, now_ms)
        account_ledger.replace_positions(connection, account, found.positions)
        unexplained = Unexplained()
        if found.wallet is not None:
            # Without a balance beside it the log waits for the next pass: both are recorded together.
            logged = balance.add_transactions(connection, account, found.transactions or ())
            unexplained = balance.add_equity(connection, account, found.wallet, now_ms, logged=logged)
        else:
            report.equity = balance.newest_equity(connection, account)
        for intent in compared.ended:
            if intent.order_link_id in waiting:
                continue  # its symbol is free when none of its parts rests any more
            if intent.touched_wall_ms < started_wall_ms or intent.order_link_id in settled_now:
                transitions.advance_in(connection, intent, orders.CLOSED, now_ms=now_ms, wall_ms=context.wall_ms())
        for intent in compared.seen:
            if intent.unseen_since_ms is not None:
                orders.set_seen(connection, intent.order_link_id, None)
        for intent in compared.unseen:
            # One that was filled during this pass may not be in the lists yet.
            is_new = intent.touched_wall_ms >= started_wall_ms and intent.order_link_id not in settled_now
            if intent.unseen_since_ms is None and not found.positions.may_hide(intent.symbol) and not is_new:
                orders.set_seen(connection, intent.order_link_id, now_ms)
        texts = differences(found, held, compared, failed, tell_unseen_after_ms=context.settings.unseen_tell_s * 1000)
        for symbol, lines in repairs.changed_level_texts(context, connection, found, compared).items():
            texts.setdefault(symbol, []).extend(lines)
        sums = _sums(connection, account, found, held.recorded, compared.bookings)
        for text in [*sums, *_of_balance(unexplained, now_ms)]:
            texts.setdefault(None, []).append(text)
        until_ms = now_ms - balance.UNEXPLAINED_WAIT_MS
        for symbol, lacking in balance.untold_trades(connection, account, found.since_ms, until_ms).items():
            told = f"{symbol}: the transaction log tells of trades whose rows the exchange does not list"
            texts.setdefault(symbol, []).append(f"{told}: {', '.join(lacking)}")
        report.differences = [(symbol, "; ".join(lines)) for symbol, lines in texts.items()]
        fresh = risk_events.record_episodes(connection, account, "difference", dict(report.differences), now_ms)
        account_ledger.add_reconciliation(
            connection,
            account,
            new_fills=report.new_fills,
            new_closings=len(report.new_closings),
            open_positions=len(found.positions),
            differences=len(report.differences),
            until_ms=now_ms,
            growing_since_ms=growing_since(found, compared),
        )
        messages = [
            context.keep(connection, "books differ", text, Kind.BOOKS, Severity.WARNING, time_ms=now_ms)
            for text in [*fresh, *report.repaired]
        ]
        for closing in report.new_closings:
            title, body = _closing_text(closing)
            messages.append(
                context.keep(connection, title, body, Kind.CLOSING, time_ms=now_ms, facts=_closing_facts(closing))
            )
    context.tell(*messages)
    for closing in report.new_closings:
        _log_closing(closing, account)


def _log_closing(closing: Closing, account: str) -> None:
    title, body = _closing_text(closing)
    told = {name: getattr(closing, name) for name in ("symbol", "order_id", "qty", "pnl", "reason", "signal_id")}
    extra = {**told, "account": account, "price": closing.exit_price, "event": "position_closed"}
    _log.info("%s: %s", title, body, extra=extra)


def _closing_text(closing: Closing) -> tuple[str, str]:
    what, pnl = f"{closing.position_side} {closing.symbol}", f"PnL {closing.pnl:+.2f} USD"
    if closing.reason == CloseReason.SESSION:
        return f"session of {what} was settled", f"{pnl}; the position stays"
    return f"closed {what} {CloseReason(closing.reason).told}", f"{closing.qty} at {closing.exit_price}, {pnl}"


def _closing_facts(closing: Closing) -> dict[str, str]:
    return {
        "symbol": closing.symbol,
        "side": closing.position_side,
        "qty": str(closing.qty),
        "price": str(closing.exit_price),
        "pnl": f"{closing.pnl:+.2f}",
        "reason": closing.reason,
    }


def _sums(
    connection: sa.Connection,
    account: str,
    found: ExchangeState,
    recorded: Mapping[str, Sequence[Closing]],
    bookings: Sequence[Closing],
) -> list[str]:
    """Compare sums of ledger and exchange over the time that was read: closed PnL, fees and funding of executions.

    Args:
        recorded: rows of closings that the ledger had.
        bookings: those that were added.
    """
    texts = []
    if not found.closed.unreadable:
        held = [one for row in found.closed for one in recorded.get(row.order_id, ())]
        ours = sum((one.pnl for one in [*held, *bookings]), Decimal(0))
        theirs = sum((row.pnl for row in found.closed), Decimal(0))
        if ours != theirs:
            texts.append(f"closed PnL: the exchange tells {theirs} USD, the ledger has {ours}")
    if not found.executions.unreadable:
        ids = [row.exec_id for row in found.executions]
        ours = execution_ledger.fees_of(connection, ids)
        theirs = sum((row.fee for row in found.executions), Decimal(0))
        if ours != theirs:
            texts.append(f"fees and funding: the exchange tells {theirs} USD, the ledger has {ours}")
    return texts


def _of_balance(unexplained: Unexplained, now_ms: int) -> list[str]:
    """A change of the balance that the transaction log had its time to explain."""
    if not unexplained.is_late(now_ms) or unexplained.since_ms is None:
        return []
    return [
        f"balance: {unexplained.amount:+f} USD since {iso(unexplained.since_ms)} are not in the exchange's transaction "
        "log; they count as gain or loss"
    ]
