"""Settles the intents that an earlier process has left unresolved. Both submitting and reconciling begin with it.

It sends nothing but stops and exits of positions that are open already, and follows orders that rest: it changes them
as they were reserved, and cancels them.
"""

from __future__ import annotations

from dataclasses import dataclass

from trading_assets.core.errors import ExchangeError, ExchangeFatalError, OrderRejectedError
from trading_assets.core.models import Order, Position
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import orders
from trading_assets.ledger.orders import Intent
from trading_assets.trading import account_refusals
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.saga import steps

UNFILLED_KEPT_MS = 25 * HOUR_MS
"""An order that ended unfilled is shown for a day. One that rested and is not seen for longer has ended."""

LOST_AFTER_MS = 600_000
"""An acknowledged order that no list of the exchange shows for this time is abandoned, and published as failed."""


@dataclass(frozen=True)
class Evidence:
    """What the exchange shows of an unresolved intent: its order, else the position in its symbol."""

    intent: Intent
    order: Order | None
    position: Position | None


def recover(context: ExecutionContext) -> int:
    """Settle the intents that no living process works on. Return how many were settled."""
    return sum(settle(context, evidence) for evidence in look_up(context))


def look_up(context: ExecutionContext) -> list[Evidence]:
    """Look up the intents that no living process works on. Reads only.

    An intent whose look-up fails is left out: it stays as it is, and keeps its symbol occupied.
    """
    found = []
    for intent in orders.unresolved(context.database, context.settings.account):
        age_ms = context.wall_ms() - intent.touched_wall_ms
        if intent.status == orders.INTENT and age_ms < steps.RECOVER_AFTER_MS:
            continue  # a living process works on it
        try:
            order = context.exchange.find_order(intent.symbol, intent.order_link_id)
            overdue = age_ms >= (LOST_AFTER_MS if intent.status == orders.SUBMITTED else steps.RECOVER_AFTER_MS)
            if order is not None:
                found.append(Evidence(intent, order, None))
            elif intent.status == orders.RESTING:
                if _is_lost(context, intent):
                    found.append(Evidence(intent, None, context.exchange.position(intent.symbol)))
            elif overdue:
                found.append(Evidence(intent, None, context.exchange.position(intent.symbol)))
        except OrderRejectedError:
            if age_ms >= LOST_AFTER_MS and _has_left(context, intent):
                found.append(Evidence(intent, None, None))
        except ExchangeFatalError as error:
            account_refusals.tell(context, error)
        except ExchangeError:
            continue
    return found


def _is_lost(context: ExecutionContext, intent: Intent) -> bool:
    """Whether an order that rested is not seen for so long that the exchange shows no order of its kind any more."""
    now_ms = context.exchange.now_ms()
    if intent.unseen_since_ms is None:
        with context.database.write() as connection:
            orders.set_seen(connection, intent.order_link_id, now_ms)
        return False
    return now_ms - intent.unseen_since_ms >= UNFILLED_KEPT_MS


def _has_left(context: ExecutionContext, intent: Intent) -> bool:
    """Whether the coin is listed no more, and no list of the whole account knows anything of the intent.

    The exchange refuses to look up an order or a position of a coin that it does not list.
    """
    symbol, exchange = intent.symbol, context.exchange
    try:
        listed = exchange.instruments()
        if listed.may_hide(symbol) or any(one.symbol == symbol for one in listed):
            return False
        held, waiting = exchange.positions(), exchange.open_orders()
        filled = exchange.executions(intent.created_ms, exchange.now_ms() + 1)
    except ExchangeError:
        return False
    if any(rows.may_hide(symbol) for rows in (held, waiting, filled)):
        return False
    shown = {row.symbol for row in held} | {row.symbol for row in waiting}
    return symbol not in shown and all(row.order_link_id != intent.order_link_id for row in filled)


def settle(context: ExecutionContext, evidence: Evidence) -> bool:
    """Change an intent's state as the evidence says. Return whether it is settled now."""
    intent, position = evidence.intent, evidence.position
    try:
        if evidence.order is not None:
            after = steps.settle(context, intent, evidence.order)
        elif intent.status == orders.RESTING:
            after = steps.lose(context, intent)
        elif position is None:
            after = steps.give_up(context, intent)
        elif _belongs_to(position, intent):
            after = steps.record(context, intent, None, position.size, position.entry_price)
        else:
            return False  # a position that may be its own: unknown stays unknown, and is reported by the reconciler
    except ExchangeError:
        return False
    return after is not None and after.status not in orders.UNRESOLVED


def _belongs_to(position: Position, intent: Intent) -> bool:
    """Return whether a position can only be the intent's: same side and stop, no larger than its quantity."""
    return position.side is intent.side and position.stop_loss == intent.stop_loss and position.size <= intent.qty
