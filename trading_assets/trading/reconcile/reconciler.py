"""Makes the ledger agree with the exchange: settles orders, sets missing stops again, and records fills, positions,
closings and the balance. Opens nothing.

A pass reads everything before it changes anything, so a failed read changes nothing. What it repairs is read again. All
records are written in one transaction. Orders and positions of others are reported and left alone; a row that cannot be
read leaves out its own symbol alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeVar

import sqlalchemy as sa

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    OrderRejectedError,
    UnreadableAnswerError,
)
from trading_assets.core.messages import Kind, Severity
from trading_assets.core.models import ClosedPnl, ContractKind, Execution, FillKind, Order, Rows, Side, Wallet
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.account import Closing, Unexplained
from trading_assets.trading import account_refusals, unreadable_rows
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.ownership.reading import OVERLAP_MS, recorded_trades
from trading_assets.trading.reconcile.comparison import (
    Comparison,
    ExchangeState,
    LedgerState,
    changed_levels,
    compare,
    differences,
    growing_since,
    is_looser,
)
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.saga import protection, recovery, steps, transitions

FIRST_LOOKBACK_MS = 7 * DAY_MS
INTENTS_LOOKBACK_MS = 8 * DAY_MS
"""Closings of intents that ended so long ago may still grow, or be shown late."""

_Found = TypeVar("_Found")

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
    unsettled = recovery.look_up(context)
    found = _read(context, since, now_ms + 1)
    account_refusals.end(context)
    report.recovered = sum(recovery.settle(context, evidence) for evidence in unsettled)
    settled_now = {evidence.intent.order_link_id for evidence in unsettled} | _adopt(context, found, report)
    with context.database.read() as connection:
        held = _read_ledger(connection, account, found)
    compared = compare(found, held)
    failed = _protect(context, found, compared, report)
    growing_ms = growing_since(found, compared)
    is_older = growing_ms is not None and growing_ms < since
    if unsettled or report.repaired or failed or is_older:
        now_ms = context.exchange.now_ms()
        since = min(since, growing_ms) if growing_ms is not None else since
        found = _read(context, since, now_ms + 1)
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
        told = account_ledger.open_risk_events(connection, account, _DELIVERY)
    if not held and not told:
        return
    contracts = _or_none(lambda: context.contracts.get(context.exchange, set(), context.wall_ms()))
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
            for text in account_ledger.record_episodes(connection, account, _DELIVERY, texts, now_ms)
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
        held = _read_ledger(connection, account, found)
        compared = compare(found, held)
        report.new_fills = account_ledger.add_fills(connection, account, found.executions)
        for closing in compared.bookings:
            account_ledger.add_closing(connection, account, closing)
            report.new_closings.append(closing)
        for intent in compared.grown:
            qty, value = account_ledger.filled_by(connection, account, intent.order_link_id)
            orders.set_filled(connection, intent, qty, value / qty, now_ms)
        account_ledger.replace_positions(connection, account, found.positions)
        unexplained = Unexplained()
        if found.wallet is not None:
            # Without a balance beside it the log waits for the next pass: both are recorded together.
            logged = account_ledger.add_transactions(connection, account, found.transactions or ())
            unexplained = account_ledger.add_equity(connection, account, found.wallet, now_ms, logged=logged)
        else:
            report.equity = account_ledger.newest_equity(connection, account)
        for intent in compared.ended:
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
        for symbol, lines in _changed_level_texts(found, compared).items():
            texts.setdefault(symbol, []).extend(lines)
        sums = _sums(connection, account, found, held.recorded, compared.bookings)
        for text in [*sums, *_of_balance(unexplained, now_ms)]:
            texts.setdefault(None, []).append(text)
        until_ms = now_ms - account_ledger.UNEXPLAINED_WAIT_MS
        for symbol, lacking in account_ledger.untold_trades(connection, account, found.since_ms, until_ms).items():
            told = f"{symbol}: the transaction log tells of trades whose rows the exchange does not list"
            texts.setdefault(symbol, []).append(f"{told}: {', '.join(lacking)}")
        report.differences = [(symbol, "; ".join(lines)) for symbol, lines in texts.items()]
        fresh = account_ledger.record_episodes(connection, account, "difference", dict(report.differences), now_ms)
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
            title = f"closed {closing.position_side} {closing.symbol} at its {closing.reason}"
            body = f"{closing.qty} at {closing.exit_price}, PnL {closing.pnl:+.2f} USD"
            messages.append(context.keep(connection, title, body, Kind.CLOSING, time_ms=now_ms))
    context.tell(*messages)


def _read(context: ExecutionContext, since_ms: int, until_ms: int) -> ExchangeState:
    exchange = context.exchange
    told, executions = exchange.closed_pnl(since_ms, until_ms), exchange.executions(since_ms, until_ms)
    with context.database.read() as connection:
        closed = _with_deliveries(connection, context.settings.account, told, executions)
        recorded = account_ledger.recorded_closings(connection, [row.order_id for row in closed])
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
        transactions=_or_none(lambda: exchange.transactions(since_ms, until_ms)),
        since_ms=since_ms,
        until_ms=until_ms,
        is_entry=exchange.order_ids.is_entry,
        is_ours=exchange.order_ids.is_ours,
    )


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
    booked = account_ledger.recorded_closings(connection, [execution.exec_id]).get(execution.exec_id, [])
    opening = execution.side.opposite
    if booked:
        entry, fees = booked[0].entry_price, sum((one.fees for one in booked), Decimal(0)) - execution.fee
        pnl = sum((one.pnl for one in booked), Decimal(0))
    else:
        paid = account_ledger.opened_at(connection, account, execution.symbol, opening, execution.qty)
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


def _or_none(read: Callable[[], _Found]) -> _Found | None:
    """What a read gives; None where it is refused or fails for itself, and not for the whole account."""
    try:
        return read()
    except ExchangeFatalError:
        raise
    except ExchangeError:
        return None


def _read_ledger(connection: sa.Connection, account: str, found: ExchangeState) -> LedgerState:
    confirmed, occupying = orders.confirmed(connection, account), orders.occupying(connection, account)
    links = [*found.own_fills, *(order.order_link_id for order in found.waiting_orders)]
    symbols = {intent.symbol for intent in confirmed} | {row.symbol for row in found.closed}
    intents = orders.of_symbols(connection, account, symbols, found.since_ms - INTENTS_LOOKBACK_MS)
    first_ms = min((held[0].created_ms for held in intents.values()), default=0)
    recorded = account_ledger.recorded_closings(connection, [row.order_id for row in found.closed])
    if intents:
        recorded |= account_ledger.closings_of(connection, account, intents, first_ms)
    return LedgerState(
        confirmed=confirmed,
        occupying=occupying,
        intents=intents,
        trades=recorded_trades(connection, account, set(intents), first_ms) if intents else {},
        recorded=recorded,
        known=frozenset(orders.by_links(connection, account, links)),
        fill_ids=frozenset(account_ledger.fill_ids(connection, account, found.since_ms, found.until_ms)),
    )


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
        ours = account_ledger.fees_of(connection, ids)
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
    for intent in given_up:
        rows = filled[intent.order_link_id]
        qty = sum((row.qty for row in rows), Decimal(0))
        if qty <= 0:
            continue
        reason = f"{intent.status}, but the exchange filled it"
        # Whether its position is still open, the comparison tells: it ends with evidence alone.
        adopted = steps.move(
            context,
            intent,
            orders.CONFIRMED,
            reason=reason,
            order_id=rows[0].order_id,
            filled_qty=qty,
            average_price=sum((row.value for row in rows), Decimal(0)) / qty,
        )
        if adopted is not None:
            taken.add(intent.order_link_id)
            report.repaired.append(
                f"{intent.symbol}: order {intent.order_link_id} was {reason}: it is in the ledger now"
            )
    return taken


def _protect(
    context: ExecutionContext, found: ExchangeState, compared: Comparison, report: ReconcileReport
) -> dict[str, str]:
    """Set the stops of our positions again that are missing or looser. Return what could not be repaired, by symbol."""
    failed: dict[str, str] = {}
    unprotected = {position.symbol for position in found.positions if position.stop_loss is None}
    for intent in compared.seen:
        if intent.symbol not in unprotected:
            continue
        try:
            acted = protection.protect(
                context, intent, intent.filled_qty or intent.qty, left=compared.left[intent.order_link_id]
            )
        except ExchangeError as error:
            failed[intent.symbol] = f"{intent.symbol} has lost its stop and could not be given one: {error}"
            continue
        if acted:
            report.repaired.append(f"{intent.symbol} had lost its stop {intent.stop_loss}: it was set again or closed")
    for intent, position in changed_levels(found, compared):
        stop = position.stop_loss
        if stop is None or (stop == intent.stop_loss and context.settings.changed_stops == "keep"):
            continue
        if context.settings.changed_stops == "keep" and not is_looser(intent, stop):
            continue
        target = intent.take_profit if context.settings.changed_stops == "restore" else position.take_profit
        try:
            context.exchange.set_stops(intent.symbol, intent.stop_loss, target)
        except ExchangeError as error:
            failed[intent.symbol] = f"{intent.symbol}: its stop was moved to {stop} and could not be put back: {error}"
            continue
        report.repaired.append(
            f"{intent.symbol}: its stop was moved to {stop}, farther than the signal's {intent.stop_loss}: put back"
            if is_looser(intent, stop)
            else f"{intent.symbol}: stop and target were moved to {stop} and {position.take_profit}: put back"
        )
    return failed


def _changed_level_texts(found: ExchangeState, compared: Comparison) -> dict[str | None, list[str]]:
    """What a person has changed and is left as it is."""
    texts: dict[str | None, list[str]] = {}
    for intent, position in changed_levels(found, compared):
        changes = []
        if position.stop_loss != intent.stop_loss:
            changes.append(f"the stop stands at {position.stop_loss}, the signal's is {intent.stop_loss}")
        if position.take_profit != intent.take_profit:
            level = "is gone" if position.take_profit is None else f"stands at {position.take_profit}"
            changes.append(f"the target {level}, the signal's is {intent.take_profit}")
        texts[intent.symbol] = [f"{intent.symbol}: {', '.join(changes)}; somebody else has changed it"]
    return texts
