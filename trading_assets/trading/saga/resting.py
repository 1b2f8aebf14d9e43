"""Follows an order that rests at its price until it has ended: looks after what it has filled, changes and cancels it.

What is to be done is decided by `decide`, from the ledger's row and the order as the exchange shows it. A request is
recorded before it is sent, and an answer only means that it was accepted: it is asked for again until it is seen done.
Meanwhile the order may be filled. Whoever follows it does the same, so two processes do no harm.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_assets.core.errors import ExchangeError, OrderEndedError, OrderRejectedError, PriceRefusedError
from trading_assets.core.models import Order, OrderChange, Side
from trading_assets.core.timeframes import iso
from trading_assets.ledger import orders, risk
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.sizing import on_tick
from trading_assets.trading.ownership.reading import left_of
from trading_assets.trading.saga.progress import move, step, venue_ms
from trading_assets.trading.saga.protection import protect
from trading_assets.trading.saga.transitions import Step

CHASE_MS = 10_000
"""An order that follows the market is dropped where it is not filled so long after its end."""

MOST_REQUESTS = 20
"""An amendment that is not seen done after so many requests is given up, and the order cancelled."""


@dataclass(frozen=True)
class Wait:
    """Nothing is to be done."""


@dataclass(frozen=True)
class Amend:
    """Its price is to be changed."""

    price: Decimal
    reason: str


@dataclass(frozen=True)
class Cancel:
    """What is left of it is to be cancelled."""

    reason: str


def is_older(intent: Intent, order: Order) -> bool:
    """Whether an order that still waits is shown as it was before what was seen of it already: by a list that lags."""
    filled = intent.filled_qty if intent.filled_qty is not None else Decimal(0)
    return order.updated_ms < (intent.seen_ms or 0) or order.filled_qty < filled


def decide(intent: Intent, order: Order, now_ms: int, *, stopped: str = "") -> Wait | Amend | Cancel:
    """What is to be done with an order that rests, as it is shown now; the first rule that fits. Pure.

    A cancellation is never taken back, nothing else is asked for under it, and what others have changed is not changed
    back.

    Args:
        stopped: why nothing more may be filled; empty where it may.
    """
    if intent.request == orders.CANCEL:
        return Cancel(intent.request_reason or "")
    if stopped:
        return Cancel(stopped)
    if order.qty != intent.qty:
        return Cancel(f"somebody else has changed its quantity from {intent.qty} to {order.qty}")
    if order.price != intent.price:
        if intent.request != orders.AMEND or intent.price is None:
            return Cancel(f"somebody else, or the exchange, has changed its price from {intent.price} to {order.price}")
        if intent.requests >= MOST_REQUESTS:
            return Cancel(f"its price could not be changed to {intent.price} in {intent.requests} requests")
        return Amend(intent.price, intent.request_reason or "")
    if intent.until_ms is None or now_ms < intent.until_ms:
        return Wait()
    over = f"its time was over at {iso(intent.until_ms)}"
    if intent.chase_price is None:
        return Cancel(over)
    if intent.price != intent.chase_price:
        return Amend(intent.chase_price, over)
    if now_ms < intent.until_ms + CHASE_MS:
        return Wait()
    return Cancel(f"{over}, and the market is beyond {intent.chase_price}")


def follow(context: ExecutionContext, intent: Intent, order: Order) -> tuple[Intent | None, Order]:
    """Do one pass over an order that waits at the exchange. Return the intent and the order as they are then.

    The intent is None where another process has changed it.

    Raises:
        ExchangeError: something cannot be read or was not accepted; it is tried again in the next pass.
    """
    if intent.status != orders.RESTING:
        rests = move(context, intent, orders.RESTING, order_id=order.order_id)
        if rests is None:
            return None, order
        intent = rests
    with step(context, Step.FOLLOW, intent):
        if is_older(intent, order):
            return intent, order
        if _is_shown_on_another_tick(context, intent, order):
            order = replace(order, price=intent.price)
        now_ms = context.exchange.now_ms()
        seen = _observe(context, intent, order, now_ms)
        if seen is None:
            return None, order
        intent, is_bare = seen, False
        stopped = _why_stopped(context, now_ms)
        if order.filled_qty > 0:
            why, is_bare = _of_its_position(context, intent, order)
            stopped = why or stopped
    match decide(intent, order, now_ms, stopped=stopped):
        case Cancel(reason):
            after = _cancel(context, intent, reason, now_ms)
        case Amend(price, reason):
            after = _amend(context, intent, price, reason, now_ms)
        case Wait():
            return intent, order
    if is_bare:  # the rest is on its way out: what is filled is looked after now
        protect(context, intent, order.filled_qty)
    if after is None:
        return None, order
    return after, context.exchange.find_order(intent.symbol, intent.order_link_id) or order


def _observe(context: ExecutionContext, intent: Intent, order: Order, now_ms: int) -> Intent | None:
    """Record what is seen, where it is news. Return the intent as it is then; None where another process was first."""
    is_amended = intent.request == orders.AMEND and order.price == intent.price
    filled = order.filled_qty if order.filled_qty > 0 else None
    known = (intent.filled_qty, intent.seen_ms, intent.unseen_since_ms)
    if not is_amended and (filled, order.updated_ms, None) == known:
        return intent
    with context.database.write() as connection:
        noted = orders.observe(
            connection,
            intent,
            filled_qty=order.filled_qty,
            average_price=order.average_price,
            seen_ms=order.updated_ms,
            is_amended=is_amended,
            now_ms=now_ms,
        )
    if not noted:
        return None
    request = None if is_amended else intent.request
    seen = replace(intent, seen_ms=order.updated_ms, unseen_since_ms=None, request=request)
    return seen if filled is None else replace(seen, filled_qty=filled, average_price=order.average_price)


def _why_stopped(context: ExecutionContext, now_ms: int) -> str:
    """Why nothing more may be opened; empty where it may."""
    if context.is_halted_by_file:
        return "trading is halted by the file in the home"
    state = risk.in_force(risk.read_history(context.database, context.settings.account), now_ms)
    if not state.ended(now_ms) and state.state is not RiskState.ACTIVE:
        return f"trading is {state.state.value}: {state.reason}"
    return context.why_off()


def _of_its_position(context: ExecutionContext, intent: Intent, order: Order) -> tuple[str, bool]:
    """Why what is left of a partly filled order is to be cancelled, and whether what is filled is without its stop."""
    position = context.exchange.position(intent.symbol)
    if position is not None and position.side is intent.side:
        if position.stop_loss is None:
            return "what it has filled is without its stop", True
        if position.size >= order.filled_qty:
            return "", False
    left = left_of(context, intent, order.filled_qty)
    return ("a part of what it has filled is closed already" if left < order.filled_qty else ""), False


def _cancel(context: ExecutionContext, intent: Intent, reason: str, now_ms: int) -> Intent | None:
    with context.database.write() as connection:
        if not orders.ask(connection, intent, orders.CANCEL, reason, now_ms):
            return None
    with step(context, Step.CANCEL, intent):
        context.exchange.cancel_order(intent.symbol, intent.order_link_id)
    return replace(intent, request=orders.CANCEL, request_reason=reason, requests=intent.requests + 1)


def _amend(
    context: ExecutionContext,
    intent: Intent,
    price: Decimal,
    reason: str,
    now_ms: int,
    *,
    chase_price: Decimal | None = None,
) -> Intent | None:
    """Move the order's price. After a refusal once more to the contract's tick of now, where that is another price.

    A price that is refused all the same cannot be followed to: its time is over, so the order is cancelled.
    """
    with context.database.write() as connection:
        if not risk.entries_allowed(connection, intent.account, venue_ms(context, intent)):
            return intent  # the next pass sees why, and cancels it
        if not orders.ask(connection, intent, orders.AMEND, reason, now_ms, price, chase_price=chase_price):
            return None
    asked = replace(intent, request=orders.AMEND, request_reason=reason, requests=intent.requests + 1, price=price)
    if chase_price is not None:
        asked = replace(asked, chase_price=chase_price)
    try:
        with step(context, Step.AMEND, intent):
            context.exchange.amend_order(OrderChange(intent.symbol, intent.order_link_id, price=price))
    except OrderEndedError:
        return asked  # filled or cancelled meanwhile: the look-up tells
    except OrderRejectedError as error:
        if not isinstance(error, PriceRefusedError):
            context.contracts.forget()
            tick = _tick(context, intent)
            if tick is None:
                return asked  # it is asked for again, by rules that can be read
            on_it = on_tick(price, tick, up=intent.side is Side.SELL)  # never beyond what it may follow to
            if on_it != price:
                return _amend(context, asked, on_it, reason, now_ms, chase_price=on_it)
        return _cancel(context, asked, f"its price could not be changed to {price}: {error}", now_ms)
    return asked


def _tick(context: ExecutionContext, intent: Intent) -> Decimal | None:
    """The contract's tick; None where it cannot be read."""
    with suppress(ExchangeError):
        contract = context.contracts.get(context.exchange, set(), context.wall_ms()).get(intent.symbol)
        if contract is not None:
            return contract.tick_size
    return None


def _is_shown_on_another_tick(context: ExecutionContext, intent: Intent, order: Order) -> bool:
    """Whether nobody has changed the price: an order of before waits at its own, and is shown on the tick of now."""
    asked, shown = intent.price, order.price
    if asked is None or shown is None or asked == shown or intent.request is not None:
        return False
    for is_read_again in (False, True):
        if is_read_again:
            context.contracts.forget()
        tick = _tick(context, intent)
        if tick is not None and asked % tick and not shown % tick and abs(shown - asked) < tick:
            return True
    return False
