"""Names of all orders of ours that close a position, and what became of them. Reads only.

Each kind has ids of its own, made from the signal: `x` for want of a stop, `s` in place of a stop, `c` to leave by the
exit plan, `p` for its parts. (`f`, by command, are those of `execute.flatten`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from trading_assets.core.models import CloseReason, Order, Side
from trading_assets.core.timeframes import floor_ms
from trading_assets.ledger import exit_decisions
from trading_assets.ledger.exit_decisions import PARTS, ExitDecision, Planned
from trading_assets.ledger.orders import Intent
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.decide.exits import DeclaredExits, Position

STAND_INS = 20
"""Most orders in place of one signal's stop: one that was cancelled is followed by another with its own id."""

EXITS = 60
"""Most emergency exits of one signal's position."""

LEAVES = 20
"""Most orders to leave one position: one may fill in part, or meet an empty order book."""


def exit_links(context: ExecutionContext, intent: Intent) -> Iterator[str]:
    """Ids of emergency exits, in the order of sending."""
    encode = context.exchange.order_ids.encode
    return (encode(intent.signal_id, "x" if number == 1 else f"x{number}") for number in range(1, EXITS + 1))


def stand_in_links(context: ExecutionContext, intent: Intent) -> Iterator[str]:
    """Ids of orders in place of the stop, in the order of sending."""
    return (context.exchange.order_ids.encode(intent.signal_id, f"s{number}") for number in range(1, STAND_INS + 1))


def leave_links(context: ExecutionContext, intent: Intent) -> Iterator[str]:
    """Ids of the orders that leave a position by its plan, in the order of sending."""
    return (context.exchange.order_ids.encode(intent.signal_id, f"c{number}") for number in range(1, LEAVES + 1))


def part_link(context: ExecutionContext, intent: Intent, number: int) -> str:
    """Id of the order of a part."""
    return context.exchange.order_ids.encode(intent.signal_id, f"p{number}")


def part_links(context: ExecutionContext, intent: Intent) -> list[str]:
    """Ids of the orders of the parts that its signal's plan has."""
    with context.database.read() as connection:
        count = _declared_parts(connection, intent)
    return [part_link(context, intent, number + 1) for number in range(count)]


def _declared_parts(connection: sa.Connection, intent: Intent) -> int:
    for one in exit_decisions.planned(connection, intent.account, [intent.order_link_id]):
        return len(position_of(one).plan.parts)
    return 0


def position_of(planned: Planned) -> Position:
    """A position as its plan sees it.

    Raises:
        StrategyError: the plan of its signal cannot be read.
    """
    plan, is_long = DeclaredExits.from_json(planned.exit_plan).plan, planned.intent.side is Side.BUY
    levels = (planned.entry, planned.stop_loss, planned.take_profit)
    since_ms = floor_ms(planned.filled_ms, planned.timeframe.ms) + planned.timeframe.ms if planned.filled_ms else 0
    return Position(plan, is_long, planned.opened_ms, *levels, since_ms)


def sent(context: ExecutionContext, intent: Intent, links: Iterable[str]) -> list[Order]:
    """The orders of these ids, up to the first that was not sent."""
    found = []
    for link in links:
        order = context.exchange.find_order(intent.symbol, link)
        if order is None:
            break
        found.append(order)
    return found


def own_closings(context: ExecutionContext, intent: Intent) -> list[Order]:
    """Orders of ours that close this position, as far as they were sent, but for those by command."""
    protective = (exit_links(context, intent), stand_in_links(context, intent))
    return [*(order for links in protective for order in sent(context, intent, links)), *of_plan(context, intent)]


def of_plan(context: ExecutionContext, intent: Intent) -> list[Order]:
    """Those of them that its exit plan has sent."""
    with context.database.read() as connection:
        decided = exit_decisions.of_intents(connection, [intent.order_link_id]).get(intent.order_link_id, [])
    found = list[Order]()
    if any(one.is_leaving for one in decided):
        found += sent(context, intent, leave_links(context, intent))
    if any(one.kind == PARTS for one in decided):
        orders = (context.exchange.find_order(intent.symbol, link) for link in part_links(context, intent))
        found += [order for order in orders if order is not None]
    return found


def closing_words(
    context: ExecutionContext, connection: sa.Connection, intent: Intent, decisions: Sequence[ExitDecision]
) -> dict[str, str]:
    """Why orders of an exit plan close a position, by link."""
    words: dict[str, str] = {}
    for one in decisions:
        if one.is_leaving:
            words |= dict.fromkeys(leave_links(context, intent), one.kind)
        elif one.kind == PARTS:
            count = _declared_parts(connection, intent)
            links = (part_link(context, intent, number + 1) for number in range(count))
            words |= dict.fromkeys(links, CloseReason.PART.value)
    return words
