"""What a pass sets right: orders that the ledger had given up, missing and moved stops, parts that rest for nothing.

Which positions are concerned, `comparison` says. A stop that could not be set, or a part that could not be cancelled,
is told by symbol.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.core.errors import ExchangeError, OrderRejectedError, StrategyError
from trading_assets.core.models import Execution, FillKind, Position, Side
from trading_assets.ledger import exit_decisions, orders
from trading_assets.ledger.orders import Intent
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.sizing import levels_on_tick
from trading_assets.trading.reconcile.comparison import (
    Comparison,
    ExchangeState,
    changed_levels,
    is_looser,
    trailing_stops,
)
from trading_assets.trading.reconcile.snapshots import or_none
from trading_assets.trading.saga import exits, protection
from trading_assets.trading.saga.progress import move


def adopt(context: ExecutionContext, found: ExchangeState, repaired: list[str]) -> set[str]:
    """Confirm orders of ours that the ledger had given up and the exchange has filled after all. Return their ids.

    Args:
        repaired: takes a text for each.
    """
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
            if intent.status in orders.GIVEN_UP
        ]
    for intent in given_up:
        rows = filled[intent.order_link_id]
        qty = sum((row.qty for row in rows), Decimal(0))
        if qty <= 0:
            continue
        reason = f"{intent.status}, but the exchange filled it"
        # Whether its position is still open, the comparison tells: it ends with evidence alone.
        adopted = move(
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
            repaired.append(f"{intent.symbol}: order {intent.order_link_id} was {reason}: it is in the ledger now")
    return taken


def withdraw(context: ExecutionContext, found: ExchangeState, repaired: list[str]) -> None:
    """Cancel entries that wait at the exchange although the ledger has given them up: they came after all."""
    waiting = {row.order_link_id: row for row in found.waiting_orders if found.is_entry(row.order_link_id)}
    if not waiting:
        return
    with context.database.read() as connection:
        known = orders.by_links(connection, context.settings.account, waiting)
    for link, intent in known.items():
        if intent.status in orders.UNRESOLVED:
            continue
        with suppress(OrderRejectedError):  # of a coin that is listed no more
            order = context.exchange.find_order(intent.symbol, link)
            if order is None or order.status.is_final:
                continue  # the list lags
            context.exchange.cancel_order(intent.symbol, link)
            repaired.append(f"{intent.symbol}: order {link} was {intent.status}, and waited: it was cancelled")


def protect(
    context: ExecutionContext, found: ExchangeState, compared: Comparison, repaired: list[str]
) -> dict[str, str]:
    """Set the stops of our positions again that are missing or looser. Return what could not be repaired, by symbol."""
    failed: dict[str, str] = {}
    unprotected = {position.symbol: position for position in found.positions if position.stop_loss is None}
    for intent in compared.seen:
        if intent.symbol not in unprotected:
            continue
        known = unprotected[intent.symbol], compared.left[intent.order_link_id]
        try:
            acted = protection.protect(context, intent, intent.filled_qty or intent.qty, known=known)
        except ExchangeError as error:
            failed[intent.symbol] = f"{intent.symbol} has lost its stop and could not be given one: {error}"
            continue
        if acted:
            repaired.append(f"{intent.symbol} had lost its stop {intent.stop_loss}: it was set again or closed")
    with context.database.read() as connection:
        moved = _moved(context, connection, found, compared)
    for intent, position in moved:
        stop = position.stop_loss
        if stop is None or (stop == intent.stop_loss and context.settings.changed_stops == "keep"):
            continue
        if context.settings.changed_stops == "keep" and not is_looser(intent, stop):
            continue
        target = intent.take_profit if context.settings.changed_stops == "restore" else position.take_profit
        try:
            send_by = context.send_by()
            now = context.exchange.position(intent.symbol)
            if now is None or not now.is_still(position) or now.stop_loss != stop:
                continue  # it has changed since it was compared: the next pass looks
            with account_refusals.telling(context, of_stop=True):
                protection.set_levels(context, intent, intent.stop_loss, target, send_by)
            account_refusals.end(context, of_stops=True)
        except ExchangeError as error:
            failed[intent.symbol] = f"{intent.symbol}: its stop was moved to {stop} and could not be put back: {error}"
            continue
        repaired.append(
            f"{intent.symbol}: its stop was moved to {stop}, farther than the signal's {intent.stop_loss}: put back"
            if is_looser(intent, stop)
            else f"{intent.symbol}: stop and target were moved to {stop} and {position.take_profit}: put back"
        )
    return failed


def end_parts(context: ExecutionContext, compared: Comparison, failed: dict[str, str]) -> None:
    """Cancel what rests for positions that have ended."""
    for intent in compared.ended:
        try:
            exits.end_parts(context, intent)
        except (ExchangeError, StrategyError) as error:
            failed[intent.symbol] = f"{intent.symbol}: a part of its position, which has ended, may rest: {error}"


def changed_level_texts(
    context: ExecutionContext, connection: sa.Connection, found: ExchangeState, compared: Comparison
) -> dict[str | None, list[str]]:
    """What a person has changed and is left as it is."""
    texts: dict[str | None, list[str]] = {}
    for intent, position in _moved(context, connection, found, compared):
        changes = []
        if position.stop_loss != intent.stop_loss:
            changes.append(f"the stop stands at {position.stop_loss}, the signal's is {intent.stop_loss}")
        if position.take_profit != intent.take_profit:
            level = "is gone" if position.take_profit is None else f"stands at {position.take_profit}"
            changes.append(f"the target {level}, the signal's is {intent.take_profit}")
        texts[intent.symbol] = [f"{intent.symbol}: {', '.join(changes)}; somebody else has changed it"]
    for position in trailing_stops(found, compared):
        told = (
            f"{position.symbol}: a trailing stop {position.trailing} behind the price is set; somebody else has set it"
        )
        texts.setdefault(position.symbol, []).append(f"{told}, and it may close the position before its stop")
    return texts


def _moved(
    context: ExecutionContext, connection: sa.Connection, found: ExchangeState, compared: Comparison
) -> list[tuple[Intent, Position]]:
    """Positions of ours whose stop or target somebody has moved: more than the contract's tick makes necessary.

    Earlier levels of ours are moved by `exits.go_on` until that is seen done.
    """
    moved = [
        (intent, position)
        for intent, position in changed_levels(found, compared)
        if not _is_on_its_way(connection, intent, position)
    ]
    if not moved:
        return []
    contracts = or_none(lambda: context.contracts.get(context.exchange, set(), context.wall_ms())) or {}
    return [
        (intent, position)
        for intent, position in moved
        if intent.symbol not in contracts
        or (position.stop_loss, position.take_profit)
        != levels_on_tick(
            intent.stop_loss,
            intent.take_profit,
            contracts[intent.symbol].tick_size,
            long=intent.side is Side.BUY,
        )
    ]


def _is_on_its_way(connection: sa.Connection, intent: Intent, position: Position) -> bool:
    """Whether levels that are not the intent's are earlier ones of ours: the newest are being set."""
    decided = exit_decisions.of_intents(connection, [intent.order_link_id]).get(intent.order_link_id, [])
    if not any(one.kind == exit_decisions.LEVELS and one.state == exit_decisions.OPEN for one in decided):
        return False
    stops, targets = exit_decisions.own_levels(connection, intent)
    return position.stop_loss in stops and position.take_profit in targets
