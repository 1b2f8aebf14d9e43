"""The steps of one order, from the reservation to the recorded position: calls of the exchange and ledger writes.

Every function continues an intent from its present state, so the next run continues what a killed run has left. The
sequence of steps and the transitions between states are in `saga.transitions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from typing import Any

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    NotSentError,
    OrderRejectedError,
)
from trading_assets.core.events import Failure, TradeExecuted, TradeFailed, failure_of
from trading_assets.core.models import Order, OrderRequest, Position
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.saga import transitions
from trading_assets.trading.saga.transitions import Step

LOOK_UPS = 8
LOOK_UP_PAUSE_S = 0.15
SEND_ATTEMPTS = 3
EXITS, EXITS_OF_A_RUN = 60, 3
"""Most emergency exits of one signal's position: in all, and in one run."""

SEND_WITHIN_MS = 10_000
"""An intent is sent within this time of its reservation, or not at all."""

RECOVER_AFTER_MS = 30_000
"""So no process works any more on an intent of this age, and recovery may settle it."""


class TooLateError(NotSentError):
    """The order was not sent in time, and is never sent."""


def reserve(context: ExecutionContext, intent: Intent, lease: Lease, max_open: int) -> bool:
    """Record the intent and mark its signal as executing. Return False where another order or a limit prevents it.

    Raises:
        LeaseLostError: another process has the lease.
    """
    with _step(context, Step.RESERVE):
        return orders.reserve(context.database, intent, max_open=max_open, wall_ms=intent.touched_wall_ms, lease=lease)


def send(context: ExecutionContext, intent: Intent, send_by_wall_ms: int) -> Intent | None:
    """Set the leverage, then create the order. Return the intent; None where another process has changed it."""
    try:
        with _step(context, Step.LEVERAGE):
            context.exchange.set_leverage(intent.symbol, intent.leverage)
    except ExchangeError as error:
        refused = isinstance(error, OrderRejectedError | ExchangeFatalError)
        state, failure = orders.REJECTED if refused else orders.ABANDONED, failure_of(error)
        # Whatever became of the leverage, of the order nothing was sent.
        failure = Failure.NOT_SENT if failure is Failure.UNKNOWN else failure
        return _end(context, intent, state, f"leverage not set: {error}", failure)
    order_id = None
    try:
        with _step(context, Step.CREATE):
            order_id = _create(context, intent, send_by_wall_ms)
    except TooLateError as error:
        return _end(context, intent, orders.ABANDONED, f"not sent: {error}", failure_of(error))
    except (OrderRejectedError, ExchangeFatalError, NotSentError) as error:
        # The exchange says that nothing was placed. One look makes sure, as a proxy may have answered in its place.
        if not _was_placed(context, intent):
            if isinstance(error, NotSentError):
                return _end(context, intent, orders.ABANDONED, f"not sent: {error}", failure_of(error))
            return _end(context, intent, orders.REJECTED, str(error), failure_of(error))
    except ExchangeError as error:
        with _step(context, Step.ACKNOWLEDGE):
            return move(context, intent, orders.UNKNOWN, reason=f"outcome unknown: {error}")
    with _step(context, Step.ACKNOWLEDGE):
        return move(context, intent, orders.SUBMITTED, order_id=order_id)


def confirm(context: ExecutionContext, intent: Intent) -> Intent | None:
    """Look a sent order up until it is final. Return the intent settled, or unchanged where the order is not final yet.

    Raises:
        ExchangeError: the position cannot be read or closed; the intent stays unresolved and is settled later.
    """
    with _step(context, Step.CONFIRM):
        order = _look_up(context, intent)
    return settle(context, intent, order) if order is not None else intent


def settle(context: ExecutionContext, intent: Intent, order: Order) -> Intent | None:
    """Bring the ledger in line with the order. The intent stays unresolved while the order is not final.

    Raises:
        ExchangeError: the position cannot be read or closed; the intent stays as it is.
    """
    if not order.status.is_final:
        if intent.status == orders.SUBMITTED:
            return intent
        return move(context, intent, orders.SUBMITTED, order_id=order.order_id)
    if order.filled_qty <= 0:
        return _end(context, intent, orders.REJECTED, why_not_filled(order), Failure.NOT_FILLED, order.order_id)
    protect(context, intent, order.filled_qty)
    return record(context, intent, order.order_id, order.filled_qty, order.average_price)


def record(
    context: ExecutionContext, intent: Intent, order_id: str | None, filled_qty: Decimal, average_price: Decimal | None
) -> Intent | None:
    """Record a filled order whose position is protected, and publish it."""
    with _step(context, Step.RECORD):
        settled = move(
            context, intent, orders.CONFIRMED, order_id=order_id, filled_qty=filled_qty, average_price=average_price
        )
    if settled is not None:
        context.publish(
            TradeExecuted(
                account=intent.account,
                symbol=intent.symbol,
                side=intent.side,
                signal_id=intent.signal_id,
                order_link_id=intent.order_link_id,
                order_id=order_id,
                qty=filled_qty,
                price=average_price,
                stop_loss=intent.stop_loss,
                take_profit=intent.take_profit,
                time_ms=_now_ms(context, intent),
            )
        )
    return settled


def give_up(context: ExecutionContext, intent: Intent) -> Intent | None:
    """Abandon an intent that has neither order nor position, and can get none any more."""
    return _end(context, intent, orders.ABANDONED, "the order never reached the exchange", Failure.NOT_SENT)


def protect(
    context: ExecutionContext, intent: Intent, filled_qty: Decimal, *, known_open: bool = False
) -> bool:
    """Check that the position has its stop. Set a missing stop again, or close the position if that fails.

    Return whether something had to be done. `filled_qty` is what the order of the intent filled; `known_open`: the caller
    knows that the position is still ours, else what was closed since is asked.

    Raises:
        ExchangeError: the position cannot be read or closed.
    """
    with _step(context, Step.PROTECT):
        unprotected = _unprotected(context, intent)
        if unprotected is None or not (known_open or not _was_closed(context, intent, filled_qty)):
            return False
    try:
        with _step(context, Step.ATTACH):
            context.exchange.set_stops(intent.symbol, intent.stop_loss, intent.take_profit)
            left = _unprotected(context, intent)
    except OrderRejectedError:
        pass  # the price is beyond the stop already: close
    else:
        if left is None:
            return True
        unprotected = left
    detail = f"{intent.symbol} had no stop and could not be given one; it was closed"
    with context.database.write() as connection:
        account_ledger.add_risk_event(
            connection, intent.account, "unprotected", intent.symbol, detail, _now_ms(context, intent)
        )
    context.notify("position without stop", detail)
    with _step(context, Step.EXIT):
        _close_unprotected(context, intent, unprotected)
    return True


def move(context: ExecutionContext, intent: Intent, state: str, **details: Any) -> Intent | None:
    """Return the intent in its new state; None where another process changed it first."""
    now_ms = _now_ms(context, intent)
    return transitions.advance(context.database, intent, state, now_ms=now_ms, wall_ms=context.wall_ms(), **details)


def why_not_filled(order: Order) -> str:
    """Return the reason of a final order without a fill."""
    words = [order.status.value, *([order.reject_reason.value] if order.reject_reason is not None else [])]
    return f"nothing was filled: {', '.join(words)}" + (f" ({order.venue_reason})" if order.venue_reason else "")


@contextmanager
def _step(context: ExecutionContext, step: Step) -> Iterator[None]:
    """Tell the context's `at` before and after the block."""
    context.at(f"before {step}")
    yield
    context.at(f"after {step}")


def _create(context: ExecutionContext, intent: Intent, send_by_wall_ms: int) -> str:
    """Create the order. Retry, with the same id and before the deadline, only what the exchange certainly never saw."""
    request = OrderRequest(
        symbol=intent.symbol,
        side=intent.side,
        qty=intent.qty,
        order_link_id=intent.order_link_id,
        stop_loss=intent.stop_loss,
        take_profit=intent.take_profit,
    )
    for attempt in range(SEND_ATTEMPTS):
        if context.wall_ms() > send_by_wall_ms:
            raise TooLateError("the order took too long to be sent; another process may have settled it")
        try:
            return context.exchange.place_order(request).order_id
        except NotSentError:
            if attempt == SEND_ATTEMPTS - 1:
                raise
            context.sleep(LOOK_UP_PAUSE_S)
    raise AssertionError("unreachable")


def _was_placed(context: ExecutionContext, intent: Intent) -> bool:
    """Return whether the exchange shows the order. A failed look-up leaves the exchange's clear answer as it is."""
    try:
        return context.exchange.find_order(intent.symbol, intent.order_link_id) is not None
    except ExchangeError:
        return False


def _look_up(context: ExecutionContext, intent: Intent) -> Order | None:
    """Return the final order, or the order as the last of `LOOK_UPS` look-ups shows it; None if it was never seen."""
    seen: Order | None = None
    for attempt in range(LOOK_UPS):
        try:
            seen = context.exchange.find_order(intent.symbol, intent.order_link_id) or seen
        except ExchangeError:
            seen = None
        if seen is not None and seen.status.is_final:
            return seen
        if attempt < LOOK_UPS - 1:
            context.sleep(LOOK_UP_PAUSE_S * (attempt + 1))
    return seen


def _close_unprotected(context: ExecutionContext, intent: Intent, unprotected: Position) -> None:
    """Close an unprotected position by reduce-only market orders.

    An exit that filled in part, or whose answer was lost, is followed by another one with its own id: reduce-only, it
    can close only what is left.

    Raises:
        ExchangeError: the position is still there, or cannot be read.
    """
    encode = context.exchange.order_ids.encode
    links = (encode(intent.signal_id, "x" if n == 1 else f"x{n}") for n in range(1, EXITS + 1))
    unused = (link for link in links if context.exchange.find_order(intent.symbol, link) is None)
    for link in islice(unused, EXITS_OF_A_RUN):
        request = OrderRequest(
            symbol=intent.symbol, side=intent.side.opposite, qty=unprotected.size, order_link_id=link, reduce_only=True
        )
        try:
            context.exchange.place_order(request)
        except OrderRejectedError:
            if context.exchange.position(intent.symbol) is not None:
                raise
            return
        context.sleep(LOOK_UP_PAUSE_S)
        left = context.exchange.position(intent.symbol)
        if left is None:
            return
        unprotected = left
    raise ExchangeUnavailableError(
        f"{intent.symbol} has no stop and could not be closed: it is tried again, look at it"
    )


def _unprotected(context: ExecutionContext, intent: Intent) -> Position | None:
    """Return the intent's position if it has no stop. A position of the other side is not the intent's."""
    position = context.exchange.position(intent.symbol)
    ours = position is not None and position.side is intent.side
    return position if ours and position is not None and position.stop_loss is None else None


def publish_failure(context: ExecutionContext, intent: Intent, failure: Failure, detail: str) -> None:
    """Publish that an order opened no position, or that its outcome is not known."""
    context.publish(
        TradeFailed(
            account=intent.account,
            symbol=intent.symbol,
            side=intent.side,
            signal_id=intent.signal_id,
            order_link_id=intent.order_link_id,
            qty=intent.qty,
            failure=failure,
            detail=detail,
            time_ms=_now_ms(context, intent),
        )
    )


def _was_closed(context: ExecutionContext, intent: Intent, filled_qty: Decimal) -> bool:
    """Return whether all of the intent's position was closed: what is open in its symbol now is not the intent's."""
    closed = context.exchange.closed_pnl(intent.created_ms + 1, context.exchange.now_ms() + 1)
    ours = (row.qty for row in closed if row.symbol == intent.symbol and row.side is not intent.side)
    return sum(ours, Decimal(0)) >= filled_qty


def _end(
    context: ExecutionContext, intent: Intent, state: str, reason: str, failure: Failure, order_id: str | None = None
) -> Intent | None:
    with _step(context, Step.RECORD):
        ended = move(context, intent, state, reason=reason, order_id=order_id)
    if ended is not None:
        publish_failure(context, intent, failure, reason)
    return ended


def _now_ms(context: ExecutionContext, intent: Intent) -> int:
    """Return the venue's time by the local clock's progress: a request could fail when a failure is recorded."""
    return intent.created_ms + max(context.wall_ms() - intent.touched_wall_ms, 0)
