"""Carries out what the exit plan of a position has said: it leaves at the market, tightens the stop, rests its parts.

A decision is in the ledger before anything is sent, so that any process goes on with it. Orders have ids made from the
signal, and take our quantity alone; nothing here opens. It is done whatever the state of trading: exits reduce risk.
The stop at the exchange is moved nearer only, and never taken away.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from trading_assets.core.errors import (
    ExchangeError,
    ExchangeUnavailableError,
    OrderRejectedError,
    PriceRefusedError,
    RulesChangedError,
    StrategyError,
)
from trading_assets.core.messages import Kind
from trading_assets.core.models import CloseReason, OrderRequest, Position, Side
from trading_assets.ledger import exit_decisions, orders
from trading_assets.ledger.exit_decisions import DONE, LEVELS, OPEN, PARTS, PLACED, ExitDecision
from trading_assets.ledger.orders import Intent
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide import exits as plans
from trading_assets.trading.decide.exits import Part
from trading_assets.trading.decide.sizing import on_tick
from trading_assets.trading.ownership.reading import left_of
from trading_assets.trading.saga.closers import (
    LEAVES,
    leave_links,
    own_closings,
    part_link,
    part_links,
    position_of,
    sent,
)
from trading_assets.trading.saga.progress import step
from trading_assets.trading.saga.protection import set_levels
from trading_assets.trading.saga.transitions import Step


def decide(context: ExecutionContext, intent: Intent, decision: ExitDecision) -> bool:
    """Record a decision before anything of it is done. Return False where it, or another to leave, is known."""
    told = []
    with (
        step(context, Step.DECIDE, intent),
        context.database.write(one_at_a_time=f"exits of {intent.account}") as connection,
    ):
        if not exit_decisions.record(connection, intent, decision):
            return False
        if decision.is_leaving:
            side = "LONG" if intent.side is Side.BUY else "SHORT"
            title = f"leaves {side} {intent.symbol}: {CloseReason(decision.kind).told}"
            told.append(context.keep(connection, title, decision.detail, Kind.CLOSING, time_ms=decision.time_ms))
    context.tell(*told)
    return True


def go_on(context: ExecutionContext) -> dict[str, str]:
    """Carry out what was decided and is not done. Return what failed, by symbol; it is tried again in each pass."""
    failed: dict[str, str] = {}
    for intent, decision in exit_decisions.pending(context.database, context.settings.account):
        try:
            with account_refusals.telling(context, of_order=True):
                carry_out(context, intent, decision)
        except (ExchangeError, StrategyError) as error:
            failed[intent.symbol] = f"{intent.symbol}: its exit ({decision.kind}) is not done yet: {error}"
    return failed


def carry_out(context: ExecutionContext, intent: Intent, decision: ExitDecision) -> None:
    """Do one pass over a decision that was recorded.

    Raises:
        ExchangeError: something cannot be read, or was not accepted; it is tried again.
        StrategyError: the plan of its signal cannot be read.
    """
    if decision.kind == PARTS:
        if intent.status == orders.CONFIRMED:
            _place_parts(context, intent, decision)
        else:
            end_parts(context, intent)
    elif decision.kind == LEVELS:
        tighten(context, intent, decision)
    else:
        _leave(context, intent, decision)


def tighten(context: ExecutionContext, intent: Intent, decision: ExitDecision) -> None:
    """Move stop and target of a position to where they were decided to stand, on the contract's tick of now.

    Under `changed_stops` keep a person's tighter stop stays, and a target that a person has moved or taken off.
    """
    send_by = context.send_by()
    position = context.exchange.position(intent.symbol)
    if position is None or position.side is not intent.side:
        return  # the books tell whether it has ended
    if position.stop_loss is not None:  # else the stop that is set again is this one
        stop, target = _levels(context, intent, position)
        if (stop, target) != (position.stop_loss, position.take_profit):
            if left_of(context, intent, intent.filled_qty or intent.qty, own_closings(context, intent)) <= 0:
                return  # what is open is a person's
            try:
                with step(context, Step.TIGHTEN, intent), account_refusals.telling(context, of_stop=True):
                    set_levels(context, intent, stop, target, send_by)
                account_refusals.end(context, of_stops=True)
            except PriceRefusedError:
                _leave_at_level(context, intent, decision, position)
                return
    with context.database.write() as connection:
        exit_decisions.set_state(connection, decision, DONE)


def _levels(context: ExecutionContext, intent: Intent, position: Position) -> tuple[Decimal, Decimal | None]:
    """Stop and target that are to stand at the exchange now."""
    if context.settings.changed_stops != "keep" or position.stop_loss is None:
        return intent.stop_loss, intent.take_profit
    nearer = max if intent.side is Side.BUY else min
    with context.database.read() as connection:
        _, targets = exit_decisions.own_levels(connection, intent)
    is_ours = position.take_profit in targets
    if not is_ours and position.take_profit is not None:  # it may be ours on a tick that has changed
        contracts = context.contracts.get(context.exchange, set(), context.wall_ms())
        if intent.symbol in contracts:
            tick, up = contracts[intent.symbol].tick_size, intent.side is not Side.BUY
            is_ours = position.take_profit in {on_tick(target, tick, up=up) for target in targets}
    return nearer(position.stop_loss, intent.stop_loss), intent.take_profit if is_ours else position.take_profit


def _leave_at_level(context: ExecutionContext, intent: Intent, decision: ExitDecision, position: Position) -> None:
    """The price has passed a level before it could be set: as in a bar that opens beyond it, all leaves now."""
    sign = 1 if intent.side is Side.BUY else -1
    is_target = sign * (position.mark_price - intent.take_profit) >= 0
    kind = exit_decisions.TARGET if is_target else exit_decisions.STOP
    level = intent.take_profit if is_target else intent.stop_loss
    detail = f"the price has passed the {kind} {level} before it could be set"
    now_ms = context.exchange.now_ms()
    leaving = replace(decision, kind=kind, detail=detail, state=OPEN, time_ms=now_ms)
    if decide(context, intent, leaving):
        _leave(context, intent, leaving)


def _leave(context: ExecutionContext, intent: Intent, decision: ExitDecision) -> None:
    """Send an order for what is left of ours, unless one is under way."""
    send_by = context.send_by()
    mine = sent(context, intent, leave_links(context, intent))
    if mine and not mine[-1].status.is_final:
        return
    position = context.exchange.position(intent.symbol)
    if position is None or position.side is not intent.side:
        return  # the books tell whether it has ended
    filled = intent.filled_qty or intent.qty
    left = left_of(context, intent, filled, own_closings(context, intent))
    if left <= 0:
        return
    if len(mine) == LEAVES:
        raise ExchangeUnavailableError(f"{LEAVES} orders did not close it: close it at the exchange")
    link = list(leave_links(context, intent))[len(mine)]
    request = OrderRequest(
        symbol=intent.symbol,
        side=intent.side.opposite,
        qty=min(left, position.size),
        order_link_id=link,
        reduce_only=True,
        position_idx=position.position_idx,
        send_by=send_by,
    )
    with (
        step(context, Step.LEAVE, intent),
        suppress(OrderRejectedError),
    ):  # known, or gone meanwhile: the next pass looks
        context.exchange.place_order(request)


def _place_parts(context: ExecutionContext, intent: Intent, decision: ExitDecision) -> None:
    """See that the orders of the parts rest, each placed once: one that has ended is not placed again."""
    for part in _parts(context, intent):
        send_by = context.send_by()
        link = part_link(context, intent, part.number)
        if context.exchange.find_order(intent.symbol, link) is not None:
            continue
        request = OrderRequest(
            symbol=intent.symbol,
            side=intent.side.opposite,
            qty=part.qty,
            order_link_id=link,
            reduce_only=True,
            price=part.price,
            send_by=send_by,
        )
        with step(context, Step.PART, intent):
            try:
                _place_part(context, intent, part, request)
            except OrderRejectedError as error:
                if context.exchange.find_order(intent.symbol, link) is not None:
                    continue  # placed by another process, or before an answer that was lost
                if context.exchange.position(intent.symbol) is None:
                    return  # the books tell whether it has ended
                _tell_refused(context, intent, part, error)
    with context.database.write() as connection:
        exit_decisions.set_state(connection, decision, PLACED)


def _place_part(context: ExecutionContext, intent: Intent, part: Part, request: OrderRequest) -> None:
    """Place it; after a refusal by the contract's rules once more by those of now, where they make another order."""
    try:
        context.exchange.place_order(request)
    except RulesChangedError:
        context.contracts.forget()
        now = next((one for one in _parts(context, intent) if one.number == part.number), None)
        if now is None or now == part:
            raise
        context.exchange.place_order(replace(request, qty=now.qty, price=now.price))


def _tell_refused(context: ExecutionContext, intent: Intent, part: Part, error: OrderRejectedError) -> None:
    body = f"{part.qty} at {part.price} could not be placed, they leave with the rest: {error}"
    context.notify(f"a part of {intent.symbol} has no target", body, Kind.ORDER)
    with context.database.write() as connection:
        orders.note(connection, intent, body, context.exchange.now_ms())


def end_parts(context: ExecutionContext, intent: Intent) -> bool:
    """See that no part of a position that has ended rests any more. Return whether none does.

    Raises:
        ExchangeError: an order cannot be looked up or cancelled.
    """
    with context.database.read() as connection:
        decided = exit_decisions.of_intents(connection, [intent.order_link_id]).get(intent.order_link_id, [])
    mine = [one for one in decided if one.kind == PARTS and one.state != DONE]
    if not mine:
        return True
    is_over = True
    for link in part_links(context, intent):
        order = context.exchange.find_order(intent.symbol, link)
        if order is not None and order.status.is_final:
            continue
        with step(context, Step.CLEAR, intent):
            context.exchange.cancel_order(intent.symbol, link)
        order = context.exchange.find_order(intent.symbol, link)
        is_over = is_over and (order is None or order.status.is_final)
    if is_over:
        with context.database.write() as connection:
            exit_decisions.set_state(connection, mine[0], DONE)
    return is_over


def _parts(context: ExecutionContext, intent: Intent) -> list[Part]:
    [one] = exit_decisions.planned(context.database, intent.account, [intent.order_link_id])
    contracts = context.contracts.get(context.exchange, {intent.symbol}, context.wall_ms())
    if intent.symbol not in contracts:
        raise ExchangeUnavailableError(f"the exchange does not list {intent.symbol}: its rules are not known")
    return plans.parts_of(position_of(one), intent.filled_qty or intent.qty, contracts[intent.symbol])
