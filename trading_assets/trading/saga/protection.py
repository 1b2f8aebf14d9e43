"""Keeps positions of ours from being bare: the stop again, else an order in its place, else an exit at the market.

Only a price that has passed the stop leads to an exit at once. Every other refusal is tried again, a few times in a
pass and in each pass. Meanwhile a conditional reduce-only order stands in for the stop. Where neither can be had, the
position is closed `unprotected_max_s` after it was first seen without a stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import islice

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    OrderRejectedError,
    PriceRefusedError,
    TradingAssetsError,
)
from trading_assets.core.models import OrderRequest, Position, Side
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders, risk
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.risk import Cause, RiskState, StateChange
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.saga.progress import step
from trading_assets.trading.saga.transitions import Step

PAUSE_S = 0.15
ATTACHES = 3
"""Tries of setting a stop in one pass."""

STAND_INS = 20
"""Most orders in place of one signal's stop: one that was cancelled is followed by another with its own id."""

EXITS, EXITS_OF_A_RUN = 60, 3
"""Most emergency exits of one signal's position: in all, and in one run."""

_ACTOR = "stop watch"


def protect(context: ExecutionContext, intent: Intent, filled_qty: Decimal, *, known_open: bool = False) -> bool:
    """Check that the position has its stop. Set a missing stop again; close the position where its time has come.

    Args:
        filled_qty: what the order of the intent filled.
        known_open: the caller knows that the position is still ours; else what was closed since is asked.

    Returns:
        Whether something had to be done.

    Raises:
        ExchangeError: the position cannot be read or closed, or it has no stop yet. It is tried again.
    """
    with step(context, Step.PROTECT):
        bare = _bare(context, intent)
        if bare is None or not (known_open or not _was_closed(context, intent, filled_qty)):
            _relieve(context, intent)
            return False
    if _has_passed(bare.mark_price, intent):
        _close(context, intent, bare, f"its price {bare.mark_price} has passed the stop {intent.stop_loss}")
        return True
    try:
        with step(context, Step.ATTACH):
            failure = _attach(context, intent)
            left = _bare(context, intent)
    except PriceRefusedError:
        _close(context, intent, bare, f"the price has passed the stop {intent.stop_loss}")
        return True
    if left is None:
        _relieve(context, intent)
        return True
    why = str(failure) if failure is not None else "the exchange took it, and does not show it"
    _stand_in_or_close(context, intent, left, why)
    return True


def watch_bare(context: ExecutionContext) -> None:
    """Look again after every position that was seen without its stop: set it, close it, or end what stood in for it.

    What fails for one of them is tried again; the others are looked after all the same.
    """
    for intent in orders.unprotected(context.database, context.settings.account):
        with suppress(ExchangeError):
            if intent.status == orders.CONFIRMED:
                protect(context, intent, intent.filled_qty or intent.qty)
            elif intent.status not in orders.UNRESOLVED:  # of those recovery takes care
                _relieve(context, intent)


def _attach(context: ExecutionContext, intent: Intent) -> ExchangeError | None:
    """Set the stops. Return how the last try failed, None after success.

    Raises:
        PriceRefusedError: the price has come to a level already.
    """
    for attempt in range(ATTACHES):
        try:
            context.exchange.set_stops(intent.symbol, intent.stop_loss, intent.take_profit)
        except PriceRefusedError:
            raise
        except ExchangeFatalError as error:
            account_refusals.tell(context, error)
            return error
        except ExchangeError as error:
            if attempt == ATTACHES - 1:
                return error
            context.sleep(PAUSE_S * (attempt + 1))
        else:
            return None
    raise AssertionError("unreachable")


def _stand_in_or_close(context: ExecutionContext, intent: Intent, bare: Position, why: str) -> None:
    """Put a conditional order in the place of the stop; close the position where that was refused for too long.

    Raises:
        ExchangeUnavailableError: the position has no stop yet.
    """
    now_ms = context.exchange.now_ms()
    since_ms = _begin(context, intent, why, now_ms)
    try:
        _place_stand_in(context, intent, bare)
    except PriceRefusedError:
        _close(context, intent, bare, f"the price has passed the stop {intent.stop_loss}")
        return
    except ExchangeError as error:
        if now_ms - since_ms >= context.settings.unprotected_max_s * 1000:
            _close(context, intent, bare, f"for {(now_ms - since_ms) / 1000:.0f} s it could not be given one: {why}")
            return
        raise ExchangeUnavailableError(
            f"{intent.symbol} has no stop ({why}) and no order in its place ({error}); it is tried again, and closed "
            f"{context.settings.unprotected_max_s} s after it was first seen so",
            code=error.code,
        ) from error
    raise ExchangeUnavailableError(f"{intent.symbol} has no stop ({why}); a conditional order stands in for it")


def _begin(context: ExecutionContext, intent: Intent, why: str, now_ms: int) -> int:
    """Note since when the position is bare, once; the first time trading is reduced, and a person is told."""
    database, account = context.database, intent.account
    held = {one.order_link_id: one for one in orders.unprotected(database, account)}.get(intent.order_link_id)
    if held is not None and held.unprotected_since_ms is not None:
        return min(held.unprotected_since_ms, now_ms)
    with database.write() as connection:
        orders.set_unprotected(connection, intent.order_link_id, now_ms)
    reason = f"{intent.symbol} has no stop"
    change = StateChange(RiskState.REDUCING, Cause.UNPROTECTED, reason, _ACTOR, now_ms)
    risk.change_state(database, account, change, unless=lambda state: state.state is not RiskState.ACTIVE)
    context.notify(
        "position without stop",
        f"{intent.symbol} has no stop and could not be given one: {why}. A conditional order is put in its place, "
        "nothing new is opened until it has its stop",
    )
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
    for link in _stand_in_links(context, intent):
        order = context.exchange.find_order(intent.symbol, link)
        if order is None:
            break
        if not order.status.is_final:
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


def _place_stand_in(context: ExecutionContext, intent: Intent, bare: Position) -> None:
    """See that a conditional order waits at the stop's price.

    Raises:
        ExchangeError: it was refused, or cannot be seen.
    """
    for link in _stand_in_links(context, intent):
        order = context.exchange.find_order(intent.symbol, link)
        if order is not None:
            if not order.status.is_final:
                return
            continue  # its end was not the position's
        context.exchange.place_order(
            OrderRequest(
                symbol=intent.symbol,
                side=intent.side.opposite,
                qty=bare.size,
                order_link_id=link,
                reduce_only=True,
                trigger_price=intent.stop_loss,
                position_idx=bare.position_idx,
            )
        )
        return
    raise ExchangeUnavailableError(f"{STAND_INS} orders in place of the stop have ended")


def _stand_in_links(context: ExecutionContext, intent: Intent) -> Iterator[str]:
    return (context.exchange.order_ids.encode(intent.signal_id, f"s{number}") for number in range(1, STAND_INS + 1))


def _close(context: ExecutionContext, intent: Intent, bare: Position, why: str) -> None:
    """Close a bare position, and say so."""
    detail = f"{intent.symbol} had no stop and could not be given one; it is closed: {why}"
    now_ms = context.exchange.now_ms()
    with context.database.write() as connection:
        is_new = account_ledger.add_risk_event(
            connection, intent.account, "unprotected", intent.symbol, detail[:500], now_ms
        )
    if is_new:
        context.notify("position without stop", detail)
    with step(context, Step.EXIT):
        _exit(context, intent, bare)
    with suppress(TradingAssetsError):  # the position is closed: what stood in for its stop ends in a later pass
        _relieve(context, intent)


def _exit(context: ExecutionContext, intent: Intent, unprotected: Position) -> None:
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
            symbol=intent.symbol,
            side=intent.side.opposite,
            qty=unprotected.size,
            order_link_id=link,
            reduce_only=True,
            position_idx=unprotected.position_idx,
        )
        try:
            context.exchange.place_order(request)
        except OrderRejectedError:
            if context.exchange.position(intent.symbol) is not None:
                raise
            return
        context.sleep(PAUSE_S)
        left = context.exchange.position(intent.symbol)
        if left is None:
            return
        unprotected = left
    raise ExchangeUnavailableError(
        f"{intent.symbol} has no stop and could not be closed: it is tried again, look at it"
    )


def _bare(context: ExecutionContext, intent: Intent) -> Position | None:
    """Return the intent's position if it has no stop. A position of the other side is not the intent's."""
    position = context.exchange.position(intent.symbol)
    ours = position is not None and position.side is intent.side
    return position if ours and position is not None and position.stop_loss is None else None


def _has_passed(mark: Decimal, intent: Intent) -> bool:
    """Whether a price is at the signal's stop, or beyond it."""
    if mark <= 0:
        return False
    return mark <= intent.stop_loss if intent.side is Side.BUY else mark >= intent.stop_loss


def _was_closed(context: ExecutionContext, intent: Intent, filled_qty: Decimal) -> bool:
    """Return whether all of the intent's position was closed: what is open in its symbol now is not the intent's."""
    closed = context.exchange.closed_pnl(intent.created_ms + 1, context.exchange.now_ms() + 1)
    ours = (row.qty for row in closed if row.symbol == intent.symbol and row.side is not intent.side)
    return sum(ours, Decimal(0)) >= filled_qty
