"""The steps of one order, from the reservation to the recorded position: calls of the exchange and ledger writes.

Every function continues an intent from its present state, so the next run continues what a killed run has left. The
sequence of steps and the transitions between states are in `saga.transitions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

from trading_assets.core.errors import (
    AccountShapeError,
    ExchangeError,
    ExchangeFatalError,
    InsufficientBalanceError,
    NotSentError,
    OrderRejectedError,
    PriceRefusedError,
    RulesChangedError,
    TooLateError,
)
from trading_assets.core.events import Failure, TradeExecuted, TradeFailed, failure_of
from trading_assets.core.models import Order, OrderAck, OrderRequest, OrderStatus, RejectReason, SendBy
from trading_assets.ledger import orders, signals
from trading_assets.ledger.leases import Lease
from trading_assets.ledger.orders import Intent
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.saga import resting
from trading_assets.trading.saga.progress import end_trace, log, move, move_all, step, venue_ms
from trading_assets.trading.saga.protection import protect
from trading_assets.trading.saga.transitions import Step

NEVER_REACHED = "the order never reached the exchange"
LOOK_UPS = 8
LOOK_UP_PAUSE_S = 0.15
SEND_ATTEMPTS = 3
RECOVER_AFTER_MS = 30_000
"""So no process works any more on an intent of this age, and recovery may settle it.

It is longer than `SEND_WITHIN_MS`, the longest receive window and the largest difference of the clocks together: an
order that was signed at the last moment, and sent by a process that had slept, is refused by the venue before that."""


class PostponedError(NotSentError):
    """Nothing was placed, and the signal waits for its next turn.

    Attributes:
        cause: what kept the order from being placed.
    """

    def __init__(self, message: str, cause: ExchangeError) -> None:
        super().__init__(message)
        self.cause = cause


def reserve(
    context: ExecutionContext,
    intents: Sequence[Intent],
    lease: Lease,
    max_open: int,
    details: Mapping[str, str] | None = None,
) -> set[str]:
    """Record intents and mark their signals as executing, in one transaction, the first of them first.

    Return the order link ids of those that were reserved: another order or a limit may prevent one. `details` has a
    line for the history of some, by the same id.

    Raises:
        LeaseLostError: another process has the lease; nothing was reserved.
    """
    if not intents or context.is_halted_by_file or context.why_off():
        return set()
    with ExitStack() as taken:
        for intent in intents:
            taken.enter_context(step(context, Step.RESERVE, intent))
        reserved = orders.reserve_all(
            context.database,
            intents,
            max_open=max_open,
            wall_ms=intents[0].touched_wall_ms,
            lease=lease,
            details=details,
        )
    for intent in intents:
        if intent.order_link_id in reserved:
            log("order_reserved", intent, "the order is reserved")
    return reserved


Sent = Intent | None | Exception
"""What became of an order that was to be sent: its intent, None where another process has changed it, or what was
raised of it: `PostponedError` where nothing was placed and its signal waits again."""


def send(context: ExecutionContext, to_send: Sequence[tuple[Intent, int]]) -> list[Sent]:
    """Set the leverage of each, unless it is known to be set, then create the orders: several by one request.

    Args:
        to_send: intents, each with the moment by which it is signed, ms of the local clock.

    Return what became of each, in their order: what happens to one keeps none of the others from its own end.
    """
    found = dict[str, Sent]()
    ready, taken = list[tuple[Intent, int]](), list[tuple[Intent, str | None]]()
    for intent, send_by_wall_ms in to_send:
        try:
            with step(context, Step.LEVERAGE, intent):
                if context.keeper is None or not context.keeper.has_leverage(intent.symbol, intent.leverage):
                    context.exchange.set_leverage(intent.symbol, intent.leverage)
            ready.append((intent, send_by_wall_ms))
        except ExchangeError as error:
            found[intent.order_link_id] = _tried(_without_leverage, context, intent, error)
    for intent, answer in _create(context, ready):
        if isinstance(answer, OrderAck):
            taken.append((intent, answer.order_id))
        elif isinstance(answer, _CLEAR) and not isinstance(answer, TooLateError) and _was_placed(context, intent):
            # The exchange says that nothing was placed. One look made sure, as a proxy may have answered in its place.
            taken.append((intent, None))
        else:
            found[intent.order_link_id] = _tried(_not_taken, context, intent, answer)
    found |= _acknowledge(context, taken)
    return [found[intent.order_link_id] for intent, _ in to_send]


_CLEAR = (OrderRejectedError, ExchangeFatalError, NotSentError)


def _tried(call: Callable[[ExecutionContext, Intent, ExchangeError], Intent | None], *given: Any) -> Sent:
    try:
        return call(*given)
    except Exception as error:  # noqa: BLE001 (raised by the caller, after the other orders)
        return error


def _without_leverage(context: ExecutionContext, intent: Intent, error: ExchangeError) -> Intent | None:
    """Whatever became of the leverage, of the order nothing was sent."""
    if _is_of_the_order(context, error):
        return _refused(context, intent, f"leverage not set: {error}", error)
    raise _postpone(context, intent, f"leverage not set: {error}", error) from error


def _not_taken(context: ExecutionContext, intent: Intent, error: ExchangeError) -> Intent | None:
    """Record what it means that the exchange has not said that it took the order."""
    if not isinstance(error, _CLEAR):
        with step(context, Step.ACKNOWLEDGE, intent):
            return move(context, intent, orders.UNKNOWN, reason=f"outcome unknown: {error}")
    if _is_of_the_order(context, error):
        return _refused(context, intent, str(error), error)
    why = f"not sent: {error}" if isinstance(error, NotSentError) else str(error)
    raise _postpone(context, intent, why, error) from error


def _acknowledge(context: ExecutionContext, taken: Sequence[tuple[Intent, str | None]]) -> dict[str, Sent]:
    """Record in one transaction that the exchange has taken these, with the ids it gave them."""
    with ExitStack() as steps:
        for intent, _ in taken:
            steps.enter_context(step(context, Step.ACKNOWLEDGE, intent))
        try:
            moved: Sequence[Sent] = move_all(context, taken, orders.SUBMITTED)
        except Exception as error:  # noqa: BLE001 (raised by the caller, after the other orders)
            moved = [error] * len(taken)
    return {intent.order_link_id: one for (intent, _), one in zip(taken, moved, strict=True)}


def confirm(context: ExecutionContext, intent: Intent) -> Intent | None:
    """Look a sent order up until it is final. Return the intent settled, or unchanged where the order is not final yet.

    Raises:
        ExchangeError: the position cannot be read or closed; the intent stays unresolved and is settled later.
    """
    with step(context, Step.CONFIRM, intent):
        order = _look_up(context, intent)
    return settle(context, intent, order) if order is not None else intent


def settle(context: ExecutionContext, intent: Intent, order: Order) -> Intent | None:
    """Bring the ledger in line with the order. The intent stays unresolved while the order is not final.

    Raises:
        ExchangeError: the position cannot be read or closed; the intent stays as it is.
    """
    if not order.status.is_final:
        if not intent.may_rest:
            if intent.status == orders.SUBMITTED:
                return intent
            return move(context, intent, orders.SUBMITTED, order_id=order.order_id)
        followed, order = resting.follow(context, intent, order)
        if followed is None or not order.status.is_final:
            return followed
        intent = followed
    if order.filled_qty <= 0 and intent.may_rest and has_waited(order):
        why = intent.request_reason if intent.request == orders.CANCEL else None
        why = why or f"cancelled {order.cancelled_by.value if order.cancelled_by else 'by the venue'}, not by us"
        return _end(context, intent, orders.ENDED, f"nothing was filled: {why}", Failure.NOT_FILLED, order.order_id)
    if order.filled_qty <= 0:
        return _end(context, intent, orders.REJECTED, why_not_filled(order), Failure.NOT_FILLED, order.order_id)
    told = {"order_id": order.order_id, "qty": order.filled_qty, "price": order.average_price}
    log("order_filled", intent, f"{order.filled_qty} filled at {order.average_price}", **told)
    protect(context, intent, order.filled_qty)
    return record(context, intent, order.order_id, order.filled_qty, order.average_price)


def has_waited(order: Order) -> bool:
    """Whether an order that ended unfilled was in the book: it was not refused after its answer."""
    refused = order.reject_reason not in (None, RejectReason.CANCELLED, RejectReason.SELF_MATCH)
    return order.status is not OrderStatus.REJECTED and not refused


def record(
    context: ExecutionContext, intent: Intent, order_id: str | None, filled_qty: Decimal, average_price: Decimal | None
) -> Intent | None:
    """Record a filled order whose position is protected, and publish it."""
    event = TradeExecuted(
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
        time_ms=venue_ms(context, intent),
    )
    with step(context, Step.RECORD, intent):
        details = {"order_id": order_id, "filled_qty": filled_qty, "average_price": average_price}
        settled = move(context, intent, orders.CONFIRMED, event, **details)
    if settled is not None:
        context.publish(event, is_kept=True)
        end_trace(context, settled, orders.CONFIRMED)
    return settled


def give_up(context: ExecutionContext, intent: Intent) -> Intent | None:
    """Abandon an intent that has neither order nor position, and can get none any more."""
    return _end(context, intent, orders.ABANDONED, NEVER_REACHED, Failure.NOT_SENT)


def lose(context: ExecutionContext, intent: Intent) -> Intent | None:
    """End an order that rested and that the exchange does not show any more, with what is known to be filled of it."""
    if intent.filled_qty:
        return record(context, intent, intent.order_id, intent.filled_qty, intent.average_price)
    why = "nothing was filled, as far as the exchange shows: the order itself is not shown any more"
    return _end(context, intent, orders.ENDED, why, Failure.NOT_FILLED)


def why_not_filled(order: Order) -> str:
    """Return the reason of a final order without a fill."""
    words = [order.status.value, *([order.reject_reason.value] if order.reject_reason is not None else [])]
    return f"nothing was filled: {', '.join(words)}" + (f" ({order.venue_reason})" if order.venue_reason else "")


def _create(
    context: ExecutionContext, ready: Sequence[tuple[Intent, int]]
) -> list[tuple[Intent, OrderAck | ExchangeError]]:
    """Create the orders. Retry, with the same ids and in time, only what the exchange certainly never saw."""
    found = dict[str, OrderAck | ExchangeError]()
    left = [_request(context, intent, send_by_wall_ms) for intent, send_by_wall_ms in ready]
    with ExitStack() as steps:
        for intent, _ in ready:
            steps.enter_context(step(context, Step.CREATE, intent))
        for attempt in range(SEND_ATTEMPTS):
            for intent, _ in ready:
                if any(intent.order_link_id == one.order_link_id for one in left):
                    log("order_sent", intent, "the order is sent")
            answers = _placed(context, left)
            found |= {one.order_link_id: answer for one, answer in zip(left, answers, strict=True)}
            left = [one for one in left if _may_be_sent_again(found[one.order_link_id])]
            if not left:
                break
            if attempt < SEND_ATTEMPTS - 1:
                context.sleep(LOOK_UP_PAUSE_S)
    return [(intent, found[intent.order_link_id]) for intent, _ in ready]


def _request(context: ExecutionContext, intent: Intent, send_by_wall_ms: int) -> OrderRequest:
    return OrderRequest(
        symbol=intent.symbol,
        side=intent.side,
        qty=intent.qty,
        order_link_id=intent.order_link_id,
        stop_loss=intent.stop_loss,
        take_profit=intent.take_profit,
        price=intent.price,
        post_only=intent.post_only,
        send_by=SendBy(send_by_wall_ms, context.wall_ms),
    )


def _placed(context: ExecutionContext, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
    """Send orders, several by one request. Where that is refused as a whole, sound orders are among them: each that is
    not there after all goes by itself then."""
    if len(requests) == 1:
        return [_placed_alone(context, requests[0])]
    answers = context.exchange.place_orders(requests) if requests else []
    refused = answers[0] if answers else None
    if not isinstance(refused, OrderRejectedError) or any(one is not refused for one in answers):
        return answers
    return [refused if _was_placed(context, one) else _placed_alone(context, one) for one in requests]


def _placed_alone(context: ExecutionContext, request: OrderRequest) -> OrderAck | ExchangeError:
    try:
        return context.exchange.place_order(request)
    except ExchangeError as error:
        return error


def _may_be_sent_again(answer: OrderAck | ExchangeError) -> bool:
    return isinstance(answer, NotSentError) and not isinstance(answer, TooLateError)


def _is_of_the_order(context: ExecutionContext, error: ExchangeError) -> bool:
    """Whether the exchange refused this very order for good. The whole account, or old rules, are not its fault."""
    if isinstance(error, AccountShapeError):
        return not account_refusals.is_of_account(context, error)
    return isinstance(error, OrderRejectedError) and not isinstance(error, RulesChangedError)


def _refused(context: ExecutionContext, intent: Intent, reason: str, error: ExchangeError) -> Intent | None:
    """End an order that the exchange has refused for good."""
    if isinstance(error, InsufficientBalanceError):
        found = account_refusals.asked_again(context)  # the gates saw the margin: is it secured in another way now?
        reason += found and f"; {found}"
    elif not isinstance(error, PriceRefusedError):
        context.contracts.forget()  # what was refused may no longer be as it is listed here
    return _end(context, intent, orders.REJECTED, reason, failure_of(error))


def _postpone(context: ExecutionContext, intent: Intent, reason: str, cause: ExchangeError) -> PostponedError:
    """Put the signal of an order that was certainly not placed back among those that wait."""
    if isinstance(cause, ExchangeFatalError) and not isinstance(cause, AccountShapeError):
        account_refusals.tell(context, cause, of_order=True)
    if isinstance(cause, RulesChangedError):
        context.contracts.forget()
    with step(context, Step.RECORD, intent):
        move(context, intent, orders.ABANDONED, reason=reason, signal_status=signals.ACTIVE)
    return PostponedError(reason, cause)


def _was_placed(context: ExecutionContext, intent: Intent | OrderRequest) -> bool:
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
        except ExchangeFatalError as error:
            account_refusals.tell(context, error)
            return seen
        except ExchangeError:
            seen = None
        if seen is not None and (seen.status.is_final or intent.may_rest):
            return seen
        if attempt < LOOK_UPS - 1:
            context.sleep(LOOK_UP_PAUSE_S * (attempt + 1))
    return seen


def publish_failure(context: ExecutionContext, intent: Intent, failure: Failure, detail: str) -> None:
    """Publish that an order opened no position, or that its outcome is not known."""
    context.publish(_failed(context, intent, failure, detail))


def _failed(context: ExecutionContext, intent: Intent, failure: Failure, detail: str) -> TradeFailed:
    return TradeFailed(
        account=intent.account,
        symbol=intent.symbol,
        side=intent.side,
        signal_id=intent.signal_id,
        order_link_id=intent.order_link_id,
        qty=intent.qty,
        failure=failure,
        detail=detail,
        time_ms=venue_ms(context, intent),
    )


def _end(
    context: ExecutionContext, intent: Intent, state: str, reason: str, failure: Failure, order_id: str | None = None
) -> Intent | None:
    event = _failed(context, intent, failure, reason)
    with step(context, Step.RECORD, intent):
        ended = move(context, intent, state, event, reason=reason, order_id=order_id)
    if ended is not None:
        context.publish(event, is_kept=True)
        end_trace(context, ended, state)
    return ended
