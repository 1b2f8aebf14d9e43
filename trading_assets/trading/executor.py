"""From a waiting signal to a position with its stop: once, or not at all. The only place that opens positions.

Order of things: gates -> reservation and intent in one transaction -> leverage -> one create with stops attached ->
looked up -> position seen with its stop, or closed at once. An answer that leaves the outcome open is looked up by the
order's deterministic id and never answered by sending again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any

from trading_assets.errors import (
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    NotSentError,
    OrderRejectedError,
)
from trading_assets.exchange.base import Exchange
from trading_assets.exchange.clock import local_ms
from trading_assets.exchange.models import Instrument, Order, OrderRequest, Position, Side
from trading_assets.ledger import books, orders
from trading_assets.ledger import signals as ledger
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.settings import Settings
from trading_assets.trading.gates import Account, Candidate, refusals
from trading_assets.trading.portfolio import account_snapshot
from trading_assets.trading.signals import order_link_id
from trading_assets.trading.sizing import Size, Unsizable, size_position

LOOK_UPS = 8
LOOK_UP_PAUSE_S = 0.15
SEND_ATTEMPTS = 3
EXITS, EXITS_OF_A_RUN = 60, 3
"""So many emergency exits may a signal's position get in all, and in one run."""

SEND_WITHIN_MS = 10_000
"""An intent is sent within this time of its reservation or not at all ..."""

RECOVER_AFTER_MS = 30_000
"""... so one that is older belongs to nobody and may be settled by whoever finds it."""

Row = dict[Hashable, Any]
"""A waiting signal: a row of `entry_signals`."""

Notify = Callable[[str, str], None]


@dataclass
class SubmitReport:
    """What became of the waiting signals: executed and rejected ids, refusals by id, outcomes still open."""

    expired: int = 0
    executed: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    recovered: int = 0


@dataclass(frozen=True)
class Desk:
    """What the executor works with. `wall_ms` is the local clock: it tells whether another process still lives."""

    database: Database
    exchange: Exchange
    settings: Settings
    notify: Notify = lambda _title, _body: None
    sleep: Callable[[float], None] = time.sleep
    wall_ms: Callable[[], int] = local_ms
    lease: Lease | None = None


def submit_orders(desk: Desk) -> SubmitReport:
    """Settle what an earlier process left open, expire old signals, and execute those that every gate lets through.

    A signal for which the account cannot be read waits; nothing is opened blindly.

    Raises:
        ExchangeError: the exchange's time or instruments cannot be read; nothing was opened.
    """
    report = SubmitReport()
    report.recovered = recover(desk)
    now_ms = desk.exchange.now_ms()
    report.expired = ledger.expire(desk.database, desk.settings.account, now_ms)
    waiting = ledger.active(desk.database, desk.settings.account)
    if waiting.empty:
        return report
    instruments = {instrument.symbol: instrument for instrument in desk.exchange.instruments()}
    for row in waiting.to_dict("records"):
        try:
            _execute(desk, row, instruments.get(str(row["symbol"])), report)
        except (ExchangeUnavailableError, NotSentError, AmbiguousOutcomeError) as error:
            # Before the reservation the signal waits; after it the intent is settled by the next `recover`.
            _refuse(desk, str(row["signal_id"]), f"the account cannot be read: {error}", report, final=False)
    return report


def recover(desk: Desk) -> int:
    """Settle intents that no living process works on, by looking their orders up; how many were settled."""
    settled = 0
    for intent in orders.unresolved(desk.database, desk.settings.account):
        if intent.status == orders.INTENT and desk.wall_ms() - intent.touched_wall_ms < RECOVER_AFTER_MS:
            continue
        try:
            order = desk.exchange.find_order(intent.symbol, intent.order_link_id)
            if order is not None:
                settled += _settle(desk, intent, order)
                continue
        except ExchangeError:
            continue  # it stays as it is, keeps its symbol occupied, and is tried again; the others go on
        if desk.wall_ms() - intent.touched_wall_ms >= RECOVER_AFTER_MS and intent.status != orders.SUBMITTED:
            _move(desk, intent, orders.ABANDONED, reason="the order never reached the exchange")
            settled += 1
    return settled


def _execute(desk: Desk, row: Row, instrument: Instrument | None, report: SubmitReport) -> None:
    signal_id, symbol = str(row["signal_id"]), str(row["symbol"])
    if instrument is None:
        _refuse(desk, signal_id, f"{symbol} is not listed", report, final=True)
        return
    # Read anew for each signal: the one before may have taken margin, or the last free position.
    account = account_snapshot(desk.database, desk.exchange, desk.settings.account, desk.exchange.now_ms())
    size = _gate(desk, row, instrument, account, report)
    if size is None:
        return
    link = order_link_id(signal_id)
    reserved_at = desk.wall_ms()
    side = Side.BUY if row["position_type"] == "LONG" else Side.SELL
    stop_loss, take_profit = Decimal(str(row["stop_loss"])), Decimal(str(row["take_profit"]))
    now_ms = desk.exchange.now_ms()
    if not orders.reserve(
        desk.database,
        order_link_id=link,
        signal_id=signal_id,
        account=desk.settings.account,
        symbol=symbol,
        side=side,
        qty=size.qty,
        stop_loss=stop_loss,
        take_profit=take_profit,
        leverage=size.leverage,
        max_open=desk.settings.max_positions,
        now_ms=now_ms,
        wall_ms=reserved_at,
    ):
        report.refused[signal_id] = f"another process works on it, {symbol} has an open order, or all are taken"
        return
    intent = Intent(
        *(link, signal_id, desk.settings.account, symbol, side, size.qty, stop_loss, take_profit),
        *(size.leverage, orders.INTENT, None, now_ms, reserved_at),
    )
    _send(desk, intent, report)


def _gate(desk: Desk, row: Row, instrument: Instrument, account: Account, report: SubmitReport) -> Size | None:
    signal_id = str(row["signal_id"])
    candidate = Candidate(
        symbol=instrument.symbol,
        confidence=float(row["confidence"]),
        entry_price=Decimal(str(row["entry_price"])),
        hour_ms=int(row["hour_ms"]),
        ttl_ms=int(row["ttl_ms"]),
    )
    ticker = desk.exchange.ticker(instrument.symbol)
    shut = refusals(candidate, ticker, account, desk.settings, desk.exchange.now_ms())
    if shut:
        reason = "; ".join(map(str, shut))
        _refuse(desk, signal_id, reason, report, final=any(refusal.final for refusal in shut))
        return None
    size = size_position(instrument, ticker.last, desk.settings)
    if isinstance(size, Unsizable):
        _refuse(desk, signal_id, size.reason, report, final=True)
        return None
    return size


def _refuse(desk: Desk, signal_id: str, reason: str, report: SubmitReport, *, final: bool) -> None:
    ledger.note(desk.database, signal_id, reason, status=ledger.REJECTED if final else None)
    (report.rejected if final else report.refused)[signal_id] = reason


def _send(desk: Desk, intent: Intent, report: SubmitReport) -> None:
    request = OrderRequest(
        symbol=intent.symbol,
        side=intent.side,
        qty=intent.qty,
        order_link_id=intent.order_link_id,
        stop_loss=intent.stop_loss,
        take_profit=intent.take_profit,
    )
    try:
        desk.exchange.set_leverage(intent.symbol, intent.leverage)
    except ExchangeError as error:
        refused = isinstance(error, OrderRejectedError | ExchangeFatalError)
        _end(desk, intent, orders.REJECTED if refused else orders.ABANDONED, f"leverage not set: {error}", report)
        return
    acknowledged = False
    try:
        order_id = _create(desk, intent, request)
    except (OrderRejectedError, ExchangeFatalError) as error:
        _end(desk, intent, orders.REJECTED, str(error), report)
        return
    except NotSentError as error:
        _end(desk, intent, orders.ABANDONED, f"not sent: {error}", report)
        return
    except ExchangeError as error:
        _move(desk, intent, orders.UNKNOWN, reason=f"outcome unknown: {error}")
    else:
        acknowledged = True
        _move(desk, intent, orders.SUBMITTED, order_id=order_id)
    order = _look_up(desk, intent)
    if order is None:
        if not acknowledged:  # an acknowledged order exists, however long it is not shown
            _move(desk, intent, orders.UNKNOWN, reason="sent, but the exchange does not show it yet")
        report.unknown.append(intent.signal_id)
        desk.notify("order outcome unknown", f"{intent.symbol} {intent.order_link_id}: it will be looked up again")
        return
    if not _settle(desk, intent, order):
        report.unknown.append(intent.signal_id)
    elif order.filled_qty > 0:
        report.executed.append(intent.signal_id)
    else:
        report.rejected[intent.signal_id] = _why_not_filled(order)


def _create(desk: Desk, intent: Intent, request: OrderRequest) -> str:
    """Send once; again only where the exchange certainly never saw it, with the same id and within the time."""
    for attempt in range(SEND_ATTEMPTS):
        if desk.wall_ms() - intent.touched_wall_ms > SEND_WITHIN_MS:
            raise NotSentError("the order took too long to be sent; another process may have settled it")
        try:
            return desk.exchange.place_order(request).order_id
        except NotSentError:
            if attempt == SEND_ATTEMPTS - 1:
                raise
            desk.sleep(LOOK_UP_PAUSE_S)
    raise AssertionError("unreachable")


def _look_up(desk: Desk, intent: Intent) -> Order | None:
    """The order in its final state, or as far as it has come after `LOOK_UPS` looks; None if it was never seen."""
    seen: Order | None = None
    for attempt in range(LOOK_UPS):
        try:
            seen = desk.exchange.find_order(intent.symbol, intent.order_link_id) or seen
        except ExchangeError:
            seen = None
        if seen is not None and seen.status.is_final:
            return seen
        if attempt < LOOK_UPS - 1:
            desk.sleep(LOOK_UP_PAUSE_S * (attempt + 1))
    return seen


def _settle(desk: Desk, intent: Intent, order: Order) -> bool:
    """Bring the ledger in line with the order; False while the order is not final."""
    if not order.status.is_final:
        return False
    if order.filled_qty <= 0:
        _move(desk, intent, orders.REJECTED, reason=_why_not_filled(order), order_id=order.order_id)
        return True
    protect(desk, intent)
    _move(
        desk,
        intent,
        orders.CONFIRMED,
        order_id=order.order_id,
        filled_qty=order.filled_qty,
        average_price=order.average_price,
    )
    desk.notify(
        f"{intent.side.value} {intent.symbol}",
        f"{order.filled_qty} at {order.average_price}, stop {intent.stop_loss}, target {intent.take_profit}",
    )
    return True


def protect(desk: Desk, intent: Intent) -> None:
    """See the position with its stop; attach it again if it is missing; close the position if that fails.

    Raises:
        ExchangeError: the position cannot be read or closed; the intent stays unresolved and is settled later.
    """
    bare = _unprotected(desk, intent.symbol)
    if bare is None:
        return
    try:
        desk.exchange.set_stops(intent.symbol, intent.stop_loss, intent.take_profit)
    except OrderRejectedError:
        pass  # the price is beyond the stop already: out
    else:
        bare = _unprotected(desk, intent.symbol)
        if bare is None:
            return
    detail = f"{intent.symbol} had no stop and could not be given one; it was closed"
    with desk.database.write() as connection:
        now_ms = desk.exchange.now_ms()
        books.add_risk_event(connection, intent.account, "unprotected", intent.symbol, detail, now_ms)
    desk.notify("position without stop", detail)
    _get_out(desk, intent, bare)


def _get_out(desk: Desk, intent: Intent, bare: Position) -> None:
    """Close a position that has no stop. An exit that filled less, or whose answer was lost, is followed by another
    with an id of its own: reduce-only, it can close only what is left.

    Raises:
        ExchangeError: the position is still there, or cannot be read.
    """
    links = (order_link_id(intent.signal_id, "x" if n == 1 else f"x{n}") for n in range(1, EXITS + 1))
    unused = (link for link in links if desk.exchange.find_order(intent.symbol, link) is None)
    for link in islice(unused, EXITS_OF_A_RUN):
        request = OrderRequest(
            symbol=intent.symbol, side=intent.side.opposite, qty=bare.size, order_link_id=link, reduce_only=True
        )
        try:
            desk.exchange.place_order(request)
        except OrderRejectedError:
            if desk.exchange.position(intent.symbol) is not None:
                raise
            return
        desk.sleep(LOOK_UP_PAUSE_S)
        left = desk.exchange.position(intent.symbol)
        if left is None:
            return
        bare = left
    raise ExchangeUnavailableError(
        f"{intent.symbol} has no stop and could not be closed: it is tried again, look at it"
    )


def _unprotected(desk: Desk, symbol: str) -> Position | None:
    """The open position of a symbol, if it carries no stop."""
    position = desk.exchange.position(symbol)
    return position if position is not None and position.stop_loss is None else None


def _end(desk: Desk, intent: Intent, status: str, reason: str, report: SubmitReport) -> None:
    _move(desk, intent, status, reason=reason)
    report.rejected[intent.signal_id] = reason
    desk.notify(f"order {status}", f"{intent.symbol}: {reason}")


def _move(desk: Desk, intent: Intent, status: str, **details: object) -> None:
    orders.move(
        desk.database,
        intent.order_link_id,
        status,
        # By the local clock's progress: asking the exchange could fail just when its failure is to be recorded.
        now_ms=intent.created_ms + max(desk.wall_ms() - intent.touched_wall_ms, 0),
        wall_ms=desk.wall_ms(),
        **details,  # type: ignore[arg-type]
    )


def _why_not_filled(order: Order) -> str:
    words = [order.status.value]
    words += [word for word in (order.reject_reason, order.cancel_type) if word and word != "EC_NoError"]
    return "nothing was filled: " + ", ".join(words)
