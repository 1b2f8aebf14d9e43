"""What grids and DCA plans have in common, as keepers of orders at the exchange: how long something is waited for,
which executions are read, why nothing may be opened now, and what is told at their end. No decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from trading_assets.core.models import (
    CancelledBy,
    ContractStatus,
    Execution,
    Instrument,
    Order,
    OrderStatus,
    Position,
    Rows,
)
from trading_assets.core.ports import ClientOrderIds
from trading_assets.core.timeframes import iso
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import risk
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.context import ExecutionContext

LEASE_MS = 60_000

ROUNDS = 8
"""Rounds of reading and acting in one pass."""

PAUSE_S = 0.2

SEND_WITHIN_MS = 40_000
"""An order is sent within this time of being written down, or not at all; a whole grid takes seconds to be laid."""

LOST_AFTER_MS = 60_000
"""An order that was sent, and that nobody shows so long after it, never arrived. It is longer than `SEND_WITHIN_MS`,
the longest receive window and the largest difference of the clocks together."""

DIFFERS_MS = 30_000
"""Position and fills may disagree for so long: lists lag."""

FORGOTTEN_AFTER_MS = 25 * 3_600_000
"""An order that rested and is not shown for so long has ended without a fill."""

OVERLAP_MS = 10 * 60_000
"""Executions are read again from so long before the last reading: lists lag."""

BY_THE_VENUE = (CancelledBy.LIQUIDATION, CancelledBy.ADL, CancelledBy.SETTLEMENT, CancelledBy.ADMIN)
"""Cancellations after which nothing more is placed."""

UNKNOWN = "an order with our mark that the ledger does not know"
"""What is told of it, and why it is cancelled."""

FINEST_TICK = Decimal("1e-12")
"""Of a contract whose rules are gone: its levels stay as they are."""


def read_executions(
    context: ExecutionContext,
    created_ms: int,
    read_ms: int,
    shown: Mapping[str, Order],
    sent_ms: Mapping[str, int],
) -> Rows[Execution]:
    """The account's executions since the last reading, and since an order was written whose fills are not told yet.

    Args:
        created_ms: nothing before it counts, UTC ms; `read_ms` the last reading.
        shown: orders as the exchange shows them, by link.
        sent_ms: when each order of the owner that has not ended was written down, UTC ms, by link.

    Raises:
        ExchangeError: they cannot be read.
    """
    exchange, account = context.exchange, context.settings.account
    now_ms = exchange.now_ms()
    since_ms = max(created_ms, min(read_ms, now_ms) - OVERLAP_MS)
    late = [link for link in sent_ms if link in shown and 0 < shown[link].updated_ms < since_ms]
    late = [link for link in late if shown[link].filled_qty]
    if late:
        with context.database.read() as connection:
            booked = {link: execution_ledger.filled_by(connection, account, link)[0] for link in late}
        since_ms = min([since_ms, *(sent_ms[link] for link in late if booked[link] < shown[link].filled_qty)])
    # A clock that has jumped back hides nothing that was seen before.
    return exchange.executions(max(created_ms, since_ms), max(now_ms, read_ms) + 1)


def unknown_orders(
    ids: ClientOrderIds, shown: Mapping[str, Order], position: Position | None, letters: Iterable[str]
) -> list[str]:
    """Links of orders that work and have the mark of a kind of owner, but for stops that nothing else stands in for.

    Those of them that the ledger does not know were placed by it before it was restored from a backup: a row is written
    before its order is sent.

    Args:
        letters: kinds of that owner's order ids.
    """
    is_bare = position is not None and position.stop_loss is None
    working = {link: order for link, order in shown.items() if not order.status.is_final}
    return [
        link
        for link, order in working.items()
        if any(ids.is_of(link, kind) for kind in letters) and not (is_bare and order.trigger_price is not None)
    ]


def why_stopped(context: ExecutionContext, rules: Instrument | None, now_ms: int) -> str:
    """Why nothing may be opened in a contract now; empty where it may."""
    if context.is_halted_by_file:
        return "trading is halted by the file in the home"
    state = risk.in_force(risk.read_history(context.database, context.settings.account), now_ms)
    if not state.ended(now_ms) and state.state is not RiskState.ACTIVE:
        return f"trading is {state.state.value}: {state.reason}"
    if rules is not None and rules.status is not ContractStatus.TRADING:
        return f"{rules.symbol} is {rules.status.value}, not trading"
    if rules is not None and rules.delivery_ms is not None:
        return f"{rules.symbol} is to be delivered at {iso(rules.delivery_ms)}"
    return context.why_off()


def ending(shown: Order) -> str:
    """Why an order has ended, in words."""
    if shown.status is OrderStatus.FILLED:
        return "filled"
    parts = [shown.status.value]
    if shown.cancelled_by is not None:
        parts.append(shown.cancelled_by.value)
    if shown.reject_reason is not None:
        parts.append(shown.reject_reason.value)
    return ", ".join(parts)


def closed_with_it(shared: Decimal) -> str:
    """What was closed of others by what has closed an owner's position, in words; in one-way mode both are one."""
    return f"; {shared.normalize():f} of what was closed with it were somebody else's" if shared else ""


def left_to_others(owner: str, position: Position | None) -> str:
    """What somebody else has in a contract whose owner has closed its part, and what of the owner's stays on it."""
    if position is None:
        return ""
    text = f"; {position.side.value} {position.size} of {position.symbol} are somebody else's"
    if position.stop_loss is None and position.take_profit is None:
        return text
    levels = f"the stop {position.stop_loss or 'none'} and the target {position.take_profit or 'none'}"
    return f"{text}, and {levels} that the {owner} has set stay on it: change them at the exchange"
