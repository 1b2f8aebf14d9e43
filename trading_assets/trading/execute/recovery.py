"""Takes up what an earlier process left open: intents that are not settled, looked up and brought to their end.

Nothing is sent here but stops and exits of positions that are open already.
"""

from __future__ import annotations

from dataclasses import dataclass

from trading_assets.core.errors import ExchangeError
from trading_assets.core.models import Order, Position
from trading_assets.ledger import orders
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute import steps

LOST_AFTER_MS = 600_000
"""An order that was acknowledged and that no list of the exchange shows for so long is given up, and told."""


@dataclass(frozen=True)
class Evidence:
    """What the exchange shows of an unsettled intent: its order, else what is open in its symbol."""

    intent: Intent
    order: Order | None
    position: Position | None


def recover(context: ExecutionContext) -> int:
    """Settle the intents that no living process works on; how many were settled."""
    return sum(conclude(context, evidence) for evidence in look(context))


def look(context: ExecutionContext) -> list[Evidence]:
    """Reads only. An intent whose look-up fails is left out: it stays as it is, and keeps its symbol occupied."""
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
            elif overdue:
                found.append(Evidence(intent, None, context.exchange.position(intent.symbol)))
        except ExchangeError:
            continue
    return found


def conclude(context: ExecutionContext, evidence: Evidence) -> bool:
    """Bring an intent to where the evidence puts it; whether it is settled now."""
    intent, position = evidence.intent, evidence.position
    try:
        if evidence.order is not None:
            after = steps.settle(context, intent, evidence.order)
        elif position is None:
            after = steps.give_up(context, intent)
        elif _is_of(position, intent):
            after = steps.record(context, intent, None, position.size, position.entry_price)
        else:
            return False  # a position that may be its own: unknown stays unknown, and is reported by the reconciler
    except ExchangeError:
        return False
    return after is not None and after.status not in orders.UNRESOLVED


def _is_of(position: Position, intent: Intent) -> bool:
    """Whether a position can only be the intent's: its side and stop, and no more than its quantity."""
    return position.side is intent.side and position.stop_loss == intent.stop_loss and position.size <= intent.qty
