"""Keeps positions of ours from being bare: the stop again, else an order in its place, else an exit at the market.

Only a price that has passed the stop leads to an exit at once. Every other refusal is tried again, a few times in a
pass and in each pass. Meanwhile a conditional reduce-only order stands in for the stop: the position is not bare then.
Where neither can be had, it is closed `unprotected_max_s` after it was last seen with either. Orders take our quantity
alone: what a person holds beside it stays.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    OrderRejectedError,
    PriceRefusedError,
    TooLateError,
    TradingAssetsError,
)
from trading_assets.core.messages import Kind, Message, Severity
from trading_assets.core.models import OrderRequest, Position, SendBy, Side
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders, risk, risk_events
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.sizing import Levels, levels_on_tick
from trading_assets.trading.ownership.reading import left_of
from trading_assets.trading.saga.closers import STAND_INS, exit_links, own_closings, stand_in_links
from trading_assets.trading.saga.progress import step
from trading_assets.trading.saga.transitions import Step

PAUSE_S = 0.15
ATTACHES = 3
"""Tries of setting a stop in one pass."""

EXITS_OF_A_RUN = 3
"""Most emergency exits of one signal's position in one run."""

_ACTOR = "stop watch"


@dataclass(frozen=True)
class _Ours:
    """A position without its stop, and how much of it is ours, in coins: the rest is a person's."""

    intent: Intent
    position: Position
    qty: Decimal
    send_by: SendBy
    """until when an order may follow from that"""


def protect(
    context: ExecutionContext,
    intent: Intent,
    filled_qty: Decimal,
    *,
    known: tuple[Position, Decimal] | None = None,
) -> bool:
    """Check that the position has its stop. Set a missing stop again; close the position where its time has come.

    Nothing is set or sent on what was read more than `SEND_WITHIN_MS` before, unless it is seen again as it was: a
    person's own later position may be the open one by then.

    Args:
        filled_qty: what the order of the intent filled.
        known: a position, and how much of it is still ours, where the caller knows it; else, or where the position is
            not that one any more, ledger and exchange are asked.

    Returns:
        Whether something had to be done.

    Raises:
        ExchangeError: the position cannot be read or closed, or it has no stop yet. It is tried again.
    """
    send_by = context.send_by()
    with step(context, Step.PROTECT, intent):
        position = _position(context, intent)
        if position is not None and position.stop_loss is not None:
            _relieve(context, intent)
            return False
        if position is None and intent.unprotected_since_ms is None:
            return False
        if known is not None and position is not None and position.is_still(known[0]):
            left = known[1]
        else:
            left = left_of(context, intent, filled_qty, own_closings(context, intent))
        if left <= 0:
            _relieve(context, intent)
            return False
        if position is None:  # not seen, and not closed: what stands in for its stop stays
            return False
        ours = _Ours(intent, position, min(left, position.size), send_by)
    if _has_passed(position.mark_price, intent):
        _close(context, ours, f"its price {position.mark_price} has passed the stop {intent.stop_loss}")
        return True
    try:
        with step(context, Step.ATTACH, intent):
            failure = _attach(context, ours)
            send_by = context.send_by()
            still = _position(context, intent)
            if still is not None and still.stop_loss is None and not ours.send_by.left_s:
                _require_same(ours, still)
    except PriceRefusedError:
        _close(context, ours, f"the price has passed the stop {intent.stop_loss}")
        return True
    if still is None or still.stop_loss is not None:
        _relieve(context, intent)
        return True
    why = str(failure) if failure is not None else "the exchange took it, and does not show it"
    _stand_in_or_close(context, _Ours(intent, still, min(left, still.size), send_by), why)
    return True


def watch_bare(context: ExecutionContext) -> None:
    """Look again after every position that was seen without its stop: set it, close it, or end what stood in for it.

    What fails for one of them is tried again; the others are looked after all the same. One that was not seen since may
    be a person's by now: the reconciler tells.
    """
    for intent in orders.unprotected(context.database, context.settings.account):
        if intent.status == orders.CONFIRMED and intent.unseen_since_ms is not None:
            continue
        with suppress(ExchangeError), account_refusals.telling(context):
            if intent.status == orders.CONFIRMED:
                protect(context, intent, intent.filled_qty or intent.qty)
            elif intent.status not in orders.UNRESOLVED:  # of those recovery takes care
                _relieve(context, intent)


def _attach(context: ExecutionContext, ours: _Ours) -> ExchangeError | None:
    """Set the stops. Return how the last try failed, None after success.

    Under `changed_stops` keep a target that a person has moved, or taken off while the stop stood, stays as it is.
    After a refusal the levels are those of the tick of now: it may be another one than the signal's.

    Raises:
        PriceRefusedError: the price has come to a level already.
        ExchangeUnavailableError: it took too long, and the position is another one by now, or cannot be read.
    """
    intent, levels, send_by = ours.intent, (ours.intent.stop_loss, _target(context, ours)), ours.send_by
    for attempt in range(ATTACHES):
        try:
            context.exchange.set_stops(intent.symbol, *levels, send_by)
        except PriceRefusedError:
            raise
        except TooLateError as error:
            if attempt == ATTACHES - 1:
                return error
            send_by, seen = context.send_by(), _position(context, intent)
            _require_same(ours, seen)
        except ExchangeFatalError as error:
            account_refusals.tell(context, error, of_stop=True)
            return error
        except ExchangeError as error:
            if attempt == ATTACHES - 1:
                return error
            if isinstance(error, OrderRejectedError):
                levels = on_tick_of_now(context, intent, *levels)
            context.sleep(PAUSE_S * (attempt + 1))
        else:
            account_refusals.end(context, of_stops=True)
            return None
    raise AssertionError("unreachable")


def _require_same(ours: _Ours, seen: Position | None) -> None:
    """
    Raises:
        ExchangeUnavailableError: the position is not the one any more of which we know how much is ours.
    """
    if seen is None or not seen.is_still(ours.position):
        raise ExchangeUnavailableError(
            f"{ours.intent.symbol} has changed since it was seen without its stop, and that is long ago: whose it is "
            "must be looked up again"
        )


def set_levels(
    context: ExecutionContext, intent: Intent, stop: Decimal, target: Decimal | None, send_by: SendBy
) -> None:
    """Set stop and target; after a refusal those of the contract's tick of now, where that is another one.

    Args:
        send_by: counted from the look at the position that says that it is ours.

    Raises:
        TooLateError: its time has passed, and nothing was set.
        PriceRefusedError: the price has come to a level already.
        ExchangeError: they were not set.
    """
    try:
        context.exchange.set_stops(intent.symbol, stop, target, send_by)
    except PriceRefusedError:
        raise
    except OrderRejectedError:
        levels = on_tick_of_now(context, intent, stop, target)
        if levels == (stop, target):
            raise
        context.exchange.set_stops(intent.symbol, *levels, send_by)


def on_tick_of_now(context: ExecutionContext, intent: Intent, stop: Decimal, target: Decimal | None) -> Levels:
    """The levels on the contract's tick, which is read again."""
    context.contracts.forget()
    with suppress(ExchangeError):
        contract = context.contracts.get(context.exchange, set(), context.wall_ms()).get(intent.symbol)
        if contract is not None:
            return levels_on_tick(stop, target, contract.tick_size, long=intent.side is Side.BUY)
    return stop, target


def _target(context: ExecutionContext, ours: _Ours) -> Decimal | None:
    """The target that the position is to have when its stop is set again."""
    intent, now = ours.intent, ours.position.take_profit
    if context.settings.changed_stops != "keep":
        return intent.take_profit
    if now is not None:
        return now
    before = account_ledger.levels(context.database, intent.account, intent.symbol)
    was_taken_off = before is not None and before[0] is not None and before[1] is None
    return None if was_taken_off else intent.take_profit


def _stand_in_or_close(context: ExecutionContext, ours: _Ours, why: str) -> None:
    """Put a conditional order in the place of the stop; close the position where that was refused for too long.

    While that order stands the position is not bare: its time begins when neither is there.

    Raises:
        ExchangeUnavailableError: the position has no stop yet.
    """
    intent = ours.intent
    now_ms = context.exchange.now_ms()
    since_ms = _begin(context, intent, why, now_ms)
    try:
        _place_stand_in(context, ours)
    except PriceRefusedError:
        _close(context, ours, f"the price has passed the stop {intent.stop_loss}")
        return
    except ExchangeError as error:
        if now_ms - since_ms >= context.settings.unprotected_max_s * 1000:
            _close(context, ours, f"for {(now_ms - since_ms) / 1000:.0f} s it could not be given one: {why}")
            return
        raise ExchangeUnavailableError(
            f"{intent.symbol} has no stop ({why}) and no order in its place ({error}); it is tried again, and closed "
            f"{context.settings.unprotected_max_s} s after it was last seen with either",
        ) from error
    with context.database.write() as connection:
        orders.set_unprotected(connection, intent.order_link_id, now_ms)
    raise ExchangeUnavailableError(f"{intent.symbol} has no stop ({why}); a conditional order stands in for it")


def _begin(context: ExecutionContext, intent: Intent, why: str, now_ms: int) -> int:
    """Note since when the position is bare, once; the first time trading is reduced, and a person is told."""
    database, account = context.database, intent.account
    held = {one.order_link_id: one for one in orders.unprotected(database, account)}.get(intent.order_link_id)
    if held is not None and held.unprotected_since_ms is not None:
        return min(held.unprotected_since_ms, now_ms)
    reason = f"{intent.symbol} has no stop"
    change = StateChange(RiskState.REDUCING, Cause.UNPROTECTED, reason, _ACTOR, now_ms)
    risk.change_state(database, account, change, unless=lambda state: state.state is not RiskState.ACTIVE)
    detail = (
        f"{intent.symbol} has no stop and could not be given one: {why}. A conditional order is put in its place, "
        "nothing new is opened until it has its stop"
    )
    with database.write() as connection:
        orders.set_unprotected(connection, intent.order_link_id, now_ms)
        message = context.keep(
            connection, "position without stop", detail, Kind.RISK, Severity.CRITICAL, time_ms=now_ms
        )
    context.tell(message)
    return now_ms


def _relieve(context: ExecutionContext, intent: Intent) -> None:
    """The position has its stop, or is gone: end what stood in for it, and the state that came with it.

    Raises:
        ExchangeError: the order in place of the stop cannot be cancelled; it is tried again.
    """
    database, account = context.database, intent.account
    noted = orders.unprotected(database, account)
    if intent.order_link_id not in {one.order_link_id for one in noted}:
        return
    for link in stand_in_links(context, intent):
        order = context.exchange.find_order(intent.symbol, link)
        if order is None:
            break
        if not order.status.is_final:
            with account_refusals.telling(context, of_order=True):
                context.exchange.cancel_order(intent.symbol, link)
    with database.write() as connection:
        orders.set_unprotected(connection, intent.order_link_id, None)
    if len(noted) == 1:
        reason = "every position has its stop again"
        change = StateChange(
            RiskState.ACTIVE, Cause.UNPROTECTED, reason, _ACTOR, max(context.exchange.now_ms(), intent.created_ms)
        )
        risk.change_state(
            database,
            account,
            change,
            unless=lambda held: (held.state, held.cause) != (RiskState.REDUCING, Cause.UNPROTECTED),
        )


def _place_stand_in(context: ExecutionContext, ours: _Ours) -> None:
    """See that a conditional order for our quantity waits at the stop's price, on the contract's tick of now.

    Raises:
        ExchangeError: it was refused, or cannot be seen.
    """
    intent = ours.intent
    for link in stand_in_links(context, intent):
        order = context.exchange.find_order(intent.symbol, link)
        if order is not None:
            if not order.status.is_final:
                return
            continue  # its end was not the position's
        request = OrderRequest(
            symbol=intent.symbol,
            side=intent.side.opposite,
            qty=ours.qty,
            order_link_id=link,
            reduce_only=True,
            trigger_price=intent.stop_loss,
            position_idx=ours.position.position_idx,
            send_by=ours.send_by,
        )
        with account_refusals.telling(context, of_order=True):
            try:
                context.exchange.place_order(request)
            except PriceRefusedError:
                raise
            except OrderRejectedError:
                stop, _ = on_tick_of_now(context, intent, intent.stop_loss, None)
                if stop == intent.stop_loss:
                    raise
                context.exchange.place_order(replace(request, trigger_price=stop))
        return
    raise ExchangeUnavailableError(f"{STAND_INS} orders in place of the stop have ended")


def _close(context: ExecutionContext, ours: _Ours, why: str) -> None:
    """Close what is ours of a bare position, and say so."""
    intent = ours.intent
    detail = f"{intent.symbol} had no stop and could not be given one; it is closed: {why}"
    now_ms, told = context.exchange.now_ms(), list[Message]()
    with context.database.write() as connection:
        is_new = risk_events.add_risk_event(
            connection, intent.account, "unprotected", intent.symbol, detail[:500], now_ms
        )
        if is_new:
            told.append(
                context.keep(connection, "position without stop", detail, Kind.RISK, Severity.CRITICAL, time_ms=now_ms)
            )
    context.tell(*told)
    with step(context, Step.EXIT, intent):
        _exit(context, ours)
    with suppress(TradingAssetsError):  # the position is closed: what stood in for its stop ends in a later pass
        _relieve(context, intent)


def _exit(context: ExecutionContext, ours: _Ours) -> None:
    """Close our quantity of an unprotected position by reduce-only market orders.

    An exit that filled in part, or whose answer was lost, is followed by another one with its own id. Where nobody else
    holds a part of the position, reduce-only bounds it; beside a person's part an exit is followed by another one only
    when its end is known.

    Raises:
        ExchangeError: our part is still there, or cannot be read.
    """
    intent, position, left, send_by = ours.intent, ours.position, ours.qty, ours.send_by
    unused = (link for link in exit_links(context, intent) if context.exchange.find_order(intent.symbol, link) is None)
    for link in islice(unused, EXITS_OF_A_RUN):
        if not send_by.left_s:  # tries of setting the stop took long
            send_by, seen = context.send_by(), _position(context, intent)
            if seen is None:
                return
            _require_same(replace(ours, position=position), seen)
            position, left = seen, min(left, seen.size)
        request = OrderRequest(
            symbol=intent.symbol,
            side=intent.side.opposite,
            qty=left,
            order_link_id=link,
            reduce_only=True,
            position_idx=position.position_idx,
            send_by=send_by,
        )
        try:
            with account_refusals.telling(context, of_order=True):
                context.exchange.place_order(request)
        except OrderRejectedError:
            if context.exchange.position(intent.symbol) is not None:
                raise
            return
        context.sleep(PAUSE_S)
        send_by = context.send_by()
        now = context.exchange.position(intent.symbol)
        if now is None or now.side is not intent.side:
            return
        is_shared = position.size > left
        order = context.exchange.find_order(intent.symbol, link)
        if order is not None and order.status.is_final:
            left -= order.filled_qty
        elif is_shared:
            break
        left = min(left, now.size) if is_shared else now.size
        if left <= 0:
            return
        position = now
    raise ExchangeUnavailableError(
        f"{intent.symbol} has no stop and could not be closed: it is tried again, look at it"
    )


def _position(context: ExecutionContext, intent: Intent) -> Position | None:
    """Return the position on the intent's side. One of the other side is not the intent's."""
    position = context.exchange.position(intent.symbol)
    return position if position is not None and position.side is intent.side else None


def _has_passed(mark: Decimal, intent: Intent) -> bool:
    """Whether a price is at the signal's stop, or beyond it."""
    if mark <= 0:
        return False
    return mark <= intent.stop_loss if intent.side is Side.BUY else mark >= intent.stop_loss
